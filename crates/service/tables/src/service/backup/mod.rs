//! Backups of the whole cluster, and how they come back, into a cluster of any size.
//!
//! ```text
//!   create ─▶ cut of all nodes ─▶ pages, merged from the replicas ─▶ files in `backups/NAME` of the node that was asked
//!   restore ◀─ schema made anew, every mutation to all replicas of its tablet as it lies now ◀─ the same files, anywhere
//! ```
//!
//! A backup is one directory, which may be copied away and to any other node:
//!
//! ```text
//! backups/NAME/BACKUP                                    the manifest, last of all
//! backups/NAME/schema.cql                                for people
//! backups/NAME/data/KEYSPACE.TABLE-GROUP/TABLET.rows     mutations of one tablet, each under a checksum
//! backups/NAME/batches.rows                              what batches had still to write
//! ```
//!
//! | words | what |
//! | --- | --- |
//! | `create NAME [keyspace [table]]` | takes one |
//! | `restore NAME [keyspace [table]]` | brings it back, or a part of it |
//! | `list`, `show NAME` | what there is on this node |
//! | `verify NAME` | reads and checks every byte |
//! | `drop NAME` | removes it |
//!
//! All data goes through the shard that was asked. What is promised is in `docs/GUARANTEES.md`.

pub mod create;
pub mod files;
pub mod limits;
pub mod manifest;
pub mod plan;
pub mod restore;

use super::TablesService;
use crate::schema::codec::decode_schema;
use crate::schema::{Schema, Table};
use crate::types::calendar;
use files::{BackupError, BlocksReader, FileEntry};
use holon_base::{Instant, TabletId};
use holon_kernel::{DiskClient, Shard};
use holon_store::Mutation;
use limits::{NAME_BYTES_MAX, PROGRESS_INTERVAL};
use manifest::Manifest;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

/// No backup has such a name.
const CREATING: &str = "(a backup is made)";

const ROOT: &str = "backups";

const USAGE: &str = "backup create NAME [KEYSPACE [TABLE]], backup list, backup show NAME, backup verify NAME, backup drop NAME; \
                     restore NAME [KEYSPACE [TABLE]]";

/// Takes a line for people.
pub type Report = Rc<dyn Fn(String)>;

/// Names of backups with which something is being done: one thing at a time.
#[derive(Default)]
pub struct AtWork {
    names: RefCell<BTreeSet<String>>,
}

struct Working<'a> {
    of: &'a AtWork,
    name: String,
}

impl AtWork {
    fn begin(&self, name: &str) -> Result<Working<'_>, String> {
        match self.names.borrow_mut().insert(name.to_string()) {
            true => Ok(Working { of: self, name: name.to_string() }),
            false if name == CREATING => Err("another backup is under way on this node".to_string()),
            false => Err(format!("another command is at work on backup {name}: wait until it has ended")),
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.of.names.borrow_mut().remove(&self.name);
    }
}

pub(super) async fn run(service: &Rc<TablesService>, words: &[&str], progress: Report) -> Result<String, String> {
    let disk = service.shard.disk();
    let (command, name, scope) = match *words {
        ["list"] => return list(&disk).await,
        ["create" | "restore", name, ref scope @ ..] if scope.len() <= 2 => (words[0], name, scope),
        ["show" | "verify" | "drop", name] => (words[0], name, &[][..]),
        _ => return Err(format!("say one of: {USAGE}")),
    };
    let place = Place::named(name)?;
    let _working = service.backups.begin(name)?;
    // Other nodes take a second cut of the same node for a sign that the first has come to nothing.
    let _only = (command == "create").then(|| service.backups.begin(CREATING)).transpose()?;
    match command {
        "create" => create::create(service, &place, scope, progress).await,
        "restore" => restore::restore(service, &place, scope, progress).await,
        "show" => show(service, &place).await,
        "verify" => {
            let manifest = place.load(&disk).await?;
            let files: Vec<&FileEntry> = manifest.files.iter().chain(&manifest.batches).collect();
            let schema = schema_of(&manifest, &place)?;
            let teller = Teller::new(&service.shard, progress);
            verify(service, &place, &manifest, &schema, &files, &teller).await?;
            let (count, rows, bytes) = (files.len(), manifest.rows(), manifest.bytes());
            Ok(format!("backup {name} is good: {count} files, {rows} rows, {bytes} bytes"))
        }
        _ => {
            if disk.list(&place.directory).await.map_err(|error| error.to_string())?.is_empty() {
                return Err(format!("there is no backup {name} on this node; see `holon backup list`"));
            }
            // Without its manifest it is none, if this is cut off.
            let gone = disk.remove(&format!("{}/{}", place.directory, manifest::NAME)).await;
            gone.map_err(|error| error.to_string())?;
            files::remove_all(&disk, &place.directory).await.map_err(|error| error.to_string())?;
            Ok(format!("backup {name} is gone"))
        }
    }
}

