//! What is the same for many and waits to be written to all of them: frames for one topic, gathered until the turn's end,
//! and the Pings of a turn.
//!
//! So a publish costs the same however many subscribe, a subscriber that keeps up costs one write a turn however much
//! was published, and no queue comes about for it, nor for a Ping. Refuses to know sockets. Invariants: it never holds frames of two
//! topics, nor more than a quarter of `backlog_max` unless that is one message; whoever subscribed before gets them, whoever does
//! later does not; what is sent to a subscriber afterwards comes behind them.

use super::outgoing::SEGMENT;
use super::topics::Policy;
use super::{Hub, Marks, NOBODY};
#[cfg(feature = "deflate")]
use crate::conn::Connection;
#[cfg(feature = "deflate")]
use crate::conn::deflate::{VARIANTS, packed_fragments};
use crate::conn::message::{Message, fragments};
use crate::conn::outbox::SharedFrame;
use crate::conn::phase::Phase;
use crate::wire::frame;

/// Frames of one topic that nobody has yet. Empty where nothing waits.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    topic: u32,
    bytes: Vec<u8>,
    messages: u64,
    fragmented: u64,
    /// The same frames as those get them who have agreed on compression.
    #[cfg(feature = "deflate")]
    packed: [Packed; VARIANTS],
}

/// A Ping without payload, as a server sends it (RFC 6455 §5.5.2).
const PING: [u8; 2] = [0x89, 0];

/// Frames on the way to all who get them.
#[derive(Debug)]
pub struct Broadcast {
    /// Whose subscribers they are for; none where they are a Ping.
    topic: Option<u32>,
    frames: SharedFrame,
    messages: u64,
    fragmented: u64,
    /// Absent where it would be the same.
    #[cfg(feature = "deflate")]
    packed: [Option<SharedFrame>; VARIANTS],
    /// Some of that is there.
    #[cfg(feature = "deflate")]
    is_packed: bool,
    /// Whom it is for. The list is lent: nobody subscribes or leaves meanwhile.
    pub recipients: Vec<u32>,
}

impl Broadcast {
    /// What is to be written to each.
    #[cfg(not(feature = "deflate"))]
    pub fn bytes(&self) -> &[u8] {
        self.frames.bytes()
    }

    /// The form that one connection gets, if that is a compressed one.
    #[cfg(feature = "deflate")]
    fn packed_for(&self, conn: &Connection) -> Option<&SharedFrame> {
        self.packed[conn.variant()?].as_ref()
    }
}

/// Frames of which some are compressed, perhaps.
#[cfg(feature = "deflate")]
#[derive(Debug, Default)]
struct Packed {
    bytes: Vec<u8>,
    any: bool,
}

impl Gathered {
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Memory held, in bytes.
    pub(super) fn charge(&self) -> usize {
        #[cfg(not(feature = "deflate"))]
        let packed = 0;
        #[cfg(feature = "deflate")]
        let packed = self.packed.iter().map(|packed| packed.bytes.capacity()).sum::<usize>();
        self.bytes.capacity() + packed
    }
}

impl Hub {
    /// Gathers a message that takes `len` bytes at the most; returns for how many subscribers.
    pub(super) fn gather(&mut self, topic: u32, message: &Message<'_>, len: usize) -> usize {
        let listeners = self.topics.listeners(topic);
        if listeners == 0 {
            return 0;
        }
        let waits = self.gathered.bytes.len();
        if self.gathered.topic != topic || waits + len > self.limits.backlog_max / 4 {
            self.hand_out();
        }
        // It doubles when it grows.
        self.reserve(NOBODY, self.forms(topic) * (self.gathered.bytes.len() + len));
        let before = self.gathered.charge();
        #[cfg(feature = "deflate")]
        self.gather_packed(topic, message);
        let gathered = &mut self.gathered;
        if gathered.bytes.capacity() == 0 {
            gathered.bytes = self.memory.buffer(len);
        }
        let frames = fragments(message, self.limits.fragment_bytes);
        gathered.fragmented += u64::from(frames.len() > 1);
        for (last, opcode, payload) in frames {
            frame::append(&mut gathered.bytes, last, opcode, payload, None);
        }
        self.memory.set(self.memory.get() + gathered.charge() - before);
        gathered.topic = topic;
        gathered.messages += 1;
        listeners
    }

