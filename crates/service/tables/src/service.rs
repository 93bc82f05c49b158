//! The service as the kernel sees it, one per shard.
