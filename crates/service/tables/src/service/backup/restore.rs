//! Bringing a backup back: the schema is made again, and every mutation is written to all replicas of its tablet as it lies
//! now, with the timestamps, expiry times and deletions that it has.
//!
//! Written twice is written once, so a restore that was cut off is given again. What clients write meanwhile is later, and stays.
//! Columns are found by their names: their numbers are those of the table as it is here. What was written to columns that had
//! been dropped is left out.

use super::files::{BackupError, BlocksReader, FileEntry};
use super::limits::{AT_ONCE, RESTORE_PATIENCE, RESTORE_PAUSE};
use super::manifest::Manifest;
use super::plan::{Cluster, plan};
use super::{Place, Report, Teller, files};
use crate::front::accounts::AccountChange;
use crate::limits::WRITE_TIMEOUT;
use crate::schema::codec::encode_change;
use crate::schema::{Schema, Table};
use crate::service::TablesService;
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{GroupId, TabletId};
use holon_kernel::join_all;
use holon_replica::Level;
use holon_replica::coordinator::{Demand, ReplicaError};
use holon_store::{Mutation, MutationBuilder, RangeTombstone, Row};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// # Errors
/// Text for people. Before the first row is written it is known that all files are whole and all tables fit.
pub async fn restore(
    service: &Rc<TablesService>,
    place: &Place,
    scope: &[&str],
    progress: Report,
) -> Result<String, String> {
    let shard = &service.shard;
    let begun = shard.now();
    let manifest = place.load(&shard.disk()).await?;
    let whole = super::schema_of(&manifest, place)?;
    let chosen = super::choose(&whole, scope).map_err(|error| format!("in backup {}, {error}", place.name))?;
    let teller = Teller::new(shard, progress);
    let is_chosen = |file: &&FileEntry| chosen.table_by_group(file.tablet.group()).is_some();
    let files: Vec<&FileEntry> = manifest.files.iter().filter(is_chosen).chain(&manifest.batches).collect();
    super::verify(service, place, &manifest, &whole, &files, &teller).await?;

    let here = service.schema();
    let (data_centers, nodes) = service.data_centers();
    let cluster = Cluster { schema: &here, tablets: service.tablets_of_a_table(), data_centers: &data_centers, nodes };
    let mut plan = plan(&chosen, &cluster).map_err(|error| format!("{error}; nothing was changed"))?;
    let made = plan.changes.len();
    for change in &plan.changes {
        // Also if it is there by now: whether it is the same is looked at below.
        service.propose(encode_change(change)).await.map_err(|error| format!("{error}; {AGAIN}"))?;
    }
    service.metadata.settle().await.map_err(|error| format!("{error}; {AGAIN}"))?;
    let now = service.schema();
    let left = super::plan::plan(&chosen, &Cluster { schema: &now, ..cluster });
    let left = left.map_err(|error| format!("{error}; somebody else made it just now"))?;
    if let Some(change) = left.changes.first() {
        return Err(format!("what was made in keyspace {} is gone again; {AGAIN}", change.keyspace()));
    }
    if scope.is_empty() {
        plan.notes.extend(accounts(service, &manifest).await?);
    }

    let restoring = Restoring {
        service,
        place,
        manifest: &manifest,
        backup: &whole,
        targets: targets(&chosen, &now)?,
        left: RefCell::new(files.iter().copied().cloned().collect()),
        files: files.len(),
        done: Cell::new(0),
        rows: Cell::new(0),
        teller,
        failed: Cell::new(false),
    };
    let worked: Result<(), String> = join_all((0..AT_ONCE).map(|_| restoring.work())).await.into_iter().collect();
    worked.map_err(|error| format!("{error}; {AGAIN}"))?;
    let (rows, seconds) = (restoring.rows.get(), shard.now().since(begun).as_secs_f64());
    let mut lines = vec![format!(
        "backup {} is restored: {rows} rows, {made} changes of the schema, in {seconds:.1} s",
        place.name
    )];
    lines.extend(plan.notes);
    Ok(lines.join("\n"))
}

