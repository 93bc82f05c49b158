//! INSERT, UPDATE and DELETE, planned.

use super::expression::Expression;
use super::markers::MarkerCollector;
use super::operations::{self, Operation};
use super::relation_parts::{in_values, refuse_durations};
use super::relations::{Relations, ValueSet, column};
use super::restrictions::{
    ClusteringRestriction, PartitionRestriction, Restrictions, Use, partition_markers, restrictions,
};
use super::terms::{Receiver, TermPlanner};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Schema, Table};
use crate::types::collection;
use holon_cql::CqlType;
use holon_cql_language::ast::{
    self, ComparisonOperator, ConditionTarget, ConditionTest, IfClause, InsertSource, JsonDefault, JsonValue, Relation,
    Term, Using,
};
use std::rc::Rc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModificationKind {
    Insert,
    Update,
    Delete,
}

/// A planned INSERT, UPDATE or DELETE.
#[derive(Clone, Debug)]
pub struct ModificationPlan {
    pub table: Rc<Table>,
    pub kind: ModificationKind,
    /// A set of values per column of the partition key.
    pub partition: Vec<ValueSet>,
    pub clustering: ClusteringRestriction,
    /// Of static and of regular columns; empty for a DELETE of whole rows.
    pub operations: Vec<Operation>,
    pub timestamp: Option<Expression>,
    pub ttl: Option<Expression>,
    pub condition: ConditionPlan,
    /// INSERT JSON: the text, and what the columns it does not name become.
    pub json: Option<(Expression, JsonDefault)>,
}

#[derive(Clone, Debug)]
pub enum ConditionPlan {
    None,
    NotExists,
    Exists,
    Columns(Vec<ColumnCondition>),
}

#[derive(Clone, Debug)]
pub struct ColumnCondition {
    /// Place in the table.
    pub column: usize,
    pub element: Option<ConditionElement>,
    pub test: ConditionOperator,
    pub values: ValueSet,
}

#[derive(Clone, Debug)]
pub enum ConditionElement {
    Key(Expression),
    Field(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionOperator {
    Compare(ComparisonOperator),
    In,
    Contains,
    ContainsKey,
}

impl ModificationPlan {
    pub fn is_conditional(&self) -> bool {
        !matches!(self.condition, ConditionPlan::None)
    }

    pub fn columns_of(&self, kind: ColumnKind) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(move |operation| self.table.columns[operation.column].kind == kind)
    }

    /// Conditions on static columns and no others: they are met or not by the partition, whichever row is written.
    pub fn has_only_static_conditions(&self) -> bool {
        match &self.condition {
            ConditionPlan::Columns(conditions) => {
                conditions.iter().all(|condition| self.table.columns[condition.column].kind == ColumnKind::Static)
            }
            _ => false,
        }
    }

    /// A condition looks at a row, not only at its partition.
    fn has_row_conditions(&self) -> bool {
        matches!(self.condition, ConditionPlan::Columns(_)) && !self.has_only_static_conditions()
    }

    /// Nothing but static columns is touched: the clustering may be left out.
    pub fn only_static(&self) -> bool {
        let statics = self.columns_of(ColumnKind::Static).next().is_some();
        let others = self.columns_of(ColumnKind::Regular).next().is_some();
        statics && !others && self.clustering.is_empty() && self.json.is_none()
    }
}

fn invalid<T>(text: String) -> CqlResult<T> {
    Err(CqlError::Invalid(text))
}

/// What planning any modification needs.
pub struct Planning<'a> {
    pub schema: &'a Schema,
    pub table: &'a Rc<Table>,
    pub markers: &'a mut MarkerCollector,
}

