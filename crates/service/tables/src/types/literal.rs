//! Constants of the language to serialized values, by the type that receives them.

use super::number::{Decimal, varint_from_text};
use super::{calendar, duration, uuids};
use bytes::Bytes;
use holon_cql::CqlType;
use holon_cql_language::ast::Literal;
use std::net::IpAddr;

/// Why a constant is not a value of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiteralError {
    /// This kind of constant never is one of this type.
    Kind,
    /// The kind fits, the text does not: why, in Cassandra's words.
    Text(String),
}

/// What Cassandra calls the kind of a constant.
pub fn kind_name(literal: &Literal) -> &'static str {
    match literal {
        Literal::String(_) => "STRING",
        Literal::Integer(_) => "INTEGER",
        Literal::Float(_) => "FLOAT",
        Literal::Boolean(_) => "BOOLEAN",
        Literal::Uuid(_) => "UUID",
        Literal::Blob(_) => "HEX",
        Literal::Duration(_) => "DURATION",
    }
}

/// The constant as it was written, for messages and for the names of result columns.
pub fn source_text(literal: &Literal) -> String {
    match literal {
        Literal::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => other.raw_text().to_string(),
    }
}

/// The type that a constant has where nothing else tells.
pub fn natural_type(literal: &Literal) -> CqlType {
    match literal {
        Literal::String(_) => CqlType::Text,
        Literal::Integer(text) if text.parse::<i32>().is_ok() => CqlType::Int,
        Literal::Integer(text) if text.parse::<i64>().is_ok() => CqlType::BigInt,
        Literal::Integer(_) => CqlType::VarInt,
        Literal::Float(_) => CqlType::Double,
        Literal::Boolean(_) => CqlType::Boolean,
        Literal::Uuid(_) => CqlType::Uuid,
        Literal::Blob(_) => CqlType::Blob,
        Literal::Duration(_) => CqlType::Duration,
    }
}

/// Whether constants of this kind can be values of a type.
pub fn fits(literal: &Literal, cql_type: &CqlType) -> bool {
    use CqlType::*;
    let cql_type = cql_type.unfrozen();
    match literal {
        Literal::String(_) => matches!(cql_type, Ascii | Text | Inet | Date | Time | Timestamp | Custom(_) | Tuple(_)),
        Literal::Integer(_) => matches!(
            cql_type,
            BigInt | Counter | Date | Decimal | Double | Float | Int | SmallInt | Time | Timestamp | TinyInt | VarInt
        ),
        // NaN and infinity are no decimals.
        Literal::Float(text) => {
            matches!(cql_type, Double | Float)
                || (*cql_type == Decimal && text.bytes().any(|byte| byte.is_ascii_digit()))
        }
        Literal::Boolean(_) => matches!(cql_type, Boolean),
        Literal::Uuid(_) => matches!(cql_type, Uuid | TimeUuid),
        Literal::Blob(_) => matches!(cql_type, Blob | Custom(_)),
        Literal::Duration(_) => matches!(cql_type, Duration),
    }
}

/// The serialized value of a constant.
///
/// # Errors
/// The kind does not fit the type, or the text is not one of its values.
pub fn serialize(literal: &Literal, cql_type: &CqlType) -> Result<Bytes, LiteralError> {
    if !fits(literal, cql_type) {
        return Err(LiteralError::Kind);
    }
    match literal {
        Literal::Blob(digits) => blob(digits).map(Bytes::from).ok_or_else(|| {
            LiteralError::Text(format!("An hex string representing bytes must have an even length: '{digits}'"))
        }),
        Literal::Boolean(value) => Ok(Bytes::copy_from_slice(&[u8::from(*value)])),
        other => from_text(&other.raw_text(), cql_type).map_err(LiteralError::Text),
    }
}

/// The bytes of hexadecimal digits.
pub fn blob(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| (digit as char).to_digit(16);
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8)).collect()
}

