//! The loop's way to peers behind TLS: what it reads is opened, what it writes is sealed.
//!
//! Refuses to know the protocol, as the rest of the loop. Invariants: the two buffers are the loop's, so that no peer owns
//! one; what was sealed goes out before anything newer, and what the kernel does not take of it is kept, one chunk at the
//! most; plaintext counts as sent when it is sealed; a turn works on `tls_handshake_budget` handshakes and no more.

use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;

use super::io::Io;
use super::newcomers::NO_DESCRIPTOR;
use super::{Reactor, Wrote, taken};
use crate::conn::cork::HEADROOM;
use crate::conn::outbox::SLICES;
use crate::conn::tls::{CHUNK, JOIN, Tls, WIRE};
use crate::hub::Marks;
use crate::hub::admission::Admission;
use crate::hub::broadcast::Broadcast;
use crate::hub::handler::Handler;

/// What all peers behind TLS share. The buffers come about with the first of them.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// What was opened.
    plain: Vec<u8>,
    /// What is sealed.
    wire: Vec<u8>,
    /// One bit for each listener whose peers speak TLS.
    listeners: u64,
    /// Handshakes that this turn may still work on.
    handshakes: usize,
}

impl<I: Io> Reactor<I> {
    /// Peers of this listener speak TLS.
    pub fn listen_tls(&mut self, listener: usize) {
        self.lent.listeners |= 1 << listener;
    }

    /// Lets a peer in that the listener has accepted, or not.
    pub(super) fn admit(&mut self, listener: usize, peer: SocketAddr) -> Admission {
        if !self.speaks_tls(listener) {
            return self.hub.admit(peer);
        }
        if self.lent.wire.is_empty() {
            self.lent.wire.resize(WIRE, 0);
        }
        self.hub.admit_tls(peer)
    }

    fn speaks_tls(&self, listener: usize) -> bool {
        self.lent.listeners >> listener & 1 == 1
    }

    /// What a peer is told that comes when there is no descriptor for it: in TLS, nothing.
    pub(super) fn no_descriptor(&self, listener: usize) -> &'static [u8] {
        if self.speaks_tls(listener) { &[] } else { NO_DESCRIPTOR }
    }

    pub(super) fn begin_handshakes(&mut self) {
        self.lent.handshakes = self.hub.limits.tls_handshake_budget;
    }

    /// True when a peer is in a handshake that this turn has no time for: it is put off to the next.
    pub(super) fn put_off(&mut self, index: u32) -> bool {
        if !self.hub.is_shaking(index) {
            return false;
        }
        if self.lent.handshakes == 0 {
            self.hub.stats.budget_tls_handshake += 1;
            self.hub.mark_ready(index);
            return true;
        }
        self.lent.handshakes -= 1;
        false
    }

    /// Hands on `len` bytes that were read.
    pub(super) fn received(&mut self, index: u32, len: usize, drained: bool, app: &mut dyn Handler) {
        let buffer = &mut self.scratch[..HEADROOM + len];
        if self.hub.is_tls(index) {
            let bytes = &mut buffer[HEADROOM..];
            return self.hub.received_tls(index, bytes, drained, &mut self.lent.plain, app);
        }
        self.hub.received_lent(index, buffer, drained, app);
    }

    /// Seals and writes once of what waits for a peer, at most `room` bytes of plaintext.
    pub(super) fn write_sealed(&mut self, index: u32, room: usize) -> Wrote {
        let Some(mut tls) = self.hub.lend_tls(index) else { return Wrote::Blocked };
        let room = room.min(CHUNK);
        let last = |len| self.hub.says_goodbye(index, len);
        let Lent { plain, wire, .. } = &mut self.lent;
        // As where there is no TLS: the table of slices is for those who have more than a reply.
        let sealed = if let Some(reply) = self.hub.outgoing_reply(index, room, &[]) {
            seal(&mut self.io, index, &mut tls, reply, wire, last)
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = if tls.can_seal() { self.hub.outgoing(index, room, &[], &mut slices) } else { 0 };
            plain.clear();
            slices[..count].iter().for_each(|slice| plain.extend_from_slice(slice));
            seal(&mut self.io, index, &mut tls, plain, wire, last)
        };
        self.hub.give_tls(index, tls);
        self.hub.stats.writes += 1;
        match sealed {
            Sealed::Done { plain, wire, blocked } => {
                self.hub.advance(index, plain);
                self.hub.stats.bytes_out += wire as u64;
                self.hub.stats.writes_short += u64::from(blocked);
                if blocked && !self.hub.make_tls_room(index) {
                    return Wrote::Failed;
                }
                if blocked { Wrote::Blocked } else { Wrote::More(plain) }
            }
            Sealed::Failed(kind) => {
                self.hub.broken(index, kind);
                Wrote::Failed
            }
            Sealed::WornOut => {
                self.hub.tls_worn_out(index);
                Wrote::Failed
            }
        }
    }

    /// Seals and writes once of what was published; the rest is queued.
    pub(super) fn broadcast_sealed(&mut self, index: u32, broadcast: &Broadcast, offered: &[u8]) {
        let Some(mut tls) = self.hub.lend_tls(index) else { return };
        let sealed = seal(&mut self.io, index, &mut tls, offered, &mut self.lent.wire, |_| false);
        self.hub.give_tls(index, tls);
        self.hub.stats.writes += 1;
        match sealed {
            Sealed::Done { plain, wire, blocked } => {
                self.hub.broadcast_sealed(index, broadcast, plain, blocked);
                // The count of bytes written is of those on the wire: it has the plaintext by now.
                self.hub.stats.bytes_out = self.hub.stats.bytes_out + wire as u64 - plain as u64;
                if blocked {
                    self.hub.stats.writes_short += 1;
                    self.want_write(index, true);
                    self.hub.make_tls_room(index);
                }
            }
            Sealed::Failed(kind) => self.hub.broken(index, kind),
            Sealed::WornOut => self.hub.tls_worn_out(index),
        }
    }

    /// Says goodbye to a peer whose connection ends without a last flush, where that can be said at once.
    pub(super) fn part(&mut self, index: u32) {
        let stays = self.hub.slot(index).is_some_and(|slot| !slot.marks.has(Marks::RESET));
        if stays
            && self.hub.is_tls(index)
            && let Some(mut tls) = self.hub.lend_tls(index)
        {
            if tls.waiting() == 0
                && let Some(len) = tls.close(&mut self.lent.wire)
                // Nobody waits for it any more: what becomes of it is no longer asked.
                && let Ok(len) = self.io.write(index, &[IoSlice::new(&self.lent.wire[..len])])
            {
                self.hub.stats.bytes_out += len as u64;
            }
            self.hub.give_tls(index, tls);
        }
    }
}

