//! Keyspaces, user types, indexes, materialized views and triggers.

use super::{Parser, Parsing};
use crate::ast::{
    AlterKeyspace, AlterMaterializedView, AlterType, AlterTypeAction, CreateIndex, CreateKeyspace,
    CreateMaterializedView, CreateTrigger, CreateType, DropIndex, DropKeyspace, DropMaterializedView, DropTrigger,
    DropType, FieldDefinition, IndexTarget, IndexTargetKind, Statement, TableOption,
};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn create_keyspace(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.keyspace_name()?;
        let properties = self.required_properties()?;
        Ok(Statement::CreateKeyspace(Box::new(CreateKeyspace { if_not_exists, name, properties })))
    }

    pub(super) fn alter_keyspace(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = self.keyspace_name()?;
        let properties = self.required_properties()?;
        Ok(Statement::AlterKeyspace(Box::new(AlterKeyspace { if_exists, name, properties })))
    }

    pub(super) fn drop_keyspace(&mut self) -> Parsing<Statement> {
        self.advance();
        Ok(Statement::DropKeyspace(DropKeyspace { if_exists: self.if_exists()?, name: self.keyspace_name()? }))
    }

    pub(super) fn create_type(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.user_type_name()?;
        self.open_parenthesis()?;
        let mut fields = vec![self.field_definition()?];
        while self.accept(TokenKind::Comma) {
            if !matches!(self.current.kind, TokenKind::Comma | TokenKind::RightParenthesis) {
                fields.push(self.field_definition()?);
            }
        }
        self.close_parenthesis()?;
        Ok(Statement::CreateType(Box::new(CreateType { if_not_exists, name, fields })))
    }

    fn field_definition(&mut self) -> Parsing<FieldDefinition> {
        Ok(FieldDefinition { name: self.name()?, field_type: self.cql_type()? })
    }

    pub(super) fn alter_type(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = self.user_type_name()?;
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        let action = match keyword {
            Keyword::Add => {
                self.advance();
                AlterTypeAction::Add { if_not_exists: self.if_not_exists()?, field: self.field_definition()? }
            }
            Keyword::Rename => {
                let (if_exists, renames) = self.renames()?;
                AlterTypeAction::Rename { if_exists, renames }
            }
            Keyword::Alter => {
                self.advance();
                let field = self.name()?;
                self.expect_keyword(Keyword::Type)?;
                AlterTypeAction::AlterField { field, to: self.cql_type()? }
            }
            _ => return Err(self.no_viable_alternative()),
        };
        Ok(Statement::AlterType(Box::new(AlterType { if_exists, name, action })))
    }

    pub(super) fn drop_type(&mut self) -> Parsing<Statement> {
        self.advance();
        Ok(Statement::DropType(DropType { if_exists: self.if_exists()?, name: self.user_type_name()? }))
    }

    pub(super) fn create_index(&mut self) -> Parsing<Statement> {
        let custom = self.accept_keyword(Keyword::Custom);
        self.expect_keyword(Keyword::Index)?;
        let if_not_exists = self.if_not_exists()?;
        let name = if self.is_keyword(Keyword::On) { None } else { Some(self.index_name()?) };
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        self.open_parenthesis()?;
        let targets =
            if self.is(TokenKind::RightParenthesis) { Vec::new() } else { self.comma_separated(Self::index_target)? };
        self.close_parenthesis()?;
        let using = if self.accept_keyword(Keyword::Using) { Some(self.string()?) } else { None };
        let properties = if self.is_keyword(Keyword::With) { self.required_properties()? } else { Vec::new() };
        Ok(Statement::CreateIndex(Box::new(CreateIndex {
            custom,
            if_not_exists,
            name,
            table,
            targets,
            using,
            properties,
        })))
    }

    fn index_target(&mut self) -> Parsing<IndexTarget> {
        let kind = match self.current.kind {
            TokenKind::Keyword(Keyword::Full) => IndexTargetKind::Full,
            TokenKind::Keyword(Keyword::Entries) => IndexTargetKind::Entries,
            // These two are names as well.
            TokenKind::Keyword(Keyword::Keys) if self.next.kind == TokenKind::LeftParenthesis => IndexTargetKind::Keys,
            TokenKind::Keyword(Keyword::Values) if self.next.kind == TokenKind::LeftParenthesis => {
                IndexTargetKind::Values
            }
            _ => return Ok(IndexTarget { kind: IndexTargetKind::Simple, column: self.column()? }),
        };
        self.advance();
        self.open_parenthesis()?;
        let column = self.column()?;
        self.close_parenthesis()?;
        Ok(IndexTarget { kind, column })
    }

    pub(super) fn drop_index(&mut self) -> Parsing<Statement> {
        self.advance();
        Ok(Statement::DropIndex(DropIndex { if_exists: self.if_exists()?, name: self.qualified_index_name()? }))
    }

    /// The two words MATERIALIZED VIEW.
    fn materialized_view(&mut self) -> Parsing<()> {
        self.expect_keywords(&[Keyword::Materialized, Keyword::View])
    }

    pub(super) fn create_materialized_view(&mut self) -> Parsing<Statement> {
        self.materialized_view()?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        self.expect_keywords(&[Keyword::As, Keyword::Select])?;
        let selection = self.selection()?;
        self.expect_keyword(Keyword::From)?;
        let base = self.table_name()?;
        let relations = self.where_clause()?;
        let primary_key = self.primary_key()?;
        let at = self.current;
        let options = self.table_options()?;
        if options.contains(&TableOption::CompactStorage) {
            let reason = "COMPACT STORAGE tables are not allowed starting with version 4.0";
            return Err(self.not_allowed_at(at, reason));
        }
        Ok(Statement::CreateMaterializedView(Box::new(CreateMaterializedView {
            if_not_exists,
            name,
            selection,
            base,
            relations,
            primary_key,
            options,
        })))
    }

    pub(super) fn alter_materialized_view(&mut self) -> Parsing<Statement> {
        self.materialized_view()?;
        let if_exists = self.if_exists()?;
        let name = self.table_name()?;
        let properties = self.required_properties()?;
        Ok(Statement::AlterMaterializedView(Box::new(AlterMaterializedView { if_exists, name, properties })))
    }

    pub(super) fn drop_materialized_view(&mut self) -> Parsing<Statement> {
        self.materialized_view()?;
        let if_exists = self.if_exists()?;
        Ok(Statement::DropMaterializedView(DropMaterializedView { if_exists, name: self.table_name()? }))
    }

    pub(super) fn create_trigger(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        self.expect_keyword(Keyword::Using)?;
        let using = self.string()?;
        Ok(Statement::CreateTrigger(Box::new(CreateTrigger { if_not_exists, name, table, using })))
    }

    pub(super) fn drop_trigger(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = self.name()?;
        self.expect_keyword(Keyword::On)?;
        let table = self.table_name()?;
        Ok(Statement::DropTrigger(Box::new(DropTrigger { if_exists, name, table })))
    }
}
