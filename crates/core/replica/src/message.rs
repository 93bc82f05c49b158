//! Requests to replicas and their answers, as bytes between shards and nodes. Version 1 of each.
//!
//! ```text
//! apply  = version kind:u8 …   (0: mutation | 3: mutation, noted: answered with notes | other kinds: the service's)
//! read   = version flags:u8 now purgeable:svarint rows bytes examined:varint [per partition:varint] ranges
//! answer = version count (key:prefixed row:prefixed)* count (start:prefixed end:prefixed timestamp local:svarint)*
//!          ranges notes:rest
//! ranges = count (start:prefixed has_end:u8 [end:prefixed])*
//! ```
//!
//! `notes` are the service's, about what was done, for people.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_store::{KeyRange, RangeTombstone, Row, decode_row, row_bytes};

const VERSION: u8 = 1;
pub const KIND_WRITE: u8 = 0;
pub const KIND_WRITE_NOTED: u8 = 3;

const REVERSE: u8 = 1;
const ONE_PARTITION: u8 = 2;
const PER_PARTITION: u8 = 4;
const NOTED: u8 = 8;
const FULL: u8 = 16;

/// A mutation of a tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRequest {
    /// Bytes of a [`holon_store::Mutation`].
    pub mutation: Bytes,
    /// The answer tells what was done.
    pub noted: bool,
}

impl WriteRequest {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(self.mutation.len() + 2);
        put_version(&mut out);
        out.put_u8(if self.noted { KIND_WRITE_NOTED } else { KIND_WRITE });
        out.put_slice(&self.mutation);
        out.freeze()
    }
}

/// The kind of an `apply` request, and what follows it.
///
/// # Errors
/// Another version, or nothing at all.
pub fn decode_apply(bytes: Bytes) -> Result<(u8, ByteReader), ShortInput> {
    let mut input = ByteReader::new(bytes);
    check_version(&mut input)?;
    let kind = input.u8()?;
    Ok((kind, input))
}

/// # Errors
/// Another version.
pub fn check_version(input: &mut ByteReader) -> Result<(), ShortInput> {
    if input.u8()? == VERSION { Ok(()) } else { Err(ShortInput { offset: 0 }) }
}

pub fn put_version(out: &mut ByteWriter) {
    out.put_u8(VERSION);
}

/// A read of some ranges of one tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// In the order in which they are wanted; disjoint.
    pub ranges: Vec<KeyRange>,
    pub reverse: bool,
    /// All ranges lie in one partition.
    pub one_partition: bool,
    pub rows_max: u32,
    pub bytes_max: u32,
    pub examined_max: u32,
    /// Rows of each partition, static ones not counted.
    pub per_partition_max: Option<u32>,
    pub now_seconds: i64,
    /// Deletions older than this (by their local time) may be gone on one replica and not yet on another: they make no
    /// difference to digests.
    pub purgeable_seconds: i64,
    /// The answer tells what was done.
    pub noted: bool,
    /// Deletions too, to be merged with the answers of others.
    pub full: bool,
}

impl ReadRequest {
    /// All of some ranges, page by page, for whoever compares or copies.
    pub fn all_of(ranges: Vec<KeyRange>, now_seconds: i64) -> ReadRequest {
        ReadRequest {
            ranges,
            reverse: false,
            one_partition: false,
            rows_max: crate::limits::FILL_ROWS,
            bytes_max: crate::limits::FILL_BYTES,
            examined_max: u32::MAX,
            per_partition_max: None,
            now_seconds,
            purgeable_seconds: i64::MIN,
            noted: false,
            full: true,
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(128);
        put_version(&mut out);
        let flags = [
            (self.reverse, REVERSE),
            (self.one_partition, ONE_PARTITION),
            (self.per_partition_max.is_some(), PER_PARTITION),
            (self.noted, NOTED),
            (self.full, FULL),
        ];
        out.put_u8(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        out.put_signed_varint(self.now_seconds);
        out.put_signed_varint(self.purgeable_seconds);
        out.put_varint(self.rows_max.into());
        out.put_varint(self.bytes_max.into());
        out.put_varint(self.examined_max.into());
        if let Some(most) = self.per_partition_max {
            out.put_varint(most.into());
        }
        put_ranges(&self.ranges, &mut out);
        out.freeze()
    }

    /// # Errors
    /// Bytes of another version, or cut.
    pub fn decode(bytes: Bytes) -> Result<ReadRequest, ShortInput> {
        let mut input = ByteReader::new(bytes);
        check_version(&mut input)?;
        let flags = input.u8()?;
        let now_seconds = input.signed_varint()?;
        let purgeable_seconds = input.signed_varint()?;
        let mut number = || -> Result<u32, ShortInput> {
            let offset = input.offset();
            u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })
        };
        let (rows_max, bytes_max, examined_max) = (number()?, number()?, number()?);
        let per_partition_max = if flags & PER_PARTITION != 0 { Some(number()?) } else { None };
        let ranges = read_ranges(&mut input)?;
        input.end()?;
        Ok(ReadRequest {
            ranges,
            reverse: flags & REVERSE != 0,
            one_partition: flags & ONE_PARTITION != 0,
            rows_max,
            bytes_max,
            examined_max,
            per_partition_max,
            now_seconds,
            purgeable_seconds,
            noted: flags & NOTED != 0,
            full: flags & FULL != 0,
        })
    }
}

