//! `Peers`: the connections of one lane: making them at their planned times, and knowing how each one ended.
//!
//! Refuses to know what is sent over them. Invariants: every connection that was begun is counted once as opened or
//! failed, every one that was opened and ended without our wish once as dropped, with an error of its kind, or as a
//! fate if the run had provoked its end; at most `dialing_max` are on the way at once; an idle one costs [`Peer`] and
//! its place in two tables.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;
use tidegate::{Closed, ConnId, ConnMap, Context};

use super::book::Book;
use super::ends;
use super::ways::Ways;
use crate::order::{Count, Metric, Setup, share};
use crate::server::cpu::monotonic_ns;

/// Connections begun per turn of the loop, at most; the rest keep their planned times.
const DIALS_PER_TURN: u32 = 256;
/// A pause before a connection is tried again doubles this many times at most.
const DOUBLINGS_MAX: u32 = 6;
/// No place in the table of open ones.
const NOWHERE: u32 = u32::MAX;

/// What is kept of one connection, whatever it is for.
pub struct Peer {
    /// When it was to be begun.
    pub planned: u64,
    /// When it was begun; then, when the TCP connection was made.
    since: u64,
    /// Its place in the list of open ones.
    place: u32,
    /// Times it was tried before.
    attempts: u32,
    /// Its end is our wish.
    leaving: bool,
    /// Its end is what the run wants to see, and no error.
    provoked: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It never came to be open.
    Failed,
    /// It was open, and the other side or the network ended it.
    Dropped,
    /// We had asked for it.
    Left,
}

/// See the module's text.
pub struct Peers {
    lane: u32,
    lanes: u32,
    ways: Ways,
    retry: Option<u64>,
    dialing_max: u32,
    table: ConnMap<Peer>,
    open: Vec<ConnId>,
    next: usize,
    dialing: u32,
    /// Connections begun since the lane began, for the turn of the source addresses.
    begun: u64,
    plan: Plan,
    /// When all connections were dropped.
    dropped: Option<u64>,
    retries: BinaryHeap<Reverse<(u64, u32)>>,
    rng: Rng,
}

/// Connections to be made.
#[derive(Default)]
struct Plan {
    goal: u64,
    made: u64,
    /// Nanoseconds between two of this lane's; 0: as fast as it goes.
    gap: f64,
    /// When the first of this plan was due, and how many were made before it.
    start: u64,
    before: u64,
}

impl Plan {
    fn due(&self) -> Option<u64> {
        let index = (self.made - self.before) as f64;
        (self.made < self.goal).then(|| self.start.saturating_add((index * self.gap) as u64))
    }
}

impl Peers {
    /// No connection yet.
    ///
    /// # Errors
    /// When TLS cannot be spoken as it is ordered, as text.
    pub fn new(setup: &Setup, lane: u32) -> Result<Self, String> {
        Ok(Peers {
            lane,
            lanes: setup.lanes,
            ways: Ways::new(&setup.target, setup.role.deflate())?,
            retry: setup.retry.map(|seconds| (seconds * 1e9) as u64),
            dialing_max: setup.dialing_max.max(1),
            table: ConnMap::new(),
            open: Vec::new(),
            next: 0,
            dialing: 0,
            begun: u64::from(lane),
            plan: Plan::default(),
            dropped: None,
            retries: BinaryHeap::new(),
            rng: Rng::with_seed(setup.seed ^ u64::from(lane) << 32),
        })
    }

    /// Connections are to be made until this lane holds its share of `connections`.
    pub fn hold(&mut self, now: u64, connections: u64, per_second: Option<f64>) {
        let goal = share(connections, self.lane, self.lanes);
        let own = per_second.map_or(0.0, |rate| 1e9 * f64::from(self.lanes) / rate);
        // Lanes that dial in step would make bursts of what was asked to be even.
        let offset = own * f64::from(self.lane) / f64::from(self.lanes);
        self.plan = Plan {
            goal,
            made: self.plan.made.min(goal),
            before: self.plan.made.min(goal),
            gap: own,
            start: now + offset as u64,
        };
    }

    /// All connections are gone since then, as their loop is, and none is to be made.
    pub fn forget(&mut self, since: u64) {
        self.dropped = Some(since);
        self.table = ConnMap::new();
        self.open = Vec::new();
        self.dialing = 0;
        self.retries.clear();
        self.plan = Plan::default();
    }

    /// No connection is to be made any more.
    pub fn cease(&mut self) {
        self.plan.goal = self.plan.made;
        self.retries.clear();
        self.retry = None;
    }

    /// Open connections.
    pub fn open(&self) -> &[ConnId] {
        &self.open
    }

    /// Connections on the way.
    pub fn dialing(&self) -> u32 {
        self.dialing
    }

    /// Connections still to be made.
    pub fn to_dial(&self) -> u64 {
        self.plan.goal - self.plan.made + self.retries.len() as u64
    }

    /// The open connections one after the other, round and round.
    pub fn round_robin(&mut self) -> Option<ConnId> {
        if self.next >= self.open.len() {
            self.next = 0;
        }
        let conn = self.open.get(self.next).copied();
        self.next += 1;
        conn
    }

    /// When the next connection is to be begun; `None` also while too many are on the way.
    pub fn due(&self) -> Option<u64> {
        if self.dialing >= self.dialing_max {
            return None;
        }
        let retry = self.retries.peek().map(|Reverse((at, _))| *at);
        [self.plan.due(), retry].into_iter().flatten().min()
    }

