//! `ChurnRole`: connections that are opened, closed, and opened again.
//!
//! Refuses to send messages. Invariants: without a rate, as many are alive as were asked for; with one, each begins at
//! its planned time, or is counted as unsent when as many as are allowed are alive.

use tidegate::{ConnId, Context, Message};

use super::lane::{Desk, Play};
use super::peers::Ended;
use crate::order::{Churn, Count, Metric, Setup, share};
use crate::schedule::Schedule;
use crate::server::cpu::monotonic_ns;

/// Connections begun before the loop is looked after again.
const PER_TURN: u32 = 256;

/// See the module's text.
pub struct ChurnRole {
    churn: Churn,
    lane: u32,
    lanes: u32,
    seed: u64,
    concurrency: u64,
    alive: u64,
    schedule: Option<Schedule>,
    loading: bool,
    /// Those that failed are begun again with the next beat: a server that refuses all is not asked in a spin.
    again: u64,
}

impl ChurnRole {
    pub fn new(setup: &Setup, churn: &Churn, lane: u32) -> Self {
        ChurnRole {
            churn: *churn,
            lane,
            lanes: setup.lanes,
            seed: setup.seed,
            concurrency: share(u64::from(churn.concurrency), lane, setup.lanes).max(1),
            alive: 0,
            schedule: None,
            loading: false,
            again: 0,
        }
    }

    fn begin(&mut self, desk: &mut Desk, cx: &mut Context<'_>, planned: u64, now: u64) {
        let begun = desk.peers.dial(&mut desk.book, cx, planned, now);
        self.alive += u64::from(begun);
        // Without this its place would stay empty for the rest of the run.
        self.again += u64::from(!begun && self.schedule.is_none());
    }
}

impl Play for ChurnRole {
    fn load(&mut self, desk: &mut Desk, cx: &mut Context<'_>, on: bool, at: u64) {
        let began = on && !self.loading;
        self.loading = on;
        self.again = 0;
        if !on {
            self.schedule = None;
        } else if began && let Some(rate) = self.churn.per_second {
            self.schedule =
                Schedule::of_lane(self.churn.poisson, rate, self.lane, self.lanes, at, self.seed).ok();
        } else if began {
            let now = monotonic_ns();
            for _ in self.alive..self.concurrency {
                self.begin(desk, cx, now, now);
            }
        }
    }

    fn opened(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, now: u64) {
        desk.peers.leave(conn, now);
        if self.churn.abort {
            cx.abort(conn);
        } else {
            cx.close(conn, 1000, "");
        }
    }

    fn message(&mut self, desk: &mut Desk, _: &mut Context<'_>, _: ConnId, _: &Message<'_>, _: u64) {
        desk.book.count(Count::Received, 1);
    }

    fn ended(&mut self, desk: &mut Desk, cx: &mut Context<'_>, _: ConnId, how: Ended, now: u64) {
        self.alive = self.alive.saturating_sub(1);
        if !self.loading || self.schedule.is_some() {
            return;
        }
        if how == Ended::Left {
            self.begin(desk, cx, now, now);
        } else {
            self.again += 1;
        }
    }

    fn due(&self) -> Option<u64> {
        self.schedule.as_ref().map(Schedule::next_due)
    }

    fn work(&mut self, desk: &mut Desk, cx: &mut Context<'_>, until: u64) {
        for _ in 0..PER_TURN {
            let Some(schedule) = self.schedule.as_mut() else { return };
            let planned = schedule.next_due();
            if planned > until {
                return;
            }
            schedule.advance();
            let now = monotonic_ns();
            desk.book.time_at(planned, Metric::Slip, now.saturating_sub(planned));
            if self.alive < self.concurrency {
                self.begin(desk, cx, planned, now);
            } else {
                desk.book.count_at(planned, Count::Unsent, 1);
            }
        }
    }

    fn beat(&mut self, desk: &mut Desk, cx: &mut Context<'_>, now: u64) {
        for _ in 0..std::mem::take(&mut self.again) {
            self.begin(desk, cx, now, now);
        }
    }

    fn stall(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64, _: bool, _: u64) {}

    fn forget(&mut self) {
        self.alive = 0;
    }

    fn outstanding(&self) -> u64 {
        self.alive
    }
}
