//! The door of the log: connections of Kafka's protocol.
//!
//! ```text
//!   bytes ─▶ frame ─▶ Request ─▶ the connection's queue ─▶ one after the other ─▶ Response ─▶ bytes, in the order of the requests
//! ```
//!
//! Requests of one connection are begun and answered one after the other, as by Kafka: a producer that has several in flight relies on their
//! order. Only Produce requests wait side by side ([`produce`]).
//! It holds no data; which node has what, the topics and the map say. What a client can make it hold is bounded: requests that wait
//! ([`REQUESTS_MAX`]), then it stops reading ([`Flow::Pause`]).

mod acls;
mod admission;
mod cluster;
mod commits;
mod configs;
mod describing;
mod fetch;
mod group_admin;
pub(crate) mod groups;
mod incremental;
mod offsets;
mod partitions;
mod placing;
mod produce;
mod producers;
mod records;
mod resources;
pub(crate) mod sessions;
mod topics;
mod txn_admin;
mod txns;

use crate::service::{LOG_SERVICE, LogService};
use bytes::{Bytes, BytesMut};
use holon_base::{Instant, TabletId};
use holon_kafka::limits::REQUEST_BYTES_MAX;
use holon_kafka::{Api, ProduceRequest, Request, RequestHeader, Response, Served, StrBytes, frame};
use holon_kernel::{Class, Flow, LocalFuture, Outbox, Scope, Session, SessionContext, Target, Verb};
use holon_wal::Signal;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Requests of one connection that are under way, or wait for those before them.
const REQUESTS_MAX: usize = 16;

/// Answers that the client does not read, bytes.
const UNREAD_BYTES_MAX: usize = 8 << 20;

/// How long a request may take that names no time of its own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request about a group may take: members wait for one another.
const GROUP_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A request about a group, to the shard that has its coordinator.
pub(crate) const GROUP: Verb = Verb(Verb::SERVICE_FIRST);

/// A request about a transactional id, to the shard that has its coordinator.
pub(crate) const TRANSACTION: Verb = Verb(Verb::SERVICE_FIRST + 1);

/// The end of a transaction, to the shard that has the coordinator of groups whose offsets are in it.
pub(crate) const END_OFFSETS: Verb = Verb(Verb::SERVICE_FIRST + 2);

/// What this broker serves.
fn served() -> Served {
    [
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::FindCoordinator,
        Api::JoinGroup,
        Api::SyncGroup,
        Api::Heartbeat,
        Api::LeaveGroup,
        Api::OffsetCommit,
        Api::OffsetFetch,
        Api::OffsetDelete,
        Api::DescribeGroups,
        Api::ListGroups,
        Api::DeleteGroups,
        Api::DeleteRecords,
        Api::OffsetForLeaderEpoch,
        Api::AlterConfigs,
        Api::IncrementalAlterConfigs,
        Api::CreateTopics,
        Api::DeleteTopics,
        Api::CreatePartitions,
        Api::InitProducerId,
        Api::AddPartitionsToTxn,
        Api::AddOffsetsToTxn,
        Api::EndTxn,
        Api::TxnOffsetCommit,
        Api::DescribeTransactions,
        Api::DescribeConfigs,
        Api::DescribeCluster,
        Api::DescribeTopicPartitions,
        Api::DescribeLogDirs,
        Api::DescribeProducers,
        Api::ElectLeaders,
        Api::AlterPartitionReassignments,
        Api::ListPartitionReassignments,
        Api::ListConfigResources,
        Api::DescribeAcls,
        Api::CreateAcls,
        Api::DeleteAcls,
    ]
    .into_iter()
    .fold(Served::least(), Served::with)
    // Version 2 has a regular expression.
    .with_up_to(Api::ListTransactions, 1)
}

/// What is sent; `None`: nothing is; an error ends the connection.
type Pieces = Option<Result<Vec<Bytes>, String>>;

/// What requests need of their connection.
pub(crate) struct Connection {
    pub service: Rc<LogService>,
    /// Where the client reached this node.
    pub local: Option<SocketAddr>,
    id: u64,
    outbox: Rc<Outbox>,
    /// Where the client is.
    host: String,
    /// With the frame that each came in.
    waiting: RefCell<VecDeque<(RequestHeader, Request, Bytes)>>,
    is_working: Cell<bool>,
    /// Of requests that were begun, oldest first.
    answers: RefCell<VecDeque<LocalFuture<Pieces>>>,
    is_answering: Cell<bool>,
    answered: Signal,
}

