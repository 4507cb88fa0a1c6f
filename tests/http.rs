//! HTTP/1.1 over real sockets: wrong requests and their answers, keep-alive and pipelining
//! (RFC 9112, RFC 9110, RFC 6455 §4.2).

mod harness;

use std::thread;

use harness::peer::{BINARY, Peer, TEXT, UPGRADE, frame, handshake};
use harness::{Running, Script, start};
use tidegate::{Config, Reply, Response, Router};

fn respond(status: u16, text: &'static str) -> Reply {
    Reply::Respond(Response::text(status, text))
}

fn site(config: Config) -> Running {
    start(config, || {
        let mut router = Router::new();
        router.get("/plain", |_, _, _| respond(200, "plain"));
        router.ws("/ws", Script::echo());
        router
    })
}

type Wrong = (&'static str, String, u16);

fn wrong_plain_requests() -> Vec<Wrong> {
    let get = |fields: &str| format!("GET /plain HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    let post = |fields: &str, body: &str| format!("POST /plain HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}");
    vec![
        ("no request", "hello\r\n\r\n".into(), 400),
        ("a TLS hello", "\x16\x03\x01\x02\x00".into(), 400),
        ("bare CR", get("X: a\rb\r\n"), 400),
        ("bare LF", "GET /plain HTTP/1.1\nHost: x\n\n".into(), 400),
        ("NUL", get("X: a\0b\r\n"), 400),
        ("folded line", get("X: a\r\n b\r\n"), 400),
        ("folded first line", "GET /plain HTTP/1.1\r\n Host: x\r\n\r\n".into(), 400),
        ("space before the colon", get("X : a\r\n"), 400),
        ("no name", get(": a\r\n"), 400),
        ("no Host", "GET /plain HTTP/1.1\r\n\r\n".into(), 400),
        ("two Hosts", get("Host: x\r\n"), 400),
        ("bad Host", "GET /plain HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("two spaces", "GET  /plain HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("no version", "GET /plain\r\nHost: x\r\n\r\n".into(), 400),
        ("bad version", "GET /plain HTTP/1.x\r\nHost: x\r\n\r\n".into(), 400),
        ("relative target", "GET plain HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("fragment in target", "GET /plain#a HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400),
        ("two lengths", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("two Content-Lengths", post("Content-Length: 1\r\nContent-Length: 1\r\n", "a"), 400),
        ("bad Content-Length", post("Content-Length: +1\r\n", "a"), 400),
        ("list as Content-Length", post("Content-Length: 1, 1\r\n", "a"), 400),
        ("chunked not last", post("Transfer-Encoding: chunked, gzip\r\n", ""), 400),
        ("bad chunk", post("Transfer-Encoding: chunked\r\n", "x\r\n"), 400),
        ("chunked in 1.0", "POST /plain HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("a coding that is not known", post("Transfer-Encoding: gzip, chunked\r\n", ""), 501),
        ("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n".into(), 501),
        ("a method that is too long", format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(33)), 501),
        ("HTTP/2", "GET /plain HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        ("HTTP/0.9", "GET /plain HTTP/0.9\r\nHost: x\r\n\r\n".into(), 505),
        ("a body that is too long", post("Content-Length: 99999999\r\n", ""), 413),
        ("a target that is too long", format!("GET /{} HTTP/1.1\r\n", "a".repeat(5000)), 414),
        ("a head that is too long", get(&format!("X: {}\r\n", "a".repeat(9000))), 431),
        ("too many fields", get(&"X: a\r\n".repeat(70)), 431),
    ]
}

fn wrong_handshakes() -> Vec<Wrong> {
    let ws = |from: &str, to: &str| {
        let fields = UPGRADE.replace(from, to);
        assert_ne!(fields, UPGRADE, "{from} is not there to be replaced");
        format!("GET /ws HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    vec![
        ("POST with a handshake", handshake("/ws").replace("GET", "POST"), 405),
        ("version 8", ws("Version: 13", "Version: 8"), 426),
        ("no version", ws("Sec-WebSocket-Version: 13\r\n", ""), 426),
        ("plain GET of a WebSocket", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".into(), 426),
        ("no key", ws(key, ""), 400),
        ("two keys", ws(key, &key.repeat(2)), 400),
        ("short key", ws("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j"), 400),
        ("no Connection: Upgrade", ws("Connection: Upgrade", "Connection: keep-alive"), 400),
        ("handshake in 1.0", handshake("/ws").replace("HTTP/1.1", "HTTP/1.0"), 400),
        (
            "handshake with a body",
            handshake("/ws").replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\na"),
            400,
        ),
        (
            "bad extension",
            handshake("/ws").replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: ;\r\n\r\n"),
            400,
        ),
        (
            "an origin that is not allowed",
            handshake("/ws").replace("\r\n\r\n", "\r\nOrigin: https://b.c\r\n\r\n"),
            403,
        ),
        (
            "two origins",
            handshake("/ws").replace("\r\n\r\n", &"\r\nOrigin: https://a.b".repeat(2)) + "\r\n\r\n",
            400,
        ),
    ]
}

/// Every wrong request gets its status with a short text, in full, and then a clean end of the stream.
#[test]
fn wrong_requests_and_their_answers() {
    let table: Vec<Wrong> = wrong_plain_requests().into_iter().chain(wrong_handshakes()).collect();
    let server = site(Config::default().origin("https://a.b"));
    for (n, (what, request, status)) in table.iter().enumerate() {
        let mut peer = Peer::connect(server.address);
        peer.write(request);
        let answer = peer.answer();
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert!((4..100).contains(&answer.body.len()), "{what}: {answer:?}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{what}");
        assert!(
            answer.header("connection").is_some_and(|value| value.starts_with("close")),
            "{what}: {answer:?}"
        );
        let version = answer.header("sec-websocket-version");
        assert_eq!(version, (*status == 426).then_some("13"), "{what}");
        assert_eq!(answer.header("allow").is_some(), *status == 405, "{what}");
        peer.expect_end();
        drop(peer);
        server.stats_when(what, |s| s.ended == n as u64 + 1);
    }
    assert_eq!(server.stats().ended_bad_request, table.len() as u64, "each is counted as what it is");
    assert_eq!(server.stats().tls_on_plain_port, 1);
    assert_eq!(server.notes(), [], "none of them is the application's business");
}

#[test]
fn a_handshake_in_odd_but_legal_form() {
    let server = site(Config::default().origin("https://a.b"));
    let odd = "\r\n\r\nGET http://other/ws?a=b HTTP/1.1\r\nhOST:localhost\r\nupgrade: h2c, WebSocket\r\nConnection: keep-alive\r\n\
               Connection:  ,foo ,  uPGRADE\r\nSec-WebSocket-Version:13\r\nOrigin: HTTPS://A.B\r\nContent-Length: 0\r\n\
               Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; y=\"z\"\r\n\
               Sec-WebSocket-Key:\tdGhlIHNhbXBsZSBub25jZQ==\t\r\n\r\n";
    let mut peer = Peer::connect(server.address);
    peer.write(odd);
    let answer = peer.answer();
    assert_eq!((answer.status, answer.header("sec-websocket-extensions")), (101, None), "{answer:?}");
    peer.send(TEXT, "on");
    assert_eq!(peer.message().text(), "on");
}

#[test]
fn keep_alive_and_pipelining_before_an_upgrade_and_frames_behind_it() {
    let server = site(Config::default());
    let mut peer = Peer::connect(server.address);
    let plain = "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n";
    // All in one segment, as far as the kernel allows.
    let mut bytes =
        (plain.repeat(3) + "HEAD /plain HTTP/1.1\r\nHost: x\r\n\r\n" + &handshake("/ws")).into_bytes();
    bytes.extend(frame(true, TEXT, b"first"));
    bytes.extend(&frame(true, BINARY, b"second")[..7]);
    peer.write(&bytes);
    for _ in 0..3 {
        let answer = peer.answer();
        assert_eq!((answer.status, answer.text(), answer.header("connection")), (200, "plain", None));
    }
    let head = peer.answer_to_head();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("5")),
        "HEAD has a length and no body"
    );
    assert_eq!(peer.answer().status, 101);
    assert_eq!(peer.message().text(), "first");
    peer.write(&frame(true, BINARY, b"second")[7..]);
    assert_eq!(peer.message().payload, b"second");
    server.stats_when("all are counted", |s| s.requests == 5);
}

#[test]
fn requests_cut_at_every_byte() {
    let server = site(Config::default());
    let whole = format!("GET /plain HTTP/1.1\r\nHost: x\r\n\r\n{}", handshake("/ws")).into_bytes();
    for cut in (1..whole.len()).step_by(3) {
        let mut peer = Peer::connect(server.address);
        let seen = server.stats().bytes_in;
        peer.write(&whole[..cut]);
        server.stats_when("the first piece has been read", |s| s.bytes_in - seen >= cut as u64);
        peer.write(&whole[cut..]);
        assert_eq!((peer.answer().status, peer.answer().status), (200, 101), "cut at {cut}");
    }
}

#[test]
fn router_knows_paths_and_methods() {
    let server = site(Config::default());
    let mut peer = Peer::connect(server.address);
    // These do not end the connection: the request was well formed, so the next one's start is known.
    for (line, status, allow) in [
        ("GET /nowhere", 404, None),
        ("POST /plain", 405, Some("GET, HEAD")),
        ("DELETE /ws", 405, Some("GET, HEAD")),
        ("GET /plain?query=1", 200, None),
        ("GET /plain/", 404, None),
        ("OPTIONS *", 404, None),
    ] {
        peer.write(format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = peer.answer();
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{line}");
    }
    peer.upgrade("/ws");
}

#[test]
fn http_1_0_is_closed_unless_it_asks_not_to_be() {
    let server = site(Config::default());
    let mut peer = Peer::connect(server.address);
    peer.write("GET /plain HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = peer.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("plain", Some("keep-alive")));
    peer.write("GET /plain HTTP/1.0\r\n\r\n");
    let answer = peer.answer();
    assert_eq!((answer.text(), answer.header("connection")), ("plain", Some("close")));
    peer.expect_end();
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let app = || {
        Script::new().request(|_, _, req| {
            Reply::Respond(
                Response::new(200)
                    .body_bytes(req.body().to_vec())
                    .header("X-Method", req.method().to_owned()),
            )
        })
    };
    let server = start(Config::default(), app);
    let mut peer = Peer::connect(server.address);
    peer.write("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(peer.answer_to_head().status, 100);
    peer.write("body");
    let answer = peer.answer();
    assert_eq!((answer.status, answer.text(), answer.header("x-method")), (200, "body", Some("PUT")));
    // A pipelined request behind a chunked body with trailers starts where it should.
    peer.write(
        "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
    );
    peer.write("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nd");
    assert_eq!((peer.answer().text(), peer.answer().text()), ("abc", "d"));
}

#[test]
fn half_close_behind_a_request_does_not_lose_the_answer() {
    let server = site(Config::default());
    let mut peer = Peer::connect(server.address);
    peer.write("GET /plain HTTP/1.1\r\nHost: x\r\n\r\n");
    peer.shut();
    assert_eq!(peer.answer().text(), "plain");
    peer.expect_end();
}

#[test]
fn many_clients_at_once_each_get_their_own_answers() {
    let server = start(Config::default(), || {
        Script::new().request(|_, _, req| Reply::Respond(Response::text(200, req.target().to_owned())))
    });
    thread::scope(|scope| {
        for client in 0..8 {
            let address = server.address;
            scope.spawn(move || {
                let mut peer = Peer::connect(address);
                for round in 0..50 {
                    peer.write(format!("GET /{client}/{round} HTTP/1.1\r\nHost: x\r\n\r\n"));
                    assert_eq!(peer.answer().text(), format!("/{client}/{round}"));
                }
            });
        }
    });
    server.stats_when("all are counted", |s| s.requests == 400);
}
