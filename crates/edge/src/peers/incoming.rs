//! From other nodes to the shards: reads what was accepted, on the thread of one shard.

use super::figures::{Connected, add};
use super::request;
use super::socket;
use super::tls::Shown;
use super::wire::{self, Answer, Hello, PeerError, Stream, Taken};
use super::{Peers, Security};
use crate::clock::Clock;
use crate::connection::Accepted;
use crate::inbox::{Inbox, Input};
use crate::limits;
use bytes::{Bytes, BytesMut};
use holon_base::NodeId;
use holon_kernel::{Envelope, Shard};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The connections of other nodes that one shard reads.
pub(crate) struct Incoming {
    pub(crate) shard: Rc<Shard>,
    pub(crate) clock: Clock,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) peers: Arc<Peers>,
}

impl Incoming {
    pub(crate) fn open(self: &Rc<Self>, accepted: Accepted) {
        let from = accepted.peer;
        let all = self.clone();
        tokio::task::spawn_local(async move {
            let Accepted { stream, admission, .. } = accepted;
            let served = match TcpStream::from_std(stream) {
                Ok(stream) => all.serve(stream).await,
                Err(error) => Err(error.into()),
            };
            drop(admission);
            match served {
                Ok(()) => {}
                // An ordinary day; gossip tells of it.
                Err(error) if is_ordinary(&error) => {
                    tracing::debug!(%from, %error, "a connection from a node ended");
                }
                Err(error) => {
                    add(&all.peers.counters.refused, 1);
                    all.peers.report(format!("a connection from {} was ended: {error}", from.ip()));
                }
            }
        });
    }

    async fn serve(&self, stream: TcpStream) -> Result<(), PeerError> {
        socket::prepare(&stream)?;
        let timeout = self.peers.options.timeouts.hello;
        // One deadline for TLS and the hello together.
        let deadline = tokio::time::Instant::now() + timeout;
        let secured = tokio::time::timeout_at(deadline, self.secure(stream)).await;
        let (mut stream, shown) = secured.unwrap_or(Err(PeerError::TimedOut("the TLS handshake")))?;
        let mut buffer = BytesMut::new();
        let hello = tokio::time::timeout_at(deadline, wire::read_hello(&mut *stream, &mut buffer)).await;
        let hello = hello.unwrap_or(Err(PeerError::TimedOut("the hello")));
        let served = match hello {
            Ok(hello) => self.converse(&mut *stream, buffer, hello, &shown).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &served {
            say_goodbye(&mut *stream, error).await;
        }
        served
    }

    /// TLS, if nodes are to prove who they are.
    async fn secure(&self, mut stream: TcpStream) -> Result<(Box<dyn Stream>, Shown), PeerError> {
        let Security::Tls(tls) = &self.peers.options.security else {
            return Ok((Box::new(stream), Shown::Anything));
        };
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(PeerError::Closed);
        }
        let refused = match tls.get() {
            _ if first[0] != wire::TLS_HANDSHAKE => PeerError::SpeaksPlain,
            None => PeerError::NoCluster,
            Some(tls) => return tls.accept(stream).await,
        };
        if first[0] == wire::MAGIC[0] {
            say_goodbye(&mut stream, &refused).await; // one of ours, then, and without TLS it can be told
        }
        Err(refused)
    }

    async fn converse(
        &self,
        stream: &mut dyn Stream,
        mut buffer: BytesMut,
        hello: Hello,
        shown: &Shown,
    ) -> Result<(), PeerError> {
        match hello {
            Hello::Request => {
                let handler = self.peers.options.requests.get().ok_or(PeerError::NoRequests)?;
                wire::write_all(stream, &Answer::Welcome(Bytes::new()).encode()).await?;
                request::answer(stream, &mut buffer, handler, self.peers.options.timeouts.hello).await
            }
            Hello::Envelopes { cluster, source, destination, address } => {
                shown.prove(source)?;
                self.check(cluster, source, destination)?;
                tracing::debug!(node = %source, %address, "a node has connected");
                wire::write_all(stream, &Answer::Welcome(Bytes::new()).encode()).await?;
                self.receive(stream, buffer, source).await
            }
        }
    }

