//! Conditional writes: INSERT … IF NOT EXISTS, UPDATE and DELETE … IF, and batches with such.
//!
//! Conditions and writes go to the tablet of the partition as one transaction. The answer is `[applied]`, and if that
//! is false the rows as they were. A write whose answer does not come is a timeout of type CAS: unknown, not failed.

use super::rows::MemoryRow;
use super::send::{Sender, add_to_transaction, step_of};
use super::write::{self, Stamp, Target};
use super::{Context, Outcome, Parameters, cells, clock, consistency, keys};
use crate::error::{CqlError, CqlResult};
use crate::plan::expression::{Environment, Expression, RowValues};
use crate::plan::modification::{
    ColumnCondition, ConditionElement, ConditionOperator, ConditionPlan, ModificationPlan,
};
use crate::plan::relations::ValueSet;
use crate::schema::{ColumnKind, Table};
use crate::tablet::{Condition, ConditionTest, StepCondition, Transaction, TransactionAnswer};
use crate::types::{collection, row_key};
use bytes::Bytes;
use holon_base::TabletId;
use holon_cql::response::WriteType;
use holon_cql::{BoundValue, ColumnSpec, CqlType, RowsMetadata, RowsWriter};
use holon_cql_language::ast::ComparisonOperator;
use holon_store::Row;
use std::sync::Arc;

/// One statement with its values.
pub struct Conditional<'a> {
    pub plan: &'a ModificationPlan,
    pub environment: Environment<'a>,
}

/// Where it belongs, if that can be said.
fn tablet_of(context: &Context, statement: &Conditional<'_>) -> Option<TabletId> {
    let stamp = Stamp { timestamp: 0, now_seconds: 0 };
    let targets = write::targets(context, statement.plan, &statement.environment, stamp).ok()?;
    targets.first().map(|target| target.tablet)
}

