//! Random literals, terms, types and properties.

use crate::choices::Choices;
use holon_cql_language::ast::{
    ArithmeticOperator, CqlType, Literal, NativeType, Property, PropertyValue, Term, TermOperation,
};

const INTEGERS: [&str; 4] = ["0", "42", "-7", "99999999999999999999"];
const FLOATS: [&str; 7] = ["1.5", "1.", "-2e10", "3.E-4", "NaN", "Infinity", "-Infinity"];
const UUIDS: [&str; 2] = ["123e4567-e89b-12d3-a456-426614174000", "DEADBEEF-dead-beef-dead-beefdeadbeef"];
const DURATIONS: [&str; 6] = ["1d", "-1y2MO", "5µs", "PT5S", "-P1Y", "P0001-02-03T04:05:06"];
const PROPERTY_WORDS: [&str; 3] = ["all", "text", "ttl"];

/// How deep random trees may nest; the parser's own bound is tested apart.
const DEPTH: usize = 4;

pub fn literal(choices: &mut Choices) -> Literal {
    match choices.below(7) {
        0 => Literal::Integer(choices.one_of(&INTEGERS).into()),
        1 => Literal::String(choices.string()),
        2 => Literal::Float(choices.one_of(&FLOATS).into()),
        3 => Literal::Boolean(choices.flag()),
        4 => Literal::Uuid(choices.one_of(&UUIDS).into()),
        5 => Literal::Blob(choices.one_of(&["", "00fF", "abc"]).into()),
        _ => Literal::Duration(choices.one_of(&DURATIONS).into()),
    }
}

pub fn operator(choices: &mut Choices, multiplicative: bool) -> ArithmeticOperator {
    if multiplicative {
        choices.one_of(&[ArithmeticOperator::Multiply, ArithmeticOperator::Divide, ArithmeticOperator::Modulo])
    } else {
        choices.one_of(&[ArithmeticOperator::Add, ArithmeticOperator::Subtract])
    }
}

/// Any term.
pub fn term(choices: &mut Choices) -> Term {
    sum(choices, DEPTH)
}

fn sum(choices: &mut Choices, depth: usize) -> Term {
    chain(choices, depth, false)
}

/// Operators of one strength, leaning left, over operands that bind more tightly.
fn chain(choices: &mut Choices, depth: usize, multiplicative: bool) -> Term {
    let operand = |choices: &mut Choices| {
        if multiplicative { simple(choices, depth) } else { chain(choices, depth, true) }
    };
    let mut left = operand(choices);
    while choices.below(4) == 3 {
        let operator = operator(choices, multiplicative);
        left = Term::Arithmetic(Box::new(TermOperation { left, operator, right: operand(choices) }));
    }
    left
}

fn simple(choices: &mut Choices, depth: usize) -> Term {
    let inner = |choices: &mut Choices| sum(choices, depth - 1);
    match choices.below(if depth == 0 { 3 } else { 13 }) {
        0 => Term::Literal(literal(choices)),
        1 => Term::Null,
        2 => Term::Bind(choices.bind_marker()),
        3 => Term::List(choices.several(0, inner)),
        4 => Term::EmptyBraces,
        5 => Term::Set(choices.several(1, inner)),
        6 => Term::Map(choices.several(1, |choices| (inner(choices), inner(choices)))),
        7 => Term::UserType(choices.several(1, |choices| (choices.name(), inner(choices)))),
        8 => Term::Tuple(choices.several(1, inner)),
        9 => Term::Function { name: choices.qualified(), arguments: choices.several(0, inner) },
        10 => Term::Cast { term: Box::new(inner(choices)), to: native(choices) },
        11 => hinted(choices, depth),
        _ => Term::Negate(Box::new(simple(choices, depth - 1))),
    }
}

/// `(type) term`, where a minus sign cannot follow, and a colon not behind a string.
fn hinted(choices: &mut Choices, depth: usize) -> Term {
    let hint = Box::new(cql_type(choices));
    let mut term = match *hint {
        CqlType::Custom(_) => Term::Literal(literal(choices)),
        _ => simple(choices, depth - 1),
    };
    while let Term::Negate(inner) = term {
        term = *inner;
    }
    Term::TypeHint { hint, term: Box::new(term) }
}

/// An integer or a bind marker.
pub fn integer_or_marker(choices: &mut Choices) -> Term {
    if choices.flag() {
        return Term::Bind(choices.bind_marker());
    }
    Term::Literal(Literal::Integer(choices.one_of(&INTEGERS).into()))
}

/// A tuple or a bind marker.
pub fn tuple_or_marker(choices: &mut Choices) -> Term {
    if choices.flag() { Term::Bind(choices.bind_marker()) } else { Term::Tuple(choices.several(1, term)) }
}

pub fn native(choices: &mut Choices) -> CqlType {
    CqlType::Native(choices.one_of(&NativeType::ALL))
}

pub fn cql_type(choices: &mut Choices) -> CqlType {
    nested_type(choices, DEPTH)
}

fn nested_type(choices: &mut Choices, depth: usize) -> CqlType {
    let inner = |choices: &mut Choices| Box::new(nested_type(choices, depth - 1));
    match choices.below(if depth == 0 { 3 } else { 9 }) {
        0 => native(choices),
        1 => CqlType::User(choices.qualified()),
        2 => CqlType::Custom(choices.string()),
        3 => CqlType::List(inner(choices)),
        4 => CqlType::Set(inner(choices)),
        5 => CqlType::Map(inner(choices), inner(choices)),
        6 => CqlType::Tuple(choices.several(1, |choices| nested_type(choices, depth - 1))),
        7 => CqlType::Frozen(inner(choices)),
        _ => CqlType::Vector(inner(choices), choices.one_of(&[1, 3, 65_535])),
    }
}

/// `{…}` of constants with different keys.
pub fn property_map(choices: &mut Choices) -> Vec<(Literal, Literal)> {
    let mut map: Vec<(Literal, Literal)> = choices.several(0, |choices| (literal(choices), literal(choices)));
    map.sort_by_key(|(key, _)| key.raw_text().into_owned());
    map.dedup_by_key(|(key, _)| key.raw_text().into_owned());
    map
}

/// At least `least` properties with different names.
pub fn properties(choices: &mut Choices, least: usize) -> Vec<Property> {
    let mut properties = choices.several(least, |choices| {
        let value = match choices.below(3) {
            0 => PropertyValue::Literal(literal(choices)),
            1 => PropertyValue::Keyword(choices.one_of(&PROPERTY_WORDS).into()),
            _ => PropertyValue::Map(property_map(choices)),
        };
        Property { name: choices.name(), value }
    });
    properties.sort_by(|one, other| one.name.cmp(&other.name));
    properties.dedup_by(|one, other| one.name == other.name);
    properties
}
