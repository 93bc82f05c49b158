//! REGISTER (section 4.1.8): asks for events.

use crate::error::CqlError;
use crate::notation::{Reader, Writer};

/// A kind of event (section 4.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    TopologyChange,
    StatusChange,
    SchemaChange,
}

impl EventType {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            EventType::TopologyChange => "TOPOLOGY_CHANGE",
            EventType::StatusChange => "STATUS_CHANGE",
            EventType::SchemaChange => "SCHEMA_CHANGE",
        }
    }

    pub(crate) fn decode(name: String, offset: usize) -> Result<EventType, CqlError> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "TOPOLOGY_CHANGE" => EventType::TopologyChange,
            "STATUS_CHANGE" => EventType::StatusChange,
            "SCHEMA_CHANGE" => EventType::SchemaChange,
            _ => {
                let expected = "TOPOLOGY_CHANGE, STATUS_CHANGE or SCHEMA_CHANGE";
                return Err(CqlError::UnknownName { what: "event type", offset, value: name, expected });
            }
        })
    }
}

/// The events that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    pub events: Vec<EventType>,
}

impl Register {
    /// Reads the body.
    pub fn decode(reader: &mut Reader) -> Result<Register, CqlError> {
        let offset = reader.offset();
        let names = reader.string_list("event types")?;
        let events = names.into_iter().map(|name| EventType::decode(name, offset)).collect::<Result<_, _>>()?;
        Ok(Register { events })
    }

    /// Appends the body.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Result<(), CqlError> {
        let names: Vec<&str> = self.events.iter().map(|event| event.name()).collect();
        writer.string_list(&names, "event types")
    }
}
