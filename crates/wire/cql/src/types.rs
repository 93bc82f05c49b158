//! CQL types: as a value to pass around, as an [option] on the wire (section 4.2.5.2), as CQL text, as a Java class
//! name.
//!
//! A type is cheap to clone (nested ones share an `Arc`) and can be sent between threads. `frozen<…>` is a wrapper,
//! because it is part of what a user wrote and what DESCRIBE has to print; it has no trace on the wire. Code that does
//! not care calls `unfrozen()` first. The functions of `value` look through it themselves.

mod class_name;
mod option;

use std::fmt;
use std::sync::Arc;

use crate::limits::NESTING_MAX;

/// A type.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum CqlType {
    Ascii,
    BigInt,
    Blob,
    Boolean,
    Counter,
    Decimal,
    Double,
    Float,
    Int,
    Timestamp,
    Uuid,
    /// `text`, of which `varchar` is another name.
    Text,
    VarInt,
    TimeUuid,
    Inet,
    Date,
    Time,
    SmallInt,
    TinyInt,
    Duration,
    List(Arc<CqlType>),
    Set(Arc<CqlType>),
    /// Key and value.
    Map(Arc<(CqlType, CqlType)>),
    /// Always frozen, whether wrapped or not.
    Tuple(Arc<[CqlType]>),
    Udt(Arc<UdtType>),
    Vector(Arc<VectorType>),
    /// Never around a scalar or another `Frozen`, if made with `frozen()`.
    Frozen(Arc<CqlType>),
    /// Any other type, by its Java class; its values are bytes.
    Custom(Arc<str>),
}

/// A user-defined type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UdtType {
    pub keyspace: String,
    pub name: String,
    pub fields: Vec<UdtField>,
}

/// A field of a user-defined type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UdtField {
    pub name: String,
    pub cql_type: CqlType,
}

/// A vector: so many elements, none of them null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VectorType {
    pub element: CqlType,
    /// At least 1.
    pub dimensions: u32,
}

impl CqlType {
    /// The types without parameters, with their names in CQL.
    pub const SCALARS: [(CqlType, &'static str); 20] = [
        (CqlType::Ascii, "ascii"),
        (CqlType::BigInt, "bigint"),
        (CqlType::Blob, "blob"),
        (CqlType::Boolean, "boolean"),
        (CqlType::Counter, "counter"),
        (CqlType::Date, "date"),
        (CqlType::Decimal, "decimal"),
        (CqlType::Double, "double"),
        (CqlType::Duration, "duration"),
        (CqlType::Float, "float"),
        (CqlType::Inet, "inet"),
        (CqlType::Int, "int"),
        (CqlType::SmallInt, "smallint"),
        (CqlType::Text, "text"),
        (CqlType::Time, "time"),
        (CqlType::Timestamp, "timestamp"),
        (CqlType::TimeUuid, "timeuuid"),
        (CqlType::TinyInt, "tinyint"),
        (CqlType::Uuid, "uuid"),
        (CqlType::VarInt, "varint"),
    ];

    /// The scalar type of a name, in any case; also `varchar`.
    pub fn scalar(name: &str) -> Option<CqlType> {
        if name.eq_ignore_ascii_case("varchar") {
            return Some(CqlType::Text);
        }
        let found = CqlType::SCALARS.into_iter().find(|(_, scalar)| scalar.eq_ignore_ascii_case(name));
        found.map(|(cql_type, _)| cql_type)
    }

    /// `list<element>`
    pub fn list(element: CqlType) -> CqlType {
        CqlType::List(Arc::new(element))
    }

    /// `set<element>`
    pub fn set(element: CqlType) -> CqlType {
        CqlType::Set(Arc::new(element))
    }

    /// `map<key, value>`
    pub fn map(key: CqlType, value: CqlType) -> CqlType {
        CqlType::Map(Arc::new((key, value)))
    }

    /// `tuple<elements…>`
    pub fn tuple(elements: impl Into<Arc<[CqlType]>>) -> CqlType {
        CqlType::Tuple(elements.into())
    }

    /// A user-defined type.
    pub fn udt(keyspace: impl Into<String>, name: impl Into<String>, fields: Vec<UdtField>) -> CqlType {
        CqlType::Udt(Arc::new(UdtType { keyspace: keyspace.into(), name: name.into(), fields }))
    }

    /// `vector<element, dimensions>`
    pub fn vector(element: CqlType, dimensions: u32) -> CqlType {
        CqlType::Vector(Arc::new(VectorType { element, dimensions }))
    }

    /// `frozen<inner>`; `inner` itself if freezing changes nothing about it (scalars, vectors, what is frozen already).
    pub fn frozen(inner: CqlType) -> CqlType {
        match inner {
            CqlType::List(_) | CqlType::Set(_) | CqlType::Map(_) | CqlType::Tuple(_) | CqlType::Udt(_) => {
                CqlType::Frozen(Arc::new(inner))
            }
            other => other,
        }
    }

    /// The type without the `frozen` around it.
    pub fn unfrozen(&self) -> &CqlType {
        match self {
            CqlType::Frozen(inner) => inner.unfrozen(),
            other => other,
        }
    }

    /// True for `frozen<…>`, written so.
    pub fn is_frozen(&self) -> bool {
        matches!(self, CqlType::Frozen(_))
    }

    /// True if a column of this type consists of several cells: an unfrozen collection or user-defined type.
    pub fn is_multi_cell(&self) -> bool {
        matches!(self, CqlType::List(_) | CqlType::Set(_) | CqlType::Map(_) | CqlType::Udt(_))
    }

    /// True for list, set and map, frozen or not.
    pub fn is_collection(&self) -> bool {
        matches!(self.unfrozen(), CqlType::List(_) | CqlType::Set(_) | CqlType::Map(_))
    }

    /// True for the types without parameters.
    pub fn is_scalar(&self) -> bool {
        self.scalar_name().is_some()
    }

    /// The name of a type without parameters.
    pub fn scalar_name(&self) -> Option<&'static str> {
        Some(match self {
            CqlType::Ascii => "ascii",
            CqlType::BigInt => "bigint",
            CqlType::Blob => "blob",
            CqlType::Boolean => "boolean",
            CqlType::Counter => "counter",
            CqlType::Decimal => "decimal",
            CqlType::Double => "double",
            CqlType::Float => "float",
            CqlType::Int => "int",
            CqlType::Timestamp => "timestamp",
            CqlType::Uuid => "uuid",
            CqlType::Text => "text",
            CqlType::VarInt => "varint",
            CqlType::TimeUuid => "timeuuid",
            CqlType::Inet => "inet",
            CqlType::Date => "date",
            CqlType::Time => "time",
            CqlType::SmallInt => "smallint",
            CqlType::TinyInt => "tinyint",
            CqlType::Duration => "duration",
            _ => return None,
        })
    }

