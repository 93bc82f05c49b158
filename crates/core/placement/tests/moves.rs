//! A small world around the machine: nodes that lag behind the log, forget everything but disk and log when killed, do
//! their work late or twice, and whose reports are committed late; clients that write and read at quorum all the while; changes that are started and
//! cancelled.
//!
//! Checked at every step: a quorum read returns every write that was acknowledged before it began. Checked at the end:
//! every tablet is on exactly the replicas that the ring gives it, and nobody else has data of it.
//! Planted bugs show that the check can fail.

use holon_base::{GroupId, NodeId, Random, TabletId};
use holon_placement::quorum::quorum;
use holon_placement::{
    ChangeKind, Entry, GroupPlacement, NodeInfo, NodeState, Refused, Replication, Ring, Topology, Work,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// A node says it has streamed, and has not.
    SwitchBeforeStreamed,
    /// Replicas do not look at the map a request was routed by.
    StaleAccepted,
    /// A source answers before it has applied the phase, so it may still take writes of older maps.
    UnfencedSource,
    /// Writes are acknowledged by the readers alone.
    PendingNotCounted,
    /// A report counts whichever move of the tablet it was made for.
    LateReportCounts,
}

struct World {
    random: Random,
    bug: Bug,
    /// The machine after each entry.
    log: Vec<Topology>,
    /// How many entries each node has applied. What a kill leaves.
    applied: BTreeMap<NodeId, usize>,
    data: BTreeMap<(NodeId, TabletId), BTreeSet<u64>>,
    acknowledged: BTreeMap<TabletId, BTreeSet<u64>>,
    /// Reports that were proposed and are not committed yet.
    proposed: Vec<Entry>,
    /// A change that was cancelled: it may be asked for again.
    cancelled: Option<ChangeKind>,
    dead: BTreeSet<NodeId>,
    /// Tablets have one replica, and nodes are forgotten whatever they alone have.
    alone: bool,
    turned: u64,
    left: u64,
    forgotten: u64,
    writes: u64,
    reads: u64,
}

const TABLETS: u32 = 16;

fn node(number: u64) -> NodeId {
    NodeId(u128::from(number + 1) * 0x9E37_79B9_7F4A_7C15)
}

fn info(number: u64) -> NodeInfo {
    NodeInfo::new("dc1", &format!("r{}", number % 3), 1)
}

