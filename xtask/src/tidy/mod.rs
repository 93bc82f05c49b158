//! Tidy: the rules of the house that a compiler does not know, as a test.
//!
//! Each rule reads the work tree and returns its complaints; none writes. The rules are about structure (who may depend
//! on whom, what the core may not call, how long a file may be), not about behaviour.

mod arrows;
mod bans;
mod documents;
pub mod sizes;
mod source;

/// What the rules found.
pub struct Outcome {
    pub rules: usize,
    /// The rule's name and the complaint.
    pub complaints: Vec<(&'static str, String)>,
}

type Rule = fn() -> Vec<String>;

const RULES: &[(&str, Rule)] = &[
    ("arrows between crates", arrows::between_crates),
    ("wire crates only under front", arrows::wire_only_under_front),
    ("dependencies have reasons", arrows::dependencies_have_reasons),
    ("cargo run finds its binary", arrows::one_default_member),
    ("the core does no IO", bans::core_does_no_io),
    ("modules say what they are", documents::modules_open_with_a_comment),
    ("no dead files", documents::no_dead_files),
    ("named paths exist", documents::named_paths_exist),
    ("no hosts, no machine paths", documents::no_hosts_or_machine_paths),
    ("sizes", sizes::within_the_ratchet),
];

/// Runs every rule.
pub fn run() -> Outcome {
    let mut complaints = Vec::new();
    for (name, rule) in RULES {
        complaints.extend(rule().into_iter().map(|complaint| (*name, complaint)));
    }
    Outcome { rules: RULES.len(), complaints }
}

impl Outcome {
    pub fn rules_broken(&self) -> usize {
        RULES.iter().filter(|(name, _)| self.complaints.iter().any(|(broken, _)| broken == name)).count()
    }

    pub fn print(&self) {
        for (rule, complaint) in &self.complaints {
            println!("  tidy: {rule}: {complaint}");
        }
        println!("  tidy: {} rules, {} broken", self.rules, self.rules_broken());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_work_tree_is_tidy() {
        let outcome = super::run();
        let lines: Vec<String> = outcome.complaints.iter().map(|(rule, line)| format!("{rule}: {line}")).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
