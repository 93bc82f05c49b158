//! What a change of topology costs the clients of a cluster, in the model of costs ([`crate::costs`]): no faults, an open load at half of
//! what the nodes can do, and one change (which one, the seed says) while it goes on. The p99 of the requests during the change may be
//! twice the p99 at rest, no more; and no answer may be wrong.

use crate::faults::{DiskFaults, Faults};
use crate::report::{Outcome, RunOptions};
use crate::tables_nodes;
use crate::world::World;
use bytes::{Bytes, BytesMut};
use holon_base::{Instant, Random};
use holon_kernel::{Class, Flow, Outbox, Scope, Session, SessionContext};
use holon_metadata::ChangeView;
use holon_tables::service::{STREAM_BYTES_PER_SECOND, TABLES_SERVICE, TablesConfig};
use holon_tables::workload::OpenLoad;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of all rows, each kept by three nodes: enough to be copied for seconds.
const DATA_BYTES: usize = 24 << 20;

/// The load takes half of what the nodes can do that are there while the fewest are: whoever drains a node has made sure that the others
/// suffice, and whoever adds a copy that there is room for the writes.
const UTILISATION: f64 = 0.5;
const WORKERS: f64 = 3.0;

/// A load that every cluster can take shows for so long what a request costs.
const PROBE: Duration = Duration::from_secs(1);
const PROBE_REQUESTS_PER_SECOND: u64 = 2_000;

/// The load goes on for so long before it is measured, and is measured for so long before the change.
const WARMING: Duration = Duration::from_millis(500);
const AT_REST: Duration = Duration::from_millis(1_500);

/// A change that is over sooner says nothing, one that takes longer has stalled.
const CHANGE_MIN: Duration = Duration::from_secs(1);
const CHANGE_MAX: Duration = Duration::from_secs(60);

/// How often it is looked whether the change has begun: what is measured is all of it, however short it is.
const LOOK_FOR_BEGINNING: Duration = Duration::from_millis(20);
/// And whether it is over. To look costs the nodes something, too.
const LOOK_FOR_END: Duration = Duration::from_millis(100);

/// Compactions of what was written first, and whatever nodes tell each other when they are new, take no longer.
const SETTLING: Duration = Duration::from_secs(10);

/// Until all know that a node is dead.
const NOTICING: Duration = Duration::from_secs(10);

/// How many times as long as at rest the slowest hundredth may take.
const RATIO_MAX: f64 = 2.0;

/// The node that is drained, or dies.
const LEAVING: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Join,
    Drain,
    Replace,
    Factor,
}

impl Change {
    const ALL: [Change; 4] = [Change::Join, Change::Drain, Change::Replace, Change::Factor];

    fn name(self) -> &'static str {
        match self {
            Change::Join => "join, 3 to 4 nodes",
            Change::Drain => "drain, 4 to 3 nodes",
            Change::Replace => "replacement of one of 4 nodes, which is dead",
            Change::Factor => "2 to 3 replicas on 4 nodes",
        }
    }

    fn nodes(self) -> usize {
        if self == Change::Join { 3 } else { 4 }
    }

    fn comes(self) -> Option<usize> {
        matches!(self, Change::Join | Change::Replace).then_some(self.nodes())
    }
}

struct Client {
    session: Box<dyn Session>,
    outbox: Rc<Outbox>,
    input: BytesMut,
    node: usize,
}

impl Client {
    fn handle(&mut self) -> Result<(), String> {
        match self.session.handle(&mut self.input) {
            Flow::Close => Err(format!("a connection was closed by node {}", self.node)),
            _ => Ok(()),
        }
    }
}

struct Run {
    change: Change,
    random: Random,
    load: OpenLoad,
    clients: Vec<Client>,
    /// Those that requests are sent through.
    open: Vec<usize>,
    next_arrival: Instant,
    requests_per_second: f64,
    sent: u64,
    errors: Vec<String>,
}

/// A change that is over.
struct Done {
    began: Instant,
    /// Bytes.
    copied: u64,
    /// How long the shards of each node had worked when it began.
    busy: Vec<Duration>,
}

