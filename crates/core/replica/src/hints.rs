//! Hints: writes that a replica missed while it was away, kept by the coordinator and sent when the replica is back, the
//! oldest first.
//!
//! ```text
//! hint   = row of a tablet of this shard that no map knows (group 0; ordinal: the shard when it was made)
//! key    = node:u128 kept at:u64 (microseconds) number:u64
//! column 0: tablet:u64 mutation
//! ```
//!
//! They make recovery quick and promise nothing: a hint that is too old, too many, or lost with its coordinator is made up for
//! by reads and by repair. One that is sent twice changes nothing.
//!
//! One from before a truncation would bring back what that removed. So a truncation first asks every shard to forget the
//! hints of the group ([`HintStore::forget_group`]), and empties tablets when all have done so. Each shard tells before from
//! after by its own clock that never jumps; no clocks are compared.

use crate::limits::{
    HINT_BYTES_MAX, HINT_BYTES_PER_SECOND, HINT_INTERVAL, HINT_LOOK, HINT_PAGE_ROWS, HINT_REFUSALS_MAX, HINT_TIMEOUT,
    HINT_WINDOW,
};
use crate::message::WriteRequest;
use crate::own::{MARKS_FIRST_ORDINAL, is_of_no_map};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, Instant, NodeId, ShortInput, TabletId};
use holon_kernel::{CallError, Class, Scope, Shard, Verb};
use holon_store::{
    Cell as StoreCell, CellEntry, Deletion, Durability, Engine, KeyRange, MutationBuilder, RangeTombstone, Row,
    ScanOptions, StoreError, prefix_end,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const COLUMN: u32 = 0;

/// How long after a deletion the data under it may come back to life, if an old write arrives: a hint must not be older.
pub type GraceOf = Rc<dyn Fn(TabletId) -> Duration>;

/// The hints of one shard.
pub struct HintStore {
    shard: Rc<Shard>,
    engine: Engine,
    grace: GraceOf,
    /// Hints and their bytes by the node they are for.
    waiting: RefCell<BTreeMap<NodeId, Waiting>>,
    /// Groups that were truncated lately, and when: no hint of a write that began before is kept or sent any more.
    truncated: RefCell<BTreeMap<GroupId, Instant>>,
    /// What is on its way to the disk, by number, and to its replica.
    being_kept: RefCell<BTreeMap<u64, GroupId>>,
    being_sent: Cell<Option<GroupId>>,
    counters: HintCounters,
}

#[derive(Clone, Copy, Default)]
struct Waiting {
    hints: u64,
    bytes: u64,
    /// Hints ever counted, and those of them that are still being written: whether one may have come behind the back of a reader.
    counted: u64,
    being_written: u64,
}

/// Since the start.
#[derive(Default)]
pub struct HintCounters {
    pub kept: Cell<u64>,
    pub sent: Cell<u64>,
    /// Too old, for a node that is no member any more, or beyond the bound.
    pub dropped: Cell<u64>,
}

fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get() + by);
}

/// Whether a tablet is one of these and of no map.
pub(crate) fn is_hint_tablet(tablet: TabletId) -> bool {
    is_of_no_map(tablet) && tablet.ordinal() < MARKS_FIRST_ORDINAL
}

impl HintStore {
    /// Finds what an earlier start left.
    ///
    /// # Errors
    /// A tablet that cannot be read.
    pub async fn open(shard: &Rc<Shard>, engine: &Engine, grace: GraceOf) -> Result<Rc<HintStore>, StoreError> {
        let store = Rc::new(HintStore {
            shard: shard.clone(),
            engine: engine.clone(),
            grace,
            waiting: RefCell::default(),
            truncated: RefCell::default(),
            being_kept: RefCell::default(),
            being_sent: Cell::new(None),
            counters: HintCounters::default(),
        });
        for tablet in store.tablets() {
            let mut range = Some(KeyRange::all());
            while let Some(next) = range {
                let page = engine.scan(tablet, next, ScanOptions::new(0)).await?;
                for (key, row) in &page.rows {
                    if let Some(node) = node_of(key) {
                        store.note(node, row.value_bytes() as u64);
                    }
                }
                range = page.rest;
            }
        }
        Ok(store)
    }

