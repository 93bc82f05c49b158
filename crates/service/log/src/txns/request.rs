//! What is asked of a coordinator, as values. A door makes them of Kafka's messages.

use crate::groups::Name;
use holon_base::TabletId;
use std::collections::BTreeSet;

/// Who writes, and in which of its lives. Epochs of an id only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// How a client ends transactions (KIP-890).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Many transactions with one epoch.
    V1,
    /// Each transaction has an epoch of its own: EndTxn from version 5 on.
    V2,
}

/// InitProducerId with a transactional id.
#[derive(Clone, Debug)]
pub struct Init {
    pub id: Name,
    pub timeout_ms: i32,
    /// What the producer had, if it goes on (KIP-360).
    pub expected: Option<Producer>,
    /// A producer id that nobody has. Without one the answer may be [`crate::txns::Answer::NeedsProducer`]: ask again with one.
    pub fresh: Option<i64>,
}

/// AddPartitionsToTxn and AddOffsetsToTxn: of a group's offsets it is the partition that keeps them.
#[derive(Clone, Debug)]
pub struct Add {
    pub id: Name,
    pub producer: Producer,
    pub partitions: BTreeSet<TabletId>,
}

/// EndTxn.
#[derive(Clone, Debug)]
pub struct End {
    pub id: Name,
    pub producer: Producer,
    pub commit: bool,
    pub version: Version,
    /// As of [`Init`].
    pub fresh: Option<i64>,
}
