//! Log-log charts as SVG: lines with a mark at each size, a name at each line's end, decades as the grid.

use std::fmt::Write;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 128.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Told apart by those who see few colours as well, and by their names.
const COLORS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#7f4fa0"];
/// Names at the ends of lines keep this distance.
const NAME_DISTANCE: f64 = 14.0;

/// A line that ends so far from the right edge ends early.
const EARLY: f64 = 60.0;

pub struct Line {
    pub name: String,
    /// (nodes, value); what is not finite or not positive is left out.
    pub points: Vec<(f64, f64)>,
}

pub struct Chart {
    pub title: String,
    pub lines: Vec<Line>,
}

/// The charts, two in a row.
pub fn svg(charts: &[Chart]) -> String {
    let rows = charts.len().div_ceil(2) as f64;
    let (width, height) = (2.0 * WIDTH, rows * HEIGHT);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (place, chart) in charts.iter().enumerate() {
        let (x, y) = ((place % 2) as f64 * WIDTH, (place / 2) as f64 * HEIGHT);
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        chart.draw(&mut text);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

/// An axis over whole decades.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for value in values {
            (low, high) = (low.min(value.log10()), high.max(value.log10()));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let low = low.floor();
        Axis { low, high: high.ceil().max(low + 1.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.low as i32..=self.high as i32).map(|exponent| 10f64.powi(exponent))
    }
}

/// 0.01, 1, 1,000, 10 M.
fn tick(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{},000", (value / 1e3).round()),
        value => format!("{value}"),
    }
}

impl Chart {
    fn draw(&self, text: &mut String) {
        let points = || self.lines.iter().flat_map(Line::drawn);
        let across = Axis::new(points().map(|(nodes, _)| nodes), LEFT, WIDTH - RIGHT);
        let up = Axis::new(points().map(|(_, value)| value), HEIGHT - BOTTOM, TOP);
        let _ =
            writeln!(text, "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\" fill=\"#222222\">{}</text>", self.title);
        for value in across.decades() {
            let x = across.at(value);
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444444\">{}</text>",
                TOP,
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                tick(value)
            );
        }
        for value in up.decades() {
            let y = up.at(value);
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#444444\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                tick(value)
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let y = HEIGHT - 10.0;
        let _ = writeln!(text, "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\" fill=\"#444444\">nodes</text>");
        let mut names = Vec::new();
        for (line, color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let places: Vec<(f64, f64)> = line.drawn().map(|(x, y)| (across.at(x), up.at(y))).collect();
            let Some((x, y)) = places.last().copied() else { continue };
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            let _ =
                writeln!(text, "<path d=\"M{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>", path.join("L"));
            for (x, y) in &places {
                let _ = writeln!(text, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{color}\"/>");
            }
            names.push((y, x, &line.name, *color));
        }
        write_names(text, names);
    }
}

impl Line {
    fn drawn(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| *x > 0.0 && *y > 0.0 && y.is_finite())
    }
}

/// Each beside its line's end, moved down where it would lie on another.
fn write_names(text: &mut String, mut names: Vec<(f64, f64, &String, &str)>) {
    names.sort_by(|one, two| one.0.total_cmp(&two.0));
    let mut free = 0.0;
    for (y, x, name, color) in names {
        // A line that ends early has others beside its end, and room above it.
        let (x, y, anchor) = if x < WIDTH - RIGHT - EARLY {
            (x, y - 8.0, "end")
        } else {
            let y = (y + 4.0).max(free);
            free = y + NAME_DISTANCE;
            (x + 8.0, y, "start")
        };
        let _ =
            writeln!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{name}</text>");
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, Chart, Line, svg, tick};

    #[test]
    fn axes_cover_whole_decades_and_values_lie_between() {
        let axis = Axis::new([30.0, 2_000.0].into_iter(), 0.0, 300.0);
        assert_eq!(axis.decades().map(tick).collect::<Vec<_>>(), ["10", "100", "1,000", "10,000"]);
        assert!((axis.at(100.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out_and_names_do_not_overlap() {
        let line = |name: &str, last: f64| Line { name: name.to_string(), points: vec![(10.0, 1.0), (100.0, last)] };
        let lines = vec![line("one", 5.0), line("two", 5.1), line("three", f64::NAN)];
        let text = svg(&[Chart { title: "t".to_string(), lines }]);
        assert_eq!(text.matches("<circle").count(), 5);
        assert!(!text.contains("NaN"));
        let heights: Vec<f64> = ["one", "two"]
            .iter()
            .map(|name| {
                let line = text.lines().find(|line| line.contains(&format!(">{name}<"))).expect("the name");
                line.split("y=\"").nth(1).and_then(|rest| rest.split('"').next()?.parse().ok()).expect("its height")
            })
            .collect();
        assert!((heights[0] - heights[1]).abs() >= super::NAME_DISTANCE - 0.2, "{heights:?}");
    }
}
