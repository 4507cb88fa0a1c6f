//! What goes out: messages, publications, the backlog's limits, and the hand-over to whoever writes.
//!
//! Refuses to know sockets. Invariants: no backlog is above `backlog_max` and no sum above `memory_max` when a call
//! returns; whoever has unsent bytes is on the dirty list or waits for the kernel; a frame for many is encoded once.

use std::borrow::Cow;
use std::io::IoSlice;

use super::handler::Handler;
use super::topics::Policy;
use super::{Context, Hub, Marks, NOBODY};
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::cork::SHORT;
#[cfg(feature = "deflate")]
use crate::conn::deflate::{VARIANTS, packed_fragments};
use crate::conn::incoming::assembly::GROWTH;
use crate::conn::message::{Kind, Message, fragments, opcode};
use crate::conn::outbox::{SLICES, SharedFrame};
use crate::conn::phase::Phase;
use crate::conn::{Connection, Flags};
use crate::ground::id::ConnId;
use crate::ground::limits::Limits;
use crate::wire::frame::{self, Header, Opcode};

/// What became of a message. Ignoring it is safe: a peer that does not keep up is closed by the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sent {
    /// Queued.
    Ok,
    /// Queued, and the backlog is above `backlog_high`: stop, and go on in `on_drain`.
    High,
    /// Not queued: this message alone exceeds `backlog_max`.
    Refused,
    /// Not queued: the connection is not open, or has just been closed because its backlog passed `backlog_max`.
    Gone,
}

/// What the reactor does after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Stay,
    /// Shut the writing half.
    Shut,
}

/// Longest header that a frame adds to its payload.
const FRAME_OVERHEAD: usize = frame::HEADER_MAX;

/// The longest payload that may be sent as one frame.
pub(super) fn frame_max(limits: &Limits) -> usize {
    limits.fragment_bytes.min(limits.backlog_max.saturating_sub(FRAME_OVERHEAD))
}

impl Hub {
    #[inline]
    pub(super) fn send(&mut self, id: ConnId, message: Message<'_>) -> Sent {
        // What is owned is given back, which is a call; so is whatever else may be.
        if let Cow::Borrowed(bytes) = message.payload
            && self.reply_short(id, opcode(message.kind), bytes)
        {
            return Sent::Ok;
        }
        self.send_other(id, message)
    }

    #[inline(never)]
    fn send_other(&mut self, id: ConnId, message: Message<'_>) -> Sent {
        if self.reply(id, opcode(message.kind()), message.as_bytes()) {
            return Sent::Ok;
        }
        let Some(index) = self.find_in_order(id) else { return Sent::Gone };
        let Some(len) = self.measure(&message) else { return Sent::Refused };
        if !self.reserve(index, len) {
            return Sent::Gone;
        }
        let fragmented = self.with(index, |conn, loan| conn.send(message, loan));
        self.stats.fragmented_out += u64::from(fragmented);
        self.stats.messages_out += 1;
        self.settle(index)
    }

    /// The place of an open connection, to which nothing waits any more that was published before: to give it that may have
    /// been its end.
    fn find_in_order(&mut self, id: ConnId) -> Option<u32> {
        let index = self.find_in(id, Phase::Open)?;
        self.keep_order(index);
        self.find_in(id, Phase::Open)
    }

    /// True for the peer that is being read, where its messages go out as they are and nothing waits before them.
    #[inline]
    fn replies(&self, id: ConnId) -> bool {
        self.corked == id.index
            && self.gathered.is_empty()
            && self.slots.0.get(id.index as usize).is_some_and(|slot| {
                slot.generation == id.generation
                    && slot.conn.phase == Phase::Open
                    && slot.conn.outbox.is_none()
                    && !slot.conn.flags.has(Flags::CODED | Flags::SENDS_PARTS)
            })
    }

    /// [`Hub::reply`] as far as it needs no call: so most of what is sent goes out, by a few dozen instructions that keep
    /// nothing on the stack.
    #[inline]
    fn reply_short(&mut self, id: ConnId, opcode: Opcode, payload: &[u8]) -> bool {
        let replied = payload.len() <= SHORT.min(self.frame_max)
            && self.replies(id)
            && self.cork.append_short(true, opcode, payload);
        self.stats.messages_out += u64::from(replied);
        replied
    }

