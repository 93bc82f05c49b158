//! Requests to tablets and services, on this shard and elsewhere, and what comes of them.
//!
//! A request for a tablet bears the epoch of the map by which it was routed: of when its replicas were looked up, not of
//! when it is sent, since it may have to wait in between, and go to replicas that are none any more.

use super::Shard;
use crate::envelope::{Address, CallError, Envelope, EnvelopeKind, Target, Verb};
use crate::executor::{Class, Scope};
use crate::limits;
use crate::owed::OwedAnswer;
use crate::permit::Pool;
use bytes::Bytes;
use holon_base::{Instant, NodeId, TabletId};

/// The correlation of a request nobody waits for the answer of; [`Shard::unique_id`] does not give it.
const NO_REPLY: u64 = 0;

/// What is asked of a tablet or a service.
struct Request {
    target: Target,
    verb: Verb,
    payload: Bytes,
    /// Of the map that it was routed by.
    epoch: u64,
}

impl Shard {
    /// Asks this node's replica of a tablet. On this shard it runs in place; elsewhere an envelope goes out and the reply
    /// is awaited until the deadline. Routed by the map as it is when this is first polled.
    pub async fn call_tablet(
        &self,
        tablet: TabletId,
        verb: Verb,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        self.call_replica(self.node(), tablet, self.map_epoch(), verb, payload, deadline).await
    }

    /// Asks the replica of a tablet on any node, which the map of an epoch says has it. Which of its cores has it, that node
    /// knows best: the shard in the address is the one it would be with as many cores as here, and whoever takes the envelope
    /// in corrects it.
    pub async fn call_replica(
        &self,
        node: NodeId,
        tablet: TabletId,
        epoch: u64,
        verb: Verb,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let to = Address { node, shard: tablet.shard(self.shards) };
        self.call_by(to, Request { target: Target::Tablet(tablet), verb, payload, epoch }, deadline, false).await
    }

    /// A message without an answer: it may get lost, and nobody is told.
    pub fn send(&self, destination: Address, target: Target, verb: Verb, payload: Bytes) {
        self.router.borrow_mut().send(Envelope {
            source: self.address,
            destination,
            correlation: NO_REPLY,
            map_epoch: 0,
            clock: self.clock.node.last(),
            kind: EnvelopeKind::Request { target, verb, remaining: limits::CALL_TIMEOUT_DEFAULT },
            payload,
        });
    }

    /// Asks a service, or a tablet by the map as it is when this is first polled.
    pub async fn call(
        &self,
        destination: Address,
        target: Target,
        verb: Verb,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let request = Request { target, verb, payload, epoch: self.map_epoch() };
        self.call_by(destination, request, deadline, false).await
    }

    /// As [`Shard::call`], also to a node that seems dead: it may be this one whom nobody talks to any more.
    pub async fn call_dead_or_alive(
        &self,
        destination: Address,
        target: Target,
        verb: Verb,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        let request = Request { target, verb, payload, epoch: self.map_epoch() };
        self.call_by(destination, request, deadline, true).await
    }

