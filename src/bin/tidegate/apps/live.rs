//! `live`: the loop's counters once a second, as JSON, for the page.
//!
//! Refuses to know how they are shown. Invariant: rates cover the time since the line before, so a pause
//! without listeners never shows up as a burst.

use std::time::Duration;

use serde::Serialize;
use tidegate::{ConnId, Context, Handler, Message, Policy, Stats};

use super::{beat::Beat, tag};

const TOPIC: &str = "live";

/// The counters' application.
pub struct Live {
    beat: Beat,
    before: Totals,
}

/// Counters that only grow, at one moment of the loop's time.
#[derive(Clone, Copy, Default)]
struct Totals {
    at: Duration,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Serialize)]
struct Line {
    connections: u64,
    open: u64,
    messages_per_second: u64,
    messages_out_per_second: u64,
    bytes_in_per_second: u64,
    bytes_out_per_second: u64,
    queued_bytes: u64,
    memory_bytes: u64,
    turn_microseconds: u64,
    turn_max_microseconds: u64,
    uptime_seconds: u64,
}

impl Live {
    pub fn new() -> Self {
        Live { beat: Beat::new(tag::LIVE, TOPIC, Duration::from_secs(1)), before: Totals::default() }
    }
}

impl Handler for Live {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if self.beat.join(cx, conn) {
            // The topic exists since `join`, so there is nothing to refuse.
            let _ = cx.topic_policy(TOPIC, Policy::KeepLatest);
            self.before = Totals::of(cx.now(), &cx.stats());
        }
    }

    fn on_message(&mut self, _cx: &mut Context<'_>, _conn: ConnId, _msg: Message<'_>) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if !self.beat.strikes(cx, tag) {
            return;
        }
        let (stats, now) = (cx.stats(), cx.now());
        let totals = Totals::of(now, &stats);
        if let Ok(json) = serde_json::to_string(&Line::between(&self.before, &totals, &stats)) {
            cx.publish(TOPIC, json);
        }
        self.before = totals;
    }
}

impl Totals {
    fn of(at: Duration, stats: &Stats) -> Self {
        Totals {
            at,
            messages_in: stats.messages_in,
            messages_out: stats.messages_out,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
        }
    }
}

impl Line {
    fn between(before: &Totals, now: &Totals, stats: &Stats) -> Self {
        let span = now.at.saturating_sub(before.at);
        let rate = |before: u64, now: u64| per_second(now.saturating_sub(before), span);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Line {
            connections: stats.connections,
            open: stats.open,
            messages_per_second: rate(before.messages_in, now.messages_in),
            messages_out_per_second: rate(before.messages_out, now.messages_out),
            bytes_in_per_second: rate(before.bytes_in, now.bytes_in),
            bytes_out_per_second: rate(before.bytes_out, now.bytes_out),
            queued_bytes: stats.queued_bytes,
            memory_bytes: stats.memory_bytes,
            turn_microseconds: micros(stats.turn_last),
            turn_max_microseconds: micros(stats.turn_max),
            uptime_seconds: now.at.as_secs(),
        }
    }
}

/// `count` in `span`, rounded to a whole number per second.
fn per_second(count: u64, span: Duration) -> u64 {
    let milliseconds = span.as_millis().max(1);
    let rate = (u128::from(count) * 1_000 + milliseconds / 2) / milliseconds;
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_whatever_the_span() {
        let table = [(0, 1_000, 0), (500, 1_000, 500), (500, 2_000, 250), (3, 2_000, 2), (7, 0, 7_000)];
        for (count, milliseconds, expected) in table {
            assert_eq!(per_second(count, Duration::from_millis(milliseconds)), expected);
        }
        assert_eq!(per_second(u64::MAX, Duration::from_millis(1)), u64::MAX);
    }

    #[test]
    fn a_line_has_every_field_that_the_page_reads() {
        let line = Line::between(&Totals::default(), &Totals::default(), &Stats::default());
        let json = serde_json::to_value(&line).unwrap();
        let fields = [
            "connections",
            "open",
            "messages_per_second",
            "messages_out_per_second",
            "bytes_in_per_second",
            "bytes_out_per_second",
            "queued_bytes",
            "memory_bytes",
            "turn_microseconds",
            "turn_max_microseconds",
            "uptime_seconds",
        ];
        assert!(fields.iter().all(|field| json[field].is_u64()), "{json}");
        assert_eq!(json.as_object().map(|object| object.len()), Some(fields.len()));
    }
}
