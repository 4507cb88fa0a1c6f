//! The application of the simulator's tests: it echoes, publishes, answers requests in every way, sends in parts, sets
//! timers, and meddles with other connections out of its callbacks.
//!
//! Refuses to know the network. Invariants, asserted: callbacks come only for connections that were announced and have
//! not ended; each of those ends in one `on_close`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::peer::ear::{digest, digest_on};
use super::peer::script::{TOPICS, piece, text};
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::message::{Kind, Message, Part};
use crate::ground::id::{ConnId, ConnMap};
use crate::ground::limits::DeflateMode;
use crate::ground::rng::Rng;
use crate::hub::context::Context;
use crate::hub::exchange::{Reply, Request, Response};
use crate::hub::handler::Handler;
use crate::hub::outgoing::Sent;
use crate::hub::topics::Policy;

/// What the application knows of a peer, over all of its connection's life.
#[derive(Debug, Default)]
pub struct Record {
    /// `on_open`, or a request that was left open.
    pub announced: u32,
    pub closed: Option<Closed>,
    /// Messages sent to it that are no echoes.
    pub direct: u64,
    /// It ended while a message was being sent in parts.
    pub interrupted: bool,
    /// Another connection's callback closed it.
    pub meddled: bool,
}

#[derive(Debug)]
struct Member {
    number: usize,
    /// An open WebSocket; else a request that waits.
    open: bool,
    /// Parts of a message still to be sent.
    parts: u32,
    /// Length and digest of a message that is being taken in parts.
    taking: Option<(usize, u64)>,
    /// Parts go back as they come.
    echoing: bool,
    high: bool,
}

#[derive(Clone, Copy, Debug)]
enum Alarm {
    Greet(ConnId),
    Answer(ConnId, u64),
    Stream(ConnId, u64, usize, usize),
    Parts(ConnId),
    /// Publishes now and then.
    Beat,
}

/// The application.
#[derive(Debug)]
pub struct App {
    rng: Rng,
    members: ConnMap<Member>,
    /// Ids of all that ever were, to meddle with the living and the dead.
    met: Vec<ConnId>,
    pub records: HashMap<usize, Record>,
    published: [u64; TOPICS as usize],
    alarms: HashMap<u64, Alarm>,
    next_alarm: u64,
    /// Causes of ends, with how often each came.
    pub causes: BTreeMap<&'static str, u64>,
    pub calls: u64,
    pub drains: u64,
    /// In a gentle world nobody is closed by others.
    pub meddles: bool,
    pub beats: bool,
}

impl App {
    pub fn new(seed: u64, meddles: bool) -> Self {
        App {
            rng: Rng::new(seed),
            members: ConnMap::new(),
            met: Vec::new(),
            records: HashMap::new(),
            published: [0; TOPICS as usize],
            alarms: HashMap::new(),
            next_alarm: 0,
            causes: BTreeMap::new(),
            calls: 0,
            drains: 0,
            meddles,
            beats: true,
        }
    }

    /// Connections that were announced and have not ended.
    pub fn living(&self) -> usize {
        self.members.len()
    }

    /// One that was met, living or not.
    pub fn anybody(&mut self) -> Option<ConnId> {
        let at = self.rng.below(self.met.len() as u64) as usize;
        self.met.get(at).copied()
    }

    fn record(&mut self, number: usize) -> &mut Record {
        self.records.entry(number).or_default()
    }

    fn alarm(&mut self, cx: &mut Context<'_>, after: Duration, alarm: Alarm) -> bool {
        let tag = self.next_alarm;
        self.next_alarm += 1;
        let armed = cx.set_timer(after, tag).is_some();
        if armed {
            self.alarms.insert(tag, alarm);
        }
        armed
    }

    /// Sends a numbered message: `<letter><number>:<text>`.
    fn direct(&mut self, cx: &mut Context<'_>, conn: ConnId, letter: char, rest: &[u8]) -> Sent {
        let Some(member) = self.members.get(conn) else { return Sent::Gone };
        let number = member.number;
        let next = self.record(number).direct + 1;
        let mut payload = format!("{letter}{next}:").into_bytes();
        payload.extend_from_slice(rest);
        let sent = cx.send(conn, payload);
        if matches!(sent, Sent::Ok | Sent::High) {
            self.record(number).direct = next;
        }
        if sent == Sent::Gone {
            assert!(!cx.is_open(conn), "Gone, and yet open");
        }
        sent
    }

