//! The parameters of QUERY and EXECUTE, and what BATCH shares with them (section 4.1.4).

use bytes::Bytes;

use crate::consistency::Consistency;
use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{BoundValue, Reader, Writer};

pub(crate) const VALUES: u32 = 0x0001;
pub(crate) const SKIP_METADATA: u32 = 0x0002;
pub(crate) const PAGE_SIZE: u32 = 0x0004;
pub(crate) const PAGING_STATE: u32 = 0x0008;
pub(crate) const SERIAL_CONSISTENCY: u32 = 0x0010;
pub(crate) const TIMESTAMP: u32 = 0x0020;
pub(crate) const NAMES: u32 = 0x0040;
pub(crate) const KEYSPACE: u32 = 0x0080;
pub(crate) const NOW_IN_SECONDS: u32 = 0x0100;

/// Values for the markers of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// By position.
    Positional(Vec<BoundValue>),
    /// By name of the marker.
    Named(Vec<(String, BoundValue)>),
}

impl Default for Values {
    fn default() -> Values {
        Values::Positional(Vec::new())
    }
}

impl Values {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Values::Positional(values) => values.len(),
            Values::Named(values) => values.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn decode(reader: &mut Reader, version: Version, named: bool) -> Result<Values, CqlError> {
        let count = u64::from(reader.short("number of values")?);
        if count == 0 {
            // No values have no names: there is one way to say so.
            return Ok(Values::default());
        }
        if named {
            let count = reader.check_count(count, 6, "values")?;
            let pair = |_| Ok((reader.string("name of a value")?, reader.value(version, "value")?));
            return (0..count).map(pair).collect::<Result<_, _>>().map(Values::Named);
        }
        let count = reader.check_count(count, 4, "values")?;
        (0..count).map(|_| reader.value(version, "value")).collect::<Result<_, _>>().map(Values::Positional)
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.count(self.len(), "values")?;
        match self {
            Values::Positional(values) => values.iter().try_for_each(|value| writer.value(value, version, "value")),
            Values::Named(values) => values.iter().try_for_each(|(name, value)| {
                writer.string(name, "name of a value")?;
                writer.value(value, version, "value")
            }),
        }
    }
}

/// How a statement is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryParameters {
    pub consistency: Consistency,
    pub values: Values,
    /// The client has the metadata of the result already.
    pub skip_metadata: bool,
    /// Rows per page. Zero or less means no paging.
    pub page_size: Option<i32>,
    /// Where to go on, as a page before said.
    pub paging_state: Option<Bytes>,
    /// SERIAL or LOCAL_SERIAL; for conditional statements only.
    pub serial_consistency: Option<Consistency>,
    /// The timestamp of writes, in microseconds since 1970, never `i64::MIN`; a timestamp in the statement goes before
    /// it.
    pub timestamp_us: Option<i64>,
    /// Takes the place of the connection's keyspace (v5).
    pub keyspace: Option<String>,
    /// What `now` is, in seconds since 1970, for tests of expiry (v5).
    pub now_in_seconds: Option<i32>,
}

impl QueryParameters {
    /// Parameters with a consistency and nothing else.
    pub fn new(consistency: Consistency) -> QueryParameters {
        QueryParameters {
            consistency,
            values: Values::default(),
            skip_metadata: false,
            page_size: None,
            paging_state: None,
            serial_consistency: None,
            timestamp_us: None,
            keyspace: None,
            now_in_seconds: None,
        }
    }

    /// Reads consistency, flags and what the flags announce.
    ///
    /// # Errors
    /// Also unknown flags: what they announce could not be told from what follows.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<QueryParameters, CqlError> {
        let consistency = reader.consistency("consistency")?;
        let flags = decode_flags(reader, version)?;
        let values =
            if flags & VALUES != 0 { Values::decode(reader, version, flags & NAMES != 0)? } else { Values::default() };
        let page_size = if flags & PAGE_SIZE != 0 { Some(reader.int("page size")?) } else { None };
        let paging_state = if flags & PAGING_STATE != 0 { reader.bytes("paging state")? } else { None };
        let tail = Tail::decode(reader, flags)?;
        Ok(QueryParameters {
            consistency,
            values,
            skip_metadata: flags & SKIP_METADATA != 0,
            page_size,
            paging_state,
            serial_consistency: tail.serial_consistency,
            timestamp_us: tail.timestamp_us,
            keyspace: tail.keyspace,
            now_in_seconds: tail.now_in_seconds,
        })
    }

    /// Appends consistency, flags and what the flags announce.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        let tail = Tail {
            serial_consistency: self.serial_consistency,
            timestamp_us: self.timestamp_us,
            keyspace: self.keyspace.clone(),
            now_in_seconds: self.now_in_seconds,
        };
        let mut flags = tail.flags();
        if !self.values.is_empty() {
            flags |= VALUES | if matches!(self.values, Values::Named(_)) { NAMES } else { 0 };
        }
        flags |= if self.skip_metadata { SKIP_METADATA } else { 0 };
        flags |= if self.page_size.is_some() { PAGE_SIZE } else { 0 };
        flags |= if self.paging_state.is_some() { PAGING_STATE } else { 0 };
        writer.consistency(self.consistency);
        encode_flags(writer, version, flags)?;
        if !self.values.is_empty() {
            self.values.encode(writer, version)?;
        }
        if let Some(page_size) = self.page_size {
            writer.int(page_size);
        }
        if let Some(paging_state) = &self.paging_state {
            writer.bytes(Some(paging_state), "paging state")?;
        }
        tail.encode(writer)
    }
}

