//! Records for the tests of all outputs. They are made up, and no server had these figures.

use std::collections::BTreeMap;

use crate::record::*;

/// A valid run with a few figures, and nothing that is drawn.
pub fn small() -> Record {
    let mut rtt = Times::default();
    (1..=1_000).for_each(|micros| rtt.record_micros(micros));
    let mut connect = Times::default();
    [900, 1_200, 45_000].into_iter().for_each(|micros| connect.record_micros(micros));
    let times = BTreeMap::from([("rtt".to_string(), rtt), ("connect".to_string(), connect)]);
    Record {
        schema: SCHEMA.to_string(),
        scenario: "echo".to_string(),
        title: "10,000 connections, 64 B, open loop".to_string(),
        began: 1_767_225_599,
        seconds: 34.21,
        conditions: conditions(),
        verdict: Verdict { valid: true, checks: vec![check("slip p99", 120.0, 1_000.0, Unit::Microseconds)] },
        figures: vec![
            Figure::new("connections_open", 10_000.0, Unit::Count),
            Figure::new("connections_failed", 12.0, Unit::Count).less_is_better(),
            Figure::new("rate", 49_999.6, Unit::PerSecond).more_is_better(),
            Figure::new("cpu_per_message", 12.5, Unit::Microseconds).interval(12.1, 12.9).less_is_better(),
            Figure::new("server_memory", 48_234_496.0, Unit::Bytes).less_is_better(),
        ],
        times,
        plots: Vec::new(),
        tables: vec![Table {
            title: "Levels".to_string(),
            columns: ["rate", "rtt p99", "state"].map(String::from).to_vec(),
            rows: vec![
                ["10,000 /s", "0.41 ms", "held"].map(String::from).to_vec(),
                ["100,000 /s", "12.0 ms", "gave way"].map(String::from).to_vec(),
            ],
        }],
        errors: BTreeMap::from([(
            "connect refused".to_string(),
            Seen { count: 12, example: "127.0.0.1:9001 refused the connection".to_string() },
        )]),
        notes: vec![
            "The server ran on the same machine: its figures and the generator's share four cores."
                .to_string(),
        ],
    }
}

/// The same, with two of three checks failed.
pub fn invalid() -> Record {
    let mut record = small();
    record.verdict.valid = false;
    record.verdict.checks = vec![
        check("slip p99", 4_200.0, 1_000.0, Unit::Microseconds),
        check("generator cpu", 0.97, 0.8, Unit::Share),
        check("loop lag p99", 310.0, 1_000.0, Unit::Microseconds),
    ];
    record
}

/// With a plot of each scale, in the sizes of a real run.
pub fn rich() -> Record {
    let mut record = small();
    let mut random = fastrand::Rng::with_seed(7);
    for name in ["rtt", "rtt of large messages"] {
        let times = record.times.entry(name.to_string()).or_default();
        for _ in 0..40_000 {
            times.record_micros((180.0 * (1.0 - random.f64()).powf(-0.55)) as u64);
        }
    }
    let memory = (1..=10).map(|at| (f64::from(at) * 1e4, 12e6 + f64::from(at) * 9.1e7)).collect();
    let over_time: Vec<_> = (0..5_000).map(|at| f64::from(at) / 100.0).collect();
    let wave =
        |phase: f64| over_time.iter().map(|&x| (x, (50_000.0 + 900.0 * (x + phase).sin()).round())).collect();
    let load = |power: f64| {
        (0..9)
            .map(|at| (1e3 * 2_f64.powi(at), (120.0 * 2_f64.powf(f64::from(at) * power)).round()))
            .collect::<Vec<_>>()
    };
    record.plots = vec![
        plot(
            "Server memory over connections",
            axis("connections", Unit::Count, Scale::Linear),
            axis("memory", Unit::Bytes, Scale::Linear),
            vec![line("measured", true, memory), line("fitted", false, vec![(1e4, 103e6), (1e5, 922e6)])],
        ),
        plot(
            "Rate over time",
            axis("time", Unit::Seconds, Scale::Linear),
            axis("messages", Unit::PerSecond, Scale::Linear),
            vec![line("sent", false, wave(0.0)), line("received", false, wave(1.0))],
        ),
        plot(
            "Latency over load",
            axis("offered", Unit::PerSecond, Scale::Log),
            axis("latency", Unit::Microseconds, Scale::Log),
            vec![
                line("p50", false, load(0.3)),
                line("p99", false, load(0.9)),
                line("p99.9", false, load(1.3)),
                line("p50 <measured>", true, load(0.32)),
            ],
        ),
    ];
    record.verdict.checks.push(check("generator cpu", 0.41, 0.8, Unit::Share));
    record
}

pub fn plot(title: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Plot {
    Plot { title: title.to_string(), x, y, lines }
}

pub fn axis(label: &str, unit: Unit, scale: Scale) -> Axis {
    Axis { label: label.to_string(), unit, scale }
}

pub fn line(name: &str, dots: bool, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_string(), points, dots }
}

fn check(name: &str, measured: f64, limit: f64, unit: Unit) -> Check {
    let meaning =
        "The generator was late, so latencies are too long; use more workers or a lower rate.".to_string();
    Check { name: name.to_string(), measured, limit, unit, ok: measured <= limit, meaning }
}

fn conditions() -> Conditions {
    let named = |pairs: &[(&str, &str)]| pairs.iter().map(|&(a, b)| (a.to_string(), b.to_string())).collect();
    Conditions {
        command: ["loadtest", "echo", "--title", "it's mine"].map(String::from).to_vec(),
        version: "0.1.0".to_string(),
        machine: named(&[("cores", "4"), ("kernel", "Linux 6.12.9"), ("memory", "15.6 GiB")]),
        settings: named(&[("connections", "10000"), ("size", "64")]),
        server: named(&[("command", "target/release/examples/echo --port 9001")]),
        workers: vec!["1: cores 2-3, 10,000 connections".to_string()],
    }
}
