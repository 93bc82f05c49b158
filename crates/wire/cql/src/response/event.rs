//! EVENT (section 4.2.6): what the server tells unasked to those who registered.

use core::net::SocketAddr;

use crate::error::CqlError;
use crate::frame::Version;
use crate::notation::{Reader, Writer};
use crate::request::EventType;
use crate::response::schema_change::SchemaChange;

/// How the members changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopologyChange {
    NewNode,
    RemovedNode,
    /// Not in the specification, but sent by Cassandra and known to drivers.
    MovedNode,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusChange {
    Up,
    Down,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    Topology { change: TopologyChange, node: SocketAddr },
    Status { change: StatusChange, node: SocketAddr },
    Schema(SchemaChange),
}

impl Event {
    /// The kind under which clients register for it.
    pub fn event_type(&self) -> EventType {
        match self {
            Event::Topology { .. } => EventType::TopologyChange,
            Event::Status { .. } => EventType::StatusChange,
            Event::Schema(_) => EventType::SchemaChange,
        }
    }

    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<Event, CqlError> {
        let offset = reader.offset();
        let event_type = EventType::decode(reader.string("event type")?, offset)?;
        let (what, offset) = ("change of an event", reader.offset());
        let unknown = |value: &str, expected| CqlError::UnknownName { what, offset, value: value.to_owned(), expected };
        match event_type {
            EventType::TopologyChange => {
                let change = match reader.string(what)?.as_str() {
                    "NEW_NODE" => TopologyChange::NewNode,
                    "REMOVED_NODE" => TopologyChange::RemovedNode,
                    "MOVED_NODE" => TopologyChange::MovedNode,
                    other => return Err(unknown(other, "NEW_NODE, REMOVED_NODE or MOVED_NODE")),
                };
                Ok(Event::Topology { change, node: reader.inet("node")? })
            }
            EventType::StatusChange => {
                let change = match reader.string(what)?.as_str() {
                    "UP" => StatusChange::Up,
                    "DOWN" => StatusChange::Down,
                    other => return Err(unknown(other, "UP or DOWN")),
                };
                Ok(Event::Status { change, node: reader.inet("node")? })
            }
            EventType::SchemaChange => SchemaChange::decode(reader).map(Event::Schema),
        }
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>, version: Version) -> Result<(), CqlError> {
        writer.string(self.event_type().name(), "event type")?;
        let (change, node) = match self {
            Event::Topology { change: TopologyChange::NewNode, node } => ("NEW_NODE", node),
            Event::Topology { change: TopologyChange::RemovedNode, node } => ("REMOVED_NODE", node),
            Event::Topology { change: TopologyChange::MovedNode, node } => ("MOVED_NODE", node),
            Event::Status { change: StatusChange::Up, node } => ("UP", node),
            Event::Status { change: StatusChange::Down, node } => ("DOWN", node),
            Event::Schema(change) => return change.encode(writer, version),
        };
        writer.string(change, "change of an event")?;
        writer.inet(*node);
        Ok(())
    }
}
