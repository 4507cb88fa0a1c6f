//! Whether the generator was good enough for what it measured.
//!
//! Refuses to look at the server. Invariant: a run in which the generator was late, out of processor, or incomplete is
//! never called valid, whatever its figures look like.

use crate::crew::ledger::Sum;
use crate::order::{Count, Metric};
use crate::record::{Check, Unit, Verdict};
use crate::run::Finished;

/// Share of the time that a thread may be ready to run without getting a processor.
const WAIT_MAX: f64 = 0.25;

/// Judges the measured phases of a run.
pub fn verdict(finished: &Finished, measured: &Sum) -> Verdict {
    let common = &finished.common;
    let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    let mut checks = Vec::new();
    let mut check = |name: &str, measured: f64, limit: f64, unit: Unit, meaning: &str| {
        let ok = measured <= limit;
        checks.push(Check { name: name.into(), measured, limit, unit, ok, meaning: meaning.into() });
    };
    let slip = measured.times(Metric::Slip);
    if !slip.is_empty() {
        check(
            "slip p99",
            slip.quantile(0.99),
            micros(common.slip_max),
            Unit::Microseconds,
            "messages left later than planned: latencies hold the generator's own delay; use a lower rate, \
             more --threads, or processors of its own",
        );
    }
    check(
        "loop lag p99",
        measured.times(Metric::Lag).quantile(0.99),
        micros(common.lag_max),
        Unit::Microseconds,
        "the generator's loop came back late: answers waited for it and not for the server; use less load per \
         thread, or processors of its own",
    );
    check(
        "generator cpu",
        measured.busiest(),
        common.cpu_max,
        Unit::Share,
        "a thread of the generator had no processor time to spare: rates are its limit and not the server's; use \
         more --threads or less load (server time per message still holds)",
    );
    check(
        "generator waiting",
        measured.most_waiting(),
        WAIT_MAX,
        Unit::Share,
        "other programs took the generator's processor away: latencies hold that; stop them, or keep processors free",
    );
    let unsent = measured.count(Count::Unsent) as f64;
    check(
        "unsent",
        unsent,
        0.0,
        Unit::Count,
        "messages or connections were planned and not begun, for too many were on their way: latencies lack the worst",
    );
    check(
        "worker troubles",
        finished.ledger.troubles_count as f64,
        0.0,
        Unit::Count,
        "a part of the generator or the server ended early: figures lack what it did",
    );
    Verdict { valid: checks.iter().all(|check| check.ok), checks }
}
