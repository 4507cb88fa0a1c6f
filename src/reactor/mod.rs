//! L4: one turn of the loop, generic over the `Io` that moves the bytes.
//!
//! Refuses to know the protocol. Invariants: a turn is bounded (budgets for accepting, dialling, reading, commands
//! and flushing); whoever is cut off by a budget is remembered and the loop does not sleep; it sleeps only when there is
//! nothing to do.
//!
//! ```text
//! 1 timeout   2 wait   3 the time   4 accept, dial   5 read → callbacks → write, peer by peer
//! 6 commands of other threads   7 deadlines   8 flush who was sent to   9 bury who has ended
//! ```

pub mod inbox;
pub mod io;
mod newcomers;
#[cfg(not(feature = "tls"))]
mod plain;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod sys;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use self::inbox::{Command, Handle, Inbox};
use self::io::{Io, Readiness, Source};
use crate::conn::cork::HEADROOM;
use crate::conn::outbox::SLICES;
use crate::conn::phase::Phase;
use crate::hub::broadcast::Broadcast;
use crate::hub::context::Context;
use crate::hub::deadlines::Report;
use crate::hub::handler::Handler;
use crate::hub::outgoing::Next;
use crate::hub::{Hub, Marks};
use crate::wire::frame::HEADER_MAX;

/// A loop to which nothing has come for so long gives back what it has kept for messages to come.
const SPARES_KEPT: Duration = Duration::from_millis(100);

/// What a turn of the loop ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The loop goes on.
    Running,
    /// A shutdown is complete; further turns do nothing.
    Stopped(Report),
}

/// What a write left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// The kernel took all of it, so many bytes, and may take more.
    More(usize),
    /// The kernel takes no more for now.
    Blocked,
    /// The connection has failed.
    Failed,
}

/// A loop: its peers, its application's calls, and the `Io` below. See the module's text.
pub struct Reactor<I: Io> {
    io: I,
    hub: Hub,
    inbox: Inbox,
    scratch: Vec<u8>,
    events: Vec<Readiness>,
    /// Listeners that may have connections waiting.
    pending: Vec<bool>,
    /// When to try the listeners again that had no descriptor.
    retry_at: Option<Duration>,
    starved: bool,
    listening: bool,
    /// The time at which this turn began, before it waited.
    now: Duration,
    /// When the last event came.
    stirred: Duration,
    /// Somebody has woken the loop since it was last run.
    woken: bool,
    #[cfg(feature = "tls")]
    lent: tls::Lent,
}

impl<I: Io> Reactor<I> {
    /// A loop over `io`.
    pub fn new(mut io: I, hub: Hub) -> Self {
        let limits = &hub.limits;
        let inbox = Inbox::new(limits.inbox_max, limits.inbox_bytes_max, io.waker());
        // A frame as long as the read buffer comes with its header.
        let scratch = vec![0; HEADROOM + limits.scratch_bytes + HEADER_MAX];
        let now = io.now();
        Reactor {
            io,
            inbox,
            scratch,
            // At once: where it came about in the middle of a load, it would lie above what that leaves free.
            events: Vec::with_capacity(hub.limits.events_max),
            pending: Vec::new(),
            retry_at: None,
            starved: false,
            listening: true,
            now,
            stirred: now,
            woken: false,
            #[cfg(feature = "tls")]
            lent: tls::Lent::default(),
            hub,
        }
    }

    /// The `Io` below.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// The hub above.
    pub fn hub(&mut self) -> &mut Hub {
        &mut self.hub
    }

