//! Fetch sessions (KIP-227): what a client fetches again and again, so that it names, and is told, only what changed.
//!
//! ```text
//!   epoch 0 ─▶ a full fetch makes a session     epoch n ─▶ asked + due ─▶ looked at ─▶ what is new     epoch -1 ─▶ it ends
//!                                                          ▲
//!                         asked for, moved, had records or an error the last time, topics changed
//! ```
//!
//! The rules are those of `FetchSession` and `FetchManager` of Kafka 4.1. A partition is in an incremental answer if it has records, an
//! error, or ends that its client was not told; whoever was answered goes to the end of the order, so that nobody starves where an answer
//! has room for some only. A partition that was found at its end is not looked at again before it moves ([`crate::watches`]).
//!
//! Sessions are of a shard, as connections are: a client whose next connection is on another shard is told that there is no such session,
//! and makes one. They are in memory only, and bounded by their number and by their partitions ([`Sessions`]).

use super::fetch::Wanted;
use crate::watches::WatchWhat;
use holon_base::{Instant, ShardId, TabletId};
use holon_kafka::fetch::{FetchPartition, FetchTopic, FetchedPartition, FetchedTopic, ForgottenTopic};
use holon_kafka::{ErrorCode, StrBytes, Uuid};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

/// Sessions of a node (`max.incremental.fetch.session.cache.slots`).
pub const SESSIONS_MAX: usize = 1000;

/// What a partition of a session takes about, with its watch, bytes.
pub const PARTITION_BYTES: usize = 512;

/// A session that was not used for so long may go for any other, and one that is no older for none
/// (`MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS` of Kafka).
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// The session epoch of a request that makes a session, and of one that wants none.
const INITIAL_EPOCH: i32 = 0;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicKey {
    name: Box<str>,
    id: u128,
}