    pub fn counters(&self) -> &HintCounters {
        &self.counters
    }

    /// How many hints wait, and their bytes.
    pub fn waiting(&self) -> (u64, u64) {
        let waiting = self.waiting.borrow();
        waiting.values().fold((0, 0), |(hints, bytes), one| (hints + one.hints, bytes + one.bytes))
    }

    /// Those of this shard, and of shards that this node had when it had more.
    fn tablets(&self) -> Vec<TabletId> {
        self.engine.tablets().into_iter().filter(|tablet| is_hint_tablet(*tablet)).collect()
    }

    fn note(&self, node: NodeId, bytes: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let one = waiting.entry(node).or_default();
        one.hints += 1;
        one.bytes += bytes;
        one.counted += 1;
    }

    fn waiting_for(&self, node: NodeId) -> Waiting {
        self.waiting.borrow().get(&node).copied().unwrap_or_default()
    }

    fn note_being_written(&self, node: NodeId, change: i64) {
        if let Some(one) = self.waiting.borrow_mut().get_mut(&node) {
            one.being_written = one.being_written.saturating_add_signed(change);
        }
    }

    /// Keeps a write for a node; false if it could not be kept. `began`: when the write did, by the clock of this shard.
    pub async fn keep(&self, node: NodeId, tablet: TabletId, mutation: Bytes, began: Instant) -> bool {
        if self.is_truncated(tablet, began) {
            add(&self.counters.dropped, 1);
            return false;
        }
        if !self.knows_the_time().await {
            add(&self.counters.dropped, 1); // how old it is nobody would know; comparisons do
            return false;
        }
        let mut value = ByteWriter::with_capacity(8 + mutation.len());
        value.put_u64(tablet.0);
        value.put_slice(&mutation);
        let (value, kept_at) = (value.freeze(), self.shard.wall_micros());
        let bytes = value.len() as u64;
        if self.waiting().1 + bytes > HINT_BYTES_MAX {
            add(&self.counters.dropped, 1);
            return false;
        }
        // Counted before it is there, so that many at once keep the bound; looked for in vain costs little.
        self.note(node, bytes);
        self.note_being_written(node, 1);
        let number = self.shard.unique_id();
        let key = key(node, kept_at, number);
        let mut row = Row::default();
        row.put(CellEntry::new(COLUMN, StoreCell::live(kept_at, value)));
        let mut builder = MutationBuilder::new();
        builder.row(&key, &row);
        self.being_kept.borrow_mut().insert(number, tablet.group());
        let kept = self.write(builder).await.is_ok();
        self.being_kept.borrow_mut().remove(&number);
        self.note_being_written(node, -1);
        add(if kept { &self.counters.kept } else { &self.counters.dropped }, 1);
        kept
    }

    async fn write(&self, builder: MutationBuilder) -> Result<(), StoreError> {
        let tablet = TabletId::new(GroupId(0), self.shard.id().0.into());
        if !self.engine.has_tablet(tablet) {
            self.engine.create_tablet(tablet).await?;
        }
        self.change(tablet, builder).await
    }

