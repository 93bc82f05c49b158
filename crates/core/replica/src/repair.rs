//! Anti-entropy: the replicas of each tablet are compared again and again, and made equal, so that what nobody reads gets to all
//! of them too; and a replica forgets a deletion only when it is known that all have it.
//!
//! ```text
//!   first reader ── BEGIN ──► every replica: where did you change?      (from here on changes count for the next time)
//!                ── read at ALL, there only, repair what differs
//!                ── END ────► every replica: all of you have what any of you had at `mark`
//! ```
//!
//! **Incremental**: a replica remembers in memory where it has changed since the last END ([`Changed`]). Only what changed on some
//! replica is read. A replica that was started anew says "anywhere"; a BEGIN without its END is as if it had not been.
//!
//! **Deletions.** `mark` is the coordinator's time at BEGIN, less [`REPAIR_MARGIN`]. Every deletion that was stamped before it was
//! then on some replica, and is on all now. So older data that it covers is nowhere any more but under it, and whoever has the
//! mark may forget the deletion, when `gc_grace_seconds` have passed as well: until then hints and other late writes may
//! bring older data. (Cassandra has this as `only_purge_repaired_tombstones`.) A replica that is away ends no comparison, so
//! nothing is forgotten meanwhile.
//!
//! A transaction that was decided long ago is older data as well, which a new leader of the tablet's consensus group writes again if the
//! log does not say that the replicas have it. So a replica whose log may have such a leader refuses to begin, until the log says so.
//!
//! Both times are of the nodes' common clock: a node whose clock is off takes no deletions, and makes no comparisons. One whose clock was ahead
//! before, and has yet to get to what it has stamped, compares without a mark ([`NO_MARK`]): to make replicas equal takes no clock. A mark that
//! is lost is earned again.

mod mend;

