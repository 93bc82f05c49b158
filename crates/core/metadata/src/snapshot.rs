//! Snapshots of the metadata log: the state of every machine that the log moves on, so that the log can be cut.
//!
//! ```text
//!   state = version:u8 level:u32 cluster:prefixed count (service:u16 bytes:prefixed)*
//! ```
//! Each node takes its own, whenever enough entries have been applied ([`crate::options::LogOptions`]); the entries it
//! stands for leave the file and the memory, but for some that are kept for nodes which lag a little. Who lags more is handed
//! the snapshot: a voter by Raft, another node when it pulls ([`crate::follow`]), another shard of the node at its start.
//! A running shard that is handed one goes over to its state at once: the difference is what an entry would have changed.

use crate::apply::{decode_entries, encode_entries};
use crate::cluster::{Changes, ClusterState};
use crate::consensus::Consensus;
use crate::gate::Gate;
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::service::{METADATA_SERVICE, Metadata, RESTORE};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ServiceId, ShortInput};
use holon_kernel::metric::Metric;
use holon_raft::{Compaction, Entry, Snapshot};
use std::cell::Cell;

const VERSION: u8 = 1;

/// What was applied since the last snapshot.
#[derive(Default)]
pub(crate) struct SinceSnapshot {
    entries: Cell<u64>,
    bytes: Cell<usize>,
    /// That it would be too large was told.
    told: Cell<bool>,
    /// Since the start: those taken, and those of others that a running shard went over to.
    taken: Cell<u64>,
    taken_over: Cell<u64>,
}

impl SinceSnapshot {
    pub(crate) fn count(&self, bytes: usize) {
        self.entries.set(self.entries.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
    }

    fn begin_anew(&self) {
        self.entries.set(0);
        self.bytes.set(0);
    }
}

/// What is handed to another shard or node: entries, or the snapshot that stands for those that are gone.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) entries: Vec<Entry>,
}

impl Handed {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_slice(&encode_entries(&self.entries));
        out.put_u8(u8::from(self.snapshot.is_some()));
        self.snapshot.iter().for_each(|snapshot| out.put_prefixed(&snapshot.encode()));
        out.freeze()
    }

    pub(crate) fn decode(input: &mut ByteReader) -> Result<Handed, ShortInput> {
        Ok(Handed { entries: decode_entries(input)?, snapshot: decode_snapshot(input)? })
    }
}

/// What stands behind the entries.
pub(crate) fn decode_snapshot(input: &mut ByteReader) -> Result<Option<Snapshot>, ShortInput> {
    if input.u8()? == 0 {
        return Ok(None);
    }
    let offset = input.offset();
    Snapshot::decode(input.prefixed()?).map(Some).map_err(|_| ShortInput { offset })
}

/// The cluster's own part of a state.
fn cluster_of(data: &Bytes) -> Result<ClusterState, ShortInput> {
    let mut input = ByteReader::new(data.clone());
    if input.u8()? != VERSION {
        return Err(ShortInput { offset: 0 });
    }
    input.u32()?;
    ClusterState::decode(input.prefixed()?)
}

impl Metadata {
    /// Shard 0, between two entries: takes a snapshot of what is applied if that is due.
    pub(crate) fn snapshot_if_due(&self) {
        let (since, options) = (&self.since_snapshot, &self.options.log);
        let is_open = Gate::METADATA_SNAPSHOTS.is_open(self.cluster.borrow().level);
        let due = since.entries.get() >= options.entries || since.bytes.get() >= options.bytes;
        let Some(consensus) = self.consensus().filter(|_| is_open && due) else { return };
        let Some(data) = self.encode_state() else { return };
        since.begin_anew();
        if data.len() > SNAPSHOT_BYTES_MAX {
            if !since.told.replace(true) {
                let (bytes, max) = (data.len(), SNAPSHOT_BYTES_MAX);
                self.tell(format!(
                    "a snapshot of the metadata would have {bytes} bytes, more than {max}: the log stays whole"
                ));
            }
            return;
        }
        let compaction = Compaction { index: self.applied(), data, keep_entries: options.keep_entries };
        // Refused when one that came from elsewhere is newer.
        let compacted = consensus.step(|raft, _, out| raft.compact(compaction, out));
        since.taken.set(since.taken.get() + u64::from(compacted.is_ok()));
    }

