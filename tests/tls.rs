//! `wss://` over real sockets: an independent client's sessions, tickets, certificates, reload, ends, and the limits.
//!
//! Knows the public interface only. Invariant: every certificate is made by the test that uses it.

mod harness;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use harness::peer::{Answer, BINARY, CLOSE, Peer, TEXT, close_payload, frame, handshake};
use harness::{PATIENCE, Running, Script, ms, start, start_echo};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls::{SupportedProtocolVersion, version};
use tidegate::{
    By, Cause, ClientTls, Config, Connect, Identity, Reply, Response, Server, ServerTls, TlsError, TlsVersion,
};

/// A self-signed certificate and its key, in PEM.
#[derive(Clone)]
struct Made {
    chain: String,
    key: String,
}

fn made(names: &[&str]) -> Made {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names.concat());
    let certificate = params.self_signed(&key).unwrap();
    Made { chain: certificate.pem(), key: key.serialize_pem() }
}

impl Made {
    fn server(&self) -> ServerTls {
        ServerTls::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap()
    }

    fn client(&self) -> ClientTls {
        ClientTls::from_pem(self.chain.as_bytes()).unwrap()
    }

    /// A configuration of the independent client that trusts this certificate.
    fn trust(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Made>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some(made) => {
                let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![made.der()], key).unwrap()
            }
        })
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// An independent client.
struct Veiled {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Veiled {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &'static str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientConnection::new(Arc::clone(config), ServerName::try_from(name).unwrap()).unwrap();
        Veiled { stream: StreamOwned::new(session, socket) }
    }

