//! Commands of the administrator. Each runs on every shard and does what concerns the tablets that live there; the
//! answer is text for people.
//!
//! | words | what |
//! | --- | --- |
//! | `flush [keyspace [table]]` | memtables into files |
//! | `compact [keyspace [table]]` | flush, then one run a tablet |
//! | `snapshot NAME [keyspace [table]]` | keep the files under a name |
//! | `restore NAME [keyspace [table]]` | go back to a snapshot |
//! | `snapshots [keyspace [table]]` | the names there are |
//! | `drop-snapshot NAME [keyspace [table]]` | forget one |
//! | `verify [keyspace [table]]` | read and check every byte |
//! | `repair [keyspace [table]]` | compare the replicas of the tablets this node reads first, and make them equal |
//! | `info [keyspace [table]]` | sizes |
//! | `backup …` | of the whole cluster: [`super::backup`] |
//! | `user create NAME PASSWORD`, `user password NAME PASSWORD`, `user drop NAME`, `user list` | accounts (`holon` reads the password from the terminal or a pipe) |

use super::TablesService;
use crate::front::accounts::AccountChange;
use crate::schema::Table;
use holon_base::{Instant, TabletId};
use holon_kernel::Shard;
use holon_replica::fill::FillProgress;
use holon_store::{Engine, Progress, StoreError};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Snapshot names become names of directories, bytes.
const SNAPSHOT_NAME_BYTES_MAX: usize = 64;

const USAGE: &str = "flush, compact, verify, repair, info, snapshots [KEYSPACE [TABLE]]; snapshot, restore, drop-snapshot NAME \
                     [KEYSPACE [TABLE]]; user create|password|drop NAME; user list";

type Report = Rc<dyn Fn(String)>;

pub(super) async fn run(service: Rc<TablesService>, words: Vec<String>, progress: Report) -> Result<String, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some((&command, arguments)) = words.split_first() else {
        return Err(format!("no command; there are: {USAGE}"));
    };
    match command {
        "user" => user(&service, arguments).await,
        // Once for the whole cluster, by whatever shard is asked: not by each of them.
        "backup" if service.shard.id().0 != 0 => Ok(String::new()),
        "backup" => super::backup::run(&service, arguments, progress).await,
        "snapshot" | "restore" | "drop-snapshot" => {
            let Some((&name, scope)) = arguments.split_first() else {
                return Err(format!("{command} needs the name of a snapshot"));
            };
            check_snapshot_name(name)?;
            on_tablets(&service, command, Some(name), scope, progress).await
        }
        "repair" => repair(&service, arguments, progress).await,
        "flush" | "compact" | "verify" | "info" | "snapshots" => {
            on_tablets(&service, command, None, arguments, progress).await
        }
        other => Err(format!("no command {other:?}; there are: {USAGE}")),
    }
}

/// A table and its tablets on this shard.
struct Chosen {
    table: Rc<Table>,
    tablets: Vec<TabletId>,
}

fn choose(service: &TablesService, scope: &[&str]) -> Result<Vec<Chosen>, String> {
    let schema = service.schema();
    let (keyspace, table) = match *scope {
        [] => (None, None),
        [keyspace] => (Some(keyspace), None),
        [keyspace, table] => (Some(keyspace), Some(table)),
        _ => return Err(format!("name a keyspace and a table at most, not {}", scope.join(" "))),
    };
    if let Some(name) = keyspace {
        let found = schema.keyspace(name).ok_or(format!("keyspace {name} does not exist"))?;
        if let Some(table) = table
            && found.table(table).is_none()
        {
            return Err(format!("table {name}.{table} does not exist"));
        }
    }
    let (me, shards) = (service.shard.id(), service.shard.shards());
    let tables = schema.user_keyspaces().flat_map(|keyspace| keyspace.tables.values());
    let wanted = tables.filter(|found| {
        keyspace.is_none_or(|name| *found.keyspace == *name) && table.is_none_or(|name| *found.name == *name)
    });
    let chosen = wanted.map(|table| {
        let tablets = (0..table.tablets).map(|ordinal| TabletId::new(table.group, ordinal));
        let here = |tablet: &TabletId| tablet.shard(shards) == me && service.tablets.get(*tablet).is_some();
        Chosen { table: table.clone(), tablets: tablets.filter(here).collect() }
    });
    Ok(chosen.collect())
}

