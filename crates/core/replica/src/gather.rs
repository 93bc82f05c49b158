//! Answers of several replicas in the order in which they come.

use holon_base::{Instant, NodeId};
use holon_kernel::{Class, Completer, Scope, Shard};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

struct Inbox<T> {
    arrived: RefCell<VecDeque<(NodeId, T)>>,
    waiting: RefCell<Option<Completer<()>>>,
}

/// Where answers gather. Work that was begun goes on when nobody waits any more: a write reaches its last replica after the
/// client has its answer.
pub(crate) struct Gather<T> {
    shard: Rc<Shard>,
    inbox: Rc<Inbox<T>>,
}

impl<T: 'static> Gather<T> {
    pub(crate) fn new(shard: &Rc<Shard>) -> Gather<T> {
        let inbox = Rc::new(Inbox { arrived: RefCell::default(), waiting: RefCell::new(None) });
        Gather { shard: shard.clone(), inbox }
    }

    pub(crate) fn begin(&self, node: NodeId, work: impl Future<Output = T> + 'static) {
        let inbox = self.inbox.clone();
        self.shard.spawn(Scope::Node, Class::Foreground, async move {
            let answer = work.await;
            inbox.arrived.borrow_mut().push_back((node, answer));
            let waiting = inbox.waiting.borrow_mut().take();
            if let Some(completer) = waiting {
                completer.complete(());
            }
        });
    }

    /// The next answer; `None` at the deadline.
    pub(crate) async fn next(&self, deadline: Instant) -> Option<(NodeId, T)> {
        loop {
            let next = self.inbox.arrived.borrow_mut().pop_front();
            if next.is_some() {
                return next;
            }
            if self.shard.now() >= deadline {
                return None;
            }
            let (completer, ticket) = self.shard.ticket();
            *self.inbox.waiting.borrow_mut() = Some(completer);
            let _ = self.shard.timeout(deadline, ticket).await; // both mean: look again
        }
    }
}
