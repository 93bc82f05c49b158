//! What is kept count of is what a count of all gives.

use super::*;
use holon_kernel::OpenOptions;

fn used_in_all(disk: &SimDiskState) -> usize {
    let ids: BTreeSet<_> = disk.visible.files.values().collect();
    ids.into_iter().map(|id| disk.inodes[id].visible.len()).sum()
}

fn links_of_all(disk: &SimDiskState) -> BTreeMap<InodeId, usize> {
    let mut links: BTreeMap<InodeId, usize> = disk.inodes.keys().map(|id| (*id, 0)).collect();
    disk.visible.files.values().for_each(|id| *links.entry(*id).or_default() += 1);
    links
}

fn any_operation(random: &mut Random, open: &[FileId]) -> DiskOperation {
    let path = |random: &mut Random| format!("d/{}", random.below(6));
    let file = if open.is_empty() { FileId(0) } else { open[random.below(open.len() as u64) as usize] };
    let (from, to) = (path(random), path(random));
    let length = random.below(5_000);
    match random.below(9) {
        0 | 1 => DiskOperation::Open { path: from, options: OpenOptions { create: true, direct: false } },
        2 => DiskOperation::Close { file },
        3 => DiskOperation::Rename { from, to },
        4 => DiskOperation::Link { from, to },
        5 => DiskOperation::Remove { path: from },
        6 => DiskOperation::Truncate { file, length },
        7 => DiskOperation::Allocate { file, length },
        _ => {
            let mut buffer = DiskBuffer::with_capacity(length as usize);
            buffer.extend_from_slice(&vec![1; length as usize]);
            DiskOperation::WriteAt { file, offset: random.below(5_000), buffer, durable: random.chance(1, 2) }
        }
    }
}

#[test]
fn what_is_used_is_what_all_named_files_take() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let faults = DiskFaults { write_error_per_million: 50_000, misdirect_per_million: 50_000, ..DiskFaults::NONE };
        let disk = SimDiskState::new(seed, faults, Faults::default());
        let mut disk = disk.borrow_mut();
        let mut open = Vec::new();
        disk.execute(DiskOperation::CreateDir { path: "d".to_string() }).expect("it is new");
        disk.execute(DiskOperation::SyncDir { path: String::new() }).expect("it is there");
        for _ in 0..500 {
            let operation = any_operation(&mut random, &open);
            if let Ok(DiskOutput::Opened { file, .. }) = disk.execute(operation) {
                open.push(file);
            }
            if random.chance(1, 50) {
                disk.execute(DiskOperation::SyncDir { path: "d".to_string() }).expect("it is there");
            }
            if random.chance(1, 100) {
                disk.crash();
                open.clear();
            }
            assert_eq!(disk.used(), used_in_all(&disk));
            let links: BTreeMap<InodeId, usize> = disk.inodes.iter().map(|(id, inode)| (*id, inode.links)).collect();
            assert_eq!(links, links_of_all(&disk));
        }
    }
}
