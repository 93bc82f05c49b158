//! The guard before decoding: walks over a request by the shape of its fields, and takes nothing.
//!
//! `kafka-protocol` makes room for as many elements as an array says that it has, before it looks for them (`Vec::with_capacity` in
//! its `protocol/types.rs`): twenty bytes of a stranger would end the process. So every body that it decodes is walked over first, by
//! these tables: each length is compared with the bytes that are there, each count too, and the elements of all arrays together with
//! [`ELEMENTS_MAX`](crate::limits::ELEMENTS_MAX). What is left for it to find are nulls, and texts that are not UTF-8.
//!
//! A shape knows no names and no meaning: widths, texts, bytes, arrays, structures, and the versions that have them.

mod requests;

use crate::reader::{Flaw, Reader};
pub(crate) use requests::*;

/// Fields in their order. Every structure ends with its tagged fields, if the version is flexible; a request whose tagged fields have
/// a meaning to `kafka-protocol` is not among these.
pub(crate) type Shape = &'static [Field];

pub(crate) struct Field {
    pub from: i16,
    pub to: i16,
    pub kind: Kind,
}

pub(crate) enum Kind {
    /// Bytes that are always there.
    Fixed(usize),
    Text,
    Bytes,
    List(&'static Kind),
    Group(Shape),
    /// A structure after a byte that is 1, or another byte alone.
    Maybe(Shape),
}

pub(crate) const ONE: Kind = Kind::Fixed(1);
pub(crate) const TWO: Kind = Kind::Fixed(2);
pub(crate) const FOUR: Kind = Kind::Fixed(4);
pub(crate) const EIGHT: Kind = Kind::Fixed(8);
pub(crate) const SIXTEEN: Kind = Kind::Fixed(16);
pub(crate) const TEXT: Kind = Kind::Text;
pub(crate) const BYTES: Kind = Kind::Bytes;

pub(crate) const fn list(element: &'static Kind) -> Kind {
    Kind::List(element)
}

pub(crate) const fn group(fields: Shape) -> Kind {
    Kind::Group(fields)
}

pub(crate) const fn maybe(fields: Shape) -> Kind {
    Kind::Maybe(fields)
}

pub(crate) const fn always(kind: Kind) -> Field {
    within(0, i16::MAX, kind)
}

pub(crate) const fn since(from: i16, kind: Kind) -> Field {
    within(from, i16::MAX, kind)
}

pub(crate) const fn until(to: i16, kind: Kind) -> Field {
    within(0, to, kind)
}

pub(crate) const fn within(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

/// Steps over the fields of a structure.
///
/// # Errors
/// They are not all there, or say that there is more than there is or may be.
pub(crate) fn walk(reader: &mut Reader, shape: Shape, version: i16) -> Result<(), Flaw> {
    for field in shape.iter().filter(|field| (field.from..=field.to).contains(&version)) {
        step(reader, &field.kind, version)?;
    }
    reader.skip_tags()
}

fn step(reader: &mut Reader, kind: &Kind, version: i16) -> Result<(), Flaw> {
    match kind {
        Kind::Fixed(bytes) => reader.skip(*bytes),
        Kind::Text => reader.skip_text(),
        Kind::Bytes => reader.skip_bytes(),
        Kind::Group(fields) => walk(reader, fields, version),
        Kind::Maybe(fields) if reader.i8()? == 1 => walk(reader, fields, version),
        Kind::Maybe(_) => Ok(()),
        Kind::List(element) => {
            for _ in 0..reader.count()?.unwrap_or(0) {
                step(reader, element, version)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) mod sample;
