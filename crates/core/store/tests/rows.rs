//! Merging rows: the rules one by one, the laws for all rows, and the encoding.

use bytes::Bytes;
use holon_store::{
    Cell, CellEntry, CellKind, Deletion, Expiry, Liveness, Mutation, MutationBuilder, RangeTombstone, Row, StoreError,
    decode_row, row_bytes,
};
use proptest::prelude::*;

fn with(cell: Cell) -> Row {
    Row { cells: vec![CellEntry::new(1, cell)], ..Row::default() }
}

/// Both orders give the same; which cell is left?
fn winner(a: &Cell, b: &Cell) -> Cell {
    let (left, right) = (with(a.clone()).merge(with(b.clone())), with(b.clone()).merge(with(a.clone())));
    assert_eq!(left, right);
    left.cells[0].cell.clone()
}

#[test]
fn of_two_cells_at_one_time_the_rules_choose_one() {
    let cases = [
        ("the later timestamp", Cell::live(2, "a"), Cell::live(1, "b")),
        ("the later timestamp, whatever the kind", Cell::live(2, "a"), Cell::tombstone(1, 100)),
        ("a tombstone beats a live cell", Cell::tombstone(1, 0), Cell::live(1, "z")),
        ("an expiring cell beats a live one", Cell::expiring(1, 5, 10, "a"), Cell::live(1, "z")),
        ("a tombstone beats an expiring cell", Cell::tombstone(1, 0), Cell::expiring(1, 5, 1000, "z")),
        ("the later local deletion of tombstones", Cell::tombstone(1, 8), Cell::tombstone(1, 7)),
        ("the later expiry", Cell::expiring(1, 5, 11, "a"), Cell::expiring(1, 9, 10, "z")),
        ("the larger value of live cells", Cell::live(1, "b"), Cell::live(1, "a")),
        ("the larger value of expiring cells", Cell::expiring(1, 5, 10, "b"), Cell::expiring(1, 9, 10, "a")),
        ("a longer value with the same beginning", Cell::live(1, "ab"), Cell::live(1, "a")),
        ("unsigned bytes", Cell::live(1, vec![0xff]), Cell::live(1, vec![0x7f])),
    ];
    for (rule, wins, loses) in cases {
        assert_eq!(winner(&wins, &loses), wins, "{rule}");
    }
}

#[test]
fn a_deletion_covers_its_own_timestamp_and_what_is_before() {
    let mut row = with(Cell::live(10, "x"));
    row.marker = Some(Liveness { timestamp: 10, expiry: None });
    let deleted = |timestamp| Row { deletion: Some(Deletion { timestamp, local_seconds: 5 }), ..Row::default() };
    assert!(row.clone().merge(deleted(9)).visible(None, 0).is_some());
    assert!(row.clone().merge(deleted(10)).visible(None, 0).is_none());
    assert!(row.clone().visible(Some(Deletion { timestamp: 10, local_seconds: 0 }), 0).is_none());
    // A later write lives beside the deletion.
    let again = row.merge(deleted(10)).merge(with(Cell::live(11, "y")));
    assert_eq!(again.visible(None, 0).and_then(|row| row.cell(1).map(|cell| cell.value.clone())), Some("y".into()));
}

#[test]
fn a_collection_that_is_overwritten_keeps_only_what_came_with_it() {
    let mut old = Row::default();
    old.put(CellEntry::element(3, "a", Cell::live(1, "1")));
    old.put(CellEntry::element(3, "b", Cell::live(1, "2")));
    old.put(CellEntry::new(4, Cell::live(1, "other column")));
    let mut new = Row::default();
    // As CQL does it: the deletion is one microsecond before the elements.
    new.delete_column(3, Deletion { timestamp: 4, local_seconds: 0 });
    new.put(CellEntry::element(3, "c", Cell::live(5, "3")));
    let row = old.merge(new).visible(None, 0).expect("a row");
    let paths: Vec<_> = row.elements(3).iter().map(|entry| entry.path.clone()).collect();
    assert_eq!(paths, ["c"]);
    assert!(row.cell(4).is_some());
}

#[test]
fn a_row_of_an_update_vanishes_with_its_cells_and_one_of_an_insert_does_not() {
    let update = with(Cell::live(1, "x")).merge(with(Cell::tombstone(2, 0)));
    assert_eq!(update.clone().visible(None, 0), None);
    let insert = Row { marker: Some(Liveness { timestamp: 1, expiry: None }), ..Row::default() };
    assert!(update.merge(insert).visible(None, 0).is_some_and(|row| row.cells.is_empty()));
}

#[test]
fn what_expires_is_gone_at_its_second_and_no_earlier() {
    let expiry = Some(Expiry { ttl_seconds: 10, expires_at_seconds: 4_000_000_000 });
    let mut row = with(Cell::expiring(1, 10, 4_000_000_000, "beyond 2038"));
    row.marker = Some(Liveness { timestamp: 1, expiry });
    assert!(row.clone().visible(None, 3_999_999_999).is_some());
    assert!(row.visible(None, 4_000_000_000).is_none());
}

fn cell() -> impl Strategy<Value = Cell> {
    let value = || prop::collection::vec(0u8..3, 0..3);
    prop_oneof![
        (0i64..4, value()).prop_map(|(time, value)| Cell::live(time, value)),
        (0i64..4, 0u32..3, 0i64..4, value()).prop_map(|(time, ttl, at, value)| Cell::expiring(time, ttl, at, value)),
        (0i64..4, 0i64..4).prop_map(|(time, local)| Cell::tombstone(time, local)),
        (any::<i64>(), any::<u32>(), any::<i64>()).prop_map(|(time, ttl, at)| Cell::expiring(time, ttl, at, "far")),
    ]
}

