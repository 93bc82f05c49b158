//! Clients of simulated nodes: sessions of the tables' door, driven by a workload that knows what may come back.
//!
//! Not which nodes they may talk to, nor when they lose their connection: the world that has them says so.

use crate::faults::Fault;
use crate::report::Outcome;
use crate::world::World;
use bytes::BytesMut;
use holon_base::{Instant, Random, Wall};
use holon_kernel::{Flow, Outbox, Scope, Session, SessionContext};
use holon_tables::service::TABLES_SERVICE;
use holon_tables::workload::Workload;
use std::rc::Rc;

struct Client {
    session: Box<dyn Session>,
    outbox: Rc<Outbox>,
    input: BytesMut,
    id: u64,
    node: usize,
    shard: usize,
}

pub struct Clients<W> {
    pub workload: W,
    /// By number, as the workload counts them. `None`: not connected.
    connections: Vec<Option<Client>>,
    /// A client that waits for nothing sends something at a turn so often: (a, b) is a of b times.
    sends: (u64, u64),
    next_session: u64,
    /// Requests that were sent.
    pub sent: u64,
}

/// The workload's own clock: its timestamps are in the order in which it sends, whatever the nodes' clocks show.
pub fn wall(world: &World) -> Wall {
    Wall(1_700_000_000_000_000 + (world.now.0 / 1000) as i64)
}

impl<W: Workload> Clients<W> {
    pub fn new(workload: W, sends: (u64, u64)) -> Clients<W> {
        let connections = (0..workload.connections()).map(|_| None).collect();
        Clients { workload, connections, sends, next_session: 1, sent: 0 }
    }

    pub fn count(&self) -> usize {
        self.connections.len()
    }

    /// A node is down: so are the connections to it.
    pub fn node_gone(&mut self, node: usize) {
        for number in 0..self.connections.len() {
            if self.connections[number].as_ref().is_some_and(|client| client.node == node) {
                self.connections[number] = None;
                self.workload.disconnected(number);
            }
        }
    }

    /// A connection is lost, while its node goes on.
    pub fn lose(&mut self, world: &World, number: usize) {
        let Some(client) = self.connections[number].take() else { return };
        if let Some(live) = world.up(client.node) {
            live[client.shard].shard.cancel(Scope::Session(client.id));
        }
        drop(client.session);
        self.workload.disconnected(number);
        world.faults.fired(Fault::SessionLost);
    }

    fn connect(&mut self, world: &World, random: &mut Random, number: usize, node: usize) {
        let Some(live) = world.up(node) else { return };
        self.next_session += 1;
        let (id, shard) = (self.next_session, random.below(live.len() as u64) as usize);
        let Some(service) = live[shard].shard.service(TABLES_SERVICE) else { return };
        let outbox = Rc::new(Outbox::new());
        let session =
            service.open_session(SessionContext { session: id, peer: None, local: None, outbox: outbox.clone() });
        self.workload.placed(number, node);
        let hello = self.workload.connected(number);
        let input = BytesMut::from(&hello[..]);
        self.connections[number] = Some(Client { session, outbox, input, id, node, shard });
    }

    /// Who has no connection gets one to the node that `node_of` names; who has something to say says it.
    pub fn send(
        &mut self,
        world: &World,
        random: &mut Random,
        wall: Wall,
        node_of: impl Fn(usize) -> Option<usize>,
        errors: &mut Vec<String>,
    ) {
        let (often, of) = self.sends;
        for number in 0..self.connections.len() {
            if self.connections[number].is_none()
                && let Some(node) = node_of(number)
            {
                self.connect(world, random, number, node);
            }
            if self.connections[number].is_none() {
                continue;
            }
            let next = if random.chance(often, of) { self.workload.next(number, random, wall) } else { None };
            let Some(client) = &mut self.connections[number] else { continue };
            if let Some(bytes) = next {
                client.input.extend_from_slice(&bytes);
                self.sent += 1;
            }
            if !client.input.is_empty() && client.session.handle(&mut client.input) == Flow::Close {
                errors.push(format!("connection {number} was closed by the node"));
            }
        }
    }

    /// What has come goes to the workload.
    pub fn receive(&mut self, wall: Wall, errors: &mut Vec<String>) {
        for (number, client) in self.connections.iter_mut().enumerate() {
            let Some(client) = client else { continue };
            let bytes = client.outbox.take();
            if !bytes.is_empty()
                && let Err(violation) = self.workload.received(number, &bytes, wall)
            {
                errors.push(violation.to_string());
            }
        }
    }

    /// What came of a run, with what the workload counted.
    pub fn outcome(&self, seed: u64, expanded: String, world: &World, errors: Vec<String>) -> Outcome {
        for (what, count) in self.workload.figures() {
            world.faults.sometimes(what, count > 0);
        }
        Outcome {
            seed,
            expanded,
            simulated: world.now.since(Instant(0)),
            operations: self.sent,
            trace: world.trace(),
            faults: world.faults.clone(),
            errors,
        }
    }
}