impl World {
    fn new(seed: u64, nodes: u64, bug: Bug, alone: bool) -> World {
        let ring = Ring::from_nodes((0..nodes).map(|number| (node(number), info(number)))).unwrap();
        let mut world = World {
            random: Random::new(seed),
            bug,
            log: vec![Topology::of_ring(ring)],
            applied: BTreeMap::new(),
            data: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            proposed: Vec::new(),
            cancelled: None,
            dead: BTreeSet::new(),
            alone,
            turned: 0,
            left: 0,
            forgotten: 0,
            writes: 0,
            reads: 0,
        };
        world.applied.extend((0..nodes).map(|number| (node(number), 0)));
        let factor = if alone { 1 } else { world.below(4) as u32 + 1 };
        let placement = GroupPlacement { replication: Replication::Simple { factor }, tablets: TABLETS };
        world.propose(Entry::CreateGroup { group: GroupId(1), placement }).unwrap();
        let factors = BTreeMap::from([("dc1".to_string(), if alone { 1 } else { 3 })]);
        let placement = GroupPlacement { replication: Replication::NetworkTopology { factors }, tablets: 4 };
        world.propose(Entry::CreateGroup { group: GroupId(2), placement }).unwrap();
        world.applied.values_mut().for_each(|applied| *applied = world.log.len() - 1);
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn now(&self) -> &Topology {
        &self.log[self.log.len() - 1]
    }

    /// Appends to the log; sometimes whoever applies it does so from a snapshot.
    fn propose(&mut self, entry: Entry) -> Result<(), Refused> {
        let mut next = self.now().clone();
        let entry = Entry::decode(entry.encode()).unwrap();
        let index = self.log.len() as u64;
        let result = match &entry {
            Entry::Forget { node } => next.forget(index, *node),
            entry => next.apply(index, entry),
        };
        if let Ok(effects) = &result {
            self.turned += u64::from(effects.turned);
            assert!(self.alone || !(effects.turned || effects.stuck), "others have it");
        }
        self.left += result.as_ref().map_or(0, |effects| effects.left.len() as u64);
        let result = result.map(drop);
        if self.below(8) == 0 {
            let read = Topology::decode(next.encode()).unwrap();
            assert_eq!(read, next);
            next = read;
        }
        self.log.push(next);
        result
    }

    fn living(&self) -> Vec<NodeId> {
        self.applied.keys().copied().filter(|node| !self.dead.contains(node)).collect()
    }

    fn any_living(&mut self) -> NodeId {
        let living = self.living();
        living[self.below(living.len() as u64) as usize]
    }

    fn view(&self, node: NodeId) -> &Topology {
        &self.log[self.applied[&node]]
    }

    /// Whether a replica serves a request that was routed by the map of entry `routed`.
    fn serves(&mut self, replica: NodeId, tablet: TabletId, routed: usize, write: bool) -> bool {
        if self.dead.contains(&replica) || self.below(6) == 0 {
            return false;
        }
        let Some(applied) = self.applied.get_mut(&replica) else { return false };
        *applied = (*applied).max(routed); // it waits until it has applied what the request relies on
        let Some(replicas) = self.view(replica).replicas(tablet) else { return false };
        if self.bug == Bug::StaleAccepted {
            return true;
        }
        let holds = if write { replicas.holds(replica) } else { replicas.readers.contains(&replica) };
        routed as u64 >= replicas.since && (holds || replicas.holds(replica))
    }

    fn any_tablet(&mut self) -> TabletId {
        match self.below(2) {
            0 => TabletId::new(GroupId(1), self.below(u64::from(TABLETS)) as u32),
            _ => TabletId::new(GroupId(2), self.below(4) as u32),
        }
    }

    fn write(&mut self) {
        let (coordinator, tablet) = (self.any_living(), self.any_tablet());
        let routed = self.applied[&coordinator];
        let Some(replicas) = self.log[routed].replicas(tablet) else { return };
        self.writes += 1;
        let value = self.writes;
        let mut took = BTreeSet::new();
        for replica in replicas.writers() {
            if self.serves(replica, tablet, routed, true) {
                self.data.entry((replica, tablet)).or_default().insert(value);
                took.insert(replica);
            }
        }
        let level = |set: &[NodeId]| quorum(set.len());
        let met = match self.bug {
            Bug::PendingNotCounted => {
                replicas.readers.iter().filter(|node| took.contains(node)).count() >= level(&replicas.readers)
            }
            _ => replicas.write_is_met(level, |node| took.contains(&node)),
        };
        if met {
            self.acknowledged.entry(tablet).or_default().insert(value);
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let (coordinator, tablet) = (self.any_living(), self.any_tablet());
        let routed = self.applied[&coordinator];
        let Some(replicas) = self.log[routed].replicas(tablet) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        let mut answers = 0;
        for replica in &replicas.readers {
            if answers < quorum(replicas.readers.len()) && self.serves(*replica, tablet, routed, false) {
                seen.extend(self.data.get(&(*replica, tablet)).into_iter().flatten().copied());
                answers += 1;
            }
        }
        if answers < quorum(replicas.readers.len()) {
            return Ok(());
        }
        self.reads += 1;
        let missing = self.acknowledged.entry(tablet).or_default().difference(&seen).next();
        match missing {
            Some(value) => Err(format!("read of {tablet} by map {routed} of {} misses {value}", self.log.len() - 1)),
            None => Ok(()),
        }
    }

    /// One piece of work of one node, by its own view, which may be old.
    fn work(&mut self, worker: NodeId) {
        let work = self.view(worker).next_work(worker);
        if work.is_empty() {
            return;
        }
        let index = self.below(work.len() as u64) as usize;
        match &work[index] {
            Work::Stream { tablet, since, sources, enough, instead_of } => {
                let phase = *since as usize;
                let mut from: Vec<NodeId> = match instead_of {
                    Some(source) if !self.dead.contains(source) && self.below(2) == 0 => vec![*source],
                    _ => {
                        let mut living = sources.clone();
                        living.retain(|source| !self.dead.contains(source));
                        while living.len() > *enough {
                            living.remove(self.below(living.len() as u64) as usize);
                        }
                        if living.len() < *enough {
                            return; // tries again later
                        }
                        living
                    }
                };
                if self.bug == Bug::SwitchBeforeStreamed {
                    from.clear();
                }
                for source in from {
                    if self.bug != Bug::UnfencedSource {
                        let applied = self.applied.entry(source).or_insert(0);
                        *applied = (*applied).max(phase);
                    }
                    let copied = self.data.get(&(source, *tablet)).cloned().unwrap_or_default();
                    self.data.entry((worker, *tablet)).or_default().extend(copied);
                }
            }
            Work::Switch { .. } => {}
            Work::Clean { tablet, .. } => drop(self.data.remove(&(worker, *tablet))),
        }
        // Killed between the work and the report, or reporting twice.
        for _ in 0..self.below(3) {
            self.proposed.push(work[index].report(worker));
        }
    }

    /// A proposal is committed: most soon, some after all that came later.
    fn commit(&mut self) {
        let Some(last) = self.proposed.len().checked_sub(1) else { return };
        let at = if self.below(4) == 0 { self.below(last as u64 + 1) as usize } else { last };
        let mut entry = self.proposed.remove(at);
        if self.bug == Bug::LateReportCounts {
            let now = |tablet| self.now().replicas(tablet).map_or(0, |replicas| replicas.since);
            match &mut entry {
                Entry::Streamed { tablet, since, .. }
                | Entry::Switched { tablet, since, .. }
                | Entry::Cleaned { tablet, since, .. } => *since = now(*tablet),
                _ => {}
            }
        }
        self.propose(entry).unwrap();
    }

    fn some_change(&mut self, newcomer: u64) -> ChangeKind {
        let members: Vec<NodeId> = self.now().ring().nodes().map(|(node, _)| node).collect();
        let member = members[self.below(members.len() as u64) as usize];
        match self.below(6) {
            0 | 1 => ChangeKind::Join { node: node(newcomer), info: info(newcomer) },
            2 => ChangeKind::Drain { node: member },
            3 if self.now().ring().nodes().len() > 3 && !self.alone => {
                ChangeKind::Replace { dead: member, new: node(newcomer), info: info(newcomer) }
            }
            4 => ChangeKind::Split { slots: self.now().ring().slots() * 2 },
            _ => {
                let factor = if self.alone { 1 } else { self.below(5) as u32 + 1 };
                let groups = BTreeMap::from([(GroupId(1), Replication::Simple { factor })]);
                ChangeKind::SetReplication { groups }
            }
        }
    }

    /// Whether a quorum of each tablet stays without it: what fewer know may be known to the lost ones alone. If its
    /// replacement is cancelled it stays dead.
    fn may_lose(&self, node: NodeId) -> bool {
        let tablets = (0..TABLETS).map(|n| (GroupId(1), n)).chain((0..4).map(|n| (GroupId(2), n)));
        tablets.into_iter().all(|(group, ordinal)| {
            let replicas = self.now().replicas(TabletId::new(group, ordinal)).unwrap().readers;
            let living = replicas.iter().filter(|other| **other != node && !self.dead.contains(other)).count();
            !replicas.contains(&node) || living >= quorum(replicas.len())
        })
    }

    /// A node breaks for good while tablets move, perhaps towards it.
    fn forget_somebody(&mut self) {
        let members: Vec<NodeId> = self.now().members().map(|(node, _)| node).collect();
        let node = members[self.below(members.len() as u64) as usize];
        let living = self.living().len();
        if living > 2 && (self.alone || self.keeps_what_was_acknowledged(node)) {
            self.dead.insert(node);
            self.propose(Entry::Forget { node }).unwrap();
            self.forgotten += 1;
            self.lose();
        }
    }

    /// What was read from dead nodes alone is lost.
    fn lose(&mut self) {
        let topology = self.now().clone();
        let dead = |tablet: &TabletId| {
            topology.replicas(*tablet).unwrap().readers.iter().all(|reader| self.dead.contains(reader))
        };
        self.acknowledged.retain(|tablet, _| !dead(tablet));
    }

    /// Whether a quorum of both sets of replicas stays without it, of each tablet.
    fn keeps_what_was_acknowledged(&self, node: NodeId) -> bool {
        let tablets = (0..TABLETS).map(|n| (GroupId(1), n)).chain((0..4).map(|n| (GroupId(2), n)));
        let (planned, active) = self.now().moves();
        tablets.into_iter().all(|(group, ordinal)| {
            let tablet = TabletId::new(group, ordinal);
            let replicas = self.now().replicas(tablet).unwrap();
            let to = [planned, active].map(|moves| moves.get(&tablet).map_or(Vec::new(), |moving| moving.to.clone()));
            [[replicas.readers, replicas.joint], to].as_flattened().iter().all(|set| {
                let living = set.iter().filter(|other| **other != node && !self.dead.contains(other)).count();
                !set.contains(&node) || living >= quorum(set.len())
            })
        })
    }

    fn run_change(&mut self, newcomer: u64) -> Result<(), String> {
        let again = self.cancelled.take().filter(|kind| match kind {
            ChangeKind::Join { node, .. } => !self.dead.contains(node),
            kind => !matches!(kind, ChangeKind::Replace { .. }),
        });
        // Who comes again does so with the log it has; it did its part of the first time.
        let applied = if again.is_some() { self.log.len() - 1 } else { 0 };
        let kind = again.unwrap_or_else(|| self.some_change(newcomer));
        if let ChangeKind::Replace { dead, .. } = &kind {
            if !self.may_lose(*dead) {
                return Ok(());
            }
            self.dead.insert(*dead);
        }
        if let ChangeKind::Join { node, .. } | ChangeKind::Replace { new: node, .. } = &kind {
            self.applied.insert(*node, applied);
        }
        if self.propose(Entry::Start(kind.clone())).is_err() {
            return Ok(());
        }
        if self.now().change().is_some() {
            assert_eq!(self.propose(Entry::Start(kind.clone())), Err(Refused::Busy));
        }
        let (cancel_at, forget_at) = (self.below(400), self.below(600));
        let mut steps = 0u64;
        while self.now().change().is_some() {
            steps += 1;
            assert!(steps < 50_000, "{kind:?} never ends: {:?}", self.now().moves());
            if steps == cancel_at && self.below(2) == 0 {
                let started = self.now().change().map_or(0, |change| change.started);
                let result = self.propose(Entry::Cancel { started });
                // It may go back already, if it has turned.
                let no_more = self.alone && result == Err(Refused::NothingToCancel);
                assert!(no_more || matches!(result, Ok(()) | Err(Refused::TooLate)), "{result:?}");
                self.cancelled = result.is_ok().then(|| kind.clone());
            }
            if steps == forget_at && self.dead.is_empty() {
                self.forget_somebody();
            }
            self.step()?;
        }
        self.check_rest()
    }

    fn run_to_the_end(&mut self) -> Result<(), String> {
        self.lose();
        let mut steps = 0u64;
        while self.now().change().is_some() {
            steps += 1;
            assert!(steps < 50_000, "never ends: {:?}", self.now().moves());
            self.step()?;
        }
        self.check_rest()
    }

    fn step(&mut self) -> Result<(), String> {
        let somebody = self.any_living();
        match self.below(10) {
            8 | 9 => self.commit(),
            0 | 1 => self.write(),
            2 | 3 => self.read()?,
            4 | 5 => {
                let applied = self.applied[&somebody];
                let last = self.log.len() - 1;
                let more = self.below((last - applied) as u64 + 1) as usize;
                self.applied.insert(somebody, applied + more);
            }
            _ => self.work(somebody),
        }
        Ok(())
    }

    fn check_rest(&mut self) -> Result<(), String> {
        let topology = self.now().clone();
        let (planned, active) = topology.moves();
        assert!(planned.is_empty() && active.is_empty());
        for (node, state) in topology.members() {
            assert!(topology.ring().contains(node), "{node} is a member but owns nothing");
            assert!(matches!(state, NodeState::Normal | NodeState::Dead), "{node} is {state:?}");
            assert!(topology.next_work(node).is_empty());
        }
        for (group, placement) in topology.groups() {
            for ordinal in 0..placement.tablets {
                let tablet = TabletId::new(group, ordinal);
                let replicas = topology.replicas(tablet).unwrap();
                let wanted = topology.ring().replicas_of_tablet(&placement.replication, ordinal, placement.tablets);
                assert_eq!((replicas.readers, replicas.joint), (wanted.clone(), Vec::new()));
                let holders = self.data.keys().filter(|(node, held)| *held == tablet && !self.dead.contains(node));
                // A write routed by an old map may still have come to a node that left: it is refused, so nothing is
                // there.
                if let Some((node, _)) = holders.into_iter().find(|(node, _)| !wanted.contains(node)) {
                    return Err(format!("{node} still has data of {tablet}"));
                }
            }
        }
        let members: BTreeSet<NodeId> = topology.members().map(|(node, _)| node).collect();
        self.applied.retain(|node, _| members.contains(node));
        let lag = self.below(3) as usize;
        let last = self.log.len() - 1;
        self.applied.values_mut().for_each(|applied| *applied = (*applied).max(last.saturating_sub(lag)));
        for _ in 0..50 {
            self.write();
            self.read()?;
        }
        Ok(())
    }
}

fn run(seed: u64, bug: Bug) -> Result<(u64, u64, u64), String> {
    let mut world = World::new(seed, 3 + seed % 5, bug, false);
    for turn in 0..6 {
        world.run_change(100 + turn).map_err(|error| format!("seed {seed}, change {turn}: {error}"))?;
    }
    Ok((world.writes, world.reads, world.forgotten))
}

#[test]
fn no_acknowledged_write_is_lost_and_changes_end() {
    let mut total = (0, 0, 0);
    for seed in 0..100 {
        let (writes, reads, forgotten) = run(seed, Bug::None).unwrap();
        total = (total.0 + writes, total.1 + reads, total.2 + forgotten);
    }
    println!("{} writes, {} quorum reads, {} nodes forgotten", total.0, total.1, total.2);
    assert!(total.2 > 20, "too few nodes break while tablets move");
}

/// Of one replica each: what is read from somebody living is kept, whoever is forgotten, and changes end.
#[test]
fn tablets_of_one_replica_do_not_wait_for_the_forgotten() {
    let (mut turned, mut left, mut forgotten) = (0, 0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed, 3 + seed % 5, Bug::None, true);
        for turn in 0..6 {
            world.run_change(100 + turn).unwrap_or_else(|error| panic!("seed {seed}, change {turn}: {error}"));
            // They leave the ring, as the leader of the metadata group sees to; what they had begins empty.
            for node in world.dead.clone() {
                if world.now().state(node).is_some() {
                    world.propose(Entry::Start(ChangeKind::Drain { node })).unwrap();
                }
                world.run_to_the_end().unwrap_or_else(|error| panic!("seed {seed}, change {turn}: {error}"));
            }
            let dead = std::mem::take(&mut world.dead);
            world.data.retain(|(holder, _), _| !dead.contains(holder));
        }
        (turned, left, forgotten) = (turned + world.turned, left + world.left, forgotten + world.forgotten);
    }
    println!("{forgotten} nodes forgotten, {turned} changes turned, {left} nodes left the ring with one");
    assert!(turned > 20 && left > 5, "{turned} changes turned, {left} nodes left the ring with one");
}

/// Without lag or loss: cancelled after each entry in turn, a join leaves everything as it was; never cancelled, it
/// ends.
#[test]
fn a_join_is_cancelled_at_each_step() {
    let ring = Ring::from_nodes((0..5).map(|number| (node(number), info(number)))).unwrap();
    let mut first = Topology::of_ring(ring.clone());
    let factors = BTreeMap::from([("dc1".to_string(), 3)]);
    let placement = GroupPlacement { replication: Replication::NetworkTopology { factors }, tablets: 16 };
    first.apply(1, &Entry::CreateGroup { group: GroupId(1), placement }).unwrap();
    first.apply(2, &Entry::Start(ChangeKind::Join { node: node(5), info: info(5) })).unwrap();
    let mut steps = 0;
    for cancel_after in 0.. {
        let mut topology = first.clone();
        let mut cancelled = false;
        let mut entries = 0;
        while topology.change().is_some() {
            let index = topology.epoch() + 1;
            if entries == cancel_after && !cancelled {
                topology.apply(index, &Entry::Cancel { started: 2 }).unwrap();
                cancelled = true;
                continue;
            }
            entries += 1;
            let of_node = |number| topology.next_work(node(number)).into_iter().next().map(|work| (node(number), work));
            let (node, work) = (0..6).find_map(of_node).expect("somebody has work while a change is on its way");
            topology.apply(index, &work.report(node)).unwrap();
            topology = Topology::decode(topology.encode()).unwrap();
        }
        if !cancelled {
            assert!(topology.ring().contains(node(5)));
            steps = cancel_after;
            break;
        }
        assert_eq!(topology.ring(), &ring, "cancelled after {cancel_after}");
        assert_eq!(topology.members().count(), 5);
        for ordinal in 0..16 {
            let placed = topology.replicas(TabletId::new(GroupId(1), ordinal)).unwrap();
            let (_, placement) = topology.groups().next().unwrap();
            assert_eq!(placed.readers, ring.replicas_of_tablet(&placement.replication, ordinal, 16));
            assert!(placed.joint.is_empty());
        }
    }
    println!("cancelled at each of {steps} steps");
    assert!(steps > 20);
}

/// Proposed for one move of a tablet, committed in the next one in the same phase: what the report speaks of was undone.
#[test]
fn a_report_counts_only_for_the_move_it_was_made_for() {
    let ring = Ring::from_nodes((0..3).map(|number| (node(number), info(number)))).unwrap();
    let mut topology = Topology::of_ring(ring);
    let placement = GroupPlacement { replication: Replication::Simple { factor: 1 }, tablets: 1 };
    topology.apply(1, &Entry::CreateGroup { group: GroupId(1), placement }).unwrap();
    let tablet = TabletId::new(GroupId(1), 0);
    let owner = topology.replicas(tablet).unwrap().readers[0];
    let drain = Entry::Start(ChangeKind::Drain { node: owner });
    topology.apply(2, &drain).unwrap();
    let coming = topology.replicas(tablet).unwrap().joint[0];
    let report = |topology: &Topology, node: NodeId| topology.next_work(node)[0].report(node);
    let streamed_late = report(&topology, coming);
    topology.apply(3, &Entry::Cancel { started: 2 }).unwrap();
    let cleaned_late = report(&topology, coming);
    topology.apply(4, &cleaned_late).unwrap();
    assert!(topology.change().is_none());

    topology.apply(5, &drain).unwrap();
    let for_the_first = Entry::Cancel { started: 2 };
    assert_eq!(
        topology.clone().apply(6, &for_the_first),
        Err(Refused::NothingToCancel),
        "nobody asked to undo this one"
    );
    topology.apply(6, &streamed_late).unwrap();
    assert_eq!(topology.replicas(tablet).unwrap().readers, [owner], "an empty replica would be read");
    topology.apply(7, &Entry::Cancel { started: 5 }).unwrap();
    topology.apply(8, &cleaned_late).unwrap();
    assert!(topology.change().is_some(), "what was copied since would stay there for ever");
    topology.apply(9, &report(&topology, coming)).unwrap();
    assert!(topology.change().is_none());
}

#[test]
fn planted_bugs_are_found() {
    for bug in [
        Bug::SwitchBeforeStreamed,
        Bug::StaleAccepted,
        Bug::UnfencedSource,
        Bug::PendingNotCounted,
        Bug::LateReportCounts,
    ] {
        let found = (0..400).find_map(|seed| run(seed, bug).err().map(|error| (seed, error)));

        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}