fn deletion() -> impl Strategy<Value = Deletion> {
    (0i64..4, 0i64..4).prop_map(|(timestamp, local_seconds)| Deletion { timestamp, local_seconds })
}

fn row() -> impl Strategy<Value = Row> {
    let expiry = prop::option::of((0u32..3, 0i64..4))
        .prop_map(|some| some.map(|(ttl_seconds, expires_at_seconds)| Expiry { ttl_seconds, expires_at_seconds }));
    let marker = prop::option::of((0i64..4, expiry))
        .prop_map(|some| some.map(|(timestamp, expiry)| Liveness { timestamp, expiry }));
    let cells = prop::collection::vec((0u32..3, prop::collection::vec(0u8..2, 0..2), cell()), 0..6);
    let columns = prop::collection::vec((0u32..3, deletion()), 0..3);
    (marker, prop::option::of(deletion()), columns, cells).prop_map(|(marker, deletion, columns, cells)| {
        let mut row = Row { marker, deletion, ..Row::default() };
        for (column, deletion) in columns {
            row.delete_column(column, deletion);
        }
        for (column, path, cell) in cells {
            row.put(CellEntry::element(column, path, cell));
        }
        row
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in row(), b in row(), c in row()) {
        let merge = |x: &Row, y: &Row| x.clone().merge(y.clone());
        prop_assert_eq!(merge(&a, &b), merge(&b, &a));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        let once = merge(&a, &b);
        prop_assert_eq!(merge(&once, &b), once.clone());
        prop_assert_eq!(merge(&once, &once), once);
    }

    /// Dropping what a range deletion covers before merging or after it is the same.
    #[test]
    fn covering_commutes_with_merging(a in row(), b in row(), range in deletion(), now in 0i64..5) {
        let mut early = a.clone();
        early.drop_covered(Some(range));
        prop_assert_eq!(early.merge(b.clone()).visible(Some(range), now), a.merge(b).visible(Some(range), now));
    }

    #[test]
    fn rows_are_read_as_they_were_written(row in row()) {
        let bytes = row_bytes(&row);
        prop_assert_eq!(decode_row(&bytes).ok(), Some(row));
        // Cut anywhere it is refused, and so is a byte more.
        for cut in 0..bytes.len() {
            prop_assert!(decode_row(&bytes.slice(..cut)).is_err(), "cut at {}", cut);
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert!(decode_row(&Bytes::from(longer)).is_err());
    }

    /// The encoding is canonical: whatever decodes encodes to the same bytes, so a changed byte is another row or none.
    #[test]
    fn garbage_is_refused_or_canonical(
        bytes in prop::collection::vec(any::<u8>(), 0..24),
        row in row(),
        at in any::<usize>(),
        bit in 0u8..8,
    ) {
        let mut flipped = row_bytes(&row).to_vec();
        let at = at % flipped.len();
        flipped[at] ^= 1 << bit;
        for bytes in [Bytes::from(bytes), Bytes::from(flipped)] {
            if let Ok(decoded) = decode_row(&bytes) {
                prop_assert_eq!(decode_row(&row_bytes(&decoded)).ok(), Some(decoded));
            }
        }
    }

    #[test]
    fn mutations_are_read_as_they_were_written(
        rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5), row()), 0..4),
        deletion in deletion(),
    ) {
        let mut builder = MutationBuilder::new();
        for (key, row) in &rows {
            builder.row(key, row);
        }
        builder.delete_range(RangeTombstone { start: "a".into(), end: "b".into(), deletion });
        let mutation = builder.finish().expect("a mutation");
        let read = Mutation::decode(mutation.bytes().clone()).expect("decodes");
        prop_assert_eq!(&read, &mutation);
        let expected: Vec<(Bytes, Row)> = rows.into_iter().map(|(key, row)| (key.into(), row)).collect();
        prop_assert_eq!(read.rows().expect("decodes"), expected);
        for cut in 0..mutation.bytes().len() {
            prop_assert!(Mutation::decode(mutation.bytes().slice(..cut)).is_err());
        }
    }
}

#[test]
fn limits_are_checked_before_memory_is_taken() {
    let large = Row { cells: vec![CellEntry::new(1, Cell::live(1, vec![0; 17 << 20]))], ..Row::default() };
    assert!(matches!(Mutation::row("key", &large), Err(StoreError::TooLarge { what: "a mutation", .. })));
    let key = vec![0; holon_store::limits::KEY_BYTES_MAX + 1];
    assert!(matches!(Mutation::row(key, &Row::default()), Err(StoreError::TooLarge { what: "a key", .. })));
    // A count of 2^62 rows in a mutation of a few bytes.
    let bytes = Bytes::from_static(&[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]);
    assert!(matches!(Mutation::decode(bytes), Err(StoreError::Malformed { .. })));
    let unsorted = Row {
        cells: vec![CellEntry::new(2, Cell::live(1, "")), CellEntry::new(1, Cell::live(1, ""))],
        ..Row::default()
    };
    assert!(matches!(Mutation::row("key", &unsorted), Err(StoreError::Malformed { .. })));
    assert!(matches!(unsorted.cells[0].cell.kind, CellKind::Live));
}
