//! One connection of the simulated network: two pipes, what the kernel knows of the server's end, and what the peer at
//! the other end may do.
//!
//! Refuses to know time and what the bytes mean. Invariant: bytes come out in the order they went in; they are lost
//! only by a reset.

use std::collections::VecDeque;

use super::faults::{Fault, Faults};

/// Bytes under way in one direction.
#[derive(Debug)]
pub(super) struct Pipe {
    pub bytes: VecDeque<u8>,
    pub capacity: usize,
    /// Nothing follows.
    pub ended: bool,
}

impl Pipe {
    fn new(capacity: usize) -> Self {
        Pipe { bytes: VecDeque::new(), capacity, ended: false }
    }

    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Takes out the first bytes, as many as `into` holds or there are.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let (first, second) = self.bytes.as_slices();
        let a = first.len().min(into.len());
        let b = second.len().min(into.len() - a);
        into[..a].copy_from_slice(&first[..a]);
        into[a..a + b].copy_from_slice(&second[..b]);
        self.bytes.drain(..a + b);
        a + b
    }
}

/// Where the server's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Not begun, or refused by a network without a listener.
    Nowhere,
    /// In the listener's queue.
    Queued,
    /// Accepted, without a key.
    Accepted,
    /// Known by this key.
    Adopted(u32),
    /// Closed by the server.
    Closed,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// Towards the server.
    pub up: Pipe,
    /// Towards the peer.
    pub down: Pipe,
    pub place: Place,
    /// The server wants to hear of room.
    pub want_write: bool,
    /// A write has found the pipe full: say when there is room again.
    pub full: bool,
    /// The server has shut its half.
    pub shut: bool,
    /// The peer has reset the connection; `told` once the server has heard so.
    pub reset: bool,
    pub told: bool,
    /// The server has read the end.
    pub end_seen: bool,
    /// The server's end was reset or closed over unread bytes.
    pub cut: bool,
    /// The peer has closed its end: what comes now is answered with a reset.
    pub left: bool,
    /// Neither side will ever hear of the other again.
    pub vanished: bool,
    /// An event of it waits to be delivered.
    pub armed: bool,
    /// A fault of the network has hit it, so that nobody can expect anything of it.
    pub struck: bool,
    /// When the peer acts next.
    pub wake: Option<std::time::Duration>,
}

impl Wire {
    pub fn new(up: usize, down: usize) -> Self {
        Wire {
            up: Pipe::new(up),
            down: Pipe::new(down),
            place: Place::Nowhere,
            want_write: false,
            full: false,
            shut: false,
            reset: false,
            told: false,
            end_seen: false,
            cut: false,
            left: false,
            vanished: false,
            armed: false,
            struck: false,
            wake: None,
        }
    }

    /// The server's end is no more. Closing over unread bytes resets the connection, and a reset may overtake what is
    /// still under way (RFC 9112 §9.6): that is why a server lingers.
    pub fn close_server(&mut self, reset: bool, faults: &mut Faults) {
        self.place = Place::Closed;
        self.down.ended = true;
        self.cut = reset || !self.up.bytes.is_empty();
        if self.cut {
            let kept = faults.below(self.down.bytes.len() as u64 + 1) as usize;
            self.down.bytes.truncate(kept);
        }
        self.up.bytes.clear();
    }
}

/// How the server's stream ended, as the peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By an orderly end.
    Clean,
    /// By a reset.
    Reset,
}

/// A peer's end of its connection, lent while the peer acts.
#[derive(Debug)]
pub struct Line<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) faults: &'a mut Faults,
    pub(super) now: std::time::Duration,
    /// Something happened that the server's kernel notices.
    pub(super) edge: bool,
}

impl Line<'_> {
    /// The network's time.
    pub fn now(&self) -> std::time::Duration {
        self.now
    }

    /// Sends; returns how many bytes there was room for.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let wire = &mut *self.wire;
        if wire.place == Place::Closed {
            // What reaches a closed socket is answered with a reset, which destroys what the peer has not read.
            wire.cut = true;
            let kept = self.faults.below(wire.down.bytes.len() as u64 + 1) as usize;
            wire.down.bytes.truncate(kept);
            return bytes.len();
        }
        let len = bytes.len().min(wire.up.room());
        wire.up.bytes.extend(&bytes[..len]);
        self.edge |= len > 0;
        len
    }

    /// Receives up to `most` bytes.
    pub fn receive(&mut self, into: &mut Vec<u8>, most: usize) -> usize {
        let wire = &mut *self.wire;
        let old = into.len();
        into.resize(old + most.min(wire.down.bytes.len()), 0);
        let len = wire.down.take(&mut into[old..]);
        if len > 0 && std::mem::replace(&mut wire.full, false) {
            self.edge = true;
        }
        len
    }

    /// True when bytes can be received.
    pub fn has_bytes(&self) -> bool {
        !self.wire.down.bytes.is_empty()
    }

    /// How the server's stream has ended, when everything before that has been received.
    pub fn ended(&self) -> Option<End> {
        let wire = &*self.wire;
        let over = wire.down.ended && wire.down.bytes.is_empty();
        over.then_some(if wire.cut { End::Reset } else { End::Clean })
    }

    /// Ends the peer's half; it may still receive.
    pub fn finish(&mut self) {
        self.wire.up.ended = true;
        self.edge = true;
    }

    /// Closes the peer's end.
    pub fn leave(&mut self) {
        self.wire.left = true;
        self.wire.down.bytes.clear();
        self.finish();
    }

    /// Resets the connection; what is under way to the server may be lost with it.
    pub fn reset(&mut self) {
        self.faults.note(Fault::Reset);
        let kept = self.faults.below(self.wire.up.bytes.len() as u64 + 1) as usize;
        self.wire.up.bytes.truncate(kept);
        self.wire.reset = true;
        self.wire.down.bytes.clear();
        self.edge = true;
    }

    /// Pulls the plug: the server is told nothing, now or later.
    pub fn vanish(&mut self) {
        self.faults.note(Fault::Vanish);
        self.wire.vanished = true;
    }

    /// Counts a fault that the peer commits by itself.
    pub fn note(&mut self, fault: Fault) {
        self.faults.note(fault);
    }
}

/// What lives at the other end of a simulated connection.
pub trait Peer {
    /// Does what is to be done now: called when its connection is made, when something has happened to its line, and
    /// at the time it asked for. Returns when it wants to be called at the latest.
    fn act(&mut self, line: &mut Line<'_>) -> Option<std::time::Duration>;
}

/// A peer without a will of its own; whoever holds the network moves its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Puppet;

impl Peer for Puppet {
    fn act(&mut self, _line: &mut Line<'_>) -> Option<std::time::Duration> {
        None
    }
}
