//! The table of APIs: what a broker could serve, and what this one does.
//!
//! One row an API, from which its number, versions and encoding come, what ApiVersions answers, and the variants of `Request` and
//! `Response`. Which of them a broker serves, the service says ([`Served`]): a row here is a message that can be read and answered.
//!
//! Requests that only Kafka's own brokers and controllers send each other are no rows, nor those of delegation tokens, of replicas in
//! log directories and of Kafka's own features. Versions are those that Kafka 4.1 serves, without those that it calls unstable
//! (OffsetCommit 10, OffsetFetch 10, InitProducerId 6); ListOffsets has version 11, which Kafka 4.2 added: the fields of version 10,
//! and one more special timestamp (-6, KIP-1023).

use crate::errors::ErrorCode;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use std::fmt;

/// "From version" of an API that has no flexible version.
pub(crate) const NEVER: i16 = i16::MAX;

/// The rows: name, number, first and last version that is read, first flexible version. Produce and Fetch carry records and are read by
/// our own code; the others have a shape, and the types of `kafka-protocol`.
#[rustfmt::skip]
macro_rules! with_apis { ($then:ident) => { $then! {
    own {
        Produce(0, 3, 13, 9);
        Fetch(1, 4, 18, 12);
    }
    generated {
        ListOffsets(2, 1, 11, 6, LIST_OFFSETS, ListOffsetsRequest);
        Metadata(3, 0, 13, 9, METADATA, MetadataRequest);
        OffsetCommit(8, 2, 9, 8, OFFSET_COMMIT, OffsetCommitRequest);
        OffsetFetch(9, 1, 9, 6, OFFSET_FETCH, OffsetFetchRequest);
        FindCoordinator(10, 0, 6, 3, FIND_COORDINATOR, FindCoordinatorRequest);
        JoinGroup(11, 0, 9, 6, JOIN_GROUP, JoinGroupRequest);
        Heartbeat(12, 0, 4, 4, HEARTBEAT, HeartbeatRequest);
        LeaveGroup(13, 0, 5, 4, LEAVE_GROUP, LeaveGroupRequest);
        SyncGroup(14, 0, 5, 4, SYNC_GROUP, SyncGroupRequest);
        DescribeGroups(15, 0, 6, 5, DESCRIBE_GROUPS, DescribeGroupsRequest);
        ListGroups(16, 0, 5, 3, LIST_GROUPS, ListGroupsRequest);
        SaslHandshake(17, 0, 1, NEVER, SASL_HANDSHAKE, SaslHandshakeRequest);
        ApiVersions(18, 0, 4, 3, API_VERSIONS, ApiVersionsRequest);
        CreateTopics(19, 2, 7, 5, CREATE_TOPICS, CreateTopicsRequest);
        DeleteTopics(20, 1, 6, 4, DELETE_TOPICS, DeleteTopicsRequest);
        DeleteRecords(21, 0, 2, 2, DELETE_RECORDS, DeleteRecordsRequest);
        InitProducerId(22, 0, 5, 2, INIT_PRODUCER_ID, InitProducerIdRequest);
        OffsetForLeaderEpoch(23, 2, 4, 4, OFFSET_FOR_LEADER_EPOCH, OffsetForLeaderEpochRequest);
        AddPartitionsToTxn(24, 0, 5, 3, ADD_PARTITIONS_TO_TXN, AddPartitionsToTxnRequest);
        AddOffsetsToTxn(25, 0, 4, 3, ADD_OFFSETS_TO_TXN, AddOffsetsToTxnRequest);
        EndTxn(26, 0, 5, 3, END_TXN, EndTxnRequest);
        TxnOffsetCommit(28, 0, 5, 3, TXN_OFFSET_COMMIT, TxnOffsetCommitRequest);
        DescribeAcls(29, 1, 3, 2, DESCRIBE_ACLS, DescribeAclsRequest);
        CreateAcls(30, 1, 3, 2, CREATE_ACLS, CreateAclsRequest);
        DeleteAcls(31, 1, 3, 2, DELETE_ACLS, DeleteAclsRequest);
        DescribeConfigs(32, 1, 4, 4, DESCRIBE_CONFIGS, DescribeConfigsRequest);
        AlterConfigs(33, 0, 2, 2, ALTER_CONFIGS, AlterConfigsRequest);
        DescribeLogDirs(35, 1, 4, 2, DESCRIBE_LOG_DIRS, DescribeLogDirsRequest);
        SaslAuthenticate(36, 0, 2, 2, SASL_AUTHENTICATE, SaslAuthenticateRequest);
        CreatePartitions(37, 0, 3, 2, CREATE_PARTITIONS, CreatePartitionsRequest);
        DeleteGroups(42, 0, 2, 2, DELETE_GROUPS, DeleteGroupsRequest);
        ElectLeaders(43, 0, 2, 2, ELECT_LEADERS, ElectLeadersRequest);
        IncrementalAlterConfigs(44, 0, 1, 1, INCREMENTAL_ALTER_CONFIGS, IncrementalAlterConfigsRequest);
        AlterPartitionReassignments(45, 0, 1, 0, ALTER_PARTITION_REASSIGNMENTS, AlterPartitionReassignmentsRequest);
        ListPartitionReassignments(46, 0, 0, 0, LIST_PARTITION_REASSIGNMENTS, ListPartitionReassignmentsRequest);
        OffsetDelete(47, 0, 0, NEVER, OFFSET_DELETE, OffsetDeleteRequest);
        DescribeClientQuotas(48, 0, 1, 1, DESCRIBE_CLIENT_QUOTAS, DescribeClientQuotasRequest);
        AlterClientQuotas(49, 0, 1, 1, ALTER_CLIENT_QUOTAS, AlterClientQuotasRequest);
        DescribeUserScramCredentials(50, 0, 0, 0, DESCRIBE_USER_SCRAM_CREDENTIALS, DescribeUserScramCredentialsRequest);
        AlterUserScramCredentials(51, 0, 0, 0, ALTER_USER_SCRAM_CREDENTIALS, AlterUserScramCredentialsRequest);
        DescribeCluster(60, 0, 2, 0, DESCRIBE_CLUSTER, DescribeClusterRequest);
        DescribeProducers(61, 0, 0, 0, DESCRIBE_PRODUCERS, DescribeProducersRequest);
        DescribeTransactions(65, 0, 0, 0, DESCRIBE_TRANSACTIONS, DescribeTransactionsRequest);
        ListTransactions(66, 0, 2, 0, LIST_TRANSACTIONS, ListTransactionsRequest);
        ConsumerGroupHeartbeat(68, 0, 1, 0, CONSUMER_GROUP_HEARTBEAT, ConsumerGroupHeartbeatRequest);
        ConsumerGroupDescribe(69, 0, 1, 0, CONSUMER_GROUP_DESCRIBE, ConsumerGroupDescribeRequest);
        GetTelemetrySubscriptions(71, 0, 0, 0, GET_TELEMETRY_SUBSCRIPTIONS, GetTelemetrySubscriptionsRequest);
        PushTelemetry(72, 0, 0, 0, PUSH_TELEMETRY, PushTelemetryRequest);
        ListConfigResources(74, 0, 1, 0, LIST_CONFIG_RESOURCES, ListConfigResourcesRequest);
        DescribeTopicPartitions(75, 0, 0, 0, DESCRIBE_TOPIC_PARTITIONS, DescribeTopicPartitionsRequest);
        ShareGroupHeartbeat(76, 1, 1, 0, SHARE_GROUP_HEARTBEAT, ShareGroupHeartbeatRequest);
        ShareGroupDescribe(77, 1, 1, 0, SHARE_GROUP_DESCRIBE, ShareGroupDescribeRequest);
        ShareFetch(78, 1, 1, 0, SHARE_FETCH, ShareFetchRequest);
        ShareAcknowledge(79, 1, 1, 0, SHARE_ACKNOWLEDGE, ShareAcknowledgeRequest);
        DescribeShareGroupOffsets(90, 0, 0, 0, DESCRIBE_SHARE_GROUP_OFFSETS, DescribeShareGroupOffsetsRequest);
        AlterShareGroupOffsets(91, 0, 0, 0, ALTER_SHARE_GROUP_OFFSETS, AlterShareGroupOffsetsRequest);
        DeleteShareGroupOffsets(92, 0, 0, 0, DELETE_SHARE_GROUP_OFFSETS, DeleteShareGroupOffsetsRequest);
    }
} } }
pub(crate) use with_apis;

