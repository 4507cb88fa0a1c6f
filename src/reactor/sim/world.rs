//! One seed of the simulator: limits, faults and peers drawn from it, the run, and what must be true at its end.
//!
//! Refuses to know single messages; peers and application judge those. Invariant: nothing but the seed decides.

use std::collections::BTreeMap;
use std::time::Duration;

use super::app::{App, Record};
use super::faults::{Fault, Faults};
#[cfg(feature = "deflate")]
use super::peer::packer::Packer;
use super::peer::veil::Veil;
use super::peer::{Client, MISFITS, Nature, Pace, Reading, Trouble};
use super::wire::End;
use super::{SimIo, Terms};
use crate::conn::closed::{By, Cause};
use crate::ground::limits::{DeflateMode, Limits};
use crate::ground::rng::Rng;
use crate::hub::stats::Stats;
use crate::hub::{Hub, Marks};
use crate::reactor::inbox::Handle;
use crate::reactor::{Reactor, Turn};

/// Turns within which all healthy peers must be served, for each of them and at least.
const TURNS_EACH: u64 = 400;
const TURNS_LEAST: u64 = 60_000;

/// How a seed went.
#[derive(Debug)]
pub struct Outcome {
    pub trace: u64,
    pub events: u64,
    pub peers: usize,
    pub stats: Stats,
    pub hits: Vec<u64>,
    pub causes: BTreeMap<&'static str, u64>,
    pub calls: u64,
    pub drains: u64,
    /// Healthy peers, and those of them that got everything.
    pub healthy: u64,
    pub content: u64,
}

/// What a seed is about.
#[derive(Debug)]
struct World {
    seed: u64,
    rng: Rng,
    /// No faults and ample limits: every healthy peer must get everything.
    gentle: bool,
    peers: usize,
    limits: Limits,
    /// Peers speak TLS.
    #[cfg(feature = "tls")]
    veils: Option<super::peer::veil::Terms>,
}

