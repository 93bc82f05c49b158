//! Random changes over few names, so that they meet.

use bytes::Bytes;
use holon_cql::{CqlType, UdtField};
use holon_tables::schema::{
    Caching, Change, ColumnKind, Durability, NewColumn, QualifiedName, ReadRepair, Replication, RowsCached,
    SpeculativeRetry, TableId, TableOption,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::rc::Rc;

fn keyspace() -> impl Strategy<Value = Rc<str>> {
    prop::sample::select(vec!["a", "Bee"]).prop_map(Rc::from)
}

fn table() -> impl Strategy<Value = QualifiedName> {
    (keyspace(), prop::sample::select(vec!["t", "Select", "u"]))
        .prop_map(|(keyspace, name)| QualifiedName { keyspace, name: name.into() })
}

fn user_type() -> impl Strategy<Value = QualifiedName> {
    (keyspace(), prop::sample::select(vec!["x", "int", "Y y"]))
        .prop_map(|(keyspace, name)| QualifiedName { keyspace, name: name.into() })
}

fn column() -> impl Strategy<Value = Rc<str>> {
    prop::sample::select(vec!["p", "q", "c", "from", "V \"v\"", "l", "w"]).prop_map(Rc::from)
}

/// A type below the top: all of it frozen. User types are by name only, as in an entry.
fn inner_type() -> impl Strategy<Value = CqlType> {
    let scalars = CqlType::SCALARS.map(|(scalar, _)| scalar);
    let scalars: Vec<CqlType> =
        scalars.into_iter().filter(|scalar| !matches!(scalar, CqlType::Counter | CqlType::Duration)).collect();
    let leaf = prop_oneof![
        6 => prop::sample::select(scalars),
        1 => user_type().prop_map(|name| CqlType::frozen(CqlType::udt(&*name.keyspace, &*name.name, Vec::new()))),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|element| CqlType::frozen(CqlType::list(element))),
            inner.clone().prop_map(|element| CqlType::frozen(CqlType::set(element))),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| CqlType::frozen(CqlType::map(key, value))),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|elements| CqlType::frozen(CqlType::tuple(elements))),
            (inner, 1..4u32).prop_map(|(element, dimensions)| CqlType::vector(element, dimensions)),
        ]
    })
}

fn column_type() -> impl Strategy<Value = CqlType> {
    prop_oneof![
        4 => inner_type(),
        1 => inner_type().prop_map(CqlType::list),
        1 => inner_type().prop_map(CqlType::set),
        1 => (inner_type(), inner_type()).prop_map(|(key, value)| CqlType::map(key, value)),
        1 => user_type().prop_map(|name| CqlType::udt(&*name.keyspace, &*name.name, Vec::new())),
        1 => Just(CqlType::Counter),
        1 => Just(CqlType::Duration),
    ]
}

/// User types of the keyspace itself: others a coordinator refuses before there is an entry.
fn at_home(cql_type: CqlType, keyspace: &str) -> CqlType {
    match cql_type {
        CqlType::List(element) => CqlType::list(at_home(CqlType::clone(&element), keyspace)),
        CqlType::Set(element) => CqlType::set(at_home(CqlType::clone(&element), keyspace)),
        CqlType::Map(pair) => CqlType::map(at_home(pair.0.clone(), keyspace), at_home(pair.1.clone(), keyspace)),
        CqlType::Tuple(elements) => {
            CqlType::tuple(elements.iter().map(|element| at_home(element.clone(), keyspace)).collect::<Vec<_>>())
        }
        CqlType::Vector(vector) => CqlType::vector(at_home(vector.element.clone(), keyspace), vector.dimensions),
        CqlType::Frozen(inner) => CqlType::frozen(at_home(CqlType::clone(&inner), keyspace)),
        CqlType::Udt(user) => CqlType::udt(keyspace, user.name.clone(), Vec::new()),
        other => other,
    }
}

fn new_column(kind: ColumnKind) -> impl Strategy<Value = NewColumn> {
    (column(), column_type(), any::<bool>()).prop_map(move |(name, column_type, descending)| NewColumn {
        name,
        column_type,
        kind,
        is_descending: descending && kind == ColumnKind::Clustering,
    })
}