    /// The hub above, lent as to a callback but between two turns, at the time it is now.
    pub fn context(&mut self) -> Context<'_> {
        self.now = self.io.now();
        self.hub.set_now(self.now);
        let mut cx = Context::new(&mut self.hub);
        // Whatever handler ran last, it is not the one that calls.
        cx.set_scope(0);
        cx
    }

    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.inbox.handle()
    }

    /// Waits, at most `max_wait`, and does everything that is to be done, within the budgets.
    ///
    /// # Errors
    /// When waiting itself fails: the poller is broken.
    pub fn turn(&mut self, app: &mut dyn Handler, max_wait: Option<Duration>) -> std::io::Result<Turn> {
        // The program that drives the loop may have done something else since the last turn.
        self.now = self.io.now();
        self.next_turn(app, max_wait)
    }

    /// Turns until a shutdown is complete.
    ///
    /// # Errors
    /// When waiting itself fails: the poller is broken.
    pub fn run(&mut self, app: &mut dyn Handler) -> std::io::Result<Report> {
        loop {
            if let Turn::Stopped(report) = self.run_until_woken(app)? {
                return Ok(report);
            }
        }
    }

    /// Turns until the loop is woken, or a shutdown is complete.
    ///
    /// # Errors
    /// When waiting itself fails: the poller is broken.
    pub fn run_until_woken(&mut self, app: &mut dyn Handler) -> std::io::Result<Turn> {
        self.now = self.io.now();
        self.woken = false;
        loop {
            let turn = self.next_turn(app, None)?;
            if self.woken || matches!(turn, Turn::Stopped(_)) {
                return Ok(turn);
            }
        }
    }

    /// A turn that begins at `self.now`; at its end that is the time at which it ended.
    fn next_turn(&mut self, app: &mut dyn Handler, max_wait: Option<Duration>) -> std::io::Result<Turn> {
        if let Some(report) = self.hub.shutdown_report() {
            // Ordered between two turns, perhaps: then this is the first to know.
            return Ok(self.stop(report));
        }
        self.hub.set_now(self.now);
        self.hub.start(app);
        if let Some(report) = self.hub.shutdown_report() {
            return Ok(self.stop(report));
        }
        let timeout = self.timeout(max_wait);
        self.events.clear();
        self.wait(timeout)?;
        let began = self.io.now();
        if !self.events.is_empty() {
            self.stirred = began;
        } else if self.hub.has_spares() && began.saturating_sub(self.stirred) >= SPARES_KEPT {
            self.hub.forget_spares();
        }
        self.hub.set_now(began);
        self.hub.stats.turns += 1;
        self.hub.stats.events += self.events.len() as u64;
        self.hub.stats.budget_events += u64::from(self.events.len() >= self.hub.limits.events_max);
        self.hub.stats.refused_commands = self.inbox.refused();
        self.note_events(app);
        if self.may_accept() {
            self.accept_all();
        }
        self.dial_all();
        self.read_all(app);
        if self.inbox.begin() {
            self.obey();
        }
        self.hub.expire(app);
        if self.hub.has_broadcast() || self.hub.dirty_len() > 0 {
            self.flush_all(app);
        }
        if self.hub.has_doomed() {
            self.bury_all(app);
        }
        self.now = self.io.now();
        let took = self.now.saturating_sub(began);
        self.hub.stats.turn_last = took;
        self.hub.stats.turn_max = self.hub.stats.turn_max.max(took);
        self.hub.stats.turn_sum += took;
        // It looks at every connection: often enough to find a defect near its turn, seldom enough to run with many.
        if cfg!(debug_assertions) && self.hub.stats.turns.is_multiple_of(1 + self.hub.connections() / 16) {
            self.check();
        }
        Ok(match self.hub.shutdown_report() {
            Some(report) => self.stop(report),
            None => Turn::Running,
        })
    }

    fn stop(&mut self, report: Report) -> Turn {
        self.stop_listening();
        self.inbox.stop();
        Turn::Stopped(report)
    }

    /// Verifies the invariants of the hub; for debug builds and the simulator.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn check(&self) {
        self.hub.check();
    }

    /// Zero while anybody is cut off by a budget, or has been sent to or ended between two turns, else the time to the next deadline.
    fn timeout(&self, max_wait: Option<Duration>) -> Option<Duration> {
        let busy = self.hub.has_ready()
            || self.hub.dirty_len() > 0
            || self.hub.has_broadcast()
            || self.hub.has_doomed()
            || self.inbox.has_more()
            || self.pending.contains(&true)
            || self.dials_wait();
        if busy {
            return Some(Duration::ZERO);
        }
        let next = [self.hub.next_deadline(), self.retry_at].into_iter().flatten().min();
        let span = next.map(|at| at.saturating_sub(self.now));
        let wait = [span, max_wait].into_iter().flatten().min();
        if !self.hub.has_spares() {
            return wait;
        }
        let kept = SPARES_KEPT.saturating_sub(self.now.saturating_sub(self.stirred));
        Some(wait.map_or(kept, |wait| wait.min(kept)))
    }

    /// The wait of a turn. With `spin` it looks without sleeping first, until so long after the last event.
    fn wait(&mut self, mut timeout: Option<Duration>) -> std::io::Result<()> {
        let spin = self.hub.limits.spin;
        if !spin.is_zero() {
            let sleep_at = self.stirred.saturating_add(spin);
            let end = timeout.map(|timeout| self.now.saturating_add(timeout));
            let mut now = self.now;
            while now < sleep_at && end.is_none_or(|end| now < end) {
                self.hub.stats.waits += 1;
                self.hub.stats.spins += 1;
                self.io.wait(Some(Duration::ZERO), &mut self.events)?;
                if !self.events.is_empty() {
                    return Ok(());
                }
                now = self.io.now();
            }
            timeout = end.map(|end| end.saturating_sub(now));
        }
        self.hub.stats.waits += 1;
        self.io.wait(timeout, &mut self.events)
    }

    fn note_events(&mut self, app: &mut dyn Handler) {
        for i in 0..self.events.len() {
            let event = self.events[i];
            match event.source {
                Source::Waker => self.woken = true,
                Source::Listener(listener) => self.set_pending(listener, true),
                Source::Peer(key) => {
                    self.note_peer(key, event);
                    self.note_made(key, event, app);
                }
            }
        }
    }

    fn set_pending(&mut self, listener: usize, on: bool) {
        if self.pending.len() <= listener {
            self.pending.resize(listener + 1, false);
        }
        self.pending[listener] = on;
    }

    fn note_peer(&mut self, key: u32, event: Readiness) {
        let Some(slot) = self.hub.slot(key) else { return };
        let unread = event.readable || event.read_closed || event.failed;
        if unread {
            slot.marks.set(Marks::READABLE, true);
            if !(event.writable || event.read_closed || event.failed) {
                return self.hub.mark_ready(key);
            }
        }
        if event.read_closed || event.failed {
            slot.marks.set(Marks::READ_CLOSED, true);
        }
        if event.writable || event.failed {
            slot.marks.set(Marks::BLOCKED, false);
            self.hub.mark_dirty(key);
        }
        if event.failed && !self.hub.may_read(key) {
            // Neither reading, which is paused, nor writing, of which there may be nothing, would meet the failure.
            return self.hub.broken(key, ErrorKind::ConnectionReset);
        }
        if unread {
            self.hub.mark_ready(key);
        }
    }

    /// A dialled connection is made with the first event that lets it be written and does not say that it has failed.
    #[cfg(any(test, feature = "client"))]
    fn note_made(&mut self, key: u32, event: Readiness, app: &mut dyn Handler) {
        if event.writable && !event.failed && self.hub.slot(key).is_some() {
            self.hub.made(key, app);
        }
    }

    #[cfg(not(any(test, feature = "client")))]
    fn note_made(&mut self, _: u32, _: Readiness, _: &mut dyn Handler) {}

    fn read_all(&mut self, app: &mut dyn Handler) {
        // Those that a callback makes ready wait for the next turn: nobody is served twice before all are served once.
        let ready = self.hub.take_ready();
        self.begin_handshakes();
        for &index in &ready {
            if self.hub.unmark_ready(index) && !self.put_off(index) {
                self.read_peer(index, app);
            }
        }
        self.hub.give_back(ready);
    }

    fn read_peer(&mut self, index: u32, app: &mut dyn Handler) {
        self.hub.cork(index);
        if self.hub.kept_is_due(index) {
            self.hub.feed_kept(index, app);
        }
        let mut budget = self.hub.limits.read_budget;
        while self.hub.wants_read(index) {
            if budget == 0 {
                self.hub.stats.budget_read += 1;
                self.hub.mark_ready(index);
                break;
            }
            // The next bytes would come over what is to be written.
            if self.hub.has_lent() {
                if let Some(wrote) = self.write_lent(index) {
                    self.hub.mark_ready(index);
                    return self.flush_on(index, wrote, app);
                }
                continue;
            }
            // The budget is looked at between reads: cut short by it, a read would end within a frame.
            let mut most = (self.scratch.len() - HEADROOM).min(self.hub.limits.read_budget);
            self.hub.stats.reads += 1;
            if self.hub.may_have_place(index) {
                if let Some(len) = self.read_in_place(index, most, app) {
                    budget = budget.saturating_sub(len);
                    continue;
                }
                most = self.hub.up_to_frame_end(index, most);
            }
            match self.io.read(index, &mut self.scratch[HEADROOM..HEADROOM + most]) {
                Ok(len @ 1..) => {
                    budget = budget.saturating_sub(len);
                    let drained = self.note_read(len, most);
                    self.received(index, len, drained, app);
                }
                other => self.read_nothing(index, other),
            }
        }
        if !self.hub.limits.flush_per_turn && self.reply(index, app) {
            return;
        }
        self.read_on(index, app);
    }

    /// What a read leaves to be done where it is not only to write a reply.
    #[inline(never)]
    fn read_on(&mut self, index: u32, app: &mut dyn Handler) {
        self.hub.tell_drained(index, app);
        if (self.hub.cork_waits(index) || self.hub.tls_waits(index)) && !self.hub.limits.flush_per_turn {
            self.flush_peer(index, app);
        } else {
            // What waits goes to the peer's backlog, and the peer on the list of those to be flushed.
            self.hub.uncork(&self.scratch);
        }
    }

    /// Counts a read of `len` bytes where `room` were asked for; true when it has drained the socket, as one does that came back
    /// short.
    fn note_read(&mut self, len: usize, room: usize) -> bool {
        let limits = &self.hub.limits;
        let full = len == room && len >= limits.scratch_bytes.min(limits.read_budget);
        self.hub.stats.reads_full += u64::from(full);
        len < room && self.hub.limits.short_read_rule
    }

    /// Reads what belongs to a long message to where it stays: how many bytes, or `None` if there is no such place.
    #[inline(never)]
    fn read_in_place(&mut self, index: u32, most: usize, app: &mut dyn Handler) -> Option<usize> {
        let place = self.hub.place(index, most)?;
        let room = place.len();
        let result = self.io.read(index, place);
        let len = result.as_ref().map_or(0, |len| *len);
        let drained = len > 0 && self.note_read(len, room);
        self.hub.received_in_place(index, len, drained, app);
        if len == 0 {
            self.read_nothing(index, result);
        }
        Some(len)
    }

    /// A read has brought nothing: the end of the stream, or why there is nothing.
    #[cold]
    fn read_nothing(&mut self, index: u32, result: std::io::Result<usize>) {
        match result {
            Ok(_) => {
                self.note_drained(index);
                self.hub.end_of_stream(index);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.hub.stats.reads_empty += 1;
                self.note_drained(index);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                self.note_drained(index);
                self.hub.broken(index, error.kind());
            }
        }
    }

    /// Writes what the callbacks have answered, where that is all there is to do; true when it did. So end most reads.
    fn reply(&mut self, index: u32, app: &mut dyn Handler) -> bool {
        let Some(bytes) = self.hub.plain_reply(index, &self.scratch) else { return false };
        let offered = bytes.len();
        let result = self.io.write(index, &[IoSlice::new(bytes)]);
        self.hub.stats.writes += 1;
        match result {
            Ok(len) if len == offered => self.hub.replied(len),
            other => self.reply_on(index, offered, other, app),
        }
        true
    }

    /// Goes on after a reply of which the kernel has not taken all.
    #[cold]
    fn reply_on(
        &mut self,
        index: u32,
        offered: usize,
        result: std::io::Result<usize>,
        app: &mut dyn Handler,
    ) {
        let wrote = self.wrote(index, offered, result);
        self.flush_on(index, wrote, app);
    }

    /// Makes room in the read buffer, in which replies lie: writes them once, or copies them where that is to wait for the
    /// turn's end. What the write has left to be done, if it was cut short. (No more is written so than is read, which has a
    /// budget.)
    #[inline(never)]
    fn write_lent(&mut self, index: u32) -> Option<Wrote> {
        if self.hub.limits.flush_per_turn {
            self.hub.uncork(&self.scratch);
            return None;
        }
        let (offered, result) = self.write_peer(index, self.hub.limits.flush_budget);
        self.hub.stats.writes += 1;
        let wrote = self.wrote(index, offered, result);
        (wrote == Wrote::Failed || self.hub.cork_waits(index)).then_some(wrote)
    }

    fn note_drained(&mut self, index: u32) {
        if let Some(slot) = self.hub.slot(index) {
            slot.marks.set(Marks::READABLE | Marks::READ_CLOSED, false);
        }
    }

    #[inline(never)]
    fn obey(&mut self) {
        for _ in 0..self.hub.limits.inbox_budget {
            let Some(command) = self.inbox.next() else { return };
            self.hub.stats.commands += 1;
            let mut cx = Context::new(&mut self.hub);
            match command {
                Command::Publish(topic, message) => drop(cx.publish(&topic, message)),
                Command::Send(conn, message) => drop(cx.send(conn, message)),
                Command::Close(conn, code, reason) => drop(cx.close(conn, code, &reason)),
                Command::Shutdown => cx.shutdown(),
                #[cfg(feature = "tls")]
                Command::Tls(tls) => self.hub.set_tls(tls),
            }
        }
        self.hub.stats.budget_inbox += 1;
        self.inbox.cut_off();
    }

    #[inline(never)]
    fn flush_all(&mut self, app: &mut dyn Handler) {
        self.broadcast();
        // Those that `on_drain` sends to wait for the next turn.
        for _ in 0..self.hub.dirty_len() {
            let Some(index) = self.hub.next_dirty() else { break };
            self.flush_peer(index, app);
        }
    }

    /// Writes what is the same for many to all who can take it; the others' share is queued.
    fn broadcast(&mut self) {
        while self.hub.has_broadcast()
            && let Some(broadcast) = self.hub.next_broadcast()
        {
            self.write_to_all(&broadcast);
            self.hub.end_broadcast(broadcast);
        }
    }

    fn write_to_all(&mut self, broadcast: &Broadcast) {
        #[cfg(not(feature = "deflate"))]
        let bytes = broadcast.bytes();
        #[cfg(not(feature = "deflate"))]
        let offered = &bytes[..bytes.len().min(self.hub.limits.flush_budget)];
        for &index in &broadcast.recipients {
            if !self.hub.takes_broadcast(index, broadcast) {
                continue;
            }
            #[cfg(feature = "deflate")]
            let bytes = self.hub.share(index, broadcast);
            #[cfg(feature = "deflate")]
            let offered = &bytes[..bytes.len().min(self.hub.limits.flush_budget)];
            #[cfg(feature = "tls")]
            if self.hub.is_tls(index) {
                self.broadcast_sealed(index, broadcast, offered);
                continue;
            }
            self.hub.stats.writes += 1;
            let (len, blocked) = match taken(offered.len(), self.io.write(index, &[IoSlice::new(offered)])) {
                Ok(taken) => taken,
                Err(kind) => {
                    self.hub.broken(index, kind);
                    continue;
                }
            };
            self.hub.broadcast_sent(index, broadcast, len, blocked);
            if blocked {
                self.hub.stats.writes_short += 1;
                self.want_write(index, true);
            }
        }
    }

    fn flush_peer(&mut self, index: u32, app: &mut dyn Handler) {
        self.flush_on(index, Wrote::More(0), app);
    }

    /// Flushes a peer, after a write that ended so.
    #[inline(never)]
    fn flush_on(&mut self, index: u32, mut wrote: Wrote, app: &mut dyn Handler) {
        let mut budget = self.hub.limits.flush_budget;
        while let Wrote::More(len) = wrote {
            budget -= len;
            if !self.hub.has_outgoing(index) {
                break;
            }
            if budget == 0 {
                self.hub.stats.budget_flush += 1;
                break;
            }
            #[cfg(feature = "tls")]
            if self.hub.is_tls(index) {
                wrote = self.write_sealed(index, budget);
                continue;
            }
            let (offered, result) = self.write_peer(index, budget);
            self.hub.stats.writes += 1;
            wrote = self.wrote(index, offered, result);
        }
        self.hub.uncork(&self.scratch);
        if wrote == Wrote::Failed {
            return;
        }
        let blocked = wrote == Wrote::Blocked;
        self.want_write(index, blocked);
        match self.hub.flushed(index, blocked, app) {
            Next::Stay => {}
            Next::Shut => self.io.shut(index),
        }
    }

    /// Takes note of what the kernel said to a write of `offered` bytes.
    fn wrote(&mut self, index: u32, offered: usize, result: std::io::Result<usize>) -> Wrote {
        match taken(offered, result) {
            Ok((len, blocked)) => {
                self.hub.sent(index, len);
                self.hub.stats.writes_short += u64::from(blocked);
                if blocked { Wrote::Blocked } else { Wrote::More(len) }
            }
            Err(kind) => {
                self.hub.broken(index, kind);
                Wrote::Failed
            }
        }
    }

    /// One write of what waits for a peer, at most `room` bytes: how much was offered, and what the kernel said.
    fn write_peer(&mut self, index: u32, room: usize) -> (usize, std::io::Result<usize>) {
        // Nearly always a reply waits in the loop's write buffer and nothing else: the table of slices, a kilobyte to
        // fill, is for the others.
        if let Some(bytes) = self.hub.outgoing_reply(index, room, &self.scratch) {
            return (bytes.len(), self.io.write(index, &[IoSlice::new(bytes)]));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.hub.outgoing(index, room, &self.scratch, &mut slices);
        let offered = slices[..count].iter().map(|slice| slice.len()).sum();
        (offered, self.io.write(index, &slices[..count]))
    }

    /// Asks for writability only after a refused write, and no longer once drained: with both asked for all the time,
    /// a third of the events would carry nothing to read.
    fn want_write(&mut self, index: u32, on: bool) {
        let on = on || self.hub.limits.write_interest;
        let Some(slot) = self.hub.slot(index) else { return };
        // One that has ended may be so because its socket could not be adopted.
        if slot.conn.phase != Phase::Closed
            && slot.marks.set(Marks::WRITE_INTEREST, on)
            && let Err(error) = self.io.want_write(index, on)
        {
            self.hub.broken(index, error.kind());
        }
    }

    #[inline(never)]
    fn bury_all(&mut self, app: &mut dyn Handler) {
        while let Some(index) = self.hub.next_doomed() {
            #[cfg(feature = "tls")]
            self.part(index);
            let reset = self.hub.bury(index, app);
            self.io.close(index, reset);
        }
        self.hub.shrink();
        if self.starved {
            self.retry_listeners();
        }
    }
}

/// What the kernel said to a write of `offered` bytes: how many it took and whether it takes no more for now, or how the
/// connection has failed.
#[inline]
fn taken(offered: usize, result: std::io::Result<usize>) -> Result<(usize, bool), ErrorKind> {
    match result.map_err(|error| error.kind()) {
        Ok(len) => Ok((len, len < offered)),
        Err(ErrorKind::Interrupted) => Ok((0, false)),
        Err(ErrorKind::WouldBlock) => Ok((0, true)),
        Err(kind) => Err(kind),
    }
}