/// Where a backup lies.
pub struct Place {
    pub name: String,
    pub directory: String,
}

impl Place {
    /// The name becomes part of a path.
    ///
    /// # Errors
    /// Another name, in words.
    pub fn named(name: &str) -> Result<Place, String> {
        let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.starts_with('.') || !name.chars().all(good) {
            let text = "letters, digits, - _ and ., the first not a .";
            return Err(format!("{name:?} cannot name a backup: use 1 to {NAME_BYTES_MAX} {text}"));
        }
        Ok(Place { name: name.to_string(), directory: format!("{ROOT}/{name}") })
    }

    async fn is_finished(&self, disk: &DiskClient) -> Result<bool, String> {
        let entries = disk.list(&self.directory).await.map_err(|error| error.to_string())?;
        Ok(entries.iter().any(|entry| entry.name == manifest::NAME))
    }

    async fn load(&self, disk: &DiskClient) -> Result<Manifest, String> {
        match Manifest::load(disk, &self.directory).await {
            Err(BackupError::Missing { .. }) => {
                let entries = disk.list(&self.directory).await.map_err(|error| error.to_string())?;
                let (name, directory) = (&self.name, &self.directory);
                Err(if entries.is_empty() {
                    format!(
                        "there is no backup {name} on this node: see `holon backup list`, or copy one to {directory} in the data \
                         directory"
                    )
                } else {
                    format!(
                        "backup {name} was not finished, or not copied whole: {directory}/{} is missing",
                        manifest::NAME
                    )
                })
            }
            other => other.map_err(|error| error.to_string()),
        }
    }

    fn of_table(&self, table: &Table) -> String {
        table_directory(&self.directory, table)
    }
}

/// Two tables that differ by the case of a letter have different groups.
fn table_directory(directory: &str, table: &Table) -> String {
    format!("{directory}/data/{}.{}-{}", table.keyspace, table.name, table.group.0)
}

fn file_path(directory: &str, table: &Table, tablet: TabletId) -> String {
    format!("{}/{:05}.rows", table_directory(directory, table), tablet.ordinal())
}

fn batches_path(directory: &str) -> String {
    format!("{directory}/batches.rows")
}

/// What is asked for, of what there is.
fn choose(schema: &Schema, scope: &[&str]) -> Result<Schema, String> {
    let (keyspace, table) = (scope.first().copied(), scope.get(1).copied());
    let part = create::part_of(schema, keyspace, table);
    if let Some(name) = keyspace {
        let found = part.keyspace(name).ok_or(format!("keyspace {name} does not exist"))?;
        if let Some(table) = table
            && found.table(table).is_none()
        {
            return Err(format!("table {name}.{table} does not exist"));
        }
    }
    Ok(part)
}

fn schema_of(manifest: &Manifest, place: &Place) -> Result<Schema, String> {
    decode_schema(&manifest.schema, Rc::default())
        .map_err(|short| format!("the schema in {}/{} cannot be read: {short}", place.directory, manifest::NAME))
}

/// The path of a file of rows or of batches.
fn path_of(place: &Place, schema: &Schema, file: &FileEntry) -> Result<String, String> {
    if file.tablet.group().0 == 0 {
        return Ok(batches_path(&place.directory));
    }
    let table = schema.table_by_group(file.tablet.group());
    let table = table.ok_or_else(|| format!("the manifest of {} names a file of no table", place.directory))?;
    Ok(file_path(&place.directory, table, file.tablet))
}

