//! Finding a group's leader, from any node.
//!
//! ```text
//! ask    = version:u8 (1) tablet:u64 epoch:varint remaining:varint (milliseconds) doubted:u128 (0: nobody)
//!          transaction:u8 [start:u64 number:u64 request (the service's)]
//! answer = 0 answer (the service's) | 1 leader:u128 | 2 (not known here, or not any more; nothing was done)
//! ```
//!
//! A request goes to one node at a time, and to another only when the one before has done nothing with it: a transaction is never
//! made twice unnoticed. `start` (drawn at each start of the asking shard) and `number` tell one from another: a node that was asked
//! takes no second copy of a question, should the network have made one, whatever it has answered the first.
//! While an answer is late, others are asked who leads, so that later requests need not wait too.

use super::{ASK, Elsewhere, Groups};
use crate::coordinator::ReplicaError;
use crate::limits::{GROUP_ASK_PAUSE, GROUP_DOUBT, GROUP_ELECTION, GROUP_REQUEST_MEMORY, GROUP_SCOUT_PATIENCE};
use crate::plant;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, NodeId, ShortInput, TabletId};
use holon_kernel::{CallError, Class, Scope, Target};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

const VERSION: u8 = 1;
const ANSWER: u8 = 0;
const LEADER: u8 = 1;
const UNKNOWN: u8 = 2;

/// What this shard believes of groups, as one who asks them.
#[derive(Default)]
pub(crate) struct Asking {
    leaders: RefCell<BTreeMap<TabletId, NodeId>>,
    /// Nodes that owe an answer, since when.
    doubted: RefCell<BTreeMap<NodeId, Doubt>>,
    scouting: RefCell<BTreeSet<TabletId>>,
    /// Drawn at the first question.
    start: Cell<Option<u64>>,
    /// Transactions that were asked for here, until they are forgotten.
    begun: RefCell<BTreeSet<(u64, u64)>>,
    forgotten: RefCell<VecDeque<(Instant, (u64, u64))>>,
    /// Transactions of others that are under way here.
    serving: Rc<Cell<usize>>,
}

/// An answer is late.
#[derive(Clone, Copy)]
struct Doubt {
    since: Instant,
    /// Then the node is asked again as any other.
    until: Instant,
}

impl Asking {
    pub(super) fn serves(&self) -> bool {
        self.serving.get() > 0
    }
}

/// Counts a transaction while it is under way, however it ends.
struct Serving {
    count: Rc<Cell<usize>>,
}

impl Serving {
    fn one(count: &Rc<Cell<usize>>) -> Serving {
        count.set(count.get() + 1);
        Serving { count: count.clone() }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
    }
}

/// Why a transaction has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// Nothing was done, and cannot be: fewer of the tablet's replicas seem alive than a majority.
    Unavailable {
        required: usize,
        alive: usize,
    },
    /// Nothing was done: a majority of the replicas seems alive, and no leader was found in time.
    NoLeader,
    Call(CallError),
}

struct Ask {
    tablet: TabletId,
    epoch: u64,
    remaining: Duration,
    doubted: Option<NodeId>,
    request: Option<Request>,
}

/// A transaction and what tells it from others.
struct Request {
    id: (u64, u64),
    bytes: Bytes,
}

impl Ask {
    fn encode(&self) -> Bytes {
        let request = self.request.as_ref();
        let mut out = ByteWriter::with_capacity(80 + request.map_or(0, |request| request.bytes.len()));
        out.put_u8(VERSION);
        out.put_u64(self.tablet.0);
        out.put_varint(self.epoch);
        out.put_varint(self.remaining.as_millis() as u64);
        out.put_u128(self.doubted.map_or(0, |node| node.0));
        out.put_u8(request.is_some().into());
        if let Some(request) = request {
            out.put_u64(request.id.0);
            out.put_u64(request.id.1);
            out.put_slice(&request.bytes);
        }
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Result<Ask, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let tablet = TabletId(input.u64()?);
        let (epoch, remaining) = (input.varint()?, Duration::from_millis(input.varint()?));
        let doubted = Some(NodeId(input.u128()?)).filter(|node| node.0 != 0);
        let request = match input.u8()? {
            1 => Some(Request { id: (input.u64()?, input.u64()?), bytes: input.rest() }),
            _ => None,
        };
        Ok(Ask { tablet, epoch, remaining, doubted, request })
    }
}

enum Reply {
    Answer(Bytes),
    Leader(NodeId),
    Unknown,
}

