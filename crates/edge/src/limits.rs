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

/// How long a node that stops waits until the others are sent what it has said last: that it leaves, and who leads instead. One that
/// cannot be reached must not hold it up.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_millis(500);

/// How often it looks whether they are.
pub const PEER_SENT_LOOK: Duration = Duration::from_millis(1);

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

/// Longest envelope between nodes, bytes: the payload and what is said about it (an envelope's head is below 100 bytes).
pub const PEER_FRAME_BYTES_MAX: usize = holon_kernel::limits::ENVELOPE_PAYLOAD_BYTES_MAX + (1 << 10);

/// Longest hello, and longest answer to one, bytes: all that is read from a stranger.
pub const PEER_HELLO_BYTES_MAX: usize = 1 << 10;

/// Longest reason a node gives before it closes a connection, characters.
pub const PEER_REASON_CHARACTERS_MAX: usize = 300;

/// From being accepted to a whole hello; from connecting to the answer to one.
pub const PEER_HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// From the first packet to an established connection. In one data centre it takes a millisecond, around the world 300.
pub const PEER_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Waiting between two attempts to reach a node: doubled each time, and up to half as much again by chance.
pub const PEER_BACKOFF_MIN: Duration = Duration::from_millis(50);
pub const PEER_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What waits in one shard for one node, envelopes and bytes. The bytes are a few of the longest; what is beyond is lost, as the
/// contract of envelopes allows.
pub const PEER_QUEUE_ENVELOPES_MAX: usize = 64 << 10;
pub const PEER_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Room for one read from another node, bytes.
pub const PEER_READ_BYTES: usize = 128 << 10;

/// Envelopes up to this are copied out of the read buffer and into the write buffer, bytes: that is cheaper than to keep them apart, and
/// a payload that is kept for long keeps at most four times its size alive.
pub const PEER_COPY_BYTES_MAX: usize = 32 << 10;

/// Silence after which the system asks whether the other node is there, how often, and how many times.
pub const PEER_KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
pub const PEER_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
pub const PEER_KEEPALIVE_PROBES: u32 = 3;

/// A node that acknowledges nothing of what was sent for so long is gone.
pub const PEER_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(6);

/// Of a request from a node that is no member yet and of its reply, bytes: certificates and a list of addresses.
pub const PEER_REQUEST_BYTES_MAX: usize = 64 << 10;
pub const PEER_REPLY_BYTES_MAX: usize = 1 << 20;

/// How long such a request may take on the answering side: an entry of the metadata log at most.
pub const PEER_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Pairs of another node and a shard of this one that are counted one by one.
pub const PEERS_COUNTED_MAX: usize = 64 << 10;

/// Lines about other nodes reported in a second; whoever storms the door must not fill the log as well.
pub const PEER_REPORTS_PER_SECOND: u32 = 10;

/// A node that tries again and again what is refused is reported as often.
pub const PEER_REPORT_REPEATED_AFTER: Duration = Duration::from_secs(60);
