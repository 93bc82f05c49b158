//! The answer that a request of another shard or node is owed.

use crate::Shard;
use crate::envelope::{Address, CallError};
use bytes::Bytes;
use std::rc::Rc;

/// An answer is given also when the tablet leaves while the request is being worked on: its task ends with the tablet, and
/// whoever waits has to know that the map is another one. It would wait in vain, until its deadline.
pub(crate) struct OwedAnswer {
    shard: Rc<Shard>,
    /// Who asked, and under which number.
    request: (Address, u64),
    made: bool,
}

impl OwedAnswer {
    pub(crate) fn to(shard: &Rc<Shard>, asked: Address, correlation: u64) -> OwedAnswer {
        OwedAnswer { shard: shard.clone(), request: (asked, correlation), made: false }
    }

    /// `None`: nobody waits any more.
    pub(crate) fn answer(&mut self, answer: Option<Result<Bytes, CallError>>) {
        self.made = true;
        let (destination, correlation) = self.request;
        answer.into_iter().for_each(|answer| self.shard.reply(destination, correlation, answer));
    }
}

impl Drop for OwedAnswer {
    fn drop(&mut self) {
        if !self.made && self.shard.stopped().is_none() {
            self.answer(Some(Err(CallError::NotHere)));
        }
    }
}