macro_rules! define_apis {
    (
        own { $($own:ident($own_key:literal, $own_from:literal, $own_to:literal, $own_flexible:literal);)* }
        generated {
            $($name:ident($key:literal, $from:literal, $to:literal, $flexible:tt, $shape:ident, $request:ident);)*
        }
    ) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum Api {
            $($own = $own_key,)*
            $($name = $key,)*
        }

        impl Api {
            /// Every row, by number.
            pub const ALL: &'static [Api] = &[$(Api::$own,)* $(Api::$name,)*];

            pub fn from_key(key: i16) -> Option<Api> {
                match key {
                    $($own_key => Some(Api::$own),)*
                    $($key => Some(Api::$name),)*
                    _ => None,
                }
            }

            /// As Kafka writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Api::$own => stringify!($own),)*
                    $(Api::$name => stringify!($name),)*
                }
            }

            /// The first and the last version that are read and answered.
            pub const fn versions(self) -> (i16, i16) {
                match self {
                    $(Api::$own => ($own_from, $own_to),)*
                    $(Api::$name => ($from, $to),)*
                }
            }

            const fn flexible_from(self) -> i16 {
                match self {
                    $(Api::$own => $own_flexible,)*
                    $(Api::$name => $flexible,)*
                }
            }
        }
    };
}

