//! CREATE, ALTER and DROP TABLE.

use super::{Parser, Parsing};
use crate::ast::{
    AlterTable, AlterTableAction, ClusteringOrder, ColumnDefinition, ColumnMask, CreateTable, DropTable, Identifier,
    PrimaryKey, Rename, Statement, TableOption,
};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn create_table(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let name = self.table_name()?;
        self.open_parenthesis()?;
        let mut columns = Vec::new();
        let mut primary_key = None;
        self.table_element(&mut columns, &mut primary_key)?;
        while self.accept(TokenKind::Comma) {
            if !matches!(self.current.kind, TokenKind::Comma | TokenKind::RightParenthesis) {
                self.table_element(&mut columns, &mut primary_key)?;
            }
        }
        self.close_parenthesis()?;
        let options = self.table_options()?;
        Ok(Statement::CreateTable(Box::new(CreateTable { if_not_exists, name, columns, primary_key, options })))
    }

    /// A column, or the primary key.
    fn table_element(
        &mut self,
        columns: &mut Vec<ColumnDefinition>,
        primary_key: &mut Option<PrimaryKey>,
    ) -> Parsing<()> {
        let at = self.current;
        let key = if self.is_keyword(Keyword::Primary) {
            Some(self.primary_key()?)
        } else {
            let column = self.column_definition()?;
            let is_key = self.accept_keyword(Keyword::Primary);
            let key = if is_key {
                self.expect_keyword(Keyword::Key)?;
                Some(PrimaryKey { partition: vec![column.name.clone()], clustering: Vec::new() })
            } else {
                None
            };
            columns.push(column);
            key
        };
        if key.is_some() && primary_key.is_some() {
            return Err(self.not_allowed_at(at, "Multiple PRIMARY KEYs specified (exactly one required)"));
        }
        *primary_key = primary_key.take().or(key);
        Ok(())
    }

    /// `PRIMARY KEY (…)`.
    pub(super) fn primary_key(&mut self) -> Parsing<PrimaryKey> {
        self.expect_keywords(&[Keyword::Primary, Keyword::Key])?;
        self.open_parenthesis()?;
        let partition = if self.is(TokenKind::LeftParenthesis) {
            self.advance();
            let partition = self.comma_separated(Self::name)?;
            self.close_parenthesis()?;
            partition
        } else {
            vec![self.name()?]
        };
        let mut clustering = Vec::new();
        while self.accept(TokenKind::Comma) {
            clustering.push(self.name()?);
        }
        self.close_parenthesis()?;
        Ok(PrimaryKey { partition, clustering })
    }

    /// `name type [STATIC] [MASKED WITH …]`.
    fn column_definition(&mut self) -> Parsing<ColumnDefinition> {
        let name = self.name()?;
        let column_type = self.cql_type()?;
        let is_static = self.accept_keyword(Keyword::Static);
        let mask = self.column_mask()?;
        Ok(ColumnDefinition { name, column_type, is_static, mask })
    }

    /// `MASKED WITH …`, if it is there.
    fn column_mask(&mut self) -> Parsing<Option<ColumnMask>> {
        if !self.accept_keyword(Keyword::Masked) {
            return Ok(None);
        }
        self.expect_keyword(Keyword::With)?;
        // `default` is also a fine name of a function.
        if self.is_keyword(Keyword::Default) && !matches!(self.next.kind, TokenKind::LeftParenthesis | TokenKind::Dot) {
            self.advance();
            return Ok(Some(ColumnMask { function: None, arguments: Vec::new() }));
        }
        let function = Some(self.function_name()?);
        self.open_parenthesis()?;
        let arguments =
            if self.is(TokenKind::RightParenthesis) { Vec::new() } else { self.comma_separated(Self::term)? };
        self.close_parenthesis()?;
        Ok(Some(ColumnMask { function, arguments }))
    }

    /// `WITH …` of a table or a view, if it is there.
    pub(super) fn table_options(&mut self) -> Parsing<Vec<TableOption>> {
        if !self.accept_keyword(Keyword::With) {
            return Ok(Vec::new());
        }
        let first = self.current;
        let options = self.and_separated(Self::table_option)?;
        let names = options.iter().filter_map(|option| match option {
            TableOption::Property(property) => Some(property.name.as_str()),
            _ => None,
        });
        self.refuse_repeated(first, names)?;
        Ok(options)
    }

    fn table_option(&mut self) -> Parsing<TableOption> {
        if self.is_keyword(Keyword::Compact) && self.next_is_keyword(Keyword::Storage) {
            self.advance();
            self.advance();
            return Ok(TableOption::CompactStorage);
        }
        if self.is_keyword(Keyword::Clustering) && self.next_is_keyword(Keyword::Order) {
            self.advance();
            self.advance();
            self.expect_keyword(Keyword::By)?;
            self.open_parenthesis()?;
            let order = self.comma_separated(Self::clustering_order)?;
            self.close_parenthesis()?;
            return Ok(TableOption::ClusteringOrder(order));
        }
        Ok(TableOption::Property(self.property()?))
    }

    fn clustering_order(&mut self) -> Parsing<ClusteringOrder> {
        let column = self.name()?;
        match self.direction() {
            Some(direction) => Ok(ClusteringOrder { column, direction }),
            None => Err(self.no_viable_alternative()),
        }
    }

    pub(super) fn alter_table(&mut self) -> Parsing<Statement> {
        self.advance();
        let if_exists = self.if_exists()?;
        let name = self.table_name()?;
        let TokenKind::Keyword(keyword) = self.current.kind else { return Err(self.no_viable_alternative()) };
        let action = match keyword {
            Keyword::Add => self.alter_add()?,
            Keyword::Drop => self.alter_drop()?,
            Keyword::Alter => self.alter_column()?,
            Keyword::Rename => {
                let (if_exists, renames) = self.renames()?;
                AlterTableAction::Rename { if_exists, renames }
            }
            Keyword::With => AlterTableAction::With(self.required_properties()?),
            _ => return Err(self.no_viable_alternative()),
        };
        Ok(Statement::AlterTable(Box::new(AlterTable { if_exists, name, action })))
    }

    fn alter_add(&mut self) -> Parsing<AlterTableAction> {
        self.advance();
        let if_not_exists = self.if_not_exists()?;
        let columns = if self.accept(TokenKind::LeftParenthesis) {
            let columns = self.comma_separated(Self::column_definition)?;
            self.close_parenthesis()?;
            columns
        } else {
            vec![self.column_definition()?]
        };
        Ok(AlterTableAction::Add { if_not_exists, columns })
    }

    fn alter_drop(&mut self) -> Parsing<AlterTableAction> {
        self.advance();
        if self.is_keyword(Keyword::Compact) && self.next_is_keyword(Keyword::Storage) {
            self.advance();
            self.advance();
            return Ok(AlterTableAction::DropCompactStorage);
        }
        let if_exists = self.if_exists()?;
        let columns: Vec<Identifier> = if self.accept(TokenKind::LeftParenthesis) {
            let columns = self.comma_separated(Self::name)?;
            self.close_parenthesis()?;
            columns
        } else {
            vec![self.name()?]
        };
        let timestamp = if self.accept_keyword(Keyword::Using) {
            self.expect_keyword(Keyword::Timestamp)?;
            let token = self.expect(TokenKind::Integer, "INTEGER")?;
            Some(self.lexer.text(token).into())
        } else {
            None
        };
        Ok(AlterTableAction::Drop { if_exists, columns, timestamp })
    }

    fn alter_column(&mut self) -> Parsing<AlterTableAction> {
        self.advance();
        let if_exists = self.if_exists()?;
        let column = self.column()?;
        if !if_exists && self.accept_keyword(Keyword::Type) {
            return Ok(AlterTableAction::AlterType { column, to: self.cql_type()? });
        }
        if self.accept_keyword(Keyword::Drop) {
            self.expect_keyword(Keyword::Masked)?;
            return Ok(AlterTableAction::Mask { if_exists, column, mask: None });
        }
        match self.column_mask()? {
            Some(mask) => Ok(AlterTableAction::Mask { if_exists, column, mask: Some(mask) }),
            None => Err(self.no_viable_alternative()),
        }
    }

    /// `RENAME [IF EXISTS] a TO b AND …`.
    pub(super) fn renames(&mut self) -> Parsing<(bool, Vec<Rename>)> {
        self.advance();
        let if_exists = self.if_exists()?;
        let renames = self.and_separated(|parser| {
            let from = parser.name()?;
            parser.expect_keyword(Keyword::To)?;
            Ok(Rename { from, to: parser.name()? })
        })?;
        Ok((if_exists, renames))
    }

    pub(super) fn drop_table(&mut self) -> Parsing<Statement> {
        self.advance();
        Ok(Statement::DropTable(DropTable { if_exists: self.if_exists()?, name: self.table_name()? }))
    }
}