    fn publish(&mut self, cx: &mut Context<'_>, topic: u64) {
        let next = self.published[topic as usize] + 1;
        let most = if self.rng.chance(1, 20) { 20_000 } else { 900 };
        let len = self.rng.below(most) as usize;
        let mut payload = format!("B{topic}:{next}:").into_bytes();
        payload.extend(text(b'z', len, next as usize));
        let subscribers = cx.subscribers(&name(topic));
        let recipients = cx.publish(&name(topic), payload);
        assert!(recipients <= subscribers);
        self.published[topic as usize] = next;
    }

    fn parts(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        loop {
            let Some(member) = self.members.get(conn) else { return };
            let (number, left) = (member.number, member.parts);
            if left == 0 {
                return;
            }
            let len = self.rng.below(3_000) as usize;
            let mut payload = text(b'z', len, 1);
            let first = left == u32::MAX;
            if first {
                payload = format!("P{}:", self.record(number).direct + 1).into_bytes();
            }
            let left = if first { 1 + self.rng.below(12) as u32 } else { left - 1 };
            let sent = cx.send_part(conn, Kind::Binary, &payload, left == 0);
            if matches!(sent, Sent::Gone | Sent::Refused) {
                return;
            }
            if first {
                self.record(number).direct += 1;
            }
            let Some(member) = self.members.get_mut(conn) else { return };
            member.parts = left;
            member.high = sent == Sent::High;
            if left == 0 || sent == Sent::High {
                return; // `on_drain` goes on.
            }
            if self.rng.chance(1, 3) {
                let delay = Duration::from_millis(self.rng.below(80));
                if self.alarm(cx, delay, Alarm::Parts(conn)) {
                    return;
                }
            }
        }
    }

    fn echo(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        match cx.send(conn, msg) {
            Sent::Ok | Sent::High | Sent::Gone => {}
            Sent::Refused => drop(self.direct(cx, conn, 'R', b"")),
        }
    }

    fn meddle(&mut self, cx: &mut Context<'_>) {
        let Some(other) = self.anybody() else { return };
        let known = self.members.get(other).is_some_and(|member| member.open);
        assert!(known || !cx.is_open(other), "{other} is open but was never announced");
        match self.rng.below(6) {
            0 if self.meddles => {
                if cx.close(other, 4_001, "meddled")
                    && let Some(member) = self.members.get(other)
                {
                    let number = member.number;
                    self.record(number).meddled = true;
                }
            }
            1 => drop(cx.buffered(other)),
            _ => drop(self.direct(cx, other, 'X', b"from another")),
        }
    }

    fn command(&mut self, cx: &mut Context<'_>, conn: ConnId, bytes: &[u8]) {
        let topic = bytes.get(1).map_or(0, |digit| u64::from(digit.wrapping_sub(b'0'))) % TOPICS;
        match bytes[0] {
            b's' => {
                if topic == TOPICS - 1 {
                    let _ = cx.topic_policy(&name(topic), Policy::KeepLatest);
                } else if topic == TOPICS - 2 {
                    let _ = cx.topic_policy(&name(topic), Policy::DropNewest);
                }
                if cx.subscribe(conn, &name(topic)).is_ok() {
                    let so_far = self.published[topic as usize];
                    self.direct(cx, conn, 'S', format!("{topic}:{so_far}").as_bytes());
                }
            }
            b'u' => {
                if cx.unsubscribe(conn, &name(topic)) {
                    let so_far = self.published[topic as usize];
                    self.direct(cx, conn, 'U', format!("{topic}:{so_far}").as_bytes());
                }
            }
            b'b' => self.publish(cx, topic),
            b'l' => {
                let len = self.rng.below(90_000) as usize;
                self.direct(cx, conn, 'L', &text(b'z', len, 3));
            }
            b'p' => {
                let Some(member) = self.members.get_mut(conn) else { return };
                if member.parts == 0 {
                    member.parts = u32::MAX;
                    self.parts(cx, conn);
                }
            }
            b't' => {
                let delay = Duration::from_millis(self.rng.below(200));
                self.alarm(cx, delay, Alarm::Greet(conn));
            }
            b'x' => self.meddle(cx),
            b'r' => {
                cx.receive_parts(conn, true);
                if let Some(member) = self.members.get_mut(conn) {
                    member.taking = Some((0, digest(b"")));
                }
            }
            b'q' => {
                // Where a part might be refused, or another message is being sent in parts, the whole goes back.
                let limits = &cx.hub.limits;
                let most = if limits.deflate == DeflateMode::Off { 0 } else { limits.inflate_budget };
                let fits = limits.backlog_max > 2 * limits.scratch_bytes.max(most) + limits.head_max;
                let Some(member) = self.members.get_mut(conn) else { return };
                member.echoing = fits && member.parts == 0;
                cx.receive_parts(conn, member.echoing);
            }
            _ => drop(cx.close(conn, 4_000, "as you wish")),
        }
    }

