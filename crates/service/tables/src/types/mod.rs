//! Literals to serialized values and back, comparison, and key encodings whose byte order is the order of CQL.
pub mod calendar;
pub mod duration;
pub mod number;
pub mod uuids;
