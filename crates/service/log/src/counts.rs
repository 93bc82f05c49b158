//! What this shard's door did, counted: requests by API, errors by API and code, bytes, connections, and how long topics took.

use holon_base::GroupId;
use holon_kafka::{Api, ErrorCode, Response};
use holon_kernel::metric::Histogram;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

/// Topics whose times are kept: each takes a kilobyte. Those beyond have none.
const TOPICS_MAX: usize = 1000;

#[derive(Default)]
pub struct Counts {
    pub requests: RefCell<BTreeMap<Api, u64>>,
    pub errors: RefCell<BTreeMap<(Api, i16), u64>>,
    pub received_bytes: Cell<u64>,
    pub sent_bytes: Cell<u64>,
    pub connections: Cell<u64>,
    pub connections_opened: Cell<u64>,
    /// Partitions that fetches looked at.
    pub looks: Cell<u64>,
    topics: RefCell<BTreeMap<GroupId, Times>>,
}

/// How long Produce took of a topic, and reads of it that found something.
#[derive(Clone, Default)]
pub struct Times {
    pub reads: Histogram,
    pub writes: Histogram,
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get().wrapping_add(more));
}

impl Counts {
    pub fn opened(&self) {
        add(&self.connections, 1);
        add(&self.connections_opened, 1);
    }

    pub fn closed(&self) {
        self.connections.set(self.connections.get().saturating_sub(1));
    }

    pub fn received(&self, api: Api, bytes: usize) {
        *self.requests.borrow_mut().entry(api).or_default() += 1;
        add(&self.received_bytes, bytes as u64);
    }

    pub fn sent(&self, bytes: usize) {
        add(&self.sent_bytes, bytes as u64);
    }

    pub fn looked_at(&self, partitions: usize) {
        add(&self.looks, partitions as u64);
    }

    /// The errors that an answer tells of.
    pub fn answered(&self, response: &Response) {
        let api = response.api();
        let count = |code: i16| {
            if code != ErrorCode::NONE.0 {
                *self.errors.borrow_mut().entry((api, code)).or_default() += 1;
            }
        };
        match response {
            Response::Produce(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|partition| count(partition.error.0));
            }
            Response::Fetch(response) => {
                count(response.error.0);
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|partition| count(partition.error.0));
            }
            Response::ListOffsets(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|partition| count(partition.error_code));
            }
            Response::Metadata(response) => response.topics.iter().for_each(|topic| count(topic.error_code)),
            Response::CreateTopics(response) => response.topics.iter().for_each(|topic| count(topic.error_code)),
            Response::DeleteTopics(response) => response.responses.iter().for_each(|topic| count(topic.error_code)),
            Response::OffsetCommit(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.for_each(|partition| count(partition.error_code));
            }
            Response::OffsetFetch(response) => {
                count(response.error_code);
                response.groups.iter().for_each(|group| count(group.error_code));
            }
            Response::FindCoordinator(response) => {
                count(response.error_code);
                response.coordinators.iter().for_each(|coordinator| count(coordinator.error_code));
            }
            Response::JoinGroup(response) => count(response.error_code),
            Response::SyncGroup(response) => count(response.error_code),
            Response::Heartbeat(response) => count(response.error_code),
            Response::LeaveGroup(response) => count(response.error_code),
            Response::InitProducerId(response) => count(response.error_code),
            Response::ApiVersions(response) => count(response.error_code),
            Response::ListGroups(response) => count(response.error_code),
            Response::DescribeGroups(response) => response.groups.iter().for_each(|group| count(group.error_code)),
            Response::DeleteGroups(response) => response.results.iter().for_each(|group| count(group.error_code)),
            _ => {}
        }
    }

    pub fn wrote(&self, topic: GroupId, took: Duration) {
        self.time(topic, |times| times.writes.record(took));
    }

    pub fn read(&self, topic: GroupId, took: Duration) {
        self.time(topic, |times| times.reads.record(took));
    }

    fn time(&self, topic: GroupId, record: impl FnOnce(&mut Times)) {
        let mut topics = self.topics.borrow_mut();
        if topics.len() < TOPICS_MAX || topics.contains_key(&topic) {
            record(topics.entry(topic).or_default());
        }
    }

    pub fn times_of(&self, topic: GroupId) -> Times {
        self.topics.borrow().get(&topic).cloned().unwrap_or_default()
    }

    /// What is of no topic any more goes.
    pub fn keep_topics(&self, is_there: impl Fn(GroupId) -> bool) {
        self.topics.borrow_mut().retain(|topic, _| is_there(*topic));
    }
}
