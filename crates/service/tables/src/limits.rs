//! Every bound of the tables service, with its unit and its reason. All are checked before memory is taken. Bounds of
//! frames are those of `holon_cql::limits`, bounds of the language those of `holon_cql_language::limits`.

use std::time::Duration;

/// Requests of one connection that are being worked on. A driver has at most 32,768 streams; 1,024 is what the stock
/// drivers keep open per connection by default, so a well-behaved one never notices.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 1024;

/// Requests of one shard that are being worked on, of all connections together. Each is a task of a few KiB; beyond
/// this the queue only adds latency.
pub const REQUESTS_PER_SHARD_MAX: usize = 16 * 1024;

/// What a request is counted with besides its body, bytes: its task, its plan's working state, the head of its answer.
pub const REQUEST_OVERHEAD_BYTES: usize = 4 * 1024;

/// Responses waiting for a slow client, bytes a connection; beyond it no further requests of this connection are taken
/// up. One full page of the default size (5,000 rows) fits several times.
pub const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// Between a connection and its STARTUP, or its last AUTH_RESPONSE. Drivers send them at once.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A read, from its frame to its answer: Cassandra's `read_request_timeout`.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A scan over many partitions: Cassandra's `range_request_timeout`.
pub const RANGE_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A write, single or batch: Cassandra's `write_request_timeout`.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// A conditional write: Cassandra's `cas_contention_timeout` and `write_request_timeout` together.
pub const CAS_TIMEOUT: Duration = Duration::from_secs(3);

/// A truncation: Cassandra's `truncate_request_timeout`.
pub const TRUNCATE_TIMEOUT: Duration = Duration::from_secs(60);

/// Prepared statements of a shard, bytes of text and plan together. Cassandra takes 1/256 of its heap, at least 10 MiB;
/// the least recently used go first, and clients prepare them again when told UNPREPARED.
pub const PREPARED_BYTES_MAX: usize = 16 << 20;

/// Prepared statements of a shard. Clients that put values into the text of prepared statements fill any cache; this
/// keeps `system.prepared_statements` readable.
pub const PREPARED_STATEMENTS_MAX: usize = 10_000;

/// Parsed and planned simple statements of a shard that are kept in case the same text comes again.
pub const PLAN_CACHE_STATEMENTS_MAX: usize = 512;

/// Longest text of a simple statement that is kept, bytes: longer ones are loads with values in them that do not come
/// again.
pub const PLAN_CACHE_TEXT_BYTES_MAX: usize = 1024;

/// Bytes of a batch from which on a warning goes with the answer: Cassandra's `batch_size_warn_threshold`.
pub const BATCH_WARN_BYTES: usize = 5 << 10;

/// Bytes of a batch that is refused: Cassandra's `batch_size_fail_threshold`.
pub const BATCH_FAIL_BYTES: usize = 50 << 10;

/// Partitions of an unlogged batch beyond which a warning goes with the answer: Cassandra's
/// `unlogged_batch_across_partitions_warn_threshold`.
pub const UNLOGGED_BATCH_WARN_PARTITIONS: usize = 10;

/// Partition key as it is hashed and stored, bytes: its length is written with 16 bits, as in Cassandra.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Rows of a page at most, whatever the request says.
pub const PAGE_ROWS_MAX: usize = 100_000;

/// Bytes of the rows of a page: a page ends here even if it has fewer rows than asked for.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// Bytes of the answer of a request that does not page. Beyond it the request is refused: page.
pub const UNPAGED_RESULT_BYTES_MAX: usize = 64 << 20;

/// Combinations that the IN relations of one statement may make (partitions times clusterings): each is a read.
/// Cassandra has no limit unless a guardrail is set; without one a 16 MiB frame could ask for millions of reads at
/// once.
pub const IN_COMBINATIONS_MAX: usize = 10_000;

/// Tablets of a table of a node alone. A power of two so that a split later halves; with more shards than this some hold none of a
/// small table.
pub const TABLETS_ALONE_MAX: u32 = 16;

/// Tablets of a table in a cluster: as many as the ring has slots, up to what one entry of the metadata log may make.
pub const TABLETS_PER_TABLE_MAX: u32 = holon_base::TabletId::PER_ENTRY_MAX as u32;

/// Failed logins of one connection before it is closed: a typing mistake or two, not a dictionary.
pub const AUTHENTICATION_ATTEMPTS_MAX: u32 = 3;

/// Name or password in a SASL PLAIN token, bytes: bcrypt looks at 72.
pub const CREDENTIAL_BYTES_MAX: usize = 1024;

/// Events that wait for one slow client are part of its outbox; a client whose outbox is this full loses its connection
/// instead, bytes: it would act on an outdated schema.
pub const EVENT_OUTBOX_BYTES_MAX: usize = 16 << 20;

/// Levels of brackets in the JSON of an INSERT: as deep as types nest, and the object around them.
pub const JSON_NESTING_MAX: u32 = 33;

/// Shards, of all nodes, that are asked when somebody reads traces: of a larger cluster a trace is to be read where it was made.
pub const TRACE_SHARDS_MAX: usize = 256;

/// Shards of other nodes that are asked for the version of their schema when somebody reads of peers; of the rest of a larger cluster
/// it is taken for granted that they have this one.
pub const SCHEMA_VERSION_SHARDS_MAX: usize = 1024;

/// A node that does not answer within this is not known to have the schema of this one: shorter than a driver waits between two looks
/// at whether all agree (0.2 s) would do, and a paused process or a full queue is no reason to keep it waiting for much longer.
pub const SCHEMA_VERSION_TIMEOUT: Duration = Duration::from_millis(500);

/// Traces that a shard keeps, the oldest going first: enough for a person or a test, not for statistics.
pub const TRACES_MAX: usize = 1_000;

/// Memory of the traces of a shard, bytes.
pub const TRACES_BYTES_MAX: usize = 4 << 20;

/// How long a trace can be read: Cassandra's `trace_type_query_ttl`.
pub const TRACE_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Events of one trace; what happens beyond is counted. A page of a scan makes a few for each tablet.
pub const TRACE_EVENTS_MAX: usize = 500;

/// One event of a trace, bytes of text.
pub const TRACE_ACTIVITY_BYTES_MAX: usize = 1024;

/// The text of a statement in a trace, bytes: a load of values is recognised by its beginning.
pub const TRACE_QUERY_BYTES_MAX: usize = 16 << 10;

/// A bound value in a trace, bytes of text, as in Cassandra.
pub const TRACE_VALUE_BYTES_MAX: usize = 1000;

/// Bound values in a trace: statements have more only by mistake.
pub const TRACE_VALUES_MAX: usize = 256;
