//! Responses as lines of text.

use holon_cql::response::{ErrorBody, Event, Prepared, ResultResponse, SchemaChange, SchemaTarget};
use holon_cql::value::Value;
use holon_cql::{CqlType, ResponseMessage, Rows, response::Response};

/// One response: the message, then its rows, one a line.
pub fn render(message: &ResponseMessage) -> Vec<String> {
    let mut lines = Vec::new();
    let stream = if message.stream < 0 { "event".to_string() } else { message.stream.to_string() };
    let mut head = format!("{stream}: ");
    let mut body = Vec::new();
    match &message.response {
        Response::Error(error) => {
            head += &format!("ERROR {:#06x} {}", error.code().number(), error.message);
            if !matches!(error.body, ErrorBody::Plain(_)) {
                head += &format!(" | {:?}", error.body);
            }
        }
        Response::Ready => head += "READY",
        Response::Authenticate(authenticate) => head += &format!("AUTHENTICATE {}", authenticate.authenticator),
        Response::Supported(supported) => head += &format!("SUPPORTED {:?}", supported.options),
        Response::AuthSuccess(_) => head += "AUTH_SUCCESS",
        Response::AuthChallenge(_) => head += "AUTH_CHALLENGE",
        Response::Event(event) => head += &format!("EVENT {}", render_event(event)),
        Response::Result(result) => body = render_result(result, &mut head),
    }
    lines.push(head);
    lines.extend(message.warnings.iter().map(|warning| format!("   warning: {warning}")));
    lines.extend(body.into_iter().map(|line| format!("   {line}")));
    lines
}

fn render_result(result: &ResultResponse, head: &mut String) -> Vec<String> {
    match result {
        ResultResponse::Void => *head += "VOID",
        ResultResponse::SetKeyspace(name) => *head += &format!("SET_KEYSPACE {name}"),
        ResultResponse::SchemaChange(change) => *head += &format!("SCHEMA_CHANGE {}", render_change(change)),
        ResultResponse::EncodedRows(_) => *head += "rows that no decoder makes",
        ResultResponse::Prepared(prepared) => {
            *head += "PREPARED";
            return render_prepared(prepared);
        }
        ResultResponse::Rows(rows) => {
            *head += &format!("ROWS {}", rows.rows.len());
            return render_rows(rows, head);
        }
    }
    Vec::new()
}

fn render_prepared(prepared: &Prepared) -> Vec<String> {
    let columns = |columns: &[holon_cql::ColumnSpec]| {
        let texts = columns.iter().map(|c| format!("{}.{}.{} {}", c.keyspace, c.table, c.name, c.cql_type));
        texts.collect::<Vec<_>>().join(", ")
    };
    vec![
        format!("id {}", hexadecimal(&prepared.id)),
        format!("markers [{}], partition key {:?}", columns(&prepared.metadata.columns), prepared.metadata.pk_indexes),
        format!("result [{}]", columns(&prepared.result_metadata.columns)),
    ]
}

fn render_rows(rows: &Rows, head: &mut String) -> Vec<String> {
    let metadata = &rows.metadata;
    if metadata.paging_state.is_some() {
        *head += ", more pages";
    }
    if metadata.new_metadata_id.is_some() {
        *head += ", metadata changed";
    }
    let mut lines = Vec::new();
    if metadata.columns.is_empty() {
        *head += &format!(", {} columns without metadata", metadata.column_count);
    } else {
        let names = metadata.columns.iter().map(|c| format!("{} {}", c.name, c.cql_type)).collect::<Vec<_>>();
        lines.push(format!("({})", names.join(", ")));
    }
    for row in &rows.rows {
        let cells = row.iter().enumerate().map(|(index, cell)| {
            let Some(cell) = cell else { return "null".to_string() };
            match metadata.columns.get(index) {
                Some(column) => render_cell(&column.cql_type, cell),
                None => format!("0x{}", hexadecimal(cell)),
            }
        });
        lines.push(cells.collect::<Vec<_>>().join(" | "));
    }
    lines
}

fn render_cell(cql_type: &CqlType, cell: &bytes::Bytes) -> String {
    match Value::decode(cql_type, cell) {
        Ok(value) => render_value(&value),
        Err(error) => format!("0x{} ({error})", hexadecimal(cell)),
    }
}

fn render_value(value: &Value) -> String {
    let list = |items: &[Value]| items.iter().map(render_value).collect::<Vec<_>>().join(", ");
    match value {
        Value::Ascii(text) | Value::Text(text) => format!("'{}'", text.replace('\n', "\\n")),
        Value::Int(number) => number.to_string(),
        Value::BigInt(number) | Value::Counter(number) => number.to_string(),
        Value::SmallInt(number) => number.to_string(),
        Value::TinyInt(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Blob(bytes) => format!("0x{}", hexadecimal(bytes)),
        Value::Uuid(uuid) | Value::TimeUuid(uuid) => hexadecimal(uuid),
        Value::List(items) => format!("[{}]", list(items)),
        Value::Set(items) => format!("{{{}}}", list(items)),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", render_value(key), render_value(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn render_event(event: &Event) -> String {
    match event {
        Event::Schema(change) => format!("SCHEMA_CHANGE {}", render_change(change)),
        other => format!("{other:?}"),
    }
}

fn render_change(change: &SchemaChange) -> String {
    let target = match &change.target {
        SchemaTarget::Keyspace => "keyspace".to_string(),
        SchemaTarget::Table { name } => format!("table {name}"),
        other => format!("{other:?}"),
    };
    format!("{:?} {} {target}", change.kind, change.keyspace)
}

pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
