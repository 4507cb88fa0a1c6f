//! The closing handshake over real sockets (RFC 6455 §5.5.1, §7): from both sides, at once, with codes right and
//! wrong, with half-closed streams and with none at all.

mod harness;

use harness::peer::{BINARY, CLOSE, CONTINUATION, PING, PONG, Peer, TEXT, close_payload, frame};
use harness::{Script, start, start_echo};
use tidegate::{By, Cause, Config};

/// Closes with the code and reason that a message `4000 reason` names.
fn closer() -> Script {
    Script::new().message(|cx, conn, msg| {
        let (code, reason) = msg.as_text().unwrap().split_once(' ').unwrap();
        cx.send(conn, "before");
        assert!(cx.close(conn, code.parse().unwrap(), reason));
        assert!(!cx.close(conn, 1000, "again"), "closed once");
        assert_eq!(cx.send(conn, "after"), tidegate::Sent::Gone);
    })
}

#[test]
fn close_by_the_peer_is_answered_with_its_code() {
    let server = start_echo(Config::default());
    for (n, code) in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 4999].into_iter().enumerate()
    {
        let mut peer = Peer::open(server.address);
        peer.close(code, "a reason");
        assert_eq!(peer.frame().close(), (code, ""));
        peer.expect_end();
        let why = server.closed(n);
        assert_eq!(
            (why.by, why.cause, why.code, &*why.reason),
            (By::Peer, Cause::Close, Some(code), "a reason")
        );
    }
    let mut peer = Peer::open(server.address);
    peer.send(CLOSE, "");
    assert_eq!(peer.frame().payload, b"", "no code is answered with none");
    peer.expect_end();
    assert_eq!(server.closed(12).code, None);
    assert_eq!(server.stats_when("all are counted", |s| s.connections == 0).ended_by_peer, 13);
}

#[test]
fn wrong_close_frames_are_protocol_errors() {
    let long = "r".repeat(124);
    let mut table: Vec<(Vec<u8>, u16)> = vec![(vec![3], 1002), (close_payload(1000, &long), 1002)];
    table.extend(
        [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000].map(|code| (close_payload(code, ""), 1002)),
    );
    table.push(([&close_payload(1000, "")[..], b"\xff"].concat(), 1007));
    for (payload, code) in table {
        let server = start_echo(Config::default());
        let mut peer = Peer::open(server.address);
        peer.send(CLOSE, &payload);
        assert_eq!(peer.frame().close().0, code, "{payload:?}");
        peer.expect_end();
        drop(peer);
        let why = server.closed(0);
        assert!(matches!(why.cause, Cause::Protocol(_)), "{why}");
        assert_eq!((why.by, why.code), (By::Server, Some(code)));
    }
}

#[test]
fn close_by_the_application() {
    let server = start(Config::default(), closer);
    // Reasons are cut at 123 bytes, at a character's boundary; codes that must not be sent become 1000 (§7.4.1).
    let long = "é".repeat(100);
    let cases = [
        (4000, "bye", 4000, "bye"),
        (1000, &*long, 1000, &long[..122]),
        (1006, "", 1000, ""),
        (0, "x", 1000, "x"),
    ];
    for (n, (code, reason, sent, cut)) in cases.into_iter().enumerate() {
        let mut peer = Peer::open(server.address);
        peer.send(TEXT, format!("{code} {reason}"));
        assert_eq!(peer.message().text(), "before");
        assert_eq!(peer.frame().close(), (sent, cut));
        // What comes now is dropped, but a Ping among it is no error, and the answer to the Close ends it.
        peer.send(TEXT, "4001 not heard");
        peer.send(PING, "");
        peer.send_fragment(false, TEXT, "unfinished");
        peer.close(sent, "");
        peer.expect_end();
        let why = server.closed(n);
        assert_eq!((why.by, why.cause), (By::Application, Cause::Close));
    }
    let stats = server.stats_when("all are counted", |s| s.connections == 0);
    assert_eq!((stats.ended_by_application, stats.messages_in), (4, 4));
}

