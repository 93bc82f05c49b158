//! Coordinators at work: a machine of [`crate::groups`] or of [`crate::txns`] for each partition of the topic that keeps what it says, on the
//! shard that has it.
//!
//! ```text
//!   request ─▶ Machine ─▶ answers, and writes ─▶ the partition ─▶ `written`, in their order ─▶ answers
//!                 ├─ next_deadline ─▶ a timer ─▶ `tick`
//!                 └─ work (markers of transactions) ─▶ what became of it
//! ```
//!
//! It begins with the first request, from the records of the partition, which begin with a snapshot ([`crate::snapshots`]); that of transactions
//! when the node has started, for there may be some to go on with. It ends with the shard, or with the partition.

mod groups;
mod txns;

pub(crate) use txns::{decode_end, end_offsets};

use crate::groups::{RequestNumber, Time, WriteError, WriteNumber};
use crate::service::LogService;
use crate::snapshots::{self, Snapshots, bytes_of};
use crate::store::{AppendTicket, LogError, LogStore, Stamp};
use bytes::Bytes;
use holon_base::{Instant, TabletId};
use holon_kafka::packed::{pack, unpack};
use holon_kafka::{Batches, ProduceRules, ProducedBatch, Timestamps};
use holon_kernel::{Class, Completer, Scope, Ticket};
use holon_wal::{Durability, Gate, Signal};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

/// The topic that keeps groups. Clients do not see it.
pub const GROUPS_TOPIC: &str = "__holon_groups";

/// So many coordinators a cluster: a group belongs to one, by its id.
pub const GROUPS_PARTITIONS: u32 = 16;

/// The topic that keeps transactional ids, as that of groups.
pub const TRANSACTIONS_TOPIC: &str = "__holon_transactions";

/// What clients see in place of it, and of that of groups, where Kafka would show its own.
pub const GROUPS_TOPIC_SHOWN: &str = "__consumer_offsets";

pub const TRANSACTIONS_PARTITIONS: u32 = 16;

/// Read at a time when a coordinator begins, bytes.
const READ_BYTES: usize = 1 << 20;

/// Which coordinator a group has.
pub fn partition_of(group: &str) -> u32 {
    holon_base::crc32c(group.as_bytes()) % GROUPS_PARTITIONS
}

/// Which coordinator a transactional id has.
pub fn partition_of_transactions(id: &str) -> u32 {
    holon_base::crc32c(id.as_bytes()) % TRANSACTIONS_PARTITIONS
}

/// Whether clients are not to see it.
pub fn is_hidden(topic: &str) -> bool {
    topic == GROUPS_TOPIC || topic == TRANSACTIONS_TOPIC
}

/// A machine that is run here.
pub trait Machine: Sized + 'static {
    type Image: Default;
    type Answer: Clone + 'static;
    type Output: Default;
    /// What is to be done beside writes and answers.
    type Work;
    const TOPIC: &'static str;

    /// The next record of the partition.
    ///
    /// # Errors
    /// It is none; why.
    fn read(image: &mut Self::Image, record: Bytes) -> Result<(), String>;
    fn begin(image: Self::Image, time: Time, out: &mut Self::Output) -> Self;
    fn next_deadline(&self) -> Option<Instant>;
    fn tick(&mut self, time: Time, out: &mut Self::Output);
    fn written(&mut self, time: Time, number: WriteNumber, outcome: Result<(), WriteError>, out: &mut Self::Output);
    /// All that is durable, for a snapshot.
    fn kept(&self) -> Kept;
    fn to_do(out: Self::Output) -> ToDo<Self>;
    /// Does it, and tells the machine.
    fn work(coordinating: &Rc<Coordinating<Self>>, work: Self::Work);
}

/// What takes the place of all records before it.
#[derive(Default)]
pub struct Kept {
    /// Of these a crash must not leave some only: they are one batch.
    pub together: Vec<Bytes>,
    pub rest: Vec<Bytes>,
}

impl Kept {
    pub fn bytes(&self) -> usize {
        bytes_of(&self.together) + bytes_of(&self.rest)
    }
}

/// What a machine wants to be done.
pub struct ToDo<M: Machine> {
    writes: Vec<(WriteNumber, Vec<Bytes>)>,
    answers: Vec<(RequestNumber, M::Answer)>,
    work: Vec<M::Work>,
}

