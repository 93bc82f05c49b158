//! Random SELECTs.

use crate::choices::Choices;
use crate::terms::{cql_type, integer_or_marker, literal, native, operator, term, tuple_or_marker};
use holon_cql_language::ast::{
    ComparisonOperator, Direction, InValues, Ordering, OrderingKind, Relation, RelationTarget, Select, Selection,
    SelectionItem, Selector, SelectorOperation, Term, WriteAttribute,
};

const DEPTH: usize = 3;

pub fn select(choices: &mut Choices) -> Select {
    Select {
        json: choices.flag(),
        distinct: choices.flag(),
        selection: selection(choices),
        from: choices.qualified(),
        relations: choices.several(0, relation),
        group_by: choices.several(0, selector),
        order_by: choices.several(0, ordering),
        per_partition_limit: choices.maybe(integer_or_marker),
        limit: choices.maybe(integer_or_marker),
        allow_filtering: choices.flag(),
    }
}

pub fn selection(choices: &mut Choices) -> Selection {
    if choices.below(4) == 0 {
        return Selection::All;
    }
    Selection::Items(
        choices
            .several(1, |choices| SelectionItem { selector: selector(choices), alias: choices.maybe(Choices::name) }),
    )
}

fn selector(choices: &mut Choices) -> Selector {
    chain(choices, DEPTH, false)
}

fn chain(choices: &mut Choices, depth: usize, multiplicative: bool) -> Selector {
    let operand = |choices: &mut Choices| {
        if multiplicative { negated(choices, depth) } else { chain(choices, depth, true) }
    };
    let mut left = operand(choices);
    while choices.below(4) == 3 {
        let operator = operator(choices, multiplicative);
        left = Selector::Arithmetic(Box::new(SelectorOperation { left, operator, right: operand(choices) }));
    }
    left
}

fn negated(choices: &mut Choices, depth: usize) -> Selector {
    if choices.below(8) == 7 {
        return Selector::Negate(Box::new(accessed(choices, depth)));
    }
    accessed(choices, depth)
}

/// A selector with fields and elements of it.
fn accessed(choices: &mut Choices, depth: usize) -> Selector {
    let base = simple(choices, depth);
    // `(a)[1]` is a list of type `a`.
    if matches!(base, Selector::Tuple(_)) { base } else { accesses(choices, base) }
}

fn accesses(choices: &mut Choices, base: Selector) -> Selector {
    let mut selector = base;
    while choices.below(4) == 3 {
        let of = Box::new(selector);
        selector = match choices.below(5) {
            0 => Selector::Field { of, field: choices.name() },
            1 => Selector::Element { of, key: term(choices) },
            2 => Selector::Slice { of, from: Some(term(choices)), to: Some(term(choices)) },
            3 => Selector::Slice { of, from: Some(term(choices)), to: None },
            _ => Selector::Slice { of, from: None, to: Some(term(choices)) },
        };
    }
    selector
}

fn simple(choices: &mut Choices, depth: usize) -> Selector {
    let inner = |choices: &mut Choices| chain(choices, depth - 1, false);
    match choices.below(if depth == 0 { 5 } else { 14 }) {
        0 => Selector::Column(choices.name()),
        1 => Selector::Literal(literal(choices)),
        2 => Selector::Null,
        3 => Selector::Bind(choices.bind_marker()),
        4 => Selector::CountRows,
        5 => {
            let attribute =
                choices.one_of(&[WriteAttribute::WriteTime, WriteAttribute::MaxWriteTime, WriteAttribute::Ttl]);
            let column = Selector::Column(choices.name());
            Selector::WriteAttribute { attribute, of: Box::new(accesses(choices, column)) }
        }
        6 => Selector::Cast { selector: Box::new(inner(choices)), to: native(choices) },
        7 => Selector::Function { name: choices.qualified(), arguments: choices.several(0, inner) },
        8 => Selector::TypeHint { hint: Box::new(cql_type(choices)), selector: Box::new(hinted(choices, depth)) },
        9 => Selector::List(choices.several(0, inner)),
        10 => Selector::EmptyBraces,
        11 => Selector::Set(choices.several(1, inner)),
        12 => Selector::MapOrUserType(choices.several(1, |choices| (inner(choices), inner(choices)))),
        _ => Selector::Tuple(choices.several(1, inner)),
    }
}

/// What may stand behind `(type)`: no minus sign, no named bind marker.
fn hinted(choices: &mut Choices, depth: usize) -> Selector {
    match choices.below(4) {
        0 => Selector::Literal(literal(choices)),
        1 => Selector::Column(choices.name()),
        2 => Selector::List(choices.several(0, |choices| chain(choices, depth - 1, false))),
        _ => Selector::Function {
            name: choices.qualified(),
            arguments: choices.several(0, |choices| chain(choices, depth - 1, false)),
        },
    }
}

fn ordering(choices: &mut Choices) -> Ordering {
    Ordering {
        column: choices.column(),
        kind: if choices.flag() { OrderingKind::NearestTo(term(choices)) } else { OrderingKind::Value },
        direction: choices.one_of(&[Direction::Ascending, Direction::Descending]),
    }
}

pub fn comparison(choices: &mut Choices) -> ComparisonOperator {
    choices.one_of(&[
        ComparisonOperator::Equal,
        ComparisonOperator::NotEqual,
        ComparisonOperator::Less,
        ComparisonOperator::LessOrEqual,
        ComparisonOperator::Greater,
        ComparisonOperator::GreaterOrEqual,
    ])
}

pub fn in_values(choices: &mut Choices, one: fn(&mut Choices) -> Term) -> InValues {
    if choices.flag() { InValues::Bind(choices.bind_marker()) } else { InValues::List(choices.several(0, one)) }
}

pub fn relation(choices: &mut Choices) -> Relation {
    match choices.below(10) {
        0 => Relation::Compare {
            left: RelationTarget::Column(choices.column()),
            operator: comparison(choices),
            right: term(choices),
        },
        1 => Relation::In { left: RelationTarget::Column(choices.column()), values: in_values(choices, term) },
        2 => Relation::Contains { column: choices.column(), value: term(choices) },
        3 => Relation::ContainsKey { column: choices.column(), key: term(choices) },
        4 => Relation::Like { column: choices.column(), pattern: term(choices) },
        5 => Relation::IsNotNull { column: choices.column() },
        6 => Relation::CustomIndexExpression { index: choices.name(), value: term(choices) },
        7 => Relation::Compare {
            left: RelationTarget::Element { column: choices.column(), key: term(choices) },
            operator: comparison(choices),
            right: term(choices),
        },
        8 => token_relation(choices),
        _ => tuple_relation(choices),
    }
}

fn token_relation(choices: &mut Choices) -> Relation {
    let left = RelationTarget::Token(choices.several(1, Choices::column));
    if choices.flag() {
        return Relation::Between { left, low: term(choices), high: term(choices) };
    }
    Relation::Compare { left, operator: comparison(choices), right: term(choices) }
}

fn tuple_relation(choices: &mut Choices) -> Relation {
    let left = RelationTarget::Tuple(choices.several(1, Choices::column));
    match choices.below(4) {
        0 => Relation::Compare { left, operator: comparison(choices), right: tuple_or_marker(choices) },
        1 => Relation::Between { left, low: tuple_or_marker(choices), high: tuple_or_marker(choices) },
        2 => Relation::In { left, values: in_values(choices, |choices| Term::Bind(choices.bind_marker())) },
        _ => Relation::In { left, values: in_values(choices, |choices| Term::Tuple(choices.several(1, term))) },
    }
}
