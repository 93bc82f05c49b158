//! CREATE, ALTER, DROP and TRUNCATE: from statements to proposals for the metadata log.
//!
//! ```text
//!   Statement ── plan ──▶ Ddl::Change ── rehearsed on this schema ── execute ──▶ Metadata::propose ──▶ SchemaChange
//!                    └──▶ Ddl::Truncate: the table, for whoever can reach its tablets
//! ```
//!
//! It is not the judge of a change: `schema::transform` is, here in a rehearsal (so that what is wrong costs no entry) and
//! again when the entry is committed. Options that are read are all kept; an unknown one is an error.
//!
//! Absent, and refused with a line that says so: indexes, materialized views, functions, aggregates, triggers, COMPACT
//! STORAGE, column masks.

mod keyspace;
mod options;
mod properties;
mod table;
pub mod types;
mod user_type;

use crate::error::{CqlError, CqlResult};
use crate::limits::{TABLETS_ALONE_MAX, TABLETS_PER_TABLE_MAX};
use crate::schema::codec::{decode_answer, encode_change};
use crate::schema::{Change, QualifiedName, Schema, SchemaChange, Table};
use holon_base::ServiceId;
use holon_cql_language::ast;
use holon_cql_language::ast::Statement;
use holon_metadata::{Metadata, ProposeError};
use std::rc::Rc;

/// What the coordinator of a statement knows.
pub struct DdlContext<'a> {
    pub schema: &'a Schema,
    /// The keyspace in use.
    pub keyspace: Option<&'a str>,
    /// Microseconds since 1970: when a column is dropped, if the statement does not say.
    pub now_micros: i64,
    /// Tablets of a new table: [`tablets_for`].
    pub tablets: u32,
    /// The data centres of the cluster.
    pub data_centers: &'a [Rc<str>],
    /// The nodes of the cluster.
    pub nodes: u32,
}

/// A planned statement.
#[derive(Clone, Debug)]
pub enum Ddl {
    Change(PlannedChange),
    /// TRUNCATE: remove every row of the table, durably.
    Truncate(Rc<Table>),
}

#[derive(Clone, Debug)]
pub struct PlannedChange {
    pub change: Change,
    /// IF [NOT] EXISTS makes it change nothing on the schema it was planned on: it need not be proposed.
    pub is_without_effect: bool,
    pub warnings: Vec<String>,
}

/// Tablets of a new table on a node of so many cores: a power of two, two for each core where the limit allows.
pub fn tablets_for(shards: u16) -> u32 {
    (u32::from(shards.max(1)) * 2).next_power_of_two().min(TABLETS_ALONE_MAX)
}

/// Tablets of a new table in a cluster: as many as the ring has slots, if one entry of the metadata log may make so many.
/// (From 3,277 nodes of a data centre on the ring has more slots than that.)
pub fn tablets_in_a_cluster(shards: u16, slots: u32) -> u32 {
    tablets_for(shards).max(slots).min(TABLETS_PER_TABLE_MAX)
}

/// Whether [`plan`] takes the statement.
pub fn is_ddl(statement: &Statement) -> bool {
    use Statement::*;
    matches!(
        statement,
        Truncate(_)
            | CreateKeyspace(_)
            | AlterKeyspace(_)
            | DropKeyspace(_)
            | CreateTable(_)
            | AlterTable(_)
            | DropTable(_)
            | CreateType(_)
            | AlterType(_)
            | DropType(_)
            | CreateIndex(_)
            | DropIndex(_)
            | CreateMaterializedView(_)
            | AlterMaterializedView(_)
            | DropMaterializedView(_)
            | CreateFunction(_)
            | DropFunction(_)
            | CreateAggregate(_)
            | DropAggregate(_)
            | CreateTrigger(_)
            | DropTrigger(_)
    )
}

/// Plans a statement and rehearses it on the schema of the moment.
///
/// # Errors
/// Whatever is wrong with it, in Cassandra's words.
pub fn plan(context: &DdlContext<'_>, statement: &Statement) -> CqlResult<Ddl> {
    let change = match statement {
        Statement::Truncate(name) => return truncate(context, name),
        Statement::CreateKeyspace(statement) => keyspace::create(context, statement)?,
        Statement::AlterKeyspace(statement) => {
            let change = keyspace::alter(context, statement)?;
            if let Some(warning) = keyspace::is_everywhere(&change) {
                return Ok(Ddl::Change(PlannedChange { change, is_without_effect: true, warnings: vec![warning] }));
            }
            change
        }
        Statement::DropKeyspace(statement) => keyspace::drop(statement),
        Statement::CreateTable(statement) => table::create(context, statement)?,
        Statement::AlterTable(statement) => table::alter(context, statement)?,
        Statement::DropTable(statement) => table::drop(context, statement)?,
        Statement::CreateType(statement) => user_type::create(context, statement)?,
        Statement::AlterType(statement) => user_type::alter(context, statement)?,
        Statement::DropType(statement) => user_type::drop(context, statement)?,
        other => return Err(refusal(other)),
    };
    // The index is that of no entry; nothing of the rehearsal is kept.
    let is_without_effect = context.schema.changed_by(u64::MAX, &change)?.is_none();
    let warning = if is_without_effect { None } else { keyspace::warning(context, &change) };
    Ok(Ddl::Change(PlannedChange { change, is_without_effect, warnings: warning.into_iter().collect() }))
}

