//! Compression agreed and paid for: who gets what, as long as the budget lasts (RFC 7692 §5, §7.1).
//!
//! Refuses to know how bytes are compressed. Invariants: what the connections of a loop have of their own is never worth
//! more than `deflate_budget`; it is set aside before the 101 goes out and given back when the WebSocket closes.

use super::{Hub, Marks};
use crate::conn::deflate::{Dedicated, worth_packing};
use crate::conn::incoming::assembly::GROWTH;
use crate::conn::message::Message;
use crate::conn::{Extra, Flags};
use crate::ground::limits::DeflateMode;
use crate::wire::deflate::Inflater;
use crate::wire::deflate::negotiation::{NAME, Terms, accept};
use crate::wire::handshake;
use crate::wire::head::RequestHead;

/// What can come of a byte: of two bits, a copy of 258 bytes.
const MOST_PER_BYTE: usize = 1032;

impl Hub {
    /// What a new connection may be offered; not taking contexts over where that is not wanted, or cannot be paid for.
    pub(super) fn deflate_terms(&mut self, mode: DeflateMode) -> Option<Terms> {
        let window_bits = self.codecs.window_bits();
        let mut terms = Terms { takeover: mode == DeflateMode::Dedicated, window_bits };
        if mode == DeflateMode::Off {
            return None;
        }
        let most = Dedicated::at_most(terms, &self.codecs).map_or(0, |own| own.claim);
        if self.stats.deflate_bytes as usize + most > self.limits.deflate_budget {
            terms.takeover = false;
            self.stats.deflate_budget_spent += 1;
        }
        Some(terms)
    }

    /// The server's answer to what a client offers, as it stands in the 101.
    pub(super) fn accept_deflate(&mut self, index: u32, head: &RequestHead<'_, '_>) -> Option<String> {
        let offers = || handshake::extensions(head.fields()).map_while(Result::ok);
        if self.limits.deflate == DeflateMode::Off || !offers().any(|offer| offer.name == NAME) {
            return None;
        }
        let agreed = self.deflate_terms(self.limits.deflate).and_then(|terms| accept(offers(), terms));
        self.stats.deflate_declined += u64::from(agreed.is_none());
        self.slots.0[index as usize].conn.extra().agreed = agreed;
        agreed.map(|agreement| agreement.to_string())
    }

    /// Sets aside at once what a connection of our own making may come to need: there is no second offer.
    #[cfg(any(test, feature = "client"))]
    pub(super) fn offer_deflate(&mut self, index: u32, terms: Terms) {
        let conn = &mut self.slots.0[index as usize].conn;
        if let Some(own) = Dedicated::at_most(terms, &self.codecs) {
            self.stats.deflate_bytes += own.claim as u64;
            conn.extra().deflate = Some(Box::new(own));
        }
    }

    /// The WebSocket is open, and this is left of its handshake.
    pub(super) fn begin_deflate(&mut self, index: u32, handshake: Option<Box<Extra>>) {
        let Some(handshake) = handshake else { return };
        if let Some(own) = handshake.deflate {
            self.stats.deflate_bytes -= own.claim as u64;
        }
        let Some(agreement) = handshake.agreed else { return };
        let conn = &mut self.slots.0[index as usize].conn;
        conn.agree_on_deflate(&agreement, &self.codecs);
        match conn.extra.as_ref().and_then(|extra| extra.deflate.as_ref()) {
            Some(own) => {
                self.stats.deflate_dedicated += 1;
                self.stats.deflate_bytes += own.claim as u64;
            }
            None => self.stats.deflate_shared += 1,
        }
    }

    /// The WebSocket is no longer open: nothing more is compressed or inflated.
    pub(super) fn end_deflate(&mut self, index: u32) {
        if self.slots.0[index as usize].conn.flags.has(Flags::DEFLATE) {
            let own = self.release_deflate(index);
            let level = if own { &mut self.stats.deflate_dedicated } else { &mut self.stats.deflate_shared };
            *level -= 1;
        }
    }

    /// Gives back what is set aside for a connection; true when something was.
    pub(super) fn release_deflate(&mut self, index: u32) -> bool {
        let extra = self.slots.0[index as usize].conn.extra.as_mut();
        let own = extra.and_then(|extra| extra.deflate.take());
        self.stats.deflate_bytes -= own.as_ref().map_or(0, |own| own.claim as u64);
        own.is_some()
    }

    /// What is published, in the compressed form of a variant, if some subscriber of the topic gets it in that.
    pub(super) fn pack_for(&mut self, topic: u32, variant: usize, message: &Message<'_>) -> Option<Vec<u8>> {
        let wanted = self.topics.deflates(topic, variant) && worth_packing(message, &self.limits);
        if wanted { self.codecs.pack(variant, message.as_bytes()) } else { None }
    }

    /// Memory that `len` bytes of input can come to where they are compressed; `None` where they are not.
    pub(super) fn inflated_room(&self, index: u32, len: usize, charge: usize) -> Option<usize> {
        let flags = self.slots.0[index as usize].conn.flags;
        let inflated = len.saturating_mul(MOST_PER_BYTE).saturating_add(charge).saturating_mul(GROWTH);
        flags.has(Flags::DEFLATE).then(|| inflated.min(self.limits.message_max) + Inflater::COST)
    }

    /// Verifies the budget.
    ///
    /// # Panics
    /// When it does not hold: that is a defect of the hub.
    pub(super) fn check_deflate(&self) {
        let (mut shared, mut dedicated, mut bytes) = (0, 0, 0);
        for (_, slot) in &self.slots.0 {
            let own = slot.conn.extra.as_ref().and_then(|extra| extra.deflate.as_ref());
            let agreed = slot.marks.has(Marks::OPEN) && slot.conn.flags.has(Flags::DEFLATE);
            shared += u64::from(agreed && own.is_none());
            dedicated += u64::from(agreed && own.is_some());
            bytes += own.map_or(0, |own| own.claim as u64);
        }
        let levels = (self.stats.deflate_shared, self.stats.deflate_dedicated, self.stats.deflate_bytes);
        assert_eq!(levels, (shared, dedicated, bytes), "shared, dedicated, bytes set aside");
        assert!(bytes <= self.limits.deflate_budget as u64, "{bytes} above deflate_budget");
    }
}
