//! The receiving side of a connection: bytes in any portions to whole envelopes.
//!
//! ```text
//!   feed ─▶ input ─┬─ unsegmented (v3, v4; v5 until STARTUP is answered) ──────────────▶ envelopes
//!                  └─ segments (v5) ─▶ checksum ─▶ LZ4 ─┬─ self-contained: one payload ─▶ envelopes
//!                                                       └─ parts of one large envelope ─▶ envelope
//! ```
//!
//! Bodies are slices of the input unless compressed or spread over segments. The decoder holds at most one unfinished
//! envelope and what was fed beyond it; the caller takes all envelopes out before it feeds more.

use bytes::{Bytes, BytesMut};

use crate::compression::{self, Compression};
use crate::error::CqlError;
use crate::frame::{Direction, Envelope, Flags, HEADER_LENGTH, Header, Version};
use crate::limits::ENVELOPE_BODY_BYTES_SKIPPABLE;
use crate::segment::{self, SegmentHeader};

/// Turns bytes into envelopes.
#[derive(Debug)]
pub struct Decoder {
    direction: Direction,
    body_limit_bytes: usize,
    version: Option<Version>,
    compression: Option<Compression>,
    segmented: bool,
    input: BytesMut,
    /// What is left of the payload of a self-contained segment.
    payload: Bytes,
    /// The parts so far of an envelope spread over segments.
    parts: BytesMut,
    /// Bytes of a refused envelope that are still to come.
    skip_bytes: usize,
    /// Set by the first error after which nothing can be told apart any more.
    broken: Option<CqlError>,
}

impl Decoder {
    /// A decoder for messages of one direction. `body_limit_bytes` bounds a body, before and after decompression.
    pub fn new(direction: Direction, body_limit_bytes: usize) -> Decoder {
        Decoder {
            direction,
            body_limit_bytes,
            version: None,
            compression: None,
            segmented: false,
            input: BytesMut::new(),
            payload: Bytes::new(),
            parts: BytesMut::new(),
            skip_bytes: 0,
            broken: None,
        }
    }

    /// Changes the bound of a body, as after authentication.
    pub fn set_body_limit_bytes(&mut self, limit: usize) {
        self.body_limit_bytes = limit;
    }

    /// Fixes the version and compression of the connection. A server calls it when it has accepted STARTUP (before it
    /// looks for another envelope), a client when it has got READY or AUTHENTICATE. From here on v5 comes in segments.
    pub fn negotiated(&mut self, version: Version, compression: Option<Compression>) {
        self.version = Some(version);
        self.compression = compression;
        self.segmented = version >= Version::V5;
    }

    /// Where a caller may read bytes into directly instead of using `feed`.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Adds bytes that have arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that are held for envelopes not yet complete or not yet taken out.
    pub fn buffered_bytes(&self) -> usize {
        self.input.len() + self.payload.len() + self.parts.len()
    }

