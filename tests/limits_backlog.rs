//! Backpressure: every limit of the backlog and of memory, and slow consumers among fast ones.

mod harness;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use harness::peer::{BINARY, CLOSE, Peer, TEXT, close_payload, frame};
use harness::{Note, Script, ms, start, start_echo};
use tidegate::{By, Cause, Config, ConnId, Context, Message, Reply, Response, Sent};

/// Small socket buffers, so that little data already piles up; the kernel may double what it is asked for.
fn config() -> Config {
    Config::default().send_buffer(16 * 1024).ping_interval(ms(0)).idle_timeout(ms(0))
}

/// A number in a message: so many kibibytes are sent back at once, and what became of them is told.
fn fountain(tell: mpsc::Sender<(Sent, usize)>) -> Script {
    Script::new().message(move |cx, conn, msg| {
        let kibibytes: usize = msg.as_text().unwrap_or_default().parse().unwrap_or(0);
        for _ in 0..kibibytes {
            let sent = cx.send(conn, vec![b'f'; 1024]);
            let _ = tell.send((sent, cx.buffered(conn)));
        }
    })
}

#[test]
fn limit_backlog_high_and_low() {
    let (tell, told) = mpsc::channel();
    let config = config().backlog_high(100_000).backlog_low(20_000).backlog_max(64 << 20);
    let server = start(config, move || fountain(tell));
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "8000");
    let all: Vec<(Sent, usize)> = (0..8000).map(|_| told.recv_timeout(harness::PATIENCE).unwrap()).collect();
    let first = all.iter().position(|(sent, _)| *sent == Sent::High).expect("it rose above backlog_high");
    assert!(all[..first].iter().all(|(sent, buffered)| *sent == Sent::Ok && *buffered <= 100_000));
    assert!(all[first..].iter().all(|(sent, buffered)| *sent == Sent::High && *buffered > 100_000));
    // The peer is not read any more: what it sends now waits in the kernel, whatever it is.
    server.stats_when("the rise is counted", |s| s.backlog_highs == 1);
    peer.send(TEXT, "1");
    server.handle.publish("nobody", "").unwrap();
    let stats = server.stats_when("a turn has passed", |s| s.commands == 1);
    assert_eq!((stats.messages_in, server.notes().len()), (1, 1));
    // Once it has drained, the application is told and the peer read again.
    for _ in 0..8001 {
        assert_eq!(peer.message().payload.len(), 1024);
    }
    let stats = server.stats_when("the second message has been read and all is out", |s| {
        s.messages_in == 2 && s.queued_bytes == 0
    });
    assert_eq!(stats.backlog_highs, 1);
    let conn = server.opened(0);
    assert_eq!(server.notes(), [Note::Opened(conn), Note::Drained(conn)]);
}

#[test]
fn limit_backlog_max() {
    let (tell, told) = mpsc::channel();
    let config = config().backlog_high(100_000).backlog_low(20_000).backlog_max(1 << 20).cork_bytes(512);
    let server = start(config, move || {
        let mut fountain = fountain(tell.clone());
        Script::new().message(move |cx, conn, msg| {
            if msg.as_text() == Some("one") {
                let _ = tell.send((cx.send(conn, vec![0; 1 << 20]), cx.buffered(conn)));
            } else {
                tidegate::Handler::on_message(&mut fountain, cx, conn, msg);
            }
        })
    });
    // One message that can never be queued is refused, and nothing else happens.
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "one");
    assert_eq!(told.recv_timeout(harness::PATIENCE), Ok((Sent::Refused, 0)));
    peer.send(TEXT, "1");
    assert_eq!(peer.message().payload.len(), 1024);
    assert_eq!(told.recv_timeout(harness::PATIENCE).unwrap().0, Sent::Ok);
    assert_eq!(server.stats().refused_messages, 1);
    // A backlog that passes it in sum ends the connection at once, with a reset.
    peer.send(TEXT, "10000");
    let all: Vec<(Sent, usize)> =
        (0..10_000).map(|_| told.recv_timeout(harness::PATIENCE).unwrap()).collect();
    assert!(all.iter().all(|(_, buffered)| *buffered <= 1 << 20));
    assert_eq!(all.last(), Some(&(Sent::Gone, 0)));
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Server, Cause::SlowConsumer, None));
    let stats = server.stats_when("the end", |s| s.connections == 0);
    assert_eq!((stats.ended_slow_consumer, stats.queued_bytes, stats.memory_bytes), (1, 0, 0));
    peer.expect_reset();
}

/// The last word counts too: a Close frame that does not fit any more is a slow consumer's end, not one byte above
/// the limit.
#[test]
fn a_close_frame_does_not_pass_backlog_max() {
    for last in [frame(true, 3, b""), frame(true, CLOSE, &close_payload(1000, ""))] {
        let config = config().backlog_low(1).backlog_high(1000).backlog_max(2000).cork_bytes(512);
        let server = start(config, || {
            Script::new().message(
                |cx, conn, _| while cx.buffered(conn) < 1990 && cx.send(conn, "1234") != Sent::Gone {},
            )
        });
        let mut peer = Peer::open(server.address);
        peer.write([frame(true, TEXT, b"fill"), last].concat());
        let _ = peer.rest();
        drop(peer);
        let stats = server.stats_when("the end", |s| s.connections == 0);
        assert_eq!((stats.ended, stats.queued_bytes, stats.memory_bytes), (1, 0, 0));
    }
}

