//! Statements resolved against the schema: what is to be read or written, typed.
