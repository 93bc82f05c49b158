//! Keeps the node's clock ([`holon_kernel::NodeClock`]): promises timestamps on disk ahead of their use, and compares the wall
//! clock with those of other nodes.
//!
//! ```text
//!   shard that stamps ── settle, renew ──► shard 0 ── clock file: promise ──► stamps up to it
//!                                             └── ask up to 16 living nodes a second: what is your wall clock?
//!                                                 theirs - (ours - rtt / 2), known to ± rtt / 2
//! ```
//!
//! **Who refuses.** A node takes writes while those whose clocks agree with its own, itself included, are more than half of
//! the nodes it hears, itself included. So the one that is wrong among three refuses, two that differ both do (neither
//! can know which is right), and a node that hears nobody trusts itself. What is not certain (a long round trip) speaks for nobody.
//!
//! A node alone does nothing here until it stamps; then it renews its promise before that is used up.

use crate::clock_file::{ClockFile, ClockFileError};
use crate::limits::{
    CLOCK_ASK_TIMEOUT, CLOCK_ASKED_MAX, CLOCK_INTERVAL, CLOCK_INTERVAL_ALONE, CLOCK_PAUSE, CLOCK_SAMPLE_AGE,
};
use crate::service::{CLOCK_ASK, CLOCK_RENEW, CLOCK_SETTLE, METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, NodeId, ShardId, ShortInput};
use holon_kernel::metric::Metric;
use holon_kernel::{
    Address, CallError, Class, ClockKeeper, ClockState, Completer, LocalFuture, Scope, Shard, Target, Verb, join_all,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

/// The format of an answer to [`CLOCK_ASK`].
const ANSWER_VERSION: u8 = 1;

/// The clock of another node, as it was measured.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Theirs less ours, microseconds.
    offset_micros: i64,
    /// The offset is right within so much.
    uncertainty_micros: i64,
    at: Instant,
}

/// What samples say: how many nodes surely differ by more than the bound, of how many, and the offset in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judgement {
    differ: u32,
    heard: u32,
    /// How far ahead of the middle one of the others this clock is.
    ahead_micros: i64,
}

impl Judgement {
    fn of(samples: impl Iterator<Item = Sample>, skew_max_micros: i64) -> Judgement {
        let (mut offsets, mut differ) = (Vec::new(), 0);
        for sample in samples {
            let surely = sample.offset_micros.saturating_abs().saturating_sub(sample.uncertainty_micros);
            if surely > skew_max_micros {
                differ += 1;
            } else if sample.uncertainty_micros > skew_max_micros {
                continue; // it may be anything
            }
            offsets.push(sample.offset_micros);
        }
        offsets.sort_unstable();
        let middle = offsets.get(offsets.len() / 2).copied().unwrap_or(0);
        Judgement { differ, heard: offsets.len() as u32, ahead_micros: middle.saturating_neg() }
    }

    /// Whether those that agree, this node among them, are not more than half.
    fn refuses(&self) -> bool {
        let agree = self.heard - self.differ + 1;
        2 * agree <= self.heard + 1
    }
}

/// Whether a node has others to compare its clock with, be they alive or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Nobody,
    Others,
    /// It has joined and has no news of the cluster yet.
    Unknown,
}

/// Shard 0's part.
pub(crate) struct Keeper {
    me: Weak<Keeper>,
    shard: Rc<Shard>,
    metadata: Weak<Metadata>,
    file: RefCell<Option<ClockFile>>,
    /// Those who wait for the promise that is being written.
    renewing: RefCell<Option<Vec<Completer<()>>>>,
    samples: RefCell<BTreeMap<NodeId, Sample>>,
    /// Of the clock, when the samples were begun.
    doubts: Cell<u32>,
    /// Those who wait for the end of a round.
    waiting: RefCell<Vec<Completer<()>>>,
    nudge: RefCell<Option<Completer<()>>>,
    promises: Cell<u64>,
}

