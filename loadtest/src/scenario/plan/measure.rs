//! The small runs: memory of idle connections, and processor time of handshakes, messages and deliveries.
//!
//! Refuses to predict. Invariant: each run has workers of its own, and a server of its own where we start it, so that
//! no run inherits what another one made the server allocate.

use std::time::Duration;

use tidegate::program::failure::{Failure, complain};

use super::forecast::{Cost, Costs};
use crate::cli::{self, Adapter, Common, Pacing, Spread, Times};
use crate::engine::fanout::HEADER;
use crate::fit::{median, student};
use crate::mix::Mix;
use crate::order::{Payload, Role};
use crate::record::{Conditions, Record, Verdict};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};
use crate::scenario::idle::{Stop, stop};
use crate::scenario::{churn, echo, fanout};

/// Stops on the way up; as many points has the line of memory.
const STOPS: u64 = 9;
/// Connections begun per second on the way up.
const RAMP: f64 = 5_000.0;
/// Time for allocators and the kernel to come to rest before memory is read.
const REST: Duration = Duration::from_millis(600);
/// Load before each run that is not measured.
const WARMUP: Duration = Duration::from_millis(500);
/// How often what has no line through it is measured.
const REPEATS: usize = 3;
/// Messages are measured at these shares of what came through with no pause, so that nobody is at a limit: a generator
/// that reads a clock for each message reaches its own far below.
const SHARES: [f64; 4] = [0.02, 0.05, 0.1, 0.2];
/// Connections that messages are sent over, and publishes delivered to, at most.
const SENDERS: u64 = 1_000;
/// Handshakes on the way at once.
const JOINING: u64 = 50;
/// Publishes per second.
const PUBLISHES: f64 = 20.0;

/// The runs, and what one of each costs.
pub struct Measured {
    pub costs: Costs,
    /// Names of the runs, and what their checks said.
    pub verdicts: Vec<(String, Verdict)>,
    pub conditions: Conditions,
    pub began: u64,
}

impl Measured {
    /// Makes all runs.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn of(args: &cli::Plan) -> Result<Self, Failure> {
        let say = |what: &str| complain("loadtest", format_args!("plan: measuring {what}"));
        say("memory of idle connections");
        let goals: Vec<u64> =
            (0..STOPS).map(|at| args.from + (args.up_to - args.from) * at / (STOPS - 1)).collect();
        let (stops, record) = idle(args, &goals)?;
        let mut all = Measured {
            costs: Costs::default(),
            verdicts: vec![("idle".into(), record.verdict)],
            conditions: record.conditions,
            began: record.began,
        };
        let points = |of: fn(&Stop) -> Option<f64>| -> Vec<(f64, f64)> {
            stops.iter().filter_map(|stop| Some((stop.connections, of(stop)?))).collect()
        };
        all.costs.server = points(|stop| stop.server);
        all.costs.client = points(|stop| Some(stop.client));
        // Both ends are on this machine, since the server's process is, and each has one socket.
        all.costs.kernel = points(|stop| stop.kernel.map(|bytes| bytes / 2.0));
        let held = stops.last().map_or(0.0, |stop| stop.connections);
        let idle_cpu = record.figures.iter().find(|figure| figure.name == "server_cpu");
        all.costs.idle = idle_cpu.filter(|_| held > 0.0).map(|cpu| cpu.value * 1e6 / held);
        say("handshakes");
        all.costs.handshake = all.repeated("handshakes", "server_cpu_per_handshake", || churn(args))?;
        say("messages");
        all.messages(args)?;
        if let Some(path) = &args.chat {
            say("deliveries");
            all.costs.delivery =
                all.repeated("deliveries", "server_cpu_per_delivery", || chat(args, path))?;
        }
        Ok(all)
    }

    fn keep(&mut self, name: &str, record: &Record) {
        self.verdicts.push((name.to_string(), record.verdict.clone()));
    }

    /// A figure of several runs: its mean, and the interval of that by Student's t.
    fn repeated(
        &mut self,
        name: &str,
        figure: &str,
        mut run: impl FnMut() -> Result<Record, Failure>,
    ) -> Result<Option<Cost>, Failure> {
        let mut values = Vec::new();
        for _ in 0..REPEATS {
            let record = run()?;
            self.keep(name, &record);
            values.extend(record.figure(figure).map(|figure| figure.value));
        }
        Ok(Cost::of(&values))
    }

    /// Messages with no pause between them, and then at several rates.
    fn messages(&mut self, args: &cli::Plan) -> Result<(), Failure> {
        let record = echo(args, None)?;
        self.keep("messages with no pause", &record);
        let value = |record: &Record, name: &str| record.figure(name).map(|figure| figure.value);
        self.costs.saturated = value(&record, "server_cpu_per_message");
        let most = value(&record, "rate").unwrap_or(0.0);
        if most < 100.0 {
            return Ok(());
        }
        for share in SHARES {
            let record = echo(args, Some((most * share).floor()))?;
            self.keep("messages at a rate", &record);
            self.costs.messages.extend(value(&record, "rate").zip(value(&record, "server_cpu")));
        }
        Ok(())
    }
}

