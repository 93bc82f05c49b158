//! What one phase cost: time, CPU seconds of all threads, bytes handed to write calls.

use std::time::Instant;

#[derive(Clone, Debug)]
pub struct Figure {
    pub phase: String,
    pub operations: f64,
    pub seconds: f64,
    pub cpu_seconds: f64,
    pub written_bytes: f64,
}

impl Figure {
    pub fn print(&self) {
        let Figure { phase, operations, seconds, cpu_seconds, written_bytes } = self;
        println!("{phase}\t{operations}\t{seconds}\t{cpu_seconds}\t{written_bytes}");
        eprintln!("  {phase}: {:.0}/s, {cpu_seconds:.2} CPU-seconds", operations / seconds.max(1e-9));
    }

    pub fn parse(line: &str) -> Option<Figure> {
        let mut parts = line.split('\t');
        let phase = parts.next()?.to_owned();
        let mut number = || parts.next()?.parse().ok();
        Some(Figure {
            phase,
            operations: number()?,
            seconds: number()?,
            cpu_seconds: number()?,
            written_bytes: number()?,
        })
    }
}

/// User and system time of this process, in the 10 ms ticks of Linux.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn written_bytes() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0.0)
}

/// Runs a phase of so many operations, and prints what it cost.
pub fn phase(name: &str, operations: u64, work: impl FnOnce()) -> Figure {
    let (cpu, written, start) = (cpu_seconds(), written_bytes(), Instant::now());
    work();
    let figure = Figure {
        phase: name.to_owned(),
        operations: operations as f64,
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
        written_bytes: written_bytes() - written,
    };
    figure.print();
    figure
}

/// Bytes of all files below a directory.
pub fn directory_bytes(path: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => directory_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
