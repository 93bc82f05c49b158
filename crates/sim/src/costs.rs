//! What work costs in simulated time: a model of cores, disks and the network of a small server, for [`World::charge`].
//!
//! ```text
//!   core     one queue a shard: each poll of a task, request, envelope and byte takes its time; what a poll sends leaves at its end
//!   disk     one queue a node: an access and its bytes occupy it, then comes what the medium takes; cached reads cost the core only
//!   network  one queue a node and way: bytes at the rate of the link, then the distance
//! ```
//! Nothing else takes time. What is faster or slower on a machine shifts all figures of the model; it is there for their ratios.

use crate::cost_disk::Medium;
use crate::world::World;
use holon_base::Instant;
use holon_kernel::{Envelope, Turn};
use std::collections::BTreeMap;
use std::time::Duration;

// The first, and those of bytes, are fitted to the time that windows of 300 polls of this world took on one core of a Xeon of 2.6 GHz
// (least squares over 19,000 windows: 1.08 µs a poll, and 1.09, 0.88 and 1.33 ns a byte). What the edge adds is not in that fit.

/// A task that is made ready, looked up and polled, with the work of the engine in it.
const POLL_NANOS: u64 = 1_100;

/// A client's request: its share of system calls, read, parsed, and its answer written. A request to a node alone takes 10 to 14 µs of
/// CPU all in all (docs/PERFORMANCE.md), some polls among them.
const REQUEST_NANOS: u64 = 8_000;

/// An envelope, at each end: framed, a record of TLS (about 1 µs of AES-GCM with its call), its share of a system call. Taken, not
/// measured.
const ENVELOPE_NANOS: u64 = 3_000;

/// A byte of an envelope, at each end: encoded and decoded (1.1 ns), sealed at 2 GB/s, copied to the socket at 5 GB/s; picoseconds.
const ENVELOPE_BYTE_PICOS: u64 = 2_000;

/// A byte read from a file: copied, its checksum, decompressed, decoded; picoseconds.
const READ_BYTE_PICOS: u64 = 900;

/// A byte written to a file: encoded, compressed, its checksum; picoseconds.
const WRITE_BYTE_PICOS: u64 = 1_400;

/// 10 Gbit/s.
const LINK_BYTES_PER_SECOND: u64 = 1_250_000_000;

/// One way within a data centre, through two network stacks.
const DISTANCE: Duration = Duration::from_micros(50);

/// What a frame, its seal and the headers under it add to an envelope, bytes.
const ENVELOPE_OVERHEAD_BYTES: usize = 128;

/// From one core of a node to another.
const NEXT_CORE: Duration = Duration::from_micros(5);

/// What a core did, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub polls: u64,
    pub requests: u64,
    pub envelopes: u64,
    pub envelope_bytes: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
}

impl Work {
    fn add(&mut self, other: Work) {
        self.polls += other.polls;
        self.requests += other.requests;
        self.envelopes += other.envelopes;
        self.envelope_bytes += other.envelope_bytes;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
    }

    fn time(&self) -> Duration {
        let fixed = self.polls * POLL_NANOS + self.requests * REQUEST_NANOS + self.envelopes * ENVELOPE_NANOS;
        let picos = self.envelope_bytes * ENVELOPE_BYTE_PICOS
            + self.read_bytes * READ_BYTE_PICOS
            + self.written_bytes * WRITE_BYTE_PICOS;
        Duration::from_nanos(fixed + picos / 1000)
    }
}

#[derive(Clone, Copy, Default)]
struct Core {
    free_at: Instant,
    turn: Turn,
    /// Of what came in and was not worked on yet.
    owed: Work,
    busy: Duration,
}

#[derive(Clone, Copy, Default)]
struct Link {
    out_free_at: Instant,
    in_free_at: Instant,
}

/// All queues of a world.
#[derive(Default)]
pub struct Costs {
    cores: BTreeMap<(usize, u16), Core>,
    links: BTreeMap<usize, Link>,
}

impl Costs {
    fn core(&mut self, node: usize, shard: u16) -> &mut Core {
        self.cores.entry((node, shard)).or_default()
    }

    /// An envelope has come to a shard.
    pub(crate) fn came(&mut self, node: usize, envelope: &Envelope) {
        let work = Work { envelopes: 1, envelope_bytes: envelope.payload.len() as u64, ..Work::default() };
        self.core(node, envelope.destination.shard.0).owed.add(work);
    }

