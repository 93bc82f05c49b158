//! A member of a group.

use bytes::Bytes;
use std::collections::BTreeSet;

use crate::groups::record::MemberRecord;
use crate::groups::request::{Join, Name, Protocol, RequestNumber};

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: Name,
    /// Static members have one.
    pub(crate) instance: Option<Name>,
    pub(crate) client_id: Name,
    pub(crate) client_host: Name,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// The best first, each name once.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    /// A join that waits for the generation to come.
    pub(crate) joining: Option<RequestNumber>,
    /// A sync that waits for the leader's.
    pub(crate) syncing: Option<RequestNumber>,
    /// Not yet told of a generation: it cannot send heartbeats, so that waiting does not keep its session alive.
    pub(crate) new: bool,
}

impl Member {
    pub(crate) fn joins(id: Name, join: &Join) -> Member {
        Member {
            id,
            instance: join.instance.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: rebalance_timeout_ms(join),
            protocols: once_each(&join.protocols),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            new: true,
        }
    }

    /// As the log has it: of its protocols only the chosen one is known.
    pub(crate) fn restored(record: &MemberRecord, protocol: Option<&Name>) -> Member {
        let known = |name: &Name| Protocol { name: name.clone(), metadata: record.metadata.clone() };
        let rebalance_timeout_ms = match record.rebalance_timeout_ms {
            -1 => record.session_timeout_ms,
            timeout_ms => timeout_ms,
        };
        Member {
            id: record.member.clone(),
            instance: record.instance.clone(),
            client_id: record.client_id.clone(),
            client_host: record.client_host.clone(),
            session_timeout_ms: record.session_timeout_ms,
            rebalance_timeout_ms,
            protocols: protocol.map(known).into_iter().collect(),
            assignment: record.assignment.clone(),
            joining: None,
            syncing: None,
            new: false,
        }
    }

    pub(crate) fn record(&self, protocol: Option<&Name>, assignment: Bytes) -> MemberRecord {
        MemberRecord {
            member: self.id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            metadata: protocol.map(|name| self.metadata(name)).unwrap_or_default(),
            assignment,
        }
    }

    /// What it says of itself for a protocol; nothing if it does not know it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|known| &*known.name == protocol)
            .map(|known| known.metadata.clone())
            .unwrap_or_default()
    }

    /// The one it likes best.
    pub(crate) fn vote(&self, candidates: &BTreeSet<&Name>) -> Option<Name> {
        self.protocols.iter().map(|known| &known.name).find(|name| candidates.contains(name)).cloned()
    }

    /// Whoever waits for a rebalance need not send heartbeats.
    pub(crate) fn waits(&self) -> bool {
        !self.new && (self.joining.is_some() || self.syncing.is_some())
    }
}

/// Version 0 has none.
pub(crate) fn rebalance_timeout_ms(join: &Join) -> i32 {
    if join.version == 0 { join.session_timeout_ms } else { join.rebalance_timeout_ms }
}

/// The first of those with the same name.
pub(crate) fn once_each(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut names = BTreeSet::new();
    protocols.iter().filter(|protocol| names.insert(protocol.name.clone())).cloned().collect()
}
