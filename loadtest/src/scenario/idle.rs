//! `idle`: connections that are made and held: how fast they join, and what each costs.

use std::time::Duration;

use tidegate::program::failure::Failure;

use crate::cli;
use crate::fit::{self, Fit};
use crate::order::{Count, Metric, Role};
use crate::output::number::plain_number;
use crate::record::{Axis, Combine, Figure, Line, Plot, Record, Scale, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};

/// Time for allocators and the kernel's bookkeeping to come to rest before memory is read.
const REST: Duration = Duration::from_millis(400);

/// Memory at one stop of the way up.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    pub connections: f64,
    pub server: Option<f64>,
    pub client: f64,
    pub kernel: Option<f64>,
}

/// Memory of one side at a stop, where it could be read.
type Reading = fn(&Stop) -> Option<f64>;

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Idle) -> Result<Record, Failure> {
    let wanted = Wanted::new("idle", Role::Idle, args.connections);
    let mut run = Run::start(&args.common, wanted)?;
    let mut stops = Vec::new();
    for goal in goals(args) {
        run.hold("connecting", goal, Some(args.ramp))?;
        run.last(REST)?;
        stops.push(stop(&mut run));
    }
    let phase = run.phase("holding", false, args.hold)?;
    run.last(args.hold)?;
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &[0, phase], title(args));
    let opening = finished.sum(0);
    let opened = opening.count(Count::Opened) as f64;
    let ramp = finished.facts.ramped.as_secs_f64();
    let held = stops.last().map_or(0.0, |stop| stop.connections);
    draft.put(Figure::new("held", held, Unit::Count).combine(Combine::Sum).more_is_better());
    per_connection(&mut draft, &stops);
    draft.put(
        Figure::new("joined_per_second", opened / ramp.max(1e-9), Unit::PerSecond)
            .combine(Combine::Sum)
            .more_is_better(),
    );
    draft.times("connect", "connect_", &opening.times(Metric::Connect));
    draft.record.times.extend([
        ("tcp".into(), opening.times(Metric::Tcp)),
        ("upgrade".into(), opening.times(Metric::Upgrade)),
    ]);
    draft.connections();
    draft.server(&[phase], None);
    if let (Some(cpu), true) = (finished.server_cpu(phase), held > 0.0) {
        let micros = cpu.as_secs_f64() * 1e6 / finished.lasted(phase) / held;
        draft.put(Figure::new("server_idle_cpu_per_connection", micros, Unit::Microseconds).less_is_better());
        draft.note(
            "server_idle_cpu_per_connection: processor time per connection and second while all were held.",
        );
    }
    draft.kernel();
    draft.generator();
    draft.over_time("connections opened per second", |point| point.opened);
    Ok(draft.record)
}

/// Where memory is read on the way up: evenly from the first stop to all.
fn goals(args: &cli::Idle) -> Vec<u64> {
    let (last, steps) = (args.connections, args.steps.min(args.connections));
    let first = args.first.unwrap_or(last / steps).clamp(1, last);
    let mut goals: Vec<u64> = match steps {
        1 => vec![last],
        _ => (0..steps).map(|step| first + (last - first) * step / (steps - 1)).collect(),
    };
    goals.dedup();
    goals
}

/// Reads memory now.
pub fn stop(run: &mut Run) -> Stop {
    let (server, client, kernel) = run.memory();
    let kernel = kernel.slab_unreclaimable.zip(kernel.tcp_mem_bytes).map(|(slab, tcp)| (slab + tcp) as f64);
    Stop {
        connections: run.crew.ledger.open() as f64,
        server: server.map(|bytes| bytes as f64),
        client: client as f64,
        kernel,
    }
}

/// A slope through the stops, and how it is told.
fn slope(stops: &[Stop], of: impl Fn(&Stop) -> Option<f64>) -> Option<(Fit, Vec<(f64, f64)>)> {
    let points: Vec<(f64, f64)> =
        stops.iter().filter_map(|stop| Some((stop.connections, of(stop)?))).collect();
    Some((fit::Line::through(&points)?, points))
}

/// Bytes per connection, as slopes through the stops.
fn per_connection(draft: &mut Draft<'_>, stops: &[Stop]) {
    let mut lines = Vec::new();
    let sides: [(&str, &str, Reading); 3] = [
        ("server_bytes_per_connection", "server", |stop| stop.server),
        ("client_bytes_per_connection", "generator", |stop| Some(stop.client)),
        ("kernel_bytes_per_connection", "kernel", |stop| stop.kernel),
    ];
    for (name, line, of) in sides {
        let Some((fit, points)) = slope(stops, of) else { continue };
        let mut figure =
            Figure::new(name, fit.slope.value, Unit::Bytes).combine(Combine::Max).less_is_better();
        if let Some((low, high)) = fit.slope.interval {
            figure = figure.interval(low, high);
        }
        draft.put(figure);
        lines.push(Line { name: format!("{line}, read"), points: points.clone(), dots: true });
        let ends = [points.first(), points.last()];
        let fitted = ends.into_iter().flatten().map(|(x, _)| (*x, fit.line().at(*x))).collect();
        lines.push(Line { name: format!("{line}, fitted"), points: fitted, dots: false });
    }
    let count = |value: f64| plain_number(Unit::Count, value);
    let bytes =
        |value: Option<f64>| value.map_or_else(|| "-".to_string(), |value| plain_number(Unit::Bytes, value));
    let rows = stops.iter().map(|stop| {
        vec![count(stop.connections), bytes(stop.server), bytes(Some(stop.client)), bytes(stop.kernel)]
    });
    draft.table(
        "Memory on the way up",
        &["connections", "server (RSS)", "generator (RssAnon)", "kernel (slab + TCP)"],
        rows.collect(),
    );
    let bytes = Axis { label: "memory".into(), unit: Unit::Bytes, scale: Scale::Linear };
    let x = Axis { label: "connections".into(), unit: Unit::Count, scale: Scale::Linear };
    // The kernel's total hides the others' slopes: it has a plot of its own.
    let (kernel, others): (Vec<Line>, Vec<Line>) =
        lines.into_iter().partition(|line| line.name.starts_with("kernel"));
    for (title, lines) in
        [("Memory against connections", others), ("Kernel memory against connections", kernel)]
    {
        if !lines.is_empty() {
            draft.record.plots.push(Plot { title: title.into(), x: x.clone(), y: bytes.clone(), lines });
        }
    }
    draft.note(
        "Bytes per connection are slopes through the stops, so what the programs need at their start is not in them. \
         The kernel's slope is of the whole machine: with both ends on it, each connection has two sockets.",
    );
}

fn title(args: &cli::Idle) -> String {
    format!("{} connections held for {:?}", args.connections, args.hold)
}
