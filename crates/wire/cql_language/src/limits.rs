//! Every bound of the language, with its unit and its reason. The parser checks them before it takes memory.

/// Bytes of one statement's text. A statement arrives in one frame, and frames end at 16 MiB.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// Levels of brackets, type parameters, negations and the like inside one another. The parser recurses once or a few
/// times a level, so this is what bounds its stack; no schema nests deeper in practice.
pub const NESTING_MAX: u32 = 32;

/// Bind markers in one statement. The protocol counts bound values in an unsigned 16-bit field.
pub const BIND_MARKERS_MAX: usize = 65_535;

/// Dimensions of a `vector<type, n>`, the ceiling that Cassandra's configuration ships with is the same order.
pub const VECTOR_DIMENSIONS_MAX: u32 = 65_535;

/// Binary operators in one chain such as `a + b + c`: the tree leans left, so a chain is as deep as it is long, and
/// printing, comparing and dropping it recurse.
pub const OPERATOR_CHAIN_MAX: u32 = 256;

/// Accesses behind one selector, such as `a.b.c[1]`: deep for the same reason as a chain of operators.
pub const ACCESS_CHAIN_MAX: u32 = 64;

/// Bytes of a name. Nothing that can be created is longer, and error messages repeat names.
pub const NAME_BYTES_MAX: usize = 65_535;
