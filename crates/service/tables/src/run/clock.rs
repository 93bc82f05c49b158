//! Server-side timestamps, and the refusal of writes by a node whose clock is wrong.

use super::{Context, Parameters};
use crate::error::{CqlError, CqlResult};
use crate::limits;
use bytes::Bytes;
use holon_base::Instant;
use holon_kernel::ClockRefusal;
use holon_store::Row;

/// The timestamp of a write, microseconds: the one the request carries, or one of the node's clock. `explicit`: the
/// statement brings its own (`USING TIMESTAMP`), unless that is unset.
///
/// A client's own timestamps are taken by a ready clock only, too: expiry and the age of tombstones count by it.
///
/// # Errors
/// The clock of this node is wrong; nothing was done.
pub async fn stamp(context: &Context, explicit: bool, parameters: &Parameters) -> CqlResult<i64> {
    match parameters.timestamp_us {
        Some(timestamp) => settled(context, parameters).await.map(|()| timestamp),
        None if explicit => {
            settled(context, parameters).await?;
            Ok(context.shard.clock().last().max(context.shard.wall_micros()))
        }
        None => context.shard.stamp(deadline(context, parameters)).await.map_err(refused),
    }
}

/// What a reader is shown, later writes through this node are later than: also if whoever stamped it, and the replicas that
/// have it, have forgotten the time since.
pub fn shown(context: &Context, rows: &[(Bytes, Row)]) {
    if let Some(latest) = rows.iter().filter_map(|(_, row)| row.latest_timestamp()).max() {
        context.shard.clock().observe_data(latest, context.shard.wall());
    }
}

/// # Errors
/// The clock of this node is wrong; nothing was done.
pub async fn settled(context: &Context, parameters: &Parameters) -> CqlResult<()> {
    context.shard.clock_settled(deadline(context, parameters)).await.map_err(refused)
}

fn deadline(context: &Context, parameters: &Parameters) -> Instant {
    parameters.deadline.unwrap_or_else(|| context.shard.now() + limits::WRITE_TIMEOUT)
}

pub fn refused(refusal: ClockRefusal) -> CqlError {
    CqlError::IsBootstrapping(refusal.to_string())
}
