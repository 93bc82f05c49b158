//! A toy service that keeps the contracts honest: counters, replicated to every node, read and written at a majority.
//!
//! A counter is the set of increments made to it (id → amount), so replicas merge by union and a repeated increment counts
//! once. Its door speaks lines: `inc KEY ID AMOUNT`, `get KEY`; the answers are `ok ID`, `unknown ID`, `value KEY ID=AMOUNT,…`,
//! `unavailable KEY`, `error …`. A read writes what it found back to a majority before it answers (Attiya, Bar-Noy, Dolev
//! 1995), so what was once read stays read.

use bytes::{Bytes, BytesMut};
use holon_base::{ByteReader, ByteWriter, GroupId, Instant, NodeId, ServiceId, ShortInput, TabletId, crc32c};
use holon_kernel::metric::Metric;
use holon_kernel::*;
use holon_metadata::Metadata;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub const TOY: ServiceId = ServiceId(42);
pub const TABLETS: u32 = 4;
/// A record of the log: a sector, so that it is never torn.
const RECORD_BYTES: u64 = 512;
const TIMEOUT: Duration = Duration::from_millis(800);

type Increments = BTreeMap<u64, i64>;

pub struct Toy {
    shard: Rc<Shard>,
    metadata: Rc<Metadata>,
    nodes: Vec<NodeId>,
    increments: Cell<u64>,
}

impl Toy {
    pub fn install(shard: &Rc<Shard>, metadata: &Rc<Metadata>, nodes: Vec<NodeId>) {
        let toy = Toy { shard: shard.clone(), metadata: metadata.clone(), nodes, increments: Cell::new(0) };
        shard.add_service(Rc::new(toy));
    }

    fn replicas(&self, key: u64) -> (TabletId, Vec<Address>) {
        // Before there is a group nobody has the tablet.
        let group = self.metadata.groups().first().map_or(GroupId(0), |group| group.id);
        let tablet = TabletId::new(group, (key % u64::from(TABLETS)) as u32);
        let shard = tablet.shard(self.shard.shards());
        (tablet, self.nodes.iter().map(|&node| Address { node, shard }).collect())
    }

    /// Asks every replica and gives the first majority of answers; `None` when the deadline or too many failures come first.
    async fn majority(
        &self,
        tablet: TabletId,
        to: &[Address],
        verb: Verb,
        payload: Bytes,
        deadline: Instant,
    ) -> Option<Vec<Bytes>> {
        let needed = self.nodes.len() / 2 + 1;
        let (completer, reached) = self.shard.ticket();
        let state = Rc::new(RefCell::new((Some(completer), Vec::new())));
        for &address in to {
            let (shard, state, payload) = (self.shard.clone(), state.clone(), payload.clone());
            // A task of the node: the slower replicas are still written when the client has its answer.
            self.shard.spawn(Scope::Node, Class::Replication, async move {
                if let Ok(answer) = shard.call(address, Target::Tablet(tablet), verb, payload, deadline).await {
                    let mut state = state.borrow_mut();
                    state.1.push(answer);
                    if state.1.len() == needed
                        && let Some(completer) = state.0.take()
                    {
                        let answers = std::mem::take(&mut state.1);
                        drop(state);
                        completer.complete(answers);
                    }
                }
            });
        }
        drop(state);
        self.shard.timeout(deadline, reached).await.ok()?.ok()
    }

    async fn increment(&self, key: u64, id: u64, amount: i64) -> String {
        let (tablet, replicas) = self.replicas(key);
        let deadline = self.shard.now() + TIMEOUT;
        let mutation = encode(key, &Increments::from([(id, amount)]));
        match self.majority(tablet, &replicas, Verb::APPLY, mutation, deadline).await {
            Some(_) => format!("ok {id}\n"),
            None => format!("unknown {id}\n"),
        }
    }

    async fn get(&self, key: u64) -> String {
        let (tablet, replicas) = self.replicas(key);
        let deadline = self.shard.now() + TIMEOUT;
        let request = encode(key, &Increments::new());
        let found = self.majority(tablet, &replicas, Verb::READ, request, deadline).await;
        let decoded: Option<Vec<Increments>> =
            found.and_then(|all| all.into_iter().map(|bytes| decode(bytes).ok().map(|(_, set)| set)).collect());
        let Some(sets) = decoded else { return format!("unavailable {key}\n") };
        let union: Increments = sets.iter().flatten().map(|(id, amount)| (*id, *amount)).collect();
        if sets.iter().any(|set| set.len() < union.len())
            && self.majority(tablet, &replicas, Verb::APPLY, encode(key, &union), deadline).await.is_none()
        {
            return format!("unavailable {key}\n");
        }
        let list: Vec<String> = union.iter().map(|(id, amount)| format!("{id}={amount}")).collect();
        format!("value {key} {}\n", list.join(","))
    }
}

