//! A shard with an engine and tablets on a disk in memory, without a door: statements go in as text, rows come out as
//! text.

#![allow(dead_code)] // each test binary uses its part

use bytes::Bytes;
use holon_base::{GroupId, TabletId};
use holon_cql::notation::{Reader, Writer};
use holon_cql::request::BatchKind;
use holon_cql::response::ResultResponse;
use holon_cql::{BoundValue, Consistency, CqlType, EncodedRows, Rows, Version};
use holon_cql_language::ast::Statement;
use holon_cql_language::parse_statement;
use holon_kernel::Shard;
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_replica::{Coordinator, Groups};
use holon_store::{Durability, Engine, EngineOptions, PurgePolicy, TabletOptions};
use holon_tables::ddl::{self, Ddl, DdlContext};
use holon_tables::error::CqlError;
use holon_tables::plan::{Plan, plan};
use holon_tables::run::{self, BatchItem, Context, Outcome, Parameters};
use holon_tables::schema::SchemaMachine;
use holon_tables::schema::codec::encode_change;
use holon_tables::service::TABLES_SERVICE;
use holon_tables::system;
use holon_tables::tablet::{LocalTablets, TableTablet, TabletTable, batch_log, serve_as_leader};
use holon_tables::types::{json, row_key};
use std::rc::Rc;
use std::time::Duration;

pub const NOW_MICROS: i64 = 1_700_000_000_000_000;
const TABLETS: u32 = 4;

pub struct World {
    pub test: TestShard,
    disk: MemoryDisk,
    pub engine: Engine,
    machine: Rc<SchemaMachine>,
    entries: Vec<Bytes>,
    tablets: LocalTablets,
    groups: Rc<Groups>,
    all: Vec<TabletId>,
    keyspace: Option<String>,
    /// Whether coordinators reach tablets directly, or as those of other shards do, by bytes.
    local: bool,
    boot: u32,
    now_seconds: Option<i64>,
}

fn engine_options(boot: u32) -> EngineOptions {
    let mut options = EngineOptions::new(boot, 0, 1);
    options.segment_bytes = 1 << 20;
    options.automatic_compaction = false;
    options.tablet_options = Rc::new(|_| TabletOptions {
        prefix: row_key::PARTITION_PREFIX,
        block_bytes: 512,
        purge: Rc::new(|now| PurgePolicy { repaired: true, before_seconds: now - 864_000 }),
        ..TabletOptions::default()
    });
    options
}

fn coordinator(shard: &Rc<Shard>) -> Rc<Coordinator> {
    Coordinator::new(shard, "datacenter1".into())
}

fn groups(shard: &Rc<Shard>, engine: &Engine, tablets: &LocalTablets) -> Rc<Groups> {
    let coordinator = coordinator(shard);
    let groups = Groups::new(shard, TABLES_SERVICE, &coordinator);
    groups.start(engine, serve_as_leader(tablets.clone(), coordinator));
    groups
}

impl World {
    pub fn new(local: bool) -> World {
        let disk = MemoryDisk::new();
        let (test, engine) = open(&disk, 1);
        let tablets = LocalTablets::default();
        World {
            groups: groups(&test.shard, &engine, &tablets),
            test,
            disk,
            engine,
            machine: Rc::new(SchemaMachine::new(system::keyspaces())),
            entries: Vec::new(),
            tablets,
            all: Vec::new(),
            keyspace: None,
            local,
            boot: 1,
            now_seconds: None,
        }
    }

    /// Ends the shard without a word and starts another on its disk.
    pub fn crash(&mut self) {
        self.boot += 1;
        let stopped_at = self.test.shard.wall();
        let disk = self.disk.deep_copy();
        self.disk = disk;
        self.tablets = LocalTablets::default();
        let (test, engine) = open(&self.disk, self.boot);
        self.groups = groups(&test.shard, &engine, &self.tablets);
        self.test = test;
        self.engine = engine;
        // The clock goes on while nobody runs.
        let passed = (stopped_at.micros() - self.test.shard.wall_micros()).max(0).cast_unsigned();
        self.test.advance(Duration::from_micros(passed) + Duration::from_secs(1));
        for id in self.all.clone() {
            self.open_tablet(id);
        }
        for tablet in self.tablets.all() {
            self.test.block_on(async move { batch_log::replay(&tablet).await }).expect("replayed");
        }
    }

    fn open_tablet(&self, id: TabletId) {
        let group = id.group();
        let machine = self.machine.clone();
        let table = move || {
            let table = machine.schema().table_by_group(group)?.clone();
            Some(TabletTable { table, durability: Durability::Sync })
        };
        let tablet = TableTablet::new(
            id,
            self.test.shard.clone(),
            self.engine.clone(),
            coordinator(&self.test.shard),
            Rc::new(table),
        );
        self.test.shard.insert_tablet(id, tablet.clone());
        self.tablets.insert(tablet);
    }

