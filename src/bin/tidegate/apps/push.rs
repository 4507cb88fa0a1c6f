//! `push`: one line of JSON per second to everyone, one encoded frame for all of them.
//!
//! Invariant: `seq` counts up by one per line, as long as anyone listens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tidegate::{ConnId, Context, Handler, Message};

use super::{beat::Beat, tag};

const TOPIC: &str = "push";

/// The push application.
pub struct Push {
    beat: Beat,
    seq: u64,
}

#[derive(Serialize)]
struct Line {
    seq: u64,
    unix_ms: u64,
    connections: u64,
}

impl Push {
    pub fn new() -> Self {
        Push { beat: Beat::new(tag::PUSH, TOPIC, Duration::from_secs(1)), seq: 0 }
    }
}

impl Handler for Push {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.beat.join(cx, conn);
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, _conn: ConnId, _msg: Message<'_>) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if !self.beat.strikes(cx, tag) {
            return;
        }
        self.seq += 1;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let line = Line { seq: self.seq, unix_ms, connections: cx.stats().connections };
        if let Ok(json) = serde_json::to_string(&line) {
            cx.publish(TOPIC, json);
        }
    }
}
