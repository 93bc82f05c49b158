//! What the stages found, and the closing block that says so.
//!
//! Counts are read from the closing lines of the runners (cargo test, pytest, and the plain `N passed, N failed` that
//! our own programs print), so a run that executed no test cannot pass for one that did.

use std::time::Duration;

/// Tests counted from one runner.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// One runner's result, as shown in the closing block.
pub struct Runner {
    pub name: String,
    pub counts: Counts,
    /// The runner's own last word, or what went wrong.
    pub closing_line: String,
}

/// One stage's result.
pub struct StageResult {
    pub name: &'static str,
    pub runners: Vec<Runner>,
    /// Each line is a failure; none means that the stage passed.
    pub failures: Vec<String>,
    pub wall: Duration,
    pub cpu_seconds: f64,
    pub budget_cpu_minutes: u32,
}

/// Reads a runner's closing line: cargo test's `test result:`, pytest's `== 3 passed, 1 failed in 2s ==`, or the plain
/// `N passed, N failed[, N skipped]`, with at most one word and a colon before it.
pub fn counts_of_line(line: &str) -> Option<Counts> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("test result:") {
        return numbers(rest, &[';', '.']);
    }
    let bare = line.trim_matches('=').trim();
    let is_pytest = line.starts_with("==") || bare.contains(" in ");
    let bare = bare.split(" in ").next().unwrap_or(bare);
    let bare = match bare.split_once(':') {
        Some((word, rest)) if !word.contains(' ') => rest.trim(),
        _ => bare,
    };
    if !bare.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let counts = numbers(bare, &[','])?;
    (is_pytest || bare.contains("passed")).then_some(counts)
}

fn numbers(text: &str, separators: &[char]) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut any = false;
    for part in text.split(separators) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word {
            "passed" => counts.passed += number,
            "failed" | "error" | "errors" | "xpassed" => counts.failed += number,
            "skipped" | "ignored" | "xfailed" => counts.skipped += number,
            "deselected" | "warning" | "warnings" | "measured" | "filtered" => {}
            _ => return None,
        }
        any |= matches!(word, "passed" | "failed" | "error" | "errors" | "skipped" | "xfailed" | "xpassed");
    }
    any.then_some(counts)
}

/// Prints the closing block; `Err` when anything failed or nothing ran.
pub fn close(results: &[StageResult], not_run: &[String], wall: Duration) -> Result<(), String> {
    println!("\n──── stages ────");
    let mut cpu_minutes_all = 0.0;
    for result in results {
        let cpu_minutes = result.cpu_seconds / 60.0;
        cpu_minutes_all += cpu_minutes;
        let verdict = if result.failures.is_empty() { "ok    " } else { "FAILED" };
        let budget = result.budget_cpu_minutes;
        let over = if cpu_minutes > f64::from(budget) { "  OVER ITS BUDGET" } else { "" };
        let minutes = result.wall.as_secs_f64() / 60.0;
        println!(
            "{verdict} {:<11} {cpu_minutes:>5.1} of {budget} CPU-minutes, {minutes:>5.1} minutes{over}",
            result.name
        );
        for failure in &result.failures {
            println!("         {failure}");
        }
    }
    println!("all of it: {cpu_minutes_all:.1} CPU-minutes, {:.1} minutes", wall.as_secs_f64() / 60.0);
    println!("\n──── runners ────");
    let mut counts = Counts::default();
    for runner in results.iter().flat_map(|result| &result.runners) {
        println!("{:<16} {}", runner.name, runner.closing_line);
        counts.add(runner.counts);
    }
    println!("\n──── not run ────");
    if not_run.is_empty() {
        println!("nothing was left out");
    }
    for line in not_run {
        println!("{line}");
    }
    // A stage may fail without a test of its own failing (it did not build, say): that is a failure too.
    let silent = results
        .iter()
        .filter(|result| !result.failures.is_empty() && result.runners.iter().all(|runner| runner.counts.failed == 0));
    counts.failed += silent.count() as u64;
    let skipped = if counts.skipped > 0 { format!(", {} skipped", counts.skipped) } else { String::new() };
    println!("\n{} passed, {} failed{skipped}", counts.passed, counts.failed);
    if counts.failed > 0 || results.iter().any(|result| !result.failures.is_empty()) {
        return Err("some stages failed; their output is above".to_string());
    }
    if counts.passed == 0 {
        return Err("no test was executed".to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Option<Counts> {
        Some(Counts { passed, failed, skipped })
    }

    #[test]
    fn closing_lines_are_read() {
        let cargo =
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(counts_of_line(cargo), counts(12, 1, 2));
        assert_eq!(counts_of_line("===== 2 failed, 5 passed, 1 skipped in 3.21s ====="), counts(5, 2, 1));
        assert_eq!(counts_of_line("5 passed in 0.5s"), counts(5, 0, 0));
        assert_eq!(
            counts_of_line("== 1 failed, 2 passed, 1 warning, 3 errors in 60.00s (0:01:00) =="),
            counts(2, 4, 0)
        );
        assert_eq!(counts_of_line("7 passed, 0 failed"), counts(7, 0, 0));
        assert_eq!(counts_of_line("seeds: 7 passed, 2 failed, 1 skipped"), counts(7, 2, 1));
    }

    #[test]
    fn other_lines_are_not() {
        for line in
            ["", "passed", "12 seeds in 3 s", "a test of mine: 3 passed", "ready in 12 ms", "==== FAILURES ===="]
        {
            assert_eq!(counts_of_line(line), None, "{line}");
        }
    }
}
