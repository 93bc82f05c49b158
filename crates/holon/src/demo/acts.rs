//! What happens in each act, and what is promised of it.

use super::links::Place;
use super::load::{self, Load};
use super::stage::{Promise, Stage};
use super::story::{BACK, CHECK, CUT, HEAL, HEALED, JOIN, KILL, LOAD, STEADY};
use super::tally::Counts;
use crate::cluster;
use crate::size::show_bytes;
use crate::text::{list, number, show_count, word};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Replicas of each row.
const REPLICAS: usize = 3;
/// Who is killed, and who is cut off.
const KILLED: Place = 1;
const CUT_OFF: Place = 2;
/// Clients of each node that load, and count.
const LOADERS_A_NODE: usize = 2;

/// All members see each other soon after the last has started.
const FORM_LIMIT: Duration = Duration::from_secs(60);
/// Hints are looked for each second, and sent one by one: without one sent in so long, they are stuck.
const HINTS_STALL: Duration = Duration::from_secs(15);
const HINTS_LOOKS: Duration = Duration::from_millis(100);
/// A move of much data takes minutes.
const JOIN_LIMIT: Duration = Duration::from_secs(1800);
/// A request at a node that is cut off ends after the timeout of its kind, 5 s at most.
const REFUSE_LIMIT: Duration = Duration::from_secs(20);
/// Gossip finds a node of a small cluster dead within ten seconds.
const NOTICE_LIMIT: Duration = Duration::from_secs(30);
/// What was under way when a node was healed ends within the same, and connections are made again within 10 s.
const HEAL_LIMIT: Duration = Duration::from_secs(30);
/// A node serves again when so many requests in a row were served.
const SERVED_IN_A_ROW: u64 = 20;

/// Starts all nodes but the one that joins later, one after the other, and waits until each is in the ring.
pub async fn start_cluster(stage: &Rc<Stage>) -> Result<(), String> {
    let count = stage.nodes.count() - 1;
    stage
        .said
        .say(format!("{count} nodes start on this machine; what happens to them is real, the flights are made up"));
    for place in 0..count {
        stage.set_progress(format!("node {} of {count} starts", place + 1), place as f64 / count as f64);
        let token = if place == 0 { None } else { Some(stage.nodes.token().await?) };
        let took = stage.nodes.start(place, token).await?;
        let address = stage.nodes.address(place);
        let console = address.console();
        stage.said.say(format!(
            "node {} serves at {}, console http://{console} ({:.1} s)",
            place + 1,
            address.cql(),
            took.as_secs_f64()
        ));
    }
    in_the_ring(stage, count).await
}

async fn in_the_ring(stage: &Rc<Stage>, count: usize) -> Result<(), String> {
    let all_see_all = || {
        (0..count).all(|place| {
            let status = stage.nodes.status(place);
            let nodes = list(&status["cluster"]["nodes"]);
            let settled = nodes.iter().filter(|node| node["state"] == "up" && node["member"] == "normal").count();
            settled == count && status["cluster"]["change"].is_null()
        })
    };
    let formed = stage.wait_for(FORM_LIMIT, all_see_all).await;
    stage.end_progress();
    formed.map(drop).ok_or(format!("the {count} nodes do not all see each other after {} s", FORM_LIMIT.as_secs()))
}

