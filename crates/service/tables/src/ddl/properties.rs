//! `WITH name = value AND …`, read with Cassandra's rules and messages.

use crate::error::{CqlError, CqlResult};
use holon_cql_language::ast::{Property, PropertyValue};
use std::collections::BTreeMap;

/// The value as text.
pub(super) fn text(property: &Property) -> CqlResult<String> {
    let value = property.value.raw_text().map(|text| text.into_owned());
    value.ok_or_else(|| wrong_kind(property, "string"))
}

/// The value as a map of texts.
pub(super) fn map(property: &Property) -> CqlResult<BTreeMap<String, String>> {
    match &property.value {
        PropertyValue::Map(entries) => {
            let pair = |(name, value): &(_, _)| (raw(name), raw(value));
            Ok(entries.iter().map(pair).collect())
        }
        _ => Err(wrong_kind(property, "map")),
    }
}

fn raw(literal: &holon_cql_language::ast::Literal) -> String {
    literal.raw_text().into_owned()
}

pub(super) fn boolean(property: &Property) -> CqlResult<bool> {
    let value = text(property)?;
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(CqlError::Syntax(format!(
            "Invalid boolean value {value} for '{}'. Positive values can be '1', 'true' or 'yes'. Negative values can be \
             '0', 'false' or 'no'.",
            property.name.as_str()
        ))),
    }
}

/// Not negative.
pub(super) fn integer(property: &Property) -> CqlResult<u32> {
    let (name, value) = (property.name.as_str(), text(property)?);
    let number: i32 =
        value.parse().map_err(|_| CqlError::Syntax(format!("Invalid integer value {value} for '{name}'")))?;
    u32::try_from(number)
        .map_err(|_| CqlError::Config(format!("{name} must be greater than or equal to 0 (got {number})")))
}

pub(super) fn double(property: &Property) -> CqlResult<f64> {
    let (name, value) = (property.name.as_str(), text(property)?);
    let number: f64 =
        value.parse().map_err(|_| CqlError::Syntax(format!("Invalid double value {value} for '{name}'")))?;
    Ok(number)
}

pub(super) fn unknown(property: &Property) -> CqlError {
    CqlError::Syntax(format!("Unknown property '{}'", property.name.as_str()))
}

fn wrong_kind(property: &Property, kind: &str) -> CqlError {
    CqlError::Syntax(format!("Invalid value for property '{}'. It should be a {kind}.", property.name.as_str()))
}