/// How long requests took.
#[derive(Clone, Copy, Debug, Default)]
struct Percentiles {
    count: usize,
    p50: Duration,
    p99: Duration,
    p999: Duration,
}

impl Percentiles {
    fn of(mut latencies: Vec<Duration>) -> Percentiles {
        latencies.sort_unstable();
        let at = |per_mille: usize| {
            let place = (latencies.len() * per_mille).div_ceil(1000).max(1) - 1;
            latencies.get(place).copied().unwrap_or_default()
        };
        Percentiles { count: latencies.len(), p50: at(500), p99: at(990), p999: at(999) }
    }

    fn line(&self, what: &str) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        format!(
            "  {what:<22} {:>8} requests  p50 {:>7.3}  p99 {:>7.3}  p99.9 {:>7.3} ms",
            self.count,
            ms(self.p50),
            ms(self.p99),
            ms(self.p999)
        )
    }
}

pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    let change = Change::ALL[(seed % 4) as usize];
    let faults = Faults::default();
    let config = TablesConfig {
        memtable_bytes: 4 << 20,
        cache_bytes: 4 << 20,
        log_segment_bytes: 4 << 20,
        log_bytes_max: 64 << 20,
        stream_bytes_per_second: STREAM_BYTES_PER_SECOND,
        ..TablesConfig::default()
    };
    let nodes = change.nodes() + usize::from(change.comes().is_some());
    let mut world = World::new(seed, nodes, 1, DiskFaults::NONE, faults.clone(), tables_nodes::install(config));
    world.one_cluster = true;
    world.tell = options.tell;
    let factor = if change == Change::Factor { 2 } else { 3 };
    let mut run = Run {
        change,
        random: Random::new(seed ^ 0xc057_1e55),
        load: OpenLoad::new(change.nodes(), DATA_BYTES, factor),
        clients: Vec::new(),
        open: (0..change.nodes()).collect(),
        next_arrival: Instant(0),
        requests_per_second: 0.0,
        sent: 0,
        errors: Vec::new(),
    };
    let mut lines = vec![change.name().to_string()];
    if let Err(error) = run.measure(&mut world, &mut lines) {
        run.errors.push(error);
    }
    lines.iter().for_each(|line| println!("{line}"));
    Outcome {
        seed,
        expanded: change.name().to_string(),
        simulated: world.now.since(Instant(0)),
        operations: run.sent,
        trace: world.trace(),
        faults,
        errors: run.errors,
    }
}

impl Run {
    fn measure(&mut self, world: &mut World, lines: &mut Vec<String>) -> Result<(), String> {
        (0..world.nodes.len()).for_each(|node| world.set_clock(node, 0, 0));
        world.form(self.change.nodes())?;
        self.prepare(world)?;
        world.charge();
        self.find_rate(world)?;
        if self.change == Change::Replace {
            world.crash(LEAVING);
            self.open.retain(|node| *node != LEAVING);
            self.load.lost(LEAVING);
            drop(self.clients[LEAVING].outbox.take());
            let rate = std::mem::replace(&mut self.requests_per_second, 100.0);
            self.go_on(world, NOTICING)?;
            self.requests_per_second = rate;
        }
        self.go_on(world, WARMING)?;
        self.load.latencies.clear();
        self.go_on(world, AT_REST)?;
        let rest = self.take(lines, if self.change == Change::Replace { "with one node dead" } else { "at rest" });
        self.begin(world)?;
        let Done { began, copied, busy } = self.until_done(world)?;
        if copied == 0 {
            return Err("nothing was copied".to_string());
        }
        let during = self.take(lines, "during the change");
        let ratio = during.p99.as_secs_f64() / rest.p99.as_secs_f64();
        let took = world.now.since(began);
        lines.push(format!(
            "  p99 {ratio:.2} × that at rest; {:.0} requests a second; {copied} bytes copied in {:.1} s; busy {} %",
            self.requests_per_second,
            took.as_secs_f64(),
            (0..world.nodes.len())
                .map(|node| {
                    let busy = world.busy(node).saturating_sub(busy[node]);
                    format!("{:.0}", 100.0 * busy.as_secs_f64() / took.as_secs_f64())
                })
                .collect::<Vec<_>>()
                .join(", ")
        ));
        if ratio > RATIO_MAX {
            return Err(format!("the p99 of {:?} at rest became {:?}: {ratio:.2} times", rest.p99, during.p99));
        }
        if took < CHANGE_MIN {
            return Err(format!("the change took {took:?} only: too short to say anything"));
        }
        world.faults.sometimes("p99 compared", true);
        self.read_back(world)?;
        world.faults.sometimes("rows read back", self.load.checked() > DATA_BYTES / 2000);
        if self.load.refused.0 > 0 {
            return Err(format!(
                "{} requests were refused, the last with {}",
                self.load.refused.0, self.load.refused.1
            ));
        }
        Ok(())
    }

