//! `Marks`: what the loop notes down about a connection, one bit each.
//!
//! Refuses to know what follows from a mark. Invariant: two bytes in the slot, whatever is added.

/// What the loop, not the protocol, remembers of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u16);

impl Marks {
    /// The kernel may hold unread bytes.
    pub const READABLE: u16 = 1;
    /// The kernel reported the end of the peer's stream; a short read does not mean drained.
    pub const READ_CLOSED: u16 = 1 << 1;
    /// On the ready list.
    pub const READY: u16 = 1 << 2;
    /// On the dirty list.
    pub const DIRTY: u16 = 1 << 3;
    /// Waiting for the kernel to take bytes again.
    pub const BLOCKED: u16 = 1 << 4;
    /// Counted as half open.
    pub const HALF_OPEN: u16 = 1 << 5;
    /// Refused; counted as such.
    pub const REFUSED: u16 = 1 << 6;
    /// Counted as open.
    pub const OPEN: u16 = 1 << 7;
    /// To be reset, not closed.
    pub const RESET: u16 = 1 << 8;
    /// The phase's own deadline is the one for a Pong.
    pub const AWAIT_PONG: u16 = 1 << 9;
    /// The phase's own deadline has been put off: a Ping is unanswered although the next one would be due, or the peer
    /// is still taking what is queued.
    pub const OVERDUE: u16 = 1 << 12;
    /// The kernel has been asked to report writability.
    pub const WRITE_INTEREST: u16 = 1 << 10;
    /// The application is owed `on_drain`, once the peer has been read.
    pub const DRAIN_OWED: u16 = 1 << 11;

    /// Being connected to its server, which has not answered yet.
    #[cfg(any(test, feature = "client"))]
    pub const DIALLED: u16 = 1 << 13;

    /// Between the socket and the connection is TLS, whose session the hub has. A build without it has no such bit.
    pub const TLS: u16 = if cfg!(feature = "tls") { 1 << 14 } else { 0 };

    /// Any of these: more is to be done for the peer than to write the reply.
    pub const BUSY: u16 =
        Marks::DIRTY | Marks::BLOCKED | Marks::WRITE_INTEREST | Marks::DRAIN_OWED | Marks::TLS;

    /// True when any of `bits` is set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Sets or clears `bits`; true when that changed something.
    pub fn set(&mut self, bits: u16, on: bool) -> bool {
        let before = self.0;
        self.0 = if on { before | bits } else { before & !bits };
        self.0 != before
    }
}
