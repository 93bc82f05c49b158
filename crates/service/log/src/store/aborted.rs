//! The aborted transactions of segments that are full: which of them have some, and a file for each of those (KIP-98's transaction index).
//!
//! ```text
//! log/partitions/<tablet>-<life>/<offset of its first record>.txnindex
//! file  = magic:u64 version:u32 base:i64 length:u64 (of the segment) count:u32 entry* crc32c:u32
//! entry = producer:i64 first:i64 last:i64 (the marker's offset) last stable offset:i64
//! ```
//! The checkpoint says which segments have one, and it is synced before that. One that is missing all the same, or damaged, is made again from
//! the batches of its segment and of those before it. A segment without aborted transactions has none, and costs nothing.

use crate::store::Inner;
use crate::store::error::LogError;
use crate::store::partition::Partition;
use crate::store::segment::Segment;
use crate::store::transactions::{Aborted, Transactions};
use crate::store::writer::segments_of;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, crc32c};
use holon_kafka::batch::HEADER_BYTES;
use holon_kafka::{Attributes, Marker};
use holon_kernel::disk::OpenOptions;
use holon_kernel::{DiskBuffer, DiskClient};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

const MAGIC: u64 = u64::from_le_bytes(*b"HOLONTXN");
const VERSION: u32 = 1;

/// Segments that are full and have aborted transactions, by their first offset; `None`: not read yet.
#[derive(Default)]
pub struct AbortedOfSegments(RefCell<BTreeMap<i64, Option<Rc<[Aborted]>>>>);

impl AbortedOfSegments {
    pub fn new(bases: impl IntoIterator<Item = i64>) -> AbortedOfSegments {
        AbortedOfSegments(RefCell::new(bases.into_iter().map(|base| (base, None)).collect()))
    }

    pub fn bases(&self) -> Vec<i64> {
        self.0.borrow().keys().copied().collect()
    }

    pub fn has(&self, base: i64) -> bool {
        self.0.borrow().contains_key(&base)
    }

    pub fn know(&self, base: i64, aborted: Rc<[Aborted]>) {
        self.0.borrow_mut().insert(base, Some(aborted));
    }

    /// Of segments that are not there any more.
    pub fn forget(&self, is_gone: impl Fn(i64) -> bool) {
        self.0.borrow_mut().retain(|base, _| !is_gone(*base));
    }

    /// From the segment on that may have the marker of a transaction with records from this offset on.
    fn from(&self, offset: i64) -> Vec<i64> {
        let bases = self.0.borrow();
        let first = bases.range(..=offset).next_back().map_or(offset, |(base, _)| *base);
        bases.range(first..).map(|(base, _)| *base).collect()
    }

    fn known(&self, base: i64) -> Option<Rc<[Aborted]>> {
        self.0.borrow().get(&base).cloned().flatten()
    }
}

/// The base offset of the segment whose file it is, by the name.
pub fn aborted_base_of(name: &str) -> Option<i64> {
    name.strip_suffix(".txnindex").filter(|digits| digits.len() == 20)?.parse().ok()
}

pub fn encode(base: i64, length: u64, aborted: &[Aborted]) -> Bytes {
    let mut out = ByteWriter::with_capacity(36 + Aborted::BYTES * aborted.len());
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_i64(base);
    out.put_u64(length);
    out.put_u32(aborted.len() as u32);
    aborted.iter().for_each(|aborted| aborted.encode(&mut out));
    out.put_u32(crc32c(out.as_slice()));
    out.freeze()
}

/// `None`: it is not that of a segment which begins at `base` and has so many bytes.
pub fn decode(bytes: &Bytes, base: i64, length: u64) -> Option<Vec<Aborted>> {
    let end = bytes.len().checked_sub(4)?;
    let mut input = ByteReader::new(bytes.slice(..end));
    let is_ours = crc32c(&bytes[..end]).to_le_bytes() == bytes[end..]
        && (input.u64().ok()?, input.u32().ok()?) == (MAGIC, VERSION)
        && (input.i64().ok()?, input.u64().ok()?) == (base, length);
    if !is_ours {
        return None;
    }
    let count = input.u32().ok()?;
    let aborted = (0..count).map(|_| Aborted::decode(&mut input)).collect::<Result<_, _>>().ok()?;
    input.end().ok()?;
    Some(aborted)
}

