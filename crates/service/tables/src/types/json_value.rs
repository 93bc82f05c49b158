//! JSON to serialized values, as INSERT JSON takes it: any scalar may be written as a string.

use super::{collection, literal};
use crate::limits::JSON_NESTING_MAX;
use bytes::Bytes;
use holon_cql::CqlType;

/// A parsed JSON text. Numbers stay as they are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Boolean(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Json {
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Json, String> {
        let mut parser = Parser { text, at: 0 };
        let value = parser.value(JSON_NESTING_MAX)?;
        parser.space();
        if parser.at < text.len() { Err(parser.error("characters after the end")) } else { Ok(value) }
    }
}

impl Parser<'_> {
    fn error(&self, what: &str) -> String {
        format!("Could not decode JSON string as a map: {what} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.error("an unknown word"))
    }

    fn value(&mut self, levels: u32) -> Result<Json, String> {
        let inner = levels.checked_sub(1).ok_or_else(|| self.error("too many levels"))?;
        self.space();
        match self.peek() {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Boolean(true)),
            Some(b'f') => self.word("false", Json::Boolean(false)),
            Some(b'"') => self.string().map(Json::String),
            Some(b'[') => {
                self.at += 1;
                let mut values = Vec::new();
                if self.eat(b']') {
                    return Ok(Json::Array(values));
                }
                loop {
                    values.push(self.value(inner)?);
                    if self.eat(b']') {
                        return Ok(Json::Array(values));
                    }
                    if !self.eat(b',') {
                        return Err(self.error("no comma"));
                    }
                }
            }
            Some(b'{') => self.object(inner),
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.text[self.at..];
                let length = rest.bytes().take_while(|byte| b"+-.eE0123456789".contains(byte)).count();
                self.at += length;
                Ok(Json::Number(rest[..length].to_string()))
            }
            _ => Err(self.error("no value")),
        }
    }

    fn object(&mut self, levels: u32) -> Result<Json, String> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.eat(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("no key"));
            }
            let key = self.string()?;
            if !self.eat(b':') {
                return Err(self.error("no colon"));
            }
            entries.push((key, self.value(levels)?));
            if self.eat(b'}') {
                return Ok(Json::Object(entries));
            }
            if !self.eat(b',') {
                return Err(self.error("no comma"));
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let character = rest.chars().next().ok_or_else(|| self.error("an endless string"))?;
            self.at += character.len_utf8();
            match character {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                other => out.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let byte = self.peek().ok_or_else(|| self.error("an endless string"))?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    if !self.text[self.at..].starts_with("\\u") {
                        return Err(self.error("half a surrogate pair"));
                    }
                    self.at += 2;
                    let second = self.unit()?;
                    let low = second.checked_sub(0xdc00).ok_or_else(|| self.error("half a surrogate pair"))?;
                    0x10000 + ((first - 0xd800) << 10) + low
                } else {
                    first
                };
                char::from_u32(code).ok_or_else(|| self.error("no character"))?
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(|| self.error("a short escape"))?;
        let unit = u32::from_str_radix(digits, 16).map_err(|_| self.error("a wrong escape"))?;
        self.at += 4;
        Ok(unit)
    }
}