const AGAIN: &str = "the restore is not whole: give the command again, what is there already is written once";

/// Those that are not here. Passwords of those that are stay as they are.
async fn accounts(service: &TablesService, manifest: &Manifest) -> Result<Option<String>, String> {
    let here = service.accounts.names();
    let mut made = 0;
    for (name, hash) in manifest.accounts.iter().filter(|(name, _)| !here.contains(name)) {
        let change = AccountChange::Create { name: name.clone(), hash: hash.clone() };
        service.change_account(change).await.map_err(|error| format!("account {name}: {error}; {AGAIN}"))?;
        made += 1;
    }
    Ok((made > 0).then(|| format!("{made} accounts are back, with the passwords they had")))
}

/// A table as it is here, for the rows of a backup.
pub struct Target {
    name: String,
    group: GroupId,
    tablets: u32,
    /// Numbers of columns there and here.
    columns: BTreeMap<u32, u32>,
}

fn targets(backup: &Schema, here: &Schema) -> Result<BTreeMap<GroupId, Target>, String> {
    let tables = backup.user_keyspaces().flat_map(|keyspace| keyspace.tables.values());
    tables
        .map(|table| {
            let name = format!("{}.{}", table.keyspace, table.name);
            let found =
                here.table(&table.keyspace, &table.name).ok_or(format!("table {name} was dropped meanwhile"))?;
            Ok((table.group, Target::new(table, found)))
        })
        .collect()
}

impl Target {
    pub fn new(table: &Table, here: &Table) -> Target {
        let known = table.columns.iter().filter_map(|column| Some((column.id, here.column(&column.name)?.id)));
        Target {
            name: format!("{}.{}", table.keyspace, table.name),
            group: here.group,
            tablets: here.tablets,
            columns: known.collect(),
        }
    }

    /// A row with the numbers that its columns have here.
    fn row(&self, row: Row) -> Row {
        let mut here = Row { marker: row.marker, deletion: row.deletion, ..Row::default() };
        for (column, deletion) in row.column_deletions {
            if let Some(column) = self.columns.get(&column) {
                here.delete_column(*column, deletion);
            }
        }
        for mut entry in row.cells {
            if let Some(column) = self.columns.get(&entry.column) {
                entry.column = *column;
                here.cells.push(entry);
            }
        }
        here.cells.sort_by(|one, other| (one.column, &one.path).cmp(&(other.column, &other.path)));
        here
    }

    /// Mutations of tablets here that are together what a mutation was there, and its rows.
    ///
    /// # Errors
    /// A mutation that cannot be read, or is larger now: neither can be.
    pub fn mutations(&self, there: &Mutation) -> Result<Vec<(TabletId, Mutation)>, String> {
        let mut builders: BTreeMap<u32, MutationBuilder> = BTreeMap::new();
        for (key, row) in there.rows().map_err(|error| error.to_string())? {
            let row = self.row(row);
            if !row.is_empty() && key < row_key::ROWS_END[..] {
                builders.entry(self.ordinal(&key)).or_default().row(key, &row);
            }
        }
        for range in there.ranges() {
            for ordinal in self.ordinal(&range.start)..=self.ordinal(&range.end) {
                builders.entry(ordinal).or_default().delete_range(self.within(range, ordinal));
            }
        }
        let finished = builders.into_iter().map(|(ordinal, builder)| {
            let mutation = builder.finish().map_err(|error| error.to_string())?;
            Ok((TabletId::new(self.group, ordinal), mutation))
        });
        finished.filter(|made| made.as_ref().map_or(true, |(_, mutation)| !mutation.is_empty())).collect()
    }

    /// The tablet of a key, which may be cut short where it is an end.
    fn ordinal(&self, key: &[u8]) -> u32 {
        let mut token = [0; 8];
        let length = key.len().min(token.len());
        token[..length].copy_from_slice(&key[..length]);
        row_key::tablet_ordinal(row_key::token_of(&token), self.tablets)
    }