impl Keeper {
    /// Reads what was promised: the clock begins after it.
    pub(crate) async fn open(metadata: &Rc<Metadata>) -> Result<Rc<Keeper>, ClockFileError> {
        let shard = metadata.shard.clone();
        let (file, promise) = ClockFile::open(&shard.disk()).await?;
        shard.clock().begin_after(promise);
        let keeper = Rc::new_cyclic(|me| Keeper {
            me: me.clone(),
            shard: shard.clone(),
            metadata: Rc::downgrade(metadata),
            file: RefCell::new(Some(file)),
            renewing: RefCell::new(None),
            samples: RefCell::default(),
            doubts: Cell::new(0),
            waiting: RefCell::default(),
            nudge: RefCell::new(None),
            promises: Cell::new(0),
        });
        shard.set_clock_keeper(keeper.clone());
        keeper.report();
        Ok(keeper)
    }

    /// Compares clocks, until the shard stops.
    pub(crate) fn run(&self) {
        let Some(me) = self.me.upgrade() else { return };
        self.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            loop {
                let Some(metadata) = me.metadata.upgrade() else { return };
                let (company, peers) = (metadata.company(), me.peers());
                match company {
                    _ if !peers.is_empty() => {
                        me.shard.clock().set_has_peers(true);
                        me.round(peers).await;
                    }
                    Company::Unknown => {}
                    Company::Others => me.shard.clock().set_has_peers(false),
                    Company::Nobody => {
                        // There are no others who could be right.
                        me.samples.borrow_mut().clear();
                        me.shard.clock().set_has_peers(false);
                        me.shard.clock().judged(me.shard.clock().doubts(), None);
                    }
                }
                me.report();
                me.waiting.take().into_iter().for_each(|completer| completer.complete(()));
                if company == Company::Nobody {
                    metadata.wait_for_members(CLOCK_INTERVAL_ALONE).await;
                    continue;
                }
                me.shard.sleep(CLOCK_PAUSE).await;
                if me.waiting.borrow().is_empty() {
                    let (completer, nudge) = me.shard.ticket();
                    *me.nudge.borrow_mut() = Some(completer);
                    let _ = me.shard.timeout(me.shard.now() + CLOCK_INTERVAL, nudge).await; // both mean: look again
                }
            }
        });
    }

    /// Other nodes to ask: those that seem alive, or some of them.
    fn peers(&self) -> Vec<NodeId> {
        let Some(metadata) = self.metadata.upgrade() else { return Vec::new() };
        let (records, me) = (metadata.cluster.borrow().records(), self.shard.node());
        let others = records.iter().map(|record| record.node).filter(|node| *node != me);
        let mut peers: Vec<NodeId> = others.filter(|node| self.shard.is_alive(*node)).collect();
        for at in 0..peers.len().min(CLOCK_ASKED_MAX) {
            let other = at + (self.shard.random_u64() % (peers.len() - at) as u64) as usize;
            peers.swap(at, other);
        }
        peers.truncate(CLOCK_ASKED_MAX);
        peers
    }

    async fn round(&self, peers: Vec<NodeId>) {
        let asked = peers.len();
        let answers = Cell::new(0);
        let asking = peers.into_iter().map(|node| {
            let answers = &answers;
            async move {
                if self.measure(node).await.is_some() {
                    answers.set(answers.get() + 1);
                    // Nobody who waits needs to wait for the slow ones, too.
                    if 2 * answers.get() >= asked {
                        self.judge();
                    }
                }
            }
        });
        join_all(asking).await;
        self.judge();
    }

    async fn measure(&self, node: NodeId) -> Option<()> {
        let (to, target) = (Address { node, shard: ShardId(0) }, Target::Service(METADATA_SERVICE));
        let sent = self.shard.now();
        let reply = self.shard.call(to, target, CLOCK_ASK, Bytes::new(), sent + CLOCK_ASK_TIMEOUT).await.ok()?;
        let theirs = decode_answer(reply).ok()?;
        let (now, wall) = (self.shard.now(), self.shard.wall_micros());
        let half = i64::try_from(now.since(sent).as_micros() / 2).unwrap_or(i64::MAX);
        let offset_micros = theirs.saturating_sub(wall.saturating_sub(half));
        self.forget_old();
        self.samples.borrow_mut().insert(node, Sample { offset_micros, uncertainty_micros: half, at: now });
        Some(())
    }

    /// What was measured before the wall clock was stepped, or long ago.
    fn forget_old(&self) {
        let (mut samples, doubts) = (self.samples.borrow_mut(), self.shard.clock().doubts());
        if self.doubts.replace(doubts) != doubts {
            samples.clear();
        }
        samples.retain(|_, sample| self.shard.now().since(sample.at) < CLOCK_SAMPLE_AGE);
    }

    fn judgement(&self) -> Judgement {
        Judgement::of(self.samples.borrow().values().copied(), self.shard.clock().skew_max_micros())
    }

    fn judge(&self) {
        self.forget_old();
        let judgement = self.judgement();
        if judgement.heard == 0 {
            return; // nothing new is known
        }
        let Judgement { differ, heard, ahead_micros } = judgement;
        let apart = judgement.refuses().then_some((ahead_micros, differ, heard));
        self.shard.clock().judged(self.doubts.get(), apart);
        self.report();
    }

    /// Tells people when the state has changed.
    fn report(&self) {
        if let Some(line) = self.shard.clock().news(self.shard.wall()) {
            self.tell(line);
        }
    }

    /// Somebody waits for the end of a round that has not begun yet, or is under way.
    async fn compared(&self) {
        let (completer, ticket) = self.shard.ticket();
        self.waiting.borrow_mut().push(completer);
        drop(self.nudge.take());
        let _ = ticket.await; // means: look again
    }

    /// Returns when a new promise is on disk.
    async fn promise(&self) {
        let (completer, ticket) = self.shard.ticket();
        if let Some(waiting) = &mut *self.renewing.borrow_mut() {
            waiting.push(completer);
        } else {
            self.write(completer);
        }
        let _ = ticket.await; // means: look again
    }

    fn write(&self, first: Completer<()>) {
        let (file, me) = (self.file.take(), self.me.upgrade());
        let (Some(mut file), Some(me)) = (file, me) else { return };
        *self.renewing.borrow_mut() = Some(vec![first]);
        // Of the node's: whoever asked may go away.
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let promise = me.shard.clock().next_promise(me.shard.wall());
            if let Err(error) = file.promise(promise).await {
                // What the file says is unknown, and without it no timestamp can be given.
                me.shard.stop(format!("the promise of timestamps could not be written: {error}"));
                return;
            }
            me.promises.set(me.promises.get() + 1);
            *me.file.borrow_mut() = Some(file);
            me.shard.clock().promised(promise);
            let waiting = me.renewing.take();
            waiting.into_iter().flatten().for_each(|completer| completer.complete(()));
        });
    }

    /// Another node is there again, after there was none to compare with.
    pub(crate) fn heard_of(&self, node: NodeId) {
        if node != self.shard.node() {
            self.shard.clock().heard_of_peer();
        }
    }

    /// An administrator's word that this machine's clock is right: timestamps begin at it again.
    pub(crate) async fn begin_anew(&self) {
        while self.renewing.borrow().is_some() {
            self.promise().await; // an old one must not be written after the new one
        }
        let clock = self.shard.clock();
        clock.begin_anew(self.shard.wall());
        clock.judged(clock.doubts(), None);
        self.promise().await;
        self.report();
    }

    fn status(&self) -> String {
        let judgement = self.judgement();
        let with = match judgement {
            Judgement { heard: 0, .. } => "compared with no other node".to_string(),
            Judgement { differ, heard, ahead_micros } => {
                let way = if ahead_micros < 0 { "behind" } else { "ahead of" };
                let seconds = ahead_micros.unsigned_abs() as f64 / 1e6;
                format!("{seconds:.3} s {way} the middle of {heard} other nodes, {differ} of them out of bounds")
            }
        };
        match self.shard.clock().state(self.shard.wall()) {
            ClockState::Refused(refusal) => format!("TAKES NO WRITES: {refusal}"),
            ClockState::Doubted => format!("to be compared before it is used; {with}"),
            ClockState::Ready | ClockState::Unpromised => with,
        }
    }
}

