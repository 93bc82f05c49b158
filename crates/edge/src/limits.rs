//! The bounds of the edge.

use std::time::Duration;

/// Longest read answered on the shard's own thread from the page cache, bytes: copying it takes about 20 µs. Longer ones go
/// to the disk threads.
pub const INLINE_READ_BYTES_MAX: usize = 256 << 10;

/// Longest single read, bytes. Above every block and every log record; guards against a damaged length.
pub const DISK_READ_BYTES_MAX: usize = 256 << 20;

/// Disk threads of a node, at most. More do not make a disk faster.
pub const DISK_THREADS_MAX: usize = 64;

/// Room made before each read of a socket, bytes: several small requests, or a good part of a large one.
pub const READ_BYTES: usize = 16 << 10;

/// A connection whose input buffer has grown beyond this gives it back when it is empty, bytes.
pub const INPUT_BYTES_KEPT: usize = 64 << 10;

/// What a session may leave unread in its input, bytes: one message of 16 MiB (the most any protocol here allows in its
/// plain form) and what came after it in one read. A session that leaves more never finds its message's end.
pub const INPUT_BYTES_MAX: usize = 18 << 20;

/// Output waiting for a client beyond which nothing more is read from it, bytes.
pub const OUTPUT_BYTES_PAUSE: usize = 1 << 20;

/// From being accepted to the first answer. Longer is a port scan or a client of another protocol.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes none of its output for so long is gone.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that has begun a message and does not go on for so long is gone.
pub const READ_STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long, and for how many bytes, a client is listened to after its connection was closed from here.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
pub const GOODBYE_BYTES_MAX: usize = 1 << 20;

/// Silence after which the system asks whether a client is still there. Drivers send heartbeats every 30 s.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);

/// How often connections are looked at for the timeouts above.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long requests in flight may take to end when the node stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections the kernel holds for us while we do not accept.
pub const LISTEN_BACKLOG: u32 = 1024;

/// Connections to the console at a time: a few browsers and scrapers.
pub const CONSOLE_CONNECTIONS_MAX: usize = 64;

/// Request head of the console, bytes.
pub const CONSOLE_HEAD_BYTES_MAX: usize = 16 << 10;

/// From connecting to a complete request head at the console; also how long a kept-alive connection may idle.
pub const CONSOLE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A command on the control socket, bytes.
pub const CONTROL_LINE_BYTES_MAX: usize = 64 << 10;

/// Commands on the control socket at a time.
pub const CONTROL_CONNECTIONS_MAX: usize = 16;

/// Lines of progress waiting for a slow `holon` command; further ones are dropped.
pub const CONTROL_LINES_WAITING_MAX: usize = 256;

/// Time for the command to arrive on the control socket.
pub const CONTROL_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeouts of connections; shorter ones are for tests.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimeouts {
    pub handshake: Duration,
    pub write_stall: Duration,
    pub read_stall: Duration,
    pub sweep_interval: Duration,
}

impl Default for ConnectionTimeouts {
    fn default() -> Self {
        ConnectionTimeouts {
            handshake: HANDSHAKE_TIMEOUT,
            write_stall: WRITE_STALL_TIMEOUT,
            read_stall: READ_STALL_TIMEOUT,
            sweep_interval: SWEEP_INTERVAL,
        }
    }
}