    fn within(&self, range: &RangeTombstone, ordinal: u32) -> RangeTombstone {
        let start = Bytes::copy_from_slice(&row_key::tablet_start(ordinal, self.tablets));
        let start = if ordinal == 0 { range.start.clone() } else { range.start.clone().max(start) };
        let next = (ordinal + 1 < self.tablets)
            .then(|| Bytes::copy_from_slice(&row_key::tablet_start(ordinal + 1, self.tablets)));
        let end = next.map_or(range.end.clone(), |next| range.end.clone().min(next));
        RangeTombstone { start, end, deletion: range.deletion }
    }
}

struct Restoring<'a> {
    service: &'a TablesService,
    place: &'a Place,
    manifest: &'a Manifest,
    backup: &'a Schema,
    /// By the groups of the backup.
    targets: BTreeMap<GroupId, Target>,
    left: RefCell<VecDeque<FileEntry>>,
    files: usize,
    done: Cell<usize>,
    rows: Cell<u64>,
    teller: Teller,
    failed: Cell<bool>,
}

impl Restoring<'_> {
    async fn work(&self) -> Result<(), String> {
        loop {
            let next = self.left.borrow_mut().pop_front();
            let Some(file) = next.filter(|_| !self.failed.get()) else { return Ok(()) };
            if let Err(error) = self.file(&file).await {
                self.failed.set(true);
                return Err(error);
            }
            self.done.set(self.done.get() + 1);
        }
    }

    async fn file(&self, file: &FileEntry) -> Result<(), String> {
        let path = super::path_of(self.place, self.backup, file)?;
        let say = |error: BackupError| error.to_string();
        let reader = BlocksReader::open(&self.service.shard.disk(), &path, self.manifest.backup, file).await;
        let mut reader = reader.map_err(say)?;
        while let Some(content) = reader.next().await.map_err(say)? {
            let unreadable = |why: String| format!("{path} holds what cannot be read: {why}");
            let (of, there) = files::mutation_of(file, content).map_err(unreadable)?;
            // A part of a batch may be of a table that was not asked for.
            let Some(target) = self.targets.get(&of.group()) else { continue };
            let here = target.mutations(&there).map_err(unreadable)?;
            let writes = here.iter().map(|(tablet, mutation)| self.write(*tablet, mutation.bytes()));
            let written: Result<(), String> = join_all(writes).await.into_iter().collect();
            written.map_err(|error| format!("{}: {error}", target.name))?;
            self.rows.set(self.rows.get() + there.encoded_rows().len() as u64);
            let (done, files, rows) = (self.done.get(), self.files, self.manifest.rows());
            self.teller.tell(|| format!("{done} of {files} files, {} of {rows} rows", self.rows.get()));
        }
        Ok(())
    }

    /// To all replicas, with patience: one that is away has to come back.
    async fn write(&self, tablet: TabletId, mutation: &Bytes) -> Result<(), String> {
        let shard = &self.service.shard;
        let patience = shard.now() + RESTORE_PATIENCE;
        loop {
            let deadline = shard.now() + WRITE_TIMEOUT;
            let demand = Demand { tablet, level: Level::All, replication: None, deadline };
            let written = self.service.coordinator.write(&demand, mutation.clone(), false, &|_, _| ()).await;
            match written {
                Ok(()) => return Ok(()),
                Err(ReplicaError::NoTablet) => return Err("the table was dropped meanwhile".to_string()),
                Err(error) if self.failed.get() || shard.now() >= patience => {
                    return Err(format!("{error}, and all have to: is a node away?"));
                }
                Err(error) => {
                    self.teller.tell(|| format!("waiting for replicas: {error}"));
                    shard.sleep(RESTORE_PAUSE).await;
                }
            }
        }
    }
}
