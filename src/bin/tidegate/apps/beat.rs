//! A timer that repeats in step with the clock, and only while somebody listens to a topic.
//!
//! Refuses to know what is published. Invariant: at most one timer per `Beat` is armed, and none once the
//! topic has lost its last subscriber, so that an idle loop sleeps.

use std::time::Duration;

use tidegate::{ConnId, Context};

/// A repeating timer that is bound to a topic.
pub struct Beat {
    tag: u64,
    topic: &'static str,
    period: Duration,
    /// When the armed timer is due, in the loop's time; `None` while nobody listens.
    due: Option<Duration>,
}

impl Beat {
    pub fn new(tag: u64, topic: &'static str, period: Duration) -> Self {
        Beat { tag, topic, period, due: None }
    }

    /// Makes a new connection a listener. True when it is the first one and the beat starts with it.
    pub fn join(&mut self, cx: &mut Context<'_>, conn: ConnId) -> bool {
        if let Err(error) = cx.subscribe(conn, self.topic) {
            cx.close(conn, 1013, &error.to_string());
            return false;
        }
        if self.due.is_some() {
            return false;
        }
        self.due = arm(cx, self.tag, cx.now() + self.period);
        true
    }

    /// True when this timer is ours and somebody listens: the next one is armed, and it is time to publish.
    pub fn strikes(&mut self, cx: &mut Context<'_>, tag: u64) -> bool {
        let Some(due) = self.due.filter(|_| tag == self.tag) else { return false };
        let wanted = cx.subscribers(self.topic) > 0;
        self.due = if wanted { arm(cx, self.tag, next(due, self.period, cx.now())) } else { None };
        wanted
    }
}

/// Arms a timer for `due`; `None` when all timers are in use, and the next listener tries again.
fn arm(cx: &mut Context<'_>, tag: u64, due: Duration) -> Option<Duration> {
    let after = due.saturating_sub(cx.now());
    cx.set_timer(after, tag).map(|_| due)
}

/// The beat after `due`: in step with the one before, unless the loop fell behind by a whole period.
fn next(due: Duration, period: Duration, now: Duration) -> Duration {
    let in_step = due + period;
    if in_step > now { in_step } else { now + period }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_stay_in_step_and_skip_what_was_missed() {
        // (due, now, next), period 50, in milliseconds.
        for (due, now, expected) in
            [(100, 100, 150), (100, 104, 150), (100, 149, 150), (100, 150, 200), (100, 900, 950)]
        {
            let ms = Duration::from_millis;
            assert_eq!(next(ms(due), ms(50), ms(now)), ms(expected));
        }
    }
}
