//! The key part of a WHERE clause with its values: partition keys, ranges of tokens, ranges of clustering.

use crate::error::{CqlError, CqlResult};
use crate::limits::{IN_COMBINATIONS_MAX, KEY_BYTES_MAX};
use crate::plan::expression::{Environment, Expression};
use crate::plan::modification::tuple_fields;
use crate::plan::relations::{Bound, TupleBound, TupleSet, ValueSet};
use crate::plan::restrictions::{ClusteringRestriction, ClusteringStep};
use crate::schema::{Column, Table};
use crate::types::{collection, compare::compare, ordered, row_key};
use bytes::Bytes;
use holon_cql::BoundValue;
use holon_store::{KeyRange, prefix_end};

/// A value that must be there.
pub fn required(expression: &Expression, environment: &Environment<'_>, column: &str) -> CqlResult<Bytes> {
    match expression.evaluate(environment)? {
        BoundValue::Value(bytes) => Ok(bytes),
        BoundValue::Null => Err(CqlError::Invalid(format!("Invalid null value in condition for column {column}"))),
        BoundValue::Unset => Err(CqlError::Invalid(format!("Invalid unset value for column {column}"))),
    }
}

/// All values of `=` or IN.
pub fn value_set(values: &ValueSet, environment: &Environment<'_>, column: &str) -> CqlResult<Vec<Bytes>> {
    match values {
        ValueSet::One(expression) => Ok(vec![required(expression, environment, column)?]),
        ValueSet::Several(expressions) => {
            expressions.iter().map(|expression| required(expression, environment, column)).collect()
        }
        ValueSet::List(list) => {
            let list = required(list, environment, column)?;
            Ok(collection::elements(&list).map(|element| collection::shared(&list, element)).collect())
        }
    }
}

fn too_many<T>() -> CqlResult<T> {
    Err(CqlError::Invalid(format!(
        "the IN relations make more than {IN_COMBINATIONS_MAX} combinations; send several statements"
    )))
}

/// The partition keys that a statement names, each once, in the order of their values.
pub fn partition_keys(table: &Table, sets: &[ValueSet], environment: &Environment<'_>) -> CqlResult<Vec<Bytes>> {
    let columns = table.partition_key();
    if let ([set @ ValueSet::One(_)], [column]) = (sets, columns) {
        // The usual case: one value is the key.
        let mut values = value_set(set, environment, &column.name)?;
        let key = values.pop().unwrap_or_default();
        check_single(&key)?;
        return Ok(vec![key]);
    }
    let mut tuples: Vec<Vec<Bytes>> = vec![Vec::new()];
    for (set, column) in sets.iter().zip(columns) {
        let mut values = value_set(set, environment, &column.name)?;
        values.sort_by(|a, b| compare(&column.column_type, a, b));
        values.dedup();
        if tuples.len().saturating_mul(values.len()) > IN_COMBINATIONS_MAX {
            return too_many();
        }
        tuples = product(&tuples, &values);
    }
    tuples.into_iter().map(|values| partition_key(&values)).collect()
}

fn product(tuples: &[Vec<Bytes>], values: &[Bytes]) -> Vec<Vec<Bytes>> {
    let with = |tuple: &Vec<Bytes>, value: &Bytes| {
        let mut longer = tuple.clone();
        longer.push(value.clone());
        longer
    };
    tuples.iter().flat_map(|tuple| values.iter().map(move |value| with(tuple, value))).collect()
}

fn check_single(key: &Bytes) -> CqlResult<()> {
    if key.is_empty() {
        return Err(CqlError::invalid("Key may not be empty"));
    }
    check_length(key.len())
}

fn check_length(length: usize) -> CqlResult<()> {
    if length > KEY_BYTES_MAX {
        return Err(CqlError::Invalid(format!("Key length of {length} is longer than maximum of {KEY_BYTES_MAX}")));
    }
    Ok(())
}

/// The serialized partition key of its columns.
pub fn partition_key(values: &[Bytes]) -> CqlResult<Bytes> {
    if let [only] = values {
        check_single(only)?;
        return Ok(only.clone());
    }
    let columns: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
    let longest = columns.iter().map(|column| column.len()).max().unwrap_or(0);
    let key = holon_cql::token::partition_key(&columns).ok_or_else(|| {
        CqlError::Invalid(format!("Key length of {longest} is longer than maximum of {KEY_BYTES_MAX}"))
    })?;
    check_length(key.len())?;
    Ok(key.into())
}

