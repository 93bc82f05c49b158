//! A coordinator and a machine, without a log and a door: what the transcripts run in.

use bytes::Bytes;
use holon_cql::{CqlType, Value};
use holon_cql_language::ast::Statement;
use holon_cql_language::parse_statement;
use holon_tables::ddl::{self, Ddl, DdlContext};
use holon_tables::describe::{DescribeContext, Description, describe};
use holon_tables::error::CqlError;
use holon_tables::schema::codec::{decode_answer, encode_change};
use holon_tables::schema::{SchemaMachine, SchemaTarget};
use holon_tables::system::{self, LiveState, Node, SystemContext};
use std::rc::Rc;

pub struct World {
    machine: SchemaMachine,
    log: Vec<Bytes>,
    keyspace: Option<String>,
}

/// What statements are stamped with.
const NOW_MICROS: i64 = 1_700_000_000_000_000;

impl World {
    pub fn new() -> World {
        World { machine: SchemaMachine::new(system::keyspaces()), log: Vec::new(), keyspace: None }
    }

    pub fn run(&mut self, text: &str) -> String {
        if text == "RESTART" {
            return self.restart();
        }
        if let Some(rest) = text.strip_prefix("ROWS ") {
            return self.rows(rest, false);
        }
        if let Some(rest) = text.strip_prefix("ALL ROWS ") {
            return self.rows(rest, true);
        }
        let result = match text.strip_prefix("PAGES ").and_then(|rest| rest.split_once(' ')) {
            Some((rows, statement)) => self.execute(statement, rows.parse().ok()),
            None => self.execute(text, None),
        };
        result.unwrap_or_else(|error| format!("error {:#06x}: {error}", error.code()))
    }

    fn execute(&mut self, text: &str, page_size: Option<i32>) -> Result<String, CqlError> {
        let parsed = parse_statement(text).map_err(|error| CqlError::Syntax(error.to_string()))?;
        match &parsed.statement {
            Statement::Use(keyspace) => {
                self.keyspace = Some(keyspace.as_str().to_string());
                Ok(format!("using {}", keyspace.as_str()))
            }
            Statement::Describe(statement) => {
                let mut shown = String::new();
                let mut state = None;
                loop {
                    let schema = self.machine.schema();
                    let ranges = [(i64::MAX, vec!["127.0.0.1:7000".to_string()])];
                    let context = DescribeContext {
                        schema: &schema,
                        keyspace: self.keyspace.as_deref(),
                        cluster_name: "holon",
                        ranges: &ranges,
                    };
                    let page = describe(&context, statement, page_size, state.as_ref())?;
                    shown.push_str(&description_text(&page));
                    state = page.paging_state;
                    if state.is_none() {
                        return Ok(shown);
                    }
                    shown.push_str("-- next page\n");
                }
            }
            statement => self.change(statement),
        }
    }

    fn change(&mut self, statement: &Statement) -> Result<String, CqlError> {
        let schema = self.machine.schema();
        let data_centers: [Rc<str>; 1] = ["datacenter1".into()];
        let context = DdlContext {
            schema: &schema,
            keyspace: self.keyspace.as_deref(),
            now_micros: NOW_MICROS,
            tablets: ddl::tablets_for(2),
            data_centers: &data_centers,
            nodes: 1,
        };
        let planned = match ddl::plan(&context, statement)? {
            Ddl::Change(planned) => planned,
            Ddl::Truncate(table) => return Ok(format!("truncate {}.{}", table.keyspace, table.name)),
        };
        if planned.is_without_effect && !planned.warnings.is_empty() {
            return Ok(format!("nothing changed\nwarning: {}", planned.warnings.join("\nwarning: ")));
        }
        let entry = encode_change(&planned.change);
        self.log.push(entry.clone());
        let effect = self.machine.apply(self.log.len() as u64, &entry).map_err(|error| CqlError::decode(&error))?;
        let mut text = match decode_answer(&effect.answer).expect("an answer") {
            None => "nothing changed".to_string(),
            Some(change) => {
                let kind = format!("{:?}", change.kind).to_lowercase();
                match change.target {
                    SchemaTarget::Table { name } => format!("{kind} table {}.{name}", change.keyspace),
                    SchemaTarget::Type { name } => format!("{kind} type {}.{name}", change.keyspace),
                    _ => format!("{kind} keyspace {}", change.keyspace),
                }
            }
        };
        if let Some(tablets) = effect.create_tablets.map(|made| made.count) {
            text.push_str(&format!(" with {tablets} tablets"));
        }
        if !effect.remove_groups.is_empty() {
            let groups: Vec<String> = effect.remove_groups.iter().map(|group| group.0.to_string()).collect();
            text.push_str(&format!(" with groups {}", groups.join(", ")));
        }
        for warning in planned.warnings {
            text.push_str(&format!("\nwarning: {warning}"));
        }
        Ok(text)
    }

    /// The machine that replays the log, and the one that reads the snapshot, are where this one is.
    fn restart(&mut self) -> String {
        let replayed = SchemaMachine::new(system::keyspaces());
        for (number, entry) in self.log.iter().enumerate() {
            let _ = replayed.apply(number as u64 + 1, entry);
        }
        let restored = SchemaMachine::new(system::keyspaces());
        restored.restore(&self.machine.snapshot()).expect("a snapshot");
        assert_eq!(*replayed.schema(), *self.machine.schema());
        assert_eq!(*restored.schema(), *self.machine.schema());
        self.machine = replayed;
        format!("{} entries", self.log.len())
    }

