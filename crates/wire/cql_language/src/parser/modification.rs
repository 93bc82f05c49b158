//! INSERT, UPDATE, DELETE and BATCH.

use super::{Parser, Parsing, repeated};
use crate::ast::{
    Assignment, Batch, BatchKind, Condition, ConditionTarget, ConditionTest, Delete, DeleteTarget, Identifier,
    IfClause, Insert, InsertSource, JsonDefault, JsonValue, Modification, Operation, Update, Using,
};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Parsing<Insert> {
        self.advance();
        self.expect_keyword(Keyword::Into)?;
        let table = self.table_name()?;
        let source = match self.current.kind {
            TokenKind::LeftParenthesis => self.insert_values()?,
            TokenKind::Keyword(Keyword::Json) => self.insert_json()?,
            _ => return Err(self.no_viable_alternative()),
        };
        let if_not_exists = self.if_not_exists()?;
        let using = self.using()?;
        Ok(Insert { table, source, if_not_exists, using })
    }

    fn insert_values(&mut self) -> Parsing<InsertSource> {
        let columns = self.column_tuple()?;
        self.expect_keyword(Keyword::Values)?;
        self.open_parenthesis()?;
        let mut values = Vec::with_capacity(columns.len());
        values.push(self.term()?);
        while self.accept(TokenKind::Comma) {
            values.push(self.term()?);
        }
        self.close_parenthesis()?;
        Ok(InsertSource::Values { columns, values })
    }

    fn insert_json(&mut self) -> Parsing<InsertSource> {
        self.advance();
        let value = if self.is_string() {
            JsonValue::Text(self.string()?)
        } else if self.is_bind_marker() {
            JsonValue::Bind(self.bind_marker()?)
        } else {
            return Err(self.no_viable_alternative());
        };
        let mut default = JsonDefault::Null;
        if self.accept_keyword(Keyword::Default) {
            if self.accept_keyword(Keyword::Unset) {
                default = JsonDefault::Unset;
            } else if !self.accept_keyword(Keyword::Null) {
                return Err(self.no_viable_alternative());
            }
        }
        Ok(InsertSource::Json { value, default })
    }

    /// `USING TIMESTAMP … AND TTL …`, if it is there.
    fn using(&mut self) -> Parsing<Using> {
        let mut using = Using::default();
        if !self.accept_keyword(Keyword::Using) {
            return Ok(using);
        }
        loop {
            let at = self.advance();
            let (attribute, name) = match at.kind {
                TokenKind::Keyword(Keyword::Timestamp) => (&mut using.timestamp, "TIMESTAMP"),
                TokenKind::Keyword(Keyword::Ttl) => (&mut using.ttl, "TTL"),
                _ => return Err(self.no_viable_alternative_at(at)),
            };
            // Cassandra lets the last one count; nobody can mean that.
            if attribute.is_some() {
                return Err(self.not_allowed_at(at, format!("USING {name} is given twice; give it once")));
            }
            *attribute = Some(self.integer_or_marker()?);
            if !self.accept_keyword(Keyword::And) {
                return Ok(using);
            }
        }
    }

    pub(super) fn update(&mut self) -> Parsing<Update> {
        self.advance();
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_keyword(Keyword::Set)?;
        let first = self.current;
        let assignments = self.comma_separated(Self::assignment)?;
        if let Some(column) = incompatible_column(&assignments) {
            let reason = format!("Multiple incompatible setting of column {column}");
            return Err(self.not_allowed_at(first, reason));
        }
        let relations = self.required_where_clause()?;
        let condition = self.if_clause()?;
        Ok(Update { table, using, assignments, relations, condition })
    }

    fn assignment(&mut self) -> Parsing<Assignment> {
        let column = self.column()?;
        let operation = match self.current.kind {
            TokenKind::Equal => {
                self.advance();
                self.assigned_value(&column)?
            }
            TokenKind::PlusEqual => {
                self.advance();
                Operation::Add(self.term()?)
            }
            TokenKind::MinusEqual => {
                self.advance();
                Operation::Subtract(self.term()?)
            }
            TokenKind::LeftBracket => {
                self.advance();
                let key = self.term()?;
                self.close_bracket()?;
                self.expect(TokenKind::Equal, "'='")?;
                Operation::SetElement { key, value: self.term()? }
            }
            TokenKind::Dot => {
                self.advance();
                let field = self.name()?;
                self.expect(TokenKind::Equal, "'='")?;
                Operation::SetField { field, value: self.term()? }
            }
            _ => return Err(self.no_viable_alternative()),
        };
        Ok(Assignment { column, operation })
    }

    /// What follows `column =`: a term, `term + column`, `column + term` or `column - term`.
    fn assigned_value(&mut self, column: &Identifier) -> Parsing<Operation> {
        if self.is_bare_column() {
            let at = self.current;
            let other = self.column()?;
            // `c = c -3` is split into a minus sign and 3.
            let operator = self.additive_operator();
            let Some(operator) = operator else { return Err(self.no_viable_alternative()) };
            let sign = if operator == crate::ast::ArithmeticOperator::Add { '+' } else { '-' };
            if other != *column {
                let reason = format!("Only expressions of the form X = X {sign}<value> are supported.");
                return Err(self.not_allowed_at(at, reason));
            }
            self.advance();
            let term = self.term()?;
            return Ok(if sign == '+' { Operation::Add(term) } else { Operation::Subtract(term) });
        }
        let term = self.term()?;
        if !self.accept(TokenKind::Plus) {
            return Ok(Operation::Set(term));
        }
        let at = self.current;
        if self.column()? != *column {
            let reason = "Only expressions of the form X = <value> + X are supported.";
            return Err(self.not_allowed_at(at, reason));
        }
        Ok(Operation::Prepend(term))
    }

    /// `IF …` of UPDATE and DELETE, if it is there.
    fn if_clause(&mut self) -> Parsing<IfClause> {
        if !self.accept_keyword(Keyword::If) {
            return Ok(IfClause::None);
        }
        // A column may be called `exists`; then an operator follows.
        let condition_follows = matches!(
            self.next.kind,
            TokenKind::Equal
                | TokenKind::NotEqual
                | TokenKind::Less
                | TokenKind::LessOrEqual
                | TokenKind::Greater
                | TokenKind::GreaterOrEqual
                | TokenKind::LeftBracket
                | TokenKind::Dot
                | TokenKind::Keyword(Keyword::In | Keyword::Contains)
        );
        if !condition_follows && self.accept_keyword(Keyword::Exists) {
            return Ok(IfClause::Exists);
        }
        Ok(IfClause::Conditions(self.and_separated(Self::condition)?))
    }

    fn condition(&mut self) -> Parsing<Condition> {
        let column = self.column()?;
        let target = if self.accept(TokenKind::LeftBracket) {
            let key = self.term()?;
            self.close_bracket()?;
            ConditionTarget::Element { column, key }
        } else if self.accept(TokenKind::Dot) {
            ConditionTarget::Field { column, field: self.name()? }
        } else {
            ConditionTarget::Column(column)
        };
        let test = if self.accept_keyword(Keyword::In) {
            ConditionTest::In(self.in_values()?)
        } else if matches!(target, ConditionTarget::Column(_)) && self.accept_keyword(Keyword::Contains) {
            if self.accept_key_of_contains() {
                ConditionTest::ContainsKey(self.term()?)
            } else {
                ConditionTest::Contains(self.term()?)
            }
        } else {
            let operator = self.comparison_operator()?;
            ConditionTest::Compare { operator, value: self.term()? }
        };
        Ok(Condition { target, test })
    }

    pub(super) fn delete(&mut self) -> Parsing<Delete> {
        self.advance();
        let targets =
            if self.is_keyword(Keyword::From) { Vec::new() } else { self.comma_separated(Self::delete_target)? };
        self.expect_keyword(Keyword::From)?;
        let table = self.table_name()?;
        let timestamp = if self.accept_keyword(Keyword::Using) {
            self.expect_keyword(Keyword::Timestamp)?;
            Some(self.integer_or_marker()?)
        } else {
            None
        };
        let relations = self.required_where_clause()?;
        let condition = self.if_clause()?;
        Ok(Delete { targets, table, timestamp, relations, condition })
    }

    fn delete_target(&mut self) -> Parsing<DeleteTarget> {
        let column = self.column()?;
        if self.accept(TokenKind::LeftBracket) {
            let key = self.term()?;
            self.close_bracket()?;
            return Ok(DeleteTarget::Element { column, key });
        }
        if self.accept(TokenKind::Dot) {
            return Ok(DeleteTarget::Field { column, field: self.name()? });
        }
        Ok(DeleteTarget::Column(column))
    }

    pub(super) fn batch(&mut self) -> Parsing<Batch> {
        self.advance();
        let kind = if self.accept_keyword(Keyword::Unlogged) {
            BatchKind::Unlogged
        } else if self.accept_keyword(Keyword::Counter) {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_keyword(Keyword::Batch)?;
        let using = self.using()?;
        let mut statements = Vec::new();
        loop {
            statements.push(match self.current.kind {
                TokenKind::Keyword(Keyword::Insert) => Modification::Insert(Box::new(self.insert()?)),
                TokenKind::Keyword(Keyword::Update) => Modification::Update(Box::new(self.update()?)),
                TokenKind::Keyword(Keyword::Delete) => Modification::Delete(Box::new(self.delete()?)),
                _ => break,
            });
            self.accept(TokenKind::Semicolon);
        }
        self.expect_keywords(&[Keyword::Apply, Keyword::Batch])?;
        Ok(Batch { kind, using, statements })
    }
}

/// A column that is set as a whole and changed besides. Elements, fields and additions go together.
fn incompatible_column(assignments: &[Assignment]) -> Option<&Identifier> {
    repeated(assignments.iter().map(|assignment| assignment.column.as_str()))?;
    let mut by_column: Vec<&Assignment> = assignments.iter().collect();
    by_column.sort_by_key(|assignment| &assignment.column);
    by_column.chunk_by(|one, other| one.column == other.column).find_map(|same| {
        let sets_whole = same.iter().any(|assignment| matches!(assignment.operation, Operation::Set(_)));
        same.first().filter(|_| same.len() > 1 && sets_whole).map(|assignment| &assignment.column)
    })
}
