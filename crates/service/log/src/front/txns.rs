//! Transactions: from Kafka's messages to what a coordinator is asked, and back. As with groups, a request goes to the shard that has the
//! coordinator of the transactional id, as the frame it came in.

use super::groups::name;
use super::{Connection, text};
use crate::coordinating::{
    Coordinating, GROUPS_TOPIC, GROUPS_TOPIC_SHOWN, TRANSACTIONS_PARTITIONS, TRANSACTIONS_TOPIC, is_hidden,
    partition_of, partition_of_transactions,
};
use crate::groups::{RequestNumber, Time};
use crate::service::LogService;
use crate::store::LogError;
use crate::txns::{Add, Answer, Coordinator, End, Init, Output, Producer, TxnError, Version};
use holon_base::TabletId;
use holon_kafka::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use holon_kafka::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use holon_kafka::messages::describe_transactions_response::{TopicData, TransactionState as Described};
use holon_kafka::messages::list_transactions_response::TransactionState as Listed;
use holon_kafka::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, DescribeTransactionsResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
};
use holon_kafka::{ErrorCode, Request, RequestHeader, Response, StrBytes};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

type Coordinates = Coordinating<Coordinator>;

/// Of AddPartitionsToTxn: several transactions in one request, as brokers send them.
const SEVERAL_FROM: i16 = 4;
/// Of EndTxn: the epoch is bumped with each transaction, and told.
const BUMPED_FROM: i16 = 5;

/// Which transactional id a request is about; `None`: it is about none, or about several.
pub(super) fn id_of(request: &Request) -> Option<&str> {
    let id = match request {
        Request::InitProducerId(request) => request.transactional_id.as_ref()?,
        Request::AddPartitionsToTxn(request) if request.transactions.is_empty() => {
            &request.v3_and_below_transactional_id
        }
        Request::AddOffsetsToTxn(request) => &request.transactional_id,
        Request::EndTxn(request) => &request.transactional_id,
        _ => return None,
    };
    Some(&id.0)
}

/// The tablet that keeps a transactional id, which is made with all others at the first need.
pub(super) async fn tablet_of(connection: &Connection, id: &str) -> Option<TabletId> {
    if let Some(tablet) = connection.service.transactions_tablet(partition_of_transactions(id)) {
        return Some(tablet);
    }
    connection.make_hidden_topic(TRANSACTIONS_TOPIC, TRANSACTIONS_PARTITIONS).await;
    connection.service.transactions_tablet(partition_of_transactions(id))
}

impl LogService {
    /// `None`: nobody was ever initialised with a transactional id.
    pub(crate) fn transactions_tablet(&self, partition: u32) -> Option<TabletId> {
        self.with_topics(|topics| topics.get(TRANSACTIONS_TOPIC)?.tablet(partition as i32))
    }

    fn tablet_named(&self, topic: &str, partition: i32) -> Option<TabletId> {
        self.with_topics(|topics| topics.get(topic)?.tablet(partition))
    }
}

/// What a coordinator of transactions answers; the rest is for one of groups.
pub(super) fn is_answered(request: &Request) -> bool {
    matches!(
        request,
        Request::InitProducerId(_)
            | Request::AddPartitionsToTxn(_)
            | Request::AddOffsetsToTxn(_)
            | Request::EndTxn(_)
            | Request::DescribeTransactions(_)
            | Request::ListTransactions(_)
    )
}

/// On the shard that has the coordinator.
pub(super) async fn answer(
    service: &Rc<LogService>,
    tablet: TabletId,
    header: &RequestHeader,
    request: Request,
) -> Response {
    let coordinating = service.transactions(tablet);
    let (coordinating, version) = (coordinating.as_deref(), header.version);
    match request {
        Request::InitProducerId(request) => {
            Response::InitProducerId(init(service, coordinating, version, request).await)
        }
        Request::AddPartitionsToTxn(request) => {
            Response::AddPartitionsToTxn(add(service, coordinating, version, request).await)
        }
        Request::AddOffsetsToTxn(request) => {
            Response::AddOffsetsToTxn(add_offsets(service, coordinating, version, request).await)
        }
        Request::DescribeTransactions(request) => {
            Response::DescribeTransactions(describe(service, coordinating, request).await)
        }
        Request::ListTransactions(request) => Response::ListTransactions(list(coordinating, request).await),
        Request::EndTxn(request) => Response::EndTxn(end(service, coordinating, version, request).await),
        // See `is_answered`.
        _ => Response::EndTxn(EndTxnResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0)),
    }
}

