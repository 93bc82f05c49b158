//! What a replica answers coordinators: pages of rows with their deletions, and digests of them.

use crate::message::{ReadAnswer, ReadRequest};
use crate::page::digest;
use holon_base::TabletId;
use holon_store::{Engine, ScanOptions, StoreError};

/// Rows looked at before a read answers with what it has: a stretch of tombstones is then left to the next request, so that
/// none of them holds the shard for long.
pub const EXAMINED_ROWS_MAX: usize = 100_000;

/// How the engine is to read.
pub fn scan_options(request: &ReadRequest) -> ScanOptions {
    ScanOptions {
        reverse: request.reverse,
        rows_max: request.rows_max as usize,
        bytes_max: request.bytes_max as usize,
        examined_max: (request.examined_max as usize).min(EXAMINED_ROWS_MAX),
        now_seconds: request.now_seconds,
        keep_tombstones: request.full,
        one_prefix: request.one_partition,
    }
}

/// One page, with deletions if the request is for all. What it asks of partitions is left to the service.
///
/// # Errors
/// Of the engine.
pub async fn read(engine: &Engine, tablet: TabletId, request: ReadRequest) -> Result<ReadAnswer, StoreError> {
    let options = scan_options(&request);
    let (page, rest) = engine.read_ranges(tablet, request.ranges, options).await?;
    Ok(ReadAnswer { rows: page.rows, deleted: page.ranges, rest })
}

/// The digest of the page that [`read`] gives for the same request.
///
/// # Errors
/// Of the engine.
pub async fn read_digest(engine: &Engine, tablet: TabletId, request: ReadRequest) -> Result<u128, StoreError> {
    let purgeable_seconds = request.purgeable_seconds;
    let answer = read(engine, tablet, ReadRequest { full: true, ..request }).await?;
    Ok(digest(&answer, purgeable_seconds))
}
