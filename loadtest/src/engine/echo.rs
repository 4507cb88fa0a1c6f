//! `EchoRole`: messages that must come back as they were sent, in order, once.
//!
//! Refuses to know when load begins. Invariants: every message that was sent is counted once as answered, lost or
//! wrong; what is known of one on the way are two times, its number and length follow from its place in the queue; an
//! open-loop message is sent however late the answers before it are.

use std::collections::VecDeque;

use tidegate::{ConnId, ConnMap, Context, Message};

use super::calendar::Calendar;
use super::lane::{Desk, Play};
use super::payload::Payload;
use super::peers::Ended;
use crate::mix::Mix;
use crate::order::{Count, Echo, Metric, Pace, Setup, share};
use crate::server::cpu::monotonic_ns;

/// Messages sent before the loop is looked after again.
const PER_TURN: u32 = 1_024;
/// Messages of one lane that wait for their answers, at most; those planned beyond are counted as unsent.
pub const OUTSTANDING_MAX: u64 = 1 << 20;
/// How far back an answer is recognised as one that has come before.
const WINDOW: u32 = 1_024;
/// Lost messages of one connection that are remembered, in case they come late after all: as far back as answers are
/// recognised, for one that is forgotten would be taken for a duplicate.
const SKIPPED_MAX: usize = WINDOW as usize;
/// In so many beats every connection is looked at for lost messages.
const SWEEP_BEATS: usize = 50;

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    planned: u64,
    actual: u64,
}

/// One connection's messages.
#[derive(Default)]
struct Line {
    /// Those on their way; their numbers follow each other.
    sent: VecDeque<Sent>,
    /// The number of the first of them, or of the next one to be sent.
    first: u32,
    /// The number behind the last one that was answered.
    answered: u32,
    /// Lost ones, by their numbers.
    skipped: VecDeque<(u32, Sent)>,
}

/// What a message that came turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The answer to the one that many places behind the first.
    To(usize),
    /// One that had been given up; `behind` when a later one was answered before it.
    Late {
        sent: Sent,
        behind: bool,
    },
    Again,
    Wrong,
}

/// See the module's text.
pub struct EchoRole {
    mix: Mix,
    binary: bool,
    pace: Pace,
    payload: Payload,
    /// Those that send; others are only held.
    lines: ConnMap<Line>,
    /// Connections that are still to become senders.
    senders: u64,
    calendar: Calendar,
    timeout: u64,
    outstanding: u64,
    swept: usize,
}

impl EchoRole {
    pub fn new(setup: &Setup, echo: &Echo, lane: u32) -> Self {
        EchoRole {
            mix: echo.mix.clone(),
            binary: echo.binary,
            pace: echo.pace,
            payload: Payload::new(echo.payload, echo.mix.largest()),
            lines: ConnMap::new(),
            senders: share(echo.senders, lane, setup.lanes),
            calendar: Calendar::new(setup, lane),
            timeout: (setup.answer_timeout * 1e9) as u64,
            outstanding: 0,
            swept: 0,
        }
    }

    fn send(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, planned: u64, now: u64) {
        let Some(line) = self.lines.get_mut(conn) else { return };
        let number = line.first.wrapping_add(line.sent.len() as u32);
        line.sent.push_back(Sent { planned, actual: now });
        self.outstanding += 1;
        desk.book.count_at(planned, Count::Sent, 1);
        let bytes = self.payload.of(number, size(&self.mix, number));
        // A connection that is gone meanwhile says so in `ended`, which settles what is on its way.
        let _ = match std::str::from_utf8(bytes) {
            Ok(text) if !self.binary => cx.send(conn, text),
            _ => cx.send(conn, bytes),
        };
    }

    /// Sends what a closed loop may send on this connection.
    fn refill(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, now: u64) {
        let Pace::Closed { depth } = self.pace else { return };
        let has_room = |line: &Line| line.sent.len() < depth as usize;
        while self.calendar.is_on() && self.lines.get(conn).is_some_and(has_room) {
            self.send(desk, cx, conn, now, now);
        }
    }

    /// What this message is an answer to.
    fn judge(&mut self, conn: ConnId, bytes: &[u8]) -> Answer {
        let (mix, payload) = (&self.mix, &self.payload);
        let (Some(line), Some((read, bits))) = (self.lines.get_mut(conn), Payload::number(bytes)) else {
            return Answer::Wrong;
        };
        let mask = if bits >= 32 { u32::MAX } else { (1 << bits) - 1 };
        let is = |number: u32| payload.is(bytes, number, size(mix, number));
        let ahead = read.wrapping_sub(line.first) & mask;
        if (ahead as usize) < line.sent.len() && is(line.first.wrapping_add(ahead)) {
            return Answer::To(ahead as usize);
        }
        let number =
            line.first.wrapping_sub(1).wrapping_sub(line.first.wrapping_sub(1).wrapping_sub(read) & mask);
        let back = line.first.wrapping_sub(number);
        if back > WINDOW || !is(number) {
            return Answer::Wrong;
        }
        let place = line.skipped.iter().position(|(skipped, _)| *skipped == number);
        let Some((_, sent)) = place.and_then(|place| line.skipped.remove(place)) else {
            return Answer::Again;
        };
        let ahead = number.wrapping_sub(line.answered);
        // Numbers go round; one that is behind is far ahead.
        let behind = ahead > u32::MAX / 2;
        if !behind {
            line.answered = number.wrapping_add(1);
        }
        Answer::Late { sent, behind }
    }

    /// Takes the first message of this connection off the queue.
    fn pop(&mut self, conn: ConnId) -> Option<Sent> {
        let line = self.lines.get_mut(conn)?;
        let sent = line.sent.pop_front()?;
        line.first = line.first.wrapping_add(1);
        self.outstanding -= 1;
        Some(sent)
    }