impl ClockKeeper for Keeper {
    fn settle(&self) -> LocalFuture<()> {
        let Some(me) = self.me.upgrade() else { return Box::pin(async {}) };
        Box::pin(async move {
            match me.shard.clock().state(me.shard.wall()) {
                ClockState::Doubted => me.compared().await,
                ClockState::Unpromised => me.promise().await,
                ClockState::Ready | ClockState::Refused(_) => {}
            }
        })
    }

    fn renew(&self) {
        if self.renewing.borrow().is_none() {
            let (completer, _) = self.shard.ticket();
            self.write(completer);
        }
    }

    fn tell(&self, line: String) {
        if let Some(metadata) = self.metadata.upgrade() {
            metadata.tell(line);
        }
    }
}

/// The part of every other shard: shard 0 does it.
pub(crate) struct ByFirstShard(pub(crate) Weak<Metadata>);

impl ClockKeeper for ByFirstShard {
    fn settle(&self) -> LocalFuture<()> {
        let metadata = self.0.upgrade();
        Box::pin(async move {
            let Some(metadata) = metadata else { return };
            let (shard, target) = (&metadata.shard, Target::Service(METADATA_SERVICE));
            let deadline = shard.now() + holon_kernel::limits::CLOCK_SETTLE_TIMEOUT;
            // The state tells what came of it.
            let _ = shard.call(metadata.first_shard(), target, CLOCK_SETTLE, Bytes::new(), deadline).await;
        })
    }

