//! Everything that waits for a time: the phases' deadlines, the application's timers, the steps of a shutdown.
//!
//! Refuses to know the clock. Invariants: every connection has one entry on the wheel, at the earliest of its
//! deadlines; activity writes `last_seen` and leaves the wheel alone; nothing fires early.

use std::fmt;
use std::time::Duration;

use slab::Slab;

use super::context::Context;
use super::handler::Handler;
use super::{Hub, Marks, Slots};
use crate::conn::Flags;
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::phase::Phase;
use crate::ground::wheel::{Link, Links, TICK, reached};
use crate::wire::close;

/// Far away: where a phase has no deadline of its own, it is looked at again after this many ticks (124 days).
const FAR: u32 = (1 << 30) - 1;

const TICK_NANOS: u32 = TICK.subsec_nanos();
const TICKS_PER_SECOND: u64 = 1_000_000_000 / TICK_NANOS as u64;
const _: () = assert!(TICK.as_secs() == 0 && 1_000_000_000 % TICK_NANOS == 0);

/// The tick that `time` falls into.
pub(super) fn tick_of(time: Duration) -> u32 {
    // Nanoseconds since the start would be 128 bits, of which a division is a call; a turn asks twice.
    ((time.as_secs() * TICKS_PER_SECOND) as u32).wrapping_add(time.subsec_nanos() / TICK_NANOS)
}

/// The first tick that does not begin before `time`.
fn tick_from(time: Duration) -> u32 {
    tick_of(time + (TICK - Duration::from_nanos(1)))
}

/// Pings go out together that are due within this part of their interval, so that a crowd of connections seldom wakes the
/// loop and the peers' machine ...
const PING_GRAIN_SHARE: u32 = 32;
/// ... but at most within so many ticks: a bucket of the wheel's second level, which then is never spread.
const PING_GRAIN_MAX: u32 = 64;

/// The number of whole ticks that cover `span`.
fn ticks(span: Duration) -> u32 {
    tick_from(span).min(FAR)
}

/// Names a timer set by `Context::set_timer`, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId {
    place: u32,
    generation: u32,
}

/// A timer of the application.
#[derive(Debug)]
pub(super) struct Timer {
    link: Link,
    generation: u32,
    scope: u16,
    tag: u64,
}

struct Timers<'a>(&'a mut Slab<Timer>);

impl Links for Timers<'_> {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

/// A graceful shutdown under way.
#[derive(Debug)]
pub(super) struct Shutdown {
    began: Duration,
    /// Connections that had ended before.
    ended_before: u64,
    /// The tick of the next step.
    next: u32,
    deadline: u32,
    /// The place up to which connections have been told.
    cursor: usize,
    report: Report,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Open WebSockets that were sent a Close with 1001.
    pub told: u64,
    /// Connections that ended by themselves within the time.
    pub closed: u64,
    /// Connections that were cut when the time was over.
    pub cut: u64,
    /// Time from the order to the end of the last connection.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { told, closed, cut, took } = self;
        write!(
            f,
            "shut down in {:.2} s: {told} told to go away, {closed} closed, {cut} cut",
            took.as_secs_f64()
        )
    }
}

impl Hub {
    /// The tick after which at least `span` has passed from now.
    fn tick_after(&self, span: Duration) -> u32 {
        tick_from(self.now + span)
    }

    /// Gives a peer that is still taking what is queued `backlog_grace` more, once; false when it has had that.
    fn extend(&mut self, index: u32) -> bool {
        let slot = &self.slots.0[index as usize];
        let extends = self.unsent(index) && !slot.marks.has(Marks::OVERDUE);
        if extends {
            self.enter(index, self.limits.backlog_grace);
            self.slots.0[index as usize].marks.set(Marks::OVERDUE, true);
        }
        extends
    }

    /// Starts the phase's own deadline.
    pub(super) fn enter(&mut self, index: u32, span: Duration) {
        let due = if span.is_zero() { self.tick.wrapping_add(FAR) } else { self.tick_after(span) };
        self.enter_until(index, due);
    }

