//! What all parts of the demo share: the nodes, the load, what was said, which act it is, and which promises were kept.

use super::links::Place;
use super::load::Load;
use super::nodes::{Condition, Nodes};
use super::panel::{NodeRow, Picture};
use super::said::Said;
use super::story::{ACTS, PHASES};
use super::tally::{Kind, Pace, Window};
use crate::text::{list, number};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Between two samples of the load, and two looks at the nodes.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
const LOOK_INTERVAL: Duration = Duration::from_millis(400);
/// Between two lines of a plain log that tell how the load goes.
const MENTION_INTERVAL: Duration = Duration::from_secs(2);

/// What was promised, and whether it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// A word for the picture.
    pub name: &'static str,
    /// The sentence of the summary.
    pub promise: String,
    pub kept: bool,
    /// The numbers behind it, and why it was not kept.
    pub numbers: String,
}

pub struct Stage {
    pub nodes: Rc<Nodes>,
    pub load: Rc<Load>,
    pub said: Said,
    /// How long each act is, at least.
    pub act_time: Duration,
    phase: Cell<usize>,
    phase_began: Cell<Instant>,
    /// Of a piece of work; without one, of the act's time.
    progress: RefCell<Option<(String, f64)>>,
    promises: RefCell<Vec<Promise>>,
    window: RefCell<Window>,
}

impl Stage {
    pub fn new(nodes: Rc<Nodes>, load: Rc<Load>, said: Said, act_time: Duration) -> Rc<Stage> {
        Rc::new(Stage {
            nodes,
            load,
            said,
            act_time,
            phase: Cell::new(0),
            phase_began: Cell::new(Instant::now()),
            progress: RefCell::default(),
            promises: RefCell::default(),
            window: RefCell::default(),
        })
    }

    /// Goes on to a phase: requests count for it from now on.
    pub fn begin(&self, phase: usize) {
        self.phase.set(phase);
        self.phase_began.set(Instant::now());
        self.load.set_phase(phase);
        *self.progress.borrow_mut() = None;
        if PHASES[phase].opens_act {
            let act = self.act();
            self.said.say(format!("--- act {} of {}: {}", act, ACTS, PHASES[phase].title));
            self.said.say(PHASES[phase].about);
        }
    }

    /// From 1; several phases may be one act.
    fn act(&self) -> usize {
        PHASES[..=self.phase.get()].iter().filter(|phase| phase.opens_act).count().max(1)
    }

    pub fn set_progress(&self, what: impl Into<String>, part: f64) {
        *self.progress.borrow_mut() = Some((what.into(), part));
    }

    pub fn end_progress(&self) {
        *self.progress.borrow_mut() = None;
    }

    /// Until the phase has taken the time of an act.
    pub async fn rest_of_act(&self) {
        let over = self.phase_began.get() + self.act_time;
        tokio::time::sleep_until(over.into()).await;
    }

