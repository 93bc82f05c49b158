//! Selectors: the expressions of a SELECT clause and of GROUP BY.

use super::name::{is_function_name, is_name};
use super::{Parser, Parsing};
use crate::ast::{CqlType, QualifiedName, Selector, SelectorOperation, Term, WriteAttribute};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn selector(&mut self) -> Parsing<Selector> {
        self.start_expression();
        let mut left = self.selector_product()?;
        while let Some(operator) = self.additive_operator() {
            self.advance();
            self.count_operator()?;
            let right = self.selector_product()?;
            left = Selector::Arithmetic(Box::new(SelectorOperation { left, operator, right }));
        }
        Ok(left)
    }

    fn selector_product(&mut self) -> Parsing<Selector> {
        let mut left = self.selector_with_accesses()?;
        while let Some(operator) = self.multiplicative_operator() {
            self.advance();
            self.count_operator()?;
            let right = self.selector_with_accesses()?;
            left = Selector::Arithmetic(Box::new(SelectorOperation { left, operator, right }));
        }
        Ok(left)
    }

    fn selector_with_accesses(&mut self) -> Parsing<Selector> {
        if self.is(TokenKind::Minus) {
            return self.nested(|parser| {
                parser.advance();
                Ok(Selector::Negate(Box::new(parser.selector_with_accesses()?)))
            });
        }
        let base = self.simple_selector()?;
        self.accesses(base)
    }

    /// `.field`, `[key]` and `[from..to]` behind a selector.
    fn accesses(&mut self, base: Selector) -> Parsing<Selector> {
        let mut selector = base;
        loop {
            if self.accept(TokenKind::Dot) {
                self.count_operator()?;
                selector = Selector::Field { of: Box::new(selector), field: self.name()? };
            } else if self.is(TokenKind::LeftBracket) {
                self.count_operator()?;
                selector = self.nested(|parser| parser.element_or_slice(selector))?;
            } else {
                return Ok(selector);
            }
        }
    }

    fn element_or_slice(&mut self, of: Selector) -> Parsing<Selector> {
        self.advance();
        let of = Box::new(of);
        if self.accept(TokenKind::Range) {
            let to = Some(self.term()?);
            self.close_bracket()?;
            return Ok(Selector::Slice { of, from: None, to });
        }
        let key: Term = self.term()?;
        if !self.accept(TokenKind::Range) {
            self.close_bracket()?;
            return Ok(Selector::Element { of, key });
        }
        let to = if self.is(TokenKind::RightBracket) { None } else { Some(self.term()?) };
        self.close_bracket()?;
        Ok(Selector::Slice { of, from: Some(key), to })
    }

    fn simple_selector(&mut self) -> Parsing<Selector> {
        if let Some(literal) = self.literal() {
            return Ok(Selector::Literal(literal));
        }
        match self.current.kind {
            TokenKind::Keyword(keyword) if self.next.kind == TokenKind::LeftParenthesis => self.keyword_call(keyword),
            TokenKind::Keyword(Keyword::Null) => {
                self.advance();
                Ok(Selector::Null)
            }
            TokenKind::QuestionMark | TokenKind::Colon => Ok(Selector::Bind(self.bind_marker()?)),
            TokenKind::LeftParenthesis => self.nested(Self::selector_tuple_or_hint),
            TokenKind::LeftBracket => self.nested(Self::selector_list),
            TokenKind::LeftBrace => self.nested(Self::selector_braces),
            kind if is_name(kind) => self.column_or_function(),
            _ => Err(self.no_viable_alternative()),
        }
    }

    /// A keyword with a parenthesis behind it.
    fn keyword_call(&mut self, keyword: Keyword) -> Parsing<Selector> {
        match keyword {
            Keyword::Count if self.after_next() == TokenKind::Star => {
                self.advance();
                self.advance();
                self.advance();
                self.close_parenthesis()?;
                Ok(Selector::CountRows)
            }
            Keyword::Writetime => self.write_attribute(WriteAttribute::WriteTime),
            Keyword::Maxwritetime => self.write_attribute(WriteAttribute::MaxWriteTime),
            Keyword::Ttl => self.write_attribute(WriteAttribute::Ttl),
            Keyword::Cast => self.nested(Self::selector_cast),
            _ if is_function_name(self.current.kind) => self.nested(Self::selector_function),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn column_or_function(&mut self) -> Parsing<Selector> {
        let calls = match self.next.kind {
            TokenKind::LeftParenthesis => is_function_name(self.current.kind),
            TokenKind::Dot => self.is_qualified_call(),
            _ => false,
        };
        if calls {
            return self.nested(Self::selector_function);
        }
        let token = self.advance();
        Ok(Selector::Column(self.identifier(token)))
    }

    /// Whether `name . name (` comes, which is a function of a keyspace; `name . name` is a field of a column.
    fn is_qualified_call(&self) -> bool {
        let mut ahead = self.lexer;
        let function = ahead.next_token().kind;
        is_function_name(function) && ahead.next_token().kind == TokenKind::LeftParenthesis
    }

    fn selector_function(&mut self) -> Parsing<Selector> {
        let name: QualifiedName = self.function_name()?;
        self.open_parenthesis()?;
        let arguments =
            if self.is(TokenKind::RightParenthesis) { Vec::new() } else { self.comma_separated(Self::selector)? };
        self.close_parenthesis()?;
        Ok(Selector::Function { name, arguments })
    }

    /// `writetime(column.field[key])`.
    fn write_attribute(&mut self, attribute: WriteAttribute) -> Parsing<Selector> {
        self.nested(|parser| {
            parser.advance();
            parser.open_parenthesis()?;
            let column = Selector::Column(parser.name()?);
            let of = Box::new(parser.accesses(column)?);
            parser.close_parenthesis()?;
            Ok(Selector::WriteAttribute { attribute, of })
        })
    }

    fn selector_cast(&mut self) -> Parsing<Selector> {
        self.advance();
        self.open_parenthesis()?;
        let selector = Box::new(self.selector()?);
        self.expect_keyword(Keyword::As)?;
        let to = CqlType::Native(self.native_type()?);
        self.close_parenthesis()?;
        Ok(Selector::Cast { selector, to })
    }

    fn selector_tuple_or_hint(&mut self) -> Parsing<Selector> {
        self.advance();
        if let Some(hint) = self.type_hint(starts_hinted_selector) {
            return Ok(Selector::TypeHint { hint: Box::new(hint), selector: Box::new(self.simple_selector()?) });
        }
        let elements = self.comma_separated(Self::selector)?;
        self.close_parenthesis()?;
        Ok(Selector::Tuple(elements))
    }

    fn selector_list(&mut self) -> Parsing<Selector> {
        self.advance();
        if self.accept(TokenKind::RightBracket) {
            return Ok(Selector::List(Vec::new()));
        }
        let elements = self.comma_separated(Self::selector)?;
        self.close_bracket()?;
        Ok(Selector::List(elements))
    }

    fn selector_braces(&mut self) -> Parsing<Selector> {
        self.advance();
        if self.accept(TokenKind::RightBrace) {
            return Ok(Selector::EmptyBraces);
        }
        let first = self.selector()?;
        let selector = if self.accept(TokenKind::Colon) {
            let mut entries = vec![(first, self.selector()?)];
            while self.accept(TokenKind::Comma) {
                let key = self.selector()?;
                self.expect(TokenKind::Colon, "':'")?;
                entries.push((key, self.selector()?));
            }
            Selector::MapOrUserType(entries)
        } else {
            let mut elements = vec![first];
            while self.accept(TokenKind::Comma) {
                elements.push(self.selector()?);
            }
            Selector::Set(elements)
        };
        self.close_brace()?;
        Ok(selector)
    }
}

/// Whether a token may follow `(type)` in a selector. No colon: in `{(a): b}` the parentheses are a key.
fn starts_hinted_selector(kind: TokenKind) -> bool {
    match kind {
        TokenKind::LeftParenthesis
        | TokenKind::LeftBracket
        | TokenKind::LeftBrace
        | TokenKind::QuestionMark
        | TokenKind::String
        | TokenKind::DollarString
        | TokenKind::True
        | TokenKind::False
        | TokenKind::Uuid
        | TokenKind::Blob
        | TokenKind::Integer
        | TokenKind::Float
        | TokenKind::NegativeNan
        | TokenKind::NegativeInfinity
        | TokenKind::Duration
        | TokenKind::Keyword(Keyword::Null | Keyword::Nan | Keyword::Infinity | Keyword::Token) => true,
        kind => is_name(kind),
    }
}
