//! Connections to other servers: when the application hears of them, how they fail, and many at once.
//!
//! Knows the public interface only. Invariant: the servers are either ours or speak by hand, so nothing outside this
//! process is reached.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use harness::peer::Peer;
use harness::{Note, Running, Script, start, until};
use tidegate::{By, Cause, Config, Connect, Router};

/// A loop that begins `count` connections to `address` at once.
fn dial(address: SocketAddr, count: usize, config: Config) -> Running {
    start(config, move || {
        Script::new().start(move |cx| {
            for _ in 0..count {
                cx.connect(&Connect::new(address, "localhost", "/")).unwrap();
            }
        })
    })
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_connection_is_made_once_before_it_is_open() {
    let server = harness::start_echo(Config::default());
    let client = dial(server.address, 3, Config::default());
    until("three opened", || (client.stats().open == 3).then_some(()));
    client.handle.shutdown().unwrap();
    until("three ends", || (client.ends().len() == 3).then_some(()));
    let notes = client.notes();
    for (conn, _) in client.ends() {
        let of: Vec<&Note> = notes
            .iter()
            .filter(|note| match note {
                Note::Connected(id) | Note::Opened(id) | Note::Drained(id) | Note::Closed(id, _) => {
                    *id == conn
                }
            })
            .collect();
        assert!(
            matches!(of[..], [Note::Connected(_), Note::Opened(_), Note::Closed(..)]),
            "made, opened, ended, each once: {of:?}"
        );
    }
}

/// The peer has not been sent a byte when `on_connect` comes, and nothing can be sent there but the request.
#[test]
fn what_is_not_open_cannot_be_sent_to_when_it_is_made() {
    let (listener, address) = listener();
    let client = start(Config::default(), move || {
        Script::new()
            .start(move |cx| assert!(cx.connect(&Connect::new(address, "localhost", "/")).is_ok()))
            .connect(|cx, conn| assert_eq!(cx.send(conn, "too soon"), tidegate::Sent::Gone))
    });
    let mut peer = Peer::over(listener.accept().unwrap().0);
    until("made", || client.notes().into_iter().find(|note| matches!(note, Note::Connected(_))));
    peer.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.closed(0).cause, Cause::Declined(503));
}

#[test]
fn a_connection_that_fails_is_never_made() {
    let (listener, nobody) = listener();
    drop(listener);
    let client = dial(nobody, 2, Config::default());
    assert!(matches!(client.closed(1).cause, Cause::Io(_)));
    assert!(client.notes().iter().all(|note| matches!(note, Note::Closed(..))), "{:?}", client.notes());
}

#[test]
fn a_router_passes_the_connection_on() {
    let server = harness::start_echo(Config::default());
    let (address, (tell, told)) = (server.address, std::sync::mpsc::channel());
    let client = start(Config::default(), move || {
        let mut router = Router::new();
        router.ws("/other", Script::new().connect(|_, _| panic!("of another handler")));
        let dials = Script::new()
            .start(move |cx| assert!(cx.connect(&Connect::new(address, "localhost", "/")).is_ok()))
            .connect(move |_, conn| tell.send(conn).unwrap());
        router.fallback(dials);
        router
    });
    assert_eq!(told.recv_timeout(harness::PATIENCE).unwrap(), client.opened(0));
}

