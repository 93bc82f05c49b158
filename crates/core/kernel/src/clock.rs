//! The hybrid logical clock of a node (Kulkarni et al., *Logical Physical Clocks*, 2014), and whether its wall clock may be
//! trusted with new writes. It reads no clock: wall time is handed in.
//!
//! ```text
//!   wall ──► stamp = max(wall, last + 1) ──► last ──► in every envelope ──► observe: last = max(last, theirs)
//!                                                                           (within reach of the own wall clock only)
//!   state = ready | doubted (just started or stepped: compare first) | unpromised (write the promise first)
//!         | refused: apart from the others, or behind what was stamped before
//! ```
//!
//! Guaranteed while a clock is ready: no timestamp is given twice by a node, none is at or below one that the node has given
//! or heard of, and none leads the node's wall clock by more than `LEAD` times the bound on skew.
//!
//! One for all shards of a node, so that two requests through one node are ordered whichever shards they come to. It is
//! atomic for that reason, and holds no lock: reading it costs a load, a timestamp one compare and swap.
//!
//! Who measures other clocks and writes promises down is not its business: see [`ClockKeeper`].

use crate::limits::{CLOCK_SETTLE_TIMEOUT, CLOCK_SKEW_MAX_DEFAULT};
use crate::service::LocalFuture;
use crate::{Shard, plant};
use holon_base::{Instant, Wall};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;

/// So many times the bound a timestamp may lead the wall clock of the node that gives it. Two nodes that are each within the bound of
/// a majority are within twice the bound of each other, and a node that starts begins at its promise, the bound ahead. Beyond it
/// the wall clock was stepped back, or behind all along.
const LEAD: i64 = 3;

/// Of another node, a clock so many times the bound ahead of the own wall clock is still taken up: whatever a node may stamp
/// ([`LEAD`]), seen from one whose clock is as far behind it as it may be. Else that one would stamp what comes after before it. It may have to
/// wait for its clock then, for twice the bound at most ([`Shard::stamp`]).
const REACH: i64 = LEAD + 2;

/// Why a node takes no writes. Nothing was done; another node may.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ClockRefusal {
    #[error(
        "the clock of this node is {} {} the clocks of {differ} of the {heard} nodes it hears: it takes no writes until \
         its clock is right",
        seconds(*off_micros), if *off_micros < 0 { "behind" } else { "ahead of" }
    )]
    Apart { off_micros: i64, differ: u32, heard: u32 },
    #[error(
        "the clock of this node is {} behind timestamps that it has given: it was ahead then, or was set back since; \
         it takes no writes until its clock has caught up",
        seconds(*by_micros)
    )]
    Behind { by_micros: i64 },
    #[error("this node has not yet compared its clock with those of the others: try again, or another node")]
    Unsettled,
}

