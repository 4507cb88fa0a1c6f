//! A client's hub against a server's hub, bytes carried by hand, on a fake clock: what takes minutes takes no time.

use std::io::IoSlice;
use std::time::Duration;

use super::client::Connect;
use super::context::Context;
use super::exchange::{Reply, Request, Response};
use super::handler::Handler;
use super::outgoing::{Next, Sent};
use super::*;
use crate::conn::closed::Closed;
use crate::conn::message::{Kind, Message, Part};
use crate::conn::outbox::SLICES;
use crate::hub::admission::Admission;

/// Writes down what happens; what it does is told by the messages themselves.
#[derive(Default)]
struct Journal {
    lines: Vec<String>,
    conn: Option<ConnId>,
    echo: bool,
}

impl Journal {
    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

impl Handler for Journal {
    fn on_request(&mut self, _: &mut Context<'_>, conn: ConnId, req: &Request<'_>) -> Reply {
        self.conn = Some(conn);
        match req.path() {
            "/later" => Reply::Later,
            "/stream" => Reply::Stream(Response::new(200)),
            _ => Reply::upgrade(),
        }
    }

    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.conn = Some(conn);
        self.lines.push("open".into());
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.lines.push(format!("{:?} {}", msg.kind(), msg.len()));
        if self.echo {
            cx.send(conn, msg);
        }
    }

    fn on_part(&mut self, _: &mut Context<'_>, _: ConnId, part: Part<'_>) {
        self.lines.push(format!("part {} {} {}", part.bytes.len(), part.first, part.last));
    }

    fn on_drain(&mut self, _: &mut Context<'_>, _: ConnId) {
        self.lines.push("drain".into());
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        assert!(!cx.is_open(conn));
        self.lines.push(why.to_string());
    }

    fn on_timer(&mut self, _: &mut Context<'_>, tag: u64) {
        self.lines.push(format!("timer {tag}"));
    }
}

/// One side: a hub, its application, its one connection's socket as two facts.
struct Side {
    hub: Hub,
    app: Journal,
    index: Option<u32>,
    /// Our half has been shut; the peer will read the end.
    shut: bool,
    gone: bool,
    reset: bool,
}

impl Side {
    fn new(limits: Limits, seed: u64) -> Self {
        let app = Journal { echo: true, ..Journal::default() };
        Side {
            hub: Hub::new(limits, Vec::new(), seed),
            app,
            index: None,
            shut: false,
            gone: false,
            reset: false,
        }
    }

    fn conn(&self) -> ConnId {
        self.app.conn.expect("a connection")
    }

    fn do_now<R>(&mut self, call: impl FnOnce(&mut Context<'_>, ConnId) -> R) -> R {
        let conn = self.conn();
        call(&mut Context::new(&mut self.hub), conn)
    }

    fn input(&mut self, bytes: &mut [u8]) {
        let Some(index) = self.index.filter(|_| !self.gone) else { return };
        self.hub.cork(index);
        if self.hub.kept_is_due(index) {
            self.hub.feed_kept(index, &mut self.app);
        }
        if !bytes.is_empty() {
            self.hub.received(index, bytes, false, &mut self.app);
        }
        self.hub.tell_drained(index, &mut self.app);
        self.hub.uncork(&[]);
    }

    /// Everything that is to be written.
    fn output(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let Some(index) = self.index.filter(|_| !self.gone) else { return all };
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.hub.outgoing(index, usize::MAX, &[], &mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            if bytes.is_empty() {
                break;
            }
            self.hub.sent(index, bytes.len());
            all.extend_from_slice(&bytes);
        }
        while self.hub.next_dirty().is_some_and(|index| self.flushed(index)) {}
        all
    }

    fn flushed(&mut self, index: u32) -> bool {
        self.shut |= self.hub.flushed(index, false, &mut self.app) == Next::Shut;
        true
    }

    fn bury(&mut self) {
        while let Some(index) = self.hub.next_doomed() {
            self.reset = self.hub.bury(index, &mut self.app);
            self.gone = true;
        }
        self.hub.check();
    }
}

struct Pair {
    server: Side,
    client: Side,
    now: Duration,
    /// Bytes to the server are cut into pieces of this size.
    cut: usize,
    /// The client reads nothing and answers nothing.
    dead: bool,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        let client =
            Limits { ping_interval: Duration::ZERO, idle_timeout: Duration::ZERO, ..Limits::default() };
        let mut pair = Pair {
            server: Side::new(limits, 1),
            client: Side::new(client, 2),
            now: Duration::ZERO,
            cut: usize::MAX,
            dead: false,
        };
        let Admission::Admit(index) = pair.server.hub.admit("127.0.0.1:5".parse().unwrap()) else { panic!() };
        pair.server.index = Some(index);
        pair
    }

