//! `Rig`: the loop on open connections whose other ends are moved by hand, without a kernel's noise: for benches.
//!
//! Refuses to know the clock of the wall. Invariant: nothing fails and nothing is late, so the same calls cost the same
//! work.

use std::fmt;
use std::io::{IoSlice, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::wire::Puppet;
use super::{SimIo, SimSocket, Terms};
use crate::ground::limits::Limits;
use crate::hub::Hub;
use crate::hub::context::Context;
use crate::hub::handler::Handler;
use crate::hub::stats::Stats;
use crate::reactor::Reactor;
use crate::reactor::io::{Io, Readiness, Wake};

/// Bytes that lie in a pipe at most: more than any bench puts in at once.
const PIPE: usize = 64 << 20;

/// Connections opened side by side: what the loop accepts in one turn.
const ABREAST: usize = 256;

/// An opening handshake (the key is that of RFC 6455 §1.3).
pub const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: rig\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// The simulated network behind calls that are never inlined: what a profiler counts in [`Rig::turn_within`] and outside of
/// them is the loop's own work.
#[allow(missing_debug_implementations)]
pub struct Seam(SimIo<Puppet>);

/// A loop with open connections. Connections are numbered from zero.
pub struct Rig<H> {
    reactor: Reactor<Seam>,
    app: H,
    heard: Vec<u8>,
    /// Connections made so far.
    made: usize,
    /// Bytes that a pipe holds.
    pipe: usize,
}

impl<H> fmt::Debug for Rig<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").finish_non_exhaustive()
    }
}

impl<H: Handler> Rig<H> {
    /// Opens so many WebSockets to `app`, with default limits but no Pings and no idle timeout.
    pub fn new(connections: usize, app: H) -> Self {
        Rig::with(connections, PIPE, app, |_| {})
    }

    /// The same, over pipes that hold so many bytes, and with other limits.
    pub fn with(connections: usize, pipe: usize, app: H, change: impl FnOnce(&mut Limits)) -> Self {
        let most = connections.max(ABREAST);
        let mut limits = Limits {
            ping_interval: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            connections_max: most,
            connections_per_source_max: most,
            half_open_max: most,
            accepts_per_second_max: 1 << 30,
            ..Limits::default()
        };
        change(&mut limits);
        let io = Seam(SimIo::new(Terms::gentle(1)));
        let reactor = Reactor::new(io, Hub::new(limits, Vec::new(), 1));
        let mut rig = Rig { reactor, app, heard: Vec::new(), made: 0, pipe };
        while rig.made < connections {
            rig.open(ABREAST.min(connections - rig.made));
        }
        rig
    }

    /// Opens so many more WebSockets side by side; returns the number of the first.
    pub fn open(&mut self, count: usize) -> usize {
        let first = self.made;
        self.made += count;
        let (held, open) =
            (self.reactor.hub().connections() + count as u64, self.stats().open + count as u64);
        for number in first..self.made {
            self.reactor.io().0.add(Duration::ZERO, self.pipe, self.pipe, Puppet);
            // A puppet has nothing to do when it hears something, so the network need not plan that it hears.
            self.reactor.io().0.on_line(number, |line| line.vanish());
        }
        while self.reactor.hub().connections() < held {
            self.turn();
        }
        (first..self.made).for_each(|conn| assert_eq!(self.deliver(conn, HELLO), HELLO.len()));
        while self.stats().open < open {
            self.turn();
        }
        (first..self.made).for_each(|conn| {
            self.take_output(conn);
        });
        first
    }

    /// Closes the peer's end of so many connections from `first` on, and waits until the loop has forgotten them.
    ///
    /// # Panics
    /// When there is no such connection.
    pub fn leave(&mut self, first: usize, count: usize) {
        let held = self.reactor.hub().connections() - count as u64;
        (first..first + count).for_each(|conn| self.reactor.io().0.on_line(conn, |line| line.leave()));
        while self.reactor.hub().connections() > held {
            self.turn();
        }
    }

    /// Puts bytes on the line of a connection's peer; returns how many there was room for.
    ///
    /// # Panics
    /// When there is no such connection.
    pub fn deliver(&mut self, conn: usize, bytes: &[u8]) -> usize {
        self.reactor.io().0.on_line(conn, |line| line.send(bytes))
    }

    /// One turn of the loop, without waiting. It serves everybody who has been delivered to, within the budgets.
    ///
    /// # Panics
    /// Never: the simulated poller does not fail.
    #[inline]
    pub fn turn(&mut self) {
        self.turn_within(Duration::ZERO);
    }

    /// One turn of the loop, which may wait so long. Returns the time that has passed in the simulation.
    ///
    /// # Panics
    /// Never: the simulated poller does not fail.
    #[inline(never)]
    pub fn turn_within(&mut self, max_wait: Duration) -> Duration {
        let before = self.reactor.io().now();
        let turn = self.reactor.turn(&mut self.app, Some(max_wait));
        debug_assert!(turn.is_ok());
        self.reactor.io().now() - before
    }

