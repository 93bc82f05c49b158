//! The one test-suite of the [`Disk`](crate::Disk) contract, run on every implementation: memory, simulated, real.
//!
//! It covers what a disk promises while it works. What it may do when it fails is for `sim` to act out.

use crate::disk::{DISK_ALIGNMENT_BYTES, DiskErrorKind, OpenOptions};
use crate::disk_client::DiskClient;
use crate::testing::buffer;

const CREATE: OpenOptions = OpenOptions { create: true, direct: false };
const EXISTING: OpenOptions = OpenOptions { create: false, direct: false };

/// Runs every case on an empty disk.
///
/// # Panics
/// When the disk breaks its contract; the message says which case.
pub async fn run(disk: &DiskClient) {
    files_hold_what_was_written(disk).await;
    direct_files_take_aligned_writes(disk).await;
    lengths_change_by_allocate_and_truncate(disk).await;
    names_come_and_go(disk).await;
    errors_have_their_kinds(disk).await;
    operations_in_flight_together_all_complete(disk).await;
}

async fn files_hold_what_was_written(disk: &DiskClient) {
    disk.create_dir("suite/nested").await.expect("create_dir");
    disk.create_dir("suite/nested").await.expect("create_dir of an existing directory is fine");
    let file = disk.open("suite/a", CREATE).await.expect("open");
    assert_eq!(file.length(), 0);
    let back = file.write_at(0, buffer(b"hello world")).await.expect("write");
    assert_eq!(back.as_slice(), b"hello world", "the buffer comes back as it was");
    file.write_durably_at(6, buffer(b"there")).await.expect("a durable overwrite needs no alignment in a plain file");
    file.sync().await.expect("sync");
    disk.sync_dir("suite").await.expect("sync_dir");
    assert_eq!(&file.read_at(0, 64).await.expect("read")[..], b"hello there", "a read ends at the end of the file");
    assert_eq!(&file.read_at(6, 3).await.expect("read")[..], b"the");
    assert_eq!(file.read_at(100, 3).await.expect("read past the end").len(), 0);
    file.write_at(14, buffer(b"!")).await.expect("write past the end");
    assert_eq!(&file.read_at(9, 9).await.expect("read")[..], b"re\0\0\0!", "the hole reads as zeroes");
    drop(file);
    assert_eq!(disk.open("suite/a", EXISTING).await.expect("open again").length(), 15);
}

async fn direct_files_take_aligned_writes(disk: &DiskClient) {
    let file = disk.open("suite/direct", OpenOptions { create: true, direct: true }).await.expect("open direct");
    file.allocate(4 * DISK_ALIGNMENT_BYTES as u64).await.expect("allocate");
    for block in 0..4u8 {
        let content = vec![block + 1; DISK_ALIGNMENT_BYTES];
        file.write_at(u64::from(block) * DISK_ALIGNMENT_BYTES as u64, buffer(&content)).await.expect("write");
    }
    file.sync().await.expect("sync");
    let content = vec![9; DISK_ALIGNMENT_BYTES];
    let back = file.write_durably_at(DISK_ALIGNMENT_BYTES as u64, buffer(&content)).await.expect("durable write");
    assert_eq!(back.as_slice(), content, "the buffer comes back as it was");
    assert_eq!(file.read_at(2 * DISK_ALIGNMENT_BYTES as u64 - 1, 2).await.expect("read")[..], [9, 3]);
    let read = file.read_at(3 * DISK_ALIGNMENT_BYTES as u64 - 1, 2).await.expect("unaligned reads are allowed");
    assert_eq!(&read[..], [3, 4]);
}

async fn lengths_change_by_allocate_and_truncate(disk: &DiskClient) {
    let file = disk.open("suite/length", CREATE).await.expect("open");
    file.write_at(0, buffer(b"abc")).await.expect("write");
    file.allocate(10).await.expect("allocate");
    assert_eq!(&file.read_at(0, 20).await.expect("read")[..], b"abc\0\0\0\0\0\0\0");
    file.allocate(5).await.expect("allocate never shortens");
    assert_eq!(file.read_at(0, 20).await.expect("read").len(), 10);
    file.truncate(2).await.expect("truncate");
    assert_eq!(&file.read_at(0, 20).await.expect("read")[..], b"ab");
}

async fn names_come_and_go(disk: &DiskClient) {
    let file = disk.open("suite/from", CREATE).await.expect("open");
    file.write_at(0, buffer(b"moved")).await.expect("write");
    disk.link("suite/from", "suite/nested/linked").await.expect("link");
    disk.rename("suite/from", "suite/length").await.expect("a rename replaces");
    let renamed = disk.open("suite/length", EXISTING).await.expect("open renamed");
    assert_eq!(&renamed.read_at(0, 9).await.expect("read")[..], b"moved");
    disk.remove("suite/length").await.expect("remove");
    disk.remove("suite/length").await.expect("removing what is gone is fine");
    assert_eq!(&renamed.read_at(0, 9).await.expect("an open file outlives its name")[..], b"moved");
    let linked = disk.open("suite/nested/linked", EXISTING).await.expect("the link outlives the name");
    assert_eq!(&linked.read_at(0, 9).await.expect("read")[..], b"moved");
    let names: Vec<(String, bool, u64)> =
        disk.list("suite").await.expect("list").into_iter().map(|e| (e.name, e.is_directory, e.length)).collect();
    let expected = [("a", false, 15), ("direct", false, 4 * DISK_ALIGNMENT_BYTES as u64)];
    for (name, is_directory, length) in expected {
        assert!(names.contains(&(name.to_string(), is_directory, length)), "{name} in {names:?}");
    }
    assert!(names.iter().any(|(name, is_directory, _)| name == "nested" && *is_directory), "{names:?}");
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(disk.list("suite/none").await.expect("a missing directory lists as empty"), []);
    disk.remove("suite/nested/linked").await.expect("remove");
    disk.remove_dir("suite/nested").await.expect("remove_dir");
}

async fn errors_have_their_kinds(disk: &DiskClient) {
    let missing = disk.open("suite/missing", EXISTING).await.err().expect("open of a missing file fails");
    assert_eq!(missing.kind, DiskErrorKind::NotFound);
    assert!(missing.to_string().contains("suite/missing"), "{missing}");
    disk.open("suite/x", CREATE).await.expect("open");
    disk.open("suite/y", CREATE).await.expect("open");
    let exists = disk.link("suite/x", "suite/y").await.expect_err("link onto an existing name fails");
    assert_eq!(exists.kind, DiskErrorKind::AlreadyExists);
    assert_eq!(disk.rename("suite/missing", "suite/z").await.expect_err("rename").kind, DiskErrorKind::NotFound);
    assert!(disk.remove_dir("suite").await.is_err(), "a directory with entries stays");
}

async fn operations_in_flight_together_all_complete(disk: &DiskClient) {
    let file = disk.open("suite/parallel", CREATE).await.expect("open");
    let writes = (0..64u64).map(|n| {
        let file = file.clone();
        async move { file.write_at(n * 8, buffer(&n.to_le_bytes())).await }
    });
    for written in crate::join_all(writes).await {
        written.expect("write");
    }
    let reads = crate::join_all((0..64u64).map(|n| {
        let file = file.clone();
        async move { file.read_at(n * 8, 8).await }
    }));
    for (n, read) in reads.await.into_iter().enumerate() {
        assert_eq!(&read.expect("read")[..], (n as u64).to_le_bytes());
    }
}
