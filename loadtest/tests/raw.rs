//! The tool against a server that knows no WebSocket: the same bytes go back, and every count is exact.
//!
//! Such a server is what others are compared with. Invariant: it looks at nothing that it gets.

mod harness;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use harness::{assert_echoed, check, count, loadtest, measured};

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";

/// Starts the server, a thread per connection, which ends with the test; returns its address.
fn server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            // A connection that breaks is the tool's to tell.
            thread::spawn(move || drop(serve(stream)));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 64 * 1024];
    if stream.read(&mut buffer)? > 0 {
        stream.write_all(ANSWER)?;
    }
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            len => stream.write_all(&buffer[..len])?,
        }
    }
}

#[test]
fn bytes_that_come_back_are_messages() {
    let url = format!("raw://{}/echo", server());
    for words in [
        &["--rate", "1k"][..],
        &["--binary", "--size", "0:30%,20:50%,64KiB:20%", "--depth", "4"],
        &["--rate", "500", "--ping", "100ms", "--threads", "2"],
    ] {
        let run = ["echo", &url, "-n", "10", "--warmup", "100ms", "--duration", "1s"];
        let record = measured(&[&run, words].concat());
        // Whether the machine left the generator its time is not what is tested.
        assert!(["unsent", "worker troubles"].iter().all(|name| check(&record, name).1), "{words:?}");
        assert_echoed(&record, words);
    }
}

#[test]
fn they_come_and_go() {
    let url = format!("raw://{}/", server());
    for words in [&["-n", "8"][..], &["-n", "8", "--abort"]] {
        let record = measured(&[&["churn", &url, "--warmup", "0", "--duration", "1s"], words].concat());
        assert!(count(&record, "handshakes") > 20, "{words:?}");
        let bad = ["failed", "dropped", "errors"];
        assert_eq!(bad.map(|name| count(&record, name)), [0; 3], "{words:?}: {}", record["errors"]);
    }
}

#[test]
fn it_is_no_websocket() {
    let output = loadtest(&["echo", &format!("ws://{}/", server()), "-n", "1"]);
    assert_eq!(output.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("Sec-WebSocket-Accept does not belong to the key"), "{output:?}");
}
