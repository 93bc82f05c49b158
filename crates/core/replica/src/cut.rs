//! A cut: all tablets of the cluster as they were at one moment, to be read at leisure.
//!
//! ```text
//!   coordinator ── PREPARE ──► every shard: flush, so that little is in memory
//!               ── HOLD ─────► no write is applied from here …
//!               ── CUT ──────► keep every tablet as it is
//!               ── RELEASE ──► … to here; was it held all the time?
//!               ── READ, KEEP ► pages of what is kept, in the time they take
//!               ── CLOSE ────► forget it
//! ```
//!
//! All shards that count have answered HOLD before any is asked for CUT, and have answered CUT before any is asked for RELEASE.
//! So there are moments at which none of them applied anything, and what is kept is their state at such a moment: as if all had
//! lost power at once. From this follows what is promised: a write that was acknowledged before at a level that needs a majority
//! is in it, since of each tablet a majority of the replicas must have taken part; and whoever asked for a write after another
//! was acknowledged, or after it was read, finds it in the cut only with that other one.
//!
//! Clocks play no part, but for the time after which a shard lets go by itself: it then says so, and does not count. Which replicas
//! a tablet has is that of one map which all that count had applied.
//!
//! It is kept in memory (which files, and what was not yet flushed): a shard that starts anew has lost its part. Clients wait for
//! two rounds of messages; nothing is copied meanwhile.

mod take;

pub use take::{Cut, CutError};

use crate::limits::{CUT_HOLD_MAX, CUT_IDLE_MAX, CUT_PREPARE_TIMEOUT};
use crate::message::{ReadAnswer, ReadRequest, check_version, put_version};
use crate::plant;
use crate::serve::scan_options;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, NodeId, ShortInput, TabletId};
use holon_kernel::{CallError, Class, Scope, Shard, Verb};
use holon_store::{Engine, Pinned, StoreError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) const PREPARE: Verb = Verb(Verb::SERVICE_FIRST + 48);
pub(crate) const HOLD: Verb = Verb(Verb::SERVICE_FIRST + 49);
pub(crate) const CUT: Verb = Verb(Verb::SERVICE_FIRST + 50);
pub(crate) const RELEASE: Verb = Verb(Verb::SERVICE_FIRST + 51);
pub(crate) const READ: Verb = Verb(Verb::SERVICE_FIRST + 52);
pub(crate) const KEEP: Verb = Verb(Verb::SERVICE_FIRST + 53);
pub(crate) const CLOSE: Verb = Verb(Verb::SERVICE_FIRST + 54);

/// Tablets of tables that are on this shard.
type Tablets = Rc<dyn Fn() -> Vec<TabletId>>;

/// One shard's part, of one cut at a time.
pub struct Cuts {
    shard: Rc<Shard>,
    engine: RefCell<Option<(Engine, Tablets)>>,
    kept: RefCell<Option<Kept>>,
    /// Times that writes were held here.
    holds: Cell<u64>,
}

struct Kept {
    run: u64,
    taker: NodeId,
    /// Given up when nobody has asked for it until then.
    until: Instant,
    /// Writes are held for it, and have been since it was asked for: for the how-manieth time.
    hold: Option<u64>,
    /// A HOLD that comes after this was sent before it, and is late.
    is_cut: bool,
    tablets: BTreeMap<TabletId, Rc<Pinned>>,
}

impl Cuts {
    pub fn new(shard: &Rc<Shard>) -> Rc<Cuts> {
        Rc::new(Cuts {
            shard: shard.clone(),
            engine: RefCell::default(),
            kept: RefCell::default(),
            holds: Cell::new(0),
        })
    }

    /// `tablets` is asked at each cut.
    pub fn open(&self, engine: &Engine, tablets: Tablets) {
        *self.engine.borrow_mut() = Some((engine.clone(), tablets));
    }

