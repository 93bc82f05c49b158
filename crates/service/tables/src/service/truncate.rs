//! TRUNCATE: every shard of every node forgets the hints it keeps for a table, and when all have, every shard empties its
//! tablets of it. All nodes have to answer, as in Cassandra.

use super::{TABLES_SERVICE, TablesService};
use crate::error::{CqlError, CqlResult};
use crate::limits::TRUNCATE_TIMEOUT;
use crate::schema::Table;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, ShardId, ShortInput, TabletId};
use holon_kernel::{Address, CallError, Target, Verb, join_all};

/// Forgets the hints for the tablets of a table, at whoever may keep some: payload as that of [`TRUNCATE`].
pub const FORGET_HINTS: Verb = Verb(Verb::SERVICE_FIRST + 4);

/// Empties the tablets of a table that live on the shard: group, number of tablets.
pub const TRUNCATE: Verb = Verb(Verb::SERVICE_FIRST + 2);

impl TablesService {
    /// Removes every row of a table. What is written meanwhile may stay or go.
    pub(super) async fn truncate(&self, table: &Table) -> CqlResult<()> {
        let mut payload = ByteWriter::new();
        payload.put_u64(table.group.0);
        payload.put_u32(table.tablets);
        let (payload, deadline) = (payload.freeze(), self.shard.now() + TRUNCATE_TIMEOUT);
        // One after the other: a hint that is sent once the first tablet is empty would fill it again.
        for verb in [FORGET_HINTS, TRUNCATE] {
            let calls = self
                .all_shards()
                .into_iter()
                .map(|to| self.shard.call(to, Target::Service(TABLES_SERVICE), verb, payload.clone(), deadline));
            for answer in join_all(calls).await {
                answer.map_err(|error| {
                    CqlError::Truncate(match error {
                        CallError::Failed(bytes) => CqlError::decode(&bytes).to_string(),
                        other => other.to_string(),
                    })
                })?;
            }
        }
        Ok(())
    }

    /// Of all members, this node among them.
    pub(super) fn all_shards(&self) -> Vec<Address> {
        let nodes = self.shard.map().map(|map| map.nodes()).unwrap_or_default();
        let own = (self.shard.node(), self.shard.shards());
        let others = nodes.iter().map(|record| (record.node, record.shards)).filter(|(node, _)| *node != own.0);
        let all = std::iter::once(own).chain(others);
        all.flat_map(|(node, shards)| (0..shards).map(move |shard| Address { node, shard: ShardId(shard) })).collect()
    }

    pub(super) async fn forget_hints(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let (group, _) = decode(payload).map_err(|short| failed(short.to_string()))?;
        let hints = self.coordinator.hints().ok_or_else(not_ready)?;
        hints.forget_group(group).await.map_err(|error| failed(error.to_string()))?;
        Ok(Bytes::new())
    }

    pub(super) async fn truncate_here(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let (group, count) = decode(payload).map_err(|short| failed(short.to_string()))?;
        let engine = self.engine().ok_or_else(not_ready)?;
        for ordinal in 0..count {
            let tablet = TabletId::new(group, ordinal);
            if self.tablets.get(tablet).is_some() {
                engine.truncate(tablet).await.map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(Bytes::new())
    }
}

fn failed(text: String) -> CallError {
    CqlError::Truncate(text).into_call()
}

fn not_ready() -> CallError {
    failed("the node is starting or stopping".to_string())
}

fn decode(payload: Bytes) -> Result<(GroupId, u32), ShortInput> {
    let mut input = ByteReader::new(payload);
    let group = GroupId(input.u64()?);
    let offset = input.offset();
    let count = input.u32()?;
    input.end()?;
    if u64::from(count) > TabletId::PER_ENTRY_MAX {
        return Err(ShortInput { offset });
    }
    Ok((group, count))
}