    pub fn system(&self) -> SystemContext {
        SystemContext {
            schema: self.machine.schema(),
            cluster_name: "holon".into(),
            local: node(1, self.machine.schema().version()),
            peers: vec![node(2, self.machine.schema().version())],
            settings: Rc::new(vec![("cluster_name".into(), "holon".into())]),
            live: Rc::new(Live),
        }
    }

    fn rows(&self, rest: &str, with_system: bool) -> String {
        let (name, columns) = rest.split_once(' ').unwrap_or((rest, ""));
        let (keyspace, table_name) = name.split_once('.').expect("keyspace.table");
        let context = self.system();
        let Some(found) = system::virtual_table(&context, keyspace, table_name) else {
            return "no such table".to_string();
        };
        let wanted: Vec<&str> = columns.split(", ").filter(|column| !column.is_empty()).collect();
        let mut lines = Vec::new();
        for row in system::rows(&context, keyspace, table_name).expect("rows") {
            let keyspace =
                found.table.column("keyspace_name").map(|column| value_text(&column.column_type, &row[column.index]));
            if !with_system && keyspace.is_some_and(|name| name.starts_with("system")) {
                continue;
            }
            let cells: Vec<String> = found
                .table
                .columns
                .iter()
                .filter(|column| wanted.is_empty() || wanted.contains(&&*column.name))
                .map(|column| format!("{}={}", column.name, value_text(&column.column_type, &row[column.index])))
                .collect();
            lines.push(cells.join(" "));
        }
        lines.push(format!("({} rows)", lines.len()));
        lines.join("\n")
    }
}

fn node(number: u8, schema_version: u128) -> Node {
    let host = [127, 0, 0, number];
    Node {
        host_id: 0x0123_4567_89ab_4def_8123_4567_89ab_cd00 + u128::from(number),
        data_center: "datacenter1".into(),
        rack: "rack1".into(),
        peer_address: (host, 7000).into(),
        native_address: (host, 9042).into(),
        tokens: vec![i64::MIN / 2, 0, i64::MAX / i64::from(number)],
        generation: 1_700_000_000,
        schema_version,
    }
}

struct Live;

impl LiveState for Live {
    fn clients(&self) -> Vec<system::Client> {
        vec![system::Client {
            address: ([127, 0, 0, 1], 40000).into(),
            stage: "ready",
            options: [("CQL_VERSION", "3.4.6"), ("DRIVER_NAME", "a driver")]
                .into_iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            protocol_version: 5,
            requests: 7,
            username: None,
        }]
    }

    fn prepared_statements(&self) -> Vec<system::PreparedStatement> {
        vec![system::PreparedStatement {
            id: Bytes::from_static(&[0xab; 16]),
            keyspace: None,
            text: "SELECT * FROM k.t".to_string(),
        }]
    }

    fn size_estimates(&self) -> Vec<system::SizeEstimate> {
        vec![system::SizeEstimate {
            keyspace: "k".into(),
            table: "t".into(),
            range_start: i64::MIN,
            range_end: 0,
            partitions: 10,
            mean_partition_bytes: 1000,
        }]
    }

    fn roles(&self) -> Vec<system::Role> {
        vec![system::Role {
            name: "ada".to_string(),
            can_login: true,
            is_superuser: false,
            member_of: vec!["staff".to_string()],
        }]
    }

    fn role_permissions(&self) -> Vec<system::RolePermission> {
        vec![system::RolePermission {
            role: "staff".to_string(),
            resource: "data/k".to_string(),
            permissions: vec!["SELECT".to_string(), "MODIFY".to_string()],
        }]
    }
}

fn description_text(page: &Description) -> String {
    let names: Vec<&str> = page.columns.iter().map(|column| &*column.name).collect();
    let mut text = format!("[{}]\n", names.join(", "));
    for row in &page.rows {
        let cells: Vec<String> =
            page.columns.iter().zip(row).map(|(column, cell)| value_text(&column.cql_type, cell)).collect();
        let (statement, names) = cells.split_last().expect("columns");
        if page.columns.last().is_some_and(|column| &*column.name == "create_statement") {
            text.push_str(&format!("{}\n{statement}\n", names.join(" | ")));
        } else {
            text.push_str(&format!("{}\n", cells.join(" | ")));
        }
    }
    text
}

fn value_text(cql_type: &CqlType, cell: &Option<Bytes>) -> String {
    let Some(bytes) = cell else { return "null".to_string() };
    print(&Value::decode(cql_type, bytes).expect("a value of the column's type"))
}

fn print(value: &Value) -> String {
    let list = |values: &[Value]| values.iter().map(print).collect::<Vec<_>>().join(", ");
    match value {
        Value::Text(text) | Value::Ascii(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::BigInt(number) | Value::Timestamp(number) => number.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Uuid(bytes) => uuid_text(bytes),
        Value::Blob(bytes) => format!("0x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Inet(address) => address.to_string(),
        Value::List(values) => format!("[{}]", list(values)),
        Value::Set(values) => format!("{{{}}}", list(values)),
        Value::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{}: {}", print(key), print(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    holon_base::NodeId(u128::from_be_bytes(*bytes)).to_string()
}
