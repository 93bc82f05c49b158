//! From a shard to other nodes: a queue and a writer task a node, made when there is something to say.
//!
//! ```text
//!            envelope                 envelope                        lost
//!   idle ──────────────► connecting ───────────► connected ──────────────────► idle
//!                          │    ▲                   writes all that waits in one go
//!                   fails: │    │ backoff over and something waits
//!     what waits is lost ──▼────┘
//! ```

use super::figures::{Connected, PeerCounters, add, subtract};
use super::socket;
use super::wire::{self, Hello, PeerError, Stream};
use super::{Peers, Security};
use crate::inbox::{Inbox, Input};
use crate::limits;
use crate::signal::Signal;
use bytes::{Buf, Bytes, BytesMut};
use holon_base::{NodeId, Random, ShardId};
use holon_kernel::{Envelope, Router};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Carries envelopes to the other shards of this node, and to other nodes if there can be any.
pub(crate) struct ShardRouter {
    node: NodeId,
    shard: ShardId,
    inboxes: Vec<Arc<Inbox>>,
    peers: Option<Arc<Peers>>,
    known: BTreeMap<NodeId, Known>,
    random: Random,
}

struct Known {
    address: SocketAddr,
    link: Option<Rc<Link>>,
}

impl ShardRouter {
    pub(crate) fn new(
        node: NodeId,
        shard: ShardId,
        inboxes: Vec<Arc<Inbox>>,
        peers: Option<Arc<Peers>>,
        seed: u64,
    ) -> ShardRouter {
        ShardRouter { node, shard, inboxes, peers, known: BTreeMap::new(), random: Random::new(seed) }
    }
}

impl Router for ShardRouter {
    fn send(&mut self, envelope: Envelope) {
        debug_assert_eq!(envelope.source.node, self.node, "an envelope of another node");
        let destination = envelope.destination;
        if destination.node == self.node {
            if let Some(inbox) = self.inboxes.get(usize::from(destination.shard.0)) {
                inbox.push(Input::Envelope(envelope));
            }
            return;
        }
        let Some(peers) = &self.peers else { return };
        let Some(known) = self.known.get_mut(&destination.node) else {
            add(&peers.counters.unknown_dropped, 1);
            return;
        };
        let (random, shard) = (&mut self.random, self.shard);
        let link = known
            .link
            .get_or_insert_with(|| Link::start(peers.clone(), destination.node, known.address, shard, random.fork()));
        link.push(&envelope);
    }

    fn know(&mut self, node: NodeId, address: Option<SocketAddr>) {
        if node == self.node {
            return;
        }
        if let Some(peers) = &self.peers {
            peers.note_member(node, address.is_some());
        }
        match address {
            Some(address) if self.known.get(&node).is_some_and(|known| known.address == address) => {}
            Some(address) => drop(self.known.insert(node, Known { address, link: None })),
            None => drop(self.known.remove(&node)),
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.closed.set(true);
            link.signal.raise();
        }
    }
}

/// One shard's way to one other node.
struct Link {
    peers: Arc<Peers>,
    node: NodeId,
    address: SocketAddr,
    counters: Arc<PeerCounters>,
    queue: RefCell<Queue>,
    /// Something waits to be written, or the link was closed.
    signal: Signal,
    closed: Cell<bool>,
}

impl Link {
    fn start(peers: Arc<Peers>, node: NodeId, address: SocketAddr, shard: ShardId, random: Random) -> Rc<Link> {
        let counters = peers.counters.of(node, shard);
        let (signal, closed) = (Signal::default(), Cell::new(false));
        let link = Rc::new(Link { peers, node, address, counters, queue: RefCell::default(), signal, closed });
        tokio::task::spawn_local(link.clone().run(random));
        link
    }

    fn push(&self, envelope: &Envelope) {
        let body = envelope.encode();
        if body.len() > limits::PEER_FRAME_BYTES_MAX {
            add(&self.counters.dropped, 1);
            let (length, max) = (body.len(), limits::PEER_FRAME_BYTES_MAX);
            self.peers.report(format!("an envelope of {length} bytes was not sent: at most {max} are allowed"));
            return;
        }
        if self.queue.borrow_mut().push(body) {
            add(&self.counters.waiting, 1);
            self.signal.raise();
        } else {
            add(&self.counters.dropped, 1);
        }
    }

