//! RESULT Rows (section 4.2.5.2): metadata, a writer that appends cells as they are found, and what a client reads.
//!
//! The paging state stands before the rows but is known only after them; so the writer keeps the cells in one buffer
//! and the few bytes before them in another, and nothing is moved when the page ends.

use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::response::result::ROWS;
use crate::types::CqlType;

pub(crate) const GLOBAL_TABLE_SPEC: i32 = 0x0001;
const HAS_MORE_PAGES: i32 = 0x0002;
const NO_METADATA: i32 = 0x0004;
const METADATA_CHANGED: i32 = 0x0008;

/// A column of a result, or a marker of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    pub keyspace: Arc<str>,
    pub table: Arc<str>,
    pub name: Arc<str>,
    pub cql_type: CqlType,
}

/// What the rows of a result look like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowsMetadata {
    /// Cells of each row. Equal to the number of `columns` if these are sent.
    pub column_count: usize,
    /// Empty if the client said that it has the metadata, and for a statement that returns no rows.
    pub columns: Arc<[ColumnSpec]>,
    /// There is another page, and this is how to ask for it.
    pub paging_state: Option<Bytes>,
    /// The columns are not those that the client's id stands for; this is their id (v5, and only with columns).
    pub new_metadata_id: Option<Bytes>,
}

impl RowsMetadata {
    /// Metadata with columns.
    pub fn new(columns: impl Into<Arc<[ColumnSpec]>>) -> RowsMetadata {
        let columns = columns.into();
        RowsMetadata { column_count: columns.len(), columns, ..RowsMetadata::default() }
    }

    /// Metadata for a client that has the columns.
    pub fn skipped(column_count: usize) -> RowsMetadata {
        RowsMetadata { column_count, ..RowsMetadata::default() }
    }

    /// Reads flags and what they announce.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<RowsMetadata, CqlError> {
        let flags = reader.int("flags of the metadata")?;
        let count = read_count(reader, "columns of the metadata")?;
        let paging_state =
            if flags & HAS_MORE_PAGES != 0 { Some(reader.bytes("paging state")?.unwrap_or_default()) } else { None };
        let changed = version >= Version::V5 && flags & METADATA_CHANGED != 0 && flags & NO_METADATA == 0;
        let new_metadata_id = if changed { Some(reader.short_bytes("id of the new metadata")?) } else { None };
        let columns = if flags & NO_METADATA == 0 {
            decode_columns(reader, count, flags & GLOBAL_TABLE_SPEC != 0)?
        } else {
            Vec::new()
        };
        // Without columns nothing bounds the count but the cells that follow, and `Rows::decode` looks at those.
        let column_count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(RowsMetadata { column_count, columns: columns.into(), paging_state, new_metadata_id })
    }

    /// Appends flags and what they announce.
    ///
    /// # Errors
    /// Also columns whose number is not `column_count`, and a new metadata id before v5 or without columns.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        let with_columns = !self.columns.is_empty();
        if with_columns && self.columns.len() != self.column_count {
            return Err(CqlError::CellCount { cells: self.columns.len(), columns: self.column_count });
        }
        if self.new_metadata_id.is_some() && version < Version::V5 {
            let what = "id of the new metadata";
            return Err(CqlError::NeedsVersion { what, needed: Version::V5, version });
        }
        if self.new_metadata_id.is_some() && !with_columns {
            let reason = "it goes with the columns that it stands for";
            return Err(CqlError::Invalid { what: "id of the new metadata", offset: 0, reason });
        }
        let global = one_table(&self.columns);
        let flags = (if global { GLOBAL_TABLE_SPEC } else { 0 })
            | (if self.paging_state.is_some() { HAS_MORE_PAGES } else { 0 })
            | (if with_columns { 0 } else { NO_METADATA })
            | (if self.new_metadata_id.is_some() { METADATA_CHANGED } else { 0 });
        writer.int(flags);
        writer.int_count(self.column_count, "columns of the metadata")?;
        if let Some(paging_state) = &self.paging_state {
            writer.bytes(Some(paging_state), "paging state")?;
        }
        if let Some(id) = &self.new_metadata_id {
            writer.short_bytes(id, "id of the new metadata")?;
        }
        encode_columns(writer, version, &self.columns, global)
    }
}

