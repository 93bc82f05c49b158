//! The terminal: draws lines over those before, on its alternate screen, and gives the terminal back as it was, also when the program
//! panics.

use super::panel::{Line, Style};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// To the alternate screen, and the cursor hidden; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[0m\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// Of a terminal that does not say.
const SIZE_DEFAULT: (u16, u16) = (80, 24);

/// Colours of the 256 that light and dark terminals both show well, one a node.
const NODE_COLOURS: [u8; 6] = [39, 208, 77, 170, 220, 203];

/// Whether the terminal is ours: the panic hook gives it back then.
static TAKEN: AtomicBool = AtomicBool::new(false);

pub struct Screen {
    colours: bool,
}

impl Screen {
    pub fn open() -> Screen {
        TAKEN.store(true, Ordering::SeqCst);
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |information| {
            give_back(); // or its message would vanish with the alternate screen
            report(information);
        }));
        write(ENTER);
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { colours: !plain }
    }

    /// Columns and lines, as they are now.
    pub fn size() -> (usize, usize) {
        let (columns, lines) = holon_edge::terminal_size().unwrap_or(SIZE_DEFAULT);
        (usize::from(columns), usize::from(lines))
    }

    /// From another thread: a terminal that takes nothing (Ctrl-S) must not hold up the lines between the nodes.
    pub async fn draw(&self, lines: &[Line]) {
        let text = frame(lines, self.colours);
        drop(tokio::task::spawn_blocking(move || write(&text)).await);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        write(LEAVE);
    }
}

/// A terminal that has gone is none of our business: its hang-up ends the demo.
fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

fn frame(lines: &[Line], colours: bool) -> String {
    let mut text = HOME.to_string();
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            text.push_str("\r\n"); // none after the last: the screen would scroll
        }
        for span in line {
            // Whatever a node said must not steer the terminal.
            let shown: String = span.text.chars().map(|shown| if shown.is_control() { '?' } else { shown }).collect();
            match code(span.style).filter(|_| colours) {
                Some(code) => text.push_str(&format!("\x1b[{code}m{shown}\x1b[0m")),
                None => text.push_str(&shown),
            }
        }
        text.push_str(CLEAR_LINE);
    }
    text.push_str(CLEAR_REST);
    text
}

fn code(style: Style) -> Option<String> {
    match style {
        Style::Plain => None,
        Style::Strong => Some("1".to_string()),
        Style::Faint => Some("2".to_string()),
        Style::Good => Some("32".to_string()),
        Style::Bad => Some("1;31".to_string()),
        Style::Notice => Some("1;33".to_string()),
        Style::Node(place) => Some(format!("38;5;{}", NODE_COLOURS[place % NODE_COLOURS.len()])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::panel::Span;

    #[test]
    fn a_frame_is_drawn_over_the_one_before_and_does_not_scroll() {
        let span = |style, text: &str| Span { text: text.to_string(), style };
        let lines = vec![vec![span(Style::Plain, "a"), span(Style::Good, "b")], vec![span(Style::Bad, "c\x1b[2Jd")]];
        assert_eq!(frame(&lines, false), "\x1b[Hab\x1b[0m\x1b[K\r\nc?[2Jd\x1b[0m\x1b[K\x1b[J");
        assert_eq!(frame(&lines[..1], true), "\x1b[Ha\x1b[32mb\x1b[0m\x1b[0m\x1b[K\x1b[J");
    }
}
