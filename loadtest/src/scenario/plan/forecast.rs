//! From what one of each costs to what a planned load needs, and to the limit that it meets first.
//!
//! Refuses to measure and to ask the machine. Invariant: what lies too far beyond the points, or past one at which they
//! bend, has no value but the sentence that says why.

use tidegate::program::doctor::{Diagnosis, Need, Readings, Verdict};

use super::too_far;
use crate::fit::{Fit, Line, knee};
use crate::output::number::plain_number;
use crate::record::Unit;

/// More than any machine holds; a limit that lies beyond is none.
const BEYOND: u64 = 1 << 32;
/// The share by which a point must leave the line to be a knee.
const BENT: f64 = 0.1;
/// Rows of the diagnosis that assume what a connection takes; here it was measured.
const ASSUMED: &str = "memory";

/// What one costs, in microseconds of processor time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// Bytes against connections: the server's, the generator's, the kernel's for one end of each.
    pub server: Vec<(f64, f64)>,
    pub client: Vec<(f64, f64)>,
    pub kernel: Vec<(f64, f64)>,
    /// Microseconds per second of one idle connection.
    pub idle: Option<f64>,
    pub handshake: Option<Cost>,
    /// Share of a processor against messages per second.
    pub messages: Vec<(f64, f64)>,
    /// Microseconds of a message when there is no pause between them.
    pub saturated: Option<f64>,
    pub delivery: Option<Cost>,
}

/// The load that is planned.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub connections: f64,
    pub rate: Option<f64>,
    pub handshakes: Option<f64>,
    pub broadcasts: Option<f64>,
    /// Processors that the server can use: one for each of its loops.
    pub cores: f64,
}

/// A prediction; the bounds are those of the prediction interval, infinite where it is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Something that ends the growth of the load.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub name: String,
    /// Connections at which it binds.
    pub connections: f64,
    /// As a multiple of the planned load.
    pub times: f64,
    pub raise: String,
}

