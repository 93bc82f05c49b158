//! Which version of the schema each other node shows its clients. Drivers read it of all nodes after a change of the schema
//! ("schema agreement") and wait until there is one: so each is asked when somebody looks.
//!
//! ```text
//! answer = version:u128
//! ```
//!
//! | the node | what is told |
//! | --- | --- |
//! | all its shards say the same | that |
//! | one of its shards lags | what that one says |
//! | seems alive, does not answer in time | what it said last; nothing yet: [`UNKNOWN`], which agrees with nobody |
//! | seems dead | the own version: nobody waits for it; once it is back it is asked again |
//! | an older binary, which does not know the question | the own version, as it would say |

use super::TablesService;
use crate::limits::{SCHEMA_VERSION_SHARDS_MAX, SCHEMA_VERSION_TIMEOUT};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId};
use holon_kernel::{CallError, Target, Verb, join_all};
use std::collections::BTreeMap;

/// Answers with the version of the schema that this shard shows.
pub const SCHEMA_VERSION: Verb = Verb(Verb::SERVICE_FIRST + 5);

/// Drivers pass over rows without a version, so it has to be one.
const UNKNOWN: u128 = 0;

/// Of each node that was asked. Bounded by the members.
pub(super) type Versions = BTreeMap<NodeId, u128>;

impl TablesService {
    /// What is told of another node: of the last time it was asked.
    ///
    /// Drivers leave out who is down, but some learn that it is only after they have waited for it: the Python driver takes in our
    /// event with the same two threads that wait for agreement. So nobody who seems dead may be what they wait for.
    pub(super) fn schema_version_of(&self, node: NodeId) -> u128 {
        let said = self.schema_versions.borrow().get(&node).copied();
        said.filter(|_| self.shard.is_alive(node)).unwrap_or_else(|| self.schema().version())
    }

    /// Asks the other nodes that seem alive.
    pub(super) async fn ask_for_schema_versions(&self) {
        let own = self.shard.node();
        let others = self.all_shards().into_iter().filter(|to| to.node != own && self.shard.is_alive(to.node));
        let asked: Vec<_> = others.take(SCHEMA_VERSION_SHARDS_MAX).collect();
        let deadline = self.shard.now() + SCHEMA_VERSION_TIMEOUT;
        let target = Target::Service(super::TABLES_SERVICE);
        let calls = asked.iter().map(|to| self.shard.call(*to, target, SCHEMA_VERSION, Bytes::new(), deadline));
        let answers = join_all(calls).await;
        let answers = asked.iter().map(|to| to.node).zip(answers.into_iter().map(version_in)).collect();
        let members: Vec<NodeId> =
            self.shard.map().map(|map| map.nodes()).iter().flat_map(|nodes| nodes.iter()).map(|it| it.node).collect();
        let mut versions = self.schema_versions.borrow_mut();
        versions.retain(|node, _| members.contains(node));
        // After the calls: the schema may have changed meanwhile.
        learn(&mut versions, self.schema().version(), answers);
    }

    pub(super) fn answer_schema_version(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u128(self.schema().version());
        out.freeze()
    }
}

/// What a shard of another node made of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Version(u128),
    /// An older binary.
    DoesNotKnow,
    Silence,
}

fn version_in(answer: Result<Bytes, CallError>) -> Answer {
    match answer.map(|bytes| ByteReader::new(bytes).u128()) {
        Ok(Ok(version)) => Answer::Version(version),
        Ok(Err(_)) | Err(CallError::NotHere) => Answer::DoesNotKnow,
        Err(_) => Answer::Silence,
    }
}

/// Takes in answers, one a shard that was asked; `own`: the version here.
fn learn(versions: &mut Versions, own: u128, answers: Vec<(NodeId, Answer)>) {
    let mut said: BTreeMap<NodeId, Vec<Answer>> = BTreeMap::new();
    for (node, answer) in answers {
        said.entry(node).or_default().push(answer);
    }
    for (node, answers) in said {
        let other = answers.iter().find_map(|answer| match answer {
            Answer::Version(version) if *version != own => Some(*version),
            _ => None,
        });
        match other {
            Some(version) => drop(versions.insert(node, version)),
            // What it said last may be the own version, if this node, too, has changed nothing since.
            None if answers.contains(&Answer::Silence) => drop(versions.entry(node).or_insert(UNKNOWN)),
            None if answers.contains(&Answer::DoesNotKnow) => drop(versions.remove(&node)),
            None => drop(versions.insert(node, own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{DoesNotKnow, Silence, Version};

    const PEER: NodeId = NodeId(7);

    fn told(before: Option<u128>, answers: &[Answer]) -> Option<u128> {
        let mut versions: Versions = before.into_iter().map(|version| (PEER, version)).collect();
        learn(&mut versions, 10, answers.iter().map(|answer| (PEER, *answer)).collect());
        versions.get(&PEER).copied()
    }

    #[test]
    fn a_node_has_the_schema_when_all_its_shards_say_so() {
        assert_eq!(told(Some(9), &[Version(10), Version(10)]), Some(10));
        assert_eq!(told(Some(10), &[Version(10), Version(9)]), Some(9));
        assert_eq!(told(None, &[Version(11), Silence]), Some(11));
        // Who says nothing is where it was, and nobody knows where one is that never said anything.
        assert_eq!(told(Some(9), &[Version(10), Silence]), Some(9));
        assert_eq!(told(None, &[Silence, Silence]), Some(UNKNOWN));
        // Of an older binary nothing is remembered: the own version is told.
        assert_eq!(told(Some(9), &[DoesNotKnow]), None);
        assert_eq!(told(Some(9), &[]), Some(9));
    }
}
