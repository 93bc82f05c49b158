//! Serialized scalars as text, as CAST and JSON show them.

use super::number::{Decimal, varint_to_big};
use super::{calendar, duration, uuids};
use holon_cql::CqlType;
use std::net::IpAddr;

/// The text of a scalar; `None` for collections and for bytes that are no value of the type.
pub fn to_text(cql_type: &CqlType, value: &[u8]) -> Option<String> {
    if value.is_empty() {
        return Some(String::new());
    }
    Some(match cql_type.unfrozen() {
        CqlType::Text | CqlType::Ascii => String::from_utf8(value.to_vec()).ok()?,
        CqlType::TinyInt => i8::from_be_bytes(value.try_into().ok()?).to_string(),
        CqlType::SmallInt => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        CqlType::Int => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        CqlType::BigInt | CqlType::Counter => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        CqlType::Float => java_float(f32::from_be_bytes(value.try_into().ok()?)),
        CqlType::Double => java_double(f64::from_be_bytes(value.try_into().ok()?)),
        CqlType::VarInt => varint_to_big(value).to_string(),
        CqlType::Decimal => Decimal::decode(value)?.to_string(),
        CqlType::Boolean => (value != [0]).to_string(),
        CqlType::Timestamp => calendar::timestamp_to_text(i64::from_be_bytes(value.try_into().ok()?)),
        CqlType::Date => calendar::date_to_text(u32::from_be_bytes(value.try_into().ok()?)),
        CqlType::Time => calendar::time_to_text(i64::from_be_bytes(value.try_into().ok()?)),
        CqlType::Duration => duration::Duration::decode(value)?.to_string(),
        CqlType::Uuid | CqlType::TimeUuid => uuids::to_text(uuids::from_bytes(value)?),
        CqlType::Inet => match value.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?).to_string(),
            16 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?).to_string(),
            _ => return None,
        },
        CqlType::Blob | CqlType::Custom(_) => format!("0x{}", crate::error::hexadecimal(value)),
        _ => return None,
    })
}

/// As Java's `Double.toString`.
pub fn java_double(value: f64) -> String {
    java_number(value.abs() as f32 as f64, value, format!("{:e}", value.abs()))
}

/// As Java's `Float.toString`.
pub fn java_float(value: f32) -> String {
    java_number(f64::from(value.abs()), f64::from(value), format!("{:e}", value.abs()))
}

fn java_number(magnitude: f64, value: f64, scientific: String) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if value.is_infinite() {
        return format!("{sign}Infinity");
    }
    if value == 0.0 {
        return format!("{sign}0.0");
    }
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (1e-3..1e7).contains(&magnitude) || (-3..7).contains(&exponent) {
        let all: String = digits.chars().filter(char::is_ascii_digit).collect();
        let text = if exponent < 0 {
            format!("0.{}{all}", "0".repeat((-exponent - 1) as usize))
        } else if all.len() <= exponent as usize + 1 {
            format!("{all}{}.0", "0".repeat(exponent as usize + 1 - all.len()))
        } else {
            format!("{}.{}", &all[..=exponent as usize], &all[exponent as usize + 1..])
        };
        return format!("{sign}{text}");
    }
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{sign}{digits}{point}E{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_java_prints_them() {
        let cases = [
            (1.5, "1.5"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (1234567.5, "1234567.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            assert_eq!(java_double(value), expected);
        }
        assert_eq!(java_float(0.1), "0.1");
    }
}
