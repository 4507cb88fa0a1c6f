//! `slow`: some listeners stop reading: what the server does with them, and what the others feel of it.
//!
//! Refuses to know which server it is. Invariants: those that will stop are set apart from the start, so before, during
//! and after are about the same healthy listeners; how those end that have stopped is a finding and never an error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate::program::failure::Failure;

use super::fanout::{title, wanted};
use crate::cli;
use crate::order::{Count, Metric, Step};
use crate::output::number::plain_number;
use crate::record::{Combine, Figure, Record, Seen, Unit};
use crate::run::draft::Draft;
use crate::run::{Finished, LEAD, Run};

/// The three parts; with their own names they stand in figures.
const PARTS: [&str; 3] = ["before", "during", "after"];
/// Time between two looks at the server's memory while listeners do not read.
const LOOK: Duration = Duration::from_millis(500);
/// What the kernel may take for one connection before the server feels anything: by default up to 4 MiB of send buffer,
/// and a receive buffer that does not grow, as nobody reads.
const SOCKET_BUFFERS: f64 = (6 << 20) as f64;

/// What came of the parts.
struct Parts {
    phases: [u32; 3],
    /// Listeners that were set apart.
    apart: u64,
    /// Most resident memory of the server during the stall.
    most_memory: Option<u64>,
}

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Slow) -> Result<Record, Failure> {
    let apart = apart(args)?;
    let mut run = Run::start(&args.common, wanted("slow", &args.spread)?)?;
    run.hold("connecting", args.spread.subscribers + args.spread.publishers, args.ramp)?;
    let parts = act(&mut run, args, apart)?;
    let finished = run.finish()?;

    let about = format!("{}; {apart} of them stop reading for {:?}", title(&args.spread), args.duration);
    let mut draft = Draft::new(&finished, &parts.phases, about);
    healthy(&mut draft, &finished, &parts, args.spread.subscribers);
    stalled(&mut draft, &finished, &parts);
    memory(&mut draft, &finished, &parts);
    draft.disorder();
    draft.connections();
    let delivered = draft.measured.count(Count::Delivered) as f64;
    draft.server(&parts.phases, Some(("delivery", "delivered", delivered)));
    draft.kernel();
    draft.generator();
    draft.over_time("messages per second", |point| point.received);
    let bytes = args.spread.rate * args.spread.size as f64 * args.duration.as_secs_f64();
    if let Some(note) = too_little(bytes) {
        draft.note(note);
    }
    draft.note(
        "Figures of delivery are those of the listeners that read all the time. The end of one that had stopped is no \
         error. A server that resets a connection is noticed at once; one that closes politely only when the listener \
         reads again, behind all that was on its way: such an end shows late, under `once reading again`.",
    );
    draft.record.conditions.settings.insert("stall".into(), format!("{:.0} %", args.stall * 100.0));
    Ok(draft.record)
}

/// How many listeners stop reading.
fn apart(args: &cli::Slow) -> Result<u64, Failure> {
    let listeners = args.spread.subscribers;
    match (listeners as f64 * args.stall).round() as u64 {
        0 => Err(Failure::usage(format!(
            "--stall {}%: of {listeners} listeners that is none; give more of either",
            args.stall * 100.0
        ))),
        all if all >= listeners => Err(Failure::usage(format!(
            "--stall {}%: that is all {listeners} listeners; leave some whose deliveries can be measured",
            args.stall * 100.0
        ))),
        some => Ok(some),
    }
}

fn act(run: &mut Run, args: &cli::Slow, apart: u64) -> Result<Parts, Failure> {
    run.crew.say(&Step::Stall { listeners: apart, reads: true });
    if !args.warmup.is_zero() {
        run.phase("warm-up", true, args.warmup)?;
        run.last(args.warmup)?;
    }
    let part = args.duration.saturating_sub(LEAD);
    let before = run.phase("before", true, args.duration)?;
    run.last(part)?;
    let during = run.phase("during", true, args.duration)?;
    run.crew.say(&Step::Stall { listeners: apart, reads: false });
    let ends = Instant::now() + part;
    let mut most_memory = None;
    while let Some(left) = ends.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        run.last(left.min(LOOK))?;
        most_memory = most_memory.max(run.memory().0);
    }
    let after = run.phase("after", true, args.duration)?;
    run.crew.say(&Step::Stall { listeners: apart, reads: true });
    run.last(part)?;
    run.drain()?;
    Ok(Parts { phases: [before, during, after], apart, most_memory })
}

