//! What a node has promised of its clock: the file `clock`, an upper bound of every timestamp that was given. A process that
//! begins after it gives none that an earlier one may have given, whatever became of the wall clock meanwhile.
//!
//! ```text
//!   file = slot slot                                (4096 bytes each, so that a torn write damages one of them)
//!   slot = "HOLONCLK" version:u32 number:u64 promise:u64 (microseconds since 1970) crc:u32, zeroes
//! ```
//! Slots are written in turn, each with the next number; the good one with the higher number counts. A slot that was torn
//! while it was written was not acknowledged, so nothing was stamped by it.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, crc32c};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskErrorKind, DiskFile, OpenOptions};
use thiserror::Error;

const FILE: &str = "clock";
const FILE_NEW: &str = "clock.new";
const MAGIC: &[u8; 8] = b"HOLONCLK";
const FORMAT_VERSION: u32 = 1;
const SLOT_BYTES: usize = 4096;
const SLOTS: usize = 2;

#[derive(Debug, Error)]
pub enum ClockFileError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error(
        "file `clock` in the data directory was written by a newer format ({found}; this binary knows up to \
         {FORMAT_VERSION}): start a newer holon"
    )]
    Newer { found: u32 },
    #[error(
        "file `clock` in the data directory is damaged in both of its slots: make sure that the clock of this machine is \
         right, then remove the file"
    )]
    Damaged,
}

/// The open file of a node that runs.
pub(crate) struct ClockFile {
    file: DiskFile,
    number: u64,
}

impl ClockFile {
    /// Opens it, or makes it with the promise 0; gives what was promised last.
    pub(crate) async fn open(disk: &DiskClient) -> Result<(ClockFile, i64), ClockFileError> {
        match disk.open(FILE, OpenOptions::default()).await {
            Ok(file) => {
                let bytes = file.read_at(0, SLOTS * SLOT_BYTES).await?;
                let (number, promise) = newest(&bytes)?;
                Ok((ClockFile { file, number }, promise))
            }
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                // Both slots are there before the name is: a file with one is a damaged one.
                let file = disk.open(FILE_NEW, OpenOptions { create: true, direct: false }).await?;
                file.truncate(0).await?;
                for number in 0..SLOTS as u64 {
                    file.write_at(place(number), slot(number, 0)).await?;
                }
                file.sync().await?;
                disk.rename(FILE_NEW, FILE).await?;
                disk.sync_dir("").await?;
                Ok((ClockFile { file, number: SLOTS as u64 - 1 }, 0))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Durable when it returns. After an error nobody knows what the file says: the shard must stop.
    pub(crate) async fn promise(&mut self, promise: i64) -> Result<(), DiskError> {
        let number = self.number + 1;
        self.file.write_durably_at(place(number), slot(number, promise)).await?;
        self.number = number;
        Ok(())
    }
}

fn place(number: u64) -> u64 {
    number % SLOTS as u64 * SLOT_BYTES as u64
}

fn slot(number: u64, promise: i64) -> DiskBuffer {
    let mut out = ByteWriter::with_capacity(64);
    out.put_slice(MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_u64(number);
    out.put_u64(promise.max(0).cast_unsigned());
    let crc = crc32c(out.as_slice());
    out.put_u32(crc);
    let mut buffer = DiskBuffer::from(out.as_slice());
    buffer.pad_to(SLOT_BYTES);
    buffer
}

enum Slot {
    Good { number: u64, promise: i64 },
    Newer(u32),
    Damaged,
}

fn read_slot(bytes: Bytes) -> Result<Slot, ShortInput> {
    let mut input = ByteReader::new(bytes.clone());
    if input.bytes(MAGIC.len())? != MAGIC[..] {
        return Ok(Slot::Damaged);
    }
    let version = input.u32()?;
    if version > FORMAT_VERSION {
        return Ok(Slot::Newer(version));
    }
    let (number, promise) = (input.u64()?, input.u64()?);
    let end = input.offset();
    if version == 0 || input.u32()? != crc32c(&bytes[..end]) {
        return Ok(Slot::Damaged);
    }
    Ok(i64::try_from(promise).map_or(Slot::Damaged, |promise| Slot::Good { number, promise }))
}

fn newest(bytes: &Bytes) -> Result<(u64, i64), ClockFileError> {
    let mut found = None;
    for at in (0..SLOTS).map(|number| number * SLOT_BYTES) {
        let slot = bytes.slice(at.min(bytes.len())..(at + SLOT_BYTES).min(bytes.len()));
        match read_slot(slot) {
            Ok(Slot::Newer(found)) => return Err(ClockFileError::Newer { found }),
            Ok(Slot::Good { number, promise }) => found = found.max(Some((number, promise))),
            Ok(Slot::Damaged) | Err(ShortInput { .. }) => {}
        }
    }
    found.ok_or(ClockFileError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    async fn opened(disk: DiskClient) -> Result<i64, ClockFileError> {
        ClockFile::open(&disk).await.map(|(_, promise)| promise)
    }

    #[test]
    fn the_latest_promise_counts_also_if_it_is_a_lower_one() {
        let test = TestShard::new(MemoryDisk::new());
        let disk = test.shard.disk();
        test.block_on(async move {
            assert_eq!(opened(disk.clone()).await.expect("made"), 0);
            for promise in [70, 90, 80] {
                let (mut file, _) = ClockFile::open(&disk).await.expect("opens");
                file.promise(promise).await.expect("written");
                assert_eq!(opened(disk.clone()).await.expect("opens"), promise);
            }
        });
    }

    #[test]
    fn a_slot_that_was_torn_leaves_the_promise_before_it_and_two_are_an_error() {
        let test = TestShard::new(MemoryDisk::new());
        let disk = test.shard.disk();
        test.block_on(async move {
            let (mut file, _) = ClockFile::open(&disk).await.expect("made");
            file.promise(70).await.expect("written");
            file.promise(90).await.expect("written");
            let raw = disk.open(FILE, OpenOptions::default()).await.expect("opens");
            raw.write_at(place(file.number) + 20, DiskBuffer::from(&b"torn"[..])).await.expect("written");
            assert_eq!(opened(disk.clone()).await.expect("one is good"), 70);
            raw.write_at(place(file.number + 1), DiskBuffer::from(&b"torn"[..])).await.expect("written");
            assert!(matches!(opened(disk.clone()).await, Err(ClockFileError::Damaged)));
            let mut newer = slot(9, 100);
            newer.as_mut_slice()[8] = 77;
            raw.write_at(0, newer).await.expect("written");
            assert!(matches!(opened(disk).await, Err(ClockFileError::Newer { .. })));
        });
    }
}