    /// The engine is about to close.
    pub fn close(&self) {
        self.kept.borrow_mut().take();
        if let Some((engine, _)) = self.engine.borrow_mut().take() {
            engine.release();
        }
    }

    pub fn takes(verb: Verb) -> bool {
        (PREPARE.0..=CLOSE.0).contains(&verb.0)
    }

    /// # Errors
    /// [`CallError::Failed`] with words for people; [`CallError::NotHere`]: this shard has no part in the cut (any more).
    pub async fn answer(self: Rc<Self>, from: NodeId, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        let mut input = ByteReader::new(payload);
        let run = check_version(&mut input).and_then(|()| input.u64()).map_err(|_| CallError::NotHere)?;
        let (engine, tablets) = self.engine.borrow().clone().ok_or(CallError::NotHere)?;
        match verb {
            PREPARE => {
                let before = input.u64().map_err(|_| CallError::NotHere)?;
                self.prepare(run, before, from, &engine, &tablets()).await
            }
            HOLD => self.hold(run, &engine).await,
            CUT => self.cut(run, &engine, &tablets()),
            RELEASE => self.release(run, &engine),
            READ => self.read(run, &engine, input).await,
            KEEP => self.renew(run).map(|()| Bytes::new()),
            _ => {
                self.forget(run, &engine);
                Ok(Bytes::new())
            }
        }
    }

    fn renew(&self, run: u64) -> Result<(), CallError> {
        let mut kept = self.kept.borrow_mut();
        let kept = kept.as_mut().filter(|kept| kept.run == run).ok_or(CallError::NotHere)?;
        kept.until = kept.until.max(self.shard.now() + CUT_IDLE_MAX);
        Ok(())
    }

    fn forget(&self, run: u64, engine: &Engine) {
        let is_it = self.kept.borrow().as_ref().is_some_and(|kept| kept.run == run);
        if is_it {
            // Not while it is borrowed: what is dropped here may be much.
            let gone = self.kept.borrow_mut().take();
            engine.release();
            drop(gone);
        }
    }

    async fn prepare(
        self: &Rc<Self>,
        run: u64,
        before: u64,
        taker: NodeId,
        engine: &Engine,
        tablets: &[TabletId],
    ) -> Result<Bytes, CallError> {
        let until = self.shard.now() + CUT_PREPARE_TIMEOUT;
        {
            let mut kept = self.kept.borrow_mut();
            // A node takes one at a time: an earlier one of the same node, or of one that is dead, has come to nothing.
            let is_alive = |other: &Kept| other.taker != taker && self.shard.is_alive(other.taker);
            if kept.as_ref().is_some_and(|other| ![run, before].contains(&other.run) && is_alive(other)) {
                let why = "another backup is under way, or was cut off in the last two minutes";
                return Err(CallError::Failed(Bytes::from_static(why.as_bytes())));
            }
            let now = Kept { run, taker, until, hold: None, is_cut: false, tablets: BTreeMap::new() };
            let before = kept.replace(now);
            if before.is_some_and(|before| before.hold.is_some()) {
                engine.release(); // an earlier try, whose release did not get here
            }
        }
        self.watch(run, engine);
        for tablet in tablets {
            match engine.flush(*tablet).await {
                Ok(()) | Err(StoreError::NoSuchTablet(_)) => {}
                Err(error) => return Err(CallError::Failed(error.to_string().into())),
            }
        }
        self.renew(run).map(|()| Bytes::new())
    }

