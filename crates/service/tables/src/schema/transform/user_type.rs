//! CREATE, ALTER and DROP TYPE. A type that changes, changes in every type and table that uses it.

use super::{Draft, checks};
use crate::error::{CqlError, CqlResult};
use crate::schema::change::QualifiedName;
use crate::schema::codec::{resolve, resolve_fields};
use crate::schema::{Change, Keyspace, Schema, SchemaChangeKind, Table, UserField, UserType};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub(super) fn apply(schema: &Schema, change: &Change) -> CqlResult<Option<Draft>> {
    match change {
        Change::CreateType { user_type, if_not_exists, fields } => create(schema, user_type, *if_not_exists, fields),
        Change::AddField { user_type, if_exists, if_not_exists, field } => {
            let Some((mut keyspace, found)) = type_draft(schema, user_type, *if_exists)? else { return Ok(None) };
            let Some(altered) = add_field(&keyspace, &found, field, *if_not_exists)? else { return Ok(None) };
            replace(&mut keyspace, altered)?;
            Ok(Some(Draft::of_type(keyspace, SchemaChangeKind::Updated, user_type)))
        }
        Change::RenameFields { user_type, if_exists, if_field_exists, renames } => {
            let Some((mut keyspace, found)) = type_draft(schema, user_type, *if_exists)? else { return Ok(None) };
            let altered = rename_fields(&found, renames, *if_field_exists)?;
            if altered == *found {
                return Ok(None);
            }
            replace(&mut keyspace, altered)?;
            Ok(Some(Draft::of_type(keyspace, SchemaChangeKind::Updated, user_type)))
        }
        Change::DropType { user_type, if_exists } => drop_type(schema, user_type, *if_exists),
        _ => Ok(None),
    }
}

fn create(
    schema: &Schema,
    name: &QualifiedName,
    if_not_exists: bool,
    fields: &[UserField],
) -> CqlResult<Option<Draft>> {
    let mut keyspace = schema.keyspace_draft(&name.keyspace)?;
    if keyspace.user_type(&name.name).is_some() {
        if if_not_exists {
            return Ok(None);
        }
        return Err(CqlError::Invalid(format!("A user type with name '{}' already exists", name.name)));
    }
    let mut created = UserType { keyspace: name.keyspace.to_string(), name: name.name.to_string(), fields: Vec::new() };
    for field in fields {
        if created.fields.iter().any(|other| other.name == field.name) {
            return Err(CqlError::Invalid(format!("Duplicate field name '{}' in type '{}'", field.name, name.name)));
        }
        checks::inner_name("field", &field.name)?;
        let cql_type = checks::field_type(&keyspace, &field.cql_type)?;
        created.fields.push(UserField { name: field.name.clone(), cql_type });
    }
    keyspace.types.insert(name.name.clone(), Arc::new(created));
    Ok(Some(Draft::of_type(keyspace, SchemaChangeKind::Created, name)))
}

fn type_draft(schema: &Schema, name: &QualifiedName, if_exists: bool) -> CqlResult<Option<(Keyspace, Arc<UserType>)>> {
    match schema.user_type(&name.keyspace, &name.name).cloned() {
        Some(found) => Ok(Some((schema.keyspace_draft(&name.keyspace)?, found))),
        None if if_exists => Ok(None),
        None => Err(CqlError::Invalid(format!("Type {name} doesn't exist"))),
    }
}

fn add_field(
    keyspace: &Keyspace,
    user_type: &UserType,
    field: &UserField,
    if_not_exists: bool,
) -> CqlResult<Option<UserType>> {
    let (name, type_name) = (&field.name, &user_type.name);
    checks::inner_name("field", name)?;
    if user_type.fields.iter().any(|other| other.name == *name) {
        if if_not_exists {
            return Ok(None);
        }
        return Err(CqlError::Invalid(format!(
            "Cannot add field {name} to type {type_name}: a field with name {name} already exists"
        )));
    }
    let cql_type = checks::field_type(keyspace, &field.cql_type)?;
    if checks::uses_type(&cql_type, type_name) {
        return Err(CqlError::Invalid(format!(
            "Cannot add new field {name} of type {cql_type} to user type {type_name} as it would create a circular \
             reference"
        )));
    }
    let keys: Vec<String> = keyspace
        .tables
        .values()
        .filter(|table| table.partition_key().iter().any(|key| checks::uses_type(&key.column_type, type_name)))
        .map(|table| format!("{}.{}", table.keyspace, table.name))
        .collect();
    if !keys.is_empty() {
        return Err(CqlError::Invalid(format!(
            "Cannot add new field {name} of type {cql_type} to user type {type_name} as the type is being used in \
             partition key by the following tables: {}",
            keys.join(", ")
        )));
    }
    let mut altered = user_type.clone();
    altered.fields.push(UserField { name: name.clone(), cql_type });
    Ok(Some(altered))
}