    /// The next envelope; `None` while more bytes are needed.
    ///
    /// # Errors
    /// After an error that the connection survives (see `CqlError::connection_survives`) the next call goes on after
    /// the offending envelope; after any other one every call returns it again.
    pub fn next_envelope(&mut self) -> Result<Option<Envelope>, CqlError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let found = if self.segmented { self.next_segmented() } else { self.next_unsegmented() };
        if let Err(error) = &found
            && !error.connection_survives()
        {
            self.broken = Some(error.clone());
            self.input = BytesMut::new();
            self.payload = Bytes::new();
            self.parts = BytesMut::new();
        }
        found
    }

    fn next_unsegmented(&mut self) -> Result<Option<Envelope>, CqlError> {
        self.skip_input();
        let header = match self.accept_header(&self.input) {
            Ok(None) => return Ok(None),
            Ok(Some(header)) => header,
            Err(error) => {
                self.skip_bytes = HEADER_LENGTH.saturating_add(refused_body_length(&error));
                self.skip_input();
                return Err(error);
            }
        };
        let length = HEADER_LENGTH + header.body_length as usize;
        if self.input.len() < length {
            // Room for the rest of the envelope at once, but for no more than has been proved to come: a header alone
            // must not take megabytes.
            self.input.reserve((length - self.input.len()).min(self.input.len().max(4096)));
            return Ok(None);
        }
        let body = self.input.split_to(length).freeze().slice(HEADER_LENGTH..);
        self.finish_envelope(header, body).map(Some)
    }

    fn next_segmented(&mut self) -> Result<Option<Envelope>, CqlError> {
        loop {
            if !self.payload.is_empty() {
                return self.next_from_payload().map(Some);
            }
            let Some((header, payload)) = self.next_segment()? else { return Ok(None) };
            if header.self_contained {
                if !self.parts.is_empty() || self.skip_bytes > 0 {
                    let reason = "a self-contained one stands between the parts of a large envelope";
                    return Err(CqlError::Segment { reason });
                }
                self.payload = payload;
            } else if let Some(envelope) = self.add_part(&payload)? {
                return Ok(Some(envelope));
            }
        }
    }

    /// An envelope out of a self-contained payload.
    fn next_from_payload(&mut self) -> Result<Envelope, CqlError> {
        let reason = "a self-contained one holds an envelope that is not whole";
        let header = match self.accept_header(&self.payload) {
            Ok(Some(header)) => header,
            Ok(None) => return Err(CqlError::Segment { reason }),
            Err(error) => {
                let length = HEADER_LENGTH.saturating_add(refused_body_length(&error));
                self.payload = self.payload.split_off(length.min(self.payload.len()));
                return Err(error);
            }
        };
        let length = HEADER_LENGTH + header.body_length as usize;
        if self.payload.len() < length {
            return Err(CqlError::Segment { reason });
        }
        let body = self.payload.split_to(length).slice(HEADER_LENGTH..);
        self.finish_envelope(header, body)
    }

    /// Adds a part of a large envelope and returns it when that was the last one.
    fn add_part(&mut self, payload: &Bytes) -> Result<Option<Envelope>, CqlError> {
        let beyond = CqlError::Segment { reason: "a part goes beyond the end of its envelope" };
        if self.skip_bytes > 0 {
            self.skip_bytes = self.skip_bytes.checked_sub(payload.len()).ok_or(beyond)?;
            return Ok(None);
        }
        self.parts.extend_from_slice(payload);
        let header = match self.accept_header(&self.parts) {
            Ok(None) => return Ok(None),
            Ok(Some(header)) => header,
            Err(error) => {
                let length = HEADER_LENGTH.saturating_add(refused_body_length(&error));
                self.skip_bytes = length.saturating_sub(self.parts.len());
                self.parts = BytesMut::new();
                return Err(error);
            }
        };
        let length = HEADER_LENGTH + header.body_length as usize;
        if self.parts.len() < length {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.parts).freeze();
        if whole.len() > length {
            return Err(beyond);
        }
        self.finish_envelope(header, whole.slice(HEADER_LENGTH..)).map(Some)
    }

    /// The next segment, verified and decompressed.
    fn next_segment(&mut self) -> Result<Option<(SegmentHeader, Bytes)>, CqlError> {
        let compressed = self.compression.is_some();
        let Some(header) = SegmentHeader::decode(&self.input, compressed)? else { return Ok(None) };
        let header_length = segment::header_length(compressed);
        let length = header_length + header.payload_length + segment::TRAILER_LENGTH;
        if self.input.len() < length {
            self.input.reserve(length - self.input.len());
            return Ok(None);
        }
        let whole = self.input.split_to(length).freeze();
        let payload = whole.slice(header_length..header_length + header.payload_length);
        let trailer = whole.last_chunk::<{ segment::TRAILER_LENGTH }>().copied().unwrap_or_default();
        segment::verify_payload(&payload, trailer)?;
        if header.uncompressed_length == 0 {
            return Ok(Some((header, payload)));
        }
        let plain = compression::lz4_decompress_segment(&payload, header.uncompressed_length)?;
        Ok(Some((header, plain)))
    }

    /// Reads a header and holds it against direction, version and limit.
    fn accept_header(&self, bytes: &[u8]) -> Result<Option<Header>, CqlError> {
        let Some(header) = Header::decode(bytes, self.direction)? else { return Ok(None) };
        let stream = header.stream;
        if let Some(negotiated) = self.version
            && negotiated != header.version
        {
            return Err(CqlError::VersionChanged { stream, negotiated, received: header.version });
        }
        if header.body_length as usize > self.body_limit_bytes {
            let limit = self.body_limit_bytes;
            return Err(CqlError::EnvelopeTooLarge { stream, length: header.body_length, limit });
        }
        Ok(Some(header))
    }

    fn skip_input(&mut self) {
        let skipped = self.skip_bytes.min(self.input.len());
        if skipped > 0 {
            let _ = self.input.split_to(skipped);
            self.skip_bytes -= skipped;
        }
    }

    fn finish_envelope(&self, mut header: Header, body: Bytes) -> Result<Envelope, CqlError> {
        // In v5 the flag is ignored: segments are compressed, envelopes are not.
        let compressed = header.flags.contains(Flags::COMPRESSED) && header.version < Version::V5;
        header.flags = header.flags.without(Flags::COMPRESSED);
        if !compressed {
            return Ok(Envelope { header, body });
        }
        let stream = header.stream;
        let Some(compression) = self.compression else {
            return Err(CqlError::CompressionNotNegotiated { stream });
        };
        let body = compression.decompress_body(&body, self.body_limit_bytes, stream)?;
        Ok(Envelope { header, body })
    }
}

/// How much of a refused envelope follows its header, if it can be skipped.
fn refused_body_length(error: &CqlError) -> usize {
    let length = match error {
        CqlError::EnvelopeTooLarge { length, .. } => *length as usize,
        CqlError::UnknownOpcode { body_length, .. } => *body_length as usize,
        _ => 0,
    };
    length.min(ENVELOPE_BODY_BYTES_SKIPPABLE)
}
