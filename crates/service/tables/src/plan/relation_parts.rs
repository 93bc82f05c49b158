//! What relations are made of: which columns and values they take, and what they say of those they do not.

use super::expression::Expression;
use super::relations::{ValueSet, column};
use super::terms::{Receiver, TermPlanner};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Table};
use holon_cql::CqlType;
use holon_cql_language::ast::{ComparisonOperator, Identifier, InValues, Term};

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

pub fn refuse_beside_contains<T>(column: &Column) -> CqlResult<T> {
    invalid(format!(
        "Collection column {} can only be restricted by CONTAINS, CONTAINS KEY, or map-entry equality",
        column.name
    ))
}

pub fn refuse_multi_cell(column: &Column, operator: &str) -> CqlResult<()> {
    if column.is_multi_cell() && matches!(column.column_type, CqlType::Udt(_)) {
        return invalid(format!(
            "Non-frozen UDT column '{}' ({}) cannot be restricted by any relation",
            column.name, column.column_type
        ));
    }
    if column.is_multi_cell() {
        return invalid(format!(
            "Collection column '{}' ({}) cannot be restricted by a '{operator}' relation",
            column.name, column.column_type
        ));
    }
    Ok(())
}

/// Durations have no order, nor has what holds them.
pub fn refuse_durations(cql_type: &CqlType, what: &str) -> CqlResult<()> {
    let on = match cql_type.unfrozen() {
        other if !holds_durations(other) => return Ok(()),
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(_) => "collections containing durations",
        CqlType::Tuple(_) => "tuples containing durations",
        CqlType::Udt(_) => "UDTs containing durations",
        _ => "duration columns",
    };
    let on = if what.contains("conditions") && on == "duration columns" { "durations" } else { on };
    invalid(format!("{what} are not supported on {on}"))
}

pub fn holds_durations(cql_type: &CqlType) -> bool {
    match cql_type.unfrozen() {
        CqlType::Duration => true,
        CqlType::List(element) | CqlType::Set(element) => holds_durations(element),
        CqlType::Map(pair) => holds_durations(&pair.0) || holds_durations(&pair.1),
        CqlType::Tuple(types) => types.iter().any(holds_durations),
        CqlType::Udt(udt) => udt.fields.iter().any(|field| holds_durations(&field.cql_type)),
        CqlType::Vector(vector) => holds_durations(&vector.element),
        _ => false,
    }
}

pub fn symbol(operator: ComparisonOperator) -> &'static str {
    match operator {
        ComparisonOperator::Equal => "=",
        ComparisonOperator::NotEqual => "!=",
        ComparisonOperator::Less => "<",
        ComparisonOperator::LessOrEqual => "<=",
        ComparisonOperator::Greater => ">",
        ComparisonOperator::GreaterOrEqual => ">=",
    }
}

pub fn in_values(column: &Column, values: &InValues, planner: &mut TermPlanner<'_>) -> CqlResult<ValueSet> {
    match values {
        InValues::List(terms) => {
            let receiver = Receiver { name: &column.name, cql_type: &column.column_type };
            let values = terms.iter().map(|term| planner.term(term, receiver)).collect::<CqlResult<Vec<_>>>()?;
            Ok(ValueSet::Several(values))
        }
        InValues::Bind(marker) => {
            let list = CqlType::list(column.column_type.clone());
            Ok(ValueSet::List(planner.marker(marker, &format!("in({})", column.name), &list)))
        }
    }
}

pub fn names_of(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.join(",")
}

pub fn tuple_type(columns: &[Column]) -> CqlType {
    CqlType::tuple(columns.iter().map(|column| column.column_type.clone()).collect::<Vec<_>>())
}

/// The position of the first of clustering columns that follow each other.
pub fn tuple_start(table: &Table, names: &[Identifier]) -> CqlResult<usize> {
    let mut previous: Option<&Column> = None;
    let mut first = 0;
    for name in names {
        let column = column(table, name.as_str())?;
        if column.kind != ColumnKind::Clustering {
            return invalid(format!(
                "Multi-column relations can only be applied to clustering columns but was applied to: {}",
                column.name
            ));
        }
        match previous {
            None => first = column.position,
            Some(before) if column.position == before.position => {
                return invalid(format!("Column \"{}\" appeared twice in a relation", column.name));
            }
            Some(before) if column.position != before.position + 1 => {
                return invalid(format!(
                    "Clustering columns must appear in the PRIMARY KEY order in multi-column relations: {}",
                    names.iter().map(Identifier::as_str).collect::<Vec<_>>().join(", ")
                ));
            }
            Some(_) => {}
        }
        previous = Some(column);
    }
    Ok(first)
}

pub fn tuple_values(columns: &[Column], term: &Term, planner: &mut TermPlanner<'_>) -> CqlResult<Vec<Expression>> {
    match term {
        Term::Tuple(parts) => {
            if parts.len() != columns.len() {
                return invalid(format!(
                    "Expected {} elements in value tuple, but got {}: {term}",
                    columns.len(),
                    parts.len()
                ));
            }
            let value = |(part, column): (&Term, &Column)| {
                planner.term(part, Receiver { name: &column.name, cql_type: &column.column_type })
            };
            parts.iter().zip(columns).map(value).collect()
        }
        Term::Bind(marker) => {
            let bound = planner.marker(marker, &format!("({})", names_of(columns)), &tuple_type(columns));
            Ok((0..columns.len()).map(|index| Expression::Field(Box::new(bound.clone()), index)).collect())
        }
        _ => invalid(format!("Invalid tuple literal for ({})", names_of(columns))),
    }
}
