//! `FanoutRole`: a few connections publish, all others listen, and every delivery is accounted for.
//!
//! A message carries its publisher, its number and its planned time, on the clock that all processes of the machine
//! share, so a listener in any lane can tell how long it took. Refuses to know how the server spreads it: whatever one
//! sends, all get. Invariants: a delivery is counted once, as delivered, a duplicate, or one behind its turn; a publish
//! is told once, when all listeners of this lane that read have it, or when they have had their time; what a header says
//! is believed only as far as it can be true.

use std::collections::{HashMap, HashSet, VecDeque};

use tidegate::{ConnId, ConnMap, Context, Message};

use super::calendar::Calendar;
use super::lane::{BEAT, Desk, Play};
use super::peers::Ended;
use crate::order::{Count, Fanout, Metric, Publish, Setup, share};
use crate::record::Times;
use crate::record::times::Bare;
use crate::server::cpu::monotonic_ns;

/// Bytes of the header: publisher, number, planned time in hexadecimal digits. No message is shorter.
pub const HEADER: usize = 4 + 8 + 16;
/// Publishes whose deliveries are gathered at once; beyond, the oldest is told as it is.
const GROUPS_MAX: usize = 4_096;
/// Publishes that are remembered as told, so that a delivery that comes after all does not make them begin again.
const TOLD_MAX: usize = 16_384;
/// Missing messages of one listener that are remembered, in case they come late after all.
const MISSING_MAX: usize = 256;
/// Nanoseconds for the deliveries of a publish whose first one came when its time was over.
const LATE: u64 = 500_000_000;
/// Messages published before the loop is looked after again.
const PER_TURN: u32 = 256;

/// One listener.
struct Ear {
    /// The number that comes next, by publisher.
    next: Box<[u32]>,
    missing: VecDeque<(u32, u32)>,
    /// It is to stop reading, or has: its deliveries do not count any more.
    apart: bool,
    /// When it stopped reading.
    stalled: Option<u64>,
}

/// A connection that publishes: its number among those of all lanes, and that of its next message.
struct Publisher {
    conn: ConnId,
    number: u32,
    next: u32,
}

/// A publish as far as it has come.
struct Group {
    planned: u64,
    /// When it is told, whatever is missing then.
    ends: u64,
    /// Microseconds from the planned time, of each delivery.
    delivered: Vec<u32>,
}

struct Header {
    publisher: u32,
    number: u32,
    planned: u64,
}

/// See the module's text.
pub struct FanoutRole {
    fanout: Fanout,
    lane: u32,
    lanes: u32,
    timeout: u64,
    publishers: Vec<Publisher>,
    /// How many this lane has; their numbers in all lanes begin at `first`.
    publishers_max: usize,
    first: u32,
    turn: usize,
    ears: ConnMap<Ear>,
    /// Listeners that are set apart.
    apart: usize,
    /// They have been chosen.
    chosen: bool,
    groups: HashMap<(u32, u32), Group>,
    /// What this lane published and none of its listeners has yet, and when it is waited for no longer.
    awaited: HashMap<(u32, u32), u64>,
    /// The order in which groups began.
    order: VecDeque<(u32, u32)>,
    /// Publishes that were told, the oldest first.
    told: VecDeque<(u32, u32)>,
    is_told: HashSet<(u32, u32)>,
    calendar: Calendar,
    scratch: Vec<u8>,
}

impl FanoutRole {
    pub fn new(setup: &Setup, fanout: &Fanout, lane: u32) -> Self {
        let part = |lane| share(u64::from(fanout.publishers), lane, setup.lanes) as u32;
        FanoutRole {
            fanout: *fanout,
            lane,
            lanes: setup.lanes,
            timeout: (setup.answer_timeout * 1e9) as u64,
            publishers: Vec::new(),
            publishers_max: part(lane) as usize,
            first: (0..lane).map(part).sum(),
            turn: 0,
            ears: ConnMap::new(),
            apart: 0,
            chosen: false,
            groups: HashMap::new(),
            awaited: HashMap::new(),
            order: VecDeque::new(),
            told: VecDeque::new(),
            is_told: HashSet::new(),
            calendar: Calendar::new(setup, lane),
            scratch: Vec::new(),
        }
    }

