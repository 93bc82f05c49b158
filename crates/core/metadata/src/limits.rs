//! Bounds of moving tablets.

use std::time::Duration;

/// Tablets that a node fills at a time: enough to keep network and disk busy, few enough that clients notice little.
pub(crate) const FILLS_MAX: usize = 2;

/// After a step that failed, until it is tried again.
pub(crate) const WORK_PAUSE: Duration = Duration::from_secs(1);

/// A tablet's data is copied within this, or the copy begins again.
pub(crate) const WORK_TIMEOUT: Duration = Duration::from_secs(3600);
