//! The stored forms: of changes, as they stand in the metadata log; of a whole schema, as a snapshot of that log holds it;
//! of the answer to a change.
//!
//! Every form begins with its version. Bytes written by a released version stay readable; `tests/fixtures` keeps some.
//! Integers are little-endian or varints, texts and lists have their length in front. A user type is written by name
//! where it is used, and looked up when it is read.

mod change;
mod options;
mod snapshot;
mod types;

pub use change::{decode_answer, decode_change, encode_answer, encode_change};
pub use snapshot::{decode_schema, encode_schema};
pub(super) use snapshot::{name_uuid, resolve_fields, version_of};
pub(super) use types::{UserTypes, resolve};

use holon_base::{ByteReader, ByteWriter, ShortInput};
use std::rc::Rc;

/// Of every form in this module; a change to any of them needs the next number and code that still reads this one.
pub const FORMAT_VERSION: u8 = 1;

fn check_version(input: &mut ByteReader) -> Result<(), ShortInput> {
    match input.u8()? {
        FORMAT_VERSION => Ok(()),
        _ => Err(ShortInput { offset: 0 }),
    }
}

fn put_text(out: &mut ByteWriter, text: &str) {
    out.put_prefixed(text.as_bytes());
}

fn text(input: &mut ByteReader) -> Result<Rc<str>, ShortInput> {
    Ok(input.prefixed_str()?.into())
}

fn put_bool(out: &mut ByteWriter, value: bool) {
    out.put_u8(u8::from(value));
}

fn boolean(input: &mut ByteReader) -> Result<bool, ShortInput> {
    let offset = input.offset();
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(ShortInput { offset }),
    }
}

fn put_list<T>(out: &mut ByteWriter, items: &[T], mut put: impl FnMut(&mut ByteWriter, &T)) {
    out.put_varint(items.len() as u64);
    for item in items {
        put(out, item);
    }
}

fn list<T>(
    input: &mut ByteReader,
    mut read: impl FnMut(&mut ByteReader) -> Result<T, ShortInput>,
) -> Result<Vec<T>, ShortInput> {
    (0..input.count()?).map(|_| read(input)).collect()
}

fn put_option<T>(out: &mut ByteWriter, item: &Option<T>, put: impl FnOnce(&mut ByteWriter, &T)) {
    put_bool(out, item.is_some());
    if let Some(item) = item {
        put(out, item);
    }
}

fn option<T>(
    input: &mut ByteReader,
    read: impl FnOnce(&mut ByteReader) -> Result<T, ShortInput>,
) -> Result<Option<T>, ShortInput> {
    Ok(if boolean(input)? { Some(read(input)?) } else { None })
}

fn small(input: &mut ByteReader) -> Result<u32, ShortInput> {
    let offset = input.offset();
    u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })
}
