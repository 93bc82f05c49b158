//! CREATE, ALTER and DROP TABLE.

use super::{DdlContext, options, types};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Change, ColumnKind, NewColumn, QualifiedName, TableId};
use holon_cql_language::ast::{
    AlterTable, AlterTableAction, ClusteringOrder, ColumnDefinition, CreateTable, Direction, DropTable, Identifier,
    PrimaryKey, Property, Rename, TableOption,
};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) fn create(context: &DdlContext<'_>, statement: &CreateTable) -> CqlResult<Change> {
    let table = context.qualified(&statement.name)?;
    let mut given: Vec<&Property> = Vec::new();
    let mut order: &[ClusteringOrder] = &[];
    let mut id = None;
    for option in &statement.options {
        match option {
            TableOption::CompactStorage => {
                return Err(CqlError::invalid(
                    "COMPACT STORAGE tables are not supported; leave WITH COMPACT STORAGE out",
                ));
            }
            TableOption::ClusteringOrder(columns) => order = columns,
            TableOption::Property(property) if property.name.as_str() == "id" => id = Some(table_id(property)?),
            TableOption::Property(property) => given.push(property),
        }
    }
    let columns = columns(&table, statement)?;
    let columns = with_key(&table, statement, columns, order)?;
    Ok(Change::CreateTable {
        if_not_exists: statement.if_not_exists,
        id,
        tablets: context.tablets,
        columns,
        options: options::for_new_table(&given)?,
        table,
    })
}

fn table_id(property: &Property) -> CqlResult<TableId> {
    let digits: String = super::properties::text(property)?.chars().filter(|character| *character != '-').collect();
    let id = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
    id.map(TableId).ok_or_else(|| CqlError::config("Invalid table id"))
}

/// The columns as written, all taken for regular or static ones.
fn columns(table: &QualifiedName, statement: &CreateTable) -> CqlResult<BTreeMap<Rc<str>, NewColumn>> {
    let mut columns = BTreeMap::new();
    for definition in &statement.columns {
        let column = new_column(definition, &table.keyspace)?;
        if let Some(other) = columns.insert(column.name.clone(), column) {
            return Err(CqlError::Invalid(format!(
                "Duplicate column '{}' declaration for table '{}'",
                other.name, table.name
            )));
        }
    }
    Ok(columns)
}

fn new_column(definition: &ColumnDefinition, keyspace: &str) -> CqlResult<NewColumn> {
    if definition.mask.is_some() {
        return Err(CqlError::invalid("Cannot mask columns because dynamic data masking is not enabled"));
    }
    Ok(NewColumn {
        name: definition.name.as_str().into(),
        column_type: types::column_type(&definition.column_type, keyspace)?,
        kind: if definition.is_static { ColumnKind::Static } else { ColumnKind::Regular },
        is_descending: false,
    })
}

/// The columns in the order of their ids: the key as it is written, then the others by name.
fn with_key(
    table: &QualifiedName,
    statement: &CreateTable,
    mut columns: BTreeMap<Rc<str>, NewColumn>,
    order: &[ClusteringOrder],
) -> CqlResult<Vec<NewColumn>> {
    let key = statement.primary_key.as_ref().ok_or_else(|| {
        CqlError::Invalid(format!("No PRIMARY KEY specifed for table '{}' (exactly one required)", table.name))
    })?;
    let mut ordered: Vec<NewColumn> = Vec::with_capacity(columns.len());
    let parts = [(&key.partition, ColumnKind::PartitionKey), (&key.clustering, ColumnKind::Clustering)];
    for (names, kind) in parts {
        for name in names {
            let Some(mut column) = columns.remove(name.as_str()) else {
                let is_repeated = ordered.iter().any(|other| *other.name == *name.as_str());
                let name = name.as_str();
                return Err(CqlError::Invalid(if is_repeated {
                    format!("Duplicate column '{name}' in PRIMARY KEY clause for table '{}'", table.name)
                } else {
                    format!("Unknown column '{name}' referenced in PRIMARY KEY for table '{}'", table.name)
                }));
            };
            if column.kind == ColumnKind::Static {
                let name = name.as_str();
                return Err(CqlError::Invalid(format!("Static column '{name}' cannot be part of the PRIMARY KEY")));
            }
            column.kind = kind;
            column.is_descending = kind == ColumnKind::Clustering && is_descending(order, name);
            ordered.push(column);
        }
    }
    check_order(key, order)?;
    ordered.extend(columns.into_values());
    Ok(ordered)
}

