//! Random trees: every tree that the parser can build prints to a text that parses back to it.
//!
//! A tree grows from a list of bytes, its choices; a list that runs out goes on with zeros, and zero is the plainest
//! choice. So proptest's shrinking of the list shrinks the tree.

mod choices;
mod modifications;
mod schema;
mod security;
mod selectors;
mod terms;

use choices::Choices;
use holon_cql_language::ast::Statement;
use holon_cql_language::{Parsed, parse_statement, parse_type};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::RngSeed;

fn statement(choices: &mut Choices) -> Statement {
    match choices.below(5) {
        0 => Statement::Select(Box::new(selectors::select(choices))),
        1 => modifications::statement(choices),
        2 => schema::table_statement(choices),
        3 => schema::other_statement(choices),
        _ => security::statement(choices),
    }
}

/// The same trees on every run; `HOLON_SEED` and `HOLON_CASES` make others and more.
#[allow(clippy::disallowed_methods)] // the environment is how a person asks for more
fn config() -> ProptestConfig {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok().and_then(|text| text.parse().ok()) };
    ProptestConfig {
        cases: number("HOLON_CASES").and_then(|cases| cases.try_into().ok()).unwrap_or(5_000),
        rng_seed: RngSeed::Fixed(number("HOLON_SEED").unwrap_or(0)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Bytes that change what a text means.
const MARKS: &[u8] = b"()[]{}<>'\"$-+*/%=!?:;,. \n0aPxe";

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_print_parses_back_to_the_same_tree(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut choices = Choices::new(bytes);
        let statement = statement(&mut choices);
        let expected = Parsed { statement, bind_markers: choices.bind_markers() };
        let print = expected.statement.to_string();
        match parse_statement(&print) {
            Ok(parsed) => {
                prop_assert_eq!(&parsed, &expected, "{}", print);
                prop_assert_eq!(parsed.statement.to_string(), print);
            }
            Err(error) => prop_assert!(false, "{print}\n{error}\n{:?}", expected.statement),
        }
    }

    #[test]
    fn a_type_parses_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let cql_type = terms::cql_type(&mut Choices::new(bytes));
        prop_assert_eq!(parse_type(&cql_type.to_string()), Ok(cql_type));
    }

    #[test]
    fn a_print_with_damage_is_answered(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        edits in proptest::collection::vec((any::<u16>(), 0..4u8, any::<u8>()), 1..6),
    ) {
        let print = statement(&mut Choices::new(bytes)).to_string();
        let mut damaged = print.into_bytes();
        for (place, kind, byte) in edits {
            let place = usize::from(place) % (damaged.len() + 1);
            match kind {
                0 => damaged.truncate(place),
                1 => damaged.insert(place, byte),
                2 if place < damaged.len() => { damaged.remove(place); }
                _ if place < damaged.len() => damaged[place] = MARKS[usize::from(byte) % MARKS.len()],
                _ => {}
            }
        }
        let text = String::from_utf8_lossy(&damaged);
        match parse_statement(&text) {
            // Whatever is accepted prints to something that means the same.
            Ok(parsed) => {
                let print = parsed.statement.to_string();
                prop_assert_eq!(parse_statement(&print), Ok(parsed), "{} -> {}", text, print);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
