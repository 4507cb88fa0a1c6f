//! What all servers here have in common: their words, their listener, and what echo and chat are.
//!
//! Refuses to know WebSocket. Invariant: every server listens in the same way, so that what differs between two of them
//! is the library.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::exit;

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

#[cfg(feature = "tokio")]
pub mod streams;

/// Bytes of the longest message that must come back: 1 MiB, and some more for what wraps it.
pub const MESSAGE_MAX: usize = 2 << 20;
/// Connections that may wait to be accepted; the kernel's `net.core.somaxconn` is the limit that counts.
const BACKLOG: i32 = 4_096;

/// The command line: `--port N`, and whether `--broadcast` is there.
pub struct Words {
    pub port: u16,
    pub broadcast: bool,
}

/// Reads the command line; ends the program when it is none.
pub fn words() -> Words {
    let (mut port, mut broadcast) = (None, false);
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--port" => port = given.next().and_then(|number| number.parse().ok()),
            "--broadcast" => broadcast = true,
            _ => fail(&format!("{word}: the words are --port NUMBER and, for the raw loops, --broadcast")),
        }
    }
    let port = port.unwrap_or_else(|| fail("--port NUMBER is missing, the number is from 0 to 65535"));
    Words { port, broadcast }
}

/// The address to listen on.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Lets this process have as many descriptors as it may: one per connection.
pub fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where that is refused the soft limit holds, and connections beyond it tell.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A listener that does not block, with as many descriptors as there may be; ends the program when there is none.
///
/// `TCP_NODELAY` is set here once: on Linux an accepted socket takes it over from its listener.
pub fn listener(port: u16) -> TcpListener {
    raise_descriptors();
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address(port).into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    listen().unwrap_or_else(|error: std::io::Error| fail(&format!("{}: {error}", address(port))))
}

/// Says why, and ends the program.
pub fn fail(why: &str) -> ! {
    eprintln!("{why}");
    exit(1)
}
