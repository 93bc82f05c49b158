//! Statements that are kept: the prepared ones, by id, and the simple ones that came before, by text.
//!
//! ```text
//!   PREPARE on shard A ─▶ kept on A ─▶ text to all other shards (STORE_PREPARED)
//!   EXECUTE on shard B ─▶ kept on B? ─▶ else ask the others (FIND_PREPARED) ─▶ else UNPREPARED: the driver prepares again
//! ```
//!
//! A statement is kept as text and tree; its plan is made when it is first needed and again after each change of the
//! schema. Nothing here survives a restart: drivers know how to prepare again.

use super::planned::{Planned, is_planned, plan};
use crate::error::{CqlError, CqlResult};
use crate::limits::{
    PLAN_CACHE_STATEMENTS_MAX, PLAN_CACHE_TEXT_BYTES_MAX, PREPARED_BYTES_MAX, PREPARED_STATEMENTS_MAX,
};
use crate::schema::Schema;
use crate::trace::Tracing;
use bytes::Bytes;
use holon_base::{ByteReader, ByteWriter, ShortInput};
use holon_cql_language::ast::{Modification, QualifiedName, Statement};
use holon_cql_language::{SharedStatement, parse_statement};
use md5::{Digest, Md5};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// MD5 of keyspace and text.
pub type StatementId = [u8; 16];

/// One in so many kept statements goes when room is needed: finding the oldest costs a walk, so it is done seldom.
const EVICTED_SHARE: usize = 10;

/// What a tree takes beside its text, times the text's length: measured on statements of the stock drivers' tests.
const TREE_BYTES_PER_TEXT_BYTE: usize = 8;

/// A statement with its plan.
pub struct KeptStatement {
    /// The keyspace that was in use when it was prepared; `None` if its names are qualified, or none was in use.
    pub keyspace: Option<Rc<str>>,
    pub text: Rc<str>,
    pub parsed: SharedStatement,
    planned: RefCell<Option<(Rc<Schema>, Rc<Planned>)>>,
    /// The first result metadata that was told to anybody. A client without v5's metadata ids that has these skips
    /// them.
    first_result_id: Cell<Option<StatementId>>,
    /// The result metadata that PREPARE told last. Once the result has others, the statement counts as not prepared,
    /// as in Cassandra: drivers learn of new columns by preparing again, and many by nothing else.
    told_result_id: Cell<Option<StatementId>>,
    last_used: Cell<u64>,
}

impl KeptStatement {
    fn new(keyspace: Option<Rc<str>>, text: Rc<str>, parsed: SharedStatement) -> KeptStatement {
        KeptStatement {
            keyspace,
            text,
            parsed,
            planned: RefCell::new(None),
            first_result_id: Cell::new(None),
            told_result_id: Cell::new(None),
            last_used: Cell::new(0),
        }
    }

    /// The plan for this state of the schema.
    pub fn planned(&self, schema: &Rc<Schema>) -> CqlResult<Rc<Planned>> {
        if let Some((made_for, planned)) = &*self.planned.borrow()
            && Rc::ptr_eq(made_for, schema)
        {
            return Ok(planned.clone());
        }
        let planned = Rc::new(plan(schema, self.keyspace.as_deref(), &self.parsed)?);
        if self.first_result_id.get().is_none() {
            self.first_result_id.set(Some(planned.result_metadata_id));
        }
        *self.planned.borrow_mut() = Some((schema.clone(), planned.clone()));
        Ok(planned)
    }

    /// As [`KeptStatement::planned`]; a trace tells whether there was anything to do.
    pub fn planned_and_noted(&self, schema: &Rc<Schema>, tracing: &Tracing) -> CqlResult<Rc<Planned>> {
        let is_known = matches!(&*self.planned.borrow(), Some((made_for, _)) if Rc::ptr_eq(made_for, schema));
        let planned = self.planned(schema)?;
        if planned.plan.is_some() {
            tracing.note(|| if is_known { "The plan was made before" } else { "Planned the statement" }.to_string());
        }
        Ok(planned)
    }

    /// The columns of the result are not those that a client may have been told first.
    pub fn result_has_changed(&self, planned: &Planned) -> bool {
        self.first_result_id.get().is_some_and(|first| first != planned.result_metadata_id)
    }

    /// The columns of the result are told to a client; true if they are others than were told before.
    pub fn tell(&self, planned: &Planned) -> bool {
        self.told_result_id.replace(Some(planned.result_metadata_id)) != Some(planned.result_metadata_id)
    }

    /// The result has other columns than were told when it was prepared.
    pub fn is_outdated(&self, planned: &Planned) -> bool {
        self.told_result_id.get().is_some_and(|told| told != planned.result_metadata_id)
    }

    fn size_bytes(&self) -> usize {
        self.text.len() * (1 + TREE_BYTES_PER_TEXT_BYTE)
    }
}

