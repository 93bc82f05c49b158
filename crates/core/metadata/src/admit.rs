//! How a node comes in: a member proposes it, and hands it what it needs to take part.

use crate::cluster_command::{ClusterCommand, put_record, read_record};
use crate::identity::Cluster;
use crate::service::{METADATA_SERVICE, Metadata};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShortInput};
use holon_kernel::NodeRecord;
use std::net::SocketAddr;
use thiserror::Error;

const VERSION: u8 = 2;

/// Members a node that joins is told of: as many as it takes that some will answer.
const SEEDS_MAX: usize = 16;

/// What a node that wants in says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    pub record: NodeRecord,
    /// The member whose place it takes, by the beginning of its id; empty: it comes in addition.
    pub replaces: String,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdmitError {
    #[error("the cluster did not confirm the new node in time: try again")]
    Unknown,
    #[error("cannot replace: {0}")]
    NoSuchNode(String),
    #[error(
        "node {0} is to be replaced but does not seem dead (yet): stop it, and wait until `holon status` says that it is down"
    )]
    StillAlive(NodeId),
    #[error(
        "{address} is the address of node {member}, which is a member: with --replace {member} this node takes its place, once that is \
         down; if it is elsewhere now, start it first; if it never comes back, `holon cluster forget {member}`"
    )]
    AddressTaken { address: SocketAddr, member: NodeId },
    #[error("the cluster refuses it: {0}")]
    Refused(String),
    #[error("the request to join cannot be read ({0}): the other node is of another version")]
    Unreadable(#[from] ShortInput),
}

impl JoinRequest {
    pub fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        put_record(&self.record, &mut out);
        out.put_prefixed(self.replaces.as_bytes());
        out.freeze()
    }

    /// # Errors
    /// Bytes of another version, or cut.
    pub fn decode(bytes: Bytes) -> Result<JoinRequest, ShortInput> {
        let mut input = ByteReader::new(bytes);
        if input.u8()? != VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let (record, replaces) = (read_record(&mut input)?, input.prefixed_str()?);
        input.end()?;
        Ok(JoinRequest { record, replaces })
    }
}

impl Metadata {
    /// Makes a node a member; any number of times. Whether it may come in was checked by whoever calls.
    ///
    /// # Errors
    /// No majority of the metadata group answered in time: the outcome is unknown. Or the node that it is to replace is none,
    /// or seems alive. Or another member is where this node says it is.
    pub async fn admit(&self, request: JoinRequest) -> Result<Cluster, AdmitError> {
        let node = request.record.node;
        if !request.replaces.is_empty() {
            self.prepare_replacement(node, &request.replaces).await?;
        }
        self.check_address(node, request.record.address)?;
        let command = ClusterCommand::Node(request.record).encode();
        let committed = self.propose(METADATA_SERVICE, command).await.map_err(|_| AdmitError::Unknown)?;
        committed.answer.map_err(|why| AdmitError::Refused(String::from_utf8_lossy(&why).into_owned()))?;
        let cluster = self.cluster.borrow();
        let others = cluster.records().iter().filter(|record| record.node != node).cloned().collect::<Vec<_>>();
        let own = self.shard.node();
        // This node first: it certainly has the entry.
        let (mine, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|record| record.node == own);
        let seeds = mine.into_iter().chain(others).take(SEEDS_MAX).map(|record| (record.node, record.address));
        let Cluster { id, founder, .. } = self.options.cluster;
        Ok(Cluster { id, founder, seeds: seeds.collect() })
    }

    /// Two members at one address: whoever lost its disk and is started anew, as a rule. The others would look for the one and find
    /// the other, drivers know nodes by their addresses, and a change would wait for the old one, which cannot come back.
    fn check_address(&self, new: NodeId, address: SocketAddr) -> Result<(), AdmitError> {
        let cluster = self.cluster.borrow();
        let replaced = cluster.replaced_by(new);
        let records = cluster.records();
        let mut others =
            records.iter().map(|record| record.node).filter(|node| ![Some(new), replaced].contains(&Some(*node)));
        match others.find(|member| self.is_at(*member, address)) {
            Some(member) => Err(AdmitError::AddressTaken { address, member }),
            None => Ok(()),
        }
    }

    /// Before the node is a member: the leader takes in whoever comes, and has to know in which way.
    async fn prepare_replacement(&self, new: NodeId, name: &str) -> Result<(), AdmitError> {
        if self.cluster.borrow().replaced_by(new).is_some() {
            return Ok(()); // it asks again
        }
        let dead = self.named(name).map_err(AdmitError::NoSuchNode)?;
        if self.cluster.borrow().state(dead).is_none() {
            return Err(AdmitError::NoSuchNode(format!("node {dead} owns nothing yet")));
        }
        if self.shard.is_alive(dead) {
            return Err(AdmitError::StillAlive(dead));
        }
        let command = ClusterCommand::Replacement { new, dead }.encode();
        self.propose(METADATA_SERVICE, command).await.map(|_| ()).map_err(|_| AdmitError::Unknown)
    }
}
