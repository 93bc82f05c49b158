//! How many replicas a consistency level asks for, and whether they are there. There is one node: one replica is alive.

use super::Context;
use crate::error::{CqlError, CqlResult};
use crate::schema::{Keyspace, Replication, Table};
use holon_cql::Consistency;

/// Replicas that answer: this node's, if the keyspace has one here.
fn alive(keyspace: &Keyspace) -> u32 {
    keyspace.replication.factor().min(1)
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
    let alive = alive(keyspace);
    if alive < required { Err(CqlError::Unavailable { consistency, required, alive }) } else { Ok(required) }
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
    check(context, table, commit)?;
    check(context, table, serial.unwrap_or(Consistency::Serial))
}
