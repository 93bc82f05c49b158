//! QUERY: a statement as text, perhaps with values.

use super::connection::{Answer, Connection};
use super::run::{self, Run};
use super::traced;
use crate::error::CqlResult;
use crate::service::TablesService;
use crate::trace::Tracing;
use holon_cql::request::Query;
use std::rc::Rc;

pub async fn query(
    service: &Rc<TablesService>,
    connection: &Connection,
    query: Query,
    tracing: &Tracing,
) -> CqlResult<Answer> {
    let keyspace = run::keyspace(connection, query.parameters.keyspace.as_deref());
    tracing.note(|| format!("Parsing {}", traced::shown(&query.statement)));
    let kept = service.statements().simple(keyspace.as_ref(), &query.statement)?;
    let schema = service.schema();
    let planned = kept.planned_and_noted(&schema, tracing)?;
    let (parsed, planned) = (&kept.parsed, &planned);
    run::run(Run { service, connection, keyspace, parsed, planned, new_metadata_id: None, tracing }, query.parameters)
        .await
}
