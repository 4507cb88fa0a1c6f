//! `echo`: messages that come back, in a closed or an open loop.

use tidegate::program::failure::Failure;

use crate::cli::{self, Pacing};
use crate::engine::echo::OUTSTANDING_MAX;
use crate::order::{Count, Deflate, Echo, Metric, Pace, Payload, Role};
use crate::record::{Combine, Figure, Record, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Echo) -> Result<Record, Failure> {
    let pace = pace(&args.pacing, args.connections);
    bounded(args, pace)?;
    let connections = args.connections.saturating_add(args.idle);
    let role = Role::Echo(echo(args, pace));
    let mut run = Run::start(&args.common, Wanted::new("echo", role, connections))?;
    run.hold("connecting", connections, args.times.ramp)?;
    let before = (!args.settle.is_zero()).then(|| run.memory().0).flatten();
    let phase = run.measure(args.times.warmup, args.times.duration)?;
    run.last(args.settle)?;
    let after = before.and_then(|_| run.memory().0);
    let finished = run.finish_after(args.settle)?;

    let mut draft = Draft::new(&finished, &[phase], title(args, pace));
    let seconds = draft.seconds();
    let (received, answered) =
        (draft.measured.count(Count::Received) as f64, draft.measured.count(Count::Answered) as f64);
    draft
        .put(Figure::new("rate", received / seconds, Unit::PerSecond).combine(Combine::Sum).more_is_better());
    let bytes = draft.measured.count(Count::ReceivedBytes) as f64 / seconds;
    draft.put(Figure::new("bytes_per_second", bytes, Unit::Bytes).combine(Combine::Sum).more_is_better());
    draft.sum("messages", received, Unit::Count);
    draft.sum("sent", draft.measured.count(Count::Sent) as f64, Unit::Count);
    draft.sum("answered", answered, Unit::Count);
    draft.metric(Metric::Latency, "");
    if matches!(pace, Pace::Open { .. }) {
        draft.metric(Metric::Raw, "raw_");
    }
    for (name, what) in [
        ("lost", Count::Lost),
        ("reordered", Count::Reordered),
        ("wrong", Count::Wrong),
        ("unsent", Count::Unsent),
    ] {
        draft.bad(name, what);
    }
    // One is known to have come before only by its number, not by its time; those that come while the last answers are
    // waited for belong to what was measured, for nothing is sent then.
    let late = finished.sum(phase + 1).count(Count::Duplicate);
    let duplicate = (draft.measured.count(Count::Duplicate) + late) as f64;
    draft.put(Figure::new("duplicate", duplicate, Unit::Count).combine(Combine::Sum).less_is_better());
    draft.connections();
    if args.deflate.is_some() {
        compression(&mut draft);
    }
    draft.server(&[phase], Some(("message", "messages", received)));
    if let (Some(before), Some(after)) = (before, after) {
        memory(&mut draft, before, after);
    }
    draft.kernel();
    draft.generator();
    draft.over_time("messages per second", |point| point.received);
    match pace {
        Pace::Open { .. } => draft.note(
            "Open loop: latency counts from the planned time of each message, so a server that stalls is charged for \
             everyone it kept waiting; raw counts from the actual send.",
        ),
        Pace::Closed { .. } => draft.note(
            "Closed loop: a connection sends when its answer has come, so a server that stalls is asked less; use \
             --rate for latencies that include waiting.",
        ),
    }
    draft.record.conditions.settings.insert("size".into(), args.size.to_string());
    Ok(draft.record)
}

fn echo(args: &cli::Echo, pace: Pace) -> Echo {
    Echo {
        mix: args.size.clone(),
        binary: args.binary || args.payload == Payload::Random,
        pace,
        senders: args.connections,
        payload: args.payload,
        deflate: args.deflate,
    }
}

