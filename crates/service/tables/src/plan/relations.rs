//! The relations of a WHERE clause, resolved to columns and typed, gathered by column.

use super::expression::Expression;
use super::terms::{Receiver, TermPlanner};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Table};
use holon_cql::CqlType;
use holon_cql_language::ast::{ComparisonOperator, Identifier, InValues, Relation, RelationTarget, Term};
use std::collections::BTreeMap;

/// The values of `=` or `IN`.
#[derive(Clone, Debug)]
pub enum ValueSet {
    One(Expression),
    Several(Vec<Expression>),
    /// `IN ?`: an expression whose value is a list.
    List(Expression),
}

#[derive(Clone, Debug)]
pub struct Bound {
    pub value: Expression,
    pub inclusive: bool,
}

/// A bound on clustering columns from the `first` on.
#[derive(Clone, Debug)]
pub struct TupleBound {
    pub first: usize,
    pub values: Vec<Expression>,
    pub inclusive: bool,
}

#[derive(Clone, Debug)]
pub enum TupleSet {
    Several(Vec<Vec<Expression>>),
    /// A list of tuples.
    List(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterOperator {
    /// Equal to one of the values.
    In,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    ContainsKey,
}

/// A test of a row that is read.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Place in the table.
    pub column: usize,
    /// `column[key]`
    pub element: Option<Expression>,
    pub operator: FilterOperator,
    pub values: ValueSet,
}

#[derive(Clone, Debug)]
pub enum ColumnRestriction {
    Values(ValueSet),
    Slice { lower: Option<Bound>, upper: Option<Bound> },
    Filter(Vec<Filter>),
}

#[derive(Default)]
pub struct Relations {
    /// By place in the table.
    pub columns: BTreeMap<usize, ColumnRestriction>,
    pub token: (Option<Bound>, Option<Bound>),
    /// By position of the first clustering column: how many columns, and the values.
    pub tuple_values: BTreeMap<usize, (usize, TupleSet)>,
    pub tuple_lower: Option<TupleBound>,
    pub tuple_upper: Option<TupleBound>,
    /// `column[key] = value`.
    pub filters: Vec<Filter>,
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

pub fn column<'t>(table: &'t Table, name: &str) -> CqlResult<&'t Column> {
    let found = table.column(name);
    found.ok_or_else(|| {
        CqlError::Invalid(format!("Undefined column name {name} in table {}.{}", table.keyspace, table.name))
    })
}

impl Relations {
    /// # Errors
    /// Unknown columns, operators that a column does not take, and relations that contradict each other by their shape.
    pub fn plan(table: &Table, relations: &[Relation], planner: &mut TermPlanner<'_>) -> CqlResult<Relations> {
        let mut all = Relations::default();
        for relation in relations {
            all.add(table, relation, planner)?;
        }
        Ok(all)
    }

    fn add(&mut self, table: &Table, relation: &Relation, planner: &mut TermPlanner<'_>) -> CqlResult<()> {
        match relation {
            Relation::Compare { left, operator, right } => self.compare(table, left, *operator, right, planner),
            Relation::In { left, values } => match left {
                RelationTarget::Column(name) => {
                    let column = column(table, name.as_str())?;
                    refuse_multi_cell(column, "IN")?;
                    let values = in_values(column, values, planner)?;
                    self.values(column, values)
                }
                RelationTarget::Tuple(names) => self.tuple_in(table, names, values, planner),
                _ => invalid("IN is only possible on columns and tuples of columns".to_string()),
            },
            Relation::Between { left, low, high } => {
                self.compare(table, left, ComparisonOperator::GreaterOrEqual, low, planner)?;
                self.compare(table, left, ComparisonOperator::LessOrEqual, high, planner)
            }
            Relation::Contains { column: name, value } => {
                let column = column(table, name.as_str())?;
                let element = match column.column_type.unfrozen() {
                    CqlType::List(element) | CqlType::Set(element) => CqlType::clone(element),
                    CqlType::Map(pair) => pair.1.clone(),
                    _ => return invalid(format!("Cannot use CONTAINS on non-collection column {}", column.name)),
                };
                let name = format!("value({})", column.name);
                let value = planner.term(value, Receiver { name: &name, cql_type: &element })?;
                self.filter(column, None, FilterOperator::Contains, ValueSet::One(value))
            }
            Relation::ContainsKey { column: name, key } => {
                let column = column(table, name.as_str())?;
                let CqlType::Map(pair) = column.column_type.unfrozen() else {
                    return invalid(format!("Cannot use CONTAINS KEY on non-map column {}", column.name));
                };
                let name = format!("key({})", column.name);
                let key = planner.term(key, Receiver { name: &name, cql_type: &pair.0 })?;
                self.filter(column, None, FilterOperator::ContainsKey, ValueSet::One(key))
            }
            Relation::Like { column: name, .. } => {
                let column = column(table, name.as_str())?;
                invalid(format!(
                    "LIKE restriction is only supported on properly indexed columns. {} is not indexed",
                    column.name
                ))
            }
            Relation::IsNotNull { column: name } => {
                invalid(format!("Unsupported restriction: {} IS NOT NULL", name.as_str()))
            }
            Relation::CustomIndexExpression { index, .. } => {
                invalid(format!("Invalid index: {} does not exist", index.as_str()))
            }
        }
    }