impl Cost {
    /// The median, which one disturbed run does not move, within the interval of the mean.
    fn of(values: &[f64]) -> Option<Cost> {
        let value = median(&mut values.to_vec())?;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let margin = student(values.len() - 1) * (variance / n).sqrt();
        let interval = margin.is_finite().then(|| ((mean - margin).max(0.0), mean + margin));
        Some(Cost { value, interval })
    }
}

/// Connections made in steps, memory read at each, and all of them held for a while.
///
/// # Errors
/// When the run cannot be made.
pub fn idle(args: &cli::Plan, goals: &[u64]) -> Result<(Vec<Stop>, Record), Failure> {
    let connections = goals.iter().copied().max().unwrap_or(0);
    let wanted = Wanted::new("idle", Role::Idle, connections);
    let mut run = Run::start(&args.common, wanted)?;
    let mut stops = Vec::new();
    for goal in goals {
        run.hold("connecting", *goal, Some(RAMP))?;
        run.last(REST)?;
        stops.push(stop(&mut run));
    }
    let phase = run.phase("holding", false, args.duration)?;
    run.last(args.duration)?;
    let finished = run.finish()?;
    let mut draft = Draft::new(&finished, &[phase], String::new());
    draft.server(&[phase], None);
    Ok((stops, draft.record))
}

fn churn(args: &cli::Plan) -> Result<Record, Failure> {
    churn::run(&cli::Churn {
        common: args.common.clone(),
        connections: JOINING,
        rate: None,
        poisson: false,
        abort: false,
        // Who comes for the first time has no ticket, and that is the dearer case.
        resume: args.common.url.starts_with("wss:").then_some(0.0),
        idle: 0,
        duration: args.duration / 2,
        warmup: WARMUP,
    })
}

fn echo(args: &cli::Plan, rate: Option<f64>) -> Result<Record, Failure> {
    let size = Mix::parse(&args.size.to_string()).map_err(Failure::usage)?;
    echo::run(&cli::Echo {
        common: args.common.clone(),
        connections: args.connections.min(SENDERS),
        pacing: Pacing { rate, rate_each: None, poisson: false, depth: 1 },
        size,
        binary: false,
        payload: Payload::default(),
        deflate: None,
        idle: 0,
        settle: Duration::ZERO,
        times: times(args),
    })
}

fn chat(args: &cli::Plan, path: &str) -> Result<Record, Failure> {
    fanout::run(&cli::Fanout {
        common: Common { url: with_path(&args.common.url, path), ..args.common.clone() },
        spread: Spread {
            subscribers: args.connections.min(SENDERS),
            publishers: 1,
            rate: PUBLISHES,
            poisson: false,
            burst: 1,
            // A publish carries its number and time.
            size: args.size.max(HEADER as u64),
            binary: false,
            adapter: Adapter::Broadcast,
        },
        times: times(args),
    })
}

fn times(args: &cli::Plan) -> Times {
    Times { duration: args.duration, warmup: WARMUP, ramp: None }
}

/// The same server at another path.
fn with_path(url: &str, path: &str) -> String {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
    format!("{}/{}", &url[..end], path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_replaced() {
        for url in ["ws://h:1", "ws://h:1/", "ws://h:1/echo?a=/b", "ws://h:1?x"] {
            assert_eq!(with_path(url, "/chat"), "ws://h:1/chat");
        }
        assert_eq!(with_path("nonsense", "chat"), "nonsense/chat");
    }

    #[test]
    fn a_cost_has_an_interval_when_it_was_repeated() {
        assert_eq!(Cost::of(&[]), None);
        assert_eq!(Cost::of(&[5.0]).unwrap().interval, None);
        let cost = Cost::of(&[10.0, 11.0, 12.0]).unwrap();
        let (low, high) = cost.interval.unwrap();
        // t = 4.303 for two degrees, the standard error is 1 / sqrt 3.
        assert!(
            (cost.value - 11.0).abs() < 1e-9 && (low - 8.516).abs() < 1e-3 && (high - 13.484).abs() < 1e-3
        );
    }
}
