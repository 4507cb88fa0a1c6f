//! The embedding interface: scopes of a router, side tables, timers, other threads, messages in parts.

mod harness;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use harness::peer::{BINARY, CONTINUATION, PING, PONG, Peer, TEXT, header};
use harness::{Script, ms, start, start_echo, until};
use tidegate::{
    Closed, Config, ConnId, ConnMap, Context, HandleError, Handler, Kind, Message, Reply, Request, Response,
    Router, Sent, Server, Turn,
};

/// Tells a topic how its connections and timers fare, under its own name.
struct Room {
    name: &'static str,
    visits: ConnMap<u32>,
}

impl Room {
    fn new(name: &'static str) -> Self {
        Room { name, visits: ConnMap::new() }
    }
}

impl Handler for Room {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        cx.set_timer(ms(1), 7);
    }

    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, req: &Request<'_>) -> Reply {
        if req.query() == Some("locked") {
            Reply::Respond(Response::text(403, "locked"))
        } else {
            Reply::upgrade()
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        assert_eq!(self.visits.insert(conn, 0), None, "a fresh id");
        cx.send(conn, format!("{} greets", self.name));
        cx.set_timer(ms(1), 100 + self.visits.len() as u64);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, _: Message<'_>) {
        let visits = self.visits.get_mut(conn).expect("inserted in on_open");
        *visits += 1;
        cx.send(conn, format!("{} {visits}", self.name));
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, _: &Closed) {
        assert!(self.visits.remove(conn).is_some(), "removed once");
        assert_eq!(cx.send(conn, "too late"), Sent::Gone);
        cx.publish("ends", self.name);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        cx.publish("ends", format!("{} timer {tag}", self.name));
        for (conn, _) in self.visits.iter() {
            cx.send(conn, format!("{} timer {tag}", self.name));
        }
    }
}

