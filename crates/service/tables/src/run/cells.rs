//! Columns in the cells of a stored row: values out of cells, collections out of their elements.

use crate::schema::Column;
use crate::types::{collection, ordered};
use bytes::{Bytes, BytesMut};
use holon_cql::CqlType;
use holon_cql_language::ast::WriteAttribute;
use holon_store::{Cell, CellEntry, CellKind, Row};

/// The serialized value of a column; `None` for null, which an unfrozen collection without elements is, too.
pub fn column_value(column: &Column, row: &Row) -> Option<Bytes> {
    if !column.is_multi_cell() {
        return row.cell(column.id).map(|cell| cell.value.clone());
    }
    let elements = row.elements(column.id);
    if elements.is_empty() {
        return None;
    }
    Some(match &column.column_type {
        CqlType::List(_) => {
            let values: Vec<&[u8]> = elements.iter().map(|entry| &entry.cell.value[..]).collect();
            collection::encode_list(&values)
        }
        CqlType::Set(element) => {
            let values: Vec<Bytes> = elements.iter().filter_map(|entry| path_value(element, &entry.path)).collect();
            collection::encode_list(&values)
        }
        CqlType::Map(pair) => {
            let entries = elements.iter();
            let entry = |entry: &CellEntry| Some((path_value(&pair.0, &entry.path)?, entry.cell.value.clone()));
            collection::encode_entries(&entries.filter_map(entry).collect::<Vec<_>>())
        }
        CqlType::Udt(udt) => {
            let mut fields: Vec<Option<Bytes>> = vec![None; udt.fields.len()];
            for entry in elements {
                let index = entry.path.first_chunk::<2>().map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
                if let Some(field) = index.and_then(|index| fields.get_mut(index)) {
                    *field = Some(entry.cell.value.clone());
                }
            }
            collection::encode_fields(&fields)
        }
        _ => return None,
    })
}

fn path_value(cql_type: &CqlType, path: &[u8]) -> Option<Bytes> {
    ordered::Decoder::new(path).next(cql_type, false)
}

/// `writetime`, `maxwritetime`, `ttl` of a column, or of one of its elements by path.
pub fn attribute(
    attribute: WriteAttribute,
    column: &Column,
    row: &Row,
    path: Option<&[u8]>,
    now_seconds: i64,
) -> Option<Bytes> {
    let of_cell = |cell: &Cell| -> Option<Bytes> {
        match attribute {
            WriteAttribute::Ttl => ttl(cell, now_seconds).map(|seconds| Bytes::copy_from_slice(&seconds.to_be_bytes())),
            _ => Some(Bytes::copy_from_slice(&cell.timestamp.to_be_bytes())),
        }
    };
    if !column.is_multi_cell() {
        return row.cell(column.id).and_then(of_cell);
    }
    let elements = row.elements(column.id);
    if let Some(path) = path {
        return elements.iter().find(|entry| entry.path == path).and_then(|entry| of_cell(&entry.cell));
    }
    if elements.is_empty() {
        return None;
    }
    if attribute == WriteAttribute::MaxWriteTime {
        let latest = elements.iter().map(|entry| entry.cell.timestamp).max()?;
        return Some(Bytes::copy_from_slice(&latest.to_be_bytes()));
    }
    let mut out = BytesMut::new();
    out.extend_from_slice(&(elements.len() as i32).to_be_bytes());
    for entry in elements {
        match of_cell(&entry.cell) {
            Some(value) => {
                out.extend_from_slice(&(value.len() as i32).to_be_bytes());
                out.extend_from_slice(&value);
            }
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
        }
    }
    Some(out.freeze())
}

fn ttl(cell: &Cell, now_seconds: i64) -> Option<i32> {
    match cell.kind {
        CellKind::Expiring(expiry) => i32::try_from(expiry.expires_at_seconds - now_seconds).ok(),
        _ => None,
    }
}