async fn list(disk: &DiskClient) -> Result<String, String> {
    let mut lines = Vec::new();
    for entry in disk.list(ROOT).await.map_err(|error| error.to_string())? {
        let place = Place { directory: format!("{ROOT}/{}", entry.name), name: entry.name };
        let name = &place.name;
        lines.push(match Manifest::load(disk, &place.directory).await {
            Ok(manifest) => format!("{name}: {}", in_short(&manifest)),
            Err(BackupError::Missing { .. }) => format!("{name}: not finished, or being made"),
            Err(error) => format!("{name}: {error}"),
        });
    }
    if lines.is_empty() { Ok("no backups on this node".to_string()) } else { Ok(lines.join("\n")) }
}

fn in_short(manifest: &Manifest) -> String {
    let scope = if manifest.scope.is_empty() { "everything" } else { &manifest.scope };
    let (time, nodes) = (calendar::timestamp_to_text(manifest.taken_micros.div_euclid(1000)), manifest.nodes);
    let (rows, bytes) = (manifest.rows(), manifest.bytes());
    format!("{time}, {scope} of {nodes} nodes, {rows} rows, {bytes} bytes")
}

async fn show(service: &TablesService, place: &Place) -> Result<String, String> {
    let manifest = place.load(&service.shard.disk()).await?;
    let schema = schema_of(&manifest, place)?;
    let mut lines = vec![format!("{}: {}", place.name, in_short(&manifest))];
    lines.push(format!("made by holon {}, {} accounts", manifest.made_by, manifest.accounts.len()));
    lines.extend(manifest.away.iter().map(|node| format!("node {node} had no part in it")));
    for table in schema.user_keyspaces().flat_map(|keyspace| keyspace.tables.values()) {
        let files = manifest.files.iter().filter(|file| file.tablet.group() == table.group);
        let (rows, bytes) = files.fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes));
        lines.push(format!("{}.{}: {rows} rows, {bytes} bytes", table.keyspace, table.name));
    }
    Ok(lines.join("\n"))
}

/// Reads and checks every byte of some files.
async fn verify(
    service: &TablesService,
    place: &Place,
    manifest: &Manifest,
    schema: &Schema,
    files: &[&FileEntry],
    teller: &Teller,
) -> Result<(), String> {
    let (shard, disk) = (&service.shard, service.shard.disk());
    for (done, file) in files.iter().enumerate() {
        let path = path_of(place, schema, file)?;
        let say = |error: BackupError| error.to_string();
        let mut reader = BlocksReader::open(&disk, &path, manifest.backup, file).await.map_err(say)?;
        while reader.next().await.map_err(say)?.is_some() {
            shard.yield_now().await;
        }
        teller.tell(|| format!("{done} of {} files verified", files.len()));
    }
    Ok(())
}

impl TablesService {
    /// All mutations of a backup with the names of their tables, those of batches that were not carried out too: for checkers,
    /// of small backups.
    ///
    /// # Errors
    /// Text for people.
    pub async fn backup_contents(&self, name: &str) -> Result<Vec<(String, Mutation)>, String> {
        let (disk, place) = (self.shard.disk(), Place::named(name)?);
        let manifest = place.load(&disk).await?;
        let schema = schema_of(&manifest, &place)?;
        let say = |error: BackupError| error.to_string();
        let mut contents = Vec::new();
        for file in manifest.files.iter().chain(&manifest.batches) {
            let path = path_of(&place, &schema, file)?;
            let mut reader = BlocksReader::open(&disk, &path, manifest.backup, file).await.map_err(say)?;
            while let Some(content) = reader.next().await.map_err(say)? {
                let (tablet, mutation) =
                    files::mutation_of(file, content).map_err(|error| format!("{path}: {error}"))?;
                if let Some(table) = schema.table_by_group(tablet.group()) {
                    contents.push((format!("{}.{}", table.keyspace, table.name), mutation));
                }
            }
        }
        Ok(contents)
    }
}

/// Tells of progress, but not more often than anybody reads.
struct Teller {
    shard: Rc<Shard>,
    told: Cell<Instant>,
    report: Report,
}

impl Teller {
    fn new(shard: &Rc<Shard>, report: Report) -> Teller {
        Teller { told: Cell::new(shard.now()), shard: shard.clone(), report }
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        let now = self.shard.now();
        if now.since(self.told.get()) >= PROGRESS_INTERVAL {
            self.told.set(now);
            (self.report)(text());
        }
    }
}