    fn publish(&mut self, desk: &mut Desk, cx: &mut Context<'_>, planned: u64, now: u64) {
        if self.publishers.is_empty() {
            desk.book.count_at(planned, Count::Unsent, 1);
            return;
        }
        self.turn = (self.turn + 1) % self.publishers.len();
        let Publisher { conn, number: publisher, next } = &mut self.publishers[self.turn];
        let key = (*publisher, *next);
        let (conn, text) = (*conn, format!("{publisher:04x}{next:08x}{planned:016x}"));
        *next += 1;
        self.scratch.clear();
        self.scratch.extend_from_slice(text.as_bytes());
        self.scratch.resize((self.fanout.size as usize).max(HEADER), b'.');
        // Without this a run that ends before the first delivery would take it for lost.
        if self.ears.len() > self.apart && self.awaited.len() < GROUPS_MAX {
            self.awaited.insert(key, planned + self.timeout + BEAT);
        }
        desk.book.count_at(planned, Count::Published, 1);
        desk.book.time_at(planned, Metric::Slip, now.saturating_sub(planned));
        let _ = match std::str::from_utf8(&self.scratch) {
            Ok(text) if !self.fanout.binary => cx.send(conn, text),
            _ => cx.send(conn, &self.scratch[..]),
        };
    }

    /// Counts a delivery; true when it is one that had not come before.
    fn deliver(&mut self, desk: &mut Desk, conn: ConnId, header: &Header) -> bool {
        let Some(ear) = self.ears.get_mut(conn).filter(|ear| !ear.apart) else { return false };
        let Some(next) = ear.next.get_mut(header.publisher as usize) else { return false };
        if header.number >= *next {
            // Those further back would be forgotten at once.
            for number in (*next).max(header.number.saturating_sub(MISSING_MAX as u32))..header.number {
                if ear.missing.len() == MISSING_MAX {
                    ear.missing.pop_front();
                }
                ear.missing.push_back((header.publisher, number));
            }
            *next = header.number + 1;
        } else {
            let wanted = (header.publisher, header.number);
            let Some(place) = ear.missing.iter().position(|missing| *missing == wanted) else {
                desk.book.count_at(header.planned, Count::Duplicate, 1);
                return false;
            };
            ear.missing.remove(place);
            desk.book.count_at(header.planned, Count::Reordered, 1);
        }
        desk.book.count_at(header.planned, Count::Delivered, 1);
        true
    }

    fn gather(&mut self, desk: &mut Desk, header: &Header, now: u64) {
        let span = now.saturating_sub(header.planned);
        desk.book.time_at(header.planned, Metric::Delivery, span);
        let key = (header.publisher, header.number);
        self.awaited.remove(&key);
        if self.is_told.contains(&key) {
            return;
        }
        if !self.groups.contains_key(&key) {
            if self.groups.len() == GROUPS_MAX {
                self.tell_oldest(desk);
            }
            // One whose first delivery is late has still as long as is waited beyond the timeout at the end.
            let ends = (header.planned + self.timeout + BEAT).max(now + LATE);
            let delivered = Vec::with_capacity(self.ears.len());
            let group = Group { planned: header.planned, ends, delivered };
            self.groups.insert(key, group);
            self.order.push_back(key);
        }
        let Some(group) = self.groups.get_mut(&key) else { return };
        group.delivered.push(u32::try_from(span.div_ceil(1_000)).unwrap_or(u32::MAX));
        if group.delivered.len() + self.apart >= self.ears.len() {
            self.tell(desk, key);
        }
    }

    fn tell_oldest(&mut self, desk: &mut Desk) {
        while let Some(key) = self.order.pop_front() {
            if self.groups.contains_key(&key) {
                return self.tell(desk, key);
            }
        }
    }

    /// A publish is over: in a lone lane its figures are final, otherwise the other lanes have their part of it.
    fn tell(&mut self, desk: &mut Desk, key: (u32, u32)) {
        let Some(mut group) = self.groups.remove(&key) else { return };
        if self.told.len() == TOLD_MAX {
            self.told.pop_front().map(|oldest| self.is_told.remove(&oldest));
        }
        self.told.push_back(key);
        self.is_told.insert(key);
        if self.lanes > 1 {
            let mut delivered = Times::default();
            group.delivered.iter().for_each(|&micros| delivered.record_micros(u64::from(micros)));
            let phase = desk.book.phase_at(group.planned);
            let delivered = Bare(delivered);
            desk.publishes.push(Publish { phase, publisher: key.0, number: key.1, delivered });
            return;
        }
        group.delivered.sort_unstable();
        let middle = group.delivered.len().saturating_sub(1) / 2;
        for (metric, micros) in [
            (Metric::First, group.delivered.first()),
            (Metric::Median, group.delivered.get(middle)),
            (Metric::Last, group.delivered.last()),
        ] {
            if let Some(micros) = micros {
                desk.book.time_at(group.planned, metric, u64::from(*micros) * 1_000);
            }
        }
    }
}

impl Header {
    /// Of a message that came now: of one of so many publishers, planned before it came, and not the last one possible.
    fn of(bytes: &[u8], publishers: u32, now: u64) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(..HEADER)?).ok()?;
        let header = Header {
            publisher: u32::from_str_radix(text.get(..4)?, 16).ok()?,
            number: u32::from_str_radix(text.get(4..12)?, 16).ok()?,
            planned: u64::from_str_radix(text.get(12..HEADER)?, 16).ok()?,
        };
        let can_be = header.publisher < publishers && header.planned <= now && header.number < u32::MAX;
        can_be.then_some(header)
    }
}

