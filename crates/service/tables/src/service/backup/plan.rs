//! Which changes of the schema bring back what a backup has. Nothing is changed before all of it is known to fit.

use crate::schema::transform::uses_type;
use crate::schema::{
    Change, Column, Keyspace, KeyspaceKind, NewColumn, QualifiedName, Replication, Schema, Table, UserType,
};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

/// Where it goes.
pub struct Cluster<'a> {
    pub schema: &'a Schema,
    /// Of a table that is made.
    pub tablets: u32,
    pub data_centers: &'a [Rc<str>],
    pub nodes: u32,
}

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub changes: Vec<Change>,
    /// For people.
    pub notes: Vec<String>,
}

/// # Errors
/// What does not fit to what is there; nothing may be changed then.
pub fn plan(backup: &Schema, cluster: &Cluster<'_>) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for keyspace in backup.user_keyspaces() {
        of_keyspace(keyspace, cluster, &mut plan)?;
        for user_type in types_in_order(keyspace) {
            of_type(&user_type, cluster.schema, &mut plan)?;
        }
        for table in keyspace.tables.values() {
            of_table(table, cluster, &mut plan)?;
        }
    }
    rehearse(&plan.changes, cluster.schema)?;
    Ok(plan)
}

fn of_keyspace(keyspace: &Keyspace, cluster: &Cluster<'_>, plan: &mut Plan) -> Result<(), String> {
    let name = &keyspace.name;
    let found = cluster.schema.keyspace(name);
    if found.is_some_and(|found| found.kind != KeyspaceKind::User) {
        return Err(format!("keyspace {name} is one of the system here"));
    }
    let replication = found.map_or(&keyspace.replication, |found| &found.replication);
    match found {
        Some(_) if *replication != keyspace.replication => {
            plan.notes.push(format!("keyspace {name} keeps the replication that it has here, {replication}"));
        }
        Some(_) => {}
        None => plan.changes.push(Change::CreateKeyspace {
            name: name.clone(),
            if_not_exists: true,
            replication: keyspace.replication.clone(),
            durable_writes: keyspace.durable_writes,
            durability: keyspace.durability,
        }),
    }
    let most = match replication {
        Replication::Simple { factor } => *factor,
        Replication::NetworkTopology { factors } => {
            if let Some(missing) = factors.keys().find(|name| !cluster.data_centers.contains(name)) {
                return Err(format!(
                    "keyspace {name} keeps copies in data centre {missing}, which this cluster does not have: make the keyspace \
                     with another replication, then restore again"
                ));
            }
            factors.values().sum()
        }
        Replication::Local => 0,
    };
    if most > cluster.nodes {
        plan.notes.push(format!(
            "keyspace {name} asks for {most} copies and there are {} nodes: until there are more, or ALTER KEYSPACE asks for \
             less, levels that count copies cannot be met",
            cluster.nodes
        ));
    }
    Ok(())
}

/// Those that others use come first.
pub fn types_in_order(keyspace: &Keyspace) -> Vec<Arc<UserType>> {
    let mut ordered: Vec<Arc<UserType>> = Vec::new();
    let mut left: Vec<Arc<UserType>> = keyspace.types.values().cloned().collect();
    while !left.is_empty() {
        let names: BTreeSet<String> = left.iter().map(|user_type| user_type.name.clone()).collect();
        let waits = |user_type: &Arc<UserType>| {
            let uses = |name: &String| user_type.fields.iter().any(|field| uses_type(&field.cql_type, name));
            names.iter().any(|name| *name != user_type.name && uses(name))
        };
        let (waiting, mut free): (Vec<_>, Vec<_>) = left.into_iter().partition(waits);
        if free.is_empty() {
            ordered.extend(waiting); // a circle, which the schema does not allow: refused when it is made
            break;
        }
        ordered.append(&mut free);
        left = waiting;
    }
    ordered
}

fn of_type(user_type: &UserType, there: &Schema, plan: &mut Plan) -> Result<(), String> {
    let (keyspace, name) = (&user_type.keyspace, &user_type.name);
    match there.user_type(keyspace, name) {
        Some(found) if found.fields == user_type.fields => {}
        Some(_) => return Err(format!("type {keyspace}.{name} is here with other fields")),
        None => plan.changes.push(Change::CreateType {
            user_type: QualifiedName { keyspace: keyspace.as_str().into(), name: name.as_str().into() },
            if_not_exists: true,
            fields: user_type.fields.clone(),
        }),
    }
    Ok(())
}

fn of_table(table: &Table, cluster: &Cluster<'_>, plan: &mut Plan) -> Result<(), String> {
    let name = QualifiedName { keyspace: table.keyspace.clone(), name: table.name.clone() };
    if let Some(found) = cluster.schema.table(&name.keyspace, &name.name) {
        fits(table, found).map_err(|why| format!("table {name} is here and does not fit: {why}"))?;
        plan.notes.push(format!(
            "table {name} was here: of each cell the later write stays; to have the table as it was, TRUNCATE it first"
        ));
        return Ok(());
    }
    // The order of their ids is that in which they are made: the key first.
    let columns = table.columns.iter().map(|column| NewColumn {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        kind: column.kind,
        is_descending: column.is_descending,
    });
    plan.changes.push(Change::CreateTable {
        if_not_exists: true,
        id: Some(table.id).filter(|id| cluster.schema.table_by_id(*id).is_none()),
        tablets: cluster.tablets,
        columns: columns.collect(),
        options: table.options.all(),
        table: name,
    });
    Ok(())
}

/// Whether rows of one can be rows of the other: the same key, and at least the same columns.
fn fits(table: &Table, found: &Table) -> Result<(), String> {
    let is_like =
        |column: &Column, other: &Column| (column.kind, &column.column_type) == (other.kind, &other.column_type);
    let is_same = |column: &Column, other: &Column| {
        column.name == other.name && column.is_descending == other.is_descending && is_like(column, other)
    };
    let key = |table: &Table| table.columns.iter().filter(|column| column.kind.is_primary_key()).count();
    let mut keys = table.columns.iter().zip(&found.columns).take(key(table));
    if key(table) != key(found) || !keys.all(|(column, other)| is_same(column, other)) {
        return Err("its primary key is another".to_string());
    }
    let differs = |column: &&Column| !found.column(&column.name).is_some_and(|other| is_like(column, other));
    match table.columns.iter().find(differs) {
        Some(column) => Err(format!("its column {} is missing or of another type", column.name)),
        None => Ok(()),
    }
}

/// Makes the changes on a copy.
fn rehearse(changes: &[Change], there: &Schema) -> Result<(), String> {
    let mut draft = there.clone();
    for (number, change) in changes.iter().enumerate() {
        // Indexes of no entry; nothing of the rehearsal is kept.
        let changed = draft.changed_by(u64::MAX - number as u64, change).map_err(|error| error.to_string())?;
        if let Some(changed) = changed {
            draft = changed.schema;
        }
    }
    Ok(())
}
