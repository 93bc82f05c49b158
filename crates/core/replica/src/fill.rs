//! Copying a tablet: a replica that comes reads the data of those that have it, page by page, and writes it to itself.
//!
//! These are reads in full like any other, so they see what a reader would, and may be broken off and repeated at any time.

use crate::limits::FILL_TIMEOUT;
use crate::message::{ReadAnswer, ReadRequest};
use crate::page;
use crate::plant;
use holon_base::{Instant, NodeId, TabletId};
use holon_kernel::{CallError, Shard, Verb, join_all};
use holon_store::{Durability, Engine, KeyRange};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use thiserror::Error;

/// Spreads what is copied over time: so many bytes a second, all fills of a shard together.
pub struct Throttle {
    /// 0: no limit.
    bytes_per_second: u64,
    free_at: Cell<Instant>,
}

impl Throttle {
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle { bytes_per_second, free_at: Cell::new(Instant(0)) }
    }

    /// Returns when what was copied before has had its time; `bytes` more have theirs from now on.
    async fn pass(&self, shard: &Shard, bytes: u64) {
        let now = shard.now();
        let begins = self.free_at.get().max(now);
        if self.bytes_per_second > 0 {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
            self.free_at.set(begins + Duration::from_nanos(nanos as u64));
        }
        if begins > now {
            shard.sleep(begins.since(now)).await;
        }
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FillProgress {
    pub pages: u64,
    pub rows: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FillError {
    #[error("too few of the replicas that have the data answered ({0})")]
    Sources(CallError),
    #[error("a page of another replica cannot be read")]
    Unreadable,
    #[error("this node could not write what it was given: {0}")]
    Write(String),
}

async fn page_of(
    shard: &Shard,
    node: NodeId,
    tablet: TabletId,
    request: &ReadRequest,
) -> Result<ReadAnswer, FillError> {
    let deadline = shard.now() + FILL_TIMEOUT;
    let answer = shard.call_replica(node, tablet, shard.map_epoch(), Verb::READ, request.encode(), deadline).await;
    let (page, _) = ReadAnswer::decode(answer.map_err(FillError::Sources)?).map_err(|_| FillError::Unreadable)?;
    Ok(page)
}

/// Who has what is to be copied.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub nodes: &'a [NodeId],
    /// So many of them have to answer, with each page.
    pub enough: usize,
    /// `None`: as fast as it goes.
    pub throttle: Option<&'a Throttle>,
}

/// Reads ranges of a tablet from all sources together, and writes them to this node's replica: a page as one group of the
/// log.
///
/// # Errors
/// Too few sources; nothing is lost by trying again.
pub async fn fill(
    shard: &Rc<Shard>,
    engine: &Engine,
    tablet: TabletId,
    ranges: Vec<KeyRange>,
    sources: Sources<'_>,
    progress: impl Fn(FillProgress),
) -> Result<(), FillError> {
    let mut request = ReadRequest::all_of(ranges, shard.wall().seconds());
    if plant::get().unthrottled_copy {
        (request.rows_max, request.bytes_max) = (4096, 4 << 20);
    }
    let mut done = FillProgress::default();
    while !request.ranges.is_empty() {
        let asked = sources.nodes.iter().map(|node| page_of(shard, *node, tablet, &request));
        let answers = join_all(asked).await;
        let mut failure = FillError::Sources(CallError::Gone);
        let mut pages = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(page) => pages.push(page),
                Err(error) => failure = error,
            }
        }
        if pages.len() < sources.enough.max(1) {
            return Err(failure);
        }
        let merged = page::merge(&request, pages.iter());
        let mutations = merged.mutations().map_err(|error| FillError::Write(error.to_string()))?;
        done.pages += 1;
        done.rows += merged.rows.len() as u64;
        let bytes = mutations.iter().map(|mutation| mutation.bytes().len() as u64).sum();
        let writes = mutations.into_iter().map(|mutation| engine.write(tablet, mutation, Durability::Sync));
        for written in join_all(writes).await {
            written.map_err(|error| FillError::Write(error.to_string()))?;
        }
        done.bytes += bytes;
        request.ranges = merged.rest;
        progress(done);
        if let Some(throttle) = sources.throttle
            && !plant::get().unthrottled_copy
        {
            throttle.pass(shard, bytes).await;
        }
        shard.yield_now().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_kernel::testing::{MemoryDisk, TestShard};

    #[test]
    fn what_is_copied_is_spread_over_time_and_pauses_are_not_saved_up() {
        let test = TestShard::new(MemoryDisk::new());
        let shard = test.shard.clone();
        let took = test.block_on(async move {
            let throttle = Throttle::new(1000);
            let mut took = Vec::new();
            for (pause, bytes) in [(0, 500), (0, 250), (0, 1), (5000, 1000), (0, 1)] {
                shard.sleep(Duration::from_millis(pause)).await;
                let began = shard.now();
                throttle.pass(&shard, bytes).await;
                took.push(shard.now().since(began).as_millis());
            }
            let none = Throttle::new(0);
            let began = shard.now();
            none.pass(&shard, u64::MAX).await;
            none.pass(&shard, 1).await;
            took.push(shard.now().since(began).as_millis());
            took
        });
        assert_eq!(took, [0, 500, 250, 0, 1000, 0]);
    }
}
