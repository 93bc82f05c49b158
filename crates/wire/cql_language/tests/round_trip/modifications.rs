//! Random INSERTs, UPDATEs, DELETEs, batches and the small statements beside them.

use crate::choices::Choices;
use crate::selectors::{comparison, in_values, relation};
use crate::terms::{integer_or_marker, term};
use holon_cql_language::ast::{
    Assignment, Batch, BatchKind, Condition, ConditionTarget, ConditionTest, Delete, DeleteTarget, IfClause, Insert,
    InsertSource, JsonDefault, JsonValue, Modification, Operation, Statement, Update, Using,
};

pub fn statement(choices: &mut Choices) -> Statement {
    match choices.below(6) {
        0 => Statement::Insert(Box::new(insert(choices))),
        1 => Statement::Update(Box::new(update(choices))),
        2 => Statement::Delete(Box::new(delete(choices))),
        3 => Statement::Batch(Box::new(batch(choices))),
        4 => Statement::Use(choices.name()),
        _ => Statement::Truncate(choices.qualified()),
    }
}

fn using(choices: &mut Choices) -> Using {
    Using { timestamp: choices.maybe(integer_or_marker), ttl: choices.maybe(integer_or_marker) }
}

fn insert(choices: &mut Choices) -> Insert {
    let table = choices.qualified();
    let source = if choices.flag() {
        let value =
            if choices.flag() { JsonValue::Bind(choices.bind_marker()) } else { JsonValue::Text(choices.string()) };
        InsertSource::Json { value, default: choices.one_of(&[JsonDefault::Null, JsonDefault::Unset]) }
    } else {
        InsertSource::Values { columns: choices.several(1, Choices::column), values: choices.several(1, term) }
    };
    Insert { table, source, if_not_exists: choices.flag(), using: using(choices) }
}

fn update(choices: &mut Choices) -> Update {
    let (table, using) = (choices.qualified(), using(choices));
    let mut assignments: Vec<Assignment> = Vec::new();
    // The same column twice is tested with the transcripts; here a second one would spoil the order of the markers.
    for index in 0..=choices.below(3) {
        let column = format!("c{index}").as_str().into();
        let operation = match choices.below(6) {
            0 => Operation::Set(term(choices)),
            1 => Operation::Add(term(choices)),
            2 => Operation::Prepend(term(choices)),
            3 => Operation::Subtract(term(choices)),
            4 => Operation::SetElement { key: term(choices), value: term(choices) },
            _ => Operation::SetField { field: choices.name(), value: term(choices) },
        };
        assignments.push(Assignment { column, operation });
    }
    let relations = choices.several(1, relation);
    Update { table, using, assignments, relations, condition: if_clause(choices) }
}

fn if_clause(choices: &mut Choices) -> IfClause {
    match choices.below(3) {
        0 => IfClause::None,
        1 => IfClause::Exists,
        _ => IfClause::Conditions(choices.several(1, condition)),
    }
}

fn condition(choices: &mut Choices) -> Condition {
    let target = match choices.below(3) {
        0 => ConditionTarget::Column(choices.column()),
        1 => ConditionTarget::Element { column: choices.column(), key: term(choices) },
        _ => ConditionTarget::Field { column: choices.column(), field: choices.name() },
    };
    let is_column = matches!(target, ConditionTarget::Column(_));
    let test = match choices.below(if is_column { 4 } else { 2 }) {
        0 => ConditionTest::Compare { operator: comparison(choices), value: term(choices) },
        1 => ConditionTest::In(in_values(choices, term)),
        2 => ConditionTest::Contains(term(choices)),
        _ => ConditionTest::ContainsKey(term(choices)),
    };
    Condition { target, test }
}

fn delete(choices: &mut Choices) -> Delete {
    Delete {
        targets: choices.several(0, |choices| match choices.below(3) {
            0 => DeleteTarget::Column(choices.column()),
            1 => DeleteTarget::Element { column: choices.column(), key: term(choices) },
            _ => DeleteTarget::Field { column: choices.column(), field: choices.name() },
        }),
        table: choices.qualified(),
        timestamp: choices.maybe(integer_or_marker),
        relations: choices.several(1, relation),
        condition: if_clause(choices),
    }
}

fn batch(choices: &mut Choices) -> Batch {
    Batch {
        kind: choices.one_of(&[BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter]),
        using: using(choices),
        statements: choices.several(0, |choices| match choices.below(3) {
            0 => Modification::Insert(Box::new(insert(choices))),
            1 => Modification::Update(Box::new(update(choices))),
            _ => Modification::Delete(Box::new(delete(choices))),
        }),
    }
}
