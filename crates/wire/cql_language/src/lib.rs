//! The Cassandra Query Language (CQL) as text and as a tree: lexer, parser, printer.
//!
//! It is the whole grammar of Cassandra 4.1 and 5.0 (its `Lexer.g` and `Parser.g`, its CQL reference). It is not a
//! planner: it knows no schema, no keyspace in use and no values, and checks nothing that needs them.

pub mod ast;
pub mod limits;
