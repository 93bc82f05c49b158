//! DESCRIBE, answered by the server: names, kinds and the statements that would create them again.