    /// Gathers a whole message to the peer that is being read in the loop's write buffer, where it goes out as it is, fits,
    /// and nothing waits before it. No sum changes but the counter.
    fn reply(&mut self, id: ConnId, opcode: Opcode, payload: &[u8]) -> bool {
        let fits = payload.len() <= self.frame_max;
        let replied = fits && self.replies(id) && self.gather_reply(true, opcode, payload);
        self.stats.messages_out += u64::from(replied);
        replied
    }

    /// Gathers a frame in the loop's write buffer, copied or, where it is long and lies in the read buffer, lent; false where
    /// neither is possible.
    fn gather_reply(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) -> bool {
        self.cork.append_control(fin, opcode, payload) || self.gather_long(fin, opcode, payload)
    }

    #[inline(never)]
    fn gather_long(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) -> bool {
        let header = Header { fin, opcode, key: None, len: payload.len() as u64 };
        if self.cork.may_hold(payload.len(), &self.limits) && self.cork.append_lent(header, payload) {
            return true;
        }
        let fits = payload.len() <= self.reply_max && self.cork.has_room(payload.len(), &self.limits);
        if fits {
            self.cork.append(|out| frame::append(out, fin, opcode, payload, None));
        }
        fits
    }

    /// The most that a message takes on the wire; `None`, and counted, when that alone exceeds `backlog_max`.
    fn measure(&mut self, message: &Message<'_>) -> Option<usize> {
        let fragments = message.len().div_ceil(self.limits.fragment_bytes).max(1);
        let len = message.len() + fragments * FRAME_OVERHEAD;
        let fits = len <= self.limits.backlog_max;
        self.stats.refused_messages += u64::from(!fits);
        fits.then_some(len)
    }

    #[inline]
    pub(super) fn send_part(&mut self, id: ConnId, kind: Kind, bytes: &[u8], last: bool) -> Sent {
        if last && self.reply_short(id, opcode(kind), bytes) {
            return Sent::Ok;
        }
        self.send_other_part(id, kind, bytes, last)
    }

    #[inline(never)]
    fn send_other_part(&mut self, id: ConnId, kind: Kind, bytes: &[u8], last: bool) -> Sent {
        if last && self.reply(id, opcode(kind), bytes) {
            return Sent::Ok;
        }
        let Some(index) = self.find_in_order(id) else { return Sent::Gone };
        if bytes.len() + FRAME_OVERHEAD > self.limits.backlog_max {
            self.stats.refused_messages += 1;
            return Sent::Refused;
        }
        if self.reply_part(index, kind, bytes, last) {
            return Sent::Ok;
        }
        if !self.reserve(index, bytes.len() + FRAME_OVERHEAD) {
            return Sent::Gone;
        }
        self.with(index, |conn, loan| conn.send_part(kind, bytes, last, loan));
        self.stats.messages_out += u64::from(last);
        self.settle(index)
    }

    /// [`Hub::reply`] for a part of a message that is sent in parts.
    fn reply_part(&mut self, index: u32, kind: Kind, bytes: &[u8], last: bool) -> bool {
        let conn = &self.slots.0[index as usize].conn;
        let plain =
            self.corked == index && conn.outbox.is_none() && !conn.flags.has(Flags::CLIENT | Flags::HIGH);
        let begun = conn.flags.has(Flags::SENDS_PARTS);
        let opcode = if begun { Opcode::Continuation } else { opcode(kind) };
        let replied = plain && self.gather_reply(last, opcode, bytes);
        if replied {
            self.slots.0[index as usize].conn.flags.set(Flags::SENDS_PARTS, !last);
            self.stats.messages_out += u64::from(last);
        }
        replied
    }

    pub(super) fn publish(&mut self, topic: &str, message: &Message<'_>) -> usize {
        let Some(topic) = self.topics.find(topic) else { return 0 };
        self.stats.published += 1;
        let Some(len) = self.measure(message) else { return 0 };
        if self.may_gather(topic) {
            return self.gather(topic, message, len);
        }
        self.hand_out();
        self.reserve(NOBODY, self.forms(topic) * len);
        let frames = self.encode_forms(topic, message);
        let (policy, tag) = self.topics.policy(topic);
        // No callback runs in this loop, so the list can be lent out for its time.
        let subscribers = self.topics.lend(topic);
        let mut recipients = 0;
        for &index in &subscribers {
            recipients += usize::from(self.publish_to(index, &frames, message, policy, tag, len));
        }
        self.topics.give_back(topic, subscribers);
        recipients
    }

