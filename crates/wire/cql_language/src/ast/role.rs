//! Roles, users and identities.

use super::{Identifier, Literal};

/// CREATE ROLE or ALTER ROLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `IF NOT EXISTS` of CREATE, `IF EXISTS` of ALTER.
    pub if_clause: bool,
    pub name: Identifier,
    /// In the order written; a kind may come once (the parser refuses repetitions).
    pub options: Vec<RoleOption>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum RoleOption {
    Password(Box<str>),
    HashedPassword(Box<str>),
    GeneratedPassword,
    Superuser(bool),
    Login(bool),
    /// `OPTIONS = {'k': 'v'}`; keys differ.
    Options(Vec<(Literal, Literal)>),
    AccessToDatacenters(DatacenterAccess),
    AccessFromCidrs(CidrAccess),
}

/// `ACCESS TO …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatacenterAccess {
    All,
    /// Never empty.
    Only(Vec<Box<str>>),
}

/// `ACCESS FROM …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CidrAccess {
    All,
    /// Names of groups of addresses, never empty.
    Only(Vec<Box<str>>),
}

/// DROP ROLE or DROP USER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropRole {
    pub if_exists: bool,
    pub name: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateUser {
    pub if_not_exists: bool,
    /// As written: names of users keep their case even without quotes.
    pub name: Identifier,
    pub password: Option<UserPassword>,
    /// `None` is the same as `NOSUPERUSER`.
    pub superuser: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterUser {
    pub if_exists: bool,
    /// As written: names of users keep their case even without quotes.
    pub name: Identifier,
    pub password: Option<UserPassword>,
    /// `None`: unchanged.
    pub superuser: Option<bool>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum UserPassword {
    Plain(Box<str>),
    Hashed(Box<str>),
    Generated,
}

/// `GRANT role TO member` or `REVOKE role FROM member`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChange {
    pub role: Identifier,
    pub member: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRoles {
    pub of: Option<Identifier>,
    /// False with `NORECURSIVE`.
    pub recursive: bool,
}

/// `ADD IDENTITY 'identity' TO ROLE 'role'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddIdentity {
    pub if_not_exists: bool,
    pub identity: Box<str>,
    /// As written, as with users.
    pub role: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIdentity {
    pub if_exists: bool,
    pub identity: Box<str>,
}

// Passwords must not reach a log by way of `{:?}`, so these two are written by hand.

impl std::fmt::Debug for RoleOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RoleOption::Password(_) => f.write_str("Password(***)"),
            RoleOption::HashedPassword(_) => f.write_str("HashedPassword(***)"),
            RoleOption::GeneratedPassword => f.write_str("GeneratedPassword"),
            RoleOption::Superuser(value) => f.debug_tuple("Superuser").field(value).finish(),
            RoleOption::Login(value) => f.debug_tuple("Login").field(value).finish(),
            RoleOption::Options(options) => f.debug_tuple("Options").field(options).finish(),
            RoleOption::AccessToDatacenters(access) => f.debug_tuple("AccessToDatacenters").field(access).finish(),
            RoleOption::AccessFromCidrs(access) => f.debug_tuple("AccessFromCidrs").field(access).finish(),
        }
    }
}

impl std::fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            UserPassword::Plain(_) => "Plain(***)",
            UserPassword::Hashed(_) => "Hashed(***)",
            UserPassword::Generated => "Generated",
        })
    }
}
