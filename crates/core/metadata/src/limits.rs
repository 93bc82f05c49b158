//! Bounds of moving tablets, of figures, and of comparing clocks.

use std::time::Duration;

/// Tablets that a node fills at a time: enough to keep network and disk busy, few enough that clients notice little.
pub(crate) const FILLS_MAX: usize = 2;

/// After a step that failed, until it is tried again.
pub(crate) const WORK_PAUSE: Duration = Duration::from_secs(1);

/// A tablet's data is copied within this, or the copy begins again.
pub(crate) const WORK_TIMEOUT: Duration = Duration::from_secs(3600);

/// Nodes that are asked for figures when somebody looks: as many as a person can look at.
pub(crate) const FIGURES_NODES_MAX: usize = 64;

/// Moves whose figures are asked for and told; the others are counted.
pub(crate) const FIGURES_TABLETS_MAX: usize = 64;

/// A node that does not answer within this has no figures this time: whoever looks does not wait for it.
pub(crate) const FIGURES_TIMEOUT: Duration = Duration::from_millis(300);

/// Figures are not asked for again before they are this old, however many look.
pub(crate) const FIGURES_AGE: Duration = Duration::from_millis(400);

/// Nor, if they are about other tablets, before this.
pub(crate) const FIGURES_PAUSE: Duration = Duration::from_millis(100);

/// Nodes that are told of one by one, those that are not simply up before others: a page of more would be read by nobody.
pub(crate) const VIEW_NODES_MAX: usize = 1000;

/// Owners of slots that are told, of all data centres together. A ring that is cut finer is not drawn.
pub(crate) const VIEW_SLOTS_MAX: usize = 8192;

/// Tablets of one group that are told of one by one at a time.
pub const VIEW_TABLETS_MAX: usize = 4096;

/// Between two looks at the clocks of other nodes: a clock that drifts out of bounds is noticed within this.
pub(crate) const CLOCK_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const CLOCK_INTERVAL_ALONE: Duration = Duration::from_secs(3600);

/// Least time between two looks, however many ask for one.
pub(crate) const CLOCK_PAUSE: Duration = Duration::from_millis(20);

/// Nodes that are asked for their clocks at a time. Chosen anew each time, so that within [`CLOCK_SAMPLE_AGE`] some eighty are
/// heard in a large cluster.
pub(crate) const CLOCK_ASKED_MAX: usize = 16;

/// An answer that takes longer says too little about a clock.
pub(crate) const CLOCK_ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// What was measured counts for so long.
pub(crate) const CLOCK_SAMPLE_AGE: Duration = Duration::from_secs(5);

/// A snapshot of the metadata goes between nodes in one piece, bytes: below the longest payload of an envelope.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 16 << 20;

/// Addresses of other members at which a node that has moved looks for anybody, at a time.
pub(crate) const LOOKED_AT_MAX: usize = 32;

/// Who changes the schema waits so long for other nodes to know it.
pub(crate) const AGREE_TIMEOUT: Duration = Duration::from_secs(2);

/// Shards of other nodes that are waited for then. In a cluster of more, the rest hears of a change as of any other entry.
pub(crate) const AGREE_SHARDS_MAX: usize = 4096;
