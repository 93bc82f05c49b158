//! Roles, users and identities.

use super::{Parser, Parsing};
use crate::ast::{
    AddIdentity, AlterUser, CidrAccess, CreateUser, DatacenterAccess, DropIdentity, DropRole, Identifier, Role,
    RoleOption, Statement, UserPassword,
};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn create_role(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_clause = self.if_not_exists()?;
        Ok(Statement::CreateRole(Box::new(self.role(if_clause)?)))
    }

    pub(super) fn alter_role(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_clause = self.if_exists()?;
        Ok(Statement::AlterRole(Box::new(self.role(if_clause)?)))
    }

    fn role(&mut self, if_clause: bool) -> Parsing<Role> {
        let name = self.role_name()?;
        if !self.accept_keyword(Keyword::With) {
            return Ok(Role { if_clause, name, options: Vec::new() });
        }
        let first = self.current;
        let options = self.and_separated(Self::role_option)?;
        self.refuse_repeated(first, options.iter().map(option_name))?;
        let exclusive = ["password", "hashed password", "generated password"];
        let given: Vec<&str> =
            exclusive.into_iter().filter(|name| options.iter().any(|option| option_name(option) == *name)).collect();
        if let [one, other, ..] = given.as_slice() {
            let reason = format!("Options '{one}' and '{other}' are mutually exclusive");
            return Err(self.not_allowed_at(first, reason));
        }
        Ok(Role { if_clause, name, options })
    }

    fn role_option(&mut self) -> Parsing<RoleOption> {
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        match keyword {
            Keyword::Password => {
                self.advance();
                self.expect(TokenKind::Equal, "'='")?;
                Ok(RoleOption::Password(self.string()?))
            }
            Keyword::Hashed => {
                self.advance();
                self.expect_keyword(Keyword::Password)?;
                self.expect(TokenKind::Equal, "'='")?;
                Ok(RoleOption::HashedPassword(self.string()?))
            }
            Keyword::Generated => {
                self.advance();
                self.expect_keyword(Keyword::Password)?;
                Ok(RoleOption::GeneratedPassword)
            }
            Keyword::Superuser => {
                self.advance();
                Ok(RoleOption::Superuser(self.equals_boolean()?))
            }
            Keyword::Login => {
                self.advance();
                Ok(RoleOption::Login(self.equals_boolean()?))
            }
            Keyword::Options => {
                self.advance();
                self.expect(TokenKind::Equal, "'='")?;
                Ok(RoleOption::Options(self.property_map()?))
            }
            Keyword::Access => self.access(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn equals_boolean(&mut self) -> Parsing<bool> {
        self.expect(TokenKind::Equal, "'='")?;
        match self.current.kind {
            TokenKind::True | TokenKind::False => Ok(self.advance().kind == TokenKind::True),
            _ => Err(self.mismatched("BOOLEAN")),
        }
    }

    /// `ACCESS TO …` or `ACCESS FROM …`.
    fn access(&mut self) -> Parsing<RoleOption> {
        self.advance();
        if self.accept_keyword(Keyword::To) {
            if self.accept_keyword(Keyword::All) {
                self.expect_keyword(Keyword::Datacenters)?;
                return Ok(RoleOption::AccessToDatacenters(DatacenterAccess::All));
            }
            self.expect_keyword(Keyword::Datacenters)?;
            return Ok(RoleOption::AccessToDatacenters(DatacenterAccess::Only(self.string_set()?)));
        }
        if self.accept_keyword(Keyword::From) {
            if self.accept_keyword(Keyword::All) {
                self.expect_keyword(Keyword::Cidrs)?;
                return Ok(RoleOption::AccessFromCidrs(CidrAccess::All));
            }
            self.expect_keyword(Keyword::Cidrs)?;
            return Ok(RoleOption::AccessFromCidrs(CidrAccess::Only(self.string_set()?)));
        }
        Err(self.no_viable_alternative())
    }

    /// `{'a', 'b'}`.
    fn string_set(&mut self) -> Parsing<Vec<Box<str>>> {
        self.expect(TokenKind::LeftBrace, "'{'")?;
        let strings = self.comma_separated(Self::string)?;
        self.close_brace()?;
        Ok(strings)
    }

    pub(super) fn drop_role(&mut self) -> Parsing<Statement> {
        self.advance();
        Ok(Statement::DropRole(DropRole { if_exists: self.if_exists()?, name: self.role_name()? }))
    }

    pub(super) fn create_user(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = Identifier::new(self.user_name("user names")?);
        let password = self.user_password()?;
        let superuser = self.superuser();
        Ok(Statement::CreateUser(Box::new(CreateUser { if_not_exists, name, password, superuser })))
    }

    pub(super) fn alter_user(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = Identifier::new(self.user_name("user names")?);
        let password = self.user_password()?;
        let superuser = self.superuser();
        Ok(Statement::AlterUser(Box::new(AlterUser { if_exists, name, password, superuser })))
    }

    pub(super) fn drop_user(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = Identifier::new(self.user_name("user names")?);
        Ok(Statement::DropUser(DropRole { if_exists, name }))
    }

    /// `WITH [HASHED] PASSWORD 'p'` or `WITH GENERATED PASSWORD`, if it is there.
    fn user_password(&mut self) -> Parsing<Option<UserPassword>> {
        if !self.accept_keyword(Keyword::With) {
            return Ok(None);
        }
        if self.accept_keyword(Keyword::Password) {
            return Ok(Some(UserPassword::Plain(self.string()?)));
        }
        if self.accept_keyword(Keyword::Hashed) {
            self.expect_keyword(Keyword::Password)?;
            return Ok(Some(UserPassword::Hashed(self.string()?)));
        }
        if self.accept_keyword(Keyword::Generated) {
            self.expect_keyword(Keyword::Password)?;
            return Ok(Some(UserPassword::Generated));
        }
        Err(self.no_viable_alternative())
    }

    fn superuser(&mut self) -> Option<bool> {
        if self.accept_keyword(Keyword::Superuser) {
            return Some(true);
        }
        self.accept_keyword(Keyword::Nosuperuser).then_some(false)
    }

    pub(super) fn add_identity(&mut self) -> Parsing<Statement> {
        self.advance();
        self.expect_keyword(Keyword::Identity)?;
        let if_not_exists = self.if_not_exists()?;
        let identity = self.user_name("identity")?;
        self.expect_keywords(&[Keyword::To, Keyword::Role])?;
        let role = Identifier::new(self.user_name("identity")?);
        Ok(Statement::AddIdentity(Box::new(AddIdentity { if_not_exists, identity, role })))
    }

    pub(super) fn drop_identity(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        Ok(Statement::DropIdentity(DropIdentity { if_exists, identity: self.user_name("identity")? }))
    }
}

fn option_name(option: &RoleOption) -> &'static str {
    match option {
        RoleOption::Password(_) => "password",
        RoleOption::HashedPassword(_) => "hashed password",
        RoleOption::GeneratedPassword => "generated password",
        RoleOption::Superuser(_) => "superuser",
        RoleOption::Login(_) => "login",
        RoleOption::Options(_) => "options",
        RoleOption::AccessToDatacenters(_) => "access to datacenters",
        RoleOption::AccessFromCidrs(_) => "access from cidrs",
    }
}