fn encode(key: u64, increments: &Increments) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_varint(key);
    out.put_varint(increments.len() as u64);
    for (id, amount) in increments {
        out.put_varint(*id);
        out.put_signed_varint(*amount);
    }
    out.freeze()
}

fn decode(bytes: Bytes) -> Result<(u64, Increments), ShortInput> {
    let mut input = ByteReader::new(bytes);
    let key = input.varint()?;
    let count = input.count()?;
    let increments = (0..count).map(|_| Ok((input.varint()?, input.signed_varint()?))).collect::<Result<_, _>>()?;
    input.end()?;
    Ok((key, increments))
}

/// A replica of a quarter of the counters, with a log of its own.
struct ToyTablet {
    shard: Rc<Shard>,
    log: DiskFile,
    end: Cell<u64>,
    turn: Pool,
    counters: RefCell<BTreeMap<u64, Increments>>,
}

impl ToyTablet {
    async fn open(shard: Rc<Shard>, id: TabletId) -> Result<ToyTablet, DiskError> {
        let disk = shard.disk();
        disk.create_dir("toy").await?;
        disk.sync_dir("").await?;
        let log = disk.open(&format!("toy/{id}"), OpenOptions { create: true, direct: false }).await?;
        disk.sync_dir("toy").await?;
        let mut counters: BTreeMap<u64, Increments> = BTreeMap::new();
        let mut end = 0;
        loop {
            let record = log.read_at(end, RECORD_BYTES as usize).await?;
            // A record that does not check ends the log: it was never acknowledged, the next one takes its place.
            let Some((key, id, amount)) = parse_record(&record) else { break };
            counters.entry(key).or_default().insert(id, amount);
            end += RECORD_BYTES;
        }
        if end > 0 {
            // What was read may be in the page cache only, when the last start ended with a failed sync: written again,
            // it is synced before anything rests on it.
            let content = log.read_at(0, end as usize).await?;
            log.write_at(0, DiskBuffer::from(&content[..])).await?;
            log.sync().await?;
        }
        let turn = shard.pool("toy log", 1);
        Ok(ToyTablet { shard, log, end: Cell::new(end), turn, counters: RefCell::new(counters) })
    }

    async fn write(self: Rc<Self>, key: u64, increments: Increments) -> Result<(), DiskError> {
        let _turn = self.turn.acquire(1).await;
        for (id, amount) in increments {
            if self.counters.borrow().get(&key).is_some_and(|known| known.contains_key(&id)) {
                continue;
            }
            self.log.write_at(self.end.get(), record(key, id, amount)).await?;
            if let Err(error) = self.log.sync().await {
                self.shard.stop(format!("{error}: what the log holds is not known"));
                return Err(error);
            }
            self.end.set(self.end.get() + RECORD_BYTES);
            self.counters.borrow_mut().entry(key).or_default().insert(id, amount);
        }
        Ok(())
    }
}

fn record(key: u64, id: u64, amount: i64) -> DiskBuffer {
    let mut body = ByteWriter::new();
    body.put_u64(key);
    body.put_u64(id);
    body.put_i64(amount);
    let mut out = DiskBuffer::with_capacity(RECORD_BYTES as usize);
    out.extend_from_slice(&crc32c(body.as_slice()).to_le_bytes());
    out.extend_from_slice(body.as_slice());
    out.pad_to(RECORD_BYTES as usize);
    out
}

fn parse_record(bytes: &Bytes) -> Option<(u64, u64, i64)> {
    let mut input = ByteReader::new(bytes.clone());
    let crc = input.u32().ok()?;
    let fields = (input.u64().ok()?, input.u64().ok()?, input.i64().ok()?);
    (crc32c(&bytes[4..28]) == crc).then_some(fields)
}

