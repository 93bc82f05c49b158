//! Messages as text.
//!
//! ```text
//!   OPTIONS   STARTUP   AUTH name password   REGISTER SCHEMA_CHANGE …
//!   QUERY [words:] text            words: one, all, quorum, serial, page=N, next (the next page), skip,
//!                                  at=TIMESTAMP, now=S, in=KEYSPACE
//!   PREPARE label: text            EXECUTE label [words:] values
//!   BATCH LOGGED|UNLOGGED|COUNTER; text; label values; …
//! ```
//!
//! Values: `1` int, `1L` bigint, `'text'`, `0x…` bytes, `true`, `null`, `unset`; `name=value` binds by name.

use bytes::Bytes;
use holon_cql::request::{
    AuthResponse, Batch, BatchKind, BatchQuery, BatchStatement, EventType, Execute, Options, Prepare, Query,
    QueryParameters, Register, Values,
};
use holon_cql::response::ResultResponse;
use holon_cql::{BoundValue, Consistency, Request, Response, ResponseMessage, Version};
use std::collections::BTreeMap;

/// The prepared statements of a connection, by label.
#[derive(Default)]
pub struct PreparedIds {
    known: BTreeMap<String, (Bytes, Bytes)>,
    expected: Option<String>,
}

impl PreparedIds {
    /// Takes the id out of the answer to PREPARE.
    pub fn learn(&mut self, message: &ResponseMessage) {
        if let Response::Result(ResultResponse::Prepared(prepared)) = &message.response
            && let Some(label) = self.expected.take()
        {
            self.known.insert(label, (prepared.id.clone(), prepared.result_metadata_id.clone()));
        }
    }

    fn get(&self, label: &str) -> (Bytes, Bytes) {
        // An unknown label is an id that no server has.
        self.known.get(label).cloned().unwrap_or_else(|| (Bytes::from(label.to_string()), Bytes::new()))
    }
}

pub fn paging_state(message: &ResponseMessage) -> Option<Bytes> {
    match &message.response {
        Response::Result(ResultResponse::Rows(rows)) => rows.metadata.paging_state.clone(),
        _ => None,
    }
}

/// `None`: the client's own STARTUP.
pub fn request(text: &str, ids: &mut PreparedIds, paging: Option<Bytes>, version: Version) -> Option<Request> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match word {
        "STARTUP" if rest.is_empty() => return None,
        "STARTUP" => {
            let pairs = rest.split(' ').filter_map(|pair| pair.split_once('='));
            let options = pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Request::Startup(holon_cql::request::Startup { options })
        }
        "OPTIONS" => Request::Options(Options),
        "AUTH" => {
            let (name, password) = rest.split_once(' ').unwrap_or((rest, ""));
            Request::AuthResponse(AuthResponse::plain(name, password))
        }
        "REGISTER" => Request::Register(Register { events: rest.split(' ').map(event_type).collect() }),
        "QUERY" => {
            let (parameters, statement) = parameters(rest, paging);
            let (statement, values) = statement.split_once(" <- ").unwrap_or((statement, ""));
            let parameters = QueryParameters { values: self::values(values), ..parameters };
            Request::Query(Query { statement: statement.to_string(), parameters })
        }
        "PREPARE" => {
            let (label, statement) = rest.split_once(": ").expect("PREPARE label: text");
            ids.expected = Some(label.to_string());
            Request::Prepare(Prepare { statement: statement.to_string(), keyspace: None })
        }
        "EXECUTE" => {
            let (label, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (parameters, values) = parameters(rest, paging);
            let (id, metadata_id) = ids.get(label);
            let result_metadata_id = (version >= Version::V5).then_some(metadata_id);
            let parameters = QueryParameters { values: self::values(values), ..parameters };
            Request::Execute(Execute { id, result_metadata_id, parameters })
        }
        "BATCH" => batch(rest, ids),
        other => panic!("no message {other:?}"),
    })
}

