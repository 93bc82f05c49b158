//! What clients are told when many changes came at once, in a snapshot of the metadata log.

use super::{Keyspace, Schema, SchemaChange, SchemaChangeKind, SchemaTarget};
use std::collections::BTreeSet;
use std::rc::Rc;

/// As events of a protocol that tells of one thing at a time: of a keyspace that came or went nothing in it is named, because
/// drivers read it whole.
pub fn differences(before: &Schema, after: &Schema) -> Vec<SchemaChange> {
    let names =
        |schema: &Schema| schema.user_keyspaces().map(|keyspace| keyspace.name.clone()).collect::<BTreeSet<_>>();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Change, Durability, OptionChanges, Replication, SchemaMachine};
    use crate::schema::{ColumnKind, NewColumn, QualifiedName};
    use holon_cql::CqlType;

    fn name(table: &str) -> QualifiedName {
        QualifiedName { keyspace: "k".into(), name: table.into() }
    }

    fn keyspace(name: &str) -> Change {
        let (replication, durability) = (Replication::Simple { factor: 1 }, Durability::default());
        Change::CreateKeyspace {
            name: name.into(),
            if_not_exists: false,
            replication,
            durable_writes: true,
            durability,
        }
    }

    fn column(name: &str, kind: ColumnKind) -> NewColumn {
        NewColumn { name: name.into(), column_type: CqlType::Int, kind, is_descending: false }
    }

    fn table(table: &str) -> Change {
        let (columns, options) = (vec![column("id", ColumnKind::PartitionKey)], OptionChanges::new());
        Change::CreateTable { table: name(table), if_not_exists: false, id: None, tablets: 4, columns, options }
    }

    /// What applying the changes says, and the two states around them.
    fn after(setup: &[Change], changes: &[Change]) -> Vec<(SchemaChangeKind, String, SchemaTarget)> {
        let machine = SchemaMachine::new(Rc::default());
        let mut index = 0;
        let mut apply = |change: &Change| {
            index += 1;
            machine.apply(index, &crate::schema::codec::encode_change(change)).expect("applies");
        };
        setup.iter().for_each(&mut apply);
        let before = machine.schema();
        changes.iter().for_each(&mut apply);
        let told = differences(&before, &machine.schema());
        told.into_iter().map(|change| (change.kind, change.keyspace, change.target)).collect()
    }

    #[test]
    fn many_changes_at_once_are_told_as_one_each() {
        use SchemaChangeKind::{Created, Dropped, Updated};
        let of_table = |table: &str| SchemaTarget::Table { name: table.to_string() };
        let setup = [keyspace("k"), table("changed"), table("gone"), table("again"), table("same"), keyspace("over")];
        let added = vec![column("v", ColumnKind::Regular)];
        let add = Change::AddColumns { table: name("changed"), if_exists: false, if_not_exists: false, columns: added };
        let drop = |table: &str| Change::DropTable { table: name(table), if_exists: false };
        let drop_keyspace = Change::DropKeyspace { name: "over".into(), if_exists: false };
        let changes =
            [add, drop("gone"), drop("again"), table("again"), table("new"), keyspace("fresh"), drop_keyspace];
        let expected = [
            (Created, "fresh", SchemaTarget::Keyspace),
            (Dropped, "k", of_table("again")),
            (Created, "k", of_table("again")),
            (Updated, "k", of_table("changed")),
            (Dropped, "k", of_table("gone")),
            (Created, "k", of_table("new")),
            (Dropped, "over", SchemaTarget::Keyspace),
        ];
        let told = after(&setup, &changes);
        let told: Vec<_> =
            told.iter().map(|(kind, keyspace, target)| (*kind, keyspace.as_str(), target.clone())).collect();
        assert_eq!(told, expected);
        assert_eq!(after(&setup, &[]), []);
    }
}
