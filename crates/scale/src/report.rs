//! The figures as Markdown tables and as a plot; the part of `docs/SCALE.md` between its marks, and `docs/scale.svg`.

use crate::figures::Figures;
use crate::plot::{Chart, Line, svg};
use std::path::Path;

const BEGIN: &str = "<!-- figures: begin (written by `cargo xtask scale`) -->";
const END: &str = "<!-- figures: end -->";

type Row = (usize, Figures);

/// A column: its heading, the figure, what it is divided by, and the digits shown.
struct Column(&'static str, &'static str, f64, usize);

const TIMES: &[Column] = &[
    Column("crash: first suspicion, s", "crash_suspected", 1.0, 1),
    Column("seen dead by half, s", "crash_half", 1.0, 1),
    Column("by 99 %", "crash_most", 1.0, 1),
    Column("by all", "crash_all", 1.0, 1),
    Column("by all, slowest trial", "crash_all_max", 1.0, 1),
    Column("crashes", "crash_trials", 1.0, 0),
    Column("join: known to half, s", "join_half", 1.0, 2),
    Column("to 99 %", "join_most", 1.0, 2),
    Column("to all", "join_all", 1.0, 2),
    Column("to all, lossy", "lossy_join_all", 1.0, 2),
    Column("joins, lossy joins", "join_trials", 1.0, 0),
];

const LOADS: &[Column] = &[
    Column("idle: messages", "idle_messages", 1.0, 2),
    Column("bytes", "idle_bytes", 1.0, 1),
    Column("of these sync", "idle_sync_bytes", 1.0, 1),
    Column("idle, lossy: messages", "lossy_idle_messages", 1.0, 2),
    Column("bytes", "lossy_idle_bytes", 1.0, 1),
    Column("false suspicions an hour, whole cluster, lossy", "false_suspicions_per_hour", 1.0, 0),
    Column("crash, whole event: messages", "crash_messages", 1.0, 1),
    Column("bytes", "crash_bytes", 1.0, 0),
    Column("its busiest second: messages", "crash_peak_messages", 1.0, 1),
    Column("bytes", "crash_peak_bytes", 1.0, 0),
    Column("busiest node, bytes", "crash_busiest_bytes", 1.0, 0),
    Column("join, busiest second: messages", "join_peak_messages", 1.0, 1),
    Column("bytes", "join_peak_bytes", 1.0, 0),
];

const NODES: &[Column] = &[
    Column("newcomer knows all after, s", "pull_seconds", 1.0, 2),
    Column("the same, lossy", "lossy_pull_seconds", 1.0, 1),
    Column("sent by the busiest node for it, kB", "pull_busiest_bytes", 1e3, 1),
    Column("sent by the newcomer, kB", "pull_asked_bytes", 1e3, 1),
    Column("all start at once: all know all after, s", "cold_seconds", 1.0, 1),
    Column("sent a node for that, kB", "cold_bytes", 1e3, 0),
    Column("memory of gossip a node, kB", "memory_bytes", 1e3, 1),
    Column("of that the list, counted, kB", "list_bytes", 1e3, 1),
    Column("the rest, counted while busy, kB", "own_state_bytes", 1e3, 1),
    Column("a change of members, CPU ms", "set_members_seconds", 1e-3, 2),
];

const PLACEMENT: &[Column] = &[
    Column("slots", "slots", 1.0, 0),
    Column("tablets of a table", "tablets", 1.0, 0),
    Column("replicas a node", "tablets_per_node", 1.0, 1),
    Column("most / average", "tablets_max_over_average", 1.0, 2),
    Column("grown node by node", "grown_max_over_average", 1.0, 2),
    Column("nodes with none, %", "nodes_without_tablets", 1e-2, 1),
    Column("by slots: most / average", "slots_max_over_average", 1.0, 3),
    Column("a join moves, × nodes", "join_moves_times_nodes", 1.0, 2),
    Column("tablets that move", "join_moves_tablets", 1.0, 0),
    Column("ring encoded, kB", "ring_bytes", 1e3, 1),
    Column("in memory, kB", "ring_resident_bytes", 1e3, 0),
    Column("ring after a join, CPU ms", "ring_join_seconds", 1e-3, 1),
    Column("plan of a join, one table, CPU ms", "plan_join_seconds", 1e-3, 1),
];

const RUNS: &[Column] = &[
    Column("simulated, s", "simulated_seconds", 1.0, 0),
    Column("messages, millions", "messages_simulated", 1e6, 1),
    Column("CPU, s", "cpu_seconds", 1.0, 0),
    Column("memory, MB", "resident_max", 1e6, 0),
];

