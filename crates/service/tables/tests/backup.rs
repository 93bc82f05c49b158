//! The files of backups, byte for byte; which changes of the schema bring one back; and how rows find their place.

use bytes::Bytes;
use holon_base::{GroupId, NodeId, TabletId};
use holon_cql::{CqlType, UdtField};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{DiskBuffer, DiskClient, OpenOptions};
use holon_store::{Cell, CellEntry, Deletion, Mutation, MutationBuilder, RangeTombstone, Row};
use holon_tables::schema::codec::{decode_schema, encode_schema};
use holon_tables::schema::{
    Change, ColumnKind, Durability, NewColumn, QualifiedName, Replication, Schema, Table, TableId,
};
use holon_tables::service::backup::files::{BackupError, BlocksReader, BlocksWriter, FileEntry, remove_all};
use holon_tables::service::backup::manifest::Manifest;
use holon_tables::service::backup::plan::{Cluster, plan, types_in_order};
use holon_tables::service::backup::restore::Target;
use holon_tables::service::backup::{Place, create};
use holon_tables::types::row_key;
use std::rc::Rc;

const TABLET: TabletId = TabletId(0x5_0003);

fn with_disk<T: 'static, F: Future<Output = T> + 'static>(work: impl FnOnce(DiskClient) -> F) -> T {
    let test = TestShard::new(MemoryDisk::new());
    let disk = test.shard.disk();
    test.block_on(work(disk))
}

async fn put(disk: &DiskClient, path: &str, content: &[u8]) {
    disk.remove(path).await.expect("removed");
    let file = disk.open(path, OpenOptions { create: true, direct: false }).await.expect("made");
    file.write_at(0, DiskBuffer::from(content)).await.expect("written");
}

async fn content_of(disk: &DiskClient, path: &str) -> Bytes {
    let file = disk.open(path, OpenOptions::default()).await.expect("there");
    file.read_at(0, file.length() as usize).await.expect("read")
}

async fn read(disk: &DiskClient, path: &str, backup: u64, entry: &FileEntry) -> Result<Vec<Bytes>, BackupError> {
    let mut reader = BlocksReader::open(disk, path, backup, entry).await?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next().await? {
        blocks.push(block);
    }
    Ok(blocks)
}

fn manifest(schema: &Schema) -> Manifest {
    let file = |ordinal: u32| FileEntry {
        tablet: TabletId::new(GroupId(2), ordinal),
        bytes: 300,
        blocks: 2,
        rows: 7,
        chain: 0xdead_beef,
    };
    Manifest {
        backup: 42,
        taken_micros: -1,
        made_by: "0.1.0".to_string(),
        scope: "k.t".to_string(),
        nodes: 3,
        away: vec![NodeId(9)],
        schema: encode_schema(schema),
        accounts: vec![("ada".to_string(), "$2b$10$hash".to_string())],
        files: vec![file(0), file(70)],
        batches: Some(FileEntry { tablet: TabletId(0), ..file(0) }),
    }
}

fn name(name: &str) -> QualifiedName {
    QualifiedName { keyspace: "k".into(), name: name.into() }
}

fn column(name: &str, column_type: CqlType, kind: ColumnKind) -> NewColumn {
    NewColumn { name: name.into(), column_type, kind, is_descending: false }
}

fn make_table(table: &str, tablets: u32, others: &[(&str, CqlType)]) -> Change {
    let key = column("key", CqlType::Int, ColumnKind::PartitionKey);
    let others = others.iter().map(|(name, column_type)| column(name, column_type.clone(), ColumnKind::Regular));
    Change::CreateTable {
        table: name(table),
        if_not_exists: false,
        id: Some(TableId(77)),
        tablets,
        columns: std::iter::once(key).chain(others).collect(),
        options: Vec::new(),
    }
}

fn keyspace(replication: Replication) -> Change {
    Change::CreateKeyspace {
        name: "k".into(),
        if_not_exists: false,
        replication,
        durable_writes: true,
        durability: Durability::Sync,
    }
}

fn make_type(type_name: &str, field_type: CqlType) -> Change {
    let fields = vec![UdtField { name: "f".into(), cql_type: field_type }];
    Change::CreateType { user_type: name(type_name), if_not_exists: false, fields }
}

fn simple() -> Change {
    keyspace(Replication::Simple { factor: 3 })
}

fn made(changes: &[Change]) -> Schema {
    changes.iter().enumerate().fold(Schema::new(Rc::default()), |schema, (number, change)| {
        schema.changed_by(number as u64 + 1, change).expect("fits").expect("changes something").schema
    })
}

