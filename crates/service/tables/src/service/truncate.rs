//! TRUNCATE: every shard of every node empties its tablets of a table. All nodes have to answer, as in Cassandra.

use super::{TABLES_SERVICE, TablesService};
use crate::error::{CqlError, CqlResult};
use crate::limits::TRUNCATE_TIMEOUT;
use crate::schema::Table;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, ShardId, ShortInput, TabletId};
use holon_kernel::{Address, CallError, Target, Verb, join_all};

/// Empties the tablets of a table that live on the shard: group, number of tablets.
pub const TRUNCATE: Verb = Verb(Verb::SERVICE_FIRST + 2);

impl TablesService {
    /// Removes every row of a table. What is written meanwhile may stay or go.
    pub(super) async fn truncate(&self, table: &Table) -> CqlResult<()> {
        let mut payload = ByteWriter::new();
        payload.put_u64(table.group.0);
        payload.put_u32(table.tablets);
        let (payload, deadline) = (payload.freeze(), self.shard.now() + TRUNCATE_TIMEOUT);
        let calls = self
            .all_shards()
            .into_iter()
            .map(|to| self.shard.call(to, Target::Service(TABLES_SERVICE), TRUNCATE, payload.clone(), deadline));
        for answer in join_all(calls).await {
            answer.map_err(|error| {
                CqlError::Truncate(match error {
                    CallError::Failed(bytes) => CqlError::decode(&bytes).to_string(),
                    other => other.to_string(),
                })
            })?;
        }
        Ok(())
    }

    /// Of all members, this node among them.
    fn all_shards(&self) -> Vec<Address> {
        let nodes = self.shard.map().map(|map| map.nodes()).unwrap_or_default();
        let own = (self.shard.node(), self.shard.shards());
        let others = nodes.iter().map(|record| (record.node, record.shards)).filter(|(node, _)| *node != own.0);
        let all = std::iter::once(own).chain(others);
        all.flat_map(|(node, shards)| (0..shards).map(move |shard| Address { node, shard: ShardId(shard) })).collect()
    }

    pub(super) async fn truncate_here(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let failed = |text: String| CqlError::Truncate(text).into_call();
        let (group, count) = decode(payload).map_err(|short| failed(short.to_string()))?;
        let engine = self.engine().ok_or_else(|| failed("the node is starting or stopping".to_string()))?;
        for ordinal in 0..count {
            let tablet = TabletId::new(group, ordinal);
            if self.tablets.get(tablet).is_some() {
                engine.truncate(tablet).await.map_err(|error| failed(error.to_string()))?;
            }
        }
        Ok(Bytes::new())
    }
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
