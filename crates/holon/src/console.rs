//! What the console answers: the status page, its figures, health and metrics.

use crate::metrics;
use crate::report::{NodeView, State};
use holon_edge::{HttpAnswer, HttpHandler};
use std::rc::Rc;

const PAGE: &str = include_str!("../../../console/index.html");

pub fn handler(node: Rc<NodeView>) -> HttpHandler {
    Rc::new(move |target| {
        let node = node.clone();
        Box::pin(async move {
            let (path, query) = target.split_once('?').unwrap_or((&target, ""));
            answer(&node, path, query).await
        })
    })
}

fn json(value: &serde_json::Value) -> HttpAnswer {
    HttpAnswer { status: 200, content_type: "application/json", body: value.to_string().into() }
}

/// The value of a name in a query; names and values of ours need no escapes.
fn asked<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value))
}

async fn answer(node: &NodeView, path: &str, query: &str) -> HttpAnswer {
    match path {
        "/" => HttpAnswer { status: 200, content_type: "text/html; charset=utf-8", body: PAGE.into() },
        "/status.json" => match asked(query, "tablets") {
            None => json(&node.status().await),
            Some(table) => {
                let from = asked(query, "from").and_then(|from| from.parse().ok()).unwrap_or(0);
                match node.tablets(table, from).await {
                    Some(tablets) => json(&tablets),
                    None => HttpAnswer::text(404, "no such table; say ?tablets=KEYSPACE.TABLE\n"),
                }
            }
        },
        // Alive: the process answers. Whether it serves clients is the next question.
        "/healthz" => HttpAnswer::text(200, "ok\n"),
        "/readyz" => match node.state.get() {
            State::Ready => HttpAnswer::text(200, "ready\n"),
            State::Starting => HttpAnswer::text(503, format!("starting: {}\n", node.progress_line())),
            State::Stopping => HttpAnswer::text(503, "stopping\n"),
        },
        "/metrics" => {
            let body = metrics::text(node, &node.report().await);
            HttpAnswer { status: 200, content_type: metrics::CONTENT_TYPE, body: body.into() }
        }
        _ => HttpAnswer::text(404, "nothing here; there are /, /status.json, /healthz, /readyz and /metrics\n"),
    }
}
