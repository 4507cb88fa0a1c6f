//! `chat`: every message goes to everyone, its sender too, exactly as it came.
//!
//! Invariant: everyone sees the same messages in the same order. Names, colours and the like are the
//! clients' business.

use tidegate::{ConnId, Context, Handler, Message};

const TOPIC: &str = "chat";

/// The chat application.
pub struct Chat;

impl Handler for Chat {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Err(error) = cx.subscribe(conn, TOPIC) {
            cx.close(conn, 1013, &error.to_string());
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _conn: ConnId, msg: Message<'_>) {
        cx.publish(TOPIC, msg);
    }
}
