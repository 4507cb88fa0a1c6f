//! L3: every connection, topic and deadline of one loop, and the application called between them. Still sans-IO: the
//! reactor brings bytes and the time, and takes bytes away.
//!
//! Refuses to know sockets and the clock. Invariants (checked by [`Hub::check`]): `queued_bytes` is the sum of all
//! backlogs; memory is on the ledger to the byte; an event never borrows the hub, so a callback may use all of it; a
//! slot dies in exactly one function, [`Hub::bury`].

pub mod admission;
pub mod broadcast;
pub mod context;
pub mod deadlines;
#[cfg(feature = "deflate")]
mod deflate;
pub mod exchange;
pub mod handler;
pub mod http;
mod incoming;
mod invariants;
mod marks;
pub mod outgoing;
pub mod place;
pub mod stats;
pub mod topics;

#[cfg(any(test, feature = "client"))]
pub mod client;
#[cfg(feature = "tls")]
pub mod tls;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use slab::Slab;

use self::admission::{Rate, Sources};
use self::broadcast::Gathered;
use self::context::Context;
use self::deadlines::{Shutdown, Timer, tick_of};
use self::handler::Handler;
use self::http::Http;
pub use self::marks::Marks;
use self::outgoing::Sent;
use self::stats::Stats;
use self::topics::Topics;
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::cork::Cork;
#[cfg(feature = "deflate")]
use crate::conn::deflate::Codecs;
use crate::conn::phase::{Phase, Trigger};
use crate::conn::spares::{Ledger, Memory};
use crate::conn::{Connection, Flags, Loan, Received, Unfinished};
use crate::ground::id::ConnId;
use crate::ground::limits::Limits;
use crate::ground::rng::Rng;
use crate::ground::table::{Place, Table};
use crate::ground::wheel::{Link, Wheel};
use crate::wire::{close, frame};

/// Header fields for which there is room on the stack.
pub const HEADERS_ROOM: usize = 128;
/// Up to so many places for connections are kept when the last one has gone.
const PLACES_KEPT: usize = 64;
/// No connection.
const NOBODY: u32 = u32::MAX;

/// All that an idle open connection costs, besides its descriptor.
#[derive(Debug)]
pub struct Slot {
    /// The protocol's state.
    pub conn: Connection,
    link: Link,
    /// Place of what it has only while it comes and goes.
    passing: Option<Place>,
    generation: u32,
    /// Place of its source in the table of sources.
    source: u32,
    /// The tick of the phase's own deadline: handshake, answer, ping or pong, close, linger.
    due: u32,
    /// Which of a router's handlers it belongs to.
    scope: u16,
    /// The loop's notes.
    pub marks: Marks,
}

// One cache line. The slab adds nothing to it, because an empty place fits beside a niche of the slot's enum.
const _: () = assert!(size_of::<Slot>() <= 64);
const _: () = {
    #[allow(dead_code)]
    enum Entry {
        Vacant(usize),
        Occupied(Slot),
    }
    assert!(size_of::<Entry>() <= 64);
};

impl Slot {
    fn may_be_read(&self, limits: &Limits, unfinished: &Unfinished) -> bool {
        // What was put off comes before what the kernel holds.
        #[cfg(feature = "deflate")]
        if self.conn.put_off(unfinished) > 0 {
            return false;
        }
        !self.conn.flags.has(Flags::HIGH | Flags::PAUSED)
            && self.conn.phase != Phase::Closed
            && self.conn.kept(unfinished) <= limits.head_max
    }

    /// True for a server's connection that has been answered and has not begun another request.
    fn is_between_requests(&self, unfinished: &Unfinished) -> bool {
        let begun = matches!(unfinished.get(&self.conn.received), Some(Received::Head(..)));
        !begun && !self.marks.has(Marks::HALF_OPEN) && !self.conn.flags.has(Flags::CLIENT)
    }
}

/// What a connection has only while it comes and goes.
#[derive(Debug, Default)]
struct Passing {
    /// The HTTP exchange, before it is a WebSocket.
    http: Option<Http>,
    /// Why it is ending, once that is known.
    closed: Option<Closed>,
}

struct Slots(Slab<Slot>);

