//! Topics over real sockets: order, membership, and what the policies do with readers that lag.

mod harness;

use harness::peer::{BINARY, CLOSE, Peer, TEXT};
use harness::{Script, ms, start};
use tidegate::{Config, Kind, Message, Policy};

/// Everyone is in "all"; a text is published to it, and a binary message sets how many kibibytes to publish, in
/// messages of a kibibyte that are numbered.
fn hall(policy: Policy) -> Script {
    Script::new()
        .start(move |cx| cx.topic_policy("all", policy).unwrap())
        .open(|cx, conn| cx.subscribe(conn, "all").unwrap())
        .message(|cx, _, msg| match msg.kind() {
            Kind::Text => drop(Some(cx.publish("all", msg))),
            Kind::Binary => {
                for n in 0..u32::from_be_bytes(msg.as_bytes().try_into().unwrap()) {
                    let mut bytes = vec![0; 1024];
                    bytes[..4].copy_from_slice(&n.to_be_bytes());
                    cx.publish("all", bytes);
                }
            }
        })
}

fn config() -> Config {
    Config::default()
        .send_buffer(16 * 1024)
        .backlog_high(100 * 1024)
        .backlog_low(10 * 1024)
        .backlog_max(64 << 20)
        .backlog_grace(ms(60_000))
        .ping_interval(ms(0))
}

fn number(message: &[u8]) -> u32 {
    u32::from_be_bytes(message[..4].try_into().unwrap())
}

#[test]
fn everyone_sees_the_same_order() {
    let server = start(Config::default(), || hall(Policy::Close));
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(server.address)).collect();
    server.stats_when("all are in", |s| s.open == 20);
    for round in 0..10 {
        for peer in &mut peers {
            peer.send(TEXT, round.to_string());
        }
    }
    let heard: Vec<Vec<String>> =
        peers.iter_mut().map(|peer| (0..200).map(|_| peer.message().text().to_owned()).collect()).collect();
    assert!(heard.iter().all(|one| *one == heard[0]));
    let stats = server.stats_when("counted", |s| s.messages_out == 4000);
    assert_eq!((stats.published, stats.memory_bytes), (200, 0));
}

#[test]
fn one_frame_for_all_is_held_once() {
    const LEN: usize = 4 << 20;
    let server = start(config().send_buffer(256 * 1024).backlog_max(8 << 20).memory_max(16 << 20), || {
        hall(Policy::Close)
    });
    let mut peers: Vec<Peer> = (0..50).map(|_| Peer::open(server.address)).collect();
    server.stats_when("all are in", |s| s.open == 50);
    server.handle.publish("all", Message::binary(vec![3; LEN])).unwrap();
    let stats = server.stats_when("it is queued to all", |s| s.published == 1);
    assert!(stats.queued_bytes > 50 * (LEN as u64 - (1 << 20)), "{stats:?}");
    assert!(stats.memory_bytes < 2 * LEN as u64, "{stats:?}");
    for peer in &mut peers {
        assert!(peer.message().payload == vec![3; LEN]);
    }
    server.stats_when("it is forgotten", |s| s.memory_bytes == 0 && s.queued_bytes == 0);
}

#[test]
fn drop_newest_leaves_out_what_would_not_fit() {
    let server = start(config(), || hall(Policy::DropNewest));
    let mut peer = Peer::open(server.address);
    peer.send(BINARY, 20_000_u32.to_be_bytes());
    let stats = server.stats_when("some are dropped", |s| s.dropped_by_policy > 0 && s.published == 20_000);
    assert_eq!(stats.backlog_highs, 0, "the backlog never rose above backlog_high");
    let kept = 20_000 - stats.dropped_by_policy as u32;
    for n in 0..kept {
        assert_eq!(number(&peer.message().payload), n, "the oldest are kept, in order");
    }
    peer.send(TEXT, "room again");
    assert_eq!(peer.message().text(), "room again");
}

