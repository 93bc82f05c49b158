//! What was decided before a wait must still be right after it: operations of the disk that take long, or fail, while the
//! engine goes on.

mod common;

use common::{NOW, TABLET, options, try_open};
use holon_base::TabletId;
use holon_kernel::testing::{MemoryDisk, TestShard};
use holon_kernel::{Class, Disk, DiskError, DiskErrorKind, DiskOperation, DiskResult, OperationId, Scope};
use holon_store::{
    Cell, CellEntry, Durability, Engine, EngineOptions, KeyRange, Mutation, RecoveryReport, Row, ScanOptions,
    StoreError,
};
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// What a disk does to one operation.
enum Mischief {
    None,
    /// The next one that fits does not complete before [`World::let_go`].
    Hold(fn(&DiskOperation) -> bool),
    /// The next one that fits fails and does nothing.
    Fail(fn(&DiskOperation) -> bool),
    /// The next file to be opened whose name ends so has a bit that is wrong.
    Rot(&'static str),
}

struct State {
    mischief: Mischief,
    held: Option<(OperationId, DiskOperation)>,
    failed: u32,
}

struct SlowDisk {
    disk: MemoryDisk,
    state: Rc<RefCell<State>>,
}

impl Disk for SlowDisk {
    fn submit(&mut self, id: OperationId, operation: DiskOperation) -> Option<DiskResult> {
        let mut state = self.state.borrow_mut();
        match state.mischief {
            Mischief::Hold(fits) if fits(&operation) => {
                state.mischief = Mischief::None;
                state.held = Some((id, operation));
                None
            }
            Mischief::Fail(fits) if fits(&operation) => {
                state.mischief = Mischief::None;
                state.failed += 1;
                Some(Err(DiskError {
                    kind: DiskErrorKind::Io,
                    operation: "remove".to_string(),
                    path: format!("{operation:?}"),
                    detail: "input/output error".to_string(),
                }))
            }
            Mischief::Rot(ending) => {
                match &operation {
                    DiskOperation::Open { path, options } if path.ends_with(ending) && !options.create => {
                        let mut content = self.disk.content(path).expect("it is there");
                        let at = content.len() - 10;
                        content[at] ^= 4;
                        self.disk.replace(path, content);
                        state.mischief = Mischief::None;
                        state.failed += 1;
                    }
                    _ => {}
                }
                self.disk.submit(id, operation)
            }
            Mischief::None | Mischief::Hold(_) | Mischief::Fail(_) => self.disk.submit(id, operation),
        }
    }
}

struct World {
    disk: MemoryDisk,
    state: Rc<RefCell<State>>,
    shard: TestShard,
    engine: Engine,
}

/// Nothing is flushed before it is asked for.
fn roomy(boot: u32) -> EngineOptions {
    let mut options = options(boot, Rc::default());
    options.memtable_bytes = 8 << 20;
    options.log_bytes_max = 8 << 20;
    options
}

impl World {
    fn new() -> World {
        let disk = MemoryDisk::new();
        let state = Rc::new(RefCell::new(State { mischief: Mischief::None, held: None, failed: 0 }));
        let shard = TestShard::with_disk(Box::new(SlowDisk { disk: disk.clone(), state: state.clone() }));
        let handle = shard.shard.clone();
        let engine = shard.block_on(async move {
            let engine = Engine::open(handle, roomy(1)).await.expect("opens");
            engine.recover().await.expect("recovers");
            engine.create_tablet(TABLET).await.expect("creates a tablet");
            engine
        });
        World { disk, state, shard, engine }
    }

    fn run<T: 'static, F: Future<Output = T> + 'static>(&self, work: impl FnOnce(Engine) -> F) -> T {
        self.shard.block_on(work(self.engine.clone()))
    }

    /// Begins work that nobody waits for, as far as it goes.
    fn begin<F: Future<Output = Result<(), StoreError>> + 'static>(&self, work: impl FnOnce(Engine) -> F) {
        let work = work(self.engine.clone());
        self.shard.shard.spawn(Scope::Node, Class::Foreground, async move { work.await.expect("succeeds") });
        self.shard.advance(Duration::ZERO);
    }

