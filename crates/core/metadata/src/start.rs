//! How a shard comes up and goes down. The same in production and in simulation.
//!
//! ```text
//!   shard 0: read the log          other shards: fetch it from shard 0
//!        └──────── apply every committed entry ────────┘
//!   each service: start ─► open its tablets ─► recover ═ barrier over all shards ═► recovered_everywhere
//!   shard 0: take part in the cluster, until the log knows this node as it is ═ barrier ═► doors may open
//! ```

use crate::clock::{ByFirstShard, Company, Keeper};
use crate::clock_file::ClockFileError;
use crate::consensus::{Consensus, random_of};
use crate::gossip::Gossip;
use crate::log_file::{Content, LogError, LogFile};
use crate::service::{BARRIER, FETCH, METADATA_SERVICE, Metadata, REMOVED};
use crate::snapshot::Handed;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShardId};
use holon_kernel::{StartContext, Target, Verb};
use holon_raft::{Entry, HardState, Members, Raft, Stored};
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// How long a shard waits for the others at start: longer than any recovery.
const START_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// How long a shard that stops waits for the others of its node to have handed over.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// A node that was a member before opens its doors after so long even when it hears from no majority: it serves what it
/// can.
const MEMBER_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("the metadata log contradicts itself ({0}): restore the data directory from a backup")]
    Stored(String),
    #[error("{0}")]
    Clock(#[from] ClockFileError),
    #[error("{service}: {detail}")]
    Service { service: &'static str, detail: String },
    #[error("{REMOVED}")]
    Removed,
    #[error("another shard of this node has gone while this one was starting")]
    Shards,
}

/// Brings the shard up: its services have been added, nothing else has happened. Doors may open when every shard has
/// returned from here.
pub async fn start_shard(metadata: Rc<Metadata>, progress: Rc<dyn Fn(String)>) -> Result<(), StartError> {
    metadata.set_report(progress.clone());
    let shard = metadata.shard.clone();
    shard.take_tablet_requests(false);
    metadata.know_seeds();
    if shard.id() == ShardId(0) {
        load(&metadata).await?;
        if metadata.is_removed() {
            return Err(StartError::Removed);
        }
    } else {
        shard.set_clock_keeper(Rc::new(ByFirstShard(Rc::downgrade(&metadata))));
        fetch_all(&metadata).await?;
    }
    let services = shard.services();
    let context = StartContext { boot: metadata.options.boot, progress };
    for service in &services {
        let started = service.clone().start(context.clone()).await;
        started.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    for tablet in metadata.own_tablets() {
        metadata.open_tablet(tablet).await;
    }
    for service in &services {
        let recovered = service.clone().recover().await;
        recovered.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    metadata.running.set(true);
    shard.take_tablet_requests(true);
    ask_first(&metadata, BARRIER, Bytes::from_static(&[1])).await?;
    for service in &services {
        let done = service.clone().recovered_everywhere().await;
        done.map_err(|detail| StartError::Service { service: service.name(), detail })?;
    }
    if shard.id() == ShardId(0) {
        take_part(&metadata).await;
    }
    ask_first(&metadata, BARRIER, Bytes::from_static(&[2])).await?;
    Ok(())
}

/// A clean stop of every service, after the doors are closed.
pub async fn stop_shard(metadata: Rc<Metadata>) {
    // Before the others are told that this node leaves: what any of its shards owes them would then be lost.
    for service in metadata.shard.services() {
        service.hand_over().await;
    }
    let until = metadata.shard.now() + STOP_PATIENCE;
    // A shard that hangs must not keep the node from stopping.
    drop(metadata.shard.timeout(until, ask_first(&metadata, BARRIER, Bytes::from_static(&[2]))).await);
    for service in metadata.shard.services() {
        service.stop().await;
    }
}

/// Shard 0: reads the log, and applies what is known to be committed.
async fn load(metadata: &Rc<Metadata>) -> Result<(), StartError> {
    let shard = &metadata.shard;
    let keeper = Keeper::open(metadata).await?;
    *metadata.keeper.borrow_mut() = Some(keeper);
    let (log, content) = LogFile::open(&shard.disk(), shard.node()).await?;
    let last = content.last_index();
    let founder = metadata.options.cluster.founder;
    let alone = content.members(founder).voters.iter().eq([&shard.node()]);
    // Whatever a lone voter has written is committed.
    let begin = content.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let commit = if alone { last } else { content.hard.commit.min(last).max(begin) };
    let hard = HardState { commit, ..content.hard };
    let Content { snapshot, entries, .. } = content;
    let committed: Vec<Entry> =
        entries.iter().filter(|entry| (begin + 1..=commit).contains(&entry.index)).cloned().collect();
    let stored =
        Stored { hard, snapshot: snapshot.clone(), entries, members: Members::of_voters([founder]), applied: commit };
    let raft = Raft::new(shard.node(), metadata.options.raft.clone(), stored, shard.now(), random_of(shard));
    let raft = raft.map_err(|error| StartError::Stored(error.to_string()))?;
    if let Some(snapshot) = snapshot {
        metadata.take_snapshot(snapshot);
    }
    for entry in committed {
        metadata.enqueue(entry);
    }
    metadata.wait_applied(commit).await;
    // Wrong clocks are often wrong since the machine started: nothing is stamped before the first look at the others.
    shard.clock().set_has_peers(metadata.company() != Company::Nobody);
    shard.clock().doubt();
    metadata.load(Consensus::new(metadata, raft, log, hard));
    Ok(())
}

/// Shard 0: from here on entries may come. Returns when the node may open its doors.
async fn take_part(metadata: &Rc<Metadata>) {
    let Some(consensus) = metadata.consensus() else { return };
    let gossip = Gossip::new(metadata);
    *metadata.gossip.borrow_mut() = Some(gossip.clone());
    metadata.members_changed();
    gossip.run();
    if let Some(keeper) = metadata.keeper.borrow().clone() {
        keeper.run();
    }
    consensus.run();
    metadata.follow(&consensus);
    metadata.choose_voters(&consensus);
    metadata.direct(&consensus);
    metadata.moves_changed();
    metadata.announce();
    let shard = &metadata.shard;
    let began = shard.now();
    let mut told = false;
    while !metadata.is_known_as_it_is() {
        let waited = shard.now().since(began);
        if waited >= MEMBER_PATIENCE && metadata.is_member(shard.node()) {
            return metadata.tell("no majority of the metadata group answers: serving what can be served".to_string());
        }
        if waited >= MEMBER_PATIENCE && !told {
            told = true;
            metadata.tell("waiting for the cluster to let this node in".to_string());
        }
        metadata.wait_for_members(Duration::from_millis(500)).await;
    }
}

async fn fetch_all(metadata: &Rc<Metadata>) -> Result<(), StartError> {
    loop {
        let mut from = ByteWriter::new();
        from.put_u64(metadata.applied() + 1);
        let reply = ask_first(metadata, FETCH, from.freeze()).await?;
        let handed = Handed::decode(&mut ByteReader::new(reply)).map_err(|_| StartError::Shards)?;
        let of_snapshot = handed.snapshot.as_ref().map(|snapshot| snapshot.index);
        let Some(last) = handed.entries.last().map(|entry| entry.index).or(of_snapshot) else { return Ok(()) };
        if let Some(snapshot) = handed.snapshot {
            metadata.take_snapshot(snapshot);
        }
        for entry in handed.entries {
            metadata.enqueue(entry);
        }
        metadata.wait_applied(last).await;
    }
}

async fn ask_first(metadata: &Rc<Metadata>, verb: Verb, payload: Bytes) -> Result<Bytes, StartError> {
    let deadline = metadata.shard.now() + START_TIMEOUT;
    let target = Target::Service(METADATA_SERVICE);
    let to = metadata.first_shard();
    metadata.shard.call(to, target, verb, payload, deadline).await.map_err(|_| StartError::Shards)
}
