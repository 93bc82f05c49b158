//! A connection of a workload: one request in flight, with what it is for and a text of it for people.

use super::Violation;
use super::client::Client;
use super::operation::describe;
use bytes::Bytes;
use holon_cql::{Request, Response, Version};

pub(super) struct Asking<O> {
    pub(super) client: Client,
    /// STARTUP was answered.
    pub(super) is_ready: bool,
    /// What waits for an answer.
    pub(super) doing: Option<(O, String)>,
}

/// Of the latest version, without compression.
pub(super) fn plain_client() -> Client {
    Client::new(Version::V5, None)
}

impl<O> Asking<O> {
    pub(super) fn new(client: Client) -> Asking<O> {
        Asking { client, is_ready: false, doing: None }
    }

    /// Nothing waits for an answer, and there may be a next request.
    pub(super) fn is_free(&self) -> bool {
        self.is_ready && self.doing.is_none()
    }

    /// The bytes of a request; `None`: it is beyond this version of the protocol, and there is nothing to send.
    pub(super) fn send(&mut self, operation: O, request: Request) -> Option<Bytes> {
        let text = describe(&request);
        let (_, bytes) = self.client.request(request).ok()?;
        self.doing = Some((operation, text));
        Some(bytes)
    }

    /// The bytes to begin with.
    pub(super) fn startup(&mut self, operation: O) -> Bytes {
        let startup = self.client.startup();
        self.send(operation, startup).unwrap_or_default()
    }

    /// The connection is gone, the next one begins as `client` does. What waited for an answer.
    pub(super) fn lose(&mut self, client: Client) -> Option<O> {
        (self.client, self.is_ready) = (client, false);
        self.doing.take().map(|(operation, _)| operation)
    }
}

/// Hands the answers in `bytes`, which came on the connection of this number, to the workload that has it.
///
/// # Errors
/// What is not of the protocol, answers nothing, or is wrong as `answered` says.
pub(super) fn receive<W, O>(
    workload: &mut W,
    number: usize,
    bytes: &[u8],
    of: impl Fn(&mut W) -> &mut Asking<O>,
    mut answered: impl FnMut(&mut W, O, Response) -> Result<(), String>,
) -> Result<(), Violation> {
    let violation =
        |request: &str, detail: String| Violation { connection: number, request: request.to_string(), detail };
    let fed = of(workload).client.feed(bytes);
    for message in fed.map_err(|error| violation("(bytes)", format!("not of the protocol: {error}")))? {
        let Some((operation, text)) = of(workload).doing.take() else {
            return Err(violation("(nothing)", format!("{:?} answers nothing", message.response)));
        };
        answered(workload, operation, message.response).map_err(|detail| violation(&text, detail))?;
    }
    Ok(())
}
