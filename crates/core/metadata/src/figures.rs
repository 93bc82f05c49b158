//! Figures of the nodes, for people who watch: how much each was asked and holds, and how far the copies of a change of
//! topology are.
//!
//! ```text
//!   somebody looks ─▶ shard 0 ── FIGURES ─▶ shard 0 of each node that seems alive ── OWN_FIGURES ─▶ its shards
//! ```
//!
//! Asked for when somebody looks, so that it costs nothing when nobody does. Figures are of this start of a node, are in
//! no log, and decide nothing. Of a large cluster only some nodes are asked (see [`FIGURES_NODES_MAX`]).

use crate::limits::{FIGURES_AGE, FIGURES_NODES_MAX, FIGURES_PAUSE, FIGURES_TABLETS_MAX, FIGURES_TIMEOUT};
use crate::service::{FIGURES, METADATA_SERVICE, Metadata, OWN_FIGURES};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, Instant, NodeId, ShardId, ShortInput, TabletId};
use holon_kernel::holding::{Amount, Load};
use holon_kernel::{Address, CallError, Target, join_all};
use std::collections::BTreeMap;
use std::rc::Rc;

const VERSION: u8 = 1;

/// What was copied to this shard, of the change of topology that copied last.
#[derive(Default)]
pub(crate) struct Copies {
    /// The entry that started the change.
    change: u64,
    finished: Amount,
    under_way: BTreeMap<TabletId, Amount>,
}

impl Copies {
    fn begin(&mut self, change: u64, tablet: TabletId) {
        if self.change != change {
            *self = Copies { change, ..Copies::default() };
        }
        self.under_way.insert(tablet, Amount::default());
    }

    fn progress(&mut self, change: u64, tablet: TabletId, amount: Amount) {
        if self.change == change {
            self.under_way.insert(tablet, amount);
        }
    }

    /// Rows of a copy that failed are copied again: they do not count.
    fn end(&mut self, change: u64, tablet: TabletId, good: bool) {
        if self.change == change
            && let Some(amount) = self.under_way.remove(&tablet).filter(|_| good)
        {
            self.finished += amount;
        }
    }

    fn all(&self) -> Amount {
        let mut all = self.finished;
        self.under_way.values().for_each(|amount| all += *amount);
        all
    }
}

/// Of a tablet on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TabletFigures {
    pub(crate) held: Amount,
    /// It is being copied to there.
    pub(crate) copied: Option<Amount>,
}

/// Of a shard, or of all shards of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) load: Load,
    /// The entry that started the change which `copied` is of; 0: there was none.
    pub(crate) change: u64,
    pub(crate) copied: Amount,
    /// Of those that were asked about, the ones that are there.
    pub(crate) tablets: BTreeMap<TabletId, TabletFigures>,
}

fn put_amount(amount: Amount, out: &mut ByteWriter) {
    out.put_varint(amount.rows);
    out.put_varint(amount.bytes);
}

fn read_amount(input: &mut ByteReader) -> Result<Amount, ShortInput> {
    Ok(Amount { rows: input.varint()?, bytes: input.varint()? })
}

fn read_count(input: &mut ByteReader) -> Result<usize, ShortInput> {
    let offset = input.offset();
    let count = input.count()?;
    if count > FIGURES_TABLETS_MAX { Err(ShortInput { offset }) } else { Ok(count) }
}

fn read_version(input: &mut ByteReader) -> Result<(), ShortInput> {
    if input.u8()? == VERSION { Ok(()) } else { Err(ShortInput { offset: 0 }) }
}

fn encode_question(tablets: &[TabletId]) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u8(VERSION);
    let asked = tablets.get(..FIGURES_TABLETS_MAX).unwrap_or(tablets);
    out.put_varint(asked.len() as u64);
    asked.iter().for_each(|tablet| out.put_u64(tablet.0));
    out.freeze()
}

fn decode_question(payload: Bytes) -> Result<Vec<TabletId>, ShortInput> {
    let mut input = ByteReader::new(payload);
    read_version(&mut input)?;
    let count = read_count(&mut input)?;
    (0..count).map(|_| input.u64().map(TabletId)).collect()
}

impl Figures {
    fn add(&mut self, more: Figures) {
        self.load += more.load;
        if more.change > self.change {
            (self.change, self.copied) = (more.change, Amount::default());
        }
        if more.change == self.change {
            self.copied += more.copied;
        }
        self.tablets.extend(more.tablets);
    }