#[test]
fn a_router_keeps_its_handlers_apart() {
    let server = start(Config::default(), || {
        let mut router = Router::new();
        router.ws("/red", Room::new("red")).ws("/blue", Room::new("blue")).fallback(Room::new("other"));
        router.get("/red", |_, _, _| Reply::Respond(Response::text(200, "a page at the same path")));
        router
    });
    server.stats_when("three timers of on_start have fired", |s| s.timers == 0 && s.turns > 0);
    let mut peers = ["/red", "/blue", "/green"].map(|path| Peer::open_at(server.address, path));
    for (peer, name) in peers.iter_mut().zip(["red", "blue", "other"]) {
        assert_eq!(peer.message().text(), format!("{name} greets"));
        assert_eq!(peer.message().text(), format!("{name} timer 101"), "each handler has its own timers");
    }
    for round in 1..4 {
        for (peer, name) in peers.iter_mut().zip(["red", "blue", "other"]) {
            peer.send(TEXT, "hello");
            assert_eq!(peer.message().text(), format!("{name} {round}"));
        }
    }
    let mut plain = Peer::connect(server.address);
    plain.write("GET /red HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(plain.answer().text(), "a page at the same path");
    plain.write(harness::peer::handshake("/blue?locked"));
    assert_eq!(plain.answer().text(), "locked");
    plain.upgrade("/blue");
    drop(peers);
    server.stats_when("three have ended", |s| s.open == 1);
    assert_eq!(server.ends().len(), 3);
}

#[test]
fn ids_never_name_a_stranger() {
    let server = start(Config::default(), || {
        let (mut first, mut seen) = (None, HashSet::new());
        Script::new().open(move |cx, conn| {
            assert!(seen.insert(conn), "an id comes once");
            let first = *first.get_or_insert(conn);
            assert_eq!(cx.is_open(first), first == conn);
            assert_eq!(cx.send(first, "for the first"), if first == conn { Sent::Ok } else { Sent::Gone });
            assert_eq!(cx.close(first, 1000, ""), first == conn);
            assert_eq!(cx.source(conn), Some("127.0.0.1".parse().unwrap()));
        })
    });
    for n in 0..20 {
        let mut peer = Peer::open(server.address);
        if n == 0 {
            assert_eq!(peer.message().text(), "for the first");
        }
        drop(peer);
        server.stats_when("its end", |s| s.ended == n + 1);
    }
    assert_eq!(server.ends().len(), 20);
}

#[test]
fn timers_fire_in_order_never_early_and_not_when_cancelled() {
    let (tell, told) = mpsc::channel();
    let server = start(Config::default(), move || {
        let state = Rc::new(RefCell::new((Duration::ZERO, None)));
        let armed = Rc::clone(&state);
        Script::new()
            .start(move |cx| {
                for after in [70, 10, 50, 30, 90] {
                    cx.set_timer(ms(after), after).unwrap();
                }
                *armed.borrow_mut() = (cx.now(), cx.set_timer(ms(60_000), 0));
            })
            .timer(move |cx, tag| {
                let (began, long) = &mut *state.borrow_mut();
                assert!(cx.now() >= *began + ms(tag), "{tag} fired early");
                if tag == 10 {
                    let long = long.take().unwrap();
                    assert!(cx.cancel_timer(long));
                    assert!(!cx.cancel_timer(long), "cancelled once");
                }
                tell.send(tag).unwrap();
            })
    });
    let fired: Vec<u64> = (0..5).map(|_| told.recv_timeout(harness::PATIENCE).unwrap()).collect();
    assert_eq!(fired, [10, 30, 50, 70, 90]);
    server.stats_when("none is left", |s| s.timers == 0);
}

#[test]
fn commands_of_many_threads_arrive_in_each_threads_order() {
    const THREADS: usize = 8;
    const EACH: usize = 500;
    let app = || Script::new().open(|cx, conn| cx.subscribe(conn, "all").unwrap());
    let server = start(Config::default(), app);
    let mut peer = Peer::open(server.address);
    let conn = server.opened(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let handle = server.handle.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    let text = format!("{thread} {n}");
                    // By turns to the topic and to the connection: one queue, one order.
                    until("room in the inbox", || {
                        let put = if n % 2 == 0 {
                            handle.publish("all", text.clone())
                        } else {
                            handle.send(conn, text.clone())
                        };
                        (put != Err(HandleError::Full)).then(|| put.unwrap())
                    });
                }
            });
        }
        let mut next = [0; THREADS];
        for _ in 0..THREADS * EACH {
            let message = peer.message();
            let (thread, n) = message.text().split_once(' ').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(n.parse(), Ok(next[thread]));
            next[thread] += 1;
        }
    });
    server.stats_when("all commands are counted", |s| s.commands == (THREADS * EACH) as u64);
    server.handle.close(conn, 4000, "enough").unwrap();
    assert_eq!(peer.frame().close(), (4000, "enough"));
    drop(peer);
    let handle = server.handle.clone();
    server.stop();
    assert_eq!(handle.publish("all", "nobody"), Err(HandleError::Stopped));
}

#[test]
fn a_loop_that_is_driven_by_its_owner() {
    let mut server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
    let address = server.local_addr().unwrap();
    let second = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_ne!(address, second);
    let mut app = Script::echo();
    let client = thread::spawn(move || {
        for address in [address, second] {
            let mut peer = Peer::open(address);
            peer.send(TEXT, "hello");
            assert_eq!(peer.message().text(), "hello");
        }
    });
    let (mut turns, began) = (0, Instant::now());
    while !client.is_finished() {
        assert_eq!(server.turn(&mut app, Some(ms(5))).unwrap(), Turn::Running);
        turns += 1;
        assert!(began.elapsed() < harness::PATIENCE);
    }
    client.join().unwrap();
    assert_eq!(server.stats().turns, turns);
    server.handle().shutdown().unwrap();
    let report = server.run(&mut app).unwrap();
    assert_eq!(report.cut, 0);
    assert!(matches!(server.turn(&mut app, None).unwrap(), Turn::Stopped(_)), "and it stays stopped");
}

