//! Which partitions of this shard moved, for fetch sessions of this shard or another that ask again and again about many.
//!
//! ```text
//!   session ─▶ Change: add, remove ─▶ Watch ◀─ the store: a partition moved
//!           ◀─ what moved since `after` ─┘
//! ```
//!
//! A session learns what moved without a look at the partitions that did not. Answers may get lost: what moved is told again until the
//! session says up to which number it knows. A session has a place on its shard; who has it next begins anew, so nothing is left behind.

use crate::service::{LOG_SERVICE, LogService};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, ShardId, ShortInput, TabletId};
use holon_kernel::{Address, CallError, Target, Verb};
use holon_wal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// A [`WatchRequest`], to the shard that has the partitions.
pub const WATCH: Verb = Verb(Verb::SERVICE_FIRST + 3);

/// Who waits is answered after so long, with what there is: less than calls may take.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A session: its shard, and its place there.
type Watcher = (ShardId, u32);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    pub place: u32,
    pub what: WatchWhat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchWhat {
    /// Watches more partitions and others no longer. What moved after a number is the answer.
    Change {
        anew: bool,
        after: u64,
        add: Vec<TabletId>,
        remove: Vec<TabletId>,
    },
    /// Answered when something has moved after a number.
    Wait {
        after: u64,
    },
    End,
}

/// What moved, and the number to go on after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub last: u64,
    pub tablets: Vec<TabletId>,
}

#[derive(Default)]
struct Watch {
    tablets: BTreeSet<TabletId>,
    /// What moved, and when it did last.
    moved: BTreeMap<TabletId, u64>,
    last: u64,
    signal: Rc<Signal>,
}

/// All watches of partitions of a shard.
#[derive(Default)]
pub struct Watches {
    watches: BTreeMap<Watcher, Watch>,
    by_tablet: BTreeMap<TabletId, BTreeSet<Watcher>>,
}

impl Watches {
    /// An end of the partition moved, or it is gone.
    pub fn moved(&mut self, tablet: TabletId) {
        let Some(watchers) = self.by_tablet.get(&tablet) else { return };
        for watcher in watchers {
            let Some(watch) = self.watches.get_mut(watcher) else { continue };
            watch.last += 1;
            watch.moved.insert(tablet, watch.last);
            watch.signal.notify();
        }
    }

    fn end(&mut self, watcher: Watcher) {
        let Some(watch) = self.watches.remove(&watcher) else { return };
        watch.tablets.iter().for_each(|tablet| self.unlink(watcher, *tablet));
    }

    fn unlink(&mut self, watcher: Watcher, tablet: TabletId) {
        if let Some(watchers) = self.by_tablet.get_mut(&tablet) {
            watchers.remove(&watcher);
            if watchers.is_empty() {
                self.by_tablet.remove(&tablet);
            }
        }
    }

    fn change(&mut self, watcher: Watcher, anew: bool, add: Vec<TabletId>, remove: &[TabletId]) {
        if anew {
            self.end(watcher);
            self.watches.insert(watcher, Watch::default());
        }
        let Some(watch) = self.watches.get_mut(&watcher) else { return };
        for tablet in remove {
            watch.tablets.remove(tablet);
            watch.moved.remove(tablet);
        }
        watch.tablets.extend(&add);
        remove.iter().for_each(|tablet| self.unlink(watcher, *tablet));
        for tablet in add {
            self.by_tablet.entry(tablet).or_default().insert(watcher);
        }
    }

    /// `None`: there is no such watch.
    fn since(&mut self, watcher: Watcher, after: u64) -> Option<Moved> {
        let watch = self.watches.get_mut(&watcher)?;
        watch.moved.retain(|_, number| *number > after);
        Some(Moved { last: watch.last, tablets: watch.moved.keys().copied().collect() })
    }

    /// Watches, and partitions that are watched.
    pub fn counts(&self) -> (usize, usize) {
        (self.watches.len(), self.by_tablet.len())
    }
}

impl LogService {
    /// Asks the shard that has the partitions, which may be this one.
    ///
    /// # Errors
    /// It does not answer, or does not know of this watch any more: it has to begin anew.
    pub(crate) async fn watch(
        &self,
        on: ShardId,
        request: WatchRequest,
        deadline: Instant,
    ) -> Result<Moved, CallError> {
        let me = self.shard().address();
        if on == me.shard {
            return self.carry_out_watch(on, request).await.ok_or(CallError::Gone);
        }
        let to = Address { node: me.node, shard: on };
        let answer = self.shard().call(to, Target::Service(LOG_SERVICE), WATCH, request.encode(), deadline).await?;
        Moved::decode(answer).map_err(|_| CallError::Gone)
    }