    fn check(&self, theirs: u128, source: NodeId, meant: NodeId) -> Result<(), PeerError> {
        let options = &self.peers.options;
        let ours = *options.cluster.get().ok_or(PeerError::NoCluster)?;
        if theirs != ours {
            return Err(PeerError::WrongCluster { theirs, ours });
        }
        if meant != options.node {
            return Err(PeerError::NotTheNodeMeant { meant, me: options.node });
        }
        if self.peers.is_removed(source) {
            return Err(PeerError::NoMember(source));
        }
        Ok(())
    }

    /// Envelopes of one node until its connection ends.
    async fn receive(&self, stream: &mut dyn Stream, mut buffer: BytesMut, source: NodeId) -> Result<(), PeerError> {
        let counters = self.peers.counters.of(source, self.shard.id());
        let _connected = Connected::new(&counters, |counters| &counters.connected_in);
        loop {
            if self.peers.is_removed(source) {
                return Err(PeerError::NoMember(source));
            }
            // Deadlines are counted from the shard's time, which stands still while it sleeps.
            self.clock.advance(&self.shard);
            let missing = loop {
                match wire::take_frame(&mut buffer, limits::PEER_FRAME_BYTES_MAX)? {
                    Taken::Frame(body) => {
                        counters.envelopes_in.fetch_add(1, Ordering::Relaxed);
                        self.deliver(body, source)?;
                    }
                    Taken::Missing(missing) => break missing,
                }
            };
            if buffer.is_empty() && buffer.capacity() > 2 * limits::PEER_READ_BYTES {
                buffer = BytesMut::new(); // a long frame is over
            }
            wire::make_room(&mut buffer, missing.max(limits::PEER_READ_BYTES));
            let room = buffer.capacity() - buffer.len();
            let count = stream.read_buf(&mut buffer).await?;
            add(&counters.bytes_in, count);
            if count == 0 {
                return if buffer.is_empty() { Ok(()) } else { Err(PeerError::Cut) };
            }
            if count == room {
                // More is there already: the shard has its turn first.
                tokio::task::yield_now().await;
            }
        }
    }

    fn deliver(&self, body: Bytes, source: NodeId) -> Result<(), PeerError> {
        let mut envelope = Envelope::decode(body)?;
        if envelope.source.node != source {
            return Err(PeerError::WrongSource { said: source, envelope: envelope.source.node });
        }
        envelope.settle(u16::try_from(self.inboxes.len()).unwrap_or(u16::MAX));
        let destination = envelope.destination;
        if destination == self.shard.address() {
            self.shard.deliver(envelope);
            return Ok(());
        }
        match self.inboxes.get(usize::from(destination.shard.0)) {
            Some(inbox) if destination.node == self.shard.node() => inbox.push(Input::Envelope(envelope)),
            _ => add(&self.peers.counters.misdirected, 1),
        }
        Ok(())
    }
}

/// Nodes that stop, or are cut off. Bytes that make no sense to TLS are not that.
fn is_ordinary(error: &PeerError) -> bool {
    match error {
        PeerError::Closed => true,
        PeerError::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Says why, as far as the other side still listens and speaks our language. A socket closed with input unread is reset, and the reason
/// may get lost; so only our half is closed, and what still comes is thrown away for a moment.
async fn say_goodbye(stream: &mut dyn Stream, error: &PeerError) {
    let stranger = matches!(error, PeerError::SpeaksTls | PeerError::Magic(_) | PeerError::Closed);
    let farewell = async {
        if !stranger {
            let reason = Answer::Refused(wire::one_line(&error.to_string()));
            wire::write_all(stream, &reason.encode()).await?;
        }
        stream.shutdown().await?;
        let mut discarded = vec![0; limits::READ_BYTES];
        let mut left = limits::GOODBYE_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut discarded).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok::<(), PeerError>(())
    };
    drop(tokio::time::timeout(limits::GOODBYE_TIMEOUT, farewell).await);
}
