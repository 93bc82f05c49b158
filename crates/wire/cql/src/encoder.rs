//! The sending side of a connection: messages to bytes, many of them into one buffer.
//!
//! In v5 the messages of a buffer share self-contained segments; a message larger than a segment is spread over several
//! of its own. A message that cannot be written leaves no trace.

use bytes::{Bytes, BytesMut};

use crate::compression::Compression;
use crate::error::CqlError;
use crate::frame::{Flags, HEADER_LENGTH, Header, Opcode, Version};
use crate::limits::{COMPRESSED_BYTES_MIN, ENVELOPE_BODY_BYTES_WRITABLE, SEGMENT_PAYLOAD_BYTES_MAX};
use crate::notation::Writer;
use crate::request::RequestMessage;
use crate::response::{ErrorCode, ResponseMessage};
use crate::segment;

/// Turns messages into bytes.
#[derive(Debug)]
pub struct Encoder {
    version: Version,
    compression: Option<Compression>,
    segmented: bool,
    out: BytesMut,
    /// Where the segment that is being filled starts in `out`.
    open_segment: Option<usize>,
}

impl Encoder {
    /// An encoder for a connection that has not negotiated anything yet. A server sets the version of each request with
    /// `set_version` until STARTUP fixes it.
    pub fn new(version: Version) -> Encoder {
        Encoder { version, compression: None, segmented: false, out: BytesMut::new(), open_segment: None }
    }

    /// The version that is written.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sets the version of messages before STARTUP: OPTIONS may come in another one. Of no effect after `negotiated`.
    pub fn set_version(&mut self, version: Version) {
        if !self.segmented && self.compression.is_none() {
            self.version = version;
        }
    }

    /// Fixes version and compression. A server calls it right after it has written READY or AUTHENTICATE as the answer
    /// to STARTUP, a client when it has got that answer. What is written from here on is segmented in v5.
    pub fn negotiated(&mut self, version: Version, compression: Option<Compression>) {
        self.version = version;
        self.compression = compression;
        self.segmented = version >= Version::V5;
    }

    /// Appends a response.
    ///
    /// # Errors
    /// A message that the version or the length fields cannot express. Nothing is written then: answer with another.
    pub fn response(&mut self, message: &ResponseMessage) -> Result<(), CqlError> {
        let opcode = message.response.opcode();
        self.envelope(message.stream, opcode, |version, out| message.encode_body(version, out))
    }

    /// Appends a request.
    ///
    /// # Errors
    /// A message that the version or the length fields cannot express. Nothing is written then.
    pub fn request(&mut self, message: &RequestMessage) -> Result<(), CqlError> {
        let opcode = message.request.opcode();
        self.envelope(message.stream, opcode, |version, out| message.encode_body(version, out))
    }

    /// Appends the answer to an error of the decoder, on the stream that it carries (0 if it carries none). The answer
    /// to an unsupported version is framed as the client will understand it; see `unsupported_version`.
    pub fn decode_error(&mut self, error: &CqlError) -> Result<(), CqlError> {
        if let CqlError::UnsupportedVersion { version, stream } = *error {
            self.seal_segment();
            unsupported_version(version, stream, &mut self.out);
            return Ok(());
        }
        self.response(&ResponseMessage::from_error(error.stream().unwrap_or(0), error))
    }

    /// Bytes written and not yet taken, without the end of an open segment.
    pub fn pending_bytes(&self) -> usize {
        self.out.len()
    }

    /// All bytes written since the last call, ready to be sent.
    pub fn take(&mut self) -> Bytes {
        self.seal_segment();
        self.out.split().freeze()
    }

