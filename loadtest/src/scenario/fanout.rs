//! `fanout`: what one sends, all get.

use std::time::Duration;

use tidegate::program::failure::Failure;

use crate::cli::{self, Adapter, Spread};
use crate::engine::fanout::HEADER;
use crate::order::{Count, Fanout, Metric, Role};
use crate::record::{Combine, Figure, Record, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};

/// Publishes that leave at once, at most: as many as one lane gathers the deliveries of.
const BURST_MAX: u64 = 4_096;
/// Bursts per second, at least: one in a day.
const BURSTS_LEAST: f64 = 1e-5;

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Fanout) -> Result<Record, Failure> {
    let mut run = Run::start(&args.common, wanted("fanout", &args.spread)?)?;
    run.hold("connecting", args.spread.subscribers + args.spread.publishers, args.times.ramp)?;
    let bursts = args.spread.burst > 1;
    let phase = match bursts && !args.times.warmup.is_zero() {
        false => run.measure(args.times.warmup, args.times.duration)?,
        // What one burst leaves behind must not be charged to the next, so the two are kept apart.
        true => {
            run.phase("warm-up", true, args.times.warmup)?;
            run.last(args.times.warmup)?;
            run.drain()?;
            run.measure(Duration::ZERO, args.times.duration)?
        }
    };
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &[phase], title(&args.spread));
    let seconds = draft.seconds();
    let (published, delivered) =
        (draft.measured.count(Count::Published) as f64, draft.measured.count(Count::Delivered) as f64);
    draft.put(
        Figure::new("deliveries_per_second", delivered / seconds, Unit::PerSecond)
            .combine(Combine::Sum)
            .more_is_better(),
    );
    draft.sum("published", published, Unit::Count);
    draft.sum("delivered", delivered, Unit::Count);
    draft.metric(Metric::Delivery, "");
    for metric in [Metric::First, Metric::Median, Metric::Last] {
        draft.metric(metric, &format!("{}_", metric.name()));
    }
    let lost = (published * args.spread.subscribers as f64 - delivered).max(0.0);
    draft.put(Figure::new("lost", lost, Unit::Count).combine(Combine::Sum).less_is_better());
    draft.disorder();
    draft.connections();
    // A burst may outlast the measured phase; all of its deliveries are counted, so what they cost is as well.
    let paid: &[u32] = if bursts { &[phase, phase + 1] } else { &[phase] };
    draft.server(paid, Some(("delivery", "delivered", delivered)));
    draft.kernel();
    draft.generator();
    draft.over_time("deliveries per second", |point| point.received);
    draft.note(
        "Each delivery counts from the planned time of its publish. first, median and last are those of each publish \
         over all listeners; lost is what was published times the listeners asked for, less what came.",
    );
    Ok(draft.record)
}

/// What a run with listeners and publishers asks for.
///
/// # Errors
/// When the size has no room for what a message carries.
pub fn wanted(scenario: &'static str, spread: &Spread) -> Result<Wanted, Failure> {
    let Adapter::Broadcast = spread.adapter;
    if spread.size < HEADER as u64 || spread.size > 16 << 20 {
        return Err(Failure::usage(format!(
            "--size {}: a message carries its publisher, number and time, so it has from {HEADER} bytes to 16 MiB",
            spread.size
        )));
    }
    if spread.rate < BURSTS_LEAST * spread.burst as f64 {
        return Err(Failure::usage(format!(
            "--burst {} at --rate {}: less than one burst in a day; give a higher --rate",
            spread.burst, spread.rate
        )));
    }
    let small = |name: &str, count: u64, most: u64| match u32::try_from(count).ok().filter(|_| count <= most)
    {
        Some(count) => Ok(count),
        None => Err(Failure::usage(format!("--{name} {count}: at most {most}"))),
    };
    let role = Role::Fanout(Fanout {
        publishers: small("publishers", spread.publishers, 1_024)?,
        size: small("size", spread.size, 16 << 20)?,
        binary: spread.binary,
        per_second: spread.rate,
        poisson: spread.poisson,
        burst: small("burst", spread.burst, BURST_MAX)?,
    });
    Ok(Wanted::new(scenario, role, spread.subscribers + spread.publishers))
}

/// What is spread, for people.
pub fn title(spread: &Spread) -> String {
    let Spread { subscribers, publishers, rate, size, burst, .. } = spread;
    let at_once = if *burst > 1 { format!(", {burst} at once") } else { String::new() };
    format!("{publishers} publishers, {subscribers} listeners, {rate} publishes/s of {size} bytes{at_once}")
}
