//! `Outbox`: what waits to be written to one peer, in order, its length exact to the byte.
//!
//! Refuses to know sockets, limits and time. Invariants: `len` is the sum of what is unsent, urgent and held bytes
//! included; a control frame is only ever put between two frames; nothing of one message is put inside another; a
//! shared frame is held once however many outboxes it waits in.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

use super::spares::Ledger;

/// Owned segments take further small frames until they are this long.
pub const COALESCE_MAX: usize = 16 * 1024;
/// Shared frames up to this length are copied: a copy is then cheaper than a segment of its own.
const COPY_MAX: usize = 512;
/// Pieces handed to one vectored write.
pub const SLICES: usize = 64;

/// Bytes that wait in several places: a frame encoded once for many recipients, a message in several fragments. Their
/// memory is on the ledger once, until the last place has sent them.
#[derive(Clone, Debug)]
pub struct SharedFrame(Rc<Counted>);

#[derive(Debug)]
struct Counted {
    bytes: Vec<u8>,
    ledger: Ledger,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.ledger.set(self.ledger.get() - self.bytes.capacity());
        self.ledger.keep(std::mem::take(&mut self.bytes));
    }
}

impl SharedFrame {
    /// Takes `bytes` into shared ownership and enters them in `ledger`.
    pub fn new(bytes: Vec<u8>, ledger: &Ledger) -> Self {
        ledger.set(ledger.get() + bytes.capacity());
        SharedFrame(Rc::new(Counted { bytes, ledger: Rc::clone(ledger) }))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

#[derive(Debug)]
enum Bytes {
    Owned(Vec<u8>),
    Shared(SharedFrame),
}

/// Consecutive bytes of the queue. Unless `unfinished`, a segment ends where a frame ends.
#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    start: usize,
    end: usize,
    unfinished: bool,
    /// Non-zero: may be replaced by a newer one with the same tag while unsent.
    tag: u32,
}

impl Segment {
    fn owned(bytes: Vec<u8>) -> Self {
        let end = bytes.len();
        Segment { bytes: Bytes::Owned(bytes), start: 0, end, unfinished: false, tag: 0 }
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => &bytes[self.start..self.end],
            Bytes::Shared(frame) => &frame.bytes()[self.start..self.end],
        }
    }

    /// Memory held by this segment alone.
    fn charge(&self) -> usize {
        let own = match &self.bytes {
            Bytes::Owned(bytes) => bytes.capacity(),
            Bytes::Shared(_) => 0,
        };
        own + size_of::<Segment>()
    }
}

/// Control frames that go out at the next boundary between frames.
#[derive(Debug, Default)]
struct Urgent {
    bytes: Vec<u8>,
    /// Bytes of the queue to be sent before it.
    at: usize,
}

/// The queue. See the module's text.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    /// What other messages wait for while a message is being sent in parts (RFC 6455 §5.4 forbids mixing them).
    held: VecDeque<Segment>,
    held_len: usize,
    in_parts: bool,
    /// Bytes of the frame at the front have been sent, but not all.
    mid_frame: bool,
    urgent: Urgent,
    len: usize,
    charge: usize,
    /// The tick at which the backlog rose above `backlog_high`, while it is above `backlog_low` since.
    pub high_since: Option<u32>,
}

impl Outbox {
    /// Unsent bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Unsent bytes that may be sent now: all but those that wait for the end of a message sent in parts.
    pub fn sendable(&self) -> usize {
        self.len - self.held_len
    }

    /// Memory held besides shared frames, in bytes.
    pub fn charge(&self) -> usize {
        self.charge + self.urgent.bytes.capacity()
    }

    /// An empty queue, with `in_parts` in the middle of a message whose parts so far have been sent.
    pub fn new(in_parts: bool) -> Self {
        Outbox { in_parts, ..Outbox::default() }
    }

    /// True while a message is being sent in parts.
    pub fn in_parts(&self) -> bool {
        self.in_parts
    }

    /// Verifies the sums.
    ///
    /// # Panics
    /// When one is wrong.
    #[cfg(test)]
    pub fn check(&self) {
        let sum = |queue: &VecDeque<Segment>, of: fn(&Segment) -> usize| queue.iter().map(of).sum::<usize>();
        let held = sum(&self.held, Segment::len);
        assert_eq!(self.held_len, held, "held bytes");
        assert_eq!(
            self.len,
            sum(&self.segments, Segment::len) + held + self.urgent.bytes.len(),
            "unsent bytes"
        );
        assert_eq!(
            self.charge,
            sum(&self.segments, Segment::charge) + sum(&self.held, Segment::charge),
            "charge"
        );
    }

