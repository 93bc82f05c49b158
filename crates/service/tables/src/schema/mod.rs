//! What is defined: keyspaces, tables, columns, types, as immutable snapshots.
