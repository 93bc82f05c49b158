//! Who this data directory belongs to: the file `node`, written at first start and rewritten (its boot number) at each.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput, crc32c};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskErrorKind, OpenOptions};
use thiserror::Error;

/// The newest layout of a data directory that this binary knows.
pub const FORMAT_VERSION: u32 = 1;

const FILE: &str = "node";
const FILE_NEW: &str = "node.new";
const MAGIC: &[u8; 8] = b"HOLONODE";

/// What may lie in a data directory before its first start ends: our lock and socket, and what a crash then leaves.
const OURS_BEFORE_FIRST_START: [&str; 5] = ["lock", "control.sock", "lost+found", FILE_NEW, "metadata"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    /// Counts the starts: larger than at each earlier one.
    pub boot: u32,
}

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error(
        "the data directory was written by a newer format ({found}; this binary knows up to {FORMAT_VERSION}): start a newer holon, or choose another --data-dir"
    )]
    Newer { found: u32 },
    #[error(
        "the data directory holds something else ({found:?} and no file `node`): choose an empty or a Holon one with --data-dir"
    )]
    Foreign { found: String },
    #[error(
        "file `node` in the data directory is damaged ({detail}): restore it from a backup of the directory; nothing was changed"
    )]
    Damaged { detail: String },
}

/// Reads the identity, or makes it on an empty directory, and counts this start. Durable when it returns.
pub async fn load_or_create(disk: &DiskClient, fresh: NodeId) -> Result<Identity, IdentityError> {
    let identity = match disk.open(FILE, OpenOptions::default()).await {
        Ok(file) => {
            let bytes = file.read_at(0, 4096).await?;
            let Identity { node, boot } = decode(bytes)?;
            let boot = boot.checked_add(1).ok_or(IdentityError::Damaged { detail: format!("boot number {boot}") })?;
            Identity { node, boot }
        }
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            let entries = disk.list("").await?;
            let foreign = entries.into_iter().find(|entry| !OURS_BEFORE_FIRST_START.contains(&entry.name.as_str()));
            if let Some(entry) = foreign {
                return Err(IdentityError::Foreign { found: entry.name });
            }
            Identity { node: fresh, boot: 1 }
        }
        Err(error) => return Err(error.into()),
    };
    let file = disk.open(FILE_NEW, OpenOptions { create: true, direct: false }).await?;
    file.truncate(0).await?;
    file.write_at(0, DiskBuffer::from(encode(identity).as_ref())).await?;
    file.sync().await?;
    disk.rename(FILE_NEW, FILE).await?;
    disk.sync_dir("").await?;
    Ok(identity)
}

fn encode(identity: Identity) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_slice(MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_u128(identity.node.0);
    out.put_u32(identity.boot);
    let crc = crc32c(out.as_slice());
    out.put_u32(crc);
    out.freeze()
}

fn decode(bytes: Bytes) -> Result<Identity, IdentityError> {
    let damaged = |detail: &str| IdentityError::Damaged { detail: detail.to_string() };
    let short = |short: ShortInput| IdentityError::Damaged { detail: short.to_string() };
    let mut input = ByteReader::new(bytes.clone());
    if input.bytes(MAGIC.len()).map_err(short)? != MAGIC[..] {
        return Err(damaged("it does not begin with HOLONODE"));
    }
    let found = input.u32().map_err(short)?;
    if found > FORMAT_VERSION {
        return Err(IdentityError::Newer { found });
    }
    let identity = Identity { node: NodeId(input.u128().map_err(short)?), boot: input.u32().map_err(short)? };
    let end = input.offset();
    if input.u32().map_err(short)? != crc32c(&bytes[..end]) {
        return Err(damaged("its checksum does not match"));
    }
    Ok(identity)
}
