//! Counts and latencies of requests, of one shard.

use crate::error::CqlError;
use crate::plan::Access;
use holon_base::{GroupId, Map};
use holon_cql::Request;
use holon_cql::response::ErrorCode;
use holon_kernel::metric::{Histogram, Metric};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Query,
    Prepare,
    Execute,
    Batch,
}

impl Kind {
    const EVERY: [Kind; 4] = [Kind::Query, Kind::Prepare, Kind::Execute, Kind::Batch];

    pub fn of(request: &Request) -> Kind {
        match request {
            Request::Prepare(_) => Kind::Prepare,
            Request::Execute(_) => Kind::Execute,
            Request::Batch(_) => Kind::Batch,
            _ => Kind::Query,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Query => "query",
            Kind::Prepare => "prepare",
            Kind::Execute => "execute",
            Kind::Batch => "batch",
        }
    }
}

/// What a statement does to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
}

#[derive(Default)]
pub struct RequestMetrics {
    kinds: RefCell<[Histogram; Kind::EVERY.len()]>,
    reads: RefCell<Histogram>,
    writes: RefCell<Histogram>,
    errors: RefCell<BTreeMap<ErrorCode, u64>>,
    protocol_errors: Cell<u64>,
    overloaded: Cell<u64>,
    failed_logins: Cell<u64>,
    at_replica: Cell<u64>,
    elsewhere: Cell<u64>,
    tables: RefCell<Map<GroupId, Box<TableMetrics>>>,
}

/// Statements on one table that came to this shard.
#[derive(Clone, Default)]
pub struct TableMetrics {
    pub reads: Histogram,
    pub writes: Histogram,
}

fn add_one(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl RequestMetrics {
    pub fn request(&self, kind: Kind, took: Duration, error: Option<&CqlError>) {
        self.kinds.borrow_mut()[kind as usize].record(took);
        if let Some(error) = error {
            self.error(error.to_wire().code());
        }
    }

    /// A statement on these tables was carried out, or failed.
    pub fn on_tables(&self, accesses: &[Access], operation: Operation, took: Duration) {
        let mut tables = self.tables.borrow_mut();
        for access in accesses.iter().filter(|access| !access.table.is_virtual()) {
            let metrics = tables.entry(access.table.group).or_default();
            match operation {
                Operation::Read => metrics.reads.record(took),
                Operation::Write => metrics.writes.record(took),
            }
        }
    }

    pub fn table(&self, group: GroupId) -> TableMetrics {
        self.tables.borrow().get(&group).map(|metrics| TableMetrics::clone(metrics)).unwrap_or_default()
    }

    /// Forgets tables that are no more.
    pub fn keep_tables(&self, exists: impl Fn(GroupId) -> bool) {
        self.tables.borrow_mut().retain(|group, _| exists(*group));
    }

    pub fn operation(&self, operation: Operation, took: Duration) {
        match operation {
            Operation::Read => self.reads.borrow_mut().record(took),
            Operation::Write => self.writes.borrow_mut().record(took),
        }
    }

    /// A statement about one tablet came to a node that has it, or has not.
    pub fn routed(&self, at_replica: bool) {
        add_one(if at_replica { &self.at_replica } else { &self.elsewhere });
    }

    fn error(&self, code: ErrorCode) {
        *self.errors.borrow_mut().entry(code).or_default() += 1;
    }

    pub fn protocol_error(&self) {
        add_one(&self.protocol_errors);
        self.error(ErrorCode::Protocol);
    }

    pub fn overloaded(&self) {
        add_one(&self.overloaded);
        self.error(ErrorCode::Overloaded);
    }

    pub fn failed_login(&self) {
        add_one(&self.failed_logins);
        self.error(ErrorCode::Authentication);
    }

    /// Requests answered since the start.
    pub fn requests(&self) -> u64 {
        self.kinds.borrow().iter().map(|histogram| histogram.count).sum()
    }

    pub fn reads(&self) -> Histogram {
        self.reads.borrow().clone()
    }

    pub fn writes(&self) -> Histogram {
        self.writes.borrow().clone()
    }

    pub fn collect(&self, out: &mut Vec<Metric>) {
        let help = "time from a request's message to its answer, by kind of message";
        for (kind, histogram) in Kind::EVERY.iter().zip(self.kinds.borrow().iter()) {
            let metric = Metric::histogram("holon_cql_request_duration_seconds", help, histogram.clone());
            out.push(metric.label("kind", kind.name()));
        }
        let help = "time to carry out a statement, by what it does";
        for (operation, histogram) in [("read", &self.reads), ("write", &self.writes)] {
            let metric = Metric::histogram("holon_cql_statement_duration_seconds", help, histogram.borrow().clone());
            out.push(metric.label("operation", operation));
        }
        for (code, count) in self.errors.borrow().iter() {
            let help = "requests answered with an error, by its code in the protocol";
            let metric = Metric::counter("holon_cql_errors_total", help, *count);
            out.push(metric.label("code", format!("{:#06x}", code.number())));
        }
        let help = "statements about one tablet, by whether the client chose a replica of it";
        for (chosen, count) in [("replica", &self.at_replica), ("another", &self.elsewhere)] {
            out.push(Metric::counter("holon_cql_routed_total", help, count.get()).label("node", chosen));
        }
        let help = "requests refused because too many were being worked on";
        out.push(Metric::counter("holon_cql_overloaded_total", help, self.overloaded.get()));
        let help = "messages that were not of the protocol";
        out.push(Metric::counter("holon_cql_protocol_errors_total", help, self.protocol_errors.get()));
        let help = "logins with a wrong name or password";
        out.push(Metric::counter("holon_cql_failed_logins_total", help, self.failed_logins.get()));
    }
}