impl World {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x7469_6465_6761_7465);
        let gentle = seed % 6 == 5;
        // Handshakes take long in a build for tests.
        let most = if is_veiled(seed) { 150 } else { usize::MAX };
        let peers = match seed % 50 {
            49 => 2_000 + rng.below(2_000),
            at if at % 3 == 0 => 10 + rng.below(60),
            _ => 50 + rng.below(350),
        } as usize;
        let peers = peers.min(most);
        let limits = if gentle { ample(&mut rng) } else { tight(&mut rng, peers) };
        let limits = compression(seed, habits(seed, budgets(&mut rng, limits)));
        World {
            seed,
            rng,
            gentle,
            peers,
            limits,
            #[cfg(feature = "tls")]
            veils: is_veiled(seed).then(super::peer::veil::Terms::new),
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.below(of.len() as u64) as usize]
    }

    fn network(&mut self) -> SimIo<Client> {
        let mut terms = Terms::gentle(self.rng.next_u64());
        self.limits.events_max = self.pick(&[8, 64, 1024]);
        terms.events_max = self.limits.events_max;
        terms.grain = Duration::from_micros(self.pick(&[100, 1_000, 5_000]));
        if !self.gentle {
            terms.faults = Faults::draw(self.rng.next_u64());
            terms.sources = self.pick(&[2, 16, 256]);
        }
        let faults = terms.faults.clone();
        let mut io = SimIo::new(terms);
        let span = self.pick(&[1, 500_000, 5_000_000]);
        for number in 0..self.peers {
            let mut client = self.client(number, &faults);
            let at = Duration::from_micros(self.rng.below(span));
            let wide = &[4_096, 65_536];
            let pipes = if self.gentle || self.rng.chance(3, 4) { wide } else { &[60, 1_000] };
            let (up, down) = (self.pick(pipes), self.pick(pipes));
            client.narrow = up.min(down) < 4_096;
            io.add(at, up, down, client);
        }
        io
    }

    /// Gives a client its end of TLS where that is spoken, unless its misdeed is to speak something else.
    #[cfg(feature = "tls")]
    fn clothe(&self, client: &mut Client) {
        let Some(terms) = &self.veils else { return };
        use super::peer::Misfit;
        match client.nature {
            Nature::Misfit(Misfit::Garbage | Misfit::TlsHello | Misfit::SlowHandshake) => client.raw = true,
            // Plain HTTP, which is answered in plain HTTP.
            Nature::Misfit(Misfit::BadRequest) => {}
            _ => client.veil = Some(terms.veil()),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn clothe(&self, _: &mut Client) {}

    fn client(&mut self, number: usize, faults: &Faults) -> Client {
        let nature = match self.rng.below(20) {
            0..=6 => Nature::Echo,
            7..=9 => Nature::Listener,
            10..=13 => Nature::Chatter,
            14..=16 => Nature::Http,
            _ => Nature::Misfit(self.pick(&MISFITS)),
        };
        let most = if self.peers > 1_000 { 6 } else { 24 };
        let messages = 1 + self.rng.below(most) as u32;
        let mut client = Client::new(number, nature, messages, self.limits.message_max, self.rng.next_u64());
        self.clothe(&mut client);
        client.pace = match self.rng.below(16) {
            0 => Pace::Dribble,
            1 | 2 => Pace::Pieces(1 + self.rng.below(2_000)),
            _ => Pace::Whole,
        };
        // Drawn apart, as habits are.
        #[cfg(feature = "deflate")]
        if self.limits.deflate != DeflateMode::Off || number.is_multiple_of(9) {
            let mut rng = Rng::new(self.seed ^ number as u64);
            client.ear.packer = rng.chance(2, 3).then(|| Packer::draw(&mut rng));
        }
        if self.gentle {
            return client;
        }
        if self.rng.chance(1, 8) {
            let interval = Duration::from_millis(1 + self.rng.below(50));
            client.reading = Reading::Slow(100 + self.rng.below(8_000) as usize, interval);
        }
        let troubles = [
            (Fault::Reset, Trouble::Reset),
            (Fault::HalfClose, Trouble::HalfClose),
            (Fault::HalfClose, Trouble::Leave),
            (Fault::Vanish, Trouble::Vanish),
            (Fault::Stall, Trouble::Stall(None)),
            (Fault::Stall, Trouble::Stall(Some(Duration::from_millis(1 << self.rng.below(16))))),
        ];
        let (fault, trouble) = self.pick(&troubles);
        if faults.possible(fault) && self.rng.chance(1, 3) {
            client.trouble = Some((self.rng.below(u64::from(messages) + 2) as u32, trouble));
        }
        client
    }
}

/// Limits that no healthy peer meets. Pings are frequent: answering them must be enough to live.
fn ample(rng: &mut Rng) -> Limits {
    let [interval, patience] = [[1, 25], [1, 20]].map(|of| Duration::from_secs(of[rng.below(2) as usize]));
    Limits { ping_interval: interval, pong_timeout: patience, ..Limits::default() }
}

/// Limits that bite.
fn tight(rng: &mut Rng, peers: usize) -> Limits {
    let mut pick = |of: &[usize]| of[rng.below(of.len() as u64) as usize];
    let backlog_max = pick(&[65_536, 100_000, 262_144]);
    let backlog_high = backlog_max / pick(&[2, 4, 16]);
    let message_max = pick(&[4_096, 60_000, 140_000]);
    let seconds = |count: usize| Duration::from_secs(count as u64);
    let millis = |count: usize| Duration::from_millis(count as u64);
    Limits {
        connections_max: pick(&[peers / 3 + 1, peers, 2 * peers]),
        connections_per_source_max: pick(&[peers / 8 + 1, peers, 2 * peers]),
        half_open_max: pick(&[peers / 10 + 1, peers, peers, peers]),
        accepts_per_second_max: pick(&[60, 5_000, 100_000, 100_000]),
        refusals_max: pick(&[0, 4, 1_000]),
        head_max: pick(&[512, 8_192]),
        target_max: 256,
        body_max: pick(&[3_000, 65_536]),
        requests_max: pick(&[3, 1_000]),
        message_max,
        fragments_max: 200,
        fragment_bytes: pick(&[500, 4_000, 262_144]),
        backlog_max,
        backlog_high,
        backlog_low: backlog_high / 4,
        backlog_grace: millis(pick(&[100, 2_000, 10_000])),
        memory_max: backlog_max.max(message_max) * pick(&[1, 4, 64, 64]),
        handshake_timeout: seconds(pick(&[3, 10])),
        reply_timeout: seconds(pick(&[1, 30])),
        ping_interval: seconds(pick(&[0, 2, 25])),
        pong_timeout: seconds(pick(&[2, 20])),
        idle_timeout: seconds(pick(&[0, 4, 300])),
        close_timeout: seconds(pick(&[1, 5])),
        linger_timeout: seconds(pick(&[1, 2])),
        topics_max: pick(&[3, 100]),
        subscriptions_max: pick(&[2, 100]),
        timers_max: pick(&[20, 10_000]),
        inbox_max: pick(&[2, 1_000]),
        shutdown_batch: pick(&[3, 1_000]),
        shutdown_timeout: seconds(pick(&[1, 10])),
        ..Limits::default()
    }
}

/// Budgets and buffers may be as small as they like: everything must go on, only slower.
fn budgets(rng: &mut Rng, limits: Limits) -> Limits {
    let mut pick = |of: &[usize]| of[rng.below(of.len() as u64) as usize];
    let handshakes = [1, 2, limits.tls_handshake_budget][limits.half_open_max % 3];
    let spares = [0, 3_000, limits.spare_bytes][limits.message_max % 3];
    Limits {
        accept_budget: pick(&[1, 7, 256]),
        read_budget: pick(&[150, 4_000, 262_144, 262_144]),
        flush_budget: pick(&[150, 4_000, 1_048_576]),
        inbox_budget: pick(&[1, 1_024]),
        expire_budget: pick(&[1, 1_024]),
        scratch_bytes: pick(&[512, 8_192, 65_536]),
        cork_bytes: pick(&[512, 4_096, 65_536]),
        tls_handshake_budget: handshakes,
        spare_bytes: spares,
        ..limits
    }
}

/// Some worlds speak TLS. Drawn apart too, from the seed's number alone.
fn is_veiled(seed: u64) -> bool {
    cfg!(feature = "tls") && seed % 5 == 3
}

/// How turns go must not matter to anybody. Drawn apart from the rest, so that a seed with plain habits has the history
/// that it would have without this.
fn habits(seed: u64, limits: Limits) -> Limits {
    let mut rng = Rng::new(seed ^ 0x0068_6162_6974_7321);
    if rng.chance(1, 2) {
        return limits;
    }
    Limits {
        flush_per_turn: rng.chance(1, 2),
        short_read_rule: rng.chance(1, 2),
        write_interest: rng.chance(1, 2),
        spin: Duration::from_micros([0, 100, 2_000][rng.below(3) as usize]),
        ..limits
    }
}

/// Whether messages are compressed must not matter either.
fn compression(seed: u64, limits: Limits) -> Limits {
    let mut rng = Rng::new(seed ^ 0x6465_666c_6174_6521);
    let mut pick = |of: &[usize]| of[rng.below(of.len() as u64) as usize];
    let deflate = [DeflateMode::Off, DeflateMode::Shared, DeflateMode::Dedicated][pick(&[0, 1, 2])];
    if !cfg!(feature = "deflate") || deflate == DeflateMode::Off {
        return limits;
    }
    Limits {
        deflate,
        deflate_min: pick(&[0, 20, 128]),
        deflate_level: pick(&[1, 3, 9]),
        deflate_memory_level: pick(&[1, 8]),
        deflate_window_bits: pick(&[9, 11, 15]),
        // For a few, for none, for all.
        deflate_budget: pick(&[1 << 20, 0, 1 << 30]),
        inflate_budget: pick(&[100, 4_000, 1 << 20]),
        // With room for an inflater.
        memory_max: limits.memory_max + (64 << 10),
        ..limits
    }
}

/// Plays a seed from the beginning to the end.
///
/// # Panics
/// When anything is not as it must be.
pub fn play(seed: u64) -> Outcome {
    let mut world = World::draw(seed);
    let io = world.network();
    let hub = Hub::new(world.limits.clone(), Vec::new(), world.rng.next_u64());
    let mut app = App::new(world.rng.next_u64(), !world.gentle);
    let mut reactor = Reactor::new(io, hub);
    #[cfg(feature = "tls")]
    if let Some(terms) = &world.veils {
        reactor.hub().set_tls(terms.server.clone());
        reactor.listen_tls(0);
    }
    let handle = reactor.handle();
    let calm_at = Duration::from_millis(200 + world.rng.below(8_000));
    let turns_max = TURNS_LEAST + TURNS_EACH * world.peers as u64;
    let mut turns = 0;
    let mut calm = false;
    loop {
        turns += 1;
        assert!(turns < turns_max, "not drained after {turns} turns: {:#?}", restless(&mut reactor));
        let max_wait = world.rng.chance(1, 16).then(|| Duration::from_micros(world.rng.below(20_000)));
        let busy = reactor.hub().has_ready() || reactor.hub().dirty_len() > 0;
        let turn = reactor.turn(&mut app, max_wait).expect("the simulated poller never fails");
        assert_eq!(turn, Turn::Running);
        assert!(!(busy && reactor.io().has_slept()), "the loop sleeps although somebody is ready");
        check(&mut reactor, turns);
        if world.rng.chance(1, 64) {
            call(&handle, &mut app, &mut world);
        }
        if !calm && (turns > turns_max / 2 || crate::reactor::io::Io::now(reactor.io()) > calm_at) {
            calm = true;
            reactor.io().calm();
        }
        assert!(!reactor.io().is_stuck(), "nothing can happen any more: {:#?}", restless(&mut reactor));
        if calm
            && turns % 16 == 0
            && reactor.io().peers().iter().all(|peer| !peer.is_healthy() || peer.is_done())
        {
            break;
        }
    }
    stop(&mut reactor, &mut app, &handle, &world, turns_max);
    judge(&mut reactor, app, &world)
}

/// Some of the healthy peers that are not done.
fn restless(reactor: &mut Reactor<SimIo<Client>>) -> Vec<String> {
    let peers = reactor.io().peers().iter().enumerate();
    let restless = peers.filter(|(_, peer)| peer.is_healthy() && !peer.is_done());
    restless.map(|(number, peer)| format!("{number}: {peer}")).take(5).collect()
}

/// All invariants, now and then where that takes long.
fn check(reactor: &mut Reactor<SimIo<Client>>, turns: u64) {
    let every = 1 + reactor.hub().connections() / 4;
    if turns.is_multiple_of(every) {
        reactor.check();
        reactor.hub().check_ledger();
        for key in 0..reactor.hub().connections() as u32 {
            let unread = reactor.io().is_unread(key);
            let noted = reactor.hub().slot(key).is_none_or(|slot| slot.marks.has(Marks::READABLE));
            assert!(!unread || noted, "what key {key} holds unread is forgotten");
        }
    }
}

/// What other threads ask for.
fn call(handle: &Handle, app: &mut App, world: &mut World) {
    let conn = app.anybody();
    // Full is an answer, too.
    let _ = match (world.rng.below(4), conn) {
        (0, Some(conn)) if !world.gentle => handle.close(conn, 4_002, "called"),
        (1, Some(conn)) => handle.send(conn, "N from a thread"),
        _ => handle.publish("t0", "N to all"),
    };
}

fn stop(reactor: &mut Reactor<SimIo<Client>>, app: &mut App, handle: &Handle, world: &World, turns_max: u64) {
    app.beats = false;
    while handle.shutdown().is_err() {
        reactor.turn(app, Some(Duration::ZERO)).expect("the simulated poller never fails");
    }
    let began = crate::reactor::io::Io::now(reactor.io());
    for turn in 0.. {
        assert!(turn < turns_max, "no shutdown after {turn} turns");
        let stopped = reactor.turn(app, None).expect("the simulated poller never fails");
        check(reactor, turn);
        if let Turn::Stopped(report) = stopped {
            let most = world.limits.shutdown_timeout + Duration::from_secs(1);
            assert!(report.took <= most, "{report}, allowed {most:?}");
            break;
        }
        assert!(!reactor.io().is_stuck(), "a shutdown that never ends");
    }
    // Peers see their ends; alarms of the application are let run out.
    let until = crate::reactor::io::Io::now(reactor.io()).max(began) + Duration::from_secs(3);
    while crate::reactor::io::Io::now(reactor.io()) < until {
        // The loop has stopped and turns do nothing; the network goes on.
        let mut events = Vec::new();
        let waited =
            crate::reactor::io::Io::wait(reactor.io(), Some(Duration::from_millis(100)), &mut events);
        waited.expect("the simulated poller never fails");
    }
}

/// What must be true at the end.
fn judge(reactor: &mut Reactor<SimIo<Client>>, app: App, world: &World) -> Outcome {
    reactor.check();
    reactor.io().check_all_closed();
    let stats = reactor.hub().stats();
    let levels = [
        stats.connections,
        stats.open,
        stats.half_open,
        stats.refusing,
        stats.queued_bytes,
        stats.memory_bytes,
    ];
    assert_eq!(levels, [0; 6], "levels after the end: connections, open, half open, refusing, bytes");
    assert!(stats.topics <= 2, "topics without a policy outlive their subscribers");
    assert_eq!(app.living(), 0, "announced and never ended");
    let refused = stats.refused_connections
        + stats.refused_source
        + stats.refused_half_open
        + stats.refused_rate
        + stats.refused_descriptors;
    assert_eq!(stats.accepted, stats.ended + refused, "every accepted connection ends once");
    let io = reactor.io();
    let (mut healthy, mut content) = (0, 0);
    let none = Record::default();
    let hits = io.faults().hits();
    // A jump of the clock or a late event makes healthy peers look slow.
    let disturbed = hits[Fault::ClockJump as usize] + hits[Fault::Late as usize] > 0;
    // Who is evicted behind its last message is counted under the reason that ended its conversation.
    let cramped = world.limits.memory_max < 1 << 20;
    let evicted = cramped || stats.ended_memory + stats.ended_slow_consumer > 0;
    for (number, peer) in io.peers().iter().enumerate() {
        let record = app.records.get(&number).unwrap_or(&none);
        if !peer.is_healthy() {
            continue;
        }
        healthy += 1;
        let all = peer.is_content() && (peer.ear.direct == record.direct || record.interrupted);
        if all {
            content += 1;
            continue;
        }
        // One that is refused at a port for TLS is closed without a word.
        let unheard =
            peer.veil.as_ref().is_some_and(|veil| !Veil::is_open(veil)) && stats.refused_silently > 0;
        let excused = unheard
            || wished(record)
            || !world.gentle && (io.is_struck(number) || excuse(peer, record, disturbed, evicted));
        assert!(excused, "peer {number} did not get everything: {}\n{record:?}\n{peer}", world.summary());
    }
    let io = reactor.io();
    Outcome {
        trace: io.trace(),
        events: io.delivered(),
        peers: world.peers,
        stats,
        hits: io.faults().hits().to_vec(),
        causes: app.causes,
        calls: app.calls,
        drains: app.drains,
        healthy,
        content,
    }
}

/// Whether a peer asked for what cut it short: a Close of the application, or its own while a message came in parts.
fn wished(record: &Record) -> bool {
    let closed = record.closed.as_ref().map(|closed| (closed.cause, closed.by));
    record.interrupted || closed == Some((Cause::Close, By::Application))
}

/// Whether a limit or another peer's doing ended a healthy peer.
fn excuse(peer: &Client, record: &Record, disturbed: bool, evicted: bool) -> bool {
    let slow = peer.narrow || peer.pace != Pace::Whole || peer.reading != Reading::Prompt;
    if record.meddled || peer.ear.let_go {
        return true;
    }
    match peer.ear.refused {
        Some(503 | 413 | 431) => return true,
        Some(408 | 200) => return slow || disturbed,
        Some(_) => return false,
        None => {}
    }
    match record.closed.as_ref().map(|closed| closed.cause) {
        Some(Cause::Memory | Cause::SlowConsumer) => true,
        Some(Cause::Idle) if peer.nature == Nature::Listener => true,
        Some(Cause::PingTimeout | Cause::Idle | Cause::ReplyTimeout) => slow || disturbed,
        // A closing handshake was begun and cut.
        Some(Cause::Close) => peer.end == Some(End::Reset) && (slow || disturbed || evicted),
        Some(_) => disturbed,
        // Nobody was told of the end: between two requests.
        None => slow || disturbed || evicted,
    }
}

impl World {
    /// In one line.
    pub fn summary(&self) -> String {
        let World { seed, gentle, peers, .. } = self;
        let veiled = if is_veiled(*seed) { ", TLS" } else { "" };
        format!("seed {seed}: {peers} peers{}{veiled}", if *gentle { ", gentle" } else { "" })
    }
}
