//! permessage-deflate over sockets, against a peer that compresses with a library of its own: what is agreed, what is
//! compressed, what is published to all kinds at once, and each limit (RFC 7692).
//!
//! Knows the public interface only. Invariant: what the peer inflates with has seen exactly what the server sent it.

mod harness;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use harness::peer::{BINARY, CONTINUATION, PING, PONG, Peer, TEXT, UPGRADE, frame};
use harness::{Running, Script, start, start_echo};
use tidegate::{By, Cause, Config, DeflateMode, Message, ProtocolError};

const RSV1: u8 = 0x40;
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A peer that has agreed on compression.
struct Packer {
    peer: Peer,
    /// What was agreed, as the server said it.
    agreed: String,
    deflate: Compress,
    inflate: Decompress,
}

impl Packer {
    fn open(server: &Running, offer: &str) -> Self {
        let mut peer = Peer::connect(server.address);
        peer.write(format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}Sec-WebSocket-Extensions: {offer}\r\n\r\n"
        ));
        let answer = peer.answer_to_head();
        assert_eq!(answer.status, 101, "{answer:?}");
        let agreed = answer.header("sec-websocket-extensions").unwrap_or_default().to_owned();
        Packer {
            peer,
            agreed,
            deflate: Compress::new(Compression::new(6), false),
            inflate: Decompress::new(false),
        }
    }

    fn pack(&mut self, message: &[u8]) -> Vec<u8> {
        if self.agreed.contains("client_no_context_takeover") {
            self.deflate.reset();
        }
        if message.is_empty() {
            // RFC 7692 §7.2.3.6; the library has nothing to flush twice.
            return vec![0];
        }
        let mut out = Vec::with_capacity(message.len() + 1_000);
        self.deflate.compress_vec(message, &mut out, FlushCompress::Sync).expect("compressed");
        assert!(out.ends_with(&TAIL));
        out.truncate(out.len() - 4);
        out
    }

    fn send(&mut self, opcode: u8, message: impl AsRef<[u8]>) {
        let packed = self.pack(message.as_ref());
        self.peer.write(packed_frame(true, opcode, &packed));
    }

    /// The next message, and whether it came compressed.
    fn hear(&mut self) -> (Vec<u8>, bool) {
        let (mut payload, mut compressed) = (Vec::new(), false);
        for nth in 0.. {
            let head = self.peer.take(2);
            let len = match head[1] {
                126 => u16::from_be_bytes(self.peer.take(2).try_into().unwrap()).into(),
                127 => u64::from_be_bytes(self.peer.take(8).try_into().unwrap()),
                short => u64::from(short),
            };
            assert_eq!((head[0] & 15 == CONTINUATION, head[0] & 0x30), (nth > 0, 0), "{head:x?}");
            assert!(nth == 0 || head[0] & RSV1 == 0, "RSV1 on a continuation");
            compressed |= head[0] & RSV1 != 0;
            payload.extend(self.peer.take(len as usize));
            if head[0] & 0x80 != 0 {
                break;
            }
        }
        if compressed {
            payload = self.unpack(&payload);
        }
        (payload, compressed)
    }

    fn unpack(&mut self, packed: &[u8]) -> Vec<u8> {
        if self.agreed.contains("server_no_context_takeover") {
            self.inflate.reset(false);
        }
        let mut out = Vec::with_capacity(4 << 20);
        for bytes in [packed, &TAIL] {
            self.inflate.decompress_vec(bytes, &mut out, FlushDecompress::Sync).expect("DEFLATE");
        }
        out
    }
}

/// A masked frame with RSV1.
fn packed_frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame(fin, opcode, payload);
    bytes[0] |= RSV1;
    bytes
}

/// Text that compresses, different for each number.
fn text(number: usize, len: usize) -> Vec<u8> {
    let line = format!("{{\"level\":{number},\"tide\":\"rising\",\"gate\":\"open\"}}");
    line.bytes().cycle().take(len).collect()
}

