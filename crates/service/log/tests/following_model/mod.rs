//! A replica to which anything happens in any order, held against what it was given.

use crate::ONE;
use crate::common::World;
use crate::common::stream::{Stream, append, assert_same, content, follow, truncate};
use bytes::Bytes;
use holon_base::Random;
use holon_kernel::{Class, Scope};
use holon_log::store::Retention;
use holon_wal::Durability;

struct Model {
    stream: Stream,
    start: i64,
}

impl Model {
    fn check(&self, world: &World, random: &mut Random, why: &str) {
        let Model { stream, start } = self;
        assert_eq!(world.store.ends(ONE), Ok((*start, stream.end)), "{why}");
        let from = start + random.below((stream.end - start) as u64 + 1) as i64;
        let bytes_max = random.below(4000) as usize;
        let found = world.run(move |store| async move { store.read_to_end(ONE, from, i64::MAX, bytes_max).await });
        let found = found.expect(why);
        assert!(found.bytes > 0 || from == stream.end, "{why}: a reader at {from} gets on");
        let begin = found.first.map_or(0, |first| first.base_offset);
        assert!(found.pieces.concat() == stream.bytes_between(begin, found.end), "{why}: from {from}");
    }

    /// Batches and a truncation are under way when the process ends: none, the first, or both were done.
    fn crash(&mut self, world: World, random: &mut Random) -> World {
        let (end, start) = (self.stream.end, self.start);
        let offset = start + random.below((end - start) as u64 + 1) as i64;
        self.stream.make_many(random.below(4) as usize, random);
        let bytes = self.stream.bytes_between(end, self.stream.end);
        let store = world.store.clone();
        world.shard.shard.spawn(Scope::Node, Class::Foreground, async move {
            if store.append_copied(ONE, bytes, Durability::Sync).await.is_ok() {
                let _ = store.truncate(ONE, offset).await;
            }
        });
        match random.below(4) {
            0 => {}
            1 => drop(world.run(|store| async move { store.read_to_end(ONE, end, i64::MAX, 1).await })),
            _ => world.checkpoint(),
        }
        let world = if random.chance(1, 2) { world.reopen() } else { world.lose_power(random) };
        let found = world.store.ends(ONE).expect("there").1;
        let cut = self.stream.batches.iter().find(|batch| batch.header.last_offset() >= offset);
        let cut = cut.map_or(self.stream.end, |batch| batch.header.base_offset);
        assert!(found == cut || found >= end, "it ends at {found}, and not at {cut}");
        self.stream.truncate(found);
        assert_eq!(self.stream.end, found, "where a batch ends");
        self.start = self.start.min(found);
        world
    }
}

fn step(mut world: World, model: &mut Model, random: &mut Random, retains: bool) -> World {
    match random.below(40) {
        0 => world = world.reopen(),
        1 => world = world.lose_power(random),
        2 => world = world.reopen_twice(),
        3..5 => world.checkpoint(),
        5..7 => world = model.crash(world, random),
        7..12 => {
            // Mostly a little, as a follower does it.
            let (start, end) = (model.start, model.stream.end);
            let most = if random.chance(1, 5) { end - start } else { (end - start).min(60) };
            let offset = end - random.below(most as u64 + 1) as i64;
            let expected = model.stream.truncate(offset);
            assert_eq!(truncate(&world, ONE, offset), Ok(expected));
            model.start = model.start.min(expected);
            model.stream.leader_epoch += i32::from(random.chance(1, 2));
        }
        12 if retains => {
            let to = model.start + random.below((model.stream.end - model.start) as u64 / 2 + 1) as i64;
            world.run(move |store| async move { store.move_start(ONE, to).await }).expect("moved");
            world.run(|store| async move { store.retain(ONE, Retention::default()).await }).expect("retained");
            model.start = model.start.max(to);
        }
        _ => {
            let end = model.stream.end;
            model.stream.make_many(1 + random.below(6) as usize, random);
            let bytes: Bytes = model.stream.bytes_between(end, model.stream.end);
            assert_eq!(append(&world, ONE, bytes), Ok((model.start, model.stream.end)));
        }
    }
    world
}

#[test]
fn a_replica_is_what_it_was_given_whatever_happens() {
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let mut world = World::new_with(|options| {
            options.unwritten_bytes_max = 1500;
            options.kept_bytes_max = 1500;
        });
        world.create(ONE);
        // What retention takes is not known again by those that only have the rest.
        let retains = seed % 2 == 0;
        let mut model = Model { stream: Stream::new(1), start: 0 };
        for number in 0..150 {
            world = step(world, &mut model, &mut random, retains);
            model.check(&world, &mut random, &format!("seed {seed}, step {number}"));
        }
        let (start, end) = (model.start, model.stream.end);
        for restart in [false, true] {
            if restart {
                world = world.reopen();
            }
            let begin = model.stream.batches.iter().find(|batch| batch.header.last_offset() >= start);
            let begin = begin.map_or(end, |batch| batch.header.base_offset);
            assert!(content(&world, ONE, start, 900) == model.stream.bytes_between(begin, end), "seed {seed}");
            if !retains {
                let reference = World::new();
                reference.create(ONE);
                follow(&reference, ONE, &model.stream, end, &mut random);
                assert_same(&world, &reference, ONE, &format!("seed {seed}"));
            }
        }
    }
}