pub struct KafkaSession {
    connection: Rc<Connection>,
    served: Served,
    is_closing: bool,
}

impl KafkaSession {
    pub fn new(service: Rc<LogService>, context: SessionContext) -> KafkaSession {
        let SessionContext { session: id, local, peer, outbox } = context;
        let host = peer.map_or_else(String::new, |peer| peer.ip().to_string());
        let connection = Rc::new(Connection {
            service,
            local,
            id,
            outbox,
            host,
            waiting: RefCell::default(),
            is_working: Cell::new(false),
            answers: RefCell::default(),
            is_answering: Cell::new(false),
            answered: Signal::new(),
        });
        connection.service.counts().opened();
        KafkaSession { connection, served: served(), is_closing: false }
    }

    /// Takes one request off the input. False: none is whole.
    fn step(&mut self, input: &mut BytesMut) -> bool {
        let read = match frame::take(input, REQUEST_BYTES_MAX) {
            Ok(None) => return false,
            Ok(Some(frame)) => match Request::read(&frame, &self.served) {
                Ok((header, request)) => Ok((header, request, frame)),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(request) => self.connection.clone().take(request),
            Err(reason) => {
                // As Kafka does it: nothing that could be answered.
                self.connection.service.refused_request(&reason);
                self.is_closing = true;
            }
        }
        true
    }
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        self.connection.service.counts().closed();
    }
}

impl Session for KafkaSession {
    fn handle(&mut self, input: &mut BytesMut) -> Flow {
        loop {
            if self.is_closing {
                return Flow::Close;
            }
            let connection = &self.connection;
            let unread = connection.outbox.pending_bytes();
            if connection.outbox.in_flight() >= REQUESTS_MAX || unread > UNREAD_BYTES_MAX {
                return Flow::Pause;
            }
            if !self.step(input) {
                return Flow::Continue;
            }
        }
    }
}

impl Connection {
    fn take(self: Rc<Self>, request: (RequestHeader, Request, Bytes)) {
        self.service.counts().received(request.0.api, request.2.len());
        self.outbox.request_started();
        self.waiting.borrow_mut().push_back(request);
        if !self.is_working.replace(true) {
            let service = self.service.clone();
            let scope = Scope::Session(self.id);
            service.shard().spawn(scope, Class::Foreground, async move { self.work().await });
        }
    }

    async fn work(self: Rc<Self>) {
        loop {
            let Some((header, request, frame)) = self.waiting.borrow_mut().pop_front() else {
                self.is_working.set(false);
                return;
            };
            if let Request::Produce(request) = request {
                self.clone().produce(header, request).await;
                continue;
            }
            self.service.wait_for_number().await;
            // What was begun before is answered first: what this one sees then has it.
            self.wait_for_answers().await;
            if let Request::AddOffsetsToTxn(request) = &request {
                // What is added is the partition that keeps the group; it may be the first that is heard of any.
                groups::tablet_of(&self, &request.group_id.0).await;
            }
            let coordinated = match (groups::group_of(&request), txns::id_of(&request)) {
                (Some(group), _) => Some((GROUP, groups::tablet_of(&self, group).await)),
                (_, Some(id)) => Some((TRANSACTION, txns::tablet_of(&self, id).await)),
                _ => None,
            };
            let pieces = match coordinated {
                Some((verb, tablet)) => Some(self.answer_coordinated(verb, tablet, &header, request, &frame).await),
                None => self.answer(&header, request).await.map(|answer| encoded(&self.service, answer, &header)),
            };
            self.finish(pieces);
        }
    }

    /// Those that only wait for the log of this shard wait side by side.
    async fn produce(self: Rc<Self>, header: RequestHeader, request: ProduceRequest) {
        let begun = produce::begin(&self, header.version, request);
        let keeps_order = begun.keeps_order();
        let service = self.service.clone();
        let answer = async move { begun.answer().await.map(|answer| encoded(&service, answer, &header)) };
        self.answers.borrow_mut().push_back(Box::pin(answer));
        if !self.is_answering.replace(true) {
            let (scope, me) = (Scope::Session(self.id), self.clone());
            self.service.shard().spawn(scope, Class::Foreground, async move { me.answer_in_order().await });
        }
        if !keeps_order {
            self.wait_for_answers().await;
        }
    }

