//! Deadlines of an open WebSocket and of its end: ping and pong, idle, close, linger; and the shutdown of all.

mod harness;

use std::io::Write;
use std::time::{Duration, Instant};

use harness::peer::{BINARY, CLOSE, PING, PONG, Peer, TEXT, close_payload, frame, handshake};
use harness::{Script, ms, start, start_echo, until};
use tidegate::{By, Cause, Config, Reply};

/// A server without the deadlines that a test does not ask for.
fn config() -> Config {
    Config::default().ping_interval(Duration::ZERO).idle_timeout(Duration::ZERO)
}

/// An application that closes when it is told to.
fn closer() -> Script {
    Script::new().message(|cx, conn, _| assert!(cx.close(conn, 4001, "as told")))
}

#[test]
fn limit_ping_interval_and_pong_timeout() {
    // Each way round: the answer's time may be shorter or longer than the time between two Pings.
    pings_and_pongs(ms(400), ms(300));
    pings_and_pongs(ms(250), ms(600));
}

fn pings_and_pongs(interval: Duration, patience: Duration) {
    let server = start_echo(config().ping_interval(interval).pong_timeout(patience));
    let began = Instant::now();
    let mut talk = frame(true, BINARY, &[1; 100]).into_iter();
    // One answers, one sends other things, a byte at a time, one sends nothing.
    let mut answers = Peer::open(server.address);
    let mut talks = Peer::open(server.address);
    let mut silent = Peer::open(server.address);
    for round in 0..5 {
        let ping = answers.frame();
        assert_eq!((ping.opcode, ping.fin, ping.payload.len()), (PING, true, 0), "round {round}");
        answers.send(PONG, &ping.payload);
        // Half a frame: any byte counts as life, and the rest of it comes in the next round.
        talks.write([talk.next().unwrap()]);
        server.stats_when("the byte counts", |s| s.pings_out > round);
    }
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Server, Cause::PingTimeout, None));
    assert_eq!(server.ends()[0].0, server.opened(2), "the silent one");
    assert!(began.elapsed() >= interval + patience, "not before its time");
    assert_eq!(silent.frame().opcode, PING);
    silent.expect_reset();
    let stats = server.stats();
    assert!(stats.pings_out >= 5 && stats.pongs_in >= 4, "{stats:?}");
    assert_eq!(stats.ended_ping_timeout, 1);
}

#[test]
fn limit_idle_timeout() {
    let timeout = ms(200);
    let server = start_echo(config().idle_timeout(timeout));
    let began = Instant::now();
    let mut idle = Peer::open(server.address);
    let mut busy = Peer::open(server.address);
    server.stats_when("both are open", |s| s.opened == 2);
    while server.stats().open == 2 {
        busy.send(TEXT, "busy");
        busy.message();
        assert!(began.elapsed() < harness::PATIENCE);
    }
    assert!(began.elapsed() >= timeout, "not before its time");
    assert_eq!(idle.frame().close(), (1001, "idle"));
    idle.close(1001, "");
    idle.expect_end();
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Server, Cause::Idle, Some(1001)));
    assert_eq!(server.ends()[0].0, server.opened(0));
    server.stats_when("it is counted", |s| s.ended_idle == 1);
}

#[test]
fn limit_close_timeout() {
    let timeout = ms(200);
    let server = start(config().close_timeout(timeout), closer);
    let mut peer = Peer::open(server.address);
    let began = Instant::now();
    peer.send(TEXT, "close");
    assert_eq!(peer.frame().close(), (4001, "as told"));
    // It goes on talking but never answers the Close.
    until("the cut", || {
        let _ = peer.socket.write_all(&frame(true, TEXT, b"not a Close"));
        (server.stats().connections == 0).then_some(())
    });
    assert!(began.elapsed() >= timeout, "not before its time");
    // The application closed; that the peer did not answer is how it went on, not why.
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Application, Cause::Close, Some(4001)));
    assert_eq!(server.stats().messages_in, 1, "nothing is delivered after our Close");
    assert_eq!(server.stats().cut_close_timeout, 1);
}