impl Planning<'_> {
    fn terms(&mut self) -> TermPlanner<'_> {
        TermPlanner { schema: self.schema, keyspace: &self.table.keyspace, table: self.table, markers: self.markers }
    }

    pub fn using(&mut self, using: &Using) -> CqlResult<(Option<Expression>, Option<Expression>)> {
        let mut terms = self.terms();
        let timestamp = Receiver { name: "[timestamp]", cql_type: &CqlType::BigInt };
        let timestamp = using.timestamp.as_ref().map(|term| terms.term(term, timestamp)).transpose()?;
        let ttl = Receiver { name: "[ttl]", cql_type: &CqlType::Int };
        let ttl = using.ttl.as_ref().map(|term| terms.term(term, ttl)).transpose()?;
        Ok((timestamp, ttl))
    }

    /// # Errors
    /// Unknown or doubled columns, missing keys, values that do not fit.
    pub fn insert(&mut self, insert: &ast::Insert) -> CqlResult<ModificationPlan> {
        let table = self.table.clone();
        if table.is_counter() {
            return invalid("INSERT statements are not allowed on counter tables, use UPDATE instead".to_string());
        }
        let mut plan = match &insert.source {
            InsertSource::Values { columns, values } => self.insert_values(columns, values)?,
            InsertSource::Json { value, default } => self.insert_json(value, *default)?,
        };
        (plan.timestamp, plan.ttl) = self.using(&insert.using)?;
        if insert.if_not_exists {
            plan.condition = ConditionPlan::NotExists;
            refuse_timestamp(&plan)?;
        }
        for (position, index) in partition_markers(&PartitionRestriction::Keys(plan.partition.clone())) {
            self.markers.is_partition_key(position, index);
        }
        Ok(plan)
    }

    fn insert_values(&mut self, columns: &[ast::Identifier], values: &[Term]) -> CqlResult<ModificationPlan> {
        let table = self.table.clone();
        if columns.len() != values.len() {
            return invalid("Unmatched column names/values".to_string());
        }
        let mut plan = empty_plan(&table, ModificationKind::Insert);
        let mut key: Vec<Option<Expression>> = vec![None; table.partition_key().len() + table.clustering().len()];
        let mut seen = vec![false; table.columns.len()];
        for (name, term) in columns.iter().zip(values) {
            let column = column(&table, name.as_str())?;
            if std::mem::replace(&mut seen[column.index], true) {
                return invalid(format!("The column names contains duplicates: {}", column.name));
            }
            let receiver = Receiver { name: &column.name, cql_type: &column.column_type };
            let value = self.terms().term(term, receiver)?;
            if column.kind.is_primary_key() {
                key[column.index] = Some(value);
            } else {
                plan.operations.push(Operation::set(column, value));
            }
        }
        place_key(&table, key, &mut plan)?;
        Ok(plan)
    }

    fn insert_json(&mut self, value: &JsonValue, default: JsonDefault) -> CqlResult<ModificationPlan> {
        let table = self.table.clone();
        let mut plan = empty_plan(&table, ModificationKind::Insert);
        let text = match value {
            JsonValue::Text(text) => Expression::Constant(text.as_bytes().to_vec().into()),
            JsonValue::Bind(marker) => self.terms().marker(marker, "[json]", &CqlType::Text),
        };
        plan.json = Some((text, default));
        Ok(plan)
    }

    /// # Errors
    /// As [`Planning::insert`]; also relations that do not name rows.
    pub fn update(&mut self, update: &ast::Update) -> CqlResult<ModificationPlan> {
        let table = self.table.clone();
        let mut plan = empty_plan(&table, ModificationKind::Update);
        (plan.timestamp, plan.ttl) = self.using(&update.using)?;
        for assignment in &update.assignments {
            let column = column(&table, assignment.column.as_str())?;
            if column.kind.is_primary_key() {
                return invalid(format!("PRIMARY KEY part {} found in SET part", column.name));
            }
            plan.operations.push(operations::assignment(column, assignment, &mut self.terms())?);
        }
        if table.is_counter() && (plan.ttl.is_some() || plan.timestamp.is_some()) {
            let what = if plan.ttl.is_some() { "TTL" } else { "custom timestamp" };
            return invalid(format!("Cannot provide {what} for counter updates"));
        }
        self.rows(&update.relations, Use::Update, &mut plan)?;
        plan.condition = self.condition(&update.condition)?;
        let only_static = plan.only_static() && !plan.has_row_conditions();
        if !only_static && plan.clustering.prefix_columns() < table.clustering().len() {
            if plan.clustering.is_slice() {
                return invalid(
                    "Slice restrictions are not supported on the clustering columns in UPDATE statements".into(),
                );
            }
            let missing: Vec<&str> =
                table.clustering()[plan.clustering.prefix_columns()..].iter().map(|column| &*column.name).collect();
            return invalid(format!("Some clustering keys are missing: {}", missing.join(", ")));
        }
        let regular = plan.columns_of(ColumnKind::Regular).next().is_some() || plan.has_row_conditions();
        if !regular && !plan.clustering.is_empty() {
            let names = restricted_names(&table, &plan.clustering);
            return invalid(format!(
                "Invalid restrictions on clustering columns since the UPDATE statement modifies only static \
                 columns ({names})"
            ));
        }
        self.check_condition(&plan)?;
        Ok(plan)
    }

    /// # Errors
    /// As [`Planning::update`].
    pub fn delete(&mut self, delete: &ast::Delete) -> CqlResult<ModificationPlan> {
        let table = self.table.clone();
        let mut plan = empty_plan(&table, ModificationKind::Delete);
        let using = Using { timestamp: delete.timestamp.clone(), ttl: None };
        // Markers are numbered as they stand in the text: targets, then USING, then WHERE.
        for target in &delete.targets {
            plan.operations.push(operations::deletion(&table, target, &mut self.terms())?);
        }
        (plan.timestamp, _) = self.using(&using)?;
        if table.is_counter() && plan.timestamp.is_some() {
            return invalid("Cannot provide custom timestamp for counter updates".to_string());
        }
        self.rows(&delete.relations, Use::Delete, &mut plan)?;
        plan.condition = self.condition(&delete.condition)?;
        let whole_rows = plan.operations.is_empty();
        let regular = plan.columns_of(ColumnKind::Regular).next().is_some();
        let complete = plan.clustering.prefix_columns() == table.clustering().len();
        if plan.is_conditional() && !complete {
            let what = if regular || whole_rows {
                "delete non static columns"
            } else if plan.has_row_conditions() {
                "use IF conditions on non static columns"
            } else {
                ""
            };
            if !what.is_empty() {
                return invalid(format!(
                    "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to {what}"
                ));
            }
        }
        if regular && !complete {
            if plan.clustering.is_slice() {
                return invalid("Range deletions are not supported for specific columns".to_string());
            }
            let missing = &table.clustering()[plan.clustering.prefix_columns()..];
            let names: Vec<&str> = missing.iter().map(|column| &*column.name).collect();
            return invalid(format!(
                "Some clustering keys are missing: {}. Range deletions are not supported for specific columns",
                names.join(", ")
            ));
        }
        if !whole_rows && !regular && !plan.clustering.is_empty() && !plan.has_row_conditions() {
            let names = restricted_names(&table, &plan.clustering);
            return invalid(format!(
                "Invalid restrictions on clustering columns since the DELETE statement modifies only static \
                 columns ({names})"
            ));
        }
        self.check_condition(&plan)?;
        Ok(plan)
    }

    fn rows(&mut self, relations: &[Relation], usage: Use, plan: &mut ModificationPlan) -> CqlResult<()> {
        let table = self.table.clone();
        let relations = Relations::plan(&table, relations, false, &mut self.terms())?;
        let Restrictions { partition, clustering, .. } = restrictions(&table, relations, usage)?;
        for (position, index) in partition_markers(&partition) {
            self.markers.is_partition_key(position, index);
        }
        if let PartitionRestriction::Keys(values) = partition {
            plan.partition = values;
        }
        plan.clustering = clustering;
        Ok(())
    }

    fn condition(&mut self, condition: &IfClause) -> CqlResult<ConditionPlan> {
        Ok(match condition {
            IfClause::None => ConditionPlan::None,
            IfClause::Exists => ConditionPlan::Exists,
            IfClause::Conditions(conditions) => {
                let conditions = conditions.iter().map(|condition| self.column_condition(condition));
                ConditionPlan::Columns(conditions.collect::<CqlResult<_>>()?)
            }
        })
    }

    fn column_condition(&mut self, condition: &ast::Condition) -> CqlResult<ColumnCondition> {
        let table = self.table.clone();
        let (name, element) = match &condition.target {
            ConditionTarget::Column(name) => (name, None),
            ConditionTarget::Element { column, key } => (column, Some(Ok(key))),
            ConditionTarget::Field { column, field } => (column, Some(Err(field))),
        };
        let column = column(&table, name.as_str())?;
        if column.kind.is_primary_key() {
            return invalid(format!("PRIMARY KEY column '{}' cannot have IF conditions", column.name));
        }
        let mut terms = self.terms();
        let (element, cql_type) = match element {
            None => (None, column.column_type.clone()),
            Some(Ok(key)) => {
                let (key_type, value_type) = element_types(column)?;
                let name = format!("key({})", column.name);
                let key = terms.term(key, Receiver { name: &name, cql_type: &key_type })?;
                (Some(ConditionElement::Key(key)), value_type)
            }
            Some(Err(field)) => {
                let (position, field_type) = field_of(column, field.as_str())?;
                (Some(ConditionElement::Field(position)), field_type)
            }
        };
        let value_column = Column { column_type: cql_type.clone(), ..column.clone() };
        let receiver = Receiver { name: &column.name, cql_type: &cql_type };
        let (test, values) = match &condition.test {
            ConditionTest::Compare { operator, value } => {
                if !matches!(operator, ComparisonOperator::Equal | ComparisonOperator::NotEqual) {
                    refuse_durations(&cql_type, &format!("Slice conditions ( {operator} )"))?;
                }
                (ConditionOperator::Compare(*operator), ValueSet::One(terms.term(value, receiver)?))
            }
            ConditionTest::In(values) => (ConditionOperator::In, in_values(&value_column, values, &mut terms)?),
            ConditionTest::Contains(value) => {
                let element = contains_type(&column.column_type, false).ok_or_else(|| {
                    CqlError::Invalid(format!("Cannot use CONTAINS on non-collection column {}", column.name))
                })?;
                let value = terms.term(value, Receiver { name: &column.name, cql_type: &element })?;
                (ConditionOperator::Contains, ValueSet::One(value))
            }
            ConditionTest::ContainsKey(key) => {
                let element = contains_type(&column.column_type, true).ok_or_else(|| {
                    CqlError::Invalid(format!("Cannot use CONTAINS KEY on non-map column {}", column.name))
                })?;
                let value = terms.term(key, Receiver { name: &column.name, cql_type: &element })?;
                (ConditionOperator::ContainsKey, ValueSet::One(value))
            }
        };
        Ok(ColumnCondition { column: column.index, element, test, values })
    }

    fn check_condition(&self, plan: &ModificationPlan) -> CqlResult<()> {
        if !plan.is_conditional() {
            return Ok(());
        }
        refuse_timestamp(plan)?;
        if self.table.is_counter() {
            return invalid("Conditional updates are not supported on counter tables".to_string());
        }
        let several = |values: &ValueSet| !matches!(values, ValueSet::One(_));
        let what = if plan.kind == ModificationKind::Delete { "deletions" } else { "updates" };
        if plan.partition.iter().any(several) {
            return invalid(format!("IN on the partition key is not supported with conditional {what}"));
        }
        let steps = plan.clustering.steps.iter();
        let in_clustering = |step: &super::restrictions::ClusteringStep| match step {
            super::restrictions::ClusteringStep::Values(values) => several(values),
            super::restrictions::ClusteringStep::Tuples { .. } => true,
        };
        if steps.clone().any(in_clustering) {
            return invalid(format!("IN on the clustering key columns is not supported with conditional {what}"));
        }
        Ok(())
    }
}

