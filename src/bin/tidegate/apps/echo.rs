//! `echo`: every message goes back to its sender, text as text and binary as binary.
//!
//! A long message goes back in parts, as they arrive: it is never held, and costs neither memory nor a copy. Where compression
//! has been agreed it is taken whole, for parts are not compressed. Invariant: replies keep the order of the messages; what is
//! too large to be sent back ends the connection with 1009 instead of being swallowed.

use tidegate::{ConnId, Context, Handler, Message, Part, Sent};

/// The echo application.
pub struct Echo;

impl Echo {
    fn sent(cx: &mut Context<'_>, conn: ConnId, sent: Sent) {
        if sent == Sent::Refused {
            cx.close(conn, 1009, "too large to be sent back: backlog_max");
        }
    }
}

impl Handler for Echo {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        let whole = cx.is_compressed(conn);
        cx.receive_parts(conn, !whole);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        let sent = cx.send(conn, msg);
        Self::sent(cx, conn, sent);
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        let sent = cx.send_part(conn, part.kind, part.bytes, part.last);
        Self::sent(cx, conn, sent);
    }
}
