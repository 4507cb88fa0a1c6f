//! Who may come in: total, per source, half open, per second; and what a refused peer is told.
//!
//! Refuses to know sockets. Invariants: all four limits hold before a byte of a peer is read; the table of sources has
//! an entry for exactly those that have a connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use slab::Slab;

use super::http::Http;
use super::{Hub, Marks, NOBODY, Slot};
use crate::conn::Connection;
use crate::conn::closed::{By, Cause, Closed};
use crate::conn::phase::Trigger;
use crate::ground::wheel::Link;
use crate::wire::frame::Role;
use crate::wire::head::{Framing, Persist, write_response_head};

/// What to do with a peer that has just connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It has the slot at this place.
    Admit(u32),
    /// Close its socket, without a word.
    Drop,
}

/// How many connections each source has. An IPv6 source is its /64 network, which one host can fill alone.
#[derive(Debug, Default)]
pub struct Sources {
    places: HashMap<IpAddr, u32>,
    entries: Slab<(IpAddr, usize)>,
}

impl Sources {
    fn key(address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        }
    }

    fn count(&self, address: IpAddr) -> usize {
        self.places.get(&Self::key(address)).map_or(0, |&place| self.entries[place as usize].1)
    }

    fn add(&mut self, address: IpAddr) -> u32 {
        let key = Self::key(address);
        let entries = &mut self.entries;
        let place = *self.places.entry(key).or_insert_with(|| entries.insert((key, 0)) as u32);
        self.entries[place as usize].1 += 1;
        place
    }

    pub(super) fn release(&mut self, place: u32) {
        let Some((key, count)) = self.entries.get_mut(place as usize) else { return };
        *count -= 1;
        if *count == 0 {
            self.places.remove(key);
            self.entries.remove(place as usize);
        }
    }

    pub(super) fn address(&self, place: u32) -> Option<IpAddr> {
        self.entries.get(place as usize).map(|&(key, _)| key)
    }
}

/// A bucket of tokens, one second's worth deep, filled by time.
#[derive(Debug, Default)]
pub struct Rate {
    /// The time up to which all tokens have been spent.
    spent_until: Duration,
}

impl Rate {
    fn allow(&mut self, now: Duration, per_second: usize) -> bool {
        let second = Duration::from_secs(1);
        let one = second / u32::try_from(per_second).unwrap_or(u32::MAX);
        // Shifted by a second, so that the bucket is full when the loop starts.
        let now = now + second;
        let from = self.spent_until.max(now - second);
        if from + one > now {
            return false;
        }
        self.spent_until = from + one;
        true
    }
}

impl Hub {
    /// Decides on a peer that has just connected.
    pub fn admit(&mut self, peer: SocketAddr) -> Admission {
        self.stats.accepted += 1;
        let Some(refused) = self.refusal(peer) else { return Admission::Admit(self.welcome(peer)) };
        *refused += 1;
        if self.stats.refusing as usize >= self.limits.refusals_max {
            self.stats.refused_silently += 1;
            return Admission::Drop;
        }
        Admission::Admit(self.refuse())
    }

    /// The counter of the limit that keeps a peer out, if one does.
    pub(super) fn refusal(&mut self, peer: SocketAddr) -> Option<&mut u64> {
        let held = self.slots.0.len() - self.stats.refusing as usize;
        let refused = if held >= self.limits.connections_max {
            &mut self.stats.refused_connections
        } else if self.sources.count(peer.ip()) >= self.limits.connections_per_source_max {
            &mut self.stats.refused_source
        } else if self.stats.half_open as usize >= self.limits.half_open_max {
            &mut self.stats.refused_half_open
        } else if !self.rate.allow(self.now, self.limits.accepts_per_second_max) {
            &mut self.stats.refused_rate
        } else {
            return None;
        };
        Some(refused)
    }

    pub(super) fn welcome(&mut self, peer: SocketAddr) -> u32 {
        let source = self.sources.add(peer.ip());
        let index = self.insert(Role::Server, source);
        self.slots.0[index as usize].marks.set(Marks::HALF_OPEN, true);
        let place = &mut self.slots.0[index as usize].passing;
        self.passing.or_default(place).http = Some(Http::new(peer));
        self.stats.half_open += 1;
        self.enter(index, self.limits.handshake_timeout);
        index
    }

    /// A refused peer is told so, and its request read away: closing over unread bytes would reset the connection
    /// and might take the answer with it.
    fn refuse(&mut self) -> u32 {
        let index = self.insert(Role::Server, NOBODY);
        self.slots.0[index as usize].marks.set(Marks::REFUSED, true);
        self.stats.refusing += 1;
        self.with(index, |conn, loan| {
            let text = b"too many connections\n";
            conn.write(loan, text.len(), |out| {
                let fields = [("Retry-After", "1"), ("Content-Type", "text/plain; charset=utf-8")];
                write_response_head(out, 503, Framing::Length(text.len() as u64), Persist::Close, fields);
                out.extend_from_slice(text);
            });
            conn.trigger(Trigger::Last, loan);
        });
        self.note_end(index, Closed::new(By::Server, Cause::Refused(503)));
        self.enter(index, self.limits.close_timeout);
        self.mark_dirty(index);
        index
    }

    /// Makes a slot for a new connection.
    pub(super) fn insert(&mut self, role: Role, source: u32) -> u32 {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let conn = Connection::new(role, self.tick);
        let slot = Slot {
            conn,
            link: Link::default(),
            passing: None,
            generation,
            source,
            due: self.tick,
            scope: 0,
            marks: Marks::default(),
        };
        self.slots.0.insert(slot) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_over_any_second_after_the_first_burst() {
        let mut rate = Rate::default();
        let mut allowed = 0;
        for ms in 0..3_000 {
            for _ in 0..5 {
                allowed += u32::from(rate.allow(Duration::from_millis(ms), 100));
            }
        }
        // One second's worth at once, then 100 a second for three seconds.
        assert!((399..=401).contains(&allowed), "{allowed}");
    }

    #[test]
    fn sources_are_counted_and_forgotten() {
        let mut sources = Sources::default();
        let v4: IpAddr = "127.0.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let (near, same_net): (IpAddr, IpAddr) =
            ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let places = [sources.add(v4), sources.add(mapped), sources.add(near), sources.add(same_net)];
        assert_eq!((sources.count(v4), sources.count(near)), (2, 2));
        places.iter().for_each(|&place| sources.release(place));
        assert_eq!((sources.count(v4), sources.entries.len(), sources.places.len()), (0, 0, 0));
        sources.release(NOBODY);
    }
}