    pub(crate) fn snapshot_metrics(&self, out: &mut Vec<Metric>) {
        let since = &self.since_snapshot;
        let help = "snapshots taken, each of which let the metadata log be cut";
        out.push(Metric::counter("holon_metadata_snapshots_total", help, since.taken.get()));
        let help = "snapshots of other nodes that stood for entries this node had missed";
        out.push(Metric::counter("holon_metadata_snapshots_taken_over_total", help, since.taken_over.get()));
    }

    /// `None`: a service keeps something that it cannot put into a snapshot.
    fn encode_state(&self) -> Option<Bytes> {
        let services = self.shard.services();
        let mut parts: Vec<(ServiceId, Bytes)> = Vec::new();
        for service in services.iter().filter(|service| service.id() != METADATA_SERVICE) {
            parts.push((service.id(), service.metadata_snapshot()?));
        }
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        out.put_u32(self.cluster.borrow().level);
        out.put_prefixed(&self.cluster.borrow().encode());
        out.put_varint(parts.len() as u64);
        for (service, bytes) in parts {
            out.put_u16(service.0);
            out.put_prefixed(&bytes);
        }
        Some(out.freeze())
    }

    /// Shard 0: what others had is durable here, and stands for all entries up to its index.
    pub(crate) fn restored(&self, snapshot: Snapshot) {
        self.tell_others(RESTORE, &snapshot.encode());
        self.take_snapshot(snapshot);
    }

    /// Takes one at any time; an older one than what is applied changes nothing.
    pub(crate) fn take_snapshot(&self, snapshot: Snapshot) {
        let newer = self.snapshot_pending.borrow().as_ref().is_none_or(|pending| pending.index < snapshot.index);
        if newer {
            *self.snapshot_pending.borrow_mut() = Some(snapshot);
        }
        self.start_pump();
    }

    /// Goes over to the state of a snapshot; what that changes for this node.
    pub(crate) fn restore(&self, snapshot: &Snapshot) -> Changes {
        self.since_snapshot.begin_anew();
        if self.running.get() {
            self.since_snapshot.taken_over.set(self.since_snapshot.taken_over.get() + 1);
        }
        match self.restore_state(&snapshot.data) {
            Ok(changes) => changes,
            Err(why) => {
                let index = snapshot.index;
                self.shard.stop(format!(
                    "the snapshot of the metadata at entry {index} cannot be read ({why}); start a newer holon"
                ));
                Changes::default()
            }
        }
    }

    fn restore_state(&self, data: &Bytes) -> Result<Changes, String> {
        let text = |short: ShortInput| short.to_string();
        let mut input = ByteReader::new(data.clone());
        let (version, level) = (input.u8().map_err(text)?, input.u32().map_err(text)?);
        if version != VERSION || level > self.options.level {
            return Err(format!(
                "format {version} of level {level}, this binary knows {VERSION} and {}",
                self.options.level
            ));
        }
        let cluster = ClusterState::decode(input.prefixed().map_err(text)?).map_err(text)?;
        for _ in 0..input.count().map_err(text)? {
            let (id, bytes) = (ServiceId(input.u16().map_err(text)?), input.prefixed().map_err(text)?);
            let service = self.shard.service(id).ok_or_else(|| format!("no service {} in this binary", id.0))?;
            service.restore_metadata(&bytes)?;
        }
        input.end().map_err(text)?;
        let changes = cluster.changed_since(&self.cluster.borrow(), self.shard.node());
        *self.cluster.borrow_mut() = cluster;
        Ok(changes)
    }

    /// Whether a snapshot is of a log that was begun anew without something that is committed here. (Entries would tell by their
    /// terms; those are gone.)
    pub(crate) fn contradicts(&self, consensus: &Consensus, snapshot: &Snapshot) -> bool {
        let Ok(theirs) = cluster_of(&snapshot.data) else { return false }; // said when it is restored
        let (commit, own) = (consensus.status().commit, self.cluster.borrow());
        let is_mine = |(index, term): &(u64, u64)| match consensus.committed_term(*index) {
            Some(known) => known == *term,
            None => own.begun_anew.contains(&(*index, *term)),
        };
        theirs.begun_anew.iter().any(|begun| begun.0 <= commit && !is_mine(begun))
    }

    /// A binary that knows less than the cluster does must not go on: it would not understand what comes.
    pub(crate) fn check_level(&self) {
        let (level, knows) = (self.cluster.borrow().level, self.options.level);
        if level > knows {
            let what = "the cluster is at level";
            self.shard.stop(format!("{what} {level}, this binary knows levels up to {knows}: start a newer holon"));
        }
    }
}
