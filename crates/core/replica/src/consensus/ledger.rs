//! Where a member keeps what it must not forget: rows of the tablet's shadow, a tablet of the engine of its own, so that the
//! log of all groups of a shard is the shard's one write-ahead log.
//!
//! ```text
//! key "h"            column 0: the hard state (term, vote, commit index)
//! key "s"            column 0: the snapshot
//! key "e" index      column 0: an entry (index: 8 bytes, the highest first)
//! ```
//!
//! Timestamps of the rows are a counter of the ledger's own: what is saved later wins.
//!
//! A decision is what an entry carries:
//!
//! ```text
//! decision = version:u8 (1) applied:varint timestamp:svarint mutation
//! ```

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId};
use holon_kernel::Shard;
use holon_raft::{Entry, HardState, Members, Save, Snapshot, Stored};
use holon_store::{
    Cell as StoreCell, CellEntry, Deletion, Durability, Engine, KeyRange, MutationBuilder, RangeTombstone, Row,
    ScanOptions, StoreError,
};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

const COLUMN: u32 = 0;
const HARD: &[u8] = b"h";
const SNAPSHOT: &[u8] = b"s";
const DECISION_VERSION: u8 = 1;

/// What a group has decided on: a mutation whose timestamps are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// The mutations of all entries up to here are at a majority of the tablet's replicas.
    pub(super) applied: u64,
    /// The latest timestamp of the mutation.
    pub(super) timestamp: i64,
    pub(super) mutation: Bytes,
}

impl Decision {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(self.mutation.len() + 24);
        out.put_u8(DECISION_VERSION);
        out.put_varint(self.applied);
        out.put_signed_varint(self.timestamp);
        out.put_slice(&self.mutation);
        out.freeze()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Decision, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != DECISION_VERSION {
            return Err(ShortInput { offset: 0 });
        }
        Ok(Decision { applied: input.varint()?, timestamp: input.signed_varint()?, mutation: input.rest() })
    }
}

fn entry_key(index: u64) -> Bytes {
    let mut key = ByteWriter::with_capacity(9);
    key.put_u8(b'e');
    key.put_slice(&index.to_be_bytes()); // keys are in the order of their bytes
    key.freeze()
}

fn entries_end() -> Bytes {
    Bytes::from_static(b"f")
}

/// One member's storage.
pub(super) struct Ledger {
    shard: Rc<Shard>,
    engine: Engine,
    tablet: TabletId,
    stamp: Cell<i64>,
}

impl Ledger {
    /// Whether there is anything of a tablet's group.
    pub(super) fn exists(engine: &Engine, tablet: TabletId) -> bool {
        engine.has_tablet(tablet.shadow())
    }

    /// What an earlier start left; `members` are those of a group that begins.
    pub(super) async fn open(
        shard: &Rc<Shard>,
        engine: &Engine,
        tablet: TabletId,
        members: Members,
    ) -> Result<(Ledger, Stored), StoreError> {
        let tablet = tablet.shadow();
        if !engine.has_tablet(tablet) {
            engine.create_tablet(tablet).await?;
        }
        let mut stored = Stored { members, ..Stored::default() };
        let (mut stamp, mut left) = (0, Some(KeyRange::all()));
        while let Some(range) = left {
            let options = ScanOptions { keep_tombstones: true, ..ScanOptions::new(shard.wall().seconds()) };
            let page = engine.scan(tablet, range, options).await?;
            stamp = page.ranges.iter().map(|range| range.deletion.timestamp).fold(stamp, i64::max);
            for (key, row) in &page.rows {
                stamp = stamp.max(row.latest_timestamp().unwrap_or(0));
                if let Some(cell) = row.cell(COLUMN) {
                    take(&mut stored, key, cell.value.clone(), tablet)?;
                }
            }
            left = page.rest;
        }
        stored.applied = stored.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        Ok((Ledger { shard: shard.clone(), engine: engine.clone(), tablet, stamp: Cell::new(stamp) }, stored))
    }

    /// Makes saves durable, all or none, as if one after the other.
    pub(super) async fn save(&self, saves: &[Save]) -> Result<(), StoreError> {
        let mut appended: BTreeMap<u64, &Entry> = BTreeMap::new();
        let (mut void_from, mut drop_through) = (None, None);
        for save in saves {
            if let Some(from) = save.truncate_from {
                appended.split_off(&from);
                void_from = Some(void_from.map_or(from, |void: u64| void.min(from)));
            }
            drop_through = save.drop_through.or(drop_through);
            appended.extend(save.append.iter().map(|entry| (entry.index, entry)));
        }
        let gone = self.stamp.get() + 1;
        self.stamp.set(gone + 1);
        let mut builder = MutationBuilder::new();
        let mut put = |key: &[u8], value: Bytes| {
            let mut row = Row::default();
            row.put(CellEntry::new(COLUMN, StoreCell::live(gone + 1, value)));
            builder.row(key, &row);
        };
        let hard = saves.iter().rev().find_map(|save| save.hard);
        hard.iter().for_each(|hard| put(HARD, hard.encode()));
        let snapshot = saves.iter().rev().find_map(|save| save.snapshot.as_ref());
        snapshot.iter().for_each(|snapshot| put(SNAPSHOT, snapshot.encode()));
        let kept = appended.values().filter(|entry| drop_through.is_none_or(|through| entry.index > through));
        kept.for_each(|entry| put(&entry_key(entry.index), entry.encode()));
        let deletion = Deletion { timestamp: gone, local_seconds: self.shard.wall().seconds() };
        let mut delete = |start: Bytes, end: Bytes| {
            builder.delete_range(RangeTombstone { start, end, deletion });
        };
        void_from.iter().for_each(|from| delete(entry_key(*from), entries_end()));
        drop_through.iter().for_each(|through| delete(entry_key(0), entry_key(through + 1)));
        self.engine.write(self.tablet, builder.finish()?, Durability::Sync).await.map(|_| ())
    }
}

fn take(stored: &mut Stored, key: &[u8], value: Bytes, tablet: TabletId) -> Result<(), StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        file: format!("the log of the group of tablet {tablet}"),
        offset: 0,
        detail,
    };
    match key.first() {
        Some(b'h') => stored.hard = HardState::decode(value).map_err(|error| damaged(error.to_string()))?,
        Some(b's') => {
            stored.snapshot = Some(Snapshot::decode(value).map_err(|error| damaged(error.to_string()))?);
        }
        _ => stored.entries.push(Entry::decode(value).map_err(|error| damaged(error.to_string()))?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_entries() {
        let indexes = [0, 1, 255, 256, 257, 65_535, 65_536, u64::MAX];
        assert!(indexes.windows(2).all(|pair| entry_key(pair[0]) < entry_key(pair[1])));
        assert!(entry_key(u64::MAX) < entries_end());
    }

    #[test]
    fn a_decision_arrives_as_it_was_sent() {
        let decision = Decision { applied: 7, timestamp: -5, mutation: Bytes::from_static(b"bytes") };
        assert_eq!(Decision::decode(decision.encode()), Ok(decision));
        assert!(Decision::decode(Bytes::from_static(b"\x02\x00\x00")).is_err());
        assert!(Decision::decode(Bytes::from_static(b"\x01")).is_err());
    }
}
