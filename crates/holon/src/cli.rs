//! The command line.

use crate::config::{self, Config, Layers};
use crate::settings::{Machine, SETTINGS, variable};
use crate::{client, node, recover, watch};
use clap::{Arg, ArgAction, ArgMatches, Command};
use holon_edge::Clock;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the command of this process. The error is one line.
pub fn run(clock: Clock) -> Result<ExitCode, String> {
    let matches = command().get_matches();
    let Some((name, matches)) = matches.subcommand() else { return Err("no command; see --help".to_string()) };
    match name {
        "start" => node::start(configuration(matches)?, clock, matches.get_one::<u32>("parent").copied()),
        #[cfg(feature = "tables")]
        "demo" => crate::demo::run(matches),
        "recover" => {
            let settings = configuration(matches)?.settings;
            recover::run(&settings, clock, matches.get_flag("begin-anew"))
        }
        #[cfg(feature = "log")]
        kind @ ("topic" | "group") => {
            let inner = matches.subcommand().map_or(matches, |(_, inner)| inner);
            let address = configuration(inner)?.settings.kafka_address.to_string();
            crate::kafka::run(kind, matches, address)
        }
        "config" => {
            print(&config::show(&configuration(matches)?));
            Ok(ExitCode::SUCCESS)
        }
        name => {
            let data_dir = configuration(matches)?.settings.data_dir;
            let mut words = vec![name.to_string()];
            if let Ok(Some(more)) = matches.try_get_many::<String>("words") {
                words.extend(more.cloned());
            }
            if let Ok(Some(minutes)) = matches.try_get_one::<String>("minutes") {
                words.push(minutes.clone());
            }
            if matches.try_get_one::<bool>("force").ok().flatten() == Some(&true) {
                words.push("--force".to_string());
            }
            let json = matches.try_get_one::<String>("format").ok().flatten().is_some_and(|format| format == "json");
            if name == "user" && words.len() == 3 && ["create", "password"].contains(&words[1].as_str()) {
                client::add_password(&mut words)?;
            }
            if matches.try_get_one::<bool>("watch").ok().flatten() == Some(&true) {
                return watch::run(&data_dir, json);
            }
            client::run(&data_dir, words, json)
        }
    }
}

/// Writes to stdout; a reader that has gone is none of our business.
pub fn print(text: &str) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

fn configuration(matches: &ArgMatches) -> Result<Config, String> {
    let mut flags = BTreeMap::new();
    for setting in SETTINGS {
        if let Ok(Some(value)) = matches.try_get_one::<String>(setting.key) {
            flags.insert(setting.key.to_string(), value.clone());
        }
    }
    let named = matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
    let path = named.or_else(|| std::env::var_os("HOLON_CONFIG").map(PathBuf::from));
    Layers::gather(flags, path.as_deref())?.resolve(Machine::this())
}

fn setting_args() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(|setting| {
        let help = format!("{} [default: {}] [{}]", setting.help, setting.default, variable(setting.key));
        let arg = Arg::new(setting.key).long(setting.key.replace('_', "-")).value_name(setting.value_name).help(help);
        match setting.key {
            // `--insecure` alone says yes.
            "insecure" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg.action(ArgAction::Set),
        }
    })
}

fn config_arg() -> Arg {
    let help = "a TOML file with these settings, keys as in `holon config` [HOLON_CONFIG]";
    Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf)).help(help)
}

/// For processes that start nodes and may be killed: not a setting, since it means nothing in a file.
fn parent_arg() -> Arg {
    let help = "stop when this process, which must be the parent, is gone";
    Arg::new("parent").long("parent").value_name("PID").value_parser(clap::value_parser!(u32)).hide(true).help(help)
}

/// Commands that talk to a running node find it by its data directory.
fn to_a_node(name: &'static str, about: &'static str) -> Command {
    let data_dir = setting_args().filter(|arg| arg.get_id() == "data_dir");
    Command::new(name).about(about).arg(config_arg()).args(data_dir)
}

fn words(help: &'static str) -> Arg {
    Arg::new("words").num_args(1..).required(true).value_name("WORD").help(help)
}