/// Those that have the snapshot. Looked at before anything is changed: half a snapshot is none, but for dropping it.
async fn with_snapshot(engine: &Engine, all: Vec<Chosen>, name: &str, whole: bool) -> Result<Vec<Chosen>, String> {
    let is_elsewhere = all.iter().any(|chosen| chosen.tablets.is_empty());
    let mut found = Vec::new();
    for chosen in all.into_iter().filter(|chosen| !chosen.tablets.is_empty()) {
        let mut kept = 0;
        for tablet in &chosen.tablets {
            let names = engine.snapshots(*tablet).await.map_err(|error| error.to_string())?;
            kept += usize::from(names.iter().any(|known| known == name));
        }
        if kept == chosen.tablets.len() || (kept > 0 && !whole) {
            found.push(chosen);
        } else if kept > 0 {
            let table = format!("{}.{}", chosen.table.keyspace, chosen.table.name);
            return Err(format!("snapshot {name} of {table} is not whole: it was cut off while it was made"));
        }
    }
    // Tablets of the other tables live on other shards, which look for themselves.
    if found.is_empty() && !is_elsewhere {
        return Err(format!("there is no snapshot {name}; see `holon tables snapshots`"));
    }
    Ok(found)
}

/// Each tablet is compared by the first of its replicas, so a command on each node repairs everything once.
async fn repair(service: &TablesService, scope: &[&str], progress: Report) -> Result<String, String> {
    let shard = &service.shard;
    let mut lines = Vec::new();
    for chosen in choose(service, scope)? {
        let table = format!("{}.{}", chosen.table.keyspace, chosen.table.name);
        let (tablets, mut rows) = (chosen.tablets.iter().copied(), 0);
        let tablets = tablets.filter(|tablet| service.repairs.compares(*tablet));
        let (repairs, mut compared, told) = (&service.coordinator.counters.repairs, 0, Cell::new(shard.now()));
        let before = repairs.get();
        for tablet in tablets {
            let tell = |so_far: FillProgress| {
                if shard.now().since(told.get()) >= PROGRESS_INTERVAL {
                    told.set(shard.now());
                    progress(format!("repair {table}: {} rows compared", rows + so_far.rows));
                }
            };
            let grace = i64::from(chosen.table.options.gc_grace_seconds);
            let repaired = service.repairs.repair(tablet, grace, true, tell).await;
            let repaired = repaired
                .map_err(|error| format!("repair {table}, tablet {tablet}: {error}; try again when all are up"))?;
            rows += repaired.rows;
            compared += 1;
        }
        if compared > 0 {
            let fixed = repairs.get() - before;
            lines.push(format!(
                "{table}: {compared} tablets, {rows} rows compared, {fixed} mutations to replicas that lacked them"
            ));
        }
    }
    if lines.is_empty() { Ok("nothing here".to_string()) } else { Ok(lines.join("\n")) }
}

async fn on_tablets(
    service: &TablesService,
    command: &str,
    name: Option<&str>,
    scope: &[&str],
    progress: Report,
) -> Result<String, String> {
    let engine = service.engine().ok_or("the node is starting or stopping")?;
    let mut lines = Vec::new();
    let mut all = choose(service, scope)?;
    if matches!(command, "restore" | "drop-snapshot") {
        all = with_snapshot(&engine, all, name.unwrap_or_default(), command == "restore").await?;
    }
    all.retain(|chosen| !chosen.tablets.is_empty());
    let progress =
        Rc::new(Teller { told: Cell::new(service.shard.now()), shard: service.shard.clone(), tell: progress });
    for chosen in all {
        let table = format!("{}.{}", chosen.table.keyspace, chosen.table.name);
        let mut total = Total::default();
        let mut bad = Vec::new();
        for tablet in chosen.tablets {
            let step = Step { engine: &engine, tablet, table: &table, teller: progress.clone() };
            let done = step.run(command, name.unwrap_or_default(), &mut total).await;
            if command == "restore" {
                service.repairs.forget(tablet).await;
            }
            let done = done.map_err(|error| format!("{command} {table}, tablet {tablet}: {error}"));
            // All damage there is wants to be known.
            match done {
                Err(error) if command == "verify" => bad.push(error),
                done => done?,
            }
        }
        if !bad.is_empty() {
            return Err(bad.join("\n"));
        }
        lines.push(format!("{table}: {}", total.describe(command)));
    }
    if lines.is_empty() {
        return Ok("nothing here".to_string());
    }
    Ok(lines.join("\n"))
}