    fn compare(
        &mut self,
        table: &Table,
        left: &RelationTarget,
        operator: ComparisonOperator,
        right: &Term,
        planner: &mut TermPlanner<'_>,
    ) -> CqlResult<()> {
        if operator == ComparisonOperator::NotEqual {
            let name = match left {
                RelationTarget::Column(name) | RelationTarget::Element { column: name, .. } => name.as_str(),
                _ => "…",
            };
            return invalid(format!("Unsupported \"!=\" relation: {name} != …"));
        }
        match left {
            RelationTarget::Column(name) => {
                let column = column(table, name.as_str())?;
                refuse_multi_cell(column, symbol(operator))?;
                let receiver = Receiver { name: &column.name, cql_type: &column.column_type };
                let value = planner.term(right, receiver)?;
                if operator == ComparisonOperator::Equal {
                    return self.values(column, ValueSet::One(value));
                }
                if column.column_type == CqlType::Duration {
                    return invalid("Slice restrictions are not supported on duration columns".to_string());
                }
                self.slice(column, operator, value)
            }
            RelationTarget::Element { column: name, key } => {
                let column = column(table, name.as_str())?;
                let CqlType::Map(pair) = column.column_type.unfrozen() else {
                    return invalid(format!("Column {} cannot be used as a map", column.name));
                };
                if operator != ComparisonOperator::Equal {
                    return invalid(format!(
                        "Only EQ relations are supported on map entries, but got {}",
                        symbol(operator)
                    ));
                }
                let (key_name, value_name) = (format!("key({})", column.name), format!("value({})", column.name));
                let key = planner.term(key, Receiver { name: &key_name, cql_type: &pair.0 })?;
                let value = planner.term(right, Receiver { name: &value_name, cql_type: &pair.1 })?;
                self.filters.push(Filter {
                    column: column.index,
                    element: Some(key),
                    operator: FilterOperator::In,
                    values: ValueSet::One(value),
                });
                Ok(())
            }
            RelationTarget::Token(names) => self.compare_token(table, names, operator, right, planner),
            RelationTarget::Tuple(names) => self.compare_tuple(table, names, operator, right, planner),
        }
    }

    fn compare_token(
        &mut self,
        table: &Table,
        names: &[Identifier],
        operator: ComparisonOperator,
        right: &Term,
        planner: &mut TermPlanner<'_>,
    ) -> CqlResult<()> {
        let key = table.partition_key();
        for name in names {
            column(table, name.as_str())?;
        }
        let in_order = names.len() == key.len() && names.iter().zip(key).all(|(name, column)| *name == *column.name);
        if !in_order {
            let expected: Vec<&str> = key.iter().map(|column| &*column.name).collect();
            let same = names.len() == key.len() && names.iter().all(|name| expected.contains(&name.as_str()));
            return invalid(if same {
                format!("The token function arguments must be in the partition key order: {}", expected.join(", "))
            } else {
                "The token() function must be applied to all partition key components or none of them".to_string()
            });
        }
        let receiver = Receiver { name: "partition key token", cql_type: &CqlType::BigInt };
        let value = planner.term(right, receiver)?;
        let bound = |inclusive| Some(Bound { value: value.clone(), inclusive });
        let (lower, upper) = match operator {
            ComparisonOperator::Equal => (bound(true), bound(true)),
            ComparisonOperator::Greater | ComparisonOperator::GreaterOrEqual => {
                (bound(operator == ComparisonOperator::GreaterOrEqual), None)
            }
            _ => (None, bound(operator == ComparisonOperator::LessOrEqual)),
        };
        if (lower.is_some() && self.token.0.is_some()) || (upper.is_some() && self.token.1.is_some()) {
            let names: Vec<&str> = names.iter().map(Identifier::as_str).collect();
            let which = if lower.is_some() { "start" } else { "end" };
            return invalid(format!(
                "More than one restriction was found for the {which} bound on {}",
                names.join(", ")
            ));
        }
        self.token.0 = self.token.0.take().or(lower);
        self.token.1 = self.token.1.take().or(upper);
        Ok(())
    }

