//! Types as bytes, and user types from their names.

use super::{put_list, put_text, small};
use crate::schema::UserType;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_cql::limits::NESTING_MAX;
use holon_cql::{CqlType, UdtField};
use std::sync::Arc;

const LIST: u8 = 0x20;
const SET: u8 = 0x21;
const MAP: u8 = 0x22;
const TUPLE: u8 = 0x23;
const USER: u8 = 0x24;
const VECTOR: u8 = 0x25;
const FROZEN: u8 = 0x26;
const CUSTOM: u8 = 0x27;

/// The numbers of the scalar types, for ever.
const SCALARS: [(u8, CqlType); 20] = [
    (1, CqlType::Ascii),
    (2, CqlType::BigInt),
    (3, CqlType::Blob),
    (4, CqlType::Boolean),
    (5, CqlType::Counter),
    (6, CqlType::Date),
    (7, CqlType::Decimal),
    (8, CqlType::Double),
    (9, CqlType::Duration),
    (10, CqlType::Float),
    (11, CqlType::Inet),
    (12, CqlType::Int),
    (13, CqlType::SmallInt),
    (14, CqlType::Text),
    (15, CqlType::Time),
    (16, CqlType::Timestamp),
    (17, CqlType::TimeUuid),
    (18, CqlType::TinyInt),
    (19, CqlType::Uuid),
    (20, CqlType::VarInt),
];

pub(super) fn put_type(out: &mut ByteWriter, cql_type: &CqlType) {
    match cql_type {
        CqlType::List(element) => {
            out.put_u8(LIST);
            put_type(out, element);
        }
        CqlType::Set(element) => {
            out.put_u8(SET);
            put_type(out, element);
        }
        CqlType::Map(pair) => {
            out.put_u8(MAP);
            put_type(out, &pair.0);
            put_type(out, &pair.1);
        }
        CqlType::Tuple(elements) => {
            out.put_u8(TUPLE);
            put_list(out, elements, put_type);
        }
        CqlType::Udt(user) => {
            out.put_u8(USER);
            put_text(out, &user.keyspace);
            put_text(out, &user.name);
        }
        CqlType::Vector(vector) => {
            out.put_u8(VECTOR);
            put_type(out, &vector.element);
            out.put_varint(u64::from(vector.dimensions));
        }
        CqlType::Frozen(inner) => {
            out.put_u8(FROZEN);
            put_type(out, inner);
        }
        CqlType::Custom(class) => {
            out.put_u8(CUSTOM);
            put_text(out, class);
        }
        scalar => {
            let number = SCALARS.iter().find(|(_, known)| known == scalar).map_or(0, |(number, _)| *number);
            debug_assert_ne!(number, 0, "no number for {scalar:?}");
            out.put_u8(number);
        }
    }
}

/// User types come without fields.
pub(super) fn read_type(input: &mut ByteReader) -> Result<CqlType, ShortInput> {
    // Every level of nesting may have a `frozen` around it.
    read_within(input, 2 * NESTING_MAX)
}

fn read_within(input: &mut ByteReader, levels: usize) -> Result<CqlType, ShortInput> {
    let offset = input.offset();
    let deeper = levels.checked_sub(1).ok_or(ShortInput { offset })?;
    let number = input.u8()?;
    Ok(match number {
        LIST => CqlType::list(read_within(input, deeper)?),
        SET => CqlType::set(read_within(input, deeper)?),
        MAP => CqlType::map(read_within(input, deeper)?, read_within(input, deeper)?),
        TUPLE => CqlType::tuple(super::list(input, |input| read_within(input, deeper))?),
        USER => CqlType::udt(input.prefixed_str()?, input.prefixed_str()?, Vec::new()),
        VECTOR => {
            let element = read_within(input, deeper)?;
            CqlType::vector(element, small(input)?)
        }
        FROZEN => CqlType::Frozen(Arc::new(read_within(input, deeper)?)),
        CUSTOM => CqlType::Custom(input.prefixed_str()?.into()),
        scalar => {
            let known = SCALARS.iter().find(|(number, _)| *number == scalar);
            known.map(|(_, cql_type)| cql_type.clone()).ok_or(ShortInput { offset })?
        }
    })
}

/// Where user types are looked up by keyspace and name.
pub(crate) type UserTypes<'a> = &'a dyn Fn(&str, &str) -> Option<Arc<UserType>>;

/// The type with every user type in it replaced by what is defined under its name; the error is the name that is not.
pub(crate) fn resolve(cql_type: &CqlType, types: UserTypes<'_>) -> Result<CqlType, String> {
    Ok(match cql_type {
        CqlType::List(element) => CqlType::list(resolve(element, types)?),
        CqlType::Set(element) => CqlType::set(resolve(element, types)?),
        CqlType::Map(pair) => CqlType::map(resolve(&pair.0, types)?, resolve(&pair.1, types)?),
        CqlType::Tuple(elements) => {
            let resolved: Result<Vec<CqlType>, String> =
                elements.iter().map(|element| resolve(element, types)).collect();
            CqlType::tuple(resolved?)
        }
        CqlType::Udt(user) => {
            let found = types(&user.keyspace, &user.name);
            CqlType::Udt(found.ok_or_else(|| format!("{}.{}", user.keyspace, user.name))?)
        }
        CqlType::Vector(vector) => CqlType::vector(resolve(&vector.element, types)?, vector.dimensions),
        CqlType::Frozen(inner) => CqlType::Frozen(Arc::new(resolve(inner, types)?)),
        other => other.clone(),
    })
}

pub(super) fn put_field(out: &mut ByteWriter, field: &UdtField) {
    put_text(out, &field.name);
    put_type(out, &field.cql_type);
}

pub(super) fn read_field(input: &mut ByteReader) -> Result<UdtField, ShortInput> {
    Ok(UdtField { name: input.prefixed_str()?, cql_type: read_type(input)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_has_a_number_of_its_own() {
        for (scalar, _) in CqlType::SCALARS {
            let mut out = ByteWriter::new();
            put_type(&mut out, &scalar);
            assert_eq!(read_type(&mut ByteReader::new(out.freeze())), Ok(scalar));
        }
    }

    #[test]
    fn a_type_nested_beyond_the_limit_is_refused() {
        let bytes = vec![FROZEN; 100_000];
        assert!(read_type(&mut ByteReader::new(bytes.into())).is_err());
    }
}
