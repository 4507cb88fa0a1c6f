//! What comes in: bytes become events, events become calls of the application.
//!
//! Refuses to know sockets. Invariants: a peer's bytes are looked at in the order in which they came, whether at once or when
//! they are no longer to wait; the application is called for one event at a time, with nothing of the hub borrowed.

use std::borrow::Cow;

use super::Hub;
use super::handler::Handler;
use super::{Context, Marks};
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::cork::HEADROOM;
use crate::conn::error::ProtocolError;
use crate::conn::message::{Message, Part};
use crate::conn::phase::Phase;
use crate::conn::{Event, Flags};
use crate::ground::id::ConnId;
use crate::ground::input::Input;
use crate::wire::head::HeadError;

impl Hub {
    /// Bytes came from a peer, the last that the kernel held if `drained`: makes events of them and calls the
    /// application.
    pub fn received(&mut self, index: u32, bytes: &mut [u8], drained: bool, app: &mut dyn Handler) {
        self.note_received(index, bytes.len(), drained);
        self.feed(index, bytes, app);
    }

    /// The same for bytes that lie in the loop's read buffer behind its headroom, in which they stay until what they are
    /// answered with has been written, or copied.
    pub fn received_lent(&mut self, index: u32, buffer: &mut [u8], drained: bool, app: &mut dyn Handler) {
        self.cork.lend(buffer);
        self.received(index, &mut buffer[HEADROOM..], drained, app);
        self.cork.end_lending(buffer);
    }

    pub(super) fn note_received(&mut self, index: u32, len: usize, drained: bool) {
        let slot = &mut self.slots.0[index as usize];
        // The stream's end may lie behind them.
        if drained && !slot.marks.has(Marks::READ_CLOSED) {
            slot.marks.set(Marks::READABLE, false);
        }
        slot.conn.last_seen = self.tick;
        slot.conn.flags.set(Flags::PINGED, false);
        self.stats.bytes_in += len as u64;
    }

    /// Goes on with what was kept while a request was with the application, the backlog was high, or reading was paused.
    #[inline(never)]
    pub fn feed_kept(&mut self, index: u32, app: &mut dyn Handler) {
        if let Some(mut kept) = self.with(index, |conn, loan| conn.take_kept(loan.unfinished)) {
            self.feed(index, &mut kept, app);
        }
    }

    /// True when there is something of that kind.
    pub fn kept_is_due(&self, index: u32) -> bool {
        let conn = &self.slots.0[index as usize].conn;
        conn.kept(&self.unfinished) > 0
            && conn.phase != Phase::Reply
            && !conn.flags.has(Flags::HIGH | Flags::PAUSED)
    }

    #[inline]
    pub(super) fn feed(&mut self, index: u32, bytes: &mut [u8], app: &mut dyn Handler) {
        let mut input = Input::new(bytes);
        // Whole messages come first: they need no room.
        match self.feed_whole(index, &mut input, app) {
            Ok(true) => {}
            other => self.feed_pieces(index, input, other, app),
        }
    }

    /// Goes on where [`Hub::feed_whole`] has not taken all.
    #[inline(never)]
    fn feed_pieces(
        &mut self,
        index: u32,
        mut input: Input<'_>,
        mut whole: Result<bool, ProtocolError>,
        app: &mut dyn Handler,
    ) {
        loop {
            let event = match whole {
                Ok(true) => return,
                Ok(false) => {
                    self.make_room(index, input.len());
                    self.with(index, |conn, loan| conn.next_event(&mut input, loan))
                }
                Err(error) => Some(self.with(index, |conn, loan| conn.violate(error, loan))),
            };
            let Some(event) = event else {
                #[cfg(feature = "deflate")]
                if self.slots.0[index as usize].conn.put_off(&self.unfinished) > 0 {
                    self.stats.budget_inflate += 1;
                    self.resume(index);
                }
                return;
            };
            self.dispatch(index, event, app);
            whole = self.feed_whole(index, &mut input, app);
        }
    }

    /// Takes whole messages as long as one comes after the other; true when that was all. A function of its own, so that
    /// what seldom comes does not take its registers.
    #[inline(never)]
    fn feed_whole(
        &mut self,
        index: u32,
        input: &mut Input<'_>,
        app: &mut dyn Handler,
    ) -> Result<bool, ProtocolError> {
        loop {
            let slot = &self.slots.0[index as usize];
            let Some(whole) = slot.conn.next_whole(input, &self.limits, self.short_fit) else {
                return Ok(input.is_empty() && slot.conn.is_between_messages());
            };
            let (kind, bytes) = whole?;
            let id = ConnId { index, generation: slot.generation };
            self.scope = slot.scope;
            if slot.conn.flags.has(Flags::PARTS) {
                self.deliver_part(id, Part { kind, bytes, first: true, last: true }, app);
            } else {
                self.deliver(id, Message { payload: Cow::Borrowed(bytes), ..Message::of(kind) }, app);
            }
            if input.is_empty() {
                return Ok(true);
            }
        }
    }

    fn deliver(&mut self, id: ConnId, message: Message<'_>, app: &mut dyn Handler) {
        self.stats.messages_in += 1;
        app.on_message(&mut Context::new(self), id, message);
    }

    fn deliver_part(&mut self, id: ConnId, part: Part<'_>, app: &mut dyn Handler) {
        self.stats.parts_in += 1;
        self.stats.messages_in += u64::from(part.last);
        app.on_part(&mut Context::new(self), id, part);
    }

    pub(super) fn dispatch(&mut self, index: u32, event: Event<'_>, app: &mut dyn Handler) {
        let id = self.id(index);
        self.scope = self.slots.0[index as usize].scope;
        match event {
            Event::Message(message) => self.deliver(id, message, app),
            Event::Part(part) => self.deliver_part(id, part, app),
            #[cfg(feature = "deflate")]
            Event::Inflated(kind, bytes, first, last) => {
                self.deliver_part(id, Part { kind, bytes: &bytes, first, last }, app);
            }
            Event::Ping => {
                self.stats.pings_in += 1;
                self.settle(index);
            }
            Event::Pong => self.stats.pongs_in += 1,
            Event::Close(code, reason) => {
                let closed = Closed::with(By::Peer, Cause::Close, code, &reason);
                self.ending(index, closed);
            }
            Event::Violation(error) => {
                let closed =
                    Closed::with(By::Server, Cause::Protocol(error), Some(error.close_code()), error.text());
                self.ending(index, closed);
            }
            Event::Head(head) => self.judge(index, head, app),
            Event::Request { head, body } => self.judge_whole(index, &head, &body, app),
            Event::BadHead(error) => {
                if error == HeadError::TlsOnPlainPort {
                    self.stats.tls_on_plain_port += 1;
                }
                self.reject(index, error.status(), error.to_string().into(), Cause::BadHead(error));
            }
            Event::BadBody(error) => {
                self.reject(index, error.status(), error.to_string().into(), Cause::BadBody(error));
            }
        }
    }
}