    fn write(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let cell = Cell::live(1, vec![number as u8; 2000]);
            let row = Row { cells: vec![CellEntry::new(1, cell)], ..Row::default() };
            let mutation = Mutation::row(number.to_be_bytes(), &row).expect("a mutation");
            self.run(|engine| async move { engine.write(TABLET, mutation, Durability::Sync).await })
                .expect("is written");
        }
    }

    fn flush(&self) {
        self.run(|engine| async move { engine.flush(TABLET).await }).expect("flushes");
    }

    fn mischief(&self, mischief: Mischief) {
        self.state.borrow_mut().mischief = mischief;
    }

    /// What was held completes.
    fn let_go(&self) {
        let (id, operation) = self.state.borrow_mut().held.take().expect("an operation is held");
        let result = self.disk.clone().submit(id, operation).expect("memory completes at once");
        self.shard.shard.complete_disk(id, result);
        self.shard.advance(Duration::ZERO);
    }

    /// The numbers that are there after a crash of the process at this moment.
    fn survivors(&self) -> Result<(Vec<u32>, RecoveryReport), StoreError> {
        let (shard, engine, report) = try_open(&self.disk.deep_copy(), roomy(2))?;
        let page = shard.block_on(async move {
            let options = ScanOptions { rows_max: usize::MAX, bytes_max: usize::MAX, ..ScanOptions::new(NOW) };
            engine.scan(TABLET, KeyRange::all(), options).await
        })?;
        let number = |key: &[u8]| u32::from_be_bytes(key.try_into().expect("four bytes"));
        Ok((page.rows.iter().map(|(key, _)| number(key)).collect(), report))
    }
}

fn takes_a_segment_back(operation: &DiskOperation) -> bool {
    matches!(operation, DiskOperation::Rename { from, to } if from.ends_with(".log") && to.contains("/spare-"))
}

fn removes_a_segment(operation: &DiskOperation) -> bool {
    matches!(operation, DiskOperation::Remove { path } if path.ends_with(".log"))
}

fn removes_a_table(operation: &DiskOperation) -> bool {
    matches!(operation, DiskOperation::Remove { path } if path.ends_with(".table"))
}

/// Store seed 1795458119000362 at commit 748fd78: everything was flushed, so the whole log was let go; while the disk took
/// its time over the first segment, others were filled, and went with it.
#[test]
fn segments_that_are_filled_while_others_are_let_go_stay() {
    let world = World::new();
    world.write(0..20); // beyond the first segment
    world.mischief(Mischief::Hold(takes_a_segment_back));
    world.begin(|engine| async move { engine.flush(TABLET).await });
    assert!(world.state.borrow().held.is_some(), "the first segment is being taken back");
    world.write(20..60); // two more segments, in the log and in memory only
    world.let_go();
    let (found, report) = world.survivors().expect("recovers");
    assert_eq!(found, (0..60).collect::<Vec<u32>>());
    assert_eq!(report.replayed, 40);
    // They go when they are in tables.
    world.flush();
    let (found, report) = world.survivors().expect("recovers");
    assert_eq!(found.len(), 60);
    assert_eq!((report.replayed, report.segments), (0, 2), "the open segment and the one that is ready");
}

#[test]
fn a_segment_that_cannot_be_removed_does_not_leave_a_hole_behind_it() {
    let world = World::new();
    world.write(0..200); // more segments than are kept for reuse
    world.mischief(Mischief::Fail(removes_a_segment));
    world.flush();
    assert_eq!(world.state.borrow().failed, 1, "a segment could not be removed");
    world.write(200..220);
    world.flush();
    world.write(220..224);
    let (found, report) = world.survivors().expect("recovers");
    assert_eq!(found, (0..224).collect::<Vec<u32>>());
    assert_eq!(report.segments, 2, "the open segment and the one that is ready");
}

