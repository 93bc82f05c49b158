//! The coordinator of transactions, as a machine: its rules one by one, and under a simulation.

mod rules;
mod simulation;