    fn publish_to(
        &mut self,
        index: u32,
        forms: &Forms,
        message: &Message<'_>,
        policy: Policy,
        tag: u32,
        len: usize,
    ) -> bool {
        let conn = &self.slots.0[index as usize].conn;
        if conn.phase != Phase::Open {
            return false;
        }
        if policy == Policy::DropNewest && conn.backlog() + len > self.limits.backlog_high {
            self.stats.dropped_by_policy += 1;
            return false;
        }
        let own = if conn.flags.has(Flags::CLIENT) { len } else { SEGMENT };
        if !self.reserve(index, own) {
            return false;
        }
        let frames = forms.of(&self.slots.0[index as usize].conn);
        self.stats.fragmented_out += u64::from(frames.len() > 1);
        self.with(index, |conn, loan| conn.send_shared(frames, message, tag, loan));
        #[cfg(feature = "deflate")]
        if forms.packs(&self.slots.0[index as usize].conn) {
            self.slots.0[index as usize].conn.outdate();
        }
        self.stats.messages_out += 1;
        self.settle(index) != Sent::Gone
    }

    /// Encodes a message once for all, in each form that somebody gets it in.
    fn encode_forms(&mut self, topic: u32, message: &Message<'_>) -> Forms {
        let memory = &self.memory;
        let encode = |(last, opcode, payload): (bool, Opcode, &[u8])| {
            let mut bytes = memory.buffer(payload.len() + FRAME_OVERHEAD);
            frame::append(&mut bytes, last, opcode, payload, None);
            SharedFrame::new(bytes, memory)
        };
        let plain = fragments(message, self.limits.fragment_bytes).map(encode).collect();
        #[cfg(not(feature = "deflate"))]
        let _ = topic;
        #[cfg(feature = "deflate")]
        let packed = std::array::from_fn(|variant| {
            let packed = self.pack_for(topic, variant, message)?;
            let mut frames = Vec::new();
            packed_fragments(message.kind(), &packed, self.limits.fragment_bytes, |append| {
                let mut bytes = Vec::new();
                append(&mut bytes);
                frames.push(SharedFrame::new(bytes, &self.memory));
            });
            self.codecs.recycle(packed);
            Some(frames)
        });
        Forms {
            plain,
            #[cfg(feature = "deflate")]
            packed,
        }
    }

    /// Sends a Ping: with those of others at the turn's end, or before what waits for this peer.
    pub(super) fn ping(&mut self, index: u32) {
        let slot = &mut self.slots.0[index as usize];
        self.stats.pings_out += 1;
        slot.conn.flags.set(Flags::PINGED, true);
        if slot.conn.nothing_waits() && !slot.conn.flags.has(Flags::CLIENT) {
            return self.pinged.push(index);
        }
        self.with(index, |conn, loan| conn.control(Opcode::Ping, b"", loan));
        self.settle(index);
    }

    /// Applies the backlog's limits after something was queued.
    pub(super) fn settle(&mut self, index: u32) -> Sent {
        let backlog = self.slots.0[index as usize].conn.backlog();
        if backlog == 0 {
            return Sent::Ok;
        }
        self.stats.cork_spills += u64::from(self.corked == index);
        if backlog > self.limits.backlog_max {
            self.doom(index, Closed::new(By::Server, Cause::SlowConsumer), true);
            return Sent::Gone;
        }
        // Room was made for the bytes; what the queue's own growth has added may still be too much.
        if self.memory.get() > self.limits.memory_max && !self.reserve(index, 0) {
            return Sent::Gone;
        }
        let sendable = self.slots.0[index as usize].conn.sendable();
        if sendable > 0 {
            self.mark_dirty(index);
        }
        let tick = self.tick;
        let high = backlog > self.limits.backlog_high;
        let conn = &mut self.slots.0[index as usize].conn;
        if high && !conn.flags.has(Flags::HIGH) {
            conn.flags.set(Flags::HIGH, true);
            self.stats.backlog_highs += 1;
        }
        if !conn.flags.has(Flags::HIGH) {
            return Sent::Ok;
        }
        // The peer's time to take it runs while there is something that it could take.
        if let Some(outbox) = &mut conn.outbox
            && outbox.high_since.is_none()
            && sendable > 0
        {
            outbox.high_since = Some(tick);
            self.arm(index);
        }
        if !high {
            return Sent::Ok;
        }
        Sent::High
    }

