//! Changes and their answers as bytes.

use super::options::{put_options, read_options};
use super::snapshot::{put_durability, put_kind, put_replication, read_durability, read_kind, read_replication};
use super::types::{put_field, put_type, read_field, read_type};
use super::{
    FORMAT_VERSION, boolean, check_version, list, option, put_bool, put_list, put_option, put_text, small, text,
};
use crate::schema::change::QualifiedName;
use crate::schema::{Change, NewColumn, SchemaChange, SchemaChangeKind, SchemaTarget, TableId};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use std::rc::Rc;

type Renames = Vec<(Rc<str>, Rc<str>)>;

pub fn encode_change(change: &Change) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u8(FORMAT_VERSION);
    match change {
        Change::CreateKeyspace { .. } | Change::AlterKeyspace { .. } | Change::DropKeyspace { .. } => {
            put_keyspace_change(&mut out, change);
        }
        Change::CreateType { .. } | Change::AddField { .. } | Change::RenameFields { .. } | Change::DropType { .. } => {
            put_type_change(&mut out, change)
        }
        _ => put_table_change(&mut out, change),
    }
    out.freeze()
}

fn put_keyspace_change(out: &mut ByteWriter, change: &Change) {
    match change {
        Change::CreateKeyspace { name, if_not_exists, replication, durable_writes, durability } => {
            out.put_u8(1);
            put_text(out, name);
            put_bool(out, *if_not_exists);
            put_replication(out, replication);
            put_bool(out, *durable_writes);
            put_durability(out, durability);
        }
        Change::AlterKeyspace { name, if_exists, replication, durable_writes, durability } => {
            out.put_u8(2);
            put_text(out, name);
            put_bool(out, *if_exists);
            put_option(out, replication, put_replication);
            put_option(out, durable_writes, |out, value| put_bool(out, *value));
            put_option(out, durability, put_durability);
        }
        Change::DropKeyspace { name, if_exists } => {
            out.put_u8(3);
            put_text(out, name);
            put_bool(out, *if_exists);
        }
        _ => {}
    }
}

fn put_table_change(out: &mut ByteWriter, change: &Change) {
    match change {
        Change::CreateTable { table, if_not_exists, id, tablets, columns, options } => {
            out.put_u8(4);
            put_name(out, table);
            put_bool(out, *if_not_exists);
            put_option(out, id, |out, id| out.put_u128(id.0));
            out.put_varint(u64::from(*tablets));
            put_list(out, columns, put_column);
            put_options(out, options);
        }
        Change::AddColumns { table, if_exists, if_not_exists, columns } => {
            out.put_u8(5);
            put_name(out, table);
            put_bool(out, *if_exists);
            put_bool(out, *if_not_exists);
            put_list(out, columns, put_column);
        }
        Change::DropColumns { table, if_exists, if_column_exists, columns, dropped_at_micros } => {
            out.put_u8(6);
            put_name(out, table);
            put_bool(out, *if_exists);
            put_bool(out, *if_column_exists);
            put_list(out, columns, |out, name| put_text(out, name));
            out.put_i64(*dropped_at_micros);
        }
        Change::RenameColumns { table, if_exists, if_column_exists, renames } => {
            out.put_u8(7);
            put_name(out, table);
            put_bool(out, *if_exists);
            put_bool(out, *if_column_exists);
            put_renames(out, renames);
        }
        Change::SetTableOptions { table, if_exists, options } => {
            out.put_u8(8);
            put_name(out, table);
            put_bool(out, *if_exists);
            put_options(out, options);
        }
        Change::DropTable { table, if_exists } => {
            out.put_u8(9);
            put_name(out, table);
            put_bool(out, *if_exists);
        }
        _ => {}
    }
}

fn put_type_change(out: &mut ByteWriter, change: &Change) {
    match change {
        Change::CreateType { user_type, if_not_exists, fields } => {
            out.put_u8(10);
            put_name(out, user_type);
            put_bool(out, *if_not_exists);
            put_list(out, fields, put_field);
        }
        Change::AddField { user_type, if_exists, if_not_exists, field } => {
            out.put_u8(11);
            put_name(out, user_type);
            put_bool(out, *if_exists);
            put_bool(out, *if_not_exists);
            put_field(out, field);
        }
        Change::RenameFields { user_type, if_exists, if_field_exists, renames } => {
            out.put_u8(12);
            put_name(out, user_type);
            put_bool(out, *if_exists);
            put_bool(out, *if_field_exists);
            put_renames(out, renames);
        }
        Change::DropType { user_type, if_exists } => {
            out.put_u8(13);
            put_name(out, user_type);
            put_bool(out, *if_exists);
        }
        _ => {}
    }
}

pub fn decode_change(bytes: &Bytes) -> Result<Change, ShortInput> {
    let mut input = ByteReader::new(bytes.clone());
    check_version(&mut input)?;
    let offset = input.offset();
    let change = match input.u8()? {
        kind @ 1..=3 => read_keyspace_change(kind, &mut input)?,
        kind @ 4..=9 => read_table_change(kind, &mut input)?,
        kind @ 10..=13 => read_type_change(kind, &mut input)?,
        _ => return Err(ShortInput { offset }),
    };
    input.end()?;
    Ok(change)
}