    /// The shared frames that wait here: where each is, and its charge.
    #[cfg(test)]
    pub fn shared(&self) -> impl Iterator<Item = (*const u8, usize)> {
        self.segments.iter().chain(&self.held).filter_map(|segment| match &segment.bytes {
            Bytes::Owned(_) => None,
            Bytes::Shared(frame) => Some((frame.bytes().as_ptr(), frame.0.bytes.capacity())),
        })
    }

    /// Appends what `write` writes: whole frames, or a response.
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let (grown, before, after) = append_to(self.queue_mut(), write);
        self.charge -= before;
        self.grow(grown, after);
    }

    /// The queue that takes new frames has grown.
    fn grow(&mut self, len: usize, charge: usize) {
        self.len += len;
        self.charge += charge;
        if self.in_parts {
            self.held_len += len;
        }
    }

    /// Appends a frame whose header is `header` and whose payload is a part of `bytes`, which lie where they are.
    pub fn append_lying(&mut self, header: &[u8], bytes: &SharedFrame, part: Range<usize>) {
        self.push(Segment { unfinished: true, ..Segment::owned(header.to_vec()) });
        let Range { start, end } = part;
        self.push(Segment { bytes: Bytes::Shared(bytes.clone()), start, end, unfinished: false, tag: 0 });
    }

    /// Appends a frame that others get too. With a `tag`, it replaces an unsent one with the same tag.
    pub fn append_shared(&mut self, frame: &SharedFrame, tag: u32) {
        if tag != 0 && self.replace(frame, tag) {
            return;
        }
        if frame.bytes().len() <= COPY_MAX && tag == 0 && !self.queue().is_empty() {
            return self.append(|out| out.extend_from_slice(frame.bytes()));
        }
        let end = frame.bytes().len();
        self.push(Segment { bytes: Bytes::Shared(frame.clone()), start: 0, end, unfinished: false, tag });
    }

    /// Lets no later frame take the place of one with this tag: one that cannot takes its place behind it.
    pub fn settle_tag(&mut self, tag: u32) {
        let all = self.segments.iter_mut().chain(&mut self.held);
        all.filter(|segment| segment.tag == tag).for_each(|segment| segment.tag = 0);
    }

    /// Puts bytes before everything; they were to be written before the queue came about. They may start in the middle
    /// of a frame, or with a response that no frame may overtake, so urgent frames go behind them.
    pub fn prepend(&mut self, bytes: Vec<u8>) {
        self.urgent.at += bytes.len();
        let mut segment = Segment::owned(bytes);
        // What no frame may overtake now must not be parted from what comes before it either.
        segment.unfinished = self.mid_frame && !self.segments.is_empty();
        self.len += segment.len();
        self.charge += segment.charge();
        self.segments.push_front(segment);
        self.mid_frame = true;
    }

    /// Lets no urgent frame overtake what waits now: it is HTTP, and frames begin behind it.
    pub fn fence(&mut self) {
        let Some(last) = self.segments.len().checked_sub(1) else { return };
        self.segments.iter_mut().take(last).for_each(|segment| segment.unfinished = true);
        self.mid_frame = true;
    }

    /// Appends a frame of a message that is being sent in parts; `last` ends the message and lets go of what waited.
    pub fn append_part(&mut self, last: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let (grown, before, after) = append_to(&mut self.segments, write);
        self.len += grown;
        self.charge = self.charge - before + after;
        self.in_parts = !last;
        if last {
            self.segments.append(&mut self.held);
            self.held_len = 0;
        }
    }

    /// Gives up a message that is being sent in parts, and with it what waits for its end: a Close follows, which may
    /// stand inside the message (RFC 6455 §5.4), and nothing behind it.
    pub fn abandon_parts(&mut self) {
        self.charge -= self.held.iter().map(Segment::charge).sum::<usize>();
        self.len -= std::mem::take(&mut self.held_len);
        self.held.clear();
        self.in_parts = false;
    }

    /// Puts a control frame before all data that has not been begun. With `replace`, it takes the place of an urgent
    /// one that is still wholly unsent.
    pub fn urgent(&mut self, frame: &[u8], replace: bool) {
        if !self.urgent.bytes.is_empty() && replace {
            self.len -= self.urgent.bytes.len();
            self.urgent.bytes.clear();
        }
        if self.urgent.bytes.is_empty() {
            self.urgent.at = self.to_boundary();
        }
        self.urgent.bytes.extend_from_slice(frame);
        self.len += frame.len();
    }

    /// Hands out what comes next as slices, `room` bytes at the most: `before` (what the loop holds for this peer), then
    /// the queue.
    pub fn gather<'a>(&'a self, before: &'a [u8], mut room: usize, out: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        let mut add = |bytes: &'a [u8]| {
            let bytes = &bytes[..bytes.len().min(room)];
            if !bytes.is_empty() && count < SLICES {
                room -= bytes.len();
                out[count] = IoSlice::new(bytes);
                count += 1;
            }
        };
        add(before);
        let mut until_urgent = if self.urgent.bytes.is_empty() { usize::MAX } else { self.urgent.at };
        for segment in self.segments.iter().take(SLICES) {
            let mut bytes = segment.bytes();
            // Later frames may have been appended to the segment behind whose end the urgent ones were to go.
            if until_urgent <= bytes.len() {
                let (before, after) = bytes.split_at(until_urgent);
                add(before);
                add(&self.urgent.bytes);
                bytes = after;
                until_urgent = usize::MAX;
            }
            add(bytes);
            if until_urgent != usize::MAX {
                until_urgent -= segment.len();
            }
        }
        if until_urgent == 0 {
            add(&self.urgent.bytes);
        }
        count
    }

    /// Drops the first `sent` bytes of what [`Outbox::gather`] hands out after `before`.
    pub fn advance(&mut self, mut sent: usize) {
        debug_assert!(sent <= self.len);
        self.len -= sent;
        while sent > 0 {
            if !self.urgent.bytes.is_empty() && self.urgent.at == 0 {
                sent = self.advance_urgent(sent);
                continue;
            }
            let Some(front) = self.segments.front_mut() else { break };
            let mut step = sent.min(front.len());
            if !self.urgent.bytes.is_empty() {
                step = step.min(self.urgent.at);
                self.urgent.at -= step;
            }
            front.start += step;
            sent -= step;
            self.mid_frame = front.len() > 0 || front.unfinished;
            if front.len() == 0 {
                self.charge -= front.charge();
                self.segments.pop_front();
            }
        }
    }

    /// Sends of the urgent bytes; what is left of them becomes ordinary, so that a newer one cannot replace it.
    fn advance_urgent(&mut self, sent: usize) -> usize {
        let mut bytes = std::mem::take(&mut self.urgent.bytes);
        let step = sent.min(bytes.len());
        if step < bytes.len() {
            bytes.drain(..step);
            let rest = Segment::owned(bytes);
            self.charge += rest.charge();
            self.segments.push_front(rest);
            self.mid_frame = true;
        }
        sent - step
    }

    /// Bytes from the front to the first place where a control frame may stand.
    fn to_boundary(&self) -> usize {
        if !self.mid_frame {
            return 0;
        }
        let mut bytes = 0;
        for segment in &self.segments {
            bytes += segment.len();
            if !segment.unfinished {
                break;
            }
        }
        bytes
    }

    fn replace(&mut self, frame: &SharedFrame, tag: u32) -> bool {
        let first = usize::from(self.mid_frame);
        let queue = if self.in_parts { &mut self.held } else { &mut self.segments };
        let begun = if self.in_parts { 0 } else { first };
        let Some(old) = queue.iter_mut().skip(begun).rfind(|segment| segment.tag == tag) else {
            return false;
        };
        let (before, after) = (old.len(), frame.bytes().len());
        self.len = self.len - before + after;
        if self.in_parts {
            self.held_len = self.held_len - before + after;
        }
        // An urgent frame stands at a frame's end; those behind it in the queue do not move it.
        old.bytes = Bytes::Shared(frame.clone());
        old.end = frame.bytes().len();
        true
    }

    /// Where new frames go: behind the message that is being sent in parts, if one is.
    fn queue(&self) -> &VecDeque<Segment> {
        if self.in_parts { &self.held } else { &self.segments }
    }

    fn queue_mut(&mut self) -> &mut VecDeque<Segment> {
        if self.in_parts { &mut self.held } else { &mut self.segments }
    }

    fn push(&mut self, segment: Segment) {
        self.grow(segment.len(), segment.charge());
        self.queue_mut().push_back(segment);
    }
}

