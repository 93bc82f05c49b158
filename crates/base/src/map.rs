//! Hash maps with a fixed seed.
//!
//! The standard library's maps are seeded from the operating system, so their order differs from run to run, and a simulated
//! run would not replay. These are deterministic and fast. They are *not* hardened against keys chosen to collide: where a
//! client chooses the keys of a map that lives long, use a `BTreeMap`.

use std::hash::BuildHasherDefault;

#[allow(clippy::disallowed_types)] // the one place that names the standard maps
pub type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<rustc_hash::FxHasher>>;
#[allow(clippy::disallowed_types)] // the one place that names the standard sets
pub type Set<K> = std::collections::HashSet<K, BuildHasherDefault<rustc_hash::FxHasher>>;
