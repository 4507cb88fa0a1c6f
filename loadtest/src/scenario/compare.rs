//! `compare`: servers, or variants of a load, measured in turns.
//!
//! Refuses to know what is measured: that is the scenario behind `--`, run as if it stood alone. Invariants: all sides
//! are measured equally often, in an order that turns round with each round, so that a machine that drifts favours
//! none; values are compared only within a round, and only where the generator did not make them.

mod sides;
mod tell;

use std::collections::BTreeMap;
use std::time::Instant;

use tidegate::program::failure::{Failure, complain};

use crate::cli;
use crate::record::{Check, Conditions, Figure, Record, SCHEMA, Seen, Unit, Verdict};
use sides::Side;

/// Rounds, at most; what has not shown by then is of no account.
const ROUNDS_MAX: u64 = 1_000;
/// The share of runs that may be INVALID.
const INVALID_MAX: f64 = 1.0 / 3.0;
/// The one check that a busy generator fails without touching what a message costs the server.
const BUSY: &str = "generator cpu";
/// Checks that say that the generator was late. What the server keeps in memory does not depend on that.
const LATE: &[&str] = &[BUSY, "slip p99", "loop lag p99", "generator waiting"];
/// Processor time of the server, per something.
const COST: &str = "server_cpu_per_";
/// What the server keeps in memory.
const KEPT: &[&str] = &["server_rss", "server_anon", "server_bytes_per_connection"];

/// Whether a figure can be believed although this check failed.
fn holds_without(check: &str, figure: &str) -> bool {
    (check == BUSY && figure.starts_with(COST)) || (LATE.contains(&check) && KEPT.contains(&figure))
}

/// What is kept of one run.
#[derive(Clone, Debug)]
struct Turn {
    figures: Vec<Figure>,
    /// Names of the checks that failed.
    failed: Vec<String>,
}

impl Turn {
    fn of(record: &Record) -> Self {
        let failed = record.verdict.checks.iter().filter(|check| !check.ok);
        Turn { figures: record.figures.clone(), failed: failed.map(|check| check.name.clone()).collect() }
    }

    /// This figure, if it can be believed.
    fn figure(&self, name: &str) -> Option<&Figure> {
        let holds = self.failed.iter().all(|check| holds_without(check, name));
        self.figures.iter().find(|figure| figure.name == name).filter(|_| holds)
    }
}

/// Measures and compares.
///
/// # Errors
/// When the command line asks for nothing that can be compared, or a run cannot be made.
pub fn run(args: &cli::Compare) -> Result<Record, Failure> {
    let began = Instant::now();
    if args.rounds > ROUNDS_MAX {
        return Err(Failure::usage(format!("--rounds {}: at most {ROUNDS_MAX}", args.rounds)));
    }
    let sides = sides::of(args)?;
    // By side and round.
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); sides.len()];
    let mut first: Option<Record> = None;
    let mut errors: BTreeMap<String, Seen> = BTreeMap::new();
    for round in 0..args.rounds {
        for at in order(round, sides.len()) {
            let side = &sides[at];
            let record = side.measure()?;
            let failed = Turn::of(&record).failed.join(", ");
            let told = if failed.is_empty() { "VALID".to_string() } else { format!("INVALID: {failed}") };
            complain(
                "loadtest",
                format_args!("round {} of {}, {}: {told}", round + 1, args.rounds, side.name),
            );
            for (kind, seen) in &record.errors {
                errors.entry(format!("{}: {kind}", side.name)).or_default().add(seen.count, &seen.example);
            }
            turns[at].push(Turn::of(&record));
            first.get_or_insert(record);
        }
    }
    let Some(first) = first else { return Err(Failure::usage("nothing was measured: give --rounds")) };
    let names: Vec<&str> = sides.iter().map(|side| side.name.as_str()).collect();
    let told = tell::tell(&names, &turns);
    let title =
        format!("{}: {} {}, in {} rounds", names.join(" and "), first.scenario, first.title, args.rounds);
    Ok(Record {
        schema: SCHEMA.into(),
        scenario: "compare".into(),
        title,
        began: first.began,
        seconds: began.elapsed().as_secs_f64(),
        conditions: conditions(first.conditions, &sides, args.rounds),
        verdict: verdict(&turns),
        figures: told.figures,
        times: BTreeMap::new(),
        plots: told.plots,
        tables: told.tables,
        errors,
        notes: told.notes,
    })
}

