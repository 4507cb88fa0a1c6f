//! The kernel's side of the simulated network: `Io` as the loop calls it, with its contract asserted.
//!
//! Refuses to know the peers' wills. Invariant: every call names a key that was given and not closed.

use std::cmp::Reverse;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::faults::Fault;
use super::wire::{Peer, Place};
use super::{SPIN_MAX, SimIo, SimSocket};
use crate::reactor::io::{Io, Readiness, Wake};

/// `EMFILE`, as Linux numbers it.
const NO_DESCRIPTOR: i32 = 24;

impl<P: Peer> SimIo<P> {
    /// The wire of a key in use.
    fn wire_of(&self, key: u32, call: &str) -> usize {
        match self.keys.get(key as usize).copied().flatten() {
            Some(number) => number,
            None => panic!("{call} with key {key}, which is not in use"),
        }
    }

    /// Sockets that the loop has dropped without giving them a key are closed.
    fn close_dropped(&mut self) {
        let mut i = 0;
        while i < self.loose.len() {
            if Rc::strong_count(&self.loose[i].1) > 1 {
                i += 1;
                continue;
            }
            let (number, _) = self.loose.swap_remove(i);
            self.strike(number);
        }
    }

    /// Closes the server's end for a reason that is not the loop's.
    fn strike(&mut self, number: usize) {
        let wire = &mut self.wires[number];
        wire.struck = true;
        wire.close_server(true, &mut self.terms.faults);
        self.tell_peer(number);
    }

    fn take_waiting(&mut self) -> io::Result<usize> {
        let number = self.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        if self.wires[number].reset || self.terms.faults.strikes(Fault::AcceptError) {
            self.strike(number);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        Ok(number)
    }

    fn watch_for_spin(&mut self, timeout: Option<Duration>) {
        self.idle_turns = if timeout == Some(Duration::ZERO) { self.idle_turns + 1 } else { 0 };
        assert!(
            self.idle_turns < SPIN_MAX,
            "the loop spins: {SPIN_MAX} turns without sleep and without progress"
        );
    }
}

impl<P: Peer> Io for SimIo<P> {
    type Socket = SimSocket;

    fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Readiness>) -> io::Result<()> {
        self.close_dropped();
        self.watch_for_spin(timeout);
        self.slept = timeout != Some(Duration::ZERO);
        let waiting =
            !self.backlog.is_empty() && !self.listener_armed && !self.listener_late && !self.starved;
        assert!(!(waiting && self.slept), "the loop sleeps while connections wait to be accepted");
        // A turn takes time, too, so that a busy loop does not stop the world's clock.
        self.now += Duration::from_micros(self.rng.below(60));
        if self.terms.faults.strikes(Fault::ClockJump) {
            self.now += Duration::from_millis(1 << self.terms.faults.below(24));
        }
        if self.terms.faults.strikes(Fault::EmptyWait) {
            return Ok(());
        }
        let limit = timeout.map(|timeout| self.now + timeout);
        loop {
            while let Some(&Reverse((at, _, coming))) = self.agenda.peek()
                && at <= self.now
            {
                self.agenda.pop();
                self.come(coming);
            }
            self.gather(events);
            if !events.is_empty() || limit.is_some_and(|limit| limit <= self.now) {
                break;
            }
            let next = self.agenda.peek().map(|&Reverse((at, ..))| at);
            match [next, limit].into_iter().flatten().min() {
                Some(at) => self.now = at,
                None => {
                    self.stuck = true;
                    break;
                }
            }
        }
        self.delivered += events.len() as u64;
        if !events.is_empty() {
            self.idle_turns = 0;
        }
        self.record(1, 0, events.len());
        Ok(())
    }

    fn now(&mut self) -> Duration {
        self.now
    }

    fn accept(&mut self, listener: usize) -> io::Result<(SimSocket, SocketAddr)> {
        assert!(listener == 0 && self.listening, "accept from a listener that is not there");
        if !self.backlog.is_empty() && self.terms.faults.strikes(Fault::NoDescriptor) {
            self.no_descriptor_until = self.now + Duration::from_millis(self.terms.faults.below(2_000));
        }
        if self.now < self.no_descriptor_until {
            self.starved = true;
            return Err(io::Error::from_raw_os_error(NO_DESCRIPTOR));
        }
        let number = self.take_waiting()?;
        self.idle_turns = 0;
        self.starved = false;
        self.wires[number].place = Place::Accepted;
        let held = Rc::new(());
        self.loose.push((number, Rc::clone(&held)));
        self.record(2, 0, number);
        Ok((SimSocket { wire: number, _held: held }, self.address(number)))
    }

    fn refuse(&mut self, listener: usize, answer: &[u8]) -> io::Result<()> {
        assert!(listener == 0 && self.listening, "refuse at a listener that is not there");
        if self.terms.faults.strikes(Fault::NoReserve) {
            return Err(io::Error::from_raw_os_error(NO_DESCRIPTOR));
        }
        let number = self.take_waiting()?;
        let wire = &mut self.wires[number];
        wire.struck = true;
        let room = answer.len().min(wire.down.room());
        wire.down.bytes.extend(&answer[..room]);
        wire.up.bytes.clear();
        wire.close_server(false, &mut self.terms.faults);
        self.tell_peer(number);
        self.record(3, 0, number);
        Ok(())
    }

    fn listeners(&self) -> usize {
        usize::from(self.listening)
    }

    fn stop_listening(&mut self) {
        assert!(self.listening, "the listener is closed twice");
        self.listening = false;
        while let Some(number) = self.backlog.pop_front() {
            self.strike(number);
        }
    }

