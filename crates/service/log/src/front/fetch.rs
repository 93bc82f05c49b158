//! Fetch: without sessions (each is answered with session 0, which says so), by name and by id, waiting for new records.

use super::Connection;
use super::produce::code_of;
use crate::calls::{Ends, Reply, Request};
use holon_base::{Instant, TabletId};
use holon_kafka::fetch::{FetchPartition, FetchedPartition, FetchedTopic, READ_COMMITTED};
use holon_kafka::{ErrorCode, FetchRequest, FetchResponse, StrBytes, Uuid};
use holon_kernel::any_of;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one answer has at most, bytes, whatever is asked for (and one batch at least).
const ANSWER_BYTES_MAX: usize = 50 << 20;

/// A partition that is asked for, and where it is.
struct Wanted {
    topic: usize,
    asked: FetchPartition,
    tablet: Result<TabletId, ErrorCode>,
}

pub(super) async fn fetch(connection: &Connection, request: FetchRequest) -> FetchResponse {
    // A session is never made, so there is none to go on with.
    if request.session_epoch > 0 {
        let error = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
        return FetchResponse { error, ..FetchResponse::default() };
    }
    let mut names: Vec<(StrBytes, Uuid)> = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let found = connection.topic(&topic.name, topic.id);
        for asked in topic.partitions {
            let tablet = found.as_ref().map_err(|error| *error).and_then(|topic| {
                let tablet = topic.tablet(asked.index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                if connection.is_leader(tablet) { Ok(tablet) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
            });
            wanted.push(Wanted { topic: names.len(), asked, tablet });
        }
        names.push((topic.name, topic.id));
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = connection.service.shard().now() + wait;
    let most = usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX);
    let least = usize::try_from(request.min_bytes).unwrap_or(0);
    let committed = request.isolation_level == READ_COMMITTED;
    loop {
        let (answered, bytes) = look(connection, &wanted, most, committed).await;
        let is_enough = bytes >= least || answered.iter().any(|(_, partition)| partition.error != ErrorCode::NONE);
        if is_enough || connection.service.shard().now() >= deadline || wanted.is_empty() {
            return response(names, answered);
        }
        wait_for_more(connection, &wanted, &answered, committed, deadline).await;
    }
}

async fn look(
    connection: &Connection,
    wanted: &[Wanted],
    most: usize,
    committed: bool,
) -> (Vec<(usize, FetchedPartition)>, usize) {
    let (mut answered, mut bytes) = (Vec::with_capacity(wanted.len()), 0);
    for Wanted { topic, asked, tablet } in wanted {
        let left = most.saturating_sub(bytes);
        let partition_most = usize::try_from(asked.max_bytes).unwrap_or(0).min(left);
        let partition = match tablet {
            // The first batch comes whatever its size, so that a reader gets on; after that there has to be room.
            Ok(tablet) if bytes == 0 || left > 0 => read(connection, *tablet, asked, partition_most, committed).await,
            Ok(tablet) => ends(connection, *tablet, asked, committed).await,
            Err(error) => FetchedPartition::refused(asked.index, *error),
        };
        bytes += partition.records.iter().map(|piece| piece.len()).sum::<usize>();
        answered.push((*topic, partition));
    }
    (answered, bytes)
}

async fn read(
    connection: &Connection,
    tablet: TabletId,
    asked: &FetchPartition,
    bytes_max: usize,
    committed: bool,
) -> FetchedPartition {
    let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
    let request = Request::Fetch { offset: asked.fetch_offset, bytes_max, committed };
    match connection.service.ask(tablet, request, connection.deadline(0)).await {
        Ok(Reply::Fetched { batches, ends, aborted }) => {
            FetchedPartition { records: batches.pieces, aborted, ..told(asked, ends) }
        }
        Ok(_) => FetchedPartition::refused(asked.index, ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(error) => FetchedPartition::refused(asked.index, code_of(&error)),
    }
}

async fn ends(connection: &Connection, tablet: TabletId, asked: &FetchPartition, committed: bool) -> FetchedPartition {
    match connection.service.ask(tablet, Request::Ends, connection.deadline(0)).await {
        Ok(Reply::Ends(ends)) => FetchedPartition { aborted: committed.then(Vec::new), ..told(asked, ends) },
        Ok(_) => FetchedPartition::refused(asked.index, ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(error) => FetchedPartition::refused(asked.index, code_of(&error)),
    }
}

/// Without records.
fn told(asked: &FetchPartition, ends: Ends) -> FetchedPartition {
    FetchedPartition {
        high_watermark: ends.end,
        last_stable_offset: ends.stable,
        log_start_offset: ends.start,
        ..FetchedPartition::refused(asked.index, ErrorCode::NONE)
    }
}

/// Until one of the partitions has more than it had, or it is time to answer.
async fn wait_for_more(
    connection: &Connection,
    wanted: &[Wanted],
    answered: &[(usize, FetchedPartition)],
    committed: bool,
    deadline: Instant,
) {
    let waits = wanted.iter().zip(answered).filter_map(|(wanted, (_, partition))| {
        let tablet = *wanted.tablet.as_ref().ok()?;
        let beyond = if committed { partition.last_stable_offset } else { partition.high_watermark };
        let service = connection.service.clone();
        Some(Box::pin(async move { drop(service.ask(tablet, Request::Wait { beyond, committed }, deadline).await) }))
    });
    // Too late means: look once more.
    let _ = connection.service.shard().timeout(deadline, any_of(waits.collect())).await;
}

fn response(names: Vec<(StrBytes, Uuid)>, answered: Vec<(usize, FetchedPartition)>) -> FetchResponse {
    let mut by_topic: BTreeMap<usize, Vec<FetchedPartition>> = BTreeMap::new();
    answered.into_iter().for_each(|(topic, partition)| by_topic.entry(topic).or_default().push(partition));
    let topics = names
        .into_iter()
        .enumerate()
        .map(|(at, (name, id))| FetchedTopic { name, id, partitions: by_topic.remove(&at).unwrap_or_default() })
        .collect();
    FetchResponse { topics, ..FetchResponse::default() }
}
