//! Terms, types and properties.

use super::commas;
use super::name::{FunctionName, Quoted, TypeName};
use crate::ast::{
    ArithmeticOperator, BindMarker, CqlType, Literal, NativeType, Property, PropertyValue, Term, TermOperation,
};
use std::fmt::{Display, Formatter, Result};

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Literal::String(text) => Quoted(text).fmt(f),
            Literal::Integer(text) | Literal::Float(text) | Literal::Uuid(text) | Literal::Duration(text) => {
                f.write_str(text)
            }
            Literal::Boolean(value) => f.write_str(if *value { "true" } else { "false" }),
            Literal::Blob(digits) => write!(f, "0x{digits}"),
        }
    }
}

impl Display for BindMarker {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.name {
            Some(name) => write!(f, ":{name}"),
            None => f.write_str("?"),
        }
    }
}

/// `key: value` pairs.
pub(super) fn entries<K: Display, V: Display>(f: &mut Formatter<'_>, entries: &[(K, V)]) -> Result {
    f.write_str("{")?;
    for (index, (key, value)) in entries.iter().enumerate() {
        write!(f, "{}{key}: {value}", if index > 0 { ", " } else { "" })?;
    }
    f.write_str("}")
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Term::Literal(literal) => literal.fmt(f),
            Term::Null => f.write_str("NULL"),
            Term::Bind(marker) => marker.fmt(f),
            Term::List(elements) => write!(f, "[{}]", commas(elements)),
            Term::EmptyBraces => f.write_str("{}"),
            Term::Set(elements) => write!(f, "{{{}}}", commas(elements)),
            Term::Map(map) => entries(f, map),
            Term::UserType(fields) => entries(f, fields),
            Term::Tuple(elements) => write!(f, "({})", commas(elements)),
            Term::Function { name, arguments } => write!(f, "{}({})", FunctionName(name), commas(arguments)),
            Term::Cast { term, to } => write!(f, "CAST({term} AS {to})"),
            Term::TypeHint { hint, term } => write!(f, "({hint}) {term}"),
            // The blank keeps `- 5` from becoming the constant -5 and `- -5` from becoming a comment.
            Term::Negate(term) => write!(f, "- {term}"),
            Term::Arithmetic(operation) => operation.fmt(f),
        }
    }
}

impl Display for TermOperation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} {} {}", self.left, self.operator, self.right)
    }
}

impl Display for ArithmeticOperator {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            ArithmeticOperator::Add => "+",
            ArithmeticOperator::Subtract => "-",
            ArithmeticOperator::Multiply => "*",
            ArithmeticOperator::Divide => "/",
            ArithmeticOperator::Modulo => "%",
        })
    }
}

impl Display for CqlType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            CqlType::Native(native) => native.fmt(f),
            CqlType::List(element) => write!(f, "list<{element}>"),
            CqlType::Set(element) => write!(f, "set<{element}>"),
            CqlType::Map(key, value) => write!(f, "map<{key}, {value}>"),
            CqlType::Tuple(elements) => write!(f, "tuple<{}>", commas(elements)),
            CqlType::Vector(element, dimensions) => write!(f, "vector<{element}, {dimensions}>"),
            CqlType::Frozen(inner) => write!(f, "frozen<{inner}>"),
            CqlType::User(name) => TypeName(name).fmt(f),
            CqlType::Custom(class) => Quoted(class).fmt(f),
        }
    }
}

impl Display for NativeType {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.name())
    }
}

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl Display for PropertyValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PropertyValue::Literal(literal) => literal.fmt(f),
            PropertyValue::Keyword(keyword) => f.write_str(keyword.as_str()),
            PropertyValue::Map(map) => entries(f, map),
        }
    }
}
