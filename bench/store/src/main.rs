//! Holon's storage engine beside fjall and RocksDB: the same keys, values, cache, compression, filters and durability,
//! one after the other on the same machine, each in a process of its own.
//!
//! ```text
//! cargo run --release                    10 M rows of 100 B, 1 M of 1 KiB
//! cargo run --release -- --quick         the same in a few minutes, smaller
//! cargo run --release -- --rows 2000000 --engines holon,rocksdb
//! ```
//!
//! What is *not* measured: reads from a cold disk (the page cache is left as it is), several cores (one client, but for
//! synced writes, where many share a sync).

mod fjall;
mod holon;
mod measure;
mod report;
#[cfg(feature = "rocksdb")]
mod rocks;
mod workload;

use clap::Parser;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use workload::Plan;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "rocksdb")]
const ENGINES: &str = "holon,fjall,rocksdb";
#[cfg(not(feature = "rocksdb"))]
const ENGINES: &str = "holon,fjall";

#[derive(Parser, Debug)]
#[command(about = "Holon's storage engine beside fjall and RocksDB")]
struct Arguments {
    /// Rows of 100 bytes; there are a tenth as many of 1 KiB.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// 500,000 rows and a cache of 16 MiB.
    #[arg(long)]
    quick: bool,
    #[arg(long, default_value_t = 256)]
    cache_mib: usize,
    #[arg(long, value_delimiter = ',', default_value = ENGINES)]
    engines: Vec<String>,
    /// Bytes of the values, one table for each.
    #[arg(long, value_delimiter = ',', default_value = "100,1024")]
    values: Vec<usize>,
    /// Where to put the data; removed afterwards.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Bytes of a block in Holon's tables.
    #[arg(long, default_value_t = 4096)]
    block_bytes: usize,
    /// Run one engine and print its figures for the parent process.
    #[arg(long, hide = true)]
    child: Option<String>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.quick {
        arguments.rows = arguments.rows.min(500_000);
        arguments.cache_mib = arguments.cache_mib.min(16);
    }
    match arguments.child.clone() {
        Some(engine) => child(&arguments, &engine),
        None => parent(&arguments),
    }
}

fn plan(arguments: &Arguments, value_bytes: usize) -> Plan {
    let rows = if value_bytes >= 1024 { arguments.rows / 10 } else { arguments.rows };
    Plan { rows, value_bytes, cache_bytes: arguments.cache_mib << 20, block_bytes: arguments.block_bytes }
}

fn child(arguments: &Arguments, engine: &str) -> ExitCode {
    let Some(directory) = &arguments.directory else { return ExitCode::FAILURE };
    let plan = plan(arguments, arguments.values[0]);
    match engine {
        "holon" => workload::run(&holon::Holon::open(directory, &plan), &plan, directory),
        "fjall" => workload::run(&fjall::Fjall::open(directory, &plan), &plan, directory),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => workload::run(&rocks::Rocks::open(directory, &plan), &plan, directory),
        other => {
            eprintln!("unknown engine {other:?}; there is: {ENGINES}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn parent(arguments: &Arguments) -> ExitCode {
    let base = arguments.directory.clone().unwrap_or_else(|| std::env::temp_dir().join("holon-bench-store"));
    println!("{}", report::machine());
    for value_bytes in &arguments.values {
        let plan = plan(arguments, *value_bytes);
        let mut results = Vec::new();
        for engine in &arguments.engines {
            eprintln!("{engine}: {} rows of {value_bytes} B …", plan.rows);
            let directory = base.join(engine);
            std::fs::remove_dir_all(&directory).ok();
            match run_child(arguments, engine, *value_bytes, &directory) {
                Ok(figures) => results.push((engine.clone(), figures)),
                Err(error) => {
                    eprintln!("{engine}: {error}");
                    return ExitCode::FAILURE;
                }
            }
            std::fs::remove_dir_all(&directory).ok();
        }
        println!("{}", report::table(&plan, &results));
    }
    ExitCode::SUCCESS
}

fn run_child(
    arguments: &Arguments,
    engine: &str,
    value_bytes: usize,
    directory: &std::path::Path,
) -> Result<Vec<measure::Figure>, String> {
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args(["--child", engine, "--rows", &arguments.rows.to_string(), "--values", &value_bytes.to_string()])
        .args(["--cache-mib", &arguments.cache_mib.to_string()])
        .args(["--block-bytes", &arguments.block_bytes.to_string()])
        .arg("--directory")
        .arg(directory)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("ended with {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(measure::Figure::parse).collect())
}