/// Lets `write` append to the last segment, or to a new one; returns by how much its length grew,
/// and the charge for what was touched before and after.
fn append_to(queue: &mut VecDeque<Segment>, write: impl FnOnce(&mut Vec<u8>)) -> (usize, usize, usize) {
    if let Some(last) = queue.back_mut()
        && let Bytes::Owned(bytes) = &mut last.bytes
        && bytes.len() < COALESCE_MAX
    {
        let (len, room) = (bytes.len(), bytes.capacity());
        write(bytes);
        last.end = bytes.len();
        if bytes.len() >= COALESCE_MAX {
            // Nothing more joins it: the room to double into would only count against the limits.
            bytes.shrink_to_fit();
        }
        return (bytes.len() - len, room, bytes.capacity());
    }
    let mut bytes = Vec::new();
    write(&mut bytes);
    let segment = Segment::owned(bytes);
    let grown = (segment.len(), 0, segment.charge());
    queue.push_back(segment);
    grown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::rng::Rng;

    /// A frame in two segments, header and payload.
    fn lying(outbox: &mut Outbox, ledger: &Ledger, header: &[u8], payload: Vec<u8>) {
        let len = payload.len();
        outbox.append_lying(header, &SharedFrame::new(payload, ledger), 0..len);
    }

    fn drain(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while outbox.len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = outbox.gather(&[], usize::MAX, &mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = step.min(bytes.len());
            all.extend_from_slice(&bytes[..taken]);
            outbox.advance(taken);
        }
        all
    }

    fn text(outbox: &mut Outbox, frame: &str) {
        outbox.append(|out| out.extend_from_slice(frame.as_bytes()));
    }

    #[test]
    fn order_is_kept_for_every_size_of_write() {
        for step in [13, 100, 1000, 100_000] {
            let ledger = Ledger::default();
            let mut outbox = Outbox::default();
            text(&mut outbox, "one ");
            lying(&mut outbox, &ledger, b"two:", b"payload ".repeat(2048));
            text(&mut outbox, "three ");
            outbox.append_shared(&SharedFrame::new(b"four ".repeat(200), &ledger), 0);
            outbox.append_shared(&SharedFrame::new(b"five ".to_vec(), &ledger), 0);
            let expected = format!("one two:{}three {}five ", "payload ".repeat(2048), "four ".repeat(200));
            assert_eq!(outbox.len(), expected.len());
            assert_eq!(drain(&mut outbox, step), expected.as_bytes());
            assert_eq!((outbox.len(), outbox.charge(), ledger.get()), (0, 0, 0), "memory is given back");
        }
    }

    #[test]
    fn a_control_frame_overtakes_at_a_frame_boundary() {
        // Nothing begun: it goes first.
        let mut outbox = Outbox::default();
        text(&mut outbox, "data");
        outbox.urgent(b"PONG", true);
        assert_eq!(drain(&mut outbox, 3), b"PONGdata");
        // A frame has been begun, header and payload in two segments: it goes behind that frame.
        let mut outbox = Outbox::default();
        lying(&mut outbox, &Ledger::default(), b"head", vec![b'.'; COALESCE_MAX]);
        lying(&mut outbox, &Ledger::default(), b"next", vec![b'.'; COALESCE_MAX]);
        outbox.advance(4);
        outbox.urgent(b"PONG", true);
        let sent = drain(&mut outbox, 3);
        assert_eq!(sent[COALESCE_MAX..COALESCE_MAX + 8], *b"PONGnext");
    }

    #[test]
    fn at_most_one_unsent_pong() {
        let mut outbox = Outbox::default();
        text(&mut outbox, "data");
        for i in 0..1000 {
            outbox.urgent(format!("P{i:03}").as_bytes(), true);
        }
        assert_eq!(outbox.len(), 8);
        assert_eq!(drain(&mut outbox, 100), b"P999data");
        // A Pong that has been begun is finished, and the newer one follows it.
        text(&mut outbox, "data");
        outbox.urgent(b"PONG1", true);
        outbox.advance(2);
        outbox.urgent(b"PONG2", true);
        outbox.urgent(b"PONG3", true);
        assert_eq!(drain(&mut outbox, 100), b"NG1PONG3data");
    }

    #[test]
    fn other_messages_wait_for_the_end_of_one_sent_in_parts() {
        let mut outbox = Outbox::default();
        outbox.append_part(false, |out| out.extend_from_slice(b"[a"));
        text(&mut outbox, "other");
        outbox.append_part(false, |out| out.extend_from_slice(b"b"));
        assert_eq!(outbox.len(), 8);
        outbox.urgent(b"PONG", true);
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(outbox.gather(b"cork", usize::MAX, &mut slices), 3, "what is held is not handed out");
        outbox.advance(4 + 3);
        assert!(outbox.in_parts());
        outbox.append_part(true, |out| out.extend_from_slice(b"c]"));
        assert_eq!(drain(&mut outbox, 2), b"c]other");
        assert!(!outbox.in_parts());
        // What was to follow a message that is given up is given up, too.
        outbox.append_part(false, |out| out.extend_from_slice(b"[a"));
        text(&mut outbox, "other");
        assert_eq!((outbox.len(), outbox.sendable()), (7, 2));
        outbox.abandon_parts();
        text(&mut outbox, "CLOSE");
        assert_eq!(drain(&mut outbox, 100), b"[aCLOSE");
        assert_eq!((outbox.len(), outbox.in_parts(), outbox.charge()), (0, false, 0));
    }

    #[test]
    fn only_the_latest_of_a_tag_waits_but_a_begun_one_is_finished() {
        let ledger = Ledger::default();
        let frame = |text: &str| SharedFrame::new(text.as_bytes().to_vec(), &ledger);
        let mut outbox = Outbox::default();
        outbox.append_shared(&frame("one"), 7);
        outbox.append_shared(&frame("other"), 8);
        outbox.append_shared(&frame("two!"), 7);
        outbox.advance(1);
        outbox.append_shared(&frame("three"), 7);
        outbox.append_shared(&frame("four"), 7);
        assert_eq!(outbox.len(), 3 + 5 + 4);
        assert_eq!(drain(&mut outbox, 100), b"wo!otherfour");
        // What comes behind a message that cannot be replaced does not go before it.
        outbox.append_shared(&frame("old"), 7);
        outbox.settle_tag(7);
        outbox.append_shared(&frame("long"), 0);
        outbox.append_shared(&frame("new"), 7);
        assert_eq!(drain(&mut outbox, 100), b"oldlongnew");
        assert_eq!(ledger.get(), 0);
    }

    #[test]
    fn a_control_frame_keeps_its_place_when_data_joins_the_segment_before_it() {
        for step in [1, 2, 3, 5, 100] {
            let mut outbox = Outbox::default();
            text(&mut outbox, "begun");
            outbox.advance(1);
            outbox.urgent(b"PONG", true);
            text(&mut outbox, "later");
            assert_eq!(drain(&mut outbox, step), b"egunPONGlater");
        }
    }

    #[test]
    fn a_control_frame_overtakes_no_http() {
        let mut outbox = Outbox::default();
        lying(&mut outbox, &Ledger::default(), b"HTTP/1.1 200 OK", vec![b'.'; COALESCE_MAX]);
        text(&mut outbox, "HTTP/1.1 101");
        outbox.fence();
        outbox.urgent(b"PONG", true);
        text(&mut outbox, "frame");
        let sent = drain(&mut outbox, 100_000);
        assert!(sent.ends_with(b"..HTTP/1.1 101PONGframe"));
        // Nor one that was still in the loop's buffer.
        let mut outbox = Outbox::default();
        outbox.urgent(b"PONG", true);
        text(&mut outbox, "frame");
        outbox.prepend(b"HTTP/1.1 101".to_vec());
        assert_eq!(drain(&mut outbox, 3), b"HTTP/1.1 101PONGframe");
    }

    /// Length and order against a plain byte string, over random operations.
    #[test]
    fn behaves_like_a_byte_string() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let ledger = Ledger::default();
            let (mut outbox, mut model) = (Outbox::default(), Vec::new());
            for round in 0..100_u32 {
                let mut frame = vec![round as u8; rng.below(2000) as usize + 1];
                match rng.below(4) {
                    0 => outbox.append(|out| out.extend_from_slice(&frame)),
                    1 => {
                        frame.resize(frame.len() * 20, round as u8);
                        lying(&mut outbox, &ledger, &frame[..1], frame[1..].to_vec());
                    }
                    2 => outbox.append_shared(&SharedFrame::new(frame.clone(), &ledger), 0),
                    _ => {
                        let mut slices = [IoSlice::new(&[]); SLICES];
                        let count = outbox.gather(&[], usize::MAX, &mut slices);
                        let ready: Vec<u8> = slices[..count].iter().flat_map(|s| s.iter().copied()).collect();
                        assert!(model.starts_with(&ready));
                        let sent = rng.below(ready.len() as u64 + 1) as usize;
                        outbox.advance(sent);
                        model.drain(..sent);
                        continue;
                    }
                }
                model.extend_from_slice(&frame);
                assert_eq!(outbox.len(), model.len());
                assert!(outbox.charge() + ledger.get() >= outbox.len());
            }
            assert_eq!(drain(&mut outbox, 5000), model);
            assert_eq!((outbox.charge(), ledger.get()), (0, 0));
        }
    }
}