/// True if all columns are of one table, which is then written once.
pub(crate) fn one_table(columns: &[ColumnSpec]) -> bool {
    columns.first().is_some_and(|first| {
        columns.iter().all(|column| column.keyspace == first.keyspace && column.table == first.table)
    })
}

pub(crate) fn read_count(reader: &mut Reader, what: &'static str) -> Result<u64, CqlError> {
    let offset = reader.offset();
    let count = reader.int(what)?;
    u64::try_from(count).map_err(|_| CqlError::NegativeLength { what, offset, length: i64::from(count) })
}

pub(crate) fn decode_columns(reader: &mut Reader, count: u64, global: bool) -> Result<Vec<ColumnSpec>, CqlError> {
    let table = |reader: &mut Reader| -> Result<(Arc<str>, Arc<str>), CqlError> {
        Ok((reader.string("keyspace of a column")?.into(), reader.string("table of a column")?.into()))
    };
    let shared = if global { Some(table(reader)?) } else { None };
    let bytes_each = if global { 2 + 2 } else { 2 + 2 + 2 + 2 };
    let count = reader.check_count(count, bytes_each, "columns of the metadata")?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        let (keyspace, table) = match &shared {
            Some(shared) => shared.clone(),
            None => table(reader)?,
        };
        let name = reader.string("name of a column")?.into();
        columns.push(ColumnSpec { keyspace, table, name, cql_type: CqlType::decode(reader)? });
    }
    Ok(columns)
}

pub(crate) fn encode_columns(
    writer: &mut Writer<'_>,
    version: Version,
    columns: &[ColumnSpec],
    global: bool,
) -> Result<(), CqlError> {
    let table = |writer: &mut Writer<'_>, column: &ColumnSpec| {
        writer.string(&column.keyspace, "keyspace of a column")?;
        writer.string(&column.table, "table of a column")
    };
    if let (true, Some(first)) = (global, columns.first()) {
        table(writer, first)?;
    }
    for column in columns {
        if !global {
            table(writer, column)?;
        }
        writer.string(&column.name, "name of a column")?;
        column.cql_type.encode(writer, version)?;
    }
    Ok(())
}

/// Rows as a client finds them: the cells are slices of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub metadata: RowsMetadata,
    pub rows: Vec<Vec<Option<Bytes>>>,
}

impl Rows {
    /// Reads the body after the kind.
    pub fn decode(mut reader: Reader, version: Version) -> Result<Rows, CqlError> {
        let metadata = RowsMetadata::decode(&mut reader, version)?;
        let offset = reader.offset();
        let count = read_count(&mut reader, "rows")?;
        if metadata.column_count == 0 && count > 0 {
            return Err(CqlError::Invalid { what: "rows", offset, reason: "rows need at least one column" });
        }
        let count = reader.check_count(count, metadata.column_count.saturating_mul(4), "rows")?;
        let row = |_| (0..metadata.column_count).map(|_| reader.bytes("cell")).collect::<Result<Vec<_>, _>>();
        let rows = (0..count).map(row).collect::<Result<_, _>>()?;
        Ok(Rows { metadata, rows })
    }

    /// Appends the body after the kind.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        self.metadata.encode(writer, version)?;
        writer.int_count(self.rows.len(), "rows")?;
        for row in &self.rows {
            if row.len() != self.metadata.column_count {
                return Err(CqlError::CellCount { cells: row.len(), columns: self.metadata.column_count });
            }
            row.iter().try_for_each(|cell| writer.bytes(cell.as_deref(), "cell"))?;
        }
        Ok(())
    }
}

/// A body that `RowsWriter` made, for one protocol version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRows {
    version: Version,
    /// Kind, metadata and row count.
    head: Bytes,
    cells: Bytes,
    row_count: usize,
}

