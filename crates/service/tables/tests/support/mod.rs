//! A node of one shard on a disk in memory, and clients that talk to it in bytes.

#![allow(dead_code)] // each test binary uses its part

pub mod shards;

use bytes::BytesMut;
use holon_base::Wall;
use holon_cql::{Compression, Request, RequestMessage, ResponseMessage, Version};
use holon_kernel::metric::MetricValue;
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{Flow, Outbox, Scope, Service, Session, SessionContext, Shard};
use holon_metadata::Metadata;
use holon_tables::service::{TablesConfig, TablesService};
use holon_tables::workload::client::Client;
use std::rc::Rc;
use std::time::Duration;

pub struct Node {
    pub test: TestShard,
    pub service: Rc<TablesService>,
    pub disk: MemoryDisk,
    pub config: TablesConfig,
    metadata: Rc<Metadata>,
    boot: u32,
}

impl Node {
    pub fn start(config: TablesConfig) -> Node {
        Node::start_on(MemoryDisk::new(), config, 1)
    }

    fn start_on(disk: MemoryDisk, config: TablesConfig, boot: u32) -> Node {
        Node::start_at(disk, config, boot, None)
    }

    /// `wall`: what the wall clock shows at the start; `None`: always the same.
    fn start_at(disk: MemoryDisk, config: TablesConfig, boot: u32, wall: Option<Wall>) -> Node {
        let test = TestShard::new(disk.clone());
        test.shard.advance(test.shard.now(), wall.unwrap_or(test.shard.wall()));
        let metadata = Metadata::alone(&test.shard, boot);
        let service = TablesService::new(test.shard.clone(), metadata.clone(), config.clone());
        test.shard.add_service(service.clone());
        let starting = metadata.clone();
        let started = test.block_on(async move { holon_metadata::start_shard(starting, Rc::new(|_| ())).await });
        started.expect("the node starts");
        Node { test, service, disk, config, metadata, boot }
    }

    /// Stops cleanly and starts again on the same disk.
    pub fn restart(self) -> Node {
        let stopping = self.metadata.clone();
        self.test.block_on(holon_metadata::stop_shard(stopping));
        Node::start_on(self.disk.clone(), self.config.clone(), self.boot + 1)
    }

    /// Starts again without having stopped.
    pub fn crash(self) -> Node {
        Node::start_on(self.disk.deep_copy(), self.config.clone(), self.boot + 1)
    }

    /// As [`Node::crash`], with a wall clock that shows something else.
    pub fn crash_at(self, wall: Wall) -> Node {
        Node::start_at(self.disk.deep_copy(), self.config.clone(), self.boot + 1, Some(wall))
    }

    /// A command of the cluster, as `holon cluster` sends it.
    pub fn cluster_command(&self, words: &[&str]) -> Result<String, String> {
        let words = words.iter().map(|word| word.to_string()).collect();
        self.test.block_on(self.metadata.clone().command(words, Rc::new(|_| ())))
    }

    pub fn metadata_status(&self) -> Vec<(String, String)> {
        self.metadata.status()
    }

    /// Of the metadata service.
    pub fn metric(&self, name: &str) -> f64 {
        let mut metrics = Vec::new();
        self.metadata.metrics(&mut metrics);
        match metrics.into_iter().find(|metric| metric.name == name).map(|metric| metric.value) {
            Some(MetricValue::Gauge(value)) => value,
            Some(MetricValue::Counter(count)) => count as f64,
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn command(&self, words: &[&str]) -> Result<String, String> {
        let words = words.iter().map(|word| word.to_string()).collect();
        self.test.block_on(self.service.clone().command(words, Rc::new(|_| ())))
    }

    pub fn connect(&self, version: Version, compression: Option<Compression>) -> Connected {
        Connected::open(&self.test.shard, &self.service, version, compression)
    }

    /// Lets the node work until it has nothing to do.
    pub fn settle(&self) {
        self.test.advance(Duration::from_millis(1));
    }
}

/// A client and its session.
pub struct Connected {
    id: u64,
    session: Box<dyn Session>,
    pub outbox: Rc<Outbox>,
    pub client: Client,
    input: BytesMut,
    pub flow: Flow,
}

impl Connected {
    pub fn open(
        shard: &Shard,
        service: &Rc<TablesService>,
        version: Version,
        compression: Option<Compression>,
    ) -> Connected {
        let outbox = Rc::new(Outbox::new());
        let id = shard.unique_id();
        let context = SessionContext { session: id, peer: None, local: None, outbox: outbox.clone() };
        let session = service.clone().open_session(context);
        let client = Client::new(version, compression);
        Connected { id, session, outbox, client, input: BytesMut::new(), flow: Flow::Continue }
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.flow = self.session.handle(&mut self.input);
    }

    /// After [`Flow::Pause`].
    pub fn resume(&mut self) {
        self.flow = self.session.handle(&mut self.input);
    }

    pub fn send(&mut self, request: Request) -> i16 {
        let (stream, bytes) = self.client.request(request).expect("this version can say it");
        self.send_bytes(&bytes);
        stream
    }

    pub fn send_message(&mut self, message: &RequestMessage) {
        let bytes = self.client.message(message).expect("this version can say it");
        self.send_bytes(&bytes);
    }

    pub fn received(&mut self) -> Vec<ResponseMessage> {
        let bytes = self.outbox.take();
        self.client.feed(&bytes).expect("the server speaks the protocol")
    }

    /// What came, or the bytes themselves if no client of this version could read them.
    pub fn received_or_bytes(&mut self) -> Result<Vec<ResponseMessage>, bytes::Bytes> {
        let bytes = self.outbox.take();
        self.client.feed(&bytes).map_err(|_| bytes)
    }

    pub fn is_closed(&self) -> bool {
        self.flow == Flow::Close || self.outbox.is_closing()
    }

    /// As a door does when the socket is gone.
    pub fn close(self, node: &Node) {
        drop(self.session);
        node.test.shard.cancel(Scope::Session(self.id));
    }
}
