//! GRANT, REVOKE and LIST of permissions.

use super::{CqlType, Identifier, QualifiedName};

/// GRANT or REVOKE of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionChange {
    pub permissions: Permissions,
    pub resource: Resource,
    /// Who gets them, or loses them.
    pub role: Identifier,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPermissions {
    pub permissions: Permissions,
    pub resource: Option<Resource>,
    pub of: Option<Identifier>,
    /// False with `NORECURSIVE`.
    pub recursive: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permissions {
    /// `ALL [PERMISSIONS]`: all that the resource knows.
    All,
    /// Never empty.
    Only(Vec<Permission>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    Create,
    Alter,
    Drop,
    Select,
    Modify,
    Authorize,
    Describe,
    Execute,
    Unmask,
    SelectMasked,
}

impl Permission {
    pub const ALL: [Permission; 10] = [
        Permission::Create,
        Permission::Alter,
        Permission::Drop,
        Permission::Select,
        Permission::Modify,
        Permission::Authorize,
        Permission::Describe,
        Permission::Execute,
        Permission::Unmask,
        Permission::SelectMasked,
    ];

    /// The keyword, in upper case, as `LIST PERMISSIONS` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Create => "CREATE",
            Permission::Alter => "ALTER",
            Permission::Drop => "DROP",
            Permission::Select => "SELECT",
            Permission::Modify => "MODIFY",
            Permission::Authorize => "AUTHORIZE",
            Permission::Describe => "DESCRIBE",
            Permission::Execute => "EXECUTE",
            Permission::Unmask => "UNMASK",
            Permission::SelectMasked => "SELECT_MASKED",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    AllKeyspaces,
    Keyspace(Identifier),
    /// `ALL TABLES IN KEYSPACE k`.
    AllTablesIn(Identifier),
    Table(QualifiedName),
    AllRoles,
    Role(Identifier),
    AllFunctions,
    /// `ALL FUNCTIONS IN KEYSPACE k`.
    AllFunctionsIn(Identifier),
    Function {
        name: QualifiedName,
        argument_types: Vec<CqlType>,
    },
    AllMbeans,
    /// `MBEAN 'name'`, not checked.
    Mbean(Box<str>),
    /// `MBEANS 'pattern'`, not checked.
    Mbeans(Box<str>),
}
