//! InitProducerId without a transactional id: ids of idempotent producers. Each shard takes a block of them from the metadata log when it has none left.

use super::Connection;
use crate::service::{LOG_SERVICE, LogService};
use crate::topics::{PRODUCER_BLOCK, TopicChange};
use holon_kafka::ErrorCode;
use holon_kafka::messages::{InitProducerIdResponse, ProducerId};

pub(super) async fn init_producer_id(connection: &Connection) -> InitProducerIdResponse {
    let refused = |error: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(error.0)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    match connection.service.next_producer().await {
        Some(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        None => refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
    }
}

impl LogService {
    /// An id that nobody was ever given.
    pub(super) async fn next_producer(&self) -> Option<i64> {
        loop {
            if let Some(id) = self.take_producer_id() {
                return i64::try_from(id).ok();
            }
            let proposed = self.metadata().propose(LOG_SERVICE, TopicChange::TakeProducers.encode()).await.ok()?;
            let first = u64::from_le_bytes(*proposed.answer.ok()?.first_chunk::<8>()?);
            // Two that ask at once both get a block: the rest of one of them is nobody's.
            self.set_producer_ids(first..first + PRODUCER_BLOCK);
        }
    }
}