    /// Gives up what nobody asks for any more.
    fn watch(self: &Rc<Self>, run: u64, engine: &Engine) {
        let (me, engine) = (self.clone(), engine.clone());
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                let until = me.kept.borrow().as_ref().filter(|kept| kept.run == run).map(|kept| kept.until);
                let Some(until) = until else { return };
                if me.shard.now() >= until {
                    return me.forget(run, &engine);
                }
                me.shard.sleep_until(until).await;
            }
        });
    }

    async fn hold(self: &Rc<Self>, run: u64, engine: &Engine) -> Result<Bytes, CallError> {
        self.renew(run)?;
        if self.kept.borrow().as_ref().is_some_and(|kept| kept.is_cut) {
            return Err(CallError::NotHere);
        }
        let number = self.holds.get() + 1;
        self.holds.set(number);
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.hold = Some(number);
        }
        let is_this = move |kept: &Kept| kept.run == run && kept.hold == Some(number);
        let (me, theirs) = (self.clone(), engine.clone());
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            me.shard.sleep(CUT_HOLD_MAX).await;
            if me.kept.borrow().as_ref().is_some_and(is_this) {
                let _ = me.release(run, &theirs); // whoever asks for it later is told
            }
        });
        if plant::get().cut_unheld {
            return Ok(Bytes::new());
        }
        engine.hold().await.map_err(|_| CallError::Gone)?;
        if self.kept.borrow().as_ref().is_some_and(is_this) {
            return Ok(Bytes::new());
        }
        // It was broken while the last writes were waited for.
        if self.kept.borrow().as_ref().is_none_or(|kept| kept.hold.is_none()) {
            engine.release();
        }
        Err(CallError::NotHere)
    }

    fn holds(&self, run: u64) -> bool {
        self.kept.borrow().as_ref().is_some_and(|kept| kept.run == run && kept.hold.is_some())
    }

    fn cut(&self, run: u64, engine: &Engine, tablets: &[TabletId]) -> Result<Bytes, CallError> {
        if !self.holds(run) {
            return Err(CallError::NotHere);
        }
        let pinned = tablets.iter().filter_map(|tablet| Some((*tablet, Rc::new(engine.pin(*tablet).ok()?))));
        let pinned: BTreeMap<TabletId, Rc<Pinned>> = pinned.collect();
        let told = CutAnswer { epoch: self.shard.map_epoch(), tablets: pinned.keys().copied().collect() };
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.tablets = pinned;
            kept.is_cut = true;
        }
        Ok(told.encode())
    }

    fn release(&self, run: u64, engine: &Engine) -> Result<Bytes, CallError> {
        if !self.holds(run) {
            return Err(CallError::NotHere);
        }
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.hold = None;
        }
        engine.release();
        Ok(Bytes::new())
    }

    async fn read(&self, run: u64, engine: &Engine, mut input: ByteReader) -> Result<Bytes, CallError> {
        self.renew(run)?;
        let tablet = TabletId(input.u64().map_err(|_| CallError::NotHere)?);
        let request = ReadRequest::decode(input.rest()).map_err(|_| CallError::NotHere)?;
        let pinned = self.kept.borrow().as_ref().and_then(|kept| kept.tablets.get(&tablet).cloned());
        let pinned = pinned.ok_or(CallError::NotHere)?;
        let options = scan_options(&request);
        let read = engine.read_pinned(&pinned, request.ranges, options).await;
        let (page, rest) = read.map_err(|error| CallError::Failed(error.to_string().into()))?;
        Ok(ReadAnswer { rows: page.rows, deleted: page.ranges, rest }.encode(&[]))
    }
}

/// `version run:u64`, of most; after it, for PREPARE: `before:u64`, the run of the try before this one; for READ: `tablet:u64 request`.
pub(crate) fn request(run: u64) -> ByteWriter {
    let mut out = ByteWriter::new();
    put_version(&mut out);
    out.put_u64(run);
    out
}

pub(crate) fn read_request(run: u64, tablet: TabletId, read: &ReadRequest) -> Bytes {
    let mut out = request(run);
    out.put_u64(tablet.0);
    out.put_slice(&read.encode());
    out.freeze()
}

/// `version epoch:u64 count (tablet:u64)*`: what a shard has kept, and the map it had then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CutAnswer {
    pub epoch: u64,
    pub tablets: Vec<TabletId>,
}

