//! The kernel's suite on real files, and what only real files have.

use super::*;
use holon_kernel::testing::TestShard;
use holon_kernel::{OpenOptions, disk_suite};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// A directory of its own, removed at the end.
pub(crate) struct TestDir {
    pub(crate) path: PathBuf,
}

impl TestDir {
    pub(crate) fn new(name: &str) -> TestDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("holon-edge-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        TestDir { path }
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

type Completed = mpsc::Receiver<(OperationId, DiskResult)>;

fn disk(place: &TestDir) -> (RealDisk, Completed) {
    let (sender, completed) = mpsc::channel();
    let data = Arc::new(DataDir::open(&place.path).expect("data directory"));
    let sender = Mutex::new(sender);
    let completions: Completions = Arc::new(move |id, result| {
        drop(sender.lock().expect("lock").send((id, result)));
    });
    (RealDisk::new(data, DiskPool::new(4), completions), completed)
}

/// Runs a future of a shard over real files to its end.
fn block_on(place: &TestDir, future: impl FnOnce(holon_kernel::DiskClient) -> holon_kernel::LocalFuture<()>) {
    let (disk, completed) = disk(place);
    let test = TestShard::with_disk(Box::new(disk));
    let done = std::rc::Rc::new(std::cell::Cell::new(false));
    let (set, work) = (done.clone(), future(test.shard.disk()));
    test.shard.spawn(holon_kernel::Scope::Node, holon_kernel::Class::Foreground, async move {
        work.await;
        set.set(true);
    });
    while test.shard.run_ready(1024) {}
    while !done.get() {
        let (id, result) = completed.recv_timeout(Duration::from_secs(30)).expect("an operation never completed");
        test.shard.complete_disk(id, result);
        while test.shard.run_ready(1024) {}
    }
}

#[test]
fn the_kernels_suite_passes_on_files() {
    let place = TestDir::new("suite");
    block_on(&place, |disk| Box::pin(async move { disk_suite::run(&disk).await }));
}

#[test]
fn paths_never_leave_the_data_directory() {
    let outside = TestDir::new("outside");
    let place = TestDir::new("inside");
    std::fs::write(outside.path.join("secret"), b"x").expect("write");
    let absolute = outside.path.join("secret").display().to_string();
    let sideways = format!("../{}/secret", outside.path.file_name().expect("name").to_string_lossy());
    block_on(&place, move |disk| {
        Box::pin(async move {
            let options = OpenOptions { create: true, direct: false };
            for path in [absolute.as_str(), sideways.as_str(), "", ".", "a/../b", "a//b", "/", "a/", "nul\0"] {
                assert!(disk.open(path, options).await.is_err(), "opened {path:?}");
                assert!(disk.remove(path).await.is_err(), "removed {path:?}");
                assert!(disk.create_dir(path).await.is_err(), "made {path:?}");
                assert!(disk.rename("lock", path).await.is_err(), "renamed to {path:?}");
                assert!(disk.link("lock", path).await.is_err(), "linked to {path:?}");
            }
            assert!(disk.list("..").await.is_err());
        })
    });
    assert!(outside.path.join("secret").exists());
}

#[test]
fn what_the_page_cache_holds_is_answered_at_once() {
    let place = TestDir::new("cache");
    std::fs::write(place.path.join("file"), vec![7u8; 10_000]).expect("write");
    let (mut disk, completed) = disk(&place);
    let open = DiskOperation::Open { path: "file".to_string(), options: OpenOptions::default() };
    assert!(disk.submit(OperationId(1), open).is_none());
    let (_, opened) = completed.recv_timeout(Duration::from_secs(30)).expect("open");
    let Ok(DiskOutput::Opened { file, length: 10_000 }) = opened else { panic!("{opened:?}") };
    for (offset, length, expected) in [(0, 4096, 4096), (9_000, 4096, 1_000), (20_000, 10, 0)] {
        match disk.submit(OperationId(2), DiskOperation::ReadAt { file, offset, length }) {
            Some(Ok(DiskOutput::Read(bytes))) => assert_eq!(bytes, vec![7u8; expected]),
            // The file system of the temporary directory may not offer reads that do not wait.
            None => match completed.recv_timeout(Duration::from_secs(30)).expect("read") {
                (OperationId(2), Ok(DiskOutput::Read(bytes))) => assert_eq!(bytes, vec![7u8; expected]),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_failed_sync_poisons_the_file_for_good() {
    let place = TestDir::new("poison");
    let (disk, _completed) = disk(&place);
    // The read end of a pipe cannot be synced: the one honest way to make fdatasync fail without privileges.
    let (pipe, _writer) = rustix::pipe::pipe().expect("pipe");
    let file = disk.files.insert(OpenFile {
        path: "pipe".to_string(),
        plain: File::from(pipe),
        direct: None,
        direct_works: AtomicBool::new(false),
        poisoned: AtomicBool::new(false),
        nowait_works: AtomicBool::new(true),
    });
    let failed = operations::run(&disk.files, DiskOperation::Sync { file }).expect_err("sync of a pipe");
    assert_eq!(failed.kind, DiskErrorKind::Io);
    let buffer = holon_kernel::DiskBuffer::from(&b"x"[..]);
    for operation in [
        DiskOperation::Sync { file },
        DiskOperation::ReadAt { file, offset: 0, length: 1 },
        DiskOperation::WriteAt { file, offset: 0, buffer, durable: true },
        DiskOperation::Truncate { file, length: 0 },
        DiskOperation::Allocate { file, length: 1 },
    ] {
        let error = operations::run(&disk.files, operation).expect_err("poisoned");
        assert_eq!(error.kind, DiskErrorKind::Poisoned, "{error}");
    }
}

#[test]
fn unaligned_writes_to_direct_files_are_refused_not_torn() {
    let place = TestDir::new("direct");
    block_on(&place, |disk| {
        Box::pin(async move {
            let file = disk.open("file", OpenOptions { create: true, direct: true }).await.expect("open");
            let refused = file.write_at(1, holon_kernel::testing::buffer(b"x")).await;
            // Where direct IO is not offered the same write is an ordinary one.
            if let Err(error) = refused {
                assert!(error.to_string().contains("aligned"), "{error}");
            }
        })
    });
}