    pub fn flush(&self, compact: bool) {
        for id in self.all.clone() {
            let engine = self.engine.clone();
            self.test.block_on(async move {
                match compact {
                    true => engine.compact(id, |_| ()).await.expect("compacted"),
                    false => engine.flush(id).await.expect("flushed"),
                }
            });
        }
    }

    pub fn context(&self) -> Context {
        Context {
            shard: self.test.shard.clone(),
            schema: self.machine.schema(),
            tablets: if self.local { self.tablets.clone() } else { LocalTablets::default() },
            virtual_rows: Rc::new(|keyspace, table| {
                let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
                let rows = match (keyspace, table) {
                    ("system", "local") => Ok(vec![[vec![text("local")], vec![None; 40]].concat()]),
                    _ => Err(CqlError::unknown_table(table)),
                };
                Box::pin(std::future::ready(rows))
            }),
            groups: self.groups.clone(),
            coordinator: coordinator(&self.test.shard),
            data_center: "datacenter1".into(),
        }
    }

    pub fn parameters(&self) -> Parameters {
        Parameters { now_seconds: self.now_seconds, ..Parameters::new(Version::V5, Consistency::One) }
    }

    pub fn plan(&self, text: &str) -> Result<Rc<Plan>, CqlError> {
        let parsed = parse_statement(text).map_err(|error| CqlError::Syntax(error.to_string()))?;
        plan(&self.machine.schema(), self.keyspace.as_deref(), &parsed.statement).map(Rc::new)
    }

    pub fn execute(&self, plan: &Rc<Plan>, parameters: Parameters) -> Result<Outcome, CqlError> {
        let (context, plan) = (self.context(), plan.clone());
        self.test.block_on(async move { run::execute(&context, &plan, &parameters).await })
    }

    /// Runs a statement and gives its answer as text.
    pub fn run(&mut self, text: &str) -> String {
        self.command(text).unwrap_or_else(|error| format!("error {:#06x}: {error}", error.code()))
    }

    /// For statements that have to work.
    pub fn ok(&mut self, text: &str) -> String {
        self.command(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn command(&mut self, text: &str) -> Result<String, CqlError> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "FLUSH" => self.flush(false),
            "COMPACT" => self.flush(true),
            "CRASH" => self.crash(),
            "NOW" => self.now_seconds = rest.parse().ok(),
            "PAGES" => {
                let (rows, statement) = rest.split_once(' ').expect("PAGES n statement");
                return self.pages(statement, rows.parse().expect("a number"));
            }
            "PLAN" => return self.describe_plan(rest),
            "CONSISTENCY" => {
                let (level, statement) = rest.split_once(' ').expect("CONSISTENCY level statement");
                let level = Consistency::EVERY.into_iter().find(|known| known.name() == level).expect("a level");
                return self.statement(statement, Parameters { consistency: level, ..self.parameters() });
            }
            "BATCH" => return self.batch(rest),
            _ => return self.statement(text, self.parameters()),
        }
        Ok(String::new())
    }

    fn statement(&mut self, text: &str, parameters: Parameters) -> Result<String, CqlError> {
        let (text, values) = text.split_once(" <- ").unwrap_or((text, ""));
        let parsed = parse_statement(text).map_err(|error| CqlError::Syntax(error.to_string()))?;
        match &parsed.statement {
            Statement::Use(keyspace) => {
                self.keyspace = Some(keyspace.as_str().to_string());
                Ok(String::new())
            }
            Statement::Select(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_)
            | Statement::Batch(_) => {
                let plan = self.plan(text)?;
                let values = bound(values);
                Ok(answer(&self.execute(&plan, Parameters { values, ..parameters })?))
            }
            statement => self.change(statement).map(|()| String::new()),
        }
    }

    /// `BATCH logged|unlogged|counter; statement <- values; …`
    fn batch(&mut self, text: &str) -> Result<String, CqlError> {
        let mut parts = text.split("; ");
        let kind = match parts.next() {
            Some("logged") => BatchKind::Logged,
            Some("unlogged") => BatchKind::Unlogged,
            _ => BatchKind::Counter,
        };
        let mut items = Vec::new();
        for part in parts {
            let (text, values) = part.split_once(" <- ").unwrap_or((part, ""));
            items.push(BatchItem { plan: self.plan(text)?, values: bound(values) });
        }
        let (context, parameters) = (self.context(), self.parameters());
        let outcome =
            self.test.block_on(async move { run::execute_batch(&context, kind, &items, &parameters).await })?;
        Ok(answer(&outcome))
    }

    fn change(&mut self, statement: &Statement) -> Result<(), CqlError> {
        let schema = self.machine.schema();
        let data_centers: [Rc<str>; 1] = ["datacenter1".into()];
        let context = DdlContext {
            schema: &schema,
            keyspace: self.keyspace.as_deref(),
            now_micros: self.test.shard.wall_micros(),
            tablets: TABLETS,
            data_centers: &data_centers,
            nodes: 1,
        };
        let Ddl::Change(planned) = ddl::plan(&context, statement)? else { return Ok(()) };
        let entry = encode_change(&planned.change);
        self.entries.push(entry.clone());
        let index = self.entries.len() as u64;
        let effect = self.machine.apply(index, &entry).map_err(|error| CqlError::decode(&error))?;
        for ordinal in 0..effect.create_tablets.map_or(0, |made| made.count) {
            let id = TabletId::new(GroupId(index), ordinal);
            let engine = self.engine.clone();
            self.test.block_on(async move { engine.create_tablet(id).await }).expect("created");
            self.all.push(id);
            self.open_tablet(id);
        }
        Ok(())
    }

