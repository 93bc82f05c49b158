//! Taking a backup: a cut of the cluster ([`holon_replica::cut`]), whose pages this node merges and writes into files.

use super::files::BlocksWriter;
use super::limits::{AT_ONCE, BATCH_BYTES_MAX};
use super::manifest::Manifest;
use super::{Place, Report, Teller, files};
use crate::describe::statements::{create_keyspace, create_table, create_type};
use crate::schema::codec::encode_schema;
use crate::schema::{Keyspace, Schema, Table};
use crate::service::{TABLES_SERVICE, TablesService};
use crate::tablet::batch_log::{self, Part};
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{ByteWriter, GroupId, Instant, NodeId, TabletId};
use holon_kernel::{DiskBuffer, OpenOptions, join_all};
use holon_replica::ReadRequest;
use holon_replica::cut::{Cut, CutError};
use holon_store::KeyRange;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A backup that is being made.
struct Making<'a> {
    service: &'a TablesService,
    cut: &'a Cut,
    directory: &'a str,
    backup: u64,
    now_seconds: i64,
    /// Tablets that are not read yet, and whether their rows are wanted or their batches only.
    left: RefCell<VecDeque<(Rc<Table>, TabletId, bool)>>,
    files: RefCell<Vec<files::FileEntry>>,
    batches: RefCell<Vec<Part>>,
    batch_bytes: Cell<usize>,
    teller: Teller,
    tablets: usize,
    done: Cell<usize>,
    /// Read so far, some of it perhaps twice.
    rows: Cell<u64>,
    bytes: Cell<u64>,
    /// Somebody else has failed: no more is begun.
    failed: Cell<bool>,
}

/// # Errors
/// Text for people; nothing is left of it.
pub async fn create(
    service: &Rc<TablesService>,
    place: &Place,
    scope: &[&str],
    progress: Report,
) -> Result<String, String> {
    let (shard, disk) = (&service.shard, service.shard.disk());
    if place.is_finished(&disk).await? {
        return Err(format!("there is a backup {} on this node already: drop it, or choose another name", place.name));
    }
    let is_wanted = |table: &Table| {
        let names = [&*table.keyspace, &*table.name];
        scope.iter().zip(names).all(|(asked, name)| *asked == name)
    };
    super::choose(&service.schema(), scope)?;
    let begun = shard.now();
    let schema: RefCell<Rc<Schema>> = RefCell::new(service.schema());
    let wanted = || {
        // As of the cut, as far as any shard had it. Tables that were not asked for may have batches with parts of those that were.
        *schema.borrow_mut() = service.schema();
        let schema = schema.borrow();
        tables(&schema).flat_map(|table| tablets_of(table).map(|tablet| (tablet, is_wanted(table)))).collect()
    };
    let cut = Cut::take(shard, TABLES_SERVICE, wanted, |line| progress(line)).await;
    let schema = schema.into_inner();
    let cut = cut.map_err(|error| format!("{}; nothing was done", in_words(&schema, &error)))?;
    // What is there is left of one that was cut off.
    files::remove_all(&disk, &place.directory).await.map_err(|error| error.to_string())?;
    let made = make(service, &cut, &schema, place, scope, progress).await;
    match made {
        Ok(manifest) => Ok(told(&manifest, place, &cut, begun, shard.now())),
        Err(error) => {
            drop(files::remove_all(&disk, &place.directory).await); // what stays is found by the next one of this name
            Err(format!("{error}; nothing is kept of backup {}", place.name))
        }
    }
}

/// With the name of the table.
fn in_words(schema: &Schema, error: &CutError) -> String {
    let tablet = match error {
        CutError::TooFew { tablet, .. } | CutError::Lost { tablet, .. } | CutError::Moves(tablet) => {
            Some(tablet.group())
        }
        _ => None,
    };
    match tablet.and_then(|group| schema.table_by_group(group)) {
        Some(table) => format!("{}.{}: {error}", table.keyspace, table.name),
        None => error.to_string(),
    }
}

fn tables(schema: &Schema) -> impl Iterator<Item = &Rc<Table>> {
    schema.user_keyspaces().flat_map(|keyspace| keyspace.tables.values())
}

fn tablets_of(table: &Rc<Table>) -> impl Iterator<Item = TabletId> + use<> {
    let group = table.group;
    (0..table.tablets).map(move |ordinal| TabletId::new(group, ordinal))
}

fn told(manifest: &Manifest, place: &Place, cut: &Cut, begun: Instant, now: Instant) -> String {
    let mut text = format!(
        "backup {} is in {} of this node's data directory: {} rows, {} bytes, in {:.1} s; writes waited for {} ms at most",
        place.name,
        place.directory,
        manifest.rows(),
        manifest.bytes(),
        now.since(begun).as_secs_f64(),
        cut.held.as_millis()
    );
    for node in &cut.away {
        text += &format!("\nnode {node} had no part in it: what only that node had acknowledged is missing");
    }
    text
}