#[test]
fn both_sides_close_at_once() {
    let server = start(Config::default(), closer);
    let mut peer = Peer::open(server.address);
    peer.write(
        [frame(true, TEXT, b"4000 ours"), frame(true, CLOSE, &close_payload(4001, "theirs"))].concat(),
    );
    assert_eq!(peer.message().text(), "before");
    assert_eq!(peer.frame().close(), (4000, "ours"), "one Close each");
    peer.expect_end();
    assert_eq!(server.closed(0).code, Some(4000));
}

#[test]
fn nothing_is_read_behind_a_close() {
    let server = start_echo(Config::default());
    let mut peer = Peer::open(server.address);
    peer.write([frame(true, CLOSE, &close_payload(1000, "")), frame(true, TEXT, b"ghost")].concat());
    assert_eq!(peer.frame().close().0, 1000);
    peer.expect_end();
    assert_eq!(server.stats_when("the end", |s| s.connections == 0).messages_in, 0);
}

#[test]
fn half_close_behind_a_close_frame() {
    let server = start_echo(Config::default());
    let mut peer = Peer::open(server.address);
    let bytes = vec![8; 500_000];
    peer.send(BINARY, &bytes);
    peer.close(1000, "");
    peer.shut();
    // Everything that was queued before the Close still comes.
    assert!(peer.message().payload == bytes);
    assert_eq!(peer.frame().close().0, 1000);
    peer.expect_end();
    assert_eq!(server.closed(0).cause, Cause::Close);
}

#[test]
fn a_stream_that_ends_without_a_close() {
    let server = start_echo(Config::default());
    for (n, bytes) in
        [vec![], frame(false, TEXT, b"half a message"), frame(true, TEXT, b"half a frame")[..5].to_vec()]
            .into_iter()
            .enumerate()
    {
        let mut peer = Peer::open(server.address);
        peer.write(&bytes);
        peer.shut();
        peer.expect_end();
        let why = server.closed(n);
        assert_eq!((why.by, why.cause, why.code), (By::Peer, Cause::EndOfStream, None));
    }
    assert_eq!(server.stats_when("counted", |s| s.connections == 0).ended_end_of_stream, 3);
}

#[test]
fn a_peer_that_resets() {
    let server = start_echo(Config::default());
    let peer = Peer::open(server.address);
    socket2::SockRef::from(&peer.socket).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(peer);
    let why = server.closed(0);
    assert!(matches!((why.by, why.cause), (By::Peer, Cause::Io(_))), "{why}");
    assert_eq!(server.stats_when("counted", |s| s.connections == 0).ended_io, 1);
}

#[test]
fn broken_frames_end_with_their_code() {
    let frames: &[(&str, &[u8], u16)] = &[
        ("not masked", &[0x81, 1, b'a'], 1002),
        ("reserved bit", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("reserved opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("reserved control opcode", &[0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("Ping in fragments", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("long Ping", &[0x89, 0xfe, 0, 126], 1002),
        ("length not minimal, 16 bits", &[0x82, 0xfe, 0, 125], 1002),
        ("length not minimal, 64 bits", &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002),
        ("length above 2^63", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        ("nothing to continue", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        ("not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        // At the first bad byte, with most of the message still to come.
        ("not UTF-8, unfinished", &[0x01, 0xfe, 0x10, 0, 0, 0, 0, 0, b'a', 0xf8], 1007),
    ];
    for (what, bytes, code) in frames {
        let server = start_echo(Config::default());
        let mut peer = Peer::open(server.address);
        peer.write(bytes);
        assert_eq!(peer.frame().close().0, *code, "{what}");
        peer.expect_end();
        drop(peer);
        assert_eq!(server.stats_when("the end", |s| s.ended == 1).ended_protocol, 1, "{what}");
    }
    let server = start_echo(Config::default());
    let mut peer = Peer::open(server.address);
    peer.send_fragment(false, TEXT, "one");
    peer.send(PING, "in between");
    assert_eq!(peer.frame().opcode, PONG);
    peer.send_fragment(false, CONTINUATION, "two");
    peer.send(TEXT, "another");
    assert_eq!(peer.frame().close().0, 1002);
}
