//! Compares what a read returned with what it may return.

use super::history::{Clustering, History, Row, View};
use super::operation::{NamedRow, Read};
use super::shape::Shape;
use bytes::Bytes;
use holon_cql::token;

/// Checks a read that has come to its end, and lets the history learn from it.
///
/// # Errors
/// What cannot be.
pub fn read(shape: &Shape, history: &mut History, read: &Read, now: i64, settled_before: i64) -> Result<(), String> {
    let (found, order, statics) = view_of(shape, &read.rows)?;
    check_order(shape, &order, read.is_reversed)?;
    let narrow = |view: &View| narrowed(shape, view, read);
    let views = history.views(now);
    let expected: Vec<View> = views.iter().map(&narrow).collect();
    // Between pages something unknown may come to pass: then each row on its own must be one of those that may be.
    let fits = if read.pages > 1 && expected.len() > 1 {
        fits_row_by_row(&found, &statics, &expected)
    } else if statics.len() > 1 {
        return Err("the static columns differ between rows of one partition".to_string());
    } else {
        expected.contains(&found)
    };
    if !fits {
        let nearest = expected.first().cloned().unwrap_or_default();
        return Err(format!(
            "found {}, expected {} or {} other states ({} mutations, {} unknown)",
            show(&found),
            show(&nearest),
            expected.len() - 1,
            history.mutations(),
            history.unknown()
        ));
    }
    if read.range.is_none() && read.pages <= 1 {
        history.learn(&found, now, settled_before);
    }
    Ok(())
}

fn fits_row_by_row(found: &View, statics: &[Row], expected: &[View]) -> bool {
    let keys: std::collections::BTreeSet<&Clustering> =
        expected.iter().flat_map(|view| view.rows.keys()).chain(found.rows.keys()).collect();
    let may_be = |statics: &Row| expected.iter().any(|view| view.static_row == *statics);
    (found.rows.is_empty() || statics.iter().all(may_be))
        && keys.into_iter().all(|key| expected.iter().any(|view| view.rows.get(key) == found.rows.get(key)))
}

/// What a read shows of a state.
fn narrowed(shape: &Shape, view: &View, read: &Read) -> View {
    let mut view = view.clone();
    if let Some(range) = &read.range {
        view.rows.retain(|clustering, _| range.holds(clustering));
        // The static row alone is shown by a read of the whole partition only.
        if view.rows.is_empty() {
            view.static_row.clear();
        }
    }
    if shape.clustering.is_empty() {
        view.static_row.clear();
    }
    view
}

/// The rows of a result as a state, the clusterings in the order they came, and the static columns each time they changed.
fn view_of(shape: &Shape, rows: &[NamedRow]) -> Result<(View, Vec<Clustering>, Vec<Row>), String> {
    let mut view = View::default();
    let (mut order, mut statics) = (Vec::new(), Vec::new());
    for row in rows {
        view.static_row = cells(row, shape.statics);
        if statics.last() != Some(&view.static_row) {
            statics.push(view.static_row.clone());
        }
        let Some(clustering) = clustering_of(shape, row)? else {
            if rows.len() > 1 {
                return Err("a row without clustering stands beside others".to_string());
            }
            continue;
        };
        if view.rows.insert(clustering.clone(), cells(row, shape.regular)).is_some() {
            return Err(format!("row {clustering:?} came twice"));
        }
        order.push(clustering);
    }
    Ok((view, order, statics))
}

fn value<'a>(row: &'a NamedRow, name: &str) -> Option<&'a Bytes> {
    row.iter().find(|(column, _)| &**column == name).and_then(|(_, value)| value.as_ref())
}

fn cells(row: &NamedRow, columns: &'static [(&'static str, super::shape::Kind)]) -> Row {
    columns.iter().filter_map(|(name, _)| Some((*name, value(row, name)?.clone()))).collect()
}

/// `None` if all clustering columns are null.
fn clustering_of(shape: &Shape, row: &NamedRow) -> Result<Option<Clustering>, String> {
    let values: Vec<Option<&Bytes>> = shape.clustering.iter().map(|(name, _)| value(row, name)).collect();
    if !values.is_empty() && values.iter().all(Option::is_none) {
        return Ok(None);
    }
    let number = |value: Option<&Bytes>| {
        let bytes: Option<[u8; 4]> = value.and_then(|bytes| bytes[..].try_into().ok());
        bytes.map(i32::from_be_bytes).ok_or_else(|| format!("{value:?} is no value of a clustering column"))
    };
    values.into_iter().map(number).collect::<Result<_, _>>().map(Some)
}

fn check_order(shape: &Shape, order: &[Clustering], is_reversed: bool) -> Result<(), String> {
    let before = |a: &Clustering, b: &Clustering| {
        for ((left, right), (_, is_descending)) in a.iter().zip(b).zip(shape.clustering) {
            if left != right {
                return (left < right) != (*is_descending != is_reversed);
            }
        }
        false
    };
    match order.windows(2).find(|pair| !before(&pair[0], &pair[1])) {
        Some(pair) => Err(format!("row {:?} came before {:?}", pair[0], pair[1])),
        None => Ok(()),
    }
}

