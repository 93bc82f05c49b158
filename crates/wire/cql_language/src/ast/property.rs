//! `name = value` pairs after WITH.

use super::{Identifier, Literal};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    pub name: Identifier,
    pub value: PropertyValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyValue {
    Literal(Literal),
    /// An unreserved keyword, in lower case, such as `all`.
    Keyword(Identifier),
    /// `{'k': 'v'}`, in the order written, perhaps empty. Keys differ in their text (the parser refuses repetitions).
    Map(Vec<(Literal, Literal)>),
}

impl Literal {
    /// The constant without quotes, as options are read: `'4'` and `4` are both `4`; a blob keeps its `0x`.
    pub fn raw_text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Literal::String(text)
            | Literal::Integer(text)
            | Literal::Float(text)
            | Literal::Uuid(text)
            | Literal::Duration(text) => text.as_ref().into(),
            Literal::Boolean(true) => "true".into(),
            Literal::Boolean(false) => "false".into(),
            Literal::Blob(digits) => format!("0x{digits}").into(),
        }
    }
}

impl PropertyValue {
    /// The value as text, `None` for a map.
    pub fn raw_text(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            PropertyValue::Literal(literal) => Some(literal.raw_text()),
            PropertyValue::Keyword(keyword) => Some(keyword.as_str().into()),
            PropertyValue::Map(_) => None,
        }
    }
}
