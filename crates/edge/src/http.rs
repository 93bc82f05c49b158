//! The console's HTTP/1.1: GET and HEAD of a few paths, answered by a handler that `holon` hands in.

use crate::limits;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::rc::Rc;
use tokio::net::TcpListener;

pub struct HttpAnswer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: bytes::Bytes,
}

impl HttpAnswer {
    pub fn text(status: u16, body: impl Into<bytes::Bytes>) -> HttpAnswer {
        HttpAnswer { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

/// Answers the path of a request, with its query if it has one.
pub type HttpHandler = Rc<dyn Fn(String) -> holon_kernel::LocalFuture<HttpAnswer>>;

/// The page needs nothing from elsewhere, and nobody may frame it.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves until dropped. Call it inside a `LocalSet`.
pub async fn serve_http(listener: TcpListener, handler: HttpHandler) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(limits::CONSOLE_CONNECTIONS_MAX));
    loop {
        // When all places are taken the next ones wait in the backlog.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the console could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = handler.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(handler.clone(), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::CONSOLE_HEAD_TIMEOUT)
                .max_buf_size(limits::CONSOLE_HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the console ended");
            }
            drop(place);
        });
    }
}

async fn answer(handler: HttpHandler, request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let answer = if matches!(*request.method(), Method::GET | Method::HEAD) {
        handler(request.uri().path_and_query().map_or("/", |target| target.as_str()).to_string()).await
    } else {
        HttpAnswer::text(405, "only GET and HEAD are answered here\n")
    };
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if answer.status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Ok(response)
}
