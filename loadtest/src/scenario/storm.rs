//! `storm`: all connections drop at once and come back: how long until they are in again.
//!
//! Refuses to know why they dropped. Invariants: a round counts from the moment of its drop; a share that was not
//! reached in time has no figure, and its round is an error.

use std::time::Duration;

use tidegate::program::failure::Failure;

use crate::cli;
use crate::fit::median;
use crate::order::{Count, Metric, Role, Step};
use crate::output::number::plain_number;
use crate::record::{Axis, Combine, Figure, Line, Plot, Record, Scale, Times, Unit};
use crate::run::draft::Draft;
use crate::run::{Finished, Run, Wanted};

/// Rounds of a run, at most: each has figures and a line of its own.
const ROUNDS_MAX: u64 = 100;
/// Time between two rounds, for the server to come to rest.
const REST: Duration = Duration::from_millis(500);
/// Shares that must be back, with the names of their figures.
const SHARES: [(&str, f64); 3] = [("recovered_50", 0.5), ("recovered_99", 0.99), ("recovered_100", 1.0)];

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Storm) -> Result<Record, Failure> {
    if args.rounds > ROUNDS_MAX {
        return Err(Failure::usage(format!("--rounds {}: at most {ROUNDS_MAX}", args.rounds)));
    }
    let wanted = Wanted {
        // Whoever drops a connection keeps its port for a minute (TIME_WAIT).
        sources_for: args.connections.saturating_mul(args.rounds + 1),
        dialing: args.dialing,
        retry: Some(args.retry),
        ..Wanted::new("storm", Role::Idle, args.connections)
    };
    let mut run = Run::start(&args.common, wanted)?;
    run.hold_within("connecting", args.connections, args.ramp, args.within)?;
    let held = run.crew.ledger.open();
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        run.last(REST)?;
        rounds.push(round(&mut run, args)?);
    }
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &rounds, title(args));
    recovery(&mut draft, &finished, args, &rounds);
    counts(&mut draft, &finished, &rounds);
    draft.connections();
    let returned = draft.measured.count(Count::Opened) as f64;
    draft.server(&rounds, Some(("return", "returned", returned)));
    draft.kernel();
    draft.generator();
    draft.over_time("connections opened per second", |point| point.opened);
    if held < args.connections {
        draft.note(format!(
            "Only {held} of {} connections were open when the first storm began.",
            args.connections
        ));
    }
    draft.note(
        "Times count from the drop: the sockets of all connections are closed at once, without a Close frame. The \
         server works through their ends while the new ones arrive, and until it has, old and new count against its \
         limits together; refusals and a long tail in spite of idle processors may come from that. Refused ones try \
         again after a pause that doubles, so the tail also holds the pauses of those that were unlucky.",
    );
    Ok(draft.record)
}

/// One storm; returns its phase.
fn round(run: &mut Run, args: &cli::Storm) -> Result<u32, Failure> {
    let pace =
        args.returning.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(args.connections as f64 / rate));
    let limit = args.within.max(pace);
    let phase = run.phase("storm", false, limit)?;
    run.crew.say(&Step::Drop);
    run.crew.say(&Step::Hold { connections: args.connections, per_second: args.returning });
    // What was open before may still stand in the ledger: only what opened since then tells that they are back.
    let all = args.connections;
    run.until(limit, &|ledger| ledger.count_in(phase, Count::Opened) >= all && ledger.open() >= all)?;
    Ok(phase)
}

/// Microseconds until this share of all was back; `None` when it was not reached.
fn reached(times: &Times, share: f64, all: u64) -> Option<f64> {
    let needed = (all as f64 * share).ceil().max(1.0);
    let count = times.count() as f64;
    (count >= needed).then(|| times.quantile(needed / count))
}

