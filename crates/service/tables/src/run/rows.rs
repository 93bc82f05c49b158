//! Rows as they come from tablets to results: partitions, static rows, filters, limits, groups, cells.
//!
//! ```text
//!   (key, row)* in key order ─▶ RowSink: partition? static? filter? limit? ─▶ group ─▶ RowsWriter
//! ```

use super::cells;
use super::filter::RowFilter;
use crate::error::{CqlError, CqlResult};
use crate::plan::aggregate::{AggregatePlan, AggregateState};
use crate::plan::expression::{Environment, RowValues};
use crate::plan::select::SelectPlan;
use crate::plan::selection::columns_used;
use crate::schema::{ColumnKind, Table};
use crate::types::{compare::compare, json, row_key};
use bytes::Bytes;
use holon_cql::{CqlType, RowsWriter};
use holon_cql_language::ast::{Direction, WriteAttribute};
use holon_store::Row;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a page may hold.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Results of this page.
    pub page_rows: u64,
    pub page_bytes: usize,
    /// LIMIT, as far as it is left.
    pub limit: Option<u64>,
    pub per_partition: Option<u64>,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// The page is full: the row was not taken in.
    PageFull,
    /// LIMIT is reached.
    Done,
}

/// A row with what belongs to it.
pub struct RowView<'a> {
    table: &'a Table,
    partition: &'a [Bytes],
    clustering: Option<Vec<Bytes>>,
    row: Option<&'a Row>,
    static_row: Option<&'a Row>,
    now_seconds: i64,
}

impl RowValues for RowView<'_> {
    fn column(&self, index: usize) -> Option<Bytes> {
        let column = self.table.columns.get(index)?;
        match column.kind {
            ColumnKind::PartitionKey => self.partition.get(column.position).cloned(),
            ColumnKind::Clustering => self.clustering.as_ref()?.get(column.position).cloned(),
            ColumnKind::Static => cells::column_value(column, self.static_row?),
            ColumnKind::Regular => cells::column_value(column, self.row?),
        }
    }

    fn attribute(&self, attribute: WriteAttribute, column: usize, element: Option<&[u8]>) -> Option<Bytes> {
        let column = self.table.columns.get(column)?;
        let row = if column.kind == ColumnKind::Static { self.static_row? } else { self.row? };
        cells::attribute(attribute, column, row, element, self.now_seconds)
    }
}

/// A row of a virtual table.
pub struct MemoryRow<'a> {
    pub values: &'a [Option<Bytes>],
}

impl RowValues for MemoryRow<'_> {
    fn column(&self, index: usize) -> Option<Bytes> {
        self.values.get(index).cloned().flatten()
    }

    fn attribute(&self, _: WriteAttribute, _: usize, _: Option<&[u8]>) -> Option<Bytes> {
        None
    }
}

struct Partition {
    prefix: Bytes,
    values: Vec<Bytes>,
    static_row: Option<Rc<Row>>,
    /// Key of the static row, while no row of the partition has come.
    only_static: Option<Bytes>,
    results: u64,
}

/// The rows of one group of GROUP BY, on their way into one result.
struct Group {
    key: Vec<Bytes>,
    states: Vec<AggregateState>,
    /// The values of the first row: what plain columns of a grouped selection show.
    first: FirstRow,
    last_key: Bytes,
    in_partition: u64,
}

/// What the first row of a group shows: values of columns, and when they were written.
#[derive(Default)]
struct FirstRow {
    values: BTreeMap<usize, Option<Bytes>>,
    attributes: RefCell<Vec<Attribute>>,
}

type Attribute = ((WriteAttribute, usize, Option<Vec<u8>>), Option<Bytes>);

impl FirstRow {
    fn of(
        view: &dyn RowValues,
        columns: Vec<usize>,
        plan: &SelectPlan,
        environment: &Environment<'_>,
    ) -> CqlResult<FirstRow> {
        let values = columns.into_iter().map(|index| (index, view.column(index))).collect();
        let first = FirstRow { values, attributes: RefCell::default() };
        let recorder = Recorder { view, first: &first };
        let environment = Environment { row: Some(&recorder), ..*environment };
        for output in plan.selection.outputs.iter().filter(|output| output.expression.looks_at_attributes()) {
            output.expression.optional(&environment)?;
        }
        Ok(first)
    }
}

