//! The Cassandra Query Language (CQL) as text and as a tree: lexer, parser, printer.
//!
//! ```text
//! text ── lexer ──> tokens ── parser ──> ast::Statement ── Display ──> text that parses back to an equal tree
//! ```
//!
//! It is the whole grammar of Cassandra 4.1 and 5.0 (its `Lexer.g` and `Parser.g`, its CQL reference), and BETWEEN. It
//! is not a planner: it knows no schema, no keyspace in use and no values, and checks nothing that needs them.
//!
//! Guaranteed: no text panics or overflows the stack; time and memory grow in proportion to the text; bounds are in
//! [`limits`]; errors name their place ([`SyntaxError`]).

pub mod ast;
mod error;
mod keyword;
pub mod lexer;
pub mod limits;
mod parser;
mod printer;

pub use error::SyntaxError;
pub use keyword::{Keyword, KeywordClass, is_reserved};
pub use printer::{quote_identifier, quote_string};

use ast::{CqlType, Identifier, Statement};
use parser::Parser;
use std::sync::Arc;

/// A statement and the names of its bind markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    pub statement: Statement,
    /// One for each bind marker in the order of the text; `None` for `?`. The index in here is
    /// [`ast::BindMarker::index`].
    pub bind_markers: Vec<Option<Identifier>>,
}

/// What a table of prepared statements keeps: cloning it copies a pointer.
pub type SharedStatement = Arc<Parsed>;

impl Parsed {
    pub fn share(self) -> SharedStatement {
        Arc::new(self)
    }
}

/// Parses one statement. Any number of `;` may follow it.
///
/// # Errors
/// [`SyntaxError`] for the first thing in the text that is wrong.
pub fn parse_statement(text: &str) -> Result<Parsed, SyntaxError> {
    let (statement, bind_markers) = Parser::new(text)?.statement_and_end()?;
    Ok(Parsed { statement, bind_markers })
}

/// Parses a type on its own, such as `frozen<map<text, int>>`.
///
/// # Errors
/// [`SyntaxError`] for the first thing in the text that is wrong.
pub fn parse_type(text: &str) -> Result<CqlType, SyntaxError> {
    Parser::new(text)?.type_and_end()
}
