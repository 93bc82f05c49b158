//! Groups whose partition is written anew again and again, and processes that end at each moment of it.

mod common;

use common::door::*;
use holon_base::TabletId;
use holon_kafka::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use holon_kafka::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use holon_kafka::messages::{DeleteGroupsRequest, OffsetCommitRequest, OffsetFetchRequest};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{Disk, DiskOperation, DiskResult, OperationId};
use holon_log::service::LogConfig;
use std::cell::RefCell;
use std::rc::Rc;

const SNAPSHOT_BYTES: usize = 2 << 10;

/// Groups that share a coordinator.
const GROUPS: [&str; 3] = ["g4", "g8", "g13"];

/// And one that is deleted.
const DELETED: &str = "g44";

type Moment = (MemoryDisk, Vec<i64>, Vec<i64>, bool);

/// What has been acknowledged to clients, what was sent, and what the disk had, at each operation of the disk.
#[derive(Default)]
struct History {
    acknowledged: Vec<i64>,
    sent: Vec<i64>,
    is_deleted: bool,
    is_told: bool,
    moments: Vec<Moment>,
}

struct Watched {
    disk: MemoryDisk,
    history: Rc<RefCell<History>>,
}

impl Disk for Watched {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let mut history = self.history.borrow_mut();
        if history.is_told {
            let moment =
                (self.disk.deep_copy(), history.acknowledged.clone(), history.sent.clone(), history.is_deleted);
            history.moments.push(moment);
        }
        drop(history);
        self.disk.submit(id, operation)
    }
}

fn config() -> LogConfig {
    LogConfig { wal_segment_bytes: 64 << 10, group_snapshot_bytes: SNAPSHOT_BYTES, ..LogConfig::default() }
}

fn start(disk: &MemoryDisk, boot: u32) -> Node {
    Node::start_shard(TestShard::new(disk.clone()), disk.clone(), boot, config())
}

fn commit(name: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(said(&"m".repeat(100))));
    let wanted = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![wanted])
}

fn fetched(client: &mut Client, name: &str) -> i64 {
    let wanted = OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes(vec![0]);
    let asked = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![wanted]));
    let answer = client.ask(&OffsetFetchRequest::default().with_groups(vec![asked]), 8);
    assert_eq!(answer.groups[0].error_code, 0);
    answer.groups[0].topics[0].partitions[0].committed_offset
}

/// The partition that has these groups: the only one with records.
fn partition(node: &Node) -> (TabletId, i64, i64) {
    let tablets = node.service.with_topics(|topics| {
        let groups = topics.get("__holon_groups").expect("made").clone();
        (0..16).filter_map(|index| groups.tablet(index)).collect::<Vec<_>>()
    });
    let store = node.service.store().expect("open");
    let used: Vec<(TabletId, i64, i64)> = tablets
        .into_iter()
        .map(|tablet| (tablet, store.ends(tablet).expect("here")))
        .filter(|(_, (_, end))| *end > 0)
        .map(|(tablet, (start, end))| (tablet, start, end))
        .collect();
    assert_eq!(used.len(), 1, "the groups share a coordinator");
    used[0]
}

#[test]
fn what_was_committed_is_there_after_a_crash_at_any_moment_and_the_partition_stays_small() {
    let history = Rc::new(RefCell::new(History { acknowledged: vec![-1; 3], sent: vec![-1; 3], ..History::default() }));
    let disk = MemoryDisk::new();
    let watched = Watched { disk: disk.clone(), history: history.clone() };
    let node = Node::start_shard(TestShard::with_disk(Box::new(watched)), disk, 1, config());
    let mut client = node.connect();
    assert_eq!(client.create("t", 1, &[]), 0);
    assert_eq!(client.ask(&commit(DELETED, 7), 8).topics[0].partitions[0].error_code, 0);
    for round in 0..60i64 {
        // The first snapshots, and then one of a coordinator that has had many.
        history.borrow_mut().is_told = !(14..55).contains(&round);
        let mut asked = Vec::new();
        for (at, name) in GROUPS.iter().enumerate() {
            history.borrow_mut().sent[at] = round;
            asked.push(client.send(&commit(name, round), 8));
        }
        for (at, asked) in asked.into_iter().enumerate() {
            let frame = client.frame().expect("an answer");
            let (correlation, answer) =
                holon_kafka::client::answer::<OffsetCommitRequest>(frame, 8).expect("an answer of that version");
            assert_eq!((correlation, answer.topics[0].partitions[0].error_code), (asked, 0));
            history.borrow_mut().acknowledged[at] = round;
        }
        if round == 5 {
            let request = DeleteGroupsRequest::default().with_groups_names(vec![group(DELETED)]);
            assert_eq!(client.ask(&request, 2).results[0].error_code, 0);
            history.borrow_mut().is_deleted = true;
        }
    }
    history.borrow_mut().is_told = false;
    let moments = std::mem::take(&mut history.borrow_mut().moments);
    assert!(moments.len() > 60, "{} moments", moments.len());
    let mut starts = std::collections::BTreeSet::new();
    for (disk, acknowledged, sent, is_deleted) in moments {
        let node = start(&disk, 2);
        let mut client = node.connect();
        for (at, name) in GROUPS.iter().enumerate() {
            let found = fetched(&mut client, name);
            assert!((acknowledged[at]..=sent[at]).contains(&found), "{name}: {found}, {acknowledged:?}, {sent:?}");
        }
        let found = fetched(&mut client, DELETED);
        assert!(found == -1 || !is_deleted && found == 7, "{found}");
        starts.insert(partition(&node).1);
    }
    assert!(starts.len() > 3, "crashes before and after several snapshots: {starts:?}");
    // All that is left is read at a start: less than two snapshots' worth and what is between them.
    let node = node.crash_with(config());
    let mut client = node.connect();
    GROUPS.iter().for_each(|name| assert_eq!(fetched(&mut client, name), 59));
    assert_eq!(fetched(&mut client, DELETED), -1);
    let (tablet, begin, end) = partition(&node);
    assert!(begin > 100 && end - begin < 40, "{begin} to {end}");
    let store = node.service.store().expect("open");
    let read = node.test.block_on(async move { store.read(tablet, begin, i64::MAX, 1 << 20).await });
    let bytes: usize = read.expect("read").pieces.iter().map(bytes::Bytes::len).sum();
    assert!(bytes < 4 * SNAPSHOT_BYTES, "{bytes} bytes");
}
