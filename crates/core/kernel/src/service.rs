//! What a service is to the kernel. Trait objects, no generics: the kernel never names a service.

use crate::envelope::{Address, CallError, Verb};
use crate::holding::{Amount, Holding, Load, Work};
use crate::metric::Metric;
use crate::outbox::Outbox;
use bytes::{Bytes, BytesMut};
use holon_base::{GroupId, NodeId, ServiceId, TabletId};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// One service on one shard. Made anew on every shard at start; shards share nothing.
pub trait Service {
    fn id(&self) -> ServiceId;

    /// `tables`, `log`, …: as in commands, metrics and messages.
    fn name(&self) -> &'static str;

    /// Applies one committed entry of the metadata log. Entries come in order, each once a start, on every shard of
    /// every node, and must have the same effect everywhere: no clock, no randomness, no IO. The answer goes to whoever
    /// proposed it; an error is an answer too (the entry then changed nothing).
    fn apply_metadata(&self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes>;

    /// The state that entries of the metadata log have made, for a snapshot that stands for them. `None`: there is no such form
    /// of it, so the log must stay whole.
    fn metadata_snapshot(&self) -> Option<Bytes> {
        None
    }

    /// Goes over to the state of a snapshot, at start or at any time: as if all the entries it stands for were applied.
    ///
    /// # Errors
    /// Why it cannot be read; the shard then stops.
    fn restore_metadata(&self, _snapshot: &Bytes) -> Result<(), String> {
        Err(format!("{} takes no snapshots of metadata", self.name()))
    }

    /// First at start, when the metadata log has been applied up to its end: open what all tablets share.
    fn start(self: Rc<Self>, context: StartContext) -> LocalFuture<Result<(), String>>;

    /// Opens a tablet that the map places on this shard: at start between [`Service::start`] and [`Service::recover`],
    /// later when an entry creates it.
    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>>;

    /// This node is to hold a tablet that others have: copy it into the one that [`Service::open_tablet`] opened. May be
    /// broken off and asked for again. `progress` is told how much of it is copied, from nothing at each try.
    fn fill_tablet(self: Rc<Self>, fill: Fill, _progress: Rc<dyn Fn(Amount)>) -> LocalFuture<Result<(), String>> {
        let service = self.name();
        Box::pin(async move { Err(format!("{service} cannot copy tablet {} from another node", fill.tablet.id)) })
    }

    /// The tablet is no longer here: close it and remove its data. Its tasks are ended already.
    fn remove_tablet(self: Rc<Self>, tablet: TabletId) -> LocalFuture<Result<(), String>>;

    /// Runs once at start, when the tablets are open, before any door is: replay what the crash left in logs.
    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>>;

    /// Runs when every shard of the node has recovered, before any door is open.
    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>>;

    /// A clean stop is near, and doors for clients are closed: let other nodes do what they ask this one for.
    fn hand_over(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async {})
    }

    /// A clean stop: make the next start quick. Doors are closed already.
    fn stop(self: Rc<Self>) -> LocalFuture<()>;

    fn open_session(self: Rc<Self>, context: SessionContext) -> Box<dyn Session>;

    /// A message from the same service on another shard, of this or another node.
    fn message(self: Rc<Self>, from: Address, verb: Verb, payload: Bytes) -> LocalFuture<Result<Bytes, CallError>>;

    /// A command of the administrator (`holon tables compact …`), run on every shard. The answer is text for people.
    fn command(self: Rc<Self>, words: Vec<String>, progress: Rc<dyn Fn(String)>)
    -> LocalFuture<Result<String, String>>;

    fn metrics(&self, out: &mut Vec<Metric>);

    /// What the status page and `holon status` show, as rows of (label, value).
    fn status(&self) -> Vec<(String, String)>;

    /// What it holds for its users and serves on this shard, by name.
    fn holdings(&self) -> Vec<Holding> {
        Vec::new()
    }

    /// What takes long on this shard at this moment.
    fn work(&self) -> Vec<Work> {
        Vec::new()
    }

    fn load(&self) -> Load {
        Load::default()
    }

    /// About how much a tablet of this shard holds; `None`: it is not here, or nobody knows.
    fn tablet_amount(&self, _tablet: TabletId) -> Option<Amount> {
        None
    }
}

/// What an entry of the metadata log asks of the tablet map, decided by the service, the same on every shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataEffect {
    /// For whoever proposed the entry.
    pub answer: Bytes,
    /// Make a group of tablets; its id is the index of the entry.
    pub create_tablets: Option<NewTablets>,
    /// Groups that are to have other replicas from now on.
    pub set_replication: Vec<(GroupId, Replication)>,
    /// Groups that end, with their data.
    pub remove_groups: Vec<GroupId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTablets {
    pub count: u32,
    pub replication: Replication,
}

/// How many nodes hold each tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// So many, whatever their data centre.
    Simple { factor: u32 },
    /// So many of each data centre.
    PerDataCenter { factors: BTreeMap<String, u32> },
}

#[derive(Clone)]
pub struct StartContext {
    /// Counts the starts of this node: larger each time.
    pub boot: u32,
    /// To be told what takes long, for people.
    pub progress: Rc<dyn Fn(String)>,
}

/// Everything a tablet can be asked by its replicas and by coordinators. Requests arrive as bytes, because they are logged
/// as bytes and most come from elsewhere.
pub trait Tablet {
    /// Work that has entered the write-ahead log belongs to the tablet: dropping the future makes the outcome unknown,
    /// never undone.
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>>;

    fn read(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>>;

    /// A digest of a range of keys, equal on replicas that hold the same data.
    fn digest(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>>;
}

/// A tablet as the map describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TabletDescriptor {
    pub id: TabletId,
    pub service: ServiceId,
    pub group: GroupId,
    /// Which of the group's `count` equal ranges this is.
    pub ordinal: u32,
    pub count: u32,
}

/// What a replica that comes has to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    pub tablet: TabletDescriptor,
    /// Those that have the data; none: it is lost, and the tablet begins empty.
    pub sources: Vec<NodeId>,
    /// The data of so many of them, merged, is needed …
    pub enough: usize,
    /// … or all of this one's, whose place the replica takes.
    pub instead_of: Option<NodeId>,
}

pub struct SessionContext {
    /// Unique on the shard while the node runs; tasks of the session are spawned under [`crate::Scope::Session`] of it.
    pub session: u64,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub outbox: Rc<Outbox>,
}

/// One client's connection to a door.
pub trait Session {
    /// Takes whole messages from the front of `input` and leaves what is incomplete.
    fn handle(&mut self, input: &mut BytesMut) -> Flow;
}

/// What the door does next with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Enough is in flight: call [`Session::handle`] again (with or without more input) when some of it has ended.
    Pause,
    /// Write what is in the outbox, then close.
    Close,
}