fn table_columns() -> impl Strategy<Value = Vec<NewColumn>> {
    let of = |kind, count| prop::collection::vec(new_column(kind), count);
    (
        of(ColumnKind::PartitionKey, 1..3),
        of(ColumnKind::Clustering, 0..3),
        of(ColumnKind::Static, 0..2),
        of(ColumnKind::Regular, 0..4),
    )
        .prop_map(|(partition, clustering, fixed, regular)| {
            let mut columns: Vec<NewColumn> = Vec::new();
            for column in partition.into_iter().chain(clustering).chain(fixed).chain(regular) {
                if !columns.iter().any(|other| other.name == column.name) {
                    columns.push(column);
                }
            }
            columns
        })
}

fn options() -> impl Strategy<Value = Vec<TableOption>> {
    let texts = |class: &str| BTreeMap::from([("class".to_string(), class.to_string())]);
    let option = prop_oneof![
        "[a-z' ]{0,8}".prop_map(TableOption::Comment),
        (0..700_000_000u32).prop_map(TableOption::DefaultTimeToLive),
        any::<u16>().prop_map(|seconds| TableOption::GcGraceSeconds(u32::from(seconds))),
        prop::sample::select(vec![0.0, 0.0001, 0.1, 1.0]).prop_map(TableOption::BloomFilterFpChance),
        any::<bool>().prop_map(TableOption::Cdc),
        (any::<bool>(), 0..3u32).prop_map(|(keys, rows)| {
            let rows = [RowsCached::None, RowsCached::All, RowsCached::Head(7)][rows as usize];
            TableOption::Caching(Caching { keys, rows })
        }),
        (0..300u32).prop_map(TableOption::MinIndexInterval),
        (0..5000u32).prop_map(TableOption::MaxIndexInterval),
        any::<u16>().prop_map(|period| TableOption::MemtableFlushPeriod(u32::from(period))),
        Just(TableOption::ReadRepair(ReadRepair::None)),
        Just(TableOption::SpeculativeRetry(SpeculativeRetry("50ms".to_string()))),
        Just(TableOption::AdditionalWritePolicy(SpeculativeRetry("NEVER".to_string()))),
        Just(TableOption::Memtable("default".to_string())),
        Just(TableOption::CrcCheckChance(0.25)),
        Just(TableOption::Extensions(BTreeMap::from([("e".to_string(), Bytes::from_static(&[0, 0xff]))]))),
        Just(TableOption::Compaction(texts("org.apache.cassandra.db.compaction.LeveledCompactionStrategy"))),
        Just(TableOption::Compression(BTreeMap::from([("enabled".to_string(), "false".to_string())]))),
    ];
    prop::collection::vec(option, 0..4)
}

fn replication() -> impl Strategy<Value = Replication> {
    prop_oneof![
        (0..4u32).prop_map(|factor| Replication::Simple { factor }),
        (1..4u32).prop_map(|factor| Replication::NetworkTopology { factors: [("datacenter1".into(), factor)].into() }),
    ]
}

fn durability() -> impl Strategy<Value = Durability> {
    prop::sample::select(vec![Durability::Sync, Durability::Periodic])
}

fn keyspace_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (keyspace(), any::<bool>(), replication(), any::<bool>(), durability()).prop_map(
            |(name, if_not_exists, replication, durable_writes, durability)| Change::CreateKeyspace {
                name, if_not_exists, replication, durable_writes, durability,
            }
        ),
        3 => (
            keyspace(),
            any::<bool>(),
            prop::option::of(replication()),
            prop::option::of(any::<bool>()),
            prop::option::of(durability()),
        )
            .prop_map(|(name, if_exists, replication, durable_writes, durability)| Change::AlterKeyspace {
                name, if_exists, replication, durable_writes, durability,
            }),
        1 => (keyspace(), any::<bool>()).prop_map(|(name, if_exists)| Change::DropKeyspace { name, if_exists }),
    ]
}

