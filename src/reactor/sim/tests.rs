//! The simulator's tests: many seeds, a replay, and the proof that a seed decides everything.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::faults::FAULTS;
use super::world::{Outcome, play};

/// Seeds played by a plain `cargo test`.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Plays a seed; says how to play it again when it fails.
fn play_or_tell(seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|panic| {
        eprintln!("seed {seed} failed; to see it again:");
        eprintln!("    TIDEGATE_SEED={seed} cargo test sim_replay -- --nocapture");
        resume_unwind(panic)
    })
}

/// Sums over all seeds.
#[derive(Default)]
struct Totals {
    events: u64,
    peers: usize,
    calls: u64,
    drains: u64,
    healthy: u64,
    content: u64,
    hits: Vec<u64>,
    causes: BTreeMap<&'static str, u64>,
    counters: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.events += outcome.events;
        self.peers += outcome.peers;
        self.calls += outcome.calls;
        self.drains += outcome.drains;
        self.healthy += outcome.healthy;
        self.content += outcome.content;
        self.hits.resize(FAULTS.len(), 0);
        self.hits.iter_mut().zip(&outcome.hits).for_each(|(sum, hits)| *sum += hits);
        outcome.causes.iter().for_each(|(&cause, count)| *self.causes.entry(cause).or_default() += count);
        outcome.stats.entries().for_each(|(name, count)| *self.counters.entry(name).or_default() += count);
    }

    /// Everything that the simulator is there for has come up, so that it cannot silently stop testing something.
    fn check_coverage(&self) {
        for (fault, &hits) in FAULTS.iter().zip(&self.hits) {
            assert!(hits > 0, "no {fault:?} in any seed");
        }
        for cause in CAUSES {
            let spoken = cfg!(feature = "tls") || !OF_TLS.contains(&cause);
            if !spoken {
                continue;
            }
            assert!(self.causes.contains_key(cause), "no end by {cause:?} in any seed");
        }
        for (&name, &count) in &self.counters {
            let spoken = cfg!(feature = "tls") || !OF_TLS.contains(&name);
            let packed = cfg!(feature = "deflate") || !name.contains("flate");
            let counts = spoken && packed && !UNCOUNTED.contains(&name);
            assert!(count > 0 || !counts, "{name} is zero over all seeds");
        }
        assert!(self.drains > 0 && self.content * 2 > self.healthy, "too few peers got everything");
    }
}

/// Causes with which an announced connection can end. (`Answered`, `BadHead`, `BadBody`, `Refused` and
/// `HandshakeTimeout` end connections before they are announced: their counters are checked.)
const CAUSES: [&str; 13] = [
    "closed by peer",
    "closed by application",
    "end of stream",
    "idle",
    "io",
    "memory",
    "ping timeout",
    "protocol",
    "reply timeout",
    "shutdown",
    "slow consumer",
    "tls",
    "truncated",
];

/// Causes and counters that a build without TLS does not have.
const OF_TLS: [&str; 8] = [
    "tls",
    "truncated",
    "ended_tls",
    "ended_truncated",
    "plain_on_tls_port",
    "tls_handshakes",
    "tls_resumed",
    "budget_tls_handshake",
];

/// Counters that stay zero here: levels after the end, what only clients and other threads count, and wall time.
const UNCOUNTED: [&str; 19] = [
    "refused_commands",
    "connections",
    "open",
    "half_open",
    "refusing",
    "queued_bytes",
    "memory_bytes",
    "spares_bytes",
    "timers",
    "topics",
    "connected",
    "budget_dial",
    "deflate_shared",
    "deflate_dedicated",
    "deflate_bytes",
    "deflate_declined",
    "turn_last_us",
    "turn_max_us",
    "turn_sum_us",
];

#[test]
fn sim_seeds() {
    let seeds = number("TIDEGATE_SEEDS").unwrap_or(SEEDS);
    let mut totals = Totals::default();
    for seed in 0..seeds {
        let outcome = play_or_tell(seed);
        assert!(outcome.events > 0 && outcome.calls > 0, "seed {seed} did nothing");
        totals.add(&outcome);
    }
    let Totals { events, peers, calls, drains, healthy, content, .. } = totals;
    println!(
        "{seeds} seeds, {peers} peers, {events} events, {calls} calls of the application, {drains} drains"
    );
    println!("{healthy} healthy peers, {content} got everything, the others had an excuse");
    println!("faults: {:?}", FAULTS.iter().zip(&totals.hits).collect::<Vec<_>>());
    println!("causes: {:?}", totals.causes);
    println!("counters: {:?}", totals.counters);
    if seeds >= SEEDS {
        totals.check_coverage();
    }
}

#[test]
fn sim_replay() {
    let outcome = play_or_tell(number("TIDEGATE_SEED").unwrap_or(0));
    println!("{outcome:#?}");
}

#[test]
fn sim_is_determined_by_its_seed() {
    for seed in [1, 2, 5, 8] {
        let (one, other) = (play(seed), play(seed));
        assert_eq!((one.trace, one.events, one.stats), (other.trace, other.events, other.stats));
    }
    assert_ne!(play(1).trace, play(2).trace);
}