#[test]
fn a_table_that_is_being_removed_can_be_restored() {
    let world = World::new();
    world.write(0..20);
    world.run(|engine| async move { engine.snapshot(TABLET, "kept").await }).expect("takes a snapshot");
    world.mischief(Mischief::Hold(removes_a_table));
    world.begin(|engine| async move { engine.truncate(TABLET).await });
    assert!(world.state.borrow().held.is_some(), "the table is being removed");
    world.begin(|engine| async move { engine.restore(TABLET, "kept").await });
    world.let_go();
    let (found, _) = world.survivors().expect("recovers");
    assert_eq!(found, (0..20).collect::<Vec<u32>>());
}

/// It is found when it is opened, while its rows are still in memory: nobody who waits for the flush, as a node that stops or
/// starts, has to hear of it.
#[test]
fn a_file_that_is_damaged_when_it_was_just_written_is_written_again() {
    let world = World::new();
    world.write(0..4);
    world.mischief(Mischief::Rot(".table"));
    world.flush();
    assert_eq!(world.state.borrow().failed, 1);
    let page = world.run(|engine| async move { engine.scan(TABLET, KeyRange::all(), ScanOptions::new(NOW)).await });
    assert_eq!(page.expect("is read").rows.len(), 4);
    assert_eq!(world.disk.paths().iter().filter(|path| path.ends_with(".table")).count(), 1, "the bad one is gone");
}

#[test]
fn a_flush_that_waits_for_the_disk_does_not_hold_up_that_of_another_tablet() {
    const OTHER: TabletId = TabletId(0x2_0000);
    let world = World::new();
    world.write(0..4);
    world.mischief(Mischief::Hold(|operation| matches!(operation, DiskOperation::Sync { .. })));
    world.begin(|engine| async move { engine.flush(TABLET).await });
    assert!(world.state.borrow().held.is_some(), "its file is being synced");
    let row = Row { cells: vec![CellEntry::new(1, Cell::live(1, vec![1; 100]))], ..Row::default() };
    let mutation = Mutation::row(b"other", &row).expect("a mutation");
    world
        .run(|engine| async move {
            engine.create_tablet(OTHER).await?;
            engine.write(OTHER, mutation, Durability::Sync).await?;
            engine.flush(OTHER).await
        })
        .expect("flushes");
    let tables = |tablet| world.engine.tablet_stats(tablet).expect("is there").tables;
    assert_eq!((tables(TABLET), tables(OTHER)), (0, 1));
    world.let_go();
    assert_eq!(tables(TABLET), 1);
}

#[test]
fn writes_that_wait_for_room_cost_nothing_while_they_wait_and_come_in_their_order() {
    const WRITES: u32 = 4000;
    let disk = MemoryDisk::new();
    let mut tight = options(1, Rc::default());
    tight.memtable_bytes = 16 << 10;
    tight.queue_bytes_max = 4 << 10;
    let (shard, engine, _) = try_open(&disk, tight).expect("opens");
    let (before, handle) = (shard.shard.polls(), shard.shard.clone());
    let order: Vec<u32> = shard.block_on(async move {
        engine.create_tablet(TABLET).await.expect("creates a tablet");
        let done = Rc::new(RefCell::new(Vec::new()));
        let one = |number: u32| {
            let (engine, done) = (engine.clone(), done.clone());
            async move {
                let row = Row { cells: vec![CellEntry::new(1, Cell::live(1, vec![0; 100]))], ..Row::default() };
                let mutation = Mutation::row(number.to_be_bytes(), &row).expect("a mutation");
                engine.write(TABLET, mutation, Durability::Sync).await.expect("is written");
                done.borrow_mut().push(number);
            }
        };
        (0..WRITES).for_each(|number| handle.spawn(Scope::Node, Class::Foreground, one(number)));
        while done.borrow().len() < WRITES as usize {
            handle.sleep(Duration::from_millis(100)).await;
        }
        done.take()
    });
    assert!(order.is_sorted() && order.len() == WRITES as usize, "first come, first served");
    let polls = shard.shard.polls() - before;
    // Begun, let in, written, and its share of flushes; some thousand for each if all looked whenever one was let in.
    assert!(polls < u64::from(WRITES) * 20, "{polls} polls for {WRITES} writes");
}