impl EncodedRows {
    /// Rows in it.
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Length of the body in bytes.
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.cells.len()
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        if version != self.version {
            let what = "rows written for another protocol version";
            return Err(CqlError::NeedsVersion { what, needed: self.version, version });
        }
        writer.buffer().reserve(self.len_bytes());
        writer.buffer().put_slice(&self.head);
        writer.buffer().put_slice(&self.cells);
        Ok(())
    }
}

/// Writes the rows of a page one cell after the other.
///
/// ```text
/// cell(…) × columns, end_row() × rows, finish(paging state)
/// ```
#[derive(Debug)]
pub struct RowsWriter {
    version: Version,
    metadata: RowsMetadata,
    cells: BytesMut,
    cells_of_row: usize,
    row_start: usize,
    row_count: usize,
}

impl RowsWriter {
    /// A writer of a page without rows. A paging state in `metadata` is replaced at the end.
    pub fn new(version: Version, metadata: RowsMetadata) -> RowsWriter {
        RowsWriter { version, metadata, cells: BytesMut::new(), cells_of_row: 0, row_start: 0, row_count: 0 }
    }

    /// Appends a cell to the row; `None` is null.
    ///
    /// # Errors
    /// A cell that is too long for its length field.
    pub fn cell(&mut self, value: Option<&[u8]>) -> Result<(), CqlError> {
        Writer::new(&mut self.cells).bytes(value, "cell")?;
        self.cells_of_row += 1;
        Ok(())
    }

    /// Appends a cell that `write` serializes in place; what it returns (`false` for null) decides whether it counts.
    ///
    /// # Errors
    /// A cell that is too long for its length field.
    pub fn cell_with(&mut self, write: impl FnOnce(&mut BytesMut) -> bool) -> Result<(), CqlError> {
        let start = self.cells.len();
        self.cells.put_i32(-1);
        let value_start = self.cells.len();
        if !write(&mut self.cells) {
            self.cells.truncate(value_start);
        } else {
            let length = self.cells.len().saturating_sub(value_start);
            let Ok(prefix) = i32::try_from(length) else {
                self.cells.truncate(start);
                return Err(CqlError::TooLong { what: "cell", length: length as u64, limit: i32::MAX as u64 });
            };
            if let Some(bytes) = self.cells.get_mut(start..value_start) {
                bytes.copy_from_slice(&prefix.to_be_bytes());
            }
        }
        self.cells_of_row += 1;
        Ok(())
    }

    /// Ends the row.
    ///
    /// # Errors
    /// More or fewer cells than columns; the row is then taken back.
    pub fn end_row(&mut self) -> Result<(), CqlError> {
        let (cells, columns) = (self.cells_of_row, self.metadata.column_count);
        self.cells_of_row = 0;
        if cells != columns {
            self.cells.truncate(self.row_start);
            return Err(CqlError::CellCount { cells, columns });
        }
        self.row_start = self.cells.len();
        self.row_count += 1;
        Ok(())
    }

    /// Rows ended so far.
    pub fn row_count(&self) -> usize {
        self.row_count
    }

    /// Bytes of cells so far: what a page is measured by.
    pub fn size_bytes(&self) -> usize {
        self.cells.len()
    }

    /// Ends the page. An unfinished row is dropped.
    ///
    /// # Errors
    /// Metadata that cannot be written (a name of 64 KiB, say).
    pub fn finish(mut self, paging_state: Option<Bytes>) -> Result<EncodedRows, CqlError> {
        self.cells.truncate(self.row_start);
        self.metadata.paging_state = paging_state;
        let mut head = BytesMut::new();
        let mut writer = Writer::new(&mut head);
        writer.int(ROWS);
        self.metadata.encode(&mut writer, self.version)?;
        writer.int_count(self.row_count, "rows")?;
        let (head, cells) = (head.freeze(), self.cells.freeze());
        Ok(EncodedRows { version: self.version, head, cells, row_count: self.row_count })
    }
}