    fn stream(&mut self, cx: &mut Context<'_>, conn: ConnId, n: u64, from: usize, pieces: usize) {
        for i in from..pieces {
            if self.rng.chance(1, 3) {
                let delay = Duration::from_millis(self.rng.below(50));
                if self.alarm(cx, delay, Alarm::Stream(conn, n, i, pieces)) {
                    return;
                }
            }
            cx.stream(conn, &piece(n, i));
        }
        if cx.end(conn) {
            self.members.remove(conn).expect("a stream that ends was known");
        }
    }

    fn answer(&mut self, req: &Request<'_>) -> (Reply, Option<Alarm>) {
        let mut fields = req.path().split('/').skip(1);
        let route = fields.next().unwrap_or_default();
        let mut number = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        let (n, extent) = (number(), number() as usize);
        let nobody = ConnId { index: 0, generation: 0 };
        match route {
            "plain" => (Reply::Respond(Response::new(200).body_bytes(text(b'P', extent, n as usize))), None),
            "sum" => {
                let text = format!("{} {:x}", req.body().len(), digest(req.body()));
                (Reply::Respond(Response::text(200, text)), None)
            }
            "later" => (Reply::Later, Some(Alarm::Answer(nobody, n))),
            "stream" => (Reply::Stream(Response::new(200)), Some(Alarm::Stream(nobody, n, 0, extent))),
            _ => (Reply::Respond(Response::text(404, "no such thing")), None),
        }
    }
}

fn name(topic: u64) -> String {
    format!("t{topic}")
}

