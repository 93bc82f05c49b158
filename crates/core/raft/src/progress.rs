//! What a leader knows of one other member, and how fast it may send to it (§10.2.1).
//!
//! ```text
//!             rejected, silent              snapshot needed
//!   Replicate ───────────────► Probe ◄──────────────────────► Snapshot
//!             ◄───────────────       appended
//!                 appended
//! ```

use holon_base::Instant;
use std::collections::VecDeque;

pub(crate) enum Flow {
    /// Where the logs agree is unknown: one message, then wait for its answer (or the next heartbeat's).
    Probe { waiting: bool },
    /// They agree: send ahead of the acknowledgements. Each message's last index and bytes.
    Replicate { in_flight: VecDeque<(u64, usize)>, bytes: usize },
    /// What it needs is compacted away; nothing else until it has this.
    Snapshot { index: u64, sent: Instant },
}

pub(crate) struct Progress {
    pub(crate) matched: u64,
    pub(crate) next: u64,
    pub(crate) flow: Flow,
    /// When it was last heard, for the check of the quorum.
    pub(crate) heard: Instant,
    /// The last heartbeat round it answered.
    pub(crate) round: u64,
    /// The commit index it was last told.
    pub(crate) commit_told: u64,
    /// What it had matched at the last heartbeat, if it lacked something then.
    pub(crate) stalled_at: Option<u64>,
}

impl Progress {
    pub(crate) fn new(next: u64, now: Instant) -> Progress {
        let flow = Flow::Probe { waiting: false };
        Progress { matched: 0, next, flow, heard: now, round: 0, commit_told: 0, stalled_at: None }
    }

    pub(crate) fn probe(&mut self, next: u64) {
        self.next = next.max(self.matched + 1);
        self.flow = Flow::Probe { waiting: false };
    }

    pub(crate) fn may_send(&self, messages_max: usize, bytes_max: usize) -> bool {
        match &self.flow {
            Flow::Probe { waiting } => !waiting,
            Flow::Replicate { in_flight, bytes } => in_flight.len() < messages_max && *bytes < bytes_max,
            Flow::Snapshot { .. } => false,
        }
    }

    /// Entries up to `last` went out.
    pub(crate) fn sent(&mut self, last: u64, size_bytes: usize) {
        match &mut self.flow {
            Flow::Probe { waiting } => *waiting = true,
            Flow::Replicate { in_flight, bytes } => {
                in_flight.push_back((last, size_bytes));
                *bytes += size_bytes;
                self.next = last + 1;
            }
            Flow::Snapshot { .. } => {}
        }
    }

    /// It holds everything up to `matched`.
    pub(crate) fn appended(&mut self, matched: u64) {
        let rose = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched + 1);
        match &mut self.flow {
            Flow::Probe { .. } => self.flow = Flow::Replicate { in_flight: VecDeque::new(), bytes: 0 },
            Flow::Replicate { in_flight, bytes } => {
                while let Some(&(last, size_bytes)) = in_flight.front()
                    && rose
                    && last <= self.matched
                {
                    *bytes -= size_bytes;
                    in_flight.pop_front();
                }
            }
            Flow::Snapshot { index, .. } => {
                if self.matched >= *index {
                    self.probe(self.matched + 1);
                }
            }
        }
    }
}