pub async fn load(stage: &Rc<Stage>) -> Result<(), String> {
    stage.begin(LOAD);
    let began = Instant::now();
    load::make_tables(&stage.load, REPLICAS)
        .await
        .map_err(|failure| format!("the tables cannot be made: {failure}"))?;
    let (whole, done) = (stage.load.flights(), Rc::new(Cell::new(0)));
    let loading = Instant::now();
    let tell = {
        let (stage, done) = (stage.clone(), done.clone());
        move |rows: usize| {
            done.set(done.get() + rows);
            let rate = done.get() as f64 / loading.elapsed().as_secs_f64().max(1e-3);
            let told =
                format!("{} of {} flights, {rate:.0}/s", show_count(done.get() as u64), show_count(whole as u64));
            stage.set_progress(told, done.get() as f64 / whole.max(1) as f64);
        }
    };
    let tell: Rc<dyn Fn(usize)> = Rc::new(tell);
    let mut loaders = JoinSet::new();
    for (node, days) in shared_out(stage.connected()) {
        let (load, tell) = (stage.load.clone(), tell.clone());
        loaders.spawn_local(async move { load::fill(&load, node, &days, &*tell).await });
    }
    all_of(loaders).await.map_err(|failure| format!("a flight could not be loaded: {failure}"))?;
    let seconds = loading.elapsed().as_secs_f64();
    stage.set_progress("all are counted again", 1.0);
    let mut counters = JoinSet::new();
    for (node, days) in shared_out(stage.connected()) {
        let load: Rc<Load> = stage.load.clone();
        counters.spawn_local(async move { load::count(&load, node, &mut days.into_iter()).await });
    }
    let counted = all_of(counters).await.map_err(|failure| format!("the flights could not be counted: {failure}"))?;
    let counted: usize = counted.into_iter().sum();
    stage.end_progress();
    stage.keep(Promise {
        name: "load",
        promise: "every flight that was acknowledged is there".to_string(),
        kept: counted == whole && done.get() == whole,
        numbers: format!(
            "{} acknowledged at QUORUM in {seconds:.1} s ({:.0}/s), {} counted at QUORUM; {:.1} s with the tables",
            show_count(done.get() as u64),
            whole as f64 / seconds.max(1e-3),
            show_count(counted as u64),
            began.elapsed().as_secs_f64()
        ),
    });
    Ok(())
}

/// The days of the year for some clients of each node.
fn shared_out(nodes: Vec<Place>) -> Vec<(Place, Vec<usize>)> {
    let clients = nodes.len() * LOADERS_A_NODE;
    let days = |client| (client..super::flights::DAYS).step_by(clients.max(1)).collect();
    (0..clients).map(|client| (nodes[client % nodes.len()], days(client))).collect()
}

async fn all_of<T: 'static>(mut tasks: JoinSet<Result<T, super::cql::Failure>>) -> Result<Vec<T>, String> {
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.push(ended.map_err(|error| error.to_string())?.map_err(|failure| failure.to_string())?);
    }
    Ok(all)
}

/// `1,234 requests through node 1 and 3: none failed`, with a node's own words for a failure.
fn told(stage: &Stage, phases: &[usize], nodes: &[Place]) -> (Counts, String) {
    let mut counts = Counts::default();
    phases.iter().for_each(|phase| counts.add(&stage.load.sum(*phase, nodes)));
    let said = phases.iter().find_map(|phase| stage.load.said(*phase, nodes));
    let said = said.map_or(String::new(), |said| format!(" ({said})"));
    let numbers: Vec<String> = nodes.iter().map(|node| (node + 1).to_string()).collect();
    let (all, failures) = (show_count(counts.all()), counts.failures());
    (counts, format!("{all} requests through node {}: {failures}{said}", numbers.join(", ")))
}

fn all_served(counts: &Counts) -> bool {
    counts.failed() == 0 && counts.served() > 0
}

pub async fn steady(stage: &Rc<Stage>) {
    stage.begin(STEADY);
    stage.connected().into_iter().for_each(|place| stage.load.set_open(place, true));
    stage.rest_of_act().await;
    let (counts, numbers) = told(stage, &[STEADY], &stage.connected());
    stage.keep(Promise {
        name: "steady",
        promise: "a healthy cluster serves every request".to_string(),
        kept: all_served(&counts),
        numbers,
    });
}

pub async fn kill(stage: &Rc<Stage>) {
    stage.begin(KILL);
    stage.load.note_lost(KILLED);
    stage.nodes.kill(KILLED);
    stage.said.say(format!("node {} is killed (kill -9)", KILLED + 1));
    stage.rest_of_act().await;
    settle(stage).await;
    let survivors = stage.connected();
    let (counts, numbers) = told(stage, &[KILL], &survivors);
    let lost = stage.load.counts(KILL, KILLED);
    let hints = stage.nodes.metric("holon_hints_kept_total", &survivors);
    stage.keep(Promise {
        name: "kill",
        promise: "with a node dead, no request through another one fails at QUORUM (conditional ones: once its loss \
                  is noticed)"
            .to_string(),
        kept: all_served(&counts),
        numbers: format!(
            "{numbers}; on the connections of node {}: {}; {} hints kept for it so far",
            KILLED + 1,
            lost.failures(),
            show_count(hints)
        ),
    });
}

