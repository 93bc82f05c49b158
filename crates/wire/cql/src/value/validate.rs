//! The check that bytes are a value of a type. It takes no memory, so that a server can run it on every bound value.

use crate::limits::NESTING_MAX;
use crate::types::{CqlType, VectorType};
use crate::value::{NANOSECONDS_PER_DAY, ValueError, vint};

/// Tells whether `bytes` are a value of `cql_type`, and if not, what is wrong.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(cql_type: &CqlType, bytes: &[u8]) -> Result<(), ValueError> {
    validate_within(cql_type, bytes, NESTING_MAX)
}

/// True if zero bytes are a value of the type: all but the youngest scalars, and collections.
pub fn accepts_empty(cql_type: &CqlType) -> bool {
    !matches!(
        cql_type.unfrozen(),
        CqlType::Date
            | CqlType::Time
            | CqlType::SmallInt
            | CqlType::TinyInt
            | CqlType::Duration
            | CqlType::List(_)
            | CqlType::Set(_)
            | CqlType::Map(_)
            | CqlType::Vector(_)
    )
}

fn validate_within(cql_type: &CqlType, bytes: &[u8], levels: usize) -> Result<(), ValueError> {
    let inner = levels.checked_sub(1).ok_or(ValueError::TooDeep { limit: NESTING_MAX })?;
    match cql_type {
        CqlType::Frozen(frozen) => validate_within(frozen.unfrozen(), bytes, levels),
        CqlType::List(element) => validate_elements("list", element, bytes, inner),
        CqlType::Set(element) => validate_elements("set", element, bytes, inner),
        CqlType::Map(pair) => {
            let mut parts = Parts::new("map", bytes);
            for _ in 0..parts.count(8)? {
                validate_within(&pair.0, parts.present()?, inner)?;
                validate_within(&pair.1, parts.present()?, inner)?;
            }
            parts.end()
        }
        CqlType::Tuple(elements) => validate_fields("tuple", elements.iter(), bytes, inner),
        CqlType::Udt(udt) => {
            validate_fields("user-defined type", udt.fields.iter().map(|field| &field.cql_type), bytes, inner)
        }
        CqlType::Vector(vector) => validate_vector(vector, bytes, inner),
        scalar => validate_scalar(scalar, bytes),
    }
}

pub(super) fn validate_scalar(cql_type: &CqlType, bytes: &[u8]) -> Result<(), ValueError> {
    if bytes.is_empty() && accepts_empty(cql_type) {
        return Ok(());
    }
    let exactly = |expected: usize| match cql_type.scalar_name() {
        Some(cql_type) if bytes.len() != expected => Err(ValueError::Length { cql_type, expected, got: bytes.len() }),
        _ => Ok(()),
    };
    match cql_type {
        CqlType::Ascii => match bytes.iter().enumerate().find(|(_, byte)| !byte.is_ascii()) {
            Some((offset, &byte)) => Err(ValueError::NotAscii { byte, offset }),
            None => Ok(()),
        },
        CqlType::Text => match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(error) => Err(ValueError::NotUtf8 { offset: error.valid_up_to() }),
        },
        CqlType::Boolean | CqlType::TinyInt => exactly(1),
        CqlType::SmallInt => exactly(2),
        CqlType::Int | CqlType::Float | CqlType::Date => exactly(4),
        CqlType::BigInt | CqlType::Counter | CqlType::Double | CqlType::Timestamp => exactly(8),
        CqlType::Uuid => exactly(16),
        CqlType::TimeUuid => {
            exactly(16)?;
            let version = bytes.get(6).map_or(0, |byte| byte >> 4);
            if version == 1 { Ok(()) } else { Err(ValueError::NotTimeUuid { version }) }
        }
        CqlType::Time => {
            exactly(8)?;
            let nanoseconds = bytes.first_chunk::<8>().map_or(0, |bytes| i64::from_be_bytes(*bytes));
            let valid = (0..NANOSECONDS_PER_DAY).contains(&nanoseconds);
            if valid { Ok(()) } else { Err(ValueError::TimeRange { nanoseconds }) }
        }
        CqlType::Inet if !matches!(bytes.len(), 4 | 16) => Err(ValueError::InetLength { got: bytes.len() }),
        CqlType::Decimal if bytes.len() < 5 => {
            Err(ValueError::TooShort { cql_type: "decimal", expected: 5, got: bytes.len() })
        }
        CqlType::Duration => read_duration(bytes).map(|_| ()),
        _ => Ok(()),
    }
}

