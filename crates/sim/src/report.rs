//! What a run is asked and what came of it.

use crate::families::Families;
use crate::faults::Faults;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Simulated time under faults.
    pub simulated: Duration,
    /// Shows what nodes tell people.
    pub tell: bool,
    pub rot: Rot,
    /// What befalls clusters.
    pub families: Families,
}

/// Whether sorted files of one node of a cluster rot, and what is done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Rot {
    /// In a third of the seeds, and it is made good.
    #[default]
    Some,
    Off,
    /// What is damaged stays so.
    Kept,
    /// It is made good from the other replicas.
    Mended,
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions { simulated: Duration::from_secs(60), tell: false, rot: Rot::Some, families: Families::all() }
    }
}

pub struct Outcome {
    pub seed: u64,
    /// Every option of the run, spelled out.
    pub expanded: String,
    pub simulated: Duration,
    pub operations: u64,
    /// Equal for equal runs.
    pub trace: u64,
    pub faults: Faults,
    /// What a checker found; empty is good.
    pub errors: Vec<String>,
}