/// Bytes that do not.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn config(mode: DeflateMode) -> Config {
    Config::default().deflate(mode)
}

const PLAIN: &str = "permessage-deflate; client_max_window_bits";
const NONE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn what_is_agreed_is_told() {
    let table = [
        (DeflateMode::Off, PLAIN, ""),
        (DeflateMode::Shared, PLAIN, NONE),
        (DeflateMode::Dedicated, PLAIN, "permessage-deflate"),
        (DeflateMode::Dedicated, NONE, NONE),
        (DeflateMode::Shared, "x-unknown", ""),
        (DeflateMode::Shared, "permessage-deflate; server_max_window_bits=7", ""),
        (DeflateMode::Shared, "permessage-deflate; x, permessage-deflate", NONE),
    ];
    for (mode, offer, answer) in table {
        let server = start_echo(config(mode));
        let peer = Packer::open(&server, offer);
        assert_eq!(peer.agreed, answer, "{mode:?}: {offer}");
        let stats = server.stats_when("the opening", |s| s.open == 1);
        let declined = mode != DeflateMode::Off && answer.is_empty() && offer.contains("permessage-deflate");
        assert_eq!(stats.deflate_declined, u64::from(declined));
        let own = mode == DeflateMode::Dedicated && offer == PLAIN;
        let levels = (stats.deflate_shared, stats.deflate_dedicated, stats.deflate_bytes > 0);
        assert_eq!(levels, (u64::from(!answer.is_empty() && !own), u64::from(own), own));
        drop(peer);
        let stats = server.stats_when("the end", |s| s.connections == 0);
        assert_eq!((stats.deflate_shared, stats.deflate_dedicated, stats.deflate_bytes), (0, 0, 0));
    }
}

/// Messages of every length, both kinds, in fragments and whole, echoed in every agreement.
#[test]
fn compressed_messages_are_echoed() {
    let offers = [
        PLAIN,
        NONE,
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=8; client_no_context_takeover",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
    ];
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        for offer in offers {
            let server = start_echo(config(mode));
            let mut peer = Packer::open(&server, offer);
            assert!(peer.agreed.starts_with("permessage-deflate"), "{}", peer.agreed);
            for (number, len) in [0, 1, 127, 128, 500, 5_000, 70_000, 600_000].into_iter().enumerate() {
                let message = text(number, len);
                peer.send(TEXT, &message);
                let (echo, compressed) = peer.hear();
                assert_eq!(
                    (echo == message, compressed),
                    (true, len >= 128),
                    "{len} bytes, {mode:?}, {offer}"
                );
                let message = noise(len);
                peer.send(BINARY, &message);
                assert_eq!(peer.hear(), (message, false), "{len} bytes of noise, {mode:?}, {offer}");
            }
            let message = text(99, 3_000);
            let packed = peer.pack(&message);
            let (one, rest) = packed.split_at(packed.len() / 3);
            peer.peer.write(packed_frame(false, TEXT, one));
            peer.peer.send(PING, "between");
            peer.peer.write(frame(false, CONTINUATION, b""));
            let pong = peer.peer.frame();
            assert_eq!((pong.opcode, pong.text()), (PONG, "between"));
            peer.peer.write(frame(true, CONTINUATION, rest));
            assert_eq!(peer.hear(), (message, true));
            let stats = server.stats_when("the last echo", |s| s.messages_out == 17);
            assert!(stats.deflated_to < stats.deflated_from && stats.inflated_from < stats.inflated_to);
        }
    }
}