/// Encoded clustering prefixes, each once, in the order of the table.
pub fn clustering_prefixes(
    table: &Table,
    restriction: &ClusteringRestriction,
    environment: &Environment<'_>,
) -> CqlResult<Vec<Vec<u8>>> {
    let columns = table.clustering();
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    let mut position = 0;
    for step in &restriction.steps {
        match step {
            ClusteringStep::Values(ValueSet::One(value)) => {
                let Some(column) = columns.get(position) else { break };
                let value = required(value, environment, &column.name)?;
                prefixes.iter_mut().for_each(|prefix| put(column, &value, prefix));
                position += 1;
            }
            ClusteringStep::Values(values) => {
                let Some(column) = columns.get(position) else { break };
                let values = value_set(values, environment, &column.name)?;
                let suffixes: Vec<Vec<u8>> = values.iter().map(|value| component(column, value)).collect();
                prefixes = joined(&prefixes, &suffixes)?;
                position += 1;
            }
            ClusteringStep::Tuples { width, tuples } => {
                let columns = columns.get(position..position + width).unwrap_or_default();
                let suffixes = tuple_suffixes(columns, tuples, environment)?;
                prefixes = joined(&prefixes, &suffixes)?;
                position += width;
            }
        }
    }
    prefixes.sort();
    prefixes.dedup();
    Ok(prefixes)
}

/// All clustering values of a row together are as short as a partition key.
pub fn check_clustering<'v>(values: impl Iterator<Item = &'v Bytes>) -> CqlResult<()> {
    check_length(values.map(Bytes::len).sum())
}

fn put(column: &Column, value: &[u8], out: &mut Vec<u8>) {
    ordered::encode(&column.column_type, value, column.is_descending, out);
}

fn component(column: &Column, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(column, value, &mut out);
    out
}

fn joined(prefixes: &[Vec<u8>], suffixes: &[Vec<u8>]) -> CqlResult<Vec<Vec<u8>>> {
    if prefixes.len().saturating_mul(suffixes.len()) > IN_COMBINATIONS_MAX {
        return too_many();
    }
    let join = |prefix: &Vec<u8>, suffix: &Vec<u8>| [prefix.as_slice(), suffix.as_slice()].concat();
    Ok(prefixes.iter().flat_map(|prefix| suffixes.iter().map(move |suffix| join(prefix, suffix))).collect())
}

fn tuple_suffixes(columns: &[Column], tuples: &TupleSet, environment: &Environment<'_>) -> CqlResult<Vec<Vec<u8>>> {
    let encode = |values: Vec<Bytes>| {
        let mut out = Vec::new();
        columns.iter().zip(&values).for_each(|(column, value)| put(column, value, &mut out));
        out
    };
    Ok(tuples_of(columns, tuples, environment)?.into_iter().map(encode).collect())
}

/// The tuples of an IN on several columns.
///
/// # Errors
/// Nulls, and tuples of another length.
pub fn tuples_of(columns: &[Column], tuples: &TupleSet, environment: &Environment<'_>) -> CqlResult<Vec<Vec<Bytes>>> {
    match tuples {
        TupleSet::Several(tuples) => {
            let values = |tuple: &Vec<Expression>| {
                let values = tuple.iter().zip(columns);
                values.map(|(value, column)| required(value, environment, &column.name)).collect()
            };
            tuples.iter().map(values).collect()
        }
        TupleSet::List(list) => {
            let list = required(list, environment, columns.first().map_or("", |column| &column.name))?;
            let tuple = |element: &[u8]| {
                let fields = tuple_fields(&collection::shared(&list, element));
                let fields: Option<Vec<Bytes>> = fields.into_iter().collect();
                let fields = fields.filter(|fields| fields.len() == columns.len());
                let null = || CqlError::invalid("Invalid null value in condition for a multi-column relation");
                fields.ok_or_else(null)
            };
            collection::elements(&list).map(tuple).collect()
        }
    }
}

/// A range of encoded clusterings, `[start, end)`; no end: to the end of the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusteringRange {
    pub start: Vec<u8>,
    pub end: Option<Vec<u8>>,
}

impl ClusteringRange {
    fn below(prefix: &[u8]) -> ClusteringRange {
        ClusteringRange { start: prefix.to_vec(), end: end_of(prefix) }
    }

    fn intersection(&self, other: &ClusteringRange) -> Option<ClusteringRange> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or(b.clone()),
        };
        let empty = end.as_ref().is_some_and(|end| *end <= start);
        (!empty).then_some(ClusteringRange { start, end })
    }

    /// As keys of a partition, whose rows begin at `rows`.
    pub fn in_partition(&self, rows: &[u8]) -> KeyRange {
        let start = [rows, &self.start].concat();
        let end = match &self.end {
            Some(end) => Some([rows, end.as_slice()].concat().into()),
            None => prefix_end(rows),
        };
        KeyRange { start: start.into(), end }
    }
}

fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    if prefix.is_empty() { None } else { prefix_end(prefix).map(|end| end.to_vec()) }
}

