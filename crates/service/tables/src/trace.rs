//! Traces of single requests, for clients that ask for one: who did what when, while one request was carried out.
//!
//! ```text
//!   request with the tracing flag ─▶ Tracing::on ─▶ note(…) along the way, on every shard it touches
//!                                                └▶ Session ─▶ TraceStore ─▶ system_traces.{sessions, events}
//! ```
//!
//! It is not a log and not for statistics: a request that does not ask for a trace pays one branch a note. It
//! guarantees that nothing is noted but what happened, that an answer with a tracing id is sent after its trace can be
//! read, and that traces are bounded: [`limits::TRACES_MAX`], [`limits::TRACES_BYTES_MAX`], [`limits::TRACE_TTL`]. They
//! live in memory and end with the node.

use crate::limits;
use crate::types::uuids;
use holon_base::{ByteReader, ByteWriter, Instant, ShortInput, Wall};
use holon_kernel::Shard;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Something that happened, on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// By the node's clock, which its shards share. A shard looks at it once a turn, so what happens in one turn happens
    /// at one time.
    pub at: Instant,
    pub shard: u16,
    pub activity: String,
    /// Where another node's shard is reached by other nodes; `None`: it is of the node that keeps the trace.
    pub node: Option<SocketAddr>,
}

/// Takes notes if the request is traced, and does nothing if not.
#[derive(Clone, Default)]
pub struct Tracing(Option<Rc<Notes>>);

struct Notes {
    shard: Rc<Shard>,
    events: RefCell<Vec<Event>>,
    left_out: Cell<usize>,
}

impl fmt::Debug for Tracing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tracing(on)" } else { "Tracing(off)" })
    }
}

impl Tracing {
    pub fn off() -> Tracing {
        Tracing(None)
    }