fn cluster<'a>(schema: &'a Schema, data_centers: &'a [Rc<str>]) -> Cluster<'a> {
    Cluster { schema, tablets: 4, data_centers, nodes: 3 }
}

#[test]
fn files_come_back_and_every_damaged_byte_is_found() {
    with_disk(|disk| async move {
        disk.create_dir("backups/n").await.expect("made");
        let path = "backups/n/00001.rows";
        let mut writer = BlocksWriter::create(&disk, path, 7, TABLET).await.expect("made");
        let blocks = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        for block in &blocks {
            writer.append(block, 2).await.expect("appended");
        }
        let entry = writer.finish().await.expect("finished");
        assert_eq!((entry.blocks, entry.rows, entry.tablet), (3, 6, TABLET));
        assert_eq!(read(&disk, path, 7, &entry).await.as_deref(), Ok(&blocks[..]));
        let content = content_of(&disk, path).await;
        assert_eq!(content.len() as u64, entry.bytes);
        for at in 0..content.len() {
            let mut flipped = content.to_vec();
            flipped[at] ^= 1;
            put(&disk, path, &flipped).await;
            let found = read(&disk, path, 7, &entry).await;
            assert!(matches!(found, Err(BackupError::Damaged { .. })), "byte {at}: {found:?}");
            put(&disk, path, &content[..at]).await;
            assert!(matches!(read(&disk, path, 7, &entry).await, Err(BackupError::Damaged { .. })), "cut at {at}");
        }
        // Of another backup, of another tablet, blocks in another order, and none at all.
        put(&disk, path, &content).await;
        assert!(read(&disk, path, 8, &entry).await.is_err());
        assert!(read(&disk, path, 7, &FileEntry { tablet: TabletId(1), ..entry.clone() }).await.is_err());
        let (first, second, third) = (&content[32..43], &content[43..51], &content[51..]);
        put(&disk, path, &[&content[..32], third, second, first].concat()).await;
        assert!(matches!(read(&disk, path, 7, &entry).await, Err(BackupError::Damaged { .. })));
        remove_all(&disk, "backups").await.expect("removed");
        assert!(disk.list("").await.expect("listed").is_empty());
        assert!(matches!(read(&disk, path, 7, &entry).await, Err(BackupError::Missing { .. })));
    });
}

#[test]
fn a_manifest_comes_back_and_every_damaged_byte_is_found() {
    let sent = manifest(&made(&[simple(), make_table("t", 4, &[("v", CqlType::Text)])]));
    let bytes = sent.encode();
    assert_eq!(Manifest::decode(&bytes, "BACKUP"), Ok(sent.clone()));
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 1;
        assert!(Manifest::decode(&flipped.into(), "BACKUP").is_err(), "byte {at}");
        assert!(Manifest::decode(&bytes.slice(..at), "BACKUP").is_err(), "cut at {at}");
    }
    assert_eq!((sent.rows(), sent.bytes()), (14, 900));
    let newer = [&bytes[..8], &2u32.to_le_bytes(), &bytes[12..]].concat();
    assert!(matches!(Manifest::decode(&newer.into(), "BACKUP"), Err(BackupError::Newer { version: 2, .. })));
}

/// What version 1 wrote. The fixture is rebuilt by `REBUILD_FIXTURES=1`, only ever beside an old one.
#[test]
fn a_backup_of_version_1_stays_readable() {
    const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/backup_v1.bin");
    let (sent, file) = with_disk(|disk| async move {
        let mut writer = BlocksWriter::create(&disk, "00003.rows", 42, TABLET).await.expect("made");
        let mut row = Row::default();
        row.put(CellEntry::new(1, Cell::live(5, "value")));
        writer.append(Mutation::row(b"key", &row).expect("small").bytes(), 1).await.expect("appended");
        let entry = writer.finish().await.expect("finished");
        let schema = made(&[simple(), make_table("t", 4, &[("v", CqlType::Text)])]);
        let sent = Manifest { files: vec![entry], ..manifest(&schema) };
        (sent, content_of(&disk, "00003.rows").await)
    });
    let bytes = [&(file.len() as u32).to_le_bytes()[..], &file, &sent.encode()].concat();
    if std::env::var_os("REBUILD_FIXTURES").is_some() {
        std::fs::write(PATH, &bytes).expect("the fixture is written");
    }
    let kept = std::fs::read(PATH).expect("the fixture");
    assert_eq!(kept, bytes, "the same version writes the same bytes");
    let length = u32::from_le_bytes(*kept.first_chunk().expect("a length")) as usize;
    let decoded = Manifest::decode(&Bytes::copy_from_slice(&kept[4 + length..]), "BACKUP").expect("is read");
    let blocks = with_disk(|disk| async move {
        put(&disk, "00003.rows", &kept[4..4 + length]).await;
        read(&disk, "00003.rows", decoded.backup, &decoded.files[0]).await.expect("is read")
    });
    assert_eq!(Mutation::decode(blocks[0].clone()).expect("is read").encoded_rows().len(), 1);
}

