//! Strangers, wrong hellos and damaged bytes: the connection ends with a reason, the node goes on.

use crate::support::{CLUSTER, ECHO, Node, PATIENCE, Plan, at, introduce};
use bytes::Bytes;
use holon_base::{NodeId, ShardId};
use holon_edge::limits::PEER_FRAME_BYTES_MAX;
use holon_kernel::envelope::ENVELOPE_VERSION;
use holon_kernel::{Address, Envelope, EnvelopeKind, Target, Verb};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_le_bytes();
    [&length[..], &holon_base::crc32c(body).to_le_bytes(), body].concat()
}

/// As the first version writes it, byte by byte: a change here is a change of the protocol.
pub fn hello(version: u8, cluster: u128, source: u128, destination: u128) -> Vec<u8> {
    let address = b"127.0.0.1:7000";
    let mut body = vec![version, 0];
    for number in [cluster, source, destination] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.push(address.len() as u8);
    body.extend_from_slice(address);
    [b"HOLN".to_vec(), frame(&body)].concat()
}

fn envelope(source: u128, destination: Address) -> Envelope {
    Envelope {
        source: Address { node: NodeId(source), shard: ShardId(0) },
        destination,
        correlation: 5,
        map_epoch: 0,
        clock: 0,
        kind: EnvelopeKind::Request { target: Target::Service(crate::support::TOY), verb: ECHO, remaining: PATIENCE },
        payload: Bytes::from_static(b"hello"),
    }
}