/// The statements kept on one shard.
#[derive(Default)]
pub struct Statements {
    prepared: RefCell<BTreeMap<StatementId, Rc<KeptStatement>>>,
    prepared_bytes: Cell<usize>,
    simple: RefCell<BTreeMap<SimpleKey, Rc<KeptStatement>>>,
    clock: Cell<u64>,
    pub counts: Counts,
}

type SimpleKey = (Option<Rc<str>>, Rc<str>);

/// What happened to kept statements, for metrics.
#[derive(Default)]
pub struct Counts {
    pub prepared: Cell<u64>,
    pub evicted: Cell<u64>,
    pub unprepared: Cell<u64>,
    pub fetched: Cell<u64>,
    pub simple_hits: Cell<u64>,
    pub simple_misses: Cell<u64>,
}

pub(crate) fn count(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

impl Statements {
    /// The statement to prepare and its id. Not kept yet: that is for [`Statements::keep`], when it is known to be
    /// good.
    pub fn prepare(&self, keyspace: Option<&str>, text: &str) -> CqlResult<(StatementId, Rc<KeptStatement>)> {
        let parsed = parse(text)?;
        let keyspace = if is_qualified(&parsed.statement) { None } else { keyspace };
        let id = statement_id(keyspace, text);
        if let Some(known) = self.find(&id) {
            return Ok((id, known));
        }
        Ok((id, Rc::new(KeptStatement::new(keyspace.map(Rc::from), text.into(), parsed))))
    }

    pub fn find(&self, id: &[u8]) -> Option<Rc<KeptStatement>> {
        let id: &StatementId = id.try_into().ok()?;
        let found = self.prepared.borrow().get(id).cloned()?;
        self.touch(&found);
        Some(found)
    }

    /// The tree and plan of a simple statement: parsed once if the same text comes again.
    pub fn simple(&self, keyspace: Option<&Rc<str>>, text: &str) -> CqlResult<Rc<KeptStatement>> {
        if text.len() > PLAN_CACHE_TEXT_BYTES_MAX {
            return Ok(Rc::new(KeptStatement::new(keyspace.cloned(), text.into(), parse(text)?)));
        }
        let key: SimpleKey = (keyspace.cloned(), text.into());
        if let Some(found) = self.simple.borrow().get(&key).cloned() {
            count(&self.counts.simple_hits);
            self.touch(&found);
            return Ok(found);
        }
        count(&self.counts.simple_misses);
        let kept = Rc::new(KeptStatement::new(key.0.clone(), key.1.clone(), parse(text)?));
        if !is_planned(&kept.parsed.statement) {
            return Ok(kept); // carried out once; and it may hold a password
        }
        self.touch(&kept);
        let mut simple = self.simple.borrow_mut();
        if simple.len() >= PLAN_CACHE_STATEMENTS_MAX {
            evict(&mut simple);
        }
        simple.insert(key, kept.clone());
        Ok(kept)
    }

    /// (id, keyspace, text) of all prepared statements, for `system.prepared_statements`.
    pub fn list(&self) -> Vec<(StatementId, Option<Rc<str>>, Rc<str>)> {
        let prepared = self.prepared.borrow();
        let shown = prepared.iter().filter(|(_, kept)| is_planned(&kept.parsed.statement));
        shown.map(|(id, kept)| (*id, kept.keyspace.clone(), kept.text.clone())).collect()
    }

    pub fn prepared_count(&self) -> usize {
        self.prepared.borrow().len()
    }

    fn touch(&self, kept: &KeptStatement) {
        let now = self.clock.get() + 1;
        self.clock.set(now);
        kept.last_used.set(now);
    }

    /// Keeps a statement under its id; false if it was kept already.
    pub fn keep(&self, id: StatementId, kept: Rc<KeptStatement>) -> bool {
        self.touch(&kept);
        let mut prepared = self.prepared.borrow_mut();
        if prepared.contains_key(&id) {
            return false;
        }
        count(&self.counts.prepared);
        let too_many = |count: usize, bytes: usize| count > PREPARED_STATEMENTS_MAX || bytes > PREPARED_BYTES_MAX;
        let mut bytes = self.prepared_bytes.get() + kept.size_bytes();
        while !prepared.is_empty() && too_many(prepared.len() + 1, bytes) {
            for evicted in evict(&mut prepared) {
                bytes = bytes.saturating_sub(evicted.size_bytes());
                count(&self.counts.evicted);
            }
        }
        prepared.insert(id, kept);
        self.prepared_bytes.set(bytes);
        true
    }
}

/// Removes the least recently used share, one at least.
fn evict<K: Clone + Ord>(kept: &mut BTreeMap<K, Rc<KeptStatement>>) -> Vec<Rc<KeptStatement>> {
    let mut ages: Vec<u64> = kept.values().map(|statement| statement.last_used.get()).collect();
    ages.sort_unstable();
    let last = ages.get(ages.len() / EVICTED_SHARE).copied().unwrap_or(u64::MAX);
    let doomed: Vec<K> =
        kept.iter().filter(|(_, statement)| statement.last_used.get() <= last).map(|(key, _)| key.clone()).collect();
    doomed.iter().filter_map(|key| kept.remove(key)).collect()
}

fn parse(text: &str) -> CqlResult<SharedStatement> {
    parse_statement(text).map(|parsed| parsed.share()).map_err(|error| CqlError::syntax(error.to_string()))
}

/// As Cassandra computes it: MD5 of the keyspace in use, if one matters, and the text.
pub fn statement_id(keyspace: Option<&str>, text: &str) -> StatementId {
    let mut digest = Md5::new();
    digest.update(keyspace.unwrap_or_default());
    digest.update(text);
    digest.finalize().into()
}

/// The keyspace in use makes no difference: every table is named with its keyspace.
fn is_qualified(statement: &Statement) -> bool {
    let qualified = |name: &QualifiedName| name.keyspace.is_some();
    match statement {
        Statement::Select(select) => qualified(&select.from),
        Statement::Insert(insert) => qualified(&insert.table),
        Statement::Update(update) => qualified(&update.table),
        Statement::Delete(delete) => qualified(&delete.table),
        Statement::Truncate(table) => qualified(table),
        Statement::Batch(batch) => batch.statements.iter().all(|part| match part {
            Modification::Insert(insert) => qualified(&insert.table),
            Modification::Update(update) => qualified(&update.table),
            Modification::Delete(delete) => qualified(&delete.table),
        }),
        _ => false,
    }
}

/// Keyspace and text of a prepared statement as they go between shards.
pub fn encode_statement(keyspace: Option<&str>, text: &str) -> Bytes {
    let mut out = ByteWriter::with_capacity(text.len() + 32);
    out.put_u8(u8::from(keyspace.is_some()));
    out.put_prefixed(keyspace.unwrap_or_default().as_bytes());
    out.put_prefixed(text.as_bytes());
    out.freeze()
}

pub fn decode_statement(bytes: Bytes) -> Result<(Option<String>, String), ShortInput> {
    let mut input = ByteReader::new(bytes);
    let has_keyspace = input.u8()? != 0;
    let (keyspace, text) = (input.prefixed_str()?, input.prefixed_str()?);
    input.end()?;
    Ok((has_keyspace.then_some(keyspace), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_cassandra() {
        // md5("SELECT * FROM t") and md5("k" + the same).
        let hexadecimal = |id: StatementId| crate::error::hexadecimal(&id);
        assert_eq!(hexadecimal(statement_id(None, "SELECT * FROM t")), "cd36a2072e7f9deaa746db7480200944");
        assert_eq!(hexadecimal(statement_id(Some("k"), "SELECT * FROM t")), "8eb487c325dd64437197231dc27d0d9c");
    }

    #[test]
    fn qualified_statements_are_the_same_in_every_keyspace() {
        let statements = Statements::default();
        let id = |keyspace, text| prepare_and_keep(&statements, keyspace, text);
        assert_eq!(id(Some("a"), "SELECT * FROM k.t"), id(Some("b"), "SELECT * FROM k.t"));
        assert_ne!(id(Some("a"), "SELECT * FROM t"), id(Some("b"), "SELECT * FROM t"));
        assert_eq!(statements.prepared_count(), 3);
        assert!(matches!(statements.prepare(None, "SELECT"), Err(CqlError::Syntax(_))));
    }

    fn prepare_and_keep(statements: &Statements, keyspace: Option<&str>, text: &str) -> StatementId {
        let (id, kept) = statements.prepare(keyspace, text).expect("parses");
        statements.keep(id, kept);
        id
    }

    #[test]
    fn the_least_recently_used_go_first_and_room_is_bounded() {
        let statements = Statements::default();
        let first = prepare_and_keep(&statements, None, "SELECT a0 FROM k.t");
        let long = "x".repeat(40_000);
        for number in 1..=200 {
            prepare_and_keep(&statements, None, &format!("SELECT a{number} FROM k.t WHERE b = '{long}'"));
            assert!(statements.find(&first).is_some(), "used all the time, gone after {number}");
            assert!(statements.prepared_bytes.get() <= PREPARED_BYTES_MAX);
        }
        assert!(statements.prepared_count() < 60, "{}", statements.prepared_count());
        assert!(statements.counts.evicted.get() > 100);
    }

    #[test]
    fn statements_survive_the_trip_between_shards() {
        for keyspace in [None, Some("k"), Some("")] {
            let bytes = encode_statement(keyspace, "SELECT schön");
            assert_eq!(decode_statement(bytes), Ok((keyspace.map(String::from), "SELECT schön".to_string())));
        }
        assert!(decode_statement(Bytes::from_static(&[1, 9, 9])).is_err());
    }
}
