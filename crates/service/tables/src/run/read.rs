//! SELECT: which tablets to ask for what, in which order, until the page is full.
//!
//! A read is a list of segments: one per partition that is named, or one per tablet that a range of tokens touches,
//! in the order of the results. Segments of named partitions are asked side by side; tablets of a scan one after the
//! other, each for a page at a time, so that a scan never holds more than a page.

use super::filter::row_filters;
use super::keys;
use super::page::PagingState;
use super::rows::{Budget, Flow, MemoryRow, RowSink};
use super::write::tablet_of;
use super::{Context, Outcome, Parameters, clock, consistency, replicas};
use crate::error::{CqlError, CqlResult};
use crate::limits;
use crate::plan::expression::{Environment, Expression};
use crate::plan::relations::ValueSet;
use crate::plan::restrictions::PartitionRestriction;
use crate::plan::select::SelectPlan;
use crate::plan::selection::columns_used;
use crate::tablet::request;
use crate::trace::several;
use crate::types::row_key;
use bytes::Bytes;
use holon_base::{Instant, TabletId};
use holon_cql::{BoundValue, RowsMetadata, RowsWriter};
use holon_kernel::{CallError, Verb, join_all};
use holon_replica::coordinator::Demand;
use holon_replica::{Level, ReadAnswer, ReadRequest};
use holon_store::{KeyRange, key_after};
use std::collections::VecDeque;
use std::time::Duration;

/// Partitions that are asked at once.
const SIDE_BY_SIDE: usize = 32;

/// Rows that one request to a tablet gives at most: what a scan holds at once.
const REQUEST_ROWS_MAX: u64 = 5_000;

/// Bytes that one request to a tablet gives at most.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Rows looked at before a page that pages ends, whatever it holds: a filter that finds nothing answers in time.
const PAGE_EXAMINED_MAX: u64 = 200_000;

struct Segment {
    tablet: TabletId,
    ranges: Vec<KeyRange>,
    one_partition: bool,
}

struct Read<'a> {
    context: &'a Context,
    plan: &'a SelectPlan,
    parameters: &'a Parameters,
    required: u32,
    now_seconds: i64,
    /// `None`: all in one answer.
    page_rows: Option<u64>,
    per_partition: Option<u64>,
}

pub async fn select(context: &Context, plan: &SelectPlan, parameters: &Parameters) -> CqlResult<Outcome> {
    let environment = Environment::new(&parameters.values, &context.shard);
    let limit = positive(plan.limit.as_ref(), &environment, "LIMIT")?;
    let per_partition = positive(plan.per_partition_limit.as_ref(), &environment, "PER PARTITION LIMIT")?;
    let page_rows = page_rows(plan, parameters, limit)?;
    let state = match &parameters.paging_state {
        Some(bytes) => Some(PagingState::decode(bytes, &plan.table)?),
        None => None,
    };
    let limit = state.as_ref().map_or(limit, |state| state.left.or(limit));
    let now_seconds = parameters.now_seconds.unwrap_or_else(|| context.shard.wall().seconds());
    let budget = Budget {
        page_rows: page_rows.unwrap_or(u64::MAX),
        page_bytes: if page_rows.is_some() { limits::PAGE_BYTES_MAX } else { usize::MAX },
        limit,
        // DISTINCT is one result a partition.
        per_partition: if plan.distinct { Some(1) } else { per_partition },
    };
    let filters = row_filters(&plan.table, &plan.restrictions, &environment)?;
    let writer = RowsWriter::new(parameters.version, metadata(plan, parameters));
    let mut sink = RowSink::new(plan, environment, filters, writer, budget, now_seconds);
    if plan.table.is_virtual() {
        let mut outcome = super::memory::select(context, plan, &environment, &parameters.tracing, sink).await?;
        outcome.warnings.extend(warning(plan));
        return Ok(outcome);
    }
    let checked = consistency::check_read(context, &plan.table, parameters.consistency);
    let required = checked.as_ref().map_or(0, |required| *required);
    let read = Read { context, plan, parameters, required, now_seconds, page_rows, per_partition };
    let mut segments = read.segments(&environment)?;
    checked.map_err(|error| consistency::of_tablet(context, error, segments.front().map(|segment| segment.tablet)))?;
    if let Some(state) = &state {
        read.resume(&mut segments, state)?;
        sink.resume(&state.key, state.in_partition);
    }
    read.trace_start(&segments);
    let finished = read.run(segments, &mut sink).await?;
    parameters.tracing.note(|| match &finished {
        Finished::All => format!("Read everything that was asked for: {}", several(sink.results() as usize, "result")),
        Finished::More { .. } => {
            format!("The page ends after {}; there is more", several(sink.results() as usize, "result"))
        }
    });
    let next = match finished {
        Finished::All => None,
        Finished::More { skipped } => read.next_page(&sink, state, skipped),
    };
    let mut outcome = finish(sink, next)?;
    outcome.warnings.extend(warning(plan));
    Ok(outcome)
}

