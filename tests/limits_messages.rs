//! Limits of messages: their size, whole and in parts, judged at the frame's header; fragments in and out.

mod harness;

use std::sync::mpsc;

use harness::peer::{BINARY, CONTINUATION, PING, PONG, Peer, TEXT, frame, header};
use harness::{Running, Script, start, start_echo};
use tidegate::{By, Cause, Config, Kind, ProtocolError};

/// The peer must be told `code`, the application why, and the stream must end.
fn expect_violation(server: &Running, mut peer: Peer, code: u16, error: ProtocolError) {
    assert_eq!(peer.frame().close().0, code);
    peer.close(code, "");
    peer.expect_end();
    drop(peer);
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Server, Cause::Protocol(error), Some(code)));
    let stats = server.stats_when("the end", |s| s.connections == 0);
    assert_eq!((stats.ended_protocol, stats.memory_bytes, server.ends().len()), (1, 0, 1));
}

#[test]
fn limit_message_max() {
    let config = || Config::default().message_max(1000);
    let server = start_echo(config());
    let mut peer = Peer::open(server.address);
    peer.send(BINARY, vec![7; 1000]);
    assert_eq!(peer.message().payload, vec![7; 1000]);
    // Only the header: not a byte of the payload need come.
    peer.write(header(true, BINARY, 1001));
    expect_violation(&server, peer, 1009, ProtocolError::MessageTooBig);
    // A header that announces more than any memory has.
    let server = start_echo(config());
    let mut peer = Peer::open(server.address);
    peer.write(header(true, BINARY, i64::MAX as u64));
    expect_violation(&server, peer, 1009, ProtocolError::MessageTooBig);
    // The sum of fragments counts, at the header of the one that passes it.
    let server = start_echo(config());
    let mut peer = Peer::open(server.address);
    peer.send_fragment(false, TEXT, "x".repeat(600));
    peer.send_fragment(false, CONTINUATION, "x".repeat(400));
    peer.write(header(true, CONTINUATION, 1));
    expect_violation(&server, peer, 1009, ProtocolError::MessageTooBig);
}

#[test]
fn limit_frame_max() {
    let server = start_echo(Config::default().frame_max(500));
    let mut peer = Peer::open(server.address);
    for (fin, opcode) in [(false, BINARY), (false, CONTINUATION), (true, CONTINUATION)] {
        peer.send_fragment(fin, opcode, vec![1; 500]);
    }
    assert_eq!(peer.message().payload, vec![1; 1500]);
    // A whole small message in one read takes another way through the server than one in pieces; neither passes.
    for whole in [true, false] {
        let server = start_echo(Config::default().frame_max(500));
        let mut peer = Peer::open(server.address);
        if whole {
            peer.send(BINARY, vec![1; 501])
        } else {
            peer.write(header(true, BINARY, 501))
        }
        expect_violation(&server, peer, 1009, ProtocolError::FrameTooBig);
    }
}

#[test]
fn limit_streamed_message_max() {
    let config = Config::default().message_max(10).streamed_message_max(1000);
    let (tell, told) = mpsc::channel();
    let server = start(config, || {
        Script::new()
            .open(|cx, conn| cx.receive_parts(conn, true))
            .part(move |_, _, part| tell.send((part.bytes.len(), part.last)).unwrap())
    });
    let mut peer = Peer::open(server.address);
    peer.send_fragment(false, BINARY, vec![1; 400]);
    peer.send_fragment(true, CONTINUATION, vec![1; 600]);
    let mut sum = 0;
    loop {
        let (len, last) = told.recv_timeout(harness::PATIENCE).unwrap();
        sum += len;
        if last {
            break;
        }
    }
    assert_eq!(sum, 1000);
    peer.send_fragment(false, BINARY, vec![1; 400]);
    peer.write(header(true, CONTINUATION, 601));
    expect_violation(&server, peer, 1009, ProtocolError::MessageTooBig);
}

#[test]
fn limit_fragments_max() {
    let server = start_echo(Config::default().fragments_max(4));
    let mut peer = Peer::open(server.address);
    let fragments = |peer: &mut Peer, count| {
        for n in 0..count {
            peer.send_fragment(n + 1 == count, if n == 0 { TEXT } else { CONTINUATION }, "f");
        }
    };
    fragments(&mut peer, 4);
    assert_eq!(peer.message().text(), "ffff");
    fragments(&mut peer, 5);
    expect_violation(&server, peer, 1008, ProtocolError::TooManyFragments);
}

#[test]
fn limit_fragment_bytes() {
    const LEN: usize = 16 << 20;
    const FRAGMENT: usize = 64 << 10;
    let config = Config::default().fragment_bytes(FRAGMENT).backlog_high(2 * LEN).backlog_max(4 * LEN);
    let server = start(config, || {
        Script::new().message(|cx, conn, msg| match msg.kind() {
            Kind::Text => {
                cx.send(conn, vec![5; LEN]);
            }
            Kind::Binary => {
                cx.send(conn, msg);
            }
        })
    });
    let mut peer = Peer::open(server.address);
    // What fits into one frame is one.
    for (len, frames) in [(FRAGMENT, 1), (FRAGMENT + 1, 2), (2 * FRAGMENT, 2)] {
        peer.send(BINARY, vec![9; len]);
        let lens: Vec<usize> = (0..frames).map(|_| peer.frame().payload.len()).collect();
        assert_eq!((lens.iter().sum::<usize>(), lens[0]), (len, FRAGMENT));
    }
    // A Ping is answered between the fragments of a long message, not behind it.
    peer.send(TEXT, "go");
    assert_eq!(peer.frame().payload.len(), FRAGMENT);
    peer.send(PING, "still there?");
    let (mut data, mut behind) = (FRAGMENT, None);
    loop {
        let frame = peer.frame();
        if frame.opcode == PONG {
            assert_eq!(frame.payload, b"still there?");
            behind = Some(data);
            continue;
        }
        assert_eq!((frame.opcode, frame.payload.len()), (CONTINUATION, FRAGMENT));
        data += frame.payload.len();
        if frame.fin {
            break;
        }
    }
    assert_eq!(data, LEN);
    assert!(behind.is_some_and(|behind| behind < LEN), "the Pong came behind {behind:?} bytes of {LEN}");
}

/// At most one Pong waits: a flood of Pings to a peer that does not read costs no memory (RFC 6455 §5.5.3).
#[test]
fn a_flood_of_pings_costs_one_pong() {
    let server = start(Config::default().send_buffer(4096), || {
        Script::new().message(|cx, conn, _| {
            cx.send(conn, vec![0; 200_000]);
        })
    });
    let mut peer = Peer::open(server.address);
    for _ in 0..4 {
        peer.send(TEXT, "fill");
    }
    let mut flood = Vec::new();
    for n in 0..5000 {
        flood.extend(frame(true, PING, format!("{n:0>100}").as_bytes()));
    }
    peer.write(&flood);
    let stats = server.stats_when("a backlog", |s| s.backlog_highs == 1);
    assert!(stats.queued_bytes < 1_000_000, "{stats:?}");
    for _ in 0..4 {
        assert_eq!(peer.message().payload.len(), 200_000);
    }
    let mut last = peer.frame();
    while last.payload != format!("{:0>100}", 4999).as_bytes() {
        assert_eq!(last.opcode, PONG);
        last = peer.frame();
    }
    let stats = server.stats_when("nothing waits", |s| s.memory_bytes == 0);
    assert_eq!(stats.pings_in, 5000);
}