/// The serialized value of a scalar's text. The error is Cassandra's message.
///
/// # Errors
/// The text is not a value of the type.
pub fn from_text(text: &str, cql_type: &CqlType) -> Result<Bytes, String> {
    let number = |made: Option<Vec<u8>>, what: &str| made.ok_or_else(|| format!("Unable to make {what} from '{text}'"));
    let bytes = match cql_type.unfrozen() {
        CqlType::Text | CqlType::Custom(_) => text.as_bytes().to_vec(),
        CqlType::Ascii => {
            if !text.is_ascii() {
                return Err("Invalid ASCII character in string literal".to_string());
            }
            text.as_bytes().to_vec()
        }
        CqlType::Inet if text.is_empty() => Vec::new(),
        CqlType::Timestamp if text.is_empty() => Vec::new(),
        CqlType::Inet => match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => address.octets().to_vec(),
            Ok(IpAddr::V6(address)) => address.octets().to_vec(),
            Err(_) => return Err(format!("Unable to make inet address from '{text}'")),
        },
        CqlType::TinyInt => number(text.parse::<i8>().ok().map(|value| value.to_be_bytes().to_vec()), "byte")?,
        CqlType::SmallInt => number(text.parse::<i16>().ok().map(|value| value.to_be_bytes().to_vec()), "short")?,
        CqlType::Int => number(text.parse::<i32>().ok().map(|value| value.to_be_bytes().to_vec()), "int")?,
        CqlType::BigInt | CqlType::Counter => {
            number(text.parse::<i64>().ok().map(|value| value.to_be_bytes().to_vec()), "long")?
        }
        CqlType::Float => number(float_text(text).map(|value| (value as f32).to_be_bytes().to_vec()), "float")?,
        CqlType::Double => number(float_text(text).map(|value| value.to_be_bytes().to_vec()), "double")?,
        CqlType::VarInt => number(varint_from_text(text), "BigInteger")?,
        CqlType::Decimal => number(Decimal::from_text(text).map(|value| value.encode()), "BigDecimal")?,
        CqlType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => vec![1],
            "false" => vec![0],
            _ => return Err(format!("Unable to make boolean from '{text}'")),
        },
        CqlType::Timestamp => calendar::timestamp_from_text(text)
            .map(|millis| millis.to_be_bytes().to_vec())
            .ok_or_else(|| format!("Unable to parse a date/time from '{text}'"))?,
        CqlType::Date => calendar::date_from_text(text).map(|days| days.to_be_bytes().to_vec()).ok_or_else(|| {
            match text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && !text.contains("--") {
                true if text.rfind('-').is_none_or(|at| at == 0) => {
                    format!("Unable to make unsigned int (for date) from: '{text}'")
                }
                _ => format!("Unable to coerce '{text}' to a formatted date (long)"),
            }
        })?,
        CqlType::Time => calendar::time_from_text(text)
            .map(|nanos| nanos.to_be_bytes().to_vec())
            .ok_or_else(|| format!("(TimeType) Unable to coerce '{text}' to a formatted time (long)"))?,
        CqlType::Duration => duration::Duration::from_text(text)
            .map(|duration| duration.encode())
            .ok_or_else(|| duration::refusal(text))?,
        CqlType::Uuid => number(uuids::from_text(text).map(|uuid| uuid.to_be_bytes().to_vec()), "UUID")?,
        CqlType::TimeUuid => {
            let uuid = uuids::from_text(text).ok_or_else(|| format!("Unable to make UUID from '{text}'"))?;
            if uuids::version(uuid) != 1 {
                return Err("TimeUUID supports only version 1 UUIDs".to_string());
            }
            uuid.to_be_bytes().to_vec()
        }
        CqlType::Blob => {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            blob(digits).ok_or_else(|| format!("cannot parse '{text}' as hex bytes"))?
        }
        CqlType::Tuple(types) => return tuple_from_text(text, cql_type, types),
        other => return Err(format!("a text is not a value of {other}")),
    };
    Ok(bytes.into())
}

/// `field:field`, with `@` for null; `\\:` and `\\@` stand for themselves.
fn tuple_from_text(text: &str, tuple: &CqlType, types: &[CqlType]) -> Result<Bytes, String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let last = parts.len() - 1;
        match character {
            ':' => parts.push(String::new()),
            '\\' if matches!(characters.peek(), Some(':' | '@')) => {
                parts[last].push('\\');
                parts[last].extend(characters.next());
            }
            other => parts[last].push(other),
        }
    }
    if parts.len() > types.len() {
        return Err(format!(
            "Invalid tuple literal: too many elements. Type {tuple} expects {} but got {}",
            types.len(),
            parts.len()
        ));
    }
    let field = |(part, of): (&String, &CqlType)| match part.as_str() {
        "@" => Ok(None),
        part => from_text(&part.replace("\\:", ":").replace("\\@", "@"), of).map(Some),
    };
    let fields = parts.iter().zip(types).map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(super::collection::encode_fields(&fields))
}

fn float_text(text: &str) -> Option<f64> {
    match text {
        "NaN" | "-NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.eq_ignore_ascii_case("nan") => Some(f64::NAN),
        _ if text.eq_ignore_ascii_case("infinity") => Some(f64::INFINITY),
        _ if text.eq_ignore_ascii_case("-infinity") => Some(f64::NEG_INFINITY),
        // Rust takes "inf" and the like, which no CQL constant is.
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_fit_the_types_that_cassandra_lets_them_fit() {
        let integer = Literal::Integer("7".into());
        assert_eq!(serialize(&integer, &CqlType::Int).as_deref(), Ok(&[0, 0, 0, 7][..]));
        assert_eq!(serialize(&integer, &CqlType::Double).as_deref(), Ok(&7f64.to_be_bytes()[..]));
        assert_eq!(serialize(&integer, &CqlType::Text), Err(LiteralError::Kind));
        assert_eq!(serialize(&Literal::Float("1.5".into()), &CqlType::Int), Err(LiteralError::Kind));
        let large = Literal::Integer("99999999999".into());
        let error = LiteralError::Text("Unable to make int from '99999999999'".into());
        assert_eq!(serialize(&large, &CqlType::Int), Err(error));
        assert_eq!(serialize(&large, &CqlType::VarInt).map(|bytes| bytes.len()), Ok(5));
        for (text, expected) in [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)] {
            let value = serialize(&Literal::Float(text.into()), &CqlType::Double).expect("a double");
            assert_eq!(value[..], expected.to_be_bytes());
        }
        assert_eq!(serialize(&Literal::Blob("0aFF".into()), &CqlType::Blob).as_deref(), Ok(&[10, 255][..]));
        assert!(serialize(&Literal::Blob("0aF".into()), &CqlType::Blob).is_err());
        let address = serialize(&Literal::String("::1".into()), &CqlType::Inet).expect("an address");
        assert_eq!(address.len(), 16);
        let uuid = Literal::Uuid("00000000-0000-4000-8000-000000000000".into());
        assert!(serialize(&uuid, &CqlType::Uuid).is_ok() && serialize(&uuid, &CqlType::TimeUuid).is_err());
    }
}
