//! Where each setting's value comes from: a flag, else a variable, else the configuration file, else the default.

use crate::settings::{self, Machine, SETTINGS, Settings, flag, variable};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag,
    Variable,
    File(String),
    Default,
}

/// The effective configuration.
#[derive(Debug)]
pub struct Config {
    pub settings: Settings,
    /// Key, value as written, source; in the order of [`SETTINGS`].
    pub sources: Vec<(&'static str, String, Source)>,
}

/// What the layers above the default say, by key.
#[derive(Default)]
pub struct Layers {
    pub flags: BTreeMap<String, String>,
    pub variables: BTreeMap<String, String>,
    /// The file's name and its content.
    pub file: Option<(String, String)>,
}

impl Layers {
    /// The flags as given, the variables of this process, and the file at `path`.
    pub fn gather(flags: BTreeMap<String, String>, path: Option<&Path>) -> Result<Layers, String> {
        let given = |key: &'static str| std::env::var(variable(key)).ok().map(|value| (key.to_string(), value));
        let variables = SETTINGS.iter().filter_map(|setting| given(setting.key)).collect();
        let mut names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.try_for_each(|name| check_variable(&name))?;
        let file = match path {
            None => None,
            Some(path) => {
                let shown = path.display().to_string();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("configuration file {shown} cannot be read: {error}; see --config"))?;
                Some((shown, text))
            }
        };
        Ok(Layers { flags, variables, file })
    }

    pub fn resolve(self, machine: Machine) -> Result<Config, String> {
        let (name, values) = match &self.file {
            None => (String::new(), BTreeMap::new()),
            Some((name, text)) => (name.clone(), read_file(name, text)?),
        };
        let sources: Vec<(&'static str, String, Source)> = SETTINGS
            .iter()
            .map(|setting| {
                let (value, source) = if let Some(value) = self.flags.get(setting.key) {
                    (value.clone(), Source::Flag)
                } else if let Some(value) = self.variables.get(setting.key) {
                    (value.clone(), Source::Variable)
                } else if let Some(value) = values.get(setting.key) {
                    (value.clone(), Source::File(name.clone()))
                } else {
                    (setting.default.to_string(), Source::Default)
                };
                (setting.key, value, source)
            })
            .collect();
        let found = |key: &str| sources.iter().find(|(known, _, _)| *known == key);
        let value = |key: &'static str| found(key).map_or("", |(_, value, _)| value.as_str());
        let settings = settings::read(value, machine).map_err(|(key, wrong)| {
            let place = match found(key).map(|(_, _, source)| source) {
                Some(Source::Variable) => variable(key),
                Some(Source::File(name)) => format!("{key} in {name}"),
                _ => flag(key),
            };
            format!("{place}: {wrong}")
        })?;
        Ok(Config { settings, sources })
    }
}

fn read_file(name: &str, text: &str) -> Result<BTreeMap<String, String>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        format!("{name} line {line}: {}", error.message().lines().next().unwrap_or("not TOML"))
    })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if !SETTINGS.iter().any(|setting| setting.key == key) {
            return Err(format!("{name}: unknown key {key:?}{}", suggestion(&key)));
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => return Err(format!("{name}: {key} is {}, not a text, a number or a boolean", article(&other))),
        };
        values.insert(key, text);
    }
    Ok(values)
}

fn article(value: &toml::Value) -> String {
    let name = value.type_str();
    if name.starts_with(['a', 'i']) { format!("an {name}") } else { format!("a {name}") }
}

fn suggestion(key: &str) -> String {
    let wanted = key.replace('-', "_").to_ascii_lowercase();
    let nearest = SETTINGS.iter().map(|setting| (distance(&wanted, setting.key), setting.key)).min();
    match nearest {
        Some((edits, known)) if edits <= wanted.len().max(4) / 2 => format!("; did you mean {known:?}?"),
        _ => {
            let keys: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
            format!("; the keys are {}", keys.join(", "))
        }
    }
}

/// A variable that is nearly one of ours was meant to be it. Others that begin like ours may be anybody's.
fn check_variable(name: &str) -> Result<(), String> {
    let Some(key) = name.strip_prefix("HOLON_").map(str::to_ascii_lowercase) else { return Ok(()) };
    let known = SETTINGS.iter().map(|setting| setting.key).chain(["config"]);
    let nearest = known.map(|known| (distance(&key, known), known)).min();
    match nearest {
        Some((1..=VARIABLE_EDITS_MAX, known)) if key.len() > 2 * VARIABLE_EDITS_MAX => {
            Err(format!("{name} is not a setting; did you mean {}?", variable(known)))
        }
        _ => Ok(()),
    }
}

/// Slips of the finger; more is another word.
const VARIABLE_EDITS_MAX: usize = 2;

/// Edits from one word to another (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

