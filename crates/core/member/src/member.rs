//! The machine's public face.

use crate::limits::FACTS_BYTES_MAX;
use crate::options::Options;
use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Boot number << 32 at start, so that a restarted node beats every claim about its earlier life; it rises by one
    /// with each refutation.
    pub incarnation: u64,
    /// Its peers door.
    pub address: SocketAddr,
    /// Small and opaque: load, version, shards. At most [`FACTS_BYTES_MAX`] bytes.
    pub facts: Bytes,
    /// Rises with each change of `facts` within one incarnation.
    pub version: u64,
}

/// How a member seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Alive,
    /// Did not answer, and has not yet said that it lives.
    Suspect,
    Dead,
    /// Said that it stops.
    Left,
}

/// A change in how a member seems, or in what it says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Alive(NodeId),
    Suspect(NodeId),
    Dead(NodeId),
    Left(NodeId),
    /// New facts, address or incarnation: see [`Member::facts`].
    Facts(NodeId),
}

/// What is to be done after a call: bytes to send (lost, doubled or reordered as the network likes) and what changed.
#[derive(Debug, Default)]
pub struct Output {
    pub messages: Vec<(NodeId, SocketAddr, Bytes)>,
    pub events: Vec<Event>,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub messages_sent: u64,
    pub bytes_sent: u64,
    pub messages_received: u64,
    /// Bytes from peers that broke the format.
    pub malformed: u64,
    /// Messages of nodes that the metadata log does not know.
    pub strangers: u64,
    pub probes_failed: u64,
    pub refutations: u64,
    /// Times this machine found that it had slept.
    pub pauses: u64,
}

/// Facts beyond [`FACTS_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of facts; at most {FACTS_BYTES_MAX} fit a gossip message")]
pub struct FactsTooLong(pub usize);

/// One node's view of all members.
pub struct Member {
    me: NodeId,
    facts: Facts,
    members: BTreeMap<NodeId, Option<SocketAddr>>,
    options: Options,
    _random: Random,
}

impl Member {
    /// `facts.incarnation`: boot number << 32.
    pub fn new(me: NodeId, options: Options, facts: Facts, _now: Instant, random: Random) -> Member {
        Member { me, facts, members: BTreeMap::new(), options, _random: random }
    }

    /// Who is a member, from the metadata log, with the address it was last given there. New ones are taken for alive
    /// until they do not answer; those no longer in the log are forgotten.
    pub fn set_members(&mut self, _now: Instant, members: &BTreeMap<NodeId, Option<SocketAddr>>, _out: &mut Output) {
        self.members = members.clone();
    }

    /// One more member, from the metadata log: as [`Member::set_members`], without the walk over all.
    pub fn add_member(&mut self, _now: Instant, node: NodeId, address: Option<SocketAddr>, _out: &mut Output) {
        self.members.insert(node, address);
    }

    /// One member less.
    pub fn remove_member(&mut self, _now: Instant, node: NodeId) {
        self.members.remove(&node);
    }

    /// When [`Member::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Instant {
        Instant::FAR_FUTURE
    }

    /// Time has passed.
    pub fn tick(&mut self, _now: Instant, _out: &mut Output) {}

    /// Bytes of a peer; `from` was authenticated by whoever received them.
    pub fn receive(&mut self, _now: Instant, _from: NodeId, _bytes: Bytes, _out: &mut Output) {}

    /// This node's own facts changed; they are spread by gossip.
    pub fn set_facts(&mut self, _now: Instant, facts: Bytes) -> Result<(), FactsTooLong> {
        if facts.len() > FACTS_BYTES_MAX {
            return Err(FactsTooLong(facts.len()));
        }
        self.facts.facts = facts;
        self.facts.version += 1;
        Ok(())
    }

    /// Other traffic came from a member: a sign of life.
    pub fn heard_from(&mut self, _now: Instant, _node: NodeId) {}

    /// A planned stop: others are told at once. The machine says nothing more about itself afterwards.
    pub fn leave(&mut self, _now: Instant, _out: &mut Output) {}

    pub fn me(&self) -> NodeId {
        self.me
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `None` for a node that is no member.
    pub fn state(&self, node: NodeId) -> Option<State> {
        self.members.contains_key(&node).then_some(State::Alive)
    }

    /// Members that seem alive, suspects included: they are not given up yet. This node too.
    pub fn alive(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied()
    }

    /// The newest that is known of a member; `None` before anything was heard.
    pub fn facts(&self, node: NodeId) -> Option<Facts> {
        (node == self.me).then(|| self.facts.clone())
    }

    /// Where a member is reached: as it says itself, else as the metadata log says.
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.members.get(&node).copied().flatten()
    }

    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
