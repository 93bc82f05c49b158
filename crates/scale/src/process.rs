//! What this process takes from the machine: processor time, and memory as `/proc` has it (0 where that is missing).

use std::fs;

/// Bytes of a page, as on every machine this is measured on.
const PAGE_BYTES: u64 = 4096;

fn number(text: &str) -> u64 {
    text.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Processor seconds of the calling thread so far.
pub fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory in use now, bytes.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).map_or(0, number) * PAGE_BYTES
}

/// The most memory that was in use, bytes.
pub fn resident_bytes_max() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or(0, number) * 1024
}