    pub(crate) async fn carry_out_watch(&self, from: ShardId, request: WatchRequest) -> Option<Moved> {
        let watcher = (from, request.place);
        match request.what {
            WatchWhat::Change { anew, after, add, remove } => {
                let mut watches = self.watches().borrow_mut();
                watches.change(watcher, anew, add, &remove);
                watches.since(watcher, after)
            }
            WatchWhat::Wait { after } => {
                let deadline = self.shard().now() + WAIT_MAX;
                loop {
                    let signal = self.watches().borrow().watches.get(&watcher)?.signal.clone();
                    let moved = signal.wait(self.shard());
                    let found = self.watches().borrow_mut().since(watcher, after)?;
                    if !found.tablets.is_empty() || self.shard().timeout(deadline, moved).await.is_err() {
                        return Some(found);
                    }
                }
            }
            WatchWhat::End => {
                self.watches().borrow_mut().end(watcher);
                Some(Moved::default())
            }
        }
    }

    /// For another shard.
    pub(crate) async fn answer_watch(&self, from: Address, payload: Bytes) -> Result<Bytes, CallError> {
        let request = WatchRequest::decode(payload).map_err(|_| CallError::NotHere)?;
        let moved = self.carry_out_watch(from.shard, request).await;
        moved.map(|moved| moved.encode()).ok_or(CallError::Gone)
    }
}

fn put_tablets(out: &mut ByteWriter, tablets: &[TabletId]) {
    out.put_varint(tablets.len() as u64);
    tablets.iter().for_each(|tablet| out.put_u64(tablet.0));
}

fn tablets(input: &mut ByteReader) -> Result<Vec<TabletId>, ShortInput> {
    let mut tablets = Vec::new();
    for _ in 0..input.count()? {
        tablets.push(TabletId(input.u64()?));
    }
    Ok(tablets)
}

impl WatchRequest {
    fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u32(self.place);
        match &self.what {
            WatchWhat::Change { anew, after, add, remove } => {
                out.put_u8(if *anew { 1 } else { 0 });
                out.put_u64(*after);
                put_tablets(&mut out, add);
                put_tablets(&mut out, remove);
            }
            WatchWhat::Wait { after } => {
                out.put_u8(2);
                out.put_u64(*after);
            }
            WatchWhat::End => out.put_u8(3),
        }
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Result<WatchRequest, ShortInput> {
        let mut input = ByteReader::new(bytes);
        let place = input.u32()?;
        let what = match input.u8()? {
            kind @ (0 | 1) => {
                let (anew, after) = (kind == 1, input.u64()?);
                WatchWhat::Change { anew, after, add: tablets(&mut input)?, remove: tablets(&mut input)? }
            }
            2 => WatchWhat::Wait { after: input.u64()? },
            3 => WatchWhat::End,
            _ => return Err(ShortInput { offset: 4 }),
        };
        input.end()?;
        Ok(WatchRequest { place, what })
    }
}

impl Moved {
    fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u64(self.last);
        put_tablets(&mut out, &self.tablets);
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Result<Moved, ShortInput> {
        let mut input = ByteReader::new(bytes);
        let moved = Moved { last: input.u64()?, tablets: tablets(&mut input)? };
        input.end()?;
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Watcher = (ShardId(3), 7);

    #[test]
    fn what_moved_is_told_until_it_is_known_and_of_nothing_else() {
        let mut watches = Watches::default();
        let [a, b, c] = [1, 2, 3].map(TabletId);
        assert_eq!(watches.since(WHO, 0), None, "it has to begin anew");
        watches.change(WHO, true, vec![a, b], &[]);
        [a, c, a].into_iter().for_each(|tablet| watches.moved(tablet));
        let first = Moved { last: 2, tablets: vec![a] };
        assert_eq!(watches.since(WHO, 0), Some(first.clone()));
        assert_eq!(watches.since(WHO, 0), Some(first), "the answer was lost");
        watches.moved(b);
        assert_eq!(watches.since(WHO, 2), Some(Moved { last: 3, tablets: vec![b] }));
        watches.change(WHO, false, vec![c], &[a, b]);
        [a, b, c].into_iter().for_each(|tablet| watches.moved(tablet));
        assert_eq!(watches.since(WHO, 2), Some(Moved { last: 4, tablets: vec![c] }));
        assert_eq!(watches.counts(), (1, 1));
        watches.change(WHO, true, vec![a], &[]);
        assert_eq!((watches.since(WHO, 0), watches.counts()), (Some(Moved::default()), (1, 1)), "another session");
        watches.end(WHO);
        assert_eq!((watches.counts(), watches.since(WHO, 0)), ((0, 0), None));
    }

    #[test]
    fn requests_and_answers_are_read_as_they_were_written() {
        let tablets = vec![TabletId(7), TabletId(u64::MAX)];
        let change = |anew| WatchWhat::Change { anew, after: 5, add: tablets.clone(), remove: vec![TabletId(1)] };
        for what in [change(true), change(false), WatchWhat::Wait { after: 9 }, WatchWhat::End] {
            let request = WatchRequest { place: 77, what };
            assert_eq!(WatchRequest::decode(request.encode()), Ok(request));
        }
        let moved = Moved { last: 3, tablets };
        let bytes = moved.encode();
        assert_eq!(Moved::decode(bytes.clone()), Ok(moved));
        (0..bytes.len()).for_each(|end| assert!(Moved::decode(bytes.slice(..end)).is_err(), "{end}"));
        assert!(WatchRequest::decode(Bytes::from_static(&[0, 0, 0, 0, 9])).is_err());
    }
}
