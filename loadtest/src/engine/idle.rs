//! `IdleRole`: connections that are only held.
//!
//! Invariant: what the server sends is counted, and nothing is sent.

use tidegate::{ConnId, Context, Message};

use super::lane::{Desk, Play};
use super::peers::Ended;
use crate::order::Count;

/// See the module's text.
pub struct IdleRole;

impl Play for IdleRole {
    fn load(&mut self, _: &mut Desk, _: &mut Context<'_>, _: bool, _: u64) {}

    fn opened(&mut self, _: &mut Desk, _: &mut Context<'_>, _: ConnId, _: u64) {}

    fn message(&mut self, desk: &mut Desk, _: &mut Context<'_>, _: ConnId, msg: &Message<'_>, _: u64) {
        desk.book.count(Count::Received, 1);
        desk.book.count(Count::ReceivedBytes, msg.len() as u64);
    }

    fn ended(&mut self, _: &mut Desk, _: &mut Context<'_>, _: ConnId, _: Ended, _: u64) {}

    fn due(&self) -> Option<u64> {
        None
    }

    fn work(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64) {}

    fn beat(&mut self, _: &mut Desk, _: &mut Context<'_>, _: u64) {}

    fn stall(&mut self, desk: &mut Desk, _: &mut Context<'_>, listeners: u64, _: bool, _: u64) {
        // All that they can do is end. Being told so before is what makes it no error.
        if listeners > 0 {
            desk.peers.open().to_vec().into_iter().for_each(|conn| desk.peers.provoke(conn));
        }
    }

    fn forget(&mut self) {}

    fn outstanding(&self) -> u64 {
        0
    }
}