use crate::consensus::Groups;
use crate::coordinator::{Coordinator, Demand, ReplicaError, Speculation, address_of, count};
use crate::fill::FillProgress;
use crate::level::Level;
use crate::limits::{
    FILL_TIMEOUT, REPAIR_BYTES_PER_SECOND, REPAIR_LOOK_MAX, REPAIR_LOOK_MIN, REPAIR_MARGIN, REPAIR_RANGES,
    REPAIR_TIMEOUT,
};
use crate::message::{ReadRequest, check_version, put_version};
use crate::own::{MARKS_FIRST_ORDINAL, is_of_no_map};
use crate::plant;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, Instant, NodeId, ServiceId, ShardId, ShortInput, TabletId};
use holon_kernel::{CallError, Class, ClockRefusal, Scope, Shard, Target, Verb, join_all};
use holon_store::{
    Cell as StoreCell, CellEntry, Changed, Deletion, Durability, Engine, KeyRange, Mutation, Row, ScanOptions,
    StoreError,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

const BEGIN: Verb = Verb(Verb::SERVICE_FIRST + 40);
const END: Verb = Verb(Verb::SERVICE_FIRST + 41);

const COLUMN: u32 = 0;

/// In place of a mark: the replicas are equal, and nothing is said of deletions.
const NO_MARK: i64 = i64::MIN;

/// Tablets of this shard with the seconds that deletions are kept at least.
pub type Tablets = Rc<dyn Fn() -> Vec<(TabletId, i64)>>;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RepairError {
    #[error("replica {0} is away")]
    Away(NodeId),
    #[error("the tablet moves")]
    Moves,
    #[error(
        "the consensus group does not know yet, at replica {0}, that its last decisions are at the replicas: try again in some seconds"
    )]
    Untold(NodeId),
    #[error("replica {0} does not answer ({1})")]
    NoAnswer(NodeId, CallError),
    #[error(transparent)]
    Clock(#[from] ClockRefusal),
    #[error(transparent)]
    Replicas(#[from] ReplicaError),
}

/// Since the start, on this shard.
#[derive(Default)]
pub struct RepairCounters {
    /// Tablets whose replicas were made equal.
    pub tablets: Cell<u64>,
    /// Of them those in which nothing had changed.
    pub unchanged: Cell<u64>,
    /// Tries that ended without (a replica was away, the tablet moved, …).
    pub failed: Cell<u64>,
    pub rows: Cell<u64>,
    pub bytes: Cell<u64>,
}

/// One shard's part.
pub struct Repairs {
    shard: Rc<Shard>,
    service: ServiceId,
    coordinator: Rc<Coordinator>,
    groups: Rc<Groups>,
    engine: RefCell<Option<Engine>>,
    /// Of replicas here: all have what any had at this time, seconds.
    marks: RefCell<BTreeMap<TabletId, i64>>,
    /// Comparisons that have begun: their number, and where the replica here had changed before.
    begun: RefCell<BTreeMap<TabletId, (u64, Changed)>>,
    /// When tablets that this node compares are compared next.
    due: RefCell<BTreeMap<TabletId, Instant>>,
    /// Tablets here whose damage is being made good.
    mending: RefCell<BTreeSet<TabletId>>,
    pub counters: RepairCounters,
}

/// Whether a tablet is one of marks, and of no map.
fn is_mark_tablet(tablet: TabletId) -> bool {
    is_of_no_map(tablet) && tablet.ordinal() >= MARKS_FIRST_ORDINAL
}

/// Where a shard keeps its marks: a tablet that this shard opens, too, when it starts again.
fn own_tablet(shard: ShardId, shards: u16) -> TabletId {
    let beside_hints = (MARKS_FIRST_ORDINAL..).map(|ordinal| TabletId::new(GroupId(0), ordinal));
    beside_hints
        .take(shards.into())
        .find(|tablet| tablet.shard(shards) == shard)
        .expect("each shard has one of so many")
}

fn key(tablet: TabletId) -> [u8; 8] {
    tablet.0.to_be_bytes()
}

impl Repairs {
    pub fn new(
        shard: &Rc<Shard>,
        service: ServiceId,
        coordinator: &Rc<Coordinator>,
        groups: &Rc<Groups>,
    ) -> Rc<Repairs> {
        Rc::new(Repairs {
            shard: shard.clone(),
            service,
            coordinator: coordinator.clone(),
            groups: groups.clone(),
            engine: RefCell::new(None),
            marks: RefCell::default(),
            begun: RefCell::default(),
            due: RefCell::default(),
            mending: RefCell::default(),
            counters: RepairCounters::default(),
        })
    }

    /// Finds the marks of an earlier start.
    ///
    /// # Errors
    /// A tablet that cannot be read.
    pub async fn open(&self, engine: &Engine) -> Result<(), StoreError> {
        for tablet in engine.tablets().into_iter().filter(|tablet| is_mark_tablet(*tablet)) {
            let mut range = Some(KeyRange::all());
            while let Some(next) = range {
                let page = engine.scan(tablet, next, ScanOptions::new(0)).await?;
                for (key, row) in &page.rows {
                    let mark = row.cell(COLUMN).and_then(|cell| cell.value.first_chunk::<8>().copied());
                    if let (Some(key), Some(mark)) = (key.first_chunk::<8>(), mark) {
                        let (of, mark) = (TabletId(u64::from_be_bytes(*key)), i64::from_be_bytes(mark));
                        let mut marks = self.marks.borrow_mut();
                        let known = marks.entry(of).or_insert(mark);
                        *known = (*known).max(mark);
                    }
                }
                range = page.rest;
            }
        }
        self.marks.borrow_mut().retain(|tablet, _| engine.has_tablet(*tablet));
        *self.engine.borrow_mut() = Some(engine.clone());
        Ok(())
    }

    pub fn close(&self) {
        self.engine.borrow_mut().take();
    }

    /// Deletions that were stamped before this second are on all replicas. `None`: of none is it known.
    pub fn mark(&self, tablet: TabletId) -> Option<i64> {
        if plant::get().purge_unrepaired {
            return Some(i64::MAX);
        }
        self.marks.borrow().get(&tablet).copied()
    }

    /// The oldest of the tablets here that have more than one replica, and how many of them have none yet.
    pub fn oldest(&self, tablets: &[(TabletId, i64)]) -> (Option<i64>, usize) {
        let marks = self.marks.borrow();
        let shared = tablets.iter().filter(|(tablet, _)| self.shard.replicas(*tablet).readers.len() > 1);
        let known: Vec<Option<i64>> = shared.map(|(tablet, _)| marks.get(tablet).copied()).collect();
        (known.iter().flatten().min().copied(), known.iter().filter(|mark| mark.is_none()).count())
    }

    /// A tablet leaves this shard, or goes back to an earlier state.
    pub async fn forget(&self, tablet: TabletId) {
        self.begun.borrow_mut().remove(&tablet);
        self.due.borrow_mut().remove(&tablet);
        if self.marks.borrow_mut().remove(&tablet).is_some() {
            let deletion = Some(Deletion { timestamp: self.shard.wall_micros(), local_seconds: 0 });
            // What stays of it is a true mark of a tablet that is not here.
            drop(self.store(tablet, &Row { deletion, ..Row::default() }).await);
        }
    }

    async fn store(&self, of: TabletId, row: &Row) -> Result<(), StoreError> {
        let Some(engine) = self.engine.borrow().clone() else { return Ok(()) };
        let tablet = own_tablet(self.shard.id(), self.shard.shards());
        if !engine.has_tablet(tablet) {
            engine.create_tablet(tablet).await?;
        }
        engine.write(tablet, Mutation::row(key(of), row)?, Durability::Periodic).await.map(|_| ())
    }

    // ---- As a replica

    pub fn takes(verb: Verb) -> bool {
        matches!(verb, BEGIN | END)
    }

    pub async fn answer(&self, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        let message = Message::decode(payload).map_err(|_| CallError::NotHere)?;
        match verb {
            BEGIN if !self.groups.is_written_before(message.tablet, message.mark.saturating_mul(1_000_000)).await => {
                Err(CallError::Failed(Bytes::new()))
            }
            BEGIN => self.begin_here(&message),
            _ => self.end_here(&message).await.map(|()| Bytes::new()),
        }
    }

    fn begin_here(&self, message: &Message) -> Result<Bytes, CallError> {
        let engine = self.engine.borrow().clone().ok_or(CallError::NotHere)?;
        if engine.is_damaged(message.tablet) {
            return Err(CallError::NotHere); // what a comparison sees here may go before it ends
        }
        let mut changed = engine.take_changed(message.tablet).map_err(|_| CallError::NotHere)?;
        let mut begun = self.begun.borrow_mut();
        if let Some((_, without_end)) = begun.remove(&message.tablet) {
            changed.merge(without_end);
        }
        let mark = self.marks.borrow().get(&message.tablet).copied().unwrap_or(i64::MIN);
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_signed_varint(mark);
        changed.put_to(&mut out);
        begun.insert(message.tablet, (message.run, changed));
        Ok(out.freeze())
    }

    async fn end_here(&self, message: &Message) -> Result<(), CallError> {
        let tablet = message.tablet;
        let is_of_run = self.begun.borrow().get(&tablet).is_some_and(|(run, _)| *run == message.run);
        if !is_of_run {
            return Err(CallError::NotHere);
        }
        self.begun.borrow_mut().remove(&tablet);
        if message.mark == NO_MARK {
            return Ok(());
        }
        let before = self.marks.borrow_mut().insert(tablet, message.mark);
        if before.is_none_or(|before| before < message.mark) {
            let mut row = Row::default();
            let value = Bytes::copy_from_slice(&message.mark.to_be_bytes());
            row.put(CellEntry::new(COLUMN, StoreCell::live(self.shard.wall_micros(), value)));
            drop(self.store(tablet, &row).await); // earned again at worst
        }
        Ok(())
    }

    // ---- As the one who compares

    /// Compares, each tablet once an interval, those of which this node is the first reader, until the shard stops.
    pub fn run(self: &Rc<Self>, interval: Duration, tablets: Tablets) {
        if interval.is_zero() {
            return;
        }
        let me = self.clone();
        self.shard.spawn(Scope::Node, Class::Background, async move {
            let look = (interval / 64).clamp(REPAIR_LOOK_MIN, REPAIR_LOOK_MAX);
            loop {
                me.shard.sleep(look).await;
                let all = tablets();
                let known: BTreeSet<TabletId> = all.iter().map(|(tablet, _)| *tablet).collect();
                me.due.borrow_mut().retain(|tablet, _| known.contains(tablet));
                for (tablet, grace) in all.into_iter().filter(|(tablet, _)| me.compares(*tablet)) {
                    if !me.is_due(tablet, interval) {
                        continue;
                    }
                    let next = match me.repair(tablet, grace, false, |_| ()).await {
                        Ok(_) => interval,
                        Err(_) => look,
                    };
                    me.due.borrow_mut().insert(tablet, me.shard.now() + next);
                }
            }
        });
    }

    /// Whether this node is the one of a tablet's replicas that compares them.
    pub fn compares(&self, tablet: TabletId) -> bool {
        let replicas = self.shard.replicas(tablet);
        replicas.readers.len() > 1 && replicas.readers.first() == Some(&self.shard.node())
    }

    /// Tablets that are new here are spread over an interval.
    fn is_due(&self, tablet: TabletId, interval: Duration) -> bool {
        let now = self.shard.now();
        let spread = || now + Duration::from_micros(self.shard.random_u64() % (interval.as_micros() as u64 + 1));
        now >= *self.due.borrow_mut().entry(tablet).or_insert_with(spread)
    }

    /// Makes the replicas of a tablet equal, where one of them has changed or everywhere.
    ///
    /// # Errors
    /// Nothing is lost: it is as if it had not begun, but for what was repaired.
    pub async fn repair(
        &self,
        tablet: TabletId,
        grace_seconds: i64,
        everywhere: bool,
        progress: impl Fn(FillProgress),
    ) -> Result<FillProgress, RepairError> {
        let outcome = self.compare(tablet, grace_seconds, everywhere, progress).await;
        count(if outcome.is_ok() { &self.counters.tablets } else { &self.counters.failed });
        outcome
    }

    async fn compare(
        &self,
        tablet: TabletId,
        grace_seconds: i64,
        everywhere: bool,
        progress: impl Fn(FillProgress),
    ) -> Result<FillProgress, RepairError> {
        let shard = &self.shard;
        let replicas = shard.replicas(tablet);
        if !replicas.joint.is_empty() {
            return Err(RepairError::Moves);
        }
        if let Some(away) = replicas.readers.iter().find(|node| !shard.is_alive(**node)) {
            return Err(RepairError::Away(*away));
        }
        // Of a clock that is not to be trusted no mark must be made. If only what it stamped before is not, it is right now, but for
        // marks: deletions may have been stamped later than that.
        let (begun, mark) = match shard.stamp(shard.now() + REPAIR_TIMEOUT).await {
            Ok(stamp) => (stamp / 1_000_000, stamp / 1_000_000 - REPAIR_MARGIN.as_secs() as i64),
            Err(ClockRefusal::Behind { .. }) => (shard.wall().seconds(), NO_MARK),
            Err(refusal) => return Err(refusal.into()),
        };
        let message = Message { run: shard.random_u64(), tablet, mark };
        let (mut changed, mut known) = (Changed::nowhere(), i64::MAX);
        for (node, answer) in self.ask_all(&replicas.readers, BEGIN, &message).await? {
            let told = decode_begun(answer);
            let (mark, theirs) = told.map_err(|_| RepairError::NoAnswer(node, CallError::NotHere))?;
            known = known.min(mark);
            changed.merge(theirs);
        }
        let ranges = if everywhere { vec![KeyRange::all()] } else { changed.ranges() };
        if ranges.is_empty() {
            count(&self.counters.unchanged);
        }
        // What all are known to have had may be gone on some already: that is no difference.
        let purgeable_seconds = known.min(begun - grace_seconds);
        let mut done = FillProgress::default();
        for part in ranges.chunks(REPAIR_RANGES) {
            if plant::get().skip_compare {
                break;
            }
            let mut request = ReadRequest::all_of(part.to_vec(), shard.wall().seconds());
            request.purgeable_seconds = purgeable_seconds;
            while !request.ranges.is_empty() {
                request.ranges = self.compare_page(tablet, &request, &mut done).await?;
                progress(done);
            }
        }
        if shard.replicas(tablet).since != replicas.since {
            return Err(RepairError::Moves);
        }
        self.ask_all(&replicas.readers, END, &message).await?;
        Ok(done)
    }

    /// What is left of the request.
    async fn compare_page(
        &self,
        tablet: TabletId,
        request: &ReadRequest,
        done: &mut FillProgress,
    ) -> Result<Vec<KeyRange>, RepairError> {
        let shard = &self.shard;
        let demand = Demand { tablet, level: Level::All, replication: None, deadline: shard.now() + FILL_TIMEOUT };
        let answer = self.coordinator.read(&demand, request, Speculation::Never, &|_, _| ()).await?;
        let bytes: usize = answer.rows.iter().map(|(key, row)| key.len() + row.value_bytes()).sum();
        done.pages += 1;
        done.rows += answer.rows.len() as u64;
        done.bytes += bytes as u64;
        self.counters.rows.set(self.counters.rows.get() + answer.rows.len() as u64);
        self.counters.bytes.set(self.counters.bytes.get() + bytes as u64);
        let pause = (bytes as u64).saturating_mul(1000) / REPAIR_BYTES_PER_SECOND;
        match pause {
            0 => shard.yield_now().await,
            millis => shard.sleep(Duration::from_millis(millis)).await,
        }
        Ok(answer.rest)
    }

    async fn ask_all(
        &self,
        nodes: &[NodeId],
        verb: Verb,
        message: &Message,
    ) -> Result<Vec<(NodeId, Bytes)>, RepairError> {
        let (payload, deadline) = (message.encode(), self.shard.now() + REPAIR_TIMEOUT);
        let asked = nodes.iter().map(|node| {
            let to = address_of(&self.shard, *node, message.tablet);
            self.shard.call(to, Target::Service(self.service), verb, payload.clone(), deadline)
        });
        let answers = join_all(asked).await.into_iter().zip(nodes);
        answers
            .map(|(answer, node)| match answer {
                Ok(answer) => Ok((*node, answer)),
                Err(CallError::Failed(_)) => Err(RepairError::Untold(*node)),
                Err(error) => Err(RepairError::NoAnswer(*node, error)),
            })
            .collect()
    }
}

/// `version run:u64 tablet:u64 mark:svarint`, of BEGIN and END.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    run: u64,
    tablet: TabletId,
    /// Seconds, or [`NO_MARK`].
    mark: i64,
}

