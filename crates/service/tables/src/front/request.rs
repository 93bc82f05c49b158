//! The task of one request: runs it, answers it, counts it.

use super::connection::{Answer, Connection};
use super::metrics::Kind;
use super::traced::Traced;
use super::{batch, execute, prepare, query};
use crate::error::CqlResult;
use crate::service::TablesService;
use crate::trace::Tracing;
use holon_base::Instant;
use holon_cql::{Request, RequestMessage};
use holon_kernel::Permit;
use std::rc::Rc;

/// What a request holds while it is worked on. Given back however its task ends: answered, or with its connection.
pub struct Task {
    service: Rc<TablesService>,
    connection: Rc<Connection>,
    started: Instant,
    _memory: Permit,
}

impl Task {
    pub fn new(service: Rc<TablesService>, connection: Rc<Connection>, memory: Permit) -> Task {
        service.request_started();
        connection.outbox().request_started();
        connection.count_request();
        let started = service.shard().now();
        Task { service, connection, started, _memory: memory }
    }

    pub async fn run(self, message: RequestMessage) {
        let RequestMessage { stream, tracing, request, .. } = message;
        let kind = Kind::of(&request);
        let traced = tracing.then(|| Traced::new(&self.service, &self.connection, self.started, &request));
        let notes = traced.as_ref().map_or_else(Tracing::off, |traced| traced.notes.clone());
        let outcome = self.answer(request, &notes).await;
        let took = self.service.shard().now().since(self.started);
        let metrics = self.service.requests_metrics();
        metrics.request(kind, took, outcome.as_ref().err());
        let mut answer = outcome.unwrap_or_else(|error| Answer::error(&error));
        if let Some(traced) = traced {
            answer.tracing_id = Some(traced.end(&self.service, &answer));
        }
        self.connection.reply(stream, answer);
    }

    async fn answer(&self, request: Request, tracing: &Tracing) -> CqlResult<Answer> {
        let (service, connection) = (&self.service, &*self.connection);
        match request {
            Request::Query(message) => query::query(service, connection, message, tracing).await,
            Request::Prepare(message) => prepare::prepare(service, connection, message, tracing).await,
            Request::Execute(message) => execute::execute(service, connection, message, tracing).await,
            Request::Batch(message) => batch::batch(service, connection, message, tracing).await,
            other => Err(crate::error::CqlError::Server(format!("{:?} has no task", other.opcode()))),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.service.request_ended();
        self.connection.outbox().request_ended();
    }
}
