//! Where Holon meets the machine: the only crate with threads, sockets, files, fsync, HTTP and the clocks.
//!
//! ```text
//!   main thread (one tokio runtime)                     one thread a shard (one tokio runtime each)
//!   accept ─► Door ── connection ──►  Inbox  ─►  Driver ── advance, deliver, run_ready ──► Shard
//!   console, control socket, signals ── calls ──►  ▲                      │
//!                                                  │ completions          │ operations
//!   disk threads (a bounded pool for all shards) ──┴──────────────────────┘
//! ```
//!
//! It knows no service and no protocol but the console's HTTP and the control socket's lines; what they answer is handed
//! in by `holon`. What the shards promise (see `holon-kernel`) is not weakened here: a completion is reported only after the
//! system call behind it has returned, a failed sync poisons its file, and a shard that has stopped ends the process.

mod clock;
mod connection;
mod control;
mod data_dir;
mod disk;
mod door;
mod http;
mod inbox;
pub mod limits;
pub mod peers;
mod process;
mod runner;
mod signal;
mod solo;

pub use clock::Clock;
pub use control::{ControlError, ControlHandler, ControlReplies, ControlServer, control_connect};
pub use data_dir::{DataDir, DataDirError, wait_until_free};
pub use disk::{DiskPool, RealDisk};
pub use door::{BoundDoor, Door, DoorError, DoorFigures, DoorLimits};
pub use http::{HttpAnswer, HttpHandler, serve_http};
pub use peers::{Peers, PeersOptions};
pub use process::{
    ProcessFigures, end_process_on_panic, end_with_parent, machine_memory_bytes, process_figures,
    raise_open_files_limit, random_u128, terminal_size,
};
pub use runner::{ShardGone, ShardHandle, ShardsOptions, start_shards};
pub use solo::run_on_disk;