/// What compression made of the messages, ours and the server's.
fn compression(draft: &mut Draft<'_>) {
    // From the beginning: the counters are reported now and then, not at the edges of phases.
    for (name, over, under) in [
        ("sent_ratio", Count::DeflatedFrom, Count::DeflatedTo),
        ("received_ratio", Count::InflatedTo, Count::InflatedFrom),
    ] {
        let [over, under] = [over, under].map(|of| draft.finished.ledger.count(of) as f64);
        draft.put(
            Figure::new(name, over / under.max(1.0), Unit::Ratio).combine(Combine::Max).more_is_better(),
        );
    }
    let declined = draft.finished.ledger.count(Count::Undeflated) as f64;
    draft.put(Figure::new("undeflated", declined, Unit::Count).combine(Combine::Sum).less_is_better());
    draft.note(
        "sent_ratio: bytes of our messages before compression by those after it; received_ratio: the same of what came \
         compressed; undeflated: connections on which the server would not compress.",
    );
}

/// What the server kept of the load: with all open, before and after it, and when all had closed.
fn memory(draft: &mut Draft<'_>, before: u64, after: u64) {
    let put = |name: &str, value: f64| Figure::new(name, value, Unit::Bytes).combine(Combine::Max);
    let opened = draft.finished.ledger.count(Count::Opened).max(1) as f64;
    let start = draft.finished.marks.first().and_then(|mark| mark.usage.as_ref()?.rss);
    let kept = (after as f64 - before as f64) / opened;
    draft.put(put("server_rss_before", before as f64));
    draft.put(put("server_rss_after", after as f64));
    draft.put(put("server_kept_per_connection", kept).less_is_better());
    if let (Some(start), Some(closed)) = (start, draft.finished.rss_closed) {
        draft.put(put("server_rss_start", start as f64));
        draft.put(put("server_rss_closed", closed as f64).less_is_better());
        draft.put(put("server_rss_left", closed as f64 - start as f64).less_is_better());
    }
    draft.note(
        "server_kept_per_connection: resident memory of the server after the load less that before it, all connections \
         open, for each of them; server_rss_left: what it has more than at its start when all have closed.",
    );
}

/// What the options mean for all connections together.
pub fn pace(pacing: &Pacing, connections: u64) -> Pace {
    let total = pacing.rate.or(pacing.rate_each.map(|rate| rate * connections as f64));
    match total {
        Some(per_second) => Pace::Open { per_second, poisson: pacing.poisson },
        None => Pace::Closed { depth: u32::try_from(pacing.depth).unwrap_or(u32::MAX) },
    }
}

/// A closed loop sends what it may at once, however much that is.
fn bounded(args: &cli::Echo, pace: Pace) -> Result<(), Failure> {
    let (depth, connections) = (args.pacing.depth, args.connections);
    let most = OUTSTANDING_MAX.saturating_mul(args.common.threads);
    if matches!(pace, Pace::Open { .. }) || depth.saturating_mul(connections) <= most {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "--depth {depth} on {connections} connections: at most {OUTSTANDING_MAX} messages on the way per thread; \
         give less of either, or more --threads"
    )))
}

fn title(args: &cli::Echo, pace: Pace) -> String {
    let kind = match args.payload {
        Payload::Letters if args.binary => "binary",
        Payload::Letters => "text",
        Payload::Json => "JSON",
        Payload::Random => "noise",
    };
    let kind = match args.deflate {
        None => kind.to_owned(),
        Some(Deflate::Shared) => format!("{kind}, compressed (shared)"),
        Some(Deflate::Dedicated) => format!("{kind}, compressed (dedicated)"),
    };
    let how = match pace {
        Pace::Open { per_second, poisson: false } => format!("{per_second} messages/s, evenly"),
        Pace::Open { per_second, poisson: true } => format!("{per_second} messages/s, Poisson"),
        Pace::Closed { depth } => format!("{depth} on the way each"),
    };
    let beside = beside(args.idle);
    format!("{} connections, {how}, {} bytes of {kind}{beside}", args.connections, args.size)
}

/// The end of a title that tells of connections that are only held, if there are any.
pub fn beside(idle: u64) -> String {
    if idle > 0 { format!(", {idle} idle ones beside") } else { String::new() }
}
