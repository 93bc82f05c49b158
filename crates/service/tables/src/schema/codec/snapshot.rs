//! A whole schema as bytes, and its version.

use super::options::{put_options, read_options};
use super::types::{put_field, put_type, read_field, read_type, resolve};
use super::{FORMAT_VERSION, boolean, check_version, list, put_bool, put_list, put_text, small, text};
use crate::schema::{
    Column, ColumnKind, DroppedColumn, Durability, Keyspace, KeyspaceKind, Replication, Schema, Table, TableDefinition,
    TableId, TableOptions, UserType,
};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, GroupId, ShortInput};
use md5::{Digest, Md5};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

type Keyspaces = BTreeMap<Rc<str>, Rc<Keyspace>>;

/// Everything that was created, not what the system brings along.
pub fn encode_schema(schema: &Schema) -> Bytes {
    encode_keyspaces(schema.keyspace_map())
}

/// The reverse of [`encode_schema`]. `system` holds the keyspaces that the program brings along.
pub fn decode_schema(bytes: &Bytes, system: Rc<Keyspaces>) -> Result<Schema, ShortInput> {
    let mut input = ByteReader::new(bytes.clone());
    check_version(&mut input)?;
    let keyspaces = list(&mut input, read_keyspace)?;
    input.end()?;
    let by_name = keyspaces.into_iter().map(|keyspace| (keyspace.name.clone(), Rc::new(keyspace))).collect();
    Ok(Schema::with_keyspaces(by_name, system))
}

/// MD5 of the stored form, as a uuid of version 3.
pub(crate) fn version_of(keyspaces: &Keyspaces) -> u128 {
    name_uuid(&encode_keyspaces(keyspaces))
}

/// A uuid of version 3 (RFC 4122, section 4.3) over these bytes as they are.
pub(crate) fn name_uuid(bytes: &[u8]) -> u128 {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    let cleared = u128::from_be_bytes(digest) & !(0xf000_u128 << 64) & !(0xc000_u128 << 48);
    cleared | (0x3000_u128 << 64) | (0x8000_u128 << 48)
}

fn encode_keyspaces(keyspaces: &Keyspaces) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u8(FORMAT_VERSION);
    out.put_varint(keyspaces.len() as u64);
    for keyspace in keyspaces.values() {
        put_keyspace(&mut out, keyspace);
    }
    out.freeze()
}

fn put_keyspace(out: &mut ByteWriter, keyspace: &Keyspace) {
    put_text(out, &keyspace.name);
    put_replication(out, &keyspace.replication);
    put_bool(out, keyspace.durable_writes);
    put_durability(out, &keyspace.durability);
    out.put_varint(keyspace.types.len() as u64);
    for user_type in keyspace.types.values() {
        put_text(out, &user_type.name);
        put_list(out, &user_type.fields, put_field);
    }
    out.put_varint(keyspace.tables.len() as u64);
    for table in keyspace.tables.values() {
        put_table(out, table);
    }
}

fn read_keyspace(input: &mut ByteReader) -> Result<Keyspace, ShortInput> {
    let name = text(input)?;
    let replication = read_replication(input)?;
    let durable_writes = boolean(input)?;
    let durability = read_durability(input)?;
    let offset = input.offset();
    let raw_types = list(input, |input| {
        let type_name = input.prefixed_str()?;
        let fields = list(input, read_field)?;
        Ok(UserType { keyspace: name.to_string(), name: type_name, fields })
    })?;
    let types = resolve_user_types(raw_types).ok_or(ShortInput { offset })?;
    let tables = list(input, |input| read_table(input, &name, &types))?;
    Ok(Keyspace {
        kind: KeyspaceKind::User,
        replication,
        durable_writes,
        durability,
        tables: tables.into_iter().map(|table| (table.name.clone(), Rc::new(table))).collect(),
        types,
        name,
    })
}

/// Resolves types that may use each other, in whatever order they come. `None` if one uses what is not there, or itself.
fn resolve_user_types(raw_types: Vec<UserType>) -> Option<BTreeMap<Rc<str>, Arc<UserType>>> {
    let mut types: BTreeMap<Rc<str>, Arc<UserType>> = BTreeMap::new();
    let mut waiting = raw_types;
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|raw| {
            let resolved = resolve_fields(raw, &|_, name| types.get(name).cloned());
            let is_resolved = resolved.is_ok();
            if let Ok(user_type) = resolved {
                types.insert(raw.name.as_str().into(), Arc::new(user_type));
            }
            !is_resolved
        });
        if waiting.len() == before {
            return None;
        }
    }
    Some(types)
}

