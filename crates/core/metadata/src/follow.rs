//! Nodes that are no voters pull the metadata log, from whichever node answers, so that the leader's work does not grow
//! with the cluster; and every node sees to it that the log knows it as it is.

use crate::apply::decode_entries;
use crate::cluster_command::ClusterCommand;
use crate::consensus::Consensus;
use crate::service::{CATCH_UP, FETCH_NEWS, METADATA_SERVICE, Metadata};
use crate::snapshot::{Handed, decode_snapshot};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, NodeId, ShardId, ShortInput};
use holon_kernel::{Address, CallError, Class, Scope, Target};
use std::rc::Rc;
use std::time::Duration;

/// How long one pull may take: longer than the other side waits for news.
const PULL_TIMEOUT: Duration = Duration::from_secs(5);
/// After a node that did not answer, before another is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// News that were heard of come by themselves within this, as a rule: a message between nodes, or between shards.
const NEWS_PATIENCE: Duration = Duration::from_millis(20);
/// How often a voter looks whether it still hears of a leader.
const VOTER_PAUSE: Duration = Duration::from_secs(1);
const ALONE_PAUSE: Duration = Duration::from_secs(3600);

struct News {
    handed: Handed,
    commit: u64,
    leader: Option<NodeId>,
}

/// Two logs that contradict each other in what is committed: the metadata group was begun anew from one that did not have it.
pub(crate) const CONTRADICTED: &str = "the metadata group was begun anew, from a node that did not have all that this one has: it is no \
                            part of the cluster any more; with an empty data directory it may join as a new one";

