//! The commands of the control socket: a line of JSON each way, see [`Request`] and [`Answer`].

use crate::report::{NodeView, State};
use crate::size::show_bytes;
use crate::text::{list, number, word};
use crate::{cluster, holdings};
use holon_edge::{ControlHandler, ControlReplies, ShardHandle};
use holon_kernel::Class;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::rc::Rc;
use std::time::Duration;

/// What the rates in the text of `holon status` are taken over.
const RATE_SPAN: Duration = Duration::from_millis(500);

/// A token that is good for longer is better asked for again.
const TOKEN_MINUTES_MAX: u64 = 7 * 24 * 60;

#[derive(Debug, Deserialize, Serialize)]
pub struct Request {
    /// The command and its arguments: `["tables", "compact"]`.
    pub words: Vec<String>,
    /// Answer with JSON where there is a choice.
    #[serde(default)]
    pub json: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Progress(String),
    Done(String),
    Failed(String),
}

impl Answer {
    fn line(self) -> String {
        // Strings always have a JSON form.
        serde_json::to_string(&self).unwrap_or_default()
    }
}

/// `stop` asks the node to end.
pub fn handler(node: Rc<NodeView>, stop: Rc<dyn Fn()>) -> ControlHandler {
    Rc::new(move |line, replies| {
        let (node, stop) = (node.clone(), stop.clone());
        Box::pin(async move {
            let answer = match serde_json::from_str::<Request>(&line) {
                Ok(request) => carry_out(&node, &*stop, request, replies).await,
                Err(error) => Err(format!("not a command: {error}")),
            };
            answer.map_or_else(Answer::Failed, Answer::Done).line()
        })
    })
}

async fn carry_out(
    node: &NodeView,
    stop: &dyn Fn(),
    request: Request,
    replies: ControlReplies,
) -> Result<String, String> {
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["status"] => {
            let status = node.status().await;
            if request.json {
                return Ok(format!("{status:#}"));
            }
            tokio::time::sleep(RATE_SPAN).await;
            let later = node.status().await;
            let mut lines = vec![status_text(&later)];
            lines.extend(cluster::text(&later, &status));
            lines.extend(holdings::text(&later, &status, seconds_between(&status, &later)));
            Ok(lines.join("\n"))
        }
        ["stop"] => {
            stop();
            Ok("the node stops".to_string())
        }
        _ if node.state.get() != State::Ready => {
            Err(format!("the node is {}: try again later", node.state.get().name()))
        }
        ["token", minutes] => {
            let minutes = minutes.parse::<u64>().ok().filter(|minutes| (1..=TOKEN_MINUTES_MAX).contains(minutes));
            let minutes = minutes.ok_or(format!("--minutes takes a number from 1 to {TOKEN_MINUTES_MAX}"))?;
            node.membership.token(Duration::from_secs(minutes * 60))
        }
        ["cluster", ..] => run_on_first(node, "metadata", request.words[1..].to_vec(), replies).await,
        ["user" | "backup", ..] => run_on_first(node, "tables", request.words, replies).await,
        // To the tables it is a command about backups; `restore` alone is about snapshots.
        ["restore", rest @ ..] => {
            let words = ["backup", "restore"].iter().chain(rest).map(|word| word.to_string()).collect();
            run_on_first(node, "tables", words, replies).await
        }
        [service, rest @ ..] if !rest.is_empty() => {
            run_everywhere(node, service, request.words[1..].to_vec(), replies).await
        }
        _ => Err(format!("unknown command {:?}; see `holon --help`", request.words.join(" "))),
    }
}

/// Of the time of the node.
pub fn seconds_between(before: &Value, after: &Value) -> f64 {
    let uptime = |status: &Value| status["uptime_seconds"].as_f64().unwrap_or(0.0);
    (uptime(after) - uptime(before)).max(1e-3)
}