    fn renew(&self) {
        if let Some(metadata) = self.0.upgrade() {
            let target = Target::Service(METADATA_SERVICE);
            metadata.shard.send(metadata.first_shard(), target, CLOCK_RENEW, Bytes::new());
        }
    }

    fn tell(&self, line: String) {
        if let Some(metadata) = self.0.upgrade() {
            metadata.tell(line);
        }
    }
}

impl Metadata {
    pub(crate) fn company(&self) -> Company {
        match self.cluster.borrow().records().len() {
            0 if !self.options.cluster.seeds.is_empty() => Company::Unknown,
            0 | 1 => Company::Nobody,
            _ => Company::Others,
        }
    }

    pub(crate) async fn answer_clock(&self, verb: Verb) -> Result<Bytes, CallError> {
        let keeper = self.keeper.borrow().clone();
        match (verb, keeper) {
            (CLOCK_ASK, _) => return Ok(encode_answer(self.shard.wall_micros())),
            (CLOCK_SETTLE, Some(keeper)) => keeper.settle().await,
            (CLOCK_RENEW, Some(keeper)) => keeper.renew(),
            _ => return Err(CallError::NotHere),
        }
        Ok(Bytes::new())
    }

    /// `clock begin-anew`: the documented way back from timestamps that were given by a clock that was ahead.
    pub(crate) async fn begin_clock_anew(&self) -> Result<String, String> {
        let keeper = self.keeper.borrow().clone();
        let keeper = keeper.ok_or("this is done by the first shard, which has not started yet: try again")?;
        keeper.begin_anew().await;
        Ok(format!(
            "timestamps of this node begin at its clock again ({} µs since 1970); rows with later ones win over new writes \
             until it gets there",
            self.shard.wall_micros()
        ))
    }

    pub(crate) fn clock_status(&self) -> Option<(String, String)> {
        let keeper = self.keeper.borrow().clone()?;
        Some(("clock".to_string(), keeper.status()))
    }

