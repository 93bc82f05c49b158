//! CREATE, ALTER, DROP and TRUNCATE: from statements to proposals for the metadata log.