impl TopicKey {
    fn of(name: &str, id: Uuid) -> Rc<TopicKey> {
        Rc::new(TopicKey { name: name.into(), id: id.as_u128() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> Uuid {
        Uuid::from_u128(self.id)
    }
}

pub type Key = (Rc<TopicKey>, i32);

struct Part {
    asked: FetchPartition,
    tablet: Result<TabletId, ErrorCode>,
    /// What the client was told last; -1: that there is an error, or nothing.
    end: i64,
    start: i64,
    order: u64,
}

/// The watch on one shard.
#[derive(Default)]
pub struct Watched {
    is_there: bool,
    pub after: u64,
    add: BTreeSet<TabletId>,
    remove: BTreeSet<TabletId>,
}

/// What one client fetches, on one shard.
pub struct Session {
    pub id: i32,
    /// That the next request has to have.
    pub epoch: i32,
    /// For watches.
    pub place: u32,
    uses_ids: bool,
    made: Instant,
    used: Instant,
    /// Of the topics as they were when partitions were placed.
    pub topics_version: u64,
    shards: u16,
    parts: BTreeMap<Key, Part>,
    by_tablet: BTreeMap<TabletId, Key>,
    /// Those to look at, in the order in which they are.
    due: BTreeMap<u64, Key>,
    orders: u64,
    pub watched: BTreeMap<ShardId, Watched>,
}

impl Session {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn place_of(&mut self, tablet: TabletId) -> &mut Watched {
        self.watched.entry(tablet.shard(self.shards)).or_default()
    }

    fn unwatch(&mut self, tablet: TabletId) {
        self.by_tablet.remove(&tablet);
        let watched = self.place_of(tablet);
        if !watched.add.remove(&tablet) {
            watched.remove.insert(tablet);
        }
    }

    fn watch(&mut self, tablet: TabletId, key: Key) {
        self.by_tablet.insert(tablet, key);
        let watched = self.place_of(tablet);
        if !watched.remove.remove(&tablet) {
            watched.add.insert(tablet);
        }
    }

    /// A partition that is asked for, new or with another offset.
    fn ask(&mut self, key: Key, asked: FetchPartition, place: impl FnOnce() -> Result<TabletId, ErrorCode>) {
        if let Some(part) = self.parts.get_mut(&key) {
            part.asked = asked;
            self.due.insert(part.order, key);
            return;
        }
        let (tablet, order) = (place(), self.orders);
        self.orders += 1;
        if let Ok(tablet) = tablet {
            self.watch(tablet, key.clone());
        }
        self.due.insert(order, key.clone());
        self.parts.insert(key, Part { asked, tablet, end: -1, start: -1, order });
    }

    fn forget(&mut self, key: &Key) {
        let Some(part) = self.parts.remove(key) else { return };
        self.due.remove(&part.order);
        if let Ok(tablet) = part.tablet {
            self.unwatch(tablet);
        }
    }

    /// What an incremental request says. `place` finds the partition of a topic.
    pub fn update<T>(
        &mut self,
        topics: Vec<FetchTopic>,
        forgotten: Vec<ForgottenTopic>,
        find: impl Fn(&str, Uuid) -> T,
        place: impl Fn(&T, i32) -> Result<TabletId, ErrorCode>,
    ) {
        for topic in topics {
            let key = TopicKey::of(&topic.name, topic.id);
            let found = find(&topic.name, topic.id);
            for asked in topic.partitions {
                self.ask((key.clone(), asked.index), asked, || place(&found, asked.index));
            }
        }
        for topic in forgotten {
            let key = TopicKey::of(&topic.name, topic.id);
            topic.partitions.into_iter().for_each(|index| self.forget(&(key.clone(), index)));
        }
    }

    /// Topics came or went: partitions may be elsewhere, or nowhere, so all are looked at.
    pub fn place_anew<T>(
        &mut self,
        version: u64,
        find: impl Fn(&str, Uuid) -> T,
        place: impl Fn(&T, i32) -> Result<TabletId, ErrorCode>,
    ) {
        self.topics_version = version;
        let mut topic: Option<(Rc<TopicKey>, T)> = None;
        let mut moved = Vec::new();
        for (key, part) in &mut self.parts {
            let found = match topic.take() {
                Some(found) if found.0 == key.0 => topic.insert(found),
                _ => topic.insert((key.0.clone(), find(key.0.name(), key.0.id()))),
            };
            let tablet = place(&found.1, key.1);
            self.due.insert(part.order, key.clone());
            if tablet != part.tablet {
                moved.push((key.clone(), std::mem::replace(&mut part.tablet, tablet), tablet));
            }
        }
        for (key, before, now) in moved {
            before.into_iter().for_each(|tablet| self.unwatch(tablet));
            now.into_iter().for_each(|tablet| self.watch(tablet, key.clone()));
        }
    }

    /// What to say to a shard, which answers what moved there.
    pub fn change_on(&mut self, shard: ShardId) -> WatchWhat {
        let watched = self.watched.entry(shard).or_default();
        let (add, remove) = (std::mem::take(&mut watched.add), std::mem::take(&mut watched.remove));
        WatchWhat::Change {
            anew: !watched.is_there,
            after: watched.after,
            add: add.into_iter().collect(),
            remove: remove.into_iter().collect(),
        }
    }

    /// These moved.
    pub fn moved(&mut self, shard: ShardId, last: u64, tablets: &[TabletId]) {
        let watched = self.watched.entry(shard).or_default();
        (watched.is_there, watched.after) = (true, last);
        for key in tablets.iter().filter_map(|tablet| self.by_tablet.get(tablet)) {
            if let Some(part) = self.parts.get(key) {
                self.due.insert(part.order, key.clone());
            }
        }
    }

    /// What moved there is not known: all of it is looked at, and watched anew.
    pub fn lost(&mut self, shard: ShardId) {
        let shards = self.shards;
        let there: Vec<(TabletId, Key)> = self
            .by_tablet
            .iter()
            .filter(|(tablet, _)| tablet.shard(shards) == shard)
            .map(|(tablet, key)| (*tablet, key.clone()))
            .collect();
        let add = there.iter().map(|(tablet, _)| *tablet).collect();
        self.watched.insert(shard, Watched { add, ..Watched::default() });
        for (_, key) in there {
            if let Some(part) = self.parts.get(&key) {
                self.due.insert(part.order, key);
            }
        }
    }

    /// Whom to look at, in their order.
    pub(super) fn wanted(&self) -> (Vec<Key>, Vec<Wanted>) {
        let due = self.due.values().filter_map(|key| Some((key, self.parts.get(key)?)));
        due.map(|(key, part)| (key.clone(), Wanted { topic: 0, asked: part.asked, tablet: part.tablet })).unzip()
    }

    /// It was read, and there was nothing: not before it moves.
    pub fn is_at_end(&mut self, key: &Key) {
        if let Some(part) = self.parts.get(key) {
            self.due.remove(&part.order);
        }
    }

    /// What of all that was looked at the client is told.
    pub fn answer(&mut self, looked: BTreeMap<Key, FetchedPartition>) -> Vec<FetchedTopic> {
        let mut told: Vec<(u64, Key, FetchedPartition)> = Vec::new();
        for (key, fetched) in looked {
            let Some(part) = self.parts.get_mut(&key) else { continue };
            if part.tell(&fetched) {
                told.push((part.order, key, fetched));
            }
        }
        told.sort_by_key(|(order, ..)| *order);
        let mut topics: Vec<FetchedTopic> = Vec::new();
        for (order, key, fetched) in told {
            let is_due = self.due.remove(&order).is_some();
            let to = self.orders;
            self.orders += 1;
            if let Some(part) = self.parts.get_mut(&key) {
                part.order = to;
            }
            if is_due {
                self.due.insert(to, key.clone());
            }
            let is_same = |topic: &FetchedTopic| *topic.name == *key.0.name() && topic.id == key.0.id();
            match topics.last_mut().filter(|topic| is_same(topic)) {
                Some(topic) => topic.partitions.push(fetched),
                None => {
                    let name = StrBytes::from_string(key.0.name().to_string());
                    topics.push(FetchedTopic { name, id: key.0.id(), partitions: vec![fetched] });
                }
            }
        }
        topics
    }
}

impl Part {
    /// Whether the client has to know; it is told.
    fn tell(&mut self, fetched: &FetchedPartition) -> bool {
        let is_new = fetched.records.iter().any(|piece| !piece.is_empty())
            || fetched.error != ErrorCode::NONE
            || fetched.diverging.is_some()
            || fetched.preferred_read_replica >= 0
            || (self.end, self.start) != (fetched.high_watermark, fetched.log_start_offset);
        // After an error it is told again, even if it is as it was before.
        self.end = if fetched.error == ErrorCode::NONE { fetched.high_watermark } else { -1 };
        self.start = fetched.log_start_offset;
        is_new
    }
}

/// The sessions of a shard.
pub struct Sessions {
    slots: usize,
    partitions_max: usize,
    shard: ShardId,
    shards: u16,
    all: BTreeMap<i32, Rc<RefCell<Session>>>,
    places: BTreeSet<u32>,
    /// What each was when it was counted.
    sizes: BTreeMap<i32, usize>,
    partitions: usize,
    pub evicted: u64,
}

/// A full fetch, of which a session is to be made.
pub struct Full<'a> {
    pub now: Instant,
    pub random: u64,
    pub uses_ids: bool,
    pub topics_version: u64,
    /// By topic and partition, with what is answered.
    pub(super) wanted: &'a [Wanted],
    pub names: &'a [(StrBytes, Uuid)],
    pub answered: &'a [(usize, FetchedPartition)],
}

impl Sessions {
    /// So many bytes of this shard.
    pub fn new(bytes_max: usize, shard: ShardId, shards: u16) -> Sessions {
        Sessions {
            slots: (SESSIONS_MAX / usize::from(shards.max(1))).max(1),
            partitions_max: bytes_max / PARTITION_BYTES,
            shard,
            shards,
            all: BTreeMap::new(),
            places: BTreeSet::new(),
            sizes: BTreeMap::new(),
            partitions: 0,
            evicted: 0,
        }
    }

    /// Sessions, and their partitions.
    pub fn counts(&self) -> (usize, usize) {
        (self.all.len(), self.partitions)
    }

    /// The session of an incremental fetch, whose next epoch comes now.
    ///
    /// # Errors
    /// There is none, or this request is not the next of it.
    pub fn go_on(&self, id: i32, epoch: i32, uses_ids: bool, now: Instant) -> Result<Rc<RefCell<Session>>, ErrorCode> {
        let found = self.all.get(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut session = found.borrow_mut();
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.uses_ids != uses_ids {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = next_epoch(epoch);
        session.used = now;
        drop(session);
        Ok(found.clone())
    }

    /// Makes one, if there is room or another has to go for it; those that went come with it.
    pub fn make(&mut self, full: &Full<'_>) -> (Option<i32>, Vec<Rc<RefCell<Session>>>) {
        let Full { now, random, uses_ids, topics_version, wanted, names, answered } = *full;
        let size = wanted.len();
        let mut gone = Vec::new();
        while self.all.len() >= self.slots || self.partitions + size > self.partitions_max {
            match self.evictable(size, now) {
                Some(id) => gone.extend(self.evict(id)),
                None => return (None, gone),
            }
        }
        let id = self.new_id(random);
        let place = (0..).find(|place| !self.places.contains(place)).unwrap_or(0);
        let mut session = Session {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            place,
            uses_ids,
            made: now,
            used: now,
            topics_version,
            shards: self.shards,
            parts: BTreeMap::new(),
            by_tablet: BTreeMap::new(),
            due: BTreeMap::new(),
            orders: 0,
            watched: BTreeMap::new(),
        };
        let keys: Vec<Rc<TopicKey>> = names.iter().map(|(name, id)| TopicKey::of(name, *id)).collect();
        // Those that had records are the last of the order.
        for is_last in [false, true] {
            let of_turn = wanted.iter().zip(answered).filter(|(_, (_, fetched))| fetched.records.is_empty() != is_last);
            for (one, (topic, fetched)) in of_turn {
                let Some(topic) = keys.get(*topic) else { continue };
                let key = (topic.clone(), one.asked.index);
                session.ask(key.clone(), one.asked, || one.tablet);
                if let Some(part) = session.parts.get_mut(&key) {
                    part.tell(fetched);
                }
            }
        }
        self.places.insert(place);
        self.sizes.insert(id, session.parts.len());
        self.partitions += session.parts.len();
        self.all.insert(id, Rc::new(RefCell::new(session)));
        (Some(id), gone)
    }

    /// Positive, and of no other session of the node: each shard has a range of its own.
    fn new_id(&self, random: u64) -> i32 {
        let span = i32::MAX.cast_unsigned() / u32::from(self.shards.max(1));
        let first = 1 + span * u32::from(self.shard.0);
        let at = (random % u64::from(span - 1)) as u32;
        let mut ids = (0..span - 1).map(|step| (first + (at + step) % (span - 1)).cast_signed());
        ids.find(|id| !self.all.contains_key(id)).unwrap_or(first.cast_signed())
    }

    /// Who may go for a new one of so many partitions: who was not used for long, else the smallest that is smaller and not new.
    fn evictable(&self, size: usize, now: Instant) -> Option<i32> {
        let ages = self.all.values().map(|session| {
            let session = session.borrow();
            (session.used, session.made, session.parts.len(), session.id)
        });
        let all: Vec<_> = ages.collect();
        let longest = all.iter().min_by_key(|(used, .., id)| (*used, *id))?;
        if now.since(longest.0) > EVICTION_AGE {
            return Some(longest.3);
        }
        let old = all.iter().filter(|(_, made, ..)| now.since(*made) > EVICTION_AGE);
        let smallest = old.min_by_key(|(.., parts, id)| (*parts, *id))?;
        (smallest.2 < size).then_some(smallest.3)
    }

    fn evict(&mut self, id: i32) -> Option<Rc<RefCell<Session>>> {
        self.evicted += 1;
        self.end(id)
    }

    pub fn end(&mut self, id: i32) -> Option<Rc<RefCell<Session>>> {
        let session = self.all.remove(&id)?;
        self.places.remove(&session.borrow().place);
        self.partitions -= self.sizes.remove(&id).unwrap_or(0);
        Some(session)
    }

    /// After an update. It is gone if it has grown beyond what there is room for.
    pub fn count(&mut self, id: i32) -> Result<(), Option<Rc<RefCell<Session>>>> {
        let Some(session) = self.all.get(&id) else { return Ok(()) };
        let size = session.borrow().parts.len();
        let before = self.sizes.insert(id, size).unwrap_or(0);
        self.partitions = self.partitions - before + size;
        if self.partitions > self.partitions_max && size > before { Err(self.evict(id)) } else { Ok(()) }
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}
