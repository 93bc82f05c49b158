//! WHERE.

use super::name::is_name;
use super::{Parser, Parsing};
use crate::ast::{ComparisonOperator, Identifier, InValues, Relation, RelationTarget, Term};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `WHERE …`, if it is there.
    pub(super) fn where_clause(&mut self) -> Parsing<Vec<Relation>> {
        if self.accept_keyword(Keyword::Where) { self.and_separated(Self::relation) } else { Ok(Vec::new()) }
    }

    /// `WHERE …`, which must be there.
    pub(super) fn required_where_clause(&mut self) -> Parsing<Vec<Relation>> {
        self.expect_keyword(Keyword::Where)?;
        self.and_separated(Self::relation)
    }

    fn relation(&mut self) -> Parsing<Relation> {
        match self.current.kind {
            TokenKind::LeftParenthesis => {
                let first_is_name = is_name(self.next.kind) || self.next.kind == TokenKind::EmptyQuotedName;
                if first_is_name && matches!(self.after_next(), TokenKind::Comma | TokenKind::RightParenthesis) {
                    return self.tuple_relation();
                }
                self.nested(|parser| {
                    parser.advance();
                    let relation = parser.relation()?;
                    parser.close_parenthesis()?;
                    Ok(relation)
                })
            }
            TokenKind::Keyword(Keyword::Token) => self.token_relation(),
            TokenKind::Word
                if self.next.kind == TokenKind::LeftParenthesis
                    && self.lexer.text(self.current).eq_ignore_ascii_case("expr") =>
            {
                self.custom_index_expression()
            }
            _ => self.column_relation(),
        }
    }

    fn column_relation(&mut self) -> Parsing<Relation> {
        let column = self.column()?;
        if self.accept(TokenKind::LeftBracket) {
            let key = self.term()?;
            self.close_bracket()?;
            let operator = self.comparison_operator()?;
            return Ok(Relation::Compare {
                left: RelationTarget::Element { column, key },
                operator,
                right: self.term()?,
            });
        }
        let TokenKind::Keyword(keyword) = self.current.kind else {
            let operator = self.comparison_operator()?;
            return Ok(Relation::Compare { left: RelationTarget::Column(column), operator, right: self.term()? });
        };
        match keyword {
            Keyword::In => {
                self.advance();
                Ok(Relation::In { left: RelationTarget::Column(column), values: self.in_values()? })
            }
            Keyword::Between => self.between(RelationTarget::Column(column), Self::term),
            Keyword::Like => {
                self.advance();
                Ok(Relation::Like { column, pattern: self.term()? })
            }
            Keyword::Is => {
                self.advance();
                self.expect_keywords(&[Keyword::Not, Keyword::Null])?;
                Ok(Relation::IsNotNull { column })
            }
            Keyword::Contains => self.contains(column),
            _ => Err(self.no_viable_alternative()),
        }
    }

    fn contains(&mut self, column: Identifier) -> Parsing<Relation> {
        self.advance();
        if self.accept_key_of_contains() {
            return Ok(Relation::ContainsKey { column, key: self.term()? });
        }
        Ok(Relation::Contains { column, value: self.term()? })
    }

    /// KEY behind CONTAINS, unless it is a keyspace of that name with a function.
    pub(super) fn accept_key_of_contains(&mut self) -> bool {
        self.next.kind != TokenKind::Dot && self.accept_keyword(Keyword::Key)
    }

    fn between(
        &mut self,
        left: RelationTarget,
        mut bound: impl FnMut(&mut Self) -> Parsing<Term>,
    ) -> Parsing<Relation> {
        self.advance();
        let low = bound(self)?;
        self.expect_keyword(Keyword::And)?;
        Ok(Relation::Between { left, low, high: bound(self)? })
    }

    /// `token(a, b) > …`.
    fn token_relation(&mut self) -> Parsing<Relation> {
        self.advance();
        let left = RelationTarget::Token(self.column_tuple()?);
        if self.is_keyword(Keyword::Between) {
            return self.between(left, Self::term);
        }
        let operator = self.comparison_operator()?;
        Ok(Relation::Compare { left, operator, right: self.term()? })
    }

    /// `(a, b) > …`.
    fn tuple_relation(&mut self) -> Parsing<Relation> {
        let left = RelationTarget::Tuple(self.column_tuple()?);
        if self.is_keyword(Keyword::Between) {
            return self.between(left, Self::tuple_or_marker);
        }
        if self.accept_keyword(Keyword::In) {
            return Ok(Relation::In { left, values: self.in_tuples()? });
        }
        let operator = self.comparison_operator()?;
        Ok(Relation::Compare { left, operator, right: self.tuple_or_marker()? })
    }

    fn tuple_or_marker(&mut self) -> Parsing<Term> {
        match self.current.kind {
            TokenKind::LeftParenthesis => self.tuple_literal(),
            _ if self.is_bind_marker() => Ok(Term::Bind(self.bind_marker()?)),
            _ => Err(self.no_viable_alternative()),
        }
    }

    /// What follows IN for a single column or an element.
    pub(super) fn in_values(&mut self) -> Parsing<InValues> {
        self.in_values_of(|parser| parser.comma_separated(Self::term))
    }

    /// What follows IN for several columns: tuples only or bind markers only.
    fn in_tuples(&mut self) -> Parsing<InValues> {
        self.in_values_of(|parser| {
            if parser.is_bind_marker() {
                return parser.comma_separated(|one| Ok(Term::Bind(one.bind_marker()?)));
            }
            parser.comma_separated(Self::tuple_literal)
        })
    }

    fn in_values_of(&mut self, inner: impl FnOnce(&mut Self) -> Parsing<Vec<Term>>) -> Parsing<InValues> {
        if self.is_bind_marker() {
            return Ok(InValues::Bind(self.bind_marker()?));
        }
        if !self.accept(TokenKind::LeftParenthesis) {
            return Err(self.no_viable_alternative());
        }
        if self.accept(TokenKind::RightParenthesis) {
            return Ok(InValues::List(Vec::new()));
        }
        self.start_expression();
        let values = self.nested(inner)?;
        self.close_parenthesis()?;
        Ok(InValues::List(values))
    }

    pub(super) fn comparison_operator(&mut self) -> Parsing<ComparisonOperator> {
        let operator = match self.current.kind {
            TokenKind::Equal => ComparisonOperator::Equal,
            TokenKind::NotEqual => ComparisonOperator::NotEqual,
            TokenKind::Less => ComparisonOperator::Less,
            TokenKind::LessOrEqual => ComparisonOperator::LessOrEqual,
            TokenKind::Greater => ComparisonOperator::Greater,
            TokenKind::GreaterOrEqual => ComparisonOperator::GreaterOrEqual,
            _ => return Err(self.no_viable_alternative()),
        };
        self.advance();
        Ok(operator)
    }

    /// `expr(index, term)`.
    fn custom_index_expression(&mut self) -> Parsing<Relation> {
        self.advance();
        self.open_parenthesis()?;
        let index = self.index_name()?;
        self.expect(TokenKind::Comma, "','")?;
        let value = self.term()?;
        self.close_parenthesis()?;
        Ok(Relation::CustomIndexExpression { index, value })
    }
}
