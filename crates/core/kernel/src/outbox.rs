//! What a session has to send to its client.
//!
//! Request tasks append whole responses; the door (in `edge`) takes the bytes and writes them to the socket. Nothing here
//! blocks: a client that does not read is seen by [`Outbox::pending_bytes`], and the door stops reading from it.

use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};

#[derive(Default)]
pub struct Outbox {
    buffer: RefCell<BytesMut>,
    in_flight: Cell<usize>,
    closing: Cell<bool>,
    notify: RefCell<Option<Box<dyn Fn()>>>,
}

impl Outbox {
    pub fn new() -> Self {
        Self::default()
    }

    /// Called whenever there is something new to write, or the session wants to end.
    pub fn set_notify(&self, notify: Box<dyn Fn()>) {
        *self.notify.borrow_mut() = Some(notify);
    }

    /// Appends by writing into the buffer in place. The closure must not call back into the outbox.
    pub fn write<R>(&self, append: impl FnOnce(&mut BytesMut) -> R) -> R {
        let result = append(&mut self.buffer.borrow_mut());
        self.notify();
        result
    }

    pub fn take(&self) -> Bytes {
        self.buffer.borrow_mut().split().freeze()
    }

    pub fn pending_bytes(&self) -> usize {
        self.buffer.borrow().len()
    }

    /// A request was accepted and will be answered.
    pub fn request_started(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
    }

    pub fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.notify();
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Ends the session once what is pending has been written.
    pub fn close(&self) {
        self.closing.set(true);
        self.notify();
    }

    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    fn notify(&self) {
        if let Some(notify) = &*self.notify.borrow() {
            notify();
        }
    }
}
