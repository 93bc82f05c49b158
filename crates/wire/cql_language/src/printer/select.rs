//! SELECT, selectors and relations.

use super::name::{FunctionName, quoted_name};
use super::term::entries;
use super::{ands, commas, when};
use crate::ast::{
    ComparisonOperator, Direction, InValues, Literal, Ordering, OrderingKind, Relation, RelationTarget, Select,
    Selection, SelectionItem, Selector, SelectorOperation, WriteAttribute,
};
use std::fmt::{Display, Formatter, Result};

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (json, distinct) = (when(self.json, "JSON "), when(self.distinct, "DISTINCT "));
        write!(f, "SELECT {json}{distinct}{} FROM {}", self.selection, self.from)?;
        where_clause(f, &self.relations)?;
        if !self.group_by.is_empty() {
            write!(f, " GROUP BY {}", commas(&self.group_by))?;
        }
        if !self.order_by.is_empty() {
            write!(f, " ORDER BY {}", commas(&self.order_by))?;
        }
        self.per_partition_limit.iter().try_for_each(|limit| write!(f, " PER PARTITION LIMIT {limit}"))?;
        self.limit.iter().try_for_each(|limit| write!(f, " LIMIT {limit}"))?;
        f.write_str(when(self.allow_filtering, " ALLOW FILTERING"))
    }
}

pub(super) fn where_clause(f: &mut Formatter<'_>, relations: &[Relation]) -> Result {
    if relations.is_empty() { Ok(()) } else { write!(f, " WHERE {}", ands(relations)) }
}

impl Display for Selection {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Selection::All => f.write_str("*"),
            Selection::Items(items) => commas(items).fmt(f),
        }
    }
}

impl Display for SelectionItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.selector.fmt(f)?;
        self.alias.iter().try_for_each(|alias| write!(f, " AS {alias}"))
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            // Bare they could be read as the keywords behind SELECT or in front of an alias.
            Selector::Column(name) if matches!(name.as_str(), "json" | "distinct" | "as") => {
                quoted_name(f, name.as_str())
            }
            Selector::Column(name) => name.fmt(f),
            Selector::Literal(literal) => literal.fmt(f),
            Selector::Null => f.write_str("NULL"),
            Selector::Bind(marker) => marker.fmt(f),
            Selector::CountRows => f.write_str("count(*)"),
            Selector::WriteAttribute { attribute, of } => write!(f, "{attribute}({of})"),
            Selector::Cast { selector, to } => write!(f, "CAST({selector} AS {to})"),
            Selector::Function { name, arguments } => write!(f, "{}({})", FunctionName(name), commas(arguments)),
            // A digit and a dot would be a float, `1.` and a dot a range.
            Selector::Field { of, field } if ends_in_number(of) => {
                write!(f, "{of} .{field}")
            }
            Selector::Field { of, field } => write!(f, "{of}.{field}"),
            Selector::Element { of, key } => write!(f, "{of}[{key}]"),
            Selector::Slice { of, from, to } => {
                write!(f, "{of}[")?;
                from.iter().try_for_each(|from| from.fmt(f))?;
                f.write_str("..")?;
                to.iter().try_for_each(|to| to.fmt(f))?;
                f.write_str("]")
            }
            Selector::TypeHint { hint, selector } => {
                write!(f, "({hint}) ")?;
                hinted(f, selector)
            }
            Selector::List(elements) => write!(f, "[{}]", commas(elements)),
            Selector::EmptyBraces => f.write_str("{}"),
            Selector::Set(elements) => write!(f, "{{{}}}", commas(elements)),
            Selector::MapOrUserType(map) => entries(f, map),
            Selector::Tuple(elements) => write!(f, "({})", commas(elements)),
            Selector::Negate(selector) => write!(f, "- {selector}"),
            Selector::Arithmetic(operation) => operation.fmt(f),
        }
    }
}

fn ends_in_number(selector: &Selector) -> bool {
    match selector {
        Selector::Literal(literal) => matches!(literal, Literal::Integer(_) | Literal::Float(_)),
        Selector::TypeHint { selector, .. } => ends_in_number(selector),
        _ => false,
    }
}

/// Behind a parenthesis some columns would be read as the start of a clause.
fn hinted(f: &mut Formatter<'_>, selector: &Selector) -> Result {
    match selector {
        Selector::Column(name) if matches!(name.as_str(), "per" | "group") => quoted_name(f, name.as_str()),
        other => other.fmt(f),
    }
}

impl Display for SelectorOperation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} {}", self.left, self.operator, self.right)
    }
}

impl Display for WriteAttribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            WriteAttribute::WriteTime => "writetime",
            WriteAttribute::MaxWriteTime => "maxwritetime",
            WriteAttribute::Ttl => "ttl",
        })
    }
}

impl Display for Ordering {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.column.fmt(f)?;
        if let OrderingKind::NearestTo(term) = &self.kind {
            write!(f, " ANN OF {term}")?;
        }
        write!(f, " {}", self.direction)
    }
}

impl Display for Direction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Direction::Ascending => "ASC",
            Direction::Descending => "DESC",
        })
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Relation::Compare { left, operator, right } => write!(f, "{left} {operator} {right}"),
            Relation::In { left, values } => write!(f, "{left} IN {values}"),
            Relation::Between { left, low, high } => write!(f, "{left} BETWEEN {low} AND {high}"),
            Relation::Contains { column, value } => write!(f, "{column} CONTAINS {value}"),
            Relation::ContainsKey { column, key } => write!(f, "{column} CONTAINS KEY {key}"),
            Relation::Like { column, pattern } => write!(f, "{column} LIKE {pattern}"),
            Relation::IsNotNull { column } => write!(f, "{column} IS NOT NULL"),
            Relation::CustomIndexExpression { index, value } => write!(f, "expr({index}, {value})"),
        }
    }
}

impl Display for RelationTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            RelationTarget::Column(column) => column.fmt(f),
            RelationTarget::Element { column, key } => write!(f, "{column}[{key}]"),
            RelationTarget::Token(columns) => write!(f, "token({})", commas(columns)),
            RelationTarget::Tuple(columns) => write!(f, "({})", commas(columns)),
        }
    }
}

impl Display for ComparisonOperator {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            ComparisonOperator::Equal => "=",
            ComparisonOperator::NotEqual => "!=",
            ComparisonOperator::Less => "<",
            ComparisonOperator::LessOrEqual => "<=",
            ComparisonOperator::Greater => ">",
            ComparisonOperator::GreaterOrEqual => ">=",
        })
    }
}

impl Display for InValues {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            InValues::List(values) => write!(f, "({})", commas(values)),
            InValues::Bind(marker) => marker.fmt(f),
        }
    }
}