fn code_of_log(error: &LogError) -> ErrorCode {
    match error {
        LogError::NotHere(_) => ErrorCode::NOT_COORDINATOR,
        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

async fn ask(
    coordinating: Option<&Coordinates>,
    ask: impl FnOnce(&mut Coordinator, Time, RequestNumber, &mut Output),
) -> Result<Answer, ErrorCode> {
    let coordinating = coordinating.ok_or(ErrorCode::NOT_COORDINATOR)?;
    coordinating.ask(ask).await.map_err(|error| code_of_log(&error))
}

/// What takes a producer id that nobody has is asked again with one.
async fn ask_with_fresh(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    once: impl Fn(Option<i64>, &mut Coordinator, Time, RequestNumber, &mut Output),
) -> Result<Answer, ErrorCode> {
    let asked = ask(coordinating, |machine, time, number, out| once(None, machine, time, number, out)).await?;
    if asked != Answer::NeedsProducer {
        return Ok(asked);
    }
    let fresh = service.next_producer().await.ok_or(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)?;
    ask(coordinating, |machine, time, number, out| once(Some(fresh), machine, time, number, out)).await
}

/// Old clients do not know PRODUCER_FENCED.
fn told(error: TxnError, knows_fenced: bool) -> ErrorCode {
    match error {
        TxnError::ProducerFenced if !knows_fenced => ErrorCode::INVALID_PRODUCER_EPOCH,
        error => ErrorCode(error.code()),
    }
}

fn init_request(request: &InitProducerIdRequest) -> Result<Init, ErrorCode> {
    let id = request.transactional_id.as_ref().ok_or(ErrorCode::INVALID_REQUEST)?;
    let expected = match (request.producer_id.0, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::INVALID_REQUEST),
        (id, epoch) => Some(Producer { id, epoch }),
    };
    Ok(Init { id: name(&id.0), timeout_ms: request.transaction_timeout_ms, expected, fresh: None })
}

async fn init(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let outcome = match init_request(&request) {
        Ok(init) => {
            let once = |fresh, machine: &mut Coordinator, time, number, out: &mut Output| {
                machine.init(time, number, Init { fresh, ..init.clone() }, out);
            };
            match ask_with_fresh(service, coordinating, once).await {
                Ok(Answer::Init(outcome)) => outcome.map_err(|error| told(error, version >= 4)),
                Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    let response = InitProducerIdResponse::default();
    match outcome {
        Ok(producer) => response.with_producer_id(ProducerId(producer.id)).with_producer_epoch(producer.epoch),
        Err(error) => response.with_error_code(error.0).with_producer_id(ProducerId(-1)).with_producer_epoch(-1),
    }
}

async fn end(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    version: i16,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let end = End {
        id: name(&request.transactional_id.0),
        producer: Producer { id: request.producer_id.0, epoch: request.producer_epoch },
        commit: request.committed,
        version: if version >= BUMPED_FROM { Version::V2 } else { Version::V1 },
        fresh: None,
    };
    let once = |fresh, machine: &mut Coordinator, time, number, out: &mut Output| {
        machine.end(time, number, End { fresh, ..end.clone() }, out);
    };
    let outcome = match ask_with_fresh(service, coordinating, once).await {
        Ok(Answer::End(outcome)) => outcome.map_err(|error| told(error, version >= 2)),
        Ok(_) => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(error) => Err(error),
    };
    let response = EndTxnResponse::default().with_producer_id(ProducerId(-1)).with_producer_epoch(-1);
    match outcome {
        Ok(producer) if version >= BUMPED_FROM => {
            response.with_producer_id(ProducerId(producer.id)).with_producer_epoch(producer.epoch)
        }
        Ok(_) => response,
        Err(error) => response.with_error_code(error.0),
    }
}

async fn add_offsets(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    version: i16,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let partition = service.tablet_named(GROUPS_TOPIC, partition_of(&request.group_id.0) as i32);
    let outcome = match partition {
        Some(partition) => {
            let add = Add {
                id: name(&request.transactional_id.0),
                producer: Producer { id: request.producer_id.0, epoch: request.producer_epoch },
                partitions: BTreeSet::from([partition]),
            };
            add_one(coordinating, add).await
        }
        None => Err(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)),
    };
    let error = match outcome {
        Ok(()) => ErrorCode::NONE,
        Err(Ok(error)) => told(error, version >= 2),
        Err(Err(error)) => error,
    };
    AddOffsetsToTxnResponse::default().with_error_code(error.0)
}

/// What the machine says, or why it says nothing.
async fn add_one(coordinating: Option<&Coordinates>, add: Add) -> Result<(), Result<TxnError, ErrorCode>> {
    match ask(coordinating, |machine, time, number, out| machine.add(time, number, add, out)).await {
        Ok(Answer::Add(outcome)) => outcome.map_err(Ok),
        Ok(_) => Err(Err(ErrorCode::UNKNOWN_SERVER_ERROR)),
        Err(error) => Err(Err(error)),
    }
}

/// Of one transactional id: all of it, or nothing.
async fn add(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let response = AddPartitionsToTxnResponse::default();
    if version < SEVERAL_FROM {
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(request.v3_and_below_transactional_id)
            .with_producer_id(request.v3_and_below_producer_id)
            .with_producer_epoch(request.v3_and_below_producer_epoch)
            .with_topics(request.v3_and_below_topics);
        let results = add_transaction(service, coordinating, (version >= 2, true), transaction).await;
        return response.with_results_by_topic_v3_and_below(results);
    }
    let mut results = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let id = transaction.transactional_id.clone();
        let topics = add_transaction(service, coordinating, (true, false), transaction).await;
        results.push(AddPartitionsToTxnResult::default().with_transactional_id(id).with_topic_results(topics));
    }
    response.with_results_by_transaction(results)
}

async fn add_transaction(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    (knows_fenced, of_client): (bool, bool),
    transaction: AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let find = |topic: &str, partition: i32| {
        let tablet = service.tablet_named(topic, partition).filter(|_| !(of_client && is_hidden(topic)));
        tablet.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    };
    let found: BTreeMap<(StrBytes, i32), Result<TabletId, ErrorCode>> = named(&transaction.topics)
        .map(|(topic, partition)| ((topic.clone(), partition), find(topic, partition)))
        .collect();
    if found.values().any(Result::is_err) {
        return results(&transaction.topics, |key| match found.get(&key) {
            Some(Err(error)) => *error,
            _ => ErrorCode::OPERATION_NOT_ATTEMPTED,
        });
    }
    let producer = Producer { id: transaction.producer_id.0, epoch: transaction.producer_epoch };
    let id = &transaction.transactional_id.0;
    if !transaction.verify_only {
        let partitions = found.values().filter_map(|tablet| tablet.ok()).collect();
        let outcome = add_one(coordinating, Add { id: name(id), producer, partitions }).await;
        let error = match outcome {
            Ok(()) => ErrorCode::NONE,
            Err(Ok(error)) => told(error, knows_fenced),
            Err(Err(error)) => error,
        };
        return results(&transaction.topics, |_| error);
    }
    let looked = match coordinating {
        Some(coordinating) => {
            let verify = |machine: &Coordinator| {
                let one = |tablet: &TabletId| machine.verify(id, producer, *tablet).err();
                found
                    .iter()
                    .filter_map(|(key, tablet)| Some((key.clone(), one(tablet.as_ref().ok()?))))
                    .collect::<BTreeMap<_, _>>()
            };
            coordinating.look(verify).await.map_err(|error| code_of_log(&error))
        }
        None => Err(ErrorCode::NOT_COORDINATOR),
    };
    results(&transaction.topics, |key| match &looked {
        Ok(verified) => verified.get(&key).copied().flatten().map_or(ErrorCode::NONE, |error| told(error, true)),
        Err(error) => *error,
    })
}

fn named(topics: &[AddPartitionsToTxnTopic]) -> impl Iterator<Item = (&StrBytes, i32)> {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| (&topic.name.0, *partition)))
}

