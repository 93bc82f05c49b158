//! What a change does to a schema, with every check that depends on the schema. The coordinator runs it before it
//! proposes a change, the machine when the change is committed: one set of rules, with Cassandra's messages.
//!
//! A start replays the log through these rules, so that a rule or a limit of them may become wider at any time, but never
//! stricter for entries that are in logs already: a stricter one asks for a new version of the entry's format.

mod checks;
mod columns;
mod keyspace;
mod table;
mod user_type;

use super::change::QualifiedName;
use super::{Change, Keyspace, KeyspaceKind, Schema, SchemaChange, SchemaChangeKind, SchemaTarget};
use crate::error::{CqlError, CqlResult};
use holon_base::GroupId;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) use checks::uses_type;
pub use checks::{INNER_NAME_BYTES_MAX, NAME_CHARACTERS_MAX, TABLES_MAX, TYPE_NODES_MAX};
pub(crate) use table::system_table;

/// The schema after a change, and what else the change asks for.
#[derive(Clone, Debug)]
pub struct Changed {
    pub schema: Schema,
    pub what: SchemaChange,
    /// Tablets of a new table; their group is the index of the change.
    pub create_tablets: Option<u32>,
    /// Groups of tables that are gone.
    pub remove_groups: Vec<GroupId>,
}

/// A change, before the schema is put together again.
struct Draft {
    /// `None`: the keyspace goes.
    keyspace: Option<Keyspace>,
    name: Rc<str>,
    kind: SchemaChangeKind,
    target: SchemaTarget,
    create_tablets: Option<u32>,
    remove_groups: Vec<GroupId>,
}

impl Draft {
    fn of(keyspace: Keyspace, kind: SchemaChangeKind, target: SchemaTarget) -> Draft {
        Draft {
            name: keyspace.name.clone(),
            keyspace: Some(keyspace),
            kind,
            target,
            create_tablets: None,
            remove_groups: Vec::new(),
        }
    }

    fn of_table(keyspace: Keyspace, kind: SchemaChangeKind, table: &QualifiedName) -> Draft {
        Draft::of(keyspace, kind, SchemaTarget::Table { name: table.name.to_string() })
    }

    fn of_type(keyspace: Keyspace, kind: SchemaChangeKind, user_type: &QualifiedName) -> Draft {
        Draft::of(keyspace, kind, SchemaTarget::Type { name: user_type.name.to_string() })
    }
}

impl Schema {
    /// The schema that the change leads to, or `None` if IF [NOT] EXISTS makes it change nothing. `index` is that of the
    /// entry in the metadata log; for a rehearsal any will do.
    pub fn changed_by(&self, index: u64, change: &Change) -> CqlResult<Option<Changed>> {
        if let Some(keyspace) = self.system_map().get(change.keyspace()) {
            let kind = if keyspace.kind == KeyspaceKind::Virtual { "Virtual" } else { "System" };
            return Err(CqlError::Invalid(format!("{kind} keyspace '{}' is not user-modifiable", keyspace.name)));
        }
        let draft = match change {
            Change::CreateKeyspace { .. } | Change::AlterKeyspace { .. } | Change::DropKeyspace { .. } => {
                keyspace::apply(self, change)?
            }
            Change::CreateTable { .. } | Change::SetTableOptions { .. } | Change::DropTable { .. } => {
                table::apply(self, index, change)?
            }
            Change::AddColumns { .. } | Change::DropColumns { .. } | Change::RenameColumns { .. } => {
                columns::apply(self, change)?
            }
            Change::CreateType { .. }
            | Change::AddField { .. }
            | Change::RenameFields { .. }
            | Change::DropType { .. } => user_type::apply(self, change)?,
        };
        Ok(draft.map(|draft| self.with_draft(draft)))
    }

    fn with_draft(&self, draft: Draft) -> Changed {
        let mut keyspaces: BTreeMap<Rc<str>, Rc<Keyspace>> = self.keyspace_map().clone();
        let what = SchemaChange { kind: draft.kind, keyspace: draft.name.to_string(), target: draft.target };
        match draft.keyspace {
            Some(keyspace) => keyspaces.insert(draft.name, Rc::new(keyspace)),
            None => keyspaces.remove(&draft.name),
        };
        Changed {
            schema: Schema::with_keyspaces(keyspaces, self.system_map().clone()),
            what,
            create_tablets: draft.create_tablets,
            remove_groups: draft.remove_groups,
        }
    }

    /// A copy of the user's keyspace, to be changed.
    fn keyspace_draft(&self, name: &str) -> CqlResult<Keyspace> {
        let found = self.keyspace_map().get(name);
        found.map(|keyspace| Keyspace::clone(keyspace)).ok_or_else(|| no_keyspace(name))
    }
}

fn no_keyspace(name: &str) -> CqlError {
    CqlError::Invalid(format!("Keyspace '{name}' doesn't exist"))
}
