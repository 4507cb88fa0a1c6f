//! What must hold of a hub between two turns, looked up connection by connection.
//!
//! Refuses to know how it came to be so. Invariant: it looks at every connection and changes none.

#[cfg(test)]
use std::collections::BTreeMap;

use super::{Hub, Marks};
use crate::conn::Flags;
use crate::conn::outbox::COALESCE_MAX;
#[cfg(test)]
use crate::conn::outbox::Outbox;
use crate::conn::phase::Phase;

impl Hub {
    /// Verifies the invariants; for debug builds and the simulator.
    ///
    /// # Panics
    /// When one does not hold: that is a defect of the hub.
    pub fn check(&self) {
        self.check_topics();
        #[cfg(feature = "deflate")]
        self.check_deflate();
        let (mut queued, mut charge, mut open, mut half_open, mut waiting) = (0, 0, 0, 0, 0);
        let (mut refusing, mut unfinished, mut passing) = (0, 0, 0);
        for (index, slot) in &self.slots.0 {
            let backlog = slot.conn.backlog();
            refusing += u64::from(slot.marks.has(Marks::REFUSED));
            let unread = slot.marks.has(Marks::READABLE) && self.may_read(index as u32);
            let kept = self.kept_is_due(index as u32);
            assert!(
                !(unread || kept) || slot.marks.has(Marks::READY),
                "bytes that nobody will read: {slot:?}"
            );
            queued += backlog;
            #[cfg(feature = "tls")]
            {
                let waiting = self.tls_waiting(index as u32);
                let noted = waiting == 0 || slot.marks.has(Marks::DIRTY | Marks::BLOCKED);
                assert!(noted || slot.conn.phase == Phase::Closed, "sealed and never written: {slot:?}");
                queued += waiting;
                charge += self.tls_charge(index as u32);
            }
            waiting += usize::from(slot.conn.phase != Phase::Closed);
            charge += slot.conn.charge(&self.unfinished);
            unfinished += usize::from(slot.conn.received.is_some());
            passing += usize::from(slot.passing.is_some());
            open += u64::from(slot.marks.has(Marks::OPEN));
            half_open += u64::from(slot.marks.has(Marks::HALF_OPEN));
            assert!(backlog <= self.limits.backlog_max, "backlog {backlog} above its maximum");
            assert!(
                slot.conn.phase == Phase::Closed || slot.link.deadline().is_some(),
                "no deadline: {slot:?}"
            );
            let idle = slot.conn.phase == Phase::Open && backlog == 0 && slot.conn.received.is_none();
            assert!(!idle || slot.conn.outbox.is_none() || slot.conn.flags.has(Flags::HIGH), "{slot:?}");
            assert!(slot.conn.outbox.is_none() || !slot.conn.flags.has(Flags::SENDS_PARTS), "{slot:?}");
            assert!(
                slot.conn.sendable() == 0 || slot.marks.has(Marks::DIRTY | Marks::BLOCKED),
                "{backlog} bytes that nobody will write: {slot:?}"
            );
        }
        assert_eq!(self.passing.len(), passing, "places of those who come and go");
        assert_eq!(self.unfinished.len(), unfinished, "places of incomplete input");
        assert_eq!(self.wheel.armed(), waiting, "entries on the wheel");
        assert_eq!(self.timer_wheel.armed(), self.timers.len(), "timers on the wheel");
        assert_eq!(self.stats.queued_bytes, queued as u64, "sum of backlogs");
        assert!(self.memory.get() >= charge, "ledger {} below charges {charge}", self.memory.get());
        let levels = (self.stats.open, self.stats.half_open, self.stats.refusing);
        assert_eq!(levels, (open, half_open, refusing), "open, half open, refusing");
        // What a call queues is reserved to the byte; how far the segment that takes it grows ahead is not.
        let most = self.limits.memory_max + COALESCE_MAX;
        assert!(self.memory.get() <= most, "memory {} above its maximum {most}", self.memory.get());
        assert!(self.cork.is_empty(), "the cork outlives its peer");
    }
}

#[cfg(test)]
impl Hub {
    /// Verifies that the ledger holds what connections and shared frames hold, to the byte.
    ///
    /// # Panics
    /// When it does not: that is a defect of the hub.
    pub fn check_ledger(&self) {
        let conns = self.slots.0.iter().map(|(_, slot)| &slot.conn);
        let own: usize = conns.clone().map(|conn| conn.charge(&self.unfinished)).sum();
        let outboxes = conns.filter_map(|conn| conn.outbox.as_deref());
        outboxes.clone().for_each(Outbox::check);
        let shared: BTreeMap<_, _> = outboxes.flat_map(|outbox| outbox.shared()).collect();
        let gathered = self.gathered.charge();
        #[cfg(feature = "tls")]
        let own = own + self.slots.0.iter().map(|(index, _)| self.tls_charge(index as u32)).sum::<usize>();
        assert_eq!(self.memory.get(), own + gathered + shared.values().sum::<usize>(), "ledger");
    }
}
