//! The TLS sessions of a loop: a table beside the slots, so that a slot has its 64 bytes with and without.
//!
//! Refuses to know sockets and rustls. Invariants: a connection has the mark `TLS` exactly as long as its session is in
//! the table, or lent; what a session holds is on the ledger, what waits in it is in `queued_bytes`; plaintext is queued
//! for a peer before its handshake is done only by a client, and waits.

use std::net::SocketAddr;

use super::admission::Admission;
use super::broadcast::Broadcast;
use super::handler::Handler;
use super::{Hub, Marks};
use crate::conn::Flags;
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::error::TlsError;
use crate::conn::phase::Phase;
use crate::conn::tls::{Failed, ServerTls, Tls, TlsSession};

/// The sessions, by the place of their connections; and what a new one is begun with.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    server: Option<ServerTls>,
    table: Vec<Option<Box<Tls>>>,
}

impl Sessions {
    fn at(&self, index: u32) -> Option<&Tls> {
        self.table.get(index as usize).and_then(Option::as_deref)
    }

    /// Gives the memory of a crowd back that has gone.
    pub(super) fn shrink(&mut self) {
        self.table = Vec::new();
    }
}

impl Hub {
    /// Sets what sessions are begun with from here on; those that are there stay as they are.
    pub fn set_tls(&mut self, tls: ServerTls) {
        self.sessions.server = Some(tls);
    }

    /// True when sessions can be begun with peers that connect.
    pub fn has_tls(&self) -> bool {
        self.sessions.server.is_some()
    }

    /// Decides on a peer that has connected to a port for TLS. One that is refused is closed: to tell it so would take a
    /// handshake, which is what there is no room for.
    pub fn admit_tls(&mut self, peer: SocketAddr) -> Admission {
        self.stats.accepted += 1;
        if let Some(refused) = self.refusal(peer) {
            *refused += 1;
            self.stats.refused_silently += 1;
            return Admission::Drop;
        }
        let Some(tls) = self.sessions.server.as_ref().and_then(ServerTls::accept) else {
            self.stats.refused_connections += 1;
            return Admission::Drop;
        };
        let index = self.welcome(peer);
        self.veil(index, tls);
        Admission::Admit(index)
    }

    /// Puts a session between a connection and its socket.
    pub(super) fn veil(&mut self, index: u32, tls: Tls) {
        self.slots.0[index as usize].marks.set(Marks::TLS, true);
        if self.sessions.table.len() <= index as usize {
            self.sessions.table.resize_with(index as usize + 1, || None);
        }
        self.give_tls(index, Box::new(tls));
    }

    /// True when there is TLS between a connection and its socket.
    pub fn is_tls(&self, index: u32) -> bool {
        self.slots.0[index as usize].marks.has(Marks::TLS)
    }

    /// Lends a session, so that the hub can be used meanwhile.
    pub fn lend_tls(&mut self, index: u32) -> Option<Box<Tls>> {
        self.sessions.table.get_mut(index as usize).and_then(Option::take)
    }

    /// Takes a session back, and its changes into the sums.
    pub fn give_tls(&mut self, index: u32, mut tls: Box<Tls>) {
        let (held, waited) = tls.entered;
        tls.entered = (tls.charge(), tls.waiting());
        self.memory.set(self.memory.get() + tls.entered.0 - held);
        self.stats.queued_bytes = self.stats.queued_bytes + tls.entered.1 as u64 - waited as u64;
        if let Some(place) = self.sessions.table.get_mut(index as usize) {
            *place = Some(tls);
        }
    }

    /// The end of a session, with its connection.
    pub(super) fn drop_tls(&mut self, index: u32) {
        if let Some(tls) = self.lend_tls(index) {
            let (held, waited) = tls.entered;
            self.memory.set(self.memory.get() - held);
            self.stats.queued_bytes -= waited as u64;
        }
    }