    async fn call_by(
        &self,
        destination: Address,
        request: Request,
        deadline: Instant,
        even_if_dead: bool,
    ) -> Result<Bytes, CallError> {
        if destination == self.address {
            let work = self.take(self.address, request);
            return self.timeout(deadline, work).await.unwrap_or(Err(CallError::Timeout));
        }
        let work = self.call_remote(destination, request, deadline, even_if_dead);
        self.timeout(deadline, work).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn call_remote(
        &self,
        destination: Address,
        request: Request,
        deadline: Instant,
        even_if_dead: bool,
    ) -> Result<Bytes, CallError> {
        let credit = self.credit(destination).acquire(1).await;
        let correlation = self.unique_id();
        let (completer, reply) = self.ticket();
        if !even_if_dead && !self.is_alive(destination.node) {
            return Err(CallError::Gone);
        }
        self.replies.borrow_mut().insert(correlation, (destination.node, completer));
        // Forgets the slot however this future ends, so that a late reply finds nobody and is dropped.
        let slot = ReplySlot { shard: self, correlation };
        let Request { target, verb, payload, epoch } = request;
        self.router.borrow_mut().send(Envelope {
            source: self.address,
            destination,
            correlation,
            map_epoch: epoch,
            clock: self.clock.node.last(),
            kind: EnvelopeKind::Request { target, verb, remaining: deadline.since(self.now()) },
            payload,
        });
        let answer = reply.await;
        drop(slot);
        drop(credit);
        answer.unwrap_or(Err(CallError::Gone))
    }

    fn credit(&self, peer: Address) -> Pool {
        let mut credits = self.credits.borrow_mut();
        credits.entry(peer).or_insert_with(|| self.pool("credit", limits::CREDIT_PER_PEER_REQUESTS)).clone()
    }

    /// Carries a request out, unless its tablet has moved since the map that it was routed by, or does so meanwhile.
    async fn take(&self, from: Address, request: Request) -> Result<Bytes, CallError> {
        let Request { target, verb, payload, epoch } = request;
        self.check_epoch(from.node, target, epoch).await?;
        let answer = self.execute(from, target, verb, payload).await?;
        self.check_moved(target, verb, epoch).map(|()| answer)
    }

    async fn execute(&self, from: Address, target: Target, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        match target {
            Target::Service(id) => {
                let service = self.service(id).ok_or(CallError::NotHere)?;
                service.message(from, verb, payload).await
            }
            Target::Tablet(id) => {
                let tablet = self.tablets.borrow().get(&id).cloned().ok_or(CallError::NotHere)?;
                match verb {
                    Verb::APPLY => tablet.apply(payload).await,
                    Verb::READ => tablet.read(payload).await,
                    Verb::DIGEST => tablet.digest(payload).await,
                    _ => Err(CallError::NotHere),
                }
            }
        }
    }

    pub(crate) fn reply(&self, destination: Address, correlation: u64, answer: Result<Bytes, CallError>) {
        let (kind, payload) = match answer {
            Ok(payload) => (EnvelopeKind::Reply(Ok(())), payload),
            Err(error) => (EnvelopeKind::Reply(Err(error)), Bytes::new()),
        };
        let (source, map_epoch, clock) = (self.address, self.map_epoch(), self.clock.node.last());
        let reply = Envelope { source, destination, correlation, map_epoch, clock, kind, payload };
        self.router.borrow_mut().send(reply);
    }

    /// An envelope has arrived.
    pub fn deliver(&self, envelope: Envelope) {
        self.clock.node.observe(envelope.clock, self.wall());
        match envelope.kind {
            EnvelopeKind::Reply(outcome) => {
                if outcome == Err(CallError::NotHere) {
                    self.refused_by(envelope.source.node, envelope.map_epoch);
                }
                let waiting = self.replies.borrow_mut().remove(&envelope.correlation);
                if let Some((_, completer)) = waiting {
                    completer.complete(outcome.map(|()| envelope.payload));
                }
            }
            EnvelopeKind::Request { target, verb, remaining } => {
                let shard = self.me();
                let scope = match target {
                    Target::Tablet(id) => Scope::Tablet(id),
                    Target::Service(_) => Scope::Node,
                };
                let deadline = self.now() + remaining;
                let waits = envelope.correlation != NO_REPLY;
                let mut owed = waits.then(|| OwedAnswer::to(&shard, envelope.source, envelope.correlation));
                let request = Request { target, verb, payload: envelope.payload, epoch: envelope.map_epoch };
                self.spawn(scope, Class::Foreground, async move {
                    let work = async {
                        if matches!(target, Target::Tablet(_)) && !shard.takes_tablet_requests.get() {
                            return Err(CallError::Overloaded);
                        }
                        shard.take(envelope.source, request).await
                    };
                    // Past its deadline nobody waits for the reply.
                    let answer = shard.timeout(deadline, work).await.ok();
                    owed.iter_mut().for_each(|owed| owed.answer(answer.clone()));
                });
            }
        }
    }
}

struct ReplySlot<'a> {
    shard: &'a Shard,
    correlation: u64,
}

impl Drop for ReplySlot<'_> {
    fn drop(&mut self) {
        let forgotten = self.shard.replies.borrow_mut().remove(&self.correlation);
        drop(forgotten);
    }
}
