//! Tables that come, change and go: one connection's cycle of changes of the schema, and what each may answer.

use super::shape::KEYSPACE;
use holon_base::Random;
use holon_cql::response::{ErrorCode, ResultResponse};
use holon_cql::{Response, Rows};

/// What is known of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existence {
    Absent,
    Present,
    /// A change of it was not answered.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create,
    Insert,
    AddColumn,
    DropColumn,
    Truncate,
    Drop,
    Count,
}

/// One table, `workload.scratch`.
#[derive(Debug)]
pub struct Scratch {
    existence: Existence,
    /// Rows that are there for certain; `None` if that is not known.
    rows: Option<i64>,
    step: Step,
    next_key: i64,
}

impl Default for Scratch {
    fn default() -> Self {
        let (existence, step) = (Existence::Absent, Step::Create);
        Scratch { existence, rows: Some(0), step, next_key: 0 }
    }
}

impl Scratch {
    pub fn next(&mut self, random: &mut Random) -> String {
        self.step = match (self.existence, random.below(12)) {
            (Existence::Unknown, 0..=5) => Step::Drop,
            (Existence::Unknown, _) => Step::Create,
            (Existence::Absent, 0..=1) => Step::Count,
            (Existence::Absent, _) => Step::Create,
            (Existence::Present, 0) => Step::Drop,
            (Existence::Present, 1) => Step::Truncate,
            (Existence::Present, 2) => Step::AddColumn,
            (Existence::Present, 3) => Step::DropColumn,
            (Existence::Present, 4..=6) => Step::Count,
            (Existence::Present, _) => Step::Insert,
        };
        let table = format!("{KEYSPACE}.scratch");
        match self.step {
            Step::Create => format!("CREATE TABLE IF NOT EXISTS {table} (k bigint PRIMARY KEY, v text)"),
            Step::Insert => {
                self.next_key += 1;
                format!("INSERT INTO {table} (k, v) VALUES ({}, 'x')", self.next_key)
            }
            Step::AddColumn => format!("ALTER TABLE {table} ADD IF NOT EXISTS w int"),
            Step::DropColumn => format!("ALTER TABLE {table} DROP IF EXISTS w"),
            Step::Truncate => format!("TRUNCATE {table}"),
            Step::Drop => format!("DROP TABLE IF EXISTS {table}"),
            Step::Count => format!("SELECT count(*) FROM {table}"),
        }
    }

    /// # Errors
    /// An answer that cannot be.
    pub fn answered(&mut self, response: &Response) -> Result<(), String> {
        let error = match response {
            Response::Error(error) => error,
            Response::Result(result) => return self.succeeded(result),
            other => return Err(format!("{other:?} answers no statement")),
        };
        match error.code() {
            ErrorCode::Overloaded | ErrorCode::IsBootstrapping | ErrorCode::Unavailable => Ok(()),
            ErrorCode::Invalid if self.existence == Existence::Absent && self.step == Step::Count => Ok(()),
            ErrorCode::Invalid | ErrorCode::Syntax | ErrorCode::AlreadyExists | ErrorCode::Config => {
                Err(format!("{:?} of a table that is {:?}: {}", self.step, self.existence, error.message))
            }
            _ => {
                self.unknown();
                Ok(())
            }
        }
    }

    fn succeeded(&mut self, result: &ResultResponse) -> Result<(), String> {
        match self.step {
            Step::Create => {
                // A table that was not there, or may not have been, is empty now or holds what it held.
                self.rows = if self.existence == Existence::Absent { Some(0) } else { None };
                self.existence = Existence::Present;
            }
            Step::Insert => self.rows = self.rows.map(|rows| rows + 1),
            Step::AddColumn | Step::DropColumn => {}
            Step::Truncate => self.rows = Some(0),
            Step::Drop => {
                self.rows = Some(0);
                self.existence = Existence::Absent;
            }
            Step::Count => {
                if self.existence == Existence::Absent {
                    return Err("a dropped table can be read".to_string());
                }
                let found = count(result).ok_or("count(*) without a number")?;
                if self.rows.is_some_and(|rows| rows != found) {
                    return Err(format!("{found} rows, expected {:?}", self.rows));
                }
            }
        }
        Ok(())
    }

    /// No answer came.
    pub fn unknown(&mut self) {
        match self.step {
            Step::Create | Step::Drop => {
                self.existence = Existence::Unknown;
                self.rows = None;
            }
            Step::Insert | Step::Truncate => self.rows = None,
            Step::AddColumn | Step::DropColumn | Step::Count => {}
        }
    }
}

fn count(result: &ResultResponse) -> Option<i64> {
    let ResultResponse::Rows(Rows { rows, .. }) = result else { return None };
    let cell = rows.first()?.first()?.as_ref()?;
    cell[..].try_into().ok().map(i64::from_be_bytes)
}
