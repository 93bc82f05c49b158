//! How many replicas a consistency level asks for, and whether so many nodes are alive. Whether those of a certain
//! tablet are is the replicas' coordinator's to find out; here requests are refused that no tablet could serve.

use super::Context;
use crate::error::{CqlError, CqlResult};
use crate::schema::{Keyspace, Replication, Table};
use holon_base::{NodeId, TabletId};
use holon_cql::Consistency;

/// Replicas that could answer: as many as nodes seem alive, and not more than the keyspace has. With `data_center`
/// those of that one only.
fn alive(context: &Context, keyspace: &Keyspace, data_center: Option<&str>) -> u32 {
    let nodes = context.shard.map().map(|map| map.nodes()).unwrap_or_default();
    if nodes.is_empty() {
        return keyspace.replication.factor().min(1); // a node of its own
    }
    let alive_in = |wanted: Option<&str>| {
        let there = nodes.iter().filter(|record| wanted.is_none_or(|wanted| *record.data_center == *wanted));
        there.filter(|record| context.shard.is_alive(record.node)).count() as u32
    };
    match &keyspace.replication {
        Replication::NetworkTopology { factors } => {
            let counted = factors.iter().filter(|(name, _)| data_center.is_none_or(|wanted| ***name == *wanted));
            counted.map(|(name, factor)| alive_in(Some(name)).min(*factor)).sum()
        }
        other => alive_in(None).min(other.factor()),
    }
}

fn majority(factor: u32) -> u32 {
    factor / 2 + 1
}

/// How many replicas have to answer.
pub fn required(keyspace: &Keyspace, consistency: Consistency, data_center: &str) -> u32 {
    let factor = keyspace.replication.factor();
    match consistency {
        Consistency::Any | Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::Quorum | Consistency::Serial => majority(factor),
        Consistency::All => factor,
        Consistency::LocalQuorum | Consistency::LocalSerial => majority(keyspace.replication.factor_in(data_center)),
        Consistency::EachQuorum => match &keyspace.replication {
            Replication::NetworkTopology { factors } => factors.values().map(|factor| majority(*factor)).sum(),
            _ => majority(factor),
        },
    }
}

fn check(context: &Context, table: &Table, consistency: Consistency) -> CqlResult<u32> {
    let keyspace = context.schema.keyspace(&table.keyspace);
    let keyspace = keyspace.ok_or_else(|| CqlError::unknown_keyspace(&table.keyspace))?;
    let required = required(keyspace, consistency, &context.data_center);
    let alive = alive(context, keyspace, is_local(consistency).then_some(&*context.data_center));
    // A hint is enough.
    let is_enough = alive >= required || (consistency == Consistency::Any && context.coordinator.hints().is_some());
    if is_enough { Ok(required) } else { Err(CqlError::Unavailable { consistency, required, alive }) }
}

/// An "unavailable" with the replicas of the tablet that are alive, instead of as many as could be: drivers that try again
/// with a lower level choose it by this figure.
pub fn of_tablet(context: &Context, error: CqlError, tablet: Option<TabletId>) -> CqlError {
    let (CqlError::Unavailable { consistency, required, alive }, Some(tablet)) = (&error, tablet) else { return error };
    let nodes = context.shard.map().map(|map| map.nodes()).unwrap_or_default();
    let is_there = |node: &NodeId| {
        let record = nodes.iter().find(|record| record.node == *node);
        !is_local(*consistency) || record.is_some_and(|record| *record.data_center == *context.data_center)
    };
    let replicas = context.shard.replicas(tablet);
    let counted = replicas.readers.iter().filter(|node| context.shard.is_alive(**node) && is_there(node));
    let alive = (*alive).min(counted.count() as u32);
    CqlError::Unavailable { consistency: *consistency, required: *required, alive }
}

fn is_local(consistency: Consistency) -> bool {
    matches!(consistency, Consistency::LocalOne | Consistency::LocalQuorum | Consistency::LocalSerial)
}

/// # Errors
/// Too few replicas, or a level that reads do not have.
pub fn check_read(context: &Context, table: &Table, consistency: Consistency) -> CqlResult<u32> {
    if consistency == Consistency::Any {
        return Err(CqlError::invalid("ANY ConsistencyLevel is only supported for writes"));
    }
    check(context, table, consistency)
}

/// # Errors
/// Too few replicas, or a level that writes do not have.
pub fn check_write(context: &Context, table: &Table, consistency: Consistency) -> CqlResult<u32> {
    if consistency.is_serial() {
        return Err(CqlError::invalid("You must use conditional updates for serializable writes"));
    }
    if table.is_counter() && consistency == Consistency::Any {
        return Err(CqlError::Invalid(format!(
            "Consistency level ANY is not yet supported for counter table {}",
            table.name
        )));
    }
    check(context, table, consistency)
}

/// # Errors
/// Too few replicas for either of the two levels of a conditional write.
pub fn check_conditional(
    context: &Context,
    table: &Table,
    serial: Option<Consistency>,
    commit: Consistency,
) -> CqlResult<u32> {
    if commit.is_serial() {
        return Err(CqlError::invalid("You must use conditional updates for serializable writes"));
    }
    // In the order in which they come to matter: who retries is to lower the right one.
    let required = check(context, table, serial.unwrap_or(Consistency::Serial))?;
    // A group decides by a majority of all replicas, of whatever data centre.
    check(context, table, Consistency::Serial)?;
    check(context, table, commit)?;
    Ok(required)
}

/// An "unavailable" of a conditional statement, as [`of_tablet`]: whether its tablet's group can decide comes first.
pub fn of_conditional(context: &Context, error: CqlError, table: &Table, tablet: Option<TabletId>) -> CqlError {
    let (CqlError::Unavailable { .. }, Some(keyspace)) = (&error, context.schema.keyspace(&table.keyspace)) else {
        return error;
    };
    let required = required(keyspace, Consistency::Serial, &context.data_center);
    let decides = CqlError::Unavailable { consistency: Consistency::Serial, required, alive: u32::MAX };
    match of_tablet(context, decides, tablet) {
        decides @ CqlError::Unavailable { alive, .. } if alive < required => decides,
        _ => of_tablet(context, error, tablet),
    }
}
