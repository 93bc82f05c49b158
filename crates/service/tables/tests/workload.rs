//! The workload on a node of one shard, with crashes: what the simulator does at length, here for a moment.

mod support;

use holon_base::Random;
use holon_cql::Version;
use holon_tables::service::TablesConfig;
use holon_tables::workload::{TablesWorkload, TablesWorkloadOptions, Violation, Workload};
use std::time::Duration;
use support::{Connected, Node};

struct Run {
    node: Option<Node>,
    workload: TablesWorkload,
    sessions: Vec<Option<Connected>>,
    random: Random,
}

impl Run {
    fn new(seed: u64) -> Run {
        let config = TablesConfig { memtable_bytes: 64 << 10, ..TablesConfig::default() };
        let workload = TablesWorkload::new(TablesWorkloadOptions::default());
        let sessions = (0..workload.connections()).map(|_| None).collect();
        Run { node: Some(Node::start(config)), workload, sessions, random: Random::new(seed) }
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("there is a node between two steps")
    }

    /// Says something on a connection, and hands over what has come back on all.
    fn step(&mut self) -> Result<(), Violation> {
        let number = self.random.below(self.sessions.len() as u64) as usize;
        if self.sessions[number].is_none() {
            // The bytes are the workload's; of the client only the session is used.
            let mut session = self.node().connect(Version::V4, None);
            session.send_bytes(&self.workload.connected(number));
            self.sessions[number] = Some(session);
        }
        let wall = self.node().test.shard.wall();
        if let Some(bytes) = self.workload.next(number, &mut self.random, wall)
            && let Some(session) = &mut self.sessions[number]
        {
            session.send_bytes(&bytes);
        }
        let pause = Duration::from_millis(self.random.below(40));
        self.node().test.advance(pause);
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), Violation> {
        let wall = self.node().test.shard.wall();
        for (number, session) in self.sessions.iter_mut().enumerate() {
            let Some(session) = session else { continue };
            let bytes = session.outbox.take();
            if !bytes.is_empty() {
                self.workload.received(number, &bytes, wall)?;
            }
        }
        Ok(())
    }

    fn disconnect(&mut self, number: usize) {
        if let Some(session) = self.sessions[number].take() {
            session.close(self.node());
            self.workload.disconnected(number);
        }
    }

    /// Starts the node again, with or without a clean stop. What was in flight has no answer.
    fn restart(&mut self, cleanly: bool) {
        for number in 0..self.sessions.len() {
            // Not handed over: an answer on its way when the node goes down is lost.
            if self.sessions[number].take().is_some() {
                self.workload.disconnected(number);
            }
        }
        let node = self.node.take().expect("there is a node between two steps");
        self.node = Some(if cleanly { node.restart() } else { node.crash() });
        self.workload.restarted();
    }

    fn finish(&mut self) -> Result<(), Violation> {
        self.workload.finish();
        for _ in 0..100_000 {
            self.step()?;
            if self.workload.is_finished() {
                return Ok(());
            }
        }
        panic!("the workload does not come to its end");
    }
}

fn run(seed: u64, steps: u32) -> Result<Vec<(&'static str, u64)>, Violation> {
    let mut run = Run::new(seed);
    for _ in 0..steps {
        match run.random.below(300) {
            0 => run.restart(false),
            1 => run.restart(true),
            2..=4 => {
                let number = run.random.below(run.sessions.len() as u64) as usize;
                run.disconnect(number);
            }
            _ => run.step()?,
        }
    }
    run.finish()?;
    Ok(run.workload.figures())
}

#[test]
fn what_was_promised_is_kept_through_crashes() {
    for seed in 0..2 {
        let figures = run(seed, 1_500).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        for what in ["writes", "batches", "reads", "pages", "scans", "conditional statements", "restarts"] {
            let count = figures.iter().find(|(name, _)| *name == what).map_or(0, |(_, count)| *count);
            assert!(count > 0, "seed {seed}: no {what} in {figures:?}");
        }
    }
}

#[test]
fn equal_seeds_give_equal_runs() {
    assert_eq!(run(9, 300), run(9, 300));
}

/// The bug that all of this is for: the node comes back with the disk as it was some time before.
#[test]
fn acknowledged_writes_that_are_gone_after_a_crash_are_noticed() {
    for seed in 0..5 {
        let mut run = Run::new(seed);
        let steps = |run: &mut Run, count| (0..count).try_for_each(|_| run.step());
        steps(&mut run, 300).expect("nothing is wrong yet");
        let before = run.node().disk.deep_copy();
        steps(&mut run, 30).expect("nothing is wrong yet");
        if let Some(node) = &mut run.node {
            node.disk = before;
        }
        run.restart(false);
        assert!(run.finish().is_err(), "seed {seed}: nobody noticed");
    }
}
