//! The manifest of a tablet: which tables it consists of, in which runs, and up to where the log is in them. One small
//! file, replaced whole: written aside, synced, the directory synced, renamed, the directory synced again.
//!
//! ```text
//! manifest = magic:u64 version:u32 tablet:u64 sequence:u64 flushed:u64 runs:varint run* crc32c:u32
//! run      = id:varint tables:varint (table:u64 length:varint content_crc:u32)*
//! ```

use crate::error::{Malformed, StoreError, damaged};
use crate::limits::MANIFEST_BYTES_MAX;
use crate::table::TableId;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, TabletId, crc32c};
use holon_kernel::{DiskBuffer, OpenOptions, Shard};
use holon_wal::Lsn;
use holon_wal::sync::{stop, sync_dir_or_stop, sync_or_stop};

pub const MANIFEST_NAME: &str = "MANIFEST";
const TEMPORARY_NAME: &str = "MANIFEST.new";
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONMAN");
const MANIFEST_VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    pub table: TableId,
    pub length: u64,
    pub content_crc: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    pub id: u64,
    /// Ascending and disjoint.
    pub tables: Vec<TableEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub tablet: TabletId,
    /// One more with each version of the manifest.
    pub sequence: u64,
    /// Records of the log up to here are in tables, or were truncated: they are never replayed again.
    pub flushed: Lsn,
    pub runs: Vec<RunEntry>,
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = ByteWriter::new();
        out.put_u64(MAGIC);
        out.put_u32(MANIFEST_VERSION);
        out.put_u64(self.tablet.0);
        out.put_u64(self.sequence);
        out.put_u64(self.flushed.0);
        out.put_varint(self.runs.len() as u64);
        for run in &self.runs {
            out.put_varint(run.id);
            out.put_varint(run.tables.len() as u64);
            for entry in &run.tables {
                out.put_u64(entry.table.0);
                out.put_varint(entry.length);
                out.put_u32(entry.content_crc);
            }
        }
        let crc = crc32c(out.as_slice());
        out.put_u32(crc);
        out.as_slice().to_vec()
    }

    pub fn decode(bytes: &Bytes, file: &str) -> Result<Manifest, StoreError> {
        let Some(body) = bytes.len().checked_sub(4) else {
            return Err(damaged(file, bytes.len() as u64, "the manifest is cut off"));
        };
        let mut reader = ByteReader::new(bytes.slice(..body));
        let in_file = |error: Malformed| error.in_file(file, 0);
        let number = |reader: &mut ByteReader| reader.u64().map_err(|short| in_file(short.into()));
        if number(&mut reader)? != MAGIC {
            return Err(damaged(file, 0, "this is not a manifest"));
        }
        let crc = bytes[body..].iter().rev().fold(0u32, |crc, byte| (crc << 8) | u32::from(*byte));
        if crc != crc32c(&bytes[..body]) {
            return Err(damaged(file, body as u64, "the checksum of the manifest is wrong"));
        }
        let version = reader.u32().map_err(|short| in_file(short.into()))?;
        if version > MANIFEST_VERSION {
            return Err(StoreError::NewerFormat { file: file.to_owned(), version, supported: MANIFEST_VERSION });
        }
        Self::decode_body(reader).map_err(in_file)
    }

    fn decode_body(mut reader: ByteReader) -> Result<Manifest, Malformed> {
        let tablet = TabletId(reader.u64()?);
        let sequence = reader.u64()?;
        let flushed = Lsn(reader.u64()?);
        let mut runs = Vec::new();
        for _ in 0..reader.count()? {
            let id = reader.varint()?;
            let mut tables = Vec::new();
            for _ in 0..reader.count()? {
                let table = TableId(reader.u64()?);
                tables.push(TableEntry { table, length: reader.varint()?, content_crc: reader.u32()? });
            }
            runs.push(RunEntry { id, tables });
        }
        reader.end()?;
        Ok(Manifest { tablet, sequence, flushed, runs })
    }

    /// Reads the manifest of a directory; `None` if there is none.
    pub async fn load(shard: &Shard, directory: &str, tablet: TabletId) -> Result<Option<Manifest>, StoreError> {
        let path = format!("{directory}/{MANIFEST_NAME}");
        let file = match shard.disk().open(&path, OpenOptions::default()).await {
            Ok(file) => file,
            Err(error) if error.kind == holon_kernel::DiskErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if file.length() > MANIFEST_BYTES_MAX {
            return Err(damaged(&path, MANIFEST_BYTES_MAX, "the file is too long for a manifest"));
        }
        let bytes = file.read_at(0, file.length() as usize).await?;
        let manifest = Manifest::decode(&bytes, &path)?;
        if manifest.tablet != tablet {
            return Err(damaged(&path, 12, format!("this is the manifest of tablet {}", manifest.tablet)));
        }
        Ok(Some(manifest))
    }

    /// Replaces the manifest of a directory, durably. An error leaves the old one in force; if that cannot be said, the
    /// shard stops.
    pub async fn store(&self, shard: &Shard, directory: &str) -> Result<(), StoreError> {
        let temporary = format!("{directory}/{TEMPORARY_NAME}");
        let file = shard.disk().open(&temporary, OpenOptions { create: true, direct: false }).await?;
        if file.length() > 0 {
            file.truncate(0).await?;
        }
        file.write_at(0, DiskBuffer::from(self.encode().as_slice())).await?;
        sync_or_stop(shard, &file).await?;
        drop(file);
        // The tables it names first: a disk may keep a later change of a directory and lose an earlier one.
        sync_dir_or_stop(shard, directory).await?;
        let path = format!("{directory}/{MANIFEST_NAME}");
        if let Err(error) = shard.disk().rename(&temporary, &path).await {
            return Err(stop(shard, format!("it is unknown which manifest is in force: {error}")).into());
        }
        Ok(sync_dir_or_stop(shard, directory).await?)
    }
}
