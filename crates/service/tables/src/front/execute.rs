//! EXECUTE: a prepared statement with values.

use super::connection::{Answer, Connection};
use super::run::{self, Run};
use super::statements::KeptStatement;
use crate::error::{CqlError, CqlResult};
use crate::service::TablesService;
use crate::trace::Tracing;
use bytes::Bytes;
use holon_cql::Version;
use holon_cql::request::Execute;
use std::rc::Rc;

pub async fn execute(
    service: &Rc<TablesService>,
    connection: &Connection,
    execute: Execute,
    tracing: &Tracing,
) -> CqlResult<Answer> {
    let Execute { id, result_metadata_id, mut parameters } = execute;
    let kept = find(service, &id).await?;
    let schema = service.schema();
    let planned = kept.planned_and_noted(&schema, tracing)?;
    if kept.is_outdated(&planned) {
        super::statements::count(&service.statements().counts.unprepared);
        return Err(CqlError::Unprepared { id });
    }
    let new_metadata_id = match result_metadata_id {
        // v5: the client says what it believes the columns to be.
        Some(known) if planned.result_columns().is_some() && known != planned.result_metadata_id[..] => {
            parameters.skip_metadata = false;
            Some(Bytes::copy_from_slice(&planned.result_metadata_id))
        }
        Some(_) => None,
        // Before: it cannot say, so the columns are sent once they may be others than it was told.
        None => {
            parameters.skip_metadata &= connection.version() < Version::V5 && !kept.result_has_changed(&planned);
            None
        }
    };
    let keyspace = kept.keyspace.clone();
    run::run(
        Run { service, connection, keyspace, parsed: &kept.parsed, planned: &planned, new_metadata_id, tracing },
        parameters,
    )
    .await
}

/// A prepared statement, if any shard of the node has it.
pub async fn find(service: &Rc<TablesService>, id: &Bytes) -> CqlResult<Rc<KeptStatement>> {
    if let Some(kept) = service.statements().find(id) {
        return Ok(kept);
    }
    match service.fetch_prepared(id).await {
        Some(kept) => Ok(kept),
        None => {
            super::statements::count(&service.statements().counts.unprepared);
            Err(CqlError::Unprepared { id: id.clone() })
        }
    }
}
