//! CREATE, ALTER and DROP KEYSPACE.

use super::{DdlContext, properties};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Change, Durability, Replication};
use holon_cql_language::ast::{AlterKeyspace, CreateKeyspace, DropKeyspace, Property};
use std::collections::BTreeMap;
use std::rc::Rc;

const PACKAGE: &str = "org.apache.cassandra.locator.";

/// What `replication_factor` is when a statement leaves it out: Cassandra's `default_keyspace_rf`.
const REPLICATION_FACTOR_DEFAULT: u32 = 1;

pub(super) fn create(context: &DdlContext<'_>, statement: &CreateKeyspace) -> CqlResult<Change> {
    let name: Rc<str> = statement.name.as_str().into();
    let options = read(context, &name, &statement.properties, None)?;
    Ok(Change::CreateKeyspace {
        name,
        if_not_exists: statement.if_not_exists,
        replication: options.replication.ok_or_else(|| CqlError::invalid("Missing mandatory option 'replication'"))?,
        durable_writes: options.durable_writes.unwrap_or(true),
        durability: options.durability.unwrap_or_default(),
    })
}

pub(super) fn alter(context: &DdlContext<'_>, statement: &AlterKeyspace) -> CqlResult<Change> {
    let name: Rc<str> = statement.name.as_str().into();
    let previous = context.schema.keyspace(&name).map(|keyspace| &keyspace.replication);
    let options = read(context, &name, &statement.properties, previous)?;
    Ok(Change::AlterKeyspace {
        name,
        if_exists: statement.if_exists,
        replication: options.replication,
        durable_writes: options.durable_writes,
        durability: options.durability,
    })
}

/// What operators of Cassandra raise the replication of, once a cluster has grown. Here accounts are in the metadata log, which all
/// nodes have, and traces where they were made: there is nothing to change, and scripts that do it are not to fail.
pub(super) fn is_everywhere(change: &Change) -> Option<String> {
    let name = change.keyspace();
    matches!(&**name, "system_auth" | "system_distributed" | "system_traces")
        .then(|| format!("keyspace {name} has no replicas of its own: nothing was changed"))
}

pub(super) fn drop(statement: &DropKeyspace) -> Change {
    Change::DropKeyspace { name: statement.name.as_str().into(), if_exists: statement.if_exists }
}

#[derive(Default)]
struct Options {
    replication: Option<Replication>,
    durable_writes: Option<bool>,
    durability: Option<Durability>,
}

fn read(
    context: &DdlContext<'_>,
    keyspace: &str,
    given: &[Property],
    previous: Option<&Replication>,
) -> CqlResult<Options> {
    let mut options = Options::default();
    for property in given {
        match property.name.as_str() {
            "replication" => {
                let map = properties::map(property)?;
                options.replication = Some(replication(context, keyspace, map, previous)?);
            }
            "durable_writes" => options.durable_writes = Some(properties::boolean(property)?),
            "durability" => {
                let name = properties::text(property)?;
                let durability = Durability::from_name(&name).ok_or_else(|| {
                    CqlError::Config(format!("Invalid durability '{name}'; it is 'sync' or 'periodic'"))
                })?;
                options.durability = Some(durability);
            }
            _ => return Err(properties::unknown(property)),
        }
    }
    Ok(options)
}

fn replication(
    context: &DdlContext<'_>,
    keyspace: &str,
    mut map: BTreeMap<String, String>,
    previous: Option<&Replication>,
) -> CqlResult<Replication> {
    let class = map.remove("class").ok_or_else(|| CqlError::config("Missing replication strategy class"))?;
    let default_factor = map.remove("replication_factor");
    match class.strip_prefix(PACKAGE).unwrap_or(&class) {
        "SimpleStrategy" => {
            if let Some(unknown) = map.keys().next() {
                return Err(unrecognized(unknown, "SimpleStrategy", keyspace));
            }
            let factor = default_factor.map_or(Ok(REPLICATION_FACTOR_DEFAULT), |text| factor(&text))?;
            Ok(Replication::Simple { factor })
        }
        "NetworkTopologyStrategy" => network_topology(context, keyspace, map, default_factor.as_deref(), previous),
        "LocalStrategy" => {
            Err(CqlError::config("LocalStrategy is for the keyspaces of the system; use SimpleStrategy"))
        }
        other => {
            let qualified = if other.contains('.') { other.to_string() } else { format!("{PACKAGE}{other}") };
            Err(CqlError::Config(format!("Unable to find replication strategy class '{qualified}'")))
        }
    }
}

/// `replication_factor` stands for every data centre that is not named; on ALTER, those that had a factor keep it.
fn network_topology(
    context: &DdlContext<'_>,
    keyspace: &str,
    map: BTreeMap<String, String>,
    default_factor: Option<&str>,
    previous: Option<&Replication>,
) -> CqlResult<Replication> {
    let mut factors: BTreeMap<Rc<str>, u32> = BTreeMap::new();
    let default_factor = match default_factor {
        Some(text) => Some(factor(text)?),
        None if map.is_empty() => Some(REPLICATION_FACTOR_DEFAULT),
        None => None,
    };
    if let Some(default_factor) = default_factor {
        if let Some(Replication::NetworkTopology { factors: kept }) = previous {
            factors.extend(kept.iter().map(|(data_center, factor)| (data_center.clone(), *factor)));
        }
        for data_center in context.data_centers {
            factors.entry(data_center.clone()).or_insert(default_factor);
        }
    }
    for (data_center, text) in map {
        if !context.data_centers.iter().any(|known| **known == *data_center) {
            return Err(unrecognized(&data_center, "NetworkTopologyStrategy", keyspace));
        }
        factors.insert(data_center.into(), factor(&text)?);
    }
    // A data centre with no copies is one that is not named.
    factors.retain(|_, factor| *factor > 0);
    Ok(Replication::NetworkTopology { factors })
}

fn unrecognized(option: &str, class: &str, keyspace: &str) -> CqlError {
    CqlError::Config(format!("Unrecognized strategy option {{{option}}} passed to {class} for keyspace {keyspace}"))
}

fn factor(text: &str) -> CqlResult<u32> {
    if text.contains('/') {
        return Err(CqlError::config(
            "Transient replication is disabled. Enable in cassandra.yaml to use. (Holon keeps full copies only)",
        ));
    }
    let number: i32 = text
        .trim()
        .parse()
        .map_err(|_| CqlError::Config(format!("Replication factor must be numeric; found {text}")))?;
    u32::try_from(number)
        .map_err(|_| CqlError::Config(format!("Replication factor must be non-negative; found {number}")))
}

/// What a client is warned of when a keyspace asks for more copies than there are nodes.
pub(super) fn warning(context: &DdlContext<'_>, change: &Change) -> Option<String> {
    let (name, replication) = match change {
        Change::CreateKeyspace { name, replication, .. } => (name, replication),
        Change::AlterKeyspace { name, replication: Some(replication), .. } => (name, replication),
        _ => return None,
    };
    let factor = replication.factor();
    (factor > context.nodes).then(|| {
        format!(
            "Your replication factor {factor} for keyspace {name} is higher than the number of nodes {}",
            context.nodes
        )
    })
}
