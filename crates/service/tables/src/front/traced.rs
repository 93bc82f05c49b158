//! A request that its client wants traced: what is kept of it, in the words of Cassandra's `system_traces.sessions`.

use super::connection::{Answer, Connection};
use crate::limits;
use crate::service::TablesService;
use crate::trace::{Session, Tracing, cut};
use crate::types::{json, text};
use holon_base::{Instant, Wall};
use holon_cql::request::{Execute, QueryParameters, Values};
use holon_cql::{BoundValue, Consistency, CqlType, Request, Response};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A trace that is being taken.
pub struct Traced {
    pub notes: Tracing,
    id: u128,
    started: Instant,
    started_wall: Wall,
    client: Option<IpAddr>,
    request: &'static str,
    parameters: BTreeMap<String, String>,
}

impl Traced {
    pub fn new(service: &TablesService, connection: &Connection, started: Instant, request: &Request) -> Traced {
        let shard = service.shard();
        let notes = Tracing::on(shard);
        notes.note(|| "The request is taken up".to_string());
        let mut parameters = BTreeMap::new();
        let name = describe(service, request, &mut parameters);
        let waited = i64::try_from(shard.now().since(started).as_micros()).unwrap_or(0);
        let started_wall = Wall(shard.wall().micros() - waited);
        let client = connection.peer.map(|peer| peer.ip());
        Traced { notes, id: Session::new_id(shard), started, started_wall, client, request: name, parameters }
    }

    /// Keeps the trace, and gives the id under which it is found.
    pub fn end(self, service: &TablesService, answer: &Answer) -> u128 {
        if let Response::Error(error) = &answer.response {
            self.notes.note(|| format!("The request failed: {}", error.message));
        }
        let now = service.shard().now();
        let Traced { notes, id, started, started_wall, client, request, parameters } = self;
        let (took, events) = (now.since(started), notes.into_events());
        service.traces().keep(Session { id, started, started_wall, took, client, request, parameters, events }, now);
        id
    }
}

fn describe(service: &TablesService, request: &Request, out: &mut BTreeMap<String, String>) -> &'static str {
    let mut put = |name: &str, value: String| drop(out.insert(name.to_string(), value));
    match request {
        Request::Prepare(prepare) => {
            put("query", shown(&prepare.statement));
            "Preparing CQL3 query"
        }
        Request::Execute(execute) => {
            describe_parameters(&execute.parameters, out);
            describe_prepared(service, execute, out);
            "Execute CQL3 prepared query"
        }
        Request::Batch(batch) => {
            let serial = batch.serial_consistency.unwrap_or(Consistency::Serial);
            put("consistency_level", batch.consistency.name().to_string());
            put("serial_consistency_level", serial.name().to_string());
            "Execute batch of CQL3 queries"
        }
        Request::Query(query) => {
            describe_parameters(&query.parameters, out);
            out.insert("query".to_string(), shown(&query.statement));
            "Execute CQL3 query"
        }
        _ => "Request",
    }
}

fn describe_parameters(parameters: &QueryParameters, out: &mut BTreeMap<String, String>) {
    let serial = parameters.serial_consistency.unwrap_or(Consistency::Serial);
    out.insert("consistency_level".to_string(), parameters.consistency.name().to_string());
    out.insert("serial_consistency_level".to_string(), serial.name().to_string());
    if let Some(rows) = parameters.page_size.filter(|rows| *rows > 0) {
        out.insert("page_size".to_string(), rows.to_string());
    }
}

fn describe_prepared(service: &TablesService, execute: &Execute, out: &mut BTreeMap<String, String>) {
    let Some(kept) = service.statements().find(&execute.id) else { return };
    out.insert("query".to_string(), shown(&kept.text));
    let Ok(planned) = kept.planned(&service.schema()) else { return };
    let Some(plan) = &planned.plan else { return };
    let Values::Positional(values) = &execute.parameters.values else { return };
    for (index, (spec, value)) in plan.markers().specs().iter().zip(values).enumerate().take(limits::TRACE_VALUES_MAX) {
        let shown = cut(literal(&spec.cql_type, value), limits::TRACE_VALUE_BYTES_MAX);
        out.insert(format!("bound_var_{index}_{}", spec.name), shown);
    }
}

/// A bound value as one would write it in a statement.
fn literal(cql_type: &CqlType, value: &BoundValue) -> String {
    let bytes = match value {
        BoundValue::Null => return "null".to_string(),
        BoundValue::Unset => return "unset".to_string(),
        BoundValue::Value(bytes) => bytes,
    };
    use CqlType::{Ascii, Date, Inet, Text, Time, Timestamp};
    match text::to_text(cql_type, bytes) {
        Some(text) if matches!(cql_type, Ascii | Text | Date | Time | Timestamp | Inet) => {
            format!("'{}'", text.replace('\'', "''"))
        }
        Some(text) => text,
        None => json::to_json(cql_type, Some(bytes)),
    }
}

/// The text of a statement for others to read: without what follows the word `password`, and not endlessly long.
pub fn shown(statement: &str) -> String {
    let at = statement.to_ascii_lowercase().find("password");
    let (kept, hidden) = at.map_or((statement, ""), |at| (&statement[..at + "password".len()], " *******"));
    cut(format!("{kept}{hidden}"), limits::TRACE_QUERY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            shown("CREATE ROLE ada WITH PassWord = 'x' AND LOGIN = true"),
            "CREATE ROLE ada WITH PassWord *******"
        );
        assert_eq!(shown("SELECT * FROM t"), "SELECT * FROM t");
    }

    #[test]
    fn bound_values_are_shown_as_literals() {
        let value = |bytes: &'static [u8]| BoundValue::Value(Bytes::from_static(bytes));
        assert_eq!(literal(&CqlType::Text, &value(b"it's")), "'it''s'");
        assert_eq!(literal(&CqlType::Int, &value(&[0, 0, 0, 7])), "7");
        assert_eq!(literal(&CqlType::Blob, &value(&[1, 255])), "0x01ff");
        assert_eq!(literal(&CqlType::Int, &BoundValue::Null), "null");
        let list = CqlType::List(CqlType::Int.into());
        assert_eq!(literal(&list, &value(&[0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 9])), "[9]");
    }
}
