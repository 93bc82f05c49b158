//! What goes through the metadata log, and what follows when it has: snapshots of the schema, plans, events to clients.

use super::system_state::end_tokens;
use super::{TABLES_SERVICE, TablesService};
use crate::ddl::{self, Ddl, DdlContext};
use crate::describe::{DescribeContext, Description, describe};
use crate::error::{CqlError, CqlResult};
use crate::front::accounts::AccountChange;
use crate::front::connection::Answer;
use crate::run::Context;
use crate::schema::codec::decode_answer;
use crate::schema::{SchemaChange, SchemaTarget, differences};
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput, TabletId};
use holon_cql::request::QueryParameters;
use holon_cql::response::{Event, ResultResponse};
use holon_cql::{RowsMetadata, RowsWriter, Version};
use holon_cql_language::ast::{Describe, Statement};
use holon_metadata::ProposeError;
use std::rc::Rc;

/// Of [`TablesService::encode_metadata`].
const METADATA_VERSION: u8 = 1;

impl TablesService {
    /// Puts an entry into the metadata log; answers when every shard of the node has applied it.
    pub(super) async fn propose(&self, entry: Bytes) -> CqlResult<Bytes> {
        match self.metadata.propose(TABLES_SERVICE, entry).await {
            Ok(committed) => committed.answer.map_err(|error| CqlError::decode(&error)),
            Err(error @ ProposeError::TooLong { .. }) => Err(CqlError::invalid(error.to_string())),
            Err(error) => Err(CqlError::server(error.to_string())),
        }
    }

    pub(crate) async fn change_account(&self, change: AccountChange) -> CqlResult<()> {
        self.propose(change.encode()).await?;
        self.metadata.agree().await;
        Ok(())
    }

    /// CREATE, ALTER, DROP, TRUNCATE.
    pub(crate) async fn change_schema(&self, keyspace: Option<&str>, statement: &Statement) -> CqlResult<Answer> {
        if !ddl::is_ddl(statement) {
            return Err(CqlError::invalid("this statement is not available"));
        }
        let schema = self.schema();
        let (data_centers, nodes) = self.data_centers();
        let context = DdlContext {
            schema: &schema,
            keyspace,
            now_micros: self.shard.unique_micros(),
            tablets: self.tablets_of_a_table(),
            data_centers: &data_centers,
            nodes,
        };
        let planned = match ddl::plan(&context, statement)? {
            Ddl::Change(planned) => planned,
            Ddl::Truncate(table) => {
                self.truncate(&table).await?;
                return Ok(Answer::result(ResultResponse::Void));
            }
        };
        let changed = ddl::execute(&self.metadata, TABLES_SERVICE, &planned).await?;
        self.metadata.agree().await;
        let result = changed.map_or(ResultResponse::Void, ResultResponse::SchemaChange);
        Ok(Answer { warnings: planned.warnings, ..Answer::result(result) })
    }

    pub(crate) fn describe(
        &self,
        version: Version,
        keyspace: Option<&str>,
        statement: &Describe,
        request: &QueryParameters,
    ) -> CqlResult<Answer> {
        let schema = self.schema();
        let ranges = match self.ring() {
            none if none.is_empty() => {
                let address = self.config.peer_address.to_string();
                end_tokens().into_iter().map(|token| (token, vec![address.clone()])).collect()
            }
            ring => ring,
        };
        let context =
            DescribeContext { schema: &schema, keyspace, cluster_name: &self.config.cluster_name, ranges: &ranges };
        let Description { columns, rows, paging_state } =
            describe(&context, statement, request.page_size, request.paging_state.as_ref())?;
        let written = |error: holon_cql::CqlError| CqlError::server(error.to_string());
        let mut writer = RowsWriter::new(version, RowsMetadata::new(columns));
        for row in rows {
            row.iter().try_for_each(|cell| writer.cell(cell.as_deref())).map_err(written)?;
            writer.end_row().map_err(written)?;
        }
        let rows = writer.finish(paging_state).map_err(written)?;
        Ok(Answer::result(ResultResponse::EncodedRows(rows)))
    }

    /// Runs in `apply_metadata`: on every shard, in the order of the log.
    pub(super) fn schema_changed(&self, answer: &Bytes) {
        if let Ok(Some(change)) = decode_answer(answer) {
            self.schema_is_other(vec![change]);
        }
    }

    fn schema_is_other(&self, changes: Vec<SchemaChange>) {
        let context = Context { schema: self.machine.schema(), ..Context::clone(&self.context()) };
        *self.context.borrow_mut() = Rc::new(context);
        changes.iter().for_each(|change| self.refresh_tablet_options(change));
        let schema = self.schema();
        self.requests_metrics().keep_tables(|group| schema.table_by_group(group).is_some());
        for event in changes.into_iter().map(Event::Schema) {
            self.connections().into_iter().for_each(|connection| connection.event(&event));
        }
    }

    /// All that entries of the metadata log have made here.
    ///
    /// ```text
    ///   state = version:u8 schema:prefixed accounts:prefixed
    /// ```
    pub(super) fn encode_metadata(&self) -> Bytes {
        let mut out = ByteWriter::new();
        out.put_u8(METADATA_VERSION);
        out.put_prefixed(&self.machine.snapshot());
        out.put_prefixed(&self.accounts().encode());
        out.freeze()
    }

    pub(super) fn decode_metadata(&self, snapshot: &Bytes) -> Result<(), ShortInput> {
        let mut input = ByteReader::new(snapshot.clone());
        if input.u8()? != METADATA_VERSION {
            return Err(ShortInput { offset: 0 });
        }
        let (schema, accounts) = (input.prefixed()?, input.prefixed()?);
        input.end()?;
        let before = self.schema();
        self.machine.restore(&schema)?;
        self.accounts().restore(&accounts)?;
        self.schema_is_other(differences(&before, &self.schema()));
        Ok(())
    }

    /// Of all members, and how many these are.
    pub(super) fn data_centers(&self) -> (Vec<Rc<str>>, u32) {
        let own: Rc<str> = self.config.data_center.as_str().into();
        let members = self.shard.map().map(|map| map.nodes()).unwrap_or_default();
        let mut names: Vec<Rc<str>> = members.iter().map(|record| record.data_center.clone()).chain([own]).collect();
        names.sort_unstable();
        names.dedup();
        (names, (members.len() as u32).max(1))
    }

    /// Of a node alone so many that all cores have some; of a cluster as many as the ring has slots.
    pub(super) fn tablets_of_a_table(&self) -> u32 {
        let shards = self.shard.shards();
        match self.shard.map() {
            Some(map) if map.nodes().len() > 1 => ddl::tablets_in_a_cluster(shards, map.slots()),
            _ => ddl::tablets_for(shards),
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
}
