//! Traces of requests, as Cassandra's tools read them.

use super::rows::{int, put, row, text, text_map, uuid};
use super::{Row, SystemContext};
use crate::schema::Table;
use holon_cql::Value;

pub(super) fn sessions(context: &SystemContext, table: &Table) -> Vec<Row> {
    let coordinator = context.local.peer_address;
    let sessions = context.live.traces().into_iter().map(|session| {
        let mut cells = row(
            table,
            [
                ("session_id", uuid(session.id)),
                ("command", text("QUERY")),
                ("coordinator", Value::Inet(coordinator.ip())),
                ("coordinator_port", int(coordinator.port())),
                ("duration", int(session.took.as_micros())),
                ("parameters", text_map(&session.parameters)),
                ("request", text(session.request)),
                ("started_at", Value::Timestamp(session.started_wall.millis())),
            ],
        );
        if let Some(client) = session.client {
            put(table, &mut cells, "client", Value::Inet(client));
        }
        cells
    });
    sessions.collect()
}

pub(super) fn events(context: &SystemContext, table: &Table) -> Vec<Row> {
    let mut rows = Vec::new();
    for session in context.live.traces() {
        rows.extend(session.events().map(|(id, elapsed, event)| {
            let source = event.node.unwrap_or(context.local.peer_address);
            row(
                table,
                [
                    ("session_id", uuid(session.id)),
                    ("event_id", Value::TimeUuid(id.to_be_bytes())),
                    ("activity", text(&event.activity)),
                    ("source", Value::Inet(source.ip())),
                    ("source_elapsed", int(elapsed.as_micros())),
                    ("source_port", int(source.port())),
                    ("thread", text(format!("shard-{}", event.shard))),
                ],
            )
        }));
    }
    rows
}