impl RowValues for FirstRow {
    fn column(&self, index: usize) -> Option<Bytes> {
        self.values.get(&index).cloned().flatten()
    }

    fn attribute(&self, attribute: WriteAttribute, column: usize, element: Option<&[u8]>) -> Option<Bytes> {
        let attributes = self.attributes.borrow();
        let wanted = (attribute, column, element.map(<[u8]>::to_vec));
        attributes.iter().find(|(known, _)| *known == wanted).and_then(|(_, value)| value.clone())
    }
}

/// Notes the attributes that expressions ask a row for.
struct Recorder<'a> {
    view: &'a dyn RowValues,
    first: &'a FirstRow,
}

impl RowValues for Recorder<'_> {
    fn column(&self, index: usize) -> Option<Bytes> {
        self.view.column(index)
    }

    fn attribute(&self, attribute: WriteAttribute, column: usize, element: Option<&[u8]>) -> Option<Bytes> {
        let value = self.view.attribute(attribute, column, element);
        let asked = (attribute, column, element.map(<[u8]>::to_vec));
        self.first.attributes.borrow_mut().push((asked, value.clone()));
        value
    }
}

pub struct RowSink<'a> {
    plan: &'a SelectPlan,
    environment: Environment<'a>,
    filters: Vec<RowFilter>,
    writer: RowsWriter,
    budget: Budget,
    now_seconds: i64,
    partition: Option<Partition>,
    group: Option<Group>,
    /// Rows that are sorted at the end: clustering values and cells.
    sorted: Vec<(Vec<Bytes>, Vec<Option<Bytes>>)>,
    sorted_bytes: usize,
    results: u64,
    /// The key of the last row that is in a result of this page, and the results of its partition so far.
    position: Option<(Bytes, u64)>,
    json_keys: Vec<String>,
    decodes_clustering: bool,
}

/// Whether anything looks at clustering columns: a count, for one, does not.
fn uses_clustering(plan: &SelectPlan) -> bool {
    let mut places = Vec::new();
    plan.selection.outputs.iter().for_each(|output| columns_used(&output.expression, &mut places));
    let arguments = plan.selection.aggregates.iter().filter_map(AggregatePlan::argument);
    arguments.for_each(|argument| columns_used(argument, &mut places));
    places.extend(plan.restrictions.filters.iter().map(|filter| filter.column));
    let grouped = plan.grouping.is_some_and(|columns| columns > plan.table.partition_key().len());
    let used = |place: &usize| plan.table.columns.get(*place).is_some_and(|c| c.kind == ColumnKind::Clustering);
    let tuples = !plan.restrictions.tuple_filters.is_empty();
    grouped || tuples || !plan.sort.is_empty() || places.iter().any(used)
}