/// Proposes the change and waits until every shard of this node has applied it. `None`: IF [NOT] EXISTS made it change
/// nothing.
///
/// # Errors
/// What the change lost to another that came first; a log that cannot take it; an unknown outcome.
pub async fn execute(
    metadata: &Metadata,
    service: ServiceId,
    planned: &PlannedChange,
) -> CqlResult<Option<SchemaChange>> {
    if planned.is_without_effect {
        // What is there already may still be on its way to another shard, and the client may go there next.
        metadata.settle().await.map_err(|error| CqlError::Server(error.to_string()))?;
        return Ok(None);
    }
    let committed = metadata.propose(service, encode_change(&planned.change)).await.map_err(|error| match error {
        ProposeError::TooLong { .. } => CqlError::Invalid(error.to_string()),
        other => CqlError::Server(other.to_string()),
    })?;
    let answer = committed.answer.map_err(|error| CqlError::decode(&error))?;
    decode_answer(&answer).map_err(|short| {
        CqlError::Server(format!("the answer to entry {} of the metadata log is unreadable ({short})", committed.index))
    })
}

/// The change of a CREATE TABLE, not rehearsed: for the tables of the system.
pub(crate) fn table_change(context: &DdlContext<'_>, statement: &ast::CreateTable) -> CqlResult<Change> {
    table::create(context, statement)
}

fn truncate(context: &DdlContext<'_>, name: &ast::QualifiedName) -> CqlResult<Ddl> {
    let name = context.qualified(name)?;
    let keyspace = context.schema.keyspace(&name.keyspace);
    let keyspace = keyspace.ok_or_else(|| CqlError::unknown_keyspace(&name.keyspace))?;
    let table = keyspace.table(&name.name).ok_or_else(|| CqlError::unknown_table(&name.name))?;
    if table.is_virtual() {
        return Err(CqlError::invalid("Cannot truncate virtual tables"));
    }
    Ok(Ddl::Truncate(table.clone()))
}

fn refusal(statement: &Statement) -> CqlError {
    use Statement::*;
    CqlError::invalid(match statement {
        CreateIndex(_) | DropIndex(_) => "Secondary indexes are not supported yet; make a table keyed by the column",
        CreateMaterializedView(_) | AlterMaterializedView(_) | DropMaterializedView(_) => {
            "Materialized views are not supported yet; write to a second table, in one batch with the first"
        }
        CreateFunction(_) | DropFunction(_) => "User-defined functions are not supported yet",
        CreateAggregate(_) | DropAggregate(_) => "User-defined aggregates are not supported yet",
        CreateTrigger(_) | DropTrigger(_) => "Triggers are not supported yet",
        _ => "this statement does not change the schema",
    })
}

impl DdlContext<'_> {
    /// The name with its keyspace, the one in use if it names none.
    fn qualified(&self, name: &ast::QualifiedName) -> CqlResult<QualifiedName> {
        let keyspace = name.keyspace.as_ref().map(ast::Identifier::as_str).or(self.keyspace);
        let keyspace = keyspace.ok_or_else(CqlError::no_keyspace)?;
        Ok(QualifiedName { keyspace: keyspace.into(), name: name.name.as_str().into() })
    }
}

#[cfg(test)]
mod tests {
    use super::{TABLETS_ALONE_MAX, TABLETS_PER_TABLE_MAX, tablets_for, tablets_in_a_cluster};

    /// The schema refuses a table of any other number.
    #[test]
    fn a_ring_of_any_number_of_slots_can_have_tables() {
        for slots in (4..=21).map(|bits| 1 << bits) {
            let tablets = tablets_in_a_cluster(8, slots);
            assert!(tablets.is_power_of_two() && tablets <= TABLETS_PER_TABLE_MAX, "{slots} slots: {tablets} tablets");
            assert!(tablets >= slots.min(TABLETS_PER_TABLE_MAX), "{slots} slots: {tablets} tablets");
        }
        assert_eq!(tablets_for(200), TABLETS_ALONE_MAX);
    }
}
