//! One request and its reply with a node one is no member with yet: how a node joins.

use super::RequestHandler;
use super::socket;
use super::tls;
use super::wire::{self, Answer, Hello, PeerError, Stream};
use crate::limits;
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum AskError {
    /// Nothing was done there.
    #[error("{address} cannot be asked: {source}")]
    Unreachable { address: SocketAddr, source: PeerError },
    /// The outcome is unknown.
    #[error("{address} gave no answer: {source}")]
    NoAnswer { address: SocketAddr, source: PeerError },
    /// Its own words.
    #[error("{address} refused: {reason}")]
    Refused { address: SocketAddr, reason: String },
    #[error("a request of {length} bytes, and at most {} are allowed", limits::PEER_REQUEST_BYTES_MAX)]
    TooLong { length: usize },
}

/// Whom [`ask`] believes that it is asking a member.
#[derive(Clone, Copy, Debug)]
pub enum Trust {
    /// Whoever answers, over plain TCP (`--insecure`).
    Anyone,
    /// A node with a certificate of the authority with this fingerprint ([`super::JoinToken::authority`]).
    Authority([u8; 32]),
}

/// Sends a request to a node's door for peers and gives its reply.
///
/// # Errors
/// When it cannot be reached, does not answer before `timeout`, or refuses.
pub async fn ask(address: SocketAddr, trust: Trust, request: Bytes, timeout: Duration) -> Result<Bytes, AskError> {
    if request.len() > limits::PEER_REQUEST_BYTES_MAX {
        return Err(AskError::TooLong { length: request.len() });
    }
    let deadline = tokio::time::Instant::now() + timeout;
    let mut buffer = BytesMut::new();
    let connected = tokio::time::timeout_at(deadline, connect(address, trust, &mut buffer)).await;
    let unreachable = |source| match source {
        PeerError::Refused(reason) => AskError::Refused { address, reason },
        source => AskError::Unreachable { address, source },
    };
    let mut stream = connected.unwrap_or(Err(PeerError::TimedOut("connecting"))).map_err(unreachable)?;
    let exchange = async {
        let mut frame = BytesMut::with_capacity(wire::FRAME_HEADER_BYTES + request.len());
        wire::put_frame(&mut frame, &request);
        wire::write_all(&mut *stream, &frame).await?;
        wire::read_answer(&mut *stream, &mut buffer, limits::PEER_REPLY_BYTES_MAX).await
    };
    let answered = tokio::time::timeout_at(deadline, exchange).await;
    answered.unwrap_or(Err(PeerError::TimedOut("the answer"))).map_err(|source| match source {
        PeerError::Refused(reason) => AskError::Refused { address, reason },
        source => AskError::NoAnswer { address, source },
    })
}

async fn connect(address: SocketAddr, trust: Trust, buffer: &mut BytesMut) -> Result<Box<dyn Stream>, PeerError> {
    let stream = socket::connect(address, None).await?;
    let mut stream: Box<dyn Stream> = match trust {
        Trust::Anyone => Box::new(stream),
        Trust::Authority(fingerprint) => tls::connect_to_member(fingerprint, stream).await?,
    };
    wire::write_all(&mut *stream, &Hello::Request.encode()).await?;
    wire::read_answer(&mut *stream, buffer, limits::PEER_HELLO_BYTES_MAX).await?;
    Ok(stream)
}

/// The accepting side, after the hello.
pub(crate) async fn answer(
    stream: &mut dyn Stream,
    buffer: &mut BytesMut,
    handler: &RequestHandler,
    read_timeout: Duration,
) -> Result<(), PeerError> {
    let request = wire::read_frame(stream, buffer, limits::PEER_REQUEST_BYTES_MAX);
    let request = tokio::time::timeout(read_timeout, request).await;
    let request = request.unwrap_or(Err(PeerError::TimedOut("the request")))?;
    let reply = tokio::time::timeout(limits::PEER_REQUEST_TIMEOUT, handler(request)).await;
    let reply = reply.map_err(|_| PeerError::TimedOut("answering the request"))?;
    let answer = match reply {
        Ok(reply) if reply.len() < limits::PEER_REPLY_BYTES_MAX => Answer::Welcome(reply),
        Ok(reply) => Answer::Refused(format!("the reply of {} bytes is too long", reply.len())),
        Err(reason) => Answer::Refused(wire::one_line(&reason)),
    };
    let write = async {
        wire::write_all(stream, &answer.encode()).await?;
        tokio::io::AsyncWriteExt::shutdown(stream).await?;
        Ok(())
    };
    tokio::time::timeout(read_timeout, write).await.unwrap_or(Err(PeerError::TimedOut("sending the reply")))
}