    pub fn on(shard: &Rc<Shard>) -> Tracing {
        Tracing(Some(Rc::new(Notes { shard: shard.clone(), events: RefCell::default(), left_out: Cell::new(0) })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes that something happened now, on this shard.
    pub fn note(&self, activity: impl FnOnce() -> String) {
        if let Some(notes) = &self.0 {
            let (at, shard) = (notes.shard.now(), notes.shard.id().0);
            notes.add(Event { at, shard, activity: cut(activity(), limits::TRACE_ACTIVITY_BYTES_MAX), node: None });
        }
    }

    /// Adds what another shard has noted.
    pub fn take_in(&self, events: Vec<Event>) {
        if let Some(notes) = &self.0 {
            events.into_iter().for_each(|event| notes.add(event));
        }
    }

    /// Adds what a replica on another node has noted and sent with its answer. Its clock is not this one: what it noted last
    /// happened just before now at the latest, the rest at its distances from that.
    pub fn take_in_from(&self, node: SocketAddr, events: Vec<Event>) {
        let Some(notes) = &self.0 else { return };
        let now = notes.shard.now();
        let last = events.iter().map(|event| event.at).max().unwrap_or(now);
        for event in events {
            let at = Instant(now.0.saturating_sub(last.0.saturating_sub(event.at.0)));
            notes.add(Event { at, node: Some(node), ..event });
        }
    }

    /// What was noted, in the order of time.
    pub fn into_events(self) -> Vec<Event> {
        let Some(notes) = self.0 else { return Vec::new() };
        let mut events = notes.events.take();
        events.sort_by_key(|event| event.at);
        if notes.left_out.get() > 0 {
            let activity = format!("{} further events were left out", notes.left_out.get());
            events.push(Event { at: notes.shard.now(), shard: notes.shard.id().0, activity, node: None });
        }
        events
    }
}

impl Notes {
    fn add(&self, event: Event) {
        let mut events = self.events.borrow_mut();
        if events.len() >= limits::TRACE_EVENTS_MAX {
            self.left_out.set(self.left_out.get() + 1);
        } else {
            events.push(event);
        }
    }
}

/// `1 row`, `2 rows`.
pub fn several(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// At most so many bytes, on a boundary of characters; what is cut off is marked.
pub fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// ```text
/// events = count (at:u64 shard:u16 activity:prefixed)*
/// ```
pub fn put_events(events: &[Event], out: &mut ByteWriter) {
    out.put_varint(events.len() as u64);
    for event in events {
        out.put_u64(event.at.0);
        out.put_u16(event.shard);
        out.put_prefixed(event.activity.as_bytes());
    }
}

pub fn read_events(input: &mut ByteReader) -> Result<Vec<Event>, ShortInput> {
    let count = input.count()?;
    let mut events = Vec::with_capacity(count.min(limits::TRACE_EVENTS_MAX));
    for _ in 0..count {
        let (at, shard) = (Instant(input.u64()?), input.u16()?);
        let activity = String::from_utf8_lossy(&input.prefixed()?).into_owned();
        events.push(Event { at, shard, activity, node: None });
    }
    Ok(events)
}

/// One traced request, when it has ended.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: u128,
    pub started: Instant,
    pub started_wall: Wall,
    pub took: Duration,
    pub client: Option<IpAddr>,
    /// What kind of request, in Cassandra's words.
    pub request: &'static str,
    pub parameters: BTreeMap<String, String>,
    pub events: Vec<Event>,
}

impl Session {
    /// An id as clients expect it: a version 1 uuid.
    pub fn new_id(shard: &Shard) -> u128 {
        uuids::time_uuid(shard.wall_micros(), shard.random_u64())
    }

    /// The events with an id each: version 1 uuids that ascend, at the time of the event as far as they can.
    pub fn events(&self) -> impl Iterator<Item = (u128, Duration, &Event)> {
        let tie = self.id as u64;
        let mut last = i64::MIN;
        self.events.iter().map(move |event| {
            let elapsed = event.at.since(self.started);
            let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
            last = self.started_wall.micros().saturating_add(micros).max(last.saturating_add(1));
            (uuids::time_uuid(last, tie), elapsed, event)
        })
    }

    fn size_bytes(&self) -> usize {
        let parameters: usize = self.parameters.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let events: usize = self.events.iter().map(|event| event.activity.len() + 64).sum();
        parameters + events + 128
    }
}

/// The traces of the requests that came to one shard.
#[derive(Default)]
pub struct TraceStore {
    kept: RefCell<VecDeque<Rc<Session>>>,
    bytes: Cell<usize>,
}

impl TraceStore {
    /// The oldest go when there is no room.
    pub fn keep(&self, session: Session, now: Instant) {
        let mut kept = self.kept.borrow_mut();
        self.bytes.set(self.bytes.get() + session.size_bytes());
        kept.push_back(Rc::new(session));
        while kept.len() > limits::TRACES_MAX || self.bytes.get() > limits::TRACES_BYTES_MAX {
            let Some(oldest) = kept.pop_front() else { break };
            self.bytes.set(self.bytes.get() - oldest.size_bytes());
        }
        self.forget_expired(&mut kept, now);
    }

    pub fn sessions(&self, now: Instant) -> Vec<Rc<Session>> {
        let mut kept = self.kept.borrow_mut();
        self.forget_expired(&mut kept, now);
        kept.iter().cloned().collect()
    }

    fn forget_expired(&self, kept: &mut VecDeque<Rc<Session>>, now: Instant) {
        let is_expired = |session: &Rc<Session>| now.since(session.started) >= limits::TRACE_TTL;
        while kept.front().is_some_and(is_expired) {
            let gone = kept.pop_front().map_or(0, |session| session.size_bytes());
            self.bytes.set(self.bytes.get() - gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64, activity: &str) -> Session {
        let event = |at| Event { at: Instant(at), shard: 0, activity: activity.to_string(), node: None };
        Session {
            id: u128::from(number),
            started: Instant(number),
            started_wall: Wall(1_700_000_000_000_000),
            took: Duration::from_micros(5),
            client: None,
            request: "Execute CQL3 query",
            parameters: BTreeMap::new(),
            events: vec![event(number), event(number), event(number + 9_000)],
        }
    }

    #[test]
    fn the_oldest_and_the_expired_are_forgotten() {
        let store = TraceStore::default();
        for number in 0..3 * limits::TRACES_MAX as u64 {
            store.keep(session(number, "a"), Instant(number));
        }
        let now = Instant(3 * limits::TRACES_MAX as u64);
        let kept = store.sessions(now);
        assert_eq!((kept.len(), kept[0].id), (limits::TRACES_MAX, 2 * limits::TRACES_MAX as u128));
        let long = "x".repeat(limits::TRACES_BYTES_MAX / 8);
        (0..9).for_each(|number| store.keep(session(number, &long), now));
        assert!(store.sessions(now).len() < 4, "{}", store.sessions(now).len());
        assert!(store.bytes.get() <= limits::TRACES_BYTES_MAX);
        assert!(store.sessions(now + limits::TRACE_TTL).is_empty());
        assert_eq!(store.bytes.get(), 0);
    }

    #[test]
    fn events_have_ids_of_their_own_in_the_order_of_time() {
        let session = session(1_000, "a");
        let ids: Vec<u128> = session.events().map(|(id, ..)| id).collect();
        let ordered: Vec<[u8; 16]> = ids.iter().map(|id| uuids::time_uuid_to_ordered(*id)).collect();
        assert!(ordered.windows(2).all(|pair| pair[0] < pair[1]), "{ids:x?}");
        assert_eq!(uuids::unix_micros(ids[2]), 1_700_000_000_000_009);
        assert!(ids.iter().all(|id| uuids::version(*id) == 1));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("aäö".to_string(), 2), "a…");
        assert_eq!(cut("aäö".to_string(), 5), "aäö");
    }
}