pub fn command() -> Command {
    let format =
        Arg::new("format").long("format").value_parser(["text", "json"]).default_value("text").help("how to print it");
    let watch = Arg::new("watch").long("watch").action(ArgAction::SetTrue);
    let watch = watch.help("show it anew each second, with how far a change of the cluster is");
    let command = Command::new("holon")
        .version(env!("CARGO_PKG_VERSION"))
        .about("One binary that is a whole data platform; this version: tables and a log, with the clients you know from Cassandra and Kafka.")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("start")
                .about("Runs a node until it is stopped (SIGTERM, Ctrl-C, `holon stop`; kill -9 loses nothing acknowledged)")
                .arg(config_arg())
                .args(setting_args())
                .arg(parent_arg()),
        )
        .subcommand(
            Command::new("config")
                .about("Prints the effective configuration, with the source of each value")
                .arg(config_arg())
                .args(setting_args()),
        )
        .subcommand(to_a_node("status", "Shows what a running node does").arg(format).arg(watch))
        .subcommand(
            to_a_node("tables", "Works on the data of tables: flush, compact, snapshot, restore, verify and more")
                .arg(words("flush | compact | verify | repair | info | snapshots [KEYSPACE [TABLE]], snapshot | restore | drop-snapshot NAME [KEYSPACE [TABLE]]")),
        )
        .subcommand(
            to_a_node("backup", "Backs up the whole cluster, as it is at one moment, into `backups/NAME` of this node's data directory")
                .arg(words("create NAME [KEYSPACE [TABLE]] | list | show NAME | verify NAME | drop NAME")),
        )
        .subcommand(
            to_a_node("restore", "Brings a backup back that lies in `backups/NAME` of this node's data directory, into this cluster")
                .arg(words("NAME [KEYSPACE [TABLE]]")),
        )
        .subcommand(
            to_a_node("user", "Manages accounts; a password is read from the terminal or a pipe")
                .arg(words("create NAME | password NAME | drop NAME | list")),
        )
        .subcommand(
            to_a_node("cluster", "Changes who belongs to the cluster, while it runs")
                .arg(words(
                "drain NODE | forget NODE | cancel | clock begin-anew; nodes by address, or by the beginning of their id",
            ))
                .arg(Arg::new("force").long("force").action(ArgAction::SetTrue).help(
                    "with drain: also if fewer replicas than asked for are left, or a node that is to take tablets is down",
                )),
        )
        .subcommand(
            to_a_node("token", "Gives a token with which one more node may join this node's cluster")
                .arg(Arg::new("minutes").long("minutes").default_value("60").help("how long it is good for")),
        )
        .subcommand(
            to_a_node("recover", "When most voters of the metadata are lost for good: shows what this stopped node has of it")
                .arg(
                    Arg::new("begin-anew")
                        .long("begin-anew")
                        .action(ArgAction::SetTrue)
                        .help("makes its log the truth, with this node as the only voter"),
                ),
        )
        .subcommand(to_a_node("stop", "Stops a running node cleanly"));
    #[cfg(feature = "tables")]
    let command = command.subcommand(crate::demo::command());
    #[cfg(feature = "log")]
    let command = command.subcommands(crate::kafka::commands(to_the_log));
    command
}

/// Clients of the log find a node by its door.
#[cfg(feature = "log")]
fn to_the_log() -> Vec<Arg> {
    let mut args: Vec<Arg> =
        setting_args().filter(|arg| ["bind", "kafka_address"].contains(&arg.get_id().as_str())).collect();
    args.push(config_arg());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_has_a_flag_for_every_setting() {
        command().debug_assert();
        let matches = |words: &[&str]| command().try_get_matches_from(words);
        for setting in SETTINGS {
            let flag = format!("{}=1", crate::settings::flag(setting.key));
            assert!(matches(&["holon", "start", &flag]).is_ok(), "{flag}");
        }
        let given = matches(&["holon", "start", "--insecure", "--bind", "0.0.0.0"]).expect("fine");
        let given = given.subcommand_matches("start").expect("start");
        assert_eq!(given.get_one::<String>("insecure").map(String::as_str), Some("true"));
        assert!(matches(&["holon", "start", "--cql-adress", ":1"]).is_err());
        assert!(matches(&["holon"]).is_err());
    }
}
