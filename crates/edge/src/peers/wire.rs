//! What nodes say to each other, as bytes.
//!
//! ```text
//!   connecting side                              accepting side
//!   "HOLN" hello frame                      ──►
//!                                           ◄──  answer frame: welcome, or refused with a reason
//!   envelope frame, envelope frame, …       ──►  nothing more, but for a reason before it closes
//! or
//!   request frame                           ──►
//!                                           ◄──  reply frame: done with bytes, or failed with a reason
//!
//!   frame = length u32 · CRC-32C of the body u32 · body      (little endian; the length is that of the body)
//!   hello = version u8 · purpose u8 · cluster u128 · source u128 · destination u128 · source's peers address
//! ```
//!
//! Numbers in bodies are as `holon_base::ByteWriter` writes them. A length is checked before memory is taken for it.

use crate::limits;
use bytes::{Bytes, BytesMut};
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};
use holon_kernel::envelope::EnvelopeError;
use std::net::SocketAddr;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Of the hello and of everything after it.
pub const PEER_PROTOCOL_VERSION: u8 = 1;

pub(crate) const MAGIC: [u8; 4] = *b"HOLN";
pub(crate) const FRAME_HEADER_BYTES: usize = 8;

/// The first byte of a TLS connection (a handshake record).
pub(crate) const TLS_HANDSHAKE: u8 = 22;

/// A TCP connection, or TLS on one.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Why a connection between nodes ended, or did not begin.
#[derive(Debug, Error)]
pub enum PeerError {
    #[error("it began TLS, and this node speaks without (--insecure): start both nodes the same way")]
    SpeaksTls,
    #[error("it began without TLS, and this node requires it: start both nodes the same way")]
    SpeaksPlain,
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("it showed no certificate: only who joins may go without")]
    NoCertificate,
    #[error("it said it was node {said}, and its certificate is not for that node")]
    WrongCertificate { said: NodeId },
    #[error("it does not speak the peer protocol of Holon (it began with {0:02x?})")]
    Magic([u8; 4]),
    #[error("peer protocol version {0} is not known here (known: {PEER_PROTOCOL_VERSION}): upgrade the older node")]
    Version(u8),
    #[error("a hello with an unknown purpose {0}")]
    Purpose(u8),
    #[error("a damaged hello or answer: {0}")]
    Damaged(String),
    #[error("a frame of {length} bytes, and at most {max} are allowed here")]
    TooLong { length: usize, max: usize },
    #[error("a frame with a wrong checksum (says {says:08x}, is {is:08x})")]
    Checksum { says: u32, is: u32 },
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("this node belongs to no cluster yet")]
    NoCluster,
    #[error("it belongs to cluster {theirs:032x}, this node to {ours:032x}")]
    WrongCluster { theirs: u128, ours: u128 },
    #[error("it looked for node {meant}, and this is node {me}")]
    NotTheNodeMeant { meant: NodeId, me: NodeId },
    #[error("it said it was node {said}, and sent an envelope of node {envelope}")]
    WrongSource { said: NodeId, envelope: NodeId },
    #[error("node {0} is no member of this cluster any more")]
    NoMember(NodeId),
    #[error("requests are not answered here")]
    NoRequests,
    /// What the other side said.
    #[error("refused: {0}")]
    Refused(String),
    #[error("cut off in the middle of a frame")]
    Cut,
    #[error("the other side closed the connection")]
    Closed,
    #[error("{0} took too long")]
    TimedOut(&'static str),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<ShortInput> for PeerError {
    fn from(short: ShortInput) -> PeerError {
        PeerError::Damaged(short.to_string())
    }
}

/// What a connection is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// Envelopes follow, all of them from `source`.
    Envelopes { cluster: u128, source: NodeId, destination: NodeId, address: SocketAddr },
    /// One request follows, from whoever it is.
    Request,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let mut body = ByteWriter::with_capacity(128);
        body.put_u8(PEER_PROTOCOL_VERSION);
        match self {
            Hello::Envelopes { cluster, source, destination, address } => {
                body.put_u8(0);
                body.put_u128(*cluster);
                body.put_u128(source.0);
                body.put_u128(destination.0);
                body.put_prefixed(address.to_string().as_bytes());
            }
            Hello::Request => body.put_u8(1),
        }
        let mut out = BytesMut::from(&MAGIC[..]);
        put_frame(&mut out, body.as_slice());
        out.freeze()
    }

    pub(crate) fn decode(body: Bytes) -> Result<Hello, PeerError> {
        let mut input = ByteReader::new(body);
        // Only the version is the same in all versions.
        let version = input.u8()?;
        if version != PEER_PROTOCOL_VERSION {
            return Err(PeerError::Version(version));
        }
        let hello = match input.u8()? {
            0 => {
                let (cluster, source, destination) = (input.u128()?, NodeId(input.u128()?), NodeId(input.u128()?));
                let text = input.prefixed_str()?;
                let address = text.parse().map_err(|_| PeerError::Damaged(format!("{text:?} is no address")))?;
                Hello::Envelopes { cluster, source, destination, address }
            }
            1 => Hello::Request,
            purpose => return Err(PeerError::Purpose(purpose)),
        };
        input.end()?;
        Ok(hello)
    }
}

