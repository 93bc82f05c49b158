//! Tokens to trees: recursive descent over a window of two tokens.
//!
//! ```text
//! text ── Lexer ──> current, next ── one method a rule of the grammar ──> ast::Statement + names of bind markers
//! ```
//!
//! One pass. Where two rules start alike, the window decides, with one or two tokens behind it at most; the single
//! exception is a type in parentheses (`(map<int, text>) x`), where the type is read and, if it was none, the window is
//! put back. A type contains no parenthesis, so no token is read more than a few times.
//!
//! Every path that recurses goes through [`Parser::nested`]; chains that lean left go through
//! [`Parser::count_operator`].

mod describe;
mod function;
mod modification;
mod name;
mod permission;
mod property;
mod relation;
mod role;
mod schema;
mod select;
mod selector;
mod table;
mod term;
mod types;

pub(crate) use name::RESERVED_TYPE_NAMES;

use crate::ast::{CqlType, Identifier, Statement};
use crate::error::{Failure, SyntaxError};
use crate::keyword::Keyword;
use crate::lexer::{Lexer, Token, TokenKind};
use crate::limits;
use std::borrow::Cow;

/// The error is boxed: it is rare and large, and every rule returns it.
pub(crate) type Parsing<T> = Result<T, Box<Failure>>;

pub(crate) struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    current: Token,
    next: Token,
    /// Levels of nesting around the current token.
    depth: u32,
    /// Operators so far in the outermost expression around the current token.
    operators: u32,
    bind_markers: Vec<Option<Identifier>>,
}

