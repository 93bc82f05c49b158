//! `holon topic` and `holon group`: clients of Kafka's protocol, of whatever node `--kafka-address` names.
//!
//! They know no node's data and no control socket, so they work from anywhere a client does, and see what it sees.

mod client;
mod consume;
mod group;
mod produce;
mod time;
mod topic;

use crate::cli::print;
use crate::text::columns;
use clap::{Arg, ArgAction, ArgMatches, Command};
use client::Cluster;
use serde_json::Value;
use std::process::ExitCode;

/// What a command is told beside its own arguments.
struct Context {
    cluster: Cluster,
    json: bool,
}

/// The subcommands `topic` and `group`; `settings` are the arguments that say where the node is.
pub fn commands(settings: impl Fn() -> Vec<Arg>) -> [Command; 2] {
    [topic::command(&settings), group::command(&settings)]
}

/// `kind` is `topic` or `group`.
pub fn run(kind: &str, matches: &ArgMatches, address: String) -> Result<ExitCode, String> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(format!("no command; see `holon {kind} --help`"));
    };
    let json = matches.try_get_one::<String>("format").ok().flatten().is_some_and(|format| format == "json");
    let context = Context { cluster: Cluster::connect(address)?, json };
    match kind {
        "topic" => topic::run(context, name, matches),
        _ => group::run(context, name, matches),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn subcommand(name: &'static str, about: &'static str, settings: &impl Fn() -> Vec<Arg>) -> Command {
    let format =
        Arg::new("format").long("format").value_parser(["text", "json"]).default_value("text").help("how to print it");
    Command::new(name).about(about).args(settings()).arg(format)
}

fn named(what: &'static str, help: &'static str) -> Arg {
    Arg::new(what).required(true).value_name("NAME").help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn text_of<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

fn is_set(matches: &ArgMatches, name: &str) -> bool {
    matches.try_get_one::<bool>(name).ok().flatten() == Some(&true)
}

/// Rows under their heads, so many columns to the left; or, if there are none, what that means.
fn print_table(heads: &[&str], rows: Vec<Vec<String>>, left: usize, none: &str) {
    if rows.is_empty() {
        return print(&format!("{none}\n"));
    }
    let mut all = vec![heads.iter().map(|head| head.to_string()).collect()];
    all.extend(rows);
    print(&(columns(&all, left).join("\n") + "\n"));
}

fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}
