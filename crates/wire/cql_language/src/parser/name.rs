//! Names, and which keywords may be one where.

use super::{Parser, Parsing};
use crate::ast::{Identifier, QualifiedName};
use crate::keyword::{Keyword, KeywordClass};
use crate::lexer::{Token, TokenKind};

/// Words that may not name a user type without quotes: they are kept for types to come.
pub(crate) const RESERVED_TYPE_NAMES: [&str; 7] =
    ["byte", "complex", "enum", "date", "interval", "macaddr", "bitstring"];

/// Whether a token may be a name of a column, a table and most else.
pub(super) fn is_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Word | TokenKind::QuotedName => true,
        TokenKind::Keyword(keyword) => keyword.class() != KeywordClass::Reserved,
        _ => false,
    }
}

/// Whether a token may be the name of a function.
pub(super) fn is_function_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Word | TokenKind::QuotedName => true,
        TokenKind::Keyword(Keyword::Token | Keyword::Count) => true,
        TokenKind::Keyword(keyword) => matches!(keyword.class(), KeywordClass::Unreserved | KeywordClass::Native),
        _ => false,
    }
}

/// Whether a token may be the name of a user type.
fn is_type_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Word | TokenKind::QuotedName | TokenKind::Keyword(Keyword::Key) => true,
        TokenKind::Keyword(keyword) => keyword.class() == KeywordClass::Unreserved,
        _ => false,
    }
}

impl Parser<'_> {
    /// The canonical name that a token spells: folded, or with its quotes undone.
    pub(super) fn identifier(&self, token: Token) -> Identifier {
        let text = self.lexer.text(token);
        if token.kind != TokenKind::QuotedName {
            return Identifier::new(text.to_ascii_lowercase());
        }
        Identifier::new(unquote(text, "\"", "\"\""))
    }

    /// A name of anything but an old unnamed column.
    pub(super) fn name(&mut self) -> Parsing<Identifier> {
        if !is_name(self.current.kind) {
            return Err(self.no_viable_alternative());
        }
        let token = self.advance();
        Ok(self.identifier(token))
    }

    /// A name of a column that exists: `""` is one, too.
    pub(super) fn column(&mut self) -> Parsing<Identifier> {
        if self.accept(TokenKind::EmptyQuotedName) {
            return Ok(Identifier::new(""));
        }
        self.name()
    }

    /// `(a, b)`.
    pub(super) fn column_tuple(&mut self) -> Parsing<Vec<Identifier>> {
        self.open_parenthesis()?;
        let columns = self.comma_separated(Self::column)?;
        self.close_parenthesis()?;
        Ok(columns)
    }

    fn name_of(&mut self, what: &str) -> Parsing<Identifier> {
        if self.is(TokenKind::QuestionMark) {
            return Err(self.not_allowed(format!("Bind variables cannot be used for {what} names")));
        }
        self.name()
    }

    pub(super) fn keyspace_name(&mut self) -> Parsing<Identifier> {
        self.name_of("keyspace")
    }

    pub(super) fn index_name(&mut self) -> Parsing<Identifier> {
        self.name_of("index")
    }

    fn qualified(&mut self, what: &str) -> Parsing<QualifiedName> {
        let keyspace = if self.next.kind == TokenKind::Dot {
            let keyspace = self.keyspace_name()?;
            self.advance();
            Some(keyspace)
        } else {
            None
        };
        Ok(QualifiedName { keyspace, name: self.name_of(what)? })
    }

    /// `[keyspace.]name` of a table or a view.
    pub(super) fn table_name(&mut self) -> Parsing<QualifiedName> {
        self.qualified("table")
    }

    pub(super) fn qualified_index_name(&mut self) -> Parsing<QualifiedName> {
        self.qualified("index")
    }

    /// `[keyspace.]name` of a function or an aggregate.
    pub(super) fn function_name(&mut self) -> Parsing<QualifiedName> {
        let keyspace = if self.next.kind == TokenKind::Dot {
            let keyspace = self.keyspace_name()?;
            self.advance();
            Some(keyspace)
        } else {
            None
        };
        Ok(QualifiedName { keyspace, name: self.unqualified_function_name()? })
    }

    pub(super) fn unqualified_function_name(&mut self) -> Parsing<Identifier> {
        if !is_function_name(self.current.kind) {
            return Err(self.no_viable_alternative());
        }
        let token = self.advance();
        Ok(self.identifier(token))
    }

    /// `[keyspace.]name` of a user type.
    pub(super) fn user_type_name(&mut self) -> Parsing<QualifiedName> {
        let keyspace = if self.next.kind == TokenKind::Dot {
            let keyspace = self.name()?;
            self.advance();
            Some(keyspace)
        } else {
            None
        };
        if !is_type_name(self.current.kind) {
            return Err(self.no_viable_alternative());
        }
        let text = self.lexer.text(self.current);
        let reserved = RESERVED_TYPE_NAMES.iter().any(|name| name.eq_ignore_ascii_case(text));
        if self.is(TokenKind::Word) && reserved {
            return Err(self.not_allowed(format!("Invalid (reserved) user type name {text}")));
        }
        let token = self.advance();
        Ok(QualifiedName { keyspace, name: self.identifier(token) })
    }

    /// A role: a name, or a string that keeps its case.
    pub(super) fn role_name(&mut self) -> Parsing<Identifier> {
        if self.is_string() {
            return Ok(Identifier::new(self.string()?));
        }
        self.name_of("role")
    }

    /// A user or an identity: a word or a string. Either keeps its case, and no keyword will do.
    pub(super) fn user_name(&mut self, what: &str) -> Parsing<Box<str>> {
        match self.current.kind {
            TokenKind::Word => {
                let token = self.advance();
                Ok(self.lexer.text(token).into())
            }
            TokenKind::QuotedName => {
                let role = if what == "user names" { " and USER is deprecated, please use ROLE" } else { "" };
                Err(self.not_allowed(format!("Quoted strings are not supported for {what}{role}")))
            }
            _ => self.string_or_no_viable_alternative(),
        }
    }

    pub(super) fn is_string(&self) -> bool {
        matches!(self.current.kind, TokenKind::String | TokenKind::DollarString)
    }

    /// A string where nothing else will do.
    pub(super) fn string(&mut self) -> Parsing<Box<str>> {
        if !self.is_string() {
            return Err(self.mismatched("STRING_LITERAL"));
        }
        let token = self.advance();
        Ok(self.string_content(token))
    }

    fn string_or_no_viable_alternative(&mut self) -> Parsing<Box<str>> {
        if self.is_string() { self.string() } else { Err(self.no_viable_alternative()) }
    }

    /// What stands between the quotes.
    pub(super) fn string_content(&self, token: Token) -> Box<str> {
        let text = self.lexer.text(token);
        if token.kind == TokenKind::DollarString {
            return text.strip_prefix("$$").and_then(|rest| rest.strip_suffix("$$")).unwrap_or("").into();
        }
        unquote(text, "'", "''")
    }
}

/// The inside of a quoted text, its doubled quotes made single.
fn unquote(text: &str, quote: &str, doubled: &str) -> Box<str> {
    let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)).unwrap_or("");
    if inside.contains(doubled) { inside.replace(doubled, quote).into() } else { inside.into() }
}
