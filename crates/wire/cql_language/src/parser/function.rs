//! CREATE and DROP FUNCTION and AGGREGATE.

use super::{Parser, Parsing};
use crate::ast::{CqlType, CreateAggregate, CreateFunction, DropFunction, FunctionArgument, Identifier, Statement};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn create_function_or_aggregate(&mut self) -> Parsing<Statement> {
        let or_replace = self.accept_keyword(Keyword::Or);
        if or_replace {
            self.expect_keyword(Keyword::Replace)?;
        }
        match self.current.kind {
            TokenKind::Keyword(Keyword::Function) => self.create_function(or_replace),
            TokenKind::Keyword(Keyword::Aggregate) => self.create_aggregate(or_replace),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn create_function(&mut self, or_replace: bool) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.function_name()?;
        self.open_parenthesis()?;
        let arguments = if self.is(TokenKind::RightParenthesis) {
            Vec::new()
        } else {
            self.comma_separated(|parser| {
                Ok(FunctionArgument { name: parser.name()?, argument_type: parser.cql_type()? })
            })?
        };
        self.close_parenthesis()?;
        let called_on_null_input = self.accept_keyword(Keyword::Called);
        if !called_on_null_input {
            if !self.is_keyword(Keyword::Returns) {
                return Err(self.no_viable_alternative());
            }
            self.expect_keywords(&[Keyword::Returns, Keyword::Null])?;
        }
        self.expect_keywords(&[Keyword::On, Keyword::Null, Keyword::Input, Keyword::Returns])?;
        let returns = self.cql_type()?;
        self.expect_keyword(Keyword::Language)?;
        let language = self.expect(TokenKind::Word, "IDENT")?;
        let language: Identifier = self.identifier(language);
        self.expect_keyword(Keyword::As)?;
        let body = self.string()?;
        Ok(Statement::CreateFunction(Box::new(CreateFunction {
            or_replace,
            if_not_exists,
            name,
            arguments,
            called_on_null_input,
            returns,
            language,
            body,
        })))
    }

    fn create_aggregate(&mut self, or_replace: bool) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.function_name()?;
        let argument_types = self.argument_types()?;
        self.expect_keyword(Keyword::Sfunc)?;
        let state_function = self.unqualified_function_name()?;
        self.expect_keyword(Keyword::Stype)?;
        let state_type = self.cql_type()?;
        let final_function =
            if self.accept_keyword(Keyword::Finalfunc) { Some(self.unqualified_function_name()?) } else { None };
        let initial_state = if self.accept_keyword(Keyword::Initcond) { Some(self.term()?) } else { None };
        Ok(Statement::CreateAggregate(Box::new(CreateAggregate {
            or_replace,
            if_not_exists,
            name,
            argument_types,
            state_function,
            state_type,
            final_function,
            initial_state,
        })))
    }

    /// `(int, text)`, perhaps empty.
    pub(super) fn argument_types(&mut self) -> Parsing<Vec<CqlType>> {
        self.open_parenthesis()?;
        let types =
            if self.is(TokenKind::RightParenthesis) { Vec::new() } else { self.comma_separated(Self::cql_type)? };
        self.close_parenthesis()?;
        Ok(types)
    }

    pub(super) fn drop_function_or_aggregate(&mut self) -> Parsing<Statement> {
        let is_function = self.is_keyword(Keyword::Function);
        self.advance();
        let if_exists = self.if_exists()?;
        let name = self.function_name()?;
        let argument_types = if self.is(TokenKind::LeftParenthesis) { Some(self.argument_types()?) } else { None };
        let dropped = DropFunction { if_exists, name, argument_types };
        Ok(if is_function { Statement::DropFunction(dropped) } else { Statement::DropAggregate(dropped) })
    }
}
