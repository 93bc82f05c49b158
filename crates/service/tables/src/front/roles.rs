//! Statements on roles, as far as accounts go: a role with a password is an account. What a role may do is not told
//! apart yet, so superusers, permissions and grants are refused rather than taken and not enforced.

use super::accounts::AccountChange;
use super::connection::{Answer, Connection};
use crate::error::{CqlError, CqlResult};
use crate::service::TablesService;
use holon_cql::response::ResultResponse;
use holon_cql_language::ast::{RoleOption, Statement, UserPassword};
use std::rc::Rc;

pub fn is_role_statement(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::CreateRole(_)
            | Statement::AlterRole(_)
            | Statement::DropRole(_)
            | Statement::CreateUser(_)
            | Statement::AlterUser(_)
            | Statement::DropUser(_)
            | Statement::AddIdentity(_)
            | Statement::DropIdentity(_)
            | Statement::GrantPermissions(_)
            | Statement::RevokePermissions(_)
            | Statement::ListPermissions(_)
            | Statement::GrantRole(_)
            | Statement::RevokeRole(_)
            | Statement::ListRoles(_)
            | Statement::ListUsers
            | Statement::ListSuperusers
    )
}

/// What is wanted of an account.
struct Wanted<'a> {
    name: &'a str,
    password: Option<&'a str>,
    create: bool,
    /// `IF NOT EXISTS` of CREATE, `IF EXISTS` of the others.
    if_clause: bool,
}

pub async fn run(service: &Rc<TablesService>, connection: &Connection, statement: &Statement) -> CqlResult<Answer> {
    if service.config().authentication.is_off() {
        let text = "roles need password authentication; start the node with --auth password and make the first \
                    account with `holon user create`";
        return Err(CqlError::invalid(text));
    }
    match statement {
        Statement::CreateRole(role) | Statement::AlterRole(role) => {
            let password = role_password(&role.options)?;
            let create = matches!(statement, Statement::CreateRole(_));
            let (name, if_clause) = (role.name.as_str(), role.if_clause);
            set(service, Wanted { name, password, create, if_clause }).await
        }
        Statement::CreateUser(user) => {
            refuse_superuser(user.superuser)?;
            let (name, if_clause) = (user.name.as_str(), user.if_not_exists);
            let password = user_password(user.password.as_ref())?;
            set(service, Wanted { name, password, create: true, if_clause }).await
        }
        Statement::AlterUser(user) => {
            refuse_superuser(user.superuser)?;
            let (name, if_clause) = (user.name.as_str(), user.if_exists);
            let password = user_password(user.password.as_ref())?;
            set(service, Wanted { name, password, create: false, if_clause }).await
        }
        Statement::DropRole(role) | Statement::DropUser(role) => {
            if connection.account().as_deref() == Some(role.name.as_str()) {
                return Err(CqlError::invalid("Cannot DROP primary role for current login"));
            }
            let change = AccountChange::Drop { name: role.name.as_str().to_string() };
            propose(service, change, role.if_exists).await
        }
        _ => Err(CqlError::invalid(
            "permissions, grants and lists of roles are not available: every account may do everything",
        )),
    }
}

async fn set(service: &Rc<TablesService>, wanted: Wanted<'_>) -> CqlResult<Answer> {
    let Some(password) = wanted.password else {
        return Err(CqlError::invalid("a role needs a password here: only accounts that log in are kept"));
    };
    let change = service.accounts().change(service.shard(), wanted.name, password, wanted.create).await?;
    propose(service, change, wanted.if_clause).await
}

async fn propose(service: &Rc<TablesService>, change: AccountChange, if_clause: bool) -> CqlResult<Answer> {
    match service.change_account(change).await {
        // IF [NOT] EXISTS: an account that is there, or is not, is what was wanted.
        Err(CqlError::Invalid(_)) if if_clause => {}
        other => other?,
    }
    Ok(Answer::result(ResultResponse::Void))
}

fn role_password(options: &[RoleOption]) -> CqlResult<Option<&str>> {
    let mut password = None;
    for option in options {
        match option {
            RoleOption::Password(text) => password = Some(&**text),
            RoleOption::Login(true) => {}
            RoleOption::Superuser(value) => refuse_superuser(Some(*value))?,
            _ => return Err(CqlError::invalid("of a role only PASSWORD and LOGIN = true can be set here")),
        }
    }
    Ok(password)
}

fn user_password(password: Option<&UserPassword>) -> CqlResult<Option<&str>> {
    match password {
        None => Ok(None),
        Some(UserPassword::Plain(text)) => Ok(Some(text)),
        Some(_) => Err(CqlError::invalid("give the password itself: hashed and generated ones are not available")),
    }
}

fn refuse_superuser(superuser: Option<bool>) -> CqlResult<()> {
    match superuser {
        Some(true) => Err(CqlError::invalid("there are no superusers here: every account may do everything")),
        _ => Ok(()),
    }
}
