//! Terms: everything that stands for a value, before a type is known.

use super::{CqlType, Identifier, QualifiedName};

/// A constant in the kind in which it was written. Which types it fits is for the planner to decide.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Literal {
    /// The text between the quotes, `''` undone; `'…'` and `$$…$$` alike.
    String(Box<str>),
    /// `-?[0-9]+`, of any length.
    Integer(Box<str>),
    /// As written, or `NaN`, `Infinity`, `-Infinity`.
    Float(Box<str>),
    Boolean(bool),
    /// As written, 36 characters, either case.
    Uuid(Box<str>),
    /// The hexadecimal digits after `0x`, either case; an odd number is possible.
    Blob(Box<str>),
    /// As written: `-?1y2mo3w4d5h6m7s8ms9us10ns` in any case, or one of the ISO 8601 forms `-?P…`.
    Duration(Box<str>),
}

/// `?` or `:name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindMarker {
    /// Position among all markers of the statement, from 0, in the order of the text.
    pub index: u16,
    /// `None` for `?`. Two markers may share a name.
    pub name: Option<Identifier>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Term {
    Literal(Literal),
    Null,
    Bind(BindMarker),
    /// `[a, b]`: a list or a vector, perhaps empty.
    List(Vec<Term>),
    /// `{}`: an empty set or an empty map, the receiver decides.
    EmptyBraces,
    /// `{a, b}`, never empty.
    Set(Vec<Term>),
    /// `{a: b}`, never empty; the keys are terms.
    Map(Vec<(Term, Term)>),
    /// `{a: b}`, never empty; the keys are names of fields. Of a repeated field the last counts.
    UserType(Vec<(Identifier, Term)>),
    /// `(a, b)`, never empty. With one element it may equally be parentheses around an expression.
    Tuple(Vec<Term>),
    Function {
        name: QualifiedName,
        arguments: Vec<Term>,
    },
    /// `CAST(term AS type)`; the type is native.
    Cast {
        term: Box<Term>,
        to: CqlType,
    },
    /// `(type) term`.
    TypeHint {
        hint: Box<CqlType>,
        term: Box<Term>,
    },
    /// `-term`, where the minus is not part of a number.
    Negate(Box<Term>),
    Arithmetic(Box<TermOperation>),
}

/// `left operator right`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TermOperation {
    pub left: Term,
    pub operator: ArithmeticOperator,
    pub right: Term,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArithmeticOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl ArithmeticOperator {
    /// Whether the operator binds more tightly than `+` and `-`.
    pub fn is_multiplicative(self) -> bool {
        !matches!(self, ArithmeticOperator::Add | ArithmeticOperator::Subtract)
    }
}
