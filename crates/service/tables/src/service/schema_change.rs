//! What goes through the metadata log, and what follows when it has: snapshots of the schema, plans, events to clients.

use super::{TABLES_SERVICE, TablesService};
use crate::error::{CqlError, CqlResult};
use crate::front::accounts::AccountChange;
use crate::front::connection::{Answer, Connection};
use crate::run::{Context, VirtualRows};
use crate::schema::codec::decode_answer;
use crate::schema::{SchemaChange, SchemaTarget};
use bytes::Bytes;
use holon_base::TabletId;
use holon_cql::request::QueryParameters;
use holon_cql::response::Event;
use holon_cql_language::ast::{Describe, Statement};
use holon_kernel::{Tablet, TabletDescriptor};
use holon_metadata::ProposeError;
use holon_store::TabletOptions;
use std::rc::Rc;

impl TablesService {
    /// Puts an entry into the metadata log; answers when every shard of the node has applied it.
    async fn propose(&self, entry: Bytes) -> CqlResult<Bytes> {
        match self.metadata.propose(TABLES_SERVICE, entry).await {
            Ok(committed) => committed.answer.map_err(|error| CqlError::decode(&error)),
            Err(error @ ProposeError::TooLong { .. }) => Err(CqlError::invalid(error.to_string())),
            Err(error) => Err(CqlError::server(error.to_string())),
        }
    }

    pub(crate) async fn change_account(&self, change: AccountChange) -> CqlResult<()> {
        self.propose(change.encode()).await.map(drop)
    }

    /// CREATE, ALTER, DROP, TRUNCATE.
    pub(crate) async fn change_schema(&self, keyspace: Option<&str>, statement: &Statement) -> CqlResult<Answer> {
        let _ = (keyspace, statement);
        Err(CqlError::server("changes of the schema are being written"))
    }

    pub(crate) fn describe(
        &self,
        connection: &Connection,
        keyspace: Option<&str>,
        describe: &Describe,
        request: &QueryParameters,
    ) -> CqlResult<Answer> {
        let _ = (connection, keyspace, describe, request);
        Err(CqlError::server("DESCRIBE is being written"))
    }

    /// Runs in `apply_metadata`: on every shard, in the order of the log.
    pub(super) fn schema_changed(&self, answer: &Bytes) {
        let Ok(Some(change)) = decode_answer(answer) else { return };
        let context = Context { schema: self.machine.schema(), ..Context::clone(&self.context()) };
        *self.context.borrow_mut() = Rc::new(context);
        self.refresh_tablet_options(&change);
        let event = Event::Schema(change);
        for connection in self.connections() {
            connection.event(&event);
        }
    }

    /// ALTER TABLE may have changed how its tablets are stored.
    fn refresh_tablet_options(&self, change: &SchemaChange) {
        let (Some(engine), SchemaTarget::Table { name }) = (self.engine(), &change.target) else { return };
        let schema = self.schema();
        let Some(table) = schema.table(&change.keyspace, name) else { return };
        for ordinal in 0..table.tablets {
            let tablet = TabletId::new(table.group, ordinal);
            if self.tablets.get(tablet).is_some()
                && let Err(error) = engine.set_tablet_options(tablet, self.tablet_options(tablet))
            {
                self.report(format!("tablet {tablet} keeps its former options: {error}"));
            }
        }
    }

    pub(super) fn tablet_options(&self, tablet: TabletId) -> TabletOptions {
        let _ = tablet;
        TabletOptions::default()
    }

    pub(super) async fn open_table_tablet(&self, descriptor: TabletDescriptor) -> Result<Rc<dyn Tablet>, String> {
        Err(format!("tablet {} cannot be opened yet", descriptor.id))
    }

    /// The rows of a virtual table at this moment.
    pub(super) fn virtual_rows(&self, keyspace: &str, table: &str) -> Option<VirtualRows> {
        let _ = (keyspace, table);
        None
    }
}
