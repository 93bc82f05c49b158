//! The services of this binary: one line each. Numbers are stored in data directories and never change their meaning.

#![cfg_attr(not(any(feature = "tables", feature = "log")), allow(dead_code))] // without a service nobody asks for the context

use crate::memory::MemoryShares;
use crate::settings::Settings;
use holon_base::ServiceId;
use holon_kernel::{Service, Shard};
use holon_metadata::Metadata;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a service is made from, on each shard.
pub struct ServiceContext<'a> {
    pub shard: &'a Rc<Shard>,
    pub metadata: &'a Rc<Metadata>,
    pub settings: &'a Settings,
    pub shares: MemoryShares,
}

pub struct Registration {
    pub id: ServiceId,
    /// The name of its door, and the key of the setting that moves it.
    pub door: &'static str,
    pub door_key: &'static str,
    pub door_address: fn(&mut Settings) -> &mut SocketAddr,
    pub make: fn(&ServiceContext<'_>) -> Rc<dyn Service>,
}

pub const SERVICES: &[Registration] = &[
    #[cfg(feature = "tables")]
    Registration {
        id: holon_tables::service::TABLES_SERVICE,
        door: "cql",
        door_key: "cql_address",
        door_address: |settings| &mut settings.cql_address,
        make: tables,
    },
    #[cfg(feature = "log")]
    Registration {
        id: holon_log::service::LOG_SERVICE,
        door: "kafka",
        door_key: "kafka_address",
        door_address: |settings| &mut settings.kafka_address,
        make: log,
    },
];

#[cfg(feature = "log")]
fn log(context: &ServiceContext<'_>) -> Rc<dyn Service> {
    use holon_log::service::{LogConfig, LogService};

    let ServiceContext { shard, metadata, settings, shares } = context;
    let part = (shares.log / u64::from(settings.shards)) as usize;
    let config = LogConfig {
        queue_bytes_max: part / 4,
        unwritten_bytes_max: part / 2,
        kept_bytes_max: part / 16 * 3,
        session_bytes_max: part / 16,
        wal_segment_bytes: LOG_SEGMENT_BYTES,
        wal_bytes_max: (4 * part as u64).clamp(LOG_BYTES_MIN, LOG_BYTES_MAX),
        partitions_default: settings.topic_partitions,
        auto_create_topics: settings.auto_create_topics,
        directory: std::path::absolute(settings.data_dir.join("log")).unwrap_or_default().display().to_string(),
        ..LogConfig::default()
    };
    LogService::new((*shard).clone(), (*metadata).clone(), config)
}

#[cfg(feature = "tables")]
fn tables(context: &ServiceContext<'_>) -> Rc<dyn Service> {
    use crate::settings::Auth;
    use holon_tables::service::{Authentication, STREAM_BYTES_PER_SECOND, TablesConfig, TablesService};

    let ServiceContext { shard, metadata, settings, shares } = context;
    let part = |share: u64| (share / u64::from(settings.shards)) as usize;
    let config = TablesConfig {
        memtable_bytes: part(shares.memtables),
        cache_bytes: part(shares.cache),
        request_bytes: part(shares.requests),
        // The log keeps what memtables hold, and room for some that are still being flushed.
        log_bytes_max: (4 * part(shares.memtables) as u64).clamp(LOG_BYTES_MIN, LOG_BYTES_MAX),
        log_segment_bytes: LOG_SEGMENT_BYTES,
        authentication: match settings.auth {
            Auth::None => Authentication::Off,
            Auth::Password => Authentication::Password,
        },
        cluster_name: settings.cluster_name.clone(),
        data_center: settings.data_center.clone(),
        rack: settings.rack.clone(),
        cql_address: settings.cql_address,
        peer_address: settings.peer_address,
        repair_interval: settings.repair_interval,
        stream_bytes_per_second: match settings.stream_throughput {
            None => STREAM_BYTES_PER_SECOND,
            Some(of_node) => of_node.div_ceil(u64::from(settings.shards)),
        },
        mend_damage: true,
        automatic_compaction: true,
    };
    TablesService::new((*shard).clone(), (*metadata).clone(), config)
}

/// Bounds of one shard's write-ahead log, bytes: a replay at start reads at most this much, at some hundred MiB a second.
const LOG_BYTES_MIN: u64 = 128 << 20;
const LOG_BYTES_MAX: u64 = 2 << 30;

/// One segment of it, bytes: preallocated, so an empty node takes this much room a shard.
const LOG_SEGMENT_BYTES: u64 = 16 << 20;
