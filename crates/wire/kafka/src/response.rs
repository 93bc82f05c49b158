//! Answers: from what is said to the bytes of a frame.
//!
//! As pieces that go out one after the other. All but a Fetch are one piece; a Fetch is head, records, head, records, …, and no records
//! are copied.

use crate::apis::{Api, with_apis};
use crate::fetch::FetchResponse;
use crate::header::RequestHeader;
use crate::produce::ProduceResponse;
use crate::request::codec_version;
use crate::writer::{EncodeError, Writer};
use bytes::Bytes;
use kafka_protocol::messages;
use kafka_protocol::protocol::{Encodable, Request};

/// The answer to a request of `kafka-protocol`.
type Answer<R> = <R as Request>::Response;

/// Room for what most answers are, in bytes. They grow beyond it.
const ROOM_BYTES: usize = 256;

macro_rules! define_responses {
    (
        own { $($own:ident($($numbers:tt)*);)* }
        generated {
            $($name:ident($key:literal, $from:literal, $to:literal, $flexible:tt, $shape:ident, $request:ident);)*
        }
    ) => {
        /// What is answered. The types are those of `kafka-protocol`, but for the two that carry records.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Response {
            Produce(ProduceResponse),
            Fetch(FetchResponse),
            $($name(Answer<messages::$request>),)*
        }

        impl Response {
            pub fn api(&self) -> Api {
                match self {
                    Response::Produce(_) => Api::Produce,
                    Response::Fetch(_) => Api::Fetch,
                    $(Response::$name(_) => Api::$name,)*
                }
            }

            fn write(self, writer: &mut Writer, api: Api, version: i16) -> Result<(), EncodeError> {
                match self {
                    Response::Produce(response) => response.write(writer, version),
                    Response::Fetch(response) => response.write(writer, version),
                    $(Response::$name(response) => generated(&response, writer, api, version)?,)*
                }
                Ok(())
            }
        }
    };
}

with_apis!(define_responses);

fn generated<T: Encodable>(response: &T, writer: &mut Writer, api: Api, version: i16) -> Result<(), EncodeError> {
    let said = response.encode(writer.head(), codec_version(api, version));
    said.map_err(|error| EncodeError::Unsayable { api: api.name(), version, what: error.to_string() })
}

impl Response {
    /// The pieces of the frame that answers the request with that header: length, header, body.
    ///
    /// # Errors
    /// It is an answer to something else, or says what the version asked for cannot say. Nothing may be sent then.
    pub fn encode(self, header: &RequestHeader) -> Result<Vec<Bytes>, EncodeError> {
        let (asked, answered, version) = (header.api, self.api(), header.answer_version());
        if asked != answered {
            return Err(EncodeError::OtherApi { asked: asked.name(), answered: answered.name() });
        }
        let room = if let Response::Fetch(response) = &self { response.head_bytes() } else { ROOM_BYTES };
        let mut writer = Writer::new(header, room);
        self.write(&mut writer, asked, version)?;
        writer.finish()
    }
}
