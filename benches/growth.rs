//! What a message and a connection cost as the connections become more: to a million, on the simulated network.
//!
//! `cargo bench --features sim --bench growth [-- MOST]` prints tab-separated values. Times are of the loop and of the
//! simulated network together, so they hold the cache misses of both: a connection's two pipes stand for the kernel's
//! socket. Counts without any network: `benches/instructions growth`.

mod loads;

use std::process::ExitCode;
use std::time::Instant;

use loads::Crowd;

const SIZES: [usize; 5] = [100, 1_000, 10_000, 100_000, 1_000_000];
/// Rounds, of which the fastest counts: whoever else uses the machine can only make a round slower.
const ROUNDS: usize = 30;
/// Messages in a round, one of each connection at most.
const SPEAKERS: usize = 1000;

fn main() -> ExitCode {
    let most = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let most = match most.map(|word| word.parse()) {
        None => SIZES[SIZES.len() - 1],
        Some(Ok(most)) => most,
        Some(Err(error)) => {
            eprintln!("growth: the most connections to try: {error}");
            return ExitCode::from(2);
        }
    };
    println!(
        "connections\tns_per_connection\tns_per_message\tns_per_message_median\tresident_bytes_per_connection"
    );
    for connections in SIZES.into_iter().filter(|&size| size <= most) {
        let before = resident();
        let began = Instant::now();
        let mut crowd = Crowd::new(connections);
        let opening = began.elapsed();
        let held = resident().saturating_sub(before);
        let mut times: Vec<f64> = (0..ROUNDS).map(|_| round(&mut crowd)).collect();
        times.sort_by(f64::total_cmp);
        let began = Instant::now();
        crowd.leave();
        let life = opening + began.elapsed();
        println!(
            "{connections}\t{:.0}\t{:.1}\t{:.1}\t{:.0}",
            life.as_nanos() as f64 / connections as f64,
            times[0],
            times[ROUNDS / 2],
            held as f64 / connections as f64
        );
    }
    ExitCode::SUCCESS
}

/// Up to a thousand connections speak and are answered; what the turns took for each of them, in nanoseconds.
fn round(crowd: &mut Crowd) -> f64 {
    let speakers = crowd.draw(SPEAKERS);
    crowd.speak();
    let began = Instant::now();
    crowd.serve();
    let took = began.elapsed();
    crowd.hear();
    took.as_nanos() as f64 / speakers as f64
}

/// Resident memory in bytes, or zero where there is no `/proc`.
fn resident() -> usize {
    const PAGE: usize = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * PAGE
}
