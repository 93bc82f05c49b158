//! Groups at work: a machine of [`crate::groups`] for each partition of the topic that keeps them, on the shard that has it.
//!
//! ```text
//!   request ─▶ Coordinator ─▶ answers, and writes ─▶ the partition ─▶ `written`, in their order ─▶ answers
//!                     └─ next_deadline ─▶ a timer ─▶ `tick`
//! ```
//!
//! It begins with the first request, from the records of the partition, which begin with a snapshot ([`crate::snapshots`]). It ends with the shard, or with the partition.

use crate::groups::{
    Answer, Coordinator, Image, Name, Options, Output, Record, RequestNumber, Time, WriteError, WriteNumber,
};
use crate::service::LogService;
use crate::snapshots::{self, Snapshots, bytes_of};
use crate::store::{AppendTicket, LogError, LogStore, Stamp};
use bytes::Bytes;
use holon_base::TabletId;
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

/// Read at a time when a coordinator begins, bytes.
const READ_BYTES: usize = 1 << 20;

/// Which coordinator a group has.
pub fn partition_of(group: &str) -> u32 {
    holon_base::crc32c(group.as_bytes()) % GROUPS_PARTITIONS
}

/// A coordinator and those who wait for it.
pub struct Coordinating {
    service: Weak<LogService>,
    tablet: TabletId,
    machine: RefCell<Option<Coordinator>>,
    loading: Gate,
    waiting: RefCell<BTreeMap<RequestNumber, Completer<Answer>>>,
    next_request: Cell<u64>,
    /// Its next deadline may be another one.
    changed: Signal,
    /// What is on its way into the partition, oldest first.
    writes: RefCell<VecDeque<(WriteNumber, Result<AppendTicket, LogError>)>>,
    written: Signal,
    snapshots: Snapshots,
}

impl Coordinating {
    pub fn new(service: &Rc<LogService>, tablet: TabletId) -> Rc<Coordinating> {
        let coordinating = Rc::new(Coordinating {
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

    /// Looks at the groups; they are read first.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn look<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> Result<T, LogError> {
        self.load().await?;
        let machine = self.machine.borrow();
        machine.as_ref().map(look).ok_or(LogError::NotHere(self.tablet))
    }

    /// How many groups are in which state; none while nobody has asked for one.
    pub fn states(&self) -> Vec<(&'static str, u64)> {
        self.machine.borrow().as_ref().map(Coordinator::states).unwrap_or_default()
    }

    /// Offsets of groups, so many at most.
    pub fn committed(&self, most: usize) -> Vec<(Name, Name, i32, i64)> {
        self.machine.borrow().as_ref().map(|machine| machine.committed(most)).unwrap_or_default()
    }

    /// Asks the machine, and waits for its answer.
    ///
    /// # Errors
    /// The groups cannot be read, or this node coordinates them no more.
    pub async fn ask(
        &self,
        ask: impl FnOnce(&mut Coordinator, Time, RequestNumber, &mut Output),
    ) -> Result<Answer, LogError> {
        self.load().await?;
        let answer = {
            let service = self.service.upgrade().ok_or(LogError::NotHere(self.tablet))?;
            let number = RequestNumber(self.next_request.get());
            self.next_request.set(number.0 + 1);
            let (completer, ticket): (_, Ticket<Answer>) = service.shard().ticket();
            self.waiting.borrow_mut().insert(number, completer);
            self.run(|machine, time, out| ask(machine, time, number, out));
            ticket
        };
        answer.await.map_err(|_| LogError::NotHere(self.tablet))
    }

    fn time(&self) -> Option<Time> {
        let service = self.service.upgrade()?;
        Some(Time { now: service.shard().now(), wall: service.shard().wall() })
    }

    /// One step of the machine, and what follows from it.
    fn run(&self, step: impl FnOnce(&mut Coordinator, Time, &mut Output)) {
        let Some(time) = self.time() else { return };
        let mut out = Output::default();
        if let Some(machine) = self.machine.borrow_mut().as_mut() {
            step(machine, time, &mut out);
        }
        self.carry_out(out, time);
        self.changed.notify();
    }

    fn carry_out(&self, out: Output, time: Time) {
        for write in out.writes {
            let values: Vec<Bytes> = write.records.iter().map(Record::encode).collect();
            if self.snapshots.is_due() {
                self.snapshots.hold((write.number, values));
            } else {
                self.submit(write.number, &values, time);
            }
        }
        for (number, answer) in out.answers {
            let waiting = self.waiting.borrow_mut().remove(&number);
            waiting.into_iter().for_each(|completer| completer.complete(answer.clone()));
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
        let records = self.machine.borrow().as_ref().map(Coordinator::records).unwrap_or_default();
        let values: Vec<Bytes> = records.iter().map(Record::encode).collect();
        let bytes = bytes_of(&values);
        let outcome =
            snapshots::write(&store, self.tablet, &values, |batch| submit(&store, self.tablet, batch, time)).await;
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
            let deadline = self.machine.borrow().as_ref().and_then(Coordinator::next_deadline);
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
    async fn load(&self) -> Result<(), LogError> {
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
        let (mut image, mut bytes) = (Image::default(), 0);
        let (mut offset, end) = store.ends(self.tablet)?;
        while offset < end {
            let read = store.read(self.tablet, offset, end, READ_BYTES).await?;
            for batch in Batches::new(read.pieces.concat().into()) {
                let broken = |detail: String| crate::store::error::damaged(GROUPS_TOPIC, offset as u64, detail);
                let (header, whole) = batch.map_err(|error| broken(error.to_string()))?;
                let values = unpack(&header, &whole).ok_or_else(|| broken("it is not of groups".to_string()))?;
                bytes += bytes_of(&values);
                for value in values {
                    image.apply(Record::decode(value).map_err(|error| broken(error.to_string()))?);
                }
                offset = header.last_offset() + 1;
            }
        }
        let time = self.time().ok_or_else(gone)?;
        let mut out = Output::default();
        self.snapshots.loaded(bytes, image.snapshot().len());
        *self.machine.borrow_mut() = Some(Coordinator::new(Options::default(), image, time, &mut out));
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
    let too_large = |_| LogError::TooLarge { what: "a record of a group", size: usize::MAX, limit: i32::MAX as usize };
    let stamp = Stamp { leader_epoch: 0, append_time_ms: None, wall_ms: now_ms };
    store.submit(tablet, batch.map_err(too_large)?, stamp, Durability::Sync)
}
