//! What the answers to a workload's requests mean.

use super::{Scan, TablesWorkload, scan_statement};
use crate::workload::check;
use crate::workload::history::{Outcome, UNCERTAIN_MAX};
use crate::workload::operation::{self, Named, NamedRow, Operation, Place, Read};
use crate::workload::register::Register;
use crate::workload::shape::SHAPES;
use bytes::Bytes;
use holon_base::Wall;
use holon_cql::response::{ErrorCode, ErrorResponse, ResultResponse};
use holon_cql::{Request, Response, Rows};

/// What an error says about the request.
enum Verdict {
    NotDone,
    Unknown,
    /// No statement of the workload deserves it.
    Wrong,
}

fn verdict(error: &ErrorResponse) -> Verdict {
    match error.code() {
        ErrorCode::Overloaded | ErrorCode::IsBootstrapping | ErrorCode::Unavailable | ErrorCode::Unprepared => {
            Verdict::NotDone
        }
        ErrorCode::Syntax
        | ErrorCode::Invalid
        | ErrorCode::Config
        | ErrorCode::AlreadyExists
        | ErrorCode::Unauthorized
        | ErrorCode::Authentication
        | ErrorCode::Protocol => Verdict::Wrong,
        _ => Verdict::Unknown,
    }
}

impl TablesWorkload {
    pub(super) fn answered(
        &mut self,
        number: usize,
        operation: Operation,
        response: Response,
        wall: Wall,
    ) -> Result<(), String> {
        if let Operation::Scratch = operation {
            self.count("changes of the schema");
            let scratch = self.connections[number].scratch.as_mut();
            return scratch.map_or(Ok(()), |scratch| scratch.answered(&response));
        }
        let result = match response {
            Response::Ready if matches!(operation, Operation::Startup) => {
                self.connections[number].asking.is_ready = true;
                return Ok(());
            }
            Response::Result(result) => result,
            Response::Error(error) => return self.failed(number, operation, &error),
            other => return Err(format!("{other:?} is no answer to it")),
        };
        match operation {
            Operation::Startup => return Err("a result answers STARTUP".to_string()),
            Operation::Setup(step) => self.set_up = self.set_up.max(step + 1),
            Operation::Prepare(table) => {
                let ResultResponse::Prepared(prepared) = result else { return Err("PREPARED is missing".to_string()) };
                let ids = (prepared.id, prepared.result_metadata_id);
                self.connections[number].prepared.insert(table, ids);
            }
            Operation::Write { places, timestamp } => self.settle(&places, timestamp, Some(Outcome::Acknowledged)),
            Operation::Read(read) => return self.page_of_read(number, read, result, wall),
            Operation::Scan(scan) => return self.page_of_scan(number, scan, result),
            Operation::Register { key, change } => {
                let rows = rows_of(result)?;
                let applied = rows.rows.first().and_then(|row| row.first()).and_then(Clone::clone);
                let applied = applied.ok_or("[applied] is missing")?[..] == [1];
                let found = rows.named().first().and_then(|row| int(row, "v"));
                let register = self.register(number, key);
                return match applied {
                    true => register.applied(change),
                    // DELETE IF EXISTS that found nothing shows nothing.
                    false => register.refused(change, found),
                };
            }
            Operation::RegisterRead { key } => {
                let found = rows_of(result)?.named().first().and_then(|row| int(row, "v"));
                return self.register(number, key).saw(found);
            }
            Operation::Scratch => {}
        }
        Ok(())
    }

    fn register(&mut self, number: usize, key: u32) -> &mut Register {
        self.connections[number].registers.entry(key).or_default()
    }

    fn settle(&mut self, places: &[Place], timestamp: i64, outcome: Option<Outcome>) {
        for place in places {
            self.histories.entry(*place).or_default().settle(timestamp, outcome);
        }
    }

