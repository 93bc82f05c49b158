//! What the requests of one connection share: its encoder and outbox, how far its handshake is, and what it has set.
//!
//! Every answer is appended whole, in whatever order the requests end: the stream number tells the client which is
//! which.

use crate::error::CqlError;
use crate::limits::{EVENT_OUTBOX_BYTES_MAX, OUTBOX_BYTES_MAX};
use holon_cql::notation::BytesMap;
use holon_cql::request::EventType;
use holon_cql::response::{Event, ResultResponse};
use holon_cql::{Compression, CqlError as CodecError, Encoder, Response, ResponseMessage, Version, response};
use holon_kernel::{Outbox, Permit, Shard};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Between two looks at whether a slow client has read its answers.
const CLOGGED_PAUSE: Duration = Duration::from_millis(50);

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing but OPTIONS and STARTUP.
    New,
    /// STARTUP was answered with AUTHENTICATE: nothing but AUTH_RESPONSE.
    Authenticating,
    Ready,
}

/// What is answered to a request, besides its stream.
pub struct Answer {
    pub response: Response,
    pub warnings: Vec<String>,
    /// The trace of the request, if it was traced.
    pub tracing_id: Option<u128>,
    /// For the bytes of the response, until they are in the outbox.
    pub memory: Option<Permit>,
}

impl Answer {
    pub fn new(response: Response) -> Answer {
        Answer { response, warnings: Vec::new(), tracing_id: None, memory: None }
    }

    pub fn result(result: ResultResponse) -> Answer {
        Answer::new(Response::Result(result))
    }

    pub fn error(error: &CqlError) -> Answer {
        Answer::new(Response::Error(error.to_wire()))
    }
}

pub struct Connection {
    /// Unique on the shard; its tasks are spawned under this scope.
    pub id: u64,
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    outbox: Rc<Outbox>,
    encoder: RefCell<Encoder>,
    version: Cell<Version>,
    stage: Cell<Stage>,
    keyspace: RefCell<Option<Rc<str>>>,
    account: RefCell<Option<Rc<str>>>,
    startup_options: RefCell<BTreeMap<String, String>>,
    requests: Cell<u64>,
    events: RefCell<Vec<EventType>>,
    pub(super) login_running: Cell<bool>,
    pub(super) logins_failed: Cell<u32>,
}

impl Connection {
    pub fn new(id: u64, peer: Option<SocketAddr>, local: Option<SocketAddr>, outbox: Rc<Outbox>) -> Connection {
        Connection {
            id,
            peer,
            local,
            outbox,
            encoder: RefCell::new(Encoder::new(Version::GREATEST)),
            version: Cell::new(Version::GREATEST),
            stage: Cell::new(Stage::New),
            keyspace: RefCell::default(),
            account: RefCell::default(),
            startup_options: RefCell::default(),
            requests: Cell::new(0),
            events: RefCell::default(),
            login_running: Cell::new(false),
            logins_failed: Cell::new(0),
        }
    }

    pub fn outbox(&self) -> &Rc<Outbox> {
        &self.outbox
    }

    pub fn version(&self) -> Version {
        self.version.get()
    }

    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// The keyspace that USE has set.
    pub fn keyspace(&self) -> Option<Rc<str>> {
        self.keyspace.borrow().clone()
    }

    pub fn set_keyspace(&self, keyspace: Rc<str>) {
        *self.keyspace.borrow_mut() = Some(keyspace);
    }

    pub fn account(&self) -> Option<Rc<str>> {
        self.account.borrow().clone()
    }

    pub fn set_account(&self, name: &str) {
        *self.account.borrow_mut() = Some(name.into());
    }

    /// What STARTUP said, for `system_views.clients`.
    pub fn startup_options(&self) -> BTreeMap<String, String> {
        self.startup_options.borrow().clone()
    }

    pub fn set_startup_options(&self, options: BTreeMap<String, String>) {
        *self.startup_options.borrow_mut() = options;
    }

    /// Requests taken up so far.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    pub fn count_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    pub fn register(&self, events: &[EventType]) {
        let mut registered = self.events.borrow_mut();
        for event in events {
            if !registered.contains(event) {
                registered.push(*event);
            }
        }
    }

    /// The version of a message before STARTUP has fixed one.
    pub fn set_version(&self, version: Version) {
        if self.stage.get() == Stage::New {
            self.version.set(version);
            self.encoder.borrow_mut().set_version(version);
        }
    }

    /// STARTUP was answered: from here on this version and compression hold, and v5 goes in segments.
    pub fn negotiated(&self, version: Version, compression: Option<Compression>) {
        self.version.set(version);
        self.encoder.borrow_mut().negotiated(version, compression);
    }

    /// More waits for the client to read it than a connection may hold: take up no further request.
    pub fn is_clogged(&self) -> bool {
        self.outbox.pending_bytes() >= OUTBOX_BYTES_MAX
    }

    /// Waits until the client has read enough for another answer to be made.
    pub async fn wait_while_clogged(&self, shard: &Shard) {
        while self.is_clogged() {
            shard.sleep(CLOGGED_PAUSE).await;
        }
    }

    pub fn reply(&self, stream: i16, answer: Answer) {
        let Answer { response, warnings, tracing_id, memory: _held } = answer;
        let tracing_id = tracing_id.map(u128::to_be_bytes);
        let message = ResponseMessage { stream, tracing_id, warnings, custom_payload: BytesMap::new(), response };
        self.write(&message);
    }

    pub fn reply_error(&self, stream: i16, error: &CqlError) {
        self.reply(stream, Answer::error(error));
    }

    /// Answers bytes that are not a message.
    pub fn reply_codec_error(&self, stream: Option<i16>, error: &CodecError) {
        let mut encoder = self.encoder.borrow_mut();
        let written = match stream {
            Some(stream) => encoder.response(&ResponseMessage::from_error(stream, error)),
            None => encoder.decode_error(error),
        };
        // Texts of errors are cut to fit, so that an error can always be written.
        debug_assert!(written.is_ok(), "{written:?}");
        self.flush(&mut encoder);
    }

    /// Tells of an event if the client asked for its kind. A client that does not read loses its connection instead.
    pub fn event(&self, event: &Event) {
        if self.stage.get() != Stage::Ready || !self.events.borrow().contains(&event.event_type()) {
            return;
        }
        if self.outbox.pending_bytes() >= EVENT_OUTBOX_BYTES_MAX {
            return self.outbox.close();
        }
        self.write(&ResponseMessage::new(response::EVENT_STREAM, Response::Event(event.clone())));
    }

    fn write(&self, message: &ResponseMessage) {
        let mut encoder = self.encoder.borrow_mut();
        if let Err(error) = encoder.response(message) {
            // The answer cannot be expressed (a name beyond 64 KiB, say): nothing of it was written, so say that.
            let instead = encoder.response(&ResponseMessage::from_error(message.stream, &error));
            debug_assert!(instead.is_ok(), "{instead:?}");
        }
        self.flush(&mut encoder);
    }

    fn flush(&self, encoder: &mut Encoder) {
        let bytes = encoder.take();
        self.outbox.write(|buffer| buffer.extend_from_slice(&bytes));
    }
}
