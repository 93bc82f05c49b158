//! ALTER TABLE: ADD, DROP and RENAME of columns.

use super::table::table_draft;
use super::{Draft, checks};
use crate::error::{CqlError, CqlResult};
use crate::schema::{
    Change, Column, ColumnKind, DroppedColumn, Keyspace, NewColumn, Schema, SchemaChangeKind, Table, TableDefinition,
};
use holon_cql::CqlType;
use std::rc::Rc;

pub(super) fn apply(schema: &Schema, change: &Change) -> CqlResult<Option<Draft>> {
    let (name, if_exists) = match change {
        Change::AddColumns { table, if_exists, .. }
        | Change::DropColumns { table, if_exists, .. }
        | Change::RenameColumns { table, if_exists, .. } => (table, *if_exists),
        _ => return Ok(None),
    };
    let Some((mut keyspace, table)) = table_draft(schema, name, if_exists)? else { return Ok(None) };
    let mut definition = table.definition().clone();
    match change {
        Change::AddColumns { if_not_exists, columns, .. } => {
            for column in columns {
                add(&keyspace, &table, &mut definition, column, *if_not_exists)?;
            }
        }
        Change::DropColumns { if_column_exists, columns, dropped_at_micros, .. } => {
            for column in columns {
                drop_column(&mut definition, column, *if_column_exists, *dropped_at_micros)?;
            }
        }
        Change::RenameColumns { if_column_exists, renames, .. } => {
            for (from, to) in renames {
                rename(&mut definition, from, to, *if_column_exists)?;
            }
        }
        _ => {}
    }
    if definition == *table.definition() {
        return Ok(None);
    }
    checks::table(&definition, table.is_counter())?;
    keyspace.tables.insert(name.name.clone(), Rc::new(Table::new(definition)));
    Ok(Some(Draft::of_table(keyspace, SchemaChangeKind::Updated, name)))
}

fn position_of(definition: &TableDefinition, name: &str) -> Option<usize> {
    definition.columns.iter().position(|column| *column.name == *name)
}

fn qualified(definition: &TableDefinition) -> String {
    format!("{}.{}", definition.keyspace, definition.name)
}

fn add(
    keyspace: &Keyspace,
    table: &Table,
    definition: &mut TableDefinition,
    column: &NewColumn,
    if_not_exists: bool,
) -> CqlResult<()> {
    let name = &column.name;
    let column_type = checks::column_type(keyspace, name, &column.column_type, column.kind)?;
    if position_of(definition, name).is_some() {
        if if_not_exists {
            return Ok(());
        }
        return Err(CqlError::Invalid(format!("Column with name '{name}' already exists")));
    }
    if column.kind == ColumnKind::Static && table.clustering().is_empty() {
        return Err(checks::useless_static());
    }
    if let Some(dropped) = definition.dropped.get(name) {
        check_readdition(table, column, &column_type, dropped)?;
    }
    let id = definition.next_column_id;
    definition.next_column_id = id.checked_add(1).ok_or_else(|| {
        CqlError::Invalid(format!("table {} has used up its column ids; create another table", qualified(definition)))
    })?;
    definition.columns.push(Column {
        id,
        name: name.clone(),
        kind: column.kind,
        column_type,
        position: 0,
        is_descending: false,
        index: 0,
    });
    Ok(())
}

/// Old data cannot come back here (a column that is added again has a new id), but clients that know Cassandra's rules
/// and backups of both worlds count on them.
fn check_readdition(
    table: &Table,
    column: &NewColumn,
    column_type: &CqlType,
    dropped: &DroppedColumn,
) -> CqlResult<()> {
    let name = &column.name;
    let refuse = |text: String| Err(CqlError::Invalid(text));
    if !checks::reads_values_of(&checks::without_user_types(column_type), &dropped.column_type) {
        return refuse(format!(
            "Cannot re-add previously dropped column '{name}' of type {column_type}, incompatible with previous type {}",
            dropped.column_type
        ));
    }
    if column.kind != dropped.kind {
        return refuse(format!(
            "Cannot re-add previously dropped column '{name}' of kind {}, incompatible with previous kind {}",
            column.kind.name().to_uppercase(),
            dropped.kind.name().to_uppercase()
        ));
    }
    if table.is_counter() {
        return refuse(format!("Cannot re-add previously dropped counter column {name}"));
    }
    Ok(())
}

fn drop_column(
    definition: &mut TableDefinition,
    name: &Rc<str>,
    if_column_exists: bool,
    dropped_at_micros: i64,
) -> CqlResult<()> {
    let Some(position) = position_of(definition, name) else {
        if if_column_exists {
            return Ok(());
        }
        let table = qualified(definition);
        return Err(CqlError::Invalid(format!("Column {name} was not found in table '{table}'")));
    };
    if definition.columns[position].kind.is_primary_key() {
        return Err(CqlError::Invalid(format!("Cannot drop PRIMARY KEY column {name}")));
    }
    let column = definition.columns.remove(position);
    let dropped = DroppedColumn {
        id: column.id,
        name: column.name,
        kind: column.kind,
        // The user type may be dropped later.
        column_type: checks::without_user_types(&column.column_type),
        dropped_at_micros,
    };
    definition.dropped.insert(name.clone(), dropped);
    Ok(())
}

fn rename(definition: &mut TableDefinition, from: &Rc<str>, to: &Rc<str>, if_column_exists: bool) -> CqlResult<()> {
    let table = qualified(definition);
    let Some(position) = position_of(definition, from) else {
        if if_column_exists {
            return Ok(());
        }
        return Err(CqlError::Invalid(format!("Column {from} was not found in table '{table}'")));
    };
    if !definition.columns[position].kind.is_primary_key() {
        return Err(CqlError::Invalid(format!("Cannot rename non PRIMARY KEY column {from}")));
    }
    if position_of(definition, to).is_some() {
        return Err(CqlError::Invalid(format!(
            "Cannot rename column {from} to {to} in table '{table}'; another column with that name already exists"
        )));
    }
    checks::inner_name("column", to)?;
    definition.columns[position].name = to.clone();
    Ok(())
}
