//! GRANT, REVOKE and LIST of permissions.

use super::name::{FunctionName, Quoted, RoleName};
use super::{commas, when};
use crate::ast::{ListPermissions, Permission, PermissionChange, Permissions, Resource};
use std::fmt::{Display, Formatter, Result};

pub(super) fn change(f: &mut Formatter<'_>, verb: &str, preposition: &str, change: &PermissionChange) -> Result {
    let role = RoleName(&change.role);
    write!(f, "{verb} {} ON {} {preposition} {role}", change.permissions, change.resource)
}

impl Display for ListPermissions {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "LIST {}", self.permissions)?;
        self.resource.iter().try_for_each(|resource| write!(f, " ON {resource}"))?;
        self.of.iter().try_for_each(|role| write!(f, " OF {}", RoleName(role)))?;
        f.write_str(when(!self.recursive, " NORECURSIVE"))
    }
}

impl Display for Permissions {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Permissions::All => f.write_str("ALL PERMISSIONS"),
            Permissions::Only(permissions) => commas(permissions).fmt(f),
        }
    }
}

impl Display for Permission {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())
    }
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Resource::AllKeyspaces => f.write_str("ALL KEYSPACES"),
            Resource::Keyspace(name) => write!(f, "KEYSPACE {name}"),
            Resource::AllTablesIn(keyspace) => write!(f, "ALL TABLES IN KEYSPACE {keyspace}"),
            Resource::Table(name) => write!(f, "TABLE {name}"),
            Resource::AllRoles => f.write_str("ALL ROLES"),
            Resource::Role(name) => write!(f, "ROLE {}", RoleName(name)),
            Resource::AllFunctions => f.write_str("ALL FUNCTIONS"),
            Resource::AllFunctionsIn(keyspace) => write!(f, "ALL FUNCTIONS IN KEYSPACE {keyspace}"),
            Resource::Function { name, argument_types } => {
                write!(f, "FUNCTION {}({})", FunctionName(name), commas(argument_types))
            }
            Resource::AllMbeans => f.write_str("ALL MBEANS"),
            Resource::Mbean(name) => write!(f, "MBEAN {}", Quoted(name)),
            Resource::Mbeans(pattern) => write!(f, "MBEANS {}", Quoted(pattern)),
        }
    }
}