#[test]
fn a_message_is_sent_as_it_is_when_it_says_so() {
    let server = start(config(DeflateMode::Dedicated), || {
        Script::new().message(|cx, conn, msg| {
            cx.send(conn, msg.borrowed().uncompressed());
            cx.send(conn, Message::text("behind it ".repeat(30)).uncompressed().into_owned());
            cx.send_part(conn, msg.kind(), msg.as_bytes(), true);
            cx.send(conn, msg);
        })
    });
    let mut peer = Packer::open(&server, PLAIN);
    let message = text(1, 1_000);
    peer.send(TEXT, &message);
    assert_eq!(peer.hear(), (message.clone(), false));
    assert_eq!(peer.hear(), ("behind it ".repeat(30).into_bytes(), false));
    assert_eq!(peer.hear(), (message.clone(), false));
    assert_eq!(peer.hear(), (message, true));
}

#[test]
fn a_message_in_parts_is_inflated_as_it_comes() {
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        let limits = config(mode).message_max(1_000).inflate_budget(20_000);
        let server = start(limits, || {
            let mut taken = Vec::new();
            Script::new().open(|cx, conn| cx.receive_parts(conn, true)).part(move |cx, conn, part| {
                assert_eq!(part.first, taken.is_empty());
                taken.extend_from_slice(part.bytes);
                if part.last {
                    cx.send(conn, std::mem::take(&mut taken));
                }
            })
        });
        let mut peer = Packer::open(&server, PLAIN);
        for round in 1..4 {
            let message: Vec<u8> =
                (0..50).flat_map(|i| [text(i * round, 2_000), noise(500)].concat()).collect();
            peer.send(TEXT, message.iter().map(|byte| byte & 0x7f).collect::<Vec<_>>());
            let (echo, _) = peer.hear();
            assert!(echo.iter().zip(&message).all(|(a, b)| *a == b & 0x7f) && echo.len() == message.len());
        }
        server.stats_when("put off", |s| s.budget_inflate > 0);
    }
}

/// One message for all: compressed once for each window, whatever the number of subscribers, and right for each of them.
#[test]
fn what_is_published_is_compressed_once_for_each_variant() {
    let server = start(config(DeflateMode::Dedicated), || {
        Script::new().open(|cx, conn| cx.subscribe(conn, "all").unwrap()).message(|cx, conn, msg| {
            if msg.as_bytes().starts_with(b"echo") {
                cx.send(conn, msg);
            } else {
                cx.publish("all", msg);
            }
        })
    });
    let narrow = "permessage-deflate; server_max_window_bits=10; server_no_context_takeover";
    let offers = [PLAIN, PLAIN, PLAIN, NONE, NONE, narrow, "permessage-deflate; server_max_window_bits=9"];
    let mut peers: Vec<Packer> = offers.iter().map(|offer| Packer::open(&server, offer)).collect();
    let mut bare = Peer::open(server.address);
    server.stats_when("all in", |s| s.open == 8);
    let before = server.stats().deflated_from;
    let mut own = 0;
    for round in 0..20 {
        let message = text(round, 700);
        bare.send(TEXT, &message);
        assert_eq!(bare.message().payload, message);
        for (nth, peer) in peers.iter_mut().enumerate() {
            assert_eq!(peer.hear(), (message.clone(), true), "round {round}, peer {nth}");
            // What is its own, between two that are everybody's.
            if (nth + round) % 3 == 0 {
                let echo = [b"echo", &text(round + nth, 400)[..]].concat();
                own += echo.len();
                peer.send(TEXT, &echo);
                assert_eq!(peer.hear(), (echo, true), "round {round}, peer {nth}");
            }
        }
    }
    let (own, published) = (own as u64, 2 * 20 * 700);
    let stats = server.stats_when("all counted", |s| s.deflated_from - before >= own + published);
    assert_eq!(stats.deflated_from - before - own, published, "two variants, twenty messages");
    // Too short to be worth it, and not wanted: the same bytes for all.
    bare.send(TEXT, "short");
    for peer in &mut peers {
        assert_eq!(peer.hear(), (b"short".to_vec(), false));
    }
}

