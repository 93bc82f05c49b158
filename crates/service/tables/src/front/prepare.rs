//! PREPARE: a statement to be kept, here and on the other shards of the node.

use super::connection::{Answer, Connection};
use super::{run, traced};
use crate::error::CqlResult;
use crate::service::TablesService;
use crate::trace::Tracing;
use bytes::Bytes;
use holon_cql::request::Prepare;
use holon_cql::response::{Prepared, PreparedMetadata, ResultResponse};
use holon_cql::{RowsMetadata, Version};
use std::rc::Rc;

pub async fn prepare(
    service: &Rc<TablesService>,
    connection: &Connection,
    prepare: Prepare,
    tracing: &Tracing,
) -> CqlResult<Answer> {
    let keyspace = run::keyspace(connection, prepare.keyspace.as_deref());
    tracing.note(|| format!("Parsing {}", traced::shown(&prepare.statement)));
    let (id, kept) = service.statements().prepare(keyspace.as_deref(), &prepare.statement)?;
    let planned = kept.planned_and_noted(&service.schema(), tracing)?;
    let is_news = kept.tell(&planned);
    if service.statements().keep(id, kept.clone()) || is_news {
        // Before the answer: the client may execute it at once, on a connection of another shard.
        service.share_prepared(kept.keyspace.as_deref(), &kept.text).await;
        tracing.note(|| "Told the other shards of the statement".to_string());
    }
    let metadata = match &planned.plan {
        Some(plan) => {
            let pk_indexes = plan.markers().partition_key_indexes().to_vec();
            PreparedMetadata { pk_indexes, columns: plan.markers().specs().to_vec() }
        }
        None => PreparedMetadata::default(),
    };
    let result_metadata_id = match connection.version() {
        Version::V5 => Bytes::copy_from_slice(&planned.result_metadata_id),
        _ => Bytes::new(),
    };
    let result_metadata = planned.result_columns().map(|columns| RowsMetadata::new(columns.clone()));
    Ok(Answer::result(ResultResponse::Prepared(Box::new(Prepared {
        id: Bytes::copy_from_slice(&id),
        result_metadata_id,
        metadata,
        result_metadata: result_metadata.unwrap_or_default(),
    }))))
}
