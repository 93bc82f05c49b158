//! Messages between shards, of one node or of two: the same thing, delivered at most once, in no promised order.

use holon_base::{ByteReader, ByteWriter, NodeId, ServiceId, ShardId, ShortInput, TabletId};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

/// The format of [`Envelope::encode`].
pub const ENVELOPE_VERSION: u8 = 2;

/// A shard of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub node: NodeId,
    pub shard: ShardId,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Tablet(TabletId),
    /// The part of a service that lives on the shard itself (recovery barriers, metadata entries, …).
    Service(ServiceId),
}

/// What a tablet is asked; a service gives the numbers above [`Verb::SERVICE_FIRST`] its own meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb(pub u8);

impl Verb {
    /// Change the tablet; acknowledged when it will survive as its keyspace promises.
    pub const APPLY: Verb = Verb(1);
    pub const READ: Verb = Verb(2);
    /// A digest of a range, for comparing replicas.
    pub const DIGEST: Verb = Verb(3);
    pub const SERVICE_FIRST: u8 = 16;
}

#[derive(Clone, Debug, PartialEq)]
pub enum EnvelopeKind {
    Request { target: Target, verb: Verb, remaining: Duration },
    Reply(Result<(), CallError>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub source: Address,
    pub destination: Address,
    /// Matches a reply to its request; unique at the source while it runs.
    pub correlation: u64,
    /// Of the tablet map the request was routed by: an outdated one is refused and routed anew. Of a reply: of whoever answers.
    pub map_epoch: u64,
    /// The latest timestamp that the source has given or heard of, microseconds: [`crate::NodeClock::observe`].
    pub clock: i64,
    pub kind: EnvelopeKind,
    /// The request's argument, or the answer (of a service's own error, too: see [`CallError::Failed`]).
    pub payload: Bytes,
}

/// Why a call has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// The outcome is unknown: the request may still take effect.
    #[error("no answer before the deadline: the outcome is unknown")]
    Timeout,
    /// Nothing was done: it has too much to do, or is only starting.
    #[error("too many requests in flight to that shard: try again later")]
    Overloaded,
    /// Nothing was done that counts: a change of a tablet that began to move meanwhile may be there, and has to be made again.
    #[error("no such tablet here: the map has changed, route again")]
    NotHere,
    /// The outcome is unknown.
    #[error("the shard or node is gone: the outcome is unknown")]
    Gone,
    /// The service answered with an error of its own, encoded by it.
    #[error("the service refused ({} bytes of its own error)", .0.len())]
    Failed(Bytes),
}

