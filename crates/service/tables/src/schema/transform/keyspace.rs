//! CREATE, ALTER and DROP KEYSPACE.

use super::{Draft, checks, no_keyspace};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Change, Keyspace, KeyspaceKind, Schema, SchemaChangeKind, SchemaTarget};
use std::collections::BTreeMap;

pub(super) fn apply(schema: &Schema, change: &Change) -> CqlResult<Option<Draft>> {
    match change {
        Change::CreateKeyspace { name, if_not_exists, replication, durable_writes, durability } => {
            checks::keyspace_name(name)?;
            if schema.keyspace(name).is_some() {
                if *if_not_exists {
                    return Ok(None);
                }
                return Err(CqlError::AlreadyExists { keyspace: name.to_string(), table: String::new() });
            }
            let keyspace = Keyspace {
                name: name.clone(),
                kind: KeyspaceKind::User,
                replication: replication.clone(),
                durable_writes: *durable_writes,
                durability: *durability,
                tables: BTreeMap::new(),
                types: BTreeMap::new(),
            };
            Ok(Some(Draft::of(keyspace, SchemaChangeKind::Created, SchemaTarget::Keyspace)))
        }
        Change::AlterKeyspace { name, if_exists, replication, durable_writes, durability } => {
            if schema.keyspace(name).is_none() && *if_exists {
                return Ok(None);
            }
            let mut keyspace = schema.keyspace_draft(name)?;
            if let Some(replication) = replication {
                keyspace.replication = replication.clone();
            }
            if let Some(durable_writes) = durable_writes {
                keyspace.durable_writes = *durable_writes;
            }
            if let Some(durability) = durability {
                keyspace.durability = *durability;
            }
            Ok(Some(Draft::of(keyspace, SchemaChangeKind::Updated, SchemaTarget::Keyspace)))
        }
        Change::DropKeyspace { name, if_exists } => {
            let Some(keyspace) = schema.keyspace(name) else {
                return if *if_exists { Ok(None) } else { Err(no_keyspace(name)) };
            };
            Ok(Some(Draft {
                keyspace: None,
                name: name.clone(),
                kind: SchemaChangeKind::Dropped,
                target: SchemaTarget::Keyspace,
                create_tablets: None,
                remove_groups: keyspace.tables.values().map(|table| table.group).collect(),
            }))
        }
        _ => Ok(None),
    }
}