/// The ranges that a restriction leaves, disjoint, in the order of the table.
pub fn clustering_ranges(
    table: &Table,
    restriction: &ClusteringRestriction,
    environment: &Environment<'_>,
) -> CqlResult<Vec<ClusteringRange>> {
    let prefixes = clustering_prefixes(table, restriction, environment)?;
    let lower = bound_values(table, restriction.lower.as_ref(), environment)?;
    let upper = bound_values(table, restriction.upper.as_ref(), environment)?;
    let mut ranges = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let mut of_prefix = vec![ClusteringRange::below(&prefix)];
        for (bound, is_lower) in [(&lower, true), (&upper, false)] {
            if let Some((bound, values)) = bound {
                let allowed = beyond(table, &prefix, bound, values, is_lower);
                let both = of_prefix.iter().flat_map(|a| allowed.iter().filter_map(|b| a.intersection(b)));
                of_prefix = both.collect();
            }
        }
        ranges.append(&mut of_prefix);
    }
    // Disjoint already, and kept apart even where they touch: a range of one key is read as one key.
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    Ok(ranges)
}

type BoundValues<'a> = Option<(&'a TupleBound, Vec<Bytes>)>;

fn bound_values<'a>(
    table: &Table,
    bound: Option<&'a TupleBound>,
    environment: &Environment<'_>,
) -> CqlResult<BoundValues<'a>> {
    let Some(bound) = bound else { return Ok(None) };
    let columns = table.clustering().get(bound.first..).unwrap_or_default();
    let values = bound.values.iter().zip(columns);
    let values = values.map(|(value, column)| required(value, environment, &column.name)).collect::<CqlResult<_>>()?;
    Ok(Some((bound, values)))
}

/// What lies beyond a bound of one or more columns: for each of them the values beyond its own, behind equal ones
/// before.
fn beyond(table: &Table, prefix: &[u8], bound: &TupleBound, values: &[Bytes], is_lower: bool) -> Vec<ClusteringRange> {
    let columns = table.clustering().get(bound.first..).unwrap_or_default();
    let mut base = prefix.to_vec();
    let mut ranges = Vec::new();
    for (column, value) in columns.iter().zip(values) {
        let mut at = base.clone();
        put(column, value, &mut at);
        let after_in_bytes = is_lower != column.is_descending;
        if after_in_bytes {
            if let Some(start) = end_of(&at) {
                ranges.push(ClusteringRange { start, end: end_of(&base) });
            }
        } else {
            ranges.push(ClusteringRange { start: base.clone(), end: Some(at.clone()) });
        }
        base = at;
    }
    if bound.inclusive {
        ranges.push(ClusteringRange::below(&base));
    }
    ranges.retain(|range| range.end.as_ref().is_none_or(|end| *end > range.start));
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    merged(ranges)
}

fn merged(ranges: Vec<ClusteringRange>) -> Vec<ClusteringRange> {
    let mut merged: Vec<ClusteringRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if last.end.as_ref().is_none_or(|end| *end >= range.start) => {
                last.end = match (last.end.take(), range.end) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    _ => None,
                };
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// The ranges of keys that a range of tokens covers: none or one.
///
/// # Errors
/// Null bounds.
pub fn token_ranges(
    lower: Option<&Bound>,
    upper: Option<&Bound>,
    environment: &Environment<'_>,
) -> CqlResult<Vec<KeyRange>> {
    let value = |bound: &Bound| -> CqlResult<i64> {
        let bytes = required(&bound.value, environment, "partition key token")?;
        let token = bytes.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
        token.ok_or_else(|| CqlError::invalid("Invalid empty value in condition for column partition key token"))
    };
    // As whole numbers beyond 64 bits, so that the ends of the ring need no special case: [start, end).
    let start = match lower {
        Some(bound) => i128::from(value(bound)?) + i128::from(!bound.inclusive),
        None => i128::from(i64::MIN),
    };
    let end = match upper {
        // The smallest token stands for "the end of the ring", too: `token(k) <= -2⁶³` means everything above the
        // start.
        Some(bound) if value(bound)? == i64::MIN => i128::from(i64::MAX) + 1,
        Some(bound) => i128::from(value(bound)?) + i128::from(bound.inclusive),
        None => i128::from(i64::MAX) + 1,
    };
    let key = |token: i128| match i64::try_from(token) {
        Ok(token) => Bytes::copy_from_slice(&row_key::token_start(token)),
        Err(_) => Bytes::from_static(&row_key::ROWS_END),
    };
    // A range whose end lies before its start is empty, as in Cassandra: drivers split those that wrap around the ring.
    let range = KeyRange { start: key(start), end: Some(key(end)) };
    Ok(if range.is_empty() { Vec::new() } else { vec![range] })
}