    fn failed(&mut self, number: usize, operation: Operation, error: &ErrorResponse) -> Result<(), String> {
        match verdict(error) {
            Verdict::Wrong => return Err(format!("{:?}: {}", error.code(), error.message)),
            Verdict::Unknown => {
                self.count("unknown outcomes");
                self.unknown(number, operation);
                return Ok(());
            }
            Verdict::NotDone => {}
        }
        self.count("refused");
        if error.code() == ErrorCode::Unprepared {
            self.connections[number].prepared.clear();
        }
        match operation {
            Operation::Write { places, timestamp } => self.settle(&places, timestamp, None),
            // What is being read back has to be read.
            Operation::Read(read) if self.finishing => self.read_again(number, read),
            Operation::RegisterRead { .. } if self.finishing => self.connections[number].left.push(operation),
            _ => {}
        }
        Ok(())
    }

    /// The outcome will never be told.
    pub(super) fn unknown(&mut self, number: usize, operation: Operation) {
        match operation {
            Operation::Register { key, change } => self.register(number, key).unknown(change),
            Operation::Scratch => {
                if let Some(scratch) = &mut self.connections[number].scratch {
                    scratch.unknown();
                }
            }
            Operation::Read(read) if self.finishing => self.read_again(number, read),
            Operation::RegisterRead { .. } if self.finishing => self.connections[number].left.push(operation),
            // Writes are unknown until they are acknowledged; what was only read is read another time.
            _ => {}
        }
    }

    fn read_again(&mut self, number: usize, read: Read) {
        let again = Operation::Read(Read { pages: 0, rows: Vec::new(), ..read });
        self.connections[number].left.push(again);
    }

    fn page_of_read(
        &mut self,
        number: usize,
        mut read: Read,
        result: ResultResponse,
        wall: Wall,
    ) -> Result<(), String> {
        let rows = rows_of(result)?;
        if rows.metadata.columns.is_empty() {
            return Err("the result has no columns".to_string());
        }
        read.rows.extend(rows.named());
        read.pages += 1;
        if let Some(state) = rows.metadata.paging_state {
            self.count("pages");
            let (_, mut request) = self.read(number, Read { rows: Vec::new(), ..read.clone() });
            set_paging_state(&mut request, state);
            self.connections[number].next_page = Some((Operation::Read(read), request));
            return Ok(());
        }
        let shape = &SHAPES[read.place.table];
        let settled_before = self.settled_before;
        let history = self.histories.entry(read.place).or_default();
        if history.uncertain(wall.seconds()) > 2 * UNCERTAIN_MAX {
            self.count("reads too uncertain to check");
            return Ok(());
        }
        check::read(shape, history, &read, wall.seconds(), settled_before)
    }

    fn page_of_scan(&mut self, number: usize, mut scan: Scan, result: ResultResponse) -> Result<(), String> {
        let rows = rows_of(result)?;
        scan.rows.extend(rows.named());
        scan.pages += 1;
        if let Some(state) = rows.metadata.paging_state {
            let mut parameters = operation::parameters();
            parameters.page_size = Some(scan.page_size);
            parameters.paging_state = Some(state);
            let request = operation::query_with(scan_statement(scan.table), parameters);
            self.connections[number].next_page = Some((Operation::Scan(scan), request));
            return Ok(());
        }
        self.count("scans");
        // Others write meanwhile; the order of tokens, and each partition in one piece, holds all the same.
        let partitions = check::partitions_of(&SHAPES[scan.table], &scan.rows)?;
        let unasked = partitions
            .iter()
            .find(|(partition, _)| !self.histories.contains_key(&Place { table: scan.table, partition: *partition }));
        unasked.map_or(Ok(()), |(partition, _)| Err(format!("partition {partition} was never written")))
    }
}

fn set_paging_state(request: &mut Request, state: Bytes) {
    match request {
        Request::Query(query) => query.parameters.paging_state = Some(state),
        Request::Execute(execute) => execute.parameters.paging_state = Some(state),
        _ => {}
    }
}

fn rows_of(result: ResultResponse) -> Result<Rows, String> {
    match result {
        ResultResponse::Rows(rows) => Ok(rows),
        other => Err(format!("{other:?} instead of rows")),
    }
}

fn int(row: &NamedRow, name: &str) -> Option<i32> {
    let (_, value) = row.iter().find(|(column, _)| &**column == name)?;
    value.as_ref()?[..].try_into().ok().map(i32::from_be_bytes)
}
