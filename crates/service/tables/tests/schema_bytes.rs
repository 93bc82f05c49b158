//! The stored forms of changes and schemas, byte for byte: `tests/fixtures/schema_v1.txt`, a line for each, `name bytes`.
//!
//! These bytes lie in the metadata logs of released versions. A line may be added, never changed. To add: `REBUILD_FIXTURES=1
//! cargo test -p holon-tables --test schema_bytes`, then look at the difference.

use bytes::Bytes;
use holon_cql::{CqlType, UdtField};
use holon_tables::schema::codec::{decode_change, decode_schema, encode_change};
use holon_tables::schema::{
    Caching, Change, ColumnKind, Durability, NewColumn, QualifiedName, ReadRepair, Replication, RowsCached,
    SchemaMachine, SpeculativeRetry, TableId, TableOption,
};
use holon_tables::system;
use std::collections::BTreeMap;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/schema_v1.txt");

fn name(name: &str) -> QualifiedName {
    QualifiedName { keyspace: "k".into(), name: name.into() }
}

fn column(name: &str, column_type: CqlType, kind: ColumnKind) -> NewColumn {
    NewColumn { name: name.into(), column_type, kind, is_descending: kind == ColumnKind::Clustering }
}

fn options() -> Vec<TableOption> {
    let texts = |name: &str, value: &str| BTreeMap::from([(name.to_string(), value.to_string())]);
    vec![
        TableOption::AdditionalWritePolicy(SpeculativeRetry("NEVER".into())),
        TableOption::BloomFilterFpChance(0.1),
        TableOption::Caching(Caching { keys: false, rows: RowsCached::Head(3) }),
        TableOption::Cdc(true),
        TableOption::Comment("schön".into()),
        TableOption::Compaction(texts("class", "c")),
        TableOption::Compression(texts("enabled", "false")),
        TableOption::Memtable("default".into()),
        TableOption::CrcCheckChance(0.5),
        TableOption::DefaultTimeToLive(60),
        TableOption::Extensions(BTreeMap::from([("e".to_string(), Bytes::from_static(&[1, 2]))])),
        TableOption::GcGraceSeconds(300),
        TableOption::MaxIndexInterval(1024),
        TableOption::MemtableFlushPeriod(5),
        TableOption::MinIndexInterval(64),
        TableOption::ReadRepair(ReadRepair::None),
        TableOption::SpeculativeRetry(SpeculativeRetry("50ms".into())),
    ]
}

/// One of every kind; applied in this order, each changes something.
fn changes() -> Vec<(&'static str, Change)> {
    keyspace_changes().into_iter().chain(type_changes()).chain(table_changes()).collect()
}

fn keyspace_changes() -> Vec<(&'static str, Change)> {
    let factors = [("datacenter1".into(), 3)].into();
    vec![
        (
            "create_keyspace",
            Change::CreateKeyspace {
                name: "k".into(),
                if_not_exists: true,
                replication: Replication::Simple { factor: 1 },
                durable_writes: true,
                durability: Durability::Periodic,
            },
        ),
        (
            "alter_keyspace",
            Change::AlterKeyspace {
                name: "k".into(),
                if_exists: false,
                replication: Some(Replication::NetworkTopology { factors }),
                durable_writes: None,
                durability: Some(Durability::Sync),
            },
        ),
    ]
}

fn type_changes() -> Vec<(&'static str, Change)> {
    let field = |name: &str, cql_type| UdtField { name: name.into(), cql_type };
    vec![
        (
            "create_type",
            Change::CreateType {
                user_type: name("point"),
                if_not_exists: false,
                fields: vec![field("x", CqlType::Int), field("y", CqlType::Int)],
            },
        ),
        (
            "add_field",
            Change::AddField {
                user_type: name("point"),
                if_exists: false,
                if_not_exists: true,
                field: field("z", CqlType::frozen(CqlType::list(CqlType::Int))),
            },
        ),
        (
            "rename_fields",
            Change::RenameFields {
                user_type: name("point"),
                if_exists: true,
                if_field_exists: false,
                renames: vec![("x".into(), "xx".into())],
            },
        ),
    ]
}

/// A column of every type.
fn columns() -> Vec<NewColumn> {
    let every_type: Vec<CqlType> = CqlType::SCALARS
        .into_iter()
        .map(|(scalar, _)| scalar)
        .filter(|scalar| *scalar != CqlType::Counter)
        .chain([
            CqlType::list(CqlType::Int),
            CqlType::set(CqlType::Text),
            CqlType::map(CqlType::Int, CqlType::frozen(CqlType::list(CqlType::Text))),
            CqlType::frozen(CqlType::tuple(vec![CqlType::Int, CqlType::Uuid])),
            CqlType::vector(CqlType::Float, 3),
            CqlType::frozen(CqlType::udt("k", "point", Vec::new())),
        ])
        .collect();
    let mut columns = vec![
        column("p", CqlType::Int, ColumnKind::PartitionKey),
        column("c", CqlType::Text, ColumnKind::Clustering),
        column("s", CqlType::Text, ColumnKind::Static),
    ];
    for (number, cql_type) in every_type.into_iter().enumerate() {
        columns.push(column(&format!("r{number}"), cql_type, ColumnKind::Regular));
    }
    columns
}

