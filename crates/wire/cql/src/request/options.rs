//! OPTIONS (section 4.1.3): asks which STARTUP options there are. It has no body.

/// The request for SUPPORTED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options;