impl<'a> RowSink<'a> {
    pub fn new(
        plan: &'a SelectPlan,
        environment: Environment<'a>,
        filters: Vec<RowFilter>,
        writer: RowsWriter,
        budget: Budget,
        now_seconds: i64,
    ) -> RowSink<'a> {
        let json_keys = if plan.json { plan.json_keys() } else { Vec::new() };
        RowSink {
            plan,
            environment,
            filters,
            writer,
            budget,
            now_seconds,
            partition: None,
            group: None,
            sorted: Vec::new(),
            sorted_bytes: 0,
            results: 0,
            position: None,
            json_keys,
            decodes_clustering: uses_clustering(plan),
        }
    }

    /// Goes on in the partition of a row that an earlier page took in.
    pub fn resume(&mut self, key: &Bytes, in_partition: u64) {
        let Some(split) = row_key::RowKey::split(key) else { return };
        let prefix = key.slice(..split.prefix.len());
        let partition_key = key.slice(split.prefix.len() - split.partition_key.len()..split.prefix.len());
        let Some(values) = row_key::partition_columns(&self.plan.table, &partition_key) else { return };
        self.partition = Some(Partition { prefix, values, static_row: None, only_static: None, results: in_partition });
    }

    pub fn results(&self) -> u64 {
        self.results
    }

    pub fn position(&self) -> Option<&(Bytes, u64)> {
        self.position.as_ref()
    }

    /// What LIMIT leaves after this page.
    pub fn limit_left(&self) -> Option<u64> {
        self.budget.limit.map(|limit| limit.saturating_sub(self.results))
    }

    /// Bytes of the results so far.
    pub fn size_bytes(&self) -> usize {
        self.writer.size_bytes() + self.sorted_bytes
    }

    /// One row, in the order of the read.
    ///
    /// # Errors
    /// A key that is no key, functions that refuse their arguments.
    pub fn row(&mut self, key: &Bytes, row: Row) -> CqlResult<Flow> {
        let unreadable = || CqlError::server("a row has an unreadable key");
        let split = row_key::RowKey::split(key).ok_or_else(unreadable)?;
        let is_new = self.partition.as_ref().is_none_or(|partition| partition.prefix != split.prefix);
        if is_new {
            match self.end_partition()? {
                Flow::Continue => {}
                stop => return Ok(stop),
            }
            let prefix = key.slice(..split.prefix.len());
            let partition_key = key.slice(split.prefix.len() - split.partition_key.len()..split.prefix.len());
            let values = row_key::partition_columns(&self.plan.table, &partition_key).ok_or_else(unreadable)?;
            self.partition = Some(Partition { prefix, values, static_row: None, only_static: None, results: 0 });
        }
        let Some(mut partition) = self.partition.take() else { return Ok(Flow::Continue) };
        let flow = self.row_of(&mut partition, key, split, row, is_new);
        self.partition = Some(partition);
        flow
    }

    fn row_of(
        &mut self,
        partition: &mut Partition,
        key: &Bytes,
        split: row_key::RowKey<'_>,
        row: Row,
        is_new: bool,
    ) -> CqlResult<Flow> {
        if split.is_static {
            partition.static_row = Some(Rc::new(row));
            // Read again for a partition that goes on: its rows were seen on an earlier page.
            partition.only_static = is_new.then(|| key.clone());
            return Ok(Flow::Continue);
        }
        let only_static = partition.only_static.take();
        let reached = |results: u64, most: u64| results >= most;
        if self.budget.per_partition.is_some_and(|most| reached(partition.results, most))
            && (!self.is_in_group() || self.plan.distinct)
        {
            return Ok(Flow::Continue);
        }
        let clustering = if self.decodes_clustering {
            let values = row_key::clustering_columns(&self.plan.table, split.clustering);
            Some(values.ok_or_else(|| CqlError::server("a row has an unreadable clustering"))?)
        } else {
            None
        };
        let table = self.plan.table.clone();
        let static_row = partition.static_row.clone();
        let values = std::mem::take(&mut partition.values);
        let view = RowView {
            table: &table,
            partition: &values,
            clustering,
            row: Some(&row),
            static_row: static_row.as_deref(),
            now_seconds: self.now_seconds,
        };
        let flow = self.result(&view, key, &mut partition.results);
        partition.values = values;
        if matches!(flow, Ok(Flow::PageFull)) {
            partition.only_static = only_static;
        }
        flow
    }

    fn is_in_group(&self) -> bool {
        self.group.is_some()
    }

    /// The partition that was begun has no more rows.
    fn end_partition(&mut self) -> CqlResult<Flow> {
        let Some(mut partition) = self.partition.take() else { return Ok(Flow::Continue) };
        let Some(key) = partition.only_static.take() else { return Ok(Flow::Continue) };
        if self.plan.restrictions.chooses_rows {
            return Ok(Flow::Continue);
        }
        let table = self.plan.table.clone();
        let view = RowView {
            table: &table,
            partition: &partition.values,
            clustering: None,
            row: None,
            static_row: partition.static_row.as_deref(),
            now_seconds: self.now_seconds,
        };
        let mut results = partition.results;
        let flow = self.result(&view, &key, &mut results)?;
        partition.results = results;
        if flow == Flow::PageFull {
            partition.only_static = Some(key);
            self.partition = Some(partition);
        }
        Ok(flow)
    }

    /// A row of memory, filtered and limited like any other.
    pub fn memory_row(&mut self, row: &MemoryRow<'_>) -> CqlResult<Flow> {
        let mut results = 0;
        self.result(row, &Bytes::new(), &mut results)
    }

    fn result(&mut self, view: &dyn RowValues, key: &Bytes, in_partition: &mut u64) -> CqlResult<Flow> {
        if !self.filters.iter().all(|filter| filter.accepts(view)) {
            return Ok(Flow::Continue);
        }
        if let Some(grouping) = self.plan.grouping {
            return self.grouped(view, key, grouping, in_partition);
        }
        match self.room() {
            Flow::Continue => {}
            stop => return Ok(stop),
        }
        if self.plan.sort.is_empty() {
            self.write(view)?;
        } else {
            self.keep(view)?;
        }
        *in_partition += 1;
        self.results += 1;
        self.position = Some((key.clone(), *in_partition));
        Ok(Flow::Continue)
    }

    /// Whether another result has room.
    fn room(&self) -> Flow {
        // What is sorted is cut afterwards.
        if self.plan.sort.is_empty() && self.budget.limit.is_some_and(|limit| self.results >= limit) {
            return Flow::Done;
        }
        if self.results >= self.budget.page_rows || (self.results > 0 && self.size_bytes() >= self.budget.page_bytes) {
            return Flow::PageFull;
        }
        Flow::Continue
    }

    fn write(&mut self, view: &dyn RowValues) -> CqlResult<()> {
        let encoding = |error: holon_cql::CqlError| CqlError::server(error.to_string());
        if let Some(plain) = &self.plan.plain {
            for index in plain {
                self.writer.cell(view.column(*index).as_deref()).map_err(encoding)?;
            }
            return self.writer.end_row().map_err(encoding);
        }
        let values = self.outputs(view, &[])?;
        self.write_values(&values)
    }

    fn outputs(&self, view: &dyn RowValues, aggregates: &[Option<Bytes>]) -> CqlResult<Vec<Option<Bytes>>> {
        let environment = Environment { row: Some(view), aggregates, ..self.environment };
        self.plan.selection.outputs.iter().map(|output| output.expression.optional(&environment)).collect()
    }

    fn write_values(&mut self, values: &[Option<Bytes>]) -> CqlResult<()> {
        let encoding = |error: holon_cql::CqlError| CqlError::server(error.to_string());
        if self.plan.json {
            let mut text = String::from("{");
            for (index, (output, value)) in self.plan.selection.outputs.iter().zip(values).enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                json::write_string(&self.json_keys[index], &mut text);
                text.push_str(": ");
                text.push_str(&json::to_json(&output.cql_type, value.as_deref()));
            }
            text.push('}');
            self.writer.cell(Some(text.as_bytes())).map_err(encoding)?;
        } else {
            for value in values {
                self.writer.cell(value.as_deref()).map_err(encoding)?;
            }
        }
        self.writer.end_row().map_err(encoding)
    }

    fn keep(&mut self, view: &dyn RowValues) -> CqlResult<()> {
        let values = self.outputs(view, &[])?;
        self.keep_values(view, values);
        Ok(())
    }

    fn keep_values(&mut self, view: &dyn RowValues, values: Vec<Option<Bytes>>) {
        let clustering = self.plan.table.clustering().iter();
        let key: Vec<Bytes> = clustering.map(|column| view.column(column.index).unwrap_or_default()).collect();
        self.sorted_bytes += values.iter().flatten().map(|value| value.len() + 16).sum::<usize>() + 64;
        self.sorted.push((key, values));
    }

    fn grouped(
        &mut self,
        view: &dyn RowValues,
        key: &Bytes,
        grouping: usize,
        in_partition: &mut u64,
    ) -> CqlResult<Flow> {
        let group_key: Vec<Bytes> = if grouping == 0 {
            Vec::new()
        } else {
            (0..grouping).map(|index| view.column(index).unwrap_or_default()).collect()
        };
        if self.group.as_ref().is_some_and(|group| group.key != group_key) {
            let flow = self.end_group()?;
            if flow != Flow::Continue {
                return Ok(flow);
            }
        }
        if self.group.is_none() {
            if self.budget.per_partition.is_some_and(|most| *in_partition >= most) {
                return Ok(Flow::Continue);
            }
            // A group begins only if its result will have room: a page never ends within a group.
            match self.room() {
                Flow::Continue => {}
                stop => return Ok(stop),
            }
            let aggregates = &self.plan.selection.aggregates;
            self.group = Some(Group {
                key: group_key,
                states: aggregates.iter().map(AggregatePlan::start).collect(),
                first: FirstRow::of(view, self.columns_shown(), self.plan, &self.environment)?,
                last_key: Bytes::new(),
                in_partition: *in_partition + 1,
            });
            *in_partition += 1;
        }
        let Some(mut group) = self.group.take() else { return Ok(Flow::Continue) };
        let environment = Environment { row: Some(view), ..self.environment };
        for (aggregate, state) in self.plan.selection.aggregates.iter().zip(&mut group.states) {
            let value = match aggregate.argument() {
                Some(argument) => argument.optional(&environment)?,
                None => None,
            };
            aggregate.add(state, value).map_err(CqlError::Invalid)?;
        }
        group.last_key = key.clone();
        self.group = Some(group);
        // One row stands for the partition.
        if self.plan.distinct {
            *in_partition = (*in_partition).max(1);
        }
        Ok(Flow::Continue)
    }

    fn columns_shown(&self) -> Vec<usize> {
        let mut places = Vec::new();
        for output in &self.plan.selection.outputs {
            columns_used(&output.expression, &mut places);
        }
        let clustering = self.plan.table.clustering();
        places.extend(self.plan.sort.iter().filter_map(|(position, _)| clustering.get(*position)).map(|c| c.index));
        places
    }

    fn end_group(&mut self) -> CqlResult<Flow> {
        let Some(group) = self.group.take() else { return Ok(Flow::Continue) };
        let aggregates = self.plan.selection.aggregates.iter().zip(&group.states);
        let results: Vec<Option<Bytes>> = aggregates.map(|(aggregate, state)| aggregate.result(state)).collect();
        let values = self.outputs(&group.first, &results)?;
        if self.plan.sort.is_empty() {
            self.write_values(&values)?;
        } else {
            self.keep_values(&group.first, values);
        }
        self.results += 1;
        self.position = Some((group.last_key, group.in_partition));
        Ok(Flow::Continue)
    }

    /// All rows of the read have come.
    ///
    /// # Errors
    /// As [`RowSink::row`].
    pub fn end(&mut self) -> CqlResult<Flow> {
        let flow = self.end_partition()?;
        if flow != Flow::Continue {
            return Ok(flow);
        }
        if self.plan.grouping == Some(0) && self.group.is_none() && self.results == 0 {
            // Aggregates over nothing are one result: a count of 0.
            self.group = Some(Group {
                key: Vec::new(),
                states: self.plan.selection.aggregates.iter().map(|aggregate| aggregate.start()).collect(),
                first: FirstRow::default(),
                last_key: Bytes::new(),
                in_partition: 1,
            });
        }
        self.end_group()
    }

    /// Sorts what is to be sorted; gives the writer.
    pub fn into_writer(mut self) -> CqlResult<RowsWriter> {
        if self.plan.sort.is_empty() {
            return Ok(self.writer);
        }
        let mut rows = std::mem::take(&mut self.sorted);
        let columns: Vec<(usize, CqlType, bool)> = self
            .plan
            .sort
            .iter()
            .filter_map(|(position, direction)| {
                let column = self.plan.table.clustering().get(*position)?;
                Some((*position, column.column_type.clone(), *direction == Direction::Descending))
            })
            .collect();
        rows.sort_by(|(a, _), (b, _)| {
            for (position, cql_type, descending) in &columns {
                let order = compare(cql_type, &a[*position], &b[*position]);
                if order.is_ne() {
                    return if *descending { order.reverse() } else { order };
                }
            }
            std::cmp::Ordering::Equal
        });
        if let Some(limit) = self.budget.limit {
            rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        for (_, values) in rows {
            self.write_values(&values)?;
        }
        Ok(self.writer)
    }
}