    async fn answer_in_order(&self) {
        loop {
            let next = self.answers.borrow_mut().pop_front();
            let Some(answer) = next else {
                self.is_answering.set(false);
                self.answered.notify();
                return;
            };
            self.finish(answer.await);
        }
    }

    async fn wait_for_answers(&self) {
        while self.is_answering.get() {
            // Cancelled only when the session ends.
            if self.answered.wait(self.service.shard()).await.is_err() {
                return;
            }
        }
    }

    fn finish(&self, pieces: Pieces) {
        match pieces {
            Some(Ok(pieces)) => self.send(&pieces),
            Some(Err(reason)) => {
                self.service.refused_request(&reason);
                self.outbox.close();
            }
            None => {}
        }
        self.outbox.request_ended();
    }

    /// By the coordinator of the group or of the transactional id, on whatever shard of this node it is.
    async fn answer_coordinated(
        &self,
        verb: Verb,
        tablet: Option<TabletId>,
        header: &RequestHeader,
        request: Request,
        frame: &Bytes,
    ) -> Result<Vec<Bytes>, String> {
        let shard = self.service.shard();
        let tablet = tablet.filter(|tablet| self.is_leader(*tablet)).unwrap_or(TabletId(u64::MAX));
        let to = shard.locate(tablet);
        if to == shard.address() || tablet == TabletId(u64::MAX) {
            let answer = coordinated(&self.service, tablet, &self.host, header, request).await;
            return encoded(&self.service, answer, header);
        }
        let payload = groups::forwarded(&self.host, tablet, frame);
        let deadline = shard.now() + GROUP_TIMEOUT;
        match shard.call(to, Target::Service(LOG_SERVICE), verb, payload, deadline).await {
            Ok(answer) => Ok(vec![answer]),
            Err(error) => Err(format!("a coordinator does not answer to {}: {error}", header.api)),
        }
    }

    fn send(&self, pieces: &[Bytes]) {
        self.service.counts().sent(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| self.outbox.push(piece.clone()));
    }

    pub(crate) fn is_leader(&self, tablet: TabletId) -> bool {
        self.service.is_leader(tablet)
    }

    pub fn deadline(&self, timeout_ms: i32) -> Instant {
        let asked = u64::try_from(timeout_ms).ok().filter(|timeout_ms| *timeout_ms > 0).map(Duration::from_millis);
        self.service.shard().now() + asked.unwrap_or(REQUEST_TIMEOUT).min(REQUEST_TIMEOUT)
    }

