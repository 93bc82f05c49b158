//! A node of several shards on one disk in memory. Envelopes between them are carried as bytes.

use super::Connected;
use bytes::Bytes;
use holon_base::{Instant, NodeId, ShardId, Wall};
use holon_cql::{Compression, Version};
use holon_kernel::testing::MemoryDisk;
use holon_kernel::{CallError, Class, Envelope, EnvelopeKind, Order, Router, Scope, Shard, ShardOptions, Target};
use holon_metadata::Metadata;
use holon_tables::service::{TablesConfig, TablesService};
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Default)]
struct Post(Rc<RefCell<VecDeque<Envelope>>>);

impl Router for Post {
    fn send(&mut self, envelope: Envelope) {
        self.0.borrow_mut().push_back(envelope);
    }
}

pub struct Shards {
    pub shards: Vec<Rc<Shard>>,
    pub services: Vec<Rc<TablesService>>,
    post: Post,
    /// Envelopes to this shard are lost.
    pub deaf: Option<ShardId>,
    refusal: RefCell<Refusal>,
}

/// A tablet carries out what it is asked, and refuses it nevertheless, as one that knows it has begun to move.
#[derive(Default)]
struct Refusal {
    /// So many requests more, and what happens when one is refused.
    left: usize,
    then: Option<Box<dyn Fn()>>,
    /// Who asked, and by which number.
    asked: BTreeSet<(ShardId, u64)>,
    refused: usize,
}

impl Refusal {
    fn pass(&mut self, envelope: &mut Envelope) {
        match &mut envelope.kind {
            EnvelopeKind::Request { target: Target::Tablet(_), .. } if self.left > 0 => {
                self.left -= 1;
                self.asked.insert((envelope.source.shard, envelope.correlation));
            }
            EnvelopeKind::Reply(outcome) if self.asked.remove(&(envelope.destination.shard, envelope.correlation)) => {
                *outcome = Err(CallError::NotHere);
                envelope.payload = Bytes::new();
                self.refused += 1;
                self.then.iter().for_each(|then| then());
            }
            _ => {}
        }
    }
}

impl Shards {
    pub fn start(count: u16) -> Shards {
        let (disk, post, clock) = (MemoryDisk::new(), Post::default(), Arc::default());
        let shard = |number| {
            Shard::new(ShardOptions {
                node: NodeId(1),
                shard: ShardId(number),
                shards: count,
                seed: u64::from(number),
                order: Order::FirstCome,
                disk: Box::new(disk.clone()),
                router: Box::new(post.clone()),
                now: Instant(0),
                wall: Wall(1_700_000_000_000_000),
                clock: Arc::clone(&clock),
            })
        };
        let mut node = Shards {
            shards: (0..count).map(shard).collect(),
            services: Vec::new(),
            post,
            deaf: None,
            refusal: RefCell::default(),
        };
        let started = Rc::new(RefCell::new(0));
        for shard in &node.shards {
            let metadata = Metadata::alone(shard, 1);
            let service = TablesService::new(shard.clone(), metadata.clone(), TablesConfig::default());
            shard.add_service(service.clone());
            node.services.push(service);
            let started = started.clone();
            shard.spawn(Scope::Node, Class::Foreground, async move {
                holon_metadata::start_shard(metadata, Rc::new(|_| ())).await.expect("the shard starts");
                *started.borrow_mut() += 1;
            });
        }
        node.settle();
        assert_eq!(*started.borrow(), count, "every shard has started");
        node
    }

    /// Of what tablets are asked from now on by other shards, so many requests are refused when they are carried out.
    pub fn refuse(&self, requests: usize, then: Option<Box<dyn Fn()>>) {
        *self.refusal.borrow_mut() = Refusal { left: requests, then, ..Refusal::default() };
    }

    pub fn refused(&self) -> usize {
        self.refusal.borrow().refused
    }

    /// Lets the shards work until they have nothing to do but wait, and a second more.
    pub fn settle(&self) {
        let end = self.shards[0].now() + Duration::from_secs(1);
        loop {
            while self.turn() {}
            let next = self.shards.iter().filter_map(|shard| shard.next_deadline()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.advance(next);
        }
        self.advance(end);
        while self.turn() {}
    }

    /// Time passes at once; what waited for it then happens.
    pub fn pass(&self, duration: Duration) {
        self.advance(self.shards[0].now() + duration);
        self.settle();
    }

    fn advance(&self, to: Instant) {
        for shard in &self.shards {
            let wall = Wall(shard.wall_micros() + to.since(shard.now()).as_micros() as i64);
            shard.advance(to, wall);
        }
    }

    /// True if something was done.
    fn turn(&self) -> bool {
        let before: u64 = self.shards.iter().map(|shard| shard.polls()).sum();
        for shard in &self.shards {
            shard.run_ready(1000);
            assert_eq!(shard.stopped(), None);
        }
        let envelopes: Vec<Envelope> = self.post.0.borrow_mut().drain(..).collect();
        let carried = !envelopes.is_empty();
        for envelope in envelopes.into_iter().filter(|envelope| Some(envelope.destination.shard) != self.deaf) {
            let mut envelope = Envelope::decode(envelope.encode()).expect("decodes");
            self.refusal.borrow_mut().pass(&mut envelope);
            self.shards[usize::from(envelope.destination.shard.0)].deliver(envelope);
        }
        carried || self.shards.iter().map(|shard| shard.polls()).sum::<u64>() > before
    }

    pub fn connect(&self, shard: usize, version: Version, compression: Option<Compression>) -> Connected {
        Connected::open(&self.shards[shard], &self.services[shard], version, compression)
    }
}
