//! CREATE and DROP TABLE, ALTER TABLE … WITH.

use super::{Draft, checks};
use crate::error::{CqlError, CqlResult};
use crate::schema::change::{OptionChanges, QualifiedName};
use crate::schema::codec::name_uuid;
use crate::schema::{
    Change, Column, ColumnKind, Durability, Keyspace, KeyspaceKind, NewColumn, Replication, Schema, SchemaChangeKind,
    Table, TableDefinition, TableId, TableOptions,
};
use holon_base::GroupId;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) fn apply(schema: &Schema, index: u64, change: &Change) -> CqlResult<Option<Draft>> {
    match change {
        Change::CreateTable { table, if_not_exists, id, tablets, columns, options } => {
            let mut keyspace = schema.keyspace_draft(&table.keyspace)?;
            if keyspace.table(&table.name).is_some() {
                if *if_not_exists {
                    return Ok(None);
                }
                return Err(CqlError::AlreadyExists {
                    keyspace: table.keyspace.to_string(),
                    table: table.name.to_string(),
                });
            }
            checks::table_count(schema)?;
            let id = table_id(schema, index, *id)?;
            let created = create(&keyspace, table, id, GroupId(index), *tablets, columns, options)?;
            keyspace.tables.insert(table.name.clone(), Rc::new(created));
            let mut draft = Draft::of_table(keyspace, SchemaChangeKind::Created, table);
            draft.create_tablets = Some(*tablets);
            Ok(Some(draft))
        }
        Change::SetTableOptions { table, if_exists, options } => {
            let Some((mut keyspace, altered)) = table_draft(schema, table, *if_exists)? else { return Ok(None) };
            let mut definition = altered.definition().clone();
            for option in options {
                definition.options.set(option.clone());
            }
            checks::table(&definition, altered.is_counter())?;
            keyspace.tables.insert(table.name.clone(), Rc::new(Table::new(definition)));
            Ok(Some(Draft::of_table(keyspace, SchemaChangeKind::Updated, table)))
        }
        Change::DropTable { table, if_exists } => {
            let Some((mut keyspace, dropped)) = table_draft(schema, table, *if_exists)? else { return Ok(None) };
            keyspace.tables.remove(&table.name);
            let mut draft = Draft::of_table(keyspace, SchemaChangeKind::Dropped, table);
            draft.remove_groups = vec![dropped.group];
            Ok(Some(draft))
        }
        _ => Ok(None),
    }
}

/// The table and a copy of its keyspace to be changed; `None` if it does not exist and need not.
pub(super) fn table_draft(
    schema: &Schema,
    name: &QualifiedName,
    if_exists: bool,
) -> CqlResult<Option<(Keyspace, Rc<Table>)>> {
    match schema.table(&name.keyspace, &name.name).cloned() {
        Some(table) => Ok(Some((schema.keyspace_draft(&name.keyspace)?, table))),
        None if if_exists => Ok(None),
        None => Err(CqlError::Invalid(format!("Table '{name}' doesn't exist"))),
    }
}

fn table_id(schema: &Schema, index: u64, wanted: Option<TableId>) -> CqlResult<TableId> {
    // Of the index alone: two tables of the same name, one made after the other was dropped, are not the same.
    let mut seed = *b"holon table \0\0\0\0\0\0\0\0";
    seed[12..].copy_from_slice(&index.to_be_bytes());
    let id = wanted.unwrap_or(TableId(name_uuid(&seed)));
    match schema.table_by_id(id) {
        Some(other) => Err(CqlError::Config(format!(
            "table id {id} is taken by {}.{}; leave it out or choose another",
            other.keyspace, other.name
        ))),
        None => Ok(id),
    }
}

/// A table of the system: no tablets, and the id that Cassandra gives to a system table of this name.
pub(crate) fn system_table(name: &QualifiedName, columns: &[NewColumn], options: &OptionChanges) -> CqlResult<Table> {
    let keyspace = Keyspace {
        name: name.keyspace.clone(),
        kind: KeyspaceKind::System,
        replication: Replication::Local,
        durable_writes: true,
        durability: Durability::Sync,
        tables: BTreeMap::new(),
        types: BTreeMap::new(),
    };
    let id = TableId(name_uuid(format!("{}{}", name.keyspace, name.name).as_bytes()));
    let table = create(&keyspace, name, id, GroupId(0), 1, columns, options)?;
    Ok(Table::new(TableDefinition { tablets: 0, ..table.definition().clone() }))
}

fn create(
    keyspace: &Keyspace,
    name: &QualifiedName,
    id: TableId,
    group: GroupId,
    tablets: u32,
    columns: &[NewColumn],
    options: &OptionChanges,
) -> CqlResult<Table> {
    checks::tablet_count(tablets)?;
    let mut positions = BTreeMap::from([(ColumnKind::PartitionKey, 0), (ColumnKind::Clustering, 0)]);
    let mut created: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        if created.iter().any(|other| other.name == column.name) {
            return Err(CqlError::Invalid(format!(
                "Duplicate column '{}' declaration for table '{}'",
                column.name, name.name
            )));
        }
        let position = positions.get_mut(&column.kind).map_or(0, |next| {
            *next += 1;
            *next - 1
        });
        created.push(Column {
            id: u32::try_from(created.len()).unwrap_or(u32::MAX),
            name: column.name.clone(),
            kind: column.kind,
            column_type: checks::column_type(keyspace, &column.name, &column.column_type, column.kind)?,
            position,
            is_descending: column.is_descending,
            index: 0,
        });
    }
    let mut table_options = TableOptions::default();
    for option in options {
        table_options.set(option.clone());
    }
    let definition = TableDefinition {
        id,
        keyspace: keyspace.name.clone(),
        name: name.name.clone(),
        group,
        tablets,
        next_column_id: u32::try_from(created.len()).unwrap_or(u32::MAX),
        columns: created,
        dropped: BTreeMap::new(),
        options: table_options,
    };
    checks::table_name(&definition)?;
    let table = Table::new(definition);
    if table.clustering().is_empty() && table.has_static_columns() {
        return Err(checks::useless_static());
    }
    checks::table(table.definition(), table.is_counter())?;
    Ok(table)
}