/// The type with the user types in its fields looked up anew; the error is the name that is not there.
pub(crate) fn resolve_fields(user_type: &UserType, types: super::UserTypes<'_>) -> Result<UserType, String> {
    let mut resolved = user_type.clone();
    for field in &mut resolved.fields {
        field.cql_type = resolve(&field.cql_type, types)?;
    }
    Ok(resolved)
}

fn put_table(out: &mut ByteWriter, table: &Table) {
    put_text(out, &table.name);
    out.put_u128(table.id.0);
    out.put_varint(table.group.0);
    out.put_varint(u64::from(table.tablets));
    out.put_varint(u64::from(table.next_column_id));
    put_list(out, &table.columns, |out, column| {
        out.put_varint(u64::from(column.id));
        put_text(out, &column.name);
        put_kind(out, column.kind);
        put_type(out, &column.column_type);
        out.put_varint(column.position as u64);
        put_bool(out, column.is_descending);
    });
    out.put_varint(table.dropped.len() as u64);
    for column in table.dropped.values() {
        out.put_varint(u64::from(column.id));
        put_text(out, &column.name);
        put_kind(out, column.kind);
        put_type(out, &column.column_type);
        out.put_i64(column.dropped_at_micros);
    }
    put_options(out, &table.options.all());
}

fn read_table(
    input: &mut ByteReader,
    keyspace: &Rc<str>,
    types: &BTreeMap<Rc<str>, Arc<UserType>>,
) -> Result<Table, ShortInput> {
    let name = text(input)?;
    let id = TableId(input.u128()?);
    let group = GroupId(input.varint()?);
    let tablets = small(input)?;
    let next_column_id = small(input)?;
    let column_type = |input: &mut ByteReader| {
        let offset = input.offset();
        resolve(&read_type(input)?, &|_, name| types.get(name).cloned()).map_err(|_| ShortInput { offset })
    };
    let columns = list(input, |input| {
        Ok(Column {
            id: small(input)?,
            name: text(input)?,
            kind: read_kind(input)?,
            column_type: column_type(input)?,
            position: small(input)? as usize,
            is_descending: boolean(input)?,
            index: 0,
        })
    })?;
    let dropped = list(input, |input| {
        Ok(DroppedColumn {
            id: small(input)?,
            name: text(input)?,
            kind: read_kind(input)?,
            column_type: column_type(input)?,
            dropped_at_micros: input.i64()?,
        })
    })?;
    let mut options = TableOptions::default();
    for option in read_options(input)? {
        options.set(option);
    }
    Ok(Table::new(TableDefinition {
        id,
        keyspace: keyspace.clone(),
        name,
        group,
        tablets,
        columns,
        next_column_id,
        dropped: dropped.into_iter().map(|column| (column.name.clone(), column)).collect(),
        options,
    }))
}

pub(super) fn put_kind(out: &mut ByteWriter, kind: ColumnKind) {
    out.put_u8(match kind {
        ColumnKind::PartitionKey => 0,
        ColumnKind::Clustering => 1,
        ColumnKind::Static => 2,
        ColumnKind::Regular => 3,
    });
}

pub(super) fn read_kind(input: &mut ByteReader) -> Result<ColumnKind, ShortInput> {
    let offset = input.offset();
    Ok(match input.u8()? {
        0 => ColumnKind::PartitionKey,
        1 => ColumnKind::Clustering,
        2 => ColumnKind::Static,
        3 => ColumnKind::Regular,
        _ => return Err(ShortInput { offset }),
    })
}

pub(super) fn put_replication(out: &mut ByteWriter, replication: &Replication) {
    match replication {
        Replication::Local => out.put_u8(0),
        Replication::Simple { factor } => {
            out.put_u8(1);
            out.put_varint(u64::from(*factor));
        }
        Replication::NetworkTopology { factors } => {
            out.put_u8(2);
            out.put_varint(factors.len() as u64);
            for (data_center, factor) in factors {
                put_text(out, data_center);
                out.put_varint(u64::from(*factor));
            }
        }
    }
}

pub(super) fn read_replication(input: &mut ByteReader) -> Result<Replication, ShortInput> {
    let offset = input.offset();
    Ok(match input.u8()? {
        0 => Replication::Local,
        1 => Replication::Simple { factor: small(input)? },
        2 => {
            let factors = list(input, |input| Ok((text(input)?, small(input)?)))?;
            Replication::NetworkTopology { factors: factors.into_iter().collect() }
        }
        _ => return Err(ShortInput { offset }),
    })
}

pub(super) fn put_durability(out: &mut ByteWriter, durability: &Durability) {
    put_bool(out, *durability == Durability::Periodic);
}

pub(super) fn read_durability(input: &mut ByteReader) -> Result<Durability, ShortInput> {
    Ok(if boolean(input)? { Durability::Periodic } else { Durability::Sync })
}