    pub(crate) fn clock_metrics(&self, out: &mut Vec<Metric>) {
        let Some(keeper) = self.keeper.borrow().clone() else { return };
        let (clock, judgement) = (self.shard.clock(), keeper.judgement());
        let takes_writes = !matches!(clock.state(self.shard.wall()), ClockState::Refused(_));
        let help = "0 if this node refuses writes because of its clock";
        out.push(Metric::gauge("holon_clock_takes_writes", help, f64::from(u8::from(takes_writes))));
        let help = "how far ahead of the middle one of the other nodes that were heard this node's clock is";
        out.push(Metric::gauge("holon_clock_ahead_seconds", help, judgement.ahead_micros as f64 / 1e6));
        let help = "nodes whose clocks were heard lately";
        out.push(Metric::gauge("holon_clock_nodes_heard", help, judgement.heard.into()));
        let help = "those of them that are further from this node's clock than the bound";
        out.push(Metric::gauge("holon_clock_nodes_apart", help, judgement.differ.into()));
        let help = "how far ahead of the wall clock the latest timestamp is; negative: behind";
        let lead = clock.last().saturating_sub(self.shard.wall_micros());
        out.push(Metric::gauge("holon_clock_lead_seconds", help, lead as f64 / 1e6));
        let help = "writes refused because of this node's clock";
        out.push(Metric::counter("holon_clock_refused_total", help, clock.refused()));
        let help = "clocks in messages that were too far ahead to be taken up";
        out.push(Metric::counter("holon_clock_ignored_total", help, clock.ignored()));
        let help = "promises of timestamps written to disk";
        out.push(Metric::counter("holon_clock_promises_total", help, keeper.promises.get()));
    }
}

fn encode_answer(wall_micros: i64) -> Bytes {
    let mut out = ByteWriter::with_capacity(9);
    out.put_u8(ANSWER_VERSION);
    out.put_u64(wall_micros.max(0).cast_unsigned());
    out.freeze()
}

fn decode_answer(bytes: Bytes) -> Result<i64, ShortInput> {
    let mut input = ByteReader::new(bytes);
    if input.u8()? != ANSWER_VERSION {
        return Err(ShortInput { offset: 0 });
    }
    i64::try_from(input.u64()?).map_err(|_| ShortInput { offset: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: i64 = 500_000;

    fn judge(offsets: &[i64]) -> Judgement {
        let at = Instant(0);
        let sample = |offset: &i64| Sample { offset_micros: *offset, uncertainty_micros: 1_000, at };
        Judgement::of(offsets.iter().map(sample), BOUND)
    }

    #[test]
    fn a_node_takes_writes_while_those_that_agree_with_it_are_more_than_half() {
        let far = 3_600_000_000;
        let cases: [(&[i64], bool); 11] = [
            (&[], false),                     // alone
            (&[0], false),                    // two that agree
            (&[far], true),                   // two that differ: both
            (&[0, far], false),               // one of the others is wrong
            (&[far, far], true),              // this one is
            (&[far, -far], true),             // three that differ: all
            (&[far, far, 0], true),           // two against two: all
            (&[far, 0, 0], false),            // one against three
            (&[far, far, 0, 0], false),       // two against three
            (&[far, far, far, 0], true),      // three against two
            (&[BOUND, -BOUND, BOUND], false), // within the bound
        ];
        for (offsets, refuses) in cases {
            assert_eq!(judge(offsets).refuses(), refuses, "{offsets:?}");
        }
    }

    #[test]
    fn what_is_not_certain_speaks_for_nobody() {
        let at = Instant(0);
        let slow = |offset_micros, uncertainty_micros| Sample { offset_micros, uncertainty_micros, at };
        let samples = [slow(BOUND + 2_000, 1_000), slow(0, 2 * BOUND), slow(BOUND + 10, 1_000)];
        let judgement = Judgement::of(samples.into_iter(), BOUND);
        assert_eq!((judgement.differ, judgement.heard), (1, 2));
        // Far off even if the round trip was all on one side.
        let judgement = Judgement::of([slow(4 * BOUND, 2 * BOUND)].into_iter(), BOUND);
        assert_eq!((judgement.differ, judgement.heard, judgement.ahead_micros), (1, 1, -4 * BOUND));
    }

    #[test]
    fn answers_survive_the_wire() {
        let bytes = encode_answer(1_700_000_000_000_000);
        assert_eq!(decode_answer(bytes.clone()), Ok(1_700_000_000_000_000));
        (0..bytes.len()).for_each(|cut| assert!(decode_answer(bytes.slice(..cut)).is_err(), "cut at {cut}"));
        assert!(decode_answer(Bytes::from_static(&[9, 0, 0, 0, 0, 0, 0, 0, 0])).is_err());
    }
}