/// For people.
fn seconds(micros: i64) -> String {
    format!("{:.1} s", micros.unsigned_abs() as f64 / 1e6)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockState {
    Ready,
    /// The wall clock may be wrong, nobody has looked yet.
    Doubted,
    /// The next timestamp is later than what a restart would begin with.
    Unpromised,
    Refused(ClockRefusal),
}

pub struct NodeClock {
    skew_max_micros: i64,
    /// The latest timestamp that was given or heard of.
    last: AtomicI64,
    /// No timestamp is given beyond it; it is on disk. `i64::MAX`: nobody keeps promises for this clock.
    promised: AtomicI64,
    /// Whether there are others to compare with.
    has_peers: AtomicBool,
    doubted: AtomicBool,
    /// Counts doubts: what was measured before the latest one says nothing.
    doubts: AtomicU32,
    /// How far ahead of the others the wall clock is, if so far that it must not be used; else 0.
    apart_micros: AtomicI64,
    differ: AtomicU32,
    heard: AtomicU32,
    /// The keeper was asked to renew the promise.
    asked: AtomicBool,
    ignored: AtomicU64,
    refused: AtomicU64,
    /// People were told that no writes are taken.
    said: AtomicBool,
}

impl Default for NodeClock {
    fn default() -> NodeClock {
        NodeClock::new(CLOCK_SKEW_MAX_DEFAULT)
    }
}

impl NodeClock {
    pub fn new(skew_max: Duration) -> NodeClock {
        NodeClock {
            skew_max_micros: i64::try_from(skew_max.as_micros()).unwrap_or(i64::MAX / 16).clamp(1, i64::MAX / 16),
            last: AtomicI64::new(0),
            promised: AtomicI64::new(i64::MAX),
            has_peers: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
            doubts: AtomicU32::new(0),
            apart_micros: AtomicI64::new(0),
            differ: AtomicU32::new(0),
            heard: AtomicU32::new(0),
            asked: AtomicBool::new(false),
            ignored: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            said: AtomicBool::new(false),
        }
    }

    pub fn skew_max_micros(&self) -> i64 {
        self.skew_max_micros
    }

    /// The latest timestamp that was given or heard of: what envelopes carry.
    pub fn last(&self) -> i64 {
        self.last.load(Ordering::Acquire)
    }

    // ---- Timestamps

    /// A timestamp, microseconds; `None`: it would lie beyond the promise.
    fn stamp_promised(&self, wall: Wall) -> Option<i64> {
        let mut last = self.last.load(Ordering::Acquire);
        loop {
            let next = wall.micros().max(last.saturating_add(1));
            if next > self.promised.load(Ordering::Acquire) {
                return None;
            }
            match self.last.compare_exchange_weak(last, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next),
                Err(found) => last = found,
            }
        }
    }

    /// Takes up the clock of another node. One that is out of reach of the wall clock is not taken up: one wrong clock must not
    /// drag the others along.
    pub fn observe(&self, other: i64, wall: Wall) {
        self.take_up(other, wall, REACH);
    }

    /// Takes up a timestamp of data, which may be a client's own: no further than this node may stamp at once, so that no client's clock
    /// has it wait.
    pub fn observe_data(&self, timestamp: i64, wall: Wall) {
        self.take_up(timestamp, wall, LEAD);
    }

    fn take_up(&self, other: i64, wall: Wall, reach: i64) {
        if other <= self.last() || plant::get().ignore_clocks {
            return;
        }
        if other > wall.micros().saturating_add(reach * self.skew_max_micros) {
            self.ignored.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.last.fetch_max(other, Ordering::AcqRel);
    }

    /// Clocks of others that were not taken up.
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Requests that were refused for the clock.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    // ---- The state

    pub fn state(&self, wall: Wall) -> ClockState {
        let next = wall.micros().max(self.last().saturating_add(1));
        let lead = next.saturating_sub(wall.micros());
        let apart = self.apart_micros.load(Ordering::Acquire);
        if plant::get().trust_own_clock {
            // Neither the others nor the promise count.
        } else if self.doubted.load(Ordering::Acquire) {
            return ClockState::Doubted;
        } else if apart != 0 {
            let (differ, heard) = (self.differ.load(Ordering::Acquire), self.heard.load(Ordering::Acquire));
            return ClockState::Refused(ClockRefusal::Apart { off_micros: apart, differ, heard });
        } else if lead > LEAD * self.skew_max_micros {
            return ClockState::Refused(ClockRefusal::Behind { by_micros: lead });
        }
        if next > self.promised.load(Ordering::Acquire) { ClockState::Unpromised } else { ClockState::Ready }
    }

    /// What people are to be told since they were told last.
    pub fn news(&self, wall: Wall) -> Option<String> {
        match self.state(wall) {
            ClockState::Refused(refusal) => (!self.said.swap(true, Ordering::AcqRel)).then(|| refusal.to_string()),
            ClockState::Ready | ClockState::Unpromised if self.said.load(Ordering::Acquire) => self
                .said
                .swap(false, Ordering::AcqRel)
                .then(|| "the clock of this node is right again: it takes writes".to_string()),
            _ => None,
        }
    }

    /// Time has passed for a shard, by its monotonic and by its wall clock. If the two do not agree, the wall clock was
    /// stepped (or the machine slept): it is doubted until somebody has looked, if there are others to compare with.
    pub(crate) fn passed(&self, before: (Instant, Wall), after: (Instant, Wall)) {
        let monotonic = i64::try_from(after.0.since(before.0).as_micros()).unwrap_or(i64::MAX);
        let wall = after.1.micros().saturating_sub(before.1.micros());
        if wall.saturating_sub(monotonic).saturating_abs() > self.skew_max_micros {
            self.doubt();
        }
    }

    /// Nothing is stamped before the clock is compared with others again, if there are any.
    pub fn doubt(&self) {
        if self.has_peers.load(Ordering::Acquire) {
            self.doubts.fetch_add(1, Ordering::AcqRel);
            self.doubted.store(true, Ordering::Release);
        }
    }

    /// What was measured when this was another number is worth nothing now.
    pub fn doubts(&self) -> u32 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Whether there are others to compare with. A clock that has none any more is not doubted, but what was found out about
    /// it stays. One that has just got some, who may not have started yet, is good until they speak.
    pub fn set_has_peers(&self, has_peers: bool) {
        self.has_peers.store(has_peers, Ordering::Release);
        if !has_peers {
            self.doubted.store(false, Ordering::Release);
        }
    }

    /// Somebody has spoken. If there was nobody before, the clock has to be compared first.
    pub fn heard_of_peer(&self) {
        if !self.has_peers.swap(true, Ordering::AcqRel) {
            self.doubt();
        }
    }

    /// What came of comparing, begun when [`NodeClock::doubts`] was `doubts`: how far ahead (behind: negative) of the
    /// others the clock is if that is too far, with the nodes that differ and those that were heard.
    pub fn judged(&self, doubts: u32, apart: Option<(i64, u32, u32)>) {
        let (off, differ, heard) = apart.unwrap_or((0, 0, 0));
        self.differ.store(differ, Ordering::Release);
        self.heard.store(heard, Ordering::Release);
        self.apart_micros.store(off, Ordering::Release);
        if doubts == self.doubts() {
            self.doubted.store(false, Ordering::Release);
        }
    }

    // ---- The promise

    /// Timestamps begin after what an earlier process of this node promised; none is given before a new promise.
    pub fn begin_after(&self, promise: i64) {
        if !plant::get().trust_own_clock {
            self.last.fetch_max(promise, Ordering::AcqRel);
        }
        self.promised.store(i64::MIN, Ordering::Release);
    }

    /// What to promise now: the bound ahead of the wall clock, so that a node that starts anew leads it by no more. One that
    /// leads it already promises little more: crashes in a row must not add up.
    pub fn next_promise(&self, wall: Wall) -> i64 {
        let of_wall = wall.micros().saturating_add(self.skew_max_micros);
        of_wall.max(self.last().saturating_add(self.skew_max_micros / 4))
    }

    /// It is on disk.
    pub fn promised(&self, promise: i64) {
        self.promised.fetch_max(promise, Ordering::AcqRel);
        self.asked.store(false, Ordering::Release);
    }

    /// True for whoever is the first to see that the promise should be renewed, before anybody has to wait for it.
    fn wants_promise(&self, stamped: i64) -> bool {
        let left = self.promised.load(Ordering::Acquire).saturating_sub(stamped);
        left < self.skew_max_micros / 8 && !self.asked.swap(true, Ordering::AcqRel)
    }

    /// The way back from a clock that was ahead: timestamps begin at the wall clock again, and what was stamped later than
    /// it wins over new writes until it gets there.
    pub fn begin_anew(&self, wall: Wall) {
        self.promised.store(i64::MIN, Ordering::Release);
        self.last.store(wall.micros(), Ordering::Release);
    }
}

/// Looks after a node's clock for a shard: compares it with those of others, writes promises down.
pub trait ClockKeeper {
    /// Returns when that was done which the state asks for, or was tried.
    fn settle(&self) -> LocalFuture<()>;

    /// The promise should be renewed soon.
    fn renew(&self);

    /// A line for people.
    fn tell(&self, line: String);
}

/// What a shard has of its node's clock.
pub(crate) struct ShardClock {
    pub(crate) node: Arc<NodeClock>,
    pub(crate) keeper: RefCell<Option<Rc<dyn ClockKeeper>>>,
    micros_last: Cell<i64>,
}

impl ShardClock {
    pub(crate) fn new(node: Arc<NodeClock>) -> ShardClock {
        ShardClock { node, keeper: RefCell::new(None), micros_last: Cell::new(0) }
    }
}

impl Shard {
    pub fn clock(&self) -> &Arc<NodeClock> {
        &self.clock.node
    }

    pub fn set_clock_keeper(&self, keeper: Rc<dyn ClockKeeper>) {
        *self.clock.keeper.borrow_mut() = Some(keeper);
    }

    /// Microseconds for ids and the order of list elements: never the same or an earlier one twice on this shard, nor earlier
    /// than what it has stamped or heard of. Data is stamped by [`Shard::stamp`].
    pub fn unique_micros(&self) -> i64 {
        let micros = self.wall_micros().max(self.clock().last()).max(self.clock.micros_last.get() + 1);
        self.clock.micros_last.set(micros);
        micros
    }

    /// Whether writes may be taken, after a look at the others if one is due.
    ///
    /// # Errors
    /// Why not. Nothing was done.
    pub async fn clock_settled(&self, deadline: Instant) -> Result<(), ClockRefusal> {
        self.settle_clock(deadline, |shard| shard.clock().state(shard.wall()) == ClockState::Unpromised).await
    }

    /// A timestamp for data, microseconds.
    ///
    /// # Errors
    /// Why none is given. Nothing was done.
    pub async fn stamp(&self, deadline: Instant) -> Result<i64, ClockRefusal> {
        loop {
            self.settle_clock(deadline, |_| false).await?;
            self.tell_of_clock();
            // No await since: only another shard's timestamp can have used up the promise.
            let Some(stamp) = self.clock().stamp_promised(self.wall()) else { continue };
            if self.clock().wants_promise(stamp)
                && let Some(keeper) = &*self.clock.keeper.borrow()
            {
                keeper.renew();
            }
            return Ok(stamp);
        }
    }

    fn tell_of_clock(&self) {
        if let Some(line) = self.clock().news(self.wall())
            && let Some(keeper) = self.clock.keeper.borrow().clone()
        {
            keeper.tell(line);
        }
    }

    async fn settle_clock(&self, deadline: Instant, enough: impl Fn(&Shard) -> bool) -> Result<(), ClockRefusal> {
        let deadline = deadline.min(self.now() + CLOCK_SETTLE_TIMEOUT);
        loop {
            let refusal = match self.clock().state(self.wall()) {
                ClockState::Ready => return Ok(()),
                // What a node with another clock could stamp, and this one took up, it can stamp soon.
                ClockState::Refused(ClockRefusal::Behind { by_micros })
                    if by_micros <= REACH * self.clock().skew_max_micros() + 1 && self.now() < deadline =>
                {
                    let excess = by_micros - LEAD * self.clock().skew_max_micros();
                    let catches_up = self.now() + Duration::from_micros(excess.unsigned_abs());
                    self.sleep_until(catches_up.min(deadline)).await;
                    continue;
                }
                ClockState::Refused(refusal) => refusal,
                _ if enough(self) => return Ok(()),
                _ => {
                    let keeper = self.clock.keeper.borrow().clone();
                    match keeper.filter(|_| self.now() < deadline) {
                        Some(keeper) => {
                            // Too late means: look at the state once more.
                            let _ = self.timeout(deadline, keeper.settle()).await;
                            continue;
                        }
                        None => ClockRefusal::Unsettled,
                    }
                }
            };
            self.clock().refused.fetch_add(1, Ordering::Relaxed);
            self.tell_of_clock();
            return Err(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_700_000_000 * SECOND;

    fn stamp(clock: &NodeClock, wall: i64) -> i64 {
        clock.stamp_promised(Wall(wall)).expect("nobody keeps promises here")
    }

    #[test]
    fn timestamps_follow_the_wall_clock_and_never_go_back() {
        let clock = NodeClock::default();
        let mut random = holon_base::Random::new(7);
        let (mut wall, mut last) = (NOW, 0);
        for _ in 0..10_000 {
            wall += random.below(20) as i64 - 8;
            let given = stamp(&clock, wall);
            assert!(given > last && given >= wall, "{given} after {last} at {wall}");
            last = given;
            if random.chance(1, 10) {
                let other = wall + random.below(4_000_000) as i64 - 1_000_000;
                clock.observe(other, Wall(wall));
                let taken = other <= wall + REACH * clock.skew_max_micros();
                assert_eq!(clock.last(), if taken { last.max(other) } else { last });
                last = clock.last();
            }
        }
        assert!(clock.ignored() > 0);
    }

    #[test]
    fn a_message_orders_what_comes_after_it_on_a_node_whose_clock_is_behind() {
        let (ahead, behind) = (NodeClock::default(), NodeClock::default());
        let first = stamp(&ahead, NOW + SECOND / 2);
        assert!(stamp(&behind, NOW) < first);
        behind.observe(ahead.last(), Wall(NOW));
        assert!(stamp(&behind, NOW) > first);
    }

    /// Found by seed 52300 of the simulator's world of clusters.
    #[test]
    fn whatever_a_node_may_stamp_is_taken_up_by_one_whose_clock_is_as_far_behind_as_it_may_be() {
        let (set_back, behind) = (NodeClock::default(), NodeClock::default());
        let bound = set_back.skew_max_micros();
        stamp(&set_back, NOW);
        let wall = NOW + 1 - LEAD * bound;
        assert_eq!(set_back.state(Wall(wall)), ClockState::Ready);
        assert!(matches!(set_back.state(Wall(wall - 1)), ClockState::Refused(ClockRefusal::Behind { .. })));
        let given = stamp(&set_back, wall);
        behind.observe(given, Wall(wall - 2 * bound));
        assert_eq!((behind.last(), behind.ignored()), (given, 0));
        let late = behind.state(Wall(wall - 2 * bound));
        assert!(
            matches!(late, ClockState::Refused(ClockRefusal::Behind { by_micros }) if by_micros <= REACH * bound + 1)
        );
        assert_eq!(behind.state(Wall(wall + 1)), ClockState::Ready, "it has to wait for twice the bound");
        assert!(stamp(&behind, wall + 1) > given);
    }

    #[test]
    fn a_clock_that_is_far_ahead_drags_no_other_along() {
        let clock = NodeClock::default();
        clock.observe(NOW + 3600 * SECOND, Wall(NOW));
        assert_eq!(stamp(&clock, NOW), NOW);
        assert_eq!(clock.ignored(), 1);
    }

    #[test]
    fn a_small_step_back_is_bridged_and_a_large_one_refused_until_the_clock_has_caught_up() {
        let clock = NodeClock::default();
        let given = stamp(&clock, NOW);
        assert_eq!(clock.state(Wall(NOW - SECOND)), ClockState::Ready);
        assert_eq!(stamp(&clock, NOW - SECOND), given + 1);
        let far = clock.state(Wall(NOW - 3600 * SECOND));
        assert!(matches!(far, ClockState::Refused(ClockRefusal::Behind { by_micros }) if by_micros > 3599 * SECOND));
        assert_eq!(clock.state(Wall(NOW)), ClockState::Ready);
        clock.begin_anew(Wall(NOW - 3600 * SECOND));
        clock.promised(NOW);
        assert_eq!(clock.state(Wall(NOW - 3600 * SECOND)), ClockState::Ready);
    }

    #[test]
    fn nothing_is_stamped_beyond_the_promise_and_a_restart_begins_after_it() {
        let clock = NodeClock::default();
        clock.begin_after(0);
        assert_eq!(clock.state(Wall(NOW)), ClockState::Unpromised);
        assert_eq!(clock.stamp_promised(Wall(NOW)), None);
        let promise = clock.next_promise(Wall(NOW));
        clock.promised(promise);
        assert_eq!(stamp(&clock, NOW), NOW);
        assert!(!clock.wants_promise(NOW + 400_000));
        assert!(clock.wants_promise(promise - 1) && !clock.wants_promise(promise - 1), "asked for once");
        assert_eq!(stamp(&clock, promise), promise);
        assert_eq!(clock.stamp_promised(Wall(promise)), None);
        let again = NodeClock::default();
        again.begin_after(promise);
        again.promised(again.next_promise(Wall(NOW)));
        assert_eq!(again.state(Wall(NOW)), ClockState::Ready, "a restart at once does not wait");
        assert_eq!(stamp(&again, NOW), promise + 1);
        // Many in a row, with little time between, do not add up to a refusal.
        let (mut promise, mut wall) = (promise, NOW);
        for _ in 0..100 {
            let again = NodeClock::default();
            again.begin_after(promise);
            assert_eq!(again.state(Wall(wall)), ClockState::Unpromised);
            promise = again.next_promise(Wall(wall));
            again.promised(promise);
            stamp(&again, wall);
            wall += 130_000;
        }
    }

    #[test]
    fn a_step_is_doubted_where_there_are_others_and_only_there() {
        let second = |n: u64| Instant(n * 1_000_000_000);
        let (before, stepped) = ((second(1), Wall(NOW)), (second(2), Wall(NOW + 2 * SECOND)));
        let clock = NodeClock::default();
        clock.passed(before, stepped);
        assert_eq!(clock.state(stepped.1), ClockState::Ready);
        clock.set_has_peers(true);
        assert_eq!(clock.state(stepped.1), ClockState::Ready, "a member that has not started yet holds nobody up");
        clock.set_has_peers(false);
        clock.heard_of_peer();
        assert_eq!(clock.state(stepped.1), ClockState::Doubted);
        clock.heard_of_peer();
        assert_eq!(clock.doubts(), 1);
        clock.judged(clock.doubts(), None);
        clock.passed(before, (second(2), Wall(NOW + SECOND + 1000)));
        assert_eq!(clock.state(Wall(NOW + SECOND)), ClockState::Ready);
        let measured = clock.doubts();
        clock.passed(before, stepped);
        clock.judged(measured, None);
        assert_eq!(clock.state(stepped.1), ClockState::Doubted, "measured before the step");
        clock.judged(clock.doubts(), Some((SECOND, 2, 2)));
        let refusal = ClockRefusal::Apart { off_micros: SECOND, differ: 2, heard: 2 };
        assert_eq!(clock.state(stepped.1), ClockState::Refused(refusal));
        clock.set_has_peers(false);
        assert!(matches!(clock.state(stepped.1), ClockState::Refused(_)), "nobody has said that it is right again");
        clock.judged(clock.doubts(), None);
        assert_eq!(clock.state(stepped.1), ClockState::Ready);
    }
}
