//! Who this data directory belongs to: the file `node`, written at first start and rewritten (its boot number) at each.
//!
//! ```text
//!   file    = "HOLONODE" version:u32 node:u128 boot:u32 [version 2: in_cluster:u8 [cluster]] crc:u32
//!   cluster = id:u128 founder:u128 count seeds: (node:u128 address:text)*
//! ```
//! In version 1 each node was a cluster of its own, which it founded.

use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput, crc32c};
use holon_kernel::{DiskBuffer, DiskClient, DiskError, DiskErrorKind, OpenOptions};
use std::net::SocketAddr;
use thiserror::Error;

/// The newest layout of a data directory that this binary knows.
pub const FORMAT_VERSION: u32 = 2;
const FORMAT_ALONE: u32 = 1;

const FILE: &str = "node";
const FILE_NEW: &str = "node.new";
const MAGIC: &[u8; 8] = b"HOLONODE";
const FILE_BYTES_MAX: usize = 1 << 20;

/// What may lie in a data directory before its first start ends: our lock and socket, and what a crash then leaves.
const OURS_BEFORE_FIRST_START: [&str; 6] = ["lock", "control.sock", "lost+found", FILE_NEW, "metadata", "cluster"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    /// Counts the starts: larger than at each earlier one.
    pub boot: u32,
    /// `None` until it has founded or joined one.
    pub cluster: Option<Cluster>,
}

/// The cluster a node belongs to, for life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub id: u128,
    /// The node that was there first: the only voter when the metadata log began.
    pub founder: NodeId,
    /// Members that were there when this node joined: whom it asks for the log before it knows more. None at the founder.
    pub seeds: Vec<(NodeId, SocketAddr)>,
}

impl Cluster {
    /// A cluster of one.
    pub fn founded_by(node: NodeId, id: u128) -> Cluster {
        Cluster { id, founder: node, seeds: Vec::new() }
    }

    /// As it is handed to a node that joins.
    pub fn encode(&self, out: &mut ByteWriter) {
        out.put_u128(self.id);
        out.put_u128(self.founder.0);
        out.put_varint(self.seeds.len() as u64);
        for (node, address) in &self.seeds {
            out.put_u128(node.0);
            out.put_prefixed(address.to_string().as_bytes());
        }
    }

    /// # Errors
    /// Cut or foreign bytes.
    pub fn decode(input: &mut ByteReader) -> Result<Cluster, ShortInput> {
        let (id, founder) = (input.u128()?, NodeId(input.u128()?));
        let count = input.count()?;
        let mut seeds = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let node = NodeId(input.u128()?);
            let offset = input.offset();
            let address = input.prefixed_str()?.parse().map_err(|_| ShortInput { offset })?;
            seeds.push((node, address));
        }
        Ok(Cluster { id, founder, seeds })
    }
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
            let bytes = file.read_at(0, FILE_BYTES_MAX).await?;
            let Identity { node, boot, cluster } = decode(bytes)?;
            let boot = boot.checked_add(1).ok_or(IdentityError::Damaged { detail: format!("boot number {boot}") })?;
            Identity { node, boot, cluster }
        }
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            let entries = disk.list("").await?;
            let foreign = entries.into_iter().find(|entry| !OURS_BEFORE_FIRST_START.contains(&entry.name.as_str()));
            if let Some(entry) = foreign {
                return Err(IdentityError::Foreign { found: entry.name });
            }
            Identity { node: fresh, boot: 1, cluster: None }
        }
        Err(error) => return Err(error.into()),
    };
    save(disk, &identity).await?;
    Ok(identity)
}

/// Writes down which cluster the node belongs to. Durable when it returns.
pub async fn save(disk: &DiskClient, identity: &Identity) -> Result<(), IdentityError> {
    let file = disk.open(FILE_NEW, OpenOptions { create: true, direct: false }).await?;
    file.truncate(0).await?;
    file.write_at(0, DiskBuffer::from(encode(identity).as_ref())).await?;
    file.sync().await?;
    disk.rename(FILE_NEW, FILE).await?;
    disk.sync_dir("").await?;
    Ok(())
}

fn encode(identity: &Identity) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_slice(MAGIC);
    out.put_u32(FORMAT_VERSION);
    out.put_u128(identity.node.0);
    out.put_u32(identity.boot);
    out.put_u8(identity.cluster.is_some().into());
    if let Some(cluster) = &identity.cluster {
        cluster.encode(&mut out);
    }
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
    let (node, boot) = (NodeId(input.u128().map_err(short)?), input.u32().map_err(short)?);
    let cluster = match found {
        FORMAT_ALONE => Some(Cluster::founded_by(node, node.0)),
        _ if input.u8().map_err(short)? == 0 => None,
        _ => Some(Cluster::decode(&mut input).map_err(short)?),
    };
    let identity = Identity { node, boot, cluster };
    let end = input.offset();
    if input.u32().map_err(short)? != crc32c(&bytes[..end]) {
        return Err(damaged("its checksum does not match"));
    }
    Ok(identity)
}
