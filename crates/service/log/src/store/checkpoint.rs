//! What a shard's partitions are on the medium, in one file: so a start opens no file of a partition.
//!
//! ```text
//! log/checkpoints/<boot>-<shard>     written anew under another name, synced, renamed
//! file      = magic:u64 version:u32 boot:u32 shard:u32 shards:u32 count:u32 partition* crc32c:u32
//! partition = tablet:u64 life:u64 start:i64 end:i64 lsn:u64 active:u8 [base:i64 length:u64] producers epochs aborted
//! aborted   = count:varint transaction* count:varint base:i64*     of the segment that is written to; which others have some
//! ```

use crate::store::epochs::Epochs;
use crate::store::error::{LogError, damaged};
use crate::store::partition::{Flushed, Partition};
use crate::store::producers::Producers;
use crate::store::transactions::Aborted;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId, crc32c};
use holon_kernel::disk::OpenOptions;
use holon_kernel::{DiskBuffer, Shard};
use holon_wal::sync::{stop, sync_dir_or_stop, sync_or_stop};
use holon_wal::{Lsn, WalError};
use std::collections::BTreeMap;
use std::rc::Rc;

pub const CHECKPOINTS: &str = "log/checkpoints";
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONCKP");
const VERSION: u32 = 1;

/// A partition as a checkpoint has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub tablet: TabletId,
    /// The record of the log that made it.
    pub life: Lsn,
    pub start: i64,
    pub flushed: Flushed,
    pub producers: Rc<Producers>,
    pub epochs: Epochs,
    /// Transactions whose markers are in the segment that is written to.
    pub aborted: Vec<Aborted>,
    /// Segments before it that have some.
    pub aborted_in: Vec<i64>,
}

pub fn name(boot: u32, shard: u16) -> String {
    format!("{boot:08x}-{shard:04x}")
}

/// The boot and the shard of a checkpoint's file.
pub fn parse_name(name: &str) -> Option<(u32, u16)> {
    let (boot, shard) = name.split_once('-').filter(|(boot, shard)| boot.len() == 8 && shard.len() == 4)?;
    Some((u32::from_str_radix(boot, 16).ok()?, u16::from_str_radix(shard, 16).ok()?))
}

impl Stored {
    /// Of one of which all that is written is flushed.
    pub fn of(partition: &Partition) -> Stored {
        let flushed = partition.flushed.get();
        Stored {
            tablet: partition.id,
            life: partition.life,
            start: partition.start.get().min(flushed.end),
            flushed,
            producers: Rc::new(partition.settled.borrow().clone()),
            epochs: partition.epochs.borrow().below(flushed.end),
            aborted: partition.transactions.borrow().aborted_below(flushed.end).copied().collect(),
            aborted_in: partition.aborted.bases(),
        }
    }

    /// Of one that has nothing yet.
    pub fn empty(tablet: TabletId, life: Lsn, start: i64, flushed: Flushed) -> Stored {
        let (producers, epochs) = (Rc::default(), Epochs::default());
        Stored { tablet, life, start, flushed, producers, epochs, aborted: Vec::new(), aborted_in: Vec::new() }
    }

    fn encode(&self, out: &mut ByteWriter) {
        out.put_u64(self.tablet.0);
        out.put_u64(self.life.0);
        out.put_i64(self.start);
        out.put_i64(self.flushed.end);
        out.put_u64(self.flushed.lsn.0);
        out.put_u8(u8::from(self.flushed.active.is_some()));
        if let Some((base, length)) = self.flushed.active {
            out.put_i64(base);
            out.put_u64(length);
        }
        self.producers.encode(out);
        self.epochs.encode(out);
        out.put_varint(self.aborted.len() as u64);
        self.aborted.iter().for_each(|aborted| aborted.encode(out));
        out.put_varint(self.aborted_in.len() as u64);
        self.aborted_in.iter().for_each(|base| out.put_i64(*base));
    }

    fn decode(input: &mut ByteReader) -> Result<Stored, ShortInput> {
        let (tablet, life, start) = (TabletId(input.u64()?), Lsn(input.u64()?), input.i64()?);
        let (end, lsn) = (input.i64()?, Lsn(input.u64()?));
        let active = match input.u8()? {
            0 => None,
            _ => Some((input.i64()?, input.u64()?)),
        };
        let (producers, epochs) = (Rc::new(Producers::decode(input)?), Epochs::decode(input)?);
        let count = input.count()?;
        let aborted = (0..count).map(|_| Aborted::decode(input)).collect::<Result<_, _>>()?;
        let count = input.count()?;
        let aborted_in = (0..count).map(|_| input.i64()).collect::<Result<_, _>>()?;
        let flushed = Flushed { lsn, end, active };
        Ok(Stored { tablet, life, start, flushed, producers, epochs, aborted, aborted_in })
    }
}

/// What one of so many shards of a node has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Checkpoint {
    shards: u16,
    partitions: Vec<Stored>,
}

