//! The header of a request: who asks what, in which version, and the number that the answer bears.
//!
//! ```text
//!   version   api key 2 | api version 2 | correlation id 4 | client id, nullable text with two bytes of length | tagged fields
//!      1           x             x                x            x
//!      2           x             x                x            x  (not compact)                                       x
//! ```
//! Its version follows from the API and the version of that. The answer's header is the correlation id, and tagged fields in version 1.

use crate::apis::{Api, Served};
use crate::reader::{Flaw, Reader};
use crate::request::RequestError;
use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: Api,
    /// What was asked in. The answer is in [`RequestHeader::answer_version`].
    pub version: i16,
    pub correlation_id: i32,
    /// Empty if there was none, as Kafka takes it.
    pub client_id: StrBytes,
}

impl RequestHeader {
    /// Reads the header of a frame; also gives the byte at which the body begins.
    ///
    /// # Errors
    /// It is not one, or of an API or version that is not served: the connection has to end, as Kafka does it. ApiVersions passes in
    /// every version.
    pub(crate) fn read(frame: &Bytes, served: &Served) -> Result<(RequestHeader, usize), RequestError> {
        let bad = |flaw: Flaw| RequestError::Header { at: flaw.at, what: flaw.what };
        let mut reader = Reader::new(frame, 0, false);
        let key = reader.i16().map_err(bad)?;
        let version = reader.i16().map_err(bad)?;
        let api = Api::from_key(key).ok_or(RequestError::UnknownApi { key })?;
        if api != Api::ApiVersions && !served.has(api, version) {
            return Err(RequestError::NotServed { api, version });
        }
        let correlation_id = reader.i32().map_err(bad)?;
        let client_id = reader.plain_text().map_err(bad)?.unwrap_or_default();
        let mut tagged = Reader::new(frame, reader.at(), api.request_header_version(version) == 2);
        tagged.skip_tags().map_err(bad)?;
        Ok((RequestHeader { api, version, correlation_id, client_id }, tagged.at()))
    }

    /// That of the request, or 0 if ApiVersions was asked in a version that there is not (KIP-511).
    pub fn answer_version(&self) -> i16 {
        let (from, to) = self.api.versions();
        if (from..=to).contains(&self.version) { self.version } else { 0 }
    }
}