    fn adopt(&mut self, socket: SimSocket, key: u32, writable: bool) -> io::Result<()> {
        let number = socket.wire;
        self.loose.retain(|&(wire, _)| wire != number);
        let place = key as usize;
        if place >= self.keys.len() {
            self.keys.resize(place + 1, None);
        }
        assert!(self.keys[place].is_none() && !self.phantoms.contains(&key), "key {key} is in use");
        if self.terms.faults.strikes(Fault::AdoptError) {
            self.phantoms.push(key);
            self.strike(number);
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.keys[place] = Some(number);
        self.wires[number].place = Place::Adopted(key);
        self.wires[number].want_write = writable;
        // A socket that is ready when it is registered is reported.
        self.edge(number);
        Ok(())
    }

    #[cfg(any(test, feature = "client"))]
    fn connect(&mut self, key: u32, _address: SocketAddr, _source: Option<SocketAddr>) -> io::Result<()> {
        // Nobody listens in this network but the loop itself.
        self.phantoms.push(key);
        Err(ErrorKind::ConnectionRefused.into())
    }

    fn read(&mut self, key: u32, bytes: &mut [u8]) -> io::Result<usize> {
        let number = self.wire_of(key, "read");
        assert!(!bytes.is_empty(), "a read of nothing");
        if self.terms.faults.strikes(Fault::Interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let wire = &mut self.wires[number];
        let ready = wire.up.bytes.len().min(bytes.len());
        if ready == 0 {
            wire.end_seen |= wire.reset || wire.up.ended;
            return match (wire.reset, wire.up.ended) {
                (true, _) if !std::mem::replace(&mut wire.told, true) => {
                    Err(ErrorKind::ConnectionReset.into())
                }
                (false, false) => Err(ErrorKind::WouldBlock.into()),
                _ => Ok(0),
            };
        }
        let mut len = ready;
        if self.terms.faults.strikes(Fault::ShortRead) {
            len = 1 + self.terms.faults.below(ready as u64) as usize;
        }
        self.wires[number].up.take(&mut bytes[..len]);
        self.idle_turns = 0;
        if len < ready {
            // Short means drained, by the contract; the rest has arrived just after.
            self.edge(number);
        }
        self.tell_peer(number);
        self.record(4, key, len);
        Ok(len)
    }

    fn write(&mut self, key: u32, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let number = self.wire_of(key, "write");
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(total > 0, "a write of nothing");
        assert!(!self.wires[number].shut, "a write behind the end of key {key}");
        if self.terms.faults.strikes(Fault::Interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let wire = &mut self.wires[number];
        if wire.reset {
            let told = std::mem::replace(&mut wire.told, true);
            return Err(if told { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset }.into());
        }
        self.idle_turns = 0;
        if wire.left {
            // Nobody is there to take it: the first write goes well and earns a reset.
            wire.reset = true;
            self.edge(number);
            return Ok(total);
        }
        let room = wire.down.room().min(total);
        wire.full |= room < total;
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut len = room;
        if self.terms.faults.strikes(Fault::ShortWrite) {
            len = 1 + self.terms.faults.below(room as u64) as usize;
        }
        let wire = &mut self.wires[number];
        let mut left = len;
        for slice in slices {
            let step = left.min(slice.len());
            wire.down.bytes.extend(&slice[..step]);
            left -= step;
        }
        if len < room {
            // The kernel was full for a moment.
            self.edge(number);
        }
        self.tell_peer(number);
        self.record(5, key, len);
        Ok(len)
    }

    fn want_write(&mut self, key: u32, on: bool) -> io::Result<()> {
        let number = self.wire_of(key, "want_write");
        self.interest_calls += 1;
        if self.terms.faults.strikes(Fault::InterestError) {
            self.wires[number].struck = true;
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.wires[number].want_write = on;
        // As EPOLL_CTL_MOD does: what is so already is reported (again).
        self.edge(number);
        Ok(())
    }

    fn shut(&mut self, key: u32) {
        let number = self.wire_of(key, "shut");
        let wire = &mut self.wires[number];
        assert!(!std::mem::replace(&mut wire.shut, true), "key {key} is shut twice");
        wire.down.ended = true;
        self.tell_peer(number);
        self.record(6, key, 0);
    }

    fn close(&mut self, key: u32, reset: bool) {
        self.record(7, key, usize::from(reset));
        if let Some(at) = self.phantoms.iter().position(|&phantom| phantom == key) {
            self.phantoms.swap_remove(at);
            return;
        }
        let number = self.wire_of(key, "close");
        self.keys[key as usize] = None;
        self.wires[number].close_server(reset, &mut self.terms.faults);
        self.tell_peer(number);
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

impl<P: Peer> SimIo<P> {
    /// True when the loop has been told of bytes, or of the end, and has not read them.
    pub fn is_unread(&self, key: u32) -> bool {
        let Some(number) = self.keys.get(key as usize).copied().flatten() else { return false };
        let wire = &self.wires[number];
        let over = (wire.up.ended || wire.reset) && !wire.end_seen;
        !wire.armed && (over || !wire.up.bytes.is_empty())
    }

    /// Verifies that the loop has closed everything that it was given.
    ///
    /// # Panics
    /// When it has not.
    pub fn check_all_closed(&mut self) {
        self.close_dropped();
        assert!(self.loose.is_empty() && self.phantoms.is_empty(), "sockets that were never closed");
        for (number, wire) in self.wires.iter().enumerate() {
            let open = matches!(wire.place, Place::Accepted | Place::Adopted(_));
            assert!(!open, "connection {number} was never closed");
        }
        assert!(self.keys.iter().all(Option::is_none), "keys that were never closed");
    }
}