    /// Starts the time to the next Ping. It ends a little earlier where that lets those of many go out together.
    pub(super) fn enter_ping(&mut self, index: u32, span: Duration) {
        let most = (ticks(self.limits.ping_interval) / PING_GRAIN_SHARE).min(PING_GRAIN_MAX);
        match most.checked_ilog2() {
            Some(bits) => self.enter_until(index, self.tick_after(span) >> bits << bits),
            None => self.enter(index, span),
        }
    }

    fn enter_until(&mut self, index: u32, due: u32) {
        let slot = &mut self.slots.0[index as usize];
        slot.due = due;
        slot.marks.set(Marks::AWAIT_PONG | Marks::OVERDUE, false);
        self.arm(index);
    }

    /// Arms the wheel for the earliest deadline of a connection.
    pub(super) fn arm(&mut self, index: u32) {
        let slot = &self.slots.0[index as usize];
        if slot.conn.phase == Phase::Closed {
            return;
        }
        let mut deadline = slot.due;
        for other in [self.idle_at(index), self.grace_at(index)].into_iter().flatten() {
            if reached(deadline, other) {
                deadline = other;
            }
        }
        self.wheel.arm(&mut self.slots, index, deadline);
    }

    fn idle_at(&self, index: u32) -> Option<u32> {
        let slot = &self.slots.0[index as usize];
        // A peer that we do not read cannot show life; the backlog's grace bounds that time.
        let judged = slot.conn.phase == Phase::Open && !slot.conn.flags.has(Flags::HIGH);
        let on = judged && !self.limits.idle_timeout.is_zero();
        on.then(|| slot.conn.last_seen.wrapping_add(ticks(self.limits.idle_timeout) + 1))
    }

    fn grace_at(&self, index: u32) -> Option<u32> {
        let conn = &self.slots.0[index as usize].conn;
        let since = conn.outbox.as_ref().filter(|_| conn.flags.has(Flags::HIGH))?.high_since?;
        Some(since.wrapping_add(ticks(self.limits.backlog_grace) + 1))
    }

    /// Fires what is due; of connections `expire_budget`, and of the application all.
    pub fn expire(&mut self, app: &mut dyn Handler) {
        let mut budget = self.limits.expire_budget;
        while budget > 0
            && let Some(index) = self.wheel.pop(&mut self.slots, self.tick)
        {
            budget -= 1;
            self.due(index);
        }
        let more = budget == 0 && self.wheel.next().is_some_and(|next| reached(self.tick, next));
        self.stats.budget_expire += u64::from(more);
        while let Some(place) = self.timer_wheel.pop(&mut Timers(&mut self.timers), self.tick) {
            let timer = self.timers.remove(place as usize);
            self.scope = timer.scope;
            app.on_timer(&mut Context::new(self), timer.tag);
        }
        self.shutdown_step();
    }

    /// The time until which nothing is due; `None` when nothing ever is.
    pub fn next_deadline(&self) -> Option<Duration> {
        let shutdown =
            self.shutdown.as_ref().filter(|_| !self.slots.0.is_empty()).map(|shutdown| shutdown.next);
        let ticks = [self.wheel.next(), self.timer_wheel.next(), shutdown];
        // Ticks wrap; how far ahead one lies does not.
        let ahead = ticks.into_iter().flatten().map(|tick| {
            let ahead = tick.wrapping_sub(self.tick);
            if ahead < 1 << 31 { ahead } else { 0 }
        });
        let start = self.now - Duration::from_nanos(u64::from(self.now.subsec_nanos() % TICK_NANOS));
        ahead.min().map(|ahead| start + TICK * ahead)
    }

    fn due(&mut self, index: u32) {
        let tick = self.tick;
        let slot = &self.slots.0[index as usize];
        if self.grace_at(index).is_some_and(|at| reached(tick, at)) {
            return self.doom(index, Closed::new(By::Server, Cause::SlowConsumer), true);
        }
        if self.idle_at(index).is_some_and(|at| reached(tick, at)) {
            let closed = Closed::with(By::Server, Cause::Idle, Some(close::GOING_AWAY), "idle");
            self.close(index, closed);
            return;
        }
        if !reached(tick, slot.due) {
            return self.arm(index);
        }
        match slot.conn.phase {
            Phase::Open => self.ping_due(index),
            Phase::Head | Phase::Body => self.request_due(index),
            Phase::Reply => self.reply_due(index),
            Phase::Closing | Phase::Ending => self.end_due(index),
            Phase::Closed => {}
        }
    }