with_apis!(define_apis);

impl Api {
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// Whether that version has compact lengths and tagged fields (KIP-482).
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// 1, or 2 with tagged fields. Version 0 went with ControlledShutdown, in Kafka 4.0.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 0, or 1 with tagged fields; of ApiVersions always 0, because whoever asks does not know yet what is understood (KIP-511).
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, Api::ApiVersions) { 1 } else { 0 }
    }

    /// From where on ApiVersions says that it is served. Produce says 0, though only 3 and later are read: librdkafka sends no
    /// compressed batches to a broker that does not (KAFKA-18659). Kafka does the same, and closes the connection on such a request.
    const fn advertised_from(self) -> i16 {
        match self {
            Api::Produce => 0,
            _ => self.versions().0,
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Greater than every number of an API.
const KEYS: usize = 93;
const NOT_SERVED: i16 = -1;

/// Which APIs a broker serves, and up to which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// By the number of the API.
    up_to: [i16; KEYS],
}

impl Served {
    /// ApiVersions alone, which every broker answers.
    pub const fn least() -> Served {
        Served { up_to: [NOT_SERVED; KEYS] }.with(Api::ApiVersions)
    }

    /// Every row of the table.
    pub fn everything() -> Served {
        Api::ALL.iter().fold(Served::least(), |served, api| served.with(*api))
    }

    /// Also `api`, in all versions that there are.
    #[must_use]
    pub const fn with(self, api: Api) -> Served {
        self.with_up_to(api, api.versions().1)
    }

    /// Also `api`, in versions up to `version`; ApiVersions always in all.
    #[must_use]
    pub const fn with_up_to(mut self, api: Api, version: i16) -> Served {
        let last = api.versions().1;
        self.up_to[api as usize] = if version < last && !matches!(api, Api::ApiVersions) { version } else { last };
        self
    }

    /// Whether a request of that version is read.
    pub fn has(&self, api: Api, version: i16) -> bool {
        (api.versions().0..=self.up_to(api)).contains(&version)
    }

    fn up_to(&self, api: Api) -> i16 {
        self.up_to[api as usize]
    }

    fn row(&self, api: Api) -> Option<ApiVersion> {
        let served = self.has(api, self.up_to(api));
        let row = || {
            ApiVersion::default()
                .with_api_key(api.key())
                .with_min_version(api.advertised_from())
                .with_max_version(self.up_to(api))
        };
        served.then(row)
    }

    /// What ApiVersions answers, without features and throttling.
    pub fn answer(&self) -> ApiVersionsResponse {
        ApiVersionsResponse::default().with_api_keys(Api::ALL.iter().filter_map(|api| self.row(*api)).collect())
    }

    /// What ApiVersions answers to a version of itself that is not served: the error, and where to begin again (KIP-511). It goes out
    /// as version 0.
    pub fn answer_to_unsupported(&self) -> ApiVersionsResponse {
        ApiVersionsResponse::default()
            .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
            .with_api_keys(self.row(Api::ApiVersions).into_iter().collect())
    }
}

/// Whether ApiVersions 3 and later may name the client's software, or its version, so: letters, digits, `-` and `.`, neither of the
/// last two at an end. If not, Kafka answers INVALID_REQUEST.
pub fn names_software(text: &str) -> bool {
    let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    plain(bytes.first())
        && plain(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::{Api, KEYS, Served, names_software};
    use crate::errors::ErrorCode;
    use kafka_protocol::messages::ApiKey;

    #[test]
    fn numbers_and_versions_are_those_of_another_table() {
        for api in Api::ALL {
            let other = ApiKey::try_from(api.key()).expect("it has that number");
            assert_eq!(format!("{other:?}"), api.name());
            assert_eq!(Api::from_key(api.key()), Some(*api));
            assert!((api.key() as usize) < KEYS);
            let (from, to) = api.versions();
            for version in from..=to {
                assert_eq!(
                    api.request_header_version(version),
                    other.request_header_version(version),
                    "{api} {version}"
                );
                assert_eq!(
                    api.response_header_version(version),
                    other.response_header_version(version),
                    "{api} {version}"
                );
            }
            // That table has the unstable versions, and ends before Kafka 4.2.
            let theirs = match api {
                Api::OffsetCommit | Api::OffsetFetch => 10,
                Api::InitProducerId => 6,
                Api::ListOffsets => 10,
                _ => to,
            };
            assert_eq!((other.valid_versions().min, other.valid_versions().max), (from, theirs), "{api}");
        }
        assert!(Api::ALL.is_sorted());
        // Between brokers, gone, and beyond the last.
        assert_eq!([7, 52, 93, -1].map(Api::from_key), [None; 4]);
    }

    #[test]
    fn api_versions_tells_what_is_served_and_no_more() {
        let served = Served::least().with(Api::Produce).with_up_to(Api::Metadata, 8).with_up_to(Api::OffsetCommit, 1);
        let rows: Vec<_> =
            served.answer().api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version)).collect();
        assert_eq!(rows, [(0, 0, 13), (3, 0, 8), (18, 0, 4)]);
        assert!(served.has(Api::Metadata, 8) && !served.has(Api::Metadata, 9) && !served.has(Api::Metadata, -1));
        assert!(served.has(Api::Produce, 3) && !served.has(Api::Produce, 2), "0 to 2 are told, not served");
        assert!(!served.has(Api::OffsetCommit, 1) && !served.has(Api::Fetch, 4));
        assert!(served.with_up_to(Api::ApiVersions, 0).has(Api::ApiVersions, 4), "who asks decides");
        assert_eq!(Served::everything().answer().api_keys.len(), Api::ALL.len());
    }

    #[test]
    fn an_unsupported_version_of_api_versions_is_told_of_itself_alone() {
        let answer = Served::everything().answer_to_unsupported();
        assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION.0);
        let rows: Vec<_> = answer.api_keys.iter().map(|row| (row.api_key, row.min_version, row.max_version)).collect();
        assert_eq!(rows, [(18, 0, 4)]);
    }

    #[test]
    fn names_of_software() {
        for good in ["librdkafka", "2.12.1", "a", "apache-kafka-java"] {
            assert!(names_software(good), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ü"] {
            assert!(!names_software(bad), "{bad}");
        }
    }
}