/// The end of the parameters, which QUERY, EXECUTE and BATCH have in common.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub serial_consistency: Option<Consistency>,
    pub timestamp_us: Option<i64>,
    pub keyspace: Option<String>,
    pub now_in_seconds: Option<i32>,
}

impl Tail {
    pub(crate) fn flags(&self) -> u32 {
        (if self.serial_consistency.is_some() { SERIAL_CONSISTENCY } else { 0 })
            | (if self.timestamp_us.is_some() { TIMESTAMP } else { 0 })
            | (if self.keyspace.is_some() { KEYSPACE } else { 0 })
            | (if self.now_in_seconds.is_some() { NOW_IN_SECONDS } else { 0 })
    }

    pub(crate) fn decode(reader: &mut Reader, flags: u32) -> Result<Tail, CqlError> {
        let mut tail = Tail::default();
        if flags & SERIAL_CONSISTENCY != 0 {
            let (what, offset) = ("serial consistency", reader.offset());
            let level = reader.consistency(what)?;
            if !level.is_serial() {
                let value = i64::from(level.code());
                let expected = "SERIAL (0x0008) or LOCAL_SERIAL (0x0009)";
                return Err(CqlError::UnknownValue { what, offset, value, expected });
            }
            tail.serial_consistency = Some(level);
        }
        if flags & TIMESTAMP != 0 {
            let (what, offset) = ("default timestamp", reader.offset());
            let timestamp = reader.long(what)?;
            if timestamp == i64::MIN {
                return Err(CqlError::Invalid { what, offset, reason: "the smallest 64-bit integer is reserved" });
            }
            tail.timestamp_us = Some(timestamp);
        }
        if flags & KEYSPACE != 0 {
            tail.keyspace = Some(reader.string("keyspace")?);
        }
        if flags & NOW_IN_SECONDS != 0 {
            tail.now_in_seconds = Some(reader.int("now in seconds")?);
        }
        Ok(tail)
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        if let Some(level) = self.serial_consistency {
            writer.consistency(level);
        }
        if let Some(timestamp) = self.timestamp_us {
            writer.long(timestamp);
        }
        if let Some(keyspace) = &self.keyspace {
            writer.string(keyspace, "keyspace")?;
        }
        if let Some(now) = self.now_in_seconds {
            writer.int(now);
        }
        Ok(())
    }
}

/// Flags are one byte before v5 and four from then on.
pub(crate) fn decode_flags(reader: &mut Reader, version: Version) -> Result<u32, CqlError> {
    let (what, offset) = ("flags of the query parameters", reader.offset());
    let (flags, known) = if version >= Version::V5 {
        (reader.int(what)?.cast_unsigned(), 0x01FF)
    } else {
        (u32::from(reader.byte(what)?), 0x7F)
    };
    if flags & !known != 0 {
        let expected = "only flags that this protocol version has";
        return Err(CqlError::UnknownValue { what, offset, value: i64::from(flags), expected });
    }
    Ok(flags)
}

pub(crate) fn encode_flags(writer: &mut Writer<'_>, version: Version, flags: u32) -> Result<(), CqlError> {
    if version >= Version::V5 {
        writer.int(flags.cast_signed());
        return Ok(());
    }
    if flags & (KEYSPACE | NOW_IN_SECONDS) != 0 {
        return Err(CqlError::NeedsVersion { what: "keyspace or now in seconds", needed: Version::V5, version });
    }
    writer.byte(flags as u8);
    Ok(())
}
