//! SELECT.

use super::name::is_name;
use super::{Parser, Parsing};
use crate::ast::{Direction, Ordering, OrderingKind, Select, Selection, SelectionItem};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Parsing<Select> {
        self.advance();
        let json = self.accept_modifier(Keyword::Json);
        let distinct = self.accept_modifier(Keyword::Distinct);
        let selection = self.selection()?;
        self.expect_keyword(Keyword::From)?;
        let from = self.table_name()?;
        let relations = self.where_clause()?;
        let group_by = self.group_by()?;
        let order_by = self.order_by()?;
        let per_partition_limit = if self.accept_keyword(Keyword::Per) {
            self.expect_keywords(&[Keyword::Partition, Keyword::Limit])?;
            Some(self.integer_or_marker()?)
        } else {
            None
        };
        let limit = if self.accept_keyword(Keyword::Limit) { Some(self.integer_or_marker()?) } else { None };
        let allow_filtering = self.accept_keyword(Keyword::Allow);
        if allow_filtering {
            self.expect_keyword(Keyword::Filtering)?;
        }
        Ok(Select {
            json,
            distinct,
            selection,
            from,
            relations,
            group_by,
            order_by,
            per_partition_limit,
            limit,
            allow_filtering,
        })
    }

    /// JSON or DISTINCT in front of the selectors. Both are also names of columns, and then something comes that only
    /// follows a column. Where both readings are possible (`json - json`), Cassandra's is taken: the keyword.
    fn accept_modifier(&mut self, keyword: Keyword) -> bool {
        if !self.is_keyword(keyword) {
            return false;
        }
        let is_column = match self.next.kind {
            TokenKind::Keyword(Keyword::From)
            | TokenKind::Comma
            | TokenKind::Dot
            | TokenKind::Plus
            | TokenKind::Slash
            | TokenKind::Percent
            | TokenKind::End => true,
            TokenKind::Star => self.after_next() != TokenKind::Keyword(Keyword::From),
            TokenKind::Keyword(Keyword::As) => is_name(self.after_next()),
            _ => false,
        };
        if !is_column {
            self.advance();
        }
        !is_column
    }

    pub(super) fn selection(&mut self) -> Parsing<Selection> {
        if self.accept(TokenKind::Star) {
            return Ok(Selection::All);
        }
        Ok(Selection::Items(self.comma_separated(|parser| {
            let selector = parser.selector()?;
            let alias = if parser.accept_keyword(Keyword::As) { Some(parser.name()?) } else { None };
            Ok(SelectionItem { selector, alias })
        })?))
    }

    fn group_by(&mut self) -> Parsing<Vec<crate::ast::Selector>> {
        if !self.accept_keyword(Keyword::Group) {
            return Ok(Vec::new());
        }
        self.expect_keyword(Keyword::By)?;
        self.comma_separated(Self::selector)
    }

    fn order_by(&mut self) -> Parsing<Vec<Ordering>> {
        if !self.accept_keyword(Keyword::Order) {
            return Ok(Vec::new());
        }
        self.expect_keyword(Keyword::By)?;
        self.comma_separated(|parser| {
            let column = parser.column()?;
            let kind = if parser.accept_keyword(Keyword::Ann) {
                parser.expect_keyword(Keyword::Of)?;
                OrderingKind::NearestTo(parser.term()?)
            } else {
                OrderingKind::Value
            };
            let direction = parser.direction().unwrap_or_default();
            Ok(Ordering { column, kind, direction })
        })
    }

    /// ASC or DESC, if it is there.
    pub(super) fn direction(&mut self) -> Option<Direction> {
        if self.accept_keyword(Keyword::Asc) {
            return Some(Direction::Ascending);
        }
        self.accept_keyword(Keyword::Desc).then_some(Direction::Descending)
    }
}
