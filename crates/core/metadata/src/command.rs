//! What an entry of the log says: a service, and bytes that are the service's own.
//!
//! ```text
//!   command = version:u8 id:u128 service:u16 bytes
//! ```

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ServiceId, ShortInput};

const VERSION: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Chosen by the proposer, who may propose the same command again when it has heard nothing: it takes effect once.
    /// 0: from a time when nobody proposed twice.
    pub(crate) id: u128,
    pub(crate) service: ServiceId,
    pub(crate) bytes: Bytes,
}

impl Command {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = ByteWriter::with_capacity(24 + self.bytes.len());
        out.put_u8(VERSION);
        out.put_u128(self.id);
        out.put_u16(self.service.0);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Command, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        Ok(Command { id: input.u128()?, service: ServiceId(input.u16()?), bytes: input.rest() })
    }
}