fn decode_reply(bytes: Bytes) -> Reply {
    let mut input = ByteReader::new(bytes);
    match input.u8() {
        Ok(ANSWER) => Reply::Answer(input.rest()),
        Ok(LEADER) => input.u128().map_or(Reply::Unknown, |node| Reply::Leader(NodeId(node))),
        _ => Reply::Unknown,
    }
}

fn leader_reply(node: NodeId) -> Bytes {
    let mut out = ByteWriter::with_capacity(17);
    out.put_u8(LEADER);
    out.put_u128(node.0);
    out.freeze()
}

impl Groups {
    /// Has the leader of a tablet's group carry out a request; begins the group if it is the first.
    ///
    /// # Errors
    /// Unless it is [`AskError::Unavailable`], [`AskError::NoLeader`], [`CallError::Overloaded`] or [`CallError::NotHere`], the
    /// request may have been carried out.
    pub async fn ask(&self, tablet: TabletId, request: Bytes, deadline: Instant) -> Result<Bytes, AskError> {
        let Some(map) = self.shard.map() else { return self.serve_here(tablet, request, deadline).await };
        if map.founders(tablet).is_none() {
            if map.replicas(tablet).is_none() {
                return Err(AskError::Call(CallError::NotHere));
            }
            // Whether it was done, the map tells; and somebody else may have done it.
            let _ = self.shard.timeout(deadline, map.found(tablet)).await;
            if map.founders(tablet).is_none() {
                return Err(self.without_leader(tablet));
            }
        }
        let (mut hint, mut tried) = (self.believed_leader(tablet), 0);
        while self.shard.now() < deadline {
            let node = match hint.take() {
                Some(node) => node,
                None => {
                    let candidates = self.candidates(tablet);
                    if candidates.is_empty() {
                        return Err(self.without_leader(tablet));
                    }
                    if tried > 0 && tried % candidates.len() == 0 {
                        self.shard.sleep(GROUP_ASK_PAUSE).await;
                    }
                    tried += 1;
                    candidates[(tried - 1) % candidates.len()]
                }
            };
            match self.ask_node(node, tablet, Some(request.clone()), deadline).await {
                Ok(Reply::Answer(answer)) => {
                    self.asking.leaders.borrow_mut().insert(tablet, node);
                    self.asking.doubted.borrow_mut().remove(&node);
                    return Ok(answer);
                }
                Ok(Reply::Leader(leader)) if self.shard.is_alive(leader) => match self.may_be_silent(leader) {
                    // Whoever says so has heard of it before it fell silent: it is looked again, soon.
                    true => self.shard.sleep(GROUP_ASK_PAUSE).await,
                    false => hint = Some(leader).filter(|_| tried < 64),
                },
                Ok(_) | Err(CallError::NotHere) => self.forget_leader(tablet, node),
                Err(error) => {
                    if matches!(error, CallError::Gone | CallError::Timeout) {
                        self.doubt(node);
                        self.forget_leader(tablet, node);
                    }
                    return Err(AskError::Call(error));
                }
            }
            // Leaders that point at each other do not keep a core busy.
            if hint.is_some() {
                tried += 1;
                self.shard.yield_now().await;
            }
        }
        Err(self.without_leader(tablet))
    }

    async fn serve_here(&self, tablet: TabletId, request: Bytes, deadline: Instant) -> Result<Bytes, AskError> {
        let serve = self.serve.borrow().clone();
        match (self.led_here(tablet), serve) {
            (Some(leadership), Some(serve)) => serve(leadership, request, deadline).await.map_err(AskError::Call),
            _ => Err(self.without_leader(tablet)),
        }
    }

    /// Nobody leads. A majority of the replicas is needed to decide, while the tablet moves one of the old and one of the new.
    fn without_leader(&self, tablet: TabletId) -> AskError {
        match self.coordinator.check_majority_alive(tablet) {
            Err(ReplicaError::Unavailable { required, alive }) => AskError::Unavailable { required, alive },
            _ => AskError::NoLeader,
        }
    }

    fn believed_leader(&self, tablet: TabletId) -> Option<NodeId> {
        let leader = self.asking.leaders.borrow().get(&tablet).copied()?;
        (self.shard.is_alive(leader) && !self.is_doubted(leader)).then_some(leader)
    }