    /// In how many forms what is published to a topic lies in memory.
    #[cfg(not(feature = "deflate"))]
    pub(super) fn forms(&self, _: u32) -> usize {
        1
    }

    /// In how many forms what is published to a topic lies in memory.
    #[cfg(feature = "deflate")]
    pub(super) fn forms(&self, topic: u32) -> usize {
        1 + (0..VARIANTS).filter(|&variant| self.topics.deflates(topic, variant)).count()
    }

    /// The same for those who get it compressed, as far as some of the topic's subscribers do.
    #[cfg(feature = "deflate")]
    fn gather_packed(&mut self, topic: u32, message: &Message<'_>) {
        for variant in 0..VARIANTS {
            if !self.topics.deflates(topic, variant) {
                continue;
            }
            let packed = self.pack_for(topic, variant, message);
            let longest = self.limits.fragment_bytes;
            let Packed { bytes, any } = &mut self.gathered.packed[variant];
            match packed {
                Some(packed) => {
                    packed_fragments(message.kind(), &packed, longest, |append| append(bytes));
                    *any = true;
                    self.codecs.recycle(packed);
                }
                None => {
                    for (last, opcode, payload) in fragments(message, longest) {
                        frame::append(bytes, last, opcode, payload, None);
                    }
                }
            }
        }
    }

    /// True when something waits to be written to many.
    pub fn has_broadcast(&self) -> bool {
        !self.gathered.is_empty() || !self.pinged.is_empty()
    }

    /// Takes what waits, to write it to each of `recipients` for whom [`Hub::takes_broadcast`] says so, and then to
    /// [`Hub::end_broadcast`]; call until it returns `None`.
    pub fn next_broadcast(&mut self) -> Option<Broadcast> {
        if self.pinged.is_empty() {
            return self.take_gathered();
        }
        let recipients = std::mem::take(&mut self.pinged);
        let frames = SharedFrame::new(PING.to_vec(), &self.memory);
        Some(Broadcast {
            topic: None,
            frames,
            messages: 0,
            fragmented: 0,
            #[cfg(feature = "deflate")]
            packed: Default::default(),
            #[cfg(feature = "deflate")]
            is_packed: false,
            recipients,
        })
    }

    fn take_gathered(&mut self) -> Option<Broadcast> {
        if self.gathered.is_empty() {
            return None;
        }
        let gathered = std::mem::take(&mut self.gathered);
        // It is entered again as what it becomes.
        self.memory.set(self.memory.get() - gathered.charge());
        let topic = gathered.topic;
        Some(Broadcast {
            topic: Some(topic),
            frames: SharedFrame::new(gathered.bytes, &self.memory),
            messages: gathered.messages,
            fragmented: gathered.fragmented,
            #[cfg(feature = "deflate")]
            is_packed: gathered.packed.iter().any(|packed| packed.any),
            #[cfg(feature = "deflate")]
            packed: gathered
                .packed
                .map(|Packed { bytes, any }| any.then(|| SharedFrame::new(bytes, &self.memory))),
            recipients: self.topics.lend(topic),
        })
    }

    /// True when a recipient's share may be written at once, for nothing waits before it. Else it has been queued, or
    /// the recipient is not open any more.
    #[inline]
    pub fn takes_broadcast(&mut self, index: u32, broadcast: &Broadcast) -> bool {
        let slot = &self.slots.0[index as usize];
        if slot.conn.phase != Phase::Open {
            return false;
        }
        let at_once = slot.conn.nothing_waits() && !slot.marks.has(Marks::BLOCKED);
        if !at_once {
            self.queue_broadcast(index, broadcast, 0);
        }
        at_once
    }

