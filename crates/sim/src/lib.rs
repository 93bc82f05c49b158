//! A seeded world for the shards that `edge` runs in production: the same code, another disk, clock and network.
//!
//! One thread, one seed; a run that fails replays from its seed. Nothing depends on this crate.

pub mod backup_run;
pub mod check_history;
pub mod clients;
pub mod clock_faults;
pub mod cluster_run;
pub mod cost_disk;
pub mod cost_run;
pub mod costs;
pub mod determinism;
pub mod disk;
mod disk_content;
mod disk_names;
pub mod disk_trouble;
pub mod families;
pub mod faults;
pub mod log_run;
pub mod matrix;
pub mod moves_run;
pub mod network;
pub mod plants;
pub mod points;
pub mod report;
pub mod runner;
pub mod store_model;
pub mod store_run;
pub mod store_service;
mod tables_nodes;
pub mod tables_run;
pub mod toy;
pub mod toy_run;
pub mod upgrades;
pub mod world;
