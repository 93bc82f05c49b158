//! The live picture, as lines of styled text for any size of a terminal. Pure: figures in, lines out.

use super::nodes::Condition;
use super::tally::{Kind, Pace};
use crate::size::show_bytes;
use crate::text::show_count;
use std::time::Duration;

/// Less is no picture; what does not fit is cut off.
const COLUMNS_MIN: usize = 20;
/// Wider bars and rings tell no more.
const COLUMNS_MAX: usize = 140;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Strong,
    Faint,
    Good,
    Bad,
    Notice,
    /// The colour of a node, by its place.
    Node(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub text: String,
    pub style: Style,
}

pub type Line = Vec<Span>;

fn span(style: Style, text: impl Into<String>) -> Span {
    Span { text: text.into(), style }
}

fn width(line: &Line) -> usize {
    line.iter().map(|span| span.text.chars().count()).sum()
}

/// What is shown of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    pub address: String,
    pub condition: Condition,
    /// Served requests a second.
    pub rate: f64,
    /// Requests through it that were not served, since the start.
    pub failed: u64,
    /// Of it by its own status; `None`: it says nothing.
    pub tablets: Option<u64>,
    pub data_bytes: u64,
    /// Writes that it keeps for others.
    pub hints: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub elapsed: Duration,
    /// From 1.
    pub act: usize,
    pub acts: usize,
    pub title: String,
    /// What it is to show.
    pub about: String,
    /// What is on its way, and how much of it is done, 0 to 1.
    pub progress: Option<(String, f64)>,
    pub nodes: Vec<NodeRow>,
    /// The owner of each slot of the ring.
    pub ring: Vec<Option<usize>>,
    pub pace: Pace,
    pub checked: u64,
    pub acknowledged: u64,
    pub sold: u64,
    /// What was read and must not have been.
    pub wrong: u64,
    /// Short names, and whether it was kept.
    pub promises: Vec<(String, bool)>,
    /// Those that happened last, the newest last.
    pub events: Vec<String>,
    pub console: String,
}

/// At most `rows` lines of at most `columns` characters.
pub fn draw(picture: &Picture, columns: usize, rows: usize) -> Vec<Line> {
    let columns = columns.clamp(COLUMNS_MIN, COLUMNS_MAX);
    let mut lines = head(picture, columns);
    lines.extend(nodes(picture));
    lines.push(Vec::new());
    lines.extend(ring(picture, columns));
    lines.extend(pace(picture));
    lines.push(promises(picture));
    lines.push(Vec::new());
    let foot = vec![
        span(Style::Faint, "console "),
        span(Style::Strong, picture.console.clone()),
        span(Style::Faint, "   Ctrl-C ends it"),
    ];
    let room = rows.saturating_sub(lines.len() + 1);
    let events = &picture.events[picture.events.len().saturating_sub(room)..];
    lines.extend(events.iter().map(|event| vec![span(Style::Plain, event.clone())]));
    lines.resize(rows.saturating_sub(1).max(1), Vec::new());
    lines.push(foot);
    lines.truncate(rows.max(1));
    lines.into_iter().map(|line| fit(line, columns)).collect()
}

/// Cut to a width; a cut is seen.
fn fit(line: Line, columns: usize) -> Line {
    if width(&line) <= columns {
        return line;
    }
    let mut left = columns.saturating_sub(1);
    let mut fitted = Line::new();
    for Span { text, style } in line {
        let taken: String = text.chars().take(left).collect();
        left -= taken.chars().count();
        fitted.push(span(style, taken));
        if left == 0 {
            break;
        }
    }
    fitted.push(span(Style::Faint, "…"));
    fitted
}