/// For each partition that was named.
pub(super) fn results(
    topics: &[AddPartitionsToTxnTopic],
    error: impl Fn((StrBytes, i32)) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| {
        let one = |partition: &i32| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(error((topic.name.0.clone(), *partition)).0)
        };
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(topic.partitions.iter().map(one).collect())
    };
    topics.iter().map(of_topic).collect()
}

async fn describe(
    service: &LogService,
    coordinating: Option<&Coordinates>,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let found = match coordinating {
            Some(coordinating) => coordinating.look(|machine| machine.describe(&id.0)).await,
            None => Err(LogError::NotHere(TabletId(0))),
        };
        states.push(match found {
            Ok(Ok(found)) => Described::default()
                .with_transactional_id(id)
                .with_transaction_state(text(found.state.as_str()))
                .with_transaction_timeout_ms(found.timeout_ms)
                .with_transaction_start_time_ms(found.started_ms)
                .with_producer_id(ProducerId(found.producer.id))
                .with_producer_epoch(found.producer.epoch)
                .with_topics(shown(service, &found.partitions)),
            Ok(Err(error)) => not_described(id, ErrorCode(error.code())),
            Err(error) => not_described(id, code_of_log(&error)),
        });
    }
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

pub(super) fn not_described(id: TransactionalId, error: ErrorCode) -> Described {
    Described::default().with_transactional_id(id).with_error_code(error.0)
}