    /// Sends what waits to nodes that are back, until the shard stops.
    pub fn run(self: &Rc<Self>) {
        let me = self.clone();
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                me.shard.sleep(HINT_INTERVAL).await;
                let nodes: Vec<NodeId> = me.waiting.borrow().keys().copied().collect();
                for node in nodes {
                    if !me.is_member(node) {
                        me.forget(node).await;
                    } else if me.shard.is_alive(node) {
                        // A node that fails again is tried again in the next round.
                        let _ = me.replay(node).await;
                    }
                }
            }
        });
    }

    fn is_member(&self, node: NodeId) -> bool {
        self.shard.map().is_none_or(|map| map.nodes().iter().any(|record| record.node == node))
    }

    async fn forget(&self, node: NodeId) {
        let dropped = self.waiting.borrow_mut().remove(&node).unwrap_or_default();
        add(&self.counters.dropped, dropped.hints);
        for tablet in self.tablets() {
            let start = Bytes::copy_from_slice(&node.0.to_be_bytes());
            let end = prefix_end(&start).unwrap_or_default();
            let deletion = Deletion { timestamp: self.shard.wall_micros(), local_seconds: 0 };
            let mut builder = MutationBuilder::new();
            builder.delete_range(RangeTombstone { start, end, deletion });
            let _ = self.change(tablet, builder).await; // looked for again at the next start
        }
    }

    /// All of one node, the oldest first.
    async fn replay(&self, node: NodeId) -> Result<(), CallError> {
        let before = self.waiting_for(node);
        let mut refused = 0;
        for tablet in self.tablets() {
            let mut left = Some(KeyRange::prefix(Bytes::copy_from_slice(&node.0.to_be_bytes())));
            while let Some(range) = left {
                let read_at = self.shard.now();
                let options = ScanOptions { rows_max: HINT_PAGE_ROWS, ..ScanOptions::new(self.shard.wall().seconds()) };
                let page = self.engine.scan(tablet, range, options).await.map_err(|_| CallError::Gone)?;
                let (mut sent, mut bytes, mut failure) = (Vec::new(), 0, None);
                for (key, row) in &page.rows {
                    match self.send(node, key, row, read_at).await {
                        Ok(()) => {}
                        // It stays: there may be room on a full disk later. One that can never be written is not to hold up
                        // the others.
                        Err(CallError::Failed(_)) if refused < HINT_REFUSALS_MAX => {
                            refused += 1;
                            continue;
                        }
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                    bytes += row.value_bytes() as u64;
                    self.sent(node, row.value_bytes() as u64);
                    sent.push(key);
                }
                let _ = self.remove(tablet, &sent).await; // sent again at worst
                if let Some(error) = failure {
                    return Err(error);
                }
                let pause = bytes.saturating_mul(1000) / HINT_BYTES_PER_SECOND;
                self.shard.sleep(Duration::from_millis(pause)).await;
                left = page.rest;
            }
        }
        // One that was kept meanwhile may stand before what was read last: it is looked for in the next round.
        if refused == 0 && before.being_written == 0 && self.waiting_for(node).counted == before.counted {
            self.waiting.borrow_mut().remove(&node);
        }
        Ok(())
    }

    fn sent(&self, node: NodeId, bytes: u64) {
        if let Some(one) = self.waiting.borrow_mut().get_mut(&node) {
            one.hints = one.hints.saturating_sub(1);
            one.bytes = one.bytes.saturating_sub(bytes);
        }
    }

    /// By a clock that is behind a hint seems younger than it is, and may bring back what was deleted since.
    async fn knows_the_time(&self) -> bool {
        self.shard.clock_settled(self.shard.now() + HINT_TIMEOUT).await.is_ok()
    }

    async fn send(&self, node: NodeId, key: &[u8], row: &Row, read_at: Instant) -> Result<(), CallError> {
        let Some((tablet, mutation)) = row.cell(COLUMN).and_then(|cell| decode(cell.value.clone()).ok()) else {
            add(&self.counters.dropped, 1); // of a newer version: repair will do
            return Ok(());
        };
        if !self.knows_the_time().await {
            return Err(CallError::Overloaded); // it stays
        }
        let age = Duration::from_micros((self.shard.wall_micros() - kept_at(key)).max(0) as u64);
        if age >= HINT_WINDOW.min((self.grace)(tablet)) || self.is_truncated(tablet, read_at) {
            add(&self.counters.dropped, 1);
            return Ok(());
        }
        let payload = WriteRequest { mutation, noted: false }.encode();
        let deadline = self.shard.now() + HINT_TIMEOUT;
        self.being_sent.set(Some(tablet.group()));
        let epoch = self.shard.map_epoch();
        let answer = self.shard.call_replica(node, tablet, epoch, Verb::APPLY, payload, deadline).await;
        self.being_sent.set(None);
        match answer {
            Ok(_) => add(&self.counters.sent, 1),
            // The tablet is gone, or elsewhere and was copied there.
            Err(CallError::NotHere) => add(&self.counters.dropped, 1),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Forgets all hints of a group for good, and those of writes that began before now and want to leave one yet. None is on
    /// its way to a replica when this returns.
    ///
    /// # Errors
    /// A tablet that cannot be read or written: some hints may be there still.
    pub async fn forget_group(&self, group: GroupId) -> Result<(), StoreError> {
        let now = self.shard.now();
        {
            let mut truncated = self.truncated.borrow_mut();
            truncated.retain(|_, at| now.since(*at) < HINT_WINDOW); // no request lives that long
            truncated.insert(group, now);
        }
        let of_group = |(number, of): (&u64, &GroupId)| (*of == group).then_some(*number);
        let being_kept: Vec<u64> = self.being_kept.borrow().iter().filter_map(of_group).collect();
        let is_busy = || {
            let kept = self.being_kept.borrow();
            being_kept.iter().any(|number| kept.contains_key(number)) || self.being_sent.get() == Some(group)
        };
        while is_busy() {
            self.shard.sleep(HINT_LOOK).await;
        }
        for tablet in self.tablets() {
            let mut left = Some(KeyRange::all());
            while let Some(range) = left {
                let options = ScanOptions { rows_max: HINT_PAGE_ROWS, ..ScanOptions::new(self.shard.wall().seconds()) };
                let page = self.engine.scan(tablet, range, options).await?;
                let is_of_group = |row: &Row| {
                    let value = row.cell(COLUMN).map(|cell| cell.value.clone());
                    value.and_then(|value| decode(value).ok()).is_some_and(|(of, _)| of.group() == group)
                };
                let of_group: Vec<_> = page.rows.iter().filter(|(_, row)| is_of_group(row)).collect();
                let keys: Vec<&Bytes> = of_group.iter().map(|(key, _)| key).collect();
                // Synced: what is empty after this must not be filled after a crash.
                self.remove_with(tablet, &keys, Durability::Sync).await?;
                for (key, row) in of_group {
                    node_of(key).into_iter().for_each(|node| self.sent(node, row.value_bytes() as u64));
                    add(&self.counters.dropped, 1);
                }
                left = page.rest;
            }
        }
        Ok(())
    }

    /// Whether the tablet was truncated when something had begun, or later.
    fn is_truncated(&self, tablet: TabletId, began: Instant) -> bool {
        self.truncated.borrow().get(&tablet.group()).is_some_and(|at| *at >= began)
    }

    async fn remove(&self, tablet: TabletId, keys: &[&Bytes]) -> Result<(), StoreError> {
        self.remove_with(tablet, keys, Durability::Periodic).await
    }

    async fn remove_with(&self, tablet: TabletId, keys: &[&Bytes], durability: Durability) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut builder = MutationBuilder::new();
        for key in keys {
            let deletion = Some(Deletion { timestamp: kept_at(key), local_seconds: 0 });
            builder.row(key, &Row { deletion, ..Row::default() });
        }
        self.engine.write(tablet, builder.finish()?, durability).await.map(drop)
    }

    async fn change(&self, tablet: TabletId, builder: MutationBuilder) -> Result<(), StoreError> {
        self.engine.write(tablet, builder.finish()?, Durability::Periodic).await.map(|_| ())
    }
}

fn key(node: NodeId, kept_at_micros: i64, number: u64) -> Bytes {
    let mut key = ByteWriter::with_capacity(32);
    key.put_slice(&node.0.to_be_bytes());
    key.put_slice(&kept_at_micros.max(0).to_be_bytes());
    key.put_slice(&number.to_be_bytes());
    key.freeze()
}

fn node_of(key: &[u8]) -> Option<NodeId> {
    key.first_chunk::<16>().map(|bytes| NodeId(u128::from_be_bytes(*bytes)))
}

fn kept_at(key: &[u8]) -> i64 {
    key.get(16..24).and_then(|bytes| bytes.first_chunk::<8>()).map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

fn decode(value: Bytes) -> Result<(TabletId, Bytes), ShortInput> {
    let mut input = ByteReader::new(value);
    Ok((TabletId(input.u64()?), input.rest()))
}
