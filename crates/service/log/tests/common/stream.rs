//! Batches as a leader has them, of producers with and without transactions, and a comparison of two replicas that have the same.

use super::{TIME_MS, World, checked};
use bytes::Bytes;
use holon_base::{Random, TabletId};
use holon_kafka::{Attributes, BatchHeader, Batches, Marker, StampedBatch, testing};
use holon_log::store::{Aborted, CopyError, EndTransaction, LogError, Origin, Stamp};
use holon_wal::Durability;

#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    epoch: i16,
    sequence: i32,
    is_open: bool,
}

pub struct Made {
    pub header: BatchHeader,
    pub bytes: Bytes,
    /// The senders before it.
    senders: [Sender; 3],
}

/// What a leader has.
pub struct Stream {
    pub batches: Vec<Made>,
    senders: [Sender; 3],
    pub leader_epoch: i32,
    pub end: i64,
}

impl Stream {
    pub fn new(leader_epoch: i32) -> Stream {
        Stream { batches: Vec::new(), senders: [Sender::default(); 3], leader_epoch, end: 0 }
    }

    /// One more batch: of nobody, of a producer, of a transaction, or the end of one.
    pub fn make(&mut self, random: &mut Random) {
        let (senders, at) = (self.senders, random.below(4) as usize);
        let (id, count) = (at as i64 + 1, 1 + random.below(12) as u8);
        let value = vec![random.below(256) as u8; random.below(45) as usize];
        let sender = self.senders.get_mut(at).copied().unwrap_or_default();
        let from = testing::From { producer_id: id, epoch: sender.epoch, sequence: sender.sequence };
        let is_end = sender.is_open && random.chance(1, 3);
        let batch = match at {
            3 => checked(&testing::batch(testing::NOBODY, count, &value, TIME_MS)),
            0 => checked(&testing::batch(from, count, &value, TIME_MS)),
            _ if is_end => {
                let epoch = sender.epoch + i16::from(random.chance(1, 2));
                let sequence = if epoch == sender.epoch { sender.sequence } else { 0 };
                self.senders[at] = Sender { epoch, sequence, is_open: false };
                let coordinator_epoch = 3 + self.leader_epoch;
                Marker { commits: random.chance(1, 2), coordinator_epoch }.batch(id, epoch, TIME_MS)
            }
            _ => checked(&testing::transactional(from, count, &value, TIME_MS)),
        };
        if at < 3 && !is_end {
            let sequence = sender.sequence + i32::from(count);
            self.senders[at] = Sender { sequence, is_open: at > 0, ..sender };
        }
        let StampedBatch { header, head, records } = batch.stamp(self.end, self.leader_epoch, None);
        self.end = header.last_offset() + 1;
        self.batches.push(Made { header, bytes: [head, records].concat().into(), senders });
    }

    pub fn make_many(&mut self, count: usize, random: &mut Random) {
        (0..count).for_each(|_| self.make(random));
    }

    /// As a replica is to do it; the new end.
    pub fn truncate(&mut self, offset: i64) -> i64 {
        let left = self.batches.partition_point(|batch| batch.header.last_offset() < offset);
        if let Some(first) = self.batches.get(left) {
            (self.end, self.senders) = (first.header.base_offset, first.senders);
        }
        self.batches.truncate(left);
        self.end
    }

    pub fn bytes_between(&self, from: i64, to: i64) -> Bytes {
        let shown = |batch: &&Made| (from..to).contains(&batch.header.base_offset);
        self.batches.iter().filter(shown).map(|batch| &batch.bytes[..]).collect::<Vec<_>>().concat().into()
    }
}

pub fn append(world: &World, partition: TabletId, bytes: Bytes) -> Result<(i64, i64), CopyError> {
    world.run(move |store| async move { store.append_copied(partition, bytes, Durability::Sync).await })
}

/// Brings a replica up to an offset, a few batches at a time.
pub fn follow(world: &World, partition: TabletId, stream: &Stream, to: i64, random: &mut Random) {
    loop {
        let end = world.store.ends(partition).expect("there").1;
        let rest = stream.batches.iter().filter(|batch| (end..to).contains(&batch.header.base_offset));
        let Some(last) = rest.take(1 + random.below(9) as usize).last() else { return };
        let next = last.header.last_offset() + 1;
        assert_eq!(append(world, partition, stream.bytes_between(end, next)).expect("appended").1, next);
    }
}

