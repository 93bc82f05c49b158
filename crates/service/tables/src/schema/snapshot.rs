//! One state of everything that is defined.

use super::{Keyspace, Table, TableId, UserType};
use holon_base::GroupId;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// An immutable snapshot, cheap to clone: changing it makes another. The keyspaces of the system are in it as well, but
/// neither its version nor its stored form covers them: they come with the program.
#[derive(Clone, Debug)]
pub struct Schema {
    keyspaces: BTreeMap<Rc<str>, Rc<Keyspace>>,
    system: Rc<BTreeMap<Rc<str>, Rc<Keyspace>>>,
    by_group: BTreeMap<GroupId, Rc<Table>>,
    by_id: BTreeMap<TableId, Rc<Table>>,
    /// Computed when first asked for: a start replays many changes, and nobody asks in between.
    version: OnceCell<u128>,
}

impl PartialEq for Schema {
    /// The rest follows from these two.
    fn eq(&self, other: &Schema) -> bool {
        self.keyspaces == other.keyspaces && self.system == other.system
    }
}

impl Schema {
    /// Nothing but the keyspaces of the system.
    pub fn new(system: Rc<BTreeMap<Rc<str>, Rc<Keyspace>>>) -> Schema {
        Schema::with_keyspaces(BTreeMap::new(), system)
    }

    /// From parts: what was created, and what the system brings along.
    pub fn with_keyspaces(
        keyspaces: BTreeMap<Rc<str>, Rc<Keyspace>>,
        system: Rc<BTreeMap<Rc<str>, Rc<Keyspace>>>,
    ) -> Schema {
        let stored = || keyspaces.values().flat_map(|keyspace| keyspace.tables.values());
        let built_in = system.values().flat_map(|keyspace| keyspace.tables.values());
        Schema {
            by_group: stored().map(|table| (table.group, table.clone())).collect(),
            by_id: stored().chain(built_in).map(|table| (table.id, table.clone())).collect(),
            version: OnceCell::new(),
            keyspaces,
            system,
        }
    }

    /// Of the state, not of its history: equal states have equal versions. A uuid of version 3.
    pub fn version(&self) -> u128 {
        *self.version.get_or_init(|| super::codec::version_of(&self.keyspaces))
    }

    pub fn keyspace(&self, name: &str) -> Option<&Rc<Keyspace>> {
        self.keyspaces.get(name).or_else(|| self.system.get(name))
    }

    pub fn table(&self, keyspace: &str, name: &str) -> Option<&Rc<Table>> {
        self.keyspace(keyspace)?.table(name)
    }

    pub fn table_by_group(&self, group: GroupId) -> Option<&Rc<Table>> {
        self.by_group.get(&group)
    }

    pub fn table_by_id(&self, id: TableId) -> Option<&Rc<Table>> {
        self.by_id.get(&id)
    }

    pub fn user_type(&self, keyspace: &str, name: &str) -> Option<&Arc<UserType>> {
        self.keyspace(keyspace)?.user_type(name)
    }

    /// Those that were created, by name.
    pub fn user_keyspaces(&self) -> impl Iterator<Item = &Rc<Keyspace>> {
        self.keyspaces.values()
    }

    /// All, the system's too, by name.
    pub fn all_keyspaces(&self) -> impl Iterator<Item = &Rc<Keyspace>> {
        let mut all: Vec<_> = self.keyspaces.values().chain(self.system.values()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.into_iter()
    }

    pub(super) fn keyspace_map(&self) -> &BTreeMap<Rc<str>, Rc<Keyspace>> {
        &self.keyspaces
    }

    pub(super) fn system_map(&self) -> &Rc<BTreeMap<Rc<str>, Rc<Keyspace>>> {
        &self.system
    }
}
