//! `Rig`: the loop on open connections whose other ends are moved by hand, without a kernel's noise: for benches.
//!
//! Refuses to know the clock of the wall. Invariant: nothing fails and nothing is late, so the same calls cost the same
//! work.

use std::fmt;
use std::time::Duration;

use super::wire::Puppet;
use super::{SimIo, Terms};
use crate::ground::limits::Limits;
use crate::hub::Hub;
use crate::hub::handler::Handler;
use crate::hub::stats::Stats;
use crate::reactor::Reactor;

/// Bytes that lie in a pipe at most: more than any bench puts in at once.
const PIPE: usize = 64 << 20;

/// An opening handshake (the key is that of RFC 6455 §1.3).
const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: rig\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A loop with open connections. Connections are numbered from zero.
pub struct Rig<H> {
    reactor: Reactor<SimIo<Puppet>>,
    app: H,
    heard: Vec<u8>,
}

impl<H> fmt::Debug for Rig<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").finish_non_exhaustive()
    }
}

impl<H: Handler> Rig<H> {
    /// Opens so many WebSockets to `app`, with default limits but no Pings and no idle timeout.
    pub fn new(connections: usize, app: H) -> Self {
        let limits = Limits {
            ping_interval: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            connections_max: connections.max(1),
            connections_per_source_max: connections.max(1),
            half_open_max: connections.max(1),
            accepts_per_second_max: 1 << 30,
            ..Limits::default()
        };
        let mut io = SimIo::new(Terms::gentle(1));
        for _ in 0..connections {
            io.add(Duration::ZERO, PIPE, PIPE, Puppet);
        }
        let reactor = Reactor::new(io, Hub::new(limits, Vec::new(), 1));
        let mut rig = Rig { reactor, app, heard: Vec::new() };
        while rig.reactor.io().held() < connections {
            rig.turn();
        }
        (0..connections).for_each(|conn| assert_eq!(rig.deliver(conn, HELLO), HELLO.len()));
        while (rig.stats().open as usize) < connections {
            rig.turn();
        }
        (0..connections).for_each(|conn| {
            rig.take_output(conn);
        });
        rig
    }

    /// Puts bytes on the line of a connection's peer; returns how many there was room for.
    ///
    /// # Panics
    /// When there is no such connection.
    pub fn deliver(&mut self, conn: usize, bytes: &[u8]) -> usize {
        self.reactor.io().on_line(conn, |line| line.send(bytes))
    }

    /// One turn of the loop, without waiting. It serves everybody who has been delivered to, within the budgets.
    ///
    /// # Panics
    /// Never: the simulated poller does not fail.
    pub fn turn(&mut self) {
        let turn = self.reactor.turn(&mut self.app, Some(Duration::ZERO));
        debug_assert!(turn.is_ok());
    }

    /// Throws away what the server has written to a connection; returns how many bytes that was.
    ///
    /// # Panics
    /// When there is no such connection.
    pub fn take_output(&mut self, conn: usize) -> usize {
        self.heard.clear();
        let heard = &mut self.heard;
        self.reactor.io().on_line(conn, |line| line.receive(heard, usize::MAX))
    }

    /// The application.
    pub fn app(&mut self) -> &mut H {
        &mut self.app
    }

    /// The counters.
    pub fn stats(&mut self) -> Stats {
        self.reactor.hub().stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::message::Message;
    use crate::ground::id::ConnId;
    use crate::hub::context::Context;
    use crate::wire::frame::{self, Opcode};

    struct Echo;

    impl Handler for Echo {
        fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
            cx.send(conn, msg);
        }
    }

    #[test]
    fn what_is_delivered_is_echoed_in_one_turn() {
        let mut rig = Rig::new(300, Echo);
        let mut frames = Vec::new();
        (0..10).for_each(|_| frame::append(&mut frames, true, Opcode::Binary, &[7; 100], Some([1, 2, 3, 4])));
        for conn in [0, 17, 299] {
            assert_eq!(rig.deliver(conn, &frames), frames.len());
        }
        let Echo = rig.app();
        rig.turn();
        for conn in [0, 17, 299] {
            assert_eq!((rig.take_output(conn), rig.take_output(conn)), (10 * 102, 0));
        }
        assert_eq!((rig.stats().messages_in, rig.stats().open), (30, 300));
    }
}