#[test]
fn names_of_backups_do_not_lead_elsewhere() {
    for good in ["monday", "2026-11-29", "a.b_c", &"x".repeat(64)] {
        assert_eq!(Place::named(good).map(|place| place.directory), Ok(format!("backups/{good}")));
    }
    for bad in ["", ".", "..", ".x", "a/b", "a\\b", "a b", "ä", &"x".repeat(65)] {
        assert!(Place::named(bad).is_err(), "{bad:?}");
    }
}

fn table(change: &Change) -> Rc<Table> {
    made(&[simple(), change.clone()]).table("k", "t").expect("made").clone()
}

fn key(number: i32) -> Bytes {
    let (prefix, _) = row_key::partition_prefix(&number.to_be_bytes());
    row_key::rows_start(&prefix).into()
}

#[test]
fn rows_get_the_columns_and_the_tablets_that_they_have_here() {
    let there = table(&make_table("t", 2, &[("a", CqlType::Int), ("b", CqlType::Text)]));
    let here = table(&make_table("t", 8, &[("x", CqlType::Int), ("b", CqlType::Text)]));
    let (id, id_here) = (|name: &str| there.column(name).expect("there").id, here.column("b").expect("here").id);
    let target = Target::new(&there, &here);
    let deletion = Deletion { timestamp: 3, local_seconds: 4 };
    let mut builder = MutationBuilder::new();
    let mut keys: Vec<Bytes> = (0..40).map(key).collect();
    keys.sort();
    for key in &keys {
        let mut row = Row::default();
        row.put(CellEntry::new(id("a"), Cell::live(1, "left out")));
        row.put(CellEntry::element(id("b"), "path", Cell::expiring(2, 60, 70, "kept")));
        row.delete_column(id("b"), deletion);
        row.delete_column(99, deletion);
        builder.row(key, &row);
    }
    // A row that has only what is left out is none.
    let mut row = Row::default();
    row.put(CellEntry::new(id("a"), Cell::live(1, "left out")));
    builder.row(key(1000), &row);
    let made = target.mutations(&builder.finish().expect("fits")).expect("made");
    let mut expected = Row::default();
    expected.put(CellEntry::element(id_here, "path", Cell::expiring(2, 60, 70, "kept")));
    expected.delete_column(id_here, deletion);
    let mut seen = Vec::new();
    for (tablet, mutation) in &made {
        assert_eq!(tablet.group(), here.group);
        for (key, row) in mutation.rows().expect("decoded") {
            assert_eq!(row_key::tablet_ordinal(row_key::token_of(&key), 8), tablet.ordinal());
            assert_eq!(row, expected);
            seen.push(key);
        }
    }
    seen.sort();
    assert_eq!(seen, keys);
    assert!(made.len() > 4, "all in {} tablets", made.len());
}

