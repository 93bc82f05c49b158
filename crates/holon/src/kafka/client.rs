//! Connections to the nodes of a cluster, and what all commands ask them.

use bytes::{Bytes, BytesMut};
use holon_kafka::client::{self, Request};
use holon_kafka::limits::RESPONSE_BYTES_MAX;
use holon_kafka::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use holon_kafka::messages::metadata_request::MetadataRequestTopic;
use holon_kafka::messages::metadata_response::MetadataResponseTopic;
use holon_kafka::messages::{
    ApiVersionsRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse, TopicName,
};
use holon_kafka::{ErrorCode, StrBytes, frame};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longer than any request here takes that does not wait for records.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a leader or a coordinator may be looked for.
const PATIENCE: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(200);

/// The versions that are asked in. All of them are of Kafka 2.4 or later, and of each broker since.
pub mod version {
    pub const METADATA: i16 = 9;
    pub const LIST_OFFSETS: i16 = 5;
    pub const FIND_COORDINATOR: i16 = 3;
    pub const PRODUCE: i16 = 8;
    pub const FETCH: i16 = 11;
    pub const CREATE_TOPICS: i16 = 5;
    pub const CREATE_PARTITIONS: i16 = 3;
    pub const DELETE_TOPICS: i16 = 4;
    pub const DESCRIBE_CONFIGS: i16 = 2;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 1;
    pub const OFFSET_COMMIT: i16 = 7;
    pub const OFFSET_FETCH: i16 = 6;
    pub const LIST_GROUPS: i16 = 4;
    pub const DESCRIBE_GROUPS: i16 = 5;
    pub const DELETE_GROUPS: i16 = 2;
}

pub fn said(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_string())
}

pub fn topic_name(text: &str) -> TopicName {
    TopicName(said(text))
}

/// `TOPIC_ALREADY_EXISTS`.
pub fn name_of(code: i16) -> String {
    ErrorCode(code).name().map_or_else(|| format!("error {code}"), str::to_string)
}

struct Connection {
    address: String,
    stream: TcpStream,
    versions: BTreeMap<i16, (i16, i16)>,
    input: BytesMut,
    asked: i32,
}

impl Connection {
    fn open(address: &str) -> Result<Connection, String> {
        let way_out = "start a node with `holon start`, or say where one is with --kafka-address";
        let found = address.to_socket_addrs().map_err(|error| format!("{address} is no address: {error}"))?;
        let mut last = format!("{address} is no address");
        for place in found {
            match TcpStream::connect_timeout(&place, CONNECT_TIMEOUT) {
                Ok(stream) => return Connection::begin(address, stream),
                Err(error) => last = format!("nobody answers at {address} ({error}): {way_out}"),
            }
        }
        Err(last)
    }

    fn begin(address: &str, stream: TcpStream) -> Result<Connection, String> {
        let failed = |error: std::io::Error| format!("{address}: {error}");
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
        let (versions, input) = (BTreeMap::new(), BytesMut::new());
        let mut connection = Connection { address: address.to_string(), stream, versions, input, asked: 0 };
        let answer = connection.exchange(&ApiVersionsRequest::default(), 0).map_err(|error| {
            format!("{error}: is that the door of Kafka's protocol? `holon config` shows where a node has it")
        })?;
        let rows = answer.api_keys.iter().map(|row| (row.api_key, (row.min_version, row.max_version)));
        connection.versions = rows.collect();
        Ok(connection)
    }

    fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, String> {
        let served = self.versions.get(&R::KEY).copied();
        if !served.is_some_and(|(from, to)| (from..=to).contains(&version)) {
            let api = holon_kafka::Api::from_key(R::KEY).map_or("the request", holon_kafka::Api::name);
            return Err(format!("{} does not serve {api} version {version}, which this command needs", self.address));
        }
        self.exchange(request, version)
    }

    fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, String> {
        self.asked += 1;
        let bytes = client::request(request, version, self.asked, said("holon")).map_err(|error| error.to_string())?;
        let gone = |error: std::io::Error| format!("{} went away: {error}", self.address);
        self.stream.write_all(&bytes).map_err(gone)?;
        let frame = self.frame()?;
        let read = client::answer::<R>(frame, version).map_err(|error| format!("{}: {error}", self.address))?;
        if read.0 != self.asked {
            return Err(format!("{} answers another question than it was asked", self.address));
        }
        Ok(read.1)
    }

    fn frame(&mut self) -> Result<Bytes, String> {
        let mut piece = vec![0; 64 << 10];
        loop {
            let taken = frame::take(&mut self.input, RESPONSE_BYTES_MAX);
            if let Some(frame) = taken.map_err(|error| format!("{}: {error}", self.address))? {
                return Ok(frame);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(format!("{} ended the connection; its log may say why", self.address)),
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) => return Err(format!("{} does not answer: {error}", self.address)),
            }
        }
    }
}

/// A cluster, by way of one of its nodes.
pub struct Cluster {
    first: Connection,
    addresses: BTreeMap<i32, String>,
    nodes: BTreeMap<i32, Connection>,
}

