//! The bounds of `limits`, positions of tokens, and what must hold whatever the text.

use holon_cql_language::lexer::{Lexer, Position, TokenKind};
use holon_cql_language::limits::{
    BIND_MARKERS_MAX, ERROR_SNIPPET_CHARACTERS_MAX, EXPRESSION_OPERATORS_MAX, NESTING_MAX, STATEMENT_BYTES_MAX,
};
use holon_cql_language::{
    Parsed, SharedStatement, SyntaxError, is_reserved, parse_statement, parse_type, quote_identifier, quote_string,
};

fn insert(value: &str) -> Result<Parsed, SyntaxError> {
    parse_statement(&format!("INSERT INTO t (a) VALUES ({value})"))
}

#[test]
fn nesting_ends_at_its_bound_in_every_direction() {
    let levels = NESTING_MAX as usize;
    let nests =
        [("[", "1", "]"), ("{", "1", "}"), ("(", "1", ")"), ("{1: ", "1", "}"), ("{a: ", "1", "}"), ("f(", "1", ")")];
    for (open, inside, close) in nests {
        let nest = |levels: usize| format!("{}{inside}{}", open.repeat(levels), close.repeat(levels));
        assert!(insert(&nest(levels)).is_ok(), "{open}");
        assert!(matches!(insert(&nest(levels + 1)), Err(SyntaxError::TooDeep { .. })), "{open}");
        assert!(matches!(insert(&nest(100_000)), Err(SyntaxError::TooDeep { .. })), "{open}");
        let selected = |levels: usize| parse_statement(&format!("SELECT {} FROM t", nest(levels)));
        assert!(selected(levels).is_ok(), "{open}");
        assert!(matches!(selected(100_000), Err(SyntaxError::TooDeep { .. })), "{open}");
    }
    for negated in ["- ", "(int) - ", "CAST("] {
        assert!(insert(&negated.repeat(100_000)).is_err());
        assert!(parse_statement(&format!("SELECT {}", negated.repeat(100_000))).is_err());
    }
    let relation = format!("SELECT * FROM t WHERE {}a = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse_statement(&relation).is_ok());
    assert!(parse_statement(&"SELECT * FROM t WHERE (".replace('(', &"(".repeat(100_000))).is_err());
}

#[test]
fn types_nest_to_the_same_bound() {
    let levels = NESTING_MAX as usize;
    for (open, close) in
        [("list<", ">"), ("frozen<", ">"), ("map<int, ", ">"), ("tuple<int, ", ">"), ("vector<", ", 2>")]
    {
        let nest = |levels: usize| format!("{}int{}", open.repeat(levels), close.repeat(levels));
        assert!(parse_type(&nest(levels)).is_ok(), "{open}");
        assert!(matches!(parse_type(&nest(levels + 1)), Err(SyntaxError::TooDeep { .. })), "{open}");
        assert!(parse_type(&nest(100_000)).is_err(), "{open}");
    }
}

#[test]
fn chains_of_operators_end_at_their_bound_and_their_trees_can_be_used() {
    let most = EXPRESSION_OPERATORS_MAX as usize;
    for operator in [" + 1", " * 1", "-1"] {
        let longest = insert(&format!("1{}", operator.repeat(most))).unwrap();
        assert_eq!(parse_statement(&longest.statement.to_string()), Ok(longest.clone()));
        let longer = insert(&format!("1{}", operator.repeat(most + 1)));
        assert!(matches!(longer, Err(SyntaxError::TooManyOperators { .. })));
    }
    for access in [".a", "[1]", "[1..2]"] {
        assert!(parse_statement(&format!("SELECT a{} FROM t", access.repeat(most))).is_ok());
        let longer = parse_statement(&format!("SELECT a{} FROM t", access.repeat(most + 1)));
        assert!(matches!(longer, Err(SyntaxError::TooManyOperators { .. })));
    }
    // The bound is for one expression, not for a statement.
    let values = vec!["1 + 2 + 3"; 1_000].join(", ");
    assert!(insert(&values).is_ok());
}

#[test]
fn bind_markers_are_listed_in_order_and_bounded() {
    let parsed = parse_statement("UPDATE t USING TTL ? SET a = :x, b[:y] = ? WHERE k IN :\"Z\" IF c = :x").unwrap();
    let names: Vec<Option<&str>> = parsed.bind_markers.iter().map(|name| name.as_ref().map(|n| n.as_str())).collect();
    assert_eq!(names, [None, Some("x"), Some("y"), None, Some("Z"), Some("x")]);
    let markers = |count: usize| insert(&vec!["?"; count].join(","));
    assert_eq!(markers(BIND_MARKERS_MAX).unwrap().bind_markers.len(), BIND_MARKERS_MAX);
    assert!(matches!(markers(BIND_MARKERS_MAX + 1), Err(SyntaxError::TooManyBindMarkers { .. })));
}

#[test]
fn a_statement_that_is_too_long_is_not_looked_at() {
    let text = " ".repeat(STATEMENT_BYTES_MAX + 1);
    assert_eq!(parse_statement(&text), Err(SyntaxError::TooLong { bytes: STATEMENT_BYTES_MAX + 1 }));
}

#[test]
fn an_error_repeats_little_of_a_long_statement() {
    let long = "x".repeat(1 << 20);
    for text in [format!("SELECT {long} {long} FROM t"), format!("SELECT a FROM t WHERE '{long}' '{long}'"), long] {
        let message = parse_statement(&text).unwrap_err().to_string();
        assert!(message.len() < 5 * ERROR_SNIPPET_CHARACTERS_MAX, "{message}");
    }
}

#[test]
fn looking_ahead_costs_no_more_than_the_text() {
    // Each parenthesis could start the hint of a type with a name that is refused; finding that out must be cheap.
    let list = vec!["(enum)"; 200_000].join(", ");
    assert!(parse_statement(&format!("SELECT [{list}] FROM t")).is_ok());
}

#[test]
fn empty_texts() {
    for text in ["", " \n", "-- nothing", "/* nothing */", ";"] {
        let message = parse_statement(text).unwrap_err().to_string();
        assert!(message.contains("no viable alternative at input"), "{message}");
    }
    assert_eq!(parse_statement("").unwrap_err().to_string(), "line 1:0 no viable alternative at input '<EOF>'");
}

#[test]
fn tokens_know_their_place() {
    let text = "SELECT 'é\n日', /* x\n */ \"ü\" ;";
    let mut lexer = Lexer::new(text);
    let mut places = Vec::new();
    loop {
        let token = lexer.next_token();
        let position: Position = lexer.position(token);
        places.push((lexer.text(token), position.line, position.column));
        if token.kind == TokenKind::End {
            break;
        }
    }
    let expected = [("SELECT", 1, 0), ("'é\n日'", 1, 7), (",", 2, 2), ("\"ü\"", 3, 4), (";", 3, 8), ("", 3, 9)];
    assert_eq!(places, expected);
}

#[test]
fn names_and_strings_are_quoted_where_they_must_be() {
    let names = [
        ("a", "a"),
        ("a_1", "a_1"),
        ("ttl", "ttl"),
        ("A", "\"A\""),
        ("1a", "\"1a\""),
        ("_a", "\"_a\""),
        ("select", "\"select\""),
        ("true", "\"true\""),
        ("", "\"\""),
        ("a\"b", "\"a\"\"b\""),
        ("é", "\"é\""),
    ];
    for (name, expected) in names {
        assert_eq!(quote_identifier(name), expected);
    }
    assert_eq!(quote_string("it's"), "'it''s'");
    assert!(is_reserved("ORDER") && is_reserved("order") && !is_reserved("as"));
}

#[test]
fn types_stand_alone() {
    let text = "frozen<map<text, frozen<tuple<\"Ks\".udt, vector<float, 3>, 'a.Class'>>>>";
    assert_eq!(parse_type(text).unwrap().to_string(), text);
    assert_eq!(parse_type(" INT ").unwrap().to_string(), "int");
    for wrong in ["", "int int", "list<int", "map<int>", "set", "vector<int>", "int;", "frozen<>", "tuple<>"] {
        assert!(parse_type(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_statement_is_shared_between_threads() {
    fn shareable<T: Send + Sync + Clone + 'static>(_: &T) {}
    let shared: SharedStatement = parse_statement("SELECT * FROM t WHERE a = ?").unwrap().share();
    shareable(&shared);
    assert!(std::sync::Arc::ptr_eq(&shared, &shared.clone()));
}

#[test]
fn passwords_stay_out_of_debug_output() {
    for text in ["CREATE ROLE r WITH PASSWORD = 'secret'", "ALTER USER u WITH HASHED PASSWORD 'secret'"] {
        let parsed = parse_statement(text).unwrap();
        assert!(!format!("{parsed:?}").contains("secret"));
    }
}

#[test]
fn statements_cut_anywhere_are_answered() {
    let corpus = concat!(
        include_str!("transcripts/select.txt"),
        include_str!("transcripts/modification.txt"),
        include_str!("transcripts/term.txt"),
        include_str!("transcripts/schema.txt"),
        include_str!("transcripts/security.txt"),
    );
    let mut accepted = 0;
    for line in corpus.lines().filter_map(|line| line.strip_prefix("=> ")) {
        for (end, _) in line.char_indices() {
            if let Ok(parsed) = parse_statement(&line[..end]) {
                let print = parsed.statement.to_string();
                assert_eq!(parse_statement(&print).as_ref(), Ok(&parsed), "{print}");
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1_000, "{accepted}");
}