impl Metadata {
    /// The leader of the metadata group, as far as is known here.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let of_group = self.consensus().and_then(|consensus| consensus.status().leader);
        of_group.or(self.leader_heard_of.get())
    }

    /// Whether the log comes by itself: to a voter that hears of a leader. One that does not may have been removed from the
    /// voters while it could not be told, and nobody tells it any more.
    fn is_led(&self, consensus: &Consensus) -> bool {
        let status = consensus.status();
        status.members.voters.contains(&self.shard.node()) && status.leader.is_some()
    }

    /// Pulls while the log does not come by itself, until the shard stops.
    pub(crate) fn follow(&self, consensus: &Rc<Consensus>) {
        let (me, consensus) = (self.me(), consensus.clone());
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            loop {
                if me.is_led(&consensus) {
                    // A node alone needs no other's word.
                    let alone = me.cluster.borrow().records().len() <= 1;
                    me.wait_for_members(if alone { ALONE_PAUSE } else { VOTER_PAUSE }).await;
                    continue;
                }
                let Some(from) = me.choose_source() else {
                    me.wait_for_members(RETRY_PAUSE).await;
                    continue;
                };
                match me.pull(from, consensus.status().commit + 1).await {
                    Some(news) => {
                        me.leader_heard_of.set(news.leader);
                        me.learn(&consensus, news);
                    }
                    None => me.shard.sleep(RETRY_PAUSE).await,
                }
            }
        });
    }

    /// Returns when nodes or voters may be others, or after a while.
    pub(crate) async fn wait_for_members(&self, patience: Duration) {
        let (completer, ticket) = self.shard.ticket();
        self.members_ticket.borrow_mut().push(completer);
        let _ = self.shard.timeout(self.shard.now() + patience, ticket).await; // both mean: look again
    }

    /// A node that seems alive, by chance; before any is known, one that was there when this node joined.
    fn choose_source(&self) -> Option<NodeId> {
        let me = self.shard.node();
        let records = self.cluster.borrow().records();
        let mut known: Vec<NodeId> = records.iter().map(|record| record.node).filter(|node| *node != me).collect();
        if known.is_empty() {
            known = self.options.cluster.seeds.iter().map(|(node, _)| *node).filter(|node| *node != me).collect();
        }
        let alive: Vec<NodeId> = known.iter().copied().filter(|node| self.shard.is_alive(*node)).collect();
        let of = if alive.is_empty() { known } else { alive };
        (!of.is_empty()).then(|| of[(self.shard.random_u64() % of.len() as u64) as usize])
    }

    fn learn(&self, consensus: &Consensus, news: News) {
        let News { handed: Handed { snapshot, entries }, commit, .. } = news;
        match snapshot {
            Some(snapshot) if self.contradicts(consensus, &snapshot) => self.shard.stop(CONTRADICTED.to_string()),
            Some(snapshot) => consensus.step(|raft, now, out| raft.learn_snapshot(now, snapshot, out)),
            None => consensus.step(|raft, now, out| raft.learn(now, entries, commit, out)),
        }
    }

    /// What another node has from an index on, the one behind the last that is committed here.
    async fn pull(&self, from: NodeId, index: u64) -> Option<News> {
        let own_term = self.consensus()?.committed_term(index - 1);
        let mut payload = ByteWriter::new();
        payload.put_u64(index);
        payload.put_prefixed(self.options.address.to_string().as_bytes()); // see `asked_from`
        let (to, target) = (Address { node: from, shard: ShardId(0) }, Target::Service(METADATA_SERVICE));
        let deadline = self.shard.now() + PULL_TIMEOUT;
        let reply = self.shard.call_dead_or_alive(to, target, FETCH_NEWS, payload.freeze(), deadline).await.ok()?;
        let (news, term) = decode_news(reply).ok()?;
        // Committed there and here, by other terms.
        let contradicts = term != 0 && own_term.is_some_and(|own| own != term);
        if contradicts && own_term < Some(term) {
            self.shard.stop(CONTRADICTED.to_string());
        }
        (!contradicts).then_some(news)
    }

    /// A node has applied the log up to this index. News of it mostly come by themselves; if not, because the node that this one
    /// pulls from has fallen silent, they are pulled from there.
    pub(crate) fn expect_news(&self, index: u64, node: NodeId) {
        if !self.news_expected.borrow_mut().insert(node) {
            return; // one question to each is enough: the answer has all there is
        }
        let me = self.me();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let patience = me.shard.now() + NEWS_PATIENCE;
            if me.shard.timeout(patience, me.wait_applied(index)).await.is_err() {
                let mut payload = ByteWriter::new();
                payload.put_u64(index);
                payload.put_u128(node.0);
                let deadline = me.shard.now() + PULL_TIMEOUT;
                let (to, target) = (me.first_shard(), Target::Service(METADATA_SERVICE));
                // Not answered: the next request that comes by a newer map asks again.
                drop(me.shard.call(to, target, CATCH_UP, payload.freeze(), deadline).await);
            }
            me.news_expected.borrow_mut().remove(&node);
        });
    }

    /// Shard 0: for one of the node's shards.
    pub(crate) async fn catch_up_with(&self, index: u64, node: NodeId) -> Result<(), CallError> {
        let consensus = self.consensus().filter(|_| self.takes_part()).ok_or(CallError::NotHere)?;
        let commit = consensus.status().commit;
        if commit < index {
            let news = self.pull(node, commit + 1).await.ok_or(CallError::Timeout)?;
            self.learn(&consensus, news);
        }
        Ok(())
    }

    /// Proposes this node's record until the log has it as it is.
    pub(crate) fn announce(&self) {
        let me = self.me();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            while !me.is_known_as_it_is() {
                // A node that was never admitted, or was removed, must not come in by itself.
                let founder = me.options.cluster.founder == me.shard.node();
                let alone = founder && me.cluster.borrow().records().is_empty();
                let command = match alone {
                    true => Some(ClusterCommand::Node(me.own_record())),
                    false => me.is_member(me.shard.node()).then(|| ClusterCommand::OtherFacts(me.own_record())),
                };
                if let Some(command) = command {
                    me.commit(METADATA_SERVICE, command.encode()).await;
                }
                if !me.is_known_as_it_is() {
                    me.wait_for_members(RETRY_PAUSE).await;
                }
            }
        });
    }
}

/// With the term of the entry before them, 0 if it is not known. Older nodes say nothing behind the entries.
fn decode_news(reply: Bytes) -> Result<(News, u64), ShortInput> {
    let mut input = ByteReader::new(reply);
    let (commit, leader) = (input.varint()?, input.u128()?);
    let entries = decode_entries(&mut input)?;
    let (snapshot, term) = match input.remaining() {
        0 => (None, 0),
        _ => (decode_snapshot(&mut input)?, input.u64()?),
    };
    let handed = Handed { snapshot, entries };
    Ok((News { handed, commit, leader: (leader != 0).then_some(NodeId(leader)) }, term))
}