#[test]
fn a_declined_handshake_names_its_status() {
    let table = [
        ("503 Service Unavailable", Cause::Declined(503), "ended by peer: declined with 503"),
        ("401 Unauthorized", Cause::Declined(401), "ended by peer: declined with 401"),
        ("200 OK", Cause::Declined(200), "ended by peer: declined with 200"),
        ("101 Switching Protocols", Cause::BadAnswer, "ended by peer: wrong answer"),
        ("99 Too Low", Cause::BadAnswer, "ended by peer: wrong answer"),
    ];
    for (status, cause, text) in table {
        let (listener, address) = listener();
        let client = dial(address, 1, Config::default());
        let mut peer = Peer::over(listener.accept().unwrap().0);
        peer.write(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        let why = client.closed(0);
        assert_eq!((why.by, why.cause, why.code, why.clean), (By::Peer, cause, None, false), "{status}");
        assert!(why.to_string().starts_with(text), "{why}");
        assert!(!why.reason.is_empty(), "the text is kept");
        client.stats_when("counted", |s| s.ended_protocol == 1);
    }
}

#[test]
fn limit_dial_budget() {
    let server = harness::start_echo(Config::default());
    let client = dial(server.address, 50, Config::default().dial_budget(2));
    let stats = client.stats_when("all are open", |s| s.open == 50);
    assert_eq!(stats.connected, 50, "nobody is lost");
    // The last two leave nobody behind.
    assert_eq!(stats.budget_dial, 24, "two a turn: {stats:?}");
}

/// Those that have ended before their turn are not begun and take no place in the budget.
#[test]
fn a_dial_that_is_aborted_is_not_begun() {
    let (listener, address) = listener();
    let client = start(Config::default().dial_budget(1), move || {
        Script::new().start(move |cx| {
            let connect = Connect::new(address, "localhost", "/");
            let conns: Vec<_> = (0..20).map(|_| cx.connect(&connect).unwrap()).collect();
            conns[..19].iter().for_each(|&conn| assert!(cx.abort(conn)));
        })
    });
    let mut peer = Peer::over(listener.accept().unwrap().0);
    peer.write("HTTP/1.1 404 Not Found\r\n\r\n");
    let of = until("twenty ends", || (client.ends().len() == 20).then(|| client.ends()));
    let declined = of.iter().filter(|(_, why)| why.cause == Cause::Declined(404)).count();
    let aborted = of.iter().filter(|(_, why)| (why.by, why.cause) == (By::Application, Cause::Close)).count();
    assert_eq!((declined, aborted), (1, 19));
    assert_eq!(client.stats_when("counted", |s| s.ended == 20).budget_dial, 0);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody else has come");
}

/// A server that knows no WebSocket: one answer to whatever comes first, then everything goes back as it came, until
/// the stream ends.
fn raw_server(connections: usize) -> SocketAddr {
    let (listener, address) = listener();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            // It ends as its peer does: orderly, or with an error that is none of this side's.
            let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
        }
    });
    address
}

#[test]
fn our_own_frames_may_come_back() {
    let address = raw_server(1);
    let (tell, told) = std::sync::mpsc::channel();
    let client = start(Config::default(), move || {
        Script::new()
            .start(move |cx| {
                assert!(cx.connect(&Connect::new(address, "localhost", "/").unchecked()).is_ok())
            })
            .open(|cx, conn| {
                cx.send(conn, "a text");
                // Longer than what is read at once.
                cx.send(conn, &[7; 300_000][..]);
            })
            .message(move |cx, conn, msg| {
                if msg.len() > 100 {
                    cx.close(conn, 1000, "");
                }
                tell.send(msg.as_bytes().to_vec()).unwrap();
            })
    });
    assert_eq!(told.recv_timeout(harness::PATIENCE).unwrap(), b"a text");
    assert!(told.recv_timeout(harness::PATIENCE).unwrap() == [7; 300_000], "masked and unmasked");
    let why = client.closed(0);
    assert_eq!((why.by, why.cause, why.code, why.clean), (By::Application, Cause::Close, Some(1000), true));
    let stats = client.stats_when("counted", |s| s.ended == 1);
    assert_eq!(
        (stats.cut_close_timeout, stats.cut_linger_timeout),
        (0, 0),
        "nobody waits for the other's end"
    );
}

#[test]
fn a_wrong_accept_and_masked_frames_are_refused_unless_asked_for() {
    let checked = dial(raw_server(1), 1, Config::default());
    assert_eq!(checked.closed(0).cause, Cause::BadAnswer);
    // What asks for its own frames back takes no others.
    let server = harness::start_echo(Config::default());
    let unchecked = start(Config::default(), move || {
        let connect = Connect::new(server.address, "localhost", "/").unchecked();
        Script::new()
            .start(move |cx| assert!(cx.connect(&connect).is_ok()))
            .open(|cx, conn| assert_eq!(cx.send(conn, "a text"), tidegate::Sent::Ok))
    });
    assert!(matches!(unchecked.closed(0).cause, Cause::Protocol(_)), "{:?}", unchecked.ends());
}
