//! Literals to serialized values and back, comparison, functions, and key encodings whose byte order is the order of
//! CQL.
//!
//! Everything here is a pure function of its arguments (but for `now()` and `uuid()`, which ask the shard). It knows
//! no table but for the shape of its keys.

pub mod calculate;
pub mod calendar;
pub mod collection;
pub mod compare;
pub mod duration;
pub mod function;
pub mod json;
pub mod json_value;
pub mod literal;
pub mod number;
pub mod ordered;
#[cfg(test)]
mod ordered_tests;
pub mod row_key;
pub mod text;
pub mod uuids;
