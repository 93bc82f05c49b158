//! The door for peers: carries envelopes between nodes.
//!
//! ```text
//!   shard ─► ShardRouter ─┬─ this node ──► inbox of the shard
//!                         └─ another ────► Link (queue, writer task) ═══ TCP or TLS ═══► Incoming ─► inbox of the shard
//! ```
//!
//! Connections are one-way. Each shard opens its own to each node it has something to say to, and only writes to it; what
//! was accepted is only read. So no thread waits for another's socket, and a reply goes over the connection of whoever replies.
//!
//! It keeps the contract of envelopes and promises no more: at most once, in no promised order, and they may get lost. What is
//! for a node that nobody told the router of, or that cannot be reached, or that takes less than it is sent, is dropped and counted;
//! who waits for an answer has a deadline. What waits is bounded in count and bytes. Damage ends the connection it came over,
//! with a report, and nothing else.
//!
//! A connection belongs to one node from its hello on, and every envelope must come from that node. With TLS the name in
//! the hello must be the one in the certificate; without (`--insecure`) it is believed.
//!
//! Who is no member yet opens a connection for one request instead ([`ask`]); what is asked and answered is the
//! binary's business.

mod figures;
mod identity;
mod incoming;
mod join;
mod outgoing;
mod request;
mod socket;
mod tls;
mod wire;

pub use figures::{PeerFigures, PeersTotals};
pub use identity::{ClusterAuthority, NodeIdentity, NodeKey, PUBLIC_KEY_BYTES, PeerIdentityError};
pub use join::{JoinError, JoinGrant, JoinRequest, JoinToken};
pub use request::{AskError, Trust, ask};
pub use tls::PeersTls;
pub use wire::{PEER_PROTOCOL_VERSION, PeerError};

pub(crate) use incoming::Incoming;
pub(crate) use outgoing::ShardRouter;

use crate::limits;
use bytes::Bytes;
use figures::Counters;
use holon_base::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Answers a request of a node that is no member yet; the error is one line that it is told.
pub type RequestHandler =
    Arc<dyn Fn(Bytes) -> Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>> + Send + Sync>;

pub struct PeersOptions {
    pub node: NodeId,
    /// The cluster this node belongs to, once it does; until then the door refuses envelopes and none are sent.
    pub cluster: Arc<OnceLock<u128>>,
    /// Where others reach this node's door.
    pub address: SocketAddr,
    /// Connections to other nodes of this machine come from here: nodes that share a machine have a loopback address each, and
    /// tell one another apart by it. `None`: from where the system chooses.
    pub source: Option<IpAddr>,
    /// Until there is one, requests are refused.
    pub requests: Arc<OnceLock<RequestHandler>>,
    /// One line about another node, for people; at most [`limits::PEER_REPORTS_PER_SECOND`], and the same one only
    /// after [`limits::PEER_REPORT_REPEATED_AFTER`].
    pub report: Arc<dyn Fn(String) + Send + Sync>,
    pub security: Security,
    pub timeouts: PeerTimeouts,
}

/// Whom to believe that it is a node.
#[derive(Clone)]
pub enum Security {
    /// Whoever says so, over plain TCP (`--insecure`).
    Insecure,
    /// Who has a certificate of the cluster. Until this node has one itself, its door refuses and nothing is sent.
    Tls(Arc<OnceLock<PeersTls>>),
}

/// The timeouts of connections between nodes; shorter ones are for tests.
#[derive(Clone, Copy, Debug)]
pub struct PeerTimeouts {
    pub hello: Duration,
    pub connect: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl Default for PeerTimeouts {
    fn default() -> Self {
        PeerTimeouts {
            hello: limits::PEER_HELLO_TIMEOUT,
            connect: limits::PEER_CONNECT_TIMEOUT,
            backoff_min: limits::PEER_BACKOFF_MIN,
            backoff_max: limits::PEER_BACKOFF_MAX,
        }
    }
}

/// What the shards of a node share about other nodes.
pub struct Peers {
    options: PeersOptions,
    counters: Counters,
    reported: Mutex<Reported>,
    /// Once members and no more: their certificates are still good, but they are not listened to.
    removed: Mutex<BTreeSet<NodeId>>,
}

/// What was said lately.
struct Reported {
    second: Instant,
    lines: u32,
    recent: BTreeMap<String, Instant>,
}

impl Peers {
    pub fn new(options: PeersOptions) -> Arc<Peers> {
        let reported = Mutex::new(Reported { second: Instant::now(), lines: 0, recent: BTreeMap::new() });
        Arc::new(Peers { options, counters: Counters::default(), reported, removed: Mutex::default() })
    }

    /// By node.
    pub fn figures(&self) -> Vec<PeerFigures> {
        self.counters.peers()
    }

    pub fn totals(&self) -> PeersTotals {
        self.counters.totals()
    }

    /// Returns when all that was sent to other nodes has left, or cannot, for a node that ends: a process that is gone takes with it
    /// what it has not written. False if the limit came first.
    pub async fn all_sent(&self, limit: Duration) -> bool {
        let sent = async {
            while self.counters.waiting() > 0 {
                tokio::time::sleep(limits::PEER_SENT_LOOK).await;
            }
        };
        tokio::time::timeout(limit, sent).await.is_ok()
    }

    /// Each shard tells what it has applied, so it may go back and forth for a moment, but ends with the truth.
    fn note_member(&self, node: NodeId, is_member: bool) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if is_member {
            removed.remove(&node);
        } else {
            removed.insert(node);
        }
    }

    fn is_removed(&self, node: NodeId) -> bool {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    /// Says a line, unless it was said lately or too many others were.
    fn report(&self, line: String) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        reported.recent.retain(|_, said| now.duration_since(*said) < limits::PEER_REPORT_REPEATED_AFTER);
        if reported.recent.contains_key(&line) {
            return;
        }
        if now.duration_since(reported.second) >= Duration::from_secs(1) {
            (reported.second, reported.lines) = (now, 0);
        }
        reported.lines = reported.lines.saturating_add(1);
        if reported.lines > limits::PEER_REPORTS_PER_SECOND {
            return;
        }
        // So many a second and forgotten after a while: the list is bounded.
        reported.recent.insert(line.clone(), now);
        drop(reported);
        (self.options.report)(line);
    }
}
