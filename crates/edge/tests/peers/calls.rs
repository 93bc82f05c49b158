//! Calls between nodes that are well, that stop, that come back.

use crate::support::{ECHO, Node, PATIENCE, Plan, SILENCE, WHERE, at, block_on, eventually, introduce};
use bytes::Bytes;
use holon_base::{NodeId, TabletId};
use holon_edge::limits::{PEER_COPY_BYTES_MAX, PEER_FRAME_BYTES_MAX, PEER_QUEUE_BYTES_MAX};
use holon_edge::peers::{AskError, RequestHandler, Trust, ask};
use holon_kernel::limits::ENVELOPE_PAYLOAD_BYTES_MAX;
use holon_kernel::{CallError, LocalFuture, Shard, Verb};
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn three_nodes_call_each_other_with_small_and_large_payloads() {
    let nodes = [Node::start(Plan::new(1, 2)), Node::start(Plan::new(2, 1)), Node::start(Plan::new(3, 3))];
    introduce(&[&nodes[0], &nodes[1], &nodes[2]]);
    for from in &nodes {
        for to in &nodes {
            for shard in 0..to.plan.shards {
                let answer = from.call(0, at(to, shard), WHERE, Bytes::new(), PATIENCE).expect("an answer");
                assert_eq!(answer[..], shard.to_le_bytes(), "{} to {}", from.id(), to.id());
            }
        }
    }
    for length in [0, 1, PEER_COPY_BYTES_MAX - 200, PEER_COPY_BYTES_MAX, 300 << 10, ENVELOPE_PAYLOAD_BYTES_MAX] {
        let payload: Bytes = (0..length).map(|at| (at % 251) as u8).collect();
        let answer = nodes[0].call(1, at(&nodes[1], 0), ECHO, payload.clone(), PATIENCE).expect("an answer");
        assert!(answer == payload, "{length} bytes came back changed");
    }
    let figures = nodes[0].figures(nodes[1].id()).expect("figures");
    assert!(figures.envelopes_out_total >= 7 && figures.envelopes_in_total >= 7, "{figures:?}");
    assert!(figures.bytes_out_total > ENVELOPE_PAYLOAD_BYTES_MAX as u64, "{figures:?}");
    assert_eq!((figures.connected_out, figures.dropped_total), (2, 0), "one connection a shard: {figures:?}");
    assert!(nodes.iter().all(|node| node.reports().is_empty()), "nothing to report");
}

#[test]
fn many_calls_at_once_are_all_answered() {
    let (one, two) = (Node::start(Plan::new(1, 2)), Node::start(Plan::new(2, 2)));
    introduce(&[&one, &two]);
    let to = [at(&two, 0), at(&two, 1)];
    let answered: usize = one.run(0, move |shard| {
        Box::pin(async move {
            let mut calls = Vec::new();
            for number in 0..4000u32 {
                let (done, ticket) = shard.ticket();
                let caller = shard.clone();
                shard.spawn(holon_kernel::Scope::Node, holon_kernel::Class::Foreground, async move {
                    let payload = Bytes::from(number.to_le_bytes().repeat(1 + number as usize % 300));
                    let target = holon_kernel::Target::Service(crate::support::TOY);
                    let deadline = caller.now() + PATIENCE;
                    let to = to[number as usize % 2];
                    done.complete(caller.call(to, target, ECHO, payload.clone(), deadline).await == Ok(payload));
                });
                calls.push(ticket);
            }
            let mut answered = 0;
            for call in calls {
                answered += usize::from(call.await == Ok(true));
            }
            answered
        })
    });
    assert_eq!(answered, 4000);
}

#[test]
fn a_tablet_is_found_by_the_node_that_has_it_whatever_its_cores() {
    let (one, five) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 5)));
    introduce(&[&one, &five]);
    for (from, to) in [(&one, &five), (&five, &one)] {
        for tablet in (0..100).map(TabletId) {
            let (node, shards) = (to.id(), to.plan.shards);
            let call = move |shard: Rc<Shard>| -> LocalFuture<_> {
                Box::pin(async move {
                    let deadline = shard.now() + PATIENCE;
                    shard.call_replica(node, tablet, shard.map_epoch(), Verb::READ, Bytes::new(), deadline).await
                })
            };
            let answer = from.run(from.plan.shards - 1, call).expect("the tablet answers");
            assert_eq!(answer[..], tablet.shard(shards).0.to_le_bytes(), "tablet {tablet}");
        }
    }
}

