//! Produce: first all batches of a request enter the log, then it is waited for them.
//!
//! Requests of a connection that come after it may begin as soon as its batches are on their way into the log of this shard, in their
//! order. Those for partitions of other shards are waited for: messages between shards have no order.

use super::{Connection, admission, text};
use crate::calls::{PartitionError, Reply, Request, Unverified};
use crate::service::LogService;
use crate::store::{AppendTicket, Appended, LogError};
use bytes::Bytes;
use holon_base::{GroupId, Instant, TabletId};
use holon_kafka::produce::{ProducePartition, ProduceTopic, ProducedPartition, ProducedTopic};
use holon_kafka::{Attributes, BatchHeader, ErrorCode, ProduceRequest, ProduceResponse, Response, StrBytes, Uuid};
use holon_kernel::{LocalFuture, join_all};
use holon_wal::WalError;
use std::rc::Rc;

/// What all partitions of a request have in common.
#[derive(Clone)]
struct Asking {
    version: i16,
    deadline: Instant,
    /// Of the producer's transactions.
    transactional_id: Option<StrBytes>,
}

/// A partition of a request.
enum Part {
    Answered(ProducedPartition),
    /// Its batch is on its way into the log of this shard.
    Begun {
        index: i32,
        ticket: AppendTicket,
    },
    /// Another shard is asked, or there is no room yet.
    Asked(LocalFuture<ProducedPartition>),
}

/// A request on its way.
pub(super) struct Begun {
    wants_answer: bool,
    topics: Vec<(StrBytes, Uuid, Vec<Part>)>,
    timing: Timing,
}

/// How long it takes, and of which topics.
struct Timing {
    service: Rc<LogService>,
    began: Instant,
    topics: Vec<GroupId>,
}

impl Timing {
    fn end(self) {
        let took = self.service.shard().now().since(self.began);
        self.topics.into_iter().for_each(|topic| self.service.counts().wrote(topic, took));
    }
}