    /// A pair with an open WebSocket.
    fn open(limits: Limits) -> Self {
        let mut pair = Pair::new(limits);
        pair.ask("/");
        pair.drive();
        assert_eq!(
            (pair.server.app.take(), pair.client.app.take()),
            (vec!["open".into()], vec!["open".into()])
        );
        pair
    }

    fn ask(&mut self, target: &str) {
        let connect = Connect::new("127.0.0.1:1".parse().unwrap(), "localhost", target);
        let id = Context::new(&mut self.client.hub).connect(&connect).expect("a valid request");
        self.client.index = Some(id.index);
        let dial = self.client.hub.next_dial().expect("the dial");
        // As when the kernel says that the connection is made.
        self.client.hub.slot(dial.index).unwrap().marks.set(Marks::BLOCKED, false);
        self.client.hub.mark_dirty(dial.index);
    }

    /// Carries bytes until nobody has any.
    fn drive(&mut self) {
        for _ in 0..10_000 {
            let mut to_server = if self.dead { Vec::new() } else { self.client.output() };
            for piece in to_server.chunks_mut(self.cut.max(1)) {
                self.server.input(piece);
            }
            self.server.input(&mut []);
            let mut to_client = self.server.output();
            if !self.dead {
                self.client.input(&mut to_client);
            }
            let quiet = to_server.is_empty() && to_client.is_empty();
            self.carry_ends();
            self.server.bury();
            self.client.bury();
            if quiet {
                return;
            }
        }
        panic!("never quiet");
    }

    fn carry_ends(&mut self) {
        if !self.dead {
            carry_end(&mut self.server, &mut self.client);
            carry_end(&mut self.client, &mut self.server);
        }
    }

    /// Lets time pass, stopping at every deadline of either side.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = [self.server.hub.next_deadline(), self.client.hub.next_deadline()];
            self.now = next.into_iter().flatten().min().unwrap_or(end).clamp(self.now, end);
            for side in [&mut self.server, &mut self.client] {
                side.hub.set_now(self.now);
                side.hub.expire(&mut side.app);
                // Without a reactor nobody writes them at once.
                while let Some(pings) = side.hub.next_broadcast() {
                    side.hub.queue_for_all(pings);
                }
            }
            self.drive();
            if self.now == end {
                return;
            }
        }
    }
}

