//! QUERY: a statement as text, perhaps with values.

use super::connection::{Answer, Connection};
use super::run::{self, Run};
use crate::error::CqlResult;
use crate::service::TablesService;
use holon_cql::request::Query;
use std::rc::Rc;

pub async fn query(service: &Rc<TablesService>, connection: &Connection, query: Query) -> CqlResult<Answer> {
    let keyspace = run::keyspace(connection, query.parameters.keyspace.as_deref());
    let kept = service.statements().simple(keyspace.as_ref(), &query.statement)?;
    let schema = service.schema();
    let planned = kept.planned(&schema)?;
    let (parsed, planned) = (&kept.parsed, &planned);
    run::run(Run { service, connection, keyspace, parsed, planned, new_metadata_id: None }, query.parameters).await
}