/// What those felt that read all the time.
fn healthy(draft: &mut Draft<'_>, finished: &Finished, parts: &Parts, subscribers: u64) {
    let listeners = subscribers.saturating_sub(parts.apart) as f64;
    let mut p99 = BTreeMap::new();
    let mut lost_in_all = 0.0;
    for (name, phase) in PARTS.into_iter().zip(parts.phases) {
        let sum = finished.sum(phase);
        let times = sum.times(Metric::Delivery);
        if !times.is_empty() {
            p99.insert(name, times.quantile(0.99));
        }
        draft.times(&format!("delivery {name}"), &format!("{name}_"), &times);
        let published = sum.count(Count::Published) as f64;
        let lost = (published * listeners - sum.count(Count::Delivered) as f64).max(0.0);
        lost_in_all += lost;
        let lost = Figure::new(format!("{name}_lost"), lost, Unit::Count);
        draft.put(lost.combine(Combine::Sum).less_is_better());
    }
    draft.put(Figure::new("lost", lost_in_all, Unit::Count).combine(Combine::Sum).less_is_better());
    for name in ["during", "after"] {
        if let (Some(then), Some(before)) = (p99.get(name), p99.get("before").filter(|before| **before > 0.0))
        {
            let combine = Combine::Ratio { over: format!("{name}_p99"), under: "before_p99".into() };
            let ratio = Figure::new(format!("{name}_p99_ratio"), then / before, Unit::Ratio);
            draft.put(ratio.combine(combine).less_is_better());
        }
    }
    draft.sum("published", draft.measured.count(Count::Published) as f64, Unit::Count);
    draft.sum("delivered", draft.measured.count(Count::Delivered) as f64, Unit::Count);
}

/// What became of those that stopped.
fn stalled(draft: &mut Draft<'_>, finished: &Finished, parts: &Parts) {
    let ledger = &finished.ledger;
    let (stalled, ended) = (ledger.count(Count::Stalled), ledger.count(Count::StalledEnded));
    let alive = stalled.saturating_sub(ended);
    for (name, count) in [("stalled", stalled), ("stalled_ended", ended), ("stalled_alive", alive)] {
        draft.sum(name, count as f64, Unit::Count);
    }
    let all = ledger.all();
    draft.times("fate", "fate_", &all.times(Metric::Fate));
    let paused: BTreeMap<String, Seen> = finished.sum(parts.phases[1]).fates;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (kind, seen) in all.fates {
        let during = paused.get(&kind).map_or(0, |seen| seen.count);
        let later = seen.count.saturating_sub(during);
        rows.push(vec![kind, seen.count.to_string(), during.to_string(), later.to_string(), seen.example]);
    }
    if alive > 0 {
        let none = String::from("-");
        rows.push(vec!["still open".into(), alive.to_string(), none.clone(), none.clone(), none]);
    }
    let columns = ["fate", "listeners", "noticed while paused", "once reading again", "the first of them"];
    draft.table("Fate of those that stopped reading", &columns, rows);
    if stalled < parts.apart {
        draft.note(format!(
            "{} listeners were to stop reading and {stalled} did: the others were not open any more.",
            parts.apart
        ));
    }
}

/// The server's memory at the edges of the parts.
fn memory(draft: &mut Draft<'_>, finished: &Finished, parts: &Parts) {
    let edges: Vec<_> = parts.phases.iter().filter_map(|phase| finished.edges(*phase)).collect();
    let rss = |mark: &crate::run::Mark| mark.usage.as_ref().and_then(|usage| usage.rss);
    let mut rows = Vec::new();
    for (name, (from, to)) in PARTS.into_iter().zip(&edges) {
        let (Some(from), Some(to)) = (rss(from), rss(to)) else { return };
        draft.put(Figure::new(format!("server_rss_{name}"), to as f64, Unit::Bytes).combine(Combine::Max));
        let bytes = |bytes: u64| plain_number(Unit::Bytes, bytes as f64);
        rows.push(vec![name.to_string(), bytes(from), bytes(to)]);
    }
    draft.table("Memory of the server (RSS)", &["part", "at its beginning", "at its end"], rows);
    let start = edges.get(1).and_then(|(from, _)| rss(from));
    let stalled = finished.ledger.count(Count::Stalled);
    if let (Some(most), Some(start), true) = (parts.most_memory, start, stalled > 0) {
        let growth = most.saturating_sub(start) as f64;
        let put =
            |name: &str, value| Figure::new(name, value, Unit::Bytes).combine(Combine::Max).less_is_better();
        draft.put(put("server_growth", growth));
        draft.put(put("server_growth_per_stalled", growth / stalled as f64));
        draft.note(
            "server_growth: most memory seen while listeners did not read (a look every half second) less that at the \
             beginning; memory of the kernel is not in it.",
        );
    }
}

/// A warning when the traffic could not fill what lies between the two programs.
fn too_little(bytes: f64) -> Option<String> {
    (bytes < SOCKET_BUFFERS).then(|| {
        format!(
            "Each listener that stopped was sent {} while it did not read. Socket buffers alone may hold {}, and the \
             server's own backlog comes on top, so perhaps the server had no reason to do anything: use a higher \
             --rate, --size or --duration.",
            plain_number(Unit::Bytes, bytes),
            plain_number(Unit::Bytes, SOCKET_BUFFERS)
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Scenario};

    #[test]
    fn some_stop_and_some_are_left() {
        for (listeners, share, stops) in [
            ("10", "10", Some(1)),
            ("10", "4", None),
            ("3", "50%", Some(2)),
            ("10", "100", None),
            ("1", "50", None),
        ] {
            let words = ["loadtest", "slow", "ws://127.0.0.1/", "-n", listeners, "--stall", share];
            let Scenario::Slow(args) = Cli::try_parse_from(words).unwrap().scenario else { panic!() };
            assert_eq!(apart(&args).ok(), stops, "{share} of {listeners}");
        }
    }

    #[test]
    fn traffic_that_fits_into_buffers_is_told() {
        assert!(too_little(1e6).unwrap().contains("--rate"));
        assert_eq!(too_little(SOCKET_BUFFERS), None);
    }
}
