//! A token range of a table on this shard, over the storage engine.

use holon_base::{Map, TabletId};
use std::cell::RefCell;
use std::rc::Rc;

/// The tablets of this shard by id, for coordinators on the same shard.
#[derive(Clone, Default)]
pub struct LocalTablets {
    tablets: Rc<RefCell<Map<TabletId, Rc<TableTablet>>>>,
}

impl LocalTablets {
    pub fn get(&self, id: TabletId) -> Option<Rc<TableTablet>> {
        self.tablets.borrow().get(&id).cloned()
    }

    pub fn insert(&self, tablet: Rc<TableTablet>) {
        self.tablets.borrow_mut().insert(tablet.id(), tablet);
    }

    pub fn remove(&self, id: TabletId) {
        self.tablets.borrow_mut().remove(&id);
    }
}

/// One tablet.
pub struct TableTablet {
    id: TabletId,
}

impl TableTablet {
    pub fn id(&self) -> TabletId {
        self.id
    }
}
