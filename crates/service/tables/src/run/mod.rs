//! Executes plans: mutations, reads, pages, aggregates, batches.
