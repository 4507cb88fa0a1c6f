//! A subprotocol is one that was offered, or there is none; and a stream that ends without a Close is told as such.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use tidegate::{Cause, Closed, Config, ConnId, Context, Handler, Message, Reply, Request, Server, Upgrade};

/// Always chooses the subprotocol `tide`, offered or not.
struct Stubborn(Sender<Closed>);

impl Handler for Stubborn {
    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, req: &Request<'_>) -> Reply {
        match req.path() {
            "/none" => Reply::upgrade(),
            _ => Reply::Upgrade(Upgrade::default().protocol("tide")),
        }
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}

    fn on_close(&mut self, _: &mut Context<'_>, _: ConnId, why: &Closed) {
        self.0.send(why.clone()).unwrap();
    }
}

/// The head of the answer to a handshake on `path` that offers `offers`, and the connection.
fn ask(address: SocketAddr, path: &str, offers: &str) -> (String, TcpStream) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let offers =
        if offers.is_empty() { String::new() } else { format!("Sec-WebSocket-Protocol: {offers}\r\n") };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offers}\r\n"
    );
    peer.write_all(request.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && peer.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap(), peer)
}

#[test]
fn the_choice_is_one_that_was_offered() {
    let (sender, ends) = channel();
    let (ready, started) = channel();
    // A server stays on the thread that made it.
    let thread = std::thread::spawn(move || {
        let mut server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
        ready.send((server.local_addr().unwrap(), server.handle())).unwrap();
        server.run(&mut Stubborn(sender)).unwrap()
    });
    let (address, handle) = started.recv().unwrap();
    let table = [
        ("/", "sea, tide", "101", Some("tide")),
        ("/", "sea, Tide", "500", None),
        ("/", "", "500", None),
        ("/none", "sea, tide", "101", None),
    ];
    for (path, offers, status, chosen) in table {
        let (head, peer) = ask(address, path, offers);
        assert_eq!(head.split(' ').nth(1), Some(status), "{path} {offers:?}");
        let line = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Protocol: "));
        assert_eq!(line, chosen, "{path} {offers:?}");
        drop(peer);
        if status == "101" {
            let why = ends.recv_timeout(Duration::from_secs(10)).unwrap();
            assert_eq!((why.cause, why.code), (Cause::EndOfStream, None));
        }
    }
    handle.shutdown().unwrap();
    thread.join().unwrap();
}
