//! A moment at which nothing is written, and tablets as they were at it.
//!
//! ```text
//!   hold ─► the group on its way is finished, no other begins ─► pin each tablet ─► release
//! ```
//!
//! What was acknowledged before [`Engine::hold`] was called is in a tablet that is pinned while writes are held; what is asked
//! after it is not. Reads go on meanwhile. Writes queue, and are refused as too much when the queue is full.

use crate::engine::Engine;
use crate::error::StoreError;
use crate::read::{KeyRange, Page, ScanOptions};
use crate::scan;
use crate::tree::{Tree, View};
use holon_base::TabletId;
use std::rc::Rc;

/// A tablet as it was at one moment. Its files and memtables stay as long as this does, whatever is flushed, compacted,
/// truncated or dropped meanwhile; a memtable that was not flushed when it was pinned takes memory beyond the budget: flush first.
pub struct Pinned {
    tree: Rc<Tree>,
    view: View,
}

impl Engine {
    /// From the return of this until [`Engine::release`] no write is applied. The caller sees to it that this is short.
    ///
    /// # Errors
    /// The shard stopped.
    pub async fn hold(&self) -> Result<(), StoreError> {
        Ok(self.inner.commits.hold().await?)
    }

    /// Writes go on. Fine if they were not held.
    pub fn release(&self) {
        self.inner.commits.release();
    }

    /// Keeps a tablet as it is.
    ///
    /// # Errors
    /// [`StoreError::NoSuchTablet`].
    pub fn pin(&self, tablet: TabletId) -> Result<Pinned, StoreError> {
        let tree = self.tree(tablet)?;
        self.inner.freeze(&tree);
        let mut view = tree.view();
        // The active one is empty now, and takes what comes.
        view.memtables.pop();
        Ok(Pinned { tree, view })
    }

    /// As [`Engine::read_ranges`], of a tablet as it was when it was pinned.
    pub async fn read_pinned(
        &self,
        pinned: &Pinned,
        ranges: Vec<KeyRange>,
        options: ScanOptions,
    ) -> Result<(Page, Vec<KeyRange>), StoreError> {
        scan::scan_ranges(&self.inner, &pinned.tree, Some(&pinned.view), ranges, options).await
    }
}