    /// What is known of a connection's session, once it is established.
    pub(super) fn tls_session(&self, index: u32) -> Option<TlsSession<'_>> {
        self.sessions.at(index).filter(|tls| !tls.is_shaking()).map(TlsSession)
    }

    /// Memory that a session's buffers hold, in bytes.
    pub(super) fn tls_charge(&self, index: u32) -> usize {
        self.sessions.at(index).map_or(0, |tls| tls.entered.0)
    }

    /// Bytes that are sealed and not taken by the kernel.
    pub fn tls_waiting(&self, index: u32) -> usize {
        self.sessions.at(index).map_or(0, Tls::waiting)
    }

    /// True while the handshake is under way.
    pub fn is_shaking(&self, index: u32) -> bool {
        self.is_tls(index) && self.sessions.at(index).is_some_and(Tls::is_shaking)
    }

    /// True when there is something to seal for a peer, or to write to it: the last is a `close_notify`.
    pub(super) fn has_sealed(&self, index: u32) -> bool {
        let Some(tls) = self.sessions.at(index) else { return false };
        let conn = &self.slots.0[index as usize].conn;
        tls.waiting() > 0
            || tls.can_seal()
                && (self.cork_waits(index) || conn.sendable() > 0 || self.says_goodbye(index, 0))
    }

    /// True when nothing follows behind the next `len` bytes of plaintext: a `close_notify` does (RFC 8446 §6.1).
    pub fn says_goodbye(&self, index: u32, len: usize) -> bool {
        let conn = &self.slots.0[index as usize].conn;
        let corked = if self.corked == index { self.cork.waiting() } else { 0 };
        conn.phase == Phase::Ending && conn.backlog() + corked == len
    }

    /// Bytes came for a session, `drained` as in [`Hub::received`]: opens them in `plain`, and goes on with that.
    pub fn received_tls(
        &mut self,
        index: u32,
        bytes: &mut [u8],
        drained: bool,
        plain: &mut Vec<u8>,
        app: &mut dyn Handler,
    ) {
        self.note_received(index, bytes.len(), drained);
        let Some(mut tls) = self.lend_tls(index) else { return };
        let (shaking, listening, waited) = (tls.is_shaking(), !tls.is_peer_done(), tls.waiting());
        plain.clear();
        let result = tls.open(bytes, plain, self.limits.tls_handshake_max);
        let established = shaking && tls.can_seal();
        let ended = listening && tls.is_peer_done();
        let speaks = tls.waiting() > waited;
        let resumed = established && TlsSession(&tls).is_resumed();
        self.give_tls(index, tls);
        if established {
            self.stats.tls_handshakes += 1;
            self.stats.tls_resumed += u64::from(resumed);
        }
        if speaks || established {
            // A client's request has waited for this. Should the kernel still be full, it says so again.
            self.slots.0[index as usize].marks.set(Marks::BLOCKED, false);
            self.mark_dirty(index);
        }
        if self.make_tls_room(index) && !plain.is_empty() {
            self.feed(index, plain, app);
        }
        match result {
            Err(failed) => self.tls_failed(index, failed),
            Ok(()) if ended => self.end_of_stream_as(index, Cause::EndOfStream),
            Ok(()) => {}
        }
    }

    /// `len` bytes of a subscriber's share have been sealed, as in [`Hub::broadcast_sent`]; what the kernel did not take of
    /// that waits in the session, until it can take more where it is `blocked`.
    pub fn broadcast_sealed(&mut self, index: u32, broadcast: &Broadcast, len: usize, blocked: bool) {
        self.broadcast_sent(index, broadcast, len, blocked);
        if self.tls_waiting(index) > 0 {
            self.slots.0[index as usize].marks.set(Marks::BLOCKED, blocked);
            self.mark_dirty(index);
        }
    }

    /// What is kept of records, or sealed, has grown; false when the connection was one of those that had to go.
    pub fn make_tls_room(&mut self, index: u32) -> bool {
        self.memory.get() <= self.limits.memory_max || self.reserve(index, 0)
    }

    /// TLS has failed. What the session still has to say, an alert, goes out; what was queued cannot.
    fn tls_failed(&mut self, index: u32, failed: Failed) {
        let slot = &self.slots.0[index as usize];
        if matches!(slot.conn.phase, Phase::Closed) {
            return;
        }
        let by = if matches!(failed.error, TlsError::Alert(_)) { By::Peer } else { By::Server };
        self.stats.plain_on_tls_port += u64::from(failed.error == TlsError::PlainHttp);
        self.drop_queue(index);
        self.slots.0[index as usize].marks.set(Marks::BLOCKED, false);
        self.ending(index, Closed::with(by, Cause::Tls(failed.error), None, &failed.text));
    }

    /// No more can be sealed for a peer.
    pub fn tls_worn_out(&mut self, index: u32) {
        self.doom(index, Closed::new(By::Server, Cause::Tls(TlsError::Protocol)), true);
    }

    fn drop_queue(&mut self, index: u32) {
        if self.corked == index {
            self.cork.clear();
        }
        self.with(index, |conn, _| conn.outbox = None);
        let conn = &mut self.slots.0[index as usize].conn;
        // The mark of a high backlog goes with the backlog.
        conn.flags.set(Flags::HIGH, false);
    }

    /// The socket's stream is over, and with it the session.
    pub(super) fn end_of_tls(&mut self, index: u32) {
        let cut = self.sessions.at(index).is_some_and(Tls::is_cut_by_end);
        if self.slots.0[index as usize].conn.flags.has(Flags::PEER_DONE) {
            // `close_notify` has been taken for the end already, and there is nothing behind it.
            return;
        }
        self.end_of_stream_as(index, if cut { Cause::Truncated } else { Cause::EndOfStream });
    }
}