    /// What is to be written to one recipient.
    #[cfg(feature = "deflate")]
    pub fn share<'b>(&self, index: u32, broadcast: &'b Broadcast) -> &'b [u8] {
        let packed = broadcast.is_packed.then(|| broadcast.packed_for(&self.slots.0[index as usize].conn));
        packed.flatten().unwrap_or(&broadcast.frames).bytes()
    }

    /// `len` bytes of a recipient's share have been written; if that is not all, the rest is queued, until the kernel can
    /// take more where it is `blocked`.
    #[inline]
    pub fn broadcast_sent(&mut self, index: u32, broadcast: &Broadcast, len: usize, blocked: bool) {
        self.stats.bytes_out += len as u64;
        #[cfg(not(feature = "deflate"))]
        let all = broadcast.bytes().len();
        #[cfg(feature = "deflate")]
        let all = self.share(index, broadcast).len();
        if len == all {
            return self.count_broadcast(index, broadcast);
        }
        self.slots.0[index as usize].marks.set(Marks::BLOCKED, blocked);
        self.queue_broadcast(index, broadcast, len);
    }

    /// Gives the list of recipients back.
    pub fn end_broadcast(&mut self, mut broadcast: Broadcast) {
        match broadcast.topic {
            Some(topic) => self.topics.give_back(topic, broadcast.recipients),
            None => {
                broadcast.recipients.clear();
                self.pinged = broadcast.recipients;
            }
        }
    }

    /// Queues what was published for each subscriber, so that what is done next comes behind it.
    pub(super) fn hand_out(&mut self) {
        if let Some(broadcast) = self.take_gathered() {
            self.queue_for_all(broadcast);
        }
    }

    pub(super) fn queue_for_all(&mut self, broadcast: Broadcast) {
        for &index in &broadcast.recipients {
            if self.slots.0[index as usize].conn.phase == Phase::Open {
                self.queue_broadcast(index, &broadcast, 0);
            }
        }
        self.end_broadcast(broadcast);
    }

    /// Before something is sent to a connection: what waits and is for it too comes first.
    pub(super) fn keep_order(&mut self, index: u32) {
        if !self.gathered.is_empty() && self.is_subscribed(index, self.gathered.topic) {
            self.hand_out();
        }
    }

    /// Before something changes about a topic.
    pub(super) fn settle_topic(&mut self, topic: u32) {
        if self.gathered.topic == topic {
            self.hand_out();
        }
    }

    /// A topic that has ceased to exist: nobody is left whom it could concern.
    pub(super) fn drop_gathered(&mut self, topic: u32) {
        if self.gathered.topic == topic {
            let gathered = std::mem::take(&mut self.gathered);
            self.memory.set(self.memory.get() - gathered.charge());
        }
    }

    /// True when the topic's publications may be gathered: every subscriber gets all of them in the same bytes.
    pub(super) fn may_gather(&self, topic: u32) -> bool {
        let (policy, _) = self.topics.policy(topic);
        policy == Policy::Close && !self.topics.has_clients(topic)
    }

    fn queue_broadcast(&mut self, index: u32, broadcast: &Broadcast, sent: usize) {
        if !self.reserve(index, SEGMENT) {
            return;
        }
        self.with(index, |conn, _| {
            #[cfg(not(feature = "deflate"))]
            let frames = &broadcast.frames;
            #[cfg(feature = "deflate")]
            let frames = broadcast.packed_for(conn).unwrap_or(&broadcast.frames);
            let outbox = conn.outbox();
            outbox.append_shared(frames, 0);
            outbox.advance(sent);
        });
        self.count_broadcast(index, broadcast);
        self.settle(index);
    }

    #[inline]
    fn count_broadcast(&mut self, index: u32, broadcast: &Broadcast) {
        #[cfg(not(feature = "deflate"))]
        let _ = index;
        #[cfg(feature = "deflate")]
        if broadcast.is_packed && broadcast.packed_for(&self.slots.0[index as usize].conn).is_some() {
            self.slots.0[index as usize].conn.outdate();
        }
        self.stats.messages_out += broadcast.messages;
        self.stats.fragmented_out += broadcast.fragmented;
    }
}
