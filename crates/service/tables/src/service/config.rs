//! What whoever builds a node decides about its tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Whoever reaches the door may do everything.
    #[default]
    Off,
    /// SASL PLAIN; accounts are made with `holon user create`.
    Password,
}

impl Authentication {
    pub fn is_off(self) -> bool {
        self == Authentication::Off
    }
}

/// What a shard copies of tablets that move to it, unless told otherwise, bytes a second: with twice as much the p99 of clients at half
/// load is more than twice that at rest in some runs (the simulator's world `cost`).
pub const STREAM_BYTES_PER_SECOND: u64 = 4 << 20;

/// Of one shard. The three shares of memory are its parts of the node's budget.
#[derive(Clone, Debug)]
pub struct TablesConfig {
    /// Rows that are not in files yet, bytes.
    pub memtable_bytes: usize,
    /// Blocks of files that are kept, bytes.
    pub cache_bytes: usize,
    /// Requests that are being worked on, and their answers until they are written: half each, bytes.
    pub request_bytes: usize,
    /// All log segments of this shard together, bytes on disk.
    pub log_bytes_max: u64,
    /// One log segment, bytes on disk.
    pub log_segment_bytes: u64,
    pub authentication: Authentication,
    pub cluster_name: String,
    /// What LOCAL_… counts, and drivers choose by.
    pub data_center: String,
    pub rack: String,
    /// Where clients are told to connect to: the CQL door.
    pub cql_address: SocketAddr,
    /// Where other nodes will be told to connect to.
    pub peer_address: SocketAddr,
    /// The replicas of each tablet are compared, and made equal, once in this; zero: only when somebody asks.
    pub repair_interval: Duration,
    /// What is copied of tablets that move to this shard, bytes a second; zero: as fast as it goes.
    pub stream_bytes_per_second: u64,
    /// Damaged sorted files are made good from the other replicas. Off only to see what happens without.
    pub mend_damage: bool,
    /// Whether the engine compacts by itself. Off only for tests that choose the moment.
    pub automatic_compaction: bool,
}

impl Default for TablesConfig {
    /// For tests and simulation: small shares, loopback.
    fn default() -> Self {
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        TablesConfig {
            memtable_bytes: 16 << 20,
            cache_bytes: 16 << 20,
            request_bytes: 32 << 20,
            log_bytes_max: 256 << 20,
            log_segment_bytes: 8 << 20,
            authentication: Authentication::Off,
            cluster_name: "holon".to_string(),
            data_center: "datacenter1".to_string(),
            rack: "rack1".to_string(),
            cql_address: loopback(9042),
            peer_address: loopback(7000),
            repair_interval: Duration::from_secs(60 * 60),
            stream_bytes_per_second: 0,
            mend_damage: true,
            automatic_compaction: true,
        }
    }
}
