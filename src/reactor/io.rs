//! `trait Io`: the seam between the loop and whatever moves bytes, real or simulated.
//!
//! The loop knows its peers by a key, which is their place in the hub; the sockets behind the keys belong to the `Io`.
//! An implementation may report readiness that is not there, transfer less than asked, or be late; it never invents,
//! loses or reorders bytes of a connection that it has not failed.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The listener with this number.
    Listener(usize),
    /// Another thread has called.
    Waker,
    /// The peer with this key.
    Peer(u32),
}

/// An event: what may now be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Who.
    pub source: Source,
    /// Reading may give bytes, the end, or an error.
    pub readable: bool,
    /// Writing may take bytes, or fail.
    pub writable: bool,
    /// The peer's stream has ended behind what can still be read.
    pub read_closed: bool,
    /// The connection has failed; reading or writing will say how.
    pub failed: bool,
}

/// Wakes a loop from another thread.
pub trait Wake: Send + Sync {
    /// Makes the loop's wait return, now or the next time.
    fn wake(&self);
}

/// Moves bytes and reports readiness, edge-triggered: an event comes once, and the next one only after an operation has
/// found nothing more to do.
pub trait Io {
    /// A connection accepted but not yet known by a key.
    type Socket;

    /// Waits for events, at most for `timeout` (for ever without one), and appends them to `events`. A signal may end
    /// the wait early without an event.
    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> io::Result<()>;

    /// Time since the loop started; never runs backwards.
    fn now(&mut self) -> Duration;

    /// Takes a waiting connection of a listener; `WouldBlock` when there is none.
    fn accept(&mut self, listener: usize) -> io::Result<(Self::Socket, SocketAddr)>;

    /// When `accept` failed for want of descriptors: spends the reserved one to take a waiting connection, tell it
    /// `answer`, and close it. `WouldBlock` when no connection waits.
    fn refuse(&mut self, listener: usize, answer: &[u8]) -> io::Result<()>;

    /// Number of listeners.
    fn listeners(&self) -> usize;

    /// Closes all listeners.
    fn stop_listening(&mut self);

    /// Gives an accepted connection its key and begins to report its readability, and its writability if `writable`.
    fn adopt(&mut self, socket: Self::Socket, key: u32, writable: bool) -> io::Result<()>;

    #[cfg(any(test, feature = "client"))]
    /// Begins a connection to `address`, from `source` if given, under `key`. It is writable when made.
    fn connect(&mut self, key: u32, address: SocketAddr, source: Option<SocketAddr>) -> io::Result<()>;

    /// Reads; zero is the end of the peer's stream.
    fn read(&mut self, key: u32, bytes: &mut [u8]) -> io::Result<usize>;

    /// Writes from several slices in their order; returns how many bytes were taken.
    fn write(&mut self, key: u32, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Reports writability too, or no longer.
    fn want_write(&mut self, key: u32, on: bool) -> io::Result<()>;

    /// Ends our half of the stream, behind what has been written.
    fn shut(&mut self, key: u32);

    /// Ends a connection and forgets its key; with `reset`, unsent bytes are dropped and the peer is told.
    fn close(&mut self, key: u32, reset: bool);

    /// What other threads wake this loop with.
    fn waker(&self) -> Arc<dyn Wake>;
}
