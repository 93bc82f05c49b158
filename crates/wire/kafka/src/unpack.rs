//! The records of a batch as its producer packed them, unpacked as they are read. Packed bytes come from strangers: what says that it is more
//! than it may be is not believed, and all that takes them apart is safe Rust but zstd.

use crate::batch::Compression;
use flate2::read::MultiGzDecoder;
use std::io::{self, Cursor, Read};

/// How the Java client frames Snappy: this, two version numbers, then blocks, each after its length.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// What unpacking may take.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Of one batch, unpacked.
    pub bytes: u64,
    /// The largest window of a zstd stream, as a power of two: 23 does for all levels up to 19.
    pub zstd_window_log: u32,
}

/// What a batch has behind its header, unpacked.
///
/// # Errors
/// It is not of that codec. More of that kind comes while it is read, also when there is more than the limit.
pub fn unpack<'a>(codec: Compression, packed: &'a [u8], limits: UnpackLimits) -> io::Result<Unpacked<'a>> {
    let input: Box<dyn Read + 'a> = match codec {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Compression::Snappy => Box::new(Cursor::new(unpack_snappy(packed, limits.bytes)?)),
        Compression::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(limits.zstd_window_log)?;
            Box::new(decoder)
        }
    };
    Ok(Unpacked { input, left: limits.bytes, most: limits.bytes })
}

/// A reader of what is unpacked; there is no end at the limit, but an error.
pub struct Unpacked<'a> {
    input: Box<dyn Read + 'a>,
    left: u64,
    most: u64,
}

impl Read for Unpacked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            return match self.input.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(too_much(self.most)),
            };
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.input.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// With the frames of the Java client, or as one block, as librdkafka sends it.
fn unpack_snappy(packed: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        unpack_block(packed, &mut out, most)?;
        return Ok(out);
    }
    let mut rest = packed.get(XERIAL_HEADER_BYTES..).ok_or_else(cut_off)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        unpack_block(block, &mut out, most)?;
        rest = after;
    }
    Ok(out)
}

fn unpack_block(block: &[u8], out: &mut Vec<u8>, most: u64) -> io::Result<()> {
    let length = snap::raw::decompress_len(block).map_err(io::Error::from)?;
    let from = out.len();
    if (from + length) as u64 > most {
        return Err(too_much(most));
    }
    out.resize(from + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[from..]).map_err(io::Error::from)?;
    Ok(())
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a block of Snappy is cut off")
}

fn too_much(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("they unpack to more than {} MiB", most >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LIMITS: UnpackLimits = UnpackLimits { bytes: 1 << 20, zstd_window_log: 23 };

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(plain).expect("packed");
        out.finish().expect("packed")
    }

    fn snappy(plain: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(plain).expect("packed")
    }

    fn xerial(plain: &[u8]) -> Vec<u8> {
        let mut out = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for part in plain.chunks(1500) {
            let block = snappy(part);
            out.extend_from_slice(&(block.len() as u32).to_be_bytes());
            out.extend_from_slice(&block);
        }
        out
    }

    fn lz4(plain: &[u8]) -> Vec<u8> {
        let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
        out.write_all(plain).expect("packed");
        out.finish().expect("packed")
    }

    fn forms(plain: &[u8]) -> Vec<(Compression, Vec<u8>)> {
        let half = plain.len() / 2;
        vec![
            (Compression::None, plain.to_vec()),
            (Compression::Gzip, gzip(plain)),
            (Compression::Gzip, [gzip(&plain[..half]), gzip(&plain[half..])].concat()),
            (Compression::Snappy, snappy(plain)),
            (Compression::Snappy, xerial(plain)),
            (Compression::Lz4, lz4(plain)),
            (Compression::Zstd, zstd::encode_all(plain, 3).expect("packed")),
        ]
    }

    fn whole(codec: Compression, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpack(codec, packed, LIMITS)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_codec_unpacks_up_to_the_limit_and_no_further() {
        for length in [0, 1, 10_000, 1 << 20] {
            let plain: Vec<u8> = (0..length).map(|at: usize| (at / 7) as u8).collect();
            for (form, (codec, packed)) in forms(&plain).into_iter().enumerate() {
                assert!(whole(codec, &packed).is_ok_and(|found| found == plain), "{form} {codec:?} {length}");
            }
        }
        for (form, (codec, packed)) in forms(&vec![7; (1 << 20) + 1]).into_iter().enumerate() {
            let error = whole(codec, &packed).expect_err("too much").to_string();
            assert!(error.contains("more than 1 MiB"), "{form} {codec:?}: {error}");
        }
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_an_error() {
        for (form, (codec, packed)) in forms(&[7; 5000]).into_iter().enumerate().skip(1) {
            // Not between blocks of Snappy, for nothing says how many there are, nor in LZ4's mark of the end, which is not insisted on.
            for cut in [packed.len() - 6, packed.len() / 3 + 1] {
                assert!(whole(codec, &packed[..cut]).is_err(), "{form} {codec:?} cut at {cut}");
            }
            assert!(whole(codec, b"not that").is_err(), "{form} {codec:?}");
        }
        // A block that says it has 4 GiB.
        assert!(whole(Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
    }
}
