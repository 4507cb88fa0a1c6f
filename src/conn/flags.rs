//! `Flags`: yes-or-no facts about a connection, in two bytes.
//!
//! Refuses to know what follows from them. Invariant: a fact has one bit, in every build that knows it.

/// A set of yes-or-no facts about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(super) u16);

impl Flags {
    /// We are the client.
    pub const CLIENT: u16 = 1;
    /// The application takes messages in parts.
    pub const PARTS: u16 = 1 << 1;
    /// The backlog rose above `backlog_high` and has not fallen to `backlog_low` since: reading is paused.
    pub const HIGH: u16 = 1 << 2;
    /// A Ping is out and nothing has arrived since.
    pub const PINGED: u16 = 1 << 3;
    /// Our Close is queued.
    pub const CLOSE_SENT: u16 = 1 << 4;
    /// The peer's Close has come.
    pub const CLOSE_RECEIVED: u16 = 1 << 5;
    /// The application is owed `on_close`.
    pub const ANNOUNCED: u16 = 1 << 6;
    /// The peer sends nothing more.
    pub const PEER_DONE: u16 = 1 << 7;
    /// Our half is shut.
    pub const SHUT: u16 = 1 << 8;
    /// The application does not want the peer to be read.
    pub const PAUSED: u16 = 1 << 9;
    /// As a client we want back what we sent: the answer's key is not verified, and frames must come masked.
    pub const UNCHECKED: u16 = 1 << 10;
    /// A message that we send in parts is open, and there is no queue, which would know it.
    pub const SENDS_PARTS: u16 = 1 << 11;
    /// Our window is to be smaller than the loop's.
    #[cfg(feature = "deflate")]
    pub const NARROW: u16 = 1 << 14;
    /// permessage-deflate has been agreed.
    #[cfg(feature = "deflate")]
    pub const DEFLATE: u16 = 1 << 15;

    /// Any of these: what is sent is more than a header and the bytes as they are.
    #[cfg(not(feature = "deflate"))]
    pub const CODED: u16 = Flags::CLIENT;
    /// Any of these: what is sent is more than a header and the bytes as they are.
    #[cfg(feature = "deflate")]
    pub const CODED: u16 = Flags::CLIENT | Flags::DEFLATE;

    /// True when any of `bits` is set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Sets or clears `bits`.
    pub fn set(&mut self, bits: u16, on: bool) {
        self.0 = if on { self.0 | bits } else { self.0 & !bits };
    }

    /// Clears `bits`; true when any of them was set.
    pub fn take(&mut self, bits: u16) -> bool {
        let had = self.has(bits);
        self.set(bits, false);
        had
    }
}
