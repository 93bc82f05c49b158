//! A newcomer that knows nothing but the names takes a long list from one node: all of it, in one sync, in few rounds.

use bytes::Bytes;
use holon_base::{Instant, NodeId, Random};
use holon_member::{BaseList, Facts, Member, Options, Output};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Spread as random ids are, in any order.
fn id(node: u64) -> NodeId {
    NodeId(u128::from(Random::new(node).next_u64()) << 64 | u128::from(node))
}

fn facts(node: u64) -> Facts {
    let address = ([10, (node >> 16) as u8, (node >> 8) as u8, node as u8], 7_000).into();
    Facts { incarnation: 1 << 32, address, facts: Bytes::from(vec![node as u8; 16]), version: 1 }
}

/// Bytes sent by both, and rounds of question and answer, until the newcomer (node 0) asks no more.
fn pull(nodes: u64) -> (Member, u64, u64) {
    let now = Instant(1_000_000_000);
    let known: BTreeMap<NodeId, Facts> = (0..nodes).map(|node| (id(node), facts(node))).collect();
    let log = known.iter().map(|(node, facts)| (*node, Some(facts.address))).collect();
    let options = Options { probe_interval: Duration::from_secs(3_600), ..Options::default() };
    let list = Arc::new(BaseList::new(&known));
    let mut holder = Member::with_list(id(1), options.clone(), facts(1), list, now, Random::new(1));
    // Restarted since: what it says of itself is news.
    let mut newcomer = Member::new(id(0), options, Facts { incarnation: 2 << 32, ..facts(0) }, now, Random::new(2));
    let mut out = Output::default();
    newcomer.set_members(now, &log, &mut out);
    // Its first sync begins within a gossip interval; whomever it asks, the same one answers.
    newcomer.tick(now + Duration::from_millis(200), &mut out);
    let now = now + Duration::from_millis(201);
    let (mut bytes, mut rounds) = (0, 0);
    let mut questions = std::mem::take(&mut out.messages);
    questions.retain(|(_, _, bytes)| bytes[1] >= 5);
    while let Some((asked, _, _)) = questions.first().cloned() {
        rounds += 1;
        let mut answers = Output::default();
        for (_, _, question) in questions.drain(..) {
            bytes += question.len() as u64;
            holder.receive(now, id(0), question, &mut answers);
        }
        let mut next = Output::default();
        for (_, _, answer) in answers.messages {
            bytes += answer.len() as u64;
            newcomer.receive(now, asked, answer, &mut next);
        }
        questions = next.messages;
    }
    (newcomer, bytes, rounds)
}

#[test]
fn a_newcomer_knows_all_after_one_sync() {
    for nodes in [100, 3_000, 20_000, 75_000] {
        let (newcomer, bytes, rounds) = pull(nodes);
        let unknown =
            (0..nodes).filter(|node| newcomer.facts(id(*node)).is_none_or(|facts| facts.version == 0)).count();
        let (bytes_each, members_a_round) = (bytes as f64 / nodes as f64, nodes as f64 / rounds as f64);
        println!("{nodes}: {unknown} unknown, {bytes_each:.1} bytes each, {members_a_round:.1} members a round");
        assert_eq!(unknown, 0, "of {nodes}");
        assert!(bytes_each < 90.0, "{nodes} nodes: {bytes_each:.1} bytes for each of them");
        assert!(rounds <= 3 + nodes / 60, "{nodes} nodes: {rounds} rounds");
    }
}