#[test]
fn limit_linger_timeout() {
    let timeout = ms(200);
    let app = || Script::new().request(|_, _, _| Reply::upgrade());
    let server = start(config().linger_timeout(timeout), app);
    // Told off, but it keeps its end open.
    let mut peer = Peer::connect(server.address);
    peer.write("GET / HTTP/9.9\r\n\r\n");
    let began = Instant::now();
    assert_eq!(peer.answer().status, 505);
    peer.expect_end();
    let stats = server.stats_when("the cut", |s| s.connections == 0);
    assert!(began.elapsed() + ms(20) >= timeout, "not before its time");
    assert_eq!((stats.ended_bad_request, stats.cut_linger_timeout), (1, 1));
    // One that ends its stream too is not waited for.
    let server = start(config(), app);
    let mut peer = Peer::connect(server.address);
    peer.write("GET / HTTP/9.9\r\n\r\n");
    assert_eq!(peer.answer().status, 505);
    drop(peer);
    assert_eq!(server.stats_when("the end", |s| s.ended == 1).cut_linger_timeout, 0);
}

/// The Close frame arrives although the peer is in the middle of sending a lot that nobody reads any more.
#[test]
fn lingering_saves_the_close_frame() {
    let server = start_echo(config().message_max(1000));
    let mut peer = Peer::open(server.address);
    let mut bytes = harness::peer::header(true, BINARY, 8 << 20);
    bytes.resize(8 << 20, 7);
    peer.write(&bytes);
    assert_eq!(peer.frame().close(), (1009, "message too big"));
    peer.expect_end();
}

#[test]
fn limit_shutdown_batch_and_interval() {
    const PEERS: usize = 10;
    let interval = ms(50);
    let server = start_echo(config().shutdown_batch(2).shutdown_interval(interval));
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::open(server.address)).collect();
    let half_open = Peer::connect(server.address);
    server.stats_when("all are there", |s| s.connections == PEERS as u64 + 1);
    let began = Instant::now();
    server.handle.shutdown().unwrap();
    for peer in &mut peers {
        assert_eq!(peer.frame().close(), (1001, "server is shutting down"));
        peer.send(CLOSE, close_payload(1001, ""));
        peer.expect_end();
    }
    // Two at a time, so five steps at the least, and four intervals between them.
    assert!(began.elapsed() >= interval * 4, "told within {:?}", began.elapsed());
    let mut half_open = half_open;
    assert_eq!(half_open.answer().status, 503);
    drop(half_open);
    let (report, stats) = server.stop();
    assert_eq!((report.told, report.closed, report.cut), (PEERS as u64, PEERS as u64 + 1, 0));
    assert_eq!((stats.ended_shutdown, stats.connections), (PEERS as u64 + 1, 0));
}

#[test]
fn limit_shutdown_timeout() {
    let timeout = ms(300);
    let server = start_echo(config().shutdown_timeout(timeout).close_timeout(ms(60_000)));
    let mut polite = Peer::open(server.address);
    let mut stubborn = Peer::open(server.address);
    let address = server.address;
    server.handle.shutdown().unwrap();
    assert_eq!(polite.frame().close().0, 1001);
    polite.close(1001, "");
    polite.expect_end();
    assert_eq!(stubborn.frame().close().0, 1001);
    // Nobody is let in meanwhile.
    until("a closed port", || std::net::TcpStream::connect(address).is_err().then_some(()));
    let (report, stats) = server.stop();
    assert_eq!((report.told, report.closed, report.cut), (2, 1, 1));
    assert!(report.took >= timeout && report.took < ms(60_000), "{report}");
    assert_eq!(stats.ended_shutdown, 2);
    stubborn.expect_reset();
}

/// A request that waits for its answer is told 503 when the server goes.
#[test]
fn shutdown_answers_waiting_requests() {
    let server = start(config(), || Script::new().request(|_, _, _| Reply::Later));
    let mut peer = Peer::connect(server.address);
    peer.write(handshake("/"));
    server.stats_when("it waits", |s| s.requests == 1);
    server.handle.shutdown().unwrap();
    assert_eq!(peer.answer().status, 503);
    drop(peer);
    let why = server.closed(0);
    assert_eq!((why.by, why.cause), (By::Server, Cause::Shutdown));
}