pub async fn back(stage: &Rc<Stage>) -> Result<(), String> {
    stage.begin(BACK);
    let others: Vec<Place> = stage.connected();
    let repairs = stage.nodes.metric("holon_replica_repairs_total", &others);
    let ready = stage.nodes.start(KILLED, None).await?;
    stage.load.note_noticed();
    stage.said.say(format!(
        "node {} serves again after {:.1} s; its log was replayed",
        KILLED + 1,
        ready.as_secs_f64()
    ));
    let sent_all = hints_sent(stage, &others, Hints::default()).await;
    stage.rest_of_act().await;
    let hints = Hints::of(stage, &others);
    let repairs = stage.nodes.metric("holon_replica_repairs_total", &others).saturating_sub(repairs);
    let (counts, numbers) = told(stage, &[BACK], &stage.connected());
    let served = stage.load.counts(BACK, KILLED).served();
    let when = match sent_all {
        Some(took) => format!("all within {:.1} s", took.as_secs_f64()),
        None => format!("and none any more for {} s", HINTS_STALL.as_secs()),
    };
    stage.keep(Promise {
        name: "back",
        promise: "who comes back is sent what it missed, and serves".to_string(),
        kept: all_served(&counts) && served > 0 && sent_all.is_some() && hints.dropped == 0,
        numbers: format!(
            "ready in {:.1} s; {hints}, {when}; {} rows repaired by reads; {numbers}; {} served by node {}",
            ready.as_secs_f64(),
            show_count(repairs),
            show_count(served),
            KILLED + 1
        ),
    });
    Ok(())
}

/// Writes kept for a node that was away, as some nodes told last.
#[derive(Clone, Copy, Default)]
pub struct Hints {
    kept: u64,
    sent: u64,
    dropped: u64,
    waiting: u64,
}

impl Hints {
    fn of(stage: &Stage, places: &[Place]) -> Hints {
        let metric = |name| stage.nodes.metric(name, places);
        Hints {
            kept: metric("holon_hints_kept_total"),
            sent: metric("holon_hints_sent_total"),
            dropped: metric("holon_hints_dropped_total"),
            waiting: metric("holon_hints_waiting"),
        }
    }

    /// What came after an earlier state; a node that did not answer one of the two looks counts as if nothing had come.
    fn since(self, before: Hints) -> Hints {
        Hints {
            kept: self.kept.saturating_sub(before.kept),
            sent: self.sent.saturating_sub(before.sent),
            dropped: self.dropped.saturating_sub(before.dropped),
            waiting: self.waiting,
        }
    }
}

impl std::fmt::Display for Hints {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [kept, sent, dropped, waiting] = [self.kept, self.sent, self.dropped, self.waiting].map(show_count);
        write!(formatter, "{kept} hints kept, {sent} sent, {dropped} dropped, {waiting} waiting")
    }
}

/// How long it took until no hint waits any more; `None`: some still do.
async fn hints_sent(stage: &Rc<Stage>, places: &[Place], before: Hints) -> Option<Duration> {
    let began = Instant::now();
    let (mut progress, mut progress_at) = (0, began);
    loop {
        let hints = Hints::of(stage, places).since(before);
        let done = hints.sent + hints.dropped;
        if done != progress {
            (progress, progress_at) = (done, Instant::now());
        }
        let all = hints.sent > 0 && hints.waiting == 0 && done >= hints.kept;
        if all || progress_at.elapsed() > HINTS_STALL {
            stage.end_progress();
            return all.then(|| began.elapsed());
        }
        if hints.kept > 0 {
            stage.set_progress(hints.to_string(), done as f64 / hints.kept as f64);
        }
        tokio::time::sleep(HINTS_LOOKS).await;
    }
}

