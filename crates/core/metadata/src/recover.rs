//! The way back when a majority of the metadata group is lost for good: one node's log is declared the truth.
//!
//! Whoever chooses the node must choose the log that reaches furthest ([`look`], on each that is left): entries that no log of
//! the living has are gone. [`begin_anew`] adds an entry by which this node alone votes, in a term so far ahead that no other
//! log can have an entry of it. The node then leads, the others pull its log, and voters are chosen as ever. A node that
//! comes back with entries that contradict it notices and ends ([`crate::follow`]).

use crate::log_file::{AppendError, Content, LogError, LogFile, put_entries, put_hard};
use holon_base::{ByteWriter, NodeId};
use holon_kernel::{DiskClient, DiskError};
use holon_raft::{Entry, HardState, Members, Payload};
use std::collections::BTreeSet;
use thiserror::Error;

/// So many elections the lost majority cannot have had since.
pub(crate) const TERMS_AHEAD: u64 = 1 << 40;

/// Two nodes that both begin anew, by mistake, do so in different terms: else their entries could not be told apart.
fn term_after(term: u64, node: NodeId) -> u64 {
    let mixed = (node.0 ^ (node.0 >> 64)) as u64;
    let own = (mixed ^ (mixed >> 32) ^ (mixed >> 17)) & 0xf_ffff;
    term + TERMS_AHEAD + (own << 20)
}

/// How far the log of a node reaches. Of two logs the later one, by term and then by index as in an election (§5.4.1), has all
/// that is known to be committed by either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPosition {
    pub last_term: u64,
    pub last_index: u64,
    /// Up to here it is known to be committed, by this node.
    pub committed: u64,
    pub voters: BTreeSet<NodeId>,
}

#[derive(Debug, Error)]
pub enum RecoverError {
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("{0}: what the log holds now is not known; look at it again")]
    Disk(DiskError),
    #[error("the metadata log of this node is empty: it was never part of a cluster")]
    Empty,
}

/// What the log of a node that does not run says.
///
/// # Errors
/// It cannot be read, or there is none.
pub async fn look(disk: &DiskClient, node: NodeId, founder: NodeId) -> Result<LogPosition, RecoverError> {
    let (_, content) = LogFile::open(disk, node).await?;
    position(&content, founder)
}

/// From here on the node alone votes. Durable when it returns.
///
/// # Errors
/// The log cannot be read or written, or there is none.
pub async fn begin_anew(disk: &DiskClient, node: NodeId, founder: NodeId) -> Result<LogPosition, RecoverError> {
    let (mut log, mut content) = LogFile::open(disk, node).await?;
    position(&content, founder)?;
    let term = term_after(content.hard.term.max(last_term(&content)), node);
    let index = content.last_index() + 1;
    let entry = Entry { index, term, payload: Payload::Members(Members::of_voters([node])) };
    let hard = HardState { term, vote: Some(node), commit: index };
    let mut records = ByteWriter::new();
    put_entries(std::slice::from_ref(&entry), &mut records);
    put_hard(&hard, &mut records);
    log.append(records.freeze()).await.map_err(|error| match error {
        AppendError::Write(error) | AppendError::Sync(error) => RecoverError::Disk(error),
    })?;
    content.entries.push(entry);
    content.hard = hard;
    position(&content, founder)
}

fn last_term(content: &Content) -> u64 {
    let of_snapshot = content.snapshot.as_ref().map_or(0, |snapshot| snapshot.term);
    content.entries.last().map_or(of_snapshot, |entry| entry.term)
}

fn position(content: &Content, founder: NodeId) -> Result<LogPosition, RecoverError> {
    let last_index = content.last_index();
    if last_index == 0 {
        return Err(RecoverError::Empty);
    }
    let committed = content.hard.commit.min(last_index);
    Ok(LogPosition { committed, last_term: last_term(content), last_index, voters: content.members(founder).voters })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_begin_anew_in_terms_that_can_be_told_apart() {
        let mut terms: Vec<u64> = (1..=8).map(|node: u128| term_after(5, NodeId(node << 120 | node))).collect();
        assert!(terms.iter().all(|term| (5 + TERMS_AHEAD..5 + 2 * TERMS_AHEAD).contains(term)));
        terms.sort_unstable();
        assert!(terms.windows(2).all(|pair| pair[1] - pair[0] > 1000), "{terms:?}");
    }
}