fn table_change() -> impl Strategy<Value = Change> {
    let kind = prop::sample::select(vec![ColumnKind::Static, ColumnKind::Regular, ColumnKind::Regular]);
    let added = kind.prop_flat_map(new_column);
    let id = prop::option::weighted(0.1, (1..3u128).prop_map(TableId));
    let tablets = prop::sample::select(vec![1, 4, 16, 3]);
    prop_oneof![
        8 => (table(), any::<bool>(), id, tablets, table_columns(), options()).prop_map(
            |(table, if_not_exists, id, tablets, columns, options)| {
                let columns = home(columns, &table.keyspace);
                Change::CreateTable { table, if_not_exists, id, tablets, columns, options }
            }
        ),
        4 => (table(), any::<bool>(), any::<bool>(), prop::collection::vec(added, 1..3)).prop_map(
            |(table, if_exists, if_not_exists, columns)| {
                let columns = home(columns, &table.keyspace);
                Change::AddColumns { table, if_exists, if_not_exists, columns }
            }
        ),
        4 => (table(), any::<bool>(), any::<bool>(), prop::collection::vec(column(), 1..3), any::<i64>()).prop_map(
            |(table, if_exists, if_column_exists, columns, dropped_at_micros)| Change::DropColumns {
                table, if_exists, if_column_exists, columns, dropped_at_micros,
            }
        ),
        2 => (table(), any::<bool>(), any::<bool>(), prop::collection::vec((column(), column()), 1..3)).prop_map(
            |(table, if_exists, if_column_exists, renames)| Change::RenameColumns {
                table, if_exists, if_column_exists, renames,
            }
        ),
        2 => (table(), any::<bool>(), options())
            .prop_map(|(table, if_exists, options)| Change::SetTableOptions { table, if_exists, options }),
        1 => (table(), any::<bool>()).prop_map(|(table, if_exists)| Change::DropTable { table, if_exists }),
    ]
}

fn home(mut columns: Vec<NewColumn>, keyspace: &str) -> Vec<NewColumn> {
    for column in &mut columns {
        column.column_type = at_home(column.column_type.clone(), keyspace);
    }
    columns
}

fn field() -> impl Strategy<Value = UdtField> {
    (column(), column_type()).prop_map(|(name, cql_type)| UdtField { name: name.to_string(), cql_type })
}

fn type_change() -> impl Strategy<Value = Change> {
    let fields = prop::collection::vec(field(), 1..4);
    let at = |mut field: UdtField, name: &QualifiedName| {
        field.cql_type = at_home(field.cql_type, &name.keyspace);
        field
    };
    prop_oneof![
        5 => (user_type(), any::<bool>(), fields).prop_map(move |(user_type, if_not_exists, fields)| {
            let fields = fields.into_iter().map(|field| at(field, &user_type)).collect();
            Change::CreateType { user_type, if_not_exists, fields }
        }),
        3 => (user_type(), any::<bool>(), any::<bool>(), field()).prop_map(
            move |(user_type, if_exists, if_not_exists, field)| {
                let field = at(field, &user_type);
                Change::AddField { user_type, if_exists, if_not_exists, field }
            }
        ),
        2 => (user_type(), any::<bool>(), any::<bool>(), prop::collection::vec((column(), column()), 1..3)).prop_map(
            |(user_type, if_exists, if_field_exists, renames)| Change::RenameFields {
                user_type, if_exists, if_field_exists, renames,
            }
        ),
        1 => (user_type(), any::<bool>()).prop_map(|(user_type, if_exists)| Change::DropType { user_type, if_exists }),
    ]
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![2 => keyspace_change(), 5 => table_change(), 3 => type_change()]
}

/// A log that begins with the two keyspaces, so that most of what follows finds something to change.
pub fn log(length_max: usize) -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..length_max).prop_map(|changes| {
        let keyspaces = ["a", "Bee"].map(|name| Change::CreateKeyspace {
            name: name.into(),
            if_not_exists: false,
            replication: Replication::Simple { factor: 1 },
            durable_writes: true,
            durability: Durability::Sync,
        });
        keyspaces.into_iter().chain(changes).collect()
    })
}
