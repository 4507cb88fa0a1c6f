//! Who comes: connections that listeners hold, taken or refused; connections to other servers, begun.
//!
//! Refuses to know who may come in: the hub decides. Invariants: at most `accept_budget` and `dial_budget` a turn; a
//! listener that has no descriptor for a peer is tried again, from the clock and whenever a connection has ended.

use std::io::ErrorKind;

use super::Reactor;
use super::io::Io;
use crate::hub::Marks;
use crate::hub::admission::Admission;

#[cfg(feature = "log")]
use log::{debug, warn};
#[cfg(not(feature = "log"))]
macro_rules! debug { ($($arg:tt)*) => { { let _ = format_args!($($arg)*); } }; }
#[cfg(not(feature = "log"))]
macro_rules! warn { ($($arg:tt)*) => { { let _ = format_args!($($arg)*); } }; }

/// What a peer is told that comes when there is no descriptor for it.
pub(super) const NO_DESCRIPTOR: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

impl<I: Io> Reactor<I> {
    /// True when listeners may have connections, are to be tried again, or are to be closed.
    pub(super) fn may_accept(&self) -> bool {
        self.pending.contains(&true) || self.retry_at.is_some() || self.hub.is_shutting_down()
    }

    #[inline(never)]
    pub(super) fn accept_all(&mut self) {
        if self.hub.is_shutting_down() {
            return self.stop_listening();
        }
        if self.retry_at.is_some_and(|at| at <= self.io.now()) {
            self.retry_listeners();
        }
        let mut budget = self.hub.limits.accept_budget;
        for listener in 0..self.pending.len() {
            while self.pending[listener] && budget > 0 {
                budget -= 1;
                self.accept_one(listener);
            }
        }
        if self.pending.contains(&true) {
            self.hub.stats.budget_accept += 1;
        }
    }

    pub(super) fn stop_listening(&mut self) {
        if std::mem::replace(&mut self.listening, false) {
            self.io.stop_listening();
            self.pending.clear();
            self.retry_at = None;
        }
    }

    pub(super) fn retry_listeners(&mut self) {
        self.retry_at = None;
        for listener in 0..self.io.listeners() {
            self.set_pending(listener, true);
        }
    }

    fn accept_one(&mut self, listener: usize) {
        match self.io.accept(listener) {
            Ok((socket, peer)) => {
                self.starved = false;
                match self.admit(listener, peer) {
                    Admission::Drop => drop(socket),
                    Admission::Admit(index) => self.adopt(socket, index),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.pending[listener] = false,
            Err(error) if out_of_descriptors(&error) => self.refuse_one(listener, &error),
            Err(error) => {
                self.hub.stats.accept_errors += 1;
                debug!("accept: {error}");
                // Of a single connection: the next one may be fine. Anything else (no memory, say) would come again at
                // once.
                if !matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) {
                    self.try_listeners_later(listener);
                }
            }
        }
    }

    fn adopt(&mut self, socket: I::Socket, index: u32) {
        let writable = self.hub.limits.write_interest;
        match self.io.adopt(socket, index, writable) {
            Err(error) => self.hub.broken(index, error.kind()),
            Ok(()) => {
                if let Some(slot) = self.hub.slot(index) {
                    slot.marks.set(Marks::WRITE_INTEREST, writable);
                }
            }
        }
    }

    /// No descriptor is left. The listener is edge-triggered: to do nothing would be to hear nothing again, to try
    /// again at once would be to spin.
    fn refuse_one(&mut self, listener: usize, error: &std::io::Error) {
        if !std::mem::replace(&mut self.starved, true) {
            warn!("no descriptor left for a new connection ({error}); refusing until one is free");
        }
        let answer = self.no_descriptor(listener);
        match self.io.refuse(listener, answer) {
            Ok(()) => {
                self.hub.stats.accepted += 1;
                self.hub.stats.refused_descriptors += 1;
            }
            Err(error) => {
                self.pending[listener] = false;
                if error.kind() != ErrorKind::WouldBlock {
                    self.try_listeners_later(listener);
                }
            }
        }
    }

    fn try_listeners_later(&mut self, listener: usize) {
        self.pending[listener] = false;
        self.retry_at = Some(self.io.now() + self.hub.limits.listener_retry);
    }

    #[cfg(any(test, feature = "client"))]
    pub(super) fn dial_all(&mut self) {
        for _ in 0..self.hub.limits.dial_budget {
            let Some(dial) = self.hub.next_dial() else { return };
            // The first event says that it is made, or has failed.
            if let Err(error) = self.io.connect(dial.index, dial.address, dial.source) {
                self.hub.broken(dial.index, error.kind());
            }
        }
        self.hub.stats.budget_dial += u64::from(self.hub.has_dials());
    }

    #[cfg(not(any(test, feature = "client")))]
    pub(super) fn dial_all(&mut self) {}

    #[cfg(any(test, feature = "client"))]
    pub(super) fn dials_wait(&self) -> bool {
        self.hub.has_dials()
    }

    #[cfg(not(any(test, feature = "client")))]
    pub(super) fn dials_wait(&self) -> bool {
        false
    }
}

fn out_of_descriptors(error: &std::io::Error) -> bool {
    // EMFILE (this process) and ENFILE (the machine) have no `ErrorKind` of their own; the numbers are the same on
    // every Unix.
    matches!(error.raw_os_error(), Some(24 | 23))
}
