//! An independent implementation as the peer: tungstenite as a client of ours and, with the feature `client`, as a
//! server for our client role.

mod harness;

use std::net::{SocketAddr, TcpStream};

use harness::{Running, Script, start, start_echo};
use tidegate::{By, Cause, Config, Reply, Upgrade};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::{Error, Message, WebSocket, http};

const BIG: usize = 16 << 20;

fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn connect(server: &Running) -> WebSocket<TcpStream> {
    let config = WebSocketConfig::default().max_message_size(Some(2 * BIG)).max_frame_size(Some(2 * BIG));
    let url = format!("ws://{}/", server.address);
    tungstenite::client::client_with_config(url, socket(server.address), Some(config)).unwrap().0
}

fn echoed(client: &mut WebSocket<TcpStream>, message: Message) {
    client.send(message.clone()).unwrap();
    let back = client.read().unwrap();
    assert!(back == message, "{} bytes came back as {}", message.len(), back.len());
}

#[test]
fn text_and_binary_of_every_length() {
    let server = start_echo(Config::default());
    let mut client = connect(&server);
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 65_537, 1 << 20] {
        echoed(&mut client, Message::text("t".repeat(len)));
        echoed(&mut client, Message::binary(vec![0xa5; len]));
    }
    echoed(&mut client, Message::text("κόσμε, 世界, 🌍"));
}

#[test]
fn messages_of_16_mib() {
    let config = Config::default().message_max(BIG).backlog_max(64 << 20).backlog_high(32 << 20);
    let server = start_echo(config);
    let mut client = connect(&server);
    let bytes: Vec<u8> = (0..BIG).map(|at| (at % 253) as u8).collect();
    for _ in 0..2 {
        echoed(&mut client, Message::binary(bytes.clone()));
    }
    echoed(&mut client, Message::text("w".repeat(BIG)));
}

#[test]
fn fragments_with_a_ping_between_them() {
    let server = start_echo(Config::default());
    let mut client = connect(&server);
    let word = "Grüße".as_bytes();
    // Cut inside a character.
    let fragments = [
        Frame::message(word[..3].to_vec(), OpCode::Data(Data::Text), false),
        Frame::ping("between"),
        Frame::message(Vec::new(), OpCode::Data(Data::Continue), false),
        Frame::message(word[3..].to_vec(), OpCode::Data(Data::Continue), true),
    ];
    for fragment in fragments {
        client.send(Message::Frame(fragment)).unwrap();
    }
    assert_eq!(client.read().unwrap(), Message::Pong("between".into()));
    assert_eq!(client.read().unwrap(), Message::text("Grüße"));
}

#[test]
fn pings_are_answered_and_ours_too() {
    let server = start_echo(Config::default().ping_interval(harness::ms(50)));
    let mut client = connect(&server);
    client.send(Message::Ping("payload".into())).unwrap();
    let mut pinged = 0;
    loop {
        match client.read().unwrap() {
            // tungstenite queues the Pong by itself.
            Message::Ping(_) => pinged += 1,
            Message::Pong(payload) => assert_eq!(payload, "payload"),
            other => panic!("{other:?}"),
        }
        if pinged == 2 {
            break;
        }
    }
    client.flush().unwrap();
    server.stats_when("its Pongs have come", |s| s.pings_in == 1 && s.pongs_in >= 1);
}

#[test]
fn close_by_the_client() {
    let server = start_echo(Config::default());
    let mut client = connect(&server);
    let frame = CloseFrame { code: CloseCode::Library(4321), reason: "done".into() };
    client.close(Some(frame)).unwrap();
    let Message::Close(Some(answer)) = client.read().unwrap() else { panic!("no Close") };
    assert_eq!(u16::from(answer.code), 4321);
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)), "a clean end");
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code, &*why.reason), (By::Peer, Cause::Close, Some(4321), "done"));
}