/// How fast they came back, by round and over all rounds.
fn recovery(draft: &mut Draft<'_>, finished: &Finished, args: &cli::Storm, rounds: &[u32]) {
    let all = args.connections;
    let sums: Vec<_> = rounds.iter().map(|phase| finished.sum(*phase)).collect();
    let times: Vec<Times> = sums.iter().map(|sum| sum.times(Metric::Recovery)).collect();
    let put = |draft: &mut Draft<'_>, name: String, micros: f64| {
        draft.put(Figure::new(name, micros, Unit::Microseconds).combine(Combine::Max).less_is_better());
    };
    for (name, share) in SHARES {
        let mut each: Vec<f64> = times.iter().filter_map(|times| reached(times, share, all)).collect();
        if let Some(middle) = median(&mut each) {
            put(draft, name.into(), middle);
        }
    }
    let mut rows = Vec::new();
    let mut failed = 0;
    for (at, (sum, times)) in sums.iter().zip(&times).enumerate() {
        let (number, back) = (at + 1, times.count().min(all));
        let mut row = vec![number.to_string(), back.to_string()];
        for (name, share) in SHARES {
            let micros = reached(times, share, all);
            row.push(micros.map_or("-".into(), |micros| plain_number(Unit::Microseconds, micros)));
            if let Some(micros) = micros {
                put(draft, format!("{name}_round_{number}"), micros);
            }
        }
        row.extend([Count::Retried, Count::Failed].map(|what| sum.count(what).to_string()));
        rows.push(row);
        if back < all {
            failed += 1;
            let told =
                format!("round {number}: {back} of {all} connections were back within {:?}", args.within);
            draft.record.errors.entry("not recovered".into()).or_default().add(1, &told);
            draft.note(format!("Not recovered: {told}."));
        }
    }
    let failed = Figure::new("rounds_failed", f64::from(failed), Unit::Count);
    draft.put(failed.combine(Combine::Sum).less_is_better());
    draft.table("Rounds", &["round", "back", "50 % in", "99 % in", "100 % in", "retried", "refused"], rows);
    let mut recovery = Times::default();
    times.iter().for_each(|times| recovery.add(times));
    draft.record.times.insert("recovery".into(), recovery);
    let x = Axis { label: "time since the drop".into(), unit: Unit::Microseconds, scale: Scale::Linear };
    let y = Axis { label: "share that is back".into(), unit: Unit::Share, scale: Scale::Linear };
    let lines = times.iter().enumerate().map(|(at, times)| line(at + 1, times, all)).collect();
    draft.record.plots.push(Plot { title: "Return after the drop".into(), x, y, lines });
}

/// The share that is back, over time.
fn line(round: usize, times: &Times, all: u64) -> Line {
    let back = times.count() as f64 / all as f64;
    let mut points = vec![(0.0, 0.0)];
    if !times.is_empty() {
        points.extend(
            (0..=100).map(|step| (times.quantile(f64::from(step) / 100.0), f64::from(step) / 100.0 * back)),
        );
    }
    Line { name: format!("round {round}"), points, dots: false }
}

/// Returns, refusals, and the time of a connection.
fn counts(draft: &mut Draft<'_>, finished: &Finished, rounds: &[u32]) {
    draft.sum("rounds", rounds.len() as f64, Unit::Count);
    draft.sum("returned", draft.measured.count(Count::Opened) as f64, Unit::Count);
    draft.sum("retried", draft.measured.count(Count::Retried) as f64, Unit::Count);
    draft.bad("refused", Count::Failed);
    draft.metric(Metric::Connect, "connect_");
    draft.kinds("Refusals", ["kind", "times", "the first of them"], draft.measured.errors.clone());
    let overflows = rounds.iter().filter_map(|phase| {
        let (from, to) = finished.edges(*phase)?;
        to.kernel.since(&from.kernel).listen_overflows
    });
    if overflows.sum::<i64>() > 0 {
        draft.note(
            "The server's listen queue overflowed: connections waited for TCP to try again, first after a second. A \
             longer queue (its backlog, net.core.somaxconn) takes them at once.",
        );
    }
}

fn title(args: &cli::Storm) -> String {
    let how = args.returning.map_or_else(|| "all at once".into(), |rate| format!("{rate}/s"));
    format!("{} connections drop and return, {how}, {} rounds", args.connections, args.rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_all_and_not_of_those_that_came() {
        let mut times = Times::default();
        (1..=60).for_each(|micros| times.record_micros(micros));
        assert_eq!(reached(&times, 0.5, 100), Some(50.0));
        assert_eq!(reached(&times, 0.99, 100), None);
        assert_eq!(reached(&times, 1.0, 60), Some(60.0));
        assert_eq!(reached(&Times::default(), 0.5, 1), None);
        let line = line(1, &times, 120);
        assert_eq!(line.points.last(), Some(&(60.0, 0.5)));
    }
}