/// All state of one loop. See the module's text.
pub struct Hub {
    pub(crate) limits: Limits,
    origins: Vec<String>,
    slots: Slots,
    wheel: Wheel,
    timers: Slab<Timer>,
    timer_wheel: Wheel,
    topics: Topics,
    passing: Table<Passing>,
    gathered: Gathered,
    /// Those who get a Ping at the end of the turn.
    pinged: Vec<u32>,
    sources: Sources,
    rate: Rate,
    #[cfg(feature = "tls")]
    sessions: tls::Sessions,
    pub(crate) stats: Stats,
    memory: Ledger,
    unfinished: Unfinished,
    /// What messages are compressed and inflated with.
    #[cfg(feature = "deflate")]
    codecs: Codecs,
    rng: Rng,
    /// Time since the loop started.
    now: Duration,
    tick: u32,
    next_generation: u32,
    /// The loop's write buffer, and the connection that is being read.
    cork: Cork,
    corked: u32,
    /// The longest payload of a frame, and the longest that is copied there: moving a longer one is better.
    frame_max: usize,
    reply_max: usize,
    /// A message of up to 125 bytes may come whole, however it is taken.
    short_fit: bool,
    /// Connections with unread bytes that may be read.
    ready: Vec<u32>,
    /// Room for the next such list.
    spare: Vec<u32>,
    /// Connections with unwritten bytes that may be written.
    dirty: VecDeque<u32>,
    doomed: VecDeque<u32>,
    /// Connections to other servers that the reactor has still to make.
    #[cfg(any(test, feature = "client"))]
    dials: VecDeque<client::Dial>,
    /// The handler that runs, as numbered by a router.
    scope: u16,
    shutdown: Option<Shutdown>,
    started: bool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Hub {
    /// An empty loop; `seed` starts the generator of masking keys and nonces.
    pub fn new(limits: Limits, origins: Vec<String>, seed: u64) -> Self {
        Hub {
            cork: Cork::with_capacity(limits.cork_bytes),
            memory: Ledger::new(Memory::new(limits.spare_bytes, limits.memory_max)),
            frame_max: outgoing::frame_max(&limits),
            reply_max: outgoing::frame_max(&limits).min(limits.cork_bytes / 2),
            short_fit: frame::CONTROL_MAX as u64
                <= limits.frame_max.min(limits.streamed_message_max).min(limits.message_max as u64),
            #[cfg(feature = "deflate")]
            codecs: Codecs::new(&limits),
            ready: Vec::with_capacity(limits.events_max),
            spare: Vec::with_capacity(limits.events_max),
            dirty: VecDeque::with_capacity(limits.events_max),
            doomed: VecDeque::with_capacity(limits.events_max),
            limits,
            origins,
            slots: Slots(Slab::new()),
            wheel: Wheel::default(),
            timers: Slab::new(),
            timer_wheel: Wheel::default(),
            topics: Topics::default(),
            passing: Table::default(),
            gathered: Gathered::default(),
            pinged: Vec::new(),
            sources: Sources::default(),
            rate: Rate::default(),
            #[cfg(feature = "tls")]
            sessions: tls::Sessions::default(),
            stats: Stats::default(),
            unfinished: Unfinished::default(),
            rng: Rng::new(seed),
            now: Duration::ZERO,
            tick: 0,
            next_generation: 0,
            corked: NOBODY,
            #[cfg(any(test, feature = "client"))]
            dials: VecDeque::new(),
            scope: 0,
            shutdown: None,
            started: false,
        }
    }

    /// Tells the time, once a turn. It never runs backwards.
    pub fn set_now(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.tick = tick_of(self.now);
    }

    /// Lets the application start, once.
    pub fn start(&mut self, app: &mut dyn Handler) {
        if !std::mem::replace(&mut self.started, true) {
            app.on_start(&mut Context::new(self));
        }
    }

    /// The counters, levels included.
    pub fn stats(&self) -> Stats {
        let (spares_used, spares_full) = self.memory.counts();
        Stats {
            connections: self.slots.0.len() as u64,
            memory_bytes: self.memory.get() as u64,
            spares_used,
            spares_full,
            spares_bytes: self.memory.spare() as u64,
            topics: self.topics.len() as u64,
            timers: self.timers.len() as u64,
            #[cfg(feature = "deflate")]
            deflated_from: self.codecs.tally.deflated_from,
            #[cfg(feature = "deflate")]
            deflated_to: self.codecs.tally.deflated_to,
            #[cfg(feature = "deflate")]
            inflated_from: self.codecs.tally.inflated_from,
            #[cfg(feature = "deflate")]
            inflated_to: self.codecs.tally.inflated_to,
            ..self.stats
        }
    }

    /// True while buffers are kept for messages to come.
    pub fn has_spares(&self) -> bool {
        self.memory.spare() > 0
    }

    /// Nothing happens: gives them back.
    pub fn forget_spares(&self) {
        self.memory.forget();
    }

    /// Number of connections in any phase.
    pub fn connections(&self) -> u64 {
        self.slots.0.len() as u64
    }

    /// The slot at `index`, if one lives there.
    pub fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.0.get_mut(index as usize)
    }