/// Splits the rows of a scan by partition, in the order they came, and checks that this is the order of tokens.
///
/// # Errors
/// Tokens that go back, a partition that comes twice.
pub fn partitions_of(shape: &Shape, rows: &[NamedRow]) -> Result<Vec<(u32, Vec<NamedRow>)>, String> {
    let mut partitions: Vec<(u32, Vec<NamedRow>)> = Vec::new();
    let mut last_token = None;
    for row in rows {
        let number = value(row, shape.partition[0].0).and_then(|bytes| bytes[..].try_into().ok());
        let number = number.map(u32::from_be_bytes).ok_or("a row without its partition key")?;
        if let Some((last, rows)) = partitions.last_mut()
            && *last == number
        {
            rows.push(row.clone());
            continue;
        }
        let token = token_of(shape, number);
        if last_token.is_some_and(|last| last >= token) {
            return Err(format!("partition {number} with token {token} came after token {last_token:?}"));
        }
        last_token = Some(token);
        partitions.push((number, vec![row.clone()]));
    }
    Ok(partitions)
}

fn token_of(shape: &Shape, partition: u32) -> i64 {
    let values = shape.partition_values(partition);
    let parts: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
    token::token(&token::partition_key(&parts).unwrap_or_default())
}

fn show(view: &View) -> String {
    let cells = |row: &Row| {
        let cell = |(name, value): (&&str, &Bytes)| format!("{name}={}", short(value));
        row.iter().map(cell).collect::<Vec<_>>().join(" ")
    };
    let rows = view.rows.iter().map(|(clustering, row)| format!("{clustering:?} {}", cells(row)));
    format!("[static {}; {}]", cells(&view.static_row), rows.collect::<Vec<_>>().join("; "))
}

fn short(bytes: &Bytes) -> String {
    let shown = &bytes[..bytes.len().min(12)];
    format!("{}{}", shown.escape_ascii(), if bytes.len() > shown.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::history::{CellChange, Cells, Mutation, Outcome, RowChange};
    use crate::workload::operation::Place;
    use crate::workload::shape::SHAPES;

    fn number(value: i32) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&value.to_be_bytes()))
    }

    /// A row of `collections` with a value of `v`.
    fn row(c: i32, v: Option<i32>) -> NamedRow {
        let cells = [("k", number(1)), ("c", number(c)), ("m", None), ("l", None), ("v", v.and_then(number))];
        cells.into_iter().map(|(name, value)| (name.into(), value)).collect()
    }

    fn written(timestamp: i64, outcome: Outcome, rows: &[(i32, i32)]) -> Mutation {
        let change = |(c, v): &(i32, i32)| {
            let cells = Cells::from([("v", CellChange::Set(Bytes::copy_from_slice(&v.to_be_bytes())))]);
            RowChange { clustering: Some(vec![*c]), marker: true, cells }
        };
        Mutation { outcome, rows: rows.iter().map(change).collect(), ..Mutation::new(timestamp) }
    }

    fn checked(history: &History, rows: Vec<NamedRow>, is_reversed: bool) -> Result<(), String> {
        let place = Place { table: 2, partition: 1 };
        let (range, page_size) = (None, None);
        let done = Read { place, range, is_reversed, page_size, is_prepared: false, pages: 1, rows };
        read(&SHAPES[2], &mut history.clone(), &done, 0, 0)
    }

    #[test]
    fn what_is_lost_torn_stale_invented_doubled_or_out_of_order_is_seen() {
        let mut history = History::default();
        history.push(written(10, Outcome::Acknowledged, &[(1, 1), (2, 1)]));
        history.push(written(20, Outcome::Unknown, &[(1, 2), (3, 2)]));
        let without = vec![row(1, Some(1)), row(2, Some(1))];
        let with = vec![row(1, Some(2)), row(2, Some(1)), row(3, Some(2))];
        assert_eq!(checked(&history, without.clone(), false), Ok(()));
        assert_eq!(checked(&history, with.clone(), false), Ok(()));
        assert_eq!(checked(&history, with.iter().rev().cloned().collect(), true), Ok(()));
        let bad = [
            ("lost", vec![row(1, Some(1))]),
            ("torn", vec![row(1, Some(2)), row(2, Some(1))]),
            ("stale", vec![row(1, Some(1)), row(2, None)]),
            ("invented", vec![row(1, Some(7)), row(2, Some(1))]),
            ("doubled", vec![row(1, Some(1)), row(1, Some(1)), row(2, Some(1))]),
            ("out of order", vec![row(2, Some(1)), row(1, Some(1))]),
            ("nothing at all", vec![]),
        ];
        for (what, rows) in bad {
            assert!(checked(&history, rows, false).is_err(), "{what} was not seen");
        }
        // Acknowledged, it is no longer allowed to be missing.
        history.settle(20, Some(Outcome::Acknowledged));
        assert!(checked(&history, without, false).is_err());
        assert_eq!(checked(&history, with, false), Ok(()));
    }

    #[test]
    fn scans_go_in_the_order_of_tokens() {
        let shape = &SHAPES[0];
        let row = |k: u32| vec![("k".into(), Some(Bytes::copy_from_slice(&k.to_be_bytes())))];
        let mut keys: Vec<u32> = (1..20).collect();
        keys.sort_by_key(|key| token_of(shape, *key));
        let rows = |keys: &[u32]| keys.iter().map(|key| row(*key)).collect::<Vec<NamedRow>>();
        assert_eq!(partitions_of(shape, &rows(&keys)).map(|found| found.len()), Ok(19));
        keys.swap(3, 4);
        assert!(partitions_of(shape, &rows(&keys)).is_err());
        assert!(partitions_of(shape, &rows(&[1, 2, 1])).is_err());
    }
}
