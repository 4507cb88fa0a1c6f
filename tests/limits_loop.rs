//! Budgets and buffers of the loop, and the tables of the application: inbox, timers, topics. What is cut off by a
//! budget is done later and never lost.

mod harness;

use std::sync::mpsc;

use harness::peer::{BINARY, PING, PONG, Peer, TEXT, frame};
use harness::{Running, Script, ms, start, start_echo};
use tidegate::{Config, HandleError, TopicError};

/// An echo whose loop is held by each message "hold" until the returned channel says go.
fn start_held(config: Config) -> (Running, mpsc::Sender<()>) {
    let (go, gate) = mpsc::channel();
    let server = start(config, || {
        Script::new().open(|cx, conn| cx.subscribe(conn, "all").unwrap()).message(move |cx, conn, msg| {
            match msg.as_text() {
                Some("hold") => gate.recv_timeout(harness::PATIENCE).unwrap(),
                _ => {
                    cx.send(conn, msg);
                }
            }
        })
    });
    (server, go)
}

#[test]
fn limit_read_budget() {
    const LEN: usize = 200_000;
    let (server, go) = start_held(Config::default().read_budget(1000).scratch_bytes(4096));
    let mut holder = Peer::open(server.address);
    let mut busy = Peer::open(server.address);
    holder.send(TEXT, "hold");
    // While the loop is held, more than a budget gathers in the kernel.
    busy.send(BINARY, vec![1; LEN]);
    busy.send(TEXT, "behind it");
    go.send(()).unwrap();
    assert_eq!(busy.message().payload, vec![1; LEN]);
    assert_eq!(busy.message().text(), "behind it");
    let stats = server.stats_when("counted", |s| s.budget_read as usize > LEN / 1000 / 4);
    assert!(stats.reads as usize >= LEN / 1000, "at most a budget per read: {stats:?}");
}

#[test]
fn limit_flush_budget() {
    const LEN: usize = 1 << 20;
    let server = start_echo(Config::default().flush_budget(1000).fragment_bytes(1000));
    let mut peer = Peer::open(server.address);
    let bytes: Vec<u8> = (0..LEN).map(|at| at as u8).collect();
    peer.send(BINARY, &bytes);
    assert!(peer.message().payload == bytes);
    let stats = server.stats_when("all is written", |s| s.queued_bytes == 0);
    // Each write of a thousand bytes is the last of its turn.
    assert!(stats.budget_flush as usize > LEN / 1000 / 2, "{stats:?}");
}

#[test]
fn limit_inbox_budget() {
    const COMMANDS: usize = 1000;
    let (server, go) = start_held(Config::default().inbox_budget(10));
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "hold");
    server.opened(0);
    for n in 0..COMMANDS {
        server.handle.publish("all", n.to_string()).unwrap();
    }
    go.send(()).unwrap();
    for n in 0..COMMANDS {
        assert_eq!(peer.message().text(), n.to_string());
    }
    let stats = server.stats_when("counted", |s| s.commands == COMMANDS as u64);
    assert!(stats.budget_inbox >= 90, "ten a turn: {stats:?}");
}

#[test]
fn limit_inbox_max() {
    let (server, go) = start_held(Config::default().inbox_max(5));
    let mut peer = Peer::open(server.address);
    let conn = server.opened(0);
    // The loop is held while the inbox fills.
    peer.send(TEXT, "hold");
    let mut put = 0;
    let refused = loop {
        match server.handle.send(conn, put.to_string()) {
            Ok(()) => put += 1,
            Err(error) => break error,
        }
        assert!(put < 100_000, "never full");
    };
    assert_eq!(refused, HandleError::Full);
    assert!(put >= 5);
    go.send(()).unwrap();
    for n in 0..put {
        assert_eq!(peer.message().text(), n.to_string(), "what was taken is carried out");
    }
    server.handle.send(conn, "room again").unwrap();
    assert_eq!(peer.message().text(), "room again");
    server.stats_when("all are counted", |s| s.refused_commands == 1 && s.commands == put as u64 + 1);
}