/// What came of a write.
enum Sealed {
    /// So much plaintext has been sealed, so many bytes have been written, and the kernel takes no more if `blocked`.
    Done { plain: usize, wire: usize, blocked: bool },
    /// The connection has failed.
    Failed(ErrorKind),
    /// The keys have sealed all that they may.
    WornOut,
}

/// Writes what waits, and if that was little, behind it what `plain` becomes, of which a chunk is taken; with a
/// `close_notify` where `is_last` says so of what was taken.
fn seal<I: Io>(
    io: &mut I,
    index: u32,
    tls: &mut Tls,
    plain: &[u8],
    wire: &mut Vec<u8>,
    is_last: impl FnOnce(usize) -> bool,
) -> Sealed {
    if wire.is_empty() {
        wire.resize(WIRE, 0);
    }
    if tls.waiting() > JOIN {
        let offered = tls.waiting();
        return match taken(offered, io.write(index, &[IoSlice::new(tls.outgoing())])) {
            Ok((len, blocked)) => {
                tls.took(len);
                Sealed::Done { plain: 0, wire: len, blocked }
            }
            Err(kind) => Sealed::Failed(kind),
        };
    }
    let mut len = tls.join(wire);
    let mut took = 0;
    if tls.can_seal() {
        if !plain.is_empty() {
            let Some(sealed) = tls.seal(plain, &mut wire[len..]) else { return Sealed::WornOut };
            len += sealed;
            took = plain.len().min(CHUNK);
        }
        if is_last(took) {
            len += tls.close(&mut wire[len..]).unwrap_or(0);
        }
    }
    if len == 0 {
        return Sealed::Done { plain: 0, wire: 0, blocked: false };
    }
    match taken(len, io.write(index, &[IoSlice::new(&wire[..len])])) {
        Ok((written, blocked)) => {
            if written < len {
                tls.keep(&wire[written..len]);
            }
            Sealed::Done { plain: took, wire: written, blocked }
        }
        Err(kind) => Sealed::Failed(kind),
    }
}
