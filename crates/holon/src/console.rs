//! What the console answers: the status page, its figures, health and metrics.

use crate::metrics;
use crate::report::{NodeView, State};
use holon_edge::{HttpAnswer, HttpHandler};
use std::rc::Rc;

const PAGE: &str = include_str!("../../../console/index.html");

pub fn handler(node: Rc<NodeView>) -> HttpHandler {
    Rc::new(move |path| {
        let node = node.clone();
        Box::pin(async move { answer(&node, &path).await })
    })
}

async fn answer(node: &NodeView, path: &str) -> HttpAnswer {
    match path {
        "/" => HttpAnswer { status: 200, content_type: "text/html; charset=utf-8", body: PAGE.into() },
        "/status.json" => {
            let body = node.to_json(&node.report().await).to_string();
            HttpAnswer { status: 200, content_type: "application/json", body: body.into() }
        }
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