#[test]
fn a_node_that_comes_back_is_found_again() {
    let (one, mut two) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 2)));
    introduce(&[&one, &two]);
    for round in 0..3 {
        let payload = Bytes::from(format!("round {round}"));
        eventually(
            "an answer",
            || one.call(0, at(&two, 1), ECHO, payload.clone(), Duration::from_millis(300)) == Ok(payload.clone()),
            || one.reports().join("\n"),
        );
        let (plan, address) = two.stop();
        let gone = at_stopped(&plan);
        let unanswered = one.call(0, gone, ECHO, Bytes::new(), Duration::from_millis(200));
        assert_eq!(unanswered, Err(CallError::Timeout));
        two = Node::start(Plan { address, ..plan });
        introduce(&[&one, &two]);
    }
    let figures = one.figures(two.id()).expect("figures");
    assert!(figures.connects_total >= 3, "{figures:?}");
}

/// A process that ends without that takes with it what it has not written.
#[test]
fn a_node_that_ends_can_wait_until_all_has_left() {
    let (one, two) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 1)));
    introduce(&[&one, &two]);
    for _ in 0..200 {
        one.send(0, at(&two, 0), Bytes::from(vec![7; 1000]));
    }
    assert!(block_on(one.peers.all_sent(PATIENCE)));
    let figures = one.figures(two.id()).expect("of the other one");
    assert_eq!((figures.envelopes_out_total, figures.dropped_total), (200, 0), "{figures:?}");
    // For one that takes nothing it waits no longer than it is told to.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let other = holon_base::NodeId(9);
    one.know(other, Some(silent.local_addr().expect("bound")));
    one.send(0, holon_kernel::Address { node: other, shard: holon_base::ShardId(0) }, Bytes::new());
    assert!(!block_on(one.peers.all_sent(Duration::from_millis(20))));
}

fn at_stopped(plan: &Plan) -> holon_kernel::Address {
    holon_kernel::Address { node: plan.node, shard: holon_base::ShardId(0) }
}

#[test]
fn what_is_for_a_node_that_is_gone_is_dropped_and_counted() {
    let (one, two) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 1)));
    introduce(&[&one, &two]);
    let (plan, _) = two.stop();
    let to = at_stopped(&plan);
    for _ in 0..200 {
        one.send(0, to, Bytes::from(vec![7; 1000]));
    }
    let dropped = || one.figures(plan.node).map_or(0, |figures| figures.dropped_total);
    eventually("all are dropped", || dropped() == 200, || format!("{:?}", one.figures(plan.node)));
    one.expect_report("cannot be reached");
    let lines = one.reports().len();
    assert!(lines <= 2, "an outage is reported once: {:?}", one.reports());

    one.know(plan.node, None);
    one.send(0, to, Bytes::new());
    eventually("unknown", || one.peers.totals().unknown_dropped_total == 1, || format!("{:?}", one.peers.totals()));
}

/// The system accepts for a process that never does: the hello goes out and no answer comes.
#[test]
fn what_waits_for_a_node_that_does_not_answer_is_bounded() {
    let one = Node::start(Plan::new(1, 1));
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let node = NodeId(2);
    one.know(node, Some(deaf.local_addr().expect("address")));
    let to = holon_kernel::Address { node, shard: holon_base::ShardId(0) };
    let payload = Bytes::from(vec![0; 1 << 20]);
    let count = 2 * PEER_QUEUE_BYTES_MAX / payload.len();
    let sent = payload.clone();
    one.run(0, move |shard| {
        Box::pin(async move {
            for _ in 0..count {
                shard.send(to, holon_kernel::Target::Service(crate::support::TOY), ECHO, sent.clone());
            }
        })
    });
    let dropped = one.figures(node).expect("figures").dropped_total as usize;
    assert!(dropped >= count / 2 && dropped <= count / 2 + 2, "{dropped} of {count} were dropped at once");
    let all = || one.figures(node).is_some_and(|figures| figures.dropped_total as usize == count);
    eventually("the rest is dropped", all, || format!("{:?}", one.figures(node)));
    one.expect_report("the answer to the hello took too long");
}