    /// The peer does not finish what one of us has begun. Why it began is known already and stays the reason.
    fn end_due(&mut self, index: u32) {
        if self.extend(index) {
            return;
        }
        let slot = &self.slots.0[index as usize];
        let unanswered = slot.conn.phase == Phase::Closing || self.unsent(index);
        let counter = if slot.conn.flags.has(Flags::SHUT) {
            &mut self.stats.cut_linger_timeout
        } else {
            &mut self.stats.cut_close_timeout
        };
        *counter += u64::from(!slot.marks.has(Marks::REFUSED));
        // What was to be said has been said; only an unsent rest makes it a failure.
        self.doom(index, Closed::new(By::Server, Cause::Close), unanswered);
    }

    /// The phase's deadline of an open WebSocket is by turns that of the next Ping and that of a sign of life.
    fn ping_due(&mut self, index: u32) {
        let (interval, patience) = (self.limits.ping_interval, self.limits.pong_timeout);
        if interval.is_zero() {
            return self.enter(index, Duration::ZERO);
        }
        let slot = &self.slots.0[index as usize];
        // Any received byte counts as life (it has cleared the flag): a busy peer's Pong may wait behind its data.
        // A peer that is not read because its backlog is high cannot show any; the backlog's grace bounds that time.
        let alive = !slot.conn.flags.has(Flags::PINGED) || slot.conn.flags.has(Flags::HIGH);
        match (slot.marks.has(Marks::AWAIT_PONG), alive) {
            (true, true) if interval > patience => self.enter_ping(index, interval - patience),
            (false, _) | (true, true) => {
                self.enter(index, interval.min(patience));
                self.slots.0[index as usize].marks.set(Marks::AWAIT_PONG, true);
                self.ping(index);
            }
            // The next Ping would be due before this one's answer must have come: wait for the rest of the time.
            (true, false) if interval < patience && !slot.marks.has(Marks::OVERDUE) => {
                self.enter(index, patience - interval);
                self.slots.0[index as usize].marks.set(Marks::AWAIT_PONG | Marks::OVERDUE, true);
            }
            (true, false) => self.doom(index, Closed::new(By::Server, Cause::PingTimeout), true),
        }
    }

    fn request_due(&mut self, index: u32) {
        if self.extend(index) {
            return;
        }
        let slot = &self.slots.0[index as usize];
        let waiting_for_more = slot.is_between_requests(&self.unfinished);
        if slot.conn.flags.has(Flags::CLIENT) {
            self.doom(index, Closed::new(By::Server, Cause::HandshakeTimeout), true);
        } else if waiting_for_more {
            // A kept connection on which no further request has begun: nobody expects an answer.
            self.ending(index, Closed::new(By::Server, Cause::Answered));
        } else {
            self.reject(index, 408, "the request took too long".into(), Cause::HandshakeTimeout);
        }
    }

    pub(super) fn set_timer(&mut self, after: Duration, tag: u64) -> Option<TimerId> {
        if self.timers.len() >= self.limits.timers_max {
            self.stats.refused_timers += 1;
            return None;
        }
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let deadline = self.tick_after(after.min(TICK * FAR));
        let place =
            self.timers.insert(Timer { link: Link::default(), generation, scope: self.scope, tag }) as u32;
        self.timer_wheel.arm(&mut Timers(&mut self.timers), place, deadline);
        Some(TimerId { place, generation })
    }

    pub(super) fn cancel_timer(&mut self, id: TimerId) -> bool {
        if self.timers.get(id.place as usize).is_none_or(|timer| timer.generation != id.generation) {
            return false;
        }
        self.timer_wheel.cancel(&mut Timers(&mut self.timers), id.place);
        self.timers.remove(id.place as usize);
        true
    }

