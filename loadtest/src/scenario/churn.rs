//! `churn`: connect, upgrade, close, over and over.

use tidegate::program::failure::Failure;

use crate::cli;
use crate::order::{Churn, Count, Metric, Role};
use crate::record::{Combine, Figure, Record, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};
use crate::scenario::echo::beside;

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
    let connections = args.connections.saturating_add(args.idle);
    let wanted = Wanted {
        sources_for: ((seconds * per_second) as u64).saturating_add(args.idle),
        dialing: args.connections,
        ..Wanted::new("churn", Role::Churn(churn), connections)
    };
    let tls = args.common.url.starts_with("wss:");
    if args.resume.is_some() && !tls {
        return Err(Failure::usage(format!("--resume: {} is not TLS; write it as wss://", args.common.url)));
    }
    // Without TLS there is nothing to resume, and one part.
    let shares = args.resume.map_or(if tls { vec![0.0, 1.0] } else { vec![0.0] }, |share| vec![share]);
    let mut run = Run::start(&args.common, wanted)?;
    if args.idle > 0 {
        run.hold("connecting", args.idle, None)?;
    }
    let mut phases = Vec::new();
    for share in &shares {
        if tls {
            run.resume(*share);
        }
        phases.push(run.measure(args.warmup, args.duration)?);
    }
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &phases, title(args));
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
    if tls {
        handshakes(&mut draft, &phases, &shares);
    }
    draft.bad("unsent", Count::Unsent);
    draft.connections();
    draft.server(&phases, Some(("handshake", "handshakes", opened)));
    draft.kernel();
    draft.generator();
    draft.over_time("handshakes per second", |point| point.opened);
    draft.note(
        "connect is the whole way from the planned time to an open WebSocket; tcp and upgrade are its parts; close is \
         from our Close to the end of the connection.",
    );
    Ok(draft.record)
}

/// What whole and resumed handshakes took, each for itself where each had a part of its own.
fn handshakes(draft: &mut Draft<'_>, phases: &[u32], shares: &[f64]) {
    draft.metric(Metric::TlsFull, "tls_full_");
    draft.metric(Metric::TlsResumed, "tls_resumed_");
    draft.note(
        "tls_full and tls_resumed, the histograms, are upgrade split by what the TLS handshake was; the counts are of \
         the whole run.",
    );
    for (phase, share) in phases.iter().zip(shares) {
        let (name, kind) = match share {
            0.0 => ("full", Count::TlsFull),
            1.0 => ("resumed", Count::TlsResumed),
            _ => continue,
        };
        let sum = draft.finished.sum(*phase);
        let (opened, meant) = (sum.count(Count::Opened), sum.count(kind));
        if opened != meant {
            draft.note(format!(
                "Of {opened} connections that were to have {name} handshakes {meant} had; the server may give no tickets, \
                 and the first of each client has none.",
            ));
        }
        let lasted = draft.finished.lasted(*phase).max(1e-9);
        let rate = Figure::new(format!("{name}_per_second"), opened as f64 / lasted, Unit::PerSecond);
        draft.put(rate.combine(Combine::Sum).more_is_better());
        if let Some(cpu) = draft.finished.server_cpu(*phase).filter(|_| opened > 0) {
            let micros = cpu.as_secs_f64() * 1e6 / opened as f64;
            let figure = Figure::new(format!("server_cpu_per_{name}"), micros, Unit::Microseconds);
            draft.put(figure.combine(Combine::Never).less_is_better());
        }
    }
}

fn title(args: &cli::Churn) -> String {
    let how = args.rate.map_or_else(|| "flat out".to_string(), |rate| format!("{rate}/s"));
    format!("{how}, {} alive at most{}", args.connections, beside(args.idle))
}