    fn take(&mut self, lines: &mut Vec<String>, what: &str) -> Percentiles {
        let percentiles = Percentiles::of(std::mem::take(&mut self.load.latencies));
        lines.push(percentiles.line(what));
        percentiles
    }

    /// Sessions, the schema, and all rows; nothing costs anything yet.
    fn prepare(&mut self, world: &mut World) -> Result<(), String> {
        for node in 0..self.change.nodes() {
            let live = world.up(node).ok_or("a node of the cluster is down")?;
            let service = live[0].shard.service(TABLES_SERVICE).ok_or("a node has no tables")?;
            let outbox = Rc::new(Outbox::new());
            let context = SessionContext { session: 1, peer: None, local: None, outbox: outbox.clone() };
            let session = service.open_session(context);
            self.clients.push(Client { session, outbox, input: BytesMut::new(), node });
            let hello = self.load.connected(node);
            self.give(world, node, hello)?;
        }
        self.wait_for_answers(world)?;
        while let Some(bytes) = self.load.setup(0, world.now) {
            self.give(world, 0, bytes)?;
            self.wait_for_answers(world)?;
        }
        let mut number = 0;
        while let Some(bytes) = self.load.fill(number % self.clients.len(), world.now, &mut self.random) {
            self.give(world, number % self.clients.len(), bytes)?;
            number += 1;
            if number.is_multiple_of(16) {
                self.wait_for_answers(world)?;
            }
        }
        self.wait_for_answers(world)?;
        world.run_until(world.now + SETTLING, |_| ());
        Ok(())
    }

    fn wait_for_answers(&mut self, world: &mut World) -> Result<(), String> {
        let deadline = world.now + CHANGE_MAX;
        while self.load.waiting() > 0 {
            if world.now >= deadline {
                return Err(format!("{} requests are not answered", self.load.waiting()));
            }
            world.step(deadline);
            self.receive(world)?;
        }
        Ok(())
    }

    /// Bytes come to a node.
    fn give(&mut self, world: &mut World, number: usize, bytes: Bytes) -> Result<(), String> {
        let client = &mut self.clients[number];
        client.input.extend_from_slice(&bytes);
        world.request_came(client.node, 0);
        client.handle()
    }

    /// What was answered has left the node when its shard is done with what it does.
    fn receive(&mut self, world: &World) -> Result<(), String> {
        for (number, client) in self.clients.iter_mut().enumerate() {
            if client.outbox.pending_bytes() > 0 {
                let at = world.free_at(client.node, 0);
                self.load.received(number, &client.outbox.take(), at)?;
                // A session takes no more than so many requests at a time.
                if !client.input.is_empty() {
                    client.handle()?;
                }
            }
        }
        Ok(())
    }

    /// At half of what all can do: what a request costs is found by trying.
    fn find_rate(&mut self, world: &mut World) -> Result<(), String> {
        self.requests_per_second = PROBE_REQUESTS_PER_SECOND as f64;
        self.next_arrival = world.now;
        self.go_on(world, WARMING)?;
        let busy = |world: &World| (0..world.nodes.len()).map(|node| world.busy(node)).sum::<Duration>();
        let (before, sent) = (busy(world), self.sent);
        self.go_on(world, PROBE)?;
        let each = (busy(world) - before).as_secs_f64() / (self.sent - sent).max(1) as f64;
        self.requests_per_second = WORKERS * UTILISATION / each;
        Ok(())
    }

