//! `crowd`: what is binary goes back to its sender, a text goes to everyone, a few members at a time.
//!
//! For very many members: who is in is kept here, in 8 bytes each, where a subscription to a topic costs some 200, and a
//! text is handed out in batches, where a topic would queue it to all of them at once. Invariants: a text goes once to
//! each member that is in when its turn comes and still is when its batch goes out; texts keep their order; at most
//! [`WAITING_MAX`] of them wait for their turn, and whoever sends one more is closed with 1013.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate::{Closed, ConnId, ConnMap, Context, Handler, Message, Sent};

use super::tag;

/// Members that a text is sent to in one step; the next step is a tick (10 ms) later.
const BATCH: usize = 1_000;
/// Texts that wait behind the one that is being handed out.
const WAITING_MAX: usize = 16;

/// The crowd application.
#[derive(Default)]
pub struct Crowd {
    members: ConnMap<()>,
    waiting: VecDeque<String>,
    /// The text that is being handed out, and who has not had it yet.
    text: String,
    left: Vec<ConnId>,
}

impl Crowd {
    /// Hands the next batch out; true when nobody is left.
    fn step(&mut self, cx: &mut Context<'_>) -> bool {
        if self.left.is_empty() {
            let Some(text) = self.waiting.pop_front() else { return true };
            self.text = text;
            self.left = self.members.iter().map(|(conn, ())| conn).collect();
        }
        let rest = self.left.len().saturating_sub(BATCH);
        for conn in self.left.drain(rest..) {
            // Who has left meanwhile is not found; who does not keep up meets the limits of its backlog.
            cx.send(conn, self.text.as_str());
        }
        if !self.left.is_empty() {
            return false;
        }
        // The list of a large crowd is not kept for the next text.
        (self.left, self.text) = (Vec::new(), String::new());
        self.waiting.is_empty()
    }

    /// Goes on until nobody is left or the next step has its timer.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        while !self.step(cx) {
            // Without a timer to spare there is no pace to keep.
            if cx.set_timer(Duration::ZERO, tag::CROWD).is_some() {
                return;
            }
        }
    }
}

impl Handler for Crowd {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.members.insert(conn, ());
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        let Some(text) = msg.as_text() else {
            if cx.send(conn, msg) == Sent::Refused {
                cx.close(conn, 1009, "too large to be sent back: backlog_max");
            }
            return;
        };
        if self.waiting.len() >= WAITING_MAX {
            cx.close(conn, 1013, "too many texts wait for the crowd");
            return;
        }
        self.waiting.push_back(text.to_owned());
        // Somebody left means that a step is on its timer already.
        if self.left.is_empty() && self.waiting.len() == 1 {
            self.go_on(cx);
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: &Closed) {
        self.members.remove(conn);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if tag == tag::CROWD {
            self.go_on(cx);
        }
    }
}