/// The order of the sides in a round: forth, and back in the next one.
fn order(round: u64, sides: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..sides).collect() } else { (0..sides).rev().collect() }
}

fn conditions(first: Conditions, sides: &[Side], rounds: u64) -> Conditions {
    let mut conditions = Conditions { workers: Vec::new(), ..first };
    conditions.server.remove("command");
    for side in sides {
        conditions.server.insert(side.name.clone(), side.told());
    }
    conditions.settings.insert("rounds".into(), rounds.to_string());
    conditions
}

fn verdict(turns: &[Vec<Turn>]) -> Verdict {
    let all = turns.iter().flatten();
    let (count, invalid) = (all.clone().count(), all.clone().filter(|turn| !turn.failed.is_empty()).count());
    let share = invalid as f64 / count.max(1) as f64;
    let mut names: Vec<&str> = all.flat_map(|turn| &turn.failed).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let ok = share <= INVALID_MAX;
    let check = Check {
        name: "invalid runs".into(),
        measured: share,
        limit: INVALID_MAX,
        unit: Unit::Share,
        ok,
        meaning: format!(
            "in too many runs the generator was the limit ({}), so too few rounds are left to compare; use less load, \
             more --threads, or processors of its own. {}",
            names.join(", "),
            excused()
        ),
    };
    Verdict { valid: ok, checks: vec![check] }
}

/// The rule by which figures of INVALID runs are kept, for people.
fn excused() -> String {
    format!(
        "What the server keeps in memory ({}) is compared also from runs in which the generator was only late or busy, \
         and {COST}... from those in which {BUSY} was all that failed: neither depends on how fast the generator was",
        KEPT.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(failed: &[&str]) -> Turn {
        let figure = |name: &str| Figure::new(name, 1.0, Unit::Microseconds).less_is_better();
        let figures = vec![figure("p99"), figure("server_cpu_per_message"), figure("server_rss")];
        Turn { figures, failed: failed.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_order_turns_round() {
        assert_eq!([order(0, 2), order(1, 2), order(2, 2)], [[0, 1], [1, 0], [0, 1]]);
        assert_eq!([order(0, 3), order(1, 3)], [[0, 1, 2], [2, 1, 0]]);
        // Over any two rounds each side has the same mean place, so a drift falls on all alike.
        for sides in 2..6 {
            let place = |round, side| order(round, sides).iter().position(|at| *at == side).unwrap();
            assert!((0..sides).all(|side| place(0, side) + place(1, side) == sides - 1));
        }
    }

    #[test]
    fn a_busy_generator_leaves_what_the_server_used() {
        for (failed, latency, cost, memory) in [
            (&[][..], true, true, true),
            (&[BUSY], false, true, true),
            (&["slip p99"], false, false, true),
            (&[BUSY, "loop lag p99"], false, false, true),
            (&["unsent"], false, false, false),
            (&["worker troubles", BUSY], false, false, false),
        ] {
            let turn = turn(failed);
            assert_eq!(turn.figure("p99").is_some(), latency, "{failed:?}");
            assert_eq!(turn.figure("server_cpu_per_message").is_some(), cost, "{failed:?}");
            assert_eq!(turn.figure("server_rss").is_some(), memory, "{failed:?}");
        }
    }

    #[test]
    fn too_many_invalid_runs_make_it_invalid() {
        let (good, bad) = (turn(&[]), turn(&["slip p99"]));
        let verdicts = [
            vec![vec![good.clone(); 3], vec![good.clone(), bad.clone(), bad.clone()]],
            vec![vec![good.clone(), bad.clone()], vec![good, bad]],
        ]
        .map(|turns| verdict(&turns));
        assert!(verdicts[0].valid);
        assert!(!verdicts[1].valid);
        assert!(verdicts[1].checks[0].meaning.contains("(slip p99)"), "{:?}", verdicts[1]);
    }
}