/// Sends, and gives what came back until the other side closed.
pub fn converse(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    // It may close before all is written.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

pub fn refusal(reason: &str) -> Vec<u8> {
    frame(&[&[1], reason.as_bytes()].concat())
}

pub const WELCOME: [u8; 9] = [1, 0, 0, 0, 0x51, 0x53, 0x7d, 0x52, 0];

#[test]
fn a_hello_that_is_not_for_this_node_is_refused_with_the_reason() {
    let node = Node::start(Plan::new(1, 2));
    let version = "peer protocol version 9 is not known here (known: 1): upgrade the older node";
    assert_eq!(converse(&node, &hello(9, CLUSTER, 2, 1)), refusal(version));
    node.expect_report(version);
    let cluster = format!("it belongs to cluster {:032x}, this node to {CLUSTER:032x}", 0xBAD);
    assert_eq!(converse(&node, &hello(1, 0xBAD, 2, 1)), refusal(&cluster));
    node.expect_report(&cluster);
    let meant = format!("it looked for node {}, and this is node {}", NodeId(3), NodeId(1));
    assert_eq!(converse(&node, &hello(1, CLUSTER, 2, 3)), refusal(&meant));
    node.expect_report(&meant);
    assert_eq!(converse(&node, &hello(1, CLUSTER, 2, 1)), WELCOME);
    assert_eq!(node.peers.totals().refused_total, 3);
}

#[test]
fn strangers_get_no_answer_and_are_reported() {
    let node = Node::start(Plan::new(1, 1));
    assert!(converse(&node, b"GET / HTTP/1.1\r\n\r\n").is_empty());
    node.expect_report("it does not speak the peer protocol of Holon (it began with [47, 45, 54, 20])");
    assert!(converse(&node, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).is_empty());
    node.expect_report("it began TLS, and this node speaks without (--insecure)");
    assert!(converse(&node, &[]).is_empty());
    let long = [b"HOLN".to_vec(), vec![0, 16, 0, 0, 1, 2, 3, 4]].concat();
    assert!(!converse(&node, &long).is_empty());
    node.expect_report("a frame of 4096 bytes, and at most 1024 are allowed here");
}

#[test]
fn a_hello_that_does_not_come_ends_the_connection() {
    let mut plan = Plan::new(1, 1);
    plan.timeouts.hello = Duration::from_millis(100);
    let node = Node::start(plan);
    let mut stream = TcpStream::connect(node.address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.write_all(b"HOLN").expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an end");
    assert_eq!(answer, refusal("the hello took too long"));
    node.expect_report("the hello took too long");
}

#[test]
fn damaged_frames_end_their_connection_and_nothing_else() {
    let (node, other) = (Node::start(Plan::new(1, 2)), Node::start(Plan::new(2, 1)));
    introduce(&[&node, &other]);
    let good = frame(&envelope(2, at(&node, 0)).encode());
    let mut wrong_checksum = good.clone();
    *wrong_checksum.last_mut().expect("a byte") ^= 1;
    let too_long = ((PEER_FRAME_BYTES_MAX + 1) as u32).to_le_bytes();
    let too_long = [&too_long[..], &[0; 4]].concat();
    let cases: [(&[u8], &str); 6] = [
        (&wrong_checksum, "a frame with a wrong checksum"),
        (&too_long, "bytes, and at most"),
        (&good[..good.len() - 1], "cut off in the middle of a frame"),
        (&frame(&[9, 9]), "envelope format 9 is not known here"),
        (&frame(&[ENVELOPE_VERSION, 2, 3]), "envelope: "),
        (&frame(&envelope(3, at(&node, 0)).encode()), "sent an envelope of node"),
    ];
    for (bytes, reason) in cases {
        let answer = converse(&node, &[&hello(1, CLUSTER, 2, 1), bytes].concat());
        assert_eq!(answer[..WELCOME.len()], WELCOME, "{reason}");
        let said = String::from_utf8_lossy(&answer[WELCOME.len() + 9..]);
        assert!(said.contains(reason), "{said:?} instead of {reason:?}");
        node.expect_report(reason);
        let echo = other.call(0, at(&node, 1), ECHO, Bytes::from_static(b"well?"), PATIENCE);
        assert_eq!(echo, Ok(Bytes::from_static(b"well?")), "after {reason}");
    }
}

#[test]
fn every_cut_and_every_changed_byte_leaves_the_node_alive() {
    let node = Node::start(Plan::new(1, 1));
    let hello = hello(1, CLUSTER, 2, 1);
    let whole = [&hello[..], &frame(&envelope(2, at(&node, 0)).encode())].concat();
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(node.address).expect("connect");
        drop(stream.write_all(bytes));
    };
    for at in 0..whole.len() {
        connect(&whole[..at]);
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        connect(&changed);
    }
    assert_eq!(converse(&node, &hello), WELCOME);
}

#[test]
fn hostile_envelopes_with_right_checksums_leave_the_node_alive() {
    let (node, other) = (Node::start(Plan::new(1, 1)), Node::start(Plan::new(2, 1)));
    introduce(&[&node, &other]);
    let nowhere = Address { node: NodeId(1), shard: ShardId(700) };
    let elsewhere = Address { node: NodeId(5), shard: ShardId(0) };
    let endless = EnvelopeKind::Request {
        target: Target::Service(crate::support::TOY),
        verb: Verb(255),
        remaining: Duration::from_micros(u64::MAX),
    };
    let envelopes = [
        envelope(2, nowhere),
        envelope(2, elsewhere),
        Envelope { kind: EnvelopeKind::Reply(Ok(())), ..envelope(2, at(&node, 0)) },
        Envelope { kind: endless, ..envelope(2, at(&node, 0)) },
        Envelope { map_epoch: u64::MAX, correlation: u64::MAX, ..envelope(2, at(&node, 0)) },
    ];
    let bytes: Vec<u8> = envelopes.iter().flat_map(|envelope| frame(&envelope.encode())).collect();
    assert_eq!(converse(&node, &[hello(1, CLUSTER, 2, 1), bytes].concat()), WELCOME);
    assert_eq!(node.peers.totals().misdirected_total, 2);
    let echo = other.call(0, at(&node, 0), ECHO, Bytes::from_static(b"well?"), PATIENCE);
    assert_eq!(echo, Ok(Bytes::from_static(b"well?")));
}