async fn make(
    service: &Rc<TablesService>,
    cut: &Cut,
    schema: &Schema,
    place: &Place,
    scope: &[&str],
    progress: Report,
) -> Result<Manifest, String> {
    let disk = service.shard.disk();
    let chosen = super::choose(schema, scope)?;
    let wanted = |table: &Table| chosen.table_by_group(table.group).is_some();
    let left: VecDeque<_> = tables(schema)
        .flat_map(|table| tablets_of(table).map(|tablet| (table.clone(), tablet, wanted(table))))
        .filter(|(_, tablet, with_rows)| *with_rows || !cut.sources(*tablet).is_empty())
        .collect();
    let say = |error: files::BackupError| error.to_string();
    disk.create_dir(&format!("{}/data", place.directory)).await.map_err(|error| error.to_string())?;
    let making = Making {
        service,
        cut,
        directory: &place.directory,
        backup: service.shard.random_u64(),
        now_seconds: service.shard.wall().seconds(),
        tablets: left.len(),
        left: RefCell::new(left),
        files: RefCell::default(),
        batches: RefCell::default(),
        batch_bytes: Cell::new(0),
        teller: Teller::new(&service.shard, progress),
        done: Cell::new(0),
        rows: Cell::new(0),
        bytes: Cell::new(0),
        failed: Cell::new(false),
    };
    join_all((0..AT_ONCE).map(|_| making.work())).await.into_iter().collect::<Result<(), String>>()?;
    let batches = making.write_batches(&chosen).await.map_err(say)?;
    making.write_statements(&chosen).await.map_err(say)?;
    for table in tables(&chosen) {
        let directory = place.of_table(table);
        disk.sync_dir(&directory).await.map_err(|error| error.to_string())?;
    }
    for directory in [format!("{}/data", place.directory), super::ROOT.to_string(), String::new()] {
        disk.sync_dir(&directory).await.map_err(|error| error.to_string())?;
    }
    let mut files = making.files.take();
    files.sort_by_key(|file| file.tablet);
    let manifest = Manifest {
        backup: making.backup,
        taken_micros: cut.wall_micros,
        made_by: env!("CARGO_PKG_VERSION").to_string(),
        scope: scope.join("."),
        nodes: service.shard.map().map_or(1, |map| map.nodes().len() as u32),
        away: cut.away.clone(),
        schema: encode_schema(&chosen),
        accounts: if scope.is_empty() { service.accounts.hashes() } else { Vec::new() },
        files,
        batches,
    };
    manifest.store(&disk, &place.directory).await.map_err(say)?;
    Ok(manifest)
}

