//! Literals to serialized values and back, comparison, functions, and key encodings whose byte order is the order of CQL.
//!
//! Everything here is a pure function of its arguments. It knows no table but for the shape of its keys.

pub mod calendar;
pub mod collection;
pub mod compare;
pub mod duration;
pub mod number;
pub mod ordered;
#[cfg(test)]
mod ordered_tests;
pub mod row_key;
pub mod uuids;
