//! The door of tables: sessions of the CQL protocol, versions 3 to 5.
//!
//! ```text
//!   bytes ─▶ Decoder ─▶ Envelope ─▶ RequestMessage ─┬─ OPTIONS, STARTUP, REGISTER: answered at once
//!                                                   └─ the others: a task each ─▶ plan, run ─▶ answer, in any order
//! ```
//!
//! One file a request. It is not a planner and reads no data; it keeps the state of connections, the statements that
//! were prepared, and the accounts. It guarantees that each message is answered exactly once, on its stream, and that
//! what a client can make it hold is bounded: requests in flight, memory of requests ([`Pool`](holon_kernel::Pool)
//! `requests`), answers that are not read. Beyond that it stops reading ([`Flow::Pause`]), then refuses with
//! OVERLOADED.
//!
//! Custom payloads are taken and not answered, as Cassandra's own handler does.

pub mod accounts;
mod auth_response;
mod batch;
pub mod bcrypt;
pub mod connection;
mod execute;
pub mod metrics;
mod planned;
mod prepare;
mod query;
mod request;
mod roles;
mod run;
mod startup;
pub mod statements;
pub mod supported;
mod traced;

use crate::error::CqlError;
use crate::limits::{HANDSHAKE_TIMEOUT, REQUEST_OVERHEAD_BYTES, REQUESTS_PER_CONNECTION_MAX, REQUESTS_PER_SHARD_MAX};
use crate::service::TablesService;
use bytes::BytesMut;
use connection::{Answer, Connection, Stage};
use holon_cql::limits::{ENVELOPE_BODY_BYTES_MAX, ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED};
use holon_cql::{CqlError as CodecError, Decoder, Direction, Envelope, Request, RequestMessage, Response, Version};
use holon_kernel::{Class, Flow, Permit, Scope, Session, SessionContext};
use std::rc::Rc;

/// A client's connection.
pub struct CqlSession {
    service: Rc<TablesService>,
    connection: Rc<Connection>,
    decoder: Decoder,
    /// For what the decoder holds of a message that is not whole yet.
    buffered: Option<Permit>,
    closing: bool,
}

impl CqlSession {
    pub fn new(service: Rc<TablesService>, context: SessionContext) -> CqlSession {
        let SessionContext { session, peer, local, outbox } = context;
        let connection = Rc::new(Connection::new(session, peer, local, outbox));
        service.connection_opened(&connection);
        close_unless_ready(&service, &connection);
        let decoder = Decoder::new(Direction::Request, ENVELOPE_BODY_BYTES_MAX_UNAUTHENTICATED);
        CqlSession { service, connection, decoder, buffered: None, closing: false }
    }

    /// Handles one message, or what should have been one. False: nothing whole is left.
    fn step(&mut self) -> bool {
        if self.connection.stage() == Stage::Ready {
            self.decoder.set_body_limit_bytes(ENVELOPE_BODY_BYTES_MAX);
        }
        match self.decoder.next_envelope() {
            Ok(Some(envelope)) => {
                self.message(envelope);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.service.requests_metrics().protocol_error();
                self.connection.reply_codec_error(None, &error);
                self.closing = !error.connection_survives();
                true
            }
        }
    }

    fn message(&mut self, envelope: Envelope) {
        let (version, stream) = (envelope.header.version, envelope.header.stream);
        self.connection.set_version(version);
        let message = match RequestMessage::decode(&envelope) {
            Ok(message) => message,
            Err(error) => return self.refuse(stream, &error),
        };
        if let Err(error) = self.check_stage(&message) {
            return self.connection.reply_error(stream, &error);
        }
        match message.request {
            Request::Options(_) => self.connection.reply(stream, supported::options()),
            Request::Startup(startup) => self.startup(stream, version, &startup),
            Request::Register(register) => {
                self.connection.register(&register.events);
                self.connection.reply(stream, Answer::new(Response::Ready));
            }
            Request::AuthResponse(response) => {
                auth_response::auth_response(&self.service, &self.connection, stream, response)
            }
            _ => self.start_request(message, envelope.body.len()),
        }
    }

    fn refuse(&mut self, stream: i16, error: &CodecError) {
        self.service.requests_metrics().protocol_error();
        self.connection.reply_codec_error(Some(stream), error);
    }

