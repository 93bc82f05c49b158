//! The relations of a WHERE clause, resolved to columns and typed, gathered by column.

use super::expression::Expression;
use super::relation_parts::{
    in_values, names_of, refuse_beside_contains, refuse_durations, refuse_multi_cell, symbol, tuple_start, tuple_type,
    tuple_values,
};
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

impl TupleSet {
    pub fn is_one(&self) -> bool {
        matches!(self, TupleSet::Several(tuples) if tuples.len() == 1)
    }
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

/// A test of several clustering columns at once of a row that is read.
#[derive(Clone, Debug)]
pub enum TupleFilter {
    Lower(TupleBound),
    Upper(TupleBound),
    /// Equal to one of the tuples, from the `first` column on.
    In {
        first: usize,
        width: usize,
        tuples: TupleSet,
    },
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
    /// By position of the first clustering column: bounds on it, or on it and those behind it.
    pub slices: BTreeMap<usize, ClusteringSlice>,
    /// `column[key] = value`, and what is beside another filter of the column.
    pub filters: Vec<Filter>,
    /// Filtering is allowed: relations on clustering columns need not follow each other.
    allow_filtering: bool,
}

#[derive(Clone, Debug, Default)]
pub struct ClusteringSlice {
    pub lower: Option<TupleBound>,
    pub upper: Option<TupleBound>,
}

impl ClusteringSlice {
    fn width(&self) -> usize {
        let width = |bound: &Option<TupleBound>| bound.as_ref().map_or(0, |bound| bound.values.len());
        width(&self.lower).max(width(&self.upper))
    }
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
    pub fn plan(
        table: &Table,
        relations: &[Relation],
        allow_filtering: bool,
        planner: &mut TermPlanner<'_>,
    ) -> CqlResult<Relations> {
        let mut all = Relations { allow_filtering, ..Relations::default() };
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
                    self.values(table, column, values)
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
                self.filter(table, column, None, FilterOperator::Contains, ValueSet::One(value))
            }
            Relation::ContainsKey { column: name, key } => {
                let column = column(table, name.as_str())?;
                let CqlType::Map(pair) = column.column_type.unfrozen() else {
                    return invalid(format!("Cannot use CONTAINS KEY on non-map column {}", column.name));
                };
                let name = format!("key({})", column.name);
                let key = planner.term(key, Receiver { name: &name, cql_type: &pair.0 })?;
                self.filter(table, column, None, FilterOperator::ContainsKey, ValueSet::One(key))
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
            return invalid(format!("Unsupported \"!=\" relation: {left} != {right}"));
        }
        match left {
            RelationTarget::Column(name) => {
                let column = column(table, name.as_str())?;
                if operator != ComparisonOperator::Equal {
                    refuse_durations(&column.column_type, "Slice restrictions")?;
                }
                refuse_multi_cell(column, symbol(operator))?;
                let receiver = Receiver { name: &column.name, cql_type: &column.column_type };
                let value = planner.term(right, receiver)?;
                if operator == ComparisonOperator::Equal {
                    return self.values(table, column, ValueSet::One(value));
                }
                self.slice(table, column, operator, value)
            }
            RelationTarget::Element { column: name, key } => {
                let column = column(table, name.as_str())?;
                let CqlType::Map(pair) = column.column_type.unfrozen() else {
                    return invalid(format!("Column {} cannot be used as a map", column.name));
                };
                if !column.is_multi_cell() {
                    return invalid(format!(
                        "Map-entry equality predicates on frozen map column {} are not supported",
                        column.name
                    ));
                }
                if operator != ComparisonOperator::Equal {
                    return invalid(format!(
                        "Only EQ relations are supported on map entries, but got {}",
                        symbol(operator)
                    ));
                }
                let (key_name, value_name) = (format!("key({})", column.name), format!("value({})", column.name));
                let key = planner.term(key, Receiver { name: &key_name, cql_type: &pair.0 })?;
                let value = planner.term(right, Receiver { name: &value_name, cql_type: &pair.1 })?;
                self.filter(table, column, Some(key), FilterOperator::In, ValueSet::One(value))
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
            if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
                return invalid("The token() function contains duplicate partition key components".to_string());
            }
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
        if operator == ComparisonOperator::Equal {
            for (column, value) in columns.iter().zip(values) {
                self.values(table, column, ValueSet::One(value))?;
            }
            return Ok(());
        }
        self.clustering_slice(table, columns, operator, values)
    }

    /// A bound on clustering columns: one, or several that follow each other.
    fn clustering_slice(
        &mut self,
        table: &Table,
        columns: &[Column],
        operator: ComparisonOperator,
        values: Vec<Expression>,
    ) -> CqlResult<()> {
        let Some(first) = columns.first().map(|column| column.position) else { return Ok(()) };
        for column in columns {
            self.refuse_values(column)?;
        }
        let overlapping = |(position, slice): &(&usize, &ClusteringSlice)| {
            **position < first + columns.len() && first < **position + slice.width() && **position != first
        };
        if let Some((position, _)) = self.slices.iter().find(overlapping) {
            return invalid(format!(
                "Column \"{}\" cannot be restricted by two inequalities not starting with the same column",
                table.clustering()[first.max(*position)].name
            ));
        }
        self.enter_clustering(table, first, true)?;
        let is_lower = matches!(operator, ComparisonOperator::Greater | ComparisonOperator::GreaterOrEqual);
        let inclusive = matches!(operator, ComparisonOperator::GreaterOrEqual | ComparisonOperator::LessOrEqual);
        let slice = self.slices.entry(first).or_default();
        let (target, which) = if is_lower { (&mut slice.lower, "start") } else { (&mut slice.upper, "end") };
        if let Some(before) = target {
            let common = columns.len().min(before.values.len());
            let names: Vec<&str> = columns[..common].iter().map(|column| &*column.name).collect();
            return invalid(format!(
                "More than one restriction was found for the {which} bound on {}",
                names.join(" ,")
            ));
        }
        *target = Some(TupleBound { first, values, inclusive });
        Ok(())
    }