impl Play for FanoutRole {
    fn load(&mut self, _: &mut Desk, _: &mut Context<'_>, on: bool, at: u64) {
        if self.calendar.turn(on) && self.publishers_max > 0 {
            // The rate is that of all publishers, of which this lane may have more or fewer than its share.
            let own = self.fanout.per_second * self.publishers_max as f64 / f64::from(self.fanout.publishers);
            let bursts = own * f64::from(self.lanes) / f64::from(self.fanout.burst.max(1));
            self.calendar.plan(self.fanout.poisson, bursts, at);
        }
    }

    fn opened(&mut self, _: &mut Desk, _: &mut Context<'_>, conn: ConnId, _: u64) {
        if self.publishers.len() < self.publishers_max {
            let number = self.first + self.publishers.len() as u32;
            self.publishers.push(Publisher { conn, number, next: 0 });
        } else {
            let next = vec![0; self.fanout.publishers as usize].into_boxed_slice();
            self.ears.insert(conn, Ear { next, missing: VecDeque::new(), apart: false, stalled: None });
        }
    }

    fn message(&mut self, desk: &mut Desk, _: &mut Context<'_>, conn: ConnId, msg: &Message<'_>, now: u64) {
        desk.book.count(Count::Received, 1);
        desk.book.count(Count::ReceivedBytes, msg.len() as u64);
        let Some(header) = Header::of(msg.as_bytes(), self.fanout.publishers, now) else {
            return desk
                .book
                .error("unasked message", || format!("{} bytes that nobody published", msg.len()));
        };
        if msg.len() != (self.fanout.size as usize).max(HEADER) {
            desk.book.count_at(header.planned, Count::Wrong, 1);
            return desk.book.error("wrong length", || {
                format!("{} bytes came of {} that were published", msg.len(), self.fanout.size)
            });
        }
        if self.deliver(desk, conn, &header) {
            self.gather(desk, &header, now);
        }
    }

    fn ended(&mut self, desk: &mut Desk, _: &mut Context<'_>, conn: ConnId, how: Ended, now: u64) {
        if let Some(ear) = self.ears.remove(conn) {
            self.apart -= usize::from(ear.apart);
            if let (Some(since), Ended::Dropped) = (ear.stalled, how) {
                desk.book.count(Count::StalledEnded, 1);
                desk.book.time(Metric::Fate, now.saturating_sub(since));
            }
        }
        // The others take its turns, each under its own number; without any, turns are unsent.
        self.publishers.retain(|publisher| publisher.conn != conn);
    }

    fn due(&self) -> Option<u64> {
        self.calendar.due()
    }

    fn work(&mut self, desk: &mut Desk, cx: &mut Context<'_>, until: u64) {
        for _ in 0..PER_TURN.div_ceil(self.fanout.burst.max(1)) {
            let Some(planned) = self.calendar.next(until) else { return };
            for _ in 0..self.fanout.burst {
                self.publish(desk, cx, planned, monotonic_ns());
            }
        }
    }

    fn beat(&mut self, desk: &mut Desk, _: &mut Context<'_>, now: u64) {
        self.awaited.retain(|_, ends| *ends > now);
        while let Some(key) = self.order.front().copied() {
            match self.groups.get(&key) {
                Some(group) if group.ends > now => return,
                // It has had its time, or was complete before.
                _ => {
                    self.order.pop_front();
                    self.tell(desk, key);
                }
            }
        }
    }

    fn stall(&mut self, desk: &mut Desk, cx: &mut Context<'_>, listeners: u64, reads: bool, now: u64) {
        // They are chosen once: nobody takes the place of one that has ended.
        let goal = if self.chosen { 0 } else { share(listeners, self.lane, self.lanes) as usize };
        self.chosen |= listeners > 0;
        for conn in desk.peers.open().to_vec() {
            let wanted = self.apart < goal;
            let Some(ear) = self.ears.get_mut(conn).filter(|ear| ear.apart || wanted) else { continue };
            self.apart += usize::from(!ear.apart);
            ear.apart = true;
            if reads {
                // It goes on with what is old by now.
                cx.resume(conn);
            } else if ear.stalled.is_none() {
                ear.stalled = Some(now);
                desk.book.count(Count::Stalled, 1);
                desk.peers.provoke(conn);
                cx.pause(conn);
            }
        }
    }

    fn forget(&mut self) {
        self.publishers.clear();
        self.ears = ConnMap::new();
        self.apart = 0;
        self.chosen = false;
        self.groups.clear();
        self.awaited.clear();
        self.order.clear();
        self.told.clear();
        self.is_told.clear();
    }

    fn outstanding(&self) -> u64 {
        (self.groups.len() + self.awaited.len()) as u64
    }
}
