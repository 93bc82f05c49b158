//! Serialized values as JSON, as `SELECT JSON` and `toJson` show them.

use super::{collection, text};
use holon_cql::CqlType;

/// Null for nothing.
pub fn to_json(cql_type: &CqlType, value: Option<&[u8]>) -> String {
    let mut out = String::new();
    write(cql_type, value, &mut out);
    out
}

fn write(cql_type: &CqlType, value: Option<&[u8]>, out: &mut String) {
    let Some(value) = value else {
        out.push_str("null");
        return;
    };
    match cql_type.unfrozen() {
        CqlType::List(element) | CqlType::Set(element) => {
            write_all(collection::elements(value), out, |part, out| write(element, Some(part), out));
        }
        CqlType::Vector(vector) => {
            let elements = collection::vector_elements(vector, value);
            write_all(elements, out, |part, out| write(&vector.element, Some(part), out));
        }
        CqlType::Tuple(types) => {
            let mut fields = collection::fields(value);
            write_all(types.iter(), out, |field_type, out| write(field_type, fields.next().flatten(), out));
        }
        CqlType::Map(pair) => {
            out.push('{');
            for (index, (key, entry)) in collection::entries(value).enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                // Keys are strings whatever their type.
                let key = to_json(&pair.0, Some(key));
                if key.starts_with('"') {
                    out.push_str(&key)
                } else {
                    write_string(&key, out)
                }
                out.push_str(": ");
                write(&pair.1, Some(entry), out);
            }
            out.push('}');
        }
        CqlType::Udt(udt) => {
            let mut fields = collection::fields(value);
            out.push('{');
            for (index, field) in udt.fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_string(&key_of(&field.name), out);
                out.push_str(": ");
                write(&field.cql_type, fields.next().flatten(), out);
            }
            out.push('}');
        }
        scalar => write_scalar(scalar, value, out),
    }
}

/// A name with capitals keeps its quotes in JSON.
pub fn key_of(name: &str) -> String {
    if name.chars().any(char::is_uppercase) { format!("\"{name}\"") } else { name.to_string() }
}

fn write_all<T>(parts: impl Iterator<Item = T>, out: &mut String, mut each: impl FnMut(T, &mut String)) {
    out.push('[');
    for (index, part) in parts.enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        each(part, out);
    }
    out.push(']');
}

fn write_scalar(cql_type: &CqlType, value: &[u8], out: &mut String) {
    if matches!(cql_type, CqlType::Blob | CqlType::Custom(_)) && value.is_empty() {
        return out.push_str("\"0x\"");
    }
    let shown = text::to_text(cql_type, value);
    let plain = matches!(
        cql_type,
        CqlType::TinyInt
            | CqlType::SmallInt
            | CqlType::Int
            | CqlType::BigInt
            | CqlType::Counter
            | CqlType::VarInt
            | CqlType::Decimal
            | CqlType::Float
            | CqlType::Double
            | CqlType::Boolean
    );
    match shown {
        Some(shown) if plain && matches!(shown.as_str(), "NaN" | "Infinity" | "-Infinity") => out.push_str("null"),
        Some(shown) if plain && !shown.is_empty() => out.push_str(&shown),
        Some(shown) if cql_type == &CqlType::Timestamp => write_string(&shown.replace('T', " "), out),
        Some(shown) => write_string(&shown, out),
        None => out.push_str("null"),
    }
}

/// A quoted string, escaped.
pub fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_show_as_json() {
        let list = collection::encode_list(&[7i32.to_be_bytes(), 8i32.to_be_bytes()]);
        assert_eq!(to_json(&CqlType::list(CqlType::Int), Some(&list)), "[7, 8]");
        let map = collection::encode_entries(&[(vec![0, 0, 0, 1].into(), "a\"b".into())]);
        assert_eq!(to_json(&CqlType::map(CqlType::Int, CqlType::Text), Some(&map)), r#"{"1": "a\"b"}"#);
        assert_eq!(to_json(&CqlType::Double, Some(&f64::NAN.to_be_bytes())), "null");
        assert_eq!(to_json(&CqlType::Text, None), "null");
        assert_eq!(to_json(&CqlType::Timestamp, Some(&[0; 8])), "\"1970-01-01 00:00:00.000Z\"");
    }
}
