//! How a shard comes up and goes down. The same in production and in simulation.
//!
//! ```text
//!   shard 0: read the log          other shards: fetch it from shard 0
//!        └──────── apply every entry ────────┘
//!   each service: start ─► open its tablets ─► recover ═ barrier over all shards ═► recovered_everywhere ─► doors may open
//! ```

use crate::log_file::{LogError, LogFile};
use crate::service::{BARRIER, FETCH, METADATA_SERVICE, Metadata, decode_entries};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShardId};
use holon_kernel::{StartContext, Target, Verb};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// How long a shard waits for the others at start: longer than any recovery.
const START_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("{service}: {detail}")]
    Service { service: &'static str, detail: String },
    #[error("another shard of this node has gone while this one was starting")]
    Shards,
}

/// Brings the shard up: its services have been added, nothing else has happened. Doors may open when every shard has
/// returned from here.
pub async fn start_shard(metadata: Rc<Metadata>, progress: Rc<dyn Fn(String)>) -> Result<(), StartError> {
    metadata.set_report(progress.clone());
    let shard = metadata.shard.clone();
    if shard.id() == ShardId(0) {
        let (log, entries) = LogFile::open(&shard.disk(), shard.node()).await?;
        for entry in &entries {
            metadata.clone().enqueue(entry.clone());
        }
        let last = entries.len() as u64;
        metadata.wait_applied(last).await;
        metadata.load(log, entries);
    } else {
        fetch_all(&metadata).await?;
    }
    let services = shard.services();
    let context = StartContext { boot: metadata.boot, progress };
    for service in &services {
        let started = service.clone().start(context.clone()).await;
        started.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    for group in metadata.groups() {
        metadata.clone().open_group(group).await;
    }
    for service in &services {
        let recovered = service.clone().recover().await;
        recovered.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    metadata.running.set(true);
    ask_leader(&metadata, BARRIER, Bytes::from_static(&[1])).await?;
    for service in &services {
        let done = service.clone().recovered_everywhere().await;
        done.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    Ok(())
}

/// A clean stop of every service, after the doors are closed.
pub async fn stop_shard(metadata: Rc<Metadata>) {
    for service in metadata.shard.services() {
        service.stop().await;
    }
}

async fn fetch_all(metadata: &Rc<Metadata>) -> Result<(), StartError> {
    loop {
        let mut from = ByteWriter::new();
        from.put_u64(metadata.applied());
        let reply = ask_leader(metadata, FETCH, from.freeze()).await?;
        let entries = decode_entries(&mut ByteReader::new(reply)).map_err(|_| StartError::Shards)?;
        let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        for entry in entries {
            metadata.clone().enqueue(entry);
        }
        metadata.wait_applied(last).await;
    }
}

async fn ask_leader(metadata: &Rc<Metadata>, verb: Verb, payload: Bytes) -> Result<Bytes, StartError> {
    let deadline = metadata.shard.now() + START_TIMEOUT;
    let target = Target::Service(METADATA_SERVICE);
    metadata.shard.call(metadata.leader(), target, verb, payload, deadline).await.map_err(|_| StartError::Shards)
}
