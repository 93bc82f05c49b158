//! News of the tablet map reach a node although the one that it pulls them from has fallen silent: whoever sends it a request
//! by a newer map is asked for them.

use bytes::Bytes;
use holon_base::{GroupId, ServiceId, TabletId};
use holon_kernel::{CallError, Class, Scope, Verb};
use holon_sim::faults::{DiskFaults, Faults};
use holon_sim::world::World;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Three of them vote; the last one pulls the log, from any of the others.
const NODES: usize = 4;
const LAST: usize = NODES - 1;
/// Two messages between nodes, and patience.
const SOON: Duration = Duration::from_millis(300);

/// How long a request by a newer map waits at the last node, when only `node` still reaches it.
fn waits(seed: u64, node: usize) -> Duration {
    let install = Rc::new(|_: &_, _: &_| ());
    let mut world = World::new(seed, NODES, 1, DiskFaults::NONE, Faults::default(), install);
    world.one_cluster = true;
    world.form(NODES).expect("forms");
    let settled = world.now + Duration::from_secs(3);
    world.run_until(settled, |_| ());

    for other in (0..LAST).filter(|other| *other != node) {
        let (one, other) = (World::node_id(other), World::node_id(LAST));
        world.network.cut(one, other);
        world.network.cut(other, one);
    }
    let asks = world.up(node).expect("is up")[0].clone();
    let took = Rc::new(Cell::new(None));
    let (place, metadata) = (took.clone(), asks.metadata.clone());
    asks.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
        // Nobody's entry, but an entry.
        let entry = metadata.propose(ServiceId(77), Bytes::from_static(b"news")).await.expect("committed");
        let shard = asks.shard;
        let begun = shard.now();
        assert!(shard.map().expect("has one").epoch() >= entry.index);
        let tablet = TabletId::new(GroupId(1), 0);
        let deadline = begun + Duration::from_secs(20);
        let answer = shard
            .call_replica(World::node_id(LAST), tablet, shard.map_epoch(), Verb::READ, Bytes::new(), deadline)
            .await;
        assert_eq!(answer, Err(CallError::NotHere), "by the newest map there is no such tablet");
        place.set(Some(shard.now().since(begun)));
    });
    let end = world.now + Duration::from_secs(30);
    world.run_until(end, |_| ());
    took.get().expect("an answer before the deadline")
}

#[test]
fn news_are_asked_for_where_they_are_known() {
    for seed in 0..4 {
        for node in 0..LAST {
            let took = waits(seed, node);
            assert!(took < SOON, "seed {seed}, by node {node}: {took:?}");
        }
    }
}
