//! What clients are told when many changes came at once, in a snapshot of the metadata log.

use super::{Keyspace, Schema, SchemaChange, SchemaChangeKind, SchemaTarget};
use std::collections::BTreeSet;
use std::rc::Rc;

/// As events of a protocol that tells of one thing at a time: of a keyspace that came or went nothing in it is named, because
/// drivers read it whole.
pub fn differences(before: &Schema, after: &Schema) -> Vec<SchemaChange> {
    let names = |schema: &Schema| schema.user_keyspaces().map(|keyspace| keyspace.name.clone()).collect::<BTreeSet<_>>();
    let mut changes = Vec::new();
    for name in names(before).union(&names(after)) {
        let mut tell = |kind, target| changes.push(SchemaChange { kind, keyspace: name.to_string(), target });
        match (before.keyspace(name), after.keyspace(name)) {
            (Some(before), Some(after)) => of_keyspace(before, after, &mut tell),
            (None, Some(after)) => {
                tell(SchemaChangeKind::Created, SchemaTarget::Keyspace);
                for table in after.tables.keys() {
                    tell(SchemaChangeKind::Created, SchemaTarget::Table { name: table.to_string() });
                }
            }
            _ => tell(SchemaChangeKind::Dropped, SchemaTarget::Keyspace),
        }
    }
    changes
}

fn of_keyspace(before: &Keyspace, after: &Keyspace, tell: &mut impl FnMut(SchemaChangeKind, SchemaTarget)) {
    let options = |keyspace: &Keyspace| (keyspace.replication.clone(), keyspace.durable_writes, keyspace.durability);
    if options(before) != options(after) {
        tell(SchemaChangeKind::Updated, SchemaTarget::Keyspace);
    }
    let type_names: BTreeSet<&Rc<str>> = before.types.keys().chain(after.types.keys()).collect();
    for name in type_names {
        if let Some(kind) = kind_of(before.types.get(name), after.types.get(name)) {
            tell(kind, SchemaTarget::Type { name: name.to_string() });
        }
    }
    let table_names: BTreeSet<&Rc<str>> = before.tables.keys().chain(after.tables.keys()).collect();
    for name in table_names {
        let (was, is) = (before.tables.get(name), after.tables.get(name));
        // Dropped and made again: another table, of which a driver must not keep the old columns.
        if was.zip(is).is_some_and(|(was, is)| was.id != is.id) {
            tell(SchemaChangeKind::Dropped, SchemaTarget::Table { name: name.to_string() });
            tell(SchemaChangeKind::Created, SchemaTarget::Table { name: name.to_string() });
        } else if let Some(kind) = kind_of(was, is) {
            tell(kind, SchemaTarget::Table { name: name.to_string() });
        }
    }
}

fn kind_of<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> Option<SchemaChangeKind> {
    match (before, after) {
        (None, Some(_)) => Some(SchemaChangeKind::Created),
        (Some(_), None) => Some(SchemaChangeKind::Dropped),
        (before, after) => (before != after).then_some(SchemaChangeKind::Updated),
    }
}