/// The serialized value; `None` for null.
///
/// # Errors
/// JSON of the wrong shape, or text that is no value of the type.
pub fn serialize(json: &Json, cql_type: &CqlType) -> Result<Option<Bytes>, String> {
    let wrong = |expected: &str| Err(format!("Expected {expected}, but got: {json:?}"));
    let element = |json: &Json, cql_type: &CqlType| {
        serialize(json, cql_type)?.ok_or_else(|| "Invalid null element in a collection".to_string())
    };
    // A collection may be the key of a map: then it is a string of JSON.
    if let (Json::String(text), false) = (json, cql_type.is_scalar() || matches!(cql_type, CqlType::Custom(_))) {
        return serialize(&Json::parse(text)?, cql_type);
    }
    Ok(Some(match (json, cql_type.unfrozen()) {
        (Json::Null, _) => return Ok(None),
        (Json::Array(values), CqlType::List(of)) => {
            let values = values.iter().map(|value| element(value, of)).collect::<Result<Vec<_>, _>>()?;
            collection::encode_list(&values)
        }
        (Json::Array(values), CqlType::Set(of)) => {
            let values = values.iter().map(|value| element(value, of)).collect::<Result<Vec<_>, _>>()?;
            collection::encode_set(of, values)
        }
        (Json::Array(values), CqlType::Vector(vector)) => {
            if values.len() != vector.dimensions as usize {
                return wrong("a list of as many elements as the vector has");
            }
            let values = values.iter().map(|value| element(value, &vector.element)).collect::<Result<Vec<_>, _>>()?;
            collection::encode_vector(vector, &values).into()
        }
        (Json::Array(values), CqlType::Tuple(types)) => {
            if values.len() > types.len() {
                return wrong("a list of at most as many elements as the tuple has");
            }
            let fields = values.iter().zip(types.iter()).map(|(value, of)| serialize(value, of));
            collection::encode_fields(&fields.collect::<Result<Vec<_>, _>>()?)
        }
        (Json::Object(entries), CqlType::Map(pair)) => {
            let entry = |(key, value): &(String, Json)| {
                Ok::<_, String>((element(&Json::String(key.clone()), &pair.0)?, element(value, &pair.1)?))
            };
            collection::encode_map(&pair.0, entries.iter().map(entry).collect::<Result<_, _>>()?)
        }
        (Json::Object(entries), CqlType::Udt(udt)) => {
            let mut fields = Vec::with_capacity(udt.fields.len());
            for field in &udt.fields {
                let given = entries.iter().find(|(key, _)| column_name(key) == field.name);
                fields.push(given.map_or(Ok(None), |(_, value)| serialize(value, &field.cql_type))?);
            }
            if let Some((key, _)) =
                entries.iter().find(|(key, _)| !udt.fields.iter().any(|field| field.name == column_name(key)))
            {
                return Err(format!("Unknown field '{key}' in value of user defined type {}", udt.name));
            }
            collection::encode_fields(&fields)
        }
        (Json::Boolean(value), CqlType::Boolean) => Bytes::copy_from_slice(&[u8::from(*value)]),
        (Json::Number(number), scalar) if is_number(scalar) => literal::from_text(number, scalar)?,
        (Json::String(string), scalar) => literal::from_text(string, scalar)?,
        (_, other) => return wrong(&format!("a value of type {other}")),
    }))
}

fn is_number(cql_type: &CqlType) -> bool {
    use CqlType::*;
    matches!(cql_type, TinyInt | SmallInt | Int | BigInt | Counter | VarInt | Decimal | Float | Double | Timestamp)
}

/// The column that a key of an object names: `"Name"` in quotes is exact, others are folded.
pub fn column_name(key: &str) -> String {
    match key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(exact) => exact.to_string(),
        None => key.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::json::to_json;

    #[test]
    fn json_goes_in_and_comes_out() {
        let map = CqlType::map(CqlType::Int, CqlType::list(CqlType::Text));
        let text = r#"{"1": ["a", "\u00e9\ud83d\ude00"], "20": []}"#;
        let value = serialize(&Json::parse(text).expect("json"), &map).expect("a map").expect("a value");
        assert_eq!(to_json(&map, Some(&value)), "{\"1\": [\"a\", \"é😀\"], \"20\": []}");
        for wrong in ["{", "[1 2]", "{\"a\" 1}", "nul", "\"a", "1 2", "{1: 2}", "\"\\x\""] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Json::parse(&"[".repeat(100)).is_err(), "nesting is bounded");
        assert_eq!(serialize(&Json::Null, &map), Ok(None));
        assert!(serialize(&Json::Array(vec![Json::Null]), &CqlType::list(CqlType::Int)).is_err());
    }
}
