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
use holon_base::{ByteReader, ByteWriter, Instant, ShortInput, TabletId};
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
    /// Given up when nobody has asked for it until then.
    until: Instant,
    /// Writes are held for it, and have been since it was asked for: for the how-manieth time.
    hold: Option<u64>,
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
    pub async fn answer(self: Rc<Self>, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        let mut input = ByteReader::new(payload);
        let run = check_version(&mut input).and_then(|()| input.u64()).map_err(|_| CallError::NotHere)?;
        let (engine, tablets) = self.engine.borrow().clone().ok_or(CallError::NotHere)?;
        match verb {
            PREPARE => self.prepare(run, &engine, &tablets()).await,
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

    async fn prepare(self: &Rc<Self>, run: u64, engine: &Engine, tablets: &[TabletId]) -> Result<Bytes, CallError> {
        let until = self.shard.now() + CUT_PREPARE_TIMEOUT;
        {
            let mut kept = self.kept.borrow_mut();
            if kept.as_ref().is_some_and(|other| other.run != run) {
                return Err(CallError::Failed(Bytes::from_static(
                    b"another backup is under way, or was cut off less than a minute ago",
                )));
            }
            *kept = Some(Kept { run, until, hold: None, tablets: BTreeMap::new() });
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
        let told = CutAnswer {
            epoch: self.shard.map().map_or(0, |map| map.epoch()),
            tablets: pinned.keys().copied().collect(),
        };
        if let Some(kept) = &mut *self.kept.borrow_mut() {
            kept.tablets = pinned;
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

/// `version run:u64`, of all but READ, where `tablet:u64 request` follows.
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
