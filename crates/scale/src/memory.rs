//! What one node keeps of the cluster, in memory: built a few times over without anything shared, and weighed by what
//! the process then has more of. So it includes what the allocator and the growth of vectors take.

use crate::figures::Figures;
use crate::process::{cpu_seconds, resident_bytes};
use crate::world::{facts, id, list_of, log_of};
use holon_base::{Instant, Random};
use holon_member::{Member, Options, Output};
use std::sync::Arc;

/// Records built at least, so that the memory in use tells.
const RECORDS: usize = 1_000_000;

/// To be called before anything else took memory, for what was given back may be taken again unseen.
pub fn weigh(nodes: usize, figures: &mut Figures) {
    let copies = RECORDS.div_ceil(nodes).clamp(4, 20_000);
    let before = resident_bytes();
    let machines: Vec<Member> = (0..copies)
        .map(|_| {
            let list = Arc::new(list_of(nodes));
            Member::with_list(id(0), Options::default(), facts(0), list, Instant(0), Random::new(0))
        })
        .collect();
    let each = (resident_bytes() - before) as f64 / machines.len() as f64;
    figures.set("memory_bytes", each);
    drop(machines);
    walk_of_the_log(nodes, figures);
}

/// What an entry of the log that changes the members costs a node: the whole of them is handed in.
fn walk_of_the_log(nodes: usize, figures: &mut Figures) {
    let random = Random::new(0);
    let mut member =
        Member::with_list(id(0), Options::default(), facts(0), Arc::new(list_of(nodes)), Instant(0), random);
    let rounds = (100_000 / nodes).clamp(2, 1_000);
    let began = cpu_seconds();
    for _ in 0..rounds {
        member.set_members(Instant(0), &log_of(nodes), &mut Output::default());
    }
    figures.set("set_members_seconds", (cpu_seconds() - began) / rounds as f64);
}