    /// Makes room for input of `len` bytes: what is being assembled may grow ahead of what arrives.
    pub(super) fn make_room(&mut self, index: u32, len: usize) {
        let charge = self.slots.0[index as usize].conn.charge(&self.unfinished);
        // An assembly never outgrows a message; other input doubles at the most.
        let assembly = (GROWTH * len + (GROWTH - 1) * charge).min(self.limits.message_max);
        #[cfg(feature = "deflate")]
        let assembly = self.inflated_room(index, len, charge).unwrap_or(assembly);
        self.reserve(index, assembly.max(2 * len + charge));
    }

    /// Makes room for `len` bytes by closing the largest debtors; false when `index` was one of them.
    pub(super) fn reserve(&mut self, index: u32, len: usize) -> bool {
        // A queue may double when it grows, and a segment has its own cost.
        let room = self.limits.memory_max.saturating_sub(len + SEGMENT);
        if self.memory.get() <= room {
            return true;
        }
        // Down to seven eighths at once, so that the search through all connections is paid for by the bytes freed.
        let target = room - room / 8;
        let mut debtors: Vec<(usize, u32)> = self
            .slots
            .0
            .iter()
            .filter(|(_, slot)| slot.conn.phase != Phase::Closed)
            .map(|(place, slot)| {
                #[cfg(feature = "tls")]
                let veiled = self.tls_charge(place as u32);
                #[cfg(not(feature = "tls"))]
                let veiled = 0;
                (slot.conn.backlog().max(slot.conn.charge(&self.unfinished)) + veiled, place as u32)
            })
            .filter(|&(debt, _)| debt > 0)
            .collect();
        debtors.sort_unstable_by(|a, b| b.cmp(a));
        for (_, debtor) in debtors {
            if self.memory.get() <= target {
                break;
            }
            self.doom(debtor, Closed::new(By::Server, Cause::Memory), true);
        }
        self.slots.0.get(index as usize).is_none_or(|slot| slot.conn.phase != Phase::Closed)
    }

    /// Puts a connection on the list of those to be flushed, unless it waits for the kernel.
    pub fn mark_dirty(&mut self, index: u32) {
        let marks = &mut self.slots.0[index as usize].marks;
        if !marks.has(Marks::BLOCKED) && marks.set(Marks::DIRTY, true) {
            self.dirty.push_back(index);
        }
    }

    /// The next connection to flush.
    pub fn next_dirty(&mut self) -> Option<u32> {
        while let Some(index) = self.dirty.pop_front() {
            if self.slot(index).is_some_and(|slot| slot.marks.has(Marks::DIRTY)) {
                return Some(index);
            }
        }
        None
    }

    /// Number of entries on the dirty list, an upper bound of what [`Hub::next_dirty`] gives.
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// From here on, what is sent to `index` is gathered in the loop's write buffer.
    pub fn cork(&mut self, index: u32) {
        debug_assert!(self.cork.is_empty());
        self.corked = index;
        #[cfg(feature = "deflate")]
        {
            self.codecs.left = self.limits.inflate_budget;
        }
    }

    /// The same as [`Hub::outgoing`] where all of it lies in the loop's write buffer, without a table of slices.
    pub fn outgoing_reply<'a>(&'a self, index: u32, room: usize, buffer: &'a [u8]) -> Option<&'a [u8]> {
        let alone = self.corked == index && self.slots.0[index as usize].conn.outbox.is_none();
        let reply = if alone { self.cork.plain(buffer) } else { None }?;
        Some(&reply[..reply.len().min(room)])
    }

    /// What is to be written to `index` next, `room` bytes at the most, in so many slices. `buffer` is the loop's read buffer.
    pub fn outgoing<'a>(
        &'a self,
        index: u32,
        room: usize,
        buffer: &'a [u8],
        slices: &mut [IoSlice<'a>; SLICES],
    ) -> usize {
        if self.corked == index && self.cork.has_lent() {
            // What is queued behind it is for another write.
            return self.cork.gather(buffer, room, slices);
        }
        let cork = if self.corked == index { self.cork.plain(&[]) } else { None }.unwrap_or_default();
        let outbox = &self.slots.0[index as usize].conn.outbox;
        match outbox {
            Some(outbox) => outbox.gather(cork, room, slices),
            None => {
                slices[0] = IoSlice::new(&cork[..cork.len().min(room)]);
                usize::from(!cork.is_empty())
            }
        }
    }