    fn forget_leader(&self, tablet: TabletId, node: NodeId) {
        let mut leaders = self.asking.leaders.borrow_mut();
        if leaders.get(&tablet) == Some(&node) {
            leaders.remove(&tablet);
        }
    }

    fn doubt(&self, node: NodeId) {
        if node != self.shard.node() {
            let now = self.shard.now();
            let since = self.doubt_of(node).map_or(now, |doubt| doubt.since);
            self.asking.doubted.borrow_mut().insert(node, Doubt { since, until: now + GROUP_DOUBT });
        }
    }

    fn doubt_of(&self, node: NodeId) -> Option<Doubt> {
        let doubt = self.asking.doubted.borrow().get(&node).copied();
        doubt.filter(|doubt| self.shard.now() < doubt.until)
    }

    fn is_doubted(&self, node: NodeId) -> bool {
        self.doubt_of(node).is_some()
    }

    /// A node owes an answer, and others may still say that they hear of it as a leader, though it has fallen silent meanwhile.
    fn may_be_silent(&self, node: NodeId) -> bool {
        self.doubt_of(node).is_some_and(|doubt| self.shard.now() < doubt.since + GROUP_ELECTION)
    }

    /// Who may lead or know who does: this node first; not those that owe an answer, if there are others.
    fn candidates(&self, tablet: TabletId) -> Vec<NodeId> {
        let replicas = self.shard.replicas(tablet);
        let own = self.shard.node();
        let alive = replicas.writers().filter(|node| self.shard.is_alive(*node));
        let (mut nodes, doubted): (Vec<NodeId>, Vec<NodeId>) = alive.partition(|node| !self.is_doubted(*node));
        nodes.sort_by_key(|node| *node != own);
        if nodes.is_empty() { doubted } else { nodes }
    }

    async fn ask_node(
        &self,
        node: NodeId,
        tablet: TabletId,
        request: Option<Bytes>,
        deadline: Instant,
    ) -> Result<Reply, CallError> {
        let doubted = self.shard.replicas(tablet).writers().find(|replica| self.is_doubted(*replica));
        let is_transaction = request.is_some();
        let request = request.map(|bytes| Request { id: self.next_id(), bytes });
        let ask = Ask {
            tablet,
            epoch: self.shard.map_epoch(),
            remaining: deadline.since(self.shard.now()),
            doubted: doubted.filter(|doubted| *doubted != node),
            request,
        };
        let to = self.address_of(node, tablet);
        let call = self.shard.call(to, Target::Service(self.service), ASK, ask.encode(), deadline);
        let mut call = Box::pin(call);
        if is_transaction && node != self.shard.node() {
            let patience = deadline.min(self.shard.now() + GROUP_SCOUT_PATIENCE);
            match self.shard.timeout(patience, call.as_mut()).await {
                Ok(answer) => return answer.map(decode_reply),
                Err(_) => self.scout(tablet, node),
            }
        }
        call.await.map(decode_reply)
    }

    fn next_id(&self) -> (u64, u64) {
        let start = self.asking.start.get().unwrap_or_else(|| self.shard.random_u64());
        self.asking.start.set(Some(start));
        (start, self.shard.unique_id())
    }

    /// Whether a transaction comes for the first time.
    fn is_new(&self, id: (u64, u64)) -> bool {
        let now = self.shard.now();
        let (mut begun, mut forgotten) = (self.asking.begun.borrow_mut(), self.asking.forgotten.borrow_mut());
        while let Some((_, id)) = forgotten.front().filter(|(when, _)| *when <= now) {
            begun.remove(id);
            forgotten.pop_front();
        }
        let is_new = begun.insert(id);
        if is_new {
            forgotten.push_back((now + GROUP_REQUEST_MEMORY, id));
        }
        is_new || plant::get().transact_twice
    }

