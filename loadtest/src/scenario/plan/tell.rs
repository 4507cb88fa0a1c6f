//! The record of a plan: figures, tables, fits drawn, and sentences.
//!
//! Refuses to predict anything itself. Invariant: what was not predicted has no figure, and a note that says why.

use std::collections::BTreeMap;
use std::time::Duration;

use super::forecast::{Cost, Costs, Forecast, Span, extend};
use super::measure::Measured;
use super::{FURTHEST, Verified};
use crate::cli;
use crate::fit::Line as Straight;
use crate::output::number::plain_number;
use crate::record::{Axis, Check, Figure, Line, Plot, Record, SCHEMA, Scale, Table, Unit, Verdict};

/// The check that says that a part of a run is missing; no other one is about what goes into a plan.
const INCOMPLETE: &str = "worker troubles";

/// Puts everything into a record.
pub fn record(
    args: &cli::Plan,
    measured: Measured,
    forecast: &Forecast,
    verified: Option<&Verified>,
    took: Duration,
) -> Record {
    let costs = &measured.costs;
    let mut figures = one(costs);
    figures.extend(needs(forecast));
    let mut tables = vec![costs_table(costs), needs_table(args, forecast)];
    tables.extend(limits_table(forecast));
    let mut notes = notes(args, forecast);
    if let Some(verified) = verified {
        let (more, note) = verification(costs, verified);
        figures.extend(more);
        notes.insert(0, note);
    }
    notes.extend(doubts(&measured.verdicts));
    let mut conditions = measured.conditions.clone();
    for (name, value) in [("from", args.from), ("up to", args.up_to), ("size", args.size)] {
        conditions.settings.insert(name.into(), value.to_string());
    }
    conditions.settings.insert("connections".into(), args.connections.to_string());
    Record {
        schema: SCHEMA.into(),
        scenario: "plan".into(),
        title: title(args),
        began: measured.began,
        seconds: took.as_secs_f64(),
        conditions,
        verdict: verdict(&measured.verdicts),
        figures,
        times: BTreeMap::new(),
        plots: plots(args, costs),
        tables,
        errors: BTreeMap::new(),
        notes,
    }
}

fn title(args: &cli::Plan) -> String {
    let count = |value: u64| plain_number(Unit::Count, value as f64);
    let (planned, from, up_to) = (count(args.connections), count(args.from), count(args.up_to));
    format!("what {planned} connections need, from runs of {from} to {up_to}")
}

/// What a line says, as a figure.
fn slope(name: &str, points: &[(f64, f64)], unit: Unit, times: f64) -> Option<Figure> {
    let fit = Straight::through(points)?;
    let figure = Figure::new(name, fit.slope.value * times, unit).less_is_better();
    Some(Figure { interval: fit.slope.interval.map(|(low, high)| (low * times, high * times)), ..figure })
}

