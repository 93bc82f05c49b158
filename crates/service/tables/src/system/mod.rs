//! The keyspaces that are there from the start, as virtual tables.
