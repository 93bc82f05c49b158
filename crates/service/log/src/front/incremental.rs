//! Fetch with a session: only what is asked for anew, what moved and what was not at its end is looked at.

use super::Connection;
use super::fetch::{Bounds, look};
use super::sessions::{Full, Session};
use crate::service::LogService;
use crate::watches::{WatchRequest, WatchWhat};
use holon_base::{Instant, ShardId};
use holon_kafka::{ErrorCode, FetchRequest, FetchResponse};
use holon_kernel::{Class, Scope, any_of};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Before a shard that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(50);

impl LogService {
    /// Its id; `None`: there is no room.
    pub(crate) fn make_session(&self, full: &Full<'_>) -> Option<i32> {
        let (id, gone) = self.sessions().borrow_mut().make(full);
        gone.into_iter().for_each(|session| self.session_gone(&session));
        id
    }

    pub(crate) fn end_session(&self, id: i32) {
        let ended = self.sessions().borrow_mut().end(id);
        ended.into_iter().for_each(|session| self.session_gone(&session));
    }

    /// Nobody has to watch for it any more. Who is not told finds out when the place has another session.
    fn session_gone(&self, session: &Rc<RefCell<Session>>) {
        let Some(service) = self.me() else { return };
        let (place, shards): (u32, Vec<ShardId>) = {
            let session = session.borrow();
            (session.place, session.watched.keys().copied().collect())
        };
        let deadline = self.shard().now() + Duration::from_secs(5);
        self.shard().spawn(Scope::Node, Class::Background, async move {
            for shard in shards {
                drop(service.watch(shard, WatchRequest { place, what: WatchWhat::End }, deadline).await);
            }
        });
    }
}

/// The request comes back if its session has no partition left: it is a full one without a session then.
pub(super) async fn incremental(
    connection: &Connection,
    mut request: FetchRequest,
    bounds: &Bounds,
    uses_ids: bool,
) -> Result<FetchResponse, FetchRequest> {
    let service = &connection.service;
    let refused = |error| Ok(FetchResponse { error, ..FetchResponse::default() });
    let (id, now) = (request.session_id, service.shard().now());
    let found = service.sessions().borrow().go_on(id, request.session_epoch, uses_ids, now);
    let session = match found {
        Ok(session) => session,
        Err(error) => return refused(error),
    };
    let epoch = session.borrow().epoch;
    let forgotten = std::mem::take(&mut request.forgotten);
    session.borrow_mut().update(
        request.topics.clone(),
        forgotten,
        |name, id| connection.topic(name, id),
        |topic, index| connection.fetchable(topic, index),
    );
    if session.borrow().is_empty() {
        service.end_session(id);
        return Err(request);
    }
    let counted = service.sessions().borrow_mut().count(id);
    if let Err(gone) = counted {
        gone.into_iter().for_each(|session| service.session_gone(&session));
        return refused(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }
    let mut looked = BTreeMap::new();
    loop {
        gather(connection, &session).await;
        let (keys, wanted) = session.borrow().wanted();
        let (answered, bytes) = look(connection, &wanted, bounds).await;
        for ((key, wanted), (_, fetched)) in keys.into_iter().zip(&wanted).zip(answered) {
            // One without records may have some that did not fit beside those of others.
            let end = if bounds.committed { fetched.last_stable_offset } else { fetched.high_watermark };
            let is_at_end = fetched.error == ErrorCode::NONE && end <= wanted.asked.fetch_offset;
            if is_at_end && session.borrow().epoch == epoch {
                session.borrow_mut().is_at_end(&key);
            }
            looked.insert(key, fetched);
        }
        let is_enough = bytes >= bounds.least || looked.values().any(|partition| partition.error != ErrorCode::NONE);
        if is_enough || service.shard().now() >= bounds.deadline || session.borrow().epoch != epoch {
            break;
        }
        wait_for_more(service, &session, bounds.deadline).await;
    }
    let mut session = session.borrow_mut();
    if session.epoch != epoch {
        // Another connection went on with it meanwhile.
        let error = ErrorCode::INVALID_FETCH_SESSION_EPOCH;
        return Ok(FetchResponse { error, session_id: id, ..FetchResponse::default() });
    }
    let topics = session.answer(looked);
    Ok(FetchResponse { session_id: id, topics, ..FetchResponse::default() })
}

/// What moved is due.
async fn gather(connection: &Connection, session: &Rc<RefCell<Session>>) {
    let service = &connection.service;
    let version = service.topics_version();
    if session.borrow().topics_version != version {
        session.borrow_mut().place_anew(
            version,
            |name, id| connection.topic(name, id),
            |topic, index| connection.fetchable(topic, index),
        );
    }
    let (place, shards): (u32, Vec<ShardId>) = {
        let session = session.borrow();
        (session.place, session.watched.keys().copied().collect())
    };
    for shard in shards {
        let what = session.borrow_mut().change_on(shard);
        match service.watch(shard, WatchRequest { place, what }, connection.deadline(0)).await {
            Ok(moved) => session.borrow_mut().moved(shard, moved.last, &moved.tablets),
            Err(_) => session.borrow_mut().lost(shard),
        }
    }
}

/// Until one of its partitions moves, or it is time to answer.
async fn wait_for_more(service: &Rc<LogService>, session: &Rc<RefCell<Session>>, deadline: Instant) {
    let waits = {
        let session = session.borrow();
        let place = session.place;
        let on = |(shard, after): (ShardId, u64)| {
            let (service, what) = (service.clone(), WatchWhat::Wait { after });
            Box::pin(async move {
                if service.watch(shard, WatchRequest { place, what }, deadline).await.is_err() {
                    service.shard().sleep(PAUSE).await;
                }
            })
        };
        session.watched.iter().map(|(shard, watched)| on((*shard, watched.after))).collect()
    };
    // Too late means: look once more.
    let _ = service.shard().timeout(deadline, any_of(waits)).await;
}