    /// `None`: none is sent.
    async fn answer(&self, header: &RequestHeader, request: Request) -> Option<Response> {
        Some(match request {
            Request::ApiVersions(request) => Response::ApiVersions(cluster::api_versions(header.version, &request)),
            Request::UnsupportedApiVersions => Response::ApiVersions(served().answer_to_unsupported()),
            Request::Metadata(request) => Response::Metadata(topics::metadata(self, header.version, request).await),
            Request::Produce(request) => return produce::begin(self, header.version, request).answer().await,
            Request::Fetch(request) => Response::Fetch(fetch::fetch(self, header.version, request).await),
            Request::ListOffsets(request) => {
                Response::ListOffsets(offsets::list_offsets(self, header.version, request).await)
            }
            Request::FindCoordinator(request) => {
                Response::FindCoordinator(cluster::find_coordinator(self, header.version, &request).await)
            }
            Request::DescribeCluster(request) => Response::DescribeCluster(cluster::describe_cluster(self, &request)),
            Request::CreateTopics(request) => Response::CreateTopics(topics::create_topics(self, request).await),
            Request::DeleteTopics(request) => {
                Response::DeleteTopics(topics::delete_topics(self, header.version, request).await)
            }
            Request::CreatePartitions(request) => {
                Response::CreatePartitions(partitions::create_partitions(self, request).await)
            }
            Request::InitProducerId(_) => Response::InitProducerId(producers::init_producer_id(self).await),
            Request::AddPartitionsToTxn(request) => {
                Response::AddPartitionsToTxn(txn_admin::add_partitions(self, header.version, request).await)
            }
            Request::DescribeTransactions(request) => {
                Response::DescribeTransactions(txn_admin::describe_transactions(self, header.version, request).await)
            }
            Request::ListTransactions(request) => {
                Response::ListTransactions(txn_admin::list_transactions(self, header.version, request).await)
            }
            Request::DescribeGroups(request) => {
                Response::DescribeGroups(group_admin::describe_groups(self, header.version, request).await)
            }
            Request::ListGroups(request) => {
                Response::ListGroups(group_admin::list_groups(self, header.version, request).await)
            }
            Request::DeleteGroups(request) => {
                Response::DeleteGroups(group_admin::delete_groups(self, header.version, request).await)
            }
            Request::DeleteRecords(request) => Response::DeleteRecords(records::delete_records(self, request).await),
            Request::OffsetForLeaderEpoch(request) => {
                Response::OffsetForLeaderEpoch(records::offset_for_leader_epoch(self, request).await)
            }
            Request::AlterConfigs(request) => Response::AlterConfigs(configs::alter_configs(self, request).await),
            Request::IncrementalAlterConfigs(request) => {
                Response::IncrementalAlterConfigs(configs::incremental_alter_configs(self, request).await)
            }
            Request::DescribeConfigs(request) => Response::DescribeConfigs(configs::describe_configs(self, request)),
            Request::ListConfigResources(request) => {
                Response::ListConfigResources(resources::list(self, header.version, &request))
            }
            request => return self.answer_about_places(request).await,
        })
    }

    /// As [`Connection::answer`].
    async fn answer_about_places(&self, request: Request) -> Option<Response> {
        Some(match request {
            Request::DescribeTopicPartitions(request) => {
                Response::DescribeTopicPartitions(describing::describe_topic_partitions(self, request))
            }
            Request::DescribeLogDirs(request) => {
                Response::DescribeLogDirs(describing::describe_log_dirs(self, request).await)
            }
            Request::DescribeProducers(request) => {
                Response::DescribeProducers(describing::describe_producers(self, request).await)
            }
            Request::DescribeAcls(_) => Response::DescribeAcls(acls::describe()),
            Request::CreateAcls(request) => Response::CreateAcls(acls::create(&request)),
            Request::DeleteAcls(request) => Response::DeleteAcls(acls::delete(&request)),
            Request::ElectLeaders(request) => Response::ElectLeaders(placing::elect_leaders(self, request)),
            Request::AlterPartitionReassignments(request) => {
                Response::AlterPartitionReassignments(placing::alter_partition_reassignments(self, request))
            }
            Request::ListPartitionReassignments(_) => {
                Response::ListPartitionReassignments(placing::list_partition_reassignments())
            }
            _ => {
                // Not in `served`, so nobody gets here; if somebody does, it must not wait for an answer.
                self.service.refused_request("a request that is not served");
                self.outbox.close();
                return None;
            }
        })
    }
}

fn encoded(service: &LogService, answer: Response, header: &RequestHeader) -> Result<Vec<Bytes>, String> {
    service.counts().answered(&answer);
    answer.encode(header).map_err(|error| error.to_string())
}

/// By a coordinator of this shard.
async fn coordinated(
    service: &Rc<LogService>,
    tablet: TabletId,
    host: &str,
    header: &RequestHeader,
    request: Request,
) -> Response {
    if txns::is_answered(&request) {
        return txns::answer(service, tablet, header, request).await;
    }
    groups::answer(service, tablet, host, header, request).await
}

/// For what this shard coordinates: a request that came to another shard of the node, or a part of one.
pub(crate) async fn answer_forwarded(service: &Rc<LogService>, payload: Bytes) -> Option<Bytes> {
    let (host, tablet, frame) = groups::received(payload)?;
    let (header, request) = Request::read(&frame, &served()).ok()?;
    let answer = coordinated(service, tablet, &host, &header, request).await;
    let pieces = encoded(service, answer, &header).ok()?;
    Some(pieces.concat().into())
}

/// Text of ours as the protocol has it.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