fn rename_fields(user_type: &UserType, renames: &[(Rc<str>, Rc<str>)], if_field_exists: bool) -> CqlResult<UserType> {
    let mut altered = user_type.clone();
    for (from, to) in renames {
        match user_type.fields.iter().position(|field| field.name == **from) {
            Some(position) => {
                checks::inner_name("field", to)?;
                altered.fields[position].name = to.to_string();
            }
            None if if_field_exists => {}
            None => {
                return Err(CqlError::Invalid(format!("Unknown field {from} in user type {}", user_type.name)));
            }
        }
    }
    for field in &altered.fields {
        if altered.fields.iter().filter(|other| other.name == field.name).count() > 1 {
            return Err(CqlError::Invalid(format!("Duplicate field name {} in type {}", field.name, user_type.name)));
        }
    }
    Ok(altered)
}

/// Puts the altered type in the place of the old one, wherever that is used. A key of the map of types is never used by
/// itself, directly or not, so that resolving again as often as types can nest reaches every use.
fn replace(keyspace: &mut Keyspace, altered: UserType) -> CqlResult<()> {
    let mut types = keyspace.types.clone();
    types.insert(altered.name.as_str().into(), Arc::new(altered));
    loop {
        let next: Result<BTreeMap<Rc<str>, Arc<UserType>>, String> = types
            .iter()
            .map(|(name, user_type)| {
                let resolved = resolve_fields(user_type, &|_, name| types.get(name).cloned())?;
                Ok((name.clone(), Arc::new(resolved)))
            })
            .collect();
        let next = next.map_err(checks::unknown_type)?;
        for field in next.values().flat_map(|user_type| &user_type.fields) {
            checks::bounded(&field.cql_type)?;
        }
        if next == types {
            break;
        }
        types = next;
    }
    let mut tables = BTreeMap::new();
    for (name, table) in &keyspace.tables {
        let mut definition = table.definition().clone();
        for column in &mut definition.columns {
            column.column_type =
                resolve(&column.column_type, &|_, name| types.get(name).cloned()).map_err(checks::unknown_type)?;
            checks::bounded(&column.column_type)?;
            checks::no_nested_multi_cell(&column.column_type)?;
        }
        let is_same = definition == *table.definition();
        tables.insert(name.clone(), if is_same { table.clone() } else { Rc::new(Table::new(definition)) });
    }
    keyspace.types = types;
    keyspace.tables = tables;
    Ok(())
}

fn drop_type(schema: &Schema, name: &QualifiedName, if_exists: bool) -> CqlResult<Option<Draft>> {
    let Some(found) = schema.user_type(&name.keyspace, &name.name) else {
        if if_exists {
            return Ok(None);
        }
        return Err(CqlError::Invalid(format!("Type '{name}' doesn't exist")));
    };
    let mut keyspace = schema.keyspace_draft(&name.keyspace)?;
    let users = |kind: &str, names: Vec<String>| {
        CqlError::Invalid(format!("Cannot drop user type '{name}' as it is still used by {kind} {}", names.join(", ")))
    };
    let types: Vec<String> = keyspace
        .types
        .values()
        .filter(|other| other.fields.iter().any(|field| checks::uses_type(&field.cql_type, &found.name)))
        .map(|other| other.name.clone())
        .collect();
    if !types.is_empty() {
        return Err(users("user types", types));
    }
    let uses = |table: &Table| table.columns.iter().any(|column| checks::uses_type(&column.column_type, &found.name));
    let tables: Vec<String> =
        keyspace.tables.values().filter(|table| uses(table)).map(|table| table.name.to_string()).collect();
    if !tables.is_empty() {
        return Err(users("tables", tables));
    }
    keyspace.types.remove(&name.name);
    Ok(Some(Draft::of_type(keyspace, SchemaChangeKind::Dropped, name)))
}