    /// The length that every value of this type has *inside a vector*, in bytes, if there is one. As in Cassandra,
    /// smallint, tinyint, date, time and counter count as variable there.
    pub fn vector_element_length(&self) -> Option<usize> {
        match self.unfrozen() {
            CqlType::Boolean => Some(1),
            CqlType::Float | CqlType::Int => Some(4),
            CqlType::BigInt | CqlType::Double | CqlType::Timestamp => Some(8),
            CqlType::Uuid | CqlType::TimeUuid => Some(16),
            CqlType::Vector(vector) => {
                vector.element.vector_element_length()?.checked_mul(usize::try_from(vector.dimensions).ok()?)
            }
            _ => None,
        }
    }

    /// Levels of nesting: 1 for a scalar. `frozen` does not count. Looks no deeper than one level beyond the limit.
    pub fn depth(&self) -> usize {
        self.depth_within(NESTING_MAX + 1)
    }

    fn depth_within(&self, left: usize) -> usize {
        if left == 0 {
            return 1;
        }
        let deepest = |types: &mut dyn Iterator<Item = &CqlType>| {
            1 + types.map(|inner| inner.depth_within(left - 1)).max().unwrap_or(0)
        };
        match self {
            CqlType::List(element) | CqlType::Set(element) => deepest(&mut [&**element].into_iter()),
            CqlType::Map(pair) => deepest(&mut [&pair.0, &pair.1].into_iter()),
            CqlType::Tuple(elements) => deepest(&mut elements.iter()),
            CqlType::Udt(udt) => deepest(&mut udt.fields.iter().map(|field| &field.cql_type)),
            CqlType::Vector(vector) => deepest(&mut [&vector.element].into_iter()),
            CqlType::Frozen(inner) => inner.depth_within(left),
            _ => 1,
        }
    }
}

impl fmt::Display for CqlType {
    /// CQL text, as in CREATE TABLE.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.scalar_name() {
            return formatter.write_str(name);
        }
        match self {
            CqlType::List(element) => write!(formatter, "list<{element}>"),
            CqlType::Set(element) => write!(formatter, "set<{element}>"),
            CqlType::Map(pair) => write!(formatter, "map<{}, {}>", pair.0, pair.1),
            CqlType::Tuple(elements) => {
                formatter.write_str("tuple<")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(formatter, "{}{element}", if index == 0 { "" } else { ", " })?;
                }
                formatter.write_str(">")
            }
            CqlType::Udt(udt) => write_identifier(formatter, &udt.name),
            CqlType::Vector(vector) => write!(formatter, "vector<{}, {}>", vector.element, vector.dimensions),
            CqlType::Frozen(inner) => write!(formatter, "frozen<{inner}>"),
            CqlType::Custom(class) => write!(formatter, "'{}'", class.replace('\'', "''")),
            // Scalars were written above.
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for CqlType {
    /// As CQL text; with the keyspace before the name of a user-defined type.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CqlType::Udt(udt) => write!(formatter, "{}.{}{:?}", udt.keyspace, udt.name, udt.fields),
            CqlType::List(element) => write!(formatter, "list<{element:?}>"),
            CqlType::Set(element) => write!(formatter, "set<{element:?}>"),
            CqlType::Map(pair) => write!(formatter, "map<{:?}, {:?}>", pair.0, pair.1),
            CqlType::Tuple(elements) => write!(formatter, "tuple<{elements:?}>"),
            CqlType::Vector(vector) => write!(formatter, "vector<{:?}, {}>", vector.element, vector.dimensions),
            CqlType::Frozen(inner) => write!(formatter, "frozen<{inner:?}>"),
            other => fmt::Display::fmt(other, formatter),
        }
    }
}

/// A name as an identifier of CQL: quoted unless it is lower case and plain. The reserved words are the language's to
/// know; types may be named by few of them, so a name is not compared with them here.
fn write_identifier(formatter: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    if starts_well && name.chars().all(plain) {
        formatter.write_str(name)
    } else {
        write!(formatter, "\"{}\"", name.replace('"', "\"\""))
    }
}