/// Aggregates over more than one partition read all of them; Cassandra says so, too, whenever nothing at all is said of the
/// partition key.
fn warning(plan: &SelectPlan) -> Option<String> {
    let of_key = |column: usize| plan.table.partition_key().iter().any(|part| part.index == column);
    match &plan.restrictions.partition {
        _ if !plan.is_aggregate() => None,
        PartitionRestriction::Tokens { lower: None, upper: None } => {
            let filtered = plan.restrictions.filters.iter().any(|filter| of_key(filter.column));
            (!filtered).then(|| "Aggregation query used without partition key".to_string())
        }
        PartitionRestriction::Tokens { .. } => None,
        PartitionRestriction::Keys(sets) => {
            let several = sets.iter().any(|set| !matches!(set, ValueSet::One(_)));
            several.then(|| "Aggregation query used on multiple partition keys (IN restriction)".to_string())
        }
    }
}

fn finish(sink: RowSink<'_>, next: Option<Bytes>) -> CqlResult<Outcome> {
    let rows = sink.into_writer()?.finish(next).map_err(|error| CqlError::server(error.to_string()))?;
    Ok(Outcome { rows: Some(rows), warnings: Vec::new() })
}

/// The rows of a page that need no tablet.
pub fn finish_memory(sink: RowSink<'_>) -> CqlResult<Outcome> {
    finish(sink, None)
}

fn metadata(plan: &SelectPlan, parameters: &Parameters) -> RowsMetadata {
    let mut metadata = if parameters.skip_metadata && parameters.new_metadata_id.is_none() {
        RowsMetadata::skipped(plan.columns.len())
    } else {
        RowsMetadata::new(plan.columns.clone())
    };
    metadata.new_metadata_id = parameters.new_metadata_id.clone();
    metadata
}

fn positive(expression: Option<&Expression>, environment: &Environment<'_>, what: &str) -> CqlResult<Option<u64>> {
    let Some(expression) = expression else { return Ok(None) };
    let bytes = match expression.evaluate(environment)? {
        BoundValue::Value(bytes) => bytes,
        BoundValue::Unset => return Ok(None),
        BoundValue::Null => return Err(CqlError::Invalid(format!("Invalid null value of {}", what.to_lowercase()))),
    };
    let value = bytes.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)).unwrap_or(0);
    match u64::try_from(value) {
        Ok(value) if value > 0 => Ok(Some(value)),
        _ => Err(CqlError::Invalid(format!("{what} must be strictly positive"))),
    }
}

fn page_rows(plan: &SelectPlan, parameters: &Parameters, limit: Option<u64>) -> CqlResult<Option<u64>> {
    if plan.table.is_virtual() {
        // Computed anew at each read: a second page would be of other rows.
        return Ok(None);
    }
    let asked = parameters.page_size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
    // Aggregates over everything are one result however long it takes.
    let Some(asked) = asked.filter(|_| plan.grouping != Some(0)) else { return Ok(None) };
    let asked = asked.min(limits::PAGE_ROWS_MAX as u64);
    if !plan.sort.is_empty() {
        if limit.is_some_and(|limit| limit <= asked) {
            return Ok(None);
        }
        return Err(CqlError::invalid(
            "Cannot page queries with both ORDER BY and a IN restriction on the partition key; you must either \
             remove the ORDER BY or the IN and sort client side, or disable paging for this query",
        ));
    }
    Ok(Some(asked))
}

enum Finished {
    All,
    /// There is more. `skipped`: the last key that was looked at, if it is behind the last result.
    More {
        skipped: Option<Bytes>,
    },
}