impl CallError {
    fn code(&self) -> u8 {
        match self {
            CallError::Timeout => 1,
            CallError::Overloaded => 2,
            CallError::NotHere => 3,
            CallError::Gone => 4,
            CallError::Failed(_) => 5,
        }
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum EnvelopeError {
    #[error("envelope: {0}")]
    Short(#[from] ShortInput),
    #[error("envelope format {0} is not known here (known: {ENVELOPE_VERSION}): upgrade the older node")]
    Version(u8),
    #[error("envelope: unknown {what} {value}")]
    Unknown { what: &'static str, value: u8 },
}

impl Envelope {
    /// Puts right which core of this node (of so many) it is for: the sender may not know how many there are.
    pub fn settle(&mut self, shards: u16) {
        if let EnvelopeKind::Request { target: Target::Tablet(tablet), .. } = self.kind {
            self.destination.shard = tablet.shard(shards);
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(96 + self.payload.len());
        out.put_u8(ENVELOPE_VERSION);
        for address in [self.source, self.destination] {
            out.put_u128(address.node.0);
            out.put_u16(address.shard.0);
        }
        out.put_varint(self.correlation);
        out.put_varint(self.map_epoch);
        out.put_varint(self.clock.max(0).cast_unsigned());
        match &self.kind {
            EnvelopeKind::Request { target, verb, remaining } => {
                match target {
                    Target::Tablet(tablet) => {
                        out.put_u8(0);
                        out.put_varint(tablet.0);
                    }
                    Target::Service(service) => {
                        out.put_u8(1);
                        out.put_varint(u64::from(service.0));
                    }
                }
                out.put_u8(verb.0);
                out.put_varint(u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX));
            }
            EnvelopeKind::Reply(Ok(())) => {
                out.put_u8(2);
                out.put_u8(0);
            }
            EnvelopeKind::Reply(Err(error)) => {
                out.put_u8(2);
                out.put_u8(error.code());
            }
        }
        match &self.kind {
            EnvelopeKind::Reply(Err(CallError::Failed(detail))) => out.put_prefixed(detail),
            _ => out.put_prefixed(&self.payload),
        }
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<Envelope, EnvelopeError> {
        let mut input = ByteReader::new(bytes);
        let version = input.u8()?;
        if version != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let mut address = || Ok::<_, ShortInput>(Address { node: NodeId(input.u128()?), shard: ShardId(input.u16()?) });
        let (source, destination) = (address()?, address()?);
        let (correlation, map_epoch) = (input.varint()?, input.varint()?);
        let clock = i64::try_from(input.varint()?).unwrap_or(i64::MAX);
        let (kind, payload) = match input.u8()? {
            2 => {
                let code = input.u8()?;
                let payload = input.prefixed()?;
                match code {
                    0 => (EnvelopeKind::Reply(Ok(())), payload),
                    _ => (EnvelopeKind::Reply(Err(call_error(code, payload)?)), Bytes::new()),
                }
            }
            what => {
                let number = input.varint()?;
                let target = match what {
                    0 => Target::Tablet(TabletId(number)),
                    1 => Target::Service(ServiceId(number as u16)),
                    value => return Err(EnvelopeError::Unknown { what: "kind", value }),
                };
                let verb = Verb(input.u8()?);
                let remaining = Duration::from_micros(input.varint()?);
                (EnvelopeKind::Request { target, verb, remaining }, input.prefixed()?)
            }
        };
        input.end()?;
        Ok(Envelope { source, destination, correlation, map_epoch, clock, kind, payload })
    }
}

fn call_error(code: u8, detail: Bytes) -> Result<CallError, EnvelopeError> {
    Ok(match code {
        1 => CallError::Timeout,
        2 => CallError::Overloaded,
        3 => CallError::NotHere,
        4 => CallError::Gone,
        5 => CallError::Failed(detail),
        value => return Err(EnvelopeError::Unknown { what: "error code", value }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_survive_the_wire_and_cut_ones_are_refused() {
        let address = |n| Address { node: NodeId(n), shard: ShardId(3) };
        let request =
            |target| EnvelopeKind::Request { target, verb: Verb::APPLY, remaining: Duration::from_millis(250) };
        let kinds = [
            request(Target::Tablet(TabletId(77))),
            request(Target::Service(ServiceId(2))),
            EnvelopeKind::Reply(Ok(())),
            EnvelopeKind::Reply(Err(CallError::Overloaded)),
            EnvelopeKind::Reply(Err(CallError::Failed(Bytes::from_static(b"why")))),
        ];
        for kind in kinds {
            let payload = match kind {
                EnvelopeKind::Reply(Err(_)) => Bytes::new(),
                _ => Bytes::from_static(b"payload"),
            };
            let (source, destination) = (address(1), address(2));
            let envelope =
                Envelope { source, destination, correlation: 9, map_epoch: 300, clock: 1 << 50, kind, payload };
            let bytes = envelope.encode();
            assert_eq!(Envelope::decode(bytes.clone()), Ok(envelope));
            for cut in 0..bytes.len() {
                assert!(Envelope::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
            }
        }
        assert_eq!(Envelope::decode(Bytes::from_static(&[9])), Err(EnvelopeError::Version(9)));
    }
}
