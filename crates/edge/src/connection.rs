//! One client's connection: bytes from the socket to its session, and what the session has to say back.
//!
//! ```text
//!   socket ─► input ─► Session::handle ─► tasks ─► Outbox ─► unsent ─► socket
//!              │ stops reading when: the session says Pause · the client does not take its answers ·
//!              │                     the connections of this shard hold more memory than their share
//! ```

use crate::clock::Clock;
use crate::door::Admission;
use crate::limits::{self, ConnectionTimeouts};
use crate::signal::Signal;
use bytes::{Buf, Bytes, BytesMut};
use holon_base::{Instant, ServiceId};
use holon_kernel::{Flow, Outbox, Scope, Session, SessionContext, Shard};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

/// A connection on its way from a door to its shard.
pub(crate) struct Accepted {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) behind: Behind,
    pub(crate) admission: Admission,
}

/// Who serves the connections of a door.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    Session(ServiceId),
    Peers,
}

/// The connections of one shard.
pub(crate) struct Connections {
    shard: Rc<Shard>,
    clock: Clock,
    open: RefCell<BTreeMap<u64, Rc<Progress>>>,
    buffered_bytes: Cell<usize>,
    buffered_bytes_max: usize,
    timeouts: ConnectionTimeouts,
    /// When memory is short one connection may read on, so that what it has begun can end.
    favoured: Cell<Option<u64>>,
    draining: Cell<bool>,
    sweeping: Cell<bool>,
}

/// What the sweep looks at.
struct Progress {
    signal: Rc<Signal>,
    opened: Instant,
    answered: Cell<bool>,
    /// Since when the client should have taken output, or gone on with a message, and has not.
    stalled_since: Cell<Option<Instant>>,
    stall_timeout: Cell<Duration>,
    waits_for_memory: Cell<bool>,
    expired: Cell<bool>,
    /// Something was read since the last sweep.
    active: Cell<bool>,
    /// Idle: the input buffer is, or is to be, given back.
    lean: Cell<bool>,
}

impl Connections {
    pub(crate) fn new(
        shard: Rc<Shard>,
        clock: Clock,
        buffered_bytes_max: usize,
        timeouts: ConnectionTimeouts,
    ) -> Rc<Connections> {
        Rc::new(Connections {
            shard,
            clock,
            open: RefCell::default(),
            buffered_bytes: Cell::new(0),
            buffered_bytes_max,
            timeouts,
            favoured: Cell::new(None),
            draining: Cell::new(false),
            sweeping: Cell::new(false),
        })
    }