/// By topic; those that are deleted are not there any more.
fn shown(service: &LogService, partitions: &[TabletId]) -> Vec<TopicData> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        let found = service.with_topics(|topics| {
            topics.partition_of(*partition).map(|(topic, index)| (topic.name.to_string(), index))
        });
        if let Some((name, index)) = found {
            let name = if name == GROUPS_TOPIC { GROUPS_TOPIC_SHOWN.to_string() } else { name };
            topics.entry(name).or_default().push(index);
        }
    }
    let topic = |(name, partitions): (String, _)| {
        TopicData::default().with_topic(TopicName(text(name))).with_partitions(partitions)
    };
    topics.into_iter().map(topic).collect()
}

async fn list(coordinating: Option<&Coordinates>, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let known = |name: &StrBytes| crate::txns::State::ALL.into_iter().find(|state| state.as_str() == &**name);
    let filter = crate::txns::Filter {
        states: request.state_filters.iter().filter_map(known).collect(),
        by_state: !request.state_filters.is_empty(),
        producers: request.producer_id_filters.iter().map(|id| id.0).collect(),
        longer_than_ms: request.duration_filter,
    };
    let response = ListTransactionsResponse::default();
    let Some((coordinating, time)) = coordinating.and_then(|one| Some((one, one.time()?))) else {
        return response.with_error_code(ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    };
    match coordinating.look(|machine| machine.list(time, &filter)).await {
        Ok(listed) => {
            let one = |listed: &crate::txns::Listed| {
                Listed::default()
                    .with_transactional_id(TransactionalId(text(listed.id.to_string())))
                    .with_producer_id(ProducerId(listed.producer_id))
                    .with_transaction_state(text(listed.state.as_str()))
            };
            response.with_transaction_states(listed.iter().map(one).collect())
        }
        Err(error) => response.with_error_code(code_of_log(&error).0),
    }
}