    /// Gives the first message of this connection up.
    fn lose(&mut self, desk: &mut Desk, conn: ConnId) {
        let Some(sent) = self.pop(conn) else { return };
        desk.book.count_at(sent.planned, Count::Lost, 1);
        if let Some(line) = self.lines.get_mut(conn) {
            if line.skipped.len() == SKIPPED_MAX {
                line.skipped.pop_front();
            }
            line.skipped.push_back((line.first.wrapping_sub(1), sent));
        }
    }

    fn wrong(&mut self, desk: &mut Desk, conn: ConnId, bytes: &[u8]) {
        let waiting = self.pop(conn);
        let kind = if waiting.is_some() { "wrong echo" } else { "unasked message" };
        desk.book.error(kind, || {
            let start: String = bytes.iter().take(24).map(|byte| byte.escape_ascii().to_string()).collect();
            format!("{} bytes that begin with \"{start}\" are no echo of what was sent", bytes.len())
        });
        if let Some(sent) = waiting {
            desk.book.count_at(sent.planned, Count::Wrong, 1);
        }
    }
}

impl Play for EchoRole {
    fn load(&mut self, desk: &mut Desk, cx: &mut Context<'_>, on: bool, at: u64) {
        if !self.calendar.turn(on) {
            return;
        }
        match self.pace {
            Pace::Open { per_second, poisson } => self.calendar.plan(poisson, per_second, at),
            Pace::Closed { .. } => {
                for conn in desk.peers.open().to_vec() {
                    self.refill(desk, cx, conn, monotonic_ns());
                }
            }
        }
    }

    fn opened(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, now: u64) {
        if self.senders > 0 {
            self.senders -= 1;
            self.lines.insert(conn, Line::default());
        }
        self.refill(desk, cx, conn, now);
    }

    fn message(&mut self, desk: &mut Desk, cx: &mut Context<'_>, conn: ConnId, msg: &Message<'_>, now: u64) {
        desk.book.count(Count::Received, 1);
        desk.book.count(Count::ReceivedBytes, msg.len() as u64);
        match self.judge(conn, msg.as_bytes()) {
            Answer::To(place) => {
                // WebSocket keeps the order, so an answer to a later one says that those before it are lost.
                (0..place).for_each(|_| self.lose(desk, conn));
                if let Some(sent) = self.pop(conn) {
                    if let Some(line) = self.lines.get_mut(conn) {
                        line.answered = line.first;
                    }
                    let book = &mut desk.book;
                    book.count_at(sent.planned, Count::Answered, 1);
                    book.time_at(sent.planned, Metric::Latency, now.saturating_sub(sent.planned));
                    book.time_at(sent.planned, Metric::Raw, now.saturating_sub(sent.actual));
                }
            }
            Answer::Late { sent: Sent { planned, actual }, behind } => {
                desk.book.uncount_at(planned, Count::Lost);
                desk.book.count_at(planned, Count::Answered, 1);
                desk.book.count_at(planned, Count::Reordered, u64::from(behind));
                desk.book.time_at(planned, Metric::Latency, now.saturating_sub(planned));
                desk.book.time_at(planned, Metric::Raw, now.saturating_sub(actual));
            }
            Answer::Again => desk.book.count(Count::Duplicate, 1),
            Answer::Wrong => self.wrong(desk, conn, msg.as_bytes()),
        }
        self.refill(desk, cx, conn, now);
    }

    fn ended(&mut self, desk: &mut Desk, _: &mut Context<'_>, conn: ConnId, _: Ended, _: u64) {
        while self.lines.get(conn).is_some_and(|line| !line.sent.is_empty()) {
            self.lose(desk, conn);
        }
        self.lines.remove(conn);
    }

    fn due(&self) -> Option<u64> {
        self.calendar.due()
    }

    fn work(&mut self, desk: &mut Desk, cx: &mut Context<'_>, until: u64) {
        for _ in 0..PER_TURN {
            let Some(planned) = self.calendar.next(until) else { return };
            match desk.peers.round_robin() {
                Some(conn) if self.outstanding < OUTSTANDING_MAX => {
                    let now = monotonic_ns();
                    desk.book.time_at(planned, Metric::Slip, now.saturating_sub(planned));
                    self.send(desk, cx, conn, planned, now);
                }
                _ => desk.book.count_at(planned, Count::Unsent, 1),
            }
        }
    }

    fn beat(&mut self, desk: &mut Desk, cx: &mut Context<'_>, now: u64) {
        let open = desk.peers.open();
        let each = open.len() / SWEEP_BEATS + 1;
        let from = if self.swept < open.len() { self.swept } else { 0 };
        self.swept = from + each;
        let swept = open[from..open.len().min(from + each)].to_vec();
        for conn in swept {
            let waits =
                |line: &Line, timeout| line.sent.front().is_some_and(|sent| sent.planned + timeout <= now);
            while self.lines.get(conn).is_some_and(|line| waits(line, self.timeout)) {
                self.lose(desk, conn);
            }
            self.refill(desk, cx, conn, now);
        }
    }

    fn stall(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64, _: bool, _: u64) {}

    fn forget(&mut self) {
        self.lines = ConnMap::new();
        self.outstanding = 0;
    }

    fn outstanding(&self) -> u64 {
        self.outstanding
    }
}

/// The length of the message of this number: the mix in an order that looks random and is the same each time.
fn size(mix: &Mix, number: u32) -> usize {
    // Fibonacci hashing: consecutive numbers fall evenly over the range.
    mix.size(f64::from(number.wrapping_mul(0x9E37_79B9)) / 4_294_967_296.0)
}