fn contains_type(cql_type: &CqlType, key: bool) -> Option<CqlType> {
    match cql_type.unfrozen() {
        CqlType::List(element) | CqlType::Set(element) if !key => Some(CqlType::clone(element)),
        CqlType::Map(pair) => Some(if key { pair.0.clone() } else { pair.1.clone() }),
        _ => None,
    }
}

/// The types of key and value of `column[key]`.
pub fn element_types(column: &Column) -> CqlResult<(CqlType, CqlType)> {
    match column.column_type.unfrozen() {
        CqlType::List(element) => Ok((CqlType::Int, CqlType::clone(element))),
        CqlType::Map(pair) => Ok((pair.0.clone(), pair.1.clone())),
        CqlType::Set(_) => invalid(format!("Invalid element access syntax for set column {}", column.name)),
        _ => invalid(format!("Invalid element access syntax for non-collection column {}", column.name)),
    }
}

pub fn field_of(column: &Column, field: &str) -> CqlResult<(usize, CqlType)> {
    let CqlType::Udt(udt) = column.column_type.unfrozen() else {
        return invalid(format!("Cannot use field selection on {} of type {}", column.name, column.column_type));
    };
    let found = udt.fields.iter().position(|own| *own.name == *field);
    let unknown = || CqlError::Invalid(format!("UDT column {} does not have a field named {field}", column.name));
    let position = found.ok_or_else(unknown)?;
    Ok((position, udt.fields[position].cql_type.clone()))
}