    /// Checks that relations on clustering columns follow each other, as far as they have to: behind a slice nothing
    /// can be found without filtering.
    fn enter_clustering(&self, table: &Table, first: usize, is_slice: bool) -> CqlResult<()> {
        if self.allow_filtering {
            return Ok(());
        }
        let columns = table.clustering();
        let restricted = |column: &&Column| {
            self.columns.contains_key(&column.index)
                || self.slices.contains_key(&column.position)
                || self.tuple_values.contains_key(&column.position)
        };
        let Some(last) = columns.iter().rfind(restricted) else { return Ok(()) };
        if self.slices.contains_key(&last.position) && first > last.position {
            return invalid(format!(
                "Clustering column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ \
                 relation)",
                columns[first].name, last.name
            ));
        }
        if is_slice && first < last.position {
            let next = columns[first + 1..].iter().find(restricted).unwrap_or(last);
            return invalid(format!(
                "PRIMARY KEY column \"{}\" cannot be restricted (preceding column \"{}\" is restricted by a non-EQ \
                 relation)",
                next.name, columns[first].name
            ));
        }
        Ok(())
    }

    /// A column whose values are given takes no other relation.
    fn refuse_values(&self, column: &Column) -> CqlResult<()> {
        let kind = match self.columns.get(&column.index) {
            Some(ColumnRestriction::Values(ValueSet::One(_))) => "an Equal",
            Some(ColumnRestriction::Values(_)) => "a IN",
            Some(ColumnRestriction::Filter(_)) => return refuse_beside_contains(column),
            _ => {
                let covers = |(first, (width, _)): (&usize, &(usize, TupleSet))| {
                    (*first..first + width).contains(&column.position)
                };
                if column.kind != ColumnKind::Clustering || !self.tuple_values.iter().any(covers) {
                    return Ok(());
                }
                "a IN"
            }
        };
        invalid(format!("{} cannot be restricted by more than one relation if it includes {kind}", column.name))
    }

    /// A column that is restricted by inequalities takes nothing else.
    fn refuse_slice(&self, column: &Column) -> CqlResult<()> {
        let covers =
            |(first, slice): (&usize, &ClusteringSlice)| (*first..first + slice.width()).contains(&column.position);
        let sliced = matches!(self.columns.get(&column.index), Some(ColumnRestriction::Slice { .. }))
            || (column.kind == ColumnKind::Clustering && self.slices.iter().any(covers));
        if sliced {
            return invalid(format!(
                "Column \"{}\" cannot be restricted by both an equality and an inequality relation",
                column.name
            ));
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
        for column in columns {
            self.refuse_values(column)?;
            self.refuse_slice(column)?;
        }
        self.enter_clustering(table, first, false)?;
        self.tuple_values.insert(first, (names.len(), tuples));
        Ok(())
    }

    fn values(&mut self, table: &Table, column: &Column, values: ValueSet) -> CqlResult<()> {
        self.refuse_values(column)?;
        self.refuse_slice(column)?;
        if column.kind == ColumnKind::Clustering {
            self.enter_clustering(table, column.position, false)?;
        }
        self.columns.insert(column.index, ColumnRestriction::Values(values));
        Ok(())
    }

    fn slice(
        &mut self,
        table: &Table,
        column: &Column,
        operator: ComparisonOperator,
        value: Expression,
    ) -> CqlResult<()> {
        if column.kind == ColumnKind::Clustering {
            return self.clustering_slice(table, std::slice::from_ref(column), operator, vec![value]);
        }
        self.refuse_values(column)?;
        let empty = ColumnRestriction::Slice { lower: None, upper: None };
        let restriction = self.columns.entry(column.index).or_insert(empty);
        let ColumnRestriction::Slice { lower, upper } = restriction else { return Ok(()) };
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
        table: &Table,
        column: &Column,
        element: Option<Expression>,
        operator: FilterOperator,
        values: ValueSet,
    ) -> CqlResult<()> {
        if !matches!(self.columns.get(&column.index), Some(ColumnRestriction::Filter(_))) {
            self.refuse_values(column)?;
        }
        self.refuse_slice(column)?;
        if column.kind == ColumnKind::Clustering {
            self.enter_clustering(table, column.position, false)?;
        }
        let filter = Filter { column: column.index, element, operator, values };
        match self.columns.entry(column.index).or_insert(ColumnRestriction::Filter(Vec::new())) {
            ColumnRestriction::Filter(filters) => filters.push(filter),
            _ => self.filters.push(filter),
        }
        Ok(())
    }
}