pub async fn join(stage: &Rc<Stage>) -> Result<(), String> {
    stage.begin(JOIN);
    let (newcomer, others) = (stage.nodes.count() - 1, stage.connected());
    let began = Instant::now();
    let token = stage.nodes.token().await?;
    stage.nodes.start(newcomer, Some(token)).await?;
    stage.said.say(format!("node {} was let in with a token, and serves", newcomer + 1));
    stage.load.set_open(newcomer, true);
    let moves = Moves::default();
    let settled = || {
        let status = stage.nodes.status(0);
        let now = &status["cluster"];
        if let Some(told) = moves.note(&now["change"]) {
            stage.set_progress(told, cluster::part_done(now));
        }
        let nodes = list(&now["nodes"]);
        nodes.len() == newcomer + 1 && nodes.iter().all(|node| node["member"] == "normal") && now["change"].is_null()
    };
    let joined = stage.wait_for(JOIN_LIMIT, settled).await.is_some();
    stage.end_progress();
    let took = began.elapsed();
    if joined {
        stage.said.say(format!("node {} is in the ring, {:.1} s after its start", newcomer + 1, took.as_secs_f64()));
    }
    stage.rest_of_act().await;
    let (counts, numbers) = told(stage, &[JOIN], &others);
    let own = stage.load.counts(JOIN, newcomer);
    stage.keep(Promise {
        name: "join",
        promise: "a node joins, and its data moves, while every request is served".to_string(),
        kept: joined && all_served(&counts) && all_served(&own),
        numbers: format!(
            "in the ring after {:.1} s; {moves}; {numbers}; {} through node {}: {}",
            took.as_secs_f64(),
            show_count(own.all()),
            newcomer + 1,
            own.failures()
        ),
    });
    Ok(())
}

/// What was moved by the changes of the cluster that were seen: a node that joins brings on one or more.
#[derive(Default)]
struct Moves(RefCell<BTreeMap<u64, Moved>>);

#[derive(Clone, Copy, Default)]
struct Moved {
    tablets: u64,
    rows: u64,
    bytes: u64,
}

impl Moves {
    /// Takes a look at the change that is on its way, and tells of it.
    fn note(&self, change: &Value) -> Option<String> {
        let began = change["started_index"].as_u64()?;
        let copied = &change["copied"];
        let moved = Moved {
            tablets: number(&change["tablets"]),
            rows: number(&copied["rows"]),
            bytes: number(&copied["bytes"]),
        };
        self.0.borrow_mut().insert(began, moved);
        let (kind, done) = (word(&change["kind"]), &change["done"]);
        let (rows, bytes) = (show_count(moved.rows), show_bytes(moved.bytes));
        Some(format!("{kind}: {done} of {} tablets moved, {rows} rows ({bytes}) copied", moved.tablets))
    }
}

impl std::fmt::Display for Moves {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.0.borrow();
        let sum = |of: fn(&Moved) -> u64| all.values().map(of).sum::<u64>();
        let (tablets, rows) = (show_count(sum(|moved| moved.tablets)), show_count(sum(|moved| moved.rows)));
        write!(formatter, "{tablets} tablets moved, some {rows} rows ({}) copied", show_bytes(sum(|moved| moved.bytes)))
    }
}

/// The hints that the others had before, which [`heal`] takes.
pub async fn cut(stage: &Rc<Stage>) -> Hints {
    stage.begin(CUT);
    let before = Hints::of(stage, &but(CUT_OFF, stage.connected()));
    stage.load.note_lost(CUT_OFF);
    stage.nodes.cut(CUT_OFF);
    stage.said.say(format!("node {} is cut off from the others, not from its clients", CUT_OFF + 1));
    let refused = || stage.load.counts(CUT, CUT_OFF).failed() > 0;
    if let Some(took) = stage.wait_for(REFUSE_LIMIT, refused).await {
        stage.said.say(format!(
            "the first request through node {} fails after {:.1} s",
            CUT_OFF + 1,
            took.as_secs_f64()
        ));
    }
    stage.rest_of_act().await;
    // Once one side has noticed, the other is waited for, so that it is seen to refuse at once instead of after a timeout. A short
    // act ends before either has.
    let noticing = Instant::now();
    if stage.load.unnoticed().is_none() && stage.wait_for(NOTICE_LIMIT, || stage.are_apart(CUT_OFF)).await.is_some() {
        let (node, after) = (CUT_OFF + 1, noticing.elapsed().as_secs_f64());
        stage
            .said
            .say(format!("node {node} and the others take each other for dead, {after:.1} s after the act's time"));
    }
    let alone = stage.load.counts(CUT, CUT_OFF);
    let (counts, numbers) = told(stage, &[CUT], &stage.connected());
    stage.keep(Promise {
        name: "cut",
        promise: "who is cut off acknowledges nothing, and the others serve every request (conditional ones: once its \
                  silence is noticed)"
            .to_string(),
        kept: all_served(&counts) && alone.served() == 0 && alone.failed() > 0,
        numbers: format!(
            "through node {}, cut off: {} served, {}; {numbers}; {} swallowed between them",
            CUT_OFF + 1,
            show_count(alone.served()),
            alone.failures(),
            show_bytes(stage.nodes.links.swallowed_bytes())
        ),
    });
    before
}

