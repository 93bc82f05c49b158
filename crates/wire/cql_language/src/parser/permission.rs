//! GRANT, REVOKE and LIST.

use super::name::{is_function_name, is_name};
use super::{Parser, Parsing};
use crate::ast::{
    Identifier, ListPermissions, ListRoles, Permission, PermissionChange, Permissions, Resource, RoleChange, Statement,
};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn grant(&mut self) -> Parsing<Statement> {
        self.advance();
        if self.starts_permissions() {
            let change = self.permission_change(Keyword::To)?;
            return Ok(Statement::GrantPermissions(Box::new(change)));
        }
        Ok(Statement::GrantRole(self.role_change(Keyword::To)?))
    }

    pub(super) fn revoke(&mut self) -> Parsing<Statement> {
        self.advance();
        if self.starts_permissions() {
            let change = self.permission_change(Keyword::From)?;
            return Ok(Statement::RevokePermissions(Box::new(change)));
        }
        Ok(Statement::RevokeRole(self.role_change(Keyword::From)?))
    }

    fn permission_change(&mut self, preposition: Keyword) -> Parsing<PermissionChange> {
        let permissions = self.permissions()?;
        self.expect_keyword(Keyword::On)?;
        let resource = self.resource()?;
        self.expect_keyword(preposition)?;
        Ok(PermissionChange { permissions, resource, role: self.role_name()? })
    }

    fn role_change(&mut self, preposition: Keyword) -> Parsing<RoleChange> {
        let role = self.role_name()?;
        self.expect_keyword(preposition)?;
        Ok(RoleChange { role, member: self.role_name()? })
    }

    /// Whether permissions come rather than a role. ALL, UNMASK and SELECT_MASKED could be names of roles.
    fn starts_permissions(&self) -> bool {
        let could_be_role = is_name(self.current.kind);
        let role_follows = matches!(self.next.kind, TokenKind::Keyword(Keyword::To | Keyword::From));
        (self.is_keyword(Keyword::All) || self.permission().is_some()) && !(could_be_role && role_follows)
    }

    fn permission(&self) -> Option<Permission> {
        let TokenKind::Keyword(keyword) = self.current.kind else { return None };
        Some(match keyword {
            Keyword::Create => Permission::Create,
            Keyword::Alter => Permission::Alter,
            Keyword::Drop => Permission::Drop,
            Keyword::Select => Permission::Select,
            Keyword::Modify => Permission::Modify,
            Keyword::Authorize => Permission::Authorize,
            Keyword::Describe => Permission::Describe,
            Keyword::Execute => Permission::Execute,
            Keyword::Unmask => Permission::Unmask,
            Keyword::SelectMasked => Permission::SelectMasked,
            _ => return None,
        })
    }

    fn permissions(&mut self) -> Parsing<Permissions> {
        if self.accept_keyword(Keyword::All) {
            self.accept_keyword(Keyword::Permissions);
            return Ok(Permissions::All);
        }
        Ok(Permissions::Only(self.comma_separated(|parser| {
            let Some(permission) = parser.permission() else { return Err(parser.no_viable_alternative()) };
            parser.advance();
            parser.accept_keyword(Keyword::Permission);
            Ok(permission)
        })?))
    }

    fn resource(&mut self) -> Parsing<Resource> {
        let TokenKind::Keyword(keyword) = self.current.kind else {
            return Ok(Resource::Table(self.table_name()?));
        };
        match keyword {
            Keyword::Keyspace | Keyword::Schema => {
                self.advance();
                Ok(Resource::Keyspace(self.keyspace_name()?))
            }
            Keyword::Table | Keyword::Columnfamily => {
                self.advance();
                Ok(Resource::Table(self.table_name()?))
            }
            // The rest are names as well, of tables then: what follows decides.
            Keyword::All => self.resource_all(),
            Keyword::Role if is_name(self.next.kind) || is_string(self.next.kind) => {
                self.advance();
                Ok(Resource::Role(self.role_name()?))
            }
            Keyword::Mbean if is_string(self.next.kind) => {
                self.advance();
                Ok(Resource::Mbean(self.string()?))
            }
            Keyword::Mbeans if is_string(self.next.kind) => {
                self.advance();
                Ok(Resource::Mbeans(self.string()?))
            }
            Keyword::Function if is_function_name(self.next.kind) || is_name(self.next.kind) => {
                self.advance();
                Ok(Resource::Function { name: self.function_name()?, argument_types: self.argument_types()? })
            }
            _ => Ok(Resource::Table(self.table_name()?)),
        }
    }

    fn resource_all(&mut self) -> Parsing<Resource> {
        let TokenKind::Keyword(keyword) = self.next.kind else { return Ok(Resource::Table(self.table_name()?)) };
        match keyword {
            Keyword::Keyspaces => {
                self.advance();
                self.advance();
                Ok(Resource::AllKeyspaces)
            }
            Keyword::Tables | Keyword::Columnfamilies => {
                self.advance();
                self.advance();
                Ok(Resource::AllTablesIn(self.in_keyspace()?))
            }
            Keyword::Roles => {
                self.advance();
                self.advance();
                Ok(Resource::AllRoles)
            }
            Keyword::Mbeans => {
                self.advance();
                self.advance();
                Ok(Resource::AllMbeans)
            }
            Keyword::Functions => {
                self.advance();
                self.advance();
                if self.is_keyword(Keyword::In) {
                    return Ok(Resource::AllFunctionsIn(self.in_keyspace()?));
                }
                Ok(Resource::AllFunctions)
            }
            _ => Ok(Resource::Table(self.table_name()?)),
        }
    }

    /// `IN KEYSPACE name`.
    fn in_keyspace(&mut self) -> Parsing<Identifier> {
        self.expect_keyword(Keyword::In)?;
        if !self.accept_keyspace() {
            return Err(self.mismatched("K_KEYSPACE"));
        }
        self.keyspace_name()
    }

    pub(super) fn list(&mut self) -> Parsing<Statement> {
        self.advance();
        if self.accept_keyword(Keyword::Users) {
            return Ok(Statement::ListUsers);
        }
        if self.accept_keyword(Keyword::Superusers) {
            return Ok(Statement::ListSuperusers);
        }
        if self.accept_keyword(Keyword::Roles) {
            let of = self.of_role()?;
            let recursive = !self.accept_keyword(Keyword::Norecursive);
            return Ok(Statement::ListRoles(ListRoles { of, recursive }));
        }
        let permissions = self.permissions()?;
        let resource = if self.accept_keyword(Keyword::On) { Some(self.resource()?) } else { None };
        let of = self.of_role()?;
        let recursive = !self.accept_keyword(Keyword::Norecursive);
        Ok(Statement::ListPermissions(Box::new(ListPermissions { permissions, resource, of, recursive })))
    }

    /// `OF role`, if it is there.
    fn of_role(&mut self) -> Parsing<Option<Identifier>> {
        if self.accept_keyword(Keyword::Of) { self.role_name().map(Some) } else { Ok(None) }
    }
}

fn is_string(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::String | TokenKind::DollarString)
}