/// The accepting side's word on a hello or a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Go on; or: done, and this is what came of it.
    Welcome(Bytes),
    Refused(String),
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let (code, detail) = match self {
            Answer::Welcome(detail) => (0, &detail[..]),
            Answer::Refused(reason) => (1, reason.as_bytes()),
        };
        let mut body = ByteWriter::with_capacity(1 + detail.len());
        body.put_u8(code);
        body.put_slice(detail);
        let mut out = BytesMut::with_capacity(FRAME_HEADER_BYTES + body.len());
        put_frame(&mut out, body.as_slice());
        out.freeze()
    }

    pub(crate) fn decode(body: Bytes) -> Result<Answer, PeerError> {
        let mut input = ByteReader::new(body);
        match input.u8()? {
            0 => Ok(Answer::Welcome(input.rest())),
            1 => Ok(Answer::Refused(one_line(&String::from_utf8_lossy(&input.rest())))),
            code => Err(PeerError::Damaged(format!("unknown answer {code}"))),
        }
    }
}

/// What strangers say goes into the log: no line of theirs may look like one of ours, nor fill it.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(limits::PEER_REASON_CHARACTERS_MAX).collect()
}

/// The eight bytes before a body.
pub(crate) fn frame_header(body: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    let length =
        u32::try_from(body.len()).expect("bodies are checked against their limit first, which is far below 4 GiB");
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4..].copy_from_slice(&holon_base::crc32c(body).to_le_bytes());
    header
}

pub(crate) fn put_frame(out: &mut BytesMut, body: &[u8]) {
    out.extend_from_slice(&frame_header(body));
    out.extend_from_slice(body);
}

/// What the front of a buffer holds.
pub(crate) enum Taken {
    Frame(Bytes),
    /// So many more bytes are missing at least.
    Missing(usize),
}

/// Takes a whole frame from the front, if there is one.
pub(crate) fn take_frame(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Taken, PeerError> {
    let number = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(buffer.get(at..at + 4)?.try_into().ok()?)) };
    let (Some(length), Some(says)) = (number(0), number(4)) else {
        return Ok(Taken::Missing(FRAME_HEADER_BYTES - buffer.len()));
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > body_bytes_max {
        return Err(PeerError::TooLong { length, max: body_bytes_max });
    }
    let whole = FRAME_HEADER_BYTES + length;
    if buffer.len() < whole {
        return Ok(Taken::Missing(whole - buffer.len()));
    }
    let is = holon_base::crc32c(&buffer[FRAME_HEADER_BYTES..whole]);
    if is != says {
        return Err(PeerError::Checksum { says, is });
    }
    let mut frame = buffer.split_to(whole);
    let body = frame.split_off(FRAME_HEADER_BYTES);
    // A small payload that lives long must not keep a whole read buffer alive with it; a large one is not worth copying.
    let copied = length <= limits::PEER_COPY_BYTES_MAX;
    Ok(Taken::Frame(if copied { Bytes::copy_from_slice(&body) } else { body.freeze() }))
}

/// Makes room for what is missing, but never for much more than has come already: whoever announces a long frame and
/// does not send it costs nothing.
pub(crate) fn make_room(buffer: &mut BytesMut, missing: usize) {
    let room = missing.min(buffer.len().max(limits::PEER_READ_BYTES));
    buffer.reserve(room.max(limits::READ_BYTES));
}

/// Reads until there is a whole frame. May be dropped and called again.
pub(crate) async fn read_frame(
    stream: &mut dyn Stream,
    buffer: &mut BytesMut,
    body_bytes_max: usize,
) -> Result<Bytes, PeerError> {
    loop {
        match take_frame(buffer, body_bytes_max)? {
            Taken::Frame(body) => return Ok(body),
            Taken::Missing(missing) => make_room(buffer, missing),
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(if buffer.is_empty() { PeerError::Closed } else { PeerError::Cut });
        }
    }
}

pub(crate) async fn read_hello(stream: &mut dyn Stream, buffer: &mut BytesMut) -> Result<Hello, PeerError> {
    while buffer.len() < MAGIC.len() {
        buffer.reserve(limits::PEER_HELLO_BYTES_MAX);
        if stream.read_buf(buffer).await? == 0 {
            return Err(PeerError::Closed);
        }
    }
    let began = buffer.split_to(MAGIC.len());
    if began[..] != MAGIC {
        if began[0] == TLS_HANDSHAKE {
            return Err(PeerError::SpeaksTls);
        }
        return Err(PeerError::Magic([began[0], began[1], began[2], began[3]]));
    }
    Hello::decode(read_frame(stream, buffer, limits::PEER_HELLO_BYTES_MAX).await?)
}

pub(crate) async fn read_answer(
    stream: &mut dyn Stream,
    buffer: &mut BytesMut,
    body_bytes_max: usize,
) -> Result<Bytes, PeerError> {
    match Answer::decode(read_frame(stream, buffer, body_bytes_max).await?)? {
        Answer::Welcome(detail) => Ok(detail),
        Answer::Refused(reason) => Err(PeerError::Refused(reason)),
    }
}

pub(crate) async fn write_all(stream: &mut dyn Stream, bytes: &[u8]) -> Result<(), PeerError> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    Ok(())
}
