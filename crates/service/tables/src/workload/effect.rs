//! What an error says about the statement that it answers: whether it may have taken effect.

use holon_cql::response::ErrorCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Certainly nothing was written.
    None,
    /// Nothing, if the statement was a conditional one or counted: it could not read, and so has written nothing.
    NoneIfConditional,
    /// It may have been written, or still be.
    Unknown,
    /// No fault makes this of a statement that is right.
    Unexpected,
}

impl Effect {
    pub fn of(code: ErrorCode, message: &str) -> Effect {
        let knows_no_table = ["unconfigured table", "does not exist", "unknown keyspace"];
        match code {
            ErrorCode::Unavailable | ErrorCode::Overloaded | ErrorCode::IsBootstrapping => Effect::None,
            // The node has not heard of the table yet.
            ErrorCode::Invalid if knows_no_table.iter().any(|words| message.contains(words)) => Effect::None,
            ErrorCode::ReadTimeout | ErrorCode::ReadFailure => Effect::NoneIfConditional,
            ErrorCode::WriteTimeout | ErrorCode::WriteFailure | ErrorCode::Server => Effect::Unknown,
            _ => Effect::Unexpected,
        }
    }
}