fn table_changes() -> Vec<(&'static str, Change)> {
    vec![
        (
            "create_table",
            Change::CreateTable {
                table: name("t"),
                if_not_exists: false,
                id: Some(TableId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
                tablets: 4,
                columns: columns(),
                options: options(),
            },
        ),
        (
            "add_columns",
            Change::AddColumns {
                table: name("t"),
                if_exists: false,
                if_not_exists: false,
                columns: vec![column("a", CqlType::Int, ColumnKind::Regular)],
            },
        ),
        (
            "drop_columns",
            Change::DropColumns {
                table: name("t"),
                if_exists: false,
                if_column_exists: false,
                columns: vec!["a".into(), "s".into()],
                dropped_at_micros: -5,
            },
        ),
        (
            "rename_columns",
            Change::RenameColumns {
                table: name("t"),
                if_exists: false,
                if_column_exists: false,
                renames: vec![("c".into(), "cc".into())],
            },
        ),
        (
            "set_table_options",
            Change::SetTableOptions {
                table: name("t"),
                if_exists: false,
                options: vec![TableOption::Comment("second".into())],
            },
        ),
        (
            "create_second_table",
            Change::CreateTable {
                table: name("counters"),
                if_not_exists: true,
                id: None,
                tablets: 1,
                columns: vec![
                    column("p", CqlType::Int, ColumnKind::PartitionKey),
                    column("hits", CqlType::Counter, ColumnKind::Regular),
                ],
                options: Vec::new(),
            },
        ),
    ]
}

/// These end what the others made.
fn endings() -> Vec<(&'static str, Change)> {
    vec![
        ("drop_table", Change::DropTable { table: name("t"), if_exists: false }),
        ("drop_type", Change::DropType { user_type: name("point"), if_exists: true }),
        ("drop_keyspace", Change::DropKeyspace { name: "k".into(), if_exists: false }),
    ]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(digits: &str) -> Bytes {
    (0..digits.len()).step_by(2).map(|start| u8::from_str_radix(&digits[start..start + 2], 16).expect("hex")).collect()
}

#[test]
fn bytes_of_released_versions_are_read_and_written() {
    let machine = SchemaMachine::new(system::keyspaces());
    let mut lines = Vec::new();
    for (index, (name, change)) in changes().iter().enumerate() {
        let entry = encode_change(change);
        lines.push(format!("{name} {}", hexadecimal(&entry)));
        let effect = machine.apply(index as u64 + 1, &entry).expect("a change that is possible");
        lines.push(format!("{name}.answer {}", hexadecimal(&effect.answer)));
    }
    lines.push(format!("schema {}", hexadecimal(&machine.snapshot())));
    lines.push(format!("version {:032x}", machine.schema().version()));
    for (index, (name, change)) in endings().iter().enumerate() {
        let entry = encode_change(change);
        lines.push(format!("{name} {}", hexadecimal(&entry)));
        machine.apply(index as u64 + 100, &entry).expect("a change that is possible");
    }
    let text = format!("{}\n", lines.join("\n"));
    if option_env!("REBUILD_FIXTURES").is_some() {
        std::fs::write(PATH, text).expect("the fixture is written");
        return;
    }
    let fixture = std::fs::read_to_string(PATH).expect("the fixture");
    for (ours, kept) in text.lines().zip(fixture.lines()) {
        assert_eq!(ours, kept);
    }
    assert_eq!(text.lines().count(), fixture.lines().count());
}

#[test]
fn kept_bytes_are_understood() {
    let fixture = std::fs::read_to_string(PATH).expect("the fixture");
    let wanted: BTreeMap<&str, Change> = changes().into_iter().chain(endings()).collect();
    let mut read = 0;
    for (name, digits) in fixture.lines().filter_map(|line| line.split_once(' ')) {
        let bytes = from_hexadecimal(digits);
        if let Some(change) = wanted.get(name) {
            assert_eq!(decode_change(&bytes).as_ref(), Ok(change), "{name}");
            read += 1;
        }
        if name == "schema" {
            let schema = decode_schema(&bytes, system::keyspaces()).expect("a schema");
            let table = schema.table("k", "t").expect("the table");
            assert_eq!(table.columns.len(), 27);
            assert_eq!(table.dropped.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "s"]);
            assert_eq!(table.options.comment, "second");
            assert!(schema.table("k", "counters").expect("the other table").is_counter());
            let system = system::keyspaces();
            for cut in 0..bytes.len() {
                assert!(decode_schema(&bytes.slice(..cut), system.clone()).is_err(), "cut at {cut}");
            }
        }
    }
    assert_eq!(read, wanted.len());
}