/// The transactions that were aborted and may have records from `offset` on and before `below`, in the order of their markers.
pub async fn aborted(inner: &Inner, partition: &Partition, offset: i64, below: i64) -> Result<Vec<Aborted>, LogError> {
    // What is in memory goes to a segment's file while files are read: so both are looked at in one moment.
    let bases = partition.aborted.from(offset);
    let overlaps = |aborted: &&Aborted| aborted.overlaps(offset, below);
    let newest: Vec<Aborted> = partition.transactions.borrow().aborted().filter(overlaps).copied().collect();
    let mut found = Vec::new();
    for base in bases {
        let of_segment = match partition.aborted.known(base) {
            Some(known) => known,
            None => read_or_make(inner, partition, base).await?,
        };
        for aborted in of_segment.iter() {
            if aborted.overlaps(offset, below) {
                found.push(*aborted);
            }
            if aborted.last_stable_offset >= below {
                return Ok(found);
            }
        }
    }
    found.extend(newest);
    Ok(found)
}

async fn read_or_make(inner: &Inner, partition: &Partition, base: i64) -> Result<Rc<[Aborted]>, LogError> {
    let segments = segments_of(inner, partition).await?;
    let _writing = partition.writing.enter(&inner.shard).await?;
    of_segment(inner, partition, &segments, base).await
}

/// Of a segment that is full, while nobody else writes files of the partition.
pub async fn of_segment(
    inner: &Inner,
    partition: &Partition,
    segments: &[Rc<Segment>],
    base: i64,
) -> Result<Rc<[Aborted]>, LogError> {
    if let Some(known) = partition.aborted.known(base) {
        return Ok(known);
    }
    let is_gone = !partition.aborted.has(base) || partition.removed.get();
    let at = segments.iter().position(|segment| segment.base == base).filter(|_| !is_gone);
    let Some(at) = at else { return Ok(Rc::default()) };
    let (disk, segment) = (inner.shard.disk(), &segments[at]);
    let aborted: Rc<[Aborted]> = match segment.stored_aborted(&disk).await? {
        Some(aborted) => aborted.into(),
        None => {
            (inner.options.tell)(format!("{} is missing or damaged, and is made again", segment.aborted_path()));
            let aborted = make(&disk, &segments[..=at]).await?;
            segment.store_aborted(&disk, &aborted).await?;
            aborted.into()
        }
    };
    partition.aborted.know(base, aborted.clone());
    Ok(aborted)
}

/// From the batches of the last of these segments and of all before it. A transaction that began before the first of them has no records
/// left but those that are found.
async fn make(disk: &DiskClient, segments: &[Rc<Segment>]) -> Result<Vec<Aborted>, LogError> {
    let mut transactions = Transactions::default();
    for segment in segments {
        let look = |header: &holon_kafka::BatchHeader, whole: &Bytes| {
            let marker = Marker::of(header, &whole[HEADER_BYTES..]);
            let is_data = !header.attributes.has(Attributes::CONTROL);
            if header.attributes.has(Attributes::TRANSACTIONAL) && (is_data || marker.is_some()) {
                transactions.add(header, marker);
            }
        };
        segment.each(disk, 0..segment.length.get(), look).await?;
    }
    let base = segments.last().map_or(0, |segment| segment.base);
    Ok(transactions.aborted().filter(|aborted| aborted.last_offset >= base).copied().collect())
}

impl Segment {
    pub fn aborted_path(&self) -> String {
        self.path_of("txnindex")
    }

    /// Writes the file of its aborted transactions, without a sync.
    pub async fn store_aborted(&self, disk: &DiskClient, aborted: &[Aborted]) -> Result<(), LogError> {
        self.has_aborted.set(true);
        self.aborted_unsynced.set(true);
        let bytes = encode(self.base, self.length.get(), aborted);
        let file = disk.open(&self.aborted_path(), OpenOptions { create: true, direct: false }).await?;
        file.truncate(0).await?;
        file.write_at(0, DiskBuffer::from(&bytes[..])).await?;
        Ok(())
    }

    async fn stored_aborted(&self, disk: &DiskClient) -> Result<Option<Vec<Aborted>>, LogError> {
        let Ok(file) = disk.open(&self.aborted_path(), OpenOptions::default()).await else { return Ok(None) };
        let bytes = file.read_at(0, usize::try_from(file.length()).unwrap_or(0)).await?;
        Ok(decode(&bytes, self.base, self.length.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_segment_is_read_as_it_was_written_and_any_damage_is_noticed() {
        let one = |number: i64| Aborted {
            producer_id: number,
            first_offset: 10 + number,
            last_offset: 20 + number,
            last_stable_offset: 15 + number,
        };
        let aborted = [one(1), one(2), one(3)];
        let bytes = encode(10, 4096, &aborted);
        assert_eq!(decode(&bytes, 10, 4096), Some(aborted.to_vec()));
        assert_eq!(decode(&bytes, 11, 4096), None, "of another segment");
        assert_eq!(decode(&bytes, 10, 4095), None, "of the same segment in another life");
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged.into(), 10, 4096), None, "byte {at}");
            assert_eq!(decode(&bytes.slice(..at), 10, 4096), None, "cut off at {at}");
        }
    }
}
