//! Relations: the parts of a WHERE clause that `AND` joins.

use super::{BindMarker, Identifier, Term};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relation {
    /// `left < right`. With a tuple on the left, the right is a [`Term::Tuple`] or a [`Term::Bind`].
    Compare {
        left: RelationTarget,
        operator: ComparisonOperator,
        right: Term,
    },
    /// `left IN (…)`; the left is a column or a tuple.
    In {
        left: RelationTarget,
        values: InValues,
    },
    /// `left BETWEEN low AND high`; the left is a column, `token(…)` or a tuple. Both ends are included.
    Between {
        left: RelationTarget,
        low: Term,
        high: Term,
    },
    Contains {
        column: Identifier,
        value: Term,
    },
    ContainsKey {
        column: Identifier,
        key: Term,
    },
    Like {
        column: Identifier,
        pattern: Term,
    },
    IsNotNull {
        column: Identifier,
    },
    /// `expr(index, value)`: a search in the own language of a custom index.
    CustomIndexExpression {
        index: Identifier,
        value: Term,
    },
}

/// What a relation restricts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelationTarget {
    Column(Identifier),
    /// `column[key]`; only with a comparison.
    Element {
        column: Identifier,
        key: Term,
    },
    /// `token(a, b)`.
    Token(Vec<Identifier>),
    /// `(a, b)`, perhaps of one column.
    Tuple(Vec<Identifier>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ComparisonOperator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The right side of IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InValues {
    /// `(…)`, perhaps empty. For a tuple on the left each is a [`Term::Tuple`] or each is a [`Term::Bind`].
    List(Vec<Term>),
    /// `IN ?`: one bound list.
    Bind(BindMarker),
}
