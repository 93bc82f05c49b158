//! Random statements on roles and permissions.

use crate::choices::Choices;
use crate::terms::{cql_type, property_map};
use holon_cql_language::ast::{
    AddIdentity, AlterUser, CidrAccess, CreateUser, DatacenterAccess, DropIdentity, DropRole, Identifier,
    ListPermissions, ListRoles, Permission, PermissionChange, Permissions, Resource, Role, RoleChange, RoleOption,
    Statement, UserPassword,
};

pub fn statement(choices: &mut Choices) -> Statement {
    match choices.below(4) {
        0 => role_statement(choices),
        1 => user_statement(choices),
        2 => permission_statement(choices),
        _ => listing(choices),
    }
}

/// A role may have the empty name, by way of a string.
fn role_name(choices: &mut Choices) -> Identifier {
    choices.column()
}

fn role_statement(choices: &mut Choices) -> Statement {
    match choices.below(5) {
        0 => Statement::CreateRole(Box::new(role(choices))),
        1 => Statement::AlterRole(Box::new(role(choices))),
        2 => Statement::DropRole(DropRole { if_exists: choices.flag(), name: role_name(choices) }),
        3 => Statement::GrantRole(RoleChange { role: role_name(choices), member: role_name(choices) }),
        _ => Statement::RevokeRole(RoleChange { role: role_name(choices), member: role_name(choices) }),
    }
}

fn role(choices: &mut Choices) -> Role {
    let (if_clause, name) = (choices.flag(), role_name(choices));
    let password = match choices.below(4) {
        0 => None,
        1 => Some(RoleOption::Password(choices.string())),
        2 => Some(RoleOption::HashedPassword(choices.string())),
        _ => Some(RoleOption::GeneratedPassword),
    };
    let mut options: Vec<RoleOption> = password.into_iter().collect();
    options.extend(choices.maybe(|choices| RoleOption::Superuser(choices.flag())));
    options.extend(choices.maybe(|choices| RoleOption::Login(choices.flag())));
    options.extend(choices.maybe(|choices| RoleOption::Options(property_map(choices))));
    options.extend(choices.maybe(|choices| {
        RoleOption::AccessToDatacenters(match choices.maybe(|choices| choices.several(1, Choices::string)) {
            Some(only) => DatacenterAccess::Only(only),
            None => DatacenterAccess::All,
        })
    }));
    options.extend(choices.maybe(|choices| {
        RoleOption::AccessFromCidrs(match choices.maybe(|choices| choices.several(1, Choices::string)) {
            Some(only) => CidrAccess::Only(only),
            None => CidrAccess::All,
        })
    }));
    Role { if_clause, name, options }
}

fn user_statement(choices: &mut Choices) -> Statement {
    let (flag, name) = (choices.flag(), Identifier::new(choices.string()));
    let password = match choices.below(4) {
        0 => None,
        1 => Some(UserPassword::Plain(choices.string())),
        2 => Some(UserPassword::Hashed(choices.string())),
        _ => Some(UserPassword::Generated),
    };
    let superuser = choices.maybe(Choices::flag);
    match choices.below(5) {
        0 => Statement::CreateUser(Box::new(CreateUser { if_not_exists: flag, name, password, superuser })),
        1 => Statement::AlterUser(Box::new(AlterUser { if_exists: flag, name, password, superuser })),
        2 => Statement::DropUser(DropRole { if_exists: flag, name }),
        3 => {
            let identity = choices.string();
            Statement::AddIdentity(Box::new(AddIdentity { if_not_exists: flag, identity, role: name }))
        }
        _ => Statement::DropIdentity(DropIdentity { if_exists: flag, identity: choices.string() }),
    }
}

fn permissions(choices: &mut Choices) -> Permissions {
    if choices.flag() {
        return Permissions::All;
    }
    Permissions::Only(choices.several(1, |choices| choices.one_of(&Permission::ALL)))
}

fn resource(choices: &mut Choices) -> Resource {
    match choices.below(12) {
        0 => Resource::AllKeyspaces,
        1 => Resource::Keyspace(choices.name()),
        2 => Resource::AllTablesIn(choices.name()),
        3 => Resource::Table(choices.qualified()),
        4 => Resource::AllRoles,
        5 => Resource::Role(role_name(choices)),
        6 => Resource::AllFunctions,
        7 => Resource::AllFunctionsIn(choices.name()),
        8 => Resource::Function { name: choices.qualified(), argument_types: choices.several(0, cql_type) },
        9 => Resource::AllMbeans,
        10 => Resource::Mbean(choices.string()),
        _ => Resource::Mbeans(choices.string()),
    }
}

fn permission_statement(choices: &mut Choices) -> Statement {
    let change =
        PermissionChange { permissions: permissions(choices), resource: resource(choices), role: role_name(choices) };
    if choices.flag() {
        return Statement::RevokePermissions(Box::new(change));
    }
    Statement::GrantPermissions(Box::new(change))
}

fn listing(choices: &mut Choices) -> Statement {
    match choices.below(4) {
        0 => Statement::ListUsers,
        1 => Statement::ListSuperusers,
        2 => Statement::ListRoles(ListRoles { of: choices.maybe(role_name), recursive: choices.flag() }),
        _ => Statement::ListPermissions(Box::new(ListPermissions {
            permissions: permissions(choices),
            resource: choices.maybe(resource),
            of: choices.maybe(role_name),
            recursive: choices.flag(),
        })),
    }
}