    /// When what leaves a node at `from` is whole at another.
    fn arrives(&mut self, from: Instant, source: usize, destination: usize, envelope: &Envelope) -> Instant {
        let bytes = (envelope.payload.len() + ENVELOPE_OVERHEAD_BYTES) as u64;
        let takes = Duration::from_nanos(bytes * 1_000_000_000 / LINK_BYTES_PER_SECOND);
        let out = &mut self.links.entry(source).or_default().out_free_at;
        *out = from.max(*out) + takes;
        let first_byte = *out + DISTANCE;
        let inward = &mut self.links.entry(destination).or_default().in_free_at;
        // Both ends of an idle link work at the same time.
        *inward = first_byte.max(*inward + takes);
        *inward
    }
}

impl World {
    /// From now on work takes time, and nothing else does.
    pub fn charge(&mut self) {
        self.costs = Some(Box::default());
        self.nodes.iter().for_each(|node| node.disk.borrow_mut().medium = Some(Medium::default()));
    }

    /// From now on nothing takes time but chance.
    pub fn stop_charging(&mut self) {
        self.costs = None;
        self.nodes.iter().for_each(|node| node.disk.borrow_mut().medium = None);
    }

    /// A client's request has come to a shard.
    pub fn request_came(&mut self, node: usize, shard: u16) {
        if let Some(costs) = &mut self.costs {
            costs.core(node, shard).owed.requests += 1;
        }
    }

    /// When a shard is done with what it does.
    pub fn free_at(&self, node: usize, shard: u16) -> Instant {
        let core = self.costs.as_ref().and_then(|costs| costs.cores.get(&(node, shard)));
        core.map_or(self.now, |core| core.free_at.max(self.now))
    }

    /// How long the shards of a node have worked.
    pub fn busy(&self, node: usize) -> Duration {
        let cores = self.costs.iter().flat_map(|costs| &costs.cores);
        cores.filter(|((of, _), _)| *of == node).map(|(_, core)| core.busy).sum()
    }

    /// When a shard that has nothing ready, or is busy, goes on by itself.
    pub(crate) fn wakes_at(&self, node: usize) -> impl Iterator<Item = Instant> + '_ {
        self.shards_of(node).filter_map(move |shard| {
            let free_at = self.free_at(node, shard.id().0);
            if free_at > self.now { Some(free_at) } else { shard.next_deadline() }
        })
    }

    /// Lets each shard that is free poll one task; false if none had one.
    pub(crate) fn run_at_cost(&mut self) -> bool {
        let mut ran = false;
        for node in 0..self.nodes.len() {
            let wall = self.wall(node);
            for number in 0..self.shards_of(node).count() {
                let Some(shard) = self.shards_of(node).nth(number).cloned() else { break };
                if self.free_at(node, shard.id().0) > self.now {
                    continue;
                }
                shard.advance(self.now, wall);
                let before = shard.polls();
                let Some(costs) = &mut self.costs else { return ran };
                let core = costs.core(node, shard.id().0);
                shard.run_turn(1, &mut core.turn);
                if shard.polls() > before {
                    ran = true;
                    self.polled(node, shard.id().0);
                }
            }
            self.advance_phase(node);
        }
        ran
    }

    /// What a poll did has its time; what it sent leaves when it is over.
    fn polled(&mut self, node: usize, shard: u16) {
        let sent = self.nodes[node].outbound.take();
        let (read_bytes, written_bytes) = match &mut self.nodes[node].disk.borrow_mut().medium {
            Some(medium) => (std::mem::take(&mut medium.read_bytes), std::mem::take(&mut medium.written_bytes)),
            None => (0, 0),
        };
        let away = sent.iter().filter(|envelope| envelope.destination.node != Self::node_id(node));
        let envelope_bytes = away.clone().map(|envelope| envelope.payload.len() as u64).sum();
        let envelopes = away.count() as u64;
        let Some(costs) = &mut self.costs else { return };
        let core = costs.core(node, shard);
        core.owed.add(Work { polls: 1, envelopes, envelope_bytes, read_bytes, written_bytes, requests: 0 });
        let takes = std::mem::take(&mut core.owed).time();
        core.free_at = self.now + takes;
        core.busy += takes;
        let done = core.free_at;
        for envelope in sent {
            let to = (0..self.nodes.len()).find(|index| Self::node_id(*index) == envelope.destination.node);
            match (to, &mut self.costs) {
                (Some(to), Some(costs)) if to != node => {
                    let due = costs.arrives(done, node, to, &envelope);
                    self.network.send_for(due, envelope);
                }
                _ => self.put_local(done + NEXT_CORE, envelope),
            }
        }
        self.note(takes.as_nanos() as u64 ^ ((node as u64) << 48));
    }
}
