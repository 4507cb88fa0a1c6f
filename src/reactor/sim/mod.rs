//! `SimIo`: the loop's `Io` over a network that exists in memory only, with a seed and a clock of its own.
//!
//! Refuses to know what the bytes mean. Invariants: the same seed gives the same run; nothing ever sleeps; bytes are
//! not invented, reordered or, without a reset, lost; and it holds the loop to its side of the contract: no key is used
//! before it is given or after it is closed, every socket is closed once, nothing is written behind the end.

// Scripted peers and faults are for tests; without them part of this has no caller.
#![cfg_attr(not(test), allow(dead_code))]

#[cfg(test)]
mod app;
pub mod faults;
pub mod fuzz;
mod kernel;
#[cfg(test)]
mod peer;
pub mod rig;
#[cfg(test)]
mod tests;
pub mod wire;
#[cfg(test)]
mod world;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::faults::{Fault, Faults};
use self::wire::{Line, Peer, Place, Wire};
use super::io::{Readiness, Source, Wake};
use crate::ground::rng::Rng;

/// Turns without sleep or progress after which the loop is said to spin.
const SPIN_MAX: u32 = 500;

/// What a simulated network is made of.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Starts every random choice of the network.
    pub seed: u64,
    /// Most events of one wait.
    pub events_max: usize,
    /// Peers act at multiples of this time, so that several act in one turn.
    pub grain: Duration,
    /// Different addresses of peers.
    pub sources: u32,
    /// What goes wrong.
    pub faults: Faults,
}

impl Terms {
    /// A network without faults or delays.
    pub fn gentle(seed: u64) -> Self {
        let grain = Duration::from_micros(100);
        Terms { seed, events_max: 1024, grain, sources: 256, faults: Faults::none() }
    }
}

/// Something that will happen to the wire of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Coming {
    Connect(usize),
    Act(usize),
    LateEdge(usize),
    LateListener,
}

/// The simulated network with its peers. See the module's text.
pub struct SimIo<P> {
    now: Duration,
    terms: Terms,
    rng: Rng,
    wires: Vec<Wire>,
    peers: Vec<P>,
    /// The wire of each key.
    keys: Vec<Option<usize>>,
    /// Keys whose socket never came to be: the loop closes them all the same.
    phantoms: Vec<u32>,
    agenda: BinaryHeap<Reverse<(Duration, u64, Coming)>>,
    serial: u64,
    ready: VecDeque<usize>,
    listening: bool,
    listener_armed: bool,
    listener_late: bool,
    /// The last accept found no descriptor; the loop may wait before it tries again.
    starved: bool,
    backlog: VecDeque<usize>,
    /// Accepted sockets without a key; the count says whether the loop still holds them.
    loose: Vec<(usize, Rc<()>)>,
    no_descriptor_until: Duration,
    waker: Arc<SimWaker>,
    idle_turns: u32,
    slept: bool,
    stuck: bool,
    trace: u64,
    delivered: u64,
    interest_calls: u64,
}

#[derive(Debug, Default)]
struct SimWaker(AtomicBool);

impl Wake for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An accepted connection without a key; dropping it closes it.
#[derive(Debug)]
pub struct SimSocket {
    wire: usize,
    _held: Rc<()>,
}

impl<P: Peer> SimIo<P> {
    /// A network with one listener and no peers.
    pub fn new(terms: Terms) -> Self {
        SimIo {
            now: Duration::ZERO,
            rng: Rng::new(terms.seed),
            terms,
            wires: Vec::new(),
            peers: Vec::new(),
            keys: Vec::new(),
            phantoms: Vec::new(),
            agenda: BinaryHeap::new(),
            serial: 0,
            ready: VecDeque::new(),
            listening: true,
            listener_armed: false,
            listener_late: false,
            starved: false,
            backlog: VecDeque::new(),
            loose: Vec::new(),
            no_descriptor_until: Duration::ZERO,
            waker: Arc::default(),
            idle_turns: 0,
            slept: false,
            stuck: false,
            trace: 0xcbf2_9ce4_8422_2325,
            delivered: 0,
            interest_calls: 0,
        }
    }

    /// Adds a peer that connects at `at`, over pipes of these capacities; returns its number.
    pub fn add(&mut self, at: Duration, up: usize, down: usize, peer: P) -> usize {
        let number = self.wires.len();
        self.wires.push(Wire::new(up, down));
        self.peers.push(peer);
        self.plan(at, Coming::Connect(number));
        number
    }

    /// The peers in the order of their numbers.
    pub fn peers(&self) -> &[P] {
        &self.peers
    }

    /// True when a fault of the network has hit this peer's connection.
    pub fn is_struck(&self, number: usize) -> bool {
        self.wires[number].struck
    }

