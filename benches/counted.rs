//! A known number of rounds of one load, for `benches/instructions` to count instructions in.
//!
//! Refuses to know how it is counted. Invariant: two runs with different numbers of rounds differ in those rounds only.
//! Without arguments of its own (as `cargo bench` calls it) it lists the loads: name, what is counted, how many a round.

mod loads;

use std::process::ExitCode;

use loads::{Crowd, LOADS, Load};

/// Messages in a round of a crowd, one of each connection at most.
const SPEAKERS: usize = 1000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            for &(name, one, shape) in LOADS {
                println!("{name}\t{one}\t{}", Load::new(shape).per_round);
            }
            ExitCode::SUCCESS
        }
        ["crowd", connections, rounds] => match (connections.parse(), rounds.parse()) {
            (Ok(connections), Ok(rounds)) if connections > 0 => crowd(connections, rounds),
            _ => wrong(&words),
        },
        [name, rounds] => {
            let load = LOADS.iter().find(|(of, ..)| *of == name);
            match (load, rounds.parse()) {
                (Some(&(.., shape)), Ok(rounds)) => repeat(shape, rounds),
                _ => wrong(&words),
            }
        }
        _ => wrong(&words),
    }
}

fn wrong(words: &[&str]) -> ExitCode {
    eprintln!(
        "counted: {words:?} is neither LOAD ROUNDS nor crowd CONNECTIONS ROUNDS; without arguments it lists the loads"
    );
    ExitCode::from(2)
}

fn repeat(shape: loads::Shape, rounds: u32) -> ExitCode {
    let mut load = Load::new(shape);
    (0..rounds).for_each(|_| load.round());
    ExitCode::SUCCESS
}

/// Connections come, up to a thousand of them speak in each round, and all go.
fn crowd(connections: usize, rounds: u32) -> ExitCode {
    let mut crowd = Crowd::new(connections);
    for _ in 0..rounds {
        crowd.draw(SPEAKERS);
        crowd.speak();
        crowd.serve();
        crowd.hear();
    }
    crowd.leave();
    ExitCode::SUCCESS
}
