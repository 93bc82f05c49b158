//! What can be wrong with bytes that claim to be a ring, an entry or a snapshot.

use holon_base::ShortInput;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Short(#[from] ShortInput),
    /// Written by a newer version.
    #[error("placement format {0} is not known here: upgrade this node")]
    Version(u8),
    #[error("placement bytes hold an impossible value: {0}")]
    Value(&'static str),
}