impl CutAnswer {
    fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        put_version(&mut out);
        out.put_u64(self.epoch);
        out.put_varint(self.tablets.len() as u64);
        self.tablets.iter().for_each(|tablet| out.put_u64(tablet.0));
        out.freeze()
    }

    pub fn decode(bytes: Bytes) -> Result<CutAnswer, ShortInput> {
        let mut input = ByteReader::new(bytes);
        check_version(&mut input)?;
        let epoch = input.u64()?;
        let tablets = (0..input.count()?).map(|_| input.u64().map(TabletId)).collect::<Result<_, _>>()?;
        input.end()?;
        Ok(CutAnswer { epoch, tablets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_base::GroupId;
    use holon_kernel::testing::{MemoryDisk, TestShard};
    use holon_store::{Cell as StoreCell, CellEntry, Durability, EngineOptions, KeyRange, Mutation, Row};
    use std::time::Duration;

    const TABLET: TabletId = TabletId(0x1_0000);

    fn shard_alone<F: Future<Output = ()> + 'static>(work: impl FnOnce(Rc<Shard>, Rc<Cuts>, Engine) -> F) {
        let test = TestShard::new(MemoryDisk::new());
        let shard = test.shard.clone();
        let opening = shard.clone();
        let engine = test.block_on(async move {
            let engine = Engine::open(opening, EngineOptions::new(1, 0, 1)).await.expect("opens");
            engine.recover().await.expect("recovers");
            engine.create_tablet(TABLET).await.expect("made");
            engine
        });
        let cuts = Cuts::new(&shard);
        cuts.open(&engine, Rc::new(|| vec![TABLET, TabletId::new(GroupId(7), 0)]));
        test.block_on(work(shard, cuts, engine));
    }

    async fn ask(cuts: &Rc<Cuts>, verb: Verb, run: u64) -> Result<Bytes, CallError> {
        ask_as(NodeId(1), cuts, verb, run).await
    }

    async fn ask_as(node: NodeId, cuts: &Rc<Cuts>, verb: Verb, run: u64) -> Result<Bytes, CallError> {
        let mut payload = request(run);
        if verb == PREPARE {
            payload.put_u64(4); // the try before
        }
        cuts.clone().answer(node, verb, payload.freeze()).await
    }

    fn mutation(timestamp: i64) -> Mutation {
        let mut row = Row::default();
        row.put(CellEntry::new(1, StoreCell::live(timestamp, "v")));
        Mutation::row(timestamp.to_be_bytes(), &row).expect("small")
    }

    /// Whether writes are applied within a second.
    async fn writes(shard: &Shard, engine: &Engine, timestamp: i64) -> bool {
        let written = engine.write(TABLET, mutation(timestamp), Durability::Sync);
        shard.timeout(shard.now() + Duration::from_secs(1), written).await.is_ok()
    }

    async fn rows_of(cuts: &Rc<Cuts>, run: u64) -> Result<usize, CallError> {
        let read = ReadRequest::all_of(vec![KeyRange::all()], 0);
        let answer = cuts.clone().answer(NodeId(1), READ, read_request(run, TABLET, &read)).await?;
        Ok(ReadAnswer::decode(answer).expect("of this version").0.rows.len())
    }

    #[test]
    fn what_was_written_before_is_in_it_and_what_comes_after_is_not() {
        shard_alone(|shard, cuts, engine| async move {
            assert!(writes(&shard, &engine, 1).await);
            for verb in [HOLD, CUT, RELEASE, KEEP] {
                assert_eq!(ask(&cuts, verb, 5).await, Err(CallError::NotHere), "{verb:?} of a run that has not begun");
            }
            ask(&cuts, PREPARE, 5).await.expect("begins");
            let other = ask_as(NodeId(2), &cuts, PREPARE, 6).await;
            assert!(matches!(other, Err(CallError::Failed(_))), "one at a time");
            assert!(writes(&shard, &engine, 2).await);
            assert_eq!(ask(&cuts, CUT, 5).await, Err(CallError::NotHere), "nothing is held");
            ask(&cuts, HOLD, 5).await.expect("holds");
            assert!(!writes(&shard, &engine, 3).await);
            let told = CutAnswer::decode(ask(&cuts, CUT, 5).await.expect("cut")).expect("of this version");
            assert_eq!(told, CutAnswer { epoch: 0, tablets: vec![TABLET] });
            ask(&cuts, RELEASE, 5).await.expect("unbroken");
            assert_eq!(ask(&cuts, HOLD, 5).await, Err(CallError::NotHere), "one that comes late");
            assert!(writes(&shard, &engine, 4).await);
            assert_eq!(rows_of(&cuts, 5).await, Ok(2));
            assert_eq!(rows_of(&cuts, 6).await, Err(CallError::NotHere));
            ask(&cuts, CLOSE, 6).await.expect("of another run");
            assert_eq!(rows_of(&cuts, 5).await, Ok(2));
            ask(&cuts, CLOSE, 5).await.expect("ends");
            assert_eq!(rows_of(&cuts, 5).await, Err(CallError::NotHere));
            ask(&cuts, PREPARE, 6).await.expect("the next one");
        });
    }

    #[test]
    fn who_is_not_told_lets_go_and_says_so() {
        shard_alone(|shard, cuts, engine| async move {
            ask(&cuts, PREPARE, 5).await.expect("begins");
            ask(&cuts, HOLD, 5).await.expect("holds");
            ask(&cuts, CUT, 5).await.expect("cut");
            shard.sleep(CUT_HOLD_MAX + Duration::from_millis(1)).await;
            assert!(writes(&shard, &engine, 1).await);
            assert_eq!(ask(&cuts, RELEASE, 5).await, Err(CallError::NotHere), "it was broken");
            // Nobody asks any more: another may begin. At once, if whoever took it is dead, or takes another.
            shard.sleep(CUT_PREPARE_TIMEOUT).await;
            ask_as(NodeId(2), &cuts, PREPARE, 6).await.expect("the next one");
            assert!(ask(&cuts, PREPARE, 7).await.is_err());
            shard.set_alive(NodeId(2), false);
            ask(&cuts, PREPARE, 7).await.expect("the next one");
            ask(&cuts, PREPARE, 8).await.expect("the next one of the same node");
            assert_eq!(ask(&cuts, HOLD, 7).await, Err(CallError::NotHere));
        });
    }

    /// The simulator's world of backups found it: writes were refused for ever.
    #[test]
    fn a_try_that_begins_anew_ends_the_hold_of_the_one_before() {
        shard_alone(|shard, cuts, engine| async move {
            ask(&cuts, PREPARE, 4).await.expect("begins");
            ask(&cuts, HOLD, 4).await.expect("holds");
            ask(&cuts, PREPARE, 5).await.expect("again, since no release came");
            assert!(writes(&shard, &engine, 1).await);
            for verb in [HOLD, CUT, RELEASE] {
                assert_eq!(
                    ask(&cuts, verb, 4).await,
                    Err(CallError::NotHere),
                    "a message of the first try that is late"
                );
            }
            ask(&cuts, HOLD, 5).await.expect("holds");
            ask(&cuts, CLOSE, 5).await.expect("ends");
            assert!(writes(&shard, &engine, 2).await);
            ask(&cuts, PREPARE, 7).await.expect("begins");
            ask(&cuts, HOLD, 7).await.expect("holds");
            cuts.close();
            assert!(writes(&shard, &engine, 3).await);
        });
    }

    #[test]
    fn what_is_sent_is_what_arrives_and_what_is_cut_is_refused() {
        let sent = CutAnswer { epoch: 9, tablets: vec![TABLET, TabletId(7)] };
        let bytes = sent.encode();
        assert_eq!(CutAnswer::decode(bytes.clone()), Ok(sent));
        assert!((0..bytes.len()).all(|end| CutAnswer::decode(bytes.slice(..end)).is_err()));
    }
}
