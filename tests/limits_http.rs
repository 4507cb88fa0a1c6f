//! Limits of the HTTP part: heads, targets, bodies, requests per connection, and the deadlines before a WebSocket is
//! open.

mod harness;

use std::io::Write;
use std::time::Instant;

use harness::peer::{Peer, UPGRADE};
use harness::{Script, ms, start, start_echo, until};
use tidegate::{By, Cause, Config, Reply, Response};

fn config() -> Config {
    Config::default().head_max(1024).target_max(256).headers_max(10).body_max(100)
}

/// Answers every plain request with the length of its body.
fn lengths() -> Script {
    Script::new().request(|_, _, req| Reply::Respond(Response::text(200, req.body().len().to_string())))
}

/// Sends a request to a fresh server with small limits; the answer must have `status` and end the connection cleanly.
fn refused(request: impl AsRef<[u8]>, status: u16) {
    let server = start(config(), lengths);
    let mut peer = Peer::connect(server.address);
    peer.write(request);
    let answer = peer.answer();
    assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{answer:?}");
    assert!((5..80).contains(&answer.body.len()), "a short text: {answer:?}");
    peer.expect_end();
    drop(peer);
    let stats = server.stats_when("the end", |s| s.connections == 0);
    assert_eq!((stats.ended_bad_request, stats.ended, stats.requests), (1, 1, 0));
}

fn accepted(request: impl AsRef<[u8]>, body: &str) {
    let server = start(config(), lengths);
    let mut peer = Peer::connect(server.address);
    peer.write(request);
    let answer = peer.answer();
    assert_eq!((answer.status, answer.text()), (200, body), "{answer:?}");
}

#[test]
fn limit_head_max() {
    let head = |len: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(len - start.len() - 4))
    };
    assert_eq!(head(1024).len(), 1024);
    accepted(head(1024), "0");
    refused(head(1025), 431);
    // Judged as it arrives: there need be no end in sight.
    refused(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}", "y".repeat(5000)), 431);
}

#[test]
fn limit_target_max() {
    let request = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "t".repeat(len - 1));
    accepted(request(256), "0");
    refused(request(257), 414);
    refused(format!("GET /{}", "t".repeat(256)), 414);
}

#[test]
fn limit_headers_max() {
    let request = |count: usize| {
        let fields: String = (1..count).map(|i| format!("X{i}: y\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    };
    accepted(request(10), "0");
    refused(request(11), 431);
}

#[test]
fn limit_body_max() {
    let with_length = |len: usize| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n{}", "b".repeat(len))
    };
    accepted(with_length(100), "100");
    refused(with_length(101), 413);
    // Judged at the head: not a byte of the body is sent, and `100 Continue` is not given.
    refused("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n", 413);
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |len: usize| format!("{len:x}\r\n{}\r\n", "c".repeat(len));
    accepted(format!("{chunked}{}{}0\r\n\r\n", chunk(60), chunk(40)), "100");
    refused(format!("{chunked}{}{}0\r\n\r\n", chunk(60), chunk(41)), 413);
    // And at a chunk's size.
    refused(format!("{chunked}65\r\n"), 413);
    // Zero allows no body at all.
    let server = start(config().body_max(0), lengths);
    let mut peer = Peer::connect(server.address);
    peer.write(with_length(1));
    assert_eq!(peer.answer().status, 413);
}

#[test]
fn limit_requests_max() {
    let server = start(Config::default().requests_max(3), lengths);
    let mut peer = Peer::connect(server.address);
    peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5));
    let connection: Vec<_> = (0..3).map(|_| peer.answer().header("connection").map(str::to_owned)).collect();
    assert_eq!(connection, [None, None, Some("close".to_owned())]);
    peer.expect_end();
    drop(peer);
    let stats = server.stats_when("the end", |s| s.connections == 0);
    assert_eq!((stats.requests, stats.ended_by_application), (3, 1));
}

#[test]
fn limit_handshake_timeout() {
    let timeout = ms(300);
    let server = start_echo(Config::default().handshake_timeout(timeout));
    let mut silent = Peer::connect(server.address);
    let mut slow = Peer::connect(server.address);
    let began = Instant::now();
    // A byte now and then does not put the deadline off: it is counted from accept.
    until("the end of half-open connections, a byte every millisecond", || {
        let _ = slow.socket.write_all(if server.stats().bytes_in == 0 { b"GET /" } else { b"x" });
        let stats = server.stats();
        (stats.accepted == 2 && stats.half_open == 0).then_some(())
    });
    assert!(began.elapsed() >= timeout, "not before its time");
    // What the slow one wrote too late may have been answered with a reset; the silent one has all of it.
    assert_eq!(silent.answer().status, 408);
    silent.expect_end();
    drop((silent, slow));
    let stats = server.stats_when("both have ended", |s| s.connections == 0);
    assert_eq!((stats.ended_handshake_timeout, stats.half_open), (2, 0));
    // A body belongs to the request.
    let mut body = Peer::connect(server.address);
    body.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n1234");
    assert_eq!(body.answer().status, 408);
    // A connection that is kept and on which nothing more comes is nobody's failure.
    let kept = start(Config::default().handshake_timeout(timeout), lengths);
    let mut peer = Peer::connect(kept.address);
    peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(peer.answer().status, 200);
    peer.expect_end();
    drop(peer);
    assert_eq!(kept.stats_when("the end", |s| s.ended == 1).ended_handshake_timeout, 0);
}

#[test]
fn limit_reply_timeout_of_a_late_answer() {
    let app = || Script::new().request(|_, _, _| Reply::Later);
    let server = start(Config::default().reply_timeout(ms(100)), app);
    let mut peer = Peer::connect(server.address);
    peer.write(format!("GET / HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n"));
    let answer = peer.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    peer.expect_end();
    drop(peer);
    let why = server.closed(0);
    assert_eq!((why.by, why.cause), (By::Server, Cause::ReplyTimeout));
    assert_eq!(server.stats_when("the end", |s| s.ended == 1).ended_reply_timeout, 1);
}

#[test]
fn limit_reply_timeout_of_a_stream() {
    let app = || Script::new().request(|_, _, _| Reply::Stream(Response::text(200, "begun")));
    let server = start(Config::default().reply_timeout(ms(100)), app);
    let mut peer = Peer::connect(server.address);
    peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = peer.answer();
    assert_eq!((answer.status, answer.text()), (200, "begun"));
    peer.expect_end();
    // The application must learn that its stream is over, and the limit has a counter.
    let why = server.closed(0);
    assert_eq!((why.by, why.cause), (By::Server, Cause::ReplyTimeout));
    assert_eq!(server.stats_when("the end", |s| s.ended == 1).ended_reply_timeout, 1);
    assert_eq!(server.ends().len(), 1);
}