/// Rows in the order of the request, and what of its ranges has not been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadAnswer {
    /// Live ones only, or, if the request was for all, with deletions.
    pub rows: Vec<(Bytes, Row)>,
    /// Deleted ranges within what was read, if the request was for all.
    pub deleted: Vec<RangeTombstone>,
    pub rest: Vec<KeyRange>,
}

impl ReadAnswer {
    /// `notes` come last, as they are.
    pub fn encode(&self, notes: &[u8]) -> Bytes {
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_varint(self.rows.len() as u64);
        for (key, row) in &self.rows {
            out.put_prefixed(key);
            out.put_prefixed(&row_bytes(row));
        }
        out.put_varint(self.deleted.len() as u64);
        self.deleted.iter().for_each(|range| range.write(&mut out));
        put_ranges(&self.rest, &mut out);
        out.put_slice(notes);
        out.freeze()
    }

    /// The answer and the notes.
    ///
    /// # Errors
    /// Bytes of another version, or cut.
    pub fn decode(bytes: Bytes) -> Result<(ReadAnswer, Bytes), ShortInput> {
        let mut input = ByteReader::new(bytes);
        check_version(&mut input)?;
        let count = input.count()?;
        let mut rows = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let key = input.prefixed()?;
            let offset = input.offset();
            let row = decode_row(&input.prefixed()?).map_err(|_| ShortInput { offset })?;
            rows.push((key, row));
        }
        let count = input.count()?;
        let mut deleted = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            deleted.push(RangeTombstone::read(&mut input)?);
        }
        let rest = read_ranges(&mut input)?;
        Ok((ReadAnswer { rows, deleted, rest }, input.rest()))
    }
}

fn put_ranges(ranges: &[KeyRange], out: &mut ByteWriter) {
    out.put_varint(ranges.len() as u64);
    for range in ranges {
        out.put_prefixed(&range.start);
        out.put_u8(range.end.is_some().into());
        if let Some(end) = &range.end {
            out.put_prefixed(end);
        }
    }
}

fn read_ranges(input: &mut ByteReader) -> Result<Vec<KeyRange>, ShortInput> {
    let count = input.count()?;
    let mut ranges = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let start = input.prefixed()?;
        let end = if input.u8()? == 0 { None } else { Some(input.prefixed()?) };
        ranges.push(KeyRange { start, end });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_store::{Cell, CellEntry, Deletion};

    #[test]
    fn what_is_sent_is_what_arrives_and_what_is_cut_is_refused() {
        let range = KeyRange { start: Bytes::from_static(b"a"), end: None };
        let request = ReadRequest {
            ranges: vec![range.clone(), KeyRange::one(&b"z"[..])],
            reverse: true,
            one_partition: true,
            rows_max: 7,
            bytes_max: u32::MAX,
            examined_max: 0,
            per_partition_max: Some(3),
            now_seconds: -1,
            purgeable_seconds: i64::MIN,
            noted: true,
            full: true,
        };
        assert_eq!(ReadRequest::decode(request.encode()).as_ref(), Ok(&request));
        let mut row = Row::default();
        row.put(CellEntry::new(3, Cell::live(-1, &b"value"[..])));
        row.delete_column(4, Deletion { timestamp: -1, local_seconds: 7 });
        let deletion = Deletion { timestamp: 5, local_seconds: -2 };
        let deleted = RangeTombstone { start: Bytes::from_static(b"b"), end: Bytes::from_static(b"c"), deletion };
        let answer =
            ReadAnswer { rows: vec![(Bytes::from_static(b"k"), row)], deleted: vec![deleted], rest: vec![range] };
        let notes = Bytes::from_static(b"read one row");
        assert_eq!(ReadAnswer::decode(answer.encode(&notes)), Ok((answer.clone(), notes)));
        for cut in 0..request.encode().len() {
            assert!(ReadRequest::decode(request.encode().slice(..cut)).is_err(), "cut at {cut}");
        }
        for cut in 0..answer.encode(&[]).len() {
            assert!(ReadAnswer::decode(answer.encode(&[]).slice(..cut)).is_err(), "cut at {cut}");
        }
        let write = WriteRequest { mutation: Bytes::from_static(b"mutation"), noted: true };
        let (kind, mut input) = decode_apply(write.encode()).expect("of this version");
        assert_eq!((kind, input.rest()), (KIND_WRITE_NOTED, write.mutation));
        assert!(decode_apply(Bytes::from_static(&[VERSION])).is_err());
    }
}
