//! Fetch: by name and by id, waiting for new records. Full here; what a session goes on with is in [`super::incremental`].

use super::Connection;
use super::incremental::incremental;
use super::produce::code_of;
use super::sessions::Full;
use crate::calls::{Ends, Reply, Request};
use crate::topics::Topic;
use holon_base::{Instant, TabletId};
use holon_kafka::fetch::{FetchPartition, FetchedPartition, FetchedTopic, READ_COMMITTED};
use holon_kafka::{ErrorCode, FetchRequest, FetchResponse, StrBytes, Uuid};
use holon_kernel::any_of;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// What one answer has at most, bytes, whatever is asked for (and one batch at least).
const ANSWER_BYTES_MAX: usize = 50 << 20;

/// The session epochs of full fetches: one that makes a session, and one that wants none.
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// Since then topics go by their id.
const TOPIC_IDS_FROM: i16 = 13;

/// A partition that is asked for, and where it is.
pub(super) struct Wanted {
    pub topic: usize,
    pub asked: FetchPartition,
    pub tablet: Result<TabletId, ErrorCode>,
}

/// How long an answer may take, and how much there is to be in it.
pub(super) struct Bounds {
    pub deadline: Instant,
    pub most: usize,
    pub least: usize,
    /// Only what no open transaction has written, or an aborted one.
    pub committed: bool,
}

impl Bounds {
    fn of(connection: &Connection, request: &FetchRequest) -> Bounds {
        let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
        Bounds {
            deadline: connection.service.shard().now() + wait,
            most: usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX),
            least: usize::try_from(request.min_bytes).unwrap_or(0),
            committed: request.isolation_level == READ_COMMITTED,
        }
    }
}

pub(super) async fn fetch(connection: &Connection, version: i16, request: FetchRequest) -> FetchResponse {
    let bounds = Bounds::of(connection, &request);
    let uses_ids = version >= TOPIC_IDS_FROM;
    match request.session_epoch {
        INITIAL_EPOCH | FINAL_EPOCH => {
            if request.session_id != 0 {
                connection.service.end_session(request.session_id);
            }
            let makes_session = request.session_epoch == INITIAL_EPOCH;
            full(connection, request, &bounds, makes_session.then_some(uses_ids)).await
        }
        _ => match incremental(connection, request, &bounds, uses_ids).await {
            Ok(response) => response,
            Err(request) => full(connection, request, &bounds, None).await,
        },
    }
}

/// Of all that it names. A session is made of it, if it says whether topics go by their ids there.
async fn full(connection: &Connection, request: FetchRequest, bounds: &Bounds, session: Option<bool>) -> FetchResponse {
    let topics_version = connection.service.topics_version();
    let mut names: Vec<(StrBytes, Uuid)> = Vec::new();
    let mut wanted = Vec::new();
    for topic in request.topics {
        let found = connection.topic(&topic.name, topic.id);
        for asked in topic.partitions {
            let tablet = connection.fetchable(&found, asked.index);
            wanted.push(Wanted { topic: names.len(), asked, tablet });
        }
        names.push((topic.name, topic.id));
    }
    let answered = loop {
        let (answered, bytes) = look(connection, &wanted, bounds).await;
        let is_enough =
            bytes >= bounds.least || answered.iter().any(|(_, partition)| partition.error != ErrorCode::NONE);
        if is_enough || connection.service.shard().now() >= bounds.deadline || wanted.is_empty() {
            break answered;
        }
        wait_for_more(connection, &wanted, &answered, bounds).await;
    };
    let session_id = session.and_then(|uses_ids| {
        let shard = connection.service.shard();
        let (now, random) = (shard.now(), shard.random_u64());
        let (wanted, names, answered) = (wanted.as_slice(), names.as_slice(), answered.as_slice());
        connection.service.make_session(&Full { now, random, uses_ids, topics_version, wanted, names, answered })
    });
    FetchResponse { session_id: session_id.unwrap_or(0), ..response(names, answered) }
}

impl Connection {
    /// Where a partition is that may be fetched here.
    pub(super) fn fetchable(&self, topic: &Result<Rc<Topic>, ErrorCode>, index: i32) -> Result<TabletId, ErrorCode> {
        let topic = topic.as_ref().map_err(|error| *error)?;
        let tablet = topic.tablet(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if self.is_leader(tablet) { Ok(tablet) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }
}

/// What there is, and how many bytes there are: of what does not fit, too.
pub(super) async fn look(
    connection: &Connection,
    wanted: &[Wanted],
    bounds: &Bounds,
) -> (Vec<(usize, FetchedPartition)>, usize) {
    connection.service.counts().looked_at(wanted.len());
    let committed = bounds.committed;
    let (mut answered, mut bytes, mut there_are) = (Vec::with_capacity(wanted.len()), 0, 0);
    for Wanted { topic, asked, tablet } in wanted {
        let left = bounds.most.saturating_sub(bytes);
        let partition_most = usize::try_from(asked.max_bytes).unwrap_or(0).min(left);
        let mut partition = match tablet {
            // The first batch comes whatever its size, so that a reader gets on; after that there has to be room for it.
            Ok(tablet) if bytes == 0 || left > 0 => read(connection, *tablet, asked, partition_most, committed).await,
            Ok(tablet) => ends(connection, *tablet, asked, committed).await,
            Err(error) => FetchedPartition::refused(asked.index, *error),
        };
        let read_bytes = partition.records.iter().map(|piece| piece.len()).sum::<usize>();
        if bytes > 0 && read_bytes > partition_most {
            partition.records.clear();
            partition.aborted.iter_mut().for_each(Vec::clear);
        } else {
            bytes += read_bytes;
        }
        there_are += read_bytes;
        answered.push((*topic, partition));
    }
    (answered, there_are)
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
    let began = connection.service.shard().now();
    let asked_for = connection.service.ask(tablet, request, connection.deadline(0)).await;
    if let Ok(Reply::Fetched { batches, .. }) = &asked_for
        && batches.bytes > 0
    {
        let topic = connection.service.with_topics(|topics| topics.of_group(tablet.group()).map(|topic| topic.group));
        let took = connection.service.shard().now().since(began);
        topic.into_iter().for_each(|topic| connection.service.counts().read(topic, took));
    }
    match asked_for {
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
    bounds: &Bounds,
) {
    let Bounds { deadline, committed, .. } = *bounds;
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
