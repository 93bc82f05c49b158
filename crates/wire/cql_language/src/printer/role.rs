//! Roles, users and identities.

use super::name::{Quoted, RoleName};
use super::term::entries;
use super::{Separated, ands, when};
use crate::ast::{
    AddIdentity, AlterUser, CidrAccess, CreateUser, DatacenterAccess, DropIdentity, DropRole, ListRoles, Role,
    RoleChange, RoleOption, UserPassword,
};
use std::fmt::{Display, Formatter, Result};

pub(super) fn role(f: &mut Formatter<'_>, verb: &str, if_clause: &'static str, role: &Role) -> Result {
    write!(f, "{verb}{}{}", when(role.if_clause, if_clause), RoleName(&role.name))?;
    if role.options.is_empty() { Ok(()) } else { write!(f, " WITH {}", ands(&role.options)) }
}

impl Display for RoleOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            RoleOption::Password(password) => write!(f, "PASSWORD = {}", Quoted(password)),
            RoleOption::HashedPassword(hash) => write!(f, "HASHED PASSWORD = {}", Quoted(hash)),
            RoleOption::GeneratedPassword => f.write_str("GENERATED PASSWORD"),
            RoleOption::Superuser(value) => write!(f, "SUPERUSER = {value}"),
            RoleOption::Login(value) => write!(f, "LOGIN = {value}"),
            RoleOption::Options(options) => {
                f.write_str("OPTIONS = ")?;
                entries(f, options)
            }
            RoleOption::AccessToDatacenters(DatacenterAccess::All) => f.write_str("ACCESS TO ALL DATACENTERS"),
            RoleOption::AccessToDatacenters(DatacenterAccess::Only(names)) => {
                f.write_str("ACCESS TO DATACENTERS ")?;
                string_set(f, names)
            }
            RoleOption::AccessFromCidrs(CidrAccess::All) => f.write_str("ACCESS FROM ALL CIDRS"),
            RoleOption::AccessFromCidrs(CidrAccess::Only(names)) => {
                f.write_str("ACCESS FROM CIDRS ")?;
                string_set(f, names)
            }
        }
    }
}

fn string_set(f: &mut Formatter<'_>, strings: &[Box<str>]) -> Result {
    let quoted: Vec<Quoted<'_>> = strings.iter().map(|string| Quoted(string)).collect();
    write!(f, "{{{}}}", Separated(&quoted, ", "))
}

pub(super) fn drop_role(f: &mut Formatter<'_>, dropped: &DropRole) -> Result {
    write!(f, "DROP ROLE {}{}", when(dropped.if_exists, "IF EXISTS "), RoleName(&dropped.name))
}

impl Display for CreateUser {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        write!(f, "CREATE USER {if_not_exists}{}", Quoted(self.name.as_str()))?;
        user_options(f, self.password.as_ref(), self.superuser)
    }
}

impl Display for AlterUser {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "ALTER USER {}{}", when(self.if_exists, "IF EXISTS "), Quoted(self.name.as_str()))?;
        user_options(f, self.password.as_ref(), self.superuser)
    }
}

fn user_options(f: &mut Formatter<'_>, password: Option<&UserPassword>, superuser: Option<bool>) -> Result {
    match password {
        Some(UserPassword::Plain(password)) => write!(f, " WITH PASSWORD {}", Quoted(password))?,
        Some(UserPassword::Hashed(hash)) => write!(f, " WITH HASHED PASSWORD {}", Quoted(hash))?,
        Some(UserPassword::Generated) => f.write_str(" WITH GENERATED PASSWORD")?,
        None => {}
    }
    match superuser {
        Some(true) => f.write_str(" SUPERUSER"),
        Some(false) => f.write_str(" NOSUPERUSER"),
        None => Ok(()),
    }
}

pub(super) fn change(f: &mut Formatter<'_>, verb: &str, preposition: &str, change: &RoleChange) -> Result {
    write!(f, "{verb} {} {preposition} {}", RoleName(&change.role), RoleName(&change.member))
}

impl Display for ListRoles {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("LIST ROLES")?;
        self.of.iter().try_for_each(|role| write!(f, " OF {}", RoleName(role)))?;
        f.write_str(when(!self.recursive, " NORECURSIVE"))
    }
}

impl Display for AddIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, "IF NOT EXISTS ");
        let role = Quoted(self.role.as_str());
        write!(f, "ADD IDENTITY {if_not_exists}{} TO ROLE {role}", Quoted(&self.identity))
    }
}

impl Display for DropIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DROP IDENTITY {}{}", when(self.if_exists, "IF EXISTS "), Quoted(&self.identity))
    }
}