impl Making<'_> {
    async fn work(&self) -> Result<(), String> {
        loop {
            let next = self.left.borrow_mut().pop_front();
            let Some((table, tablet, with_rows)) = next.filter(|_| !self.failed.get()) else { return Ok(()) };
            let read = self.read_tablet(&table, tablet, with_rows).await;
            if let Err(error) = read {
                self.failed.set(true);
                return Err(format!("{}.{}, tablet {tablet}: {error}", table.keyspace, table.name));
            }
            self.done.set(self.done.get() + 1);
        }
    }

    async fn read_tablet(&self, table: &Table, tablet: TabletId, with_rows: bool) -> Result<(), String> {
        let directory = super::table_directory(self.directory, table);
        let path = super::file_path(self.directory, table, tablet);
        let disk = self.service.shard.disk();
        if with_rows {
            disk.create_dir(&directory).await.map_err(|error| error.to_string())?;
        }
        let mut sources = self.cut.sources(tablet);
        loop {
            let from = sources.len();
            let file = if with_rows { self.read_rows(tablet, &path, &mut sources).await? } else { None };
            let batches = self.read_batches(tablet, &mut sources).await?;
            if sources.len() == from {
                self.files.borrow_mut().extend(file);
                self.batches.borrow_mut().extend(batches);
                return Ok(());
            }
            // One fell away. What was not acknowledged it alone may have had: some rows of a mutation, and not those of later pages;
            // a part of a batch, and not the row that keeps the others. So all of the tablet is read from the same sources.
            let bytes: usize = batches.iter().map(|(_, mutation)| mutation.len()).sum();
            self.batch_bytes.set(self.batch_bytes.get() - bytes);
            if file.is_some() {
                disk.remove(&path).await.map_err(|error| error.to_string())?;
            }
        }
    }

    /// Batches that began in a tablet and were not carried out.
    async fn read_batches(&self, tablet: TabletId, sources: &mut Vec<NodeId>) -> Result<Vec<Part>, String> {
        let rows_end = Bytes::from_static(&row_key::ROWS_END);
        let mut request = ReadRequest::all_of(vec![KeyRange { start: rows_end, end: None }], self.now_seconds);
        let mut batches = Vec::new();
        while !request.ranges.is_empty() {
            let merged = self.cut.read(tablet, &request, sources).await.map_err(|error| error.to_string())?;
            for (key, row) in merged.rows {
                let visible = row.visible(merged.deleted.covering(&key), self.now_seconds);
                let parts = visible.map(|row| batch_log::parts(&row)).transpose();
                let parts = parts.map_err(|short| format!("a batch is unreadable: {short}"))?.unwrap_or_default();
                let bytes: usize = parts.iter().map(|(_, mutation)| mutation.len()).sum();
                self.batch_bytes.set(self.batch_bytes.get() + bytes);
                if self.batch_bytes.get() > BATCH_BYTES_MAX {
                    let text = "more batches wait to be carried out than a backup takes";
                    return Err(format!("{text} ({BATCH_BYTES_MAX} bytes): try again when all nodes are up"));
                }
                batches.extend(parts);
            }
            request.ranges = merged.rest;
        }
        Ok(batches)
    }

    /// The file of a tablet's rows, if it has any.
    async fn read_rows(
        &self,
        tablet: TabletId,
        path: &str,
        sources: &mut Vec<NodeId>,
    ) -> Result<Option<files::FileEntry>, String> {
        let (shard, disk) = (&self.service.shard, self.service.shard.disk());
        let say = |error: files::BackupError| error.to_string();
        let mut writer = None;
        let rows = KeyRange { start: Bytes::new(), end: Some(Bytes::from_static(&row_key::ROWS_END)) };
        let mut request = ReadRequest::all_of(vec![rows], self.now_seconds);
        while !request.ranges.is_empty() {
            let merged = self.cut.read(tablet, &request, sources).await.map_err(|error| error.to_string())?;
            for mutation in merged.mutations().map_err(|error| error.to_string())? {
                if writer.is_none() {
                    writer = Some(BlocksWriter::create(&disk, path, self.backup, tablet).await.map_err(say)?);
                }
                let (rows, bytes) = (mutation.encoded_rows().len() as u64, mutation.bytes());
                if let Some(writer) = &mut writer {
                    writer.append(bytes, rows).await.map_err(say)?;
                }
                self.rows.set(self.rows.get() + rows);
                self.bytes.set(self.bytes.get() + bytes.len() as u64);
            }
            request.ranges = merged.rest;
            self.teller.tell(|| {
                let (done, all) = (self.done.get(), self.tablets);
                format!("{done} of {all} tablets, {} rows, {} MiB", self.rows.get(), self.bytes.get() >> 20)
            });
            shard.yield_now().await;
        }
        match writer {
            Some(writer) => writer.finish().await.map(Some).map_err(say),
            None => Ok(None),
        }
    }

    /// Parts of batches that were not carried out, of tables that are wanted.
    async fn write_batches(&self, chosen: &Schema) -> Result<Option<files::FileEntry>, files::BackupError> {
        let parts = self.batches.take();
        let wanted = parts.iter().filter(|(tablet, _)| chosen.table_by_group(tablet.group()).is_some());
        let mut writer = None;
        for (tablet, mutation) in wanted {
            let place = TabletId::new(GroupId(0), 0);
            if writer.is_none() {
                let path = super::batches_path(self.directory);
                writer = Some(BlocksWriter::create(&self.service.shard.disk(), &path, self.backup, place).await?);
            }
            let mut content = ByteWriter::with_capacity(8 + mutation.len());
            content.put_u64(tablet.0);
            content.put_slice(mutation);
            if let Some(writer) = &mut writer {
                writer.append(content.as_slice(), 0).await?;
            }
        }
        match writer {
            Some(writer) => writer.finish().await.map(Some),
            None => Ok(None),
        }
    }

    /// For people: what is restored is the schema in the manifest.
    async fn write_statements(&self, chosen: &Schema) -> Result<(), files::BackupError> {
        let disk = self.service.shard.disk();
        let path = format!("{}/schema.cql", self.directory);
        let file = disk.open(&path, OpenOptions { create: true, direct: false }).await?;
        file.write_at(0, DiskBuffer::from(statements(chosen).as_bytes())).await?;
        file.sync().await?;
        Ok(())
    }
}

fn statements(schema: &Schema) -> String {
    let mut parts = Vec::new();
    for keyspace in schema.user_keyspaces() {
        parts.push(create_keyspace(keyspace));
        parts.extend(super::plan::types_in_order(keyspace).iter().map(|user_type| create_type(user_type)));
        parts.extend(keyspace.tables.values().map(|table| create_table(table, false, false)));
    }
    parts.join("\n\n") + "\n"
}

/// What of a schema a backup is asked for.
pub fn part_of(schema: &Schema, keyspace: Option<&str>, table: Option<&str>) -> Schema {
    let keyspaces = schema.user_keyspaces().filter(|found| keyspace.is_none_or(|name| *found.name == *name));
    let cut = |found: &Rc<Keyspace>| {
        let mut part = Keyspace::clone(found);
        part.tables.retain(|name, _| table.is_none_or(|wanted| **name == *wanted));
        Rc::new(part)
    };
    let chosen: BTreeMap<Rc<str>, Rc<Keyspace>> = keyspaces.map(|found| (found.name.clone(), cut(found))).collect();
    Schema::with_keyspaces(chosen, Rc::default())
}
