//! INSERT, UPDATE, DELETE and BATCH.

use super::name::Quoted;
use super::select::where_clause;
use super::{ands, commas, when};
use crate::ast::{
    Assignment, Batch, BatchKind, Condition, ConditionTarget, ConditionTest, Delete, DeleteTarget, IfClause, Insert,
    InsertSource, JsonDefault, JsonValue, Modification, Operation, Update, Using,
};
use std::fmt::{Display, Formatter, Result};

/// With a blank in front, or nothing.
impl Display for Using {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match (&self.timestamp, &self.ttl) {
            (None, None) => Ok(()),
            (Some(timestamp), None) => write!(f, " USING TIMESTAMP {timestamp}"),
            (None, Some(ttl)) => write!(f, " USING TTL {ttl}"),
            // In the order of their bind markers, if both are.
            (Some(timestamp), Some(ttl)) if marker_index(ttl) < marker_index(timestamp) => {
                write!(f, " USING TTL {ttl} AND TIMESTAMP {timestamp}")
            }
            (Some(timestamp), Some(ttl)) => write!(f, " USING TIMESTAMP {timestamp} AND TTL {ttl}"),
        }
    }
}

fn marker_index(term: &crate::ast::Term) -> Option<u16> {
    match term {
        crate::ast::Term::Bind(marker) => Some(marker.index),
        _ => None,
    }
}

impl Display for Insert {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let if_not_exists = when(self.if_not_exists, " IF NOT EXISTS");
        write!(f, "INSERT INTO {} {}{if_not_exists}{}", self.table, self.source, self.using)
    }
}

impl Display for InsertSource {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            InsertSource::Values { columns, values } => {
                write!(f, "({}) VALUES ({})", commas(columns), commas(values))
            }
            InsertSource::Json { value, default } => {
                write!(f, "JSON {value}{}", when(*default == JsonDefault::Unset, " DEFAULT UNSET"))
            }
        }
    }
}

impl Display for JsonValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            JsonValue::Text(text) => Quoted(text).fmt(f),
            JsonValue::Bind(marker) => marker.fmt(f),
        }
    }
}

impl Display for Update {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "UPDATE {}{} SET {}", self.table, self.using, commas(&self.assignments))?;
        where_clause(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for Assignment {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let column = &self.column;
        match &self.operation {
            Operation::Set(value) => write!(f, "{column} = {value}"),
            Operation::Add(value) => write!(f, "{column} = {column} + {value}"),
            Operation::Prepend(value) => write!(f, "{column} = {value} + {column}"),
            Operation::Subtract(value) => write!(f, "{column} = {column} - {value}"),
            Operation::SetElement { key, value } => write!(f, "{column}[{key}] = {value}"),
            Operation::SetField { field, value } => write!(f, "{column}.{field} = {value}"),
        }
    }
}

impl Display for Delete {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let blank = when(!self.targets.is_empty(), " ");
        write!(f, "DELETE{blank}{} FROM {}", commas(&self.targets), self.table)?;
        self.timestamp.iter().try_for_each(|timestamp| write!(f, " USING TIMESTAMP {timestamp}"))?;
        where_clause(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for DeleteTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            DeleteTarget::Column(column) => column.fmt(f),
            DeleteTarget::Element { column, key } => write!(f, "{column}[{key}]"),
            DeleteTarget::Field { column, field } => write!(f, "{column}.{field}"),
        }
    }
}

/// With a blank in front, or nothing.
impl Display for IfClause {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            IfClause::None => Ok(()),
            IfClause::Exists => f.write_str(" IF EXISTS"),
            IfClause::Conditions(conditions) => write!(f, " IF {}", ands(conditions)),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {}", self.target, self.test)
    }
}

impl Display for ConditionTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ConditionTarget::Column(column) => column.fmt(f),
            ConditionTarget::Element { column, key } => write!(f, "{column}[{key}]"),
            ConditionTarget::Field { column, field } => write!(f, "{column}.{field}"),
        }
    }
}

impl Display for ConditionTest {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ConditionTest::Compare { operator, value } => write!(f, "{operator} {value}"),
            ConditionTest::In(values) => write!(f, "IN {values}"),
            ConditionTest::Contains(value) => write!(f, "CONTAINS {value}"),
            ConditionTest::ContainsKey(key) => write!(f, "CONTAINS KEY {key}"),
        }
    }
}

impl Display for Batch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let kind = match self.kind {
            BatchKind::Logged => "",
            BatchKind::Unlogged => "UNLOGGED ",
            BatchKind::Counter => "COUNTER ",
        };
        write!(f, "BEGIN {kind}BATCH{} ", self.using)?;
        self.statements.iter().try_for_each(|statement| write!(f, "{statement}; "))?;
        f.write_str("APPLY BATCH")
    }
}

impl Display for Modification {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Modification::Insert(insert) => insert.fmt(f),
            Modification::Update(update) => update.fmt(f),
            Modification::Delete(delete) => delete.fmt(f),
        }
    }
}