/// Streamed answers are held to the budget like messages.
#[test]
fn limit_memory_max_of_streams() {
    const PEERS: usize = 20;
    let memory_max = 4 << 20;
    let peak = Arc::new(AtomicU64::new(0));
    let highest = Arc::clone(&peak);
    let config =
        config().backlog_max(1 << 20).memory_max(memory_max).message_max(1 << 20).backlog_grace(ms(60_000));
    let server = start(config, move || {
        let streams = Rc::new(RefCell::new(Vec::new()));
        let begun = Rc::clone(&streams);
        Script::new()
            .request(move |cx, conn, _| {
                begun.borrow_mut().push(conn);
                cx.set_timer(ms(0), 0);
                Reply::Stream(Response::new(200))
            })
            .timer(move |cx, _| {
                for &conn in &*streams.borrow() {
                    cx.stream(conn, &[b's'; 100_000]);
                    highest.fetch_max(cx.stats().memory_bytes, Ordering::Relaxed);
                }
            })
    });
    let peers: Vec<Peer> = (0..PEERS)
        .map(|_| {
            let mut peer = Peer::connect(server.address);
            peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            peer
        })
        .collect();
    server.stats_when("somebody had to go", |s| s.ended_memory > 0);
    server.stats_when("all have been served", |s| s.requests == PEERS as u64 && s.timers == 0);
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak <= memory_max as u64, "{peak} bytes");
    drop(peers);
}

#[test]
fn limit_backlog_grace() {
    let (tell, _told) = mpsc::channel();
    let grace = ms(1000);
    let config =
        config().backlog_high(100_000).backlog_low(20_000).backlog_max(64 << 20).backlog_grace(grace);
    let server = start(config, move || fountain(tell));
    let (mut stalled, mut slow) = (Peer::open(server.address), Peer::open(server.address));
    let began = Instant::now();
    stalled.send(TEXT, "8000");
    // One that falls below backlog_low in time has its full grace again.
    for _ in 0..3 {
        slow.send(TEXT, "400");
        for _ in 0..400 {
            slow.message();
        }
    }
    let why = server.closed(0);
    assert!(began.elapsed() >= grace, "not before its time");
    assert_eq!((why.by, why.cause), (By::Server, Cause::SlowConsumer));
    assert_eq!(server.ends()[0].0, server.opened(0));
    stalled.expect_reset();
    let stats = server.stats_when("one is left", |s| s.connections == 1);
    assert_eq!((stats.ended_slow_consumer, stats.queued_bytes), (1, 0));
    slow.send(TEXT, "1");
    slow.message();
}

#[test]
fn limit_memory_max() {
    let (tell, _told) = mpsc::channel();
    let config =
        config().backlog_max(16 << 20).memory_max(20 << 20).message_max(8 << 20).backlog_grace(ms(60_000));
    let server = start(config, move || fountain(tell));
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::open(server.address)).collect();
    // Debts of 2, 4, 10 and 3 MiB, and nearly 3 MiB of an unfinished message: together above the budget.
    for (peer, kibibytes) in peers.iter_mut().zip([2048, 4096, 10_240, 3072]) {
        let before = server.stats().messages_out;
        peer.send(TEXT, kibibytes.to_string());
        server.stats_when("all is queued", |s| s.messages_out - before == kibibytes);
    }
    assert_eq!(server.stats().ended_memory, 0);
    peers[4].send_fragment(false, BINARY, vec![0; 3 << 20]);
    let why = server.closed(0);
    assert_eq!((why.by, why.cause), (By::Server, Cause::Memory));
    assert_eq!(server.ends()[0].0, server.opened(2), "the largest debtor goes first");
    peers[2].expect_reset();
    let stats = server.stats_when("it is gone", |s| s.connections == 4);
    assert_eq!(stats.ended_memory, 1, "and no other");
    for (at, messages) in [(0, 2048), (1, 4096), (3, 3072)] {
        for _ in 0..messages {
            assert_eq!(peers[at].message().payload.len(), 1024);
        }
    }
    let stats = server.stats_when("only the unfinished message is held", |s| s.queued_bytes == 0);
    assert!((3 << 20..4 << 20).contains(&stats.memory_bytes), "{stats:?}");
    peers.pop();
    server.stats_when("nothing is held", |s| s.memory_bytes == 0);
}

