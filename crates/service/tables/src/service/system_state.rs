//! What the system tables tell of this node, put together from the service's own state.

use super::{TablesService, holdings};
use crate::front::connection::{Connection, Stage};
use crate::front::statements::StatementId;
use crate::run::VirtualRows;
use crate::system::{self, Client, LiveState, Node, PreparedStatement, Role, SizeEstimate, SystemContext};
use crate::trace::Session;
use bytes::Bytes;
use std::rc::Rc;

/// Ranges the ring is shown in: as many as the largest table has tablets, so that each range lies in one tablet.
const RANGES: u64 = crate::limits::TABLETS_ALONE_MAX as u64;

/// The end token of each range, in the order of the ring.
pub(super) fn end_tokens() -> Vec<i64> {
    let width = u64::MAX / RANGES + 1;
    (1..=RANGES).map(|range| (range.wrapping_mul(width).wrapping_sub(1) ^ (1 << 63)).cast_signed()).collect()
}

impl TablesService {
    fn system_context(&self) -> Option<SystemContext> {
        let (config, live) = (&self.config, self.me.upgrade()?);
        let local = Node {
            host_id: self.shard.node().0,
            data_center: config.data_center.as_str().into(),
            rack: config.rack.as_str().into(),
            peer_address: config.peer_address,
            native_address: config.cql_address,
            tokens: match self.own_tokens() {
                none if none.is_empty() => end_tokens(),
                tokens => tokens,
            },
            generation: i32::try_from(self.boot.get()).unwrap_or(i32::MAX),
            schema_version: self.schema().version(),
        };
        Some(SystemContext {
            schema: self.machine.schema(),
            cluster_name: config.cluster_name.as_str().into(),
            local,
            peers: self.peers(),
            settings: Rc::new(self.settings()),
            live,
        })
    }

    /// What this shard knows of the rows of a virtual table.
    pub(super) fn own_virtual_rows(&self, keyspace: &str, table: &str) -> Option<VirtualRows> {
        system::rows(&self.system_context()?, keyspace, table)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let config = &self.config;
        let authenticator = match config.authentication.is_off() {
            true => "AllowAllAuthenticator",
            false => "PasswordAuthenticator",
        };
        let setting = |name: &str, value: String| (name.to_string(), value);
        vec![
            setting("authenticator", authenticator.to_string()),
            setting("cluster_name", config.cluster_name.clone()),
            setting("memtable_bytes_per_shard", config.memtable_bytes.to_string()),
            setting("native_transport_port", config.cql_address.port().to_string()),
            setting("partitioner", system::PARTITIONER.to_string()),
            setting("request_bytes_per_shard", config.request_bytes.to_string()),
            setting("rpc_address", config.cql_address.ip().to_string()),
            setting("shards", self.shard.shards().to_string()),
        ]
    }
}

/// Of this shard: `virtual_rows` adds what the others tell. (Prepared statements and roles are the same on all.)
impl LiveState for TablesService {
    fn clients(&self) -> Vec<Client> {
        let client = |connection: &Rc<Connection>| {
            Some(Client {
                address: connection.peer?,
                stage: match connection.stage() {
                    Stage::New => "new",
                    Stage::Authenticating => "authenticating",
                    Stage::Ready => "ready",
                },
                options: connection.startup_options(),
                protocol_version: connection.version().number(),
                requests: connection.requests(),
                username: connection.account().map(|name| name.to_string()),
            })
        };
        self.connections().iter().filter_map(client).collect()
    }

    fn prepared_statements(&self) -> Vec<PreparedStatement> {
        let statement = |(id, keyspace, text): (StatementId, Option<Rc<str>>, Rc<str>)| PreparedStatement {
            id: Bytes::copy_from_slice(&id),
            keyspace: keyspace.map(|name| name.to_string()),
            text: text.to_string(),
        };
        self.statements.list().into_iter().map(statement).collect()
    }

    fn size_estimates(&self) -> Vec<SizeEstimate> {
        holdings::size_estimates(self)
    }

    fn traces(&self) -> Vec<Rc<Session>> {
        self.traces.sessions(self.shard.now())
    }

    fn roles(&self) -> Vec<Role> {
        // Every account may do everything, so each is a superuser to whoever asks.
        let role = |name| Role { name, can_login: true, is_superuser: true, member_of: Vec::new() };
        self.accounts.names().into_iter().map(role).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holon_base::{GroupId, TabletId};

    #[test]
    fn ranges_cover_the_ring_and_each_lies_in_one_tablet() {
        let ends = end_tokens();
        assert_eq!((ends.len() as u64, ends.last()), (RANGES, Some(&i64::MAX)));
        assert!(ends.is_sorted());
        let ordinal = |token: i64, count: u128| ((u128::from(token.cast_unsigned() ^ (1 << 63)) * count) >> 64) as u32;
        for count in [2u128, 4, 8, 16] {
            let mut start = i64::MIN;
            for end in &ends {
                let tablet = |token| TabletId::new(GroupId(1), ordinal(token, count));
                assert_eq!(tablet(start), tablet(*end), "{count} tablets, range up to {end}");
                start = end.wrapping_add(1);
            }
        }
    }
}