    /// True when bytes that TLS has made wait for `index`.
    pub fn tls_waits(&self, index: u32) -> bool {
        #[cfg(feature = "tls")]
        return self.is_tls(index) && self.tls_waiting(index) > 0;
        #[cfg(not(feature = "tls"))]
        {
            let _ = index;
            false
        }
    }

    /// True when there is something to write to `index` now.
    pub fn has_outgoing(&self, index: u32) -> bool {
        #[cfg(feature = "tls")]
        if self.is_tls(index) {
            return self.has_sealed(index);
        }
        self.cork_waits(index) || self.slots.0[index as usize].conn.sendable() > 0
    }

    /// What is to be written to the peer that has been read, where that is all that is to be done for it: it fits into one
    /// write, nothing waits before it, and nothing follows from its being written.
    pub fn plain_reply<'a>(&'a self, index: u32, buffer: &'a [u8]) -> Option<&'a [u8]> {
        let slot = &self.slots.0[index as usize];
        let plain = slot.conn.phase == Phase::Open
            && slot.conn.outbox.is_none()
            && !slot.conn.flags.has(Flags::HIGH)
            && !slot.marks.has(Marks::BUSY)
            && (1..=self.limits.flush_budget).contains(&self.cork.len());
        if plain && self.corked == index { self.cork.plain(buffer) } else { None }
    }

    /// All of that has been written.
    pub fn replied(&mut self, len: usize) {
        self.stats.bytes_out += len as u64;
        self.cork.clear();
        self.corked = NOBODY;
    }

    /// `len` bytes of that have been written.
    pub fn sent(&mut self, index: u32, len: usize) {
        self.stats.bytes_out += len as u64;
        self.advance(index, len);
    }

    /// `len` bytes of that are no longer to be written.
    pub fn advance(&mut self, index: u32, len: usize) {
        let rest = if self.corked == index { self.cork.advance(len) } else { len };
        if rest > 0 {
            self.with(index, |conn, _| {
                if let Some(outbox) = &mut conn.outbox {
                    outbox.advance(rest);
                }
            });
        }
    }

    /// True when the loop's write buffer holds something for `index` that has not been written.
    pub fn cork_waits(&self, index: u32) -> bool {
        self.corked == index && self.cork.waiting() > 0
    }

    /// True when what is to be written lies in the loop's read buffer, which must not be read into before.
    pub fn has_lent(&self) -> bool {
        self.cork.has_lent()
    }

    /// Ends the corking; what could not be written is kept with the connection. `buffer` is the loop's read buffer.
    pub fn uncork(&mut self, buffer: &[u8]) {
        let index = std::mem::replace(&mut self.corked, NOBODY);
        if let Some(rest) = self.cork.take_rest(buffer) {
            self.reserve(index, rest.len());
            if self.slots.0[index as usize].conn.phase != Phase::Closed {
                self.with(index, |conn, _| conn.outbox().prepend(rest));
                self.settle(index);
            }
        }
    }

    /// A flush came to its end: `blocked` when the kernel took no more, else all is written or the budget is spent.
    pub fn flushed(&mut self, index: u32, blocked: bool, app: &mut dyn Handler) -> Next {
        let low = self.limits.backlog_low;
        let slot = &mut self.slots.0[index as usize];
        let (backlog, sendable) = (slot.conn.backlog(), slot.conn.sendable());
        // Before the handshake is done nothing can be sealed; then it is marked again.
        #[cfg(feature = "tls")]
        let blocked = blocked || sendable > 0 && self.is_shaking(index);
        let slot = &mut self.slots.0[index as usize];
        slot.marks.set(Marks::DIRTY, false);
        slot.marks.set(Marks::BLOCKED, blocked);
        if sendable > 0 && !blocked {
            self.mark_dirty(index);
        }
        let slot = &mut self.slots.0[index as usize];
        if backlog == 0 && slot.conn.outbox.is_some() {
            self.with(index, |conn, _| {
                let in_parts = conn.outbox.take().is_some_and(|outbox| outbox.in_parts());
                conn.flags.set(Flags::SENDS_PARTS, in_parts);
            });
        }
        let slot = &mut self.slots.0[index as usize];
        // What waits for the rest of a message sent in parts waits for the application, which waits for this call.
        let waits_for_part = backlog > 0 && sendable == 0;
        if slot.conn.flags.has(Flags::HIGH) && (backlog <= low || waits_for_part) {
            if let Some(outbox) = &mut slot.conn.outbox {
                outbox.high_since = None;
            }
            slot.conn.flags.set(Flags::HIGH, backlog > low);
            let announced = slot.conn.flags.has(Flags::ANNOUNCED);
            slot.marks.set(Marks::DRAIN_OWED, announced);
            // It has taken what we sent: that is life too, and idleness counts from here.
            slot.conn.last_seen = self.tick;
            self.arm(index);
            // An application that fills the backlog again whenever it may must not make us deaf to the peer's Pong
            // and Close: so the peer is read first.
            self.resume(index);
            if !self.slots.0[index as usize].marks.has(Marks::READY) {
                self.tell_drained(index, app);
            }
        }
        self.after_last_byte(index)
    }

