//! Text as a statement of CQL: nothing panics, and what was parsed is printed as text that parses to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A type on its own need not parse; it must only not panic.
    let _ = holon_cql_language::parse_type(text);
    let Ok(parsed) = holon_cql_language::parse_statement(text) else { return };
    let printed = parsed.statement.to_string();
    let again = holon_cql_language::parse_statement(&printed).expect("what was printed parses");
    assert_eq!(again.statement, parsed.statement, "printed as {printed}");
});
