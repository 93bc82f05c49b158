//! Types as [option] (section 4.2.5.2). What a version does not know goes as the class that Cassandra has for it.

use std::sync::Arc;

use crate::error::CqlError;
use crate::frame::Version;
use crate::limits::NESTING_MAX;
use crate::notation::{Reader, Writer};
use crate::types::{CqlType, UdtField};

const CUSTOM: u16 = 0x0000;
const LIST: u16 = 0x0020;
const MAP: u16 = 0x0021;
const SET: u16 = 0x0022;
const UDT: u16 = 0x0030;
const TUPLE: u16 = 0x0031;

impl CqlType {
    /// Reads a type; what a version does not know is not asked, it is understood anyway.
    ///
    /// # Errors
    /// Also nesting beyond the limit.
    pub fn decode(reader: &mut Reader) -> Result<CqlType, CqlError> {
        decode(reader, NESTING_MAX)
    }

    /// Appends the type; `frozen` leaves no trace.
    ///
    /// # Errors
    /// Names of 64 KiB and more, too many fields, nesting beyond the limit.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        encode(self, writer, version, NESTING_MAX)
    }
}

/// The id of a scalar and the version that brought it.
fn scalar_id(cql_type: &CqlType) -> Option<(u16, Version)> {
    Some(match cql_type {
        CqlType::Ascii => (0x0001, Version::V3),
        CqlType::BigInt => (0x0002, Version::V3),
        CqlType::Blob => (0x0003, Version::V3),
        CqlType::Boolean => (0x0004, Version::V3),
        CqlType::Counter => (0x0005, Version::V3),
        CqlType::Decimal => (0x0006, Version::V3),
        CqlType::Double => (0x0007, Version::V3),
        CqlType::Float => (0x0008, Version::V3),
        CqlType::Int => (0x0009, Version::V3),
        CqlType::Timestamp => (0x000B, Version::V3),
        CqlType::Uuid => (0x000C, Version::V3),
        CqlType::Text => (0x000D, Version::V3),
        CqlType::VarInt => (0x000E, Version::V3),
        CqlType::TimeUuid => (0x000F, Version::V3),
        CqlType::Inet => (0x0010, Version::V3),
        CqlType::Date => (0x0011, Version::V4),
        CqlType::Time => (0x0012, Version::V4),
        CqlType::SmallInt => (0x0013, Version::V4),
        CqlType::TinyInt => (0x0014, Version::V4),
        CqlType::Duration => (0x0015, Version::V5),
        _ => return None,
    })
}

fn decode(reader: &mut Reader, levels: usize) -> Result<CqlType, CqlError> {
    let offset = reader.offset();
    let Some(inner_levels) = levels.checked_sub(1) else {
        return Err(CqlError::TooDeep { offset, limit: NESTING_MAX });
    };
    let id = reader.short("type")?;
    Ok(match id {
        CUSTOM => {
            let name = reader.string("class of a custom type")?;
            CqlType::from_class_name(&name, inner_levels).ok_or(CqlError::TooDeep { offset, limit: NESTING_MAX })?
        }
        LIST => CqlType::list(decode(reader, inner_levels)?),
        SET => CqlType::set(decode(reader, inner_levels)?),
        MAP => CqlType::map(decode(reader, inner_levels)?, decode(reader, inner_levels)?),
        TUPLE => {
            let count = u64::from(reader.short("elements of a tuple")?);
            let count = reader.check_count(count, 2, "elements of a tuple")?;
            let elements = (0..count).map(|_| decode(reader, inner_levels));
            CqlType::Tuple(elements.collect::<Result<Arc<[_]>, _>>()?)
        }
        UDT => {
            let keyspace = reader.string("keyspace of a user-defined type")?;
            let name = reader.string("name of a user-defined type")?;
            let count = u64::from(reader.short("fields of a user-defined type")?);
            let count = reader.check_count(count, 4, "fields of a user-defined type")?;
            let field = |_| {
                let name = reader.string("name of a field")?;
                Ok(UdtField { name, cql_type: decode(reader, inner_levels)? })
            };
            CqlType::udt(keyspace, name, (0..count).map(field).collect::<Result<_, _>>()?)
        }
        _ => {
            let known = CqlType::SCALARS
                .into_iter()
                .find(|(scalar, _)| scalar_id(scalar).is_some_and(|(scalar_id, _)| scalar_id == id));
            let Some((scalar, _)) = known else {
                let expected = "a type of section 4.2.5.2 of the protocol specification";
                return Err(CqlError::UnknownValue { what: "type", offset, value: i64::from(id), expected });
            };
            scalar
        }
    })
}

fn encode(cql_type: &CqlType, writer: &mut Writer<'_>, version: Version, levels: usize) -> Result<(), CqlError> {
    let cql_type = cql_type.unfrozen();
    let Some(inner) = levels.checked_sub(1) else {
        return Err(CqlError::TooDeep { offset: 0, limit: NESTING_MAX });
    };
    match cql_type {
        CqlType::List(element) => {
            writer.short(LIST);
            encode(element, writer, version, inner)
        }
        CqlType::Set(element) => {
            writer.short(SET);
            encode(element, writer, version, inner)
        }
        CqlType::Map(pair) => {
            writer.short(MAP);
            encode(&pair.0, writer, version, inner)?;
            encode(&pair.1, writer, version, inner)
        }
        CqlType::Tuple(elements) => {
            writer.short(TUPLE);
            writer.count(elements.len(), "elements of a tuple")?;
            elements.iter().try_for_each(|element| encode(element, writer, version, inner))
        }
        CqlType::Udt(udt) => {
            writer.short(UDT);
            writer.string(&udt.keyspace, "keyspace of a user-defined type")?;
            writer.string(&udt.name, "name of a user-defined type")?;
            writer.count(udt.fields.len(), "fields of a user-defined type")?;
            udt.fields.iter().try_for_each(|field| {
                writer.string(&field.name, "name of a field")?;
                encode(&field.cql_type, writer, version, inner)
            })
        }
        scalar => match scalar_id(scalar) {
            Some((id, since)) if version >= since => {
                writer.short(id);
                Ok(())
            }
            _ => {
                if cql_type.depth() > levels {
                    return Err(CqlError::TooDeep { offset: 0, limit: NESTING_MAX });
                }
                writer.short(CUSTOM);
                writer.string(&scalar.class_name(), "class of a custom type")
            }
        },
    }
}
