//! How a node comes in: a member proposes it, and hands it what it needs to take part.

use crate::cluster::{ClusterCommand, put_record, read_record};
use crate::identity::Cluster;
use crate::service::{METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kernel::NodeRecord;
use thiserror::Error;

const VERSION: u8 = 1;

/// Members a node that joins is told of: as many as it takes that some will answer.
const SEEDS_MAX: usize = 16;

/// What a node that wants in says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    pub record: NodeRecord,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdmitError {
    #[error("the cluster did not confirm the new node in time: try again")]
    Unknown,
    #[error("the request to join cannot be read ({0}): the other node is of another version")]
    Unreadable(#[from] ShortInput),
}

impl JoinRequest {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        put_record(&self.record, &mut out);
        out.freeze()
    }

    /// # Errors
    /// Bytes of another version, or cut.
    pub fn decode(bytes: Bytes) -> Result<JoinRequest, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let record = read_record(&mut input)?;
        input.end()?;
        Ok(JoinRequest { record })
    }
}

impl Metadata {
    /// Makes a node a member; any number of times. Whether it may come in was checked by whoever calls.
    ///
    /// # Errors
    /// No majority of the metadata group answered in time: the outcome is unknown.
    pub async fn admit(&self, request: JoinRequest) -> Result<Cluster, AdmitError> {
        let node = request.record.node;
        let command = ClusterCommand::Node(request.record).encode();
        self.propose(METADATA_SERVICE, command).await.map_err(|_| AdmitError::Unknown)?;
        let cluster = self.cluster.borrow();
        let others = cluster.records().iter().filter(|record| record.node != node).cloned().collect::<Vec<_>>();
        let own = self.shard.node();
        // This node first: it certainly has the entry.
        let (mine, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|record| record.node == own);
        let seeds = mine.into_iter().chain(others).take(SEEDS_MAX).map(|record| (record.node, record.address));
        let Cluster { id, founder, .. } = self.options.cluster;
        Ok(Cluster { id, founder, seeds: seeds.collect() })
    }
}
