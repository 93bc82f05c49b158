//! The result of PREPARE (section 4.2.5.4).

use bytes::Bytes;

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::rows::{self, ColumnSpec, RowsMetadata};

/// A prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Equal on all nodes for the same statement and keyspace.
    pub id: Bytes,
    /// Changes when the columns of the result change; empty before v5, where it is not sent.
    pub result_metadata_id: Bytes,
    pub metadata: PreparedMetadata,
    /// Without columns for anything but SELECT.
    pub result_metadata: RowsMetadata,
}

/// What the markers of a prepared statement are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PreparedMetadata {
    /// For each column of the partition key the index of its marker; empty if a column has none (v4 and later).
    pub pk_indexes: Vec<u16>,
    pub columns: Vec<ColumnSpec>,
}

impl Prepared {
    /// Reads the body after the kind.
    pub fn decode(reader: &mut Reader, version: Version) -> Result<Prepared, CqlError> {
        let id = reader.short_bytes("id of the prepared statement")?;
        let result_metadata_id =
            if version >= Version::V5 { reader.short_bytes("id of the result metadata")? } else { Bytes::new() };
        let metadata = PreparedMetadata::decode(reader, version)?;
        Ok(Prepared { id, result_metadata_id, metadata, result_metadata: RowsMetadata::decode(reader, version)? })
    }

    /// Appends the body after the kind.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.short_bytes(&self.id, "id of the prepared statement")?;
        if version >= Version::V5 {
            writer.short_bytes(&self.result_metadata_id, "id of the result metadata")?;
        }
        self.metadata.encode(writer, version)?;
        self.result_metadata.encode(writer, version)
    }
}

impl PreparedMetadata {
    fn decode(reader: &mut Reader, version: Version) -> Result<PreparedMetadata, CqlError> {
        let flags = reader.int("flags of the metadata")?;
        let count = rows::read_count(reader, "columns of the metadata")?;
        let pk_indexes = if version >= Version::V4 {
            let count = rows::read_count(reader, "indexes of the partition key")?;
            let count = reader.check_count(count, 2, "indexes of the partition key")?;
            (0..count).map(|_| reader.short("index of the partition key")).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let global = flags & rows::GLOBAL_TABLE_SPEC != 0;
        Ok(PreparedMetadata { pk_indexes, columns: rows::decode_columns(reader, count, global)? })
    }

    fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        let global = rows::one_table(&self.columns);
        writer.int(if global { rows::GLOBAL_TABLE_SPEC } else { 0 });
        writer.int_count(self.columns.len(), "columns of the metadata")?;
        if version >= Version::V4 {
            writer.int_count(self.pk_indexes.len(), "indexes of the partition key")?;
            self.pk_indexes.iter().for_each(|&index| writer.short(index));
        }
        rows::encode_columns(writer, version, &self.columns, global)
    }
}