/// A place to come back to.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'a> {
    lexer: Lexer<'a>,
    current: Token,
    next: Token,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Parser<'a>, SyntaxError> {
        if text.len() > limits::STATEMENT_BYTES_MAX {
            return Err(SyntaxError::TooLong { bytes: text.len() });
        }
        let mut lexer = Lexer::new(text);
        let current = lexer.next_token();
        let next = lexer.next_token();
        Ok(Parser { text, lexer, current, next, depth: 0, operators: 0, bind_markers: Vec::new() })
    }

    /// A whole statement up to the end of the text, with any number of `;` behind it.
    pub(crate) fn statement_and_end(mut self) -> Result<(Statement, Vec<Option<Identifier>>), SyntaxError> {
        let parsed = self.statement().and_then(|statement| {
            while self.accept(TokenKind::Semicolon) {}
            self.end(statement)
        });
        match parsed {
            Ok(statement) => Ok((statement, self.bind_markers)),
            Err(failure) => Err(failure.into_syntax_error(self.text)),
        }
    }

    /// A type up to the end of the text.
    pub(crate) fn type_and_end(mut self) -> Result<CqlType, SyntaxError> {
        let parsed = self.cql_type().and_then(|parsed| self.end(parsed));
        parsed.map_err(|failure| failure.into_syntax_error(self.text))
    }

    fn end<T>(&mut self, parsed: T) -> Parsing<T> {
        self.expect(TokenKind::End, "EOF")?;
        Ok(parsed)
    }

    fn statement(&mut self) -> Parsing<Statement> {
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        match keyword {
            Keyword::Select => Ok(Statement::Select(Box::new(self.select()?))),
            Keyword::Insert => Ok(Statement::Insert(Box::new(self.insert()?))),
            Keyword::Update => Ok(Statement::Update(Box::new(self.update()?))),
            Keyword::Delete => Ok(Statement::Delete(Box::new(self.delete()?))),
            Keyword::Begin => Ok(Statement::Batch(Box::new(self.batch()?))),
            Keyword::Use => {
                self.advance();
                Ok(Statement::Use(self.keyspace_name()?))
            }
            Keyword::Truncate => {
                self.advance();
                // `table` is reserved, so this is never the name of the table.
                self.accept_table();
                Ok(Statement::Truncate(self.table_name()?))
            }
            Keyword::Create => self.create(),
            Keyword::Alter => self.alter(),
            Keyword::Drop => self.drop(),
            Keyword::Grant => self.grant(),
            Keyword::Revoke => self.revoke(),
            Keyword::List => self.list(),
            Keyword::Add => self.add_identity(),
            Keyword::Describe | Keyword::Desc => self.describe(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn create(&mut self) -> Parsing<Statement> {
        self.advance();
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        match keyword {
            Keyword::Keyspace | Keyword::Schema => self.create_keyspace(),
            Keyword::Table | Keyword::Columnfamily => self.create_table(),
            Keyword::Type => self.create_type(),
            Keyword::Custom | Keyword::Index => self.create_index(),
            Keyword::Materialized => self.create_materialized_view(),
            Keyword::Trigger => self.create_trigger(),
            Keyword::Or | Keyword::Function | Keyword::Aggregate => self.create_function_or_aggregate(),
            Keyword::Role => self.create_role(),
            Keyword::User => self.create_user(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn alter(&mut self) -> Parsing<Statement> {
        self.advance();
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        match keyword {
            Keyword::Keyspace | Keyword::Schema => self.alter_keyspace(),
            Keyword::Table | Keyword::Columnfamily => self.alter_table(),
            Keyword::Type => self.alter_type(),
            Keyword::Materialized => self.alter_materialized_view(),
            Keyword::Role => self.alter_role(),
            Keyword::User => self.alter_user(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn drop(&mut self) -> Parsing<Statement> {
        self.advance();
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        match keyword {
            Keyword::Keyspace | Keyword::Schema => self.drop_keyspace(),
            Keyword::Table | Keyword::Columnfamily => self.drop_table(),
            Keyword::Type => self.drop_type(),
            Keyword::Index => self.drop_index(),
            Keyword::Materialized => self.drop_materialized_view(),
            Keyword::Trigger => self.drop_trigger(),
            Keyword::Function | Keyword::Aggregate => self.drop_function_or_aggregate(),
            Keyword::Role => self.drop_role(),
            Keyword::User => self.drop_user(),
            Keyword::Identity => self.drop_identity(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    // ── tokens ──

    /// Takes the current token.
    fn advance(&mut self) -> Token {
        let taken = self.current;
        self.current = self.next;
        self.next = self.lexer.next_token();
        taken
    }

    /// The kind of the token behind `next`.
    fn after_next(&self) -> TokenKind {
        let mut ahead = self.lexer;
        ahead.next_token().kind
    }

    fn mark(&self) -> Mark<'a> {
        Mark { lexer: self.lexer, current: self.current, next: self.next }
    }

    fn go_back(&mut self, mark: Mark<'a>) {
        self.lexer = mark.lexer;
        self.current = mark.current;
        self.next = mark.next;
    }

    fn is(&self, kind: TokenKind) -> bool {
        self.current.kind == kind
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        self.current.kind == TokenKind::Keyword(keyword)
    }

    fn next_is_keyword(&self, keyword: Keyword) -> bool {
        self.next.kind == TokenKind::Keyword(keyword)
    }

    fn accept(&mut self, kind: TokenKind) -> bool {
        let fits = self.is(kind);
        if fits {
            self.advance();
        }
        fits
    }

    fn accept_keyword(&mut self, keyword: Keyword) -> bool {
        self.accept(TokenKind::Keyword(keyword))
    }

    /// TABLE or its synonym COLUMNFAMILY.
    fn accept_table(&mut self) -> bool {
        self.accept_keyword(Keyword::Table) || self.accept_keyword(Keyword::Columnfamily)
    }

    /// KEYSPACE or its synonym SCHEMA.
    fn accept_keyspace(&mut self) -> bool {
        self.accept_keyword(Keyword::Keyspace) || self.accept_keyword(Keyword::Schema)
    }

    /// Takes a token of this kind; `name` is what Cassandra's grammar calls it.
    fn expect(&mut self, kind: TokenKind, name: &'static str) -> Parsing<Token> {
        if self.is(kind) { Ok(self.advance()) } else { Err(self.mismatched(name)) }
    }

    fn expect_keyword(&mut self, keyword: Keyword) -> Parsing<()> {
        if self.accept_keyword(keyword) { Ok(()) } else { Err(self.mismatched(format!("K_{}", keyword.word()))) }
    }

    fn expect_keywords(&mut self, keywords: &[Keyword]) -> Parsing<()> {
        keywords.iter().try_for_each(|keyword| self.expect_keyword(*keyword))
    }

    /// `IF NOT EXISTS`, if it is there.
    fn if_not_exists(&mut self) -> Parsing<bool> {
        if !self.accept_keyword(Keyword::If) {
            return Ok(false);
        }
        self.expect_keywords(&[Keyword::Not, Keyword::Exists])?;
        Ok(true)
    }

    /// `IF EXISTS`, if it is there.
    fn if_exists(&mut self) -> Parsing<bool> {
        if !self.accept_keyword(Keyword::If) {
            return Ok(false);
        }
        self.expect_keyword(Keyword::Exists)?;
        Ok(true)
    }

    fn open_parenthesis(&mut self) -> Parsing<()> {
        self.expect(TokenKind::LeftParenthesis, "'('").map(drop)
    }

    fn close_parenthesis(&mut self) -> Parsing<()> {
        self.expect(TokenKind::RightParenthesis, "')'").map(drop)
    }

    fn close_bracket(&mut self) -> Parsing<()> {
        self.expect(TokenKind::RightBracket, "']'").map(drop)
    }

    fn close_brace(&mut self) -> Parsing<()> {
        self.expect(TokenKind::RightBrace, "'}'").map(drop)
    }

    /// One or more, with commas between them.
    fn comma_separated<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsing<T>) -> Parsing<Vec<T>> {
        let first = one(self)?;
        // Most lists are short: room for a few at once rather than for one and then for four.
        let mut all = Vec::with_capacity(if self.is(TokenKind::Comma) { 4 } else { 1 });
        all.push(first);
        while self.accept(TokenKind::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// One or more, with AND between them.
    fn and_separated<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsing<T>) -> Parsing<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.accept_keyword(Keyword::And) {
            all.push(one(self)?);
        }
        Ok(all)
    }

    // ── bounds ──

    /// Runs `inner` one level deeper.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsing<T>) -> Parsing<T> {
        if self.depth >= limits::NESTING_MAX {
            return Err(Box::new(Failure::TooDeep { token: self.current }));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// To be called for each operator and access.
    fn count_operator(&mut self) -> Parsing<()> {
        self.operators += 1;
        if self.operators > limits::EXPRESSION_OPERATORS_MAX {
            return Err(Box::new(Failure::TooManyOperators { token: self.current }));
        }
        Ok(())
    }

    /// To be called where an expression starts.
    fn start_expression(&mut self) {
        if self.depth == 0 {
            self.operators = 0;
        }
    }

    // ── errors ──

    #[cold]
    fn no_viable_alternative(&self) -> Box<Failure> {
        self.no_viable_alternative_at(self.current)
    }

    #[cold]
    fn no_viable_alternative_at(&self, token: Token) -> Box<Failure> {
        Box::new(Failure::Unexpected { token, expecting: None })
    }

    #[cold]
    fn mismatched(&self, expecting: impl Into<Cow<'static, str>>) -> Box<Failure> {
        Box::new(Failure::Unexpected { token: self.current, expecting: Some(expecting.into()) })
    }

    /// The text is well formed and yet not allowed; the current token is the place.
    #[cold]
    fn not_allowed(&self, reason: impl Into<String>) -> Box<Failure> {
        self.not_allowed_at(self.current, reason)
    }

    #[cold]
    fn not_allowed_at(&self, token: Token, reason: impl Into<String>) -> Box<Failure> {
        Box::new(Failure::NotAllowed { token, reason: reason.into() })
    }
}

/// Some name that comes twice. Sorts: statements may have very many names.
fn repeated<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.windows(2).find_map(|pair| match pair {
        [one, other] if one == other => Some(*one),
        _ => None,
    })
}