impl Handler for App {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        self.alarm(cx, Duration::from_millis(5), Alarm::Beat);
    }

    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        self.calls += 1;
        assert!(self.members.get(conn).is_none(), "a request on {conn}, which has one");
        let number = usize::from(req.peer().port()) - 1;
        let member = |open| Member { number, open, parts: 0, taking: None, echoing: false, high: false };
        if req.is_websocket() {
            self.members.insert(conn, member(false));
            return Reply::upgrade();
        }
        let (reply, alarm) = self.answer(req);
        if req.method() == "HEAD" && matches!(reply, Reply::Stream(_)) {
            return Reply::Respond(Response::new(200));
        }
        let (delay, alarm) = match alarm {
            Some(Alarm::Answer(_, n)) => (self.rng.below(200), Alarm::Answer(conn, n)),
            Some(Alarm::Stream(_, n, i, pieces)) => (self.rng.below(30), Alarm::Stream(conn, n, i, pieces)),
            _ => return reply,
        };
        if !self.alarm(cx, Duration::from_millis(delay), alarm) {
            return Reply::Respond(Response::text(429, "too many timers"));
        }
        self.members.insert(conn, member(false));
        self.met.push(conn);
        self.record(number).announced += 1;
        reply
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.calls += 1;
        let member = self.members.get_mut(conn).expect("an opening follows a request");
        assert!(!std::mem::replace(&mut member.open, true), "{conn} opened twice");
        let number = member.number;
        self.met.push(conn);
        self.record(number).announced += 1;
        match self.rng.below(8) {
            0 => drop(self.direct(cx, conn, 'L', &text(b'z', 9_000, 0))),
            1 | 2 => drop(self.direct(cx, conn, 'G', b"hello")),
            3 => self.meddle(cx),
            _ => {}
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.calls += 1;
        assert!(cx.is_open(conn), "a message on {conn}, which is not open");
        assert!(self.members.get(conn).is_some_and(|member| member.open), "a message of a stranger");
        match msg.as_bytes() {
            [b's' | b'u' | b'b' | b'l' | b'p' | b't' | b'x' | b'r' | b'q' | b'c', rest @ ..]
                if rest.len() < 2 =>
            {
                let bytes = msg.into_owned();
                self.command(cx, conn, bytes.as_bytes());
            }
            _ => self.echo(cx, conn, msg),
        }
    }

    fn on_part(&mut self, cx: &mut Context<'_>, conn: ConnId, part: Part<'_>) {
        self.calls += 1;
        let member = self.members.get_mut(conn).expect("a part of a stranger");
        if member.echoing {
            member.echoing = !part.last;
            if part.last {
                cx.receive_parts(conn, false);
            }
            let sent = cx.send_part(conn, part.kind, part.bytes, part.last);
            return assert_ne!(sent, Sent::Refused, "{} bytes", part.bytes.len());
        }
        let (len, sum) = member.taking.expect("parts were asked for");
        assert_eq!(part.first, len == 0 && sum == digest(b""), "the first part");
        let taken = (len + part.bytes.len(), digest_on(sum, part.bytes));
        member.taking = Some(taken);
        if part.last {
            member.taking = None;
            cx.receive_parts(conn, false);
            self.direct(cx, conn, 'H', format!("{}:{}", taken.0, taken.1).as_bytes());
        }
    }

    fn on_drain(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.calls += 1;
        self.drains += 1;
        assert!(self.members.get(conn).is_some(), "a drain of a stranger");
        self.parts(cx, conn);
        if self.rng.chance(1, 8) {
            self.meddle(cx);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        self.calls += 1;
        let member =
            self.members.remove(conn).unwrap_or_else(|| panic!("{conn} ended twice, or unannounced"));
        assert!(!cx.is_open(conn) && cx.send(conn, "late") == Sent::Gone, "{conn} is not gone");
        let record = self.record(member.number);
        record.closed = Some(why.clone());
        record.interrupted = member.parts > 0;
        *self.causes.entry(cause_name(why)).or_default() += 1;
        if self.rng.chance(1, 10) {
            self.meddle(cx);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.calls += 1;
        match self.alarms.remove(&tag).expect("an alarm that was set") {
            Alarm::Greet(conn) => drop(self.direct(cx, conn, 'T', b"time")),
            Alarm::Answer(conn, n) => {
                if cx.respond(conn, Response::text(200, format!("later {n}"))) {
                    self.members.remove(conn).expect("a request that waits was known");
                }
            }
            Alarm::Stream(conn, n, i, pieces) => self.stream(cx, conn, n, i, pieces),
            Alarm::Parts(conn) => {
                if self.members.get(conn).is_some_and(|member| !member.high) {
                    self.parts(cx, conn);
                }
            }
            Alarm::Beat => {
                let topic = self.rng.below(TOPICS);
                self.publish(cx, topic);
                if self.beats {
                    let delay = Duration::from_millis(5 + self.rng.below(200));
                    self.alarm(cx, delay, Alarm::Beat);
                }
            }
        }
    }
}

fn cause_name(why: &Closed) -> &'static str {
    match (why.cause, why.by) {
        (Cause::Close, By::Peer) => "closed by peer",
        (Cause::Close, _) => "closed by application",
        (Cause::Answered, _) => "answered",
        (Cause::EndOfStream, _) => "end of stream",
        (Cause::Truncated, _) => "truncated",
        (Cause::Tls(_), _) => "tls",
        (Cause::Io(_), _) => "io",
        (Cause::Protocol(_), _) => "protocol",
        (Cause::BadHead(_), _) => "bad head",
        (Cause::BadBody(_), _) => "bad body",
        (Cause::Refused(_), _) => "refused",
        (Cause::HandshakeTimeout, _) => "handshake timeout",
        (Cause::ReplyTimeout, _) => "reply timeout",
        (Cause::PingTimeout, _) => "ping timeout",
        (Cause::Idle, _) => "idle",
        (Cause::SlowConsumer, _) => "slow consumer",
        (Cause::Memory, _) => "memory",
        (Cause::Shutdown, _) => "shutdown",
        (Cause::BadAnswer, _) => "bad answer",
        (Cause::Declined(_), _) => "declined",
    }
}
