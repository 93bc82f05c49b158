//! `name = value` pairs.

use super::{Parser, Parsing, repeated};
use crate::ast::{Literal, Property, PropertyValue, Term};
use crate::keyword::{Keyword, KeywordClass};
use crate::lexer::TokenKind;

impl Parser<'_> {
    /// `WITH a = 1 AND …`, which must be there.
    pub(super) fn required_properties(&mut self) -> Parsing<Vec<Property>> {
        self.expect_keyword(Keyword::With)?;
        let first = self.current;
        let properties = self.and_separated(Self::property)?;
        self.refuse_repeated(first, properties.iter().map(|property| property.name.as_str()))?;
        Ok(properties)
    }

    pub(super) fn refuse_repeated<'n>(
        &self,
        at: crate::lexer::Token,
        names: impl Iterator<Item = &'n str>,
    ) -> Parsing<()> {
        match repeated(names) {
            Some(name) => Err(self.not_allowed_at(at, format!("Multiple definition for property '{name}'"))),
            None => Ok(()),
        }
    }

    pub(super) fn property(&mut self) -> Parsing<Property> {
        let name = self.name()?;
        self.expect(TokenKind::Equal, "'='")?;
        let value = match self.current.kind {
            TokenKind::LeftBrace => PropertyValue::Map(self.property_map()?),
            // NaN and Infinity are keywords, too, but reserved ones.
            TokenKind::Keyword(keyword) if keyword.class() != KeywordClass::Reserved => {
                PropertyValue::Keyword(self.name()?)
            }
            _ => match self.literal() {
                Some(literal) => PropertyValue::Literal(literal),
                None => return Err(self.no_viable_alternative()),
            },
        };
        Ok(Property { name, value })
    }

    /// `{'key': 'value', …}` of constants, perhaps empty.
    pub(super) fn property_map(&mut self) -> Parsing<Vec<(Literal, Literal)>> {
        let first = self.current;
        self.expect(TokenKind::LeftBrace, "'{'")?;
        if self.accept(TokenKind::RightBrace) {
            return Ok(Vec::new());
        }
        let entries = self.nested(|parser| parser.comma_separated(Self::property_entry))?;
        self.close_brace()?;
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.raw_text()).collect();
        self.refuse_repeated(first, keys.iter().map(|key| key.as_ref()))?;
        Ok(entries)
    }

    fn property_entry(&mut self) -> Parsing<(Literal, Literal)> {
        let at = self.current;
        let (key, value) = self.map_entry()?;
        let hint = |term: &Term| match term {
            Term::Bind(_) => " (bind variables are not supported in DDL queries)",
            _ => "",
        };
        match (key, value) {
            (Term::Literal(key), Term::Literal(value)) => Ok((key, value)),
            (Term::Literal(key), value) => {
                Err(self
                    .not_allowed_at(at, format!("Invalid property value: {value} for property: {key}{}", hint(&value))))
            }
            (key, _) => Err(self.not_allowed_at(at, format!("Invalid property name: {key}{}", hint(&key)))),
        }
    }
}
