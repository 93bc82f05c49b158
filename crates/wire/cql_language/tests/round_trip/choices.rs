//! Where random trees take their choices from, and the smallest parts of them.

use holon_cql_language::ast::{BindMarker, Identifier, QualifiedName};

/// Bytes to choose by, and the bind markers that have been made, in the order of the text.
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
    bind_markers: Vec<Option<Identifier>>,
}

const NAMES: [&str; 26] = [
    "a",
    "b2",
    "c_d",
    "key",
    "ttl",
    "count",
    "json",
    "distinct",
    "values",
    "exists",
    "int",
    "timestamp",
    "type",
    "as",
    "select",
    "token",
    "Upper",
    "with space",
    "quo\"te",
    "été",
    "nan",
    "true",
    "expr",
    "cast",
    "group",
    "per",
];

const STRINGS: [&str; 7] = ["", "x", "it's", "--", "$$", "日本\n/*", "\"?\""];

impl Choices {
    pub fn new(bytes: Vec<u8>) -> Choices {
        Choices { bytes, at: 0, bind_markers: Vec::new() }
    }

    fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound
    }

    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// Between `least` and `least + 2` things.
    pub fn several<T>(&mut self, least: usize, mut one: impl FnMut(&mut Choices) -> T) -> Vec<T> {
        let count = least + self.below(3);
        (0..count).map(|_| one(self)).collect()
    }

    pub fn maybe<T>(&mut self, one: impl FnOnce(&mut Choices) -> T) -> Option<T> {
        self.flag().then(|| one(self))
    }

    pub fn name(&mut self) -> Identifier {
        Identifier::new(self.one_of(&NAMES))
    }

    /// A name of a column outside of definitions and selectors, where it may be empty.
    pub fn column(&mut self) -> Identifier {
        if self.below(8) == 7 { Identifier::new("") } else { self.name() }
    }

    pub fn qualified(&mut self) -> QualifiedName {
        QualifiedName { keyspace: self.maybe(Choices::name), name: self.name() }
    }

    pub fn string(&mut self) -> Box<str> {
        self.one_of(&STRINGS).into()
    }

    pub fn bind_marker(&mut self) -> BindMarker {
        let name = self.maybe(Choices::name);
        let index = u16::try_from(self.bind_markers.len()).unwrap();
        self.bind_markers.push(name.clone());
        BindMarker { index, name }
    }

    pub fn bind_markers(self) -> Vec<Option<Identifier>> {
        self.bind_markers
    }
}
