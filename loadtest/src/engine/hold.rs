//! `HoldRole`: very many connections, each of which does what it is asked for, once.
//!
//! Refuses to measure latencies: with a million of them everything waits for everything. Invariants: what is known of a
//! connection are three answers of yes or no; the message that one sends is its own, so an answer to another is wrong;
//! at most as many wait for their answers as were allowed, and the next one sends when one has it or has ended.

use tidegate::{ConnId, ConnMap, Context, Message};

use super::lane::{Desk, Play};
use super::peers::Ended;
use crate::order::{Ask, Count, Metric, Setup, share};
use crate::server::cpu::monotonic_ns;

/// What a text begins with that one sends to all; its time follows.
const TO_ALL: &str = "to all ";

/// What has come to one connection.
#[derive(Default)]
struct Seen {
    waits: bool,
    answered: bool,
    heard: bool,
}

/// See the module's text.
pub struct HoldRole {
    lane: u32,
    lanes: u32,
    seen: ConnMap<Seen>,
    /// Those that are still to send.
    to_send: Vec<ConnId>,
    waiting: u64,
}

impl HoldRole {
    pub fn new(setup: &Setup, lane: u32) -> Self {
        HoldRole { lane, lanes: setup.lanes, seen: ConnMap::new(), to_send: Vec::new(), waiting: 0 }
    }

    /// The message that only this connection sends.
    fn own(&self, conn: ConnId) -> String {
        format!("{} {conn}", self.lane)
    }

    /// Lets the next one send.
    fn send_next(&mut self, desk: &mut Desk, cx: &mut Context<'_>) {
        while let Some(conn) = self.to_send.pop() {
            let own = self.own(conn);
            // One that has ended meanwhile has been counted where it ended.
            let Some(seen) = self.seen.get_mut(conn).filter(|seen| !seen.waits) else { continue };
            seen.waits = true;
            seen.answered = false;
            self.waiting += 1;
            desk.book.count(Count::Sent, 1);
            cx.send(conn, own.as_bytes());
            return;
        }
    }

    fn echoed(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, bytes: &[u8]) {
        let right = self.own(conn).as_bytes() == bytes;
        let Some(seen) = self.seen.get_mut(conn) else { return };
        if !seen.waits {
            let what = if right && seen.answered { Count::Duplicate } else { Count::Wrong };
            desk.book.count(what, 1);
            return desk
                .book
                .error("unasked message", || format!("{} bytes that nobody waited for", bytes.len()));
        }
        (seen.waits, seen.answered) = (false, true);
        self.waiting -= 1;
        if right {
            desk.book.count(Count::Answered, 1);
        } else {
            desk.book.count(Count::Wrong, 1);
            desk.book.error("wrong echo", || {
                format!(
                    "\"{}\" is not what this connection sent",
                    bytes[..bytes.len().min(24)].escape_ascii()
                )
            });
        }
        self.send_next(desk, cx);
    }

    fn heard(&mut self, desk: &mut Desk, conn: ConnId, text: &str, now: u64) {
        let sent = text.strip_prefix(TO_ALL).and_then(|time| time.parse::<u64>().ok());
        let Some(sent) = sent.filter(|sent| *sent <= now) else {
            desk.book.count(Count::Wrong, 1);
            return desk
                .book
                .error("unasked message", || format!("{} bytes that nobody sent to all", text.len()));
        };
        let Some(seen) = self.seen.get_mut(conn) else { return };
        if std::mem::replace(&mut seen.heard, true) {
            desk.book.count(Count::Duplicate, 1);
            return desk.book.error("heard twice", || "what one sent to all came twice".into());
        }
        desk.book.count(Count::Delivered, 1);
        desk.book.time(Metric::Delivery, now - sent);
    }
}

impl Play for HoldRole {
    fn load(&mut self, _: &mut Desk, _: &mut Context<'_>, _: bool, _: u64) {}

    fn opened(&mut self, _: &mut Desk, _: &mut Context<'_>, conn: ConnId, _: u64) {
        self.seen.insert(conn, Seen::default());
    }

    fn message(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, msg: &Message<'_>, now: u64) {
        desk.book.count(Count::Received, 1);
        desk.book.count(Count::ReceivedBytes, msg.len() as u64);
        match msg.as_text() {
            Some(text) => self.heard(desk, conn, text, now),
            None => self.echoed(desk, cx, conn, msg.as_bytes()),
        }
    }

    fn ended(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, _: Ended, _: u64) {
        if self.seen.remove(conn).is_some_and(|seen| seen.waits) {
            self.waiting -= 1;
            desk.book.count(Count::Lost, 1);
            self.send_next(desk, cx);
        }
    }

    fn due(&self) -> Option<u64> {
        None
    }

    fn work(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64) {}

    fn beat(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64) {}

    fn stall(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64, _: bool, _: u64) {}

    fn ask(&mut self, desk: &mut Desk, cx: &mut Context<'_>, ask: Ask) {
        match ask {
            Ask::Echo { at_once } => {
                self.to_send = desk.peers.open().to_vec();
                // Each lane has one at least, or it would never begin.
                (0..share(at_once, self.lane, self.lanes).max(1)).for_each(|_| self.send_next(desk, cx));
            }
            Ask::Publish => {
                if let (0, Some(conn)) = (self.lane, desk.peers.open().first().copied()) {
                    desk.book.count(Count::Published, 1);
                    cx.send(conn, format!("{TO_ALL}{}", monotonic_ns()));
                }
            }
            Ask::Leave => desk.peers.open().to_vec().into_iter().for_each(|conn| desk.peers.provoke(conn)),
        }
    }

    fn forget(&mut self) {
        self.seen = ConnMap::new();
        self.to_send = Vec::new();
        self.waiting = 0;
    }

    fn outstanding(&self) -> u64 {
        self.waiting
    }
}
