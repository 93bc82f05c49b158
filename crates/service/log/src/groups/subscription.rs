//! The topics of a consumer's subscription: the only part of what members say of themselves that a coordinator reads.
//!
//! `ConsumerProtocolSubscription` of Kafka: int16 version, then in all versions an array of topic names first. Numbers are big-endian.

use std::collections::BTreeSet;

use crate::groups::request::Name;

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// None: these are not the bytes of a subscription.
pub(crate) fn topics(bytes: &[u8]) -> Option<Vec<&str>> {
    let (version, mut rest) = bytes.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, after) = rest.split_first_chunk::<4>()?;
    rest = after;
    // Each has at least the two bytes of its length.
    let count = usize::try_from(i32::from_be_bytes(*count)).ok().filter(|count| *count <= rest.len() / 2)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, after) = after.split_at_checked(length)?;
        topics.push(std::str::from_utf8(topic).ok()?);
        rest = after;
    }
    Some(topics)
}

/// Of all members, None if one's cannot be read. Members of a group mostly say the same: equal bytes are read once.
pub(crate) fn all_topics<'a>(metadata: impl Iterator<Item = &'a [u8]>) -> Option<BTreeSet<Name>> {
    let mut read = BTreeSet::new();
    let mut all = BTreeSet::new();
    for bytes in metadata {
        if read.insert(bytes) {
            all.extend(topics(bytes)?.into_iter().map(Name::from));
        }
    }
    Some(all)
}