    pub(crate) fn open(self: &Rc<Self>, accepted: Accepted, service: ServiceId) {
        let Some(service) = self.shard.service(service) else { return };
        if self.draining.get() {
            return crate::door::farewell(accepted.stream);
        }
        let local = accepted.stream.local_addr().ok();
        let stream = match TcpStream::from_std(accepted.stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(peer = %accepted.peer, %error, "a connection could not be registered");
                return;
            }
        };
        let id = self.shard.unique_id();
        let signal = Rc::new(Signal::default());
        let outbox = Rc::new(Outbox::new());
        let raise = signal.clone();
        outbox.set_notify(Box::new(move || raise.raise()));
        let context = SessionContext { session: id, peer: Some(accepted.peer), local, outbox: outbox.clone() };
        let session = service.open_session(context);
        let progress = Rc::new(Progress {
            signal,
            opened: self.clock.now(),
            answered: Cell::new(false),
            stalled_since: Cell::new(None),
            stall_timeout: Cell::new(Duration::MAX),
            waits_for_memory: Cell::new(false),
            expired: Cell::new(false),
            active: Cell::new(false),
            lean: Cell::new(true),
        });
        self.open.borrow_mut().insert(id, progress.clone());
        let connection = Connection {
            all: self.clone(),
            id,
            stream,
            session,
            outbox,
            progress,
            input: BytesMut::new(),
            unsent: Bytes::new(),
            counted_bytes: 0,
            paused_with: None,
            reading: true,
            _admission: accepted.admission,
        };
        tokio::task::spawn_local(connection.serve(accepted.peer));
        self.start_sweeping();
    }

    pub(crate) fn drain(&self) {
        self.draining.set(true);
        for progress in self.open.borrow().values() {
            progress.signal.raise();
        }
    }

    fn start_sweeping(self: &Rc<Self>) {
        if self.sweeping.replace(true) {
            return;
        }
        let all = self.clone();
        tokio::task::spawn_local(async move {
            // Ends with the last connection: an idle node does nothing.
            while !all.open.borrow().is_empty() {
                tokio::time::sleep(all.timeouts.sweep_interval).await;
                all.sweep();
            }
            all.sweeping.set(false);
        });
    }

    fn sweep(&self) {
        let now = self.clock.now();
        for progress in self.open.borrow().values() {
            let silent = !progress.answered.get() && now.since(progress.opened) >= self.timeouts.handshake;
            let since = progress.stalled_since.get();
            let stalled = since.is_some_and(|since| now.since(since) >= progress.stall_timeout.get());
            if silent || stalled {
                progress.expired.set(true);
                progress.signal.raise();
            }
            if !progress.active.replace(false) && !progress.lean.replace(true) {
                progress.signal.raise();
            }
        }
    }

    fn memory_is_short(&self) -> bool {
        self.buffered_bytes.get() >= self.buffered_bytes_max
    }

    fn count(&self, before: usize, after: usize) {
        let was_short = self.memory_is_short();
        self.buffered_bytes.set(self.buffered_bytes.get() - before + after);
        if was_short && !self.memory_is_short() {
            self.wake_waiting();
        }
    }

    fn wake_waiting(&self) {
        for progress in self.open.borrow().values().filter(|progress| progress.waits_for_memory.replace(false)) {
            progress.signal.raise();
        }
    }

    /// Whether this connection may take more into memory.
    fn may_grow(&self, id: u64, has_begun: bool) -> bool {
        if !self.memory_is_short() || self.favoured.get() == Some(id) {
            return true;
        }
        if has_begun && self.favoured.get().is_none() {
            self.favoured.set(Some(id));
            return true;
        }
        false
    }
}

struct Connection {
    all: Rc<Connections>,
    id: u64,
    stream: TcpStream,
    session: Box<dyn Session>,
    outbox: Rc<Outbox>,
    progress: Rc<Progress>,
    input: BytesMut,
    /// Taken from the outbox and not yet with the kernel.
    unsent: Bytes,
    /// What [`Connections::buffered_bytes`] has of this connection.
    counted_bytes: usize,
    /// The session said [`Flow::Pause`] with so many requests in flight.
    paused_with: Option<usize>,
    /// False once the client has sent its end, or the session asked to close.
    reading: bool,
    /// Gives the place at the door back.
    _admission: Admission,
}

impl Connection {
    async fn serve(mut self, peer: SocketAddr) {
        // Answers are written whole; waiting to merge them would only delay them.
        drop(self.stream.set_nodelay(true));
        match self.exchange().await {
            Ok(()) => {
                self.say_goodbye().await;
                tracing::debug!(%peer, "connection closed");
            }
            Err(error) => tracing::debug!(%peer, %error, "connection ended"),
        }
    }

