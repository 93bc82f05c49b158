//! Copying a tablet: a replica that comes reads the data of those that have it, page by page, and writes it to itself.
//!
//! These are reads in full like any other, so they see what a reader would, and may be broken off and repeated at any time.

use crate::limits::FILL_TIMEOUT;
use crate::message::{ReadAnswer, ReadRequest};
use crate::page;
use holon_base::{NodeId, TabletId};
use holon_kernel::{CallError, Shard, Verb, join_all};
use holon_store::{Durability, Engine, KeyRange};
use std::rc::Rc;
use thiserror::Error;

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
    let answer = shard.call_replica(node, tablet, Verb::READ, request.encode(), deadline).await;
    let (page, _) = ReadAnswer::decode(answer.map_err(FillError::Sources)?).map_err(|_| FillError::Unreadable)?;
    Ok(page)
}

/// Reads ranges of a tablet from `sources` together, as many of them as answer but at least `enough`, and writes it to this
/// node's replica.
///
/// # Errors
/// Too few sources; nothing is lost by trying again.
pub async fn fill(
    shard: &Rc<Shard>,
    engine: &Engine,
    tablet: TabletId,
    ranges: Vec<KeyRange>,
    sources: &[NodeId],
    enough: usize,
    progress: impl Fn(FillProgress),
) -> Result<(), FillError> {
    let mut request = ReadRequest::all_of(ranges, shard.wall().seconds());
    let mut done = FillProgress::default();
    while !request.ranges.is_empty() {
        let asked = sources.iter().map(|node| page_of(shard, *node, tablet, &request));
        let answers = join_all(asked).await;
        let mut failure = FillError::Sources(CallError::Gone);
        let mut pages = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(page) => pages.push(page),
                Err(error) => failure = error,
            }
        }
        if pages.len() < enough.max(1) {
            return Err(failure);
        }
        let merged = page::merge(&request, pages.iter());
        let mutations = merged.mutations().map_err(|error| FillError::Write(error.to_string()))?;
        done.pages += 1;
        done.rows += merged.rows.len() as u64;
        for mutation in mutations {
            done.bytes += mutation.bytes().len() as u64;
            let written = engine.write(tablet, mutation, Durability::Sync).await;
            written.map_err(|error| FillError::Write(error.to_string()))?;
        }
        request.ranges = merged.rest;
        progress(done);
        shard.yield_now().await;
    }
    Ok(())
}
