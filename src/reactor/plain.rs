//! What `tls.rs` does for peers behind TLS, in a build where there are none: nothing, at no cost.
//!
//! Invariant: the same calls as there, and what the loop did before there were any.

use std::net::SocketAddr;

use super::Reactor;
use super::io::Io;
use super::newcomers::NO_DESCRIPTOR;
use crate::conn::cork::HEADROOM;
use crate::hub::admission::Admission;
use crate::hub::handler::Handler;

impl<I: Io> Reactor<I> {
    pub(super) fn admit(&mut self, _: usize, peer: SocketAddr) -> Admission {
        self.hub.admit(peer)
    }

    pub(super) fn no_descriptor(&self, _: usize) -> &'static [u8] {
        NO_DESCRIPTOR
    }

    pub(super) fn begin_handshakes(&mut self) {}

    pub(super) fn put_off(&mut self, _: u32) -> bool {
        false
    }

    pub(super) fn received(&mut self, index: u32, len: usize, drained: bool, app: &mut dyn Handler) {
        self.hub.received_lent(index, &mut self.scratch[..HEADROOM + len], drained, app);
    }
}