#[test]
fn keep_latest_skips_to_the_newest() {
    let server = start(config(), || hall(Policy::KeepLatest));
    let mut peer = Peer::open(server.address);
    // More than the kernel's buffers take at once, one turn after the other.
    for _ in 0..100 {
        peer.send(BINARY, 100_u32.to_be_bytes());
    }
    let stats = server.stats_when("all are published", |s| s.published == 10_000);
    assert!(stats.queued_bytes <= 4 * 1100, "at most one waits, and one that was begun: {stats:?}");
    let (mut last, mut count) = (0, 0);
    while last != 99 || count < 2 {
        last = number(&peer.message().payload);
        count += 1;
    }
    peer.send(TEXT, "end");
    loop {
        let message = peer.message();
        if message.opcode == TEXT {
            break;
        }
        count += 1;
    }
    assert!(count < 10_000, "none was skipped");
}

#[test]
fn membership_ends_with_the_connection_or_before() {
    let server = start(Config::default(), || {
        Script::new().message(|cx, conn, msg| {
            let reply = match msg.as_text() {
                Some("join") => cx.subscribe(conn, "club").is_ok().to_string(),
                Some("leave") => cx.unsubscribe(conn, "club").to_string(),
                _ => cx.publish("club", "news").to_string(),
            };
            cx.send(conn, reply);
        })
    });
    let mut peers: Vec<Peer> = (0..3).map(|_| Peer::open(server.address)).collect();
    for peer in &mut peers {
        peer.send(TEXT, "join");
        assert_eq!(peer.message().text(), "true");
    }
    let mut speaker = Peer::open(server.address);
    let mut publish = |expected: &str| {
        speaker.send(TEXT, "publish");
        assert_eq!(speaker.message().text(), expected);
    };
    publish("3");
    peers[0].message();
    peers[0].send(TEXT, "leave");
    assert_eq!(peers[0].message().text(), "true");
    publish("2");
    drop(peers.remove(1));
    server.stats_when("one has gone", |s| s.open == 3);
    publish("1");
    drop(peers);
    server.stats_when("all have gone", |s| s.topics == 0);
    publish("0");
}

/// What a message asks for, word by word, in one callback: `a` and `b` publish a number to that topic, `s` sends one to
/// the asker, `+a` and `-a` join and leave, `!` closes.
fn clerk() -> Script {
    Script::new()
        .open(|cx, conn| ["a", "b"].map(|topic| cx.subscribe(conn, topic).unwrap()).into_iter().collect())
        .message(|cx, conn, msg| {
            for (n, word) in msg.as_text().unwrap_or_default().split(' ').enumerate() {
                match word {
                    "a" | "b" => drop(Some(cx.publish(word, format!("{word}{n}")))),
                    "s" => drop(cx.send(conn, format!("s{n}"))),
                    "+a" => cx.subscribe(conn, "a").unwrap(),
                    "-a" => drop(Some(cx.unsubscribe(conn, "a"))),
                    _ => drop(Some(cx.close(conn, 1000, ""))),
                }
            }
        })
}

#[test]
fn what_is_published_keeps_its_place_among_all_that_is_done() {
    let server = start(Config::default(), clerk);
    for (orders, expected) in [
        ("a a a", "a0 a1 a2"),
        ("a s a", "a0 s1 a2"),
        ("s a s", "s0 a1 s2"),
        ("a b a b", "a0 b1 a2 b3"),
        ("a -a a b", "a0 b3"),
        ("-a a +a a", "a3"),
        ("a ! b", "a0"),
    ] {
        let mut peer = Peer::open(server.address);
        peer.send(TEXT, orders);
        for text in expected.split(' ') {
            assert_eq!(peer.message().text(), text, "of {orders:?}");
        }
        if !orders.contains('!') {
            peer.send(TEXT, "!");
        }
        assert_eq!(peer.frame().opcode, CLOSE, "nothing more of {orders:?}");
        drop(peer);
        server.stats_when("it has gone", |s| s.connections == 0 && s.memory_bytes == 0);
    }
}

#[test]
fn a_subscriber_costs_one_write_a_turn_however_much_is_published() {
    let server = start(Config::default(), clerk);
    let mut peers: Vec<Peer> = (0..10).map(|_| Peer::open(server.address)).collect();
    let before = server.stats_when("all are in", |s| s.open == 10);
    peers[0].send(TEXT, ["a"; 200].join(" "));
    for peer in &mut peers {
        (0..200).for_each(|n| assert_eq!(peer.message().text(), format!("a{n}")));
    }
    let after = server.stats_when("all is out", |s| s.messages_out == 2000);
    assert_eq!((after.writes - before.writes, after.published, after.memory_bytes), (10, 200, 0));
}