fn encode(boot: u32, shard: &Shard, partitions: &[Stored]) -> Bytes {
    let mut out = ByteWriter::with_capacity(64 + 64 * partitions.len());
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(boot);
    out.put_u32(u32::from(shard.id().0));
    out.put_u32(u32::from(shard.shards()));
    out.put_u32(partitions.len() as u32);
    partitions.iter().for_each(|partition| partition.encode(&mut out));
    out.put_u32(crc32c(out.as_slice()));
    out.freeze()
}

/// # Errors
/// It is damaged, of a newer format, or another file.
fn decode(bytes: &Bytes, path: &str, boot: u32, shard: u16) -> Result<Checkpoint, LogError> {
    let end = bytes.len().saturating_sub(4);
    if crc32c(&bytes[..end]).to_le_bytes() != bytes[end..] {
        return Err(damaged(path, 0, "the checksum of a checkpoint is wrong"));
    }
    let short = |error: ShortInput| damaged(path, error.offset as u64, "a checkpoint is cut off");
    let mut input = ByteReader::new(bytes.slice(..end));
    let (magic, version) = (input.u64().map_err(short)?, input.u32().map_err(short)?);
    if magic != MAGIC {
        return Err(damaged(path, 0, "this is no checkpoint of a log"));
    }
    if version > VERSION {
        return Err(WalError::NewerFormat { file: path.to_owned(), version, supported: VERSION }.into());
    }
    if (input.u32().map_err(short)?, input.u32().map_err(short)?) != (boot, u32::from(shard)) {
        return Err(damaged(path, 12, "this is the checkpoint of another shard"));
    }
    let shards = input.u32().map_err(short)?;
    let shards = u16::try_from(shards).ok().filter(|shards| *shards > shard);
    let shards = shards.ok_or_else(|| damaged(path, 20, "it is of more shards than a node has"))?;
    let count = input.u32().map_err(short)?;
    let partitions = (0..count).map(|_| Stored::decode(&mut input)).collect::<Result<_, _>>().map_err(short)?;
    input.end().map_err(short)?;
    Ok(Checkpoint { shards, partitions })
}

/// Puts a checkpoint in the place of the one before, durably.
pub async fn store(shard: &Rc<Shard>, boot: u32, partitions: &[Stored]) -> Result<(), LogError> {
    let name = name(boot, shard.id().0);
    let (path, new) = (format!("{CHECKPOINTS}/{name}"), format!("{CHECKPOINTS}/{name}.new"));
    let bytes = encode(boot, shard, partitions);
    let disk = shard.disk();
    let file = disk.open(&new, OpenOptions { create: true, direct: false }).await?;
    file.truncate(0).await?;
    file.write_at(0, DiskBuffer::from(&bytes[..])).await?;
    sync_or_stop(shard, &file).await?;
    if let Err(error) = disk.rename(&new, &path).await {
        return Err(stop(shard, format!("it is unknown which checkpoint is in force: {error}")).into());
    }
    sync_dir_or_stop(shard, CHECKPOINTS).await?;
    Ok(())
}

/// What this shard has now of the checkpoints of earlier boots. The newest of the shard that had a partition says all of it, also
/// that it was removed: what an older one says of it counts no longer, and its files may be gone.
pub async fn load(shard: &Rc<Shard>, boot: u32) -> Result<Vec<Stored>, LogError> {
    let disk = shard.disk();
    let mut names: Vec<(u32, u16)> =
        disk.list(CHECKPOINTS).await?.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    names.retain(|(of, _)| *of < boot);
    names.sort_unstable();
    let mut found = BTreeMap::new();
    for (of, number) in names {
        let path = format!("{CHECKPOINTS}/{}", name(of, number));
        let file = disk.open(&path, OpenOptions::default()).await?;
        let bytes = file.read_at(0, usize::try_from(file.length()).unwrap_or(0)).await?;
        let checkpoint = decode(&bytes, &path, of, number)?;
        found.retain(|tablet: &TabletId, _| tablet.shard(checkpoint.shards).0 != number);
        let is_ours = |stored: &Stored| stored.tablet.shard(shard.shards()) == shard.id();
        found.extend(checkpoint.partitions.into_iter().filter(is_ours).map(|stored| (stored.tablet, stored)));
    }
    Ok(found.into_values().collect())
}

/// Removes those of earlier boots: every shard has written its own.
pub async fn remove_old(shard: &Rc<Shard>, boot: u32) -> Result<(), LogError> {
    let disk = shard.disk();
    for entry in disk.list(CHECKPOINTS).await? {
        let is_left = entry.name.strip_suffix(".new").and_then(parse_name).is_some_and(|(of, _)| of < boot);
        if is_left || parse_name(&entry.name).is_some_and(|(of, _)| of < boot) {
            disk.remove(&format!("{CHECKPOINTS}/{}", entry.name)).await?;
        }
    }
    Ok(sync_dir_or_stop(shard, CHECKPOINTS).await?)
}
