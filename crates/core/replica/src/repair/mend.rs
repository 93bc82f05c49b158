//! Damage of one replica is made good from the others.
//!
//! ```text
//!   the engine finds a file damaged: reads that need it fail, and coordinators ask other replicas
//!     ─► which keys are lost? ─ MEND_MARGIN ─► copied from the other replicas, as for a move ─► dropped here, and the file with it
//! ```
//!
//! # Why nothing that was acknowledged is lost
//!
//! What was acknowledged is known to so many replicas that they meet each quorum (`fence` in `placement::quorum`), this one among
//! them perhaps. A quorum of those that are read, without this one, is asked, and meets the rest of them; also while the tablet
//! moves. This holds for writes that are over: what is dropped here has come [`MEND_MARGIN`] ago or longer, when no coordinator
//! counts any more that this replica took it. (What came later stays.) A write at ONE that only this replica took may be
//! lost: it was promised to survive no loss.
//!
//! # Why nothing that was deleted comes back
//!
//! Of the lost keys everything goes, not only what was in the damaged block ([`holon_store::Mending`]): the others may have forgotten
//! the deletion, and what it covers. What is older than a deletion that they have forgotten came here before the comparison
//! that let them (within the time that hints are kept; of a table whose `gc_grace_seconds` are fewer than that, a hint that comes
//! while this goes on may be older than a deletion that they forget meanwhile). No comparison of replicas begins or ends meanwhile: what it saw here may
//! be gone.

use super::Repairs;
use crate::fill::{self, FillError, Sources};
use crate::limits::{MEND_LOOK, MEND_MARGIN, MENDS_MAX};
use crate::own::is_of_no_map;
use crate::plant;
use holon_base::{NodeId, TabletId};
use holon_kernel::{Class, Scope};
use holon_store::{Engine, StoreError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use thiserror::Error;

/// Why damage stays for now.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
enum MendError {
    #[error("no other replica has the data: restore it from a snapshot")]
    Alone,
    #[error("replica {0} is away")]
    Away(NodeId),
    #[error("the tablet moves")]
    Moves,
    #[error(transparent)]
    Fill(#[from] FillError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Repairs {
    /// Makes good what is found damaged of the tablets here, until the shard stops.
    pub fn mend_damage(self: &Rc<Self>, tell: Rc<dyn Fn(String)>) {
        let me = self.clone();
        let told: Rc<RefCell<BTreeMap<TabletId, MendError>>> = Rc::default();
        self.shard.spawn(Scope::Node, Class::Background, async move {
            loop {
                me.shard.sleep(MEND_LOOK).await;
                let Some(engine) = me.engine.borrow().clone() else { return };
                let damaged = engine.damaged_tablets();
                told.borrow_mut().retain(|tablet, _| damaged.contains(tablet));
                for tablet in damaged.into_iter().filter(|tablet| may_be_copied(*tablet)) {
                    if me.mending.borrow().len() >= MENDS_MAX || !me.mending.borrow_mut().insert(tablet) {
                        continue;
                    }
                    let (me, engine, told, tell) = (me.clone(), engine.clone(), told.clone(), tell.clone());
                    me.shard.clone().spawn(Scope::Node, Class::Background, async move {
                        let outcome = me.mend(&engine, tablet).await;
                        me.mending.borrow_mut().remove(&tablet);
                        match outcome {
                            Ok(()) => {
                                tell(format!("what was damaged of tablet {tablet} is copied from other replicas"))
                            }
                            Err(error) if told.borrow().get(&tablet) == Some(&error) => {}
                            Err(error) => {
                                tell(format!("tablet {tablet} stays damaged for now: {error}"));
                                told.borrow_mut().insert(tablet, error);
                            }
                        }
                    });
                }
            }
        });
    }

    async fn mend(&self, engine: &Engine, tablet: TabletId) -> Result<(), MendError> {
        let shard = &self.shard;
        // Also while it moves, and when it is about to go: what is to be done with it first may need all of it.
        let replicas = shard.replicas(tablet);
        let others: Vec<NodeId> = replicas.readers.iter().copied().filter(|node| *node != shard.node()).collect();
        let enough = majority(replicas.readers.len()).min(others.len());
        if others.is_empty() {
            return Err(MendError::Alone);
        }
        let alive = others.iter().filter(|node| shard.is_alive(**node)).count();
        if let Some(away) = others.iter().find(|node| !shard.is_alive(**node))
            && alive < enough
        {
            return Err(MendError::Away(*away));
        }
        let Some(mending) = engine.begin_mending(tablet).await? else { return Ok(()) };
        self.begun.borrow_mut().remove(&tablet);
        shard.sleep(MEND_MARGIN).await;
        if !plant::get().mend_without_copy {
            let sources = Sources { nodes: &others, enough, throttle: None };
            fill::fill(shard, engine, tablet, mending.lost().to_vec(), sources, |_| ()).await?;
        }
        if shard.replicas(tablet).since != replicas.since {
            return Err(MendError::Moves);
        }
        Ok(mending.finish().await?)
    }
}

fn majority(replicas: usize) -> usize {
    replicas / 2 + 1
}

/// What a shard keeps for itself, and what a replica has promised to its group, no other node has.
fn may_be_copied(tablet: TabletId) -> bool {
    !is_of_no_map(tablet) && tablet.of_shadow().is_none()
}
