//! Kafka's error codes, all of them: numbers, names, and whether a client that gets one asks again.
//!
//! As of Kafka 4.1, `org.apache.kafka.common.protocol.Errors`. "Retriable" is what Kafka's own client says: the exception of that code
//! is a `RetriableException`. It is not a promise of other clients, and a code that is not here may still come from a newer broker.

use std::fmt;

/// Kafka's number of an error. Without one it is [`ErrorCode::NONE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(pub i16);

const AGAIN: bool = true;
const FINAL: bool = false;

/// One row a code. The name of a constant is the name that Kafka gives it.
macro_rules! error_codes {
    ($($name:ident = $number:literal, $retriable:ident;)*) => {
        impl ErrorCode {
            $(pub const $name: ErrorCode = ErrorCode($number);)*

            /// Every code, by number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// Kafka's name of it; `None` for a number that has none.
            pub fn name(self) -> Option<&'static str> {
                match self {
                    $(ErrorCode::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Whether Kafka's client asks again after it.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                    _ => false,
                }
            }
        }
    };
}

error_codes! {
    UNKNOWN_SERVER_ERROR = -1, FINAL;
    NONE = 0, FINAL;
    OFFSET_OUT_OF_RANGE = 1, FINAL;
    CORRUPT_MESSAGE = 2, AGAIN;
    UNKNOWN_TOPIC_OR_PARTITION = 3, AGAIN;
    INVALID_FETCH_SIZE = 4, FINAL;
    LEADER_NOT_AVAILABLE = 5, AGAIN;
    NOT_LEADER_OR_FOLLOWER = 6, AGAIN;
    REQUEST_TIMED_OUT = 7, AGAIN;
    BROKER_NOT_AVAILABLE = 8, FINAL;
    REPLICA_NOT_AVAILABLE = 9, AGAIN;
    MESSAGE_TOO_LARGE = 10, FINAL;
    STALE_CONTROLLER_EPOCH = 11, FINAL;
    OFFSET_METADATA_TOO_LARGE = 12, FINAL;
    NETWORK_EXCEPTION = 13, AGAIN;
    COORDINATOR_LOAD_IN_PROGRESS = 14, AGAIN;
    COORDINATOR_NOT_AVAILABLE = 15, AGAIN;
    NOT_COORDINATOR = 16, AGAIN;
    INVALID_TOPIC_EXCEPTION = 17, FINAL;
    RECORD_LIST_TOO_LARGE = 18, FINAL;
    NOT_ENOUGH_REPLICAS = 19, AGAIN;
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, AGAIN;
    INVALID_REQUIRED_ACKS = 21, FINAL;
    ILLEGAL_GENERATION = 22, FINAL;
    INCONSISTENT_GROUP_PROTOCOL = 23, FINAL;
    INVALID_GROUP_ID = 24, FINAL;
    UNKNOWN_MEMBER_ID = 25, FINAL;
    INVALID_SESSION_TIMEOUT = 26, FINAL;
    REBALANCE_IN_PROGRESS = 27, FINAL;
    INVALID_COMMIT_OFFSET_SIZE = 28, FINAL;
    TOPIC_AUTHORIZATION_FAILED = 29, FINAL;
    GROUP_AUTHORIZATION_FAILED = 30, FINAL;
    CLUSTER_AUTHORIZATION_FAILED = 31, FINAL;
    INVALID_TIMESTAMP = 32, FINAL;
    UNSUPPORTED_SASL_MECHANISM = 33, FINAL;
    ILLEGAL_SASL_STATE = 34, FINAL;
    UNSUPPORTED_VERSION = 35, FINAL;
    TOPIC_ALREADY_EXISTS = 36, FINAL;
    INVALID_PARTITIONS = 37, FINAL;
    INVALID_REPLICATION_FACTOR = 38, FINAL;
    INVALID_REPLICA_ASSIGNMENT = 39, FINAL;
    INVALID_CONFIG = 40, FINAL;
    NOT_CONTROLLER = 41, AGAIN;
    INVALID_REQUEST = 42, FINAL;
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, FINAL;
    POLICY_VIOLATION = 44, FINAL;
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, FINAL;
    DUPLICATE_SEQUENCE_NUMBER = 46, FINAL;
    INVALID_PRODUCER_EPOCH = 47, FINAL;
    INVALID_TXN_STATE = 48, FINAL;
    INVALID_PRODUCER_ID_MAPPING = 49, FINAL;
    INVALID_TRANSACTION_TIMEOUT = 50, FINAL;
    CONCURRENT_TRANSACTIONS = 51, AGAIN;
    TRANSACTION_COORDINATOR_FENCED = 52, FINAL;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, FINAL;
    SECURITY_DISABLED = 54, FINAL;
    OPERATION_NOT_ATTEMPTED = 55, FINAL;
    KAFKA_STORAGE_ERROR = 56, AGAIN;
    LOG_DIR_NOT_FOUND = 57, FINAL;
    SASL_AUTHENTICATION_FAILED = 58, FINAL;
    UNKNOWN_PRODUCER_ID = 59, FINAL;
    REASSIGNMENT_IN_PROGRESS = 60, FINAL;
    DELEGATION_TOKEN_AUTH_DISABLED = 61, FINAL;
    DELEGATION_TOKEN_NOT_FOUND = 62, FINAL;
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, FINAL;
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = 64, FINAL;
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, FINAL;
    DELEGATION_TOKEN_EXPIRED = 66, FINAL;
    INVALID_PRINCIPAL_TYPE = 67, FINAL;
    NON_EMPTY_GROUP = 68, FINAL;
    GROUP_ID_NOT_FOUND = 69, FINAL;
    FETCH_SESSION_ID_NOT_FOUND = 70, AGAIN;
    INVALID_FETCH_SESSION_EPOCH = 71, AGAIN;
    LISTENER_NOT_FOUND = 72, AGAIN;
    TOPIC_DELETION_DISABLED = 73, FINAL;
    FENCED_LEADER_EPOCH = 74, AGAIN;
    UNKNOWN_LEADER_EPOCH = 75, AGAIN;
    UNSUPPORTED_COMPRESSION_TYPE = 76, FINAL;
    STALE_BROKER_EPOCH = 77, FINAL;
    OFFSET_NOT_AVAILABLE = 78, AGAIN;
    MEMBER_ID_REQUIRED = 79, FINAL;
    PREFERRED_LEADER_NOT_AVAILABLE = 80, AGAIN;
    GROUP_MAX_SIZE_REACHED = 81, FINAL;
    FENCED_INSTANCE_ID = 82, FINAL;
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, AGAIN;
    ELECTION_NOT_NEEDED = 84, AGAIN;
    NO_REASSIGNMENT_IN_PROGRESS = 85, FINAL;
    GROUP_SUBSCRIBED_TO_TOPIC = 86, FINAL;
    INVALID_RECORD = 87, FINAL;
    UNSTABLE_OFFSET_COMMIT = 88, AGAIN;
    THROTTLING_QUOTA_EXCEEDED = 89, AGAIN;
    PRODUCER_FENCED = 90, FINAL;
    RESOURCE_NOT_FOUND = 91, FINAL;
    DUPLICATE_RESOURCE = 92, FINAL;
    UNACCEPTABLE_CREDENTIAL = 93, FINAL;
    INCONSISTENT_VOTER_SET = 94, FINAL;
    INVALID_UPDATE_VERSION = 95, FINAL;
    FEATURE_UPDATE_FAILED = 96, FINAL;
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, FINAL;
    SNAPSHOT_NOT_FOUND = 98, FINAL;
    POSITION_OUT_OF_RANGE = 99, FINAL;
    UNKNOWN_TOPIC_ID = 100, AGAIN;
    DUPLICATE_BROKER_REGISTRATION = 101, FINAL;
    BROKER_ID_NOT_REGISTERED = 102, FINAL;
    INCONSISTENT_TOPIC_ID = 103, AGAIN;
    INCONSISTENT_CLUSTER_ID = 104, FINAL;
    TRANSACTIONAL_ID_NOT_FOUND = 105, FINAL;
    FETCH_SESSION_TOPIC_ID_ERROR = 106, AGAIN;
    INELIGIBLE_REPLICA = 107, FINAL;
    NEW_LEADER_ELECTED = 108, FINAL;
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, FINAL;
    FENCED_MEMBER_EPOCH = 110, FINAL;
    UNRELEASED_INSTANCE_ID = 111, FINAL;
    UNSUPPORTED_ASSIGNOR = 112, FINAL;
    STALE_MEMBER_EPOCH = 113, FINAL;
    MISMATCHED_ENDPOINT_TYPE = 114, FINAL;
    UNSUPPORTED_ENDPOINT_TYPE = 115, FINAL;
    UNKNOWN_CONTROLLER_ID = 116, FINAL;
    UNKNOWN_SUBSCRIPTION_ID = 117, FINAL;
    TELEMETRY_TOO_LARGE = 118, FINAL;
    INVALID_REGISTRATION = 119, FINAL;
    TRANSACTION_ABORTABLE = 120, FINAL;
    INVALID_RECORD_STATE = 121, FINAL;
    SHARE_SESSION_NOT_FOUND = 122, AGAIN;
    INVALID_SHARE_SESSION_EPOCH = 123, AGAIN;
    FENCED_STATE_EPOCH = 124, FINAL;
    INVALID_VOTER_KEY = 125, FINAL;
    DUPLICATE_VOTER = 126, FINAL;
    VOTER_NOT_FOUND = 127, FINAL;
    INVALID_REGULAR_EXPRESSION = 128, FINAL;
    REBOOTSTRAP_REQUIRED = 129, FINAL;
    STREAMS_INVALID_TOPOLOGY = 130, FINAL;
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, FINAL;
    STREAMS_TOPOLOGY_FENCED = 132, FINAL;
    SHARE_SESSION_LIMIT_REACHED = 133, AGAIN;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(formatter, "{name} ({})", self.0),
            None => write!(formatter, "error {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;
    use kafka_protocol::error::ResponseError;

    #[test]
    fn every_number_from_minus_one_on_has_a_name() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|code| code.0).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<i16>>());
        assert_eq!(ErrorCode(134).name(), None);
        assert!(!ErrorCode(134).is_retriable());
        assert_eq!(ErrorCode::NONE, ErrorCode(0));
        assert_eq!(ErrorCode::UNSUPPORTED_VERSION.to_string(), "UNSUPPORTED_VERSION (35)");
        assert_eq!(ErrorCode(200).to_string(), "error 200");
    }

    /// The list of another author. It differs in one row: since Kafka 3.8 `ConcurrentTransactionsException` is retriable.
    #[test]
    fn another_list_says_the_same() {
        for code in ErrorCode::ALL.iter().filter(|code| **code != ErrorCode::NONE) {
            let other = ResponseError::try_from_code(code.0).expect("not 0");
            let is_unknown = matches!(other, ResponseError::Unknown(_));
            assert!(!is_unknown, "{code}");
            let plain: String = code.name().expect("has one").replace('_', "").to_lowercase();
            assert_eq!(plain, other.to_string().to_lowercase());
            let retriable = *code == ErrorCode::CONCURRENT_TRANSACTIONS || other.is_retriable();
            assert_eq!(code.is_retriable(), retriable, "{code}");
        }
    }
}