    /// What may come when, in Cassandra's words.
    fn check_stage(&self, message: &RequestMessage) -> Result<(), CqlError> {
        let unexpected = |expected: &str| {
            let name = match &message.request {
                Request::AuthResponse(_) => "AUTH_RESPONSE".to_string(),
                request => format!("{:?}", request.opcode()).to_ascii_uppercase(),
            };
            Err(CqlError::Protocol(format!("Unexpected message {name}, {expected}")))
        };
        match (self.connection.stage(), &message.request) {
            (Stage::New, Request::Startup(_) | Request::Options(_)) => Ok(()),
            (Stage::New, _) => unexpected("expecting STARTUP or OPTIONS"),
            (Stage::Authenticating, Request::AuthResponse(_)) => Ok(()),
            (Stage::Authenticating, _) => unexpected("expecting SASL_RESPONSE"),
            (Stage::Ready, Request::Startup(_)) => unexpected("the connection is already initialized"),
            (Stage::Ready, Request::AuthResponse(_)) => unexpected("the connection is already authenticated"),
            (Stage::Ready, _) => Ok(()),
        }
    }

    fn startup(&mut self, stream: i16, version: Version, message: &holon_cql::request::Startup) {
        let with_password = !self.service.config().authentication.is_off();
        match startup::startup(&self.connection, message, with_password) {
            Ok(compression) => {
                // In this order: the answer itself is framed as before.
                self.connection.reply(stream, startup::answer(with_password));
                self.connection.negotiated(version, compression);
                self.decoder.negotiated(version, compression);
            }
            Err(error) => self.connection.reply_error(stream, &error),
        }
    }

    /// Starts the task of a request, if there is room for it.
    fn start_request(&mut self, message: RequestMessage, body_bytes: usize) {
        let room = self.service.request_pool().try_acquire(body_bytes + REQUEST_OVERHEAD_BYTES);
        let crowded = self.service.requests_in_flight() >= REQUESTS_PER_SHARD_MAX;
        let Some(permit) = room.filter(|_| !crowded) else {
            self.service.requests_metrics().overloaded();
            let error = CqlError::overloaded("too many requests are being worked on; try again later");
            return self.connection.reply_error(message.stream, &error);
        };
        let (service, connection) = (self.service.clone(), self.connection.clone());
        let task = request::Task::new(service, connection, permit);
        self.service.shard().spawn(Scope::Session(self.connection.id), Class::Foreground, task.run(message));
    }

    fn is_full(&self) -> bool {
        self.connection.outbox().in_flight() >= REQUESTS_PER_CONNECTION_MAX || self.connection.is_clogged()
    }

    /// Memory of messages that are not whole yet is taken without asking: they can only be finished or closed.
    fn account_for_buffered(&mut self) {
        let bytes = self.decoder.buffered_bytes();
        if self.buffered.as_ref().is_none_or(|permit| permit.amount() != bytes) {
            self.buffered = None;
            self.buffered = (bytes > 0).then(|| self.service.request_pool().take(bytes));
        }
    }
}

impl Session for CqlSession {
    fn handle(&mut self, input: &mut BytesMut) -> Flow {
        if self.closing {
            return Flow::Close;
        }
        // The decoder works on the door's own buffer, and gives back what is incomplete.
        std::mem::swap(self.decoder.input(), input);
        let flow = loop {
            if self.is_full() {
                break Flow::Pause;
            }
            if !self.step() {
                break Flow::Continue;
            }
            if self.closing {
                break Flow::Close;
            }
        };
        std::mem::swap(self.decoder.input(), input);
        self.account_for_buffered();
        flow
    }
}

impl Drop for CqlSession {
    fn drop(&mut self) {
        self.service.connection_closed(&self.connection);
    }
}

fn close_unless_ready(service: &Rc<TablesService>, connection: &Rc<Connection>) {
    let (shard, waiting) = (service.shard().clone(), Rc::downgrade(connection));
    service.shard().spawn(Scope::Session(connection.id), Class::Foreground, async move {
        shard.sleep(HANDSHAKE_TIMEOUT).await;
        if let Some(connection) = waiting.upgrade()
            && connection.stage() != Stage::Ready
        {
            connection.outbox().close();
        }
    });
}
