//! The tables of the system from their definitions.

use super::definitions::{KEYSPACES, KeyspaceDefinition};
use crate::ddl::{DdlContext, table_change};
use crate::error::{CqlError, CqlResult};
use crate::schema::{
    Change, Durability, Keyspace, KeyspaceKind, QualifiedName, Replication, Schema, Table, TableOption,
};
use holon_cql_language::ast::Statement;
use holon_cql_language::{parse_statement, quote_identifier};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Seconds that Cassandra keeps deletions of `system_schema` for.
const SCHEMA_GC_GRACE_SECONDS: u32 = 7 * 24 * 60 * 60;

/// The keyspaces of the system, for [`Schema::new`].
pub fn keyspaces() -> Rc<BTreeMap<Rc<str>, Rc<Keyspace>>> {
    let built = KEYSPACES.iter().map(|definition| {
        let keyspace = keyspace(definition);
        (keyspace.name.clone(), Rc::new(keyspace))
    });
    Rc::new(built.collect())
}

fn keyspace(definition: &KeyspaceDefinition) -> Keyspace {
    let name: Rc<str> = definition.name.into();
    let tables = definition.tables.iter().filter_map(|(table, comment, columns)| {
        let built = table_of(&name, table, comment, columns);
        // The definitions are constants of this program; a test builds them all.
        debug_assert!(built.is_ok(), "{name}.{table}: {built:?}");
        built.ok().map(|built| (built.name.clone(), Rc::new(built)))
    });
    Keyspace {
        kind: if definition.is_virtual { KeyspaceKind::Virtual } else { KeyspaceKind::System },
        replication: match definition.factor {
            0 => Replication::Local,
            factor => Replication::Simple { factor },
        },
        durable_writes: true,
        durability: Durability::Sync,
        tables: tables.collect(),
        types: BTreeMap::new(),
        name,
    }
}

fn table_of(keyspace: &Rc<str>, name: &str, comment: &str, columns: &str) -> CqlResult<Table> {
    let text = format!("CREATE TABLE {keyspace}.{} ({columns})", quote_identifier(name));
    let parsed = parse_statement(&text).map_err(|error| CqlError::Syntax(error.to_string()))?;
    let Statement::CreateTable(statement) = parsed.statement else {
        return Err(CqlError::server("not a CREATE TABLE"));
    };
    let nothing = Schema::new(Rc::default());
    let context =
        DdlContext { schema: &nothing, keyspace: None, now_micros: 0, tablets: 1, data_centers: &[], nodes: 1 };
    let Change::CreateTable { columns, mut options, .. } = table_change(&context, &statement)? else {
        return Err(CqlError::server("not a new table"));
    };
    options.push(TableOption::Comment(comment.to_string()));
    if &**keyspace == "system_schema" {
        options.push(TableOption::GcGraceSeconds(SCHEMA_GC_GRACE_SECONDS));
        options.push(TableOption::MemtableFlushPeriod(3_600_000));
    }
    let name = QualifiedName { keyspace: keyspace.clone(), name: name.into() };
    crate::schema::transform::system_table(&name, &columns, &options)
}