impl Read<'_> {
    /// Whether static rows are to be read.
    fn reads_static(&self) -> bool {
        let plan = self.plan;
        plan.table.has_static_columns() && (plan.needs_static || !plan.restrictions.chooses_rows)
    }

    fn segments(&self, environment: &Environment<'_>) -> CqlResult<VecDeque<Segment>> {
        let restrictions = &self.plan.restrictions;
        match &restrictions.partition {
            PartitionRestriction::Keys(sets) => {
                let mut keys = keys::partition_keys(&self.plan.table, sets, environment)?;
                if let (lower, upper) = &restrictions.tokens
                    && (lower.is_some() || upper.is_some())
                {
                    let ranges = keys::token_ranges(lower.as_ref(), upper.as_ref(), environment)?;
                    keys.retain(|key| {
                        let (prefix, _) = row_key::partition_prefix(key);
                        ranges.iter().any(|range| range.contains(&prefix))
                    });
                }
                let clustering = keys::clustering_ranges(&self.plan.table, &restrictions.clustering, environment)?;
                if keys.len().saturating_mul(clustering.len()) > limits::IN_COMBINATIONS_MAX {
                    return Err(CqlError::Invalid(format!(
                        "the IN relations make {} combinations, more than {}; send several statements",
                        keys.len().saturating_mul(clustering.len()),
                        limits::IN_COMBINATIONS_MAX
                    )));
                }
                Ok(keys.iter().map(|key| self.partition_segment(key, &clustering)).collect())
            }
            PartitionRestriction::Tokens { lower, upper } => {
                let ranges = keys::token_ranges(lower.as_ref(), upper.as_ref(), environment)?;
                Ok(ranges.iter().flat_map(|range| self.scan_segments(range)).collect())
            }
        }
    }

    fn partition_segment(&self, key: &Bytes, clustering: &[keys::ClusteringRange]) -> Segment {
        let table = &self.plan.table;
        let (prefix, token) = row_key::partition_prefix(key);
        let tablet = tablet_of(table, token);
        let whole = self.plan.restrictions.clustering.is_empty();
        let rows = row_key::rows_start(&prefix);
        if table.clustering().is_empty() {
            return Segment { tablet, ranges: vec![KeyRange::one(rows)], one_partition: true };
        }
        if whole && self.reads_static() && !self.plan.reversed {
            return Segment { tablet, ranges: vec![KeyRange::prefix(prefix)], one_partition: true };
        }
        let mut ranges = Vec::with_capacity(clustering.len() + 1);
        if self.reads_static() {
            ranges.push(KeyRange::one(row_key::static_key(&prefix)));
        }
        let complete = self.plan.restrictions.clustering.prefix_columns() == table.clustering().len();
        let in_partition = clustering.iter().map(|range| match complete {
            // All columns have values: one key, for which tables have bloom filters.
            true => KeyRange::one([rows.as_slice(), &range.start].concat()),
            false => range.in_partition(&rows),
        });
        if self.plan.reversed {
            ranges.extend(in_partition.rev())
        } else {
            ranges.extend(in_partition)
        }
        Segment { tablet, ranges, one_partition: true }
    }

    fn scan_segments(&self, range: &KeyRange) -> Vec<Segment> {
        let table = &self.plan.table;
        let end_of_rows = Bytes::from_static(&row_key::ROWS_END);
        let mut segments = Vec::new();
        for ordinal in 0..table.tablets {
            let first = Bytes::copy_from_slice(&row_key::tablet_start(ordinal, table.tablets));
            let last = if ordinal + 1 == table.tablets {
                end_of_rows.clone()
            } else {
                Bytes::copy_from_slice(&row_key::tablet_start(ordinal + 1, table.tablets))
            };
            let end = range.end.clone().unwrap_or_else(|| end_of_rows.clone()).min(last);
            let part = KeyRange { start: range.start.clone().max(first), end: Some(end) };
            if !part.is_empty() {
                let tablet = TabletId::new(table.group, ordinal);
                segments.push(Segment { tablet, ranges: vec![part], one_partition: false });
            }
        }
        segments
    }

    /// Leaves out what earlier pages have taken in.
    fn resume(&self, segments: &mut VecDeque<Segment>, state: &PagingState) -> CqlResult<()> {
        let misplaced = || CqlError::Protocol("Invalid value for the paging state (not of this statement)".to_string());
        let split = row_key::RowKey::split(&state.key).ok_or_else(misplaced)?;
        let holds = |segment: &Segment| {
            segment.ranges.iter().any(|range| {
                if segment.one_partition { range.start.starts_with(split.prefix) } else { range.contains(&state.key) }
            })
        };
        let at = segments.iter().position(holds).ok_or_else(misplaced)?;
        segments.drain(..at);
        let Some(segment) = segments.front_mut() else { return Err(misplaced()) };
        let after = if self.plan.distinct {
            holon_store::prefix_end(split.prefix).unwrap_or_else(|| Bytes::from_static(&row_key::ROWS_END))
        } else {
            key_after(&state.key)
        };
        let mut ranges = Vec::with_capacity(segment.ranges.len() + 1);
        if self.reads_static() && !self.plan.distinct {
            ranges.push(KeyRange::one(row_key::static_key(split.prefix)));
        }
        for range in segment.ranges.drain(..) {
            let left = if self.plan.reversed {
                let end = range.end.map_or(state.key.clone(), |end| end.min(state.key.clone()));
                KeyRange { start: range.start, end: Some(end) }
            } else {
                KeyRange { start: range.start.max(after.clone()), end: range.end }
            };
            let is_static = |key: &[u8]| row_key::RowKey::split(key).is_some_and(|key| key.is_static);
            // Read backwards, the static row comes first nevertheless; it is in the list already.
            let again = self.plan.reversed && is_static(&left.start);
            if !again && !left.is_empty() {
                ranges.push(left);
            }
        }
        segment.ranges = ranges;
        Ok(())
    }

    async fn run(&self, mut segments: VecDeque<Segment>, sink: &mut RowSink<'_>) -> CqlResult<Finished> {
        let mut examined = 0u64;
        let mut last_key: Option<Bytes> = None;
        while let Some(first) = segments.pop_front() {
            let unordered = self.is_unordered();
            let side_by_side = first.one_partition || unordered;
            let together = if side_by_side { SIDE_BY_SIDE.min(segments.len() + 1) } else { 1 };
            let wanted = self.rows_wanted(sink);
            let mut batch = vec![first];
            batch.extend(segments.drain(..together - 1));
            let share = (limits::PAGE_BYTES_MAX / together).clamp(64 << 10, REQUEST_BYTES_MAX);
            let answers = match batch.as_slice() {
                [only] => vec![self.ask(only, wanted, share).await],
                several => join_all(several.iter().map(|segment| self.ask(segment, wanted, share))).await,
            };
            let mut unread: Option<(usize, Vec<KeyRange>)> = None;
            let batch_len = batch.len();
            for (index, answer) in answers.into_iter().enumerate() {
                let answer = answer?;
                for (key, row) in answer.rows {
                    examined += 1;
                    match sink.row(&key, row)? {
                        // A static row may yet be a result of its own: the next page has to see it again.
                        Flow::Continue if row_key::RowKey::split(&key).is_some_and(|split| split.is_static) => {}
                        Flow::Continue => last_key = Some(key),
                        Flow::PageFull => return Ok(Finished::More { skipped: None }),
                        Flow::Done => return Ok(Finished::All),
                    }
                }
                if answer.rest.is_empty() {
                    continue;
                }
                if !unordered {
                    unread = Some((index, answer.rest));
                    break;
                }
                // Whatever comes next, it is added up: the rest of every tablet waits for its next turn.
                let Segment { tablet, one_partition, .. } = batch[index];
                segments.push_back(Segment { tablet, ranges: answer.rest, one_partition });
            }
            if let Some((index, rest)) = unread {
                // What lies behind it was read in vain, and is read again in its turn.
                for segment in batch.drain(index + 1..batch_len).rev() {
                    segments.push_front(segment);
                }
                if let Some(mut segment) = batch.pop() {
                    segment.ranges = rest;
                    segments.push_front(segment);
                }
                examined += 1;
            }
            self.check_unpaged(sink)?;
            let may_end = self.page_rows.is_some() && self.plan.grouping.is_none() && last_key.is_some();
            if may_end && examined >= PAGE_EXAMINED_MAX && !segments.is_empty() {
                return Ok(Finished::More { skipped: last_key });
            }
            if !segments.is_empty() {
                self.context.shard.yield_now().await;
            }
        }
        match sink.end()? {
            Flow::PageFull => Ok(Finished::More { skipped: None }),
            _ => Ok(Finished::All),
        }
    }

    /// Whether the order of rows means nothing to the result: aggregates over everything and nothing beside them. Tablets are
    /// then read side by side, on all cores. (Static rows and limits belong to partitions, which have to come whole.)
    fn is_unordered(&self) -> bool {
        let plan = self.plan;
        let mut shown = Vec::new();
        plan.selection.outputs.iter().for_each(|output| columns_used(&output.expression, &mut shown));
        plan.grouping == Some(0) && shown.is_empty() && !self.reads_static() && self.per_partition.is_none()
    }

    /// One more than there is room for tells whether there is another page.
    fn rows_wanted(&self, sink: &RowSink<'_>) -> u64 {
        if self.plan.is_aggregate() || self.plan.restrictions.filters_rows() || !self.plan.sort.is_empty() {
            return REQUEST_ROWS_MAX;
        }
        let page = self.page_rows.map_or(u64::MAX, |rows| rows.saturating_sub(sink.results()));
        let limit = sink.limit_left().unwrap_or(u64::MAX);
        // Static rows come on top.
        let wanted = page.min(limit).saturating_add(1 + u64::from(self.reads_static()));
        wanted.min(REQUEST_ROWS_MAX)
    }

    fn check_unpaged(&self, sink: &RowSink<'_>) -> CqlResult<()> {
        if sink.size_bytes() > limits::UNPAGED_RESULT_BYTES_MAX {
            return Err(CqlError::Invalid(format!(
                "the result is larger than {} bytes: ask for it in pages",
                limits::UNPAGED_RESULT_BYTES_MAX
            )));
        }
        Ok(())
    }

    fn deadline(&self, timeout: Duration) -> Instant {
        let own = self.context.shard.now() + timeout;
        match self.parameters.deadline {
            // A long count takes many requests, each of which has its time.
            Some(deadline) if !self.plan.is_aggregate() => deadline.min(own),
            _ => own,
        }
    }

    async fn ask(&self, segment: &Segment, wanted: u64, bytes_max: usize) -> CqlResult<ReadAnswer> {
        self.parameters.asked.note(segment.tablet);
        let answer = self.ask_tablet(segment, wanted, bytes_max).await?;
        clock::shown(self.context, &answer.rows);
        Ok(answer)
    }

    async fn ask_tablet(&self, segment: &Segment, wanted: u64, bytes_max: usize) -> CqlResult<ReadAnswer> {
        let per_partition =
            if self.plan.distinct { Some(1) } else { self.per_partition.filter(|_| !self.plan.is_aggregate()) };
        // A filter decides which rows count: it has to see them all.
        let per_partition = per_partition.filter(|_| !self.plan.restrictions.filters_rows() && !segment.one_partition);
        let request = ReadRequest {
            ranges: segment.ranges.clone(),
            reverse: self.plan.reversed,
            one_partition: segment.one_partition,
            rows_max: u32::try_from(wanted).unwrap_or(u32::MAX),
            bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
            examined_max: u32::try_from(PAGE_EXAMINED_MAX / 2).unwrap_or(u32::MAX),
            per_partition_max: per_partition.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            now_seconds: self.now_seconds,
            purgeable_seconds: self.now_seconds - i64::from(self.plan.table.options.gc_grace_seconds),
            noted: self.parameters.tracing.is_on(),
            full: false,
        };
        let timeout = if segment.one_partition { limits::READ_TIMEOUT } else { limits::RANGE_READ_TIMEOUT };
        let deadline = self.deadline(timeout);
        if !self.context.coordinator.is_alone(segment.tablet) {
            return self.ask_replicas(segment.tablet, request, deadline).await;
        }
        let (shard, tracing) = (&self.context.shard, &self.parameters.tracing);
        if let Some(tablet) = self.context.tablets.get(segment.tablet) {
            let reading = tablet.rows(request, tracing);
            let answer = shard.timeout(deadline, reading).await.unwrap_or(Err(CallError::Timeout));
            return answer.map_err(|error| self.failure(error));
        }
        let to = segment.tablet.shard(shard.shards()).0;
        tracing.note(|| format!("Sending a read of tablet {} to shard {to}", segment.tablet));
        match shard.call_tablet(segment.tablet, Verb::READ, request.encode(), deadline).await {
            Ok(bytes) => {
                let (answer, notes) = ReadAnswer::decode(bytes).map_err(unreadable)?;
                tracing.take_in(request::decode_events(notes));
                tracing.note(|| format!("Shard {to} has answered with {}", several(answer.rows.len(), "row")));
                Ok(answer)
            }
            // That shard knows that it moves, and this one may not yet.
            Err(CallError::NotHere) => self.ask_replicas(segment.tablet, request, deadline).await,
            Err(error) => Err(self.failure(error)),
        }
    }

    async fn ask_replicas(&self, tablet: TabletId, request: ReadRequest, deadline: Instant) -> CqlResult<ReadAnswer> {
        let (context, table) = (self.context, &self.plan.table);
        let (consistency, tracing) = (self.parameters.consistency, &self.parameters.tracing);
        // What was decided is at a majority of all replicas before it is answered, and what such a read has shown, no later
        // one misses: this is all that a serial level asks for.
        let level = replicas::level(consistency).unwrap_or(Level::Quorum);
        let shard = &context.shard;
        // Of one replica any will do: that of this shard needs no detour over bytes.
        if matches!(level, Level::Count(1) | Level::LocalCount(1))
            && context.coordinator.is_reader(tablet)
            && let Some(local) = context.tablets.get(tablet)
        {
            let reading = local.rows(request.clone(), tracing);
            match shard.timeout(deadline, reading).await.unwrap_or(Err(CallError::Timeout)) {
                // A damaged file, or it has left meanwhile: others have the data.
                Err(CallError::Failed(_) | CallError::NotHere) => {}
                answer => return answer.map_err(|error| self.failure(error)),
            }
        }
        let promised = replicas::promised(context, table)?;
        let demand = Demand { tablet, level, replication: Some(&promised), deadline };
        tracing.note(|| format!("Reading the replicas of tablet {tablet}"));
        let notes = |node, events| replicas::note_answer(context, tracing, node, events);
        let speculation = replicas::speculation(&table.options.speculative_retry);
        let answer = context.coordinator.read(&demand, &request, speculation, &notes).await;
        let mut answer = answer.map_err(|error| replicas::read_error(&context.shard, error, table, consistency))?;
        answer.rows.retain(|(_, row)| table.shows(row));
        Ok(answer)
    }

    fn trace_start(&self, segments: &VecDeque<Segment>) {
        self.parameters.tracing.note(|| {
            let partitions = segments.iter().filter(|segment| segment.one_partition).count();
            let ranges: usize = segments.iter().map(|segment| segment.ranges.len()).sum();
            let what = match partitions {
                0 => "a scan of".to_string(),
                1 => "one partition in".to_string(),
                many => format!("{many} partitions in"),
            };
            let mut tablets: Vec<TabletId> = segments.iter().map(|segment| segment.tablet).collect();
            tablets.sort_unstable();
            tablets.dedup();
            let name = format!("{}.{}", self.plan.table.keyspace, self.plan.table.name);
            format!("Reading {name}: {what} {}, {}", several(tablets.len(), "tablet"), several(ranges, "range"))
        });
    }

    fn failure(&self, error: CallError) -> CqlError {
        match error {
            CallError::Timeout | CallError::Gone => CqlError::ReadTimeout {
                consistency: self.parameters.consistency,
                received: 0,
                required: self.required,
                data_present: false,
            },
            CallError::NotHere => CqlError::unknown_table(&self.plan.table.name),
            CallError::Overloaded => {
                CqlError::overloaded("too many reads are in flight on that shard; try again later")
            }
            // What a damaged file says is what the client is told: it names the file.
            CallError::Failed(bytes) => CqlError::decode(&bytes),
        }
    }

    fn next_page(&self, sink: &RowSink<'_>, before: Option<PagingState>, skipped: Option<Bytes>) -> Option<Bytes> {
        let position = sink.position().cloned();
        let (key, in_partition) = match (position, skipped) {
            // Rows behind the last result were looked at and are no results: the next page need not look again.
            (position, Some(skipped)) => {
                let of = row_key::prefix_length(&skipped).map(|length| skipped.slice(..length)).unwrap_or_default();
                let in_partition = match position {
                    Some((key, in_partition)) if key.starts_with(&of) => in_partition,
                    Some(_) => 0,
                    None => before.filter(|state| state.key.starts_with(&of)).map_or(0, |state| state.in_partition),
                };
                (skipped, in_partition)
            }
            (Some(position), None) => position,
            (None, None) => before.map(|state| (state.key, state.in_partition))?,
        };
        Some(PagingState { key, in_partition, left: sink.limit_left() }.encode(&self.plan.table))
    }
}

fn unreadable(short: holon_base::ShortInput) -> CqlError {
    CqlError::server(format!("a tablet answered unreadably: {short}"))
}

/// The rows of a virtual table, computed now, filtered like any others.
pub fn memory_rows(sink: &mut RowSink<'_>, rows: &[Vec<Option<Bytes>>]) -> CqlResult<()> {
    for row in rows {
        match sink.memory_row(&MemoryRow { values: row })? {
            Flow::Continue => {}
            _ => break,
        }
    }
    sink.end().map(|_| ())
}
