//! What a session has to send to its client.
//!
//! Request tasks append whole responses; the door (in `edge`) takes the bytes and writes them to the socket. Nothing here
//! blocks: a client that does not read is seen by [`Outbox::pending_bytes`], and the door stops reading from it.

use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// What is shorter is copied, so that few bytes do not become a write of their own.
const COPIED_BYTES_MAX: usize = 4 << 10;

#[derive(Default)]
pub struct Outbox {
    /// Before what is in the buffer.
    pieces: RefCell<VecDeque<Bytes>>,
    pieces_bytes: Cell<usize>,
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

    /// Appends bytes as they are: long ones are not copied.
    pub fn push(&self, piece: Bytes) {
        if piece.len() < COPIED_BYTES_MAX {
            return self.write(|buffer| buffer.extend_from_slice(&piece));
        }
        let before = self.buffer.borrow_mut().split().freeze();
        let mut pieces = self.pieces.borrow_mut();
        for piece in [before, piece].into_iter().filter(|piece| !piece.is_empty()) {
            self.pieces_bytes.set(self.pieces_bytes.get() + piece.len());
            pieces.push_back(piece);
        }
        drop(pieces);
        self.notify();
    }

    /// The bytes that come next; there may be more after them.
    pub fn take_next(&self) -> Bytes {
        match self.pieces.borrow_mut().pop_front() {
            Some(piece) => {
                self.pieces_bytes.set(self.pieces_bytes.get() - piece.len());
                piece
            }
            None => self.buffer.borrow_mut().split().freeze(),
        }
    }

    /// All that is pending.
    pub fn take(&self) -> Bytes {
        let first = self.take_next();
        if self.pending_bytes() == 0 {
            return first;
        }
        let mut all = BytesMut::from(&first[..]);
        while self.pending_bytes() > 0 {
            all.extend_from_slice(&self.take_next());
        }
        all.freeze()
    }

    pub fn pending_bytes(&self) -> usize {
        self.pieces_bytes.get() + self.buffer.borrow().len()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_their_order_and_long_ones_as_they_are() {
        let outbox = Outbox::new();
        let long = Bytes::from(vec![7; COPIED_BYTES_MAX]);
        outbox.write(|buffer| buffer.extend_from_slice(b"a"));
        outbox.push(Bytes::from_static(b"b"));
        outbox.push(long.clone());
        outbox.push(long.clone());
        outbox.push(Bytes::from_static(b"c"));
        assert_eq!(outbox.pending_bytes(), 3 + 2 * COPIED_BYTES_MAX);
        assert_eq!(&outbox.take_next()[..], b"ab");
        assert_eq!(outbox.take_next().as_ptr(), long.as_ptr(), "not copied");
        let rest = outbox.take();
        assert_eq!((rest.len(), rest.last()), (COPIED_BYTES_MAX + 1, Some(&b'c')));
        assert_eq!((outbox.pending_bytes(), outbox.take_next().len(), outbox.take().len()), (0, 0, 0));
    }
}
