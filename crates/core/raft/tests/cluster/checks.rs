//! What always holds, checked at every step of every node.
//!
//! | property | source | checked by |
//! | --- | --- | --- |
//! | Election Safety: one leader a term at most | fig. 3.2, §3.4 | [`Checks::roles`] |
//! | a node votes for one candidate a term, crashes or not | §3.4, §3.8 | [`Checks::promised`] |
//! | an acknowledged entry is durable | §3.8 | [`Checks::promised`] |
//! | Leader Append-Only | fig. 3.2, §3.5 | [`Checks::roles`] |
//! | Log Matching: index and term tell the entry and the one before it | fig. 3.2, §3.5 | [`Checks::held`] |
//! | Leader Completeness, as seen: a new leader holds all that was committed before its term | fig. 3.2, §3.6.3 | [`Checks::roles`] |
//! | Leader Completeness, as feared: nobody without a committed entry could win a majority of what is durable | §3.6 | [`electable`] |
//! | State Machine Safety: all apply the same entry at an index, in order, each once | fig. 3.2, §3.6.3 | [`Checks::committed`] |
//! | a snapshot is the state and the members at its index | §5.1 | [`Checks::snapshot`] |
//! | what is handed out is durable here | the crate's promise | [`Checks::committed`] |
//! | a read sees all that was applied anywhere when it was asked | §6.4 | [`Checks::read`] |
//! | terms and commit indexes of a run never fall | §3.3 | [`Checks::roles`] |
//! | after healing, all members apply a new command | liveness | `World::demand_progress` |

use holon_base::NodeId;
use holon_raft::{Body, Entry, Members, Message, Payload, Raft, Read, Role, Snapshot};
use std::collections::BTreeMap;

use crate::disk::{Disk, Machine, fingerprint};

pub type Checked = Result<(), String>;

#[derive(Default)]
pub struct Checks {
    /// Term → its leader.
    leaders: BTreeMap<u64, NodeId>,
    /// Voter and term → whom it voted for.
    votes: BTreeMap<(NodeId, u64), NodeId>,
    /// Position → fingerprint of the entry, term of the entry before it.
    entries: BTreeMap<(u64, u64), (u64, u64)>,
    /// Index → term, fingerprint, digest of the state after it.
    committed: BTreeMap<u64, (u64, u64, u64)>,
    /// Index → the term in which a leader committed it first, and the term of its entry.
    committed_in: BTreeMap<u64, (u64, u64)>,
    /// The committed members, by index.
    pub members: BTreeMap<u64, Members>,
    /// What a node was at its last step: role, term, last index, commit.
    before: BTreeMap<NodeId, (Role, u64, u64, u64)>,
    /// Read → the highest index applied anywhere when it was asked.
    reads: BTreeMap<u64, u64>,
    pub reads_answered: u64,
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}

impl Checks {
    pub fn new(members: &Members) -> Checks {
        Checks { members: BTreeMap::from([(0, members.clone())]), ..Checks::default() }
    }

    pub fn highest_committed(&self) -> u64 {
        self.committed.last_key_value().map_or(0, |(index, _)| *index)
    }

    pub fn restarted(&mut self, node: NodeId) {
        self.before.remove(&node);
    }

    /// After each step of `node`. True if it leads and its commit index rose.
    pub fn roles(&mut self, node: NodeId, raft: &Raft) -> Result<bool, String> {
        let status = raft.status();
        let last = status.last_index;
        let before = self.before.insert(node, (status.role, status.term, last, status.commit));
        if let Some((role, term, before_last, commit)) = before {
            ensure!(status.term >= term, "{node}: the term fell from {term} to {}", status.term);
            ensure!(status.commit >= commit, "{node}: the commit index fell from {commit} to {}", status.commit);
            let led_on = role == Role::Leader && status.role == Role::Leader && term == status.term;
            ensure!(
                !led_on || last >= before_last,
                "leader append-only: {node} cut its log from {before_last} to {last}"
            );
        }
        if status.role != Role::Leader {
            return Ok(false);
        }
        let leader = *self.leaders.entry(status.term).or_insert(node);
        ensure!(leader == node, "election safety: {leader} and {node} both lead term {}", status.term);
        if before.is_none_or(|(role, term, ..)| role != Role::Leader || term != status.term) {
            for (&index, &(committed_in, term)) in self.committed_in.range(status.first_index..) {
                let held = raft.entry(index).map(|entry| entry.term);
                ensure!(
                    committed_in >= status.term || held == Some(term),
                    "leader completeness: {node} leads term {} without entry {index} of term {term}: {held:?}",
                    status.term
                );
            }
        }
        let commit_before = before.map_or(0, |(.., commit)| commit);
        for index in commit_before + 1..=status.commit {
            if let Some(entry) = raft.entry(index) {
                let first = self.committed_in.entry(index).or_insert((status.term, entry.term));
                first.0 = first.0.min(status.term);
            }
        }
        Ok(before.is_some_and(|(.., commit)| status.commit > commit))
    }

