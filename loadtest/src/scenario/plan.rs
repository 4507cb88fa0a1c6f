//! `plan`: from small runs, what a large load will need, and what will stop it first.
//!
//! Refuses to guess: it extends straight lines through what it measured, at most [`FURTHEST`] times as far, and not past
//! a point at which they bend. Only the server's memory, its processor time, and counts go into it, so a generator that
//! was late spoils nothing; one that ended early does.

mod forecast;
mod measure;
mod tell;

use std::time::Instant;

use tidegate::program::doctor::Readings;
use tidegate::program::failure::{Failure, complain};

use crate::amount::rounded;
use crate::cli;
use crate::output::number::plain_number;
use crate::record::{Record, Unit};
use forecast::{Forecast, Planned};
use measure::Measured;

/// How many times as far as the largest run a line is extended.
pub const FURTHEST: f64 = 10.0;

/// Measures, and predicts.
///
/// # Errors
/// When the server cannot be looked into, the plan reaches too far, or a run cannot be made.
pub fn run(args: &cli::Plan) -> Result<Record, Failure> {
    let began = Instant::now();
    check(args)?;
    let measured = Measured::of(args)?;
    let planned = Planned {
        connections: args.connections as f64,
        rate: args.rate,
        handshakes: args.handshakes,
        broadcasts: args.broadcasts,
        cores: args.common.servers.max(1) as f64,
    };
    let readings = Readings::of_this_machine();
    let forecast = Forecast::of(&measured.costs, &planned, &readings);
    let verified = args.verify.map(|connections| verify(args, connections)).transpose()?;
    Ok(tell::record(args, measured, &forecast, verified.as_ref(), began.elapsed()))
}

/// What can be known before anything is measured.
fn check(args: &cli::Plan) -> Result<(), Failure> {
    if args.common.server.is_none() && args.common.server_pid.is_empty() {
        return Err(Failure::usage(
            "plan: it looks into the server, so give --server COMMAND or --server-pid PID",
        ));
    }
    if args.from >= args.up_to {
        let (from, up_to) = (args.from, args.up_to);
        return Err(Failure::usage(format!(
            "--from {from} is not below --up-to {up_to}; give two that differ"
        )));
    }
    let most = args.connections.max(args.verify.unwrap_or(0));
    match too_far(most as f64, args.up_to as f64) {
        Some(text) => Err(Failure::refused(format!("{text} with --up-to"))),
        None => Ok(()),
    }
}

/// The sentence that refuses to extend a line so far.
pub fn too_far(wanted: f64, measured: f64) -> Option<String> {
    (wanted > measured * FURTHEST).then(|| {
        let count = |value| plain_number(Unit::Count, value);
        format!(
            "measured up to {}; {} is {} times that; measure up to at least {}",
            count(measured),
            count(wanted),
            rounded(wanted / measured, 3),
            count((wanted / FURTHEST).ceil())
        )
    })
}

/// What a load of idle connections took when it was there.
pub struct Verified {
    pub connections: f64,
    pub server: f64,
}

/// Holds so many connections, and reads the server's memory.
fn verify(args: &cli::Plan, connections: u64) -> Result<Verified, Failure> {
    complain("loadtest", format_args!("plan: holding {connections} connections to see"));
    let (stops, _) = measure::idle(args, &[connections])?;
    let stop = stops.last().copied();
    let Some((held, server)) = stop.and_then(|stop| Some((stop.connections, stop.server?))) else {
        return Err(Failure::refused(
            "--verify: the server's memory cannot be read; run as its user or as root",
        ));
    };
    Ok(Verified { connections: held, server })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_extended_ten_times_and_no_further() {
        assert_eq!(too_far(50_000.0, 5_000.0), None);
        assert_eq!(
            too_far(1_000_000.0, 5_000.0).unwrap(),
            "measured up to 5,000; 1,000,000 is 200 times that; measure up to at least 100,000"
        );
    }
}
