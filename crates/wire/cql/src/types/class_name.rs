//! Types as the names of Cassandra's Java classes: how vectors, and what a version does not know, travel in [option].
//!
//! ```text
//! org.apache.cassandra.db.marshal.VectorType(org.apache.cassandra.db.marshal.FloatType , 3)
//! org.apache.cassandra.db.marshal.UserType(keyspace,hex(name),hex(field):class,…)
//! ```

use std::fmt::Write;

use crate::limits::{CLASS_NAME_BYTES_MAX, VECTOR_DIMENSIONS_MAX};
use crate::types::{CqlType, UdtField};

const PACKAGE: &str = "org.apache.cassandra.db.marshal.";

/// Scalars with their classes.
const SCALAR_CLASSES: [(&str, CqlType); 20] = [
    ("AsciiType", CqlType::Ascii),
    ("LongType", CqlType::BigInt),
    ("BytesType", CqlType::Blob),
    ("BooleanType", CqlType::Boolean),
    ("CounterColumnType", CqlType::Counter),
    ("DecimalType", CqlType::Decimal),
    ("DoubleType", CqlType::Double),
    ("FloatType", CqlType::Float),
    ("Int32Type", CqlType::Int),
    ("TimestampType", CqlType::Timestamp),
    ("UUIDType", CqlType::Uuid),
    ("UTF8Type", CqlType::Text),
    ("IntegerType", CqlType::VarInt),
    ("TimeUUIDType", CqlType::TimeUuid),
    ("InetAddressType", CqlType::Inet),
    ("SimpleDateType", CqlType::Date),
    ("TimeType", CqlType::Time),
    ("ShortType", CqlType::SmallInt),
    ("ByteType", CqlType::TinyInt),
    ("DurationType", CqlType::Duration),
];

impl CqlType {
    /// The name of the Java class that stands for this type in Cassandra.
    pub fn class_name(&self) -> String {
        let mut name = String::new();
        write_class(self, &mut name);
        name
    }

    /// The type that a Java class name stands for, at most `levels` deep (`None` if it is deeper). A name that is not
    /// understood is a custom type: that is what custom types are.
    pub fn from_class_name(name: &str, levels: usize) -> Option<CqlType> {
        let custom = || CqlType::Custom(name.into());
        if name.len() > CLASS_NAME_BYTES_MAX {
            return Some(custom());
        }
        let mut parser = Parser { rest: name };
        match parser.class(levels) {
            Ok(cql_type) if parser.rest.trim().is_empty() => Some(cql_type),
            Ok(_) | Err(Failure::NotUnderstood) => Some(custom()),
            Err(Failure::TooDeep) => None,
        }
    }
}

fn write_class(cql_type: &CqlType, out: &mut String) {
    if let CqlType::Custom(class) = cql_type {
        out.push_str(class);
        return;
    }
    out.push_str(PACKAGE);
    if let Some((class, _)) = SCALAR_CLASSES.iter().find(|(_, scalar)| scalar == cql_type) {
        out.push_str(class);
        return;
    }
    let list = |class: &str, inner: &[&CqlType], out: &mut String| {
        out.push_str(class);
        out.push('(');
        for (index, inner) in inner.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_class(inner, out);
        }
        out.push(')');
    };
    match cql_type {
        CqlType::List(element) => list("ListType", &[element], out),
        CqlType::Set(element) => list("SetType", &[element], out),
        CqlType::Map(pair) => list("MapType", &[&pair.0, &pair.1], out),
        CqlType::Tuple(elements) => list("TupleType", &elements.iter().collect::<Vec<_>>(), out),
        CqlType::Frozen(inner) => list("FrozenType", &[inner], out),
        CqlType::Udt(udt) => {
            out.push_str("UserType(");
            out.push_str(&udt.keyspace);
            out.push(',');
            write_hex(&udt.name, out);
            for field in &udt.fields {
                out.push(',');
                write_hex(&field.name, out);
                out.push(':');
                write_class(&field.cql_type, out);
            }
            out.push(')');
        }
        CqlType::Vector(vector) => {
            out.push_str("VectorType(");
            write_class(&vector.element, out);
            // Writing to a string does not fail. The spaces are Cassandra's.
            let _ = write!(out, " , {})", vector.dimensions);
        }
        // Scalars and custom types were written above.
        _ => {}
    }
}

