//! The node, its peers, its clients and accounts.

use super::rows::{bigint, blob, int, put, row, text, text_map, text_set, uuid};
use super::{
    CQL_VERSION, NATIVE_PROTOCOL_VERSION, Node, PARTITIONER, RELEASE_VERSION, Row, SizeEstimate, SystemContext,
};
use crate::schema::Table;
use holon_cql::Value;

fn tokens(node: &Node) -> Value {
    text_set(node.tokens.iter().map(i64::to_string))
}

pub(super) fn local(context: &SystemContext, table: &Table) -> Vec<Row> {
    let node = &context.local;
    vec![row(
        table,
        [
            ("key", text("local")),
            ("bootstrapped", text("COMPLETED")),
            ("broadcast_address", Value::Inet(node.peer_address.ip())),
            ("broadcast_port", int(node.peer_address.port())),
            ("cluster_name", text(&context.cluster_name)),
            ("cql_version", text(CQL_VERSION)),
            ("data_center", text(&node.data_center)),
            ("gossip_generation", int(node.generation)),
            ("host_id", uuid(node.host_id)),
            ("listen_address", Value::Inet(node.peer_address.ip())),
            ("listen_port", int(node.peer_address.port())),
            ("native_protocol_version", text(NATIVE_PROTOCOL_VERSION)),
            ("partitioner", text(PARTITIONER)),
            ("rack", text(&node.rack)),
            ("release_version", text(RELEASE_VERSION)),
            ("rpc_address", Value::Inet(node.native_address.ip())),
            ("rpc_port", int(node.native_address.port())),
            ("schema_version", uuid(node.schema_version)),
            ("tokens", tokens(node)),
        ],
    )]
}

pub(super) fn peers(context: &SystemContext, table: &Table) -> Vec<Row> {
    let peer = |node: &Node| {
        row(
            table,
            [
                ("peer", Value::Inet(node.peer_address.ip())),
                ("data_center", text(&node.data_center)),
                ("host_id", uuid(node.host_id)),
                ("rack", text(&node.rack)),
                ("release_version", text(RELEASE_VERSION)),
                ("rpc_address", Value::Inet(node.native_address.ip())),
                ("schema_version", uuid(node.schema_version)),
                ("tokens", tokens(node)),
            ],
        )
    };
    context.peers.iter().map(peer).collect()
}

pub(super) fn peers_v2(context: &SystemContext, table: &Table) -> Vec<Row> {
    let peer = |node: &Node| {
        row(
            table,
            [
                ("peer", Value::Inet(node.peer_address.ip())),
                ("peer_port", int(node.peer_address.port())),
                ("data_center", text(&node.data_center)),
                ("host_id", uuid(node.host_id)),
                ("native_address", Value::Inet(node.native_address.ip())),
                ("native_port", int(node.native_address.port())),
                ("rack", text(&node.rack)),
                ("release_version", text(RELEASE_VERSION)),
                ("schema_version", uuid(node.schema_version)),
                ("tokens", tokens(node)),
            ],
        )
    };
    context.peers.iter().map(peer).collect()
}

pub(super) fn prepared_statements(context: &SystemContext, table: &Table) -> Vec<Row> {
    let statements = context.live.prepared_statements();
    let prepared = statements.iter().map(|statement| {
        let mut cells = row(table, [("prepared_id", blob(&statement.id)), ("query_string", text(&statement.text))]);
        if let Some(keyspace) = &statement.keyspace {
            put(table, &mut cells, "logged_keyspace", text(keyspace));
        }
        cells
    });
    prepared.collect()
}

pub(super) fn size_estimates(context: &SystemContext, table: &Table) -> Vec<Row> {
    context.live.size_estimates().iter().map(|estimate| estimated(table, estimate)).collect()
}

pub(super) fn table_estimates(context: &SystemContext, table: &Table) -> Vec<Row> {
    let estimates = context.live.size_estimates();
    let of_kind = |kind: &'static str| {
        estimates.iter().map(move |estimate| {
            let mut cells = estimated(table, estimate);
            put(table, &mut cells, "range_type", text(kind));
            cells
        })
    };
    of_kind("local_primary").chain(of_kind("primary")).collect()
}

fn estimated(table: &Table, estimate: &SizeEstimate) -> Row {
    row(
        table,
        [
            ("keyspace_name", text(&estimate.keyspace)),
            ("table_name", text(&estimate.table)),
            ("range_start", text(estimate.range_start.to_string())),
            ("range_end", text(estimate.range_end.to_string())),
            ("mean_partition_size", bigint(estimate.mean_partition_bytes)),
            ("partitions_count", bigint(estimate.partitions)),
        ],
    )
}

/// Without the hashes of the passwords: nobody needs to read those.
pub(super) fn roles(context: &SystemContext, table: &Table) -> Vec<Row> {
    let roles = context.live.roles().into_iter().map(|role| {
        row(
            table,
            [
                ("role", text(role.name)),
                ("can_login", Value::Boolean(role.can_login)),
                ("is_superuser", Value::Boolean(role.is_superuser)),
                ("member_of", text_set(role.member_of)),
            ],
        )
    });
    roles.collect()
}

pub(super) fn role_members(context: &SystemContext, table: &Table) -> Vec<Row> {
    let roles = context.live.roles();
    let members = roles.iter().flat_map(|member| member.member_of.iter().map(move |role| (role, &member.name)));
    members.map(|(role, member)| row(table, [("role", text(role)), ("member", text(member))])).collect()
}

pub(super) fn role_permissions(context: &SystemContext, table: &Table) -> Vec<Row> {
    let granted = context.live.role_permissions().into_iter().map(|granted| {
        row(
            table,
            [
                ("role", text(granted.role)),
                ("resource", text(granted.resource)),
                ("permissions", text_set(granted.permissions)),
            ],
        )
    });
    granted.collect()
}

pub(super) fn resource_roles(context: &SystemContext, table: &Table) -> Vec<Row> {
    let granted = context.live.role_permissions().into_iter();
    granted.map(|granted| row(table, [("resource", text(granted.resource)), ("role", text(granted.role))])).collect()
}

pub(super) fn clients(context: &SystemContext, table: &Table) -> Vec<Row> {
    let clients = context.live.clients().into_iter().map(|client| {
        let mut cells = row(
            table,
            [
                ("address", Value::Inet(client.address.ip())),
                ("port", int(client.address.port())),
                ("client_options", text_map(&client.options)),
                ("connection_stage", text(client.stage)),
                ("hostname", text(client.address.ip().to_string())),
                ("protocol_version", int(client.protocol_version)),
                ("request_count", bigint(client.requests)),
                ("ssl_enabled", Value::Boolean(false)),
                ("username", text(client.username.as_deref().unwrap_or("anonymous"))),
            ],
        );
        for (option, column) in [("DRIVER_NAME", "driver_name"), ("DRIVER_VERSION", "driver_version")] {
            if let Some(value) = client.options.get(option) {
                put(table, &mut cells, column, text(value));
            }
        }
        cells
    });
    clients.collect()
}

pub(super) fn settings(context: &SystemContext, table: &Table) -> Vec<Row> {
    let settings = context.settings.iter();
    settings.map(|(name, value)| row(table, [("name", text(name)), ("value", text(value))])).collect()
}