    fn encode(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        out.put_varint(self.load.requests);
        out.put_varint(self.load.data_bytes);
        out.put_varint(self.change);
        put_amount(self.copied, &mut out);
        out.put_varint(self.tablets.len() as u64);
        for (tablet, figures) in &self.tablets {
            out.put_u64(tablet.0);
            put_amount(figures.held, &mut out);
            out.put_u8(u8::from(figures.copied.is_some()));
            if let Some(copied) = figures.copied {
                put_amount(copied, &mut out);
            }
        }
        out.freeze()
    }

    fn decode(payload: Bytes) -> Result<Figures, ShortInput> {
        let mut input = ByteReader::new(payload);
        read_version(&mut input)?;
        let load = Load { requests: input.varint()?, data_bytes: input.varint()? };
        let (change, copied) = (input.varint()?, read_amount(&mut input)?);
        let mut figures = Figures { load, change, copied, tablets: BTreeMap::new() };
        for _ in 0..read_count(&mut input)? {
            let tablet = TabletId(input.u64()?);
            let held = read_amount(&mut input)?;
            let copied = if input.u8()? == 1 { Some(read_amount(&mut input)?) } else { None };
            figures.tablets.insert(tablet, TabletFigures { held, copied });
        }
        input.end()?;
        Ok(figures)
    }
}

/// What the nodes said.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) figures: Rc<BTreeMap<NodeId, Figures>>,
    /// The tablets that they were asked about.
    tablets: Rc<[TabletId]>,
}

impl Told {
    /// Whether it will do for a question about these tablets.
    fn will_do(&self, now: Instant, tablets: &[TabletId]) -> bool {
        let about = tablets.iter().all(|tablet| self.tablets.contains(tablet));
        now.since(self.at) < if about { FIGURES_AGE } else { FIGURES_PAUSE }
    }
}

impl Metadata {
    /// On the tablet's shard, around a copy: the change it is for, and whom to tell how far it is.
    pub(crate) fn copy_begins(&self, tablet: TabletId) -> (u64, Rc<dyn Fn(Amount)>) {
        let change = self.change_under_way();
        self.copies.borrow_mut().begin(change, tablet);
        let me = self.me();
        (change, Rc::new(move |amount| me.copies.borrow_mut().progress(change, tablet, amount)))
    }

    pub(crate) fn copy_ends(&self, change: u64, tablet: TabletId, good: bool) {
        self.copies.borrow_mut().end(change, tablet, good);
    }

    fn change_under_way(&self) -> u64 {
        let cluster = self.cluster.borrow();
        cluster.topology().and_then(|topology| topology.change()).map_or(0, |change| change.started)
    }

    /// Of this shard.
    pub(crate) fn own_figures(&self, question: Bytes) -> Result<Bytes, ShortInput> {
        let asked = decode_question(question)?;
        let mut figures = Figures::default();
        self.shard.services().iter().for_each(|service| figures.load += service.load());
        let copies = self.copies.borrow();
        (figures.change, figures.copied) = (copies.change, copies.all());
        let here = asked.into_iter().filter(|tablet| self.is_on_this_shard(*tablet));
        for tablet in here {
            let service = self.cluster.borrow().descriptor(tablet).and_then(|found| self.shard.service(found.service));
            let held = service.and_then(|service| service.tablet_amount(tablet));
            let copied = copies.under_way.get(&tablet).copied();
            if held.is_some() || copied.is_some() {
                figures.tablets.insert(tablet, TabletFigures { held: held.unwrap_or_default(), copied });
            }
        }
        Ok(figures.encode())
    }

    /// Shard 0: of this node.
    pub(crate) async fn node_figures(&self, question: Bytes) -> Bytes {
        let node = self.shard.node();
        let deadline = self.shard.now() + FIGURES_TIMEOUT;
        let shards = (0..self.shard.shards()).map(|shard| {
            let to = Address { node, shard: ShardId(shard) };
            self.shard.call(to, Target::Service(METADATA_SERVICE), OWN_FIGURES, question.clone(), deadline)
        });
        let mut sum = Figures::default();
        for answer in join_all(shards).await.into_iter().flatten() {
            if let Ok(figures) = Figures::decode(answer) {
                sum.add(figures);
            }
        }
        sum.encode()
    }

