//! Compression of bodies (v3, v4) and of segment payloads (v5).
//!
//! In v3 and v4 a compressed body is either a Snappy block or the uncompressed length (4 bytes, big endian) and an LZ4
//! block (section 5 of the v4 specification); in v5 only LZ4 exists and the lengths stand in the segment header. Every
//! decompression checks the announced length before it takes memory.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::CqlError;
use crate::frame::Version;
use crate::limits::{DECOMPRESSION_RATIO_FLOOR_BYTES, DECOMPRESSION_RATIO_MAX};

/// A compression that STARTUP may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    Lz4,
    /// v3 and v4 only.
    Snappy,
}

impl Compression {
    /// The compression that STARTUP names, in any case.
    ///
    /// # Errors
    /// A name that is unknown or not available in `version`.
    pub fn from_name(name: &str, version: Version) -> Result<Compression, CqlError> {
        if name.eq_ignore_ascii_case("lz4") {
            return Ok(Compression::Lz4);
        }
        if name.eq_ignore_ascii_case("snappy") && version < Version::V5 {
            return Ok(Compression::Snappy);
        }
        let available = if version < Version::V5 { "lz4 or snappy" } else { "lz4" };
        Err(CqlError::UnknownCompression { name: name.chars().take(64).collect(), version, available })
    }

    /// The name in STARTUP and SUPPORTED.
    pub fn name(self) -> &'static str {
        match self {
            Compression::Lz4 => "lz4",
            Compression::Snappy => "snappy",
        }
    }

    /// The compressed form of a body, or `None` if that is not shorter.
    pub fn compress_body(self, body: &[u8]) -> Option<BytesMut> {
        let packed = match self {
            Compression::Lz4 => {
                let block = lz4_compress_block(body);
                let mut packed = BytesMut::with_capacity(block.len() + 4);
                packed.put_u32(u32::try_from(body.len()).ok()?);
                packed.put_slice(&block);
                packed
            }
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(body).ok()?.as_slice().into(),
        };
        (packed.len() < body.len()).then_some(packed)
    }

    /// The body that `packed` holds.
    ///
    /// # Errors
    /// An announced length above `limit` (bytes) or implausibly far above the compressed one; bytes that do not
    /// decompress to exactly the announced length.
    pub fn decompress_body(self, packed: &[u8], limit: usize, stream: i16) -> Result<Bytes, CqlError> {
        let broken = |reason: String| CqlError::Decompression { stream: Some(stream), algorithm: self.name(), reason };
        if packed.is_empty() {
            return Err(broken("nothing is there".to_owned()));
        }
        let (length, block) = match self {
            Compression::Lz4 => {
                let Some((prefix, block)) = packed.split_first_chunk::<4>() else {
                    return Err(broken(format!("{} bytes are too few for the length", packed.len())));
                };
                (u32::from_be_bytes(*prefix) as usize, block)
            }
            Compression::Snappy => {
                (snap::raw::decompress_len(packed).map_err(|error| broken(error.to_string()))?, packed)
            }
        };
        check_length(packed.len(), length, limit, Some(stream))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut plain = vec![0; length];
        let written = match self {
            Compression::Lz4 => {
                lz4_flex::block::decompress_into(block, &mut plain).map_err(|error| broken(error.to_string()))?
            }
            Compression::Snappy => {
                let mut decoder = snap::raw::Decoder::new();
                decoder.decompress(block, &mut plain).map_err(|error| broken(error.to_string()))?
            }
        };
        if written != length {
            return Err(broken(format!("announced {length} bytes, found {written}")));
        }
        Ok(Bytes::from(plain))
    }
}

/// Refuses a length that is above the limit or implausible, before memory is taken for it.
fn check_length(compressed: usize, length: usize, limit: usize, stream: Option<i16>) -> Result<(), CqlError> {
    let plausible = compressed.saturating_mul(DECOMPRESSION_RATIO_MAX).max(DECOMPRESSION_RATIO_FLOOR_BYTES);
    let limit = limit.min(plausible);
    if length > limit {
        return Err(CqlError::DecompressedTooLarge { stream, compressed, length, limit });
    }
    Ok(())
}

/// `plain` as an LZ4 block without any prefix.
pub(crate) fn lz4_compress_block(plain: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress(plain)
}

/// The payload of a v5 segment. `length` comes from the segment header and has at most 17 bits.
pub(crate) fn lz4_decompress_segment(block: &[u8], length: usize) -> Result<Bytes, CqlError> {
    let broken = |reason: String| CqlError::Decompression { stream: None, algorithm: "lz4", reason };
    check_length(block.len(), length, crate::limits::SEGMENT_PAYLOAD_BYTES_MAX, None)?;
    let mut plain = vec![0; length];
    let written = lz4_flex::block::decompress_into(block, &mut plain).map_err(|error| broken(error.to_string()))?;
    if written != length {
        return Err(broken(format!("announced {length} bytes, found {written}")));
    }
    Ok(Bytes::from(plain))
}