fn write_hex(name: &str, out: &mut String) {
    for byte in name.bytes() {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
}

fn read_hex(digits: &str) -> Option<String> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let pairs = digits.as_bytes().chunks(2).map(|pair| match pair {
        &[high, low] => u8::try_from(nibble(high)? << 4 | nibble(low)?).ok(),
        _ => None,
    });
    String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok()
}

enum Failure {
    NotUnderstood,
    TooDeep,
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let is_part = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn accept(&mut self, token: char) -> bool {
        let found = self.rest.trim_start().strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, token: char) -> Result<(), Failure> {
        if self.accept(token) { Ok(()) } else { Err(Failure::NotUnderstood) }
    }

    fn class(&mut self, levels: usize) -> Result<CqlType, Failure> {
        let inner = levels.checked_sub(1).ok_or(Failure::TooDeep)?;
        let word = self.word();
        let class = word.strip_prefix(PACKAGE).unwrap_or(word);
        if let Some((_, scalar)) = SCALAR_CLASSES.iter().find(|(name, _)| *name == class) {
            return Ok(scalar.clone());
        }
        const WITH_PARAMETERS: [&str; 7] =
            ["ListType", "SetType", "MapType", "TupleType", "UserType", "VectorType", "FrozenType"];
        if !WITH_PARAMETERS.contains(&class) {
            return self.custom(word);
        }
        self.expect('(')?;
        let cql_type = match class {
            "ListType" => CqlType::list(self.class(inner)?),
            "SetType" => CqlType::set(self.class(inner)?),
            "FrozenType" => {
                // It takes no level, so it must not stand inside itself: that would be recursion without a limit.
                let rest = self.rest.trim_start();
                if rest.strip_prefix(PACKAGE).unwrap_or(rest).starts_with("FrozenType") {
                    return Err(Failure::NotUnderstood);
                }
                CqlType::frozen(self.class(levels)?)
            }
            "MapType" => {
                let key = self.class(inner)?;
                self.expect(',')?;
                CqlType::map(key, self.class(inner)?)
            }
            "TupleType" => {
                let mut elements = vec![self.class(inner)?];
                while self.accept(',') {
                    elements.push(self.class(inner)?);
                }
                CqlType::tuple(elements)
            }
            "VectorType" => {
                let element = self.class(inner)?;
                self.expect(',')?;
                let dimensions = self.word().parse().map_err(|_| Failure::NotUnderstood)?;
                if dimensions == 0 || dimensions as usize > VECTOR_DIMENSIONS_MAX {
                    return Err(Failure::NotUnderstood);
                }
                CqlType::vector(element, dimensions)
            }
            "UserType" => self.user_type(inner)?,
            _ => return Err(Failure::NotUnderstood),
        };
        self.expect(')')?;
        Ok(cql_type)
    }

    /// A class that nobody here knows, with its parameters, whatever they are, up to the bracket that closes them.
    fn custom(&mut self, word: &'a str) -> Result<CqlType, Failure> {
        if word.is_empty() {
            return Err(Failure::NotUnderstood);
        }
        if !self.rest.starts_with('(') {
            return Ok(CqlType::Custom(word.into()));
        }
        let mut open = 0_usize;
        let end = self.rest.find(|character| {
            match character {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            open == 0
        });
        let (parameters, rest) = self.rest.split_at_checked(end.map_or(0, |end| end + 1)).unwrap_or_default();
        if parameters.is_empty() {
            return Err(Failure::NotUnderstood);
        }
        self.rest = rest;
        Ok(CqlType::Custom(format!("{word}{parameters}").into()))
    }

    fn user_type(&mut self, levels: usize) -> Result<CqlType, Failure> {
        let keyspace = self.word();
        self.expect(',')?;
        let name = read_hex(self.word()).ok_or(Failure::NotUnderstood)?;
        let mut fields = Vec::new();
        while self.accept(',') {
            let name = read_hex(self.word()).ok_or(Failure::NotUnderstood)?;
            self.expect(':')?;
            fields.push(UdtField { name, cql_type: self.class(levels)? });
        }
        Ok(CqlType::udt(keyspace, name, fields))
    }
}
