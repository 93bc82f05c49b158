//! What is asked about several groups, or all: cut up by coordinator, asked one by one, and put together again.

use super::{Connection, GROUP, GROUP_TIMEOUT, answer_forwarded, groups};
use crate::coordinating::{GROUPS_PARTITIONS, GROUPS_TOPIC, partition_of};
use crate::service::{LOG_SERVICE, LogService};
use bytes::Bytes;
use holon_base::TabletId;
use holon_kafka::client::{self, Request};
use holon_kafka::frame::LENGTH_BYTES;
use holon_kafka::messages::delete_groups_response::DeletableGroupResult;
use holon_kafka::messages::describe_groups_response::DescribedGroup;
use holon_kafka::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest,
    ListGroupsResponse,
};
use holon_kafka::{ErrorCode, StrBytes};
use holon_kernel::{LocalFuture, Target};
use std::rc::Rc;

impl Connection {
    /// The tablet that keeps a group; `None`: no group was ever made.
    fn groups_tablet(&self, partition: u32) -> Option<TabletId> {
        self.service.with_topics(|topics| topics.get(GROUPS_TOPIC)?.tablet(partition as i32))
    }
}

impl LogService {
    /// A coordinator of groups or transactional ids, on whatever node it is.
    pub(super) async fn ask_coordinator<R: Request>(
        self: &Rc<Self>,
        tablet: TabletId,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ErrorCode> {
        let to = self.place_of(tablet).ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
        let frame = client::request(request, version, 0, StrBytes::default());
        let frame = frame.map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?.slice(LENGTH_BYTES..);
        let payload = groups::forwarded("", tablet, &frame);
        let shard = self.shard();
        let answer = if to == shard.address() {
            // Boxed, because who coordinates a group asks who coordinates a transaction.
            let me = self.clone();
            let answered: LocalFuture<Option<Bytes>> = Box::pin(async move { answer_forwarded(&me, payload).await });
            answered.await.ok_or(ErrorCode::NOT_COORDINATOR)?
        } else {
            let deadline = shard.now() + GROUP_TIMEOUT;
            let called = shard.call(to, Target::Service(LOG_SERVICE), GROUP, payload, deadline).await;
            called.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?
        };
        let read = client::answer::<R>(answer.slice(LENGTH_BYTES.min(answer.len())..), version);
        read.map(|(_, answer)| answer).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)
    }
}

pub(super) async fn describe_groups(
    connection: &Connection,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut described = Vec::with_capacity(request.groups.len());
    let are_asked = request.include_authorized_operations;
    for group in request.groups {
        let one = DescribeGroupsRequest::default().with_groups(vec![group.clone()]);
        let one = one.with_include_authorized_operations(are_asked);
        let answer = match connection.groups_tablet(partition_of(&group.0)) {
            Some(tablet) => connection.service.ask_coordinator(tablet, version, &one).await,
            // As a coordinator says it of a group that is not there.
            None if version >= 6 => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::NONE),
        };
        let not_there = |error: ErrorCode| {
            DescribedGroup::default()
                .with_error_code(error.0)
                .with_group_id(group.clone())
                .with_group_state(StrBytes::from_static_str("Dead"))
                .with_authorized_operations(i32::MIN)
        };
        match answer {
            Ok(answer) => described.extend(answer.groups),
            Err(error) => described.push(not_there(error)),
        }
    }
    DescribeGroupsResponse::default().with_groups(described)
}

pub(super) async fn list_groups(
    connection: &Connection,
    version: i16,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let mut listed = Vec::new();
    for partition in 0..GROUPS_PARTITIONS {
        let Some(tablet) = connection.groups_tablet(partition) else { break };
        if !connection.is_leader(tablet) {
            continue; // each node lists what it coordinates, and clients ask all
        }
        match connection.service.ask_coordinator(tablet, version, &request).await {
            Ok(answer) if answer.error_code == 0 => listed.extend(answer.groups),
            Ok(answer) => return answer,
            Err(error) => return ListGroupsResponse::default().with_error_code(error.0),
        }
    }
    ListGroupsResponse::default().with_groups(listed)
}

pub(super) async fn delete_groups(
    connection: &Connection,
    version: i16,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let one = DeleteGroupsRequest::default().with_groups_names(vec![group.clone()]);
        let answer = match connection.groups_tablet(partition_of(&group.0)) {
            Some(tablet) => connection.service.ask_coordinator(tablet, version, &one).await,
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
        };
        match answer {
            Ok(answer) => results.extend(answer.results),
            Err(error) => {
                results.push(DeletableGroupResult::default().with_group_id(group).with_error_code(error.0));
            }
        }
    }
    DeleteGroupsResponse::default().with_results(results)
}