pub fn truncate(world: &World, partition: TabletId, offset: i64) -> Result<i64, LogError> {
    world.run(move |store| async move { store.truncate(partition, offset).await })
}

/// All bytes from an offset on.
pub fn content(world: &World, partition: TabletId, mut offset: i64, bytes_max: usize) -> Bytes {
    let mut all = Vec::new();
    loop {
        let found =
            world.run(move |store| async move { store.read_to_end(partition, offset, i64::MAX, bytes_max).await });
        let found = found.expect("reads");
        if found.bytes == 0 {
            return all.into();
        }
        offset = found.end;
        all.extend(found.pieces.concat());
    }
}

/// What a producer is told that sends a batch again, to one that leads from now on.
fn send_again(world: &World, partition: TabletId, whole: &Bytes) -> Result<i64, LogError> {
    // As it was sent.
    let sent = [&[0; 8], &whole[8..]].concat().into();
    let (batch, stamp) = (checked(&sent), Stamp { leader_epoch: 1000, append_time_ms: None, wall_ms: TIME_MS });
    let origin = Origin::Client { guard: None };
    let again = world
        .run(move |store| async move { store.append_from(origin, partition, batch, stamp, Durability::Sync).await });
    again.map(|appended| appended.base_offset)
}

/// What coordinators are told that are too old, for they have older epochs; so nothing is written.
fn end_late(world: &World, partition: TabletId, producer_id: i64, producer_epoch: i16) -> LogError {
    let end = EndTransaction { producer_id, producer_epoch, coordinator_epoch: -5, commit: true, version: 1 };
    let stamp = Stamp { leader_epoch: 1000, append_time_ms: None, wall_ms: TIME_MS };
    world.run(move |store| async move { store.end_transaction(partition, end, stamp).await }).expect_err("too old")
}

fn aborted(world: &World, partition: TabletId, offset: i64) -> Vec<Aborted> {
    world.run(move |store| async move { store.aborted(partition, offset, i64::MAX).await }).expect("reads")
}

/// Both have the same, and would say the same to everybody.
pub fn assert_same(one: &World, other: &World, partition: TabletId, why: &str) {
    assert_eq!(one.store.ends(partition), other.store.ends(partition), "{why}");
    let (start, end) = one.store.ends(partition).expect("there");
    let bytes = content(one, partition, start, 1000);
    assert!(bytes == content(other, partition, start, 700), "{why}: other bytes");
    assert_eq!(one.store.stable(partition), other.store.stable(partition), "{why}");
    for from in [start, (start + end) / 2] {
        assert_eq!(aborted(one, partition, from), aborted(other, partition, from), "{why}");
    }
    for epoch in -1..12 {
        let ends = [one, other].map(|world| world.store.end_of_epoch(partition, epoch));
        assert_eq!(ends[0], ends[1], "{why}");
    }
    let batches: Vec<(BatchHeader, Bytes)> = Batches::new(bytes).map(|batch| batch.expect("whole")).collect();
    for id in 1..4 {
        let of_it = || batches.iter().filter(|(header, _)| header.producer_id == id);
        let Some((newest, _)) = of_it().last() else { continue };
        for epoch in [newest.producer_epoch, newest.producer_epoch - 1] {
            let has = [one, other].map(|world| world.store.has_transaction(partition, id, epoch));
            assert_eq!(has[0], has[1], "{why}");
        }
        for epoch in [i16::MIN, i16::MAX] {
            let ends = [one, other].map(|world| end_late(world, partition, id, epoch));
            assert_eq!(ends[0], ends[1], "{why}");
        }
        let sent = of_it().filter(|(header, _)| !header.attributes.has(Attributes::CONTROL));
        for (header, whole) in sent.rev().take(8) {
            let told = [one, other].map(|world| send_again(world, partition, whole));
            assert_eq!(told[0], told[1], "{why}: {header:?}");
            assert!(told[0].is_err(), "{why}: {header:?} was appended again");
        }
    }
}
