//! The paging state: where the next page begins. Opaque to clients, checked when it comes back.
//!
//! ```text
//! state = version:u8 crc32c:u32 table:u128 key:prefixed in_partition:varint has_limit:u8 [left:varint]
//! ```
//!
//! It names the last row that was used, not a place in a file, so it holds whatever happens to the data in between,
//! and for as long as the table exists.

use crate::error::{CqlError, CqlResult};
use crate::schema::Table;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, crc32c};

const VERSION: u8 = 1;
const CHECKED_FROM: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagingState {
    /// The key of the last row that the pages so far took in.
    pub key: Bytes,
    /// Results of its partition so far, for PER PARTITION LIMIT.
    pub in_partition: u64,
    /// What LIMIT leaves.
    pub left: Option<u64>,
}

impl PagingState {
    pub fn encode(&self, table: &Table) -> Bytes {
        let mut body = ByteWriter::with_capacity(self.key.len() + 32);
        body.put_u128(table.id.0);
        body.put_prefixed(&self.key);
        body.put_varint(self.in_partition);
        body.put_u8(self.left.is_some().into());
        if let Some(left) = self.left {
            body.put_varint(left);
        }
        let mut out = ByteWriter::with_capacity(body.len() + CHECKED_FROM);
        out.put_u8(VERSION);
        out.put_u32(crc32c(body.as_slice()));
        out.put_slice(body.as_slice());
        out.freeze()
    }

    /// # Errors
    /// Bytes that this server did not make, or made for another table.
    pub fn decode(bytes: &Bytes, table: &Table) -> CqlResult<PagingState> {
        let invalid = |detail: &str| CqlError::Protocol(format!("Invalid value for the paging state ({detail})"));
        let mut input = ByteReader::new(bytes.clone());
        let read = |input: &mut ByteReader| -> Result<(u8, u32), ShortInput> { Ok((input.u8()?, input.u32()?)) };
        let (version, checksum) = read(&mut input).map_err(|_| invalid("too short"))?;
        if version != VERSION {
            return Err(invalid("unknown version"));
        }
        if crc32c(bytes.get(CHECKED_FROM..).unwrap_or_default()) != checksum {
            return Err(invalid("wrong checksum"));
        }
        let (id, state) = decode_body(&mut input).map_err(|_| invalid("malformed"))?;
        if id != table.id.0 {
            return Err(invalid("of another table"));
        }
        Ok(state)
    }
}

fn decode_body(input: &mut ByteReader) -> Result<(u128, PagingState), ShortInput> {
    let id = input.u128()?;
    let key = input.prefixed()?;
    let in_partition = input.varint()?;
    let left = if input.u8()? == 0 { None } else { Some(input.varint()?) };
    input.end()?;
    Ok((id, PagingState { key, in_partition, left }))
}