#[test]
fn limit_inbox_bytes_max() {
    let server = start_echo(Config::default().inbox_bytes_max(1000));
    let mut peer = Peer::open(server.address);
    let conn = server.opened(0);
    assert_eq!(server.handle.send(conn, vec![0; 1001]), Err(HandleError::Full));
    assert_eq!(server.handle.send(conn, vec![0; 1000]), Ok(()));
    assert_eq!(peer.message().payload.len(), 1000);
    // The room is given back with the command.
    harness::until("room", || server.handle.send(conn, vec![1; 1000]).ok());
    assert_eq!(peer.message().payload, vec![1; 1000]);
    server.stats_when("the refusal is counted", |s| s.refused_commands >= 1);
}

#[test]
fn limit_events_max() {
    let (server, go) = start_held(Config::default().events_max(1));
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(server.address)).collect();
    peers[0].send(TEXT, "hold");
    for peer in &mut peers[1..] {
        peer.send(TEXT, "ready");
    }
    let before = server.stats();
    go.send(()).unwrap();
    for peer in &mut peers[1..] {
        assert_eq!(peer.message().text(), "ready");
    }
    let stats = server.stats_when("all are answered", |s| s.messages_in == 20);
    assert!(stats.turns - before.turns >= 19, "one event a turn: {before:?} {stats:?}");
    assert!(stats.events <= stats.turns);
}

/// The smallest buffers work like large ones, only slower: messages of every size come through whole.
#[test]
fn limit_scratch_bytes_and_cork_bytes() {
    let sizes = [0, 1, 125, 126, 505, 511, 512, 513, 1024, 4096, 65_535, 65_536, 300_000];
    for (scratch, cork) in [(512, 512), (512, 65_536), (65_536, 512)] {
        let server = start_echo(Config::default().scratch_bytes(scratch).cork_bytes(cork));
        let mut peer = Peer::open(server.address);
        let bytes: Vec<u8> = (0..300_000_usize).map(|at| (at % 251) as u8).collect();
        for len in sizes {
            peer.send(BINARY, &bytes[..len]);
            assert!(
                peer.message().payload == bytes[..len],
                "{len} bytes with scratch {scratch}, cork {cork}"
            );
        }
        // Many at once: what is beyond the write buffer goes to the backlog, in order.
        let burst: Vec<u8> = (0..200_u8).flat_map(|n| frame(true, BINARY, &[n; 300])).collect();
        peer.write(burst);
        for n in 0..200 {
            assert_eq!(peer.message().payload, [n; 300]);
        }
        peer.send(PING, [9; 125]);
        let pong = peer.frame();
        assert_eq!((pong.opcode, pong.payload), (PONG, vec![9; 125]));
        server.stats_when("nothing is held", |s| s.memory_bytes == 0);
    }
}

/// What one read is answered with leaves in one write, however much of it is long: only copied bytes count for `cork_bytes`.
#[test]
fn long_and_short_replies_to_one_read_are_not_queued() {
    let config = Config::default().cork_bytes(4096).backlog_high(6000).backlog_low(3000);
    let (server, go) = start_held(config);
    let mut holder = Peer::open(server.address);
    let mut busy = Peer::open(server.address);
    holder.send(TEXT, "hold");
    let sizes = [5000, 2000, 5000, 10, 5000];
    // While the loop is held they gather in the kernel, and come with one read.
    let mut bytes: Vec<u8> = sizes.iter().flat_map(|&len| frame(true, BINARY, &vec![7; len])).collect();
    bytes.extend(frame(true, PING, b"behind them"));
    busy.write(bytes);
    go.send(()).unwrap();
    for len in sizes {
        assert_eq!(busy.message().payload, vec![7; len]);
    }
    assert_eq!(busy.frame().payload, b"behind them");
    let stats = server.stats_when("counted", |s| s.messages_out == 5 && s.pings_in == 1);
    assert_eq!(stats.cork_spills, 0, "{stats:?}");
}

