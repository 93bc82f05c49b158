//! The consensus machine: Raft (Ongaro 2014), as a plain struct without IO, clock or randomness of its own.