    /// Finds out who leads while a node owes an answer.
    fn scout(&self, tablet: TabletId, suspect: NodeId) {
        self.doubt(suspect);
        let Some(me) = self.me.upgrade() else { return };
        if !self.asking.scouting.borrow_mut().insert(tablet) {
            return;
        }
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let deadline = me.shard.now() + GROUP_DOUBT;
            'found: while me.shard.now() < deadline {
                for node in me.candidates(tablet).into_iter().filter(|node| *node != suspect) {
                    if let Ok(Reply::Leader(leader)) = me.ask_node(node, tablet, None, deadline).await {
                        if me.may_be_silent(leader) {
                            continue;
                        }
                        me.asking.leaders.borrow_mut().insert(tablet, leader);
                        // Others hear it: it is slow for another reason.
                        me.asking.doubted.borrow_mut().remove(&leader);
                        break 'found;
                    }
                }
                me.shard.sleep(GROUP_ASK_PAUSE).await;
            }
            me.asking.scouting.borrow_mut().remove(&tablet);
        });
    }

    pub(super) async fn answer_ask(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let bad = |short: ShortInput| CallError::Failed(Bytes::from(short.to_string()));
        let Ask { tablet, epoch, remaining, doubted, request } = Ask::decode(payload).map_err(bad)?;
        if request.as_ref().is_some_and(|request| !self.is_new(request.id)) {
            // Whatever is said here, the other copy's answer must be the one that counts; also if it was that somebody else leads,
            // whom whoever asked has asked by now.
            std::future::pending::<()>().await;
        }
        let deadline = self.shard.now() + remaining;
        if let Some(map) = self.shard.map().filter(|map| map.epoch() < epoch) {
            // At the deadline nobody waits any more.
            let _ = self.shard.timeout(deadline, map.reached(epoch)).await;
        }
        let unknown = Bytes::from_static(&[UNKNOWN]);
        let leadership = match self.lead(tablet, doubted, deadline).await {
            Ok(leadership) => leadership,
            Err(Elsewhere::Leader(leader)) => return Ok(leader_reply(leader)),
            Err(Elsewhere::Unknown) => return Ok(unknown),
        };
        let Some(request) = request else { return Ok(leader_reply(self.shard.node())) };
        let Some(serve) = self.serve.borrow().clone() else { return Ok(unknown) };
        let served = {
            let _serving = Serving::one(&self.asking.serving);
            serve(leadership, request.bytes, deadline).await
        };
        match served {
            Ok(answer) => {
                let mut out = ByteWriter::with_capacity(answer.len() + 1);
                out.put_u8(ANSWER);
                out.put_slice(&answer);
                Ok(out.freeze())
            }
            Err(CallError::NotHere) => Ok(unknown),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Coordinator;
    use holon_base::ServiceId;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    #[test]
    fn a_second_copy_of_a_question_has_no_answer_whatever_the_first_had() {
        let world = TestShard::new(MemoryDisk::new());
        let coordinator = Coordinator::new(&world.shard, "dc".into());
        let groups = Groups::new(&world.shard, ServiceId(9), &coordinator);
        let (shard, tablet) = (world.shard.clone(), TabletId(7));
        world.block_on(async move {
            let ask = |number: u64| {
                let request = Some(Request { id: (1, number), bytes: Bytes::from_static(b"transaction") });
                Ask { tablet, epoch: 0, remaining: Duration::from_millis(10), doubted: None, request }.encode()
            };
            let in_time = |payload: Bytes| {
                let (groups, shard) = (groups.clone(), shard.clone());
                async move { shard.timeout(shard.now() + Duration::from_secs(1), groups.answer_ask(payload)).await }
            };
            // Nobody leads here: whoever asked asks others, and then says that nothing was done.
            let first = in_time(ask(1)).await.expect("answers").expect("is no error");
            assert_eq!(first, Bytes::from_static(&[UNKNOWN]));
            assert!(in_time(ask(1)).await.is_err(), "a copy that comes when somebody leads must not be carried out");
            assert!(in_time(ask(2)).await.is_ok());
        });
    }

    #[test]
    fn what_is_asked_arrives_and_what_is_cut_is_refused() {
        for bytes in [None, Some(Bytes::from_static(b"transaction"))] {
            let request = bytes.clone().map(|bytes| Request { id: (5, 6), bytes });
            let (tablet, doubted) = (TabletId(7), Some(NodeId(9)));
            let ask = Ask { tablet, epoch: 300, remaining: Duration::from_millis(1500), doubted, request };
            let sent = ask.encode();
            let read = Ask::decode(sent.clone()).expect("of this version");
            assert_eq!((read.tablet, read.epoch, read.remaining, read.doubted), (tablet, 300, ask.remaining, doubted));
            assert_eq!(read.request.map(|request| (request.id, request.bytes)), bytes.map(|bytes| ((5, 6), bytes)));
            for cut in 0..28 {
                assert!(Ask::decode(sent.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
        assert!(matches!(decode_reply(leader_reply(NodeId(5))), Reply::Leader(NodeId(5))));
        assert!(matches!(decode_reply(Bytes::new()), Reply::Unknown));
    }
}
