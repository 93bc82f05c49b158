//! Values of all types and their serialized form (section 6), and the check of bytes that a client has bound.
//!
//! A serialized value has no length of its own: it is what stands inside a [bytes]. Null is not a value; where a part
//! may be null (fields of tuples and user-defined types) it is an `Option`. A value of *zero bytes* exists for most
//! types besides null, for reasons of history (section 6): here it is `Value::Empty`.

mod decode;
mod encode;
mod validate;
pub mod vint;

use bytes::Bytes;
use core::net::IpAddr;
use num_bigint::BigInt;

pub use validate::{accepts_empty, validate};

/// Nanoseconds of a day: the end of the range of `time`, exclusive.
pub const NANOSECONDS_PER_DAY: i64 = 86_400_000_000_000;

/// What days since 1970 are added to in a `date`.
pub const DATE_EPOCH: u32 = 1 << 31;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Zero bytes, of a type whose values have some.
    Empty,
    Ascii(String),
    BigInt(i64),
    Blob(Bytes),
    Boolean(bool),
    Counter(i64),
    /// `unscaled` × 10^-`scale`
    Decimal {
        unscaled: BigInt,
        scale: i32,
    },
    Double(f64),
    Float(f32),
    Int(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid([u8; 16]),
    Text(String),
    VarInt(BigInt),
    /// A uuid of version 1.
    TimeUuid([u8; 16]),
    Inet(IpAddr),
    /// Days since 1970 plus `DATE_EPOCH`.
    Date(u32),
    /// Nanoseconds since midnight, less than `NANOSECONDS_PER_DAY`.
    Time(i64),
    SmallInt(i16),
    TinyInt(i8),
    /// All parts positive or zero, or all negative or zero.
    Duration {
        months: i32,
        days: i32,
        nanoseconds: i64,
    },
    List(Vec<Value>),
    /// In the order of the wire.
    Set(Vec<Value>),
    /// In the order of the wire.
    Map(Vec<(Value, Value)>),
    /// Possibly fewer than the type has; those are null.
    Tuple(Vec<Option<Value>>),
    /// Fields in the order of the type; possibly fewer than it has (added later), those are null.
    Udt(Vec<Option<Value>>),
    Vector(Vec<Value>),
    /// The bytes of a custom type.
    Custom(Bytes),
}

impl Value {
    /// What kind of value it is, in words of CQL.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Empty => "empty value",
            Value::Ascii(_) => "ascii",
            Value::BigInt(_) => "bigint",
            Value::Blob(_) => "blob",
            Value::Boolean(_) => "boolean",
            Value::Counter(_) => "counter",
            Value::Decimal { .. } => "decimal",
            Value::Double(_) => "double",
            Value::Float(_) => "float",
            Value::Int(_) => "int",
            Value::Timestamp(_) => "timestamp",
            Value::Uuid(_) => "uuid",
            Value::Text(_) => "text",
            Value::VarInt(_) => "varint",
            Value::TimeUuid(_) => "timeuuid",
            Value::Inet(_) => "inet",
            Value::Date(_) => "date",
            Value::Time(_) => "time",
            Value::SmallInt(_) => "smallint",
            Value::TinyInt(_) => "tinyint",
            Value::Duration { .. } => "duration",
            Value::List(_) => "list",
            Value::Set(_) => "set",
            Value::Map(_) => "map",
            Value::Tuple(_) => "tuple",
            Value::Udt(_) => "user-defined type",
            Value::Vector(_) => "vector",
            Value::Custom(_) => "custom type",
        }
    }
}

/// Why bytes are not a value of a type, or a value cannot be written as one. Answered with INVALID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("expected {expected} bytes for {cql_type}, got {got}")]
    Length { cql_type: &'static str, expected: usize, got: usize },
    #[error("expected 4 or 16 bytes for inet, got {got}")]
    InetLength { got: usize },
    #[error("expected at least {expected} bytes for {cql_type}, got {got}")]
    TooShort { cql_type: &'static str, expected: usize, got: usize },
    #[error("expected ascii, got the byte {byte:#04x} at {offset}; use text for other characters")]
    NotAscii { byte: u8, offset: usize },
    #[error("expected text in UTF-8, got an invalid sequence at byte {offset}")]
    NotUtf8 { offset: usize },
    #[error("expected a uuid of version 1 for timeuuid, got version {version}")]
    NotTimeUuid { version: u8 },
    #[error("expected a time from 0 to 86399999999999 nanoseconds, got {nanoseconds}")]
    TimeRange { nanoseconds: i64 },
    #[error("The duration months and days must be a 32 bits integer but were: {months} and {days}")]
    DurationRange { months: i64, days: i64 },
    #[error("The duration months, days and nanoseconds must be all of the same sign ({months}, {days}, {nanoseconds})")]
    DurationSigns { months: i64, days: i64, nanoseconds: i64 },
    #[error("not enough bytes to read a {what}: it needs {needed}, and {left} are left")]
    Truncated { what: &'static str, needed: usize, left: usize },
    #[error("not enough bytes to read a {what}: it announces {count} elements, which cannot be in {left} bytes")]
    Count { what: &'static str, count: i64, left: usize },
    #[error("{what} holds a null; collections and vectors cannot")]
    Null { what: &'static str },
    #[error("{extra} bytes follow the end of the {what}")]
    Trailing { what: &'static str, extra: usize },
    #[error("expected {expected} elements for vector, got {got}")]
    Dimensions { expected: usize, got: usize },
    #[error("{what} has {got} elements, its type has {expected}")]
    TooManyElements { what: &'static str, expected: usize, got: usize },
    #[error("value nests deeper than {limit} levels; use a flatter type")]
    TooDeep { limit: usize },
    #[error("expected a value of type {cql_type}, got one of {got}")]
    Mismatch { cql_type: String, got: &'static str },
    #[error("value is too long: {length} bytes or elements, the protocol allows 2147483647")]
    TooLong { length: usize },
}
