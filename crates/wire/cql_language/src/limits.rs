//! Every bound of the language, with its unit and its reason. The parser checks them before it takes memory.

/// Bytes of one statement's text. A statement arrives in one frame, and frames end at 16 MiB.
pub const STATEMENT_BYTES_MAX: usize = 16 << 20;

/// Levels of brackets, type parameters, negations and the like inside one another. The parser recurses once or a few
/// times a level, so this is what bounds its stack; no schema nests deeper in practice.
pub const NESTING_MAX: u32 = 32;

/// Bind markers in one statement. The protocol counts bound values in an unsigned 16-bit field.
pub const BIND_MARKERS_MAX: usize = 65_535;

/// Dimensions of a `vector<type, n>`. Larger than any embedding in use, small enough that one value fits a frame.
pub const VECTOR_DIMENSIONS_MAX: u32 = 65_535;

/// Operators and accesses (`a + b`, `a.b`, `a[1]`) in one expression. Such a chain leans left, so that its tree is as
/// deep as the chain is long, and printing, comparing and dropping a tree recurse.
pub const EXPRESSION_OPERATORS_MAX: u32 = 512;

/// Characters of the statement's text that an error message repeats on either side of what it complains about.
pub const ERROR_SNIPPET_CHARACTERS_MAX: usize = 100;