    /// The network below.
    pub fn io(&mut self) -> &mut SimIo<Puppet> {
        &mut self.reactor.io().0
    }

    /// Throws away what the server has written to a connection; returns how many bytes that was.
    ///
    /// # Panics
    /// When there is no such connection.
    pub fn take_output(&mut self, conn: usize) -> usize {
        self.heard.clear();
        let heard = &mut self.heard;
        self.reactor.io().0.on_line(conn, |line| line.receive(heard, usize::MAX))
    }

    /// The application.
    pub fn app(&mut self) -> &mut H {
        &mut self.app
    }

    /// The loop, lent as to a callback.
    pub fn context(&mut self) -> Context<'_> {
        self.reactor.context()
    }

    /// The counters.
    pub fn stats(&mut self) -> Stats {
        self.reactor.hub().stats()
    }
}

impl Io for Seam {
    type Socket = SimSocket;

    #[inline(never)]
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> Result<()> {
        self.0.wait(timeout, events)
    }

    #[inline(never)]
    fn now(&mut self) -> Duration {
        self.0.now()
    }

    #[inline(never)]
    fn accept(&mut self, listener: usize) -> Result<(SimSocket, SocketAddr)> {
        self.0.accept(listener)
    }

    #[inline(never)]
    fn refuse(&mut self, listener: usize, answer: &[u8]) -> Result<()> {
        self.0.refuse(listener, answer)
    }

    #[inline(never)]
    fn listeners(&self) -> usize {
        self.0.listeners()
    }

    #[inline(never)]
    fn stop_listening(&mut self) {
        self.0.stop_listening();
    }

    #[inline(never)]
    fn adopt(&mut self, socket: SimSocket, key: u32, writable: bool) -> Result<()> {
        self.0.adopt(socket, key, writable)
    }

    #[cfg(any(test, feature = "client"))]
    #[inline(never)]
    fn connect(&mut self, key: u32, address: SocketAddr, source: Option<SocketAddr>) -> Result<()> {
        self.0.connect(key, address, source)
    }

    #[inline(never)]
    fn read(&mut self, key: u32, bytes: &mut [u8]) -> Result<usize> {
        self.0.read(key, bytes)
    }

    #[inline(never)]
    fn write(&mut self, key: u32, slices: &[IoSlice<'_>]) -> Result<usize> {
        self.0.write(key, slices)
    }

    #[inline(never)]
    fn want_write(&mut self, key: u32, on: bool) -> Result<()> {
        self.0.want_write(key, on)
    }

    #[inline(never)]
    fn shut(&mut self, key: u32) {
        self.0.shut(key);
    }

    #[inline(never)]
    fn close(&mut self, key: u32, reset: bool) {
        self.0.close(key, reset);
    }

    #[inline(never)]
    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
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
        assert_eq!(rig.context().stats().open, 300);
    }

    /// All that is published goes to everybody.
    struct Hall;

    impl Handler for Hall {
        fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
            cx.subscribe(conn, "all").unwrap();
        }

        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
    }

    #[test]
    fn ten_thousand_that_stand_still_share_one_copy() {
        const CROWD: usize = 10_000;
        const LEN: usize = 1 << 20;
        const PIPE: usize = 4096;
        let mut rig = Rig::with(CROWD, PIPE, Hall, |_| {});
        assert_eq!(rig.context().publish("all", Message::binary(vec![7; LEN])), CROWD);
        (0..100).for_each(|_| rig.turn());
        let stats = rig.stats();
        let queued = stats.queued_bytes as usize / CROWD;
        assert!((LEN - PIPE..LEN).contains(&queued), "{queued} each");
        // One copy, and a place in a queue for each.
        assert!(stats.memory_bytes < (2 * LEN + 200 * CROWD) as u64, "{stats:?}");
        assert_eq!((stats.open, stats.messages_out), (CROWD as u64, CROWD as u64));
        rig.leave(0, CROWD);
        assert_eq!((rig.stats().memory_bytes, rig.stats().queued_bytes), (0, 0));
    }

    #[test]
    fn what_leaves_is_forgotten_and_others_may_come() {
        let mut rig = Rig::new(3, Echo);
        rig.leave(1, 2);
        let first = rig.open(2);
        assert_eq!((first, rig.stats().open, rig.stats().ended), (3, 3, 2));
        let mut frame = Vec::new();
        frame::append(&mut frame, true, Opcode::Text, b"hello", Some([1, 2, 3, 4]));
        for conn in [0, 3, 4] {
            rig.deliver(conn, &frame);
        }
        rig.turn();
        assert_eq!([0, 3, 4].map(|conn| rig.take_output(conn)), [7; 3]);
    }
}