/// For `holon config`: TOML that may be used as a configuration file, each value with its source.
pub fn show(config: &Config) -> String {
    let effective = &config.settings;
    let rows: Vec<(String, String)> = config
        .sources
        .iter()
        .map(|(key, value, source)| {
            let source = match source {
                Source::Flag => format!("flag {}", flag(key)),
                Source::Variable => format!("variable {}", variable(key)),
                Source::File(name) => format!("file {name}"),
                Source::Default => "default".to_string(),
            };
            let meaning = match *key {
                "cql_address" => Some(effective.cql_address.to_string()),
                "kafka_address" => Some(effective.kafka_address.to_string()),
                "console_address" => Some(effective.console_address.to_string()),
                "peer_address" => Some(effective.peer_address.to_string()),
                "memory" => Some(crate::size::show_bytes(effective.memory_bytes)),
                "shards" => Some(effective.shards.to_string()),
                "disk_threads" => Some(effective.disk_threads.to_string()),
                _ => None,
            };
            let meaning = meaning.filter(|meaning| meaning != value).map(|meaning| format!("{meaning}; "));
            // Secrets are not shown; a commented line is no setting.
            let secret = *key == "token" && !value.is_empty();
            let shown = if secret { "" } else { value.as_str() };
            (
                format!("{key} = {}", toml::Value::String(shown.to_string())),
                format!("{}{source}", meaning.unwrap_or_default()),
            )
        })
        .collect();
    let width = rows.iter().map(|(row, _)| row.chars().count()).max().unwrap_or(0);
    rows.into_iter().map(|(row, source)| format!("{row:width$}  # {source}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { cores: 6, memory_bytes: 16 << 30 };

    fn layers(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> Layers {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Layers { flags: map(flags), variables: map(variables), file: Some(("holon.toml".into(), file.into())) }
    }

    fn refused(flags: &[(&str, &str)], variables: &[(&str, &str)], file: &str) -> String {
        let message = layers(flags, variables, file).resolve(MACHINE).expect_err("refused");
        assert!(!message.contains('\n'), "more than a line: {message}");
        message
    }

    #[test]
    fn flags_win_over_variables_over_the_file_over_defaults() {
        let file = "bind = \"127.0.0.4\"\nshards = 3\nlog = \"warn\"\n";
        let config = layers(&[("bind", "127.0.0.2")], &[("bind", "127.0.0.3"), ("shards", "2")], file);
        let config = config.resolve(MACHINE).expect("fine");
        assert_eq!(config.settings.cql_address, "127.0.0.2:9042".parse().expect("address"));
        assert_eq!(config.settings.console_address, "127.0.0.2:7070".parse().expect("address"));
        assert_eq!((config.settings.shards, config.settings.log.as_str()), (2, "warn"));
        assert_eq!(config.settings.memory_bytes, (16u64 << 30) / 100 * 25);
        let shown = show(&config);
        for row in [
            "bind = \"127.0.0.2\"",
            "# flag --bind",
            "# variable HOLON_SHARDS",
            "# file holon.toml",
            "127.0.0.2:9042; default",
        ] {
            assert!(shown.contains(row), "{row} in {shown}");
        }
    }

    #[test]
    fn what_is_copied_a_second_is_of_the_node_or_left_to_its_shards() {
        let of =
            |flags: &[(&str, &str)]| layers(flags, &[], "").resolve(MACHINE).expect("fine").settings.stream_throughput;
        let throughput = |text| of(&[("stream_throughput", text)]);
        assert_eq!(
            (of(&[]), throughput("auto"), throughput("off"), throughput("3MiB")),
            (None, None, Some(0), Some(3 << 20))
        );
        let wrong = refused(&[("stream_throughput", "fast")], &[], "");
        assert!(wrong.contains("\"fast\" is not a size such as 64MiB, and not auto or off"), "{wrong}");
    }

    #[test]
    fn what_config_shows_is_a_configuration_file() {
        let first = layers(&[("memory", "1GiB"), ("insecure", "true")], &[], "").resolve(MACHINE).expect("fine");
        let again = layers(&[], &[], &show(&first)).resolve(MACHINE).expect("its own output");
        assert_eq!(first.settings, again.settings);
    }

    #[test]
    fn variables_that_are_nearly_ours_are_named() {
        let wrong = check_variable("HOLON_MEMORI");
        assert_eq!(wrong, Err("HOLON_MEMORI is not a setting; did you mean HOLON_MEMORY?".to_string()));
        assert!(check_variable("HOLON_CQL_ADRESS").is_err_and(|error| error.contains("HOLON_CQL_ADDRESS")));
        for fine in ["HOLON_MEMORY", "HOLON_CONFIG", "HOLON_BINARY", "HOLON_SEED", "HOLON_TEST_PLANT", "HOLON_", "PATH"]
        {
            assert_eq!(check_variable(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn wrong_keys_and_values_are_one_line_with_the_way_out() {
        assert_eq!(
            refused(&[], &[], "cql_adress = \":1\""),
            "holon.toml: unknown key \"cql_adress\"; did you mean \"cql_address\"?"
        );
        assert!(refused(&[], &[], "xyzzyplugh = 1").contains("the keys are data_dir"));
        assert!(refused(&[], &[], "shards = [1]").contains("shards is an array"));
        assert!(refused(&[], &[], "a = 1\nb = \n").starts_with("holon.toml line 2"));
        assert!(refused(&[("memory", "lots")], &[], "").starts_with("--memory: \"lots\" is not a size"));
        assert!(refused(&[("memory", "1MiB")], &[], "").contains("at least 64 MiB"));
        assert!(refused(&[], &[("shards", "0")], "").starts_with("HOLON_SHARDS: \"0\" is not a number from 1"));
        assert!(refused(&[], &[], "auth = \"magic\"").starts_with("auth in holon.toml: \"magic\" is neither"));
        assert!(refused(&[("cql_address", "127.0.0.1")], &[], "").contains("has no port"));
        assert!(refused(&[("log", "holon=loud")], &[], "").starts_with("--log: "));
    }
}
