//! Types.

use super::{Parser, Parsing};
use crate::ast::{CqlType, NativeType};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;
use crate::limits;

impl Parser<'_> {
    pub(super) fn cql_type(&mut self) -> Parsing<CqlType> {
        if self.is_string() {
            return Ok(CqlType::Custom(self.string()?));
        }
        let TokenKind::Keyword(keyword) = self.current.kind else {
            return Ok(CqlType::User(self.user_type_name()?));
        };
        if self.next.kind == TokenKind::Dot {
            return Ok(CqlType::User(self.user_type_name()?));
        }
        if let Some(native) = keyword.native_type() {
            self.advance();
            return Ok(CqlType::Native(native));
        }
        // But for SET these words are names as well: without `<` they are user types.
        let has_parameters = self.next.kind == TokenKind::Less;
        match keyword {
            Keyword::Set => self.nested(|parser| parser.parameters(|p| Ok(CqlType::Set(p.boxed_type()?)))),
            Keyword::List if has_parameters => {
                self.nested(|parser| parser.parameters(|p| Ok(CqlType::List(p.boxed_type()?))))
            }
            Keyword::Map if has_parameters => self.nested(|parser| {
                parser.parameters(|p| {
                    let key = p.boxed_type()?;
                    p.expect(TokenKind::Comma, "','")?;
                    Ok(CqlType::Map(key, p.boxed_type()?))
                })
            }),
            Keyword::Tuple if has_parameters => {
                self.nested(|parser| parser.parameters(|p| Ok(CqlType::Tuple(p.comma_separated(Self::cql_type)?))))
            }
            Keyword::Frozen if has_parameters => {
                self.nested(|parser| parser.parameters(|p| Ok(CqlType::Frozen(p.boxed_type()?))))
            }
            Keyword::Vector if has_parameters => self.nested(|parser| {
                parser.parameters(|p| {
                    let element = p.boxed_type()?;
                    p.expect(TokenKind::Comma, "','")?;
                    Ok(CqlType::Vector(element, p.dimensions()?))
                })
            }),
            _ => Ok(CqlType::User(self.user_type_name()?)),
        }
    }

    fn boxed_type(&mut self) -> Parsing<Box<CqlType>> {
        self.cql_type().map(Box::new)
    }

    /// The keyword of a type and what stands in angle brackets behind it.
    fn parameters(&mut self, inner: impl FnOnce(&mut Self) -> Parsing<CqlType>) -> Parsing<CqlType> {
        self.advance();
        self.expect(TokenKind::Less, "'<'")?;
        let parsed = inner(self)?;
        self.expect(TokenKind::Greater, "'>'")?;
        Ok(parsed)
    }

    fn dimensions(&mut self) -> Parsing<u32> {
        let token = self.expect(TokenKind::Integer, "INTEGER")?;
        let text = self.lexer.text(token);
        match text.parse::<u32>() {
            Ok(dimensions) if (1..=limits::VECTOR_DIMENSIONS_MAX).contains(&dimensions) => Ok(dimensions),
            _ => {
                let max = limits::VECTOR_DIMENSIONS_MAX;
                Err(self.not_allowed_at(token, format!("vectors have between 1 and {max} dimensions; given {text}")))
            }
        }
    }

    /// A type that has a keyword of its own.
    pub(super) fn native_type(&mut self) -> Parsing<NativeType> {
        let native = match self.current.kind {
            TokenKind::Keyword(keyword) => keyword.native_type(),
            _ => None,
        };
        match native {
            Some(native) => {
                self.advance();
                Ok(native)
            }
            None => Err(self.no_viable_alternative()),
        }
    }
}