    /// A socket closed with input unread is reset, and the client may lose the error that says why. So only our half is closed, and
    /// what still comes is thrown away for a moment.
    async fn say_goodbye(&mut self) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        // A node that stops does not wait for what may still come, but throws away what has.
        let limit = if self.all.draining.get() { Duration::ZERO } else { limits::GOODBYE_TIMEOUT };
        let discard = async {
            let mut left = limits::GOODBYE_BYTES_MAX;
            while left > 0 {
                self.input.clear();
                self.input.reserve(limits::READ_BYTES);
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => left = left.saturating_sub(count),
                }
            }
        };
        drop(tokio::time::timeout(limit, discard).await);
    }

    async fn exchange(&mut self) -> std::io::Result<()> {
        loop {
            self.resume_if_paused();
            self.write()?;
            if self.is_over() {
                return Ok(());
            }
            let wants_read = self.wants_read();
            self.note_progress(wants_read);
            if self.progress.expired.get() {
                return Err(std::io::ErrorKind::TimedOut.into());
            }
            let wants_write = !self.unsent.is_empty();
            if self.progress.lean.get() && self.input.is_empty() {
                self.input = BytesMut::new();
            }
            let (mut reader, writer) = self.stream.split();
            tokio::select! {
                biased;
                () = self.progress.signal.wait() => {}
                ready = writer.writable(), if wants_write => ready?,
                read = read(&mut reader, &mut self.input), if wants_read => {
                    if read? == 0 {
                        self.reading = false;
                    } else {
                        self.progress.active.set(true);
                        self.progress.lean.set(false);
                        self.progress.stalled_since.set(None);
                        self.hand_over()?;
                    }
                }
            }
        }
    }

    fn hand_over(&mut self) -> std::io::Result<()> {
        // Deadlines are counted from the shard's time, which stands still while it sleeps.
        self.all.clock.advance(&self.all.shard);
        match self.session.handle(&mut self.input) {
            Flow::Continue => {
                self.paused_with = None;
                if self.input.len() > limits::INPUT_BYTES_MAX {
                    let detail = format!("the session left {} bytes of input unread", self.input.len());
                    return Err(std::io::Error::other(detail));
                }
            }
            Flow::Pause => self.paused_with = Some(self.outbox.in_flight()),
            Flow::Close => {
                self.paused_with = None;
                self.reading = false;
                self.outbox.close();
            }
        }
        if self.input.is_empty() && self.input.capacity() > limits::INPUT_BYTES_KEPT {
            self.input = BytesMut::new();
        }
        Ok(())
    }

    fn resume_if_paused(&mut self) {
        if let Some(in_flight) = self.paused_with
            && (self.outbox.in_flight() < in_flight || self.outbox.in_flight() == 0)
            && !self.outbox.is_closing()
            && self.hand_over().is_err()
        {
            self.outbox.close();
        }
    }

    /// Writes until nothing is left or the kernel takes no more.
    fn write(&mut self) -> std::io::Result<()> {
        loop {
            if self.unsent.is_empty() {
                if self.outbox.pending_bytes() == 0 {
                    return Ok(());
                }
                self.unsent = self.outbox.take_next();
            }
            match self.stream.try_write(&self.unsent) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.unsent.advance(count);
                    self.progress.answered.set(true);
                    self.progress.stalled_since.set(None);
                    if self.unsent.is_empty() {
                        self.unsent = Bytes::new(); // gives its memory back
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn output_bytes(&self) -> usize {
        self.unsent.len() + self.outbox.pending_bytes()
    }

    fn is_over(&self) -> bool {
        if self.output_bytes() > 0 {
            return false;
        }
        self.outbox.is_closing() || (self.outbox.in_flight() == 0 && (!self.reading || self.all.draining.get()))
    }

    fn wants_read(&mut self) -> bool {
        let bytes = self.input.len() + self.output_bytes();
        let before = std::mem::replace(&mut self.counted_bytes, bytes);
        self.all.count(before, bytes);
        if self.input.is_empty() && self.all.favoured.get() == Some(self.id) {
            self.all.favoured.set(None);
            self.all.wake_waiting();
        }
        let open = self.reading && !self.outbox.is_closing() && !self.all.draining.get();
        if !open || self.paused_with.is_some() || self.output_bytes() > limits::OUTPUT_BYTES_PAUSE {
            return false;
        }
        let may_grow = self.all.may_grow(self.id, !self.input.is_empty());
        self.progress.waits_for_memory.set(!may_grow);
        may_grow
    }

    /// Starts the clock on a client that owes us something, and stops it when it does not.
    fn note_progress(&self, wants_read: bool) {
        let timeout = if !self.unsent.is_empty() {
            self.all.timeouts.write_stall
        } else if wants_read && !self.input.is_empty() {
            self.all.timeouts.read_stall
        } else {
            self.progress.stalled_since.set(None);
            return;
        };
        if self.progress.stalled_since.get().is_none() || self.progress.stall_timeout.get() != timeout {
            self.progress.stall_timeout.set(timeout);
            self.progress.stalled_since.set(Some(self.all.clock.now()));
        }
    }
}

/// Reads what is there. A connection without a buffer gets one when there is something to put into it.
async fn read(reader: &mut ReadHalf<'_>, input: &mut BytesMut) -> std::io::Result<usize> {
    if input.capacity() == 0 {
        reader.readable().await?;
    }
    input.reserve(limits::READ_BYTES);
    reader.read_buf(input).await
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open.borrow_mut().remove(&self.id);
        self.all.count(self.counted_bytes, 0);
        if self.all.favoured.get() == Some(self.id) {
            self.all.favoured.set(None);
            self.all.wake_waiting();
        }
        // The requests of the session end with it.
        self.all.shard.cancel(Scope::Session(self.id));
    }
}
