//! The coordinator of consumer groups: each rule alone (`rules`), and all of them together under faults (`simulation`).

mod rules;
mod simulation;