    /// Pays the application the `on_drain` that it is owed, if what can be sent has not risen again meanwhile.
    pub fn tell_drained(&mut self, index: u32, app: &mut dyn Handler) {
        let slot = &mut self.slots.0[index as usize];
        let low = !slot.conn.flags.has(Flags::HIGH) || slot.conn.sendable() == 0;
        if slot.marks.has(Marks::DRAIN_OWED) && low {
            slot.marks.set(Marks::DRAIN_OWED, false);
            if slot.conn.phase != Phase::Closed {
                self.scope = slot.scope;
                let id = self.id(index);
                app.on_drain(&mut Context::new(self), id);
            }
        }
    }

    /// Where all is said and written: end at once if that is clean, else shut our half and wait for the peer's end.
    fn after_last_byte(&mut self, index: u32) -> Next {
        #[cfg(feature = "tls")]
        if self.slots.0.contains(index as usize) && self.is_tls(index) && self.has_sealed(index) {
            self.mark_dirty(index);
            return Next::Stay;
        }
        let Some(slot) = self.slots.0.get_mut(index as usize) else { return Next::Stay };
        if slot.conn.phase != Phase::Ending || slot.conn.backlog() > 0 {
            return Next::Stay;
        }
        let flags = slot.conn.flags;
        // RFC 6455 §7.1.1: after both Close frames the server closes first, the client waits for it. Nothing is
        // unread, so closing cannot turn into a reset that would overtake our Close.
        let both_closed = flags.has(Flags::CLOSE_RECEIVED)
            && !flags.has(Flags::CLIENT)
            && !slot.marks.has(Marks::READABLE | Marks::READ_CLOSED);
        if flags.has(Flags::PEER_DONE) || both_closed {
            self.finish(index);
            return Next::Stay;
        }
        if flags.has(Flags::SHUT) {
            return Next::Stay;
        }
        slot.conn.flags.set(Flags::SHUT, true);
        self.enter(index, self.limits.linger_timeout);
        // A client that has exchanged Closes leaves the first end to the server, and with it the TIME_WAIT; but a
        // server that has only sent our own Close back does not know that it is one.
        let leaves_it = flags.has(Flags::CLIENT) && !flags.has(Flags::UNCHECKED);
        if leaves_it && flags.has(Flags::CLOSE_RECEIVED) { Next::Stay } else { Next::Shut }
    }
}

/// A message encoded for many.
struct Forms {
    plain: Vec<SharedFrame>,
    /// What those get who have agreed on compression, where that is shorter.
    #[cfg(feature = "deflate")]
    packed: [Option<Vec<SharedFrame>>; VARIANTS],
}

impl Forms {
    /// The one for this connection.
    #[cfg(not(feature = "deflate"))]
    fn of(&self, _: &Connection) -> &[SharedFrame] {
        &self.plain
    }

    /// The one for this connection.
    #[cfg(feature = "deflate")]
    fn of(&self, conn: &Connection) -> &[SharedFrame] {
        conn.variant().and_then(|variant| self.packed[variant].as_ref()).unwrap_or(&self.plain)
    }

    #[cfg(feature = "deflate")]
    fn packs(&self, conn: &Connection) -> bool {
        conn.variant().is_some_and(|variant| self.packed[variant].is_some())
    }
}

/// What a segment of a queue costs besides its bytes, roughly: enough for the sums to stay below the maximum.
pub(super) const SEGMENT: usize = 256;