#[test]
fn a_deleted_range_is_deleted_in_every_tablet_that_it_touches_and_nowhere_else() {
    let change = make_table("t", 8, &[("a", CqlType::Int)]);
    let target = Target::new(&table(&change), &table(&change));
    let deletion = Deletion { timestamp: 3, local_seconds: 4 };
    let all = |start: &[u8], end: &[u8]| {
        let mut builder = MutationBuilder::new();
        let (start, end) = (Bytes::copy_from_slice(start), Bytes::copy_from_slice(end));
        builder.delete_range(RangeTombstone { start, end, deletion });
        let made = target.mutations(&builder.finish().expect("fits")).expect("made");
        made.iter().map(|(tablet, mutation)| (tablet.ordinal(), mutation.ranges().to_vec())).collect::<Vec<_>>()
    };
    // Within one partition, as a rule.
    let start = key(1);
    let end = [&start[..], b"z"].concat();
    let made = all(&start, &end);
    assert_eq!(made.len(), 1);
    assert_eq!((&made[0].1[0].start, &made[0].1[0].end[..]), (&start, &end[..]));
    // Over all: whatever the pieces, together they are the whole.
    let made = all(&[], &row_key::ROWS_END);
    assert_eq!(made.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    let pieces: Vec<&RangeTombstone> = made.iter().flat_map(|(_, ranges)| ranges).collect();
    assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert!(pieces[0].start.is_empty() && pieces[7].end == row_key::ROWS_END[..]);
    // An end that is shorter than a token, and one at the edge of a tablet.
    assert_eq!(all(&[0x10], &[0x50]).len(), 3);
    assert_eq!(all(&[0x20], &row_key::tablet_start(2, 8)).len(), 1);
}

#[test]
fn a_plan_makes_what_is_missing_in_an_order_that_works() {
    let inner = make_type("zz_inner", CqlType::Int);
    let backup = made(&[simple(), inner]);
    let of_inner = backup.user_type("k", "zz_inner").expect("made").clone();
    let frozen = CqlType::Frozen(std::sync::Arc::new(CqlType::Udt(of_inner)));
    let backup = made(&[
        simple(),
        make_type("zz_inner", CqlType::Int),
        make_type("aa_outer", frozen.clone()),
        make_table("t", 4, &[("v", frozen)]),
    ]);
    let backup = decode_schema(&encode_schema(&backup), Rc::default()).expect("comes back");
    let ordered = types_in_order(backup.keyspace("k").expect("there"));
    assert_eq!(ordered.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["zz_inner", "aa_outer"]);
    let empty = Schema::new(Rc::default());
    let planned = plan(&backup, &cluster(&empty, &[])).expect("fits");
    assert_eq!((planned.changes.len(), planned.notes.len()), (4, 0));
    let restored = made(&planned.changes);
    let (old, new) = (backup.table("k", "t").expect("there"), restored.table("k", "t").expect("made"));
    assert_eq!((old.id, &old.columns), (new.id, &new.columns));
    // Again: everything is there, and nothing is made.
    let again = plan(&backup, &cluster(&restored, &[])).expect("fits");
    assert!(again.changes.is_empty() && again.notes[0].contains("table k.t was here"), "{again:?}");
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let backup = made(&[simple(), make_type("u", CqlType::Int), make_table("t", 4, &[("v", CqlType::Text)])]);
    let refused = |changes: &[Change]| plan(&backup, &cluster(&made(changes), &[])).expect_err("does not fit");
    let error = refused(&[simple(), make_type("u", CqlType::Text)]);
    assert_eq!(error, "type k.u is here with other fields");
    let error = refused(&[simple(), make_table("t", 4, &[("v", CqlType::Int)])]);
    assert_eq!(error, "table k.t is here and does not fit: its column v is missing or of another type");
    let error = refused(&[simple(), make_table("t", 4, &[("w", CqlType::Text)])]);
    assert!(error.contains("column v is missing"), "{error}");
    let mut other = make_table("t", 4, &[("v", CqlType::Text)]);
    if let Change::CreateTable { columns, .. } = &mut other {
        columns[0].name = "other".into();
    }
    assert!(refused(&[simple(), other]).contains("its primary key is another"));
    // More columns, another replication, another table of the same id: fine.
    let more = [("v", CqlType::Text), ("w", CqlType::Int)];
    let found = made(&[keyspace(Replication::Simple { factor: 1 }), make_table("t", 2, &more)]);
    let planned = plan(&backup, &cluster(&found, &[])).expect("fits");
    assert!(planned.notes[0].contains("keeps the replication"), "{planned:?}");
    let found = made(&[simple(), make_table("elsewhere", 2, &more)]);
    let planned = plan(&backup, &cluster(&found, &[])).expect("fits");
    assert!(planned.changes.iter().any(|change| matches!(change, Change::CreateTable { id: None, .. })));
    // Where copies go has to be there.
    let factors = [("paris".into(), 5)].into();
    let far = made(&[keyspace(Replication::NetworkTopology { factors })]);
    let empty = Schema::new(Rc::default());
    let error = plan(&far, &cluster(&empty, &["rome".into()])).expect_err("no such place");
    assert!(error.contains("data centre paris"), "{error}");
    let planned = plan(&far, &cluster(&empty, &["paris".into()])).expect("fits");
    assert!(planned.notes[0].contains("asks for 5 copies and there are 3 nodes"), "{planned:?}");
}

#[test]
fn a_part_is_what_was_asked_for() {
    let schema = made(&[simple(), make_type("u", CqlType::Int), make_table("t", 4, &[("v", CqlType::Text)])]);
    let tables = |part: &Schema| part.user_keyspaces().map(|keyspace| keyspace.tables.len()).sum::<usize>();
    assert_eq!(tables(&create::part_of(&schema, None, None)), 1);
    let part = create::part_of(&schema, Some("k"), Some("other"));
    assert_eq!((tables(&part), part.user_type("k", "u").is_some()), (0, true));
    assert_eq!(create::part_of(&schema, Some("l"), None).user_keyspaces().count(), 0);
}
