//! Names and strings, quoted where they must be.

use crate::ast::{Identifier, QualifiedName};
use crate::keyword::{Keyword, KeywordClass};
use std::borrow::Cow;
use std::fmt::{Display, Formatter, Result, Write};

/// Whether a canonical name can be written as a bare word.
fn is_bare(name: &str) -> bool {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    // Constants, though Cassandra does not list them as reserved.
    is_word && name != "true" && name != "false"
}

fn keyword_class(name: &str) -> Option<KeywordClass> {
    Keyword::of(name.as_bytes()).map(Keyword::class)
}

/// A canonical name as it is to be written in a statement: bare if it can be, otherwise in double quotes.
pub fn quote_identifier(name: &str) -> Cow<'_, str> {
    if is_bare(name) && keyword_class(name) != Some(KeywordClass::Reserved) {
        return name.into();
    }
    format!("\"{}\"", name.replace('"', "\"\"")).into()
}

/// A text as a string constant: in single quotes, those inside doubled.
pub fn quote_string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn quoted_name(f: &mut Formatter<'_>, name: &str) -> Result {
    quoted(f, '"', name)
}

fn quoted(f: &mut Formatter<'_>, quote: char, text: &str) -> Result {
    f.write_char(quote)?;
    for (index, part) in text.split(quote).enumerate() {
        if index > 0 {
            f.write_char(quote)?;
            f.write_char(quote)?;
        }
        f.write_str(part)?;
    }
    f.write_char(quote)
}

/// A string constant.
pub(super) struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        quoted(f, '\'', self.0)
    }
}

impl Display for Identifier {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = self.as_str();
        if is_bare(name) && keyword_class(name) != Some(KeywordClass::Reserved) {
            return f.write_str(name);
        }
        quoted_name(f, name)
    }
}

impl Display for QualifiedName {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.keyspace.iter().try_for_each(|keyspace| write!(f, "{keyspace}."))?;
        self.name.fmt(f)
    }
}

/// A name where a function is expected.
pub(super) struct FunctionName<'a>(pub &'a QualifiedName);

impl Display for FunctionName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.keyspace.iter().try_for_each(|keyspace| write!(f, "{keyspace}."))?;
        UnqualifiedFunctionName(&self.0.name).fmt(f)
    }
}

pub(super) struct UnqualifiedFunctionName<'a>(pub &'a Identifier);

impl Display for UnqualifiedFunctionName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = self.0.as_str();
        match name {
            "token" | "count" => f.write_str(name),
            _ if keyword_class(name) == Some(KeywordClass::ColumnOnly) => quoted_name(f, name),
            _ => self.0.fmt(f),
        }
    }
}

/// A name where a user type is expected.
pub(super) struct TypeName<'a>(pub &'a QualifiedName);

impl Display for TypeName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.0.keyspace.iter().try_for_each(|keyspace| write!(f, "{keyspace}."))?;
        let name = self.0.name.as_str();
        let class = keyword_class(name);
        let quote = match class {
            Some(KeywordClass::Native) => true,
            Some(KeywordClass::ColumnOnly) => name != "key",
            _ => crate::parser::RESERVED_TYPE_NAMES.contains(&name),
        };
        if quote { quoted_name(f, name) } else { self.0.name.fmt(f) }
    }
}

/// A role: a name, or a string where a name cannot be empty.
pub(super) struct RoleName<'a>(pub &'a Identifier);

impl Display for RoleName<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if self.0.as_str().is_empty() { f.write_str("''") } else { self.0.fmt(f) }
    }
}
