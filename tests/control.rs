//! What an application does to one connection besides sending: it stops reading it, goes on, and ends it with a reset.
//!
//! Knows the public interface only. Invariant: what must not be seen is shown by something later that is.

mod harness;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use harness::peer::{BINARY, PING, PONG, Peer, TEXT, frame, header};
use harness::{Running, Script, ms, start};
use tidegate::{By, Cause, Config, ConnId, Context, Reply, Sent};

/// An echo without deadlines; "pause" and "abort" do that to the first connection, "resume" goes on with it, each
/// answered with what the call returned.
fn steered(config: Config) -> Running {
    let config = config.ping_interval(Duration::ZERO).idle_timeout(Duration::ZERO);
    start(config, || {
        let first = Rc::new(RefCell::new(None::<ConnId>));
        let at_open = Rc::clone(&first);
        let open = move |_: &mut Context<'_>, conn| {
            at_open.borrow_mut().get_or_insert(conn);
        };
        Script::new().open(open).message(move |cx, conn, msg| {
            let first = first.borrow().unwrap();
            let did = match msg.as_text() {
                Some("pause") => cx.pause(first).to_string(),
                Some("resume") => cx.resume(first).to_string(),
                Some("abort") => cx.abort(first).to_string(),
                Some("close") => cx.close(first, 4000, "enough").to_string(),
                other => other.unwrap_or_default().to_owned(),
            };
            if msg.as_text().is_some() {
                cx.send(conn, did)
            } else {
                cx.send(conn, msg)
            };
        })
    })
}

fn say(peer: &mut Peer, text: &str) -> String {
    peer.send(TEXT, text);
    peer.message().text().to_owned()
}

#[test]
fn a_paused_peer_is_not_read_until_it_is_resumed() {
    let server = steered(Config::default());
    let (mut peer, mut other) = (Peer::open(server.address), Peer::open(server.address));
    server.opened(1);
    // In one read: what stands behind the message that pauses waits too, Pings included.
    let together = [frame(true, TEXT, b"pause"), frame(true, TEXT, b"1"), frame(true, PING, b"2")].concat();
    peer.write(together);
    assert_eq!(peer.message().text(), "true", "sending goes on");
    peer.send(TEXT, "3");
    // The loop has turned and read others meanwhile.
    (0..3).for_each(|_| assert_eq!(say(&mut other, "ping"), "ping"));
    let stats = server.stats_when("the others' messages", |s| s.messages_in >= 4);
    assert_eq!((stats.messages_in, stats.pings_in), (4, 0), "nothing of the paused peer");
    assert_eq!(say(&mut other, "resume"), "true");
    assert_eq!(peer.message().text(), "1");
    let pong = peer.frame();
    assert_eq!((pong.opcode, &pong.payload[..]), (PONG, &b"2"[..]));
    assert_eq!(peer.message().text(), "3", "what came while it was paused");
    assert_eq!(say(&mut peer, "resume"), "true", "twice is nothing");
    assert_eq!(say(&mut peer, "4"), "4");
}

/// The kernel's buffers fill, the loop sleeps, and nothing is lost.
#[test]
fn what_fills_the_kernel_while_paused_is_found() {
    const LEN: usize = 600_000;
    let server = steered(Config::default().recv_buffer(8192).scratch_bytes(4096));
    let (mut peer, mut other) = (Peer::open(server.address), Peer::open(server.address));
    server.opened(1);
    assert_eq!(say(&mut other, "pause"), "true");
    let writer = std::thread::spawn(move || {
        peer.send(BINARY, vec![7; LEN]);
        peer
    });
    (0..3).for_each(|_| assert_eq!(say(&mut other, "ping"), "ping"));
    let before = server.stats_when("the others' messages", |s| s.messages_in == 4).bytes_in;
    assert!(before < 10_000, "{before} bytes read");
    assert_eq!(say(&mut other, "resume"), "true");
    let mut peer = writer.join().unwrap();
    assert!(peer.message().payload == vec![7; LEN]);
}

