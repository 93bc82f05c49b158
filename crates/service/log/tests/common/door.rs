//! A node with a door, and a client that talks to it in bytes.

use super::testing;
use bytes::{Bytes, BytesMut};
use holon_kafka::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use holon_kafka::messages::fetch_request::{FetchPartition, FetchTopic};
use holon_kafka::messages::metadata_request::MetadataRequestTopic;
use holon_kafka::messages::produce_request::{PartitionProduceData, TopicProduceData};
use holon_kafka::messages::{
    ApiVersionsRequest, CreateTopicsRequest, FetchRequest, GroupId, MetadataRequest, ProduceRequest, TopicName,
};
use holon_kafka::{ErrorCode, StrBytes, Uuid, client, frame};
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{Flow, Outbox, Service, Session, SessionContext};
use holon_log::service::{LogConfig, LogService};
use holon_metadata::Metadata;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub struct Node {
    pub test: TestShard,
    pub service: Rc<LogService>,
    disk: MemoryDisk,
    boot: u32,
}

impl Node {
    pub fn start() -> Node {
        Node::start_on(MemoryDisk::new(), 1)
    }

    pub fn start_on(disk: MemoryDisk, boot: u32) -> Node {
        Node::start_with(disk, boot, LogConfig::default())
    }

    pub fn start_with(disk: MemoryDisk, boot: u32, config: LogConfig) -> Node {
        let config = LogConfig { wal_segment_bytes: 4 << 20, ..config };
        Node::start_shard(TestShard::new(disk.clone()), disk, boot, config)
    }

    pub fn start_shard(test: TestShard, disk: MemoryDisk, boot: u32, config: LogConfig) -> Node {
        let metadata = Metadata::alone(&test.shard, boot);
        let service = LogService::new(test.shard.clone(), metadata.clone(), config);
        test.shard.add_service(service.clone());
        let started = test.block_on(async move { holon_metadata::start_shard(metadata, Rc::new(|_| ())).await });
        started.expect("the node starts");
        Node { test, service, disk, boot }
    }

    /// Another process on the same disk; this one ended at once.
    pub fn crash(self) -> Node {
        Node::start_on(self.disk.deep_copy(), self.boot + 1)
    }

    pub fn crash_with(self, config: LogConfig) -> Node {
        let disk = self.disk.deep_copy();
        Node::start_shard(TestShard::new(disk.clone()), disk, self.boot + 1, config)
    }

    pub fn connect(&self) -> Client<'_> {
        let outbox = Rc::new(Outbox::new());
        let address = "127.0.0.1:9092".parse().ok();
        let session = self.test.shard.unique_id();
        let context = SessionContext { session, peer: address, local: address, outbox: outbox.clone() };
        let session = self.service.clone().open_session(context);
        Client { node: self, session, outbox, input: BytesMut::new(), received: BytesMut::new(), asked: 0 }
    }
}

pub struct Client<'a> {
    node: &'a Node,
    session: Box<dyn Session>,
    pub outbox: Rc<Outbox>,
    input: BytesMut,
    received: BytesMut,
    asked: i32,
}

impl Client<'_> {
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Flow {
        self.input.extend_from_slice(bytes);
        self.session.handle(&mut self.input)
    }

    pub fn send<R: holon_kafka::client::Request>(&mut self, request: &R, version: i16) -> i32 {
        self.asked += 1;
        let frame = client::request(request, version, self.asked, "test".into());
        let flow = self.send_bytes(&frame.expect("this version can say it"));
        assert_eq!(flow, Flow::Continue);
        self.asked
    }

    /// The next answer, which may take a while of the node's time.
    pub fn frame(&mut self) -> Option<Bytes> {
        for _ in 0..400 {
            self.received.extend_from_slice(&self.outbox.take());
            if let Some(frame) = frame::take(&mut self.received, 1 << 30).expect("frames") {
                return Some(frame);
            }
            if self.outbox.is_closing() {
                return None;
            }
            self.node.test.advance(Duration::from_millis(50));
        }
        None
    }

    pub fn wait(&self, duration: Duration) {
        self.node.test.advance(duration);
    }

    pub fn ask<R: holon_kafka::client::Request>(&mut self, request: &R, version: i16) -> R::Response {
        let asked = self.send(request, version);
        let status = || self.node.service.status();
        let frame = self.frame().unwrap_or_else(|| panic!("version {version}: no answer; {:?}", status()));
        let (correlation, answer) = client::answer::<R>(frame, version).expect("an answer of that version");
        assert_eq!(correlation, asked);
        answer
    }

    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> i16 {
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default().with_name(said(name)).with_value(Some(said(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let answer = self.ask(&CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000), 7);
        answer.topics[0].error_code
    }

    /// The base offset, or the error.
    pub fn produce(&mut self, name: &str, index: i32, records: Bytes) -> Result<i64, ErrorCode> {
        let answer = self.ask(&produce(name, Uuid::nil(), index, records), 9);
        let partition = &answer.responses[0].partition_responses[0];
        if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(ErrorCode(partition.error_code)) }
    }
}

pub fn said(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub fn topic(name: &str) -> TopicName {
    TopicName(said(name))
}

pub fn group(name: &str) -> GroupId {
    GroupId(said(name))
}

pub fn batch(count: u8) -> Bytes {
    testing::batch(testing::NOBODY, count, b"value", 1_700_000_000_000)
}

pub fn produce(name: &str, id: Uuid, index: i32, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(index).with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic(name)).with_topic_id(id).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data])
}

pub fn fetch(name: &str, id: Uuid, index: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(index)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let wanted = FetchTopic::default().with_topic(topic(name)).with_topic_id(id).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(10 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![wanted])
}

pub fn id_of(client: &mut Client, name: &str) -> Uuid {
    let wanted = vec![MetadataRequestTopic::default().with_name(Some(topic(name)))];
    let answer = client.ask(&MetadataRequest::default().with_topics(Some(wanted)), 12);
    assert_eq!(answer.topics[0].error_code, 0);
    answer.topics[0].topic_id
}

/// From and to, of those that ApiVersions tells of.
pub fn versions(client: &mut Client) -> BTreeMap<i16, (i16, i16)> {
    let answer = client.ask(&ApiVersionsRequest::default(), 0);
    answer.api_keys.iter().map(|row| (row.api_key, (row.min_version, row.max_version))).collect()
}
