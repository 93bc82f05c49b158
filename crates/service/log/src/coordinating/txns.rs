//! The machine of transactions, as it is run: markers go to partitions, and to the coordinators of groups.

use super::{Coordinating, GROUPS_TOPIC, Kept, Machine, TRANSACTIONS_TOPIC, ToDo};
use crate::calls::{PartitionError, Request};
use crate::front::END_OFFSETS;
use crate::groups::{self, Time, WriteError, WriteNumber};
use crate::service::{LOG_SERVICE, LogService};
use crate::store::LogError;
use crate::txns::{Answer, Coordinator, Image, Marked, Marker, Options, Output, Producer, Record};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, ShortInput, TabletId};
use holon_kernel::{Class, Scope, Target};
use std::rc::Rc;
use std::time::Duration;

/// How long a partition may take to write a marker. Long, because one that is given up may still be written, and end the next transaction:
/// between the cores of a node no answer is lost, so it only ends what waits for ever.
const MARKER_TIMEOUT: Duration = Duration::from_secs(3600);

/// Of all coordinators, until partitions have leaders that change.
const COORDINATOR_EPOCH: i32 = 0;

/// Of a marker, `transaction.version`: whether its epoch is later than that of what it ends.
const BUMPS: i16 = 2;
const BUMPS_NOT: i16 = 1;

impl Machine for Coordinator {
    type Image = Image;
    type Answer = Answer;
    type Output = Output;
    type Work = Marker;
    const TOPIC: &'static str = TRANSACTIONS_TOPIC;

    fn read(image: &mut Image, record: Bytes) -> Result<(), String> {
        image.apply(Record::decode(record).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn begin(image: Image, time: Time, out: &mut Output) -> Coordinator {
        Coordinator::new(Options::default(), image, time, out)
    }

    fn next_deadline(&self) -> Option<Instant> {
        Coordinator::next_deadline(self)
    }

    fn tick(&mut self, time: Time, out: &mut Output) {
        Coordinator::tick(self, time, out);
    }

    fn written(&mut self, time: Time, number: WriteNumber, outcome: Result<(), WriteError>, out: &mut Output) {
        Coordinator::written(self, time, number, outcome, out);
    }

    fn kept(&self) -> Kept {
        Kept { rest: self.records().iter().map(Record::encode).collect(), ..Kept::default() }
    }

    fn to_do(out: Output) -> ToDo<Coordinator> {
        let writes = out.writes.iter().map(|(number, record)| (*number, vec![record.encode()])).collect();
        ToDo { writes, answers: out.answers, work: out.markers }
    }

    fn work(coordinating: &Rc<Coordinating<Coordinator>>, marker: Marker) {
        let Some(service) = coordinating.service.upgrade() else { return };
        let (me, shard) = (coordinating.clone(), service.shard().clone());
        shard.spawn(Scope::Tablet(me.tablet), Class::Foreground, async move {
            let marked = service.mark(&marker).await;
            drop(service);
            me.run(|machine, time, out| machine.marked(time, &marker, marked, out));
        });
    }
}

impl LogService {
    /// Has a marker written.
    async fn mark(&self, marker: &Marker) -> Marked {
        let Marker { partition, producer, commit, bumps, .. } = *marker;
        let group = partition.group();
        let topic = self.with_topics(|topics| topics.of_group(group).map(|topic| topic.name.clone()));
        // Who deletes a topic deletes what of a transaction is in it.
        let Some(topic) = topic else { return Marked::Done };
        if *topic == *GROUPS_TOPIC {
            return self.mark_offsets(partition, producer, commit).await;
        }
        let request = Request::EndTransaction {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            coordinator_epoch: COORDINATOR_EPOCH,
            commit,
            version: if bumps { BUMPS } else { BUMPS_NOT },
        };
        match self.ask(partition, request, self.shard().now() + MARKER_TIMEOUT).await {
            Ok(_) | Err(PartitionError::Log(LogError::Fenced { .. } | LogError::CoordinatorFenced { .. })) => {
                Marked::Done
            }
            Err(_) => Marked::Again,
        }
    }

    /// For all offsets of a transaction that one partition of groups has.
    async fn mark_offsets(&self, partition: TabletId, producer: Producer, commit: bool) -> Marked {
        let Some(to) = self.place_of(partition) else { return Marked::Again };
        let is_done = if to == self.shard().address() {
            end_offsets(self, partition, producer, commit).await
        } else {
            let payload = encode_end(partition, producer, commit);
            let deadline = self.shard().now() + MARKER_TIMEOUT;
            let answer = self.shard().call(to, Target::Service(LOG_SERVICE), END_OFFSETS, payload, deadline).await;
            answer.is_ok_and(|answer| answer.first() == Some(&1))
        };
        if is_done { Marked::Done } else { Marked::Again }
    }
}

fn encode_end(partition: TabletId, producer: Producer, commit: bool) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u64(partition.0);
    out.put_signed_varint(producer.id);
    out.put_u16(producer.epoch.cast_unsigned());
    out.put_u8(u8::from(commit));
    out.freeze()
}

/// # Errors
/// It is not what another shard sent.
pub(crate) fn decode_end(payload: Bytes) -> Result<(TabletId, Producer, bool), ShortInput> {
    let mut input = ByteReader::new(payload);
    let partition = TabletId(input.u64()?);
    let producer = Producer { id: input.signed_varint()?, epoch: input.u16()?.cast_signed() };
    Ok((partition, producer, input.u8()? == 1))
}

/// On the shard that has the coordinator of those groups. True: it is durable.
pub(crate) async fn end_offsets(service: &LogService, partition: TabletId, producer: Producer, commit: bool) -> bool {
    let Some(coordinating) = service.coordinating(partition) else { return false };
    let answer = coordinating.ask(|machine, time, number, out| {
        machine.end_transaction(time, number, (producer.id, producer.epoch), commit, out);
    });
    matches!(answer.await, Ok(groups::Answer::TransactionEnded(None)))
}