    fn envelope(
        &mut self,
        stream: i16,
        opcode: Opcode,
        body: impl FnOnce(Version, &mut BytesMut) -> Result<Flags, CqlError>,
    ) -> Result<(), CqlError> {
        if self.segmented && self.open_segment.is_none() {
            self.open_segment = Some(self.out.len());
            segment::open(self.compression.is_some(), &mut self.out);
        }
        let start = self.out.len();
        let version = self.version;
        let mut header = Header { version, flags: Flags::default(), stream, opcode, body_length: 0 };
        header.encode(&mut self.out);
        let written = body(version, &mut self.out).and_then(|flags| {
            let length = self.out.len() - start - HEADER_LENGTH;
            if length > ENVELOPE_BODY_BYTES_WRITABLE {
                let limit = ENVELOPE_BODY_BYTES_WRITABLE as u64;
                return Err(CqlError::TooLong { what: "body of a message", length: length as u64, limit });
            }
            Ok(flags)
        });
        match written {
            Ok(flags) => header.flags = flags,
            Err(error) => {
                self.out.truncate(start);
                self.drop_empty_segment();
                return Err(error);
            }
        }
        if !self.segmented && opcode != Opcode::Startup {
            self.compress_body(start, &mut header);
        }
        header.body_length = (self.out.len() - start - HEADER_LENGTH) as u32;
        if let Some(room) = self.out.get_mut(start..start + HEADER_LENGTH) {
            room.copy_from_slice(&header.to_bytes());
        }
        self.fit_segment(start);
        Ok(())
    }

    /// Compresses the body of the envelope at `start` if that was negotiated and is worth it (v3, v4).
    fn compress_body(&mut self, start: usize, header: &mut Header) {
        let Some(compression) = self.compression else { return };
        let body_start = start + HEADER_LENGTH;
        let body = self.out.get(body_start..).unwrap_or_default();
        if body.len() < COMPRESSED_BYTES_MIN {
            return;
        }
        if let Some(packed) = compression.compress_body(body) {
            self.out.truncate(body_start);
            self.out.extend_from_slice(&packed);
            header.flags = header.flags.with(Flags::COMPRESSED);
        }
    }

    /// Closes the open segment before the envelope at `start` if both do not fit into one.
    fn fit_segment(&mut self, start: usize) {
        let Some(segment_start) = self.open_segment else { return };
        let compressed = self.compression.is_some();
        let payload_start = segment_start + segment::header_length(compressed);
        if self.out.len() - payload_start <= SEGMENT_PAYLOAD_BYTES_MAX {
            return;
        }
        let envelope = self.out.split_off(start);
        if start > payload_start {
            self.seal_segment();
        } else {
            self.drop_empty_segment();
        }
        if envelope.len() <= SEGMENT_PAYLOAD_BYTES_MAX {
            self.open_segment = Some(self.out.len());
            segment::open(compressed, &mut self.out);
            self.out.extend_from_slice(&envelope);
            return;
        }
        for part in envelope.chunks(SEGMENT_PAYLOAD_BYTES_MAX) {
            let part_start = self.out.len();
            segment::open(compressed, &mut self.out);
            self.out.extend_from_slice(part);
            segment::seal(part_start, compressed, false, &mut self.out);
        }
    }

    /// Closes the segment that is being filled, if there is one.
    fn seal_segment(&mut self) {
        if let Some(start) = self.open_segment.take() {
            segment::seal(start, self.compression.is_some(), true, &mut self.out);
        }
    }

    /// Takes back a segment into which nothing was written.
    fn drop_empty_segment(&mut self) {
        if let Some(start) = self.open_segment
            && self.out.len() == start + segment::header_length(self.compression.is_some())
        {
            self.out.truncate(start);
            self.open_segment = None;
        }
    }
}

/// Appends the ERROR that answers a protocol version nobody here speaks, never in segments. As Cassandra does, it is
/// framed as the greatest supported version, from which drivers learn what to go down to; v1 and v2 get their own
/// shorter header.
pub fn unsupported_version(version: u8, stream: i16, out: &mut BytesMut) {
    let text = CqlError::UnsupportedVersion { version, stream }.to_string();
    let mut body = BytesMut::new();
    let mut writer = Writer::new(&mut body);
    writer.int(ErrorCode::Protocol.number());
    writer.shortened(&text, text.len());
    let body_length = body.len() as u32;
    if matches!(version, 1 | 2) {
        let [_, stream_low] = stream.to_be_bytes();
        out.extend_from_slice(&[version | 0x80, 0, stream_low, Opcode::Error.number()]);
        out.extend_from_slice(&body_length.to_be_bytes());
    } else {
        let flags = Flags::default();
        Header { version: Version::GREATEST, flags, stream, opcode: Opcode::Error, body_length }.encode(out);
    }
    out.extend_from_slice(&body);
}
