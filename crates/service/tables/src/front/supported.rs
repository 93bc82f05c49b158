//! OPTIONS and what it is answered with.

use super::connection::Answer;
use crate::system::CQL_VERSION;
use holon_cql::response::Supported;
use holon_cql::{Response, Version};

/// What a client may choose from in STARTUP. No Scylla keys: our tablets are not dealt to shards by that algorithm, and
/// a driver that believed it would only open connections in the wrong places.
pub fn options() -> Answer {
    let versions = Version::EVERY.iter().map(|version| format!("{version}/v{version}"));
    let options = [
        ("COMPRESSION", vec!["snappy".to_string(), "lz4".to_string()]),
        ("CQL_VERSION", vec![CQL_VERSION.to_string()]),
        ("PROTOCOL_VERSIONS", versions.collect()),
    ];
    let options = options.into_iter().map(|(name, values)| (name.to_string(), values)).collect();
    Answer::new(Response::Supported(Supported { options }))
}
