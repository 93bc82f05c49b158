//! Between the language's consistency levels and errors and those of [`holon_replica`].

use super::Context;
use crate::error::{CqlError, CqlResult, Failed};
use crate::schema::{SpeculativeRetry, Table};
use crate::tablet::request;
use crate::trace::Tracing;
use bytes::Bytes;
use holon_base::NodeId;
use holon_cql::Consistency;
use holon_cql::response::WriteType;
use holon_kernel::{Replication, Shard};
use holon_replica::{Level, ReplicaError, Speculation};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What replicas are asked for. `None`: a level of transactions.
pub fn level(consistency: Consistency) -> Option<Level> {
    Some(match consistency {
        Consistency::Any => Level::Any,
        Consistency::One => Level::Count(1),
        Consistency::Two => Level::Count(2),
        Consistency::Three => Level::Count(3),
        Consistency::Quorum => Level::Quorum,
        Consistency::All => Level::All,
        Consistency::LocalOne => Level::LocalCount(1),
        Consistency::LocalQuorum => Level::LocalQuorum,
        Consistency::EachQuorum => Level::EachQuorum,
        Consistency::Serial | Consistency::LocalSerial => return None,
    })
}

/// What a table's keyspace promises, as it is now.
///
/// # Errors
/// The keyspace is gone.
pub fn promised(context: &Context, table: &Table) -> CqlResult<Replication> {
    let keyspace = context.schema.keyspace(&table.keyspace);
    let keyspace = keyspace.ok_or_else(|| CqlError::unknown_keyspace(&table.keyspace))?;
    Ok(keyspace.replication.placed())
}

/// When a read turns to a further replica.
pub fn speculation(option: &SpeculativeRetry) -> Speculation {
    let text = option.0.to_ascii_lowercase();
    let number = |suffix: &str| text.strip_suffix(suffix).and_then(|number| number.trim().parse::<f64>().ok());
    if text == "never" || text == "none" {
        Speculation::Never
    } else if text == "always" {
        Speculation::Always
    } else if let Some(millis) = number("ms").filter(|millis| millis.is_finite() && *millis >= 0.0) {
        Speculation::After(Duration::from_secs_f64(millis / 1000.0))
    } else {
        // Of MIN(99p, 50ms) and its like the percentile is what adapts.
        let percent = number("percentile").or_else(|| number("p")).unwrap_or(99.0);
        Speculation::Percentile((percent / 100.0).clamp(0.0, 1.0))
    }
}

/// Into the trace, with what the replica noted itself.
pub fn note_answer(context: &Context, tracing: &Tracing, node: NodeId, events: Bytes) {
    if !tracing.is_on() {
        return;
    }
    let members = context.shard.map().map(|map| map.nodes()).unwrap_or_default();
    let other = members.iter().find(|record| record.node == node && node != context.shard.node());
    let events = request::decode_events(events);
    match other {
        Some(record) => tracing.take_in_from(record.address, events),
        None => tracing.take_in(events),
    }
    tracing.note(|| format!("Node {node} has answered"));
}

pub fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Who failed, as clients are told of it, and what one of them said.
fn failures(shard: &Shard, failed: &[NodeId], reason: Option<Bytes>) -> Failed {
    let members = shard.map().map(|map| map.nodes()).unwrap_or_default();
    let address = |node: &NodeId| {
        let member = members.iter().find(|record| record.node == *node);
        member.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |record| record.address.ip())
    };
    Failed {
        replicas: failed.iter().map(address).collect(),
        reason: reason.map_or(String::new(), |reason| CqlError::decode(&reason).to_string()),
    }
}

pub fn write_error(
    shard: &Shard,
    error: ReplicaError,
    table: &Table,
    consistency: Consistency,
    write_type: WriteType,
) -> CqlError {
    match error {
        ReplicaError::Unavailable { required, alive } => {
            CqlError::Unavailable { consistency, required: small(required), alive: small(alive) }
        }
        ReplicaError::Timeout { received, required, .. } => {
            CqlError::WriteTimeout { consistency, received: small(received), required: small(required), write_type }
        }
        ReplicaError::Failed { received, required, failed, reason } => CqlError::WriteFailure {
            consistency,
            received: small(received),
            required: small(required),
            failed: failures(shard, &failed, reason),
            write_type,
        },
        ReplicaError::Overloaded => {
            CqlError::overloaded("writes are ahead of the disks of the replicas; nothing was written, try again later")
        }
        ReplicaError::NoTablet => CqlError::unknown_table(&table.name),
    }
}

pub fn read_error(shard: &Shard, error: ReplicaError, table: &Table, consistency: Consistency) -> CqlError {
    match error {
        ReplicaError::Unavailable { required, alive } => {
            CqlError::Unavailable { consistency, required: small(required), alive: small(alive) }
        }
        ReplicaError::Timeout { received, required, data } => CqlError::ReadTimeout {
            consistency,
            received: small(received),
            required: small(required),
            data_present: data,
        },
        ReplicaError::Failed { received, required, failed, reason } => CqlError::ReadFailure {
            consistency,
            received: small(received),
            required: small(required),
            failed: failures(shard, &failed, reason),
            data_present: false,
        },
        ReplicaError::Overloaded => {
            CqlError::overloaded("too many reads are in flight on the replicas; try again later")
        }
        ReplicaError::NoTablet => CqlError::unknown_table(&table.name),
    }
}

/// Of a transaction that could not read: nothing was written.
pub fn serial_read_error(shard: &Shard, error: ReplicaError, table: &Table) -> CqlError {
    read_error(shard, error, table, Consistency::Serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speculative_retry_is_understood() {
        let of = |text: &str| speculation(&SpeculativeRetry(text.to_string()));
        assert_eq!(of("99p"), Speculation::Percentile(0.99));
        assert_eq!(of("95.5PERCENTILE"), Speculation::Percentile(0.955));
        assert_eq!(of("10ms"), Speculation::After(Duration::from_millis(10)));
        assert_eq!(of("ALWAYS"), Speculation::Always);
        assert_eq!(of("NEVER"), Speculation::Never);
        assert_eq!(of("MIN(90p,50ms)"), Speculation::Percentile(0.99));
    }
}
