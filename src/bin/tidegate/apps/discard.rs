//! `discard`: takes every message and drops it, to measure what receiving alone costs.
//!
//! Invariant: nothing is ever sent. What arrived is told to the log when a connection ends.

use tidegate::{Closed, ConnId, Context, Handler, Message};

/// The discard application.
#[derive(Default)]
pub struct Discard {
    messages: u64,
    bytes: u64,
}

impl Handler for Discard {
    fn on_message(&mut self, _cx: &mut Context<'_>, _conn: ConnId, msg: Message<'_>) {
        self.messages += 1;
        self.bytes += msg.as_bytes().len() as u64;
    }

    fn on_close(&mut self, _cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        log::debug!(
            "discard: {conn}: {why}; dropped {} messages, {} bytes so far",
            self.messages,
            self.bytes
        );
    }
}
