//! What other services may use.
