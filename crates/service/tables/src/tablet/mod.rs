//! A token range of a table on this shard, over the storage engine.