/// A topic's partitions and who leads them.
pub struct Leaders {
    pub partitions: BTreeMap<i32, i32>,
}

impl Leaders {
    /// Partitions by the node that leads them.
    pub fn by_node(&self) -> BTreeMap<i32, Vec<i32>> {
        let mut nodes: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        self.partitions.iter().for_each(|(partition, node)| nodes.entry(*node).or_default().push(*partition));
        nodes
    }
}

impl Cluster {
    pub fn connect(address: String) -> Result<Cluster, String> {
        let first = Connection::open(&address)?;
        Ok(Cluster { first, addresses: BTreeMap::new(), nodes: BTreeMap::new() })
    }

    /// Any node will do.
    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response, String> {
        self.first.ask(request, version)
    }

    pub fn ask_node<R: Request>(&mut self, node: i32, request: &R, version: i16) -> Result<R::Response, String> {
        let connection = match self.nodes.entry(node) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let address = self.addresses.get(&node).ok_or_else(|| format!("nobody knows where node {node} is"))?;
                entry.insert(Connection::open(address)?)
            }
        };
        connection.ask(request, version)
    }

    /// Of some topics, or of all; who is in the cluster is known from then on.
    pub fn metadata(&mut self, topics: Option<&[&str]>) -> Result<MetadataResponse, String> {
        let one = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let wanted = topics.map(|topics| topics.iter().map(one).collect());
        let request = MetadataRequest::default().with_topics(wanted).with_allow_auto_topic_creation(false);
        let answer = self.ask(&request, version::METADATA)?;
        for broker in &answer.brokers {
            self.addresses.insert(broker.node_id.0, format!("{}:{}", &*broker.host, broker.port));
        }
        Ok(answer)
    }

    pub fn nodes(&mut self) -> Result<Vec<i32>, String> {
        let answer = self.metadata(Some(&[]))?;
        Ok(answer.brokers.iter().map(|broker| broker.node_id.0).collect())
    }

    pub fn topic(&mut self, name: &str) -> Result<MetadataResponseTopic, String> {
        let found = self.metadata(Some(&[name]))?.topics.into_iter().next();
        let topic = found.ok_or_else(|| no_topic(name))?;
        match ErrorCode(topic.error_code) {
            ErrorCode::NONE => Ok(topic),
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => Err(no_topic(name)),
            ErrorCode::INVALID_TOPIC_EXCEPTION => Err(format!("{name:?} is not a name that a topic may have")),
            error => Err(format!("topic {name}: {}", name_of(error.0))),
        }
    }

    /// Waits a while if some partition has none.
    pub fn leaders(&mut self, name: &str) -> Result<Leaders, String> {
        let began = Instant::now();
        loop {
            let topic = self.topic(name)?;
            let leads = |partition: &holon_kafka::messages::metadata_response::MetadataResponsePartition| {
                (partition.partition_index, partition.leader_id.0)
            };
            let partitions: BTreeMap<i32, i32> = topic.partitions.iter().map(leads).collect();
            if partitions.values().all(|node| self.addresses.contains_key(node)) {
                return Ok(Leaders { partitions });
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("topic {name} has partitions whose node is down: `holon status` shows which"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Offsets of partitions at a time: -2 the first, -1 the next, else of the first record that is
    /// not older; -1 if there is none.
    pub fn offsets_at(&mut self, name: &str, leaders: &Leaders, time: i64) -> Result<BTreeMap<i32, i64>, String> {
        let mut found = BTreeMap::new();
        for (node, partitions) in leaders.by_node() {
            let one = |index: &i32| {
                ListOffsetsPartition::default()
                    .with_partition_index(*index)
                    .with_timestamp(time)
                    .with_current_leader_epoch(-1)
            };
            let wanted = ListOffsetsTopic::default().with_name(topic_name(name));
            let wanted = wanted.with_partitions(partitions.iter().map(one).collect());
            let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![wanted]);
            let answer = self.ask_node(node, &request, version::LIST_OFFSETS)?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                if partition.error_code != 0 {
                    let (index, error) = (partition.partition_index, name_of(partition.error_code));
                    return Err(format!("partition {index} of topic {name}: {error}"));
                }
                found.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(found)
    }

    /// The node that coordinates a group.
    pub fn coordinator(&mut self, group: &str) -> Result<i32, String> {
        let began = Instant::now();
        let request = FindCoordinatorRequest::default().with_key(said(group)).with_key_type(0);
        loop {
            let answer = self.ask(&request, version::FIND_COORDINATOR)?;
            match ErrorCode(answer.error_code) {
                ErrorCode::NONE => {
                    let address = format!("{}:{}", &*answer.host, answer.port);
                    self.addresses.insert(answer.node_id.0, address);
                    return Ok(answer.node_id.0);
                }
                error if error.is_retriable() && began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
                error => return Err(format!("who coordinates group {group} is not known: {}", name_of(error.0))),
            }
        }
    }
}

fn no_topic(name: &str) -> String {
    format!("there is no topic {name}: `holon topic create {name}` makes it, `holon topic list` shows those there are")
}
