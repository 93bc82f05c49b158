//! A small CQL client: one connection, one request at a time, prepared statements. It never retries, never reconnects and
//! never turns to another node: what happens to a request is what the load counts. It is no driver, and not for users.

use bytes::Bytes;
use holon_cql::request::{Batch, BatchKind, BatchQuery, BatchStatement, Execute, Prepare, Query, QueryParameters};
use holon_cql::request::{Startup, Values};
use holon_cql::response::result::ResultResponse;
use holon_cql::{
    BoundValue, CqlType, Decoder, Direction, Encoder, Request, RequestMessage, Response, ResponseMessage, Rows, Version,
};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use holon_cql::{Consistency, ErrorCode, Value};

/// Longest answer taken, bytes: a page of rows of the load is below 100 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A node on the same machine answers a connection at once, or is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Longer than a node itself takes for any request before it says that it timed out (10 s).
pub const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The node's own words.
    Answered { code: ErrorCode, message: String },
    /// The connection ended first, or could not be made: the outcome of a write is unknown.
    Lost(String),
    /// No answer within [`ANSWER_LIMIT`]; the connection is of no use any more.
    Silent,
    /// What came is not what the protocol says.
    Damaged(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Answered { code, message } => write!(formatter, "{code:?}: {message}"),
            Failure::Lost(reason) => write!(formatter, "the connection was lost: {reason}"),
            Failure::Silent => write!(formatter, "no answer within {} s", ANSWER_LIMIT.as_secs()),
            Failure::Damaged(reason) => write!(formatter, "the answer cannot be read: {reason}"),
        }
    }
}

/// A prepared statement, good on the connection that prepared it.
pub struct Statement {
    id: Bytes,
    result_metadata_id: Bytes,
    markers: Vec<CqlType>,
}

/// Cells of rows; `None` is null.
pub type Table = Vec<Vec<Option<Value>>>;

pub struct Connection {
    stream: TcpStream,
    encoder: Encoder,
    decoder: Decoder,
}

fn lost(error: std::io::Error) -> Failure {
    Failure::Lost(error.to_string())
}

fn damaged(error: impl std::fmt::Display) -> Failure {
    Failure::Damaged(error.to_string())
}

impl Connection {
    /// # Errors
    /// Nobody listens, or the other side is no CQL server.
    pub async fn open(address: SocketAddr) -> Result<Connection, Failure> {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await;
        let stream = connecting.map_err(|_| Failure::Lost("nobody answers".to_string()))?.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let version = Version::GREATEST;
        let (encoder, decoder) = (Encoder::new(version), Decoder::new(Direction::Response, ANSWER_BYTES_MAX));
        let mut connection = Connection { stream, encoder, decoder };
        let options = [("CQL_VERSION".to_string(), "3.0.0".to_string())].into();
        match connection.ask(Request::Startup(Startup { options })).await? {
            Response::Ready => {}
            other => return Err(damaged(format!("{:?} instead of READY", other.opcode()))),
        }
        connection.encoder.negotiated(version, None);
        connection.decoder.negotiated(version, None);
        Ok(connection)
    }

    /// # Errors
    /// See [`Failure`].
    pub async fn query(&mut self, statement: &str, consistency: Consistency) -> Result<(), Failure> {
        let parameters = QueryParameters::new(consistency);
        self.result(Request::Query(Query { statement: statement.to_string(), parameters })).await.map(drop)
    }

    /// # Errors
    /// See [`Failure`].
    pub async fn prepare(&mut self, statement: &str) -> Result<Statement, Failure> {
        let asked = Request::Prepare(Prepare { statement: statement.to_string(), keyspace: None });
        match self.result(asked).await? {
            ResultResponse::Prepared(prepared) => Ok(Statement {
                id: prepared.id,
                result_metadata_id: prepared.result_metadata_id,
                markers: prepared.metadata.columns.into_iter().map(|column| column.cql_type).collect(),
            }),
            _ => Err(damaged("no prepared statement")),
        }
    }

