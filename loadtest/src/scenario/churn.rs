//! `churn`: connect, upgrade, close, over and over.

use tidegate::program::failure::Failure;

use crate::cli;
use crate::order::{Churn, Count, Metric, Role};
use crate::record::{Combine, Figure, Record, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};

/// Ends that wait out TIME_WAIT (a minute) hold their port; flat out, this many per second are expected at most.
const PER_SECOND_MAX: u64 = 2_000;

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Churn) -> Result<Record, Failure> {
    let concurrency = u32::try_from(args.connections).unwrap_or(u32::MAX);
    let lanes = args.common.threads.max(args.common.workers.unwrap_or(1));
    if args.connections < lanes {
        return Err(Failure::usage(format!(
            "--connections {}: each of {lanes} threads keeps at least one alive; give {lanes} or more",
            args.connections
        )));
    }
    let churn = Churn { per_second: args.rate, poisson: args.poisson, concurrency, abort: args.abort };
    let seconds = (args.duration + args.warmup).as_secs_f64().min(60.0);
    let per_second = args.rate.unwrap_or(PER_SECOND_MAX as f64);
    let wanted = Wanted {
        sources_for: (seconds * per_second) as u64,
        dialing: args.connections,
        ..Wanted::new("churn", Role::Churn(churn), args.connections)
    };
    let mut run = Run::start(&args.common, wanted)?;
    let phase = run.measure(args.warmup, args.duration)?;
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &[phase], title(args));
    let seconds = draft.seconds();
    let (opened, closed) =
        (draft.measured.count(Count::Opened) as f64, draft.measured.count(Count::Closed) as f64);
    draft.put(
        Figure::new("handshakes_per_second", opened / seconds, Unit::PerSecond)
            .combine(Combine::Sum)
            .more_is_better(),
    );
    draft.sum("handshakes", opened, Unit::Count);
    draft.sum("closed", closed, Unit::Count);
    draft.metric(Metric::Connect, "");
    for metric in [Metric::Tcp, Metric::Upgrade, Metric::Close] {
        draft.metric(metric, &format!("{}_", metric.name()));
    }
    draft.bad("unsent", Count::Unsent);
    draft.connections();
    draft.server(&[phase], Some(("handshake", "handshakes", opened)));
    draft.kernel();
    draft.generator();
    draft.over_time("handshakes per second", |point| point.opened);
    draft.note(
        "connect is the whole way from the planned time to an open WebSocket; tcp and upgrade are its parts; close is \
         from our Close to the end of the connection.",
    );
    Ok(draft.record)
}

fn title(args: &cli::Churn) -> String {
    let how = args.rate.map_or_else(|| "flat out".to_string(), |rate| format!("{rate}/s"));
    format!("{how}, {} alive at most", args.connections)
}