    /// The load goes on for a while.
    fn go_on(&mut self, world: &mut World, time: Duration) -> Result<(), String> {
        let until = world.now + time;
        while world.now < until {
            let next = self.next_arrival.min(until);
            while world.step(next) {
                self.receive(world)?;
            }
            self.receive(world)?;
            if world.now < self.next_arrival {
                continue;
            }
            // Arrivals have no memory: the time between two is exponential.
            let chance = (self.random.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
            let pause = Duration::from_secs_f64(-chance.ln() / self.requests_per_second);
            self.next_arrival = self.next_arrival + pause;
            let number = self.open[self.random.below(self.open.len() as u64) as usize];
            let bytes = self.load.arrive(number, world.now, &mut self.random)?;
            self.sent += 1;
            self.give(world, number, bytes)?;
        }
        Ok(())
    }

    fn begin(&mut self, world: &mut World) -> Result<(), String> {
        match self.change {
            Change::Join => world.start(self.change.nodes()),
            Change::Replace => {
                world.nodes[self.change.nodes()].replaces = Some(LEAVING);
                world.start(self.change.nodes());
            }
            Change::Drain => {
                // Drivers are told, and go elsewhere.
                self.open.retain(|node| *node != LEAVING);
                let live = world.up(0).ok_or("node 0 is down")?[0].clone();
                live.shard.spawn(Scope::Node, Class::Foreground, async move {
                    let _ = live.metadata.drain(World::node_id(LEAVING)).await; // that it began is seen
                });
            }
            Change::Factor => {
                let bytes = self.load.set_factor(0, world.now, 3);
                self.give(world, 0, bytes)?;
            }
        }
        Ok(())
    }

    /// The load goes on until the change is done.
    fn until_done(&mut self, world: &mut World) -> Result<Done, String> {
        let deadline = world.now + CHANGE_MAX;
        let (mut began, mut copied, mut busy) = (None, 0, Vec::new());
        while world.now < deadline {
            let seen = self.look(world)?;
            self.go_on(world, if began.is_none() { LOOK_FOR_BEGINNING } else { LOOK_FOR_END })?;
            match (&*seen.borrow(), began) {
                (Some(Some(change)), _) => {
                    copied = copied.max(change.copied.bytes);
                    if began.is_none() {
                        began = Some(world.now);
                        busy = (0..world.nodes.len()).map(|node| world.busy(node)).collect();
                        self.load.latencies.clear();
                    }
                }
                (Some(None), Some(began)) => return Ok(Done { began, copied, busy }),
                _ => {}
            }
        }
        Err(format!("the change is not over after {CHANGE_MAX:?}"))
    }

    /// Asks a node for the change that is under way, as `holon status` does.
    fn look(&self, world: &World) -> Result<Rc<RefCell<Option<Option<ChangeView>>>>, String> {
        let live = world.up(0).ok_or("node 0 is down")?[0].clone();
        let seen = Rc::new(RefCell::new(None));
        let place = seen.clone();
        live.shard.clone().spawn(Scope::Node, Class::Foreground, async move {
            let view = live.metadata.view().await;
            *place.borrow_mut() = Some(view.change);
        });
        Ok(seen)
    }

    /// All that was acknowledged is there. Nothing costs anything any more.
    fn read_back(&mut self, world: &mut World) -> Result<(), String> {
        world.stop_charging();
        self.wait_for_answers(world)?;
        let mut number = 0;
        loop {
            let through = self.open[number % self.open.len()];
            let Some(bytes) = self.load.read_back(through, world.now) else { break };
            self.give(world, through, bytes)?;
            number += 1;
            if number.is_multiple_of(16) {
                self.wait_for_answers(world)?;
            }
        }
        self.wait_for_answers(world)
    }
}