    /// Connects and opens a WebSocket.
    fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let mut peer = Veiled::connect(address, config, "localhost");
        let answer = peer.ask(&handshake("/"));
        assert_eq!(answer.status, 101, "{answer:?}");
        peer
    }

    fn ask(&mut self, request: &str) -> Answer {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        let len = answer.header("Content-Length").map_or(0, |len| len.parse().unwrap());
        answer.body = vec![0; len];
        self.stream.read_exact(&mut answer.body).unwrap();
        answer
    }

    fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.stream.write_all(&frame(true, opcode, payload)).unwrap();
    }

    /// The next frame: its opcode and payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let mut len = [0; 8];
        let long = match head[1] {
            126 => &mut len[6..],
            127 => &mut len[..],
            short => {
                len[7] = short;
                &mut []
            }
        };
        self.stream.read_exact(long).unwrap();
        let mut payload = vec![0; u64::from_be_bytes(len) as usize];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0] & 0x0f, payload)
    }

    #[track_caller]
    fn echoes(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
        assert_eq!(self.frame(), (TEXT, text.as_bytes().to_vec()));
    }

    fn kind(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// Sends a Close and reads the answer, and the end of the session with its `close_notify`.
    fn close(mut self) {
        self.send(CLOSE, &close_payload(1000, ""));
        assert_eq!(self.frame().0, CLOSE);
        // An end without `close_notify` would be an error here.
        assert_eq!(self.stream.read(&mut [0; 1]).unwrap(), 0);
    }

    /// What was shown as the server's certificate.
    fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn echo_tls(made: &Made) -> Running {
    start_echo(Config::default().tls(made.server()))
}

#[test]
fn both_versions_echo_short_and_long() {
    let made = made(&["localhost"]);
    let server = echo_tls(&made);
    for (count, version) in [&version::TLS13, &version::TLS12].into_iter().enumerate() {
        let mut peer = Veiled::open(server.address, &made.trust(&[version], None));
        peer.echoes("short");
        let long: Vec<u8> = (0..900_000_u32).map(|i| i as u8).collect();
        peer.send(BINARY, &long);
        let mut echoed = Vec::new();
        // It goes out in fragments, as any long message.
        while echoed.len() < long.len() {
            echoed.extend_from_slice(&peer.frame().1);
        }
        assert!(echoed == long);
        peer.echoes("after it");
        peer.close();
        let why = server.closed(count);
        assert_eq!((why.by, why.cause, why.clean), (By::Peer, Cause::Close, true));
    }
    let stats = server.stats_when("two ends", |s| s.connections == 0);
    assert_eq!((stats.tls_handshakes, stats.tls_resumed, stats.ended_truncated), (2, 0, 0));
    assert_eq!((stats.memory_bytes, stats.queued_bytes), (0, 0));
}

#[test]
fn sessions_are_resumed_in_both_versions() {
    let made = made(&["localhost"]);
    let server = echo_tls(&made);
    for version in [&version::TLS13, &version::TLS12] {
        let trust = made.trust(&[version], None);
        let mut first = Veiled::open(server.address, &trust);
        first.echoes("a ticket comes along");
        assert_eq!(first.kind(), Some(HandshakeKind::Full));
        let mut second = Veiled::open(server.address, &trust);
        second.echoes("again");
        assert_eq!(second.kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
    assert_eq!(server.stats_when("four handshakes", |s| s.tls_handshakes == 4).tls_resumed, 2);
}

type Facts = Arc<Mutex<Vec<String>>>;

/// Answers requests and notes down what is known of their sessions.
fn noting(config: Config) -> (Running, Facts) {
    let facts = Facts::default();
    let noted = Arc::clone(&facts);
    let server = start(config, move || {
        Script::new().request(move |_, _, request| {
            let fact = request.tls().map_or("plain".to_owned(), |tls| {
                let (name, shown) = (tls.server_name().unwrap_or("-"), tls.certificates().count());
                format!("{} {name} {shown} {}", tls.version(), tls.is_resumed())
            });
            noted.lock().unwrap().push(fact);
            Reply::Respond(Response::text(200, "heard"))
        })
    });
    (server, facts)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_request_knows_its_session() {
    let [one, two, client] = [made(&["one.test"]), made(&["two.test"]), made(&["client.test"])];
    let tls = one.server().identity(two.identity()).client_roots(client.chain.as_bytes(), false).unwrap();
    let (server, facts) = noting(Config::default().tls(tls));
    let mut peer = Veiled::connect(server.address, &one.trust(BOTH, None), "one.test");
    assert_eq!(peer.ask(REQUEST).status, 200);
    assert_eq!(peer.shown(), one.der());
    let trust = two.trust(&[&version::TLS12], Some(&client));
    let mut peer = Veiled::connect(server.address, &trust, "two.test");
    assert_eq!(peer.ask(REQUEST).status, 200);
    assert_eq!(peer.shown(), two.der());
    let mut peer = Veiled::connect(server.address, &trust, "two.test");
    assert_eq!(peer.ask(REQUEST).status, 200);
    let expected = ["TLS 1.3 one.test 0 false", "TLS 1.2 two.test 1 false", "TLS 1.2 two.test 1 true"];
    assert_eq!(
        *facts.lock().unwrap(),
        expected,
        "the client's certificate is known to a resumed session too"
    );
}

#[test]
fn a_client_without_a_required_certificate_is_refused() {
    let [ours, client, stranger] = [made(&["localhost"]), made(&["client.test"]), made(&["stranger.test"])];
    let tls = ours.server().client_roots(client.chain.as_bytes(), true).unwrap();
    let server = start_echo(Config::default().tls(tls));
    Veiled::open(server.address, &ours.trust(BOTH, Some(&client))).echoes("welcome");
    for shown in [None, Some(&stranger)] {
        let mut peer = Veiled::connect(server.address, &ours.trust(BOTH, shown), "localhost");
        let refused = peer.stream.write_all(REQUEST.as_bytes()).and_then(|()| peer.stream.read(&mut [0; 1]));
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("alert"), "the client is told in TLS: {text}");
    }
    server.stats_when("two failed", |s| s.ended_tls == 2);
}

#[test]
fn a_reload_drops_nobody() {
    let [old, new] = [made(&["localhost"]), made(&["localhost"])];
    let server = echo_tls(&old);
    let (trust_old, trust_new) = (old.trust(BOTH, None), new.trust(BOTH, None));
    let mut before = Veiled::open(server.address, &trust_old);
    before.echoes("before");
    server.handle.reload_tls(new.server()).unwrap();
    server.stats_when("the command is obeyed", |s| s.commands == 1);
    let mut after = Veiled::open(server.address, &trust_new);
    assert_eq!(after.shown(), new.der());
    after.echoes("after");
    before.echoes("still here");
    // A ticket from before does not help: the old certificate is gone for everybody.
    let mut late = Veiled::connect(server.address, &trust_old, "localhost");
    assert!(late.stream.write_all(REQUEST.as_bytes()).is_err(), "the new one is not trusted there");
    assert_eq!(server.stats_when("it is told", |s| s.ended_tls == 1).open, 2);
}

#[test]
fn plain_http_on_a_port_for_tls_is_told_so() {
    let server = echo_tls(&made(&["localhost"]));
    let mut peer = Peer::connect(server.address);
    peer.write(REQUEST);
    let answer = peer.answer();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text(), "this port speaks TLS: use https:// or wss:// with it\n");
    peer.expect_end();
    drop(peer);
    let stats = server.stats_when("it has ended", |s| s.ended == 1);
    assert_eq!((stats.plain_on_tls_port, stats.ended_tls, stats.tls_handshakes), (1, 1, 0));
}

#[test]
fn tls_on_a_plain_port_is_counted() {
    let made = made(&["localhost"]);
    let server = start_echo(Config::default());
    let mut peer = Veiled::connect(server.address, &made.trust(BOTH, None), "localhost");
    assert!(peer.stream.write_all(REQUEST.as_bytes()).is_err());
    server.stats_when("a ClientHello is recognised", |s| s.tls_on_plain_port == 1);
}

#[test]
fn plain_and_tls_side_by_side() {
    let made = made(&["localhost"]);
    let mut server = Server::new(Config::default().tls(made.server())).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let (plain, veiled) = (server.listen(any).unwrap(), server.listen_tls(any).unwrap());
    let trust = made.trust(BOTH, None);
    let peers = std::thread::spawn(move || {
        let (mut one, mut other) = (Peer::open(plain), Veiled::open(veiled, &trust));
        one.send(TEXT, b"to all");
        assert_eq!(one.frame().text(), "to all");
        assert_eq!(other.frame(), (TEXT, b"to all".to_vec()));
        other.send(TEXT, b"back");
        assert_eq!(other.frame(), (TEXT, b"back".to_vec()));
        assert_eq!(one.frame().text(), "back");
    });
    let mut app =
        Script::new().open(|cx, conn| cx.subscribe(conn, "all").unwrap()).message(|cx, _, message| {
            cx.publish("all", message);
        });
    while !peers.is_finished() {
        server.turn(&mut app, Some(ms(10))).unwrap();
    }
    peers.join().unwrap();
    let error = Server::new(Config::default()).unwrap().listen_tls(any).unwrap_err().to_string();
    assert!(error.ends_with("there is no certificate to show; give one with Config::tls"), "{error}");
}

#[test]
fn a_truncation_is_told_from_an_end() {
    let made = made(&["localhost"]);
    let server = echo_tls(&made);
    let trust = made.trust(BOTH, None);
    let mut cut = Veiled::open(server.address, &trust);
    cut.echoes("here");
    cut.stream.sock.shutdown(Shutdown::Write).unwrap();
    let why = server.closed(0);
    assert_eq!((why.by, why.cause), (By::Peer, Cause::Truncated));
    let mut ends = Veiled::open(server.address, &trust);
    ends.echoes("here");
    ends.stream.conn.send_close_notify();
    ends.stream.flush().unwrap();
    assert_eq!(server.closed(1).cause, Cause::EndOfStream);
    assert_eq!(ends.stream.read(&mut [0; 1]).unwrap(), 0, "and it is answered");
    // Behind both Closes nothing can be missing.
    let mut closes = Veiled::open(server.address, &trust);
    closes.send(CLOSE, &close_payload(1000, ""));
    assert_eq!(closes.frame().0, CLOSE);
    drop(closes);
    assert_eq!(server.closed(2).cause, Cause::Close);
    let stats = server.stats_when("three ends", |s| s.ended == 3);
    assert_eq!((stats.ended_truncated, stats.ended_end_of_stream, stats.ended_by_peer), (1, 1, 1));
}

/// The bytes with which a client begins.
fn hello(made: &Made) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(made.trust(BOTH, None), name).unwrap();
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_stalled_handshake_has_the_deadline_of_all() {
    let made = made(&["localhost"]);
    let server = start_echo(Config::default().tls(made.server()).handshake_timeout(ms(150)));
    let hello = hello(&made);
    let mut peers = [0, 1, 60, hello.len()].map(|len| {
        let mut peer = Peer::connect(server.address);
        peer.write(&hello[..len]);
        peer
    });
    let stats = server.stats_when("all are cut", |s| s.ended == 4);
    assert_eq!((stats.ended_handshake_timeout, stats.half_open, stats.tls_handshakes), (4, 0, 0));
    peers[0].socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = peers[0].socket.read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

#[test]
fn handshakes_count_as_half_open() {
    let made = made(&["localhost"]);
    let server = start_echo(Config::default().tls(made.server()).half_open_max(2));
    let waiting = [Peer::connect(server.address), Peer::connect(server.address)];
    server.stats_when("two wait", |s| s.half_open == 2);
    let mut third = Veiled::connect(server.address, &made.trust(BOTH, None), "localhost");
    assert!(third.stream.write_all(REQUEST.as_bytes()).is_err());
    let stats = server.stats_when("the third is closed", |s| s.refused_half_open == 1);
    assert_eq!((stats.refused_silently, stats.refusing), (1, 0), "it costs no slot");
    drop(waiting);
    server.stats_when("they have gone", |s| s.half_open == 0);
    Veiled::open(server.address, &made.trust(BOTH, None)).echoes("room again");
}

#[test]
fn limit_tls_handshake_budget() {
    let made = made(&["localhost"]);
    let mut server =
        Server::bind("127.0.0.1:0", Config::default().tls(made.server()).tls_handshake_budget(1)).unwrap();
    let address = server.local_addr().unwrap();
    let hello = hello(&made);
    let mut peers: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(&hello).unwrap();
            peer
        })
        .collect();
    let mut app = Script::echo();
    while server.stats().bytes_in < 5 * hello.len() as u64 {
        let before = server.stats().bytes_in;
        server.turn(&mut app, Some(ms(1_000))).unwrap();
        assert!(server.stats().bytes_in - before <= hello.len() as u64, "one in each turn");
    }
    assert!(server.stats().budget_tls_handshake >= 4, "{:?}", server.stats());
    for peer in &mut peers {
        let mut answer = [0; 3];
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], [0x16, 0x03], "a ServerHello");
    }
}

