//! Trees to text: `Display` for everything in [`crate::ast`].
//!
//! The print is one line in canonical form: keywords in upper case, names quoted only where they must be, synonyms as
//! their newer word. It parses back to an equal tree. A password is printed in clear: do not log a print of a role.

mod modification;
mod name;
mod permission;
mod role;
mod schema;
mod select;
mod table;
mod term;

pub use name::{quote_identifier, quote_string};

use crate::ast::{Describe, DescribeTarget, Statement};
use crate::keyword::Keyword;
use name::{FunctionName, Quoted, TypeName, quoted_name};
use std::fmt::{Display, Formatter, Result};

/// Items with something between them.
struct Separated<'a, T>(&'a [T], &'static str);

impl<T: Display> Display for Separated<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(self.1)?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

fn commas<T>(items: &[T]) -> Separated<'_, T> {
    Separated(items, ", ")
}

fn ands<T>(items: &[T]) -> Separated<'_, T> {
    Separated(items, " AND ")
}

/// A text that is there only under a condition.
fn when(condition: bool, text: &'static str) -> &'static str {
    if condition { text } else { "" }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Statement::Select(statement) => statement.fmt(f),
            Statement::Insert(statement) => statement.fmt(f),
            Statement::Update(statement) => statement.fmt(f),
            Statement::Delete(statement) => statement.fmt(f),
            Statement::Batch(statement) => statement.fmt(f),
            Statement::Use(keyspace) => write!(f, "USE {keyspace}"),
            Statement::Truncate(table) => write!(f, "TRUNCATE TABLE {table}"),
            Statement::CreateKeyspace(statement) => statement.fmt(f),
            Statement::AlterKeyspace(statement) => statement.fmt(f),
            Statement::DropKeyspace(statement) => statement.fmt(f),
            Statement::CreateTable(statement) => statement.fmt(f),
            Statement::AlterTable(statement) => statement.fmt(f),
            Statement::DropTable(statement) => statement.fmt(f),
            Statement::CreateType(statement) => statement.fmt(f),
            Statement::AlterType(statement) => statement.fmt(f),
            Statement::DropType(statement) => statement.fmt(f),
            Statement::CreateIndex(statement) => statement.fmt(f),
            Statement::DropIndex(statement) => statement.fmt(f),
            Statement::CreateMaterializedView(statement) => statement.fmt(f),
            Statement::AlterMaterializedView(statement) => statement.fmt(f),
            Statement::DropMaterializedView(statement) => statement.fmt(f),
            Statement::CreateFunction(statement) => statement.fmt(f),
            Statement::DropFunction(dropped) => schema::drop_function(f, "FUNCTION", dropped),
            Statement::CreateAggregate(statement) => statement.fmt(f),
            Statement::DropAggregate(dropped) => schema::drop_function(f, "AGGREGATE", dropped),
            Statement::CreateTrigger(statement) => statement.fmt(f),
            Statement::DropTrigger(statement) => statement.fmt(f),
            Statement::CreateRole(role) => role::role(f, "CREATE ROLE ", "IF NOT EXISTS ", role),
            Statement::AlterRole(role) => role::role(f, "ALTER ROLE ", "IF EXISTS ", role),
            Statement::DropRole(dropped) => role::drop_role(f, dropped),
            Statement::CreateUser(statement) => statement.fmt(f),
            Statement::AlterUser(statement) => statement.fmt(f),
            Statement::DropUser(dropped) => {
                write!(f, "DROP USER {}{}", when(dropped.if_exists, "IF EXISTS "), Quoted(dropped.name.as_str()))
            }
            Statement::AddIdentity(statement) => statement.fmt(f),
            Statement::DropIdentity(statement) => statement.fmt(f),
            Statement::GrantPermissions(change) => permission::change(f, "GRANT", "TO", change),
            Statement::RevokePermissions(change) => permission::change(f, "REVOKE", "FROM", change),
            Statement::ListPermissions(statement) => statement.fmt(f),
            Statement::GrantRole(change) => role::change(f, "GRANT", "TO", change),
            Statement::RevokeRole(change) => role::change(f, "REVOKE", "FROM", change),
            Statement::ListRoles(statement) => statement.fmt(f),
            Statement::ListUsers => f.write_str("LIST USERS"),
            Statement::ListSuperusers => f.write_str("LIST SUPERUSERS"),
            Statement::Describe(statement) => statement.fmt(f),
        }
    }
}

impl Display for Describe {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "DESCRIBE {}{}", self.target, when(self.with_internals, " WITH INTERNALS"))
    }
}

impl Display for DescribeTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            DescribeTarget::Cluster => f.write_str("CLUSTER"),
            DescribeTarget::Schema { full } => write!(f, "{}SCHEMA", when(*full, "FULL ")),
            DescribeTarget::Keyspaces => f.write_str("KEYSPACES"),
            DescribeTarget::Keyspace { name, only } => {
                write!(f, "{}KEYSPACE", when(*only, "ONLY "))?;
                name.iter().try_for_each(|name| write!(f, " {name}"))
            }
            DescribeTarget::Tables => f.write_str("TABLES"),
            DescribeTarget::Table(name) => write!(f, "TABLE {name}"),
            DescribeTarget::Index(name) => write!(f, "INDEX {name}"),
            DescribeTarget::MaterializedView(name) => write!(f, "MATERIALIZED VIEW {name}"),
            DescribeTarget::Types => f.write_str("TYPES"),
            DescribeTarget::Type(name) => write!(f, "TYPE {}", TypeName(name)),
            DescribeTarget::Functions => f.write_str("FUNCTIONS"),
            DescribeTarget::Function(name) => write!(f, "FUNCTION {}", FunctionName(name)),
            DescribeTarget::Aggregates => f.write_str("AGGREGATES"),
            DescribeTarget::Aggregate(name) => write!(f, "AGGREGATE {}", FunctionName(name)),
            // A bare keyword would be one of the forms above.
            DescribeTarget::Generic(name) if Keyword::of(name.name.as_str().as_bytes()).is_some() => {
                name.keyspace.iter().try_for_each(|keyspace| write!(f, "{keyspace}."))?;
                quoted_name(f, name.name.as_str())
            }
            DescribeTarget::Generic(name) => name.fmt(f),
        }
    }
}
