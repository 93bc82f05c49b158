//! What is defined: keyspaces, tables, columns, user types, as immutable snapshots; the entries of the metadata log that
//! change them; and the machine that applies an entry to a snapshot.
//!
//! ```text
//!   ddl ── Change ──▶ metadata log ──▶ SchemaMachine::apply(index, entry) ──▶ Rc<Schema>  (next snapshot)
//!            │                                   │
//!            └── the same checks before ──▶ Schema::changed_by        └──▶ answer: changed or not, what, or the error
//! ```
//!
//! It is not a planner and holds no data. It guarantees that equal logs give equal schemas and equal versions on every
//! shard of every node: no clock, no randomness, no order of a hash map takes part.

pub mod change;
pub mod codec;
pub mod differences;
pub mod keyspace;
pub mod machine;
pub mod options;
pub mod snapshot;
pub mod table;
pub mod transform;

pub use change::{Change, NewColumn, OptionChanges, QualifiedName};
pub use differences::differences;
pub use holon_cql::response::schema_change::{SchemaChange, SchemaChangeKind, SchemaTarget};
pub use holon_cql::{UdtField as UserField, UdtType as UserType};
pub use keyspace::{Durability, Keyspace, KeyspaceKind, Replication};
pub use machine::SchemaMachine;
pub use options::{Caching, ReadRepair, RowsCached, SpeculativeRetry, TableOption, TableOptions};
pub use snapshot::Schema;
pub use table::{Column, ColumnKind, DroppedColumn, Table, TableDefinition, TableId};
pub use transform::Changed;