    fn pages(&mut self, text: &str, rows: i32) -> Result<String, CqlError> {
        let plan = self.plan(text)?;
        let mut lines = Vec::new();
        let mut state = None;
        loop {
            let parameters = Parameters { page_size: Some(rows), paging_state: state.clone(), ..self.parameters() };
            let outcome = self.execute(&plan, parameters)?;
            let page = rows_of(&outcome).expect("rows");
            assert!(page.rows.len() <= rows as usize, "a page of {} rows", page.rows.len());
            lines.extend(row_lines(&page));
            state = page.metadata.paging_state.clone();
            match state {
                Some(_) => lines.push("--".to_string()),
                None => return Ok(lines.join("\n")),
            }
        }
    }

    fn describe_plan(&self, text: &str) -> Result<String, CqlError> {
        let plan = self.plan(text)?;
        let specs = |specs: &[holon_cql::ColumnSpec]| {
            specs.iter().map(|spec| format!("{} {}", spec.name, spec.cql_type)).collect::<Vec<_>>().join(", ")
        };
        let markers = plan.markers();
        let result = plan.result_columns().map_or("none".to_string(), |columns| specs(columns));
        Ok(format!(
            "markers: {}\npartition key: {:?}\nresult: {result}",
            specs(markers.specs()),
            markers.partition_key_indexes()
        ))
    }
}

fn open(disk: &MemoryDisk, boot: u32) -> (TestShard, Engine) {
    let test = TestShard::new(disk.clone());
    let shard = test.shard.clone();
    let engine = test.block_on(async move {
        let engine = Engine::open(shard, engine_options(boot)).await.expect("opened");
        engine.recover().await.expect("recovered");
        engine
    });
    (test, engine)
}

/// `1` int, `1L` bigint, `'text'`, `0x…` bytes, `null`, `unset`.
fn bound(text: &str) -> Vec<BoundValue> {
    let value = |text: &str| match text {
        "null" => BoundValue::Null,
        "unset" => BoundValue::Unset,
        _ => {
            if let Some(text) = text.strip_prefix('\'') {
                return BoundValue::from_slice(text.strip_suffix('\'').unwrap_or(text).as_bytes());
            }
            if let Some(digits) = text.strip_prefix("0x") {
                let bytes = (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16));
                return BoundValue::Value(bytes.collect::<Result<Vec<u8>, _>>().expect("digits").into());
            }
            match text.strip_suffix('L') {
                Some(long) => BoundValue::from_slice(&long.parse::<i64>().expect("a number").to_be_bytes()),
                None => BoundValue::from_slice(&text.parse::<i32>().expect("a number").to_be_bytes()),
            }
        }
    };
    // A text is alone: it may hold the separator.
    let parts: Vec<&str> = if text.starts_with('\'') { vec![text] } else { text.split(", ").collect() };
    parts.into_iter().filter(|part| !part.is_empty()).map(value).collect()
}

/// The rows of an answer, decoded as a client does.
pub fn rows_of(outcome: &Outcome) -> Option<Rows> {
    let encoded: EncodedRows = outcome.rows.clone()?;
    let mut out = bytes::BytesMut::new();
    let response = ResultResponse::EncodedRows(encoded);
    response.encode(&mut Writer::new(&mut out), Version::V5).expect("rows that can be written");
    match ResultResponse::decode(Reader::new(out.freeze()), Version::V5).expect("rows that can be read") {
        ResultResponse::Rows(rows) => Some(rows),
        other => panic!("rows read as {other:?}"),
    }
}

pub fn answer(outcome: &Outcome) -> String {
    let mut lines: Vec<String> = outcome.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
    if let Some(rows) = rows_of(outcome) {
        lines.extend(row_lines(&rows));
    }
    lines.join("\n")
}

fn row_lines(rows: &Rows) -> Vec<String> {
    let columns = &rows.metadata.columns;
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    let mut lines = vec![format!("[{}]", names.join(" | "))];
    for row in &rows.rows {
        let cells: Vec<String> =
            columns.iter().zip(row).map(|(column, cell)| cell_text(&column.cql_type, cell)).collect();
        lines.push(cells.join(" | "));
    }
    lines
}

fn cell_text(cql_type: &CqlType, cell: &Option<Bytes>) -> String {
    match cell {
        None => "null".to_string(),
        Some(bytes) if bytes.is_empty() && !matches!(cql_type, CqlType::Text | CqlType::Blob) => "(empty)".to_string(),
        Some(bytes) => json::to_json(cql_type, Some(bytes)),
    }
}
