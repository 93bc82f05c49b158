//! What is wrong with a text, in the words of Cassandra: drivers, tools and people search for them.
//!
//! One difference is deliberate: where the text ends too early, Cassandra says `line 0:-1`; here the place is the real
//! one.

use crate::lexer::{Fault, Lexer, Position, Token, TokenKind};
use crate::limits;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Why a text is no statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// None of several things that could come next did.
    #[error("line {position} no viable alternative at input '{found}'{snippet}")]
    NoViableAlternative { position: Position, found: String, snippet: String },
    /// The one thing that could come next did not. `expecting` is a token's name in Cassandra's grammar.
    #[error("line {position} mismatched input '{found}' expecting {expecting}{snippet}")]
    Mismatched { position: Position, found: String, expecting: String, snippet: String },
    /// A character that starts no token.
    #[error("line {position} no viable alternative at character '{character}'")]
    UnexpectedCharacter { position: Position, character: char },
    /// A string, name or comment that starts at `position` and never ends.
    #[error(
        "line {position} mismatched character '<EOF>' expecting {expecting}: the {what} that starts here never ends"
    )]
    Unterminated { position: Position, expecting: &'static str, what: &'static str },
    /// Well formed, but not allowed.
    #[error("line {position} {reason}")]
    NotAllowed { position: Position, reason: String },
    #[error(
        "line {position} nested more than {} levels deep; bind a value instead, or split the statement",
        limits::NESTING_MAX
    )]
    TooDeep { position: Position },
    #[error(
        "line {position} more than {} operators in one expression; compute it in parts",
        limits::EXPRESSION_OPERATORS_MAX
    )]
    TooManyOperators { position: Position },
    #[error(
        "line {position} more than {} bind markers; the protocol cannot carry more values, split the statement",
        limits::BIND_MARKERS_MAX
    )]
    TooManyBindMarkers { position: Position },
    #[error("statement of {bytes} bytes is longer than the {} that are allowed; split it", limits::STATEMENT_BYTES_MAX)]
    TooLong { bytes: usize },
}

/// A [`SyntaxError`] before its place is counted and its message built. The parser may make many and drop them while it
/// looks ahead; making one must not take time in proportion to the text.
pub(crate) enum Failure {
    Unexpected { token: Token, expecting: Option<Cow<'static, str>> },
    NotAllowed { token: Token, reason: String },
    TooDeep { token: Token },
    TooManyOperators { token: Token },
    TooManyBindMarkers { token: Token },
}

impl Failure {
    /// The error to show. Walks `text` from its start: errors may be slow, statements may not.
    pub(crate) fn into_syntax_error(self, text: &str) -> SyntaxError {
        let position = |token: Token| Position::of(text, token.start);
        match self {
            Failure::Unexpected { token, expecting } => unexpected(text, token, expecting),
            Failure::NotAllowed { token, reason } => SyntaxError::NotAllowed { position: position(token), reason },
            Failure::TooDeep { token } => SyntaxError::TooDeep { position: position(token) },
            Failure::TooManyOperators { token } => SyntaxError::TooManyOperators { position: position(token) },
            Failure::TooManyBindMarkers { token } => SyntaxError::TooManyBindMarkers { position: position(token) },
        }
    }
}

fn unexpected(text: &str, token: Token, expecting: Option<Cow<'static, str>>) -> SyntaxError {
    let position = Position::of(text, token.start);
    let unterminated = |expecting, what| SyntaxError::Unterminated { position, expecting, what };
    match token.kind {
        TokenKind::Invalid(Fault::UnexpectedCharacter) => {
            let character = text.get(token.start..).and_then(|rest| rest.chars().next()).unwrap_or('\u{fffd}');
            return SyntaxError::UnexpectedCharacter { position, character };
        }
        TokenKind::Invalid(Fault::UnterminatedString) => return unterminated("'''", "string"),
        TokenKind::Invalid(Fault::UnterminatedDollarString) => return unterminated("'$$'", "string"),
        TokenKind::Invalid(Fault::UnterminatedQuotedName) => return unterminated("'\"'", "quoted name"),
        TokenKind::Invalid(Fault::UnterminatedComment) => return unterminated("'*/'", "comment"),
        _ => {}
    }
    let found = match token.kind {
        TokenKind::End => "<EOF>".to_owned(),
        _ => clip_end(text.get(token.start..token.end).unwrap_or("")),
    };
    let snippet = snippet(text, token);
    match expecting {
        None => SyntaxError::NoViableAlternative { position, found, snippet },
        Some(expecting) => SyntaxError::Mismatched { position, found, expecting: expecting.into_owned(), snippet },
    }
}

/// ` (... ten tokens before [the token] two after...)`, blanks counted as tokens, on one line; empty at the end of the
/// text.
fn snippet(text: &str, token: Token) -> String {
    const TOKENS_BEFORE: usize = 10;
    const TOKENS_AFTER: usize = 2;
    if token.kind == TokenKind::End {
        return String::new();
    }
    let mut lexer = Lexer::new(text);
    let mut before: VecDeque<usize> = VecDeque::with_capacity(TOKENS_BEFORE + 1);
    let mut offset = 0;
    while offset < token.start {
        before.push_back(offset);
        if before.len() > TOKENS_BEFORE {
            before.pop_front();
        }
        offset = lexer.skip_one();
    }
    let from = before.front().copied().unwrap_or(token.start);
    lexer.seek(token.end);
    let mut to = token.end;
    for _ in 0..TOKENS_AFTER {
        to = lexer.skip_one();
    }
    let lead = text.get(from..token.start).unwrap_or("");
    let clipped_lead = clip_start(lead);
    let offending = clip_end(text.get(token.start..token.end).unwrap_or(""));
    let follow = text.get(token.end..to).unwrap_or("");
    let start_mark = if from == 0 && clipped_lead.len() == lead.len() { "" } else { "..." };
    let end_mark = if to >= text.len() { "" } else { "..." };
    let whole = format!(" ({start_mark}{clipped_lead}[{offending}]{}{end_mark})", clip_end(follow));
    whole.replace(['\n', '\r'], "")
}

/// The front of a text, with `...` if there is more.
fn clip_end(text: &str) -> String {
    match text.char_indices().nth(limits::ERROR_SNIPPET_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// The end of a text.
fn clip_start(text: &str) -> &str {
    match text.char_indices().rev().nth(limits::ERROR_SNIPPET_CHARACTERS_MAX) {
        Some((start, character)) => text.get(start + character.len_utf8()..).unwrap_or(""),
        None => text,
    }
}

impl Lexer<'_> {
    /// Skips one token or one run of blanks and returns where the next starts.
    fn skip_one(&mut self) -> usize {
        if !self.skip_one_blank() {
            return self.next_token().end;
        }
        self.offset()
    }
}
