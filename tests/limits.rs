//! Who is let in: every limit of admission, hit over real sockets, with its consequence and its counter.

mod harness;

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use harness::peer::{BINARY, Peer};
use harness::{Script, start, start_echo, until};
use socket2::{Domain, Socket, Type};
use tidegate::{Config, Error, Server};

/// A refused peer is told so in full, then its stream ends.
fn expect_refusal(mut peer: Peer) {
    let answer = peer.answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.text(), "too many connections\n");
    peer.expect_end();
}

#[test]
fn limit_connections_max() {
    let server = start_echo(Config::default().connections_max(3));
    let peers: Vec<Peer> = (0..3).map(|_| Peer::open(server.address)).collect();
    for _ in 0..2 {
        // One that has sent its request, and one that says nothing.
        let mut refused = Peer::connect(server.address);
        refused.write(harness::peer::handshake("/"));
        expect_refusal(refused);
        expect_refusal(Peer::connect(server.address));
    }
    server
        .stats_when("refusals end", |s| s.refused_connections == 4 && s.refusing == 0 && s.connections == 3);
    drop(peers);
    server.stats_when("places are given back", |s| s.connections == 0);
    let mut peer = Peer::open(server.address);
    peer.send(BINARY, b"in again");
    assert_eq!(peer.message().payload, b"in again");
}

/// Connects from this address of the machine.
fn connect_from(source: &str, address: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source: SocketAddr = source.parse().unwrap();
    socket.bind(&source.into()).unwrap();
    socket.connect(&address.into()).unwrap();
    Peer::over(TcpStream::from(socket))
}

#[cfg(target_os = "linux")]
#[test]
fn limit_connections_per_source_max() {
    let server = start_echo(Config::default().connections_per_source_max(2));
    let mut near: Vec<Peer> = (0..2).map(|_| connect_from("127.0.0.2:0", server.address)).collect();
    near.iter_mut().for_each(|peer| peer.upgrade("/"));
    expect_refusal(connect_from("127.0.0.2:0", server.address));
    // Another source has its own count.
    let mut far = connect_from("127.0.0.3:0", server.address);
    far.upgrade("/");
    server.stats_when("one refusal", |s| s.refused_source == 1 && s.open == 3);
    near.pop();
    server.stats_when("the place is given back", |s| s.open == 2);
    connect_from("127.0.0.2:0", server.address).upgrade("/");
}

#[test]
fn limit_half_open_max() {
    let server = start_echo(Config::default().half_open_max(2));
    let mut silent: Vec<Peer> = (0..2).map(|_| Peer::connect(server.address)).collect();
    server.stats_when("two are half open", |s| s.half_open == 2);
    expect_refusal(Peer::connect(server.address));
    assert_eq!(server.stats_when("counted", |s| s.refused_half_open == 1).half_open, 2);
    // A handshake that is complete makes room.
    silent[0].upgrade("/");
    Peer::open(server.address);
}

#[test]
fn limit_accepts_per_second_max() {
    let server = start_echo(Config::default().accepts_per_second_max(5));
    let peers: Vec<Peer> = (0..15).map(|_| Peer::connect(server.address)).collect();
    let stats = server.stats_when("all are accepted or refused", |s| s.accepted == 15);
    assert!(
        stats.refused_rate > 0,
        "fifteen connections in less than two seconds, five allowed each: {stats:?}"
    );
    let refused = peers.into_iter().map(|mut peer| {
        peer.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        peer.answer().status
    });
    assert_eq!(refused.filter(|&status| status == 503).count() as u64, server.stats().refused_rate);
    // Time lets others in again.
    until("a token", || {
        let mut peer = Peer::connect(server.address);
        peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        (peer.answer().status == 426).then_some(())
    });
}

#[test]
fn limit_refusals_max() {
    let server = start_echo(Config::default().connections_max(1).refusals_max(1));
    let _peer = Peer::open(server.address);
    // The first refused peer does not end its stream, so it is waited for; the second is just closed.
    let mut told = Peer::connect(server.address);
    assert_eq!(told.answer().status, 503);
    server.stats_when("one is being told", |s| s.refusing == 1);
    let mut not_told = Peer::connect(server.address);
    assert_eq!(not_told.rest().unwrap_or_default(), b"");
    let stats = server.stats_when("both are counted", |s| s.refused_connections == 2);
    assert_eq!(stats.refused_silently, 1);
}

#[test]
fn limit_accept_budget() {
    let (go, gate) = mpsc::channel();
    let app = || Script::new().message(move |_, _, _| gate.recv().unwrap());
    let server = start(Config::default().accept_budget(2), app);
    let mut first = Peer::open(server.address);
    // While the loop is busy with one callback, connections gather in the kernel's queue.
    first.send(BINARY, b"hold");
    let mut peers: Vec<Peer> = (0..50).map(|_| Peer::connect(server.address)).collect();
    go.send(()).unwrap();
    peers.iter_mut().for_each(|peer| peer.upgrade("/"));
    let stats = server.stats_when("all are open", |s| s.open == 51);
    assert_eq!(stats.accepted, 51, "nobody is lost");
    assert!(stats.budget_accept >= 20, "two a turn: {stats:?}");
}

#[test]
fn limit_listen_backlog_and_reuse_port() {
    // The kernel's queue is the kernel's to count; what can be seen is that nobody is lost with the shortest one, and
    // that two servers share a port where that is asked for.
    let config = Config::default().listen_backlog(1).reuse_port(true);
    let first = start_echo(config.clone());
    let mut second = Server::bind(first.address, config.clone()).expect("a shared port");
    assert_eq!(second.local_addr(), Some(first.address));
    let refused = Server::bind(first.address, config.reuse_port(false)).unwrap_err();
    assert!(matches!(refused, Error::Listen { .. }), "{refused}");
    drop(second);
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(first.address)).collect();
    for peer in &mut peers {
        peer.send(BINARY, b"here");
        assert_eq!(peer.message().payload, b"here");
    }
}