/// 256 MiB come in as one message of many frames: none of it is held.
#[test]
fn a_long_message_comes_in_parts() {
    const TOTAL: usize = 256 << 20;
    const FRAME: usize = 4 << 20;
    let (tell, told) = mpsc::channel();
    let server = start(Config::default().message_max(1000), move || {
        let (mut len, mut peak) = (0, 0);
        Script::new().open(|cx, conn| cx.receive_parts(conn, true)).part(move |cx, conn, part| {
            assert_eq!((part.kind, part.first), (Kind::Binary, len == 0));
            // Every byte is where it belongs.
            for at in [0, part.bytes.len().saturating_sub(1)] {
                assert!(part.bytes.is_empty() || part.bytes[at] == (len + at) as u8);
            }
            len += part.bytes.len();
            peak = peak.max(cx.stats().memory_bytes);
            if part.last {
                tell.send((std::mem::take(&mut len), peak)).unwrap();
                cx.receive_parts(conn, false);
                cx.send(conn, "whole again");
            }
        })
    });
    let mut peer = Peer::open(server.address);
    let bytes: Vec<u8> = (0..FRAME).map(|at| at as u8).collect();
    for n in 0..TOTAL / FRAME {
        let (fin, opcode) = (n + 1 == TOTAL / FRAME, if n == 0 { BINARY } else { CONTINUATION });
        peer.write(header(fin, opcode, FRAME as u64));
        peer.write(&bytes);
    }
    assert_eq!(peer.message().text(), "whole again");
    let (len, peak) = told.recv_timeout(harness::PATIENCE).unwrap();
    assert_eq!(len, TOTAL);
    assert!(peak < 1 << 20, "{peak} bytes held");
    // From here on messages come whole and message_max applies.
    peer.write(header(true, BINARY, 1001));
    assert_eq!(peer.frame().close().0, 1009);
}

/// 256 MiB go out as one message: what is queued stays around `backlog_high`.
#[test]
fn a_long_message_goes_out_in_parts() {
    const TOTAL: usize = 256 << 20;
    const PART: usize = 256 << 10;
    let (tell, told) = mpsc::channel();
    let server = start(Config::default(), move || {
        let progress = Rc::new(RefCell::new((0, 0)));
        let on = Rc::clone(&progress);
        let bytes: Rc<Vec<u8>> = Rc::new((0..PART).map(|at| at as u8).collect());
        let go_on = move |cx: &mut Context<'_>, conn| {
            let (sent, peak) = &mut *on.borrow_mut();
            while *sent < TOTAL {
                *sent += PART;
                let became = cx.send_part(conn, Kind::Binary, &bytes, *sent == TOTAL);
                *peak = u64::max(*peak, cx.stats().memory_bytes);
                assert_ne!(became, Sent::Gone);
                if became == Sent::High {
                    break;
                }
            }
            if *sent == TOTAL {
                *sent += 1;
                cx.send(conn, "behind it");
                tell.send(*peak).unwrap();
            }
        };
        let drained = go_on.clone();
        Script::new().message(move |cx, conn, _| go_on(cx, conn)).drain(drained)
    });
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "go");
    let (mut len, mut frames, mut pongs) = (0, 0, 0);
    loop {
        let frame = peer.frame();
        if frame.opcode == PONG {
            pongs += 1;
            continue;
        }
        assert_eq!(frame.opcode, if frames == 0 { BINARY } else { CONTINUATION });
        assert_eq!((frame.payload.first(), frame.payload.last()), (Some(&0), Some(&255)));
        len += frame.payload.len();
        frames += 1;
        if frames == 10 {
            peer.send(PING, "between two fragments");
        }
        if frame.fin {
            break;
        }
    }
    assert_eq!((len, frames, pongs), (TOTAL, TOTAL / PART, 1));
    assert_eq!(peer.message().text(), "behind it");
    let peak = told.recv_timeout(harness::PATIENCE).unwrap();
    assert!(peak < 4 << 20, "{peak} bytes held");
}