    /// Shard 0: of the nodes that answer at once, those in `first` before others; and what each has of some tablets.
    /// Several who look at the same time see the same.
    pub(crate) async fn all_figures(&self, first: &[NodeId], tablets: &[TabletId]) -> Told {
        let now = self.shard.now();
        let told = self.figures.borrow().clone();
        if let Some(told) = told.filter(|told| told.will_do(now, tablets)) {
            return told;
        }
        let me = self.shard.node();
        let records = self.cluster.borrow().records();
        let mut asked: Vec<NodeId> = Vec::new();
        for node in [me].into_iter().chain(first.iter().copied()).chain(records.iter().map(|record| record.node)) {
            if asked.len() < FIGURES_NODES_MAX && self.shard.is_alive(node) && !asked.contains(&node) {
                asked.push(node);
            }
        }
        let question = encode_question(tablets);
        let deadline = now + FIGURES_TIMEOUT;
        let calls = asked.iter().map(|node| {
            let to = Address { node: *node, shard: ShardId(0) };
            self.shard.call(to, Target::Service(METADATA_SERVICE), FIGURES, question.clone(), deadline)
        });
        let answers: Vec<Result<Bytes, CallError>> = join_all(calls).await;
        let told = asked.into_iter().zip(answers);
        let known = told.filter_map(|(node, answer)| Some((node, Figures::decode(answer.ok()?).ok()?)));
        let told = Told { at: now, figures: Rc::new(known.collect()), tablets: tablets.into() };
        *self.figures.borrow_mut() = Some(told.clone());
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TabletId = TabletId(1);

    fn amount(rows: u64) -> Amount {
        Amount { rows, bytes: rows * 10 }
    }

    #[test]
    fn copies_count_what_was_finished_and_what_is_under_way_of_the_last_change() {
        let mut copies = Copies::default();
        copies.begin(7, ONE);
        copies.progress(7, ONE, amount(5));
        assert_eq!(copies.all(), amount(5));
        copies.end(7, ONE, false);
        assert_eq!(copies.all(), amount(0), "a copy that failed is made again");
        copies.begin(7, ONE);
        copies.progress(7, ONE, amount(8));
        copies.end(7, ONE, true);
        copies.begin(7, TabletId(2));
        copies.progress(7, TabletId(2), amount(1));
        assert_eq!(copies.all(), amount(9));
        copies.begin(9, ONE);
        copies.progress(7, TabletId(2), amount(100));
        copies.end(7, TabletId(2), true);
        assert_eq!(
            copies.all(),
            amount(0),
            "another change begins at nothing, and late words of the one before are lost"
        );
    }

    #[test]
    fn shards_add_up_and_a_shard_that_copied_for_an_older_change_adds_no_rows() {
        let tablets = BTreeMap::from([
            (ONE, TabletFigures { held: amount(3), copied: Some(amount(2)) }),
            (TabletId(2), TabletFigures { held: amount(4), copied: None }),
        ]);
        let load = Load { requests: 11, data_bytes: 12 };
        let figures = Figures { load, change: 7, copied: amount(20), tablets };
        let back = Figures::decode(figures.encode());
        assert_eq!(back.as_ref(), Ok(&figures));
        let mut sum = Figures { change: 5, copied: amount(1000), ..Figures::default() };
        sum.add(figures.clone());
        sum.add(Figures { copied: amount(1), ..figures.clone() });
        sum.add(Figures { change: 6, copied: amount(1000), ..Figures::default() });
        assert_eq!((sum.change, sum.copied, sum.load.requests), (7, amount(21), 22));
        assert_eq!(sum.tablets, figures.tablets);
    }

    #[test]
    fn bytes_of_others_that_are_not_figures_are_refused() {
        let whole =
            Figures { tablets: BTreeMap::from([(ONE, TabletFigures::default())]), ..Figures::default() }.encode();
        for end in 0..whole.len() {
            assert!(Figures::decode(whole.slice(..end)).is_err(), "cut at {end}");
        }
        let many = encode_question(&vec![ONE; FIGURES_TABLETS_MAX + 10]);
        assert_eq!(decode_question(many).map(|tablets| tablets.len()), Ok(FIGURES_TABLETS_MAX));
        let mut out = ByteWriter::new();
        out.put_u8(VERSION);
        out.put_varint(FIGURES_TABLETS_MAX as u64 + 1);
        out.put_slice(&vec![0; 8 * (FIGURES_TABLETS_MAX + 1)]);
        assert!(decode_question(out.freeze()).is_err());
    }
}
