//! SELECT.

use super::BindMarker;
use super::{ArithmeticOperator, CqlType, Direction, Identifier, Literal, QualifiedName, Relation, Term};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    pub json: bool,
    pub distinct: bool,
    pub selection: Selection,
    pub from: QualifiedName,
    /// Empty without WHERE.
    pub relations: Vec<Relation>,
    pub group_by: Vec<Selector>,
    pub order_by: Vec<Ordering>,
    /// An integer literal or a bind marker.
    pub per_partition_limit: Option<Term>,
    /// An integer literal or a bind marker.
    pub limit: Option<Term>,
    pub allow_filtering: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// `*`.
    All,
    /// Never empty.
    Items(Vec<SelectionItem>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionItem {
    pub selector: Selector,
    pub alias: Option<Identifier>,
}

/// An expression over the columns of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Column(Identifier),
    Literal(Literal),
    Null,
    Bind(BindMarker),
    /// `count(*)`. `count(1)` and `count(column)` are functions.
    CountRows,
    /// `writetime(…)`, `maxwritetime(…)`, `ttl(…)`. The selector is a column, or fields and elements of a column.
    WriteAttribute {
        attribute: WriteAttribute,
        of: Box<Selector>,
    },
    /// `CAST(selector AS type)`; the type is native.
    Cast {
        selector: Box<Selector>,
        to: CqlType,
    },
    Function {
        name: QualifiedName,
        arguments: Vec<Selector>,
    },
    /// `of.field`.
    Field {
        of: Box<Selector>,
        field: Identifier,
    },
    /// `of[key]`.
    Element {
        of: Box<Selector>,
        key: Term,
    },
    /// `of[from..to]`, `of[from..]`, `of[..to]`; at least one end is there.
    Slice {
        of: Box<Selector>,
        from: Option<Term>,
        to: Option<Term>,
    },
    /// `(type) selector`.
    TypeHint {
        hint: Box<CqlType>,
        selector: Box<Selector>,
    },
    /// `[a, b]`, perhaps empty.
    List(Vec<Selector>),
    /// `{}`: an empty set or map.
    EmptyBraces,
    /// `{a, b}`, never empty.
    Set(Vec<Selector>),
    /// `{a: b}`, never empty: a map, or a user type if the keys are [`Selector::Column`]s that name its fields.
    MapOrUserType(Vec<(Selector, Selector)>),
    /// `(a, b)`, never empty. With one element it may equally be parentheses around an expression.
    Tuple(Vec<Selector>),
    Negate(Box<Selector>),
    Arithmetic(Box<SelectorOperation>),
}

/// `left operator right`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorOperation {
    pub left: Selector,
    pub operator: ArithmeticOperator,
    pub right: Selector,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteAttribute {
    /// Microseconds since 1970.
    WriteTime,
    /// The latest write time of the cells of a collection.
    MaxWriteTime,
    /// Seconds left to live.
    Ttl,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordering {
    pub column: Identifier,
    pub kind: OrderingKind,
    /// Ascending unless written otherwise.
    pub direction: Direction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderingKind {
    /// By the column's value.
    Value,
    /// `ANN OF term`: by nearness to a vector.
    NearestTo(Term),
}
