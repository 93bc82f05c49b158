//! The deterministic machine: committed entries in, snapshots out.

use super::codec::{decode_change, decode_schema, encode_answer, encode_schema};
use super::{Keyspace, Schema};
use crate::error::CqlError;
use bytes::Bytes;
use holon_base::{GroupId, ShortInput};
use holon_kernel::{MetadataEffect, NewTablets, Replication as Placed};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The tables of a keyspace, if it has other replicas from now on.
fn replaced(before: &Keyspace, after: &Keyspace) -> Vec<(GroupId, Placed)> {
    if before.replication == after.replication {
        return Vec::new();
    }
    after.tables.values().map(|table| (table.group, after.replication.placed())).collect()
}

/// The schema of a shard, moved on by the metadata log. Readers take a snapshot ([`SchemaMachine::schema`]) and keep it for
/// as long as they work with it.
pub struct SchemaMachine {
    current: RefCell<Rc<Schema>>,
}

impl SchemaMachine {
    /// `system`: the keyspaces that the program brings along (`system::keyspaces()`).
    pub fn new(system: Rc<BTreeMap<Rc<str>, Rc<Keyspace>>>) -> SchemaMachine {
        SchemaMachine { current: RefCell::new(Rc::new(Schema::new(system))) }
    }

    pub fn schema(&self) -> Rc<Schema> {
        self.current.borrow().clone()
    }

    /// Applies the committed entry at `index` of the metadata log. The checks of the coordinator are made again: of two
    /// that race, the second is told here. The answer decodes with [`super::codec::decode_answer`], the error with
    /// [`CqlError::decode`]; after an error the schema is what it was.
    pub fn apply(&self, index: u64, entry: &Bytes) -> Result<MetadataEffect, Bytes> {
        let change = decode_change(entry).map_err(|short| {
            CqlError::Server(format!(
                "entry {index} of the metadata log is not readable by this version ({short}); upgrade this node"
            ))
            .encode()
        })?;
        let outcome = self.schema().changed_by(index, &change).map_err(|error| error.encode())?;
        let Some(changed) = outcome else {
            return Ok(MetadataEffect { answer: encode_answer(&None), ..MetadataEffect::default() });
        };
        let before = self.schema();
        let (before, after) = (before.keyspace(change.keyspace()), changed.schema.keyspace(change.keyspace()));
        let effect = MetadataEffect {
            answer: encode_answer(&Some(changed.what)),
            create_tablets: changed
                .create_tablets
                .zip(after)
                .map(|(count, keyspace)| NewTablets { count, replication: keyspace.replication.placed() }),
            set_replication: before.zip(after).map_or(Vec::new(), |(before, after)| replaced(before, after)),
            remove_groups: changed.remove_groups,
        };
        *self.current.borrow_mut() = Rc::new(changed.schema);
        Ok(effect)
    }

    /// The state, for a snapshot of the metadata log.
    pub fn snapshot(&self) -> Bytes {
        encode_schema(&self.schema())
    }

    /// Replaces the state by that of a snapshot.
    pub fn restore(&self, snapshot: &Bytes) -> Result<(), ShortInput> {
        let system = self.schema().system_map().clone();
        *self.current.borrow_mut() = Rc::new(decode_schema(snapshot, system)?);
        Ok(())
    }
}
