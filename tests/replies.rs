//! Replies that lie in the read buffer, which the kernel takes from there, and what is sent beside them: in order and whole.

mod harness;

use std::io::Write;

use harness::peer::{BINARY, CONTINUATION, PING, PONG, Peer, TEXT, frame};
use harness::{Script, start};
use tidegate::Config;

/// Payload whose every byte tells where it belongs.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn in_parts() -> Script {
    Script::new().open(|cx, conn| cx.receive_parts(conn, true)).part(|cx, conn, part| {
        cx.send_part(conn, part.kind, part.bytes, part.last);
    })
}

/// Control frames and short messages right behind long ones, all in one write and so, mostly, in one read.
#[test]
fn what_follows_a_long_reply_comes_behind_it() {
    for per_turn in [false, true] {
        let server = start(Config::default().flush_per_turn(per_turn), in_parts);
        let mut peer = Peer::open(server.address);
        for len in [4095, 4096, 5000, 65_536, 100_000, 200_000, 700_000] {
            let long = bytes(len);
            let mut wire = frame(false, BINARY, &long);
            wire.extend(frame(true, PING, b"inside"));
            wire.extend(frame(true, CONTINUATION, b"end"));
            wire.extend(frame(true, TEXT, &vec![b'x'; 300]));
            wire.extend(frame(true, BINARY, &long));
            wire.extend(frame(true, PING, b"behind"));
            wire.extend(frame(true, TEXT, b"short"));
            peer.write(wire);
            let mut pongs = Vec::new();
            let mut next = || loop {
                let frame = peer.frame();
                match frame.opcode {
                    PONG => pongs.push(frame.payload),
                    _ => return frame,
                }
            };
            let mut message = || {
                let mut whole = next();
                while !whole.fin {
                    let more = next();
                    assert_eq!(more.opcode, CONTINUATION);
                    whole.payload.extend(more.payload);
                    whole.fin = more.fin;
                }
                (whole.opcode, whole.payload)
            };
            let expected = [
                (BINARY, [&long[..], b"end"].concat()),
                (TEXT, vec![b'x'; 300]),
                (BINARY, long),
                (TEXT, b"short".to_vec()),
            ];
            for expected in expected {
                assert!(message() == expected, "{len} bytes, {} of {:?}", expected.1.len(), expected.0);
            }
            // Of Pongs that wait only the latest is sent (RFC 6455 §5.5.3).
            while pongs.last().is_none_or(|pong| pong != b"behind") {
                pongs.push(peer.frame().payload);
            }
            assert!(pongs.len() == 1 || pongs.len() == 2 && pongs[0] == b"inside", "{len}: {pongs:?}");
        }
        server.stats_when("nothing is held", |s| s.memory_bytes == 0 && s.queued_bytes == 0);
    }
}

/// A callback that sends a long message back, in pieces of any order, and more that is its own.
#[test]
fn replies_and_other_messages_keep_their_order() {
    let server = start(Config::default(), || {
        Script::new().open(|cx, conn| cx.subscribe(conn, "all").unwrap()).message(|cx, conn, msg| {
            let payload = msg.as_bytes();
            let (first, second) = payload.split_at(payload.len() / 2);
            cx.send(conn, second);
            cx.send(conn, first);
            cx.send(conn, payload);
            cx.publish("all", "published");
            cx.send(conn, payload);
            cx.send(conn, vec![9; 100_000]);
            cx.send(conn, first);
            cx.send(conn, "last");
        })
    });
    let mut peer = Peer::open(server.address);
    for len in [100, 8_192, 16_384, 50_000, 200_000] {
        let payload = bytes(len);
        let (first, second) = payload.split_at(len / 2);
        peer.send(BINARY, &payload);
        let expected = [second, first, &payload, b"published", &payload, &[9; 100_000], first, b"last"];
        for (at, expected) in expected.into_iter().enumerate() {
            assert!(peer.message().payload == expected, "message {at} for {len} bytes");
        }
    }
    server.stats_when("nothing is held", |s| s.memory_bytes == 0 && s.queued_bytes == 0);
}

/// A peer that sends far more than it reads gets all of it in the end, and is no slow consumer before `backlog_grace`.
#[test]
fn one_that_reads_late_loses_nothing() {
    for config in [
        Config::default(),
        Config::default().backlog_low(50_000).backlog_high(100_000).backlog_max(200_000),
        Config::default().send_buffer(16 << 10).flush_budget(10_000),
    ] {
        let server = start(config.clone(), Script::echo);
        let mut peer = Peer::open(server.address);
        let payload = bytes(16_384);
        let wire: Vec<u8> = (0..16).flat_map(|_| frame(true, BINARY, &payload)).collect();
        let mut sender = peer.socket.try_clone().unwrap();
        let sent = std::thread::spawn(move || (0..20).for_each(|_| sender.write_all(&wire).unwrap()));
        for n in 0..320 {
            assert!(peer.message().payload == payload, "message {n}");
        }
        sent.join().unwrap();
        assert_eq!(server.stats_when("nothing is held", |s| s.queued_bytes == 0).ended_slow_consumer, 0);
    }
}
