//! Prepared statements between the shards of a node: told to all when made, asked for when missing.

use super::TablesService;
use crate::front::statements::{KeptStatement, StatementId, count, decode_statement, encode_statement};
use bytes::Bytes;
use holon_base::ShardId;
use holon_kernel::{Address, CallError, Target, Verb, join_all};
use std::rc::Rc;
use std::time::Duration;

/// Takes a prepared statement: keyspace and text.
pub const STORE_PREPARED: Verb = Verb(Verb::SERVICE_FIRST);
/// Answers with keyspace and text of an id; empty if it is not known.
pub const FIND_PREPARED: Verb = Verb(Verb::SERVICE_FIRST + 1);

/// Another shard of the node answers within microseconds. One that does not is not waited for: a statement it has not
/// heard of is asked for when it is needed.
const SHARE_TIMEOUT: Duration = Duration::from_millis(500);

impl TablesService {
    pub(super) fn other_shards(&self) -> Vec<Address> {
        let me = self.shard.address();
        let all = (0..self.shard.shards()).map(|shard| Address { node: me.node, shard: ShardId(shard) });
        all.filter(|address| *address != me).collect()
    }

    /// Tells all other shards of the node, and waits until they know.
    pub(crate) async fn share_prepared(&self, keyspace: Option<&str>, text: &str) {
        let others = self.other_shards();
        if others.is_empty() {
            return;
        }
        let (payload, deadline) = (encode_statement(keyspace, text), self.shard.now() + SHARE_TIMEOUT);
        let target = Target::Service(super::TABLES_SERVICE);
        let calls =
            others.into_iter().map(|other| self.shard.call(other, target, STORE_PREPARED, payload.clone(), deadline));
        // Who has not heard in time will ask.
        drop(join_all(calls).await);
    }

    /// Asks the other shards for a statement that this one does not have, and keeps it.
    pub(crate) async fn fetch_prepared(&self, id: &Bytes) -> Option<Rc<KeptStatement>> {
        let deadline = self.shard.now() + SHARE_TIMEOUT;
        let target = Target::Service(super::TABLES_SERVICE);
        let calls = self
            .other_shards()
            .into_iter()
            .map(|other| self.shard.call(other, target, FIND_PREPARED, id.clone(), deadline));
        let answers = join_all(calls).await;
        let found = answers.into_iter().flatten().find(|answer| !answer.is_empty())?;
        let kept_id = self.store_prepared(found)?;
        count(&self.statements.counts.fetched);
        if kept_id[..] == id[..] { self.statements.find(id) } else { None }
    }

    /// Keeps a statement that another shard has checked.
    fn store_prepared(&self, payload: Bytes) -> Option<StatementId> {
        let (keyspace, text) = decode_statement(payload).ok()?;
        let (id, kept) = self.statements.prepare(keyspace.as_deref(), &text).ok()?;
        if let Ok(planned) = kept.planned(&self.schema()) {
            kept.tell(&planned);
        }
        self.statements.keep(id, kept);
        Some(id)
    }

    /// A message of another shard.
    pub(super) fn prepared_message(&self, verb: Verb, payload: Bytes) -> Result<Bytes, CallError> {
        match verb {
            STORE_PREPARED => {
                self.store_prepared(payload);
                Ok(Bytes::new())
            }
            FIND_PREPARED => {
                let found = self.statements.find(&payload);
                Ok(found.map(|kept| encode_statement(kept.keyspace.as_deref(), &kept.text)).unwrap_or_default())
            }
            _ => Err(CallError::NotHere),
        }
    }
}
