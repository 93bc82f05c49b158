//! Committed entries to effects: on every shard, in order, each once a start.

use crate::cluster::Changes;
use crate::cluster_command::ClusterCommand;
use crate::command::Command;
use crate::service::{APPLY, METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShardId, ShortInput, TabletId};
use holon_kernel::{Address, Class, Scope, TabletDescriptor, Target, Verb};
use holon_raft::{Entry, Payload};
use std::time::Duration;

/// Between two tries to open or remove a tablet (a full disk, say).
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A call inside the node is repeated after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

impl Metadata {
    /// Shard 0: an entry is committed, and will be known to be after any crash. They come in order.
    pub(crate) fn committed(&self, entry: Entry) {
        self.tell_others(APPLY, &encode_entries(std::slice::from_ref(&entry)));
        self.enqueue(entry);
    }

    /// Shard 0: to the other shards of the node, until they have it.
    pub(crate) fn tell_others(&self, verb: Verb, payload: &Bytes) {
        for to in self.others() {
            let (me, payload) = (self.me(), payload.clone());
            self.shard.spawn(Scope::Node, Class::Foreground, async move { me.tell_other(to, verb, payload).await });
        }
    }

    async fn tell_other(&self, to: Address, verb: Verb, payload: Bytes) {
        loop {
            let deadline = self.shard.now() + CALL_TIMEOUT;
            let target = Target::Service(METADATA_SERVICE);
            if self.shard.call(to, target, verb, payload.clone(), deadline).await.is_ok() {
                return;
            }
            self.shard.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Takes an entry in any order, any number of times.
    pub(crate) fn enqueue(&self, entry: Entry) {
        if entry.index > self.applied() {
            self.pending.borrow_mut().insert(entry.index, entry);
        }
        self.start_pump();
    }

    pub(crate) fn start_pump(&self) {
        if !self.pumping.replace(true) {
            let me = self.me();
            self.shard.spawn(Scope::Node, Class::Foreground, async move { me.pump().await });
        }
    }

    async fn pump(&self) {
        while let Some((index, changes)) = self.apply_next() {
            self.shown.set(index);
            if self.running.get() {
                for tablet in changes.remove {
                    self.remove_tablet(tablet).await;
                }
                for tablet in changes.open {
                    self.open_tablet(tablet).await;
                }
            }
            self.set_applied(index);
            self.wake_waiting(index);
            if changes.nodes {
                self.nodes_changed();
            }
            if self.shard.id() == ShardId(0) {
                if changes.moves {
                    self.moves_changed();
                }
                if self.running.get() {
                    changes.tell.into_iter().for_each(|line| self.tell(line));
                }
                self.snapshot_if_due();
            }
        }
        self.pumping.set(false);
    }

    /// A snapshot that is ahead comes before the entries it stands for.
    fn apply_next(&self) -> Option<(u64, Changes)> {
        let snapshot = self.snapshot_pending.take().filter(|snapshot| snapshot.index > self.applied());
        if let Some(snapshot) = snapshot {
            self.pending.borrow_mut().retain(|index, _| *index > snapshot.index);
            return Some((snapshot.index, self.restore(&snapshot)));
        }
        let entry = self.pending.borrow_mut().remove(&(self.applied() + 1))?;
        self.since_snapshot.count(entry.size_bytes());
        Some((entry.index, self.apply(&entry)))
    }

    fn apply(&self, entry: &Entry) -> Changes {
        let index = entry.index;
        self.cluster.borrow_mut().saw_term(index, entry.term);
        let Payload::Normal(bytes) = &entry.payload else {
            return Changes { nodes: true, ..Changes::default() }; // voters may be others
        };
        let command = match Command::decode(bytes.clone()) {
            Ok(command) => command,
            Err(short) => return self.stop_at(index, short),
        };
        if !self.cluster.borrow_mut().is_new(command.id) {
            // If somebody waits for it still, what came of it was in a snapshot.
            drop(self.proposals.borrow_mut().remove(&command.id));
            return Changes::default();
        }
        let node = self.shard.node();
        let (outcome, changes) = if command.service == METADATA_SERVICE {
            match ClusterCommand::decode(command.bytes) {
                Ok(change) => match self.cluster.borrow_mut().apply(index, change, node) {
                    Ok(changes) => (Ok(Bytes::new()), changes),
                    Err(refused) => (Err(Bytes::from(refused.to_string())), Changes::default()),
                },
                // Whoever goes on without it has another map than the others.
                Err(short) => return self.stop_at(index, short),
            }
        } else {
            let outcome = match self.shard.service(command.service) {
                Some(service) => service.apply_metadata(index, &command.bytes),
                None => Err(Bytes::from(format!("no service {} in this binary", command.service.0))),
            };
            let effect = outcome.as_ref().cloned().unwrap_or_default();
            let changes = self.cluster.borrow_mut().apply_effect(index, command.service, &effect, node);
            (outcome.map(|effect| effect.answer), changes)
        };
        self.check_level();
        let proposal = self.proposals.borrow_mut().remove(&command.id);
        if let Some(completer) = proposal {
            completer.complete((index, outcome));
        }
        changes
    }

    fn stop_at(&self, index: u64, short: ShortInput) -> Changes {
        let what = "the metadata log holds an entry this version cannot read";
        self.shard.stop(format!("{what} ({index}: {short}); start a newer holon"));
        Changes::default()
    }

    fn wake_waiting(&self, applied: u64) {
        let later = self.waiting.borrow_mut().split_off(&(applied + 1));
        let now = std::mem::replace(&mut *self.waiting.borrow_mut(), later);
        now.into_values().flatten().for_each(|completer| completer.complete(()));
    }

    pub(crate) async fn wait_applied(&self, index: u64) {
        if self.applied() < index {
            let (completer, ticket) = self.shard.ticket();
            self.waiting.borrow_mut().entry(index).or_default().push(completer);
            let _ = ticket.await; // cancelled only when the shard stops
        }
    }

    pub(crate) fn is_on_this_shard(&self, tablet: TabletId) -> bool {
        tablet.shard(self.shard.shards()) == self.shard.id()
    }

    /// At start: the tablets that the map places on this shard.
    pub(crate) fn own_tablets(&self) -> Vec<TabletDescriptor> {
        let cluster = self.cluster.borrow();
        cluster.groups().flat_map(|group| group.held_by(self.shard.node())).collect()
    }

    /// Opens a tablet if it lives on this shard, however long it takes (a full disk is emptied some day).
    pub(crate) async fn open_tablet(&self, descriptor: TabletDescriptor) {
        if !self.is_on_this_shard(descriptor.id) {
            return;
        }
        let Some(service) = self.shard.service(descriptor.service) else { return };
        self.wait_until_left(descriptor.id).await;
        loop {
            match service.clone().open_tablet(descriptor).await {
                Ok(tablet) => break self.shard.insert_tablet(descriptor.id, tablet),
                Err(error) if self.running.get() => self.retry("open", descriptor.id, error).await,
                // At start damage must not be waited for: the node says what is wrong and ends.
                Err(error) => return self.shard.stop(format!("tablet {}: {error}", descriptor.id)),
            }
        }
    }

    /// Removes a tablet from this shard, however long it takes, unless the map says meanwhile that it comes back: a change was
    /// cancelled. Then its data stays.
    pub(crate) async fn remove_tablet(&self, descriptor: TabletDescriptor) {
        if !self.is_on_this_shard(descriptor.id) {
            return;
        }
        let Some(service) = self.shard.service(descriptor.service) else { return };
        self.wait_until_left(descriptor.id).await;
        self.leaving.borrow_mut().insert(descriptor.id, Vec::new());
        self.shard.remove_tablet(descriptor.id);
        while !self.is_held_here(descriptor.id) {
            match service.clone().remove_tablet(descriptor.id).await {
                Ok(()) => break,
                Err(_) if self.is_held_here(descriptor.id) => break,
                Err(error) => self.retry("remove", descriptor.id, error).await,
            }
        }
        let waiting = self.leaving.borrow_mut().remove(&descriptor.id);
        waiting.into_iter().flatten().for_each(|completer| completer.complete(()));
    }

    /// A tablet that comes back is opened when its removal has ended or was given up: what it is given must not be removed.
    async fn wait_until_left(&self, tablet: TabletId) {
        loop {
            let (completer, ticket) = self.shard.ticket();
            match self.leaving.borrow_mut().get_mut(&tablet) {
                Some(waiting) => waiting.push(completer),
                None => return,
            }
            let _ = ticket.await; // cancelled only when the shard stops
        }
    }

    /// Whether the map places the tablet on this node.
    pub(crate) fn is_held_here(&self, tablet: TabletId) -> bool {
        self.cluster.borrow().replicas(tablet).is_some_and(|replicas| replicas.holds(self.shard.node()))
    }

    async fn retry(&self, what: &str, tablet: TabletId, error: String) {
        self.tell(format!("cannot {what} tablet {tablet} ({error}); trying again"));
        self.shard.sleep(RETRY_PAUSE).await;
    }
}

/// Entries as they are handed to other shards and nodes.
pub(crate) fn encode_entries(entries: &[Entry]) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_varint(entries.len() as u64);
    entries.iter().for_each(|entry| out.put_prefixed(&entry.encode()));
    out.freeze()
}

pub(crate) fn decode_entries(input: &mut ByteReader) -> Result<Vec<Entry>, ShortInput> {
    let count = input.count()?;
    let mut entries = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let offset = input.offset();
        entries.push(Entry::decode(input.prefixed()?).map_err(|_| ShortInput { offset })?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::info_of;
    use holon_base::{GroupId, NodeId, ServiceId};
    use holon_kernel::holding::Amount;
    use holon_kernel::metric::Metric;
    use holon_kernel::testing::{MemoryDisk, TestShard};
    use holon_kernel::{
        CallError, Fill, LocalFuture, MetadataEffect, NewTablets, NodeRecord, Replication, Service, Session,
        SessionContext, StartContext, Tablet,
    };
    use holon_placement::{ChangeKind, Entry};
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    const SLOW: ServiceId = ServiceId(9);

    /// Its tablets take a second to go, or are not let go.
    #[derive(Default)]
    struct Slow {
        metadata: RefCell<Option<Rc<Metadata>>>,
        is_held: Cell<bool>,
        did: RefCell<Vec<&'static str>>,
    }

    struct NoTablet;

    impl Tablet for NoTablet {
        fn apply(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
            Box::pin(async { Err(CallError::NotHere) })
        }
        fn read(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
            Box::pin(async { Err(CallError::NotHere) })
        }
        fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
            Box::pin(async { Err(CallError::NotHere) })
        }
    }

    impl Service for Slow {
        fn id(&self) -> ServiceId {
            SLOW
        }
        fn name(&self) -> &'static str {
            "slow"
        }
        fn apply_metadata(&self, _: u64, _: &Bytes) -> Result<MetadataEffect, Bytes> {
            Ok(MetadataEffect::default())
        }
        fn start(self: Rc<Self>, _: StartContext) -> LocalFuture<Result<(), String>> {
            Box::pin(async { Ok(()) })
        }
        fn open_tablet(self: Rc<Self>, _: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
            self.did.borrow_mut().push("opened");
            Box::pin(async { Ok(Rc::new(NoTablet) as Rc<dyn Tablet>) })
        }
        fn fill_tablet(self: Rc<Self>, _: Fill, _: Rc<dyn Fn(Amount)>) -> LocalFuture<Result<(), String>> {
            self.did.borrow_mut().push("filled");
            Box::pin(async { Err("tried again".to_string()) })
        }
        fn remove_tablet(self: Rc<Self>, _: TabletId) -> LocalFuture<Result<(), String>> {
            Box::pin(async move {
                let metadata = self.metadata.borrow().clone().expect("set");
                metadata.shard.sleep(Duration::from_secs(1)).await;
                if self.is_held.get() {
                    return Err("not let go".to_string());
                }
                self.did.borrow_mut().push("removed");
                Ok(())
            })
        }
        fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
            Box::pin(async { Ok(()) })
        }
        fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
            Box::pin(async { Ok(()) })
        }
        fn stop(self: Rc<Self>) -> LocalFuture<()> {
            Box::pin(async {})
        }
        fn open_session(self: Rc<Self>, _: SessionContext) -> Box<dyn Session> {
            unreachable!("it has no door")
        }
        fn message(self: Rc<Self>, _: Address, _: Verb, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
            Box::pin(async { Err(CallError::NotHere) })
        }
        fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
            Box::pin(async { Err("none".to_string()) })
        }
        fn metrics(&self, _: &mut Vec<Metric>) {}
        fn status(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    /// A node alone whose only tablet is being removed, and opened again half a second later.
    fn removed_and_back(comes_back: bool, is_held: bool) -> Vec<&'static str> {
        let test = TestShard::new(MemoryDisk::new());
        let metadata = Metadata::alone(&test.shard, 1);
        let slow = Rc::new(Slow::default());
        test.shard.add_service(slow.clone());
        *slow.metadata.borrow_mut() = Some(metadata.clone());
        slow.is_held.set(is_held);
        metadata.running.set(true);
        let id = TabletId::new(GroupId(2), 0);
        let descriptor = TabletDescriptor { id, service: SLOW, group: GroupId(2), ordinal: 0, count: 1 };
        let me = metadata.clone();
        test.shard.spawn(Scope::Node, Class::Foreground, async move { Metadata::remove_tablet(&me, descriptor).await });
        test.advance(Duration::from_millis(500));
        if comes_back {
            let node = test.shard.node();
            let mut cluster = metadata.cluster.borrow_mut();
            cluster.apply(1, ClusterCommand::Node(metadata.own_record()), node).expect("a node");
            let create_tablets = Some(NewTablets { count: 1, replication: Replication::Simple { factor: 1 } });
            cluster.apply_effect(2, SLOW, &MetadataEffect { create_tablets, ..MetadataEffect::default() }, node);
        }
        assert_eq!(metadata.is_held_here(id), comes_back);
        let me = metadata.clone();
        test.shard.spawn(Scope::Node, Class::Foreground, async move { Metadata::open_tablet(&me, descriptor).await });
        test.advance(Duration::from_secs(5));
        assert_eq!(metadata.leaving.borrow().is_empty(), !is_held || comes_back);
        let did = slow.did.borrow().clone();
        drop(slow.metadata.take());
        did
    }

    /// A node that takes over tablets of another one.
    struct Coming {
        test: TestShard,
        metadata: Rc<Metadata>,
        slow: Rc<Slow>,
    }

    impl Coming {
        fn new() -> Coming {
            let test = TestShard::new(MemoryDisk::new());
            let metadata = Metadata::alone(&test.shard, 1);
            let slow = Rc::new(Slow::default());
            test.shard.add_service(slow.clone());
            *slow.metadata.borrow_mut() = Some(metadata.clone());
            metadata.running.set(true);
            let own = metadata.own_record();
            let other = NodeRecord { node: NodeId(own.node.0 + 1), ..own.clone() };
            let coming = Coming { test, metadata, slow };
            coming.begin(1, ClusterCommand::Node(other));
            let create_tablets = Some(NewTablets { count: 16, replication: Replication::Simple { factor: 1 } });
            let effect = MetadataEffect { create_tablets, ..MetadataEffect::default() };
            coming.metadata.cluster.borrow_mut().apply_effect(2, SLOW, &effect, own.node);
            coming.begin(3, ClusterCommand::Node(own));
            coming
        }

        /// As [`Metadata::pump`] does until the tablets of the entry are open.
        fn begin(&self, index: u64, command: ClusterCommand) {
            let node = self.metadata.shard.node();
            self.metadata.cluster.borrow_mut().apply(index, command, node).expect("fine");
        }

        /// As [`Metadata::pump`] does when they are.
        fn end(&self, index: u64) {
            self.metadata.set_applied(index);
            self.metadata.wake_waiting(index);
        }

        /// Whether tablets are copied to this node, and whether some are removed, within ten seconds.
        fn does(&self) -> (bool, bool) {
            self.slow.did.take();
            // As whenever other work has ended.
            self.metadata.moves_changed();
            self.test.advance(Duration::from_secs(10));
            (self.slow.did.borrow().contains(&"filled"), !self.metadata.leaving.borrow().is_empty())
        }
    }

    #[test]
    fn nothing_is_done_for_an_entry_before_it_is_applied() {
        let coming = Coming::new();
        coming.end(3);
        let own = coming.metadata.own_record();
        let join = ChangeKind::Join { node: own.node, info: info_of(&own) };
        coming.begin(4, ClusterCommand::Placement(Entry::Start(join)));
        // A copy that is asked for by the map from before is given by it: without what that map still takes.
        assert_eq!(coming.does(), (false, false));
        coming.end(4);
        assert_eq!(coming.does(), (true, false));
        coming.slow.is_held.set(true); // so that what is begun does not end
        coming.begin(5, ClusterCommand::Placement(Entry::Cancel { started: 4 }));
        assert!(!coming.does().1);
        coming.end(5);
        assert!(coming.does().1);
        drop(coming.slow.metadata.take());
    }

    #[test]
    fn what_comes_back_while_it_is_removed_is_opened_afterwards() {
        assert_eq!(removed_and_back(false, false), ["removed", "opened"]);
    }

    #[test]
    fn what_is_not_let_go_stays_when_it_comes_back() {
        assert_eq!(removed_and_back(true, true), ["opened"]);
        assert_eq!(removed_and_back(false, true), Vec::<&str>::new(), "else it is tried again and again");
    }
}