pub(super) fn begin(connection: &Connection, version: i16, request: ProduceRequest) -> Begun {
    let ProduceRequest { acks, timeout_ms, topics, transactional_id } = request;
    let deadline = connection.deadline(timeout_ms);
    // The right to transactions goes by the transactional id: without one there is none, for the whole request, as Kafka has it.
    let is_forbidden = transactional_id.is_none() && topics.iter().any(has_transactional_records);
    let asking = Asking { version, deadline, transactional_id };
    let mut begun = Vec::with_capacity(topics.len());
    let service = connection.service.clone();
    let mut timing = Timing { began: service.shard().now(), service, topics: Vec::new() };
    for topic in topics {
        let found = match acks {
            -1..=1 if is_forbidden => Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
            -1..=1 => connection.topic(&topic.name, topic.id),
            _ => Err(ErrorCode::INVALID_REQUIRED_ACKS),
        };
        timing.topics.extend(found.as_ref().ok().map(|topic| topic.group));
        let parts = topic.partitions.into_iter().map(|ProducePartition { index, records }| {
            let tablet = found.as_ref().map_err(|error| *error).and_then(|topic| {
                let tablet = topic.tablet(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                if connection.is_leader(tablet) { Ok(tablet) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
            });
            match (tablet, records) {
                (Ok(tablet), Some(records)) => begin_part(connection, &asking, index, tablet, records),
                (tablet, _) => {
                    let error = tablet.err().unwrap_or(ErrorCode::INVALID_RECORD);
                    Part::Answered(ProducedPartition::refused(index, error, None))
                }
            }
        });
        begun.push((topic.name, topic.id, parts.collect()));
    }
    Begun { wants_answer: acks != 0, topics: begun, timing }
}

fn has_transactional_records(topic: &ProduceTopic) -> bool {
    topic.partitions.iter().filter_map(|partition| partition.records.as_ref()).any(|records| {
        let header = BatchHeader::peek(records, 0).ok().flatten();
        header.is_some_and(|header| header.attributes.has(Attributes::TRANSACTIONAL))
    })
}

fn begin_part(connection: &Connection, asking: &Asking, index: i32, tablet: TabletId, records: Bytes) -> Part {
    let (service, asking) = (connection.service.clone(), asking.clone());
    let Asking { version, deadline, .. } = asking;
    let begun = match service.begin_produce(tablet, version, &records) {
        Some(Ok(ticket)) => return Part::Begun { index, ticket },
        Some(Err(PartitionError::Unverified(unverified))) => Some(unverified),
        Some(Err(error)) => return Part::Answered(produced(index, Err(error))),
        None => None,
    };
    // What comes after it waits until it was verified: a later batch of the transaction must not overtake it.
    Part::Asked(Box::pin(async move {
        let unverified = match begun {
            Some(unverified) => unverified,
            None => {
                let asked = Request::Produce { version, records: records.clone(), guard: None };
                match service.ask(tablet, asked, deadline).await {
                    Err(PartitionError::Unverified(unverified)) => unverified,
                    result => return produced(index, result),
                }
            }
        };
        let asked = Request::Produce { version, records, guard: Some(unverified.guard) };
        match verify(&service, &asking, tablet, &unverified).await {
            Ok(()) => produced(index, service.ask(tablet, asked, deadline).await),
            Err(error) => ProducedPartition::refused(index, error, None),
        }
    }))
}

/// Asks the coordinator of a transaction whether a partition is part of it, or to make it one (`adds`).
///
/// # Errors
/// What the client is told.
async fn verify(
    service: &Rc<LogService>,
    asking: &Asking,
    tablet: TabletId,
    unverified: &Unverified,
) -> Result<(), ErrorCode> {
    let id = asking.transactional_id.as_deref().ok_or(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)?;
    let producer = (unverified.producer_id, unverified.producer_epoch);
    admission::admit(service, id, producer, tablet, asking.version).await
}

impl Begun {
    /// Whether what comes after it may begin now.
    pub fn keeps_order(&self) -> bool {
        !self.topics.iter().flat_map(|(_, _, parts)| parts).any(|part| matches!(part, Part::Asked(_)))
    }

    /// `None`: the client wants no answer.
    pub async fn answer(self) -> Option<Response> {
        let topics = self.topics.into_iter().map(|(name, id, parts)| async move {
            let partitions = join_all(parts.into_iter().map(|part| async move {
                match part {
                    Part::Answered(partition) => partition,
                    Part::Begun { index, ticket } => {
                        let appended = ticket.wait().await.map(Reply::Appended);
                        produced(index, appended.map_err(PartitionError::from))
                    }
                    Part::Asked(asked) => asked.await,
                }
            }));
            ProducedTopic { name, id, partitions: partitions.await }
        });
        let response = ProduceResponse { topics: join_all(topics).await, ..ProduceResponse::default() };
        self.timing.end();
        self.wants_answer.then_some(Response::Produce(response))
    }
}

fn produced(index: i32, result: Result<Reply, PartitionError>) -> ProducedPartition {
    let (base_offset, append_time_ms, start) = match result {
        Ok(Reply::Appended(Appended { base_offset, append_time_ms, start })) => (base_offset, append_time_ms, start),
        // Told as if it were new, as Kafka does it: its producer did not hear of it the first time.
        Err(PartitionError::Log(LogError::Duplicate { base_offset, append_time_ms })) => {
            (base_offset, Some(append_time_ms), -1)
        }
        Ok(_) => return ProducedPartition::refused(index, ErrorCode::UNKNOWN_SERVER_ERROR, None),
        Err(error) => {
            return ProducedPartition::refused(index, code_of(&error), Some(text(error.to_string())));
        }
    };
    ProducedPartition {
        base_offset,
        log_append_time_ms: append_time_ms.unwrap_or(-1),
        log_start_offset: start,
        error_message: None,
        ..ProducedPartition::refused(index, ErrorCode::NONE, None)
    }
}

/// What a client is told of a partition's error.
pub(super) fn code_of(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Refused { code, .. } => ErrorCode(*code),
        PartitionError::Unreachable(_) => ErrorCode::REQUEST_TIMED_OUT,
        PartitionError::Unverified(_) => ErrorCode::INVALID_TXN_STATE,
        PartitionError::Log(error) => match error {
            LogError::NotHere(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            LogError::Overloaded { .. } => ErrorCode::REQUEST_TIMED_OUT,
            LogError::TooLarge { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
            LogError::Duplicate { .. } => ErrorCode::DUPLICATE_SEQUENCE_NUMBER,
            LogError::Fenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
            LogError::CoordinatorFenced { .. } => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
            LogError::NotInTransaction | LogError::InTransaction => ErrorCode::INVALID_TXN_STATE,
            LogError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            LogError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
            LogError::Wal(WalError::Stopped { .. }) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            LogError::Wal(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        },
    }
}