    /// Rows of the first page; none for a statement that returns none.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn execute(
        &mut self,
        statement: &Statement,
        values: &[Option<Value>],
        consistency: Consistency,
    ) -> Result<Table, Failure> {
        let values = Values::Positional(bind(statement, values)?);
        let serial_consistency = Some(Consistency::Serial);
        let parameters = QueryParameters { values, serial_consistency, ..QueryParameters::new(consistency) };
        let (id, result_metadata_id) = (statement.id.clone(), Some(statement.result_metadata_id.clone()));
        match self.result(Request::Execute(Execute { id, result_metadata_id, parameters })).await? {
            ResultResponse::Rows(rows) => table(&rows),
            _ => Ok(Table::new()),
        }
    }

    /// One statement with several sets of values of one partition.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn batch(
        &mut self,
        statement: &Statement,
        rows: &[Vec<Option<Value>>],
        consistency: Consistency,
    ) -> Result<(), Failure> {
        let query = |values: &Vec<Option<Value>>| {
            let statement_id = BatchStatement::Prepared(statement.id.clone());
            Ok(BatchQuery { statement: statement_id, values: bind(statement, values)? })
        };
        let queries = rows.iter().map(query).collect::<Result<Vec<_>, Failure>>()?;
        let (kind, serial_consistency) = (BatchKind::Unlogged, None);
        let (timestamp_us, keyspace, now_in_seconds) = (None, None, None);
        let batch = Batch { kind, queries, consistency, serial_consistency, timestamp_us, keyspace, now_in_seconds };
        self.result(Request::Batch(batch)).await.map(drop)
    }

    async fn result(&mut self, request: Request) -> Result<ResultResponse, Failure> {
        match self.ask(request).await? {
            Response::Result(result) => Ok(result),
            other => Err(damaged(format!("{:?} instead of RESULT", other.opcode()))),
        }
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        self.encoder.request(&RequestMessage::new(0, request)).map_err(damaged)?;
        let bytes = self.encoder.take();
        let exchange = async {
            self.stream.write_all(&bytes).await.map_err(lost)?;
            loop {
                if let Some(envelope) = self.decoder.next_envelope().map_err(damaged)? {
                    return ResponseMessage::decode(&envelope).map_err(damaged);
                }
                if self.stream.read_buf(self.decoder.input()).await.map_err(lost)? == 0 {
                    return Err(Failure::Lost("it was closed".to_string()));
                }
            }
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, exchange).await.unwrap_or(Err(Failure::Silent))?;
        match answered.response {
            Response::Error(error) => Err(Failure::Answered { code: error.code(), message: error.message }),
            response => Ok(response),
        }
    }
}

fn bind(statement: &Statement, values: &[Option<Value>]) -> Result<Vec<BoundValue>, Failure> {
    if values.len() != statement.markers.len() {
        return Err(damaged(format!("{} values for {} markers", values.len(), statement.markers.len())));
    }
    let one = |(value, cql_type): (&Option<Value>, &CqlType)| match value {
        None => Ok(BoundValue::Null),
        Some(value) => value.to_bytes(cql_type).map(BoundValue::Value).map_err(damaged),
    };
    values.iter().zip(&statement.markers).map(one).collect()
}

fn table(rows: &Rows) -> Result<Table, Failure> {
    let columns = &rows.metadata.columns;
    let cell = |(cell, cql_type): (&Option<Bytes>, &CqlType)| {
        cell.as_ref().map(|bytes| Value::decode(cql_type, bytes)).transpose().map_err(damaged)
    };
    let types: Vec<&CqlType> = columns.iter().map(|column| &column.cql_type).collect();
    let row = |row: &Vec<Option<Bytes>>| row.iter().zip(types.iter().copied()).map(cell).collect();
    rows.rows.iter().map(row).collect()
}