    /// Lets `f` act on a peer's end of its line, as the peer itself would.
    pub fn on_line<R>(&mut self, number: usize, f: impl FnOnce(&mut Line<'_>) -> R) -> R {
        let wire = &mut self.wires[number];
        let mut line = Line { wire, faults: &mut self.terms.faults, now: self.now, edge: false };
        let result = f(&mut line);
        if line.edge {
            self.edge(number);
        }
        result
    }

    /// Ends all faults of the network; what peers do by themselves goes on.
    pub fn calm(&mut self) {
        self.terms.faults.calm();
        self.no_descriptor_until = self.now;
    }

    /// The faults so far.
    pub fn faults(&self) -> &Faults {
        &self.terms.faults
    }

    /// True when the loop waited for ever and nothing can ever happen.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// True when the last wait was allowed to take time.
    pub fn has_slept(&self) -> bool {
        self.slept
    }

    /// A hash over everything that has happened: equal for equal runs.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Events delivered to the loop.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How often the loop has changed its mind about a peer's writability: system calls of a real kernel.
    pub fn interest_calls(&self) -> u64 {
        self.interest_calls
    }

    /// The address of a peer: its number is in the port, as far as that goes.
    pub fn address(&self, number: usize) -> SocketAddr {
        let source = number as u32 % self.terms.sources;
        let [_, b, c, d] = source.to_be_bytes();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, b, c, d)), (number % 65_535) as u16 + 1)
    }

    fn plan(&mut self, at: Duration, coming: Coming) {
        self.serial += 1;
        self.agenda.push(Reverse((at, self.serial, coming)));
    }

    /// Rounds up to the time at which peers act.
    fn grained(&self, at: Duration) -> Duration {
        let grain = self.terms.grain.as_nanos().max(1);
        Duration::from_nanos((at.as_nanos().div_ceil(grain) * grain) as u64)
    }

    /// Lets the peer act at `at`, or earlier if that is planned.
    fn wake_peer(&mut self, number: usize, at: Duration) {
        let at = self.grained(at);
        let wire = &mut self.wires[number];
        if wire.vanished || wire.wake.is_some_and(|wake| wake <= at) {
            return;
        }
        wire.wake = Some(at);
        self.plan(at, Coming::Act(number));
    }

    /// Something happened to the line: the peer hears of it after a moment.
    fn tell_peer(&mut self, number: usize) {
        let delay = Duration::from_micros(self.rng.below(500));
        self.wake_peer(number, self.now + delay);
    }

    fn act(&mut self, number: usize) {
        self.wires[number].wake = None;
        if self.wires[number].vanished {
            return;
        }
        let wire = &mut self.wires[number];
        let mut line = Line { wire, faults: &mut self.terms.faults, now: self.now, edge: false };
        let next = self.peers[number].act(&mut line);
        let edge = line.edge;
        if let Some(at) = next {
            self.wake_peer(number, at.max(self.now + Duration::from_nanos(1)));
        }
        if edge {
            self.edge(number);
        }
    }

    /// Something happened that the kernel reports: once, now or late.
    fn edge(&mut self, number: usize) {
        let wire = &mut self.wires[number];
        if wire.armed || !matches!(wire.place, Place::Adopted(_)) {
            return;
        }
        wire.armed = true;
        if self.terms.faults.strikes(Fault::Late) {
            let delay = Duration::from_micros(1 << self.terms.faults.below(20));
            return self.plan(self.now + delay, Coming::LateEdge(number));
        }
        self.ready.push_back(number);
    }

    fn listener_edge(&mut self) {
        if self.terms.faults.strikes(Fault::Late) {
            let delay = Duration::from_micros(1 << self.terms.faults.below(20));
            self.listener_late = true;
            return self.plan(self.now + delay, Coming::LateListener);
        }
        self.listener_armed = true;
    }

    fn come(&mut self, coming: Coming) {
        match coming {
            Coming::Connect(number) if self.listening => {
                self.wires[number].place = Place::Queued;
                self.backlog.push_back(number);
                self.listener_edge();
                self.wake_peer(number, self.now);
            }
            Coming::Connect(number) => {
                self.wires[number].close_server(true, &mut self.terms.faults);
                self.wires[number].struck = true;
                self.wake_peer(number, self.now);
            }
            Coming::Act(number) => {
                if self.wires[number].wake.is_some_and(|at| at <= self.now) {
                    self.act(number);
                }
            }
            Coming::LateEdge(number) => self.ready.push_back(number),
            Coming::LateListener => {
                self.listener_late = false;
                self.listener_armed = true;
            }
        }
    }

    /// Events that are due, as the kernel computes them: what is so at the time of the wait, of what is asked for.
    fn gather(&mut self, events: &mut Vec<Readiness>) {
        if self.waker.0.swap(false, Ordering::SeqCst) {
            events.push(event(Source::Waker, true, false));
        }
        if std::mem::take(&mut self.listener_armed) && self.listening {
            events.push(event(Source::Listener(0), true, false));
        }
        while events.len() < self.terms.events_max {
            let Some(number) = self.ready.pop_front() else { break };
            let wire = &mut self.wires[number];
            wire.armed = false;
            let Place::Adopted(key) = wire.place else { continue };
            let read_closed = wire.up.ended || wire.reset;
            let event = Readiness {
                source: Source::Peer(key),
                readable: read_closed || !wire.up.bytes.is_empty(),
                writable: wire.want_write && (wire.down.room() > 0 || wire.reset),
                read_closed,
                failed: wire.reset,
            };
            if read_closed && !wire.up.bytes.is_empty() {
                self.terms.faults.note(Fault::EarlyEnd);
            }
            if event.readable || event.writable {
                events.push(event);
            }
        }
        if !self.keys.is_empty() && self.terms.faults.strikes(Fault::Spurious) {
            let key = self.terms.faults.below(self.keys.len() as u64) as usize;
            if self.keys[key].is_some() {
                let bits = self.terms.faults.below(3) + 1;
                events.push(event(Source::Peer(key as u32), bits & 1 != 0, bits & 2 != 0));
            }
        }
    }

    /// Remembers that something happened, for the hash.
    fn record(&mut self, what: u8, key: u32, extent: usize) {
        for word in [u64::from(what), u64::from(key), extent as u64, self.now.as_nanos() as u64] {
            self.trace = (self.trace ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
        }
    }
}

fn event(source: Source, readable: bool, writable: bool) -> Readiness {
    Readiness { source, readable, writable, read_closed: false, failed: false }
}
