//! What a DESCRIBE statement is about, in the order of its answer.

use super::{DescribeContext, statements};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Keyspace, KeyspaceKind, Schema, Table, UserType};
use bytes::Bytes;
use holon_cql_language::ast::{DescribeTarget, Identifier, QualifiedName};
use holon_cql_language::quote_identifier;
use std::rc::Rc;
use std::sync::Arc;

/// One row of an answer.
pub(super) enum Element<'a> {
    Keyspace(&'a Rc<Keyspace>),
    Type(&'a Arc<UserType>),
    Table(&'a Rc<Keyspace>, &'a Rc<Table>),
}

impl Element<'_> {
    pub(super) fn row(&self, with_statement: bool, with_internals: bool) -> Vec<Option<Bytes>> {
        let (keyspace, kind, name) = match self {
            Element::Keyspace(keyspace) => (&*keyspace.name, "keyspace", &*keyspace.name),
            Element::Type(user_type) => (user_type.keyspace.as_str(), "type", user_type.name.as_str()),
            Element::Table(keyspace, table) => (&*keyspace.name, "table", &*table.name),
        };
        let mut cells =
            vec![quote_identifier(keyspace).to_string(), kind.to_string(), quote_identifier(name).to_string()];
        if with_statement {
            cells.push(self.statement(with_internals));
        }
        cells.into_iter().map(|cell| Some(Bytes::from(cell))).collect()
    }

    fn statement(&self, with_internals: bool) -> String {
        match self {
            Element::Keyspace(keyspace) => statements::create_keyspace(keyspace),
            Element::Type(user_type) => statements::create_type(user_type),
            Element::Table(keyspace, table) => {
                statements::create_table(table, keyspace.kind == KeyspaceKind::Virtual, with_internals)
            }
        }
    }
}

/// Whether the answer has the column `create_statement`.
pub(super) fn has_statements(target: &DescribeTarget) -> bool {
    use DescribeTarget::*;
    !matches!(target, Keyspaces | Tables | Types | Functions | Aggregates)
}

pub(super) fn of<'a>(context: &'a DescribeContext<'_>, target: &DescribeTarget) -> CqlResult<Vec<Element<'a>>> {
    let schema = context.schema;
    match target {
        DescribeTarget::Cluster => Ok(Vec::new()),
        DescribeTarget::Schema { full } => Ok(schema
            .all_keyspaces()
            .filter(|keyspace| *full || !keyspace.is_reserved())
            .flat_map(whole_keyspace)
            .collect()),
        DescribeTarget::Keyspaces => Ok(schema.all_keyspaces().map(Element::Keyspace).collect()),
        DescribeTarget::Keyspace { name, only } => {
            let name = name.as_ref().map(Identifier::as_str);
            let keyspace = in_use_or_named(context, name)?;
            Ok(if *only { vec![Element::Keyspace(keyspace)] } else { whole_keyspace(keyspace) })
        }
        DescribeTarget::Tables => {
            let tables = |keyspace: &'a Rc<Keyspace>| {
                keyspace.tables.values().map(move |table| Element::Table(keyspace, table)).collect()
            };
            listing(context, tables)
        }
        DescribeTarget::Types => listing(context, |keyspace| keyspace.types.values().map(Element::Type).collect()),
        DescribeTarget::Functions | DescribeTarget::Aggregates => listing(context, |_| Vec::new()),
        DescribeTarget::Table(name) => table(context, name),
        DescribeTarget::Type(name) => {
            let keyspace = in_use_or_named(context, keyspace_of(name))?;
            let found = keyspace.user_type(name.name.as_str());
            let found = found.ok_or_else(|| missing("User defined type", name, keyspace))?;
            Ok(vec![Element::Type(found)])
        }
        DescribeTarget::Index(name) => {
            let keyspace = in_use_or_named(context, keyspace_of(name))?;
            Err(CqlError::Invalid(format!(
                "Table for existing index '{}' not found in '{}'",
                name.name.as_str(),
                keyspace.name
            )))
        }
        DescribeTarget::MaterializedView(name) => absent(context, "Materialized view", name),
        DescribeTarget::Function(name) => absent(context, "User defined function", name),
        DescribeTarget::Aggregate(name) => absent(context, "User defined aggregate", name),
        DescribeTarget::Generic(name) => generic(context, name),
    }
}