#[test]
fn a_topic_that_keeps_the_latest_is_compressed_too() {
    let server = start(config(DeflateMode::Dedicated), || {
        Script::new()
            .start(|cx| cx.topic_policy("all", tidegate::Policy::KeepLatest).unwrap())
            .open(|cx, conn| cx.subscribe(conn, "all").unwrap())
            .message(|cx, conn, msg| {
                cx.send(conn, msg.borrowed());
                cx.publish("all", msg.borrowed());
                cx.send(conn, msg);
            })
    });
    let mut peer = Packer::open(&server, PLAIN);
    for round in 0..5 {
        let message = text(round, 900);
        peer.send(TEXT, &message);
        for _ in 0..3 {
            assert_eq!(peer.hear(), (message.clone(), true), "round {round}");
        }
    }
}

fn expect_violation(server: &Running, mut peer: Peer, code: u16, error: ProtocolError) {
    assert_eq!(peer.frame().close().0, code);
    peer.close(code, "");
    peer.expect_end();
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Server, Cause::Protocol(error), Some(code)));
    let stats = server.stats_when("the end", |s| s.connections == 0);
    assert_eq!((stats.ended_protocol, stats.memory_bytes, stats.deflate_bytes), (1, 0, 0));
}

#[test]
fn a_broken_stream_is_closed_with_1007() {
    let table: [(&[u8], ProtocolError); 3] = [
        (&[0xff; 20], ProtocolError::BadDeflate),
        (&[0x00, 0x02, 0x00, 0xfd, 0xff, 0xff, 0xfe, 0x00], ProtocolError::BadText),
        // A reference to a message before the first.
        (&[0xf2, 0x00, 0x11, 0x00, 0x00], ProtocolError::BadDeflate),
    ];
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        for (payload, error) in table {
            let server = start_echo(config(mode));
            let mut packer = Packer::open(&server, PLAIN);
            packer.peer.write(packed_frame(true, TEXT, payload));
            expect_violation(&server, packer.peer, 1007, error);
        }
    }
}

/// So many MiB of nothing, compressed.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(10_000);
    let mut deflate = Compress::new(Compression::new(9), false);
    deflate.compress_vec(&vec![0; 1 << 20], &mut out, FlushCompress::Sync).unwrap();
    // It refers to nothing before itself, and so may stand behind itself.
    let mut out = out.repeat(mebibytes);
    out.truncate(out.len() - 4);
    out
}

#[test]
fn limit_message_max_of_a_bomb() {
    let bomb = bomb(1_024);
    assert!(bomb.len() < 1_100_000);
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        for whole in [true, false] {
            let server = start_echo(config(mode).inflate_ratio_max(10_000));
            let mut packer = Packer::open(&server, PLAIN);
            if whole {
                // The server may close before it has taken all of it.
                let _ =
                    std::io::Write::write_all(&mut packer.peer.socket, &packed_frame(true, BINARY, &bomb));
            } else {
                packer.peer.write(packed_frame(false, BINARY, &bomb[..1_500]));
            }
            assert_eq!(server.closed(0).cause, Cause::Protocol(ProtocolError::MessageTooBig));
            let stats = server.stats_when("the end", |s| s.connections == 0 || s.open == 0);
            assert_eq!((stats.messages_in, stats.ended_io), (0, 0));
        }
    }
    // One kibibyte of it, which is all that its limit needs to be passed.
    let server = start_echo(config(DeflateMode::Shared).inflate_ratio_max(10_000).message_max(900_000));
    let mut packer = Packer::open(&server, PLAIN);
    packer.peer.write(packed_frame(false, BINARY, &bomb[..1_024]));
    expect_violation(&server, packer.peer, 1009, ProtocolError::MessageTooBig);
}

#[test]
fn limit_inflate_ratio_max() {
    let server = start_echo(config(DeflateMode::Dedicated));
    let mut packer = Packer::open(&server, PLAIN);
    packer.peer.write(packed_frame(false, BINARY, &bomb(1)));
    expect_violation(&server, packer.peer, 1008, ProtocolError::RatioTooHigh);
}