#[test]
fn a_message_in_parts_comes_to_the_end_of_its_read() {
    let server = start(Config::default(), || {
        Script::new().open(|cx, conn| cx.receive_parts(conn, true)).part(|cx, conn, part| {
            assert!(cx.pause(conn));
            cx.send(conn, part.bytes.to_vec());
        })
    });
    let mut peer = Peer::open(server.address);
    let fragments = [header(false, BINARY, 1), header(true, harness::peer::CONTINUATION, 1)];
    let behind = frame(true, BINARY, b"next");
    // Masked with zeroes by the harness's header.
    peer.write([&fragments[0][..], b"a", &fragments[1], b"b", &behind].concat());
    assert_eq!((peer.message().payload, peer.message().payload), (b"a".to_vec(), b"b".to_vec()));
    let stats = server.stats_when("both parts", |s| s.parts_in >= 2);
    assert_eq!(stats.parts_in, 2, "the next message waits");
}

#[test]
fn a_paused_peer_that_resets_is_noticed() {
    let server = steered(Config::default());
    let (mut peer, mut other) = (Peer::open(server.address), Peer::open(server.address));
    server.opened(1);
    assert_eq!(say(&mut peer, "pause"), "true");
    // Unread bytes at its end make the peer's close a reset.
    server.handle.send(server.opened(0), "never read").unwrap();
    drop(peer);
    let why = server.closed(0);
    assert!(matches!((why.by, why.cause), (By::Peer, Cause::Io(_))), "{why}");
    assert_eq!((say(&mut other, "pause"), say(&mut other, "resume")), ("false".into(), "false".into()));
}

#[test]
fn closing_ends_the_pause() {
    let server = steered(Config::default().close_timeout(harness::PATIENCE * 2));
    let (mut peer, mut other) = (Peer::open(server.address), Peer::open(server.address));
    server.opened(1);
    assert_eq!(say(&mut other, "pause"), "true");
    assert_eq!(say(&mut other, "close"), "true");
    assert_eq!(say(&mut other, "pause"), "false", "it is closing");
    assert_eq!(peer.frame().close(), (4000, "enough"));
    peer.close(4000, "");
    peer.expect_end();
    assert!(server.closed(0).clean);
}

#[test]
fn pong_timeout_goes_on_while_paused() {
    let server = start(Config::default().ping_interval(ms(30)).pong_timeout(ms(30)), || {
        Script::new().open(|cx, conn| assert!(cx.pause(conn)))
    });
    let mut peer = Peer::open(server.address);
    peer.send(PONG, "I live");
    assert_eq!(server.closed(0).cause, Cause::PingTimeout);
}

#[test]
fn an_abort_is_a_reset_at_once() {
    let server = steered(Config::default());
    let (mut peer, mut other) = (Peer::open(server.address), Peer::open(server.address));
    server.opened(1);
    assert_eq!(say(&mut other, "abort"), "true");
    peer.expect_reset();
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code, why.clean), (By::Application, Cause::Close, None, false));
    assert_eq!(say(&mut other, "abort"), "false", "it has ended");
    server.stats_when("counted", |s| s.ended_by_application == 1);
}

/// In its own callback, with an answer queued that is never written; and a request that waits for one.
#[test]
fn an_abort_drops_what_is_queued() {
    let server = start(Config::default(), || {
        Script::new()
            .request(|cx, conn, req| {
                if req.path() == "/abort" {
                    assert!(cx.abort(conn));
                }
                Reply::upgrade()
            })
            .message(|cx, conn, _| {
                assert_eq!(cx.send(conn, "never written"), Sent::Ok);
                assert!(cx.abort(conn));
                assert!(!cx.abort(conn) && !cx.pause(conn) && !cx.resume(conn));
                assert_eq!(cx.send(conn, "too late"), Sent::Gone);
            })
    });
    let mut peer = Peer::open(server.address);
    peer.send(TEXT, "go");
    peer.expect_reset();
    let mut asking = Peer::connect(server.address);
    asking.write(harness::peer::handshake("/abort"));
    asking.expect_reset();
    assert_eq!(server.closed(1).cause, Cause::Close);
    let stats = server.stats_when("both are counted", |s| s.ended == 2);
    assert_eq!((stats.connections, stats.memory_bytes, stats.queued_bytes), (0, 0, 0));
}
