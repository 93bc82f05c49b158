//! Whether something may be written in a transaction (KIP-890): its coordinator is asked whether the partition is in it, or to take it in.

use crate::coordinating::{GROUPS_TOPIC, partition_of, partition_of_transactions};
use crate::groups::{Answer, Commit, Coordinator, TransactionalCommit};
use crate::service::LogService;
use holon_base::TabletId;
use holon_kafka::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use holon_kafka::messages::{AddPartitionsToTxnRequest, ProducerId, TopicName, TransactionalId};
use holon_kafka::{ErrorCode, StrBytes};
use std::rc::Rc;
use std::time::Duration;

/// The version in which a coordinator is asked; that of requests between brokers.
const ASKED_IN: i16 = 5;

/// While the last transaction of the producer is being ended its coordinator is asked so often, for so long, before the client is told to
/// ask again (`add.partitions.to.txn.retry.backoff.ms`, `add.partitions.to.txn.retry.backoff.max.ms`).
const RETRY: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(100);

/// What a client knows of (`TransactionSupportedOperation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knows {
    /// Transactions of version 1.
    Old,
    /// Also TRANSACTION_ABORTABLE.
    Abortable,
    /// It names partitions by writing to them.
    Adds,
}

impl Knows {
    pub fn of_produce(version: i16) -> Knows {
        match version {
            12.. => Knows::Adds,
            11 => Knows::Abortable,
            _ => Knows::Old,
        }
    }

    fn of_offsets(version: i16) -> Knows {
        match version {
            5.. => Knows::Adds,
            4 => Knows::Abortable,
            _ => Knows::Old,
        }
    }
}

/// Before the first batch of a transaction in a partition, by a Produce request of that version.
///
/// # Errors
/// What its client is told.
pub(crate) async fn admit(
    service: &Rc<LogService>,
    transactional_id: &str,
    producer: (i64, i16),
    tablet: TabletId,
    version: i16,
) -> Result<(), ErrorCode> {
    let found =
        service.with_topics(|topics| topics.partition_of(tablet).map(|(topic, index)| (topic.name.to_string(), index)));
    let (topic, index) = found.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let knows = Knows::of_produce(version);
    let transaction = transaction(transactional_id, producer, topic, index);
    ask(service, transaction, knows).await
}

/// Commits offsets of a group in a transaction, on the shard that has the coordinator of the group.
///
/// # Errors
/// What its client is told, of each partition.
pub(super) async fn commit_offsets(
    service: &Rc<LogService>,
    coordinating: &crate::coordinating::Coordinating<Coordinator>,
    version: i16,
    transactional_id: &str,
    (producer_id, producer_epoch): (i64, i16),
    commit: Commit,
) -> Result<Answer, ErrorCode> {
    let knows = Knows::of_offsets(version);
    let seen = coordinating.look(|machine| machine.ends_seen(producer_id)).await;
    let ends_seen = seen.map_err(|_| ErrorCode::NOT_COORDINATOR)?;
    let partition = partition_of(&commit.group) as i32;
    let transaction = transaction(transactional_id, (producer_id, producer_epoch), GROUPS_TOPIC.to_string(), partition);
    let admitted = ask(service, transaction, knows).await;
    admitted.map_err(|error| match error {
        ErrorCode::NOT_ENOUGH_REPLICAS => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        error => error,
    })?;
    let request = TransactionalCommit { commit, producer_id, producer_epoch, ends_seen };
    let asked = coordinating.ask(|machine, time, number, out| {
        machine.commit_transactional(time, number, request, out);
    });
    asked.await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)
}

fn transaction(
    id: &str,
    (producer_id, producer_epoch): (i64, i16),
    topic: String,
    partition: i32,
) -> AddPartitionsToTxnTransaction {
    let name = TopicName(StrBytes::from_string(topic));
    let topic = AddPartitionsToTxnTopic::default().with_name(name).with_partitions(vec![partition]);
    AddPartitionsToTxnTransaction::default()
        .with_transactional_id(TransactionalId(StrBytes::from_string(id.to_string())))
        .with_producer_id(ProducerId(producer_id))
        .with_producer_epoch(producer_epoch)
        .with_topics(vec![topic])
}

async fn ask(
    service: &Rc<LogService>,
    transaction: AddPartitionsToTxnTransaction,
    knows: Knows,
) -> Result<(), ErrorCode> {
    let id = &transaction.transactional_id.0;
    let tablet = service.transactions_tablet(partition_of_transactions(id));
    let tablet = tablet.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
    let transaction = transaction.with_verify_only(knows != Knows::Adds);
    let request = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
    let give_up = service.shard().now() + RETRY_MAX;
    loop {
        let answer = service.ask_coordinator(tablet, ASKED_IN, &request).await;
        let code = answer.map_or_else(
            |error| error,
            |answer| {
                let results = answer.results_by_transaction.iter().flat_map(|one| &one.topic_results);
                let codes = results.flat_map(|topic| &topic.results_by_partition).map(|one| one.partition_error_code);
                codes.map(ErrorCode).next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR)
            },
        );
        let again = code == ErrorCode::CONCURRENT_TRANSACTIONS && knows == Knows::Adds;
        if !again || service.shard().now() >= give_up {
            return told(code, knows);
        }
        service.shard().sleep(RETRY).await;
    }
}

/// `AddPartitionsToTxnManager`, and what `ReplicaManager` makes of its errors: old clients know few to try again after.
fn told(code: ErrorCode, knows: Knows) -> Result<(), ErrorCode> {
    Err(match code {
        ErrorCode::NONE => return Ok(()),
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if knows == Knows::Old => ErrorCode::INVALID_TXN_STATE,
        ErrorCode::CONCURRENT_TRANSACTIONS if knows != Knows::Adds => ErrorCode::NOT_ENOUGH_REPLICAS,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR
        | ErrorCode::NETWORK_EXCEPTION => ErrorCode::NOT_ENOUGH_REPLICAS,
        code => code,
    })
}
