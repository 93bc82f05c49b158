//! Compaction: runs are merged into fewer. [`strategy`] says which, [`purge`] what may be forgotten on the way,
//! [`task`] does it, one at a time on a shard.

pub mod purge;
pub mod strategy;
pub mod task;