fn read_keyspace_change(kind: u8, input: &mut ByteReader) -> Result<Change, ShortInput> {
    let name = text(input)?;
    let condition = boolean(input)?;
    Ok(match kind {
        1 => Change::CreateKeyspace {
            name,
            if_not_exists: condition,
            replication: read_replication(input)?,
            durable_writes: boolean(input)?,
            durability: read_durability(input)?,
        },
        2 => Change::AlterKeyspace {
            name,
            if_exists: condition,
            replication: option(input, read_replication)?,
            durable_writes: option(input, boolean)?,
            durability: option(input, read_durability)?,
        },
        _ => Change::DropKeyspace { name, if_exists: condition },
    })
}

fn read_table_change(kind: u8, input: &mut ByteReader) -> Result<Change, ShortInput> {
    let table = read_name(input)?;
    let condition = boolean(input)?;
    Ok(match kind {
        4 => Change::CreateTable {
            table,
            if_not_exists: condition,
            id: option(input, |input| Ok(TableId(input.u128()?)))?,
            tablets: small(input)?,
            columns: list(input, read_column)?,
            options: read_options(input)?,
        },
        5 => Change::AddColumns {
            table,
            if_exists: condition,
            if_not_exists: boolean(input)?,
            columns: list(input, read_column)?,
        },
        6 => Change::DropColumns {
            table,
            if_exists: condition,
            if_column_exists: boolean(input)?,
            columns: list(input, text)?,
            dropped_at_micros: input.i64()?,
        },
        7 => Change::RenameColumns {
            table,
            if_exists: condition,
            if_column_exists: boolean(input)?,
            renames: read_renames(input)?,
        },
        8 => Change::SetTableOptions { table, if_exists: condition, options: read_options(input)? },
        _ => Change::DropTable { table, if_exists: condition },
    })
}

fn read_type_change(kind: u8, input: &mut ByteReader) -> Result<Change, ShortInput> {
    let user_type = read_name(input)?;
    let condition = boolean(input)?;
    Ok(match kind {
        10 => Change::CreateType { user_type, if_not_exists: condition, fields: list(input, read_field)? },
        11 => Change::AddField {
            user_type,
            if_exists: condition,
            if_not_exists: boolean(input)?,
            field: read_field(input)?,
        },
        12 => Change::RenameFields {
            user_type,
            if_exists: condition,
            if_field_exists: boolean(input)?,
            renames: read_renames(input)?,
        },
        _ => Change::DropType { user_type, if_exists: condition },
    })
}

fn put_name(out: &mut ByteWriter, name: &QualifiedName) {
    put_text(out, &name.keyspace);
    put_text(out, &name.name);
}

fn read_name(input: &mut ByteReader) -> Result<QualifiedName, ShortInput> {
    Ok(QualifiedName { keyspace: text(input)?, name: text(input)? })
}

fn put_column(out: &mut ByteWriter, column: &NewColumn) {
    put_text(out, &column.name);
    put_type(out, &column.column_type);
    put_kind(out, column.kind);
    put_bool(out, column.is_descending);
}

fn read_column(input: &mut ByteReader) -> Result<NewColumn, ShortInput> {
    Ok(NewColumn {
        name: text(input)?,
        column_type: read_type(input)?,
        kind: read_kind(input)?,
        is_descending: boolean(input)?,
    })
}

fn put_renames(out: &mut ByteWriter, renames: &Renames) {
    put_list(out, renames, |out, (from, to)| {
        put_text(out, from);
        put_text(out, to);
    });
}

fn read_renames(input: &mut ByteReader) -> Result<Renames, ShortInput> {
    list(input, |input| Ok((text(input)?, text(input)?)))
}

/// What the proposer of a change is told: what it changed, or `None` if IF [NOT] EXISTS made it change nothing.
pub fn encode_answer(changed: &Option<SchemaChange>) -> Bytes {
    let mut out = ByteWriter::new();
    out.put_u8(FORMAT_VERSION);
    put_option(&mut out, changed, |out, change| {
        out.put_u8(match change.kind {
            SchemaChangeKind::Created => 0,
            SchemaChangeKind::Updated => 1,
            SchemaChangeKind::Dropped => 2,
        });
        put_text(out, &change.keyspace);
        let (target, name) = match &change.target {
            SchemaTarget::Keyspace => (0, ""),
            SchemaTarget::Table { name } => (1, name.as_str()),
            SchemaTarget::Type { name } => (2, name.as_str()),
            SchemaTarget::Function { name, .. } => (3, name.as_str()),
            SchemaTarget::Aggregate { name, .. } => (4, name.as_str()),
        };
        out.put_u8(target);
        put_text(out, name);
    });
    out.freeze()
}

/// The reverse of [`encode_answer`].
pub fn decode_answer(bytes: &Bytes) -> Result<Option<SchemaChange>, ShortInput> {
    let mut input = ByteReader::new(bytes.clone());
    check_version(&mut input)?;
    let changed = option(&mut input, |input| {
        let offset = input.offset();
        let kind = match input.u8()? {
            0 => SchemaChangeKind::Created,
            1 => SchemaChangeKind::Updated,
            2 => SchemaChangeKind::Dropped,
            _ => return Err(ShortInput { offset }),
        };
        let keyspace = input.prefixed_str()?;
        let offset = input.offset();
        let target = input.u8()?;
        let name = input.prefixed_str()?;
        let target = match target {
            0 => SchemaTarget::Keyspace,
            1 => SchemaTarget::Table { name },
            2 => SchemaTarget::Type { name },
            _ => return Err(ShortInput { offset }),
        };
        Ok(SchemaChange { kind, keyspace, target })
    })?;
    input.end()?;
    Ok(changed)
}