/// Executes statements of which at least one has a condition, all on one partition.
///
/// # Errors
/// Several partitions or tables, custom timestamps, and what any write may fail with.
pub async fn execute(
    context: &Context,
    statements: &[Conditional<'_>],
    parameters: &Parameters,
    in_batch: bool,
) -> CqlResult<Outcome> {
    let Some(first) = statements.first() else { return Ok(Outcome::default()) };
    let table = first.plan.table.clone();
    let serial = parameters.serial_consistency;
    let checked = consistency::check_conditional(context, &table, serial, parameters.consistency);
    let required =
        checked.map_err(|error| consistency::of_conditional(context, error, &table, tablet_of(context, first)))?;
    clock::settled(context, parameters).await?;
    // The timestamp that a driver sends with every request is not one that somebody asked for: it is not used.
    let now_seconds = parameters.now_seconds.unwrap_or_else(|| context.shard.wall().seconds());
    // Relative: the tablet stamps it under the lock of the partition.
    let stamp = Stamp { timestamp: 0, now_seconds };
    let mut transaction = Transaction { now_seconds, ..Transaction::default() };
    let mut place: Option<Target> = None;
    for statement in statements {
        if statement.plan.table.id != table.id {
            return Err(CqlError::invalid("Batch with conditions cannot span multiple tables"));
        }
        let targets = write::targets(context, statement.plan, &statement.environment, stamp)?;
        for target in targets {
            if place.as_ref().is_some_and(|place| place.prefix != target.prefix) {
                return Err(CqlError::invalid("Batch with conditions cannot span multiple partitions"));
            }
            let prefix = target.prefix.clone();
            place.get_or_insert_with(|| Target { writes: Default::default(), ..target_place(&target) });
            add_to_transaction(target, &mut transaction);
            add_conditions(statement, &prefix, &mut transaction)?;
        }
    }
    let Some(place) = place else { return Ok(Outcome::default()) };
    add_first_row(statements, &place.prefix, &mut transaction);
    let sender = Sender::new(context, parameters, required, WriteType::Cas, &table);
    let answer = sender.transact(place.tablet, transaction).await?;
    let shown = shown_columns(&table, statements, in_batch);
    result(&table, &answer, &shown, parameters)
}

fn target_place(target: &Target) -> Target {
    Target { tablet: target.tablet, prefix: target.prefix.clone(), writes: Default::default() }
}

fn add_conditions(statement: &Conditional<'_>, prefix: &[u8], transaction: &mut Transaction) -> CqlResult<()> {
    let plan = statement.plan;
    let table = &plan.table;
    let static_key: Bytes = row_key::static_key(prefix).into();
    let row_keys = || -> CqlResult<Vec<Bytes>> {
        if plan.only_static() {
            return Ok(vec![static_key.clone()]);
        }
        if plan.json.is_some() {
            return super::json::row_keys(plan, &statement.environment, prefix);
        }
        let prefixes = keys::clustering_prefixes(table, &plan.clustering, &statement.environment)?;
        Ok(prefixes.iter().map(|clustering| write::row_key_of(prefix, clustering)).collect())
    };
    match &plan.condition {
        ConditionPlan::None => {}
        ConditionPlan::NotExists => {
            for key in row_keys()? {
                step_of(transaction, &key).condition = StepCondition::NotExists;
            }
        }
        ConditionPlan::Exists => {
            let complete = plan.clustering.prefix_columns() == table.clustering().len();
            let keys = if complete { row_keys()? } else { vec![static_key.clone()] };
            for key in keys {
                let step = step_of(transaction, &key);
                if matches!(step.condition, StepCondition::None | StepCondition::Show) {
                    step.condition = StepCondition::Exists;
                }
            }
        }
        ConditionPlan::Columns(conditions) => {
            let complete = plan.clustering.prefix_columns() == table.clustering().len();
            for condition in conditions {
                let evaluated = evaluate(table, condition, &statement.environment)?;
                let is_static = table.columns[condition.column].kind == ColumnKind::Static;
                let keys = if is_static { vec![static_key.clone()] } else { row_keys()? };
                for key in keys {
                    add_condition(step_of(transaction, &key), evaluated.clone());
                }
            }
            if complete && !plan.only_static() && !plan.has_only_static_conditions() {
                for key in row_keys()? {
                    let step = step_of(transaction, &key);
                    if step.condition == StepCondition::None {
                        step.condition = StepCondition::Show;
                    }
                }
            }
        }
    }
    // What the answer shows of static columns is read with them only.
    if plan.is_conditional() && plan.columns_of(ColumnKind::Static).next().is_some() {
        show_static(table, &static_key, transaction);
    }
    Ok(())
}

/// Conditions on nothing but static columns: the first row of the partition, if there is one, is shown with them.
fn add_first_row(statements: &[Conditional<'_>], prefix: &[u8], transaction: &mut Transaction) {
    let mut conditional = statements.iter().filter(|statement| statement.plan.is_conditional());
    if conditional.all(|statement| statement.plan.has_only_static_conditions()) {
        let start: Bytes = row_key::rows_start(prefix).into();
        step_of(transaction, &start).condition = StepCondition::FirstRow;
    }
}

fn show_static(table: &Table, static_key: &Bytes, transaction: &mut Transaction) {
    if table.has_static_columns() {
        let step = step_of(transaction, static_key);
        if step.condition == StepCondition::None {
            step.condition = StepCondition::Show;
        }
    }
}

fn add_condition(step: &mut crate::tablet::Step, condition: Condition) {
    match &mut step.condition {
        StepCondition::Columns(conditions) => conditions.push(condition),
        StepCondition::None | StepCondition::Show => step.condition = StepCondition::Columns(vec![condition]),
        StepCondition::NotExists | StepCondition::Exists | StepCondition::FirstRow => {}
    }
}

fn evaluate(table: &Table, condition: &ColumnCondition, environment: &Environment<'_>) -> CqlResult<Condition> {
    let column = &table.columns[condition.column];
    let optional = |value: BoundValue| match value {
        BoundValue::Value(bytes) => Ok(Some(bytes)),
        BoundValue::Null => Ok(None),
        BoundValue::Unset => Err(CqlError::Invalid(format!("Invalid 'unset' value in condition for {}", column.name))),
    };
    // An unset value is none of a set of values, and in no collection.
    let set = |value: &Expression| {
        Ok::<_, CqlError>(match value.evaluate(environment)? {
            BoundValue::Unset => None,
            value => Some(optional(value)?),
        })
    };
    let element = match &condition.element {
        None => None,
        Some(ConditionElement::Field(index)) => Some(Bytes::copy_from_slice(&(*index as u16).to_be_bytes())),
        Some(ConditionElement::Key(key)) => match optional(key.evaluate(environment)?)? {
            Some(key) => {
                let index = key.first_chunk::<4>().map_or(0, |bytes| i32::from_be_bytes(*bytes));
                if matches!(column.column_type.unfrozen(), CqlType::List(_)) && index < 0 {
                    return Err(CqlError::Invalid(format!("Invalid negative list index {index}")));
                }
                Some(key)
            }
            None if matches!(column.column_type.unfrozen(), CqlType::List(_)) => {
                return Err(CqlError::invalid("Invalid null value for list element access"));
            }
            None => return Err(CqlError::invalid("Invalid null value for map element access")),
        },
    };
    let test = match condition.test {
        ConditionOperator::Compare(operator) => match operator {
            ComparisonOperator::Equal => ConditionTest::Equal,
            ComparisonOperator::NotEqual => ConditionTest::NotEqual,
            ComparisonOperator::Less => ConditionTest::Less,
            ComparisonOperator::LessOrEqual => ConditionTest::LessOrEqual,
            ComparisonOperator::Greater => ConditionTest::Greater,
            ComparisonOperator::GreaterOrEqual => ConditionTest::GreaterOrEqual,
        },
        ConditionOperator::In => ConditionTest::In,
        ConditionOperator::Contains => ConditionTest::Contains,
        ConditionOperator::ContainsKey => ConditionTest::ContainsKey,
    };
    let values = match &condition.values {
        ValueSet::One(value) if matches!(test, ConditionTest::Contains | ConditionTest::ContainsKey) => {
            set(value)?.into_iter().collect()
        }
        ValueSet::One(value) => vec![optional(value.evaluate(environment)?)?],
        ValueSet::Several(values) => {
            let values = values.iter().map(set).collect::<CqlResult<Vec<_>>>()?;
            values.into_iter().flatten().collect()
        }
        ValueSet::List(list) => {
            let list = optional(list.evaluate(environment)?)?;
            let list = list.ok_or_else(|| CqlError::invalid("Invalid null list in IN condition"))?;
            let elements = collection::fields(list.get(4..).unwrap_or_default());
            elements.map(|element| element.map(|element| collection::shared(&list, element))).collect()
        }
    };
    let ordered = !matches!(test, ConditionTest::Equal | ConditionTest::NotEqual | ConditionTest::In);
    if ordered && values.iter().any(Option::is_none) {
        return Err(CqlError::Invalid(format!(
            "Invalid comparison with null for operator \"{}\"",
            match test {
                ConditionTest::Less => "<",
                ConditionTest::LessOrEqual => "<=",
                ConditionTest::Greater => ">",
                ConditionTest::GreaterOrEqual => ">=",
                ConditionTest::Contains => "CONTAINS",
                _ => "CONTAINS KEY",
            }
        )));
    }
    Ok(Condition { column: column.id, element, test, values })
}

/// The columns that are shown with `[applied] = false`: those of conditions, in their order, static ones last. In a
/// batch the primary key comes first and tells the rows apart.
fn shown_columns(table: &Table, statements: &[Conditional<'_>], in_batch: bool) -> Vec<usize> {
    let mut shown = Vec::new();
    if in_batch {
        shown.extend(0..table.partition_key().len() + table.clustering().len());
    }
    for statement in statements {
        match &statement.plan.condition {
            ConditionPlan::None => {}
            ConditionPlan::NotExists | ConditionPlan::Exists => return (0..table.columns.len()).collect(),
            ConditionPlan::Columns(conditions) => {
                let places = conditions.iter().map(|condition| condition.column);
                let (statics, others): (Vec<usize>, Vec<usize>) =
                    places.partition(|place| table.columns[*place].kind == ColumnKind::Static);
                for place in others.into_iter().chain(statics) {
                    if !shown.contains(&place) {
                        shown.push(place);
                    }
                }
            }
        }
    }
    shown
}

struct Shown<'a> {
    table: &'a Table,
    keys: Vec<Bytes>,
    row: Option<&'a Row>,
    static_row: Option<&'a Row>,
}

impl Shown<'_> {
    fn column(&self, index: usize) -> Option<Bytes> {
        let column = self.table.columns.get(index)?;
        match column.kind {
            ColumnKind::Static => cells::column_value(column, self.static_row?),
            ColumnKind::Regular => cells::column_value(column, self.row?),
            _ => MemoryRow { values: &self.keys.iter().cloned().map(Some).collect::<Vec<_>>() }.column(index),
        }
    }
}

fn result(table: &Table, answer: &TransactionAnswer, shown: &[usize], parameters: &Parameters) -> CqlResult<Outcome> {
    let encoding = |error: holon_cql::CqlError| CqlError::server(error.to_string());
    let (keyspace, name): (Arc<str>, Arc<str>) = ((&*table.keyspace).into(), (&*table.name).into());
    let spec = |column: &str, cql_type: CqlType| ColumnSpec {
        keyspace: keyspace.clone(),
        table: name.clone(),
        name: column.into(),
        cql_type,
    };
    let rows = if answer.applied { Vec::new() } else { found_rows(table, answer) };
    let mut specs = vec![spec("[applied]", CqlType::Boolean)];
    if !rows.is_empty() {
        specs.extend(
            shown
                .iter()
                .map(|index| &table.columns[*index])
                .map(|column| spec(&column.name, column.column_type.clone())),
        );
    }
    let mut writer = RowsWriter::new(parameters.version, RowsMetadata::new(specs));
    if rows.is_empty() {
        writer.cell(Some(&[u8::from(answer.applied)])).map_err(encoding)?;
        writer.end_row().map_err(encoding)?;
    }
    for row in rows {
        writer.cell(Some(&[0])).map_err(encoding)?;
        for index in shown {
            writer.cell(row.column(*index).as_deref()).map_err(encoding)?;
        }
        writer.end_row().map_err(encoding)?;
    }
    let rows = writer.finish(None).map_err(encoding)?;
    Ok(Outcome { rows: Some(rows), warnings: Vec::new() })
}

/// The rows of the answer that are there, each with the static row; the static row alone if it is all there is.
fn found_rows<'a>(table: &'a Table, answer: &'a TransactionAnswer) -> Vec<Shown<'a>> {
    let is_static = |key: &Bytes| row_key::RowKey::split(key).is_some_and(|split| split.is_static);
    let static_entry = answer.rows.iter().find(|(key, _)| is_static(key));
    let static_row = static_entry.and_then(|(_, row)| row.as_ref());
    let shown = |key: &Bytes, row: Option<&'a Row>| -> Option<Shown<'a>> {
        let split = row_key::RowKey::split(key)?;
        let partition_key = Bytes::copy_from_slice(split.partition_key);
        let mut keys = row_key::partition_columns(table, &partition_key)?;
        if !split.is_static {
            keys.extend(row_key::clustering_columns(table, split.clustering)?);
        }
        Some(Shown { table, keys, row, static_row })
    };
    let rows = answer.rows.iter().filter(|(key, row)| !is_static(key) && row.is_some());
    let found: Vec<Shown<'a>> = rows.filter_map(|(key, row)| shown(key, row.as_ref())).collect();
    if found.is_empty() && static_row.is_some() {
        return static_entry.and_then(|(key, _)| shown(key, None)).into_iter().collect();
    }
    found
}