/// A loop that connects to `host` at `address` with `tls`.
fn dial(address: SocketAddr, host: &'static str, tls: ClientTls) -> (Running, Facts) {
    let facts = Facts::default();
    let noted = Arc::clone(&facts);
    let client = start(Config::default(), move || {
        Script::new()
            .start(move |cx| assert!(cx.connect(&Connect::new(address, host, "/").tls(tls.clone())).is_ok()))
            .open(move |cx, conn| {
                let tls = cx.tls(conn).expect("a session");
                let fact = format!("{:?} {}", tls.version() == TlsVersion::Tls13, tls.is_resumed());
                noted.lock().unwrap().push(fact);
                cx.send(conn, "hello");
            })
            .message(|cx, conn, _| assert!(cx.close(conn, 1000, "")))
    });
    (client, facts)
}

#[test]
fn our_own_client_verifies_resumes_and_says_goodbye() {
    let made = made(&["localhost"]);
    let server = echo_tls(&made);
    let tls = made.client();
    for (count, expected) in ["true false", "true true"].into_iter().enumerate() {
        let (client, facts) = dial(server.address, "localhost:443", tls.clone());
        let why = client.closed(0);
        assert_eq!((why.by, why.cause, why.clean), (By::Application, Cause::Close, true));
        assert_eq!(*facts.lock().unwrap(), [expected]);
        assert_eq!(server.closed(count).cause, Cause::Close);
    }
    let stats = server.stats_when("both have ended", |s| s.ended == 2);
    assert_eq!((stats.tls_handshakes, stats.tls_resumed, stats.cut_linger_timeout), (2, 1, 0));
}

