//! What a node is told about itself when it starts.

use crate::gate::{LEVEL, LEVEL_FACT, LEVEL_FIRST};
use crate::identity::Cluster;
use holon_base::NodeId;
use holon_kernel::NodeRecord;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The port of the door for peers, where nothing else was said.
pub const PEERS_PORT: u16 = 7000;

#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// From [`crate::load_or_create`].
    pub boot: u32,
    pub cluster: Cluster,
    /// Where other nodes reach this one.
    pub address: SocketAddr,
    pub data_center: String,
    pub rack: String,
    /// What services want clients of other nodes to be told about this one, by name.
    pub facts: Vec<(String, String)>,
    pub raft: holon_raft::Options,
    pub gossip: holon_member::Options,
    /// Voters of the metadata group that seem dead for so long are replaced, if there is another node for it.
    pub voter_patience: Duration,
    /// What this binary knows: less than [`LEVEL`] only in tests of upgrades.
    pub level: u32,
    pub log: LogOptions,
}

/// When the metadata log is cut, and how much of it stays for those that lag a little.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Entries since the last snapshot, and their bytes; whichever is reached first makes the next one.
    pub entries: u64,
    pub bytes: usize,
    pub keep_entries: u64,
}

impl Default for LogOptions {
    /// A change of topology writes a few entries a tablet: some thousand for a table or two.
    fn default() -> LogOptions {
        LogOptions { entries: 8192, bytes: 8 << 20, keep_entries: 2048 }
    }
}

impl NodeOptions {
    /// A node that founded its cluster, with everything else as usual.
    pub fn founder(node: NodeId, boot: u32) -> NodeOptions {
        NodeOptions::member(boot, Cluster::founded_by(node, node.0))
    }

    pub fn member(boot: u32, cluster: Cluster) -> NodeOptions {
        NodeOptions {
            boot,
            cluster,
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PEERS_PORT),
            data_center: "datacenter1".to_string(),
            rack: "rack1".to_string(),
            facts: Vec::new(),
            raft: holon_raft::Options::default(),
            gossip: holon_member::Options::default(),
            voter_patience: Duration::from_secs(60),
            level: LEVEL,
            log: LogOptions::default(),
        }
    }

    /// Nodes of the first level did not know of levels.
    fn level_fact(&self) -> Option<(String, String)> {
        (self.level > LEVEL_FIRST).then(|| (LEVEL_FACT.to_string(), self.level.to_string()))
    }

    /// The node as it wants to be known.
    pub fn record(&self, node: NodeId, shards: u16) -> NodeRecord {
        NodeRecord {
            node,
            address: self.address,
            data_center: self.data_center.as_str().into(),
            rack: self.rack.as_str().into(),
            shards,
            tokens: Rc::new([]),
            facts: self.facts.iter().cloned().chain(self.level_fact()).collect(),
        }
    }
}