/// What one of each costs.
fn one(costs: &Costs) -> Vec<Figure> {
    let micros = |name: &str, value: f64| Figure::new(name, value, Unit::Microseconds).less_is_better();
    let cost = |name: &str, cost: Option<Cost>| {
        cost.map(|cost| Figure { interval: cost.interval, ..micros(name, cost.value) })
    };
    let base = Straight::through(&costs.server).map(|fit| fit.intercept);
    let base = base.map(|base| Figure {
        interval: base.interval,
        ..Figure::new("server_base", base.value, Unit::Bytes)
    });
    [
        base,
        slope("server_bytes_per_connection", &costs.server, Unit::Bytes, 1.0),
        slope("client_bytes_per_connection", &costs.client, Unit::Bytes, 1.0),
        slope("kernel_bytes_per_socket", &costs.kernel, Unit::Bytes, 1.0),
        costs.idle.map(|value| micros("server_idle_cpu_per_connection", value)),
        cost("server_cpu_per_handshake", costs.handshake),
        slope("server_cpu_per_message", &costs.messages, Unit::Microseconds, 1e6),
        costs.saturated.map(|value| micros("server_cpu_per_message_at_most_rate", value)),
        cost("server_cpu_per_delivery", costs.delivery),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn spanned(name: &str, span: &Span, unit: Unit) -> Figure {
    let known = (span.low.is_finite() && span.high.is_finite()).then_some((span.low, span.high));
    Figure { interval: known, ..Figure::new(name, span.value, unit).less_is_better() }
}

/// What the planned load needs.
fn needs(forecast: &Forecast) -> Vec<Figure> {
    let of = |name: &str, span: &Result<Span, String>, unit| {
        span.as_ref().ok().map(|span| spanned(name, span, unit))
    };
    let first = forecast.limits.first();
    [
        of("planned_server_memory", &forecast.server, Unit::Bytes),
        of("planned_kernel_memory", &forecast.kernel, Unit::Bytes),
        of("planned_server_cpu", &forecast.cpu, Unit::Share),
        first.map(|limit| Figure::new("first_limit", limit.connections, Unit::Count).more_is_better()),
        first.map(|limit| Figure::new("first_limit_times", limit.times, Unit::Ratio).more_is_better()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn table(title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), columns: columns.iter().map(ToString::to_string).collect(), rows }
}

fn between(interval: Option<(f64, f64)>, unit: Unit) -> String {
    match interval {
        Some((low, high)) if low.is_finite() && high.is_finite() => {
            format!("{} to {}", plain_number(unit, low), plain_number(unit, high))
        }
        _ => "–".into(),
    }
}

fn costs_table(costs: &Costs) -> Table {
    let how = |name: &str| match name {
        "server_base" => "memory of the server at no connection: where the line begins",
        "server_bytes_per_connection" | "client_bytes_per_connection" => "slope of memory on the way up",
        "kernel_bytes_per_socket" => "half the slope of the kernel's memory: both ends are here",
        "server_idle_cpu_per_connection" => "all held, nothing sent, per second",
        "server_cpu_per_handshake" => "connect, upgrade, close, with no pause",
        "server_cpu_per_message" => "slope of processor time against rate",
        "server_cpu_per_message_at_most_rate" => "no pause between messages: the least it can be",
        _ => "publishes to many",
    };
    let row = |figure: Figure| {
        let value = plain_number(figure.unit, figure.value);
        let interval = between(figure.interval, figure.unit);
        let how = how(&figure.name).to_string();
        vec![figure.name, value, interval, how]
    };
    table(
        "What one costs",
        &["", "value", "95 % interval", "how measured"],
        one(costs).into_iter().map(row).collect(),
    )
}

fn needs_table(args: &cli::Plan, forecast: &Forecast) -> Table {
    let mut rows = Vec::new();
    let mut row = |name: String, span: &Result<Span, String>, unit| {
        rows.push(match span {
            Ok(span) => {
                vec![name, plain_number(unit, span.value), between(Some((span.low, span.high)), unit)]
            }
            Err(_) => vec![name, "–".into(), "not predicted, see the notes".into()],
        });
    };
    row("memory of the server".into(), &forecast.server, Unit::Bytes);
    row("memory of the kernel, for the server's sockets".into(), &forecast.kernel, Unit::Bytes);
    for (name, part) in &forecast.parts {
        let load = match *name {
            "messages" => args.rate,
            "handshakes" => args.handshakes,
            "deliveries" => args.broadcasts.map(|count| count * args.connections as f64),
            _ => Some(args.connections as f64),
        };
        let unit = if *name == "idle connections" { Unit::Count } else { Unit::PerSecond };
        let load = load.map_or_else(String::new, |load| plain_number(unit, load));
        row(format!("processor, {name} ({load})"), part, Unit::Share);
    }
    row("processor, all".into(), &forecast.cpu, Unit::Share);
    table("What the planned load needs", &["", "value", "95 % interval"], rows)
}

fn limits_table(forecast: &Forecast) -> Option<Table> {
    let rows: Vec<Vec<String>> = forecast
        .limits
        .iter()
        .map(|limit| {
            vec![
                limit.name.clone(),
                plain_number(Unit::Count, limit.connections.floor()),
                format!("{} times", plain_number(Unit::Ratio, limit.times)),
                limit.raise.clone(),
            ]
        })
        .collect();
    let columns = &["limit", "connections", "of the plan", "what raises it"];
    (!rows.is_empty()).then(|| table("What stops it first", columns, rows))
}

fn notes(args: &cli::Plan, forecast: &Forecast) -> Vec<String> {
    let mut notes = Vec::new();
    match forecast.limits.first() {
        Some(limit) => {
            let (count, raise) = (plain_number(Unit::Count, limit.connections.floor()), &limit.raise);
            let stops = if limit.times < 1.0 { "What stops it" } else { "It fits. What will stop it first" };
            let rate = args.rate.filter(|_| limit.name == "processor");
            let rate = rate.map(|rate| format!(", {}", plain_number(Unit::PerSecond, rate * limit.times)));
            notes.push(format!(
                "{stops}: {}, at {count} connections{}. What raises it: {raise}.",
                limit.name,
                rate.unwrap_or_default()
            ));
        }
        None => notes
            .push("No limit was found that stops it; memory and processor time were not predicted.".into()),
    }
    let refused = [
        ("memory of the server", &forecast.server),
        ("memory of the kernel", &forecast.kernel),
        ("processor", &forecast.cpu),
    ];
    for (name, error) in refused.iter().filter_map(|(name, span)| Some((name, span.as_ref().err()?))) {
        notes.push(format!("Not predicted: {name}: {error}."));
    }
    notes.push(format!(
        "Straight lines, at most {FURTHEST} times as far as they were measured; limits beyond that are where the lines \
         would meet them. Limits count the server alone: clients on the same machine need as much of the kernel again, \
         and ports. Messages were measured over {} connections; \
         messages that are spread over more share fewer wakeups and caches, and cost somewhat more.",
        args.connections.min(1_000)
    ));
    notes
}

/// How far the prediction was off.
fn verification(costs: &Costs, verified: &Verified) -> (Vec<Figure>, String) {
    let held = plain_number(Unit::Count, verified.connections);
    let bytes = |value| plain_number(Unit::Bytes, value);
    let predicted = match extend(&costs.server, verified.connections, Unit::Count) {
        Ok(span) => span,
        Err(error) => return (Vec::new(), format!("Not verified at {held} connections: {error}.")),
    };
    let error = (predicted.value - verified.server) / verified.server.max(1.0);
    let figures = vec![
        Figure::new("verify_connections", verified.connections, Unit::Count),
        spanned("verify_predicted", &predicted, Unit::Bytes),
        Figure::new("verify_measured", verified.server, Unit::Bytes),
        Figure::new("verify_error", error.abs(), Unit::Share).less_is_better(),
    ];
    let note = format!(
        "Verified at {held} connections: predicted {}, measured {}: the prediction is {:.1} % too {}.",
        bytes(predicted.value),
        bytes(verified.server),
        error.abs() * 100.0,
        if error < 0.0 { "low" } else { "high" }
    );
    (figures, note)
}

/// One check per run: nothing of it is missing.
fn verdict(verdicts: &[(String, Verdict)]) -> Verdict {
    let check = |(name, verdict): &(String, Verdict)| {
        let found = verdict.checks.iter().find(|check| check.name == INCOMPLETE);
        let (measured, ok) = found.map_or((0.0, true), |check| (check.measured, check.ok));
        Check {
            name: format!("{name}: {INCOMPLETE}"),
            measured,
            limit: 0.0,
            unit: Unit::Count,
            ok,
            meaning: "a part of the generator or the server ended early: the plan lacks what it did".into(),
        }
    };
    let checks: Vec<Check> = verdicts.iter().map(check).collect();
    Verdict { valid: checks.iter().all(|check| check.ok), checks }
}

/// The checks that failed and spoil nothing here.
fn doubts(verdicts: &[(String, Verdict)]) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for (run, verdict) in verdicts {
        for check in verdict.checks.iter().filter(|check| !check.ok && check.name != INCOMPLETE) {
            let name = format!("{run} ({})", check.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (!names.is_empty()).then(|| {
        format!(
            "The generator was late or busy in: {}. A plan rests on the server's memory and processor time and on \
             counts, and on no latency, so it holds.",
            names.join(", ")
        )
    })
}

/// The points, and the lines through them to where they are extended.
fn plots(args: &cli::Plan, costs: &Costs) -> Vec<Plot> {
    let memory = [("server", &costs.server), ("generator", &costs.client)];
    let kernel = [("kernel, per end", &costs.kernel)];
    let messages = [("server", &costs.messages)];
    let connections = ("connections", Unit::Count, args.connections as f64);
    let rates = ("messages per second", Unit::PerSecond, args.rate.unwrap_or(0.0));
    [
        ("Memory against connections", connections, ("memory", Unit::Bytes), &memory[..]),
        ("Kernel memory against connections", connections, ("memory", Unit::Bytes), &kernel[..]),
        ("Processor time against rate", rates, ("processor", Unit::Share), &messages[..]),
    ]
    .into_iter()
    .filter_map(|(title, (x_label, x_unit, to), (y_label, y_unit), sides)| {
        let lines: Vec<Line> = sides.iter().flat_map(|(name, points)| drawn(name, points, to)).collect();
        let x = Axis { label: x_label.into(), unit: x_unit, scale: Scale::Linear };
        let y = Axis { label: y_label.into(), unit: y_unit, scale: Scale::Linear };
        (!lines.is_empty()).then(|| Plot { title: title.into(), x, y, lines })
    })
    .collect()
}

/// What was read, and the line through it.
fn drawn(name: &str, points: &[(f64, f64)], to: f64) -> Vec<Line> {
    let (Some(fit), Some(last)) = (Straight::through(points), points.last()) else { return Vec::new() };
    let end = to.clamp(last.0, last.0 * FURTHEST);
    let fitted = [0.0, end].map(|x| (x, fit.line().at(x))).to_vec();
    vec![
        Line { name: format!("{name}, read"), points: points.to_vec(), dots: true },
        Line { name: format!("{name}, predicted"), points: fitted, dots: false },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_says_how_far_off_it_was() {
        let line = (1..=5).map(|k| (f64::from(k) * 1_000.0, 1e6 + 100.0 * f64::from(k) * 1_000.0)).collect();
        let costs = Costs { server: line, ..Costs::default() };
        let (figures, note) = verification(&costs, &Verified { connections: 10_000.0, server: 2.5e6 });
        let error = figures.iter().find(|figure| figure.name == "verify_error").unwrap().value;
        assert!((error - 0.2).abs() < 1e-9, "{error}");
        assert!(note.ends_with("the prediction is 20.0 % too low."), "{note}");
        let (none, note) = verification(&costs, &Verified { connections: 60_000.0, server: 2.5e6 });
        assert!(none.is_empty() && note.contains("60,000 is 12 times that"), "{note}");
    }

    #[test]
    fn a_late_generator_is_told_and_one_that_ended_spoils_it() {
        let check = |name: &str, ok: bool| Check {
            name: name.into(),
            measured: f64::from(u8::from(!ok)),
            limit: 0.0,
            unit: Unit::Count,
            ok,
            meaning: String::new(),
        };
        for (late, ended, valid) in [(true, true, true), (false, true, true), (true, false, false)] {
            let checks = vec![check("slip p99", late), check(INCOMPLETE, ended)];
            let verdicts = [("messages".to_string(), Verdict { valid: late && ended, checks })];
            assert_eq!(verdict(&verdicts).valid, valid);
            assert_eq!(doubts(&verdicts).is_some(), !late);
        }
    }
}
