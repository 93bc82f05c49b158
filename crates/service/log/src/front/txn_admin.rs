//! What is asked about several transactional ids, or all: cut up by coordinator, asked one by one, and put together again.

use super::{Connection, txns};
use crate::coordinating::{TRANSACTIONS_PARTITIONS, is_hidden, partition_of_transactions};
use holon_kafka::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use holon_kafka::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse,
};
use holon_kafka::{ErrorCode, StrBytes};

/// AddPartitionsToTxn from version 4 on.
pub(super) async fn add_partitions(
    connection: &Connection,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let mut results = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        let (id, topics) = (transaction.transactional_id.clone(), transaction.topics.clone());
        let refused = |error: ErrorCode| {
            let unknown = |key: (StrBytes, i32)| if is_hidden(&key.0) { unknown_topic() } else { error };
            AddPartitionsToTxnResult::default()
                .with_transactional_id(id.clone())
                .with_topic_results(txns::results(&topics, unknown))
        };
        if topics.iter().any(|topic| is_hidden(&topic.name.0)) {
            results.push(refused(ErrorCode::OPERATION_NOT_ATTEMPTED));
            continue;
        }
        let tablet = connection.service.transactions_tablet(partition_of_transactions(&id.0));
        let one = AddPartitionsToTxnRequest::default().with_transactions(vec![transaction]);
        let answer = match tablet {
            Some(tablet) => connection.service.ask_coordinator(tablet, version, &one).await,
            None if id.0.is_empty() => Err(ErrorCode::INVALID_REQUEST),
            // As a coordinator says it of an id that is not there.
            None => Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        };
        match answer {
            Ok(answer) => results.extend(answer.results_by_transaction),
            Err(error) => results.push(refused(error)),
        }
    }
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results)
}

fn unknown_topic() -> ErrorCode {
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
}

pub(super) async fn describe_transactions(
    connection: &Connection,
    version: i16,
    request: DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let mut states = Vec::with_capacity(request.transactional_ids.len());
    for id in request.transactional_ids {
        let one = DescribeTransactionsRequest::default().with_transactional_ids(vec![id.clone()]);
        let answer = match connection.service.transactions_tablet(partition_of_transactions(&id.0)) {
            Some(tablet) => connection.service.ask_coordinator(tablet, version, &one).await,
            None if id.0.is_empty() => Err(ErrorCode::INVALID_REQUEST),
            None => Err(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND),
        };
        match answer {
            Ok(answer) => states.extend(answer.transaction_states),
            Err(error) => states.push(txns::not_described(id, error)),
        }
    }
    DescribeTransactionsResponse::default().with_transaction_states(states)
}

pub(super) async fn list_transactions(
    connection: &Connection,
    version: i16,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let known = |name: &StrBytes| crate::txns::State::ALL.iter().any(|state| state.as_str() == &**name);
    let unknown = request.state_filters.iter().filter(|name| !known(name)).cloned().collect();
    let mut listed = Vec::new();
    for partition in 0..TRANSACTIONS_PARTITIONS {
        let Some(tablet) = connection.service.transactions_tablet(partition) else { break };
        if !connection.is_leader(tablet) {
            continue; // each node lists what it coordinates, and clients ask all
        }
        match connection.service.ask_coordinator(tablet, version, &request).await {
            Ok(answer) if answer.error_code == 0 => listed.extend(answer.transaction_states),
            Ok(answer) => return answer,
            Err(error) => return ListTransactionsResponse::default().with_error_code(error.0),
        }
    }
    ListTransactionsResponse::default().with_transaction_states(listed).with_unknown_state_filters(unknown)
}