    fn id(&self, index: u32) -> ConnId {
        ConnId { index, generation: self.slots.0[index as usize].generation }
    }

    /// The place of a connection that has not ended.
    fn find(&self, id: ConnId) -> Option<u32> {
        let slot = self.slots.0.get(id.index as usize)?;
        (slot.generation == id.generation && slot.conn.phase != Phase::Closed).then_some(id.index)
    }

    fn find_in(&self, id: ConnId, phase: Phase) -> Option<u32> {
        let slot = self.slots.0.get(id.index as usize)?;
        (slot.generation == id.generation && slot.conn.phase == phase).then_some(id.index)
    }

    fn source_of(&self, id: ConnId) -> Option<IpAddr> {
        self.find(id).and_then(|index| self.sources.address(self.slots.0[index as usize].source))
    }

    /// Lets `f` change a connection and keeps the sums right.
    fn with<R>(&mut self, index: u32, f: impl FnOnce(&mut Connection, &mut Loan<'_>) -> R) -> R {
        let before = self.held(index);
        let conn = &mut self.slots.0[index as usize].conn;
        let cork = (self.corked == index).then_some(&mut self.cork);
        let mut loan = Loan {
            limits: &self.limits,
            cork,
            rng: &mut self.rng,
            memory: &self.memory,
            unfinished: &mut self.unfinished,
            #[cfg(feature = "deflate")]
            codecs: &mut self.codecs,
        };
        let result = f(conn, &mut loan);
        let after = self.held(index);
        self.memory.set(self.memory.get() + after.0 - before.0);
        self.stats.queued_bytes = self.stats.queued_bytes + after.1 as u64 - before.1 as u64;
        result
    }

    /// Memory and backlog of a connection. Not part of each of the closures' callers: twice in thirty functions is kilobytes.
    #[inline(never)]
    fn held(&self, index: u32) -> (usize, usize) {
        let conn = &self.slots.0[index as usize].conn;
        (conn.charge(&self.unfinished), conn.backlog())
    }

    /// The peer's stream is over.
    pub fn end_of_stream(&mut self, index: u32) {
        #[cfg(feature = "tls")]
        if self.is_tls(index) {
            return self.end_of_tls(index);
        }
        self.end_of_stream_as(index, Cause::EndOfStream);
    }

    fn end_of_stream_as(&mut self, index: u32, cause: Cause) {
        let unsent = self.unsent(index) || self.cork_waits(index);
        let slot = &mut self.slots.0[index as usize];
        slot.conn.flags.set(Flags::PEER_DONE, true);
        match slot.conn.phase {
            // Half-close: a peer that has said all may still wait for what we have queued.
            Phase::Head | Phase::Ending if unsent => {
                self.ending(index, Closed::new(By::Peer, Cause::Answered))
            }
            Phase::Open | Phase::Closing if unsent => {
                self.ending(index, Closed::new(By::Peer, cause));
            }
            Phase::Ending => self.finish(index),
            Phase::Head if slot.is_between_requests(&self.unfinished) => {
                self.doom(index, Closed::new(By::Peer, Cause::Answered), false);
            }
            // Our Close is out and the peer ends its stream without one: RFC 6455 §7.1.5 calls that code 1006.
            _ => self.doom(index, Closed::new(By::Peer, cause), false),
        }
    }

    /// True when bytes wait for the kernel to take them, or to be sealed before.
    fn unsent(&self, index: u32) -> bool {
        #[cfg(feature = "tls")]
        if self.tls_waiting(index) > 0 {
            return true;
        }
        self.slots.0[index as usize].conn.backlog() > 0
    }

    /// Reading or writing failed.
    pub fn broken(&mut self, index: u32, kind: std::io::ErrorKind) {
        self.doom(index, Closed::new(By::Peer, Cause::Io(kind)), true);
    }

    /// True when the peer may be read: its own replies do not pile up, the application has not paused it, and a request
    /// with the application has not been followed by more than a head's worth.
    pub fn may_read(&self, index: u32) -> bool {
        self.slots.0[index as usize].may_be_read(&self.limits, &self.unfinished)
    }

    /// True when the peer may be read and the kernel may hold bytes of it.
    pub fn wants_read(&self, index: u32) -> bool {
        let slot = self.slots.0.get(index as usize);
        slot.is_some_and(|slot| {
            slot.marks.has(Marks::READABLE) && slot.may_be_read(&self.limits, &self.unfinished)
        })
    }

    /// Puts a connection on the ready list.
    pub fn mark_ready(&mut self, index: u32) {
        if self.slots.0[index as usize].marks.set(Marks::READY, true) {
            self.ready.push(index);
        }
    }

    /// Puts a connection on the ready list if the kernel may hold bytes of it, or bytes of it were kept.
    fn resume(&mut self, index: u32) {
        if self.kept_is_due(index) || self.slots.0[index as usize].marks.has(Marks::READABLE) {
            self.mark_ready(index);
        }
    }

    /// Stops reading a peer whose connection is not ending yet; false when there is none.
    fn pause(&mut self, id: ConnId) -> bool {
        let Some(index) = self.find(id) else { return false };
        let conn = &mut self.slots.0[index as usize].conn;
        let on = !matches!(conn.phase, Phase::Closing | Phase::Ending);
        if on {
            conn.flags.set(Flags::PAUSED, true);
        }
        on
    }

    /// Reads a peer again, beginning with what was kept and what the kernel was noted to hold.
    fn unpause(&mut self, index: u32) {
        self.slots.0[index as usize].conn.flags.set(Flags::PAUSED, false);
        self.resume(index);
    }

    /// Ends a connection at once, with a reset; false when there is none.
    fn abort(&mut self, id: ConnId) -> bool {
        let Some(index) = self.find(id) else { return false };
        let conn = &mut self.slots.0[index as usize].conn;
        if conn.phase == Phase::Reply {
            conn.flags.set(Flags::ANNOUNCED, true);
        }
        self.doom(index, Closed::new(By::Application, Cause::Close), true);
        true
    }

    /// The connections to be read now; those that become ready from here on are for the next time. The list is given
    /// back with [`Hub::give_back`].
    pub fn take_ready(&mut self) -> Vec<u32> {
        std::mem::replace(&mut self.ready, std::mem::take(&mut self.spare))
    }

    /// Takes back a list that has been worked off, for its memory.
    pub fn give_back(&mut self, mut list: Vec<u32>) {
        list.clear();
        self.spare = list;
    }

    /// True when a connection on the list still is to be read; it no longer is on the list then.
    pub fn unmark_ready(&mut self, index: u32) -> bool {
        self.slot(index).is_some_and(|slot| slot.marks.set(Marks::READY, false))
    }

    /// True when connections are to be read.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The WebSocket or exchange is about to end with what is queued; input is dropped from here on.
    fn ending(&mut self, index: u32, closed: Closed) {
        self.note_end(index, closed);
        self.with(index, |conn, loan| conn.trigger(Trigger::Last, loan));
        self.left_open(index);
        self.enter(index, self.limits.close_timeout);
        if self.settle(index) != Sent::Gone {
            // Flushed also with nothing but the loop's write buffer to write, or nothing at all.
            self.mark_dirty(index);
            // Reading may have been paused; what comes is read away now, up to the end of the stream.
            self.unpause(index);
        }
    }

    /// Begins the closing handshake; false when the WebSocket is not open.
    fn close(&mut self, index: u32, mut closed: Closed) -> bool {
        self.keep_order(index);
        // What `on_close` is told is what the peer is told.
        let (code, reason) = close::sent(closed.code.unwrap_or(close::NORMAL), &closed.reason);
        if !self.with(index, |conn, loan| conn.close(code, reason, loan)) {
            return false;
        }
        if reason.len() < closed.reason.len() {
            closed.reason = reason.into();
        }
        closed.code = Some(code);
        self.note_end(index, closed);
        self.left_open(index);
        self.enter(index, self.limits.close_timeout);
        if self.settle(index) != Sent::Gone {
            // Else the peer's Close would not be found, and every such end take `close_timeout`.
            self.unpause(index);
        }
        true
    }

    /// Notes down why a connection is ending; the first reason counts.
    fn note_end(&mut self, index: u32, closed: Closed) {
        let place = &mut self.slots.0[index as usize].passing;
        self.passing.or_default(place).closed.get_or_insert(closed);
    }

    /// Ends a connection at once. It stays in its slot, finding nothing, until it is buried.
    fn doom(&mut self, index: u32, closed: Closed, reset: bool) {
        if self.slots.0[index as usize].conn.phase == Phase::Closed {
            return;
        }
        self.left_open(index);
        self.note_end(index, closed);
        self.with(index, |conn, loan| conn.trigger(Trigger::Done, loan));
        if self.corked == index {
            self.cork.clear();
        }
        #[cfg(feature = "tls")]
        if reset {
            self.drop_tls(index);
        }
        self.wheel.cancel(&mut self.slots, index);
        self.slots.0[index as usize].marks.set(Marks::RESET, reset);
        self.doomed.push_back(index);
    }

    /// Ends a connection whose last byte is written.
    fn finish(&mut self, index: u32) {
        self.doom(index, Closed::new(By::Application, Cause::Answered), false);
    }

    fn left_open(&mut self, index: u32) {
        let slot = &mut self.slots.0[index as usize];
        if slot.marks.set(Marks::OPEN, false) {
            self.stats.open -= 1;
            self.topics.mute(slot.conn.extra.as_deref());
            #[cfg(feature = "deflate")]
            self.end_deflate(index);
        }
        let slot = &mut self.slots.0[index as usize];
        if slot.marks.set(Marks::HALF_OPEN, false) {
            self.stats.half_open -= 1;
        }
    }

    /// The next connection to bury.
    pub fn next_doomed(&mut self) -> Option<u32> {
        self.doomed.pop_front()
    }

    /// True when connections are still to be buried.
    pub fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// The one place where a slot dies. Tells the application, if it knows of the connection; true when the socket
    /// shall be reset.
    pub fn bury(&mut self, index: u32, app: &mut dyn Handler) -> bool {
        let id = self.id(index);
        self.leave_topics(index);
        #[cfg(feature = "deflate")]
        self.release_deflate(index);
        let slot = &mut self.slots.0[index as usize];
        let closed = self.passing.take(&mut slot.passing).and_then(|passing| passing.closed);
        let mut closed = closed.unwrap_or_else(|| Closed::new(By::Server, Cause::Answered));
        let flags = slot.conn.flags;
        closed.clean = flags.has(Flags::CLOSE_SENT) && flags.has(Flags::CLOSE_RECEIVED);
        if slot.marks.has(Marks::REFUSED) {
            self.stats.refusing -= 1;
        } else {
            self.stats.count_end(closed.by, closed.cause);
        }
        self.scope = slot.scope;
        if slot.conn.flags.has(Flags::ANNOUNCED) {
            app.on_close(&mut Context::new(self), id, &closed);
        }
        #[cfg(feature = "tls")]
        self.drop_tls(index);
        let slot = self.slots.0.remove(index as usize);
        self.sources.release(slot.source);
        slot.marks.has(Marks::RESET)
    }

    /// Where the last of a crowd has gone: gives back the memory of the places that it had, which tables alone would keep for
    /// ever. Lists keep what a turn takes. The largest comes last: by what is given back to it glibc's allocator judges how
    /// much it had better keep from there on.
    pub fn shrink(&mut self) {
        if !self.slots.0.is_empty() || self.slots.0.capacity() <= PLACES_KEPT {
            return;
        }
        let places = self.limits.events_max;
        for list in [&mut self.ready, &mut self.spare] {
            list.clear();
            list.shrink_to(places);
        }
        for list in [&mut self.dirty, &mut self.doomed] {
            list.clear();
            list.shrink_to(places);
        }
        self.pinged = Vec::new();
        #[cfg(feature = "tls")]
        self.sessions.shrink();
        (self.passing, self.unfinished) = Default::default();
        self.slots.0 = Slab::new();
    }
}

#[cfg(test)]
mod tests;
