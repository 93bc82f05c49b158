//! Rows of the system tables, gathered from all shards of the node where each knows a part: its clients, its traces, the
//! sizes of its tablets. Traces are gathered from other nodes, too: a driver asks for one at any node.
//!
//! ```text
//! request = keyspace:prefixed table:prefixed
//! rows    = count (count (0:u8 | 1:u8 cell:prefixed)*)*
//! ```

use super::TablesService;
use crate::error::{CqlError, CqlResult};
use crate::limits::{READ_TIMEOUT, TRACE_SHARDS_MAX};
use crate::run::VirtualRows;
use crate::system;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_kernel::{Address, CallError, Target, Verb, join_all};
use std::rc::Rc;

/// Answers with this shard's rows of a system table.
pub const VIRTUAL_ROWS: Verb = Verb(Verb::SERVICE_FIRST + 3);

impl TablesService {
    /// The rows of a system table at this moment.
    pub(super) async fn virtual_rows(self: Rc<Self>, keyspace: String, table: String) -> CqlResult<VirtualRows> {
        if system::tells_of_peers(&keyspace, &table) {
            self.ask_for_schema_versions().await;
        }
        let mut rows = self.own_virtual_rows(&keyspace, &table).ok_or_else(|| CqlError::unknown_table(&table))?;
        let others = match () {
            () if system::is_of_all_nodes(&keyspace) => self.shards_alive(),
            () if system::is_of_all_shards(&keyspace, &table) => self.other_shards(),
            () => Vec::new(),
        };
        if others.is_empty() {
            return Ok(rows);
        }
        let mut payload = ByteWriter::new();
        payload.put_prefixed(keyspace.as_bytes());
        payload.put_prefixed(table.as_bytes());
        let (payload, deadline) = (payload.freeze(), self.shard.now() + READ_TIMEOUT);
        let target = Target::Service(super::TABLES_SERVICE);
        let calls = others.iter().map(|other| self.shard.call(*other, target, VIRTUAL_ROWS, payload.clone(), deadline));
        for (other, answer) in others.iter().zip(join_all(calls).await) {
            if answer.is_err() && other.node != self.shard.node() {
                continue; // what it remembers is not to be had, as if it had started anew
            }
            // A part of the rows would look like all of them.
            let failed =
                |reason: String| CqlError::server(format!("a shard does not tell its part of {table}: {reason}"));
            let bytes = answer.map_err(|error| failed(error.to_string()))?;
            rows.extend(decode_rows(bytes).map_err(|error| failed(error.to_string()))?);
        }
        if let Some(table) = self.schema().table(&keyspace, &table) {
            system::sort(table, &mut rows);
        }
        Ok(rows)
    }

    /// All but this one, of the nodes that seem alive; so many that a look does not become a burden on a large cluster.
    fn shards_alive(&self) -> Vec<Address> {
        let me = self.shard.address();
        let of_cluster = self.all_shards().into_iter();
        let alive = of_cluster.filter(|to| *to != me && (to.node == me.node || self.shard.is_alive(to.node)));
        alive.take(TRACE_SHARDS_MAX).collect()
    }

    pub(super) fn answer_virtual_rows(&self, payload: Bytes) -> Result<Bytes, CallError> {
        let mut input = ByteReader::new(payload);
        let names = input.prefixed_str().and_then(|keyspace| Ok((keyspace, input.prefixed_str()?)));
        let (keyspace, table) = names.map_err(|short| CqlError::server(short.to_string()).into_call())?;
        let rows = self.own_virtual_rows(&keyspace, &table).ok_or(CallError::NotHere)?;
        Ok(encode_rows(&rows))
    }
}

fn encode_rows(rows: &VirtualRows) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_varint(rows.len() as u64);
    for row in rows {
        out.put_varint(row.len() as u64);
        for cell in row {
            out.put_u8(cell.is_some().into());
            if let Some(cell) = cell {
                out.put_prefixed(cell);
            }
        }
    }
    out.freeze()
}

fn decode_rows(bytes: Bytes) -> Result<VirtualRows, ShortInput> {
    let mut input = ByteReader::new(bytes);
    let count = input.count()?;
    let mut rows = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let cells = input.count()?;
        let cell = |_| if input.u8()? == 0 { Ok(None) } else { input.prefixed().map(Some) };
        rows.push((0..cells).map(cell).collect::<Result<_, ShortInput>>()?);
    }
    input.end()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shard_tells_is_what_arrives_and_what_is_cut_is_refused() {
        let cell = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let rows = vec![vec![cell("a"), None, cell("")], vec![], vec![None]];
        let bytes = encode_rows(&rows);
        assert_eq!(decode_rows(bytes.clone()), Ok(rows));
        assert!((0..bytes.len()).all(|cut| decode_rows(bytes.slice(..cut)).is_err()));
    }
}