    async fn run(self: Rc<Self>, mut random: Random) {
        let timeouts = self.peers.options.timeouts;
        let mut backoff = timeouts.backoff_min;
        // The first failure of many is reported, and that it is over.
        let mut failing = false;
        while !self.closed.get() {
            if self.queue.borrow().envelopes == 0 {
                self.signal.wait().await;
                continue;
            }
            let began = std::time::Instant::now();
            match self.connect().await {
                Ok(mut stream) => {
                    add(&self.counters.connects, 1);
                    if failing {
                        self.report("is reached again");
                    }
                    failing = false;
                    let connected = Connected::new(&self.counters, |counters| &counters.connected_out);
                    let ended = self.carry(&mut *stream).await;
                    drop(connected);
                    match ended {
                        Ok(()) => return,
                        Err(PeerError::Closed | PeerError::Io(_)) => {
                            tracing::debug!(node = %self.node, "the connection to a node ended");
                        }
                        Err(error) => self.report(&format!("ended the connection: {error}")),
                    }
                }
                Err(error) => {
                    add(&self.counters.connect_failures, 1);
                    let lost = self.queue.borrow_mut().clear();
                    subtract(&self.counters.waiting, lost);
                    add(&self.counters.dropped, lost);
                    if !std::mem::replace(&mut failing, true) {
                        self.report(&format!("cannot be reached: {error}"));
                    }
                }
            }
            // A node that takes connections and ends them at once must not be asked without pause.
            if began.elapsed() >= timeouts.backoff_max {
                backoff = timeouts.backoff_min;
            }
            self.pause(backoff, &mut random).await;
            backoff = (backoff * 2).min(timeouts.backoff_max);
        }
    }

    fn report(&self, what: &str) {
        self.peers.report(format!("node {} at {} {what}", self.node, self.address));
    }

    /// What is sent meanwhile waits for the next attempt.
    async fn pause(&self, backoff: Duration, random: &mut Random) {
        let jitter = Duration::from_micros(random.below(backoff.as_micros() as u64 / 2 + 1));
        let until = tokio::time::Instant::now() + backoff + jitter;
        while !self.closed.get() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.signal.wait() => {}
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, PeerError> {
        let options = &self.peers.options;
        let cluster = *options.cluster.get().ok_or(PeerError::NoCluster)?;
        let connecting = tokio::time::timeout(options.timeouts.connect, socket::connect(self.address, options.source));
        let stream = connecting.await.map_err(|_| PeerError::TimedOut("connecting"))??;
        let (source, destination, address) = (options.node, self.node, options.address);
        let hello = Hello::Envelopes { cluster, source, destination, address };
        let introduce = async {
            let mut stream: Box<dyn Stream> = match &options.security {
                Security::Insecure => Box::new(stream),
                Security::Tls(tls) => tls.get().ok_or(PeerError::NoCluster)?.connect(self.node, stream).await?,
            };
            wire::write_all(&mut *stream, &hello.encode()).await?;
            wire::read_answer(&mut *stream, &mut BytesMut::new(), limits::PEER_HELLO_BYTES_MAX).await?;
            Ok(stream)
        };
        let introduced = tokio::time::timeout(options.timeouts.hello, introduce).await;
        introduced.unwrap_or(Err(PeerError::TimedOut("the answer to the hello")))
    }

    /// Writes what comes until the link is closed, or the connection ends.
    async fn carry(&self, stream: &mut dyn Stream) -> Result<(), PeerError> {
        let mut said = BytesMut::new();
        loop {
            let (mut batch, envelopes) = self.queue.borrow_mut().take();
            if envelopes > 0 {
                let bytes = batch.remaining();
                let written = write_batch(stream, &mut batch).await;
                subtract(&self.counters.waiting, envelopes);
                if let Err(error) = written {
                    add(&self.counters.dropped, envelopes);
                    // The other side may have said why before it closed.
                    let said = wire::read_answer(stream, &mut said, limits::PEER_HELLO_BYTES_MAX);
                    return match tokio::time::timeout(limits::GOODBYE_TIMEOUT, said).await {
                        Ok(Err(refused @ PeerError::Refused(_))) => Err(refused),
                        _ => Err(error.into()),
                    };
                }
                add(&self.counters.envelopes_out, envelopes);
                add(&self.counters.bytes_out, bytes);
                continue;
            }
            if self.closed.get() {
                drop(stream.shutdown().await); // it is told that no more comes, if it still listens
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.signal.wait() => {}
                // Nothing is to come back but why the connection ends.
                answer = wire::read_answer(stream, &mut said, limits::PEER_HELLO_BYTES_MAX) => {
                    answer?;
                    return Err(PeerError::Damaged("an answer to nothing".to_string()));
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        subtract(&self.counters.waiting, self.queue.borrow_mut().clear());
    }
}

async fn write_batch(mut stream: &mut dyn Stream, batch: &mut Batch) -> std::io::Result<()> {
    (&mut stream).write_all_buf(batch).await?;
    stream.flush().await
}

/// Frames that wait to be written: short ones one after the other in one buffer, long ones as they are.
#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
    envelopes: usize,
}

impl Queue {
    /// False if there is no room.
    fn push(&mut self, body: Bytes) -> bool {
        let bytes = wire::FRAME_HEADER_BYTES + body.len();
        if self.envelopes >= limits::PEER_QUEUE_ENVELOPES_MAX || self.bytes + bytes > limits::PEER_QUEUE_BYTES_MAX {
            return false;
        }
        self.envelopes += 1;
        self.bytes += bytes;
        if body.len() <= limits::PEER_COPY_BYTES_MAX {
            wire::put_frame(&mut self.tail, &body);
            return true;
        }
        self.tail.extend_from_slice(&wire::frame_header(&body));
        self.chunks.push_back(self.tail.split().freeze());
        self.chunks.push_back(body);
        true
    }

    /// Everything, and how many envelopes that is.
    fn take(&mut self) -> (Batch, usize) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        let (bytes, envelopes) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.envelopes));
        (Batch { chunks: std::mem::take(&mut self.chunks), bytes }, envelopes)
    }

