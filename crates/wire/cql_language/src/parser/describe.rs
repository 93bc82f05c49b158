//! DESCRIBE.

use super::name::{is_function_name, is_name};
use super::{Parser, Parsing};
use crate::ast::{Describe, DescribeTarget, QualifiedName, Statement};
use crate::keyword::Keyword;
use crate::lexer::TokenKind;

impl Parser<'_> {
    pub(super) fn describe(&mut self) -> Parsing<Statement> {
        self.advance();
        let target = self.describe_target()?;
        let with_internals = self.accept_keyword(Keyword::With);
        if with_internals {
            self.expect_keyword(Keyword::Internals)?;
        }
        Ok(Statement::Describe(Box::new(Describe { target, with_internals })))
    }

    fn describe_target(&mut self) -> Parsing<DescribeTarget> {
        let TokenKind::Keyword(keyword) = self.current.kind else { return self.describe_generic() };
        // `tables.t`: a keyspace whose name is one of these words.
        if self.next.kind == TokenKind::Dot {
            return self.describe_generic();
        }
        let lists = match keyword {
            Keyword::Cluster => Some(DescribeTarget::Cluster),
            Keyword::Keyspaces => Some(DescribeTarget::Keyspaces),
            Keyword::Tables | Keyword::Columnfamilies => Some(DescribeTarget::Tables),
            Keyword::Types => Some(DescribeTarget::Types),
            Keyword::Functions => Some(DescribeTarget::Functions),
            Keyword::Aggregates => Some(DescribeTarget::Aggregates),
            _ => None,
        };
        if let Some(target) = lists {
            self.advance();
            return Ok(target);
        }
        self.describe_one(keyword)
    }

    fn describe_one(&mut self, keyword: Keyword) -> Parsing<DescribeTarget> {
        let something_follows = is_name(self.next.kind) || is_function_name(self.next.kind);
        match keyword {
            Keyword::Full => {
                self.advance();
                self.expect_keyword(Keyword::Schema)?;
                Ok(DescribeTarget::Schema { full: true })
            }
            Keyword::Schema if !something_follows => {
                self.advance();
                Ok(DescribeTarget::Schema { full: false })
            }
            Keyword::Only if matches!(self.next.kind, TokenKind::Keyword(Keyword::Keyspace | Keyword::Schema)) => {
                self.advance();
                self.describe_keyspace(true)
            }
            Keyword::Keyspace | Keyword::Schema => self.describe_keyspace(false),
            Keyword::Table | Keyword::Columnfamily => {
                self.advance();
                Ok(DescribeTarget::Table(self.table_name()?))
            }
            Keyword::Index => {
                self.advance();
                Ok(DescribeTarget::Index(self.qualified_index_name()?))
            }
            Keyword::Materialized => {
                self.expect_keywords(&[Keyword::Materialized, Keyword::View])?;
                Ok(DescribeTarget::MaterializedView(self.table_name()?))
            }
            Keyword::Type if something_follows => {
                self.advance();
                Ok(DescribeTarget::Type(self.user_type_name()?))
            }
            Keyword::Function if something_follows => {
                self.advance();
                Ok(DescribeTarget::Function(self.function_name()?))
            }
            Keyword::Aggregate if something_follows => {
                self.advance();
                Ok(DescribeTarget::Aggregate(self.function_name()?))
            }
            _ => self.describe_generic(),
        }
    }

    fn describe_keyspace(&mut self, only: bool) -> Parsing<DescribeTarget> {
        self.accept_keyspace();
        let name = if is_name(self.current.kind) { Some(self.keyspace_name()?) } else { None };
        Ok(DescribeTarget::Keyspace { name, only })
    }

    fn describe_generic(&mut self) -> Parsing<DescribeTarget> {
        let name: QualifiedName = self.table_name()?;
        Ok(DescribeTarget::Generic(name))
    }
}