/// Many messages in one read, each of which becomes long: other peers are served between them.
#[test]
fn limit_inflate_budget() {
    for mode in [DeflateMode::Shared, DeflateMode::Dedicated] {
        let server = start(config(mode).inflate_budget(100_000), || {
            Script::new().message(|cx, conn, msg| {
                cx.send(conn, format!("{} bytes", msg.len()));
            })
        });
        let mut packer = Packer::open(&server, PLAIN);
        let mut bytes = Vec::new();
        for _ in 0..50 {
            let packed = packer.pack(&vec![0; 200_000]);
            bytes.extend(packed_frame(true, BINARY, &packed));
            bytes.extend(frame(true, PING, b"!"));
        }
        packer.peer.write(&bytes);
        for _ in 0..50 {
            assert_eq!(packer.peer.frame().text(), "200000 bytes");
            assert_eq!(packer.peer.frame().opcode, PONG);
        }
        server.stats_when("cut off 49 times", |s| s.budget_inflate >= 49);
        // Not a moment longer than needed: the loop sleeps again.
        packer.peer.close(1000, "");
        assert_eq!(packer.peer.frame().close().0, 1000);
    }
}

#[test]
fn limit_deflate_budget() {
    // 368 KiB for the compressor, 48 for the inflater, and room for one of each.
    let server = start_echo(config(DeflateMode::Dedicated).deflate_budget(500 * 1024));
    let mut first = Packer::open(&server, PLAIN);
    let mut second = Packer::open(&server, PLAIN);
    assert_eq!((&*first.agreed, &*second.agreed), ("permessage-deflate", NONE));
    let stats = server.stats_when("both", |s| s.open == 2);
    assert_eq!((stats.deflate_dedicated, stats.deflate_shared, stats.deflate_budget_spent), (1, 1, 1));
    assert!((300 * 1024..500 * 1024).contains(&stats.deflate_bytes), "{}", stats.deflate_bytes);
    for peer in [&mut first, &mut second] {
        for round in 0..3 {
            peer.send(TEXT, text(round, 600));
            assert_eq!(peer.hear(), (text(round, 600), true));
        }
    }
    // What was spent comes back.
    drop(first);
    server.stats_when("the first to go", |s| s.open == 1);
    assert_eq!(Packer::open(&server, PLAIN).agreed, "permessage-deflate");
}

#[test]
fn limit_deflate_min() {
    let server = start_echo(config(DeflateMode::Shared).deflate_min(1_000));
    let mut peer = Packer::open(&server, PLAIN);
    for (len, compressed) in [(999, false), (1_000, true)] {
        peer.send(TEXT, text(1, len));
        assert_eq!(peer.hear(), (text(1, len), compressed));
    }
}

/// Each setting of the compressor shows in what it says or in how much it sends.
#[test]
fn settings_of_the_compressor() {
    let near: Vec<u8> = (0..400).flat_map(|i| text(i % 97, 120)).collect();
    let far: Vec<u8> = noise(4_000).iter().map(|byte| b'a' + byte % 16).collect::<Vec<_>>().repeat(10);
    let packed_len = |message: &[u8], config: Config| {
        let server = start_echo(config);
        let mut peer = Packer::open(&server, PLAIN);
        peer.send(TEXT, message);
        assert_eq!(peer.hear(), (message.to_vec(), true));
        (server.stats_when("an echo", |s| s.deflated_to > 0).deflated_to, peer.agreed)
    };
    let [usual, hard, tiny] = [(3, 8), (9, 8), (3, 1)].map(|(level, memory)| {
        packed_len(&near, config(DeflateMode::Shared).deflate_level(level).deflate_memory_level(memory)).0
    });
    assert!(hard < usual && usual < tiny, "{hard} {usual} {tiny}");
    let (wide, _) = packed_len(&far, config(DeflateMode::Shared));
    let (narrow, agreed) = packed_len(&far, config(DeflateMode::Shared).deflate_window_bits(9));
    assert!(wide * 3 < narrow, "{wide} {narrow}");
    assert_eq!(agreed, format!("{NONE}; server_max_window_bits=9; client_max_window_bits=9"));
}

