//! Fields of an answer, in both encodings, as pieces: what is written goes into a head, records stay the pieces they are.
//!
//! ```text
//!   length, header, fields … | records | fields … | records | fields …
//! ```

use crate::header::RequestHeader;
use crate::limits::{COPIED_BYTES_MAX, RESPONSE_BYTES_MAX};
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Why an answer cannot be sent: a fault of the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{asked} was asked, the answer is one to {answered}")]
    OtherApi { asked: &'static str, answered: &'static str },
    #[error("a text of {bytes} bytes is more than version {version} of {api} can say: 32,767")]
    TextTooLong { api: &'static str, version: i16, bytes: usize },
    #[error("an answer of {bytes} bytes is more than a frame can have")]
    TooLarge { bytes: usize },
    #[error("version {version} of {api} cannot say it: {what}")]
    Unsayable { api: &'static str, version: i16, what: String },
}

pub(crate) struct Writer<'a> {
    header: &'a RequestHeader,
    flexible: bool,
    /// Kept back, because the length that it begins with is known last.
    first: Option<BytesMut>,
    pieces: Vec<Bytes>,
    head: BytesMut,
    /// The longest that could not be said.
    text_too_long: Option<usize>,
}

impl<'a> Writer<'a> {
    /// Begins the answer: room for its length, and its header.
    pub fn new(header: &'a RequestHeader, bytes: usize) -> Writer<'a> {
        let (api, version) = (header.api, header.answer_version());
        let mut head = BytesMut::with_capacity(bytes);
        head.put_i32(0);
        head.put_i32(header.correlation_id);
        if api.response_header_version(version) == 1 {
            head.put_u8(0);
        }
        let flexible = api.is_flexible(version);
        Writer { header, flexible, first: None, pieces: Vec::new(), head, text_too_long: None }
    }

    /// Where fields go that somebody else writes.
    pub fn head(&mut self) -> &mut BytesMut {
        &mut self.head
    }

    pub fn i16(&mut self, value: i16) {
        self.head.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.head.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.head.put_i64(value);
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.head.put_slice(value.as_bytes());
    }

    pub fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.head.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.put_u8(value as u8);
    }

    /// A length or a count. What is too long for it is too long for a frame, which is looked at in the end.
    fn length(&mut self, length: Option<usize>) {
        let length = length.map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        if self.flexible {
            self.varint(length.map_or(0, |length| length.saturating_add(1)));
        } else {
            self.head.put_u32(length.unwrap_or(u32::MAX));
        }
    }

    pub fn count(&mut self, count: usize) {
        self.length(Some(count));
    }

    pub fn null_array(&mut self) {
        self.length(None);
    }

    pub fn text(&mut self, text: &str) {
        self.nullable_text(Some(text));
    }

    pub fn nullable_text(&mut self, text: Option<&str>) {
        if self.flexible {
            self.length(text.map(str::len));
        } else {
            let length = text.map_or(Ok(-1), |text| i16::try_from(text.len()));
            self.head.put_i16(length.unwrap_or(0));
            if length.is_err() {
                self.text_too_long = self.text_too_long.max(text.map(str::len));
                return;
            }
        }
        self.head.put_slice(text.unwrap_or("").as_bytes());
    }

    /// Bytes that are there in pieces; none of some length is copied.
    pub fn records(&mut self, pieces: Vec<Bytes>) {
        self.length(Some(pieces.iter().map(Bytes::len).sum()));
        for piece in pieces {
            if piece.len() < COPIED_BYTES_MAX {
                self.head.put_slice(&piece);
                continue;
            }
            self.end_head();
            self.pieces.push(piece);
        }
    }

    fn end_head(&mut self) {
        let head = self.head.split();
        if self.first.is_none() {
            self.first = Some(head);
        } else if !head.is_empty() {
            self.pieces.push(head.freeze());
        }
    }

    /// Ends a structure that has no tagged field.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.head.put_u8(0);
        }
    }

    /// Ends a structure whose tagged fields are written by what follows: so many calls of `tag`.
    pub fn tags(&mut self, count: usize) {
        self.varint(count as u32);
    }

    /// One tagged field. They go by ascending number.
    pub fn tag(&mut self, tag: u32, write: impl FnOnce(&mut Self)) {
        self.varint(tag);
        let before = std::mem::take(&mut self.head);
        write(self);
        let value = std::mem::replace(&mut self.head, before);
        self.varint(value.len() as u32);
        self.head.put_slice(&value);
    }

    /// The whole answer, in the order it goes out.
    pub fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let (api, version) = (self.header.api.name(), self.header.answer_version());
        if let Some(bytes) = self.text_too_long {
            return Err(EncodeError::TextTooLong { api, version, bytes });
        }
        self.end_head();
        let mut first = self.first.take().unwrap_or_default();
        let bytes = first.len() + self.pieces.iter().map(Bytes::len).sum::<usize>() - size_of::<i32>();
        if bytes > RESPONSE_BYTES_MAX {
            return Err(EncodeError::TooLarge { bytes });
        }
        first[..size_of::<i32>()].copy_from_slice(&(bytes as u32).to_be_bytes());
        let mut pieces = Vec::with_capacity(self.pieces.len() + 1);
        pieces.push(first.freeze());
        pieces.append(&mut self.pieces);
        Ok(pieces)
    }
}

/// Who leads a partition, told with NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

impl LeaderIdAndEpoch {
    pub(crate) fn write(self, writer: &mut Writer) {
        writer.i32(self.leader_id);
        writer.i32(self.leader_epoch);
        writer.no_tags();
    }
}

/// Where a leader is that the answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

impl NodeEndpoint {
    /// The end of an answer that may have them as its only tagged field, number 0.
    pub(crate) fn write_all(endpoints: &[NodeEndpoint], writer: &mut Writer) {
        if endpoints.is_empty() {
            return writer.no_tags();
        }
        writer.tags(1);
        writer.tag(0, |writer| {
            writer.count(endpoints.len());
            for endpoint in endpoints {
                writer.i32(endpoint.node_id);
                writer.text(&endpoint.host);
                writer.i32(endpoint.port);
                writer.nullable_text(endpoint.rack.as_deref());
                writer.no_tags();
            }
        });
    }
}