/// Months, days and nanoseconds.
pub(super) fn read_duration(bytes: &[u8]) -> Result<(i32, i32, i64), ValueError> {
    let mut rest = bytes;
    let mut part = || {
        let too_short = ValueError::TooShort { cql_type: "duration", expected: bytes.len() + 1, got: bytes.len() };
        let (value, length) = vint::read_signed(rest).ok_or(too_short)?;
        rest = rest.get(length..).unwrap_or_default();
        Ok::<i64, ValueError>(value)
    };
    let (months, days, nanoseconds) = (part()?, part()?, part()?);
    if !rest.is_empty() {
        return Err(ValueError::Trailing { what: "duration", extra: rest.len() });
    }
    let parts = [months, days, nanoseconds];
    if parts.iter().any(|&part| part < 0) && parts.iter().any(|&part| part > 0) {
        return Err(ValueError::DurationSigns { months, days, nanoseconds });
    }
    match (i32::try_from(months), i32::try_from(days)) {
        (Ok(months), Ok(days)) => Ok((months, days, nanoseconds)),
        _ => Err(ValueError::DurationRange { months, days }),
    }
}

fn validate_elements(what: &'static str, element: &CqlType, bytes: &[u8], levels: usize) -> Result<(), ValueError> {
    let mut parts = Parts::new(what, bytes);
    for _ in 0..parts.count(4)? {
        validate_within(element, parts.present()?, levels)?;
    }
    parts.end()
}

fn validate_fields<'a>(
    what: &'static str,
    types: impl Iterator<Item = &'a CqlType>,
    bytes: &[u8],
    levels: usize,
) -> Result<(), ValueError> {
    let mut parts = Parts::new(what, bytes);
    for cql_type in types {
        if parts.rest.is_empty() {
            return Ok(());
        }
        if let Some(field) = parts.next()? {
            validate_within(cql_type, field, levels)?;
        }
    }
    parts.end()
}

fn validate_vector(vector: &VectorType, bytes: &[u8], levels: usize) -> Result<(), ValueError> {
    let mut parts = Parts::new("vector", bytes);
    let fixed = parts.vector_layout(vector)?;
    for _ in 0..vector.dimensions {
        validate_within(&vector.element, parts.vector_element(fixed)?, levels)?;
    }
    parts.end()
}

/// Takes a nested value apart.
pub(super) struct Parts<'a> {
    what: &'static str,
    pub(super) rest: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Parts<'a> {
        Parts { what, rest: bytes }
    }

    fn take(&mut self, needed: usize) -> Result<&'a [u8], ValueError> {
        let left = self.rest.len();
        let (taken, rest) =
            self.rest.split_at_checked(needed).ok_or(ValueError::Truncated { what: self.what, needed, left })?;
        self.rest = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, ValueError> {
        let bytes = self.take(4)?;
        Ok(bytes.first_chunk::<4>().map_or(0, |bytes| i32::from_be_bytes(*bytes)))
    }

    /// The number of elements, of which each has at least `bytes_each`.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, ValueError> {
        let count = self.int()?;
        let left = self.rest.len();
        let error = ValueError::Count { what: self.what, count: i64::from(count), left };
        match usize::try_from(count) {
            Ok(count) if count.saturating_mul(bytes_each) <= left => Ok(count),
            _ => Err(error),
        }
    }

    /// The next [bytes].
    pub(super) fn next(&mut self) -> Result<Option<&'a [u8]>, ValueError> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The next [bytes], which must not be null.
    pub(super) fn present(&mut self) -> Result<&'a [u8], ValueError> {
        self.next()?.ok_or(ValueError::Null { what: self.what })
    }

    /// The length that all elements have, if they have one; then their sum is checked.
    pub(super) fn vector_layout(&self, vector: &VectorType) -> Result<Option<usize>, ValueError> {
        let Some(length) = vector.element.vector_element_length() else { return Ok(None) };
        let expected = length.saturating_mul(vector.dimensions as usize);
        if self.rest.len() != expected {
            return Err(ValueError::Length { cql_type: "vector", expected, got: self.rest.len() });
        }
        Ok(Some(length))
    }

    /// The next element of a vector.
    pub(super) fn vector_element(&mut self, fixed: Option<usize>) -> Result<&'a [u8], ValueError> {
        if let Some(length) = fixed {
            return self.take(length);
        }
        let left = self.rest.len();
        let truncated = ValueError::Truncated { what: self.what, needed: 1, left };
        let (length, prefix) = vint::read_unsigned(self.rest).ok_or(truncated)?;
        self.take(prefix)?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), ValueError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(ValueError::Trailing { what: self.what, extra }),
        }
    }
}