/// The message number `n`: its number, then filling.
fn numbered(n: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![(n % 251) as u8; len];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// Reads `messages` numbered messages of `len` bytes from every peer, all at once, and compares every byte.
fn read_all(peers: VecDeque<Peer>, messages: u64, len: usize) -> Vec<Peer> {
    let mut readers: Vec<(Peer, Vec<u8>)> = peers.into_iter().map(|peer| (peer, Vec::new())).collect();
    let whole = (len + 4) * messages as usize;
    let began = Instant::now();
    let mut room = vec![0; 256 * 1024];
    for (peer, _) in &readers {
        peer.socket.set_nonblocking(true).unwrap();
    }
    // The first message follows the last handshake, so none has been missed.
    while readers.iter().any(|(_, got)| got.len() < whole) {
        assert!(began.elapsed() < harness::PATIENCE, "the others starve");
        let mut idle = true;
        for (peer, got) in readers.iter_mut().filter(|(_, got)| got.len() < whole) {
            match peer.socket.read(&mut room) {
                Ok(0) => panic!("a reader that keeps up was closed"),
                Ok(read) => {
                    got.extend_from_slice(&room[..read]);
                    idle = false;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
        }
        if idle {
            std::thread::sleep(ms(1));
        }
    }
    for (n, (_, got)) in readers.iter().enumerate() {
        for (message, bytes) in got.chunks(len + 4).enumerate() {
            assert_eq!(bytes[..4], [0x82, 126, (len >> 8) as u8, len as u8]);
            assert!(bytes[4..] == numbered(message as u64, len), "reader {n}, message {message}");
        }
    }
    readers.into_iter().map(|(peer, _)| peer).collect()
}

/// A thousand readers of which a hundred stall: these are closed, the budget holds, the others lose nothing.
#[test]
fn slow_consumers_among_a_thousand_readers() {
    const READERS: usize = 1000;
    const STALLED: usize = 100;
    const MESSAGES: u64 = 60;
    const LEN: usize = 8 * 1024;
    let memory_max = 8 << 20;
    let config = config()
        .backlog_high(64 * 1024)
        .backlog_low(16 * 1024)
        .backlog_max(512 * 1024)
        .backlog_grace(ms(4000))
        .memory_max(memory_max)
        .message_max(1 << 20);
    let peak = Arc::new(AtomicU64::new(0));
    let highest = Arc::clone(&peak);
    let server = start(config, move || {
        let next = std::cell::Cell::new(0);
        let sample = move |cx: &mut Context<'_>| {
            highest.fetch_max(cx.stats().memory_bytes, Ordering::Relaxed);
        };
        Script::new()
            .open(|cx: &mut Context<'_>, conn: ConnId| {
                cx.subscribe(conn, "all").unwrap();
                if cx.subscribers("all") == READERS {
                    cx.set_timer(ms(0), 0);
                }
            })
            .timer(move |cx, _| {
                sample(cx);
                if next.get() < MESSAGES {
                    cx.publish("all", Message::binary(numbered(next.get(), LEN)));
                    next.set(next.get() + 1);
                    sample(cx);
                    cx.set_timer(ms(10), 0);
                }
            })
    });
    let mut peers: VecDeque<Peer> = (0..READERS).map(|_| Peer::open(server.address)).collect();
    let stalled: Vec<Peer> = peers.drain(..STALLED).collect();
    for peer in &stalled {
        socket2::SockRef::from(&peer.socket).set_recv_buffer_size(16 * 1024).unwrap();
    }
    let _open = read_all(peers, MESSAGES, LEN);
    let stats =
        server.stats_when("the stalled ones are closed", |s| s.connections == (READERS - STALLED) as u64);
    assert_eq!((stats.ended_slow_consumer, stats.queued_bytes), (STALLED as u64, 0), "{stats:?}");
    assert!(server.ends().iter().all(|(_, why)| why.cause == Cause::SlowConsumer));
    let peak = peak.load(Ordering::Relaxed);
    assert!(peak <= memory_max as u64, "{peak} bytes");
    assert!(peak > 64 * 1024, "something did pile up");
    for mut peer in stalled {
        peer.expect_reset();
    }
}

/// The buffer of a long message that has been sent back serves the next one, as far as such buffers may be kept, and is given
/// back when nothing happens.
#[test]
fn limit_spare_bytes() {
    let config = Config::default().ping_interval(ms(0)).message_max(2 << 20).backlog_max(8 << 20);
    let message: Vec<u8> = (0..1 << 20).map(|n| (n / 1_000) as u8).collect();
    for (spare_bytes, kept) in [(3 << 20, true), (1 << 19, false)] {
        let server = start_echo(config.clone().spare_bytes(spare_bytes));
        let mut peer = Peer::open(server.address);
        let mut echo = |len: usize| {
            peer.send(BINARY, &message[..len]);
            assert!(peer.message().payload == message[..len], "another message came back");
        };
        // How much of a message comes with a read decides what becomes of it: not each is put into a kept buffer.
        harness::until("a message in a kept buffer, or several in none", || {
            echo(1 << 20);
            echo(900_000);
            let stats = server.stats();
            (if kept { stats.spares_used > 0 } else { stats.spares_full > 4 }).then_some(())
        });
        let stats = server.stats_when("all is given back", |s| s.spares_bytes == 0 && s.memory_bytes == 0);
        assert!(stats.spares_used > 0 || !kept && stats.spares_full > 0, "{stats:?}");
        assert!(kept || stats.spares_used == 0, "{stats:?}");
    }
}
