//! Every example, built and run as its reader would run it, with an independent client.

mod harness;

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use harness::child::{Running, example};
use harness::peer::Peer;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

fn run(name: &str) -> (Running, SocketAddr) {
    let running = Running::start(Command::new(example(name)).arg("127.0.0.1:0"));
    let address = running.address();
    (running, address)
}

type Client = WebSocket<MaybeTlsStream<TcpStream>>;

fn connect(address: SocketAddr, path: &str) -> Client {
    let (client, _) = tungstenite::connect(format!("ws://{address}{path}")).expect("a WebSocket");
    if let MaybeTlsStream::Plain(socket) = client.get_ref() {
        socket.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    }
    client
}

fn text(client: &mut Client) -> String {
    client.read().unwrap().into_text().unwrap().to_string()
}

#[test]
fn echo() {
    let (_running, address) = run("echo");
    let mut client = connect(address, "/");
    for message in [Message::text("hello"), Message::binary(vec![1, 2, 3])] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
}

#[test]
fn chat() {
    let (_running, address) = run("chat");
    let mut health = Peer::connect(address);
    health.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(health.answer().text(), "ok\n");
    let mut ann = connect(address, "/chat");
    ann.send(Message::text("Ann")).unwrap();
    assert_eq!(text(&mut ann), "Ann came in");
    let mut ben = connect(address, "/chat");
    ben.send(Message::text("Ben")).unwrap();
    assert_eq!((text(&mut ann), text(&mut ben)), ("Ben came in".into(), "Ben came in".into()));
    ben.send(Message::text("hello, Ann")).unwrap();
    assert_eq!((text(&mut ann), text(&mut ben)), ("Ben: hello, Ann".into(), "Ben: hello, Ann".into()));
    ben.close(None).unwrap();
    assert_eq!(text(&mut ann), "Ben left (closed)");
}

#[test]
fn push() {
    let (_running, address) = run("push");
    let mut clients = [connect(address, "/"), connect(address, "/")];
    for client in &mut clients {
        let first: u64 = text(client).parse().unwrap();
        let second: u64 = text(client).parse().unwrap();
        assert_eq!(second, first + 1);
    }
}

#[test]
fn game() {
    let (_running, address) = run("game");
    let mut client = connect(address, "/");
    let numbers = |client: &mut Client| -> Vec<i32> {
        let bytes = client.read().unwrap().into_data();
        bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    let first = numbers(&mut client);
    assert_eq!(first[1..], [0], "one player at its start");
    client.send(Message::binary(vec![5])).unwrap();
    client.send(Message::binary(vec![(-7_i8).cast_unsigned()])).unwrap();
    let moved = loop {
        let state = numbers(&mut client);
        if state[1] == -2 {
            break state;
        }
        assert!(state[0] < first[0] + 100, "the moves never show");
    };
    assert!(moved[0] > first[0]);
}

#[test]
fn own_loop() {
    let (mut running, address) = run("own_loop");
    let mut client = connect(address, "/");
    assert!(text(&mut client).starts_with("round "));
    client.send(Message::text("stop")).unwrap();
    assert_eq!(text(&mut client), "stop");
    let Message::Close(Some(close)) = client.read().unwrap() else { panic!("no Close") };
    assert_eq!(u16::from(close.code), 1001);
    while client.read().is_ok() {}
    assert!(running.wait().success());
    assert!(running.line().contains("1 told to go away, 1 closed, 0 cut"), "the report");
}

#[cfg(feature = "tls")]
#[test]
fn tls() {
    use std::{fs, sync::Arc};

    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let path = std::env::temp_dir().join(format!("tidegate-example-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("cert.pem", made.cert.pem()), file("key.pem", made.signing_key.serialize_pem()));
    let running = Running::start(Command::new(example("tls")).arg("127.0.0.1:0").args([&cert, &key]));
    let address = running.address();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let _ = (fs::remove_file(&cert), fs::remove_file(&key));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let session = ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    let (mut client, _) =
        tungstenite::client("wss://localhost/", StreamOwned::new(session, socket)).expect("a WebSocket");
    client.send(Message::text("hello")).unwrap();
    assert_eq!(client.read().unwrap(), Message::text("hello"));
}

#[test]
fn an_address_that_cannot_be_had_is_an_error() {
    let (_running, address) = run("echo");
    for name in ["echo", "chat", "push", "game", "own_loop"] {
        let mut second = Running::start(Command::new(example(name)).arg(address.to_string()));
        assert!(!second.wait().success(), "{name}");
    }
}