/// Tells `to` of the end of what `from` writes.
fn carry_end(from: &mut Side, to: &mut Side) {
    let ended = std::mem::take(&mut from.shut) || (from.gone && from.index.take().is_some());
    if let Some(index) = to.index.filter(|_| ended && !to.gone) {
        to.hub.end_of_stream(index);
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn any_cut_gives_the_same_history() {
    let history = |cut| {
        let mut pair = Pair::new(Limits { fragment_bytes: 200, ..Limits::default() });
        pair.cut = cut;
        pair.ask("/");
        pair.drive();
        pair.client.app.echo = false;
        for len in [0, 1, 125, 126, 1000, 70_000] {
            assert_eq!(pair.client.do_now(|cx, conn| cx.send(conn, vec![b'x'; len])), Sent::Ok);
            assert_eq!(pair.client.do_now(|cx, conn| cx.send(conn, "é".repeat(len))), Sent::Ok);
        }
        // Data that comes after our own Close is dropped, so the echoes must have come before.
        pair.drive();
        pair.client.do_now(|cx, conn| cx.close(conn, 4000, "done"));
        pair.drive();
        (pair.server.app.take(), pair.client.app.take())
    };
    let whole = history(usize::MAX);
    assert_eq!(whole.0.last().unwrap(), "ended by peer: closed, code 4000, reason \"done\"");
    assert_eq!(whole.0.len(), 1 + 12 + 1);
    assert_eq!(whole.1.len(), 1 + 12 + 1, "everything was echoed before the Close was answered");
    for cut in [1, 2, 3, 7, 100, 4096] {
        assert_eq!(history(cut), whole, "cut into pieces of {cut}");
    }
}

#[test]
fn either_side_closes_and_both_learn_it_once() {
    let mut pair = Pair::open(Limits::default());
    pair.server.do_now(|cx, conn| assert!(cx.close(conn, 1000, "bye") && !cx.close(conn, 1000, "again")));
    pair.drive();
    assert_eq!(pair.server.app.take(), ["ended by application: closed, code 1000, reason \"bye\""]);
    assert_eq!(pair.client.app.take(), ["ended by peer: closed, code 1000, reason \"bye\""]);
    assert!(!pair.server.reset && pair.server.gone && pair.client.gone);
    assert_eq!(pair.server.hub.stats().connections, 0);
}

#[test]
fn a_ping_goes_out_at_its_interval_and_a_live_peer_stays() {
    let mut pair = Pair::open(Limits { idle_timeout: Duration::ZERO, ..Limits::default() });
    pair.pass(600 * SECOND);
    let stats = pair.server.hub.stats();
    assert_eq!((stats.pings_out, stats.pongs_in, stats.open), (24, 24, 1), "600 s at 25 s");
    assert_eq!(pair.server.app.take(), [""; 0]);
}

#[test]
fn a_dead_peer_is_noticed_within_interval_and_patience() {
    let mut pair = Pair::open(Limits::default());
    pair.dead = true;
    pair.pass(44 * SECOND);
    assert_eq!(pair.server.app.take(), [""; 0]);
    pair.pass(Duration::from_millis(1_100));
    assert_eq!(pair.server.app.take(), ["ended by server: no sign of life after a ping"]);
    assert!(pair.server.reset);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut pair = Pair::open(Limits::default());
    pair.dead = true;
    let index = pair.server.index.unwrap();
    for byte in [0x82, 0x80, 1, 2, 3, 4].repeat(10) {
        // A byte of a frame answers no Ping, but somebody sent it.
        pair.pass(10 * SECOND);
        pair.server.hub.received(index, &mut [byte], false, &mut pair.server.app);
    }
    assert_eq!(pair.server.hub.stats().open, 1);
    assert_eq!(pair.server.hub.stats().pongs_in, 0);
}

#[test]
fn an_idle_peer_is_sent_away() {
    let mut pair = Pair::open(Limits { ping_interval: Duration::ZERO, ..Limits::default() });
    pair.pass(299 * SECOND);
    assert_eq!(pair.server.app.take(), [""; 0]);
    pair.pass(2 * SECOND);
    assert_eq!(pair.server.app.take(), ["ended by server: idle, code 1001, reason \"idle\""]);
    assert_eq!(pair.client.app.take(), ["ended by peer: closed, code 1001, reason \"idle\""]);
}

#[test]
fn a_close_that_is_not_answered_is_cut() {
    let mut pair = Pair::open(Limits::default());
    pair.dead = true;
    pair.server.do_now(|cx, conn| cx.close(conn, 1000, ""));
    pair.pass(4 * SECOND);
    assert_eq!(pair.server.app.take(), [""; 0]);
    pair.pass(2 * SECOND);
    assert_eq!(pair.server.app.take(), ["ended by application: closed, code 1000"]);
    assert!(pair.server.reset);
}

#[test]
fn a_handshake_has_an_absolute_deadline() {
    let mut pair = Pair::new(Limits::default());
    let index = pair.server.index.unwrap();
    for _ in 0..9 {
        pair.pass(SECOND);
        pair.server.hub.received(index, &mut b"G".to_vec(), false, &mut pair.server.app);
    }
    assert_eq!(pair.server.hub.stats().half_open, 1);
    pair.pass(2 * SECOND);
    assert_eq!(pair.server.hub.stats().half_open, 0, "answered with 408");
    pair.pass(10 * SECOND);
    let stats = pair.server.hub.stats();
    assert_eq!((stats.connections, stats.ended_handshake_timeout), (0, 1));
}

#[test]
fn an_answer_that_never_comes_is_given_for_the_application() {
    let mut pair = Pair::new(Limits::default());
    let index = pair.server.index.unwrap();
    let mut request = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n".to_vec();
    pair.server.input(&mut request);
    let hub = &pair.server.hub;
    assert_eq!(hub.slots.0[index as usize].conn.kept(&hub.unfinished), 16);
    pair.pass(59 * SECOND);
    assert_eq!(pair.server.app.take(), [""; 0]);
    pair.pass(20 * SECOND);
    assert_eq!(pair.server.app.take(), ["ended by server: answer took too long"]);
}

#[test]
fn an_answer_lets_the_next_request_go_on() {
    let mut pair = Pair::new(Limits::default());
    let request = b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
    pair.server.input(&mut request.clone());
    assert!(pair.server.do_now(|cx, conn| cx.respond(conn, Response::text(200, "one"))));
    pair.server.input(&mut []);
    assert!(pair.server.do_now(|cx, conn| cx.respond(conn, Response::text(200, "two"))));
    let output = String::from_utf8(pair.server.output()).unwrap();
    assert!(output.find("one").unwrap() < output.find("two").unwrap());
    assert!(!pair.server.do_now(|cx, conn| cx.respond(conn, Response::text(200, "three"))));
}

#[test]
fn a_shutdown_tells_everyone_in_batches() {
    let mut limits = Limits { shutdown_batch: 2, shutdown_interval: SECOND, ..Limits::default() };
    (limits.close_timeout, limits.backlog_grace) = (2 * SECOND, SECOND);
    let mut side = Side::new(limits, 3);
    for port in 0..5 {
        let Admission::Admit(index) = side.hub.admit(([127, 0, 0, 1], port).into()) else { panic!() };
        let mut request = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            .to_vec();
        side.hub.received(index, &mut request, false, &mut side.app);
    }
    side.app.take();
    side.hub.begin_shutdown();
    let mut open = Vec::new();
    for second in 0..4 {
        side.hub.set_now(second * (SECOND + Duration::from_millis(20)));
        side.hub.expire(&mut side.app);
        side.bury();
        open.push(side.hub.stats().open);
    }
    assert_eq!(open, [3, 1, 0, 0], "two a second");
    // Nothing is ever taken from their queues, for which they have the grace as well.
    for second in [6, 8] {
        side.hub.set_now(second * SECOND);
        side.hub.expire(&mut side.app);
        side.bury();
    }
    let report = side.hub.shutdown_report().expect("all are gone");
    assert_eq!((report.told, report.closed, report.cut), (5, 5, 0));
}

#[test]
fn a_crowd_that_has_gone_leaves_no_places() {
    let mut side = Side::new(Limits::default(), 4);
    for _ in 0..200 {
        side.hub.admit(([127, 0, 0, 1], 1).into());
    }
    for left in (0..200).rev() {
        side.hub.broken(left as u32, std::io::ErrorKind::ConnectionReset);
        side.bury();
        side.hub.shrink();
        assert_eq!((side.hub.passing.len(), side.hub.slots.0.capacity() == 0), (left, left == 0));
    }
}

#[test]
fn a_slow_consumer_ends_at_once_or_after_its_grace() {
    let limits = Limits { backlog_high: 1000, backlog_low: 500, backlog_max: 3000, ..Limits::default() };
    let send = |pair: &mut Pair, len| pair.server.do_now(|cx, conn| cx.send(conn, vec![0; len]));
    let mut pair = Pair::open(limits.clone());
    assert_eq!(send(&mut pair, 3000), Sent::Refused, "alone above the maximum");
    assert_eq!(
        (send(&mut pair, 900), send(&mut pair, 900), send(&mut pair, 900)),
        (Sent::Ok, Sent::High, Sent::High)
    );
    assert_eq!((send(&mut pair, 900), send(&mut pair, 1)), (Sent::Gone, Sent::Gone));
    pair.server.bury();
    assert_eq!(pair.server.app.take(), ["ended by server: slow consumer"]);

    let mut pair = Pair::open(limits);
    let index = pair.server.index.unwrap();
    assert_eq!(send(&mut pair, 1500), Sent::High);
    pair.server.hub.flushed(index, true, &mut pair.server.app);
    assert!(!pair.server.hub.may_read(index));
    for (now, expected) in [(9, 1), (11, 0)] {
        pair.server.hub.set_now(now * SECOND);
        pair.server.hub.expire(&mut pair.server.app);
        assert_eq!(pair.server.hub.stats().open, expected, "after {now} s");
    }
    pair.server.bury();
    assert_eq!(pair.server.app.take(), ["ended by server: slow consumer"]);
    assert_eq!(pair.server.hub.stats().memory_bytes, 0);
}

#[test]
fn a_drained_backlog_is_told_and_reading_goes_on() {
    let limits = Limits { backlog_high: 1000, backlog_low: 500, ..Limits::default() };
    let mut pair = Pair::open(limits);
    pair.client.app.echo = false;
    assert_eq!(pair.server.do_now(|cx, conn| cx.send(conn, vec![0; 2000])), Sent::High);
    assert!(pair.server.do_now(|cx, conn| cx.buffered(conn)) > 2000);
    pair.drive();
    assert_eq!(pair.server.app.take()[0], "drain");
    assert!(pair.server.hub.may_read(pair.server.index.unwrap()));
}

#[test]
fn memory_is_bounded_and_the_largest_debtor_goes_first() {
    let limits =
        Limits { memory_max: 100_000, backlog_max: 60_000, backlog_high: 50_000, ..Limits::default() };
    let mut pair = Pair::open(limits);
    let big = pair.server.conn();
    // A second connection in the same hub.
    let Admission::Admit(index) = pair.server.hub.admit("127.0.0.1:6".parse().unwrap()) else { panic!() };
    let mut request = Vec::new();
    request.extend_from_slice(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    pair.server.hub.received(index, &mut request, false, &mut pair.server.app);
    let other = pair.server.hub.id(index);
    let mut cx = Context::new(&mut pair.server.hub);
    assert_eq!(cx.send(big, vec![0; 49_000]), Sent::Ok);
    assert_eq!(cx.send(other, vec![0; 40_000]), Sent::Ok);
    assert_eq!(cx.send(other, vec![0; 11_000]), Sent::High, "the largest debtor has made room");
    assert!(!cx.is_open(big) && cx.is_open(other));
    assert!(pair.server.hub.stats().memory_bytes <= 100_000);
    pair.server.bury();
    assert_eq!(pair.server.hub.stats().ended_memory, 1);
}

#[test]
fn parts_in_and_out() {
    let mut pair = Pair::open(Limits::default());
    pair.server.do_now(|cx, conn| cx.receive_parts(conn, true));
    pair.client.do_now(|cx, conn| {
        assert_eq!(cx.send_part(conn, Kind::Binary, b"abc", false), Sent::Ok);
        assert_eq!(cx.send(conn, "waits"), Sent::Ok);
    });
    pair.drive();
    assert_eq!(pair.server.app.take(), ["part 3 true false"]);
    pair.client.do_now(|cx, conn| cx.send_part(conn, Kind::Binary, b"", true));
    pair.drive();
    assert_eq!(pair.server.app.take(), ["part 0 false true", "part 5 true true"]);
}

/// Between its parts a message that is sent in parts holds no memory, and still nothing but a Ping goes out.
#[test]
fn only_a_ping_goes_out_between_parts() {
    let mut pair = Pair::open(Limits { idle_timeout: Duration::ZERO, ..Limits::default() });
    pair.client.app.echo = false;
    pair.client.do_now(|cx, conn| cx.receive_parts(conn, true));
    pair.server.do_now(|cx, conn| {
        cx.subscribe(conn, "all").unwrap();
        cx.send_part(conn, Kind::Binary, b"ab", false);
    });
    pair.drive();
    let index = pair.server.index.unwrap();
    assert!(pair.server.hub.slot(index).unwrap().conn.outbox.is_none());
    pair.pass(30 * SECOND);
    assert_eq!(pair.server.hub.stats().pongs_in, 1);
    assert!(pair.server.hub.slot(index).unwrap().conn.outbox.is_none());
    pair.server.do_now(|cx, conn| {
        cx.send(conn, "other");
        cx.publish("all", Message::text("news"));
        cx.send_part(conn, Kind::Binary, b"c", true);
    });
    while let Some(news) = pair.server.hub.next_broadcast() {
        pair.server.hub.queue_for_all(news);
    }
    pair.drive();
    let heard = ["part 2 true false", "part 1 false true", "part 5 true true", "part 4 true true"];
    assert_eq!(pair.client.app.take(), heard);
}

#[test]
fn timers_fire_once_in_order_and_can_be_cancelled() {
    let mut pair = Pair::open(Limits { timers_max: 3, ..Limits::default() });
    pair.server.do_now(|cx, _| {
        let second = cx.set_timer(2 * SECOND, 2).unwrap();
        cx.set_timer(SECOND, 1).unwrap();
        cx.set_timer(3 * SECOND, 3).unwrap();
        assert_eq!(cx.set_timer(SECOND, 4), None);
        assert!(cx.cancel_timer(second) && !cx.cancel_timer(second));
    });
    pair.pass(Duration::from_millis(999));
    assert_eq!(pair.server.app.take(), [""; 0]);
    pair.pass(10 * SECOND);
    assert_eq!(pair.server.app.take(), ["timer 1", "timer 3"]);
    assert_eq!(pair.server.hub.stats().refused_timers, 1);
}

#[test]
fn one_bufferful_of_requests_cannot_ask_for_more_than_the_backlog_holds() {
    let limits = Limits {
        backlog_high: 2000,
        backlog_low: 500,
        backlog_max: 5000,
        cork_bytes: 512,
        ..Limits::default()
    };
    let mut pair = Pair::open(limits);
    pair.client.app.echo = false;
    let mut flood = Vec::new();
    for _ in 0..100 {
        crate::wire::frame::append(
            &mut flood,
            true,
            crate::wire::frame::Opcode::Binary,
            &[7; 400],
            Some([1, 2, 3, 4]),
        );
    }
    pair.server.input(&mut flood);
    let stats = pair.server.hub.stats();
    assert!(stats.open == 1 && stats.queued_bytes <= 5000 && stats.messages_in < 100, "{stats:?}");
    pair.drive();
    let stats = pair.server.hub.stats();
    assert_eq!((stats.messages_in, stats.messages_out, stats.queued_bytes), (100, 100, 0));
    assert_eq!(pair.client.app.take().len(), 100);
}

#[test]
fn the_queue_of_the_ready_is_fair() {
    let mut hub = Hub::new(Limits::default(), Vec::new(), 0);
    let indexes: Vec<u32> = (0..3)
        .map(|port| match hub.admit(([127, 0, 0, 1], port).into()) {
            Admission::Admit(index) => index,
            Admission::Drop => panic!(),
        })
        .collect();
    indexes.iter().for_each(|&index| hub.mark_ready(index));
    hub.mark_ready(indexes[0]);
    let order = hub.take_ready();
    assert_eq!(order, indexes, "once each, in order");
    hub.mark_ready(indexes[2]);
    assert!(!hub.has_ready(), "on the list that is being worked off");
    assert!(order.iter().all(|&index| hub.unmark_ready(index)));
    hub.mark_ready(indexes[1]);
    assert_eq!(hub.take_ready(), [indexes[1]], "for the next time");
    assert!(!hub.unmark_ready(indexes[0]));
}

/// What waits behind a message in parts keeps the backlog high without anything to take; when there is something to
/// take again, the peer's grace runs again.
#[test]
fn a_message_in_parts_does_not_end_the_grace() {
    let limits = Limits { backlog_high: 1000, backlog_low: 500, backlog_max: 5000, ..Limits::default() };
    let mut pair = Pair::open(limits);
    let index = pair.server.index.unwrap();
    pair.server.do_now(|cx, conn| {
        assert_eq!(cx.send_part(conn, Kind::Binary, &[0; 300], false), Sent::Ok);
        assert_eq!(cx.send(conn, vec![0; 800]), Sent::High, "it waits for the last part");
    });
    pair.drive();
    assert_eq!(pair.server.app.take(), ["drain"], "the application is asked for the next part");
    assert_eq!(pair.server.do_now(|cx, conn| cx.send_part(conn, Kind::Binary, &[0; 10], false)), Sent::Ok);
    pair.server.hub.flushed(index, true, &mut pair.server.app);
    pair.dead = true;
    pair.pass(11 * SECOND);
    assert_eq!(pair.server.app.take(), ["ended by server: slow consumer"]);
}

#[test]
fn a_peer_that_has_ended_its_half_still_gets_what_is_queued() {
    let mut pair = Pair::open(Limits::default());
    let index = pair.server.index.unwrap();
    // The message and the end come in one: the echo is still in the loop's write buffer when the end is read.
    pair.server.hub.cork(index);
    pair.server.hub.received(index, &mut b"\x82\x84\0\0\0\0ping".to_vec(), false, &mut pair.server.app);
    pair.server.hub.end_of_stream(index);
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = pair.server.hub.outgoing(index, usize::MAX, &[], &mut slices);
    assert_eq!((count, &slices[0][..]), (1, &b"\x82\x04ping"[..]));
    pair.server.hub.sent(index, 6);
    pair.server.hub.uncork(&[]);
    pair.server.hub.flushed(index, false, &mut pair.server.app);
    pair.server.bury();
    assert_eq!(pair.server.app.take(), ["Binary 4", "ended by peer: stream ended without a Close"]);
}

#[test]
fn a_shutdown_is_paced_to_reach_everyone() {
    let limits = Limits { shutdown_batch: 1, shutdown_interval: SECOND, ..Limits::default() };
    let mut side = Side::new(limits, 3);
    for port in 0..100 {
        assert!(matches!(side.hub.admit(([127, 0, 0, 1], port).into()), Admission::Admit(_)));
    }
    side.hub.begin_shutdown();
    for second in 0..6 {
        side.hub.set_now(second * (SECOND + Duration::from_millis(20)));
        side.hub.expire(&mut side.app);
    }
    assert_eq!(side.hub.stats().half_open, 0, "half of the time has told all, at 17 a second");
}

/// The limits at the door are for peers that come in; only the one for all connections holds for those that we make.
#[test]
fn fifteen_thousand_dials_at_once() {
    const DIALS: usize = 15_000;
    let limits = Limits {
        connections_max: DIALS,
        half_open_max: 1,
        connections_per_source_max: 1,
        accepts_per_second_max: 1,
        ..Limits::default()
    };
    let mut side = Side::new(limits, 1);
    let connect = Connect::new("127.0.0.1:1".parse().unwrap(), "localhost", "/");
    for place in 0..DIALS {
        let id = Context::new(&mut side.hub).connect(&connect).expect("below the limit");
        assert_eq!(id.index as usize, place);
    }
    let refused = Context::new(&mut side.hub).connect(&connect);
    assert_eq!(refused, Err(client::ConnectError::TooManyConnections));
    side.hub.check();
    side.hub.check_ledger();
    assert_eq!((side.hub.stats().half_open, side.hub.stats().refused_connections), (0, 1));
    let order: Vec<usize> =
        std::iter::from_fn(|| side.hub.next_dial()).map(|dial| dial.index as usize).collect();
    assert_eq!(order, Vec::from_iter(0..DIALS));
    assert!(!side.hub.has_dials());
}
