//! What the system tables tell of.

use crate::schema::Schema;
use crate::trace::Session;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

/// The state of the moment, put together for each read.
#[derive(Clone)]
pub struct SystemContext {
    pub schema: Rc<Schema>,
    pub cluster_name: Rc<str>,
    pub local: Node,
    /// The other nodes of the cluster.
    pub peers: Vec<Node>,
    /// The effective settings, by name.
    pub settings: Rc<Vec<(String, String)>>,
    /// What is counted and kept elsewhere.
    pub live: Rc<dyn LiveState>,
}

/// A node, as clients and tools see it.
#[derive(Clone, Debug)]
pub struct Node {
    pub host_id: u128,
    pub data_center: Rc<str>,
    pub rack: Rc<str>,
    /// Where other nodes reach it.
    pub peer_address: SocketAddr,
    /// Where clients reach it.
    pub native_address: SocketAddr,
    /// End tokens of the ranges it is first replica of.
    pub tokens: Vec<i64>,
    /// Larger after each start.
    pub generation: i32,
    /// Of the schema that it shows its clients: see [`crate::schema::Schema::version`].
    pub schema_version: u128,
}

/// What the rest of the service knows. Every method may answer with nothing.
pub trait LiveState {
    fn clients(&self) -> Vec<Client> {
        Vec::new()
    }

    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        Vec::new()
    }

    fn size_estimates(&self) -> Vec<SizeEstimate> {
        Vec::new()
    }

    /// Requests that were traced.
    fn traces(&self) -> Vec<Rc<Session>> {
        Vec::new()
    }

    fn roles(&self) -> Vec<Role> {
        Vec::new()
    }

    fn role_permissions(&self) -> Vec<RolePermission> {
        Vec::new()
    }
}

/// A node of which nothing more is known: tests, tools.
pub struct QuietNode;

impl LiveState for QuietNode {}

/// A connection of a client.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: SocketAddr,
    /// `ready`, `authenticating`, ….
    pub stage: &'static str,
    /// What STARTUP said.
    pub options: BTreeMap<String, String>,
    pub protocol_version: u8,
    pub requests: u64,
    pub username: Option<String>,
}

#[derive(Clone, Debug)]
pub struct PreparedStatement {
    pub id: Bytes,
    pub keyspace: Option<String>,
    pub text: String,
}

/// How much of a table lies in a range (start, end] of tokens.
#[derive(Clone, Debug)]
pub struct SizeEstimate {
    pub keyspace: Rc<str>,
    pub table: Rc<str>,
    pub range_start: i64,
    pub range_end: i64,
    pub partitions: u64,
    pub mean_partition_bytes: u64,
}

#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    pub can_login: bool,
    pub is_superuser: bool,
    pub member_of: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct RolePermission {
    pub role: String,
    /// `data/keyspace/table`, as Cassandra writes resources.
    pub resource: String,
    pub permissions: Vec<String>,
}