    /// Begins what is due.
    pub fn work(&mut self, book: &mut Book, cx: &mut Context<'_>, now: u64) {
        for _ in 0..DIALS_PER_TURN {
            if self.due().is_none_or(|at| at > now) {
                return;
            }
            // Read for each: those at the end of a turn wait for those before them.
            let now = monotonic_ns();
            match self.plan.due().filter(|at| *at <= now) {
                Some(at) => {
                    self.plan.made += 1;
                    // Without a pace there is no plan to be late against.
                    let planned = if self.plan.gap == 0.0 { now } else { at };
                    if self.plan.gap > 0.0 {
                        book.time(Metric::Slip, now - planned);
                    }
                    self.begin(book, cx, planned, 0, now);
                }
                None => {
                    let Some(Reverse((at, attempts))) = self.retries.pop() else { return };
                    book.count(Count::Retried, 1);
                    self.begin(book, cx, at, attempts, now);
                }
            }
        }
    }

    /// Begins a connection that was planned for this time; false when it could not even be begun.
    pub fn dial(&mut self, book: &mut Book, cx: &mut Context<'_>, planned: u64, now: u64) -> bool {
        self.begin(book, cx, planned, 0, now)
    }

    fn begin(
        &mut self,
        book: &mut Book,
        cx: &mut Context<'_>,
        planned: u64,
        attempts: u32,
        now: u64,
    ) -> bool {
        let connect = self.ways.next(self.begun);
        self.begun += 1;
        book.count(Count::Dialled, 1);
        match cx.connect(&connect) {
            Ok(conn) => {
                self.dialing += 1;
                let peer =
                    Peer { planned, since: now, place: NOWHERE, attempts, leaving: false, provoked: false };
                self.table.insert(conn, peer);
                true
            }
            Err(error) => {
                book.count(Count::Failed, 1);
                book.error("not begun", || error.to_string());
                self.again(attempts, now);
                false
            }
        }
    }

    /// A connection that failed is tried again, if that is wanted.
    fn again(&mut self, attempts: u32, now: u64) {
        let Some(pause) = self.retry else { return };
        // Half of the pause is by chance: who was refused together must not come back together.
        let pause = pause << attempts.min(DOUBLINGS_MAX);
        let at = now + pause / 2 + self.rng.u64(0..=pause / 2);
        self.retries.push(Reverse((at, attempts + 1)));
    }

    /// The TCP connection is made.
    pub fn connected(&mut self, book: &mut Book, conn: ConnId, now: u64) {
        if let Some(peer) = self.table.get_mut(conn) {
            book.time_at(peer.planned, Metric::Tcp, now.saturating_sub(peer.since));
            peer.since = now;
        }
    }

    /// From here on this share of the connections resumes a TLS session, with so many clients that keep tickets.
    ///
    /// # Errors
    /// When TLS cannot be spoken as it is ordered, as text.
    pub fn resume(&mut self, share: f64, clients: u64) -> Result<(), String> {
        self.ways.resume(share, clients)
    }

    /// The opening handshake is complete, in a TLS session that was resumed or not, if it is one.
    pub fn opened(&mut self, book: &mut Book, conn: ConnId, resumed: Option<bool>, now: u64) {
        let Some(peer) = self.table.get_mut(conn) else { return };
        peer.place = self.open.len() as u32;
        self.dialing -= 1;
        self.open.push(conn);
        book.count(Count::Opened, 1);
        // They belong to when it was planned: a server that answers after the end of a phase must not look better for it.
        let upgraded = now.saturating_sub(peer.since);
        book.time_at(peer.planned, Metric::Upgrade, upgraded);
        if let Some(resumed) = resumed {
            let (count, time) = if resumed {
                (Count::TlsResumed, Metric::TlsResumed)
            } else {
                (Count::TlsFull, Metric::TlsFull)
            };
            book.count(count, 1);
            book.time_at(peer.planned, time, upgraded);
        }
        book.time_at(peer.planned, Metric::Connect, now.saturating_sub(peer.planned));
        if let Some(dropped) = self.dropped {
            book.time(Metric::Recovery, now.saturating_sub(dropped));
        }
    }

    /// From now on the end of this connection is what the run wants to see.
    pub fn provoke(&mut self, conn: ConnId) {
        if let Some(peer) = self.table.get_mut(conn) {
            peer.provoked = true;
        }
    }

    /// The end of this connection will be our wish.
    pub fn leave(&mut self, conn: ConnId, now: u64) {
        if let Some(peer) = self.table.get_mut(conn) {
            peer.leaving = true;
            peer.since = now;
            let place = std::mem::replace(&mut peer.place, NOWHERE);
            self.vacate(place);
        }
    }

    /// It has ended: how, and what was known of it.
    pub fn ended(&mut self, book: &mut Book, conn: ConnId, why: &Closed, now: u64) -> Option<Ended> {
        let peer = self.table.remove(conn)?;
        if peer.leaving {
            book.count(Count::Closed, 1);
            book.time(Metric::Close, now.saturating_sub(peer.since));
            return Some(Ended::Left);
        }
        if peer.place != NOWHERE {
            self.vacate(peer.place);
            if peer.provoked {
                book.fate(&ends::kind(why, true), || why.to_string());
                return Some(Ended::Dropped);
            }
            book.count(Count::Dropped, 1);
            book.error(&ends::kind(why, true), || why.to_string());
            return Some(Ended::Dropped);
        }
        self.dialing -= 1;
        book.count(Count::Failed, 1);
        book.error(&ends::kind(why, false), || why.to_string());
        self.again(peer.attempts, now);
        Some(Ended::Failed)
    }

    fn vacate(&mut self, place: u32) {
        let place = place as usize;
        if place >= self.open.len() {
            return;
        }
        self.open.swap_remove(place);
        if let Some(moved) = self.open.get(place)
            && let Some(peer) = self.table.get_mut(*moved)
        {
            peer.place = place as u32;
        }
    }
}