/// `████░░░░` of so many cells.
pub fn bar(part: f64, cells: usize) -> String {
    let full = ((part.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    format!("{}{}", "█".repeat(full), "░".repeat(cells - full))
}

fn head(picture: &Picture, columns: usize) -> Vec<Line> {
    let seconds = picture.elapsed.as_secs();
    let act = format!("  act {} of {}: ", picture.act, picture.acts);
    let left =
        vec![span(Style::Strong, "holon demo"), span(Style::Faint, act), span(Style::Notice, picture.title.clone())];
    let clock = format!("{}:{:02}", seconds / 60, seconds % 60);
    let gap = columns.saturating_sub(width(&left) + clock.len());
    let mut first = left;
    first.push(span(Style::Faint, format!("{}{clock}", " ".repeat(gap.max(1)))));
    let mut lines = vec![first, vec![span(Style::Faint, format!("  {}", picture.about))]];
    lines.push(match &picture.progress {
        None => Vec::new(),
        Some((what, part)) => {
            let told = format!(" {:3.0} %  {what}", 100.0 * part);
            let cells = columns.saturating_sub(told.chars().count() + 2).clamp(8, 50);
            vec![span(Style::Plain, "  "), span(Style::Good, bar(*part, cells)), span(Style::Plain, told)]
        }
    });
    lines.push(Vec::new());
    lines
}

fn condition(condition: Condition) -> (&'static str, Style) {
    match condition {
        Condition::Absent => ("to come", Style::Faint),
        Condition::Starting => ("starting", Style::Notice),
        Condition::Running => ("serving", Style::Good),
        Condition::Killed => ("killed", Style::Bad),
        Condition::CutOff => ("cut off", Style::Bad),
    }
}

fn nodes(picture: &Picture) -> Vec<Line> {
    let head = ["requests/s", "failed", "tablets", "data", "hints"];
    let head = format!("  node {:23}{:>10} {:>8} {:>8} {:>10} {:>7}", "", head[0], head[1], head[2], head[3], head[4]);
    let mut lines = vec![vec![span(Style::Faint, head)]];
    for (place, node) in picture.nodes.iter().enumerate() {
        let (word, style) = condition(node.condition);
        let dash = || "–".to_string();
        let told = match node.tablets {
            Some(tablets) => (show_count(tablets), show_bytes(node.data_bytes), show_count(node.hints)),
            None => (dash(), dash(), dash()),
        };
        let rate = if node.condition == Condition::Absent { dash() } else { format!("{:.0}", node.rate) };
        lines.push(vec![
            span(Style::Node(place), format!("  ■ {:<3}", place + 1)),
            span(Style::Plain, format!("{:<13}", node.address)),
            span(style, format!("{word:<10}")),
            span(Style::Plain, format!("{rate:>10} ")),
            span(if node.failed > 0 { Style::Bad } else { Style::Plain }, format!("{:>8}", show_count(node.failed))),
            span(Style::Plain, format!(" {:>8} {:>10} {:>7}", told.0, told.1, told.2)),
        ]);
    }
    lines
}

/// The slots in their order, each with the number of its owner: two rows if they do not fit one.
fn ring(picture: &Picture, columns: usize) -> Vec<Line> {
    let label = "  ring  ";
    let cells = columns.saturating_sub(label.len()).max(1);
    if picture.ring.is_empty() {
        return vec![vec![span(Style::Faint, format!("{label}–"))]];
    }
    let rows = picture.ring.chunks(cells).take(2).enumerate();
    rows.map(|(number, owners)| {
        let label = if number == 0 { label.to_string() } else { " ".repeat(label.len()) };
        let mut line = vec![span(Style::Faint, label)];
        line.extend(owners.iter().map(|owner| match owner {
            Some(place) => span(Style::Node(*place), (place + 1).to_string()),
            None => span(Style::Faint, "·"),
        }));
        line
    })
    .collect()
}

/// `1.2 ms`.
pub fn show_seconds(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// `1.2/20 ms`: half of them within the first, 99 of a hundred within the second.
fn show_latencies((p50, p99): (f64, f64)) -> String {
    let millis = |seconds: f64| match seconds * 1e3 {
        millis if millis < 9.95 => format!("{millis:.1}"),
        millis => format!("{millis:.0}"),
    };
    format!("{}/{} ms", millis(p50), millis(p99))
}

fn pace(picture: &Picture) -> Vec<Line> {
    let all: f64 = picture.pace.by_node.iter().sum();
    let (writes, sold) = (show_count(picture.acknowledged), show_count(picture.sold));
    let first = vec![
        span(Style::Faint, "  load  "),
        span(Style::Strong, format!("{all:.0} requests/s")),
        span(Style::Plain, format!(": {writes} writes, {sold} conditional acknowledged")),
    ];
    let mut second = vec![span(Style::Faint, "        p50/p99: ")];
    for (kind, latencies) in Kind::EVERY.iter().zip(&picture.pace.latencies) {
        let told = latencies.map_or("–".to_string(), show_latencies);
        second.push(span(Style::Plain, format!("{} {told}  ", kind.name())));
    }
    let verdict = match picture.wrong {
        0 => span(Style::Good, "nothing lost"),
        wrong => span(Style::Bad, format!("{} WRONG", show_count(wrong))),
    };
    let checked = format!("        {} reads checked: ", show_count(picture.checked));
    vec![first, second, vec![span(Style::Plain, checked), verdict]]
}

fn promises(picture: &Picture) -> Line {
    let mut line = vec![span(Style::Faint, "  kept  ")];
    for (name, kept) in &picture.promises {
        let (sign, style) = if *kept { ("✓", Style::Good) } else { ("✗", Style::Bad) };
        line.push(span(style, format!("{sign} {name}  ")));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let node = |last: u8, condition, tablets| NodeRow {
            address: format!("127.0.0.{last}"),
            condition,
            rate: 120.4,
            failed: u64::from(last) - 1,
            tablets,
            data_bytes: 3 << 20,
            hints: 1_234,
        };
        Picture {
            elapsed: Duration::from_secs(83),
            act: 3,
            acts: 7,
            title: "a node is killed".to_string(),
            about: "kill -9 of node 2; the others serve on".to_string(),
            progress: Some(("of the act".to_string(), 0.5)),
            nodes: vec![
                node(1, Condition::Running, Some(128)),
                node(2, Condition::Killed, None),
                node(3, Condition::CutOff, Some(64)),
                node(4, Condition::Absent, None),
            ],
            ring: (0..64).map(|slot| if slot == 63 { None } else { Some(slot % 3) }).collect(),
            pace: Pace {
                by_node: vec![120.4, 0.0, 80.0],
                latencies: [Some((0.0012, 0.02)), Some((0.0005, 2.5)), None],
            },
            checked: 12_345,
            acknowledged: 6_000,
            sold: 7,
            wrong: 0,
            promises: vec![("load".to_string(), true), ("steady".to_string(), false)],
            events: (1..=30).map(|number| format!("event {number}")).collect(),
            console: "http://127.0.0.1:7070".to_string(),
        }
    }

    fn text(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.iter().map(|span| span.text.as_str()).collect()).collect()
    }

    #[test]
    fn it_fits_every_terminal() {
        for columns in [1, 20, 40, 80, 81, 120, 300] {
            for rows in [1, 2, 10, 24, 60] {
                let lines = draw(&picture(), columns, rows);
                assert_eq!(lines.len(), rows, "{columns} × {rows}");
                let widest = lines.iter().map(width).max().unwrap_or(0);
                assert!(widest <= columns.clamp(COLUMNS_MIN, COLUMNS_MAX), "{widest} in {columns} × {rows}");
            }
        }
    }

    #[test]
    fn eighty_by_twenty_four_shows_all_that_matters() {
        let lines = text(&draw(&picture(), 80, 24));
        assert!(
            lines[0].starts_with("holon demo  act 3 of 7: a node is killed") && lines[0].ends_with("1:23"),
            "{lines:#?}"
        );
        assert_eq!(lines[0].chars().count(), 80);
        assert!(lines[2].contains('█') && lines[2].contains(" 50 %  of the act"), "{lines:#?}");
        let row = |number: &str| lines.iter().find(|line| line.starts_with(number)).expect("a row for the node");
        assert!(row("  ■ 1").contains("127.0.0.1") && row("  ■ 1").contains("serving"), "{lines:#?}");
        let cells: Vec<&str> = row("  ■ 1").split_whitespace().collect();
        assert_eq!(cells[4..], ["120", "0", "128", "3", "MiB", "1,234"]);
        assert!(row("  ■ 2").contains("killed") && row("  ■ 2").contains('–'));
        assert!(row("  ■ 3").contains("cut off") && row("  ■ 4").contains("to come"));
        let all = lines.join("\n");
        assert!(all.contains(&format!("ring  {}·", "123".repeat(21))), "{all}");
        assert!(
            all.contains("200 requests/s") && all.contains("reads 1.2/20 ms  writes 0.5/2500 ms  conditional –"),
            "{all}"
        );
        assert!(all.contains("nothing lost") && all.contains("✓ load  ✗ steady"), "{all}");
        assert!(lines[22].contains("event 30") && !all.contains("event 1\n"), "{all}");
        assert!(lines[23].starts_with("console http://127.0.0.1:7070"));
    }

    #[test]
    fn a_narrow_ring_takes_two_rows_and_what_is_cut_is_seen() {
        let lines = text(&draw(&picture(), 40, 30));
        let first = lines.iter().position(|line| line.starts_with("  ring  ")).expect("the ring");
        assert_eq!((lines[first].chars().count(), lines[first + 1].trim().chars().count()), (40, 32));
        assert!(lines.iter().any(|line| line.chars().count() == 40 && line.ends_with('…')), "{lines:#?}");
    }

    #[test]
    fn what_went_wrong_cannot_be_overlooked() {
        let mut wrong = picture();
        wrong.wrong = 3;
        let lines = draw(&wrong, 100, 24);
        let bad = lines.iter().flatten().find(|span| span.text == "3 WRONG").expect("said");
        assert_eq!(bad.style, Style::Bad);
    }

    #[test]
    fn bars_are_as_full_as_their_part() {
        let full = |part| bar(part, 10).matches('█').count();
        assert_eq!([0.0, 0.04, 0.5, 0.96, 1.0, 7.0, -1.0].map(full), [0, 0, 5, 10, 10, 10, 0]);
        assert_eq!(bar(0.3, 10).chars().count(), 10);
    }
}