    /// No two logs hold different entries at one position. Called for what is durable, and for what is sent: an entry that
    /// was neither when its node crashed never was.
    pub fn held(&mut self, node: NodeId, before: Option<u64>, entry: &Entry) -> Checked {
        let Some(before) = before.or((entry.index == 1).then_some(0)) else { return Ok(()) };
        let found = (fingerprint(entry), before);
        let known = *self.entries.entry((entry.index, entry.term)).or_insert(found);
        ensure!(known == found, "log matching: {node} holds another entry at {:?}", entry.position());
        Ok(())
    }

    /// What leaves `node` is a promise that its disk already keeps.
    pub fn promised(&mut self, node: NodeId, disk: &Disk, to: NodeId, message: &Message) -> Checked {
        match &message.body {
            Body::VoteReply { pre: false, granted: true } => {
                let vote = *self.votes.entry((node, message.term)).or_insert(to);
                ensure!(vote == to, "one vote a term: {node} voted for {vote} and {to} in term {}", message.term);
            }
            Body::Append { previous, entries, .. } => {
                let mut before = previous.term;
                for entry in entries {
                    self.held(node, Some(before), entry)?;
                    before = entry.term;
                }
            }
            Body::Appended { matched } => {
                let last = disk.last().index;
                ensure!(*matched <= last, "durable first: {node} acknowledges {matched}, its disk ends at {last}");
            }
            _ => {}
        }
        Ok(())
    }

    /// `entry` is applied at `node`, giving `after`.
    pub fn committed(&mut self, node: NodeId, disk: &Disk, entry: &Entry, before: Machine, after: Machine) -> Checked {
        let index = entry.index;
        ensure!(index == before.applied + 1, "{node} applies {index} after {}", before.applied);
        ensure!(disk.holds(index, entry.term), "{node} applies {:?}, which its disk does not hold", entry.position());
        let found = (entry.term, fingerprint(entry), after.digest);
        let known = *self.committed.entry(index).or_insert(found);
        ensure!(known == found, "state machine safety: {node} applies {:?}, others {known:?}", entry.position());
        if let Payload::Members(members) = &entry.payload {
            self.members.insert(index, members.clone());
        }
        Ok(())
    }

    pub fn snapshot(&self, node: NodeId, snapshot: &Snapshot) -> Result<Machine, String> {
        let machine = Machine::decode(snapshot.data.clone()).ok_or("a snapshot is not what was taken")?;
        let known = self.committed.get(&snapshot.index).map(|(term, _, digest)| (*term, *digest));
        ensure!(
            known == Some((snapshot.term, machine.digest)) && machine.applied == snapshot.index,
            "state machine safety: {node} restores another state at {:?}",
            snapshot.position()
        );
        let members = self.members.range(..=snapshot.index).next_back().map(|(_, members)| members);
        ensure!(members == Some(&snapshot.members), "{node}: the snapshot at {} has other members", snapshot.index);
        Ok(machine)
    }

    pub fn asked(&mut self, token: u64) {
        let seen = self.highest_committed();
        self.reads.insert(token, seen);
    }

    pub fn read(&mut self, node: NodeId, read: Read) -> Checked {
        let asked = self.reads.remove(&read.token);
        let Some(asked) = asked else { return Err(format!("{node} answers read {} twice", read.token)) };
        if let Some(index) = read.index {
            self.reads_answered += 1;
            ensure!(index >= asked, "linearizable reads: {node} answers with {index}, {asked} was applied before");
        }
        Ok(())
    }
}

/// After the leader `node` committed up to an entry: could anyone without it be elected with what is durable?
pub fn electable<'a>(node: NodeId, raft: &Raft, disks: impl Iterator<Item = (NodeId, &'a Disk)> + Clone) -> Checked {
    let commit = raft.status().commit;
    let Some(term) = raft.entry(commit).map(|entry| entry.term) else { return Ok(()) };
    let lasts: BTreeMap<NodeId, _> = disks.clone().map(|(other, disk)| (other, disk.last())).collect();
    for (candidate, disk) in disks {
        let members = disk.members();
        if !members.voters.contains(&candidate) || disk.holds(commit, term) {
            continue;
        }
        let willing = |voter: &&NodeId| lasts.get(*voter).is_some_and(|last| *last <= disk.last());
        let votes = members.voters.iter().filter(willing).count();
        ensure!(
            votes < members.majority(),
            "leader completeness: {node} committed {commit} of term {term}, but {candidate} could win without it"
        );
    }
    Ok(())
}