#[test]
fn close_by_the_server() {
    let server = start(Config::default(), || {
        Script::new().message(|cx, conn, _| assert!(cx.close(conn, 4000, "bye")))
    });
    let mut client = connect(&server);
    client.send(Message::text("go")).unwrap();
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("no Close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4000, "bye"));
    assert!(matches!(client.read(), Err(Error::ConnectionClosed)), "a clean end");
    let why = server.closed(0);
    assert_eq!((why.by, why.cause, why.code), (By::Application, Cause::Close, Some(4000)));
}

fn ask(
    server: &Running,
    change: impl FnOnce(&mut http::HeaderMap),
) -> Result<http::Response<Option<Vec<u8>>>, u16> {
    let mut request = format!("ws://{}/room?number=5", server.address).into_client_request().unwrap();
    change(request.headers_mut());
    match tungstenite::client(request, socket(server.address)) {
        Ok((_, response)) => Ok(response),
        Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn subprotocols_and_fields_of_the_handshake() {
    let server = start(Config::default(), || {
        Script::new().request(|_, _, req| {
            assert_eq!((req.path(), req.query(), req.is_websocket()), ("/room", Some("number=5"), true));
            let mut upgrade =
                Upgrade::default().header("X-Answer", "42").header("Sec-WebSocket-Accept", "no");
            if let Some(known) = req.protocols().find(|name| name.starts_with("chat")) {
                upgrade = upgrade.protocol(known.to_owned());
            } else if req.header("x-token") == Some(b"wrong") {
                upgrade = upgrade.protocol("never.offered");
            }
            Reply::Upgrade(upgrade)
        })
    });
    let chosen = |offered: &'static str| {
        let response = ask(&server, |fields| {
            fields.insert("Sec-WebSocket-Protocol", offered.parse().unwrap());
        });
        response.unwrap().headers()["Sec-WebSocket-Protocol"].to_str().unwrap().to_owned()
    };
    assert_eq!(chosen("mqtt, chat.v2, chat.v1"), "chat.v2");
    assert_eq!(chosen("chat.v1"), "chat.v1");
    let plain = ask(&server, |_| {}).unwrap();
    assert_eq!(plain.headers()["X-Answer"], "42");
    assert!(!plain.headers().contains_key("Sec-WebSocket-Protocol"));
    let wrong = ask(&server, |fields| drop(fields.insert("X-Token", "wrong".parse().unwrap())));
    assert_eq!(wrong.unwrap_err(), 500, "a subprotocol that was not offered");
}

#[test]
fn origins() {
    let server = start_echo(Config::default().origin("https://example.org"));
    let from = |origin: &'static str| {
        ask(&server, |fields| drop(fields.insert("Origin", origin.parse().unwrap())))
            .map(|response| response.status())
    };
    assert_eq!(from("https://example.org").unwrap(), 101);
    assert_eq!(from("https://example.com").unwrap_err(), 403);
    assert_eq!(from("http://example.org").unwrap_err(), 403);
    assert_eq!(ask(&server, |_| {}).unwrap().status(), 101, "no page sends no origin");
}

/// Our client role against tungstenite as a server, and against ourselves in the same loop.
#[cfg(feature = "client")]
mod client {
    use std::cell::Cell;
    use std::net::TcpListener;
    use std::rc::Rc;
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use harness::Note;
    use tidegate::{ConnId, Connect, ConnectError};
    use tungstenite::handshake::server::{Request, Response};
    use tungstenite::protocol::Role;

    /// A loop that connects to `address` at once, and greets.
    fn start_client(address: SocketAddr, len: usize) -> (Running, mpsc::Receiver<Vec<u8>>) {
        let (tell, told) = mpsc::channel();
        let config = Config::default().message_max(BIG).backlog_high(32 << 20).backlog_max(64 << 20);
        let running = start(config, move || {
            Script::new()
                .start(move |cx| {
                    let connect = Connect::new(address, "example.org:9001", "/path?query");
                    let connect = connect.protocol("chat.v2").protocol("chat.v1").header("X-Token", "secret");
                    cx.connect(&connect).unwrap();
                })
                .open(move |cx, conn| {
                    cx.send(conn, "a greeting");
                    cx.send(conn, vec![0x5a; len]);
                })
                .message(move |cx, conn, msg| {
                    tell.send(msg.as_bytes().to_vec()).unwrap();
                    if msg.as_text() == Some("enough") {
                        cx.close(conn, 4000, "thanks");
                    }
                })
        });
        (running, told)
    }

    fn accept(listener: &TcpListener) -> WebSocket<TcpStream> {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(harness::PATIENCE)).unwrap();
        #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
        let check = |request: &Request, mut response: Response| {
            assert_eq!(request.uri(), "/path?query");
            let fields = request.headers();
            assert_eq!(fields["Host"], "example.org:9001");
            assert_eq!(fields["X-Token"], "secret");
            assert_eq!(fields["Sec-WebSocket-Protocol"], "chat.v2, chat.v1");
            response.headers_mut().insert("Sec-WebSocket-Protocol", "chat.v1".parse().unwrap());
            Ok(response)
        };
        let config = WebSocketConfig::default().max_message_size(Some(2 * BIG)).max_frame_size(Some(2 * BIG));
        tungstenite::accept_hdr_with_config(socket, check, Some(config)).unwrap()
    }

    #[test]
    fn against_tungstenite() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (running, told) = start_client(listener.local_addr().unwrap(), BIG);
        let mut server = accept(&listener);
        // tungstenite refuses frames that are not masked.
        assert_eq!(server.read().unwrap(), Message::text("a greeting"));
        assert!(server.read().unwrap() == Message::binary(vec![0x5a; BIG]));
        server.send(Message::Ping("are you there".into())).unwrap();
        assert_eq!(server.read().unwrap(), Message::Pong("are you there".into()));
        server.send(Message::binary(vec![3; 100_000])).unwrap();
        server.send(Message::text("enough")).unwrap();
        assert_eq!(told.recv_timeout(harness::PATIENCE).unwrap(), vec![3; 100_000]);
        let Message::Close(Some(close)) = server.read().unwrap() else { panic!("no Close") };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4000, "thanks"));
        let _ = server.flush();
        drop(server);
        let why = running.closed(0);
        assert_eq!((why.by, why.cause, why.code), (By::Application, Cause::Close, Some(4000)));
        let stats = running.stats_when("the end", |s| s.connections == 0);
        assert_eq!((stats.connected, stats.opened, stats.ended), (1, 1, 1));
    }

    #[test]
    fn closed_by_tungstenite() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (running, _told) = start_client(listener.local_addr().unwrap(), 1);
        let mut server = accept(&listener);
        server.close(Some(CloseFrame { code: CloseCode::Away, reason: "going".into() })).unwrap();
        while server.read().is_ok() {}
        drop(server);
        let why = running.closed(0);
        assert_eq!(
            (why.by, why.cause, why.code, &*why.reason),
            (By::Peer, Cause::Close, Some(1001), "going")
        );
    }

    /// A server's frames must not be masked (RFC 6455 §5.1).
    #[test]
    fn a_masked_frame_from_a_server_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (running, _told) = start_client(listener.local_addr().unwrap(), 1);
        let socket = accept(&listener).into_inner();
        // As a client, tungstenite masks.
        let mut wrong = WebSocket::from_raw_socket(socket, Role::Client, None);
        wrong.send(Message::text("masked")).unwrap();
        drop(wrong);
        assert!(matches!(running.closed(0).cause, Cause::Protocol(_)));
    }

    #[test]
    fn against_ourselves_in_the_same_loop() {
        let (tell, told) = mpsc::channel();
        let (bound, address) = mpsc::channel::<SocketAddr>();
        let config = Config::default().message_max(BIG).backlog_high(32 << 20).backlog_max(64 << 20);
        let running = start(config, move || {
            let ours = Rc::new(Cell::new(None::<ConnId>));
            let (at_start, at_open) = (Rc::clone(&ours), Rc::clone(&ours));
            Script::new()
                .request(|_, _, req| {
                    Reply::Upgrade(Upgrade::default().protocol(req.protocols().last().unwrap().to_owned()))
                })
                .timer({
                    move |cx, _| {
                        let Ok(address) = address.try_recv() else {
                            cx.set_timer(harness::ms(1), 0);
                            return;
                        };
                        let connect = Connect::new(address, "localhost", "/").protocol("a").protocol("b");
                        at_start.set(Some(cx.connect(&connect).unwrap()));
                        let wrong = Connect::new(address, "local host", "/");
                        assert!(matches!(cx.connect(&wrong), Err(ConnectError::Invalid(_))));
                    }
                })
                .start(|cx| assert!(cx.set_timer(harness::ms(1), 0).is_some()))
                .open(move |cx, conn| {
                    if at_open.get() == Some(conn) {
                        cx.send(conn, vec![7; BIG]);
                    }
                })
                .message(move |cx, conn, msg| {
                    if ours.get() == Some(conn) {
                        tell.send(msg.as_bytes() == vec![7; BIG]).unwrap();
                        cx.close(conn, 1000, "");
                    } else {
                        cx.send(conn, msg);
                    }
                })
        });
        bound.send(running.address).unwrap();
        assert!(told.recv_timeout(harness::PATIENCE).unwrap(), "16 MiB there and back");
        harness::until("both ends", || (running.ends().len() == 2).then_some(()));
        let by: Vec<By> = running.ends().into_iter().map(|(_, why)| why.by).collect();
        assert!(by.contains(&By::Peer) && by.contains(&By::Application), "{by:?}");
        let stats = running.stats_when("the end", |s| s.connections == 0);
        assert_eq!((stats.accepted, stats.connected, stats.opened, stats.ended), (1, 1, 2, 2));
        assert!(running.notes().iter().filter(|note| matches!(note, Note::Opened(_))).count() == 2);
    }

    #[test]
    fn connections_that_cannot_be_made_end_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = free.local_addr().unwrap();
        drop(free);
        let (running, _told) = start_client(nobody, 1);
        let why = running.closed(0);
        assert!(matches!((why.by, why.cause), (By::Peer, Cause::Io(_))), "{why}");
        assert_eq!(running.notes().len(), 1, "never opened, closed once");
        // One that answers something else.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (running, _told) = start_client(listener.local_addr().unwrap(), 1);
        let mut peer = harness::peer::Peer::over(listener.accept().unwrap().0);
        peer.write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let why = running.closed(0);
        assert_eq!(
            (why.by, why.cause, &*why.reason),
            (By::Peer, Cause::Declined(404), "the server answered with status 404")
        );
    }

    #[test]
    fn limit_handshake_timeout_of_a_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let running = start(Config::default().handshake_timeout(harness::ms(100)), move || {
            Script::new()
                .start(move |cx| assert!(cx.connect(&Connect::new(address, "localhost", "/")).is_ok()))
        });
        let held = thread::spawn(move || listener.accept().unwrap().0);
        let why = running.closed(0);
        assert_eq!((why.by, why.cause), (By::Server, Cause::HandshakeTimeout));
        drop(held.join().unwrap());
    }
}