/// What a planned load needs.
#[derive(Clone, Debug)]
pub struct Forecast {
    pub server: Result<Span, String>,
    pub kernel: Result<Span, String>,
    /// Shares of one processor, by what takes them.
    pub parts: Vec<(&'static str, Result<Span, String>)>,
    pub cpu: Result<Span, String>,
    /// In the order in which they bind.
    pub limits: Vec<Limit>,
}

impl Forecast {
    /// Predicts.
    pub fn of(costs: &Costs, planned: &Planned, readings: &Readings) -> Self {
        let server = extend(&costs.server, planned.connections, Unit::Count);
        // The kernel's memory without load is the machine's, and no part of what the load needs.
        let kernel = line(&costs.kernel, planned.connections, Unit::Count).map(|fit| {
            let (low, high) = fit.slope.interval.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
            let of = |slope: f64| slope * planned.connections;
            Span { value: of(fit.slope.value), low: of(low), high: of(high) }
        });
        let parts = parts(costs, planned);
        let cpu = total(&parts);
        let mut limits = of_the_machine(readings, planned);
        if server.is_ok() {
            limits.extend(of_memory(costs, planned, readings));
        }
        if let Ok(cpu) = &cpu
            && cpu.value > 0.0
        {
            limits.push(Limit {
                name: "processor".into(),
                connections: planned.connections * planned.cores / cpu.value,
                times: planned.cores / cpu.value,
                raise:
                    "more processes of the server that share its port, a faster processor, or fewer messages"
                        .into(),
            });
        }
        limits.sort_by(|a, b| a.times.total_cmp(&b.times));
        Forecast { server, kernel, parts, cpu, limits }
    }
}

/// The line through the points before they bend, if it reaches so far.
fn line(points: &[(f64, f64)], at: f64, unit: Unit) -> Result<Fit, String> {
    let bend = knee(points, BENT).and_then(|index| points.get(index).map(|point| (index, point.0)));
    let points = match bend {
        Some((_, x)) if at >= x => {
            return Err(format!(
                "the points leave their line at {}, so nothing is predicted beyond; measure there with --from and --up-to",
                plain_number(unit, x)
            ));
        }
        Some((index, _)) => &points[..index],
        None => points,
    };
    let last = points.last().map_or(0.0, |point| point.0);
    match (too_far(at, last), Line::through(points)) {
        (_, None) => Err("it could not be measured".into()),
        (Some(text), _) => Err(text),
        // More load that takes less is what the machine did meanwhile.
        (None, Some(fit)) if fit.slope.value <= 0.0 => {
            Err("the points do not rise with the load, so other programs disturbed them; measure again, for longer".into())
        }
        (None, Some(fit)) => Ok(fit),
    }
}

/// What is expected there.
pub fn extend(points: &[(f64, f64)], at: f64, unit: Unit) -> Result<Span, String> {
    let (value, low, high) = line(points, at, unit)?.predict(at);
    Ok(Span { value, low: low.max(0.0), high })
}

/// Processor time by what takes it, as shares of one processor.
fn parts(costs: &Costs, planned: &Planned) -> Vec<(&'static str, Result<Span, String>)> {
    let of = |cost: Option<Cost>, count: f64| {
        let cost = cost.ok_or("it could not be measured")?;
        let (low, high) = cost.interval.unwrap_or((0.0, f64::INFINITY));
        let share = |micros: f64| micros * count / 1e6;
        Ok(Span { value: share(cost.value), low: share(low), high: share(high) })
    };
    let idle = costs.idle.map(|value| Cost { value, interval: Some((value, value)) });
    let mut parts = vec![("idle connections", of(idle, planned.connections))];
    if let Some(count) = planned.handshakes {
        parts.push(("handshakes", of(costs.handshake, count)));
    }
    if let Some(rate) = planned.rate {
        let messages = extend(&costs.messages, rate, Unit::PerSecond);
        // --up-to is about connections; the rates that are measured follow from what the generator can send.
        let advice = |text: String| match text.split_once("; measure up to") {
            Some((why, _)) => format!("{why}; use more --threads, so that more can be measured"),
            None => text,
        };
        parts.push(("messages", messages.map_err(advice)));
    }
    if let Some(count) = planned.broadcasts {
        parts.push(("deliveries", of(costs.delivery, count * planned.connections)));
    }
    parts
}

/// The sum. What the parts are uncertain of is independent, so the squares of it add up.
fn total(parts: &[(&'static str, Result<Span, String>)]) -> Result<Span, String> {
    let mut total = Span { value: 0.0, low: 0.0, high: 0.0 };
    for (name, part) in parts {
        let part = part.as_ref().map_err(|error| format!("{name}: {error}"))?;
        total.value += part.value;
        total.low += (part.value - part.low).powi(2);
        total.high += (part.high - part.value).powi(2);
    }
    let Span { value, low, high } = total;
    Ok(Span { value, low: (value - low.sqrt()).max(0.0), high: value + high.sqrt() })
}

/// The limits that the machine sets to a server: each with the most connections that it allows.
fn of_the_machine(readings: &Readings, planned: &Planned) -> Vec<Limit> {
    let diagnosis = |connections: u64| {
        let server = connections.div_ceil(planned.cores.max(1.0) as u64);
        Diagnosis::of(readings, &Need { server, ..Need::default() })
    };
    let binds = |name: &str, connections: u64| {
        diagnosis(connections).rows.iter().any(|row| row.name == name && row.verdict == Verdict::TooLow)
    };
    let names: Vec<&str> = diagnosis(BEYOND).obstacles().map(|row| row.name).collect();
    let mut limits = Vec::new();
    for name in names.into_iter().filter(|name| !name.starts_with(ASSUMED)) {
        let (mut holds, mut stops) = (0, BEYOND);
        while stops - holds > 1 {
            let middle = holds.midpoint(stops);
            if binds(name, middle) { stops = middle } else { holds = middle }
        }
        let wanted = diagnosis(stops.max(planned.connections as u64));
        let raise = wanted.rows.iter().find(|row| row.name == name).map(|row| row.advice.clone());
        limits.push(Limit {
            name: name.into(),
            connections: holds as f64,
            times: holds as f64 / planned.connections,
            raise: raise.unwrap_or_default(),
        });
    }
    limits
}

/// The memory that there is, against what was measured of a connection.
fn of_memory(costs: &Costs, planned: &Planned, readings: &Readings) -> Vec<Limit> {
    let Some(server) = Line::through(&costs.server) else { return Vec::new() };
    let kernel = Line::through(&costs.kernel).map_or(0.0, |fit| fit.slope.value.max(0.0));
    let each = server.slope.value + kernel;
    if each <= 0.0 {
        return Vec::new();
    }
    let limit = |name: &str, bytes: u64, raise: &str| {
        let connections = ((bytes as f64 - server.intercept.value) / each).floor().max(0.0);
        let times = connections / planned.connections;
        Limit { name: name.into(), connections, times, raise: raise.into() }
    };
    let own = "raise memory.max of the control group (systemd: MemoryMax=, containers: --memory)";
    let available = readings.memory_available;
    let available = available.map(|bytes| limit("memory", bytes, "add memory, or hold fewer connections"));
    let left = readings.cgroup_left.map(|bytes| limit("memory of the control group", bytes, own));
    available.into_iter().chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs() -> Costs {
        let line = |base: f64, slope: f64| -> Vec<(f64, f64)> {
            (2..=10).map(|k| (f64::from(k) * 1_000.0, base + slope * f64::from(k) * 1_000.0)).collect()
        };
        Costs {
            server: line(5e6, 400.0),
            client: line(3e6, 700.0),
            kernel: line(1e8, 4_000.0),
            idle: Some(0.5),
            handshake: Some(Cost { value: 30.0, interval: Some((27.0, 33.0)) }),
            messages: line(0.0, 5e-6),
            saturated: Some(4.0),
            delivery: Some(Cost { value: 2.0, interval: Some((1.6, 2.4)) }),
        }
    }

    const PLANNED: Planned = Planned {
        connections: 50_000.0,
        rate: Some(20_000.0),
        handshakes: Some(1_000.0),
        broadcasts: Some(2.0),
        cores: 1.0,
    };

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() <= 1e-6 * expected.abs(), "{value} is not {expected}");
    }

    #[test]
    fn a_load_needs_the_sum_of_its_parts() {
        let forecast = Forecast::of(&costs(), &PLANNED, &Readings::default());
        near(forecast.server.unwrap().value, 25e6);
        near(forecast.kernel.unwrap().value, 2e8);
        let shares: Vec<f64> = forecast.parts.iter().map(|(_, part)| part.as_ref().unwrap().value).collect();
        for (share, expected) in shares.iter().zip([0.025, 0.03, 0.1, 0.2]) {
            near(*share, expected);
        }
        let cpu = forecast.cpu.unwrap();
        near(cpu.value, 0.355);
        // 0.003 of the handshakes and 0.04 of the deliveries, at right angles.
        assert!((cpu.high - cpu.value - 0.040_112).abs() < 1e-5, "{cpu:?}");
        assert!((cpu.value - cpu.low - 0.040_112).abs() < 1e-5, "{cpu:?}");
    }

    #[test]
    fn the_first_limit_is_the_nearest() {
        let gib = 1_u64 << 30;
        let readings = Readings {
            nofile_soft: Some(1_024),
            nofile_hard: Some(20_016),
            memory_available: Some(gib),
            ..Readings::default()
        };
        let limits = Forecast::of(&costs(), &PLANNED, &readings).limits;
        let told: Vec<(&str, u64)> =
            limits.iter().map(|limit| (limit.name.as_str(), limit.connections as u64)).collect();
        let by_memory = (gib - 5_000_000) / 4_400;
        assert_eq!(told, [("nofile (soft/hard)", 20_000), ("processor", 140_845), ("memory", by_memory)]);
        near(limits[0].times, 0.4);
        assert!(limits[0].raise.contains("LimitNOFILE=50016"), "{}", limits[0].raise);
        // Twice the loops carry twice the load, and each holds half of it.
        let two = Forecast::of(&costs(), &Planned { cores: 2.0, ..PLANNED }, &readings).limits;
        assert_eq!(two[0].connections as u64, 40_000);
        near(two.iter().find(|limit| limit.name == "processor").unwrap().times, 2.0 / 0.355);
    }

    #[test]
    fn what_lies_too_far_is_refused() {
        let planned = Planned { connections: 100_001.0, rate: Some(200_000.0), ..PLANNED };
        let forecast = Forecast::of(&costs(), &planned, &Readings::default());
        assert!(forecast.server.unwrap_err().starts_with("measured up to 10,000; 100,001 is 10"));
        let cpu = forecast.cpu.unwrap_err();
        assert!(
            cpu.starts_with("messages: measured up to 10,000 /s; 200,000 /s is 20") || cpu.contains("20"),
            "{cpu}"
        );
        assert!(cpu.ends_with("use more --threads, so that more can be measured"), "{cpu}");
        assert!(forecast.limits.is_empty(), "{:?}", forecast.limits);
    }

    #[test]
    fn nothing_is_predicted_past_a_knee() {
        let mut bent = costs();
        bent.server.iter_mut().filter(|point| point.0 >= 7_000.0).for_each(|point| point.1 *= 2.0);
        let error = Forecast::of(&bent, &PLANNED, &Readings::default()).server.unwrap_err();
        assert!(error.starts_with("the points leave their line at 7,000"), "{error}");
        let before = Planned { connections: 5_500.0, ..PLANNED };
        near(Forecast::of(&bent, &before, &Readings::default()).server.unwrap().value, 7.2e6);
    }

    #[test]
    fn a_line_that_falls_is_no_prediction() {
        let mut noisy = costs();
        noisy.messages.iter_mut().for_each(|point| point.1 = 0.5 - point.1);
        let cpu = Forecast::of(&noisy, &PLANNED, &Readings::default()).cpu.unwrap_err();
        assert!(cpu.starts_with("messages: the points do not rise"), "{cpu}");
    }

    #[test]
    fn what_was_not_measured_is_not_predicted() {
        let none = Forecast::of(&Costs::default(), &PLANNED, &Readings::default());
        assert!(none.server.is_err() && none.kernel.is_err() && none.cpu.is_err() && none.limits.is_empty());
        let once = Costs { handshake: Some(Cost { value: 30.0, interval: None }), ..costs() };
        let cpu = Forecast::of(&once, &PLANNED, &Readings::default()).cpu.unwrap();
        assert_eq!(cpu.high, f64::INFINITY);
    }
}
