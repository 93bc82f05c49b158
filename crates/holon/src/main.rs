//! The `holon` binary: configuration, the command line, the list of services, and what a node tells about itself.
//!
//! It holds no logic of a service and no IO of its own beyond the terminal and the configuration file; both live below.

mod cli;
mod client;
mod cluster;
mod config;
mod console;
mod control;
#[cfg(feature = "tables")]
mod demo;
mod holdings;
#[cfg(feature = "log")]
mod kafka;
mod logs;
mod membership;
mod memory;
mod metrics;
mod node;
mod recover;
mod report;
mod services;
mod settings;
mod size;
mod text;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The first thing, so that `ready in` counts everything.
    let clock = holon_edge::Clock::start();
    match cli::run(clock) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("holon: {message}");
            ExitCode::FAILURE
        }
    }
}