fn is_descending(order: &[ClusteringOrder], name: &Identifier) -> bool {
    order.iter().any(|part| part.column == *name && part.direction == Direction::Descending)
}

fn check_order(key: &PrimaryKey, order: &[ClusteringOrder]) -> CqlResult<()> {
    let strangers: Vec<&str> = order
        .iter()
        .map(|part| part.column.as_str())
        .filter(|name| !key.clustering.iter().any(|column| column.as_str() == *name))
        .collect();
    if !strangers.is_empty() {
        return Err(CqlError::Invalid(format!(
            "Only clustering key columns can be defined in CLUSTERING ORDER directive: [{}] are not clustering columns",
            strangers.join(", ")
        )));
    }
    for (part, expected) in order.iter().zip(&key.clustering) {
        if part.column == *expected {
            continue;
        }
        let expected = expected.as_str();
        let text = if order.iter().any(|other| other.column.as_str() == expected) {
            format!(
                "The order of columns in the CLUSTERING ORDER directive must match that of the clustering columns \
                 ({expected} must appear before {})",
                part.column.as_str()
            )
        } else {
            format!("Missing CLUSTERING ORDER for column {expected}")
        };
        return Err(CqlError::Invalid(text));
    }
    if order.len() > key.clustering.len() {
        return Err(CqlError::invalid("a column appears more than once in the CLUSTERING ORDER directive"));
    }
    Ok(())
}

pub(super) fn alter(context: &DdlContext<'_>, statement: &AlterTable) -> CqlResult<Change> {
    let table = context.qualified(&statement.name)?;
    let if_exists = statement.if_exists;
    match &statement.action {
        AlterTableAction::Add { if_not_exists, columns } => {
            let columns: CqlResult<Vec<NewColumn>> =
                columns.iter().map(|column| new_column(column, &table.keyspace)).collect();
            Ok(Change::AddColumns { table, if_exists, if_not_exists: *if_not_exists, columns: columns? })
        }
        AlterTableAction::Drop { if_exists: if_column_exists, columns, timestamp } => {
            let dropped_at_micros = match timestamp {
                None => context.now_micros,
                Some(text) => text.parse().map_err(|_| {
                    CqlError::Syntax(format!("Invalid timestamp {text}; it is in microseconds since 1970"))
                })?,
            };
            Ok(Change::DropColumns {
                table,
                if_exists,
                if_column_exists: *if_column_exists,
                columns: columns.iter().map(|name| name.as_str().into()).collect(),
                dropped_at_micros,
            })
        }
        AlterTableAction::Rename { if_exists: if_column_exists, renames } => {
            Ok(Change::RenameColumns { table, if_exists, if_column_exists: *if_column_exists, renames: pairs(renames) })
        }
        AlterTableAction::With(given) => {
            if given.iter().any(|property| property.name.as_str() == "id") {
                return Err(CqlError::config("Cannot alter table id."));
            }
            let given: Vec<&Property> = given.iter().collect();
            Ok(Change::SetTableOptions { table, if_exists, options: options::for_table(&given)? })
        }
        AlterTableAction::AlterType { .. } => Err(CqlError::invalid("Altering column types is no longer supported")),
        AlterTableAction::Mask { .. } => {
            Err(CqlError::invalid("Cannot mask columns because dynamic data masking is not enabled"))
        }
        AlterTableAction::DropCompactStorage => {
            Err(CqlError::invalid("Cannot DROP COMPACT STORAGE on table without COMPACT STORAGE"))
        }
    }
}

pub(super) fn pairs(renames: &[Rename]) -> Vec<(Rc<str>, Rc<str>)> {
    renames.iter().map(|rename| (rename.from.as_str().into(), rename.to.as_str().into())).collect()
}

pub(super) fn drop(context: &DdlContext<'_>, statement: &DropTable) -> CqlResult<Change> {
    Ok(Change::DropTable { table: context.qualified(&statement.name)?, if_exists: statement.if_exists })
}