/// What was found or done for a table on this shard.
#[derive(Default)]
struct Total {
    tablets: u64,
    rows: u64,
    bytes: u64,
    memory_bytes: u64,
    files: u64,
    blocks: u64,
    tombstones: u64,
    names: Vec<String>,
}

impl Total {
    fn describe(&self, command: &str) -> String {
        let Total { tablets, rows, bytes, memory_bytes, files, blocks, tombstones, .. } = self;
        match command {
            "verify" => format!("{tablets} tablets good: {files} files, {bytes} bytes, {blocks} blocks, {rows} rows"),
            "info" => format!(
                "{tablets} tablets, {files} files of {bytes} bytes with {rows} rows and {tombstones} tombstones, \
                 {memory_bytes} bytes in memory"
            ),
            "snapshots" if self.names.is_empty() => "none".to_string(),
            "snapshots" => self.names.join(", "),
            _ => format!("{tablets} tablets done"),
        }
    }
}

struct Step<'a> {
    engine: &'a Engine,
    tablet: TabletId,
    table: &'a str,
    teller: Rc<Teller>,
}

/// Tells of progress, but not more often than anybody reads.
struct Teller {
    shard: Rc<Shard>,
    told: Cell<Instant>,
    tell: Report,
}

impl Step<'_> {
    async fn run(self, command: &str, name: &str, total: &mut Total) -> Result<(), StoreError> {
        let (engine, tablet) = (self.engine, self.tablet);
        match command {
            "flush" => engine.flush(tablet).await?,
            "compact" => engine.compact(tablet, self.teller("compacting")).await?,
            "snapshot" => engine.snapshot(tablet, name).await?,
            "restore" => engine.restore(tablet, name).await?,
            "drop-snapshot" => engine.drop_snapshot(tablet, name).await?,
            "snapshots" => {
                for found in engine.snapshots(tablet).await? {
                    if !total.names.contains(&found) {
                        total.names.push(found);
                    }
                }
            }
            "verify" => {
                let report = engine.verify(tablet, self.teller("verifying")).await?;
                total.files += report.files;
                total.bytes += report.bytes;
                total.blocks += report.blocks;
                total.rows += report.rows;
            }
            _ => {
                let stats = engine.tablet_stats(tablet)?;
                total.files += stats.tables;
                total.bytes += stats.table_bytes;
                total.rows += stats.table_rows;
                total.tombstones += stats.tombstones;
                total.memory_bytes += stats.memtable_bytes;
            }
        }
        total.tablets += 1;
        Ok(())
    }

    fn teller(&self, doing: &'static str) -> impl FnMut(Progress) + use<> {
        let (teller, place) = (self.teller.clone(), format!("{}, tablet {}", self.table, self.tablet));
        move |Progress { bytes_done, bytes_total }| {
            let now = teller.shard.now();
            if now.since(teller.told.get()) >= PROGRESS_INTERVAL {
                teller.told.set(now);
                (teller.tell)(format!("{doing} {place}: {} of {} MiB", bytes_done >> 20, bytes_total >> 20));
            }
        }
    }
}

/// The name becomes part of a path.
fn check_snapshot_name(name: &str) -> Result<(), String> {
    let good = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    if name.is_empty() || name.len() > SNAPSHOT_NAME_BYTES_MAX || !name.chars().all(good) {
        return Err(format!(
            "{name:?} cannot name a snapshot: use 1 to {SNAPSHOT_NAME_BYTES_MAX} letters, digits, - and _"
        ));
    }
    Ok(())
}

/// Accounts belong to the node, not to a shard: shard 0 does it, the others have nothing to say.
async fn user(service: &Rc<TablesService>, arguments: &[&str]) -> Result<String, String> {
    if service.shard.id().0 != 0 {
        return Ok(String::new());
    }
    let made = match *arguments {
        ["list"] => return Ok(service.accounts.names().join("\n")),
        ["create", name, password] => service.accounts.change(&service.shard, name, password, true).await,
        ["password", name, password] => service.accounts.change(&service.shard, name, password, false).await,
        ["drop", name] => Ok(AccountChange::Drop { name: name.to_string() }),
        _ => {
            let text = "say user create NAME, user password NAME (the password is then read from the terminal or a pipe), \
                        user drop NAME, or user list";
            return Err(text.to_string());
        }
    };
    let change = made.map_err(|error| error.to_string())?;
    service.change_account(change).await.map_err(|error| error.to_string())?;
    Ok(format!("{} {}", arguments.first().unwrap_or(&""), arguments.get(1).unwrap_or(&"")))
}