/// A coordinator and those who wait for it.
pub struct Coordinating<M: Machine> {
    me: Weak<Coordinating<M>>,
    service: Weak<LogService>,
    tablet: TabletId,
    machine: RefCell<Option<M>>,
    loading: Gate,
    waiting: RefCell<BTreeMap<RequestNumber, Completer<M::Answer>>>,
    next_request: Cell<u64>,
    /// Its next deadline may be another one.
    changed: Signal,
    /// What is on its way into the partition, oldest first.
    writes: RefCell<VecDeque<(WriteNumber, Result<AppendTicket, LogError>)>>,
    written: Signal,
    snapshots: Snapshots,
}

impl<M: Machine> Coordinating<M> {
    pub fn new(service: &Rc<LogService>, tablet: TabletId) -> Rc<Coordinating<M>> {
        let coordinating = Rc::new_cyclic(|me| Coordinating {
            me: me.clone(),
            service: Rc::downgrade(service),
            tablet,
            machine: RefCell::new(None),
            loading: Gate::new(),
            waiting: RefCell::default(),
            next_request: Cell::new(0),
            changed: Signal::new(),
            writes: RefCell::default(),
            written: Signal::new(),
            snapshots: Snapshots::new(service.group_snapshot_bytes()),
        });
        let shard = service.shard();
        let scope = Scope::Tablet(tablet);
        let (timer, writer) = (coordinating.clone(), coordinating.clone());
        shard.spawn(scope, Class::Foreground, async move { timer.keep_time().await });
        shard.spawn(scope, Class::Foreground, async move { writer.keep_writing().await });
        coordinating
    }