    /// Begins a graceful shutdown; nothing happens if one is under way.
    pub fn begin_shutdown(&mut self) {
        if self.shutdown.is_none() {
            let deadline = self.tick_after(self.limits.shutdown_timeout);
            self.shutdown = Some(Shutdown {
                began: self.now,
                ended_before: self.stats.ended,
                next: self.tick,
                deadline,
                cursor: 0,
                report: Report::default(),
            });
        }
    }

    /// True once a shutdown has begun: no peer is let in.
    pub fn is_shutting_down(&self) -> bool {
        self.shutdown.is_some()
    }

    /// The report, once a shutdown has been ordered and the last connection is gone.
    pub fn shutdown_report(&self) -> Option<Report> {
        let shutdown = self.shutdown.as_ref()?;
        let Report { told, cut, .. } = shutdown.report;
        let closed = (self.stats.ended - shutdown.ended_before).saturating_sub(cut);
        let took = self.now - shutdown.began;
        self.slots.0.is_empty().then_some(Report { told, closed, cut, took })
    }

    /// Tells the next batch of connections, so that a million peers do not come back within one moment.
    fn shutdown_step(&mut self) {
        let Some(shutdown) = &mut self.shutdown else { return };
        if !reached(self.tick, shutdown.next) {
            return;
        }
        let cut = reached(self.tick, shutdown.deadline);
        let mut cursor = if cut { 0 } else { shutdown.cursor };
        let end = self.slots.0.capacity();
        // As many as it takes to tell everyone in half of the time, so that those told last can still answer.
        let steps =
            shutdown.deadline.wrapping_sub(self.tick) / ticks(self.limits.shutdown_interval).max(1) / 2 + 1;
        let paced = self.limits.shutdown_batch.max(self.slots.0.len().div_ceil(steps as usize));
        let mut batch = if cut { usize::MAX } else { paced };
        while batch > 0 && cursor < end {
            let index = cursor as u32;
            cursor += 1;
            let Some(slot) = self.slots.0.get(index as usize) else { continue };
            let phase = slot.conn.phase;
            if phase == Phase::Closed {
                continue;
            }
            batch -= 1;
            if cut {
                self.count_in_report(|report| report.cut += 1);
                self.doom(index, Closed::new(By::Server, Cause::Shutdown), true);
            } else if self.go_away(index, phase) {
                self.count_in_report(|report| report.told += 1);
            }
        }
        let next = self.tick_after(self.limits.shutdown_interval);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.cursor = cursor;
            shutdown.next = if cursor < end { next } else { shutdown.deadline };
        }
    }

    fn go_away(&mut self, index: u32, phase: Phase) -> bool {
        match phase {
            Phase::Open => {
                let reason = "server is shutting down";
                self.close(index, Closed::with(By::Server, Cause::Shutdown, Some(close::GOING_AWAY), reason))
            }
            Phase::Head | Phase::Body | Phase::Reply => {
                self.reject(index, 503, "server is shutting down".into(), Cause::Shutdown);
                false
            }
            _ => false,
        }
    }

    fn count_in_report(&mut self, count: impl FnOnce(&mut Report)) {
        if let Some(shutdown) = &mut self.shutdown {
            count(&mut shutdown.report);
        }
    }
}

impl Links for Slots {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize].link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_ten_milliseconds() {
        for (nanos, tick) in
            [(0, 0), (9_999_999, 0), (10_000_000, 1), (999_999_999, 99), (1_000_000_000, 100)]
        {
            assert_eq!(tick_of(Duration::from_nanos(nanos)), tick, "{nanos}");
        }
        for (nanos, tick) in [(0, 0), (1, 1), (10_000_000, 1), (10_000_001, 2), (1_000_000_000, 100)] {
            assert_eq!(tick_from(Duration::from_nanos(nanos)), tick, "{nanos}");
        }
        // They wrap after 497 days.
        let wrapped = Duration::from_millis(10 * ((1 << 32) + 7));
        assert_eq!(tick_of(wrapped), 7);
    }
}