fn refuse_timestamp(plan: &ModificationPlan) -> CqlResult<()> {
    if plan.timestamp.is_some() {
        return invalid("Cannot provide custom timestamp for conditional updates".to_string());
    }
    Ok(())
}

pub fn empty_plan(table: &Rc<Table>, kind: ModificationKind) -> ModificationPlan {
    ModificationPlan {
        table: table.clone(),
        kind,
        partition: Vec::new(),
        clustering: ClusteringRestriction::default(),
        operations: Vec::new(),
        timestamp: None,
        ttl: None,
        condition: ConditionPlan::None,
        json: None,
    }
}

/// Key values of an INSERT, by place in the table.
fn place_key(table: &Table, key: Vec<Option<Expression>>, plan: &mut ModificationPlan) -> CqlResult<()> {
    use super::restrictions::ClusteringStep;
    let (partition, clustering) = key.split_at(table.partition_key().len());
    let missing = |values: &[Option<Expression>], columns: &[Column]| -> Vec<String> {
        let absent = values.iter().zip(columns).filter(|(value, _)| value.is_none());
        absent.map(|(_, column)| column.name.to_string()).collect()
    };
    let absent = missing(partition, table.partition_key());
    if !absent.is_empty() {
        return invalid(format!("Some partition key parts are missing: {}", absent.join(", ")));
    }
    let absent = missing(clustering, table.clustering());
    let only_static = plan.columns_of(ColumnKind::Static).next().is_some()
        && plan.columns_of(ColumnKind::Regular).next().is_none()
        && absent.len() == table.clustering().len();
    if !absent.is_empty() && !only_static {
        return invalid(format!("Some clustering keys are missing: {}", absent.join(", ")));
    }
    plan.partition = partition.iter().flatten().cloned().map(ValueSet::One).collect();
    let steps = clustering.iter().flatten().cloned().map(|value| ClusteringStep::Values(ValueSet::One(value)));
    plan.clustering.steps = steps.collect();
    Ok(())
}

fn restricted_names(table: &Table, clustering: &ClusteringRestriction) -> String {
    let count = clustering.prefix_columns() + usize::from(clustering.is_slice());
    let names: Vec<&str> = table.clustering().iter().take(count).map(|column| &*column.name).collect();
    names.join(", ")
}

/// The bytes of a tuple's fields, for list markers of tuples.
pub fn tuple_fields(value: &bytes::Bytes) -> Vec<Option<bytes::Bytes>> {
    collection::fields(value).map(|field| field.map(|field| collection::shared(value, field))).collect()
}
