//! `holon-scale`: measures the sizes, each in a process of its own, and writes the document and the plot.
//!
//! ```text
//!   holon-scale                 all sizes; rewrites docs/SCALE.md between its marks, and docs/scale.svg
//!   holon-scale --print N N …   these sizes, tables to standard output only
//!   holon-scale --one N         this size, figures as `name value`; what the other two start
//! ```

use holon_scale::figures::Figures;
use holon_scale::world::Sharing;
use holon_scale::{gossip, memory, placement, process, report};
use std::process::{Command, ExitCode};

/// All of each machine's state is its own up to here.
const FULL_MAX: usize = 1_000;
const SIZES: [usize; 9] = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 75_000];
const SEED: u64 = 1;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let sizes = || -> Result<Vec<usize>, String> {
        arguments[1..].iter().map(|text| text.parse().map_err(|_| format!("`{text}` is no number of nodes"))).collect()
    };
    let outcome = match arguments.first().map(String::as_str) {
        None => all(&SIZES).and_then(|rows| report::write(&rows)),
        Some("--print") => sizes().and_then(|sizes| all(&sizes)).map(|rows| println!("{}", report::tables(&rows))),
        Some("--one") => sizes().and_then(|sizes| match sizes[..] {
            [nodes] if nodes >= 3 => one(nodes).map(|figures| print!("{}", figures.to_lines())),
            _ => Err("--one takes one number of nodes, at least 3".to_string()),
        }),
        Some(other) => Err(format!("`{other}` is not known: holon-scale [--print N… | --one N]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn one(nodes: usize) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let ring = placement::weigh(nodes, &mut figures)?;
    memory::weigh(nodes, &mut figures);
    placement::measure(nodes, ring, &mut figures)?;
    let sharing = if nodes <= FULL_MAX { Sharing::Full } else { Sharing::Shared };
    figures.add(gossip::measure(SEED, nodes, sharing, gossip::trials(nodes))?);
    if nodes <= FULL_MAX {
        gossip::cold_start(SEED, nodes, &mut figures)?;
    }
    figures.set("cpu_seconds", process::cpu_seconds());
    figures.set("resident_max", process::resident_bytes_max() as f64);
    Ok(figures)
}

fn all(sizes: &[usize]) -> Result<Vec<(usize, Figures)>, String> {
    let program = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let mut rows = Vec::new();
    for nodes in sizes {
        let output = Command::new(&program).args(["--one", &nodes.to_string()]).output();
        let output = output.map_err(|error| format!("{nodes} nodes: {error}"))?;
        if !output.status.success() {
            return Err(format!("{nodes} nodes: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let figures = Figures::from_lines(&String::from_utf8_lossy(&output.stdout));
        eprintln!("{nodes} nodes: {:.0} CPU-seconds", figures.get("cpu_seconds"));
        rows.push((*nodes, figures));
    }
    Ok(rows)
}
