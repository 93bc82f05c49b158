//! Keyspaces and where their copies live.

use super::{Table, UserType};
use holon_kernel::Replication as Placed;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Keyspace {
    pub name: Rc<str>,
    pub kind: KeyspaceKind,
    pub replication: Replication,
    /// Cassandra's option, kept and shown. What a write waits for is [`Durability`].
    pub durable_writes: bool,
    pub durability: Durability,
    pub tables: BTreeMap<Rc<str>, Rc<Table>>,
    pub types: BTreeMap<Rc<str>, Arc<UserType>>,
}

/// Who may change a keyspace, and where clients look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyspaceKind {
    /// Made by CREATE KEYSPACE.
    User,
    /// There from the start, described in `system_schema`: `system`, `system_auth`, ….
    System,
    /// There from the start, described in `system_virtual_schema`: `system_views`, `system_virtual_schema`.
    Virtual,
}

/// `WITH durability = '…'`: what has happened when a write of the keyspace is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk, synced.
    #[default]
    Sync,
    /// It is in the write-ahead log, which is synced at intervals: a power loss may lose the last of them.
    Periodic,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Sync => "sync",
            Durability::Periodic => "periodic",
        }
    }

    pub fn from_name(name: &str) -> Option<Durability> {
        [Durability::Sync, Durability::Periodic].into_iter().find(|durability| durability.name() == name)
    }
}

/// How many copies of each partition there are, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// On every node its own; the system keyspaces.
    Local,
    /// So many nodes, whatever their data centre.
    Simple { factor: u32 },
    /// So many nodes of each data centre.
    NetworkTopology { factors: BTreeMap<Rc<str>, u32> },
}

impl Replication {
    const PACKAGE: &'static str = "org.apache.cassandra.locator.";

    /// The class without its package, as statements name it.
    pub fn class(&self) -> &'static str {
        match self {
            Replication::Local => "LocalStrategy",
            Replication::Simple { .. } => "SimpleStrategy",
            Replication::NetworkTopology { .. } => "NetworkTopologyStrategy",
        }
    }

    /// The class as `system_schema.keyspaces` names it.
    pub fn qualified_class(&self) -> String {
        format!("{}{}", Self::PACKAGE, self.class())
    }

    /// The options without `class`, in the order they are shown.
    pub fn options(&self) -> Vec<(Rc<str>, u32)> {
        match self {
            Replication::Local => Vec::new(),
            Replication::Simple { factor } => vec![("replication_factor".into(), *factor)],
            Replication::NetworkTopology { factors } => {
                factors.iter().map(|(data_center, factor)| (data_center.clone(), *factor)).collect()
            }
        }
    }

    /// As the tablet map has it.
    pub fn placed(&self) -> Placed {
        match self {
            Replication::Local => Placed::Simple { factor: 1 },
            Replication::Simple { factor } => Placed::Simple { factor: *factor },
            Replication::NetworkTopology { factors } => {
                let named = |(data_center, factor): (&Rc<str>, &u32)| (data_center.to_string(), *factor);
                Placed::PerDataCenter { factors: factors.iter().map(named).collect() }
            }
        }
    }

    /// Copies in all.
    pub fn factor(&self) -> u32 {
        match self {
            Replication::Local => 1,
            Replication::Simple { factor } => *factor,
            Replication::NetworkTopology { factors } => {
                factors.values().fold(0, |sum: u32, factor| sum.saturating_add(*factor))
            }
        }
    }

    /// Copies in one data centre, as LOCAL_QUORUM counts them.
    pub fn factor_in(&self, data_center: &str) -> u32 {
        match self {
            Replication::NetworkTopology { factors } => factors.get(data_center).copied().unwrap_or(0),
            other => other.factor(),
        }
    }
}

impl fmt::Display for Replication {
    /// `{'class': 'SimpleStrategy', 'replication_factor': '1'}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{'class': '{}'", self.class())?;
        for (name, value) in self.options() {
            write!(f, ", '{}': '{value}'", name.replace('\'', "''"))?;
        }
        f.write_str("}")
    }
}

impl Keyspace {
    pub fn table(&self, name: &str) -> Option<&Rc<Table>> {
        self.tables.get(name)
    }

    pub fn user_type(&self, name: &str) -> Option<&Arc<UserType>> {
        self.types.get(name)
    }

    /// Statements may neither alter nor drop it, nor anything in it.
    pub fn is_reserved(&self) -> bool {
        self.kind != KeyspaceKind::User
    }
}
