//! INSERT, UPDATE, DELETE and BATCH.

use super::{BindMarker, ComparisonOperator, Identifier, InValues, QualifiedName, Relation, Term};

/// `USING TIMESTAMP t AND TTL s`; each once, an integer literal or a bind marker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Using {
    /// Microseconds since 1970.
    pub timestamp: Option<Term>,
    /// Seconds.
    pub ttl: Option<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    pub table: QualifiedName,
    pub source: InsertSource,
    pub if_not_exists: bool,
    pub using: Using,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertSource {
    /// `(columns) VALUES (values)`; neither is empty, and their numbers may differ (the planner refuses that).
    Values {
        columns: Vec<Identifier>,
        values: Vec<Term>,
    },
    Json {
        value: JsonValue,
        default: JsonDefault,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonValue {
    Text(Box<str>),
    Bind(BindMarker),
}

/// What happens to the columns that the JSON does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonDefault {
    #[default]
    Null,
    Unset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub table: QualifiedName,
    pub using: Using,
    /// Never empty. The same column may come several times (elements); the parser refuses incompatible repetitions.
    pub assignments: Vec<Assignment>,
    pub relations: Vec<Relation>,
    pub condition: IfClause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub column: Identifier,
    pub operation: Operation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// `c = v`.
    Set(Term),
    /// `c = c + v`, `c += v`: append to a list, add to a set, map, counter, number or text.
    Add(Term),
    /// `c = v + c`: put before a list.
    Prepend(Term),
    /// `c = c - v`, `c -= v`.
    Subtract(Term),
    /// `c[key] = value`.
    SetElement { key: Term, value: Term },
    /// `c.field = value`.
    SetField { field: Identifier, value: Term },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Empty: whole rows.
    pub targets: Vec<DeleteTarget>,
    pub table: QualifiedName,
    /// Microseconds since 1970; an integer literal or a bind marker.
    pub timestamp: Option<Term>,
    pub relations: Vec<Relation>,
    pub condition: IfClause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteTarget {
    Column(Identifier),
    /// `c[key]`.
    Element {
        column: Identifier,
        key: Term,
    },
    /// `c.field`.
    Field {
        column: Identifier,
        field: Identifier,
    },
}

/// What makes an UPDATE or a DELETE conditional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IfClause {
    #[default]
    None,
    /// `IF EXISTS`.
    Exists,
    /// `IF a = 1 AND …`, never empty.
    Conditions(Vec<Condition>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub target: ConditionTarget,
    pub test: ConditionTest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionTarget {
    Column(Identifier),
    Element { column: Identifier, key: Term },
    Field { column: Identifier, field: Identifier },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionTest {
    Compare {
        operator: ComparisonOperator,
        value: Term,
    },
    In(InValues),
    /// Only on a column.
    Contains(Term),
    /// Only on a column.
    ContainsKey(Term),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub kind: BatchKind,
    pub using: Using,
    /// Perhaps empty: such a batch does nothing.
    pub statements: Vec<Modification>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BatchKind {
    #[default]
    Logged,
    Unlogged,
    Counter,
}

/// A statement that may stand in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modification {
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Box<Delete>),
}