#[test]
fn limit_timers_max() {
    let server = start(Config::default().timers_max(3), || {
        let mut timers = Vec::new();
        Script::new().message(move |cx, conn, msg| {
            match msg.as_text() {
                Some("arm") => timers.extend(cx.set_timer(ms(60_000), 0)),
                _ => drop(timers.pop().map(|timer| cx.cancel_timer(timer))),
            }
            cx.send(conn, cx.stats().timers.to_string());
        })
    });
    let mut peer = Peer::open(server.address);
    for (word, armed) in
        [("arm", "1"), ("arm", "2"), ("arm", "3"), ("arm", "3"), ("cancel", "2"), ("arm", "3")]
    {
        peer.send(TEXT, word);
        assert_eq!(peer.message().text(), armed);
    }
    server.stats_when("one refusal", |s| s.refused_timers == 1);
}

/// Messages are subscriptions: `+name` and `-name`; the answer is what came of it.
fn subscriber() -> Script {
    Script::new().message(|cx, conn, msg| {
        let (sign, name) = msg.as_text().unwrap().split_at(1);
        let became = match sign {
            "+" => match cx.subscribe(conn, name) {
                Ok(()) => "in",
                Err(TopicError::NameTooLong) => "too long",
                Err(TopicError::TooManyTopics) => "too many topics",
                Err(TopicError::TooManySubscriptions) => "too many subscriptions",
                Err(_) => "gone",
            },
            _ => {
                if cx.unsubscribe(conn, name) {
                    "out"
                } else {
                    "was not in"
                }
            }
        };
        cx.send(conn, became);
    })
}

fn converse(peer: &mut Peer, words: &[(&str, &str)]) {
    for (word, answer) in words {
        peer.send(TEXT, word);
        assert_eq!(peer.message().text(), *answer, "to {word}");
    }
}

#[test]
fn limit_topics_max() {
    let server = start(Config::default().topics_max(2), subscriber);
    let (mut one, mut other) = (Peer::open(server.address), Peer::open(server.address));
    converse(&mut one, &[("+a", "in"), ("+b", "in"), ("+a", "in"), ("+c", "too many topics")]);
    // A topic that exists is open to all; one that nobody is in any more makes room.
    converse(&mut other, &[("+a", "in"), ("+c", "too many topics")]);
    converse(
        &mut one,
        &[("-a", "out"), ("-a", "was not in"), ("+c", "too many topics"), ("-b", "out"), ("+c", "in")],
    );
    server.stats_when("counted", |s| s.refused_subscriptions == 3 && s.topics == 2);
    drop((one, other));
    server.stats_when("topics end with their last subscriber", |s| s.topics == 0);
}

#[test]
fn limit_subscriptions_max() {
    let server = start(Config::default().subscriptions_max(2), subscriber);
    let (mut one, mut other) = (Peer::open(server.address), Peer::open(server.address));
    converse(&mut one, &[("+a", "in"), ("+b", "in"), ("+b", "in"), ("+c", "too many subscriptions")]);
    converse(&mut other, &[("+c", "in")]);
    converse(&mut one, &[("-a", "out"), ("+c", "in")]);
    server.stats_when("counted", |s| s.refused_subscriptions == 1);
}

#[test]
fn limit_topic_name_max() {
    let server = start(Config::default().topic_name_max(5), subscriber);
    let mut peer = Peer::open(server.address);
    converse(
        &mut peer,
        &[("+abcde", "in"), ("+abcdef", "too long"), ("+ééé", "too long"), ("+éé", "in"), ("+", "in")],
    );
    server.stats_when("counted", |s| s.refused_subscriptions == 2);
}
