//! Allocations of a loop that has settled: per echoed message, Ping, delivery and connection.
//!
//! `cargo bench --features sim --bench allocations`. It ends with 1 when an echo or a Ping allocates. The simulated
//! network is counted too, and allocates nothing once its pipes have grown.

mod loads;

use std::process::ExitCode;

use allocation_counter::measure;
use loads::{LOADS, Load};

/// Rounds in which every buffer reaches its size.
const WARM: u32 = 100;
const ROUNDS: u32 = 1000;

fn main() -> ExitCode {
    let mut bad = false;
    println!("{:<12}{:>10}{:>14}{:>10}", "", "each", "allocations", "bytes");
    for &(name, one, shape) in LOADS {
        let mut load = Load::new(shape);
        (0..WARM).for_each(|_| load.round());
        let counted = measure(|| (0..ROUNDS).for_each(|_| load.round()));
        let each = (load.per_round as u64 * u64::from(ROUNDS)) as f64;
        println!(
            "{name:<12}{one:>10}{:>14.4}{:>10.1}",
            counted.count_total as f64 / each,
            counted.bytes_total as f64 / each
        );
        bad |= counted.count_total > 0 && matches!(one, "message" | "ping");
    }
    if bad {
        eprintln!("a message or a Ping allocates");
    }
    ExitCode::from(u8::from(bad))
}