fn keyspace_of(name: &QualifiedName) -> Option<&str> {
    name.keyspace.as_ref().map(Identifier::as_str)
}

fn known<'a>(schema: &'a Schema, name: &str) -> CqlResult<&'a Rc<Keyspace>> {
    schema.keyspace(name).ok_or_else(|| CqlError::Invalid(format!("'{name}' not found in keyspaces")))
}

fn in_use_or_named<'a>(context: &'a DescribeContext<'_>, name: Option<&str>) -> CqlResult<&'a Rc<Keyspace>> {
    let name = name.or(context.keyspace);
    known(context.schema, name.ok_or_else(|| CqlError::invalid("No keyspace specified and no current keyspace"))?)
}

fn missing(kind: &str, name: &QualifiedName, keyspace: &Keyspace) -> CqlError {
    CqlError::Invalid(format!("{kind} '{}' not found in '{}'", name.name.as_str(), keyspace.name))
}

/// A kind of which there are none yet.
fn absent<'a>(context: &'a DescribeContext<'_>, kind: &str, name: &QualifiedName) -> CqlResult<Vec<Element<'a>>> {
    Err(missing(kind, name, in_use_or_named(context, keyspace_of(name))?))
}

/// Of the keyspace in use, or of all.
fn listing<'a>(
    context: &'a DescribeContext<'_>,
    elements: impl Fn(&'a Rc<Keyspace>) -> Vec<Element<'a>>,
) -> CqlResult<Vec<Element<'a>>> {
    Ok(match context.keyspace {
        Some(name) => elements(known(context.schema, name)?),
        None => context.schema.all_keyspaces().flat_map(elements).collect(),
    })
}

fn whole_keyspace(keyspace: &Rc<Keyspace>) -> Vec<Element<'_>> {
    let mut elements = vec![Element::Keyspace(keyspace)];
    elements.extend(types_by_use(keyspace).into_iter().map(Element::Type));
    elements.extend(keyspace.tables.values().map(|table| Element::Table(keyspace, table)));
    elements
}

/// A type comes after those it uses, so that the statements can be executed in this order; else by name.
fn types_by_use(keyspace: &Keyspace) -> Vec<&Arc<UserType>> {
    let mut ordered: Vec<&Arc<UserType>> = Vec::new();
    let mut waiting: Vec<&Arc<UserType>> = keyspace.types.values().collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        let blocking = waiting.clone();
        waiting.retain(|user_type| {
            let is_blocked = blocking.iter().any(|other| other.name != user_type.name && uses(user_type, &other.name));
            if !is_blocked {
                ordered.push(user_type);
            }
            is_blocked
        });
        if waiting.len() == before {
            // Types cannot use each other in a circle; should they ever, show them rather than loop.
            ordered.append(&mut waiting);
        }
    }
    ordered
}

fn uses(user_type: &UserType, name: &str) -> bool {
    user_type.fields.iter().any(|field| crate::schema::transform::uses_type(&field.cql_type, name))
}

fn table<'a>(context: &'a DescribeContext<'_>, name: &QualifiedName) -> CqlResult<Vec<Element<'a>>> {
    let keyspace = in_use_or_named(context, keyspace_of(name))?;
    let found = keyspace.table(name.name.as_str()).ok_or_else(|| {
        CqlError::Invalid(format!("Table '{}' not found in keyspace '{}'", name.name.as_str(), keyspace.name))
    })?;
    Ok(vec![Element::Table(keyspace, found)])
}

/// "A keyspace or a table or an index or a materialized view (in this order)", says the help of cqlsh.
fn generic<'a>(context: &'a DescribeContext<'_>, name: &QualifiedName) -> CqlResult<Vec<Element<'a>>> {
    let (named, element) = (keyspace_of(name), name.name.as_str());
    if named.is_none()
        && let Some(keyspace) = context.schema.keyspace(element)
    {
        return Ok(whole_keyspace(keyspace));
    }
    let keyspace = known(context.schema, named.or(context.keyspace).unwrap_or(element))?;
    match keyspace.table(element) {
        Some(found) => Ok(vec![Element::Table(keyspace, found)]),
        None => Err(CqlError::Invalid(format!("'{element}' not found in keyspace '{}'", keyspace.name))),
    }
}
