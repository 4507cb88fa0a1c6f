//! Answers that come late, in pieces, or with more than they may hold; and the one `on_close` that each is owed
//! (RFC 9112 §6, §7.1).

mod harness;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;

use harness::peer::{Peer, TEXT, handshake};
use harness::{Script, ms, start};
use tidegate::{By, Cause, Closed, Config, ConnId, Context, Handler, Message, Reply, Request, Response};

fn respond(status: u16, text: &'static str) -> Reply {
    Reply::Respond(Response::text(status, text))
}

/// Answers every request, in its order, when a timer says so.
#[derive(Default)]
struct LongPoll {
    waiting: Vec<ConnId>,
}

impl Handler for LongPoll {
    fn on_request(&mut self, cx: &mut Context<'_>, conn: ConnId, _: &Request<'_>) -> Reply {
        self.waiting.push(conn);
        cx.set_timer(ms(20), 1);
        Reply::Later
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_timer(&mut self, cx: &mut Context<'_>, _: u64) {
        for conn in self.waiting.drain(..) {
            cx.respond(conn, Response::text(200, "timer"));
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: &Closed) {
        self.waiting.retain(|&waiting| waiting != conn);
    }
}

#[test]
fn a_late_answer_by_a_timer_with_the_next_request_already_waiting() {
    let server = start(Config::default(), LongPoll::default);
    let mut peer = Peer::connect(server.address);
    peer.write("GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((peer.answer().text(), peer.answer().text()), ("timer", "timer"));
}

#[test]
fn a_late_answer_by_another_connection() {
    let server = start(Config::default().reply_timeout(ms(20_000)), || {
        let waiting = Rc::new(RefCell::new(Vec::<ConnId>::new()));
        let hold = Rc::clone(&waiting);
        Script::new()
            .request(move |_, conn, req| {
                if req.is_websocket() {
                    return Reply::upgrade();
                }
                hold.borrow_mut().push(conn);
                Reply::Later
            })
            .message(move |cx, _, msg| {
                let text = msg.as_text().unwrap_or_default().to_owned();
                for conn in waiting.borrow_mut().drain(..) {
                    assert!(cx.respond(conn, Response::text(200, text.clone())));
                    assert!(!cx.respond(conn, Response::text(200, "twice")), "answered once");
                }
            })
    });
    let mut polls: Vec<Peer> = (0..10).map(|_| Peer::connect(server.address)).collect();
    for poll in &mut polls {
        poll.write("GET /news HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    server.stats_when("all wait", |s| s.requests == 10);
    Peer::open(server.address).send(TEXT, "news");
    for poll in &mut polls {
        assert_eq!(poll.answer().text(), "news");
    }
}

#[test]
fn a_stream_in_chunks_and_its_end() {
    let (tell, told) = mpsc::channel::<ConnId>();
    let server = start(Config::default(), || {
        Script::new()
            .request(move |cx, conn, _| {
                tell.send(conn).unwrap();
                cx.set_timer(ms(1), 0);
                Reply::Stream(Response::text(200, "zero"))
            })
            .timer({
                let mut target = None;
                move |cx, step| {
                    let conn = *target.get_or_insert_with(|| told.recv().unwrap());
                    if step < 3 {
                        cx.stream(conn, format!("piece {step}").as_bytes());
                        cx.stream(conn, b"");
                        cx.set_timer(ms(1), step + 1);
                    } else {
                        assert!(cx.end(conn));
                        assert!(!cx.end(conn), "ended once");
                        target = None;
                    }
                }
            })
    });
    let mut peer = Peer::connect(server.address);
    for _ in 0..2 {
        peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(peer.answer_to_head().header("transfer-encoding"), Some("chunked"));
        let chunks: Vec<Vec<u8>> = (0..5).map(|_| peer.chunk()).collect();
        assert_eq!(chunks, [&b"zero"[..], b"piece 0", b"piece 1", b"piece 2", b""]);
    }
    // To an older client the end of the stream is the end of the connection (RFC 9112 §6.3).
    peer.write("GET / HTTP/1.0\r\n\r\n");
    let head = peer.answer_to_head();
    assert_eq!((head.header("transfer-encoding"), head.header("connection")), (None, Some("close")));
    assert_eq!(peer.rest().unwrap(), b"zeropiece 0piece 1piece 2");
}

/// What an application puts into an answer cannot break its framing.
#[test]
fn answers_keep_their_framing() {
    let server = start(Config::default().backlog_max(600_000), || {
        Script::new().request(|_, _, req| match req.path() {
            "/204" => Reply::Respond(Response::text(204, "no content has no content")),
            "/304" => Reply::Respond(Response::text(304, "nor has not modified")),
            "/stream-204" => Reply::Stream(Response::text(204, "nor a stream of it")),
            "/fields" => Reply::Respond(
                Response::text(200, "fields")
                    .header("X", "a\r\nY: b")
                    .header("Content-Length", "1")
                    .header("transfer-encoding", "chunked"),
            ),
            "/big" => Reply::Respond(Response::new(200).body_bytes(vec![b'x'; 700_000])),
            _ => respond(200, "next"),
        })
    });
    let mut peer = Peer::connect(server.address);
    for (path, status, body) in
        [("/204", 204, ""), ("/304", 304, ""), ("/fields", 200, "fields"), ("/stream-204", 204, "")]
    {
        peer.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = peer.answer();
        assert_eq!((answer.status, answer.text(), answer.header("y")), (status, body, None), "{path}");
        assert_eq!(peer.answer().text(), "next", "behind {path}");
    }
    // What cannot be queued is refused, whether the connection is kept or not.
    for fields in ["", "Connection: close\r\n"] {
        let mut peer = Peer::connect(server.address);
        peer.write(format!("GET /big HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        assert_eq!(peer.answer().status, 500);
    }
    assert_eq!(server.stats_when("counted", |s| s.refused_messages == 2).ended_slow_consumer, 0);
}

#[test]
fn on_close_comes_once_for_what_was_not_plainly_answered() {
    let server = start(Config::default(), || {
        Script::new().request(|_, _, req| match req.path() {
            "/later" => Reply::Later,
            "/stream" => Reply::Stream(Response::new(200)),
            "/ws" => Reply::upgrade(),
            _ => respond(200, "plain"),
        })
    });
    let ask = |path: &str| {
        let mut peer = Peer::connect(server.address);
        peer.write(handshake(path));
        let requests = server.stats_when("asked", |s| s.connections == 1 && s.half_open == 0).requests;
        (peer, requests)
    };
    let (mut plain, _) = ask("/plain");
    assert_eq!(plain.answer().status, 200);
    drop(plain);
    server.stats_when("plain has ended", |s| s.ended == 1);
    assert_eq!(server.ends(), [], "a plain answer is its own end");
    for (n, path) in ["/later", "/stream", "/ws"].into_iter().enumerate() {
        drop(ask(path));
        let why = server.closed(n);
        assert_eq!((why.by, why.code), (By::Peer, None), "{path}: {why}");
        assert!(matches!(why.cause, Cause::EndOfStream | Cause::Io(_)), "{path}: {why}");
        server.stats_when("it has ended", |s| s.ended == 2 + n as u64);
    }
    assert_eq!(server.ends().len(), 3);
}
