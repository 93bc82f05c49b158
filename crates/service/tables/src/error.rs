//! What a client is told when a statement fails: one enum, one table of wire codes.
