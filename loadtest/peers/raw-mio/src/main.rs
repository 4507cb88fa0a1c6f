//! The least that a server on mio can do: bytes in, the same bytes out.
//!
//! It knows no WebSocket. The first bytes of a connection are taken for its opening handshake and answered with a 101
//! that is always the same, as long as tidegate's own; from then on what is read is written. With `--broadcast` it is
//! written to all connections, the sender among them, one `send` each. What a server of messages does beyond this is
//! what it costs.
//!
//! Invariants: one `recv` and one `send` per event, unless the buffer was filled, the peer has ended or the kernel took
//! less than all; a connection whose bytes wait is not read (echo), or dropped above [`WAITING_MAX`] (broadcast).

use std::convert::Infallible;
use std::io::{self, ErrorKind, Read, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 1_024;
/// What is read at once, for all connections in turn. A frame that is to be spread must lie whole in it.
const BUFFER: usize = 516 << 10;
/// Bytes that wait for one that does not read what is spread.
const WAITING_MAX: usize = 64 << 20;
/// The first byte of an unfragmented Close frame (RFC 6455 §5.2), the one thing that is looked at, and only where
/// bytes are spread: spread as well, the first to leave would end all.
const CLOSE: u8 = 0x88;
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";

struct Conn {
    stream: TcpStream,
    /// The handshake has been answered.
    open: bool,
    /// The kernel tells when there is room again.
    watched: bool,
    /// Bytes that the kernel did not take; no memory while there are none.
    waiting: Vec<u8>,
    /// How many of them it has taken since.
    taken: usize,
}

impl Conn {
    /// Writes as much as the kernel takes, behind what waits; the rest waits.
    fn write(&mut self, token: Token, registry: &Registry, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.waiting.is_empty() { write_some(&mut self.stream, bytes)? } else { 0 };
        let rest = &bytes[taken..];
        if rest.is_empty() {
            return Ok(());
        }
        if self.waiting.len() + rest.len() > WAITING_MAX {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.waiting.extend_from_slice(rest);
        if !self.watched {
            self.watched = true;
            registry.reregister(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }

    /// Writes what waits.
    fn flush(&mut self) -> io::Result<()> {
        self.taken += write_some(&mut self.stream, &self.waiting[self.taken..])?;
        if self.taken == self.waiting.len() {
            (self.waiting, self.taken) = (Vec::new(), 0);
        }
        Ok(())
    }
}

/// Writes until all is written or the kernel takes no more; how many bytes it took.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(len) => taken += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    conns: Slab<Conn>,
    broadcast: bool,
    buffer: Vec<u8>,
}

impl Loop {
    fn run(&mut self) -> io::Result<Infallible> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else if self.serve(event).is_err() {
                    // Dropped, and with that closed and forgotten by the kernel's table of events.
                    self.conns.try_remove(event.token().0);
                }
            }
        }
    }

    /// Events come once per change, so the listener is asked until nobody waits.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let conn = Conn { stream, open: false, watched: false, waiting: Vec::new(), taken: 0 };
            let place = self.conns.insert(conn);
            let stream = &mut self.conns[place].stream;
            self.poll.registry().register(stream, Token(place), Interest::READABLE)?;
        }
    }

    /// Reads and writes for one event; an error, the end of the stream among them, ends the connection.
    fn serve(&mut self, event: &Event) -> io::Result<()> {
        let token = event.token();
        let Some(conn) = self.conns.get_mut(token.0) else { return Ok(()) };
        let mut more = event.is_readable() || event.is_read_closed() || event.is_error();
        if !conn.waiting.is_empty() {
            conn.flush()?;
            // It was not read as long as bytes waited, and was told once what there is to be read.
            more = true;
        }
        while more {
            let Some(conn) = self.conns.get_mut(token.0) else { return Ok(()) };
            if !self.broadcast && !conn.waiting.is_empty() {
                return Ok(());
            }
            let len = match conn.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            more = len == self.buffer.len() || event.is_read_closed();
            let registry = self.poll.registry();
            if !conn.open {
                conn.open = true;
                conn.write(token, registry, ANSWER)?;
            } else if self.broadcast && self.buffer[0] != CLOSE {
                self.spread(len);
            } else {
                conn.write(token, registry, &self.buffer[..len])?;
            }
        }
        Ok(())
    }

    fn spread(&mut self, len: usize) {
        let (registry, bytes) = (self.poll.registry(), &self.buffer[..len]);
        self.conns.retain(|place, conn| !conn.open || conn.write(Token(place), registry, bytes).is_ok());
    }
}

fn main() {
    let words = door::words();
    let start = || {
        let poll = Poll::new()?;
        let mut listener = TcpListener::from_std(door::listener(words.port));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (conns, buffer) = (Slab::new(), vec![0; BUFFER]);
        Loop { poll, listener, conns, broadcast: words.broadcast, buffer }.run()
    };
    let Err(error) = start();
    door::fail(&error.to_string());
}
