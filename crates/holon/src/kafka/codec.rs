//! Batches that producers packed, unpacked for people.

use bytes::Bytes;
use holon_kafka::Compression;
use std::io::Read;

/// Of one batch, unpacked, bytes: what says more is not believed.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;

const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, and two versions.
const XERIAL_HEADER_BYTES: usize = 16;

pub fn unpack(codec: Compression, packed: Bytes) -> Result<Bytes, String> {
    match codec {
        Compression::None => Ok(packed),
        Compression::Gzip => read(flate2::read::MultiGzDecoder::new(&packed[..])),
        Compression::Snappy => snappy(&packed),
        Compression::Lz4 => read(lz4::Decoder::new(&packed[..]).map_err(|error| error.to_string())?),
        Compression::Zstd => read(zstd::stream::read::Decoder::new(&packed[..]).map_err(|error| error.to_string())?),
    }
}

fn read(from: impl Read) -> Result<Bytes, String> {
    let mut unpacked = Vec::new();
    let count = from.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
    if count as u64 > UNPACKED_BYTES_MAX { Err(too_much()) } else { Ok(unpacked.into()) }
}

fn too_much() -> String {
    format!("it has more than {} unpacked", crate::size::show_bytes(UNPACKED_BYTES_MAX))
}

/// One block, as librdkafka packs, or several in the frame of Xerial, as Java does.
fn snappy(packed: &[u8]) -> Result<Bytes, String> {
    if !packed.starts_with(XERIAL_MAGIC) {
        return block(packed).map(Bytes::from);
    }
    let mut rest = packed.get(XERIAL_HEADER_BYTES..).ok_or("it is cut off")?;
    let mut unpacked = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (one, more) = more.split_at_checked(length).ok_or("it is cut off")?;
        unpacked.extend(block(one)?);
        if unpacked.len() as u64 > UNPACKED_BYTES_MAX {
            return Err(too_much());
        }
        rest = more;
    }
    Ok(unpacked.into())
}

fn block(packed: &[u8]) -> Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
    if length as u64 > UNPACKED_BYTES_MAX {
        return Err(too_much());
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snappy_is_a_block_or_several_in_a_frame_and_is_not_believed() {
        let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).expect("packed");
        let (one, two) = (pack(b"abc"), pack(&[7; 1000]));
        assert_eq!(unpack(Compression::Snappy, one.clone().into()), Ok(Bytes::from_static(b"abc")));
        let mut framed = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for block in [&one, &two] {
            framed.extend_from_slice(&(block.len() as u32).to_be_bytes());
            framed.extend_from_slice(block);
        }
        let all = unpack(Compression::Snappy, framed.clone().into()).expect("unpacked");
        assert_eq!((all.len(), &all[..4]), (1003, &b"abc\x07"[..]));
        framed.truncate(framed.len() - 1);
        assert!(unpack(Compression::Snappy, framed.into()).is_err());
        // A block that says it has 4 GiB.
        assert!(unpack(Compression::Snappy, Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0])).is_err());
        for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            assert!(unpack(codec, Bytes::from_static(b"not that")).is_err(), "{codec:?}");
        }
    }
}