    /// How many envelopes are lost.
    fn clear(&mut self) -> usize {
        std::mem::take(self).envelopes
    }
}

/// Bytes in several pieces, written in one system call where possible.
struct Batch {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.chunks).map(|(slice, chunk)| *slice = IoSlice::new(chunk));
        filled.count()
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(chunk) = self.chunks.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::wire::{Taken, take_frame};

    #[test]
    fn a_queue_is_bounded_and_gives_back_what_it_was_given() {
        let mut queue = Queue::default();
        let bodies = [10, limits::PEER_COPY_BYTES_MAX + 1, 20, 0, limits::PEER_COPY_BYTES_MAX, 1 << 20];
        for (number, length) in bodies.iter().enumerate() {
            assert!(queue.push(Bytes::from(vec![number as u8; *length])));
        }
        let (mut batch, envelopes) = queue.take();
        assert_eq!(envelopes, bodies.len());
        let mut wire = BytesMut::new();
        while batch.has_remaining() {
            let step = batch.chunk().len().min(4099);
            wire.extend_from_slice(&batch.chunk()[..step]);
            batch.advance(step);
        }
        for (number, length) in bodies.iter().enumerate() {
            let Ok(Taken::Frame(body)) = take_frame(&mut wire, 2 << 20) else { panic!("frame {number}") };
            assert_eq!(body, vec![number as u8; *length]);
        }
        assert!(wire.is_empty());
        assert_eq!(queue.take().1, 0);

        let large = Bytes::from(vec![0; limits::PEER_FRAME_BYTES_MAX]);
        let taken = (0..20).filter(|_| queue.push(large.clone())).count();
        assert_eq!(taken, limits::PEER_QUEUE_BYTES_MAX / (large.len() + wire::FRAME_HEADER_BYTES));
        assert_eq!(queue.clear(), taken);
        let small = (0..limits::PEER_QUEUE_ENVELOPES_MAX + 9).filter(|_| queue.push(Bytes::new())).count();
        assert_eq!(small, limits::PEER_QUEUE_ENVELOPES_MAX);
    }
}