impl Message {
    fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_u64(self.run);
        out.put_u64(self.tablet.0);
        out.put_signed_varint(self.mark);
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Result<Message, ShortInput> {
        let mut input = ByteReader::new(bytes);
        check_version(&mut input)?;
        let (run, tablet, mark) = (input.u64()?, TabletId(input.u64()?), input.signed_varint()?);
        input.end()?;
        Ok(Message { run, tablet, mark })
    }
}

fn decode_begun(bytes: Bytes) -> Result<(i64, Changed), ShortInput> {
    let mut input = ByteReader::new(bytes);
    check_version(&mut input)?;
    let told = (input.signed_varint()?, Changed::read(&mut input)?);
    input.end()?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hints::is_hint_tablet;

    #[test]
    fn each_shard_keeps_its_marks_in_a_tablet_that_it_opens_again_and_no_other_does() {
        for shards in (1..=64).chain([1000, 1024]) {
            let own: BTreeSet<TabletId> = (0..shards).map(|shard| own_tablet(ShardId(shard), shards)).collect();
            assert_eq!(own.len(), usize::from(shards));
            assert!(own.iter().all(|tablet| is_mark_tablet(*tablet) && !is_hint_tablet(*tablet)));
            assert!((0..shards).all(|shard| own_tablet(ShardId(shard), shards).shard(shards) == ShardId(shard)));
        }
    }

    #[test]
    fn what_is_sent_is_what_arrives_and_what_is_cut_is_refused() {
        let message = Message { run: 7, tablet: TabletId(70_000), mark: -3 };
        let bytes = message.encode();
        assert_eq!(Message::decode(bytes.clone()), Ok(message));
        assert!((0..bytes.len()).all(|end| Message::decode(bytes.slice(..end)).is_err()));
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_signed_varint(i64::MIN);
        Changed::Anywhere.put_to(&mut out);
        let bytes = out.freeze();
        assert_eq!(decode_begun(bytes.clone()), Ok((i64::MIN, Changed::Anywhere)));
        assert!((0..bytes.len()).all(|end| decode_begun(bytes.slice(..end)).is_err()));
    }
}