/// Until what is under way at the others has ended, so that it counts for this act.
async fn settle(stage: &Rc<Stage>) {
    let (now, survivors) = (Instant::now(), stage.connected());
    let under_way = |place: &Place| stage.load.oldest_under_way(*place).is_some_and(|began| began < now);
    let _ = stage.wait_for(REFUSE_LIMIT, || !survivors.iter().any(under_way)).await; // else it counts for the next one
}

fn but(one: Place, places: Vec<Place>) -> Vec<Place> {
    places.into_iter().filter(|place| *place != one).collect()
}

pub async fn heal(stage: &Rc<Stage>, before: Hints) {
    stage.begin(HEAL);
    let healed_at = Instant::now();
    stage.nodes.heal(CUT_OFF);
    stage.load.note_noticed();
    stage.said.say(format!("node {} is healed", CUT_OFF + 1));
    let served_again = serves_again(stage, healed_at).await;
    if let Some(took) = served_again {
        stage.said.say(format!("node {} serves again, {:.1} s after it was healed", CUT_OFF + 1, took.as_secs_f64()));
    }
    let refused = stage.load.counts(HEAL, CUT_OFF);
    stage.begin(HEALED);
    let others = but(CUT_OFF, stage.connected());
    let caught_up = hints_sent(stage, &others, before).await;
    stage.rest_of_act().await;
    let hints = Hints::of(stage, &others).since(before);
    let (own, own_told) = told(stage, &[HEALED], &[CUT_OFF]);
    let (counts, numbers) = told(stage, &[HEAL, HEALED], &others);
    let when = served_again.map_or("not again".to_string(), |took| format!("again after {:.1} s", took.as_secs_f64()));
    let caught = match caught_up {
        Some(_) => "it has caught up",
        None => "it has not caught up",
    };
    stage.keep(Promise {
        name: "heal",
        promise: "who is healed serves again and catches up, by itself".to_string(),
        kept: served_again.is_some() && caught_up.is_some() && all_served(&own) && all_served(&counts),
        numbers: format!(
            "it served {when} (until then: {}); {hints}: {caught}; then {own_told}; {numbers}",
            refused.failures()
        ),
    });
}

/// Until a node that was cut off serves one request after the other, and nothing from before is still under way there.
async fn serves_again(stage: &Rc<Stage>, healed_at: Instant) -> Option<Duration> {
    let (failed, first) = (Cell::new(0), Cell::new(0));
    let serves = || {
        let counts = stage.load.counts(HEAL, CUT_OFF);
        if counts.failed() != failed.get() {
            failed.set(counts.failed());
            first.set(counts.served());
        }
        let from_before = stage.load.oldest_under_way(CUT_OFF).is_some_and(|began| began < healed_at);
        counts.served() >= first.get() + SERVED_IN_A_ROW && !from_before
    };
    stage.wait_for(HEAL_LIMIT, serves).await
}

/// Reads everything again, through every node at once.
pub async fn check(stage: &Rc<Stage>) -> Result<(), String> {
    stage.begin(CHECK);
    stage.said.say("the load is over; everything is read again through every node");
    let mut checks = JoinSet::new();
    for node in stage.connected() {
        let load = stage.load.clone();
        checks.spawn_local(async move { load.check_all(node).await });
    }
    all_of(checks).await.map_err(|failure| format!("not everything could be read again: {failure}"))?;
    let (load, nodes) = (&stage.load, stage.connected().len());
    let (wrong, words) = load.wrong();
    stage.keep(Promise {
        name: "nothing lost",
        promise: "nothing that was acknowledged is lost, and nothing that was read goes back".to_string(),
        kept: wrong == 0 && load.acknowledged() > 0 && load.sold() > 0,
        numbers: format!(
            "{} writes and {} conditional statements acknowledged; {} reads compared, at the end everything through each of {nodes} nodes; {} wrong{}",
            show_count(load.acknowledged()),
            show_count(load.sold()),
            show_count(load.checked()),
            show_count(wrong),
            if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) }
        ),
    });
    Ok(())
}