fn event_type(name: &str) -> EventType {
    let all = [EventType::TopologyChange, EventType::StatusChange, EventType::SchemaChange];
    all.into_iter().find(|event| event.name() == name).unwrap_or_else(|| panic!("no event {name:?}"))
}

fn parameters(text: &str, paging: Option<Bytes>) -> (QueryParameters, &str) {
    let mut parameters = QueryParameters::new(Consistency::One);
    let Some((words, rest)) = text.split_once(": ") else { return (parameters, text) };
    if words
        .split(' ')
        .any(|word| !word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '=' || c == '_'))
    {
        return (parameters, text);
    }
    for word in words.split(' ') {
        match word.split_once('=').unwrap_or((word, "")) {
            ("page", rows) => parameters.page_size = rows.parse().ok(),
            ("next", _) => parameters.paging_state = paging.clone(),
            ("skip", _) => parameters.skip_metadata = true,
            ("serial", _) => parameters.serial_consistency = Some(Consistency::Serial),
            ("at", micros) => parameters.timestamp_us = micros.parse().ok(),
            ("now", seconds) => parameters.now_in_seconds = seconds.parse().ok(),
            ("in", keyspace) => parameters.keyspace = Some(keyspace.to_string()),
            (name, _) => {
                let level = Consistency::EVERY.into_iter().find(|level| level.name().eq_ignore_ascii_case(name));
                parameters.consistency = level.unwrap_or_else(|| panic!("no word {word:?}"));
            }
        }
    }
    (parameters, rest)
}

fn batch(text: &str, ids: &PreparedIds) -> Request {
    let mut parts = text.split("; ");
    let kind = match parts.next() {
        Some("LOGGED") => BatchKind::Logged,
        Some("UNLOGGED") => BatchKind::Unlogged,
        Some("COUNTER") => BatchKind::Counter,
        other => panic!("no kind of batch {other:?}"),
    };
    let query = |part: &str| {
        if part.contains("INTO")
            || part.starts_with("UPDATE")
            || part.starts_with("DELETE")
            || part.starts_with("SELECT")
        {
            return BatchQuery { statement: BatchStatement::Text(part.to_string()), values: Vec::new() };
        }
        let (label, values) = part.split_once(' ').unwrap_or((part, ""));
        let Values::Positional(values) = self::values(values) else { panic!("a batch binds by position") };
        BatchQuery { statement: BatchStatement::Prepared(ids.get(label).0), values }
    };
    Request::Batch(Batch {
        kind,
        queries: parts.map(query).collect(),
        consistency: Consistency::One,
        serial_consistency: None,
        timestamp_us: None,
        keyspace: None,
        now_in_seconds: None,
    })
}

fn values(text: &str) -> Values {
    let texts: Vec<&str> = text.split(", ").filter(|text| !text.is_empty()).collect();
    if texts.iter().any(|text| text.contains('=')) {
        let pairs = texts.iter().filter_map(|text| text.split_once('='));
        return Values::Named(pairs.map(|(name, text)| (name.to_string(), value(text))).collect());
    }
    Values::Positional(texts.into_iter().map(value).collect())
}

fn value(text: &str) -> BoundValue {
    if let Some(digits) = text.strip_prefix("0x") {
        return BoundValue::Value(from_hexadecimal(digits).into());
    }
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return BoundValue::from_slice(inner.as_bytes());
    }
    match text {
        "null" => BoundValue::Null,
        "unset" => BoundValue::Unset,
        "true" => BoundValue::from_slice(&[1]),
        "false" => BoundValue::from_slice(&[0]),
        _ => match text.strip_suffix('L') {
            Some(digits) => BoundValue::from_slice(&digits.parse::<i64>().expect("a bigint").to_be_bytes()),
            None => BoundValue::from_slice(&text.parse::<i32>().expect("an int").to_be_bytes()),
        },
    }
}

pub fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| byte.is_ascii_hexdigit()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}