    /// Looks at the machine; its records are read first.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn look<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, LogError> {
        self.load().await?;
        let machine = self.machine.borrow();
        machine.as_ref().map(look).ok_or(LogError::NotHere(self.tablet))
    }

    /// Asks the machine, and waits for its answer.
    ///
    /// # Errors
    /// Its records cannot be read, or this node coordinates here no more.
    pub async fn ask(
        &self,
        ask: impl FnOnce(&mut M, Time, RequestNumber, &mut M::Output),
    ) -> Result<M::Answer, LogError> {
        self.load().await?;
        let answer = {
            let service = self.service.upgrade().ok_or(LogError::NotHere(self.tablet))?;
            let number = RequestNumber(self.next_request.get());
            self.next_request.set(number.0 + 1);
            let (completer, ticket): (_, Ticket<M::Answer>) = service.shard().ticket();
            self.waiting.borrow_mut().insert(number, completer);
            self.run(|machine, time, out| ask(machine, time, number, out));
            ticket
        };
        answer.await.map_err(|_| LogError::NotHere(self.tablet))
    }

    pub(crate) fn time(&self) -> Option<Time> {
        let service = self.service.upgrade()?;
        Some(Time { now: service.shard().now(), wall: service.shard().wall() })
    }

    /// One step of the machine, and what follows from it.
    fn run(&self, step: impl FnOnce(&mut M, Time, &mut M::Output)) {
        let Some(time) = self.time() else { return };
        let mut out = M::Output::default();
        if let Some(machine) = self.machine.borrow_mut().as_mut() {
            step(machine, time, &mut out);
        }
        self.carry_out(out, time);
        self.changed.notify();
    }

    fn carry_out(&self, out: M::Output, time: Time) {
        let ToDo { writes, answers, work } = M::to_do(out);
        for (number, values) in writes {
            if self.snapshots.is_due() {
                self.snapshots.hold((number, values));
            } else {
                self.submit(number, &values, time);
            }
        }
        for (number, answer) in answers {
            let waiting = self.waiting.borrow_mut().remove(&number);
            waiting.into_iter().for_each(|completer| completer.complete(answer.clone()));
        }
        if let Some(me) = self.me.upgrade() {
            work.into_iter().for_each(|work| M::work(&me, work));
        }
    }

    fn submit(&self, number: WriteNumber, values: &[Bytes], time: Time) {
        let store = self.service.upgrade().and_then(|service| service.store());
        let submitted = match &store {
            Some(store) => submit(store, self.tablet, values, time),
            None => Err(LogError::NotHere(self.tablet)),
        };
        self.snapshots.wrote(bytes_of(values));
        self.writes.borrow_mut().push_back((number, submitted));
        self.written.notify();
    }

    /// Nothing is on its way into the partition.
    async fn take_snapshot(&self) -> Result<(), LogError> {
        let service = self.service.upgrade().ok_or(LogError::NotHere(self.tablet))?;
        let (store, time) = (service.store(), self.time());
        let (store, time) = store.zip(time).ok_or(LogError::NotHere(self.tablet))?;
        let kept = self.machine.borrow().as_ref().map(M::kept).unwrap_or_default();
        let bytes = kept.bytes();
        let outcome =
            snapshots::write(&store, self.tablet, &kept, |batch| submit(&store, self.tablet, batch, time)).await;
        let time = self.time().unwrap_or(time);
        for (number, values) in self.snapshots.taken(bytes) {
            self.submit(number, &values, time);
        }
        outcome
    }

    async fn keep_writing(self: Rc<Self>) {
        loop {
            let Some(service) = self.service.upgrade() else { return };
            let next = self.writes.borrow_mut().pop_front();
            let Some((number, submitted)) = next else {
                if self.snapshots.is_due() {
                    drop(service);
                    if let Err(LogError::Wal(holon_wal::WalError::Stopped { .. })) = self.take_snapshot().await {
                        return;
                    }
                    continue;
                }
                let more = self.written.wait(service.shard());
                drop(service);
                if more.await.is_err() {
                    return;
                }
                continue;
            };
            drop(service);
            let outcome = match submitted {
                Ok(ticket) => ticket.wait().await.map(drop),
                Err(error) => Err(error),
            };
            let outcome = match outcome {
                Ok(()) => Ok(()),
                // Whether it is there nobody knows; the shard stops.
                Err(LogError::Wal(holon_wal::WalError::Stopped { .. })) => return,
                Err(LogError::TooLarge { .. }) => Err(WriteError::TooLarge),
                Err(LogError::Overloaded { .. } | LogError::Wal(_)) => Err(WriteError::NotEnoughReplicas),
                Err(_) => Err(WriteError::NotLeader),
            };
            self.run(|machine, time, out| machine.written(time, number, outcome, out));
        }
    }

    async fn keep_time(self: Rc<Self>) {
        loop {
            let Some(service) = self.service.upgrade() else { return };
            let changed = self.changed.wait(service.shard());
            let deadline = self.machine.borrow().as_ref().and_then(M::next_deadline);
            let shard = service.shard().clone();
            drop(service);
            let woken = match deadline {
                Some(deadline) => shard.timeout(deadline, changed).await,
                None => Ok(changed.await),
            };
            match woken {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => self.run(|machine, time, out| machine.tick(time, out)),
            }
        }
    }

    /// Reads the partition from its start to its end, once.
    pub(crate) async fn load(&self) -> Result<(), LogError> {
        if self.machine.borrow().is_some() {
            return Ok(());
        }
        let gone = || LogError::NotHere(self.tablet);
        let service = self.service.upgrade().ok_or_else(gone)?;
        let store = service.store().ok_or_else(gone)?;
        let _loading = self.loading.enter(service.shard()).await?;
        if self.machine.borrow().is_some() {
            return Ok(());
        }
        let (mut image, mut bytes) = (M::Image::default(), 0);
        let (mut offset, end) = store.ends(self.tablet)?;
        while offset < end {
            let read = store.read_to_end(self.tablet, offset, end, READ_BYTES).await?;
            for batch in Batches::new(read.pieces.concat().into()) {
                let broken = |detail: String| crate::store::error::damaged(M::TOPIC, offset as u64, detail);
                let (header, whole) = batch.map_err(|error| broken(error.to_string()))?;
                let values = unpack(&header, &whole).ok_or_else(|| broken("no coordinator wrote it".to_string()))?;
                bytes += bytes_of(&values);
                for value in values {
                    M::read(&mut image, value).map_err(broken)?;
                }
                offset = header.last_offset() + 1;
            }
        }
        let time = self.time().ok_or_else(gone)?;
        let mut out = M::Output::default();
        let machine = M::begin(image, time, &mut out);
        self.snapshots.loaded(bytes, machine.kept().bytes());
        *self.machine.borrow_mut() = Some(machine);
        self.carry_out(out, time);
        self.written.notify();
        self.changed.notify();
        Ok(())
    }
}

fn submit(store: &LogStore, tablet: TabletId, values: &[Bytes], time: Time) -> Result<AppendTicket, LogError> {
    let now_ms = time.wall.micros() / 1000;
    let timestamps = Timestamps::Create { now_ms, before_ms_max: 0, after_ms_max: 0 };
    let rules = ProduceRules { batch_bytes_max: usize::MAX, version: 9, timestamps };
    let batch = ProducedBatch::check(pack(values, now_ms), &rules);
    let too_large =
        |_| LogError::TooLarge { what: "a record of a coordinator", size: usize::MAX, limit: i32::MAX as usize };
    let stamp = Stamp { leader_epoch: 0, append_time_ms: None, wall_ms: now_ms };
    store.submit(tablet, batch.map_err(too_large)?, stamp, Durability::Sync)
}