/// While a message is open, others wait, the loop sleeps, and the end of either side gets through.
#[test]
fn others_wait_for_a_message_in_parts_without_a_spin() {
    let app = || {
        Script::new().message(|cx, conn, msg| match msg.as_text() {
            Some("begin") => {
                cx.send_part(conn, Kind::Text, b"a", false);
                cx.send(conn, "other");
            }
            Some("end") => drop(cx.send_part(conn, Kind::Text, b"b", true)),
            Some("close") => drop(cx.close(conn, 1000, "in the middle")),
            _ => {}
        })
    };
    let server = start(Config::default(), app);
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "begin");
    assert_eq!(peer.frame().payload, b"a");
    let before = server.stats_when("the message is open", |s| s.messages_in == 1).turns;
    // A command of another thread every few milliseconds: one turn each, and no turn besides.
    for _ in 0..20 {
        server.handle.publish("nobody", "").unwrap();
        thread::sleep(ms(2));
    }
    let turns = server.stats_when("all commands", |s| s.commands == 20).turns - before;
    assert!(turns < 100, "{turns} turns for 20 commands: the loop spins");
    peer.send(TEXT, "end");
    assert_eq!(peer.frame().payload, b"b");
    assert_eq!(peer.message().text(), "other");
    // Our Close goes out between two fragments (RFC 6455 §5.4), for what is open can never be finished.
    peer.send(TEXT, "begin");
    assert_eq!(peer.frame().payload, b"a");
    peer.send(TEXT, "close");
    assert_eq!(peer.frame().close(), (1000, "in the middle"));
    peer.close(1000, "");
    peer.expect_end();
    // So does the answer to the peer's.
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "begin");
    assert_eq!(peer.frame().payload, b"a");
    peer.close(1000, "");
    assert_eq!(peer.frame().close(), (1000, ""));
    peer.expect_end();
    server.stats_when("nothing is left", |s| s.connections == 0 && s.memory_bytes == 0);
}

#[test]
fn an_idle_loop_has_no_turn_at_all() {
    let server = start_echo(Config::default().ping_interval(Duration::ZERO).idle_timeout(Duration::ZERO));
    let mut peers: Vec<Peer> = (0..10).map(|_| Peer::open(server.address)).collect();
    let turns = server.stats_when("all are open", |s| s.open == 10).turns;
    // Nothing to wait for, so time itself must pass here.
    thread::sleep(ms(200));
    let now = server.stats().turns;
    assert!(now <= turns + 1, "{} turns of an idle loop", now - turns);
    peers[3].send(TEXT, "awake");
    assert_eq!(peers[3].message().text(), "awake");
}

/// A program may find out at once that it has nothing to do.
#[test]
fn a_shutdown_ordered_at_the_start_ends_the_loop() {
    struct Nothing;
    impl tidegate::Handler for Nothing {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            cx.shutdown();
        }
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }
    let mut server = tidegate::Server::bind("127.0.0.1:0", Config::default()).unwrap();
    let handle = server.handle();
    let report = server.run(&mut Nothing).unwrap();
    assert_eq!((report.told, report.cut), (0, 0));
    assert_eq!(handle.shutdown(), Err(tidegate::HandleError::Stopped));
}

/// A turn that may wait for ever does not, where the program has done something between two turns.
#[test]
fn the_loop_is_lent_between_turns() {
    let quiet = Config::default().ping_interval(Duration::ZERO).idle_timeout(Duration::ZERO);
    let mut server = Server::bind("127.0.0.1:0", quiet).unwrap();
    let address = server.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let ended = Rc::new(RefCell::new(Vec::new()));
    let ends = Rc::clone(&ended);
    let mut app = Script::new()
        .open(move |_, conn| tell.send(conn).unwrap())
        .close(move |_, conn, _| ends.borrow_mut().push(conn));
    let peers = thread::spawn(move || [Peer::open(address), Peer::open(address)]);
    let mut open = Vec::new();
    while open.len() < 2 {
        server.turn(&mut app, Some(ms(5))).unwrap();
        open.extend(told.try_iter());
    }
    let mut peers = peers.join().unwrap();
    // Whatever the handshakes have left over is done first.
    while server.stats().connections != 2 || server.stats().queued_bytes > 0 {
        server.turn(&mut app, Some(ms(1))).unwrap();
    }
    let before = server.context().now();
    for conn in &open {
        assert_eq!(server.context().send(*conn, "between"), Sent::Ok);
    }
    assert!(server.context().now() > before, "the time is that of the call");
    server.turn(&mut app, None).unwrap();
    for peer in &mut peers {
        assert_eq!(peer.message().text(), "between");
    }
    assert!(server.context().abort(open[0]));
    assert!(ended.borrow().is_empty(), "the turn tells the application");
    server.turn(&mut app, None).unwrap();
    assert_eq!(*ended.borrow(), [open[0]]);
    let handle = server.handle();
    assert!(server.context().abort(open[1]));
    server.context().shutdown();
    let Turn::Stopped(report) = server.turn(&mut app, None).unwrap() else { panic!("nobody is left") };
    assert_eq!((report.told, ended.borrow().len()), (0, 2));
    assert_eq!(handle.shutdown(), Err(HandleError::Stopped));
}

