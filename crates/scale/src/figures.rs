//! Named numbers, as a process hands them to the one that started it: `name value`, a line each.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    pub fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_string(), value);
    }

    /// NaN for what was not measured.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The means of what several trials measured; of each name also the largest, as `name_max`. All names get the prefix.
    pub fn take_means(&mut self, prefix: &str, trials: &[Figures]) {
        let Some(first) = trials.first() else { return };
        for name in first.0.keys() {
            let values = || trials.iter().map(|trial| trial.get(name));
            self.set(&format!("{prefix}{name}"), values().sum::<f64>() / trials.len() as f64);
            self.set(&format!("{prefix}{name}_max"), values().fold(f64::MIN, f64::max));
        }
    }

    pub fn add(&mut self, other: Figures) {
        self.0.extend(other.0);
    }

    pub fn to_lines(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }

    /// What is not `name value` is passed over.
    pub fn from_lines(text: &str) -> Figures {
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_string(), value.parse().ok()?))
        };
        Figures(text.lines().filter_map(pair).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Figures;

    #[test]
    fn figures_survive_their_lines_and_trials_are_averaged() {
        let mut one = Figures::default();
        one.set("a", 0.1);
        let mut two = Figures::default();
        two.set("a", 0.3);
        let mut means = Figures::default();
        means.take_means("p_", &[one, two]);
        assert_eq!((means.get("p_a"), means.get("p_a_max")), (0.2, 0.3));
        assert_eq!(Figures::from_lines(&means.to_lines()), means);
        assert!(means.get("b").is_nan() && !means.has("b"));
    }
}