    fn compare_tuple(
        &mut self,
        table: &Table,
        names: &[Identifier],
        operator: ComparisonOperator,
        right: &Term,
        planner: &mut TermPlanner<'_>,
    ) -> CqlResult<()> {
        let first = tuple_start(table, names)?;
        let columns = &table.clustering()[first..first + names.len()];
        let values = tuple_values(columns, right, planner)?;
        match operator {
            ComparisonOperator::Equal => {
                for (column, value) in columns.iter().zip(values) {
                    self.values(column, ValueSet::One(value))?;
                }
            }
            ComparisonOperator::Greater | ComparisonOperator::GreaterOrEqual => {
                let inclusive = operator == ComparisonOperator::GreaterOrEqual;
                set_bound(&mut self.tuple_lower, TupleBound { first, values, inclusive }, "start", names)?;
            }
            _ => {
                let inclusive = operator == ComparisonOperator::LessOrEqual;
                set_bound(&mut self.tuple_upper, TupleBound { first, values, inclusive }, "end", names)?;
            }
        }
        Ok(())
    }

    fn tuple_in(
        &mut self,
        table: &Table,
        names: &[Identifier],
        values: &InValues,
        planner: &mut TermPlanner<'_>,
    ) -> CqlResult<()> {
        let first = tuple_start(table, names)?;
        let columns = &table.clustering()[first..first + names.len()];
        let tuples = match values {
            InValues::List(terms) => {
                let tuples = terms.iter().map(|term| tuple_values(columns, term, planner));
                TupleSet::Several(tuples.collect::<CqlResult<_>>()?)
            }
            InValues::Bind(marker) => {
                let list = CqlType::list(CqlType::frozen(tuple_type(columns)));
                TupleSet::List(planner.marker(marker, &format!("in({})", names_of(columns)), &list))
            }
        };
        if self.tuple_values.insert(first, (names.len(), tuples)).is_some() {
            return invalid(format!(
                "{} cannot be restricted by more than one relation if it includes an IN",
                names_of(columns)
            ));
        }
        Ok(())
    }

    fn values(&mut self, column: &Column, values: ValueSet) -> CqlResult<()> {
        let kind = if matches!(values, ValueSet::One(_)) { "an Equal" } else { "a IN" };
        if self.columns.insert(column.index, ColumnRestriction::Values(values)).is_some() {
            return invalid(format!(
                "{} cannot be restricted by more than one relation if it includes {kind}",
                column.name
            ));
        }
        Ok(())
    }

    fn slice(&mut self, column: &Column, operator: ComparisonOperator, value: Expression) -> CqlResult<()> {
        let empty = ColumnRestriction::Slice { lower: None, upper: None };
        let restriction = self.columns.entry(column.index).or_insert(empty);
        let ColumnRestriction::Slice { lower, upper } = restriction else {
            return invalid(format!(
                "{} cannot be restricted by more than one relation if it includes an Equal",
                column.name
            ));
        };
        let inclusive = matches!(operator, ComparisonOperator::GreaterOrEqual | ComparisonOperator::LessOrEqual);
        let is_lower = matches!(operator, ComparisonOperator::Greater | ComparisonOperator::GreaterOrEqual);
        let (target, which) = if is_lower { (lower, "start") } else { (upper, "end") };
        if target.is_some() {
            return invalid(format!("More than one restriction was found for the {which} bound on {}", column.name));
        }
        *target = Some(Bound { value, inclusive });
        Ok(())
    }

    fn filter(
        &mut self,
        column: &Column,
        element: Option<Expression>,
        operator: FilterOperator,
        values: ValueSet,
    ) -> CqlResult<()> {
        let filter = Filter { column: column.index, element, operator, values };
        match self.columns.entry(column.index).or_insert(ColumnRestriction::Filter(Vec::new())) {
            ColumnRestriction::Filter(filters) => filters.push(filter),
            _ => self.filters.push(filter),
        }
        Ok(())
    }
}

fn set_bound(target: &mut Option<TupleBound>, bound: TupleBound, which: &str, names: &[Identifier]) -> CqlResult<()> {
    if target.is_some() {
        let names: Vec<&str> = names.iter().map(Identifier::as_str).collect();
        return invalid(format!("More than one restriction was found for the {which} bound on {}", names.join(", ")));
    }
    *target = Some(bound);
    Ok(())
}

fn refuse_multi_cell(column: &Column, operator: &str) -> CqlResult<()> {
    if column.is_multi_cell() {
        return invalid(format!(
            "Collection column '{}' ({}) cannot be restricted by a '{operator}' relation",
            column.name, column.column_type
        ));
    }
    Ok(())
}

fn symbol(operator: ComparisonOperator) -> &'static str {
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

fn names_of(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    names.join(",")
}

fn tuple_type(columns: &[Column]) -> CqlType {
    CqlType::tuple(columns.iter().map(|column| column.column_type.clone()).collect::<Vec<_>>())
}

/// The position of the first of clustering columns that follow each other.
fn tuple_start(table: &Table, names: &[Identifier]) -> CqlResult<usize> {
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

fn tuple_values(columns: &[Column], term: &Term, planner: &mut TermPlanner<'_>) -> CqlResult<Vec<Expression>> {
    match term {
        Term::Tuple(parts) => {
            if parts.len() != columns.len() {
                return invalid(format!("Expected {} elements in value tuple, but got {}", columns.len(), parts.len()));
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