async fn run_command(
    handle: &ShardHandle,
    service: &str,
    words: Vec<String>,
    replies: ControlReplies,
    prefix: String,
) -> Result<String, String> {
    let name = service.to_string();
    let ran = handle.run(Class::Background, move |shard| {
        Box::pin(async move {
            let found = shard.services().into_iter().find(|service| service.name() == name);
            let service = found.ok_or_else(|| format!("this node has no service {name:?}"))?;
            let progress =
                Rc::new(move |line: String| replies.progress(Answer::Progress(format!("{prefix}{line}")).line()));
            service.command(words, progress).await
        })
    });
    ran.await.map_err(|gone| gone.to_string())?
}

/// For commands that go through the metadata log and must be given once.
async fn run_on_first(
    node: &NodeView,
    service: &str,
    words: Vec<String>,
    replies: ControlReplies,
) -> Result<String, String> {
    let first = node.shards.first().ok_or("this node has no shards")?;
    run_command(first, service, words, replies, String::new()).await
}

/// On all shards at once. Answers that are equal are shown once.
async fn run_everywhere(
    node: &NodeView,
    service: &str,
    words: Vec<String>,
    replies: ControlReplies,
) -> Result<String, String> {
    let running: Vec<_> = node
        .shards
        .iter()
        .map(|handle| {
            let (handle, service, words, replies) =
                (handle.clone(), service.to_string(), words.clone(), replies.clone());
            let prefix = format!("shard {}: ", handle.id().0);
            tokio::task::spawn_local(async move { run_command(&handle, &service, words, replies, prefix).await })
        })
        .collect();
    drop(replies);
    let mut answers = Vec::new();
    let mut failures = Vec::new();
    for (shard, work) in running.into_iter().enumerate() {
        match work.await {
            Ok(Ok(answer)) => answers.push((shard, answer)),
            Ok(Err(failure)) => failures.push((shard, failure)),
            Err(_) => failures.push((shard, "the command was broken off".to_string())),
        }
    }
    if failures.is_empty() { Ok(together(answers)) } else { Err(together(failures)) }
}

fn together(texts: Vec<(usize, String)>) -> String {
    match texts.split_first() {
        Some(((_, first), rest)) if rest.iter().all(|(_, text)| text == first) => first.clone(),
        _ => texts.iter().map(|(shard, text)| format!("shard {shard}: {text}")).collect::<Vec<_>>().join("\n"),
    }
}

/// The node by itself, for people: the first lines of its status.
pub fn node_text(status: &Value) -> Vec<String> {
    let bytes = |value: &Value| show_bytes(number(value));
    vec![
        format!("node      {} ({}), holon {}", word(&status["node"]), word(&status["state"]), word(&status["version"])),
        format!("up        {:.0} s, start number {}", status["uptime_seconds"].as_f64().unwrap_or(0.0), status["boot"]),
        format!("data      {}, {} free", word(&status["data_dir"]), bytes(&status["disk"]["free_bytes"])),
        format!(
            "memory    {} resident, budget {}",
            bytes(&status["process"]["resident_bytes"]),
            bytes(&status["memory"]["budget_bytes"])
        ),
        format!("console   http://{}/", word(&status["console"])),
    ]
}

fn status_text(status: &Value) -> String {
    let mut lines = node_text(status);
    if let Some(refusal) = status["clock"]["refusal"].as_str() {
        lines.push(format!("clock     TAKES NO WRITES: {refusal}"));
    }
    for door in list(&status["doors"]) {
        let (name, address) = (word(&door["name"]), word(&door["address"]));
        lines.push(format!("{name:<9} {address}, {} connections", door["connections"]));
    }
    for shard in list(&status["shards"]) {
        if shard["answers"] != true {
            lines.push(format!("shard {:<3} does not answer", shard["shard"]));
            continue;
        }
        let inside = &shard["inside"];
        lines.push(format!(
            "shard {:<3} {} connections, {} tablets, {} tasks",
            shard["shard"], shard["connections"], inside["tablets"], inside["tasks"]
        ));
        for (service, rows) in inside["services"].as_object().into_iter().flatten() {
            let rows: Vec<String> =
                list(rows).iter().map(|row| format!("{} {}", word(&row[0]), word(&row[1]))).collect();
            lines.push(format!("  {service}: {}", rows.join("; ")));
        }
    }
    lines.join("\n")
}
