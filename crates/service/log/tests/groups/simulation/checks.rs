//! What must hold whatever happens, and the code that sees to it.
//!
//! | property | checked |
//! | --- | --- |
//! | in one generation no two members own the same partition, and none owns two different sets | `synced` |
//! | what a member owns is durable, and one generation has one assignment in the log | `synced`, `logged` |
//! | a generation never goes back: not in one coordinator, and not behind one in which somebody owned something | `joined`, `alive` |
//! | who is of an older generation than that is told so, and cannot commit | `alive`, `commit_answered` |
//! | an answered commit is never lost, and never hidden by an older one; one that failed is never seen | `fetched` |
//! | what was deleted does not come back; what was not deleted stays | `delete_answered`, `fetched` |
//! | what is durable is the sum of the records, and a snapshot says the same | `World::compare` |
//! | each request is answered at most once, and in the end none is left | `World::answered`, `World::settled` |
//! | when all is quiet, all who live are in one stable generation and own everything | `World::settled` |

use bytes::Bytes;
use holon_log::groups::{GroupRecord, Name, Record};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct GroupChecks {
    /// Generation, partition: who owns it.
    owners: BTreeMap<(i32, u8), Name>,
    /// Generation, who: what.
    owned: BTreeMap<(i32, Name), Bytes>,
    /// Generation, who: what, in the log.
    logged: BTreeMap<i32, BTreeMap<Name, Bytes>>,
    /// The last generation in which somebody owned something.
    assigned: i32,
    /// The last that this coordinator told of.
    told: i32,
}

#[derive(Default)]
struct PartitionChecks {
    arrived: BTreeSet<i64>,
    failed: BTreeSet<i64>,
    answered: i64,
    /// Deletions by their order among the commits: what came before one that was answered is gone for ever, …
    deleted: i64,
    /// … what came before one of which nobody knows may be.
    perhaps_deleted: BTreeSet<i64>,
}

#[derive(Default)]
pub struct Checks {
    groups: BTreeMap<Name, GroupChecks>,
    partitions: BTreeMap<(Name, i32), PartitionChecks>,
}

type Checked = Result<(), String>;

impl Checks {
    fn group(&mut self, group: &Name) -> &mut GroupChecks {
        self.groups.entry(group.clone()).or_default()
    }

    fn partition(&mut self, group: &Name, partition: i32) -> &mut PartitionChecks {
        self.partitions.entry((group.clone(), partition)).or_default()
    }

    pub fn failed_over(&mut self) {
        self.groups.values_mut().for_each(|group| group.told = 0);
    }

    pub fn joined(&mut self, group: &Name, generation: i32) -> Checked {
        let checks = self.group(group);
        if generation < checks.told || generation < checks.assigned {
            let (told, assigned) = (checks.told, checks.assigned);
            return Err(format!("{group} went back to generation {generation} from {told} told, {assigned} assigned"));
        }
        checks.told = generation;
        Ok(())
    }

    /// A member of this generation was told that all is well.
    pub fn alive(&mut self, group: &Name, generation: i32, who: &Name) -> Checked {
        let assigned = self.group(group).assigned;
        if generation < assigned {
            return Err(format!("{who} of {group} lives on in generation {generation}, after {assigned} was assigned"));
        }
        Ok(())
    }

    /// A member was told what it owns.
    pub fn synced(&mut self, group: &Name, generation: i32, who: &Name, assignment: &Bytes) -> Checked {
        let checks = self.group(group);
        let in_log = checks.logged.get(&generation).and_then(|members| members.get(who));
        if in_log != Some(assignment) {
            return Err(format!("{who} of {group} owns {assignment:?} in {generation}; the log says {in_log:?}"));
        }
        if let Some(before) = checks.owned.insert((generation, who.clone()), assignment.clone())
            && before != *assignment
        {
            return Err(format!("{who} of {group} owned {before:?} in {generation}, then {assignment:?}"));
        }
        for partition in assignment {
            if let Some(other) = checks.owners.insert((generation, *partition), who.clone())
                && other != *who
            {
                return Err(format!("{other} and {who} of {group} both own {partition} in generation {generation}"));
            }
        }
        checks.assigned = checks.assigned.max(generation);
        Ok(())
    }

    /// A record is durable.
    pub fn logged(&mut self, record: &Record) -> Checked {
        let Record::Group(GroupRecord { group, generation, members, .. }) = record else { return Ok(()) };
        if members.is_empty() {
            return Ok(());
        }
        let who = |member: &holon_log::groups::MemberRecord| {
            (member.instance.clone().unwrap_or_else(|| member.member.clone()), member.assignment.clone())
        };
        let members: BTreeMap<Name, Bytes> = members.iter().map(who).collect();
        let logged = &mut self.group(group).logged;
        let owned: usize = members.values().map(Bytes::len).sum();
        let partitions: BTreeSet<u8> = members.values().flatten().copied().collect();
        if owned != partitions.len() {
            return Err(format!("{group}, generation {generation}: an assignment gives a partition twice"));
        }
        // Numbers of generations in which nobody owned anything may come again; a record means that somebody may have.
        match logged.insert(*generation, members.clone()) {
            Some(before) if before != members => {
                Err(format!("{group}, generation {generation}: {before:?} was assigned, then {members:?}"))
            }
            _ => Ok(()),
        }
    }

    // --- commits: values are their order of arrival ---

    /// Returns what a commit of this generation has to be younger than to be good.
    pub fn commit_arrived(&mut self, group: &Name, partitions: &[i32], value: i64) -> i32 {
        for partition in partitions {
            self.partition(group, *partition).arrived.insert(value);
        }
        self.group(group).assigned
    }

    /// `failed`: it never happens. Neither: nobody knows.
    pub fn commit_answered(&mut self, group: &Name, partition: i32, value: i64, ok: bool, failed: bool) {
        let checks = self.partition(group, partition);
        if ok {
            checks.answered = checks.answered.max(value);
        } else if failed {
            checks.failed.insert(value);
        }
    }

    pub fn delete_arrived(&mut self, group: &Name, partition: i32, value: i64) {
        self.partition(group, partition).perhaps_deleted.insert(value);
    }

    pub fn delete_answered(&mut self, group: &Name, partition: i32, value: i64, ok: bool, failed: bool) {
        let checks = self.partition(group, partition);
        if ok {
            checks.deleted = checks.deleted.max(value);
        } else if failed {
            checks.perhaps_deleted.remove(&value);
        }
    }

    /// What is older than this was deleted.
    pub fn deleted(&mut self, group: &Name, partition: i32) -> i64 {
        self.partition(group, partition).deleted
    }

    pub fn floor(&mut self, group: &Name, partition: i32) -> i64 {
        self.partition(group, partition).answered
    }

    /// `floor`: the last commit that was answered before; `deleted`: the last deletion.
    pub fn fetched(&mut self, group: &Name, partition: i32, [floor, deleted]: [i64; 2], offset: i64) -> Checked {
        let checks = self.partition(group, partition);
        let gone = offset < 0 && checks.perhaps_deleted.last().is_some_and(|last| *last > floor);
        let trouble = if floor > 0 && offset < floor && !gone {
            format!("{floor} was answered before")
        } else if offset >= 0 && offset < deleted {
            format!("all before {deleted} was deleted")
        } else if checks.failed.contains(&offset) {
            "that commit failed".to_owned()
        } else if offset >= 0 && !checks.arrived.contains(&offset) {
            "nobody committed that".to_owned()
        } else {
            return Ok(());
        };
        Err(format!("{group}-{partition}: the offset {offset} is fetched, but {trouble}"))
    }
}
