//! Terms and literals.

use super::name::{is_function_name, is_name};
use super::{Parser, Parsing};
use crate::ast::{ArithmeticOperator, BindMarker, CqlType, Literal, Term, TermOperation};
use crate::error::Failure;
use crate::keyword::Keyword;
use crate::lexer::{Token, TokenKind};
use crate::limits;

/// Whether a token is a constant that starts with a minus sign as soon as it does so.
fn may_start_with_minus(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Integer
            | TokenKind::Float
            | TokenKind::Duration
            | TokenKind::NegativeNan
            | TokenKind::NegativeInfinity
    )
}

impl Parser<'_> {
    pub(super) fn term(&mut self) -> Parsing<Term> {
        self.start_expression();
        let mut left = self.term_product()?;
        while let Some(operator) = self.additive_operator() {
            // `SET c = term + c`: this plus is the assignment's. No column stands in a term, so it is nobody else's.
            if is_name(self.next.kind) && !matches!(self.after_next(), TokenKind::LeftParenthesis | TokenKind::Dot) {
                break;
            }
            self.advance();
            self.count_operator()?;
            let right = self.term_product()?;
            left = Term::Arithmetic(Box::new(TermOperation { left, operator, right }));
        }
        Ok(left)
    }

    fn term_product(&mut self) -> Parsing<Term> {
        let mut left = self.simple_term()?;
        while let Some(operator) = self.multiplicative_operator() {
            self.advance();
            self.count_operator()?;
            let right = self.simple_term()?;
            left = Term::Arithmetic(Box::new(TermOperation { left, operator, right }));
        }
        Ok(left)
    }

    /// The operator that the current token is. Behind an operand, `-1` is a minus sign and `1`: the token is split.
    pub(super) fn additive_operator(&mut self) -> Option<ArithmeticOperator> {
        self.split_minus();
        match self.current.kind {
            TokenKind::Plus => Some(ArithmeticOperator::Add),
            TokenKind::Minus => Some(ArithmeticOperator::Subtract),
            _ => None,
        }
    }

    pub(super) fn multiplicative_operator(&self) -> Option<ArithmeticOperator> {
        match self.current.kind {
            TokenKind::Star => Some(ArithmeticOperator::Multiply),
            TokenKind::Slash => Some(ArithmeticOperator::Divide),
            TokenKind::Percent => Some(ArithmeticOperator::Modulo),
            _ => None,
        }
    }

    fn split_minus(&mut self) {
        let token = self.current;
        if may_start_with_minus(token.kind) && self.lexer.text(token).starts_with('-') {
            self.current = Token { kind: TokenKind::Minus, start: token.start, end: token.start + 1 };
            self.lexer.seek(token.start + 1);
            self.next = self.lexer.next_token();
        }
    }

    fn simple_term(&mut self) -> Parsing<Term> {
        if let Some(literal) = self.literal() {
            return Ok(Term::Literal(literal));
        }
        match self.current.kind {
            TokenKind::QuestionMark | TokenKind::Colon => Ok(Term::Bind(self.bind_marker()?)),
            TokenKind::Keyword(Keyword::Null) => {
                self.advance();
                Ok(Term::Null)
            }
            TokenKind::LeftBracket => self.nested(Self::list_literal),
            TokenKind::LeftBrace => self.nested(Self::brace_literal),
            TokenKind::LeftParenthesis => self.nested(Self::tuple_or_hint),
            TokenKind::Minus => self.nested(|parser| {
                parser.advance();
                Ok(Term::Negate(Box::new(parser.simple_term()?)))
            }),
            TokenKind::Keyword(Keyword::Cast) if self.next.kind == TokenKind::LeftParenthesis => {
                self.nested(Self::cast)
            }
            kind if is_function_name(kind) || is_name(kind) => self.nested(Self::function_call),
            _ => Err(self.no_viable_alternative()),
        }
    }

    /// The constant that the current token is, taken.
    pub(super) fn literal(&mut self) -> Option<Literal> {
        let token = self.current;
        let text = self.lexer.text(token);
        let literal = match token.kind {
            TokenKind::String | TokenKind::DollarString => Literal::String(self.string_content(token)),
            TokenKind::Integer => Literal::Integer(text.into()),
            TokenKind::Float => Literal::Float(text.into()),
            TokenKind::Keyword(Keyword::Nan) | TokenKind::NegativeNan => Literal::Float("NaN".into()),
            TokenKind::Keyword(Keyword::Infinity) => Literal::Float("Infinity".into()),
            TokenKind::NegativeInfinity => Literal::Float("-Infinity".into()),
            TokenKind::True => Literal::Boolean(true),
            TokenKind::False => Literal::Boolean(false),
            TokenKind::Uuid => Literal::Uuid(text.into()),
            TokenKind::Blob => Literal::Blob(text.get(2..).unwrap_or("").into()),
            TokenKind::Duration => Literal::Duration(text.into()),
            _ => return None,
        };
        self.advance();
        Some(literal)
    }

    /// `?` or `:name`.
    pub(super) fn bind_marker(&mut self) -> Parsing<BindMarker> {
        let token = self.current;
        let name = if self.accept(TokenKind::QuestionMark) {
            None
        } else {
            self.expect(TokenKind::Colon, "':'")?;
            Some(self.name()?)
        };
        let index = self.bind_markers.len();
        if index >= limits::BIND_MARKERS_MAX {
            return Err(Box::new(Failure::TooManyBindMarkers { token }));
        }
        self.bind_markers.push(name.clone());
        Ok(BindMarker { index: index as u16, name })
    }

    pub(super) fn is_bind_marker(&self) -> bool {
        matches!(self.current.kind, TokenKind::QuestionMark | TokenKind::Colon)
    }

    /// An integer or a bind marker, as limits, timestamps and times to live are written.
    pub(super) fn integer_or_marker(&mut self) -> Parsing<Term> {
        if self.is_bind_marker() {
            return Ok(Term::Bind(self.bind_marker()?));
        }
        if !self.is(TokenKind::Integer) {
            return Err(self.no_viable_alternative());
        }
        let token = self.advance();
        Ok(Term::Literal(Literal::Integer(self.lexer.text(token).into())))
    }

    fn list_literal(&mut self) -> Parsing<Term> {
        self.advance();
        if self.accept(TokenKind::RightBracket) {
            return Ok(Term::List(Vec::new()));
        }
        let elements = self.comma_separated(Self::term)?;
        self.close_bracket()?;
        Ok(Term::List(elements))
    }

    fn brace_literal(&mut self) -> Parsing<Term> {
        self.advance();
        if self.accept(TokenKind::RightBrace) {
            return Ok(Term::EmptyBraces);
        }
        let literal = if is_name(self.current.kind) && self.next.kind == TokenKind::Colon {
            Term::UserType(self.comma_separated(|parser| {
                let field = parser.name()?;
                parser.expect(TokenKind::Colon, "':'")?;
                Ok((field, parser.term()?))
            })?)
        } else {
            self.set_or_map()?
        };
        self.close_brace()?;
        Ok(literal)
    }

    fn set_or_map(&mut self) -> Parsing<Term> {
        let first = self.term()?;
        if !self.accept(TokenKind::Colon) {
            let mut elements = vec![first];
            while self.accept(TokenKind::Comma) {
                elements.push(self.term()?);
            }
            return Ok(Term::Set(elements));
        }
        let mut entries = vec![(first, self.term()?)];
        while self.accept(TokenKind::Comma) {
            entries.push(self.map_entry()?);
        }
        Ok(Term::Map(entries))
    }

    /// `key: value`.
    pub(super) fn map_entry(&mut self) -> Parsing<(Term, Term)> {
        let key = self.term()?;
        self.expect(TokenKind::Colon, "':'")?;
        Ok((key, self.term()?))
    }

    fn tuple_or_hint(&mut self) -> Parsing<Term> {
        self.advance();
        if let Some(hint) = self.type_hint(starts_hinted_term) {
            return Ok(Term::TypeHint { hint: Box::new(hint), term: Box::new(self.simple_term()?) });
        }
        let elements = self.comma_separated(Self::term)?;
        self.close_parenthesis()?;
        Ok(Term::Tuple(elements))
    }

    /// `type)` if that comes next and what follows it can be hinted at; otherwise nothing is taken.
    pub(super) fn type_hint(&mut self, starts_hinted: fn(TokenKind) -> bool) -> Option<CqlType> {
        let starts_type = is_name(self.current.kind) || self.is_string() || self.is_keyword(Keyword::Set);
        // A function call, or the end of a tuple's element: no type.
        if !starts_type || matches!(self.next.kind, TokenKind::LeftParenthesis | TokenKind::Comma) {
            return None;
        }
        let mark = self.mark();
        let hint = self.cql_type().ok();
        let what_follows = match self.next.kind {
            // `{('a'): b}`: the colon is the map's, not that of a bind marker.
            TokenKind::Colon => !matches!(hint, Some(CqlType::Custom(_))),
            // `(a) AS b`, `IN ('a') PER PARTITION LIMIT 1`, `IN ('a') GROUP BY b`; but all three may name functions.
            TokenKind::Keyword(Keyword::As | Keyword::Per | Keyword::Group) => {
                matches!(self.after_next(), TokenKind::LeftParenthesis | TokenKind::Dot)
            }
            _ => true,
        };
        if hint.is_some() && self.is(TokenKind::RightParenthesis) && what_follows && starts_hinted(self.next.kind) {
            self.advance();
            return hint;
        }
        self.go_back(mark);
        None
    }

    /// `CAST(term AS type)`.
    fn cast(&mut self) -> Parsing<Term> {
        self.advance();
        self.open_parenthesis()?;
        let term = Box::new(self.term()?);
        self.expect_keyword(Keyword::As)?;
        let to = CqlType::Native(self.native_type()?);
        self.close_parenthesis()?;
        Ok(Term::Cast { term, to })
    }

    fn function_call(&mut self) -> Parsing<Term> {
        let name = self.function_name()?;
        if !self.accept(TokenKind::LeftParenthesis) {
            return Err(self.no_viable_alternative());
        }
        let arguments =
            if self.is(TokenKind::RightParenthesis) { Vec::new() } else { self.comma_separated(Self::term)? };
        self.close_parenthesis()?;
        Ok(Term::Function { name, arguments })
    }

    /// `(…)` with terms inside, one at least.
    pub(super) fn tuple_literal(&mut self) -> Parsing<Term> {
        self.open_parenthesis()?;
        self.start_expression();
        let elements = self.nested(|parser| parser.comma_separated(Self::term))?;
        self.close_parenthesis()?;
        Ok(Term::Tuple(elements))
    }

    /// Whether the current token is a column in front of an operator, as in `c + 1`, rather than a term.
    pub(super) fn is_bare_column(&self) -> bool {
        self.is(TokenKind::EmptyQuotedName)
            || is_name(self.current.kind) && !matches!(self.next.kind, TokenKind::LeftParenthesis | TokenKind::Dot)
    }
}

/// Whether a token may follow `(type)` in a term.
fn starts_hinted_term(kind: TokenKind) -> bool {
    match kind {
        TokenKind::LeftParenthesis
        | TokenKind::LeftBracket
        | TokenKind::LeftBrace
        | TokenKind::QuestionMark
        | TokenKind::Colon
        | TokenKind::String
        | TokenKind::DollarString
        | TokenKind::Integer
        | TokenKind::Float
        | TokenKind::NegativeNan
        | TokenKind::NegativeInfinity
        | TokenKind::True
        | TokenKind::False
        | TokenKind::Uuid
        | TokenKind::Blob
        | TokenKind::Duration
        | TokenKind::Keyword(Keyword::Null | Keyword::Nan | Keyword::Infinity | Keyword::Cast) => true,
        kind => is_function_name(kind) || is_name(kind),
    }
}