impl Tablet for ToyTablet {
    fn apply(self: Rc<Self>, mutation: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            let failed = |text: String| CallError::Failed(Bytes::from(text));
            let (key, increments) = decode(mutation).map_err(|short| failed(short.to_string()))?;
            // Once begun, the write belongs to the tablet, whoever stops waiting for it.
            let (completer, done) = self.shard.ticket();
            let me = self.clone();
            self.shard.spawn(Scope::Node, Class::Foreground, async move {
                completer.complete(me.write(key, increments).await);
            });
            done.await.map_err(|_| CallError::Gone)?.map_err(|error| failed(error.to_string()))?;
            Ok(Bytes::new())
        })
    }

    fn read(self: Rc<Self>, request: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            let (key, _) = decode(request).map_err(|short| CallError::Failed(Bytes::from(short.to_string())))?;
            let found = self.counters.borrow().get(&key).cloned().unwrap_or_default();
            Ok(encode(key, &found))
        })
    }

    fn digest(self: Rc<Self>, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async move {
            let counters = self.counters.borrow();
            let all: Vec<u8> = counters.iter().flat_map(|(key, set)| encode(*key, set).to_vec()).collect();
            Ok(Bytes::copy_from_slice(&crc32c(&all).to_le_bytes()))
        })
    }
}

impl Service for Toy {
    fn id(&self) -> ServiceId {
        TOY
    }

    fn name(&self) -> &'static str {
        "toy"
    }

    fn apply_metadata(&self, _: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        match &entry[..] {
            b"create" => Ok(MetadataEffect {
                create_tablets: Some(NewTablets { count: TABLETS, replication: Replication::Simple { factor: 3 } }),
                ..MetadataEffect::default()
            }),
            _ => Err(Bytes::from_static(b"the only entry is: create")),
        }
    }

    fn start(self: Rc<Self>, _: StartContext) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn open_tablet(self: Rc<Self>, descriptor: TabletDescriptor) -> LocalFuture<Result<Rc<dyn Tablet>, String>> {
        Box::pin(async move {
            let tablet = ToyTablet::open(self.shard.clone(), descriptor.id).await.map_err(|error| error.to_string())?;
            Ok(Rc::new(tablet) as Rc<dyn Tablet>)
        })
    }

    fn remove_tablet(self: Rc<Self>, tablet: TabletId) -> LocalFuture<Result<(), String>> {
        Box::pin(
            async move { self.shard.disk().remove(&format!("toy/{tablet}")).await.map_err(|error| error.to_string()) },
        )
    }

    fn recover(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) }) // each tablet read its log when it was opened
    }

    fn recovered_everywhere(self: Rc<Self>) -> LocalFuture<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(self: Rc<Self>) -> LocalFuture<()> {
        Box::pin(async {})
    }

    fn open_session(self: Rc<Self>, context: SessionContext) -> Box<dyn Session> {
        Box::new(ToySession { toy: self, session: context.session, outbox: context.outbox })
    }

    fn message(self: Rc<Self>, _: Address, _: Verb, _: Bytes) -> LocalFuture<Result<Bytes, CallError>> {
        Box::pin(async { Err(CallError::NotHere) })
    }

    fn command(self: Rc<Self>, _: Vec<String>, _: Rc<dyn Fn(String)>) -> LocalFuture<Result<String, String>> {
        Box::pin(async { Err("the toy has no commands".to_string()) })
    }

    fn metrics(&self, out: &mut Vec<Metric>) {
        out.push(Metric::counter("toy_increments_total", "increments asked for", self.increments.get()));
    }

    fn status(&self) -> Vec<(String, String)> {
        vec![("increments".to_string(), self.increments.get().to_string())]
    }
}

struct ToySession {
    toy: Rc<Toy>,
    session: u64,
    outbox: Rc<Outbox>,
}

impl Session for ToySession {
    fn handle(&mut self, input: &mut BytesMut) -> Flow {
        while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&input.split_to(end + 1)).trim().to_string();
            let (toy, outbox) = (self.toy.clone(), self.outbox.clone());
            outbox.request_started();
            self.toy.shard.spawn(Scope::Session(self.session), Class::Foreground, async move {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
                let answer = match (words[0], number(1), number(2), number(3)) {
                    ("inc", Some(key), Some(id), Some(amount)) => {
                        toy.increments.set(toy.increments.get() + 1);
                        toy.increment(key as u64, id as u64, amount).await
                    }
                    ("get", Some(key), None, None) => toy.get(key as u64).await,
                    _ => format!("error {line:?}: expected `inc KEY ID AMOUNT` or `get KEY`\n"),
                };
                outbox.write(|buffer| buffer.extend_from_slice(answer.as_bytes()));
                outbox.request_ended();
            });
        }
        Flow::Continue
    }
}
