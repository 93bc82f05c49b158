//! Calls a second between two nodes of one core each, over loopback. Prints and asserts no time; meant for
//! `cargo test --release -p holon-edge --test peers throughput -- --nocapture`.

use crate::support::{ECHO, Node, PATIENCE, Plan, TOY, at, introduce};
use bytes::Bytes;
use holon_kernel::{Address, Class, Scope, Shard, Target};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

const CALLS: usize = if cfg!(debug_assertions) { 10_000 } else { 300_000 };

/// So many workers, each with one call at a time.
async fn load(shard: Rc<Shard>, to: Address, workers: usize, calls: usize, payload: Bytes) {
    let left = Rc::new(Cell::new(calls));
    let mut done = Vec::new();
    for _ in 0..workers {
        let (completer, ticket) = shard.ticket();
        let (caller, left, payload) = (shard.clone(), left.clone(), payload.clone());
        shard.spawn(Scope::Node, Class::Foreground, async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let deadline = caller.now() + PATIENCE;
                let answer = caller.call(to, Target::Service(TOY), ECHO, payload.clone(), deadline).await;
                assert!(answer.is_ok(), "{answer:?}");
            }
            completer.complete(());
        });
        done.push(ticket);
    }
    for ticket in done {
        ticket.await.expect("the worker ends");
    }
}

fn measure(name: &str, one: Plan, two: Plan) {
    let (one, two) = (Node::start(one), Node::start(two));
    introduce(&[&one, &two]);
    let to = at(&two, 0);
    for (workers, bytes, calls) in [(1, 100, CALLS / 30), (256, 100, CALLS), (64, 16 << 10, CALLS / 10)] {
        let payload = Bytes::from(vec![1; bytes]);
        let began = Instant::now();
        one.run(0, move |shard| Box::pin(load(shard, to, workers, calls, payload)));
        let rate = calls as f64 / began.elapsed().as_secs_f64();
        println!("{name}: {rate:>9.0} calls/s, {workers} at a time, {bytes} bytes each way");
    }
}

#[test]
fn throughput_without_tls() {
    measure("plain", Plan::new(1, 1), Plan::new(2, 1));
}

#[test]
fn throughput_with_tls() {
    let (one, two) = crate::tls::two_members(1, 1);
    measure("tls", one, two);
}