/// A process that was halted: the system still acknowledges, until its buffers are full.
#[test]
fn a_node_that_takes_nothing_is_found_out_in_seconds() {
    let one = Node::start(Plan::new(1, 1));
    let halted = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let node = NodeId(2);
    one.know(node, Some(halted.local_addr().expect("address")));
    let to = holon_kernel::Address { node, shard: holon_base::ShardId(0) };
    let payload = Bytes::from(vec![0; 1 << 20]);
    one.send(0, to, payload.clone());
    let (mut stream, _) = halted.accept().expect("a connection");
    stream.write_all(&crate::damage::WELCOME).expect("write");
    let began = Instant::now();
    let gave_up = || {
        one.send(0, to, payload.clone());
        halted.set_nonblocking(true).expect("nonblocking");
        halted.accept().is_ok()
    };
    eventually("another attempt", gave_up, || format!("{:?}", one.figures(node)));
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}", began.elapsed());
    let figures = one.figures(node).expect("figures");
    assert!(figures.dropped_total >= 1, "{figures:?}");
}

#[test]
fn a_node_that_was_removed_is_not_listened_to() {
    let (one, two) = (Node::start(Plan::new(1, 2)), Node::start(Plan::new(2, 1)));
    introduce(&[&one, &two]);
    assert!(two.call(0, at(&one, 0), ECHO, Bytes::new(), PATIENCE).is_ok());
    one.know(two.id(), None);
    let unheard = two.call(0, at(&one, 0), ECHO, Bytes::new(), Duration::from_millis(300));
    assert_eq!(unheard, Err(CallError::Timeout));
    let reason = format!("node {} is no member of this cluster any more", two.id());
    one.expect_report(&reason);
    two.expect_report(&format!("refused: {reason}"));
    // It tries again and again, and is told so, but people are told once.
    let refusals = || one.peers.totals().refused_total;
    two.send(0, at(&one, 0), Bytes::new());
    eventually("another refusal", || refusals() >= 2, || one.reports().join("\n"));
    assert_eq!(one.reports().len(), 1, "{:?}", one.reports());
    one.know(two.id(), Some(two.address));
    let again = || two.call(0, at(&one, 0), ECHO, Bytes::new(), Duration::from_millis(300)).is_ok();
    eventually("an answer", again, || two.reports().join("\n"));
}

#[test]
fn an_envelope_that_is_too_long_is_not_sent() {
    let (one, two) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 1)));
    introduce(&[&one, &two]);
    one.send(0, at(&two, 0), Bytes::from(vec![0; PEER_FRAME_BYTES_MAX]));
    one.expect_report("was not sent");
    assert!(one.call(0, at(&two, 0), ECHO, Bytes::new(), PATIENCE).is_ok(), "others still are");
}

#[test]
fn a_call_without_an_answer_ends_at_its_deadline() {
    let (one, two) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 1)));
    introduce(&[&one, &two]);
    let began = Instant::now();
    let answer = one.call(0, at(&two, 0), SILENCE, Bytes::new(), Duration::from_millis(300));
    assert_eq!(answer, Err(CallError::Timeout));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn who_is_no_member_yet_may_ask() {
    let handler: RequestHandler = Arc::new(|request| {
        Box::pin(async move {
            match &request[..] {
                b"no" => Err("not you\nnor your line breaks".to_string()),
                _ => Ok(request.repeat(2).into()),
            }
        })
    });
    let node = Node::start(Plan { requests: Some(handler), ..Plan::new(1, 2) });
    let reply = block_on(ask(node.address, Trust::Anyone, Bytes::from_static(b"may I"), PATIENCE)).expect("a reply");
    assert_eq!(reply[..], *b"may Imay I");
    let refused = block_on(ask(node.address, Trust::Anyone, Bytes::from_static(b"no"), PATIENCE)).expect_err("refused");
    assert!(matches!(&refused, AskError::Refused { reason, .. } if reason == "not younor your line breaks"));

    let closed = Node::start(Plan::new(2, 1));
    let refused = block_on(ask(closed.address, Trust::Anyone, Bytes::new(), PATIENCE)).expect_err("refused");
    assert!(refused.to_string().contains("requests are not answered here"), "{refused}");
    let (_, address) = closed.stop();
    let gone = block_on(ask(address, Trust::Anyone, Bytes::new(), PATIENCE)).expect_err("gone");
    assert!(matches!(gone, AskError::Unreachable { .. }), "{gone}");
}