/// Both roles of ours, in every pair of modes: what one compresses the other understands.
#[cfg(feature = "client")]
#[test]
fn both_roles_compress() {
    use tidegate::Connect;
    let modes = [DeflateMode::Off, DeflateMode::Shared, DeflateMode::Dedicated];
    for (ours, theirs) in modes.into_iter().flat_map(|a| modes.map(|b| (a, b))) {
        let server = start_echo(config(theirs));
        let address = server.address;
        let client = start(Config::default().deflate_window_bits(12), move || {
            let mut round = 0;
            Script::new()
                .start(move |cx| {
                    cx.connect(&Connect::new(address, "localhost", "/").deflate(ours)).unwrap();
                })
                .open(|cx, conn| {
                    cx.send(conn, text(0, 0));
                })
                .message(move |cx, conn, msg| {
                    assert!(msg.as_bytes() == text(round, round * 700), "round {round}");
                    round += 1;
                    if round < 20 {
                        cx.send(conn, text(round, round * 700));
                    } else {
                        cx.close(conn, 1000, "");
                    }
                })
        });
        let why = client.closed(0);
        assert_eq!(
            (why.by, why.cause, why.clean),
            (By::Application, Cause::Close, true),
            "{ours:?}, {theirs:?}"
        );
        let compressed = ours != DeflateMode::Off && theirs != DeflateMode::Off;
        let stats = client.stats_when("the end", |s| s.connections == 0);
        assert_eq!(stats.deflated_from > 0, compressed, "{ours:?}, {theirs:?}");
        assert_eq!(stats.inflated_to > 0, compressed, "{ours:?}, {theirs:?}");
        let declined = ours != DeflateMode::Off && theirs == DeflateMode::Off;
        assert_eq!(stats.deflate_declined, u64::from(declined));
        assert_eq!((stats.deflate_shared, stats.deflate_dedicated, stats.deflate_bytes), (0, 0, 0));
    }
}

/// RFC 7692 §7.1: a client fails the connection when the answer is none to its offer.
#[cfg(feature = "client")]
#[test]
fn a_client_fails_on_an_answer_that_does_not_fit() {
    use std::net::TcpListener;
    use tidegate::Connect;
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let table = [
        (DeflateMode::Off, "permessage-deflate"),
        (DeflateMode::Shared, "permessage-deflate"),
        (DeflateMode::Dedicated, "permessage-deflate, permessage-deflate"),
        (DeflateMode::Dedicated, "permessage-deflate; unknown"),
        (DeflateMode::Dedicated, "permessage-deflate; client_max_window_bits"),
        (DeflateMode::Dedicated, "permessage-deflate; server_max_window_bits=16"),
        (DeflateMode::Dedicated, "x-other"),
    ];
    for (mode, answer) in table {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = start(Config::default(), move || {
            Script::new().start(move |cx| {
                let connect = Connect::new(address, "localhost", "/").deflate(mode);
                cx.connect(&connect).unwrap();
            })
        });
        let mut peer = Peer::over(listener.accept().unwrap().0);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            request.push(char::from(peer.take(1)[0]));
        }
        let key = request.split("Sec-WebSocket-Key: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        peer.write(format!(
            "{upgrade}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: {answer}\r\n\r\n"
        ));
        assert_eq!(client.closed(0).cause, Cause::BadAnswer, "{mode:?}: {answer}");
        assert_eq!(client.stats_when("the end", |s| s.connections == 0).deflate_bytes, 0);
    }
}