/// Also when there is nobody to tell, and no turn has been.
#[test]
fn a_shutdown_ordered_between_turns_stops_at_once() {
    let mut server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
    let (handle, address) = (server.handle(), server.local_addr().unwrap());
    server.context().shutdown();
    assert!(matches!(server.turn(&mut Script::new(), None).unwrap(), Turn::Stopped(_)));
    assert_eq!(handle.shutdown(), Err(HandleError::Stopped));
    assert!(std::net::TcpStream::connect(address).is_err(), "it listens no more");
}

#[cfg(feature = "client")]
#[test]
fn a_connection_begun_between_turns_is_made_by_the_next() {
    let server = start_echo(Config::default());
    let mut client = Server::new(Config::default()).unwrap();
    let conn = client.context().connect(&tidegate::Connect::new(server.address, "localhost", "/")).unwrap();
    let mut app = Script::new();
    client.turn(&mut app, None).unwrap();
    while !client.context().is_open(conn) {
        client.turn(&mut app, Some(ms(5))).unwrap();
    }
}

/// Nothing else could end these waits.
#[cfg(unix)]
#[test]
fn a_descriptor_ends_a_wait() {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    let mut server = Server::new(Config::default()).unwrap();
    let (mut bell, mut button) = std::io::pipe().unwrap();
    server.wake_on(bell.as_fd()).unwrap();
    let mut app = Script::new();
    for round in 1..=3 {
        button.write_all(b"!").unwrap();
        assert_eq!(server.turn(&mut app, None).unwrap(), Turn::Running);
        assert_eq!((server.stats().events, server.stats().turns), (round, round));
        // Nothing has been read from it.
        bell.read_exact(&mut [0]).unwrap();
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(
        matches!(server.wake_on(file.as_fd()), Err(tidegate::Error::Wake(_)))
            || cfg!(not(target_os = "linux"))
    );
}

/// What peers do ends no such run, however much it is.
#[cfg(unix)]
#[test]
fn a_run_ends_when_somebody_wakes_it() {
    use std::io::Write;
    use std::os::fd::AsFd;
    let mut server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
    let (address, handle) = (server.local_addr().unwrap(), server.handle());
    let (bell, mut button) = std::io::pipe().unwrap();
    server.wake_on(bell.as_fd()).unwrap();
    let talking = std::thread::spawn(move || {
        let mut peer = Peer::open(address);
        for _ in 0..10 {
            peer.send(TEXT, "in");
            assert_eq!(peer.frame().text(), "in");
        }
        button.write_all(b"!").unwrap();
        (peer, button)
    });
    let mut app = Script::echo();
    assert_eq!(server.run_until_woken(&mut app).unwrap(), Turn::Running);
    assert_eq!(server.stats().messages_in, 10);
    let (peer, _button) = talking.join().unwrap();
    drop(peer);
    handle.shutdown().unwrap();
    let ended = std::iter::repeat_with(|| server.run_until_woken(&mut app).unwrap());
    assert!(ended.take(3).any(|turn| matches!(turn, Turn::Stopped(_))), "an order wakes it too");
}