#[test]
fn our_own_client_says_why_it_refuses() {
    let [made, stranger] = [made(&["localhost"]), made(&["localhost"])];
    let server = echo_tls(&made);
    let named = made.client().server_name("elsewhere.test").unwrap();
    let table = [
        (named, TlsError::CertificateName, "asked for elsewhere.test, it is for"),
        (stranger.client(), TlsError::CertificateIssuer, "nobody trusted vouches"),
    ];
    for (tls, error, part) in table {
        let (client, _) = dial(server.address, "localhost", tls);
        let why = client.closed(0);
        assert_eq!((why.by, why.cause), (By::Server, Cause::Tls(error)));
        assert!(why.reason.contains(part), "{why}");
    }
    server.stats_when("the server hears of both", |s| s.ended_tls == 2);
    let plain = start_echo(Config::default());
    let (client, _) = dial(plain.address, "localhost", made.client());
    assert!(matches!(client.closed(0).cause, Cause::Tls(_)), "{}", client.closed(0));
}

#[test]
fn a_shutdown_says_goodbye_in_both_languages() {
    let made = made(&["localhost"]);
    let server = echo_tls(&made);
    let mut peer = Veiled::open(server.address, &made.trust(BOTH, None));
    peer.echoes("here");
    server.handle.shutdown().unwrap();
    let (opcode, payload) = peer.frame();
    assert_eq!((opcode, &payload[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
    peer.send(CLOSE, &payload[..2]);
    assert_eq!(peer.stream.read(&mut [0; 1]).unwrap(), 0);
    let (report, _) = server.stop();
    assert_eq!((report.told, report.cut), (1, 0));
}