    /// Waits for something; how long it took, or `None` if it did not come within `limit`.
    pub async fn wait_for(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > limit {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(began.elapsed())
    }

    pub fn keep(&self, promise: Promise) {
        let sign = if promise.kept { "kept" } else { "NOT KEPT" };
        self.said.say(format!("{sign}: {}: {}", promise.promise, promise.numbers));
        self.promises.borrow_mut().push(promise);
    }

    pub fn promises(&self) -> Vec<Promise> {
        self.promises.borrow().clone()
    }

    /// The nodes that run and are not cut off, with their places.
    pub fn connected(&self) -> Vec<Place> {
        let places = 0..self.nodes.count();
        places.filter(|place| self.nodes.condition(*place) == Condition::Running).collect()
    }

    /// Samples the load and looks at the nodes, for as long as it is polled.
    pub async fn watch(&self) {
        let sample = async {
            loop {
                self.window.borrow_mut().add(self.load.sample());
                tokio::time::sleep(SAMPLE_INTERVAL).await;
            }
        };
        let look = async {
            loop {
                self.nodes.look().await;
                if let Some(lost) = self.load.unnoticed().filter(|lost| self.is_taken_for_dead(*lost))
                    && let Some(after) = self.load.note_noticed()
                {
                    let (lost, after) = (lost + 1, after.as_secs_f64());
                    self.said.say(format!("the others take node {lost} for dead, {after:.1} s after they lost it"));
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let mention = async {
            loop {
                tokio::time::sleep(MENTION_INTERVAL).await;
                if let Some(line) = self.pace_line() {
                    self.said.mention(line);
                }
            }
        };
        tokio::join!(sample, look, mention);
    }

    /// Whether a node that is lost is taken for dead by all that are connected.
    fn is_taken_for_dead(&self, lost: Place) -> bool {
        self.connected().into_iter().all(|place| self.seems_down(place, lost))
    }

    /// Whether a node that is cut off, and all others, take each other for dead.
    pub fn are_apart(&self, cut_off: Place) -> bool {
        let others = self.connected();
        self.is_taken_for_dead(cut_off) && others.into_iter().all(|other| self.seems_down(cut_off, other))
    }

    fn seems_down(&self, asked: Place, whom: Place) -> bool {
        let address = self.nodes.address(whom).peers().to_string();
        let nodes = list(&self.nodes.status(asked)["cluster"]["nodes"]);
        nodes.iter().any(|node| node["address"] == address && node["state"] == "down")
    }

    /// A node that ends by itself ends the demo.
    pub async fn until_a_node_ends(&self) -> String {
        loop {
            if let Some(ended) = (0..self.nodes.count()).find_map(|place| self.nodes.ended(place)) {
                return ended;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn pace_line(&self) -> Option<String> {
        let pace = self.window.borrow().pace();
        let all: f64 = pace.by_node.iter().sum();
        let progress = self.progress.borrow().as_ref().map(|(what, part)| format!("{:3.0} % {what}", 100.0 * part));
        let load = (self.load.counts(self.phase.get(), 0).all() > 0).then(|| load_line(&pace, all));
        let told: Vec<String> = progress.into_iter().chain(load).collect();
        (!told.is_empty()).then(|| format!("  {}", told.join("; ")))
    }

    pub fn picture(&self) -> Picture {
        let phase = &PHASES[self.phase.get()];
        let pace = self.window.borrow().pace();
        let of_time = || {
            let part = self.phase_began.get().elapsed().as_secs_f64() / self.act_time.as_secs_f64().max(1e-3);
            (part < 1.0).then(|| ("of the act".to_string(), part))
        };
        let (wrong, _) = self.load.wrong();
        Picture {
            elapsed: self.said.elapsed(),
            act: self.act(),
            acts: ACTS,
            title: phase.title.to_string(),
            about: phase.about.to_string(),
            progress: self.progress.borrow().clone().or_else(of_time),
            nodes: (0..self.nodes.count()).map(|place| self.row(place, &pace)).collect(),
            ring: self.ring(),
            pace,
            checked: self.load.checked(),
            acknowledged: self.load.acknowledged(),
            sold: self.load.sold(),
            wrong,
            promises: self.promises.borrow().iter().map(|promise| (promise.name.to_string(), promise.kept)).collect(),
            events: self.said.last(usize::MAX),
            console: format!("http://{}", self.nodes.address(0).console()),
        }
    }

    fn row(&self, place: Place, pace: &Pace) -> NodeRow {
        let status = self.nodes.status(place);
        let metric = |name| self.nodes.metric(name, &[place]);
        NodeRow {
            address: self.nodes.address(place).ip.to_string(),
            condition: self.nodes.condition(place),
            rate: pace.by_node.get(place).copied().unwrap_or(0.0),
            failed: (0..PHASES.len()).map(|phase| self.load.counts(phase, place).failed()).sum(),
            tablets: (!status.is_null()).then(|| metric("holon_store_tablets")),
            data_bytes: list(&status["holdings"])
                .iter()
                .filter(|holding| holding["space"] == super::load::KEYSPACE)
                .map(|holding| number(&holding["disk_bytes"]) + number(&holding["memory_bytes"]))
                .sum(),
            hints: metric("holon_hints_waiting"),
        }
    }

    /// As the first node that says anything sees it: it is the same everywhere.
    fn ring(&self) -> Vec<Option<Place>> {
        let seen = self.connected().into_iter().find_map(|place| {
            let status = self.nodes.status(place);
            let owners = status["cluster"]["ring"]["owners"].as_object()?.values().next()?.clone();
            Some((owners, status["cluster"].clone()))
        });
        let Some((owners, cluster)) = seen else { return Vec::new() };
        let owner = |slot: &Value| self.nodes.place_of(&cluster, usize::try_from(slot.as_u64()?).ok()?);
        list(&owners).iter().map(owner).collect()
    }
}

fn load_line(pace: &Pace, all: f64) -> String {
    let rates: Vec<String> = pace.by_node.iter().map(|rate| format!("{rate:.0}")).collect();
    let quantiles = Kind::EVERY.iter().zip(&pace.latencies).filter_map(|(kind, latencies)| {
        let show = super::panel::show_seconds;
        latencies.map(|(p50, p99)| format!("{} {} / {}", kind.name(), show(p50), show(p99)))
    });
    let quantiles: Vec<String> = quantiles.collect();
    format!("{all:.0} requests/s (by node {}), p50 / p99: {}", rates.join(" "), quantiles.join(", "))
}
