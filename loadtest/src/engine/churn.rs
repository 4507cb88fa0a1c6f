//! `ChurnRole`: connections that are opened, closed, and opened again.
//!
//! Refuses to send messages. Invariants: without a rate, as many are alive as were asked for; with one, each begins at
//! its planned time, or is counted as unsent when as many as are allowed are alive. Those that open before the load begins
//! are held to the end.

use std::collections::HashSet;

use tidegate::{ConnId, Context, Message};

use super::calendar::Calendar;
use super::lane::{Desk, Play};
use super::peers::Ended;
use crate::order::{Churn, Count, Metric, Setup, share};
use crate::server::cpu::monotonic_ns;

/// Connections begun before the loop is looked after again.
const PER_TURN: u32 = 256;

/// See the module's text.
pub struct ChurnRole {
    churn: Churn,
    calendar: Calendar,
    concurrency: u64,
    alive: u64,
    /// Those that failed are begun again with the next beat: a server that refuses all is not asked in a spin.
    again: u64,
    /// Those that are held.
    held: HashSet<ConnId>,
}

impl ChurnRole {
    pub fn new(setup: &Setup, churn: &Churn, lane: u32) -> Self {
        ChurnRole {
            churn: *churn,
            calendar: Calendar::new(setup, lane),
            concurrency: share(u64::from(churn.concurrency), lane, setup.lanes).max(1),
            alive: 0,
            again: 0,
            held: HashSet::new(),
        }
    }

    fn begin(&mut self, desk: &mut Desk, cx: &mut Context<'_>, planned: u64, now: u64) {
        let begun = desk.peers.dial(&mut desk.book, cx, planned, now);
        self.alive += u64::from(begun);
        // Without this its place would stay empty for the rest of the run.
        self.again += u64::from(!begun && !self.calendar.is_planned());
    }
}

impl Play for ChurnRole {
    fn load(&mut self, desk: &mut Desk, cx: &mut Context<'_>, on: bool, at: u64) {
        self.again = 0;
        if !self.calendar.turn(on) {
            return;
        }
        if let Some(rate) = self.churn.per_second {
            self.calendar.plan(self.churn.poisson, rate, at);
            return;
        }
        let now = monotonic_ns();
        for _ in self.alive..self.concurrency {
            self.begin(desk, cx, now, now);
        }
    }

    fn opened(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, now: u64) {
        if self.alive == 0 {
            self.held.insert(conn);
            return;
        }
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

    fn ended(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, how: Ended, now: u64) {
        if self.held.remove(&conn) {
            return;
        }
        self.alive = self.alive.saturating_sub(1);
        if !self.calendar.is_on() || self.calendar.is_planned() {
            return;
        }
        if how == Ended::Left {
            self.begin(desk, cx, now, now);
        } else {
            self.again += 1;
        }
    }

    fn due(&self) -> Option<u64> {
        self.calendar.due()
    }

    fn work(&mut self, desk: &mut Desk, cx: &mut Context<'_>, until: u64) {
        for _ in 0..PER_TURN {
            let Some(planned) = self.calendar.next(until) else { return };
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
        self.held.clear();
    }

    fn outstanding(&self) -> u64 {
        self.alive
    }
}
