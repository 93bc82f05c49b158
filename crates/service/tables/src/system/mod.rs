//! The keyspaces that are there from the start, as virtual tables: what drivers and tools read to learn about the node, the
//! cluster and the schema.
//!
//! ```text
//!   SELECT … FROM system.local ─▶ plan, run (as for any table) ─▶ rows(context, keyspace, table) ─▶ computed on the spot
//! ```
//!
//! Nothing here is stored: every read computes the rows of the table anew from [`SystemContext`]. The tables are ordinary
//! [`Table`]s of the schema with no tablets ([`Table::is_virtual`]). There is no `system.scylla_local` and no
//! `system_schema.scylla_tables`: a driver that looks for them learns that this is not Scylla.

mod build;
mod catalog;
mod context;
mod definitions;
mod node;
mod rows;
mod traces;

pub use build::keyspaces;
pub use context::{
    Client, LiveState, Node, PreparedStatement, QuietNode, Role, RolePermission, SizeEstimate, SystemContext,
};

use crate::schema::Table;
use crate::types::ordered;
use bytes::Bytes;
use std::rc::Rc;

/// The release of Cassandra whose behaviour and system tables this node has. Drivers choose by it what they read and send.
pub const RELEASE_VERSION: &str = "4.1.8";

/// The version of the language that goes with it.
pub const CQL_VERSION: &str = "3.4.6";

/// The newest native protocol spoken.
pub const NATIVE_PROTOCOL_VERSION: &str = "5";

pub const PARTITIONER: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// A row: a cell for each column, in the order of [`Table::columns`].
pub type Row = Vec<Option<Bytes>>;

/// How the rows of a table are computed.
pub type RowsOf = fn(&SystemContext, &Table) -> Vec<Row>;

/// A table whose rows are computed.
#[derive(Clone)]
pub struct VirtualTable {
    pub table: Rc<Table>,
    pub rows: RowsOf,
}

/// The virtual table of this name.
pub fn virtual_table(context: &SystemContext, keyspace: &str, name: &str) -> Option<VirtualTable> {
    let table = context.schema.table(keyspace, name).filter(|table| table.is_virtual())?;
    Some(VirtualTable { table: table.clone(), rows: source(keyspace, name) })
}

/// All rows of a virtual table: partitions in no particular order, rows of a partition together and in clustering order.
/// `None` if there is no such virtual table.
pub fn rows(context: &SystemContext, keyspace: &str, name: &str) -> Option<Vec<Row>> {
    let VirtualTable { table, rows } = virtual_table(context, keyspace, name)?;
    let mut computed = rows(context, &table);
    sort(&table, &mut computed);
    Some(computed)
}

/// Rows of a partition together and in clustering order.
pub fn sort(table: &Table, rows: &mut [Row]) {
    let empty = Bytes::new();
    rows.sort_by_cached_key(|row| {
        let cell = |index: usize| row.get(index).and_then(Option::as_ref).unwrap_or(&empty);
        let partition: Vec<Bytes> = table.partition_key().iter().map(|column| cell(column.index).clone()).collect();
        let mut clustering = Vec::new();
        for column in table.clustering() {
            ordered::encode(&column.column_type, cell(column.index), column.is_descending, &mut clustering);
        }
        (partition, clustering)
    });
}

/// Whether each shard of a node knows a part of the rows. Of the others every shard knows all.
pub fn is_of_all_shards(keyspace: &str, name: &str) -> bool {
    matches!((keyspace, name), ("system_views", "clients") | ("system", "size_estimates" | "table_estimates"))
}

/// Whether it tells of other nodes what only they know.
pub fn tells_of_peers(keyspace: &str, name: &str) -> bool {
    matches!((keyspace, name), ("system", "peers" | "peers_v2"))
}

/// Whether each node of the cluster knows a part of its rows.
pub fn is_of_all_nodes(keyspace: &str) -> bool {
    keyspace == "system_traces"
}

fn source(keyspace: &str, name: &str) -> RowsOf {
    match (keyspace, name) {
        ("system", "local") => node::local,
        ("system", "peers") => node::peers,
        ("system", "peers_v2") => node::peers_v2,
        ("system", "prepared_statements") => node::prepared_statements,
        ("system", "size_estimates") => node::size_estimates,
        ("system", "table_estimates") => node::table_estimates,
        ("system_auth", "roles") => node::roles,
        ("system_auth", "role_members") => node::role_members,
        ("system_auth", "role_permissions") => node::role_permissions,
        ("system_auth", "resource_role_permissons_index") => node::resource_roles,
        ("system_schema", "keyspaces") => catalog::keyspaces,
        ("system_schema", "tables") => catalog::tables,
        ("system_schema", "columns") => catalog::columns,
        ("system_schema", "types") => catalog::types,
        ("system_schema", "dropped_columns") => catalog::dropped_columns,
        ("system_traces", "events") => traces::events,
        ("system_traces", "sessions") => traces::sessions,
        ("system_views", "clients") => node::clients,
        ("system_views", "settings") => node::settings,
        ("system_virtual_schema", "keyspaces") => catalog::virtual_keyspaces,
        ("system_virtual_schema", "tables") => catalog::virtual_tables,
        ("system_virtual_schema", "columns") => catalog::virtual_columns,
        // Kept for the tools that read them; there is nothing of the kind to tell yet.
        _ => |_, _| Vec::new(),
    }
}
