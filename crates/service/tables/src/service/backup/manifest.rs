//! What a backup consists of. It is written last: a directory without it is no backup.
//!
//! ```text
//! BACKUP   = magic:u64 version:u32 length:u64 content crc32c:u32    (of all before it)
//! content  = backup:u64 taken_micros:i64 made_by:text scope:text nodes:varint away:list(u128) schema:prefixed
//!            accounts:list(text text) files:list(file) batches:option(file)
//! file     = tablet:u64 bytes:varint blocks:varint rows:varint chain:u32
//! ```

use super::files::{BackupError, FileEntry, damaged, open};
use super::limits::MANIFEST_BYTES_MAX;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput, TabletId, crc32c};
use holon_kernel::{DiskBuffer, DiskClient, OpenOptions};

pub const NAME: &str = "BACKUP";
const MAGIC: u64 = u64::from_le_bytes(*b"HOLONBKP");
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// A random number, which all its files have too.
    pub backup: u64,
    /// When writes were held, by the clock of the node that took it.
    pub taken_micros: i64,
    /// The version of the program.
    pub made_by: String,
    /// What was asked for: nothing, a keyspace, or a table with its keyspace.
    pub scope: String,
    /// Members of the cluster then, and those of them that had no part.
    pub nodes: u32,
    pub away: Vec<NodeId>,
    /// [`crate::schema::codec::encode_schema`] of what is in it.
    pub schema: Bytes,
    /// Names and hashes of passwords; none if only a part was asked for.
    pub accounts: Vec<(String, String)>,
    /// Of tablets that are not empty, by tablet.
    pub files: Vec<FileEntry>,
    pub batches: Option<FileEntry>,
}

impl Manifest {
    pub fn encode(&self) -> Bytes {
        let mut content = ByteWriter::new();
        content.put_u64(self.backup);
        content.put_i64(self.taken_micros);
        content.put_prefixed(self.made_by.as_bytes());
        content.put_prefixed(self.scope.as_bytes());
        content.put_varint(self.nodes.into());
        content.put_varint(self.away.len() as u64);
        self.away.iter().for_each(|node| content.put_u128(node.0));
        content.put_prefixed(&self.schema);
        content.put_varint(self.accounts.len() as u64);
        for (name, hash) in &self.accounts {
            content.put_prefixed(name.as_bytes());
            content.put_prefixed(hash.as_bytes());
        }
        content.put_varint(self.files.len() as u64);
        self.files.iter().for_each(|file| put_file(&mut content, file));
        content.put_u8(self.batches.is_some().into());
        self.batches.iter().for_each(|file| put_file(&mut content, file));
        let mut out = ByteWriter::with_capacity(HEAD_BYTES + content.len() + 4);
        out.put_u64(MAGIC);
        out.put_u32(VERSION);
        out.put_u64(content.len() as u64);
        out.put_slice(content.as_slice());
        out.put_u32(crc32c(out.as_slice()));
        out.freeze()
    }

    /// # Errors
    /// Damage, with its place; a newer format.
    pub fn decode(bytes: &Bytes, path: &str) -> Result<Manifest, BackupError> {
        let cut = |short: ShortInput| damaged(path, short.offset, "the manifest is cut off");
        let mut head = ByteReader::new(bytes.clone());
        if head.u64().map_err(cut)? != MAGIC {
            return Err(damaged(path, 0, "this is not the manifest of a backup"));
        }
        let version = head.u32().map_err(cut)?;
        if version > VERSION {
            return Err(BackupError::Newer { file: path.to_owned(), version });
        }
        let length = head.u64().map_err(cut)?;
        if length.checked_add(HEAD_BYTES as u64 + 4) != Some(bytes.len() as u64) {
            return Err(damaged(path, 12, "the manifest does not have the length that it says"));
        }
        let end = bytes.len() - 4;
        if crc32c(&bytes[..end]).to_le_bytes() != bytes[end..] {
            return Err(damaged(path, end, "the checksum of the manifest is wrong"));
        }
        let mut input = ByteReader::new(bytes.slice(HEAD_BYTES..end));
        read_content(&mut input).map_err(|short| damaged(path, HEAD_BYTES + short.offset, "the manifest is malformed"))
    }

    /// Makes the directory a backup. The names of all other files are durable before.
    pub async fn store(&self, disk: &DiskClient, directory: &str) -> Result<(), BackupError> {
        let bytes = self.encode();
        if bytes.len() > MANIFEST_BYTES_MAX {
            let what = "the manifest";
            return Err(BackupError::TooLarge { what, size: bytes.len(), limit: MANIFEST_BYTES_MAX });
        }
        let (draft, path) = (format!("{directory}/{NAME}.new"), format!("{directory}/{NAME}"));
        let file = disk.open(&draft, OpenOptions { create: true, direct: false }).await?;
        file.write_at(0, DiskBuffer::from(&bytes[..])).await?;
        file.sync().await?;
        disk.sync_dir(directory).await?;
        disk.rename(&draft, &path).await?;
        disk.sync_dir(directory).await?;
        Ok(())
    }

    pub async fn load(disk: &DiskClient, directory: &str) -> Result<Manifest, BackupError> {
        let path = format!("{directory}/{NAME}");
        let file = open(disk, &path).await?;
        let size = usize::try_from(file.length()).unwrap_or(usize::MAX);
        if size > MANIFEST_BYTES_MAX {
            return Err(BackupError::TooLarge { what: "the manifest", size, limit: MANIFEST_BYTES_MAX });
        }
        Manifest::decode(&file.read_at(0, size).await?, &path)
    }

    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().chain(&self.batches).map(|file| file.bytes).sum()
    }
}

fn put_file(out: &mut ByteWriter, file: &FileEntry) {
    out.put_u64(file.tablet.0);
    out.put_varint(file.bytes);
    out.put_varint(file.blocks);
    out.put_varint(file.rows);
    out.put_u32(file.chain);
}

fn read_file(input: &mut ByteReader) -> Result<FileEntry, ShortInput> {
    Ok(FileEntry {
        tablet: TabletId(input.u64()?),
        bytes: input.varint()?,
        blocks: input.varint()?,
        rows: input.varint()?,
        chain: input.u32()?,
    })
}

fn read_content(input: &mut ByteReader) -> Result<Manifest, ShortInput> {
    let (backup, taken_micros) = (input.u64()?, input.i64()?);
    let (made_by, scope) = (input.prefixed_str()?, input.prefixed_str()?);
    let offset = input.offset();
    let nodes = u32::try_from(input.varint()?).map_err(|_| ShortInput { offset })?;
    let away = (0..input.count()?).map(|_| input.u128().map(NodeId)).collect::<Result<_, _>>()?;
    let schema = input.prefixed()?;
    let accounts =
        (0..input.count()?).map(|_| Ok((input.prefixed_str()?, input.prefixed_str()?))).collect::<Result<_, _>>()?;
    let files = (0..input.count()?).map(|_| read_file(input)).collect::<Result<_, _>>()?;
    let batches = if input.u8()? == 0 { None } else { Some(read_file(input)?) };
    input.end()?;
    Ok(Manifest { backup, taken_micros, made_by, scope, nodes, away, schema, accounts, files, batches })
}