/// 1234567.8 with one digit is 1,234,567.8; a dash for what was not measured.
fn shown(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_string();
    }
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if (whole.len() - place) % 3 == 0 && grouped.ends_with(|before: char| before.is_ascii_digit()) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

fn table(rows: &[Row], columns: &[Column]) -> String {
    let headings: Vec<&str> = columns.iter().map(|column| column.0).collect();
    let mut text = format!("| nodes | {} |\n|{}\n", headings.join(" | "), " ---: |".repeat(columns.len() + 1));
    for (nodes, figures) in rows {
        let cell = |Column(_, name, unit, digits): &Column| match *name {
            "join_trials" => {
                let trials = ["join_trials", "lossy_join_trials"].map(|name| shown(figures.get(name), 0));
                trials.join(", ")
            }
            _ => shown(figures.get(name) / unit, *digits),
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        text.push_str(&format!("| {} | {} |\n", shown(*nodes as f64, 0), cells.join(" | ")));
    }
    text
}

/// All tables, with their titles.
pub fn tables(rows: &[Row]) -> String {
    let parts = [
        ("Until a crash is seen, until a join is known (means over the trials)", TIMES),
        ("Load: messages and bytes a node a second", LOADS),
        ("What grows with the list: a newcomer, a cold start, memory", NODES),
        ("Placement: three racks, three replicas", PLACEMENT),
        ("The runs", RUNS),
    ];
    parts.iter().map(|(title, columns)| format!("### {title}\n\n{}\n", table(rows, columns))).collect()
}

fn charts(rows: &[Row]) -> Vec<Chart> {
    let line = |name: &str, figure: &str, unit: f64| Line {
        name: name.to_string(),
        points: rows.iter().map(|(nodes, figures)| (*nodes as f64, figures.get(figure) / unit)).collect(),
    };
    let chart = |title: &str, lines: Vec<Line>| Chart { title: title.to_string(), lines };
    vec![
        chart(
            "Until it is known, seconds",
            vec![
                line("crash, all", "crash_all", 1.0),
                line("crash, suspected", "crash_suspected", 1.0),
                line("join, all", "join_all", 1.0),
                line("join, half", "join_half", 1.0),
            ],
        ),
        chart(
            "Load of a node, bytes a second",
            vec![
                line("idle, no loss", "idle_bytes", 1.0),
                line("idle, 1 % loss", "lossy_idle_bytes", 1.0),
                line("crash, busiest s", "crash_peak_bytes", 1.0),
                line("join, busiest s", "join_peak_bytes", 1.0),
            ],
        ),
        chart(
            "Load of a node, messages a second",
            vec![
                line("idle, no loss", "idle_messages", 1.0),
                line("idle, 1 % loss", "lossy_idle_messages", 1.0),
                line("crash, busiest s", "crash_peak_messages", 1.0),
                line("join, busiest s", "join_peak_messages", 1.0),
            ],
        ),
        chart(
            "What a node holds and is sent, kB",
            vec![
                line("gossip, memory", "memory_bytes", 1e3),
                line("ring, encoded", "ring_bytes", 1e3),
                line("for a newcomer", "pull_busiest_bytes", 1e3),
                line("cold start", "cold_bytes", 1e3),
            ],
        ),
    ]
}

/// What stands between the marks of `document` is replaced.
fn replaced(document: &str, figures: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", figures.trim()))
}

/// Rewrites the document and the plot in the work tree this was built from.
pub fn write(rows: &[Row]) -> Result<(), String> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let (document, plot) = (docs.join("SCALE.md"), docs.join("scale.svg"));
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&document).map_err(|error| failed(&document, error))?;
    let text = replaced(&text, &tables(rows)).ok_or(format!("{}: no marks", document.display()))?;
    std::fs::write(&document, text).map_err(|error| failed(&document, error))?;
    std::fs::write(&plot, svg(&charts(rows))).map_err(|error| failed(&plot, error))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, TIMES, replaced, shown, table};
    use crate::figures::Figures;

    #[test]
    fn numbers_are_grouped_and_gaps_are_dashes() {
        assert_eq!(shown(1_234_567.84, 1), "1,234,567.8");
        assert_eq!(shown(-123.4, 0), "-123");
        assert_eq!(shown(999.6, 0), "1,000");
        assert_eq!(shown(f64::NAN, 2), "–");
        let mut figures = Figures::default();
        figures.set("crash_half", 7.25);
        let text = table(&[(1_000, figures)], TIMES);
        assert!(text.ends_with("| 1,000 | – | 7.2 | – | – | – | – | – | – | – | – | –, – |\n"), "{text}");
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(replaced(&document, "new\n"), Some(format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n")));
        assert_eq!(replaced("no marks", "new"), None);
    }
}
