//! The process and the machine it runs on, as Linux tells.

use rustix::process::Resource;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    pub resident_bytes: u64,
    pub cpu: Duration,
    pub open_files: u64,
    pub open_files_max: u64,
    pub threads: u64,
}

/// What `/proc/self` says; zero for what it does not.
pub fn process_figures() -> ProcessFigures {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let usage = rustix::process::getrlimit(Resource::Nofile);
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    ProcessFigures {
        resident_bytes: field("VmRSS:") * 1024,
        cpu: cpu_time(),
        open_files: std::fs::read_dir("/proc/self/fd").map(|entries| entries.count() as u64).unwrap_or(0),
        open_files_max: usage.current.unwrap_or(u64::MAX),
        threads: field("Threads:"),
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The memory this process may count on: the machine's, or what its control group allows if that is less.
pub fn machine_memory_bytes() -> Option<u64> {
    let information = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = information.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)))
}

/// Raises the limit of open files to what the system allows this process: tables and connections each need one.
pub fn raise_open_files_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// From now on a panic on any thread ends the process with code 101, after its message: a shard whose state may be half-changed must
/// not go on, and the log brings back everything that was acknowledged.
pub fn end_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |information| {
        report(information);
        std::process::exit(101);
    }));
}

/// How often a node that ends with another process looks whether that is still there.
const PARENT_LOOKS: Duration = Duration::from_millis(500);

/// Calls `gone` once process `parent` is no longer the parent of this one, and ends this process if it still runs `patience`
/// later. From a thread of its own, so that nothing else can hold it up.
///
/// # Errors
/// The system gives no thread.
pub fn end_with_parent(parent: u32, patience: Duration, gone: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let watch = move || {
        while std::os::unix::process::parent_id() == parent {
            std::thread::sleep(PARENT_LOOKS);
        }
        gone();
        std::thread::sleep(patience);
        std::process::exit(0); // what was acknowledged is on the disk
    };
    std::thread::Builder::new().name("parent".to_string()).spawn(watch).map(drop)
}

/// Columns and lines of the terminal at stdout; `None` if it is none.
pub fn terminal_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// 128 bits nobody can guess, from the system.
pub fn random_u128() -> std::io::Result<u128> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
