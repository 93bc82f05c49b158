//! What is told: lines with the time since the start. In a plain log they are printed at once; beside the live picture the last ones
//! are kept for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// More lines than any terminal shows.
const LINES_KEPT: usize = 100;

pub struct Said {
    began: Instant,
    plain: bool,
    lines: RefCell<VecDeque<String>>,
}

impl Said {
    /// `plain`: lines are printed.
    pub fn new(plain: bool) -> Said {
        Said { began: Instant::now(), plain, lines: RefCell::default() }
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tells something that happened.
    pub fn say(&self, text: impl AsRef<str>) {
        let at = self.elapsed();
        for line in text.as_ref().lines() {
            let line = stamped(at, line);
            if self.plain {
                crate::cli::print(&format!("{line}\n"));
            }
            let mut lines = self.lines.borrow_mut();
            lines.push_back(line);
            if lines.len() > LINES_KEPT {
                lines.pop_front();
            }
        }
    }

    /// Tells how it goes, where there is no picture that shows it.
    pub fn mention(&self, text: impl AsRef<str>) {
        if self.plain {
            crate::cli::print(&format!("{}\n", stamped(self.elapsed(), text.as_ref())));
        }
    }

    /// The last lines, the oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let lines = self.lines.borrow();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}

fn stamped(at: Duration, line: &str) -> String {
    format!("[{:7.1} s] {line}", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_time_and_old_ones_are_let_go() {
        assert_eq!(stamped(Duration::from_millis(12_340), "a node is killed"), "[   12.3 s] a node is killed");
        let said = Said::new(false);
        said.say("first\nsecond");
        said.mention("only in a plain log");
        assert!(said.last(5).iter().map(|line| &line[12..]).eq(["first", "second"]), "{:?}", said.last(5));
        (0..2 * LINES_KEPT).for_each(|number| said.say(number.to_string()));
        let kept = said.last(usize::MAX);
        assert_eq!(kept.len(), LINES_KEPT);
        assert!(kept.last().is_some_and(|line| line.ends_with(" 199")), "{kept:?}");
    }
}
