//! `echo`: every message goes back to its sender, text as text and binary as binary.
//!
//! Invariant: replies keep the order of the messages; a message too large to be sent back ends the
//! connection with 1009 instead of being swallowed.

use tidegate::{ConnId, Context, Handler, Message, Sent};

/// The echo application.
pub struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        if cx.send(conn, msg) == Sent::Refused {
            cx.close(conn, 1009, "too large to be sent back: backlog_max");
        }
    }
}
