//! What an idle connection costs: memory, wake-ups; and what a message costs: system calls. Counts, not times.
//!
//! Reads `/proc` of the server's process, so Linux only. The connections are the test's own plain sockets.

#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HANDSHAKE: &[u8] = b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// `tidegate serve` on a port of its own, killed when dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let url =
            lines.map_while(Result::ok).find_map(|line| line.split("http://").nth(1).map(str::to_owned));
        let address =
            url.and_then(|url| url.split('/').next()?.parse().ok()).expect("an address in its output");
        Program { child, address }
    }

    fn open(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).expect("a connection");
        socket.set_nodelay(true).unwrap();
        socket.write_all(HANDSHAKE).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("an answer");
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
        socket
    }

    /// A number from `/proc/PID/task/PID/status`: the loop runs on the first thread.
    fn status(&self, name: &str) -> u64 {
        let pid = self.child.id();
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/status")).expect("its status");
        let line = text.lines().find(|line| line.starts_with(name)).expect("the line");
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
    }

    /// Waits until the loop has been asleep for a while, and returns how often it has slept so far.
    fn settled(&self) -> u64 {
        let (mut before, deadline) =
            (self.status("voluntary_ctxt_switches"), Instant::now() + Duration::from_secs(20));
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let now = self.status("voluntary_ctxt_switches");
            if now == before || Instant::now() > deadline {
                return now;
            }
            before = now;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connections that fit: this process and the server have a descriptor each, and a few of their own.
fn count() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("our limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the line");
    let soft: usize = line.split_whitespace().nth(3).and_then(|number| number.parse().ok()).unwrap_or(1024);
    // A debug build checks every connection after every turn, which takes its time with many.
    soft.saturating_sub(100).min(if cfg!(debug_assertions) { 5_000 } else { 15_000 })
}

#[test]
fn an_idle_connection_costs_at_most_100_bytes_and_no_wake_up() {
    let program = Program::start(&["--ping-interval", "0"]);
    let few = count() / 15;
    let mut sockets: Vec<TcpStream> = (0..few).map(|_| program.open()).collect();
    program.settled();
    let before = program.status("VmRSS") * 1024;
    sockets.extend((few..count()).map(|_| program.open()));
    let asleep = program.settled();
    let after = program.status("VmRSS") * 1024;
    let each = (after - before) as f64 / (count() - few) as f64;
    println!("{few} connections: {before} B; {} connections: {after} B; {each:.1} B each", count());
    // A debug build keeps 24 bytes more per socket, which mio uses to check its own use.
    let most = if cfg!(debug_assertions) { 140.0 } else { 100.0 };
    assert!(each <= most, "{each} bytes per idle connection");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(program.status("voluntary_ctxt_switches"), asleep, "an idle server sleeps");
    drop(sockets);
}

#[test]
fn an_echo_is_one_read_and_one_write() {
    use tidegate::{Config, ConnId, Context, Handler, Message, Server, Turn};

    struct Echo;
    impl Handler for Echo {
        fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
            cx.send(conn, msg);
        }
    }

    const MESSAGES: u64 = 2_000;
    let (told, address) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let mut server = Server::bind("127.0.0.1:0", Config::default()).unwrap();
        told.send((server.local_addr().unwrap(), server.handle())).unwrap();
        while server.turn(&mut Echo, None).unwrap() == Turn::Running {}
        server.stats()
    });
    let (address, handle) = address.recv().unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(HANDSHAKE).unwrap();
    assert!(socket.read(&mut [0; 1000]).unwrap() > 100);
    for _ in 0..MESSAGES {
        socket.write_all(b"\x82\x84\0\0\0\0ping").unwrap();
        let mut echo = [0; 6];
        socket.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x82\x04ping");
    }
    // Sixteen at once: one read, one write.
    socket.write_all(&b"\x82\x84\0\0\0\0ping".repeat(16)).unwrap();
    socket.read_exact(&mut [0; 96]).unwrap();
    socket.write_all(b"\x88\x80\0\0\0\0").unwrap();
    assert_eq!(socket.read(&mut [0; 10]).unwrap(), 2);
    handle.shutdown().unwrap();
    let stats = server.join().unwrap();
    assert_eq!((stats.messages_in, stats.messages_out), (MESSAGES + 16, MESSAGES + 16));
    // Besides the messages: the handshake, the batch (which the network may cut in two), the Close.
    let most = MESSAGES + 3 + 2;
    assert!((MESSAGES + 3..=most).contains(&stats.reads), "{} reads", stats.reads);
    assert!((MESSAGES + 3..=most).contains(&stats.writes), "{} writes", stats.writes);
    assert_eq!((stats.reads_empty, stats.writes_short), (0, 0));
    assert!(stats.waits <= most + 5, "{} waits", stats.waits);
}
