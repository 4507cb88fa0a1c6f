//! `search`: the largest rate, or number of connections, at which conditions hold.
//!
//! Refuses to measure: every step is an [`echo`] of its own, with workers of its own, and a server of its own where we
//! start it. Invariant: a step that the generator could not make neither holds nor fails; it ends the search, and the
//! whole of it is INVALID.

mod seek;

use std::time::{Duration, Instant};

use tidegate::program::failure::{Failure, complain};

use crate::cli::{self, Largest, Pacing, Times};
use crate::order::Payload;
use crate::output::number::{figure, plain_number};
use crate::record::{Axis, Check, Combine, Figure, Line, Plot, Record, Scale, Table, Unit};
use crate::scenario::echo;
use seek::{Bounds, End, Found, Outcome};

/// Of what was sent, as much must have come back within the step: a server that falls behind does not carry a load,
/// whatever is demanded of it besides.
const CARRIED: f64 = 0.95;
/// How a step is told that the generator could not make.
const INVALID: &str = "INVALID: ";
/// What is told of the best step besides the figures of the conditions.
const OF_THE_BEST: &[&str] =
    &["rate", "p50", "p99", "p999", "server_cpu", "server_cpu_per_message", "server_rss"];

/// One measurement, as the table tells it.
struct Step {
    value: f64,
    outcome: Outcome,
    /// Whether it held, or why not.
    told: String,
    /// One of each condition, where it was measured.
    figures: Vec<Option<Figure>>,
    cost: Option<Figure>,
}

/// The steps so far, and the records that are still needed.
struct Search<'a> {
    args: &'a cli::Search,
    steps: Vec<Step>,
    /// Of the largest step that held, and its value.
    best: Option<(f64, Record)>,
    /// Of the last step, for what all have in common.
    last: Option<Record>,
    /// Why the last step could not be made, or not be believed.
    trouble: String,
}

/// Searches.
///
/// # Errors
/// When the first step cannot be made, or a condition cannot be judged.
pub fn run(args: &cli::Search) -> Result<Record, Failure> {
    let began = Instant::now();
    let whole = args.largest == Largest::Connections;
    let from = args.from.unwrap_or(if whole { 100.0 } else { 1_000.0 });
    if args.to.is_some_and(|to| to < from) {
        let to = args.to.unwrap_or(from);
        return Err(Failure::usage(format!("--to {to} is below --from {from}; begin lower")));
    }
    let bounds = Bounds { from, to: args.to, within: args.within, whole };
    for gate in &args.until {
        // There is nothing here that a condition could be relative to.
        gate.check(None).map_err(|error| Failure::usage(format!("--until: {error}")))?;
    }
    let mut search = Search { args, steps: Vec::new(), best: None, last: None, trouble: String::new() };
    let found = seek::seek(&bounds, &mut |value| search.step(value))?;
    search.record(&found, began)
}

impl Search<'_> {
    fn step(&mut self, value: f64) -> Result<Outcome, Failure> {
        let record = match echo::run(&echo_args(self.args, value)) {
            Ok(record) => record,
            // What was found so far is worth more than the step that could not be made.
            Err(failure) if failure.code() == 1 && !self.steps.is_empty() => {
                crate::interrupt::check()?;
                self.trouble = format!("at {} the run could not be made: {failure}", self.shown(value));
                let told = "not made".to_string();
                let step = Step { value, outcome: Outcome::Limited, told, figures: Vec::new(), cost: None };
                self.steps.push(step);
                return Ok(Outcome::Limited);
            }
            Err(failure) => return Err(failure),
        };
        let (outcome, told) = judge(&record, self.args)?;
        if outcome == Outcome::Limited {
            self.trouble = format!(
                "the generator, not the server, was the limit at {} ({}): use more --threads",
                self.shown(value),
                told.trim_start_matches(INVALID)
            );
        }
        complain("loadtest", format_args!("{}: {told}", self.shown(value)));
        self.steps.push(Step {
            value,
            outcome,
            told,
            figures: self.args.until.iter().map(|gate| record.figure(gate.name()).cloned()).collect(),
            cost: record.figure("server_cpu_per_message").cloned(),
        });
        match outcome {
            Outcome::Held if self.best.as_ref().is_none_or(|(best, _)| value > *best) => {
                self.best = Some((value, record));
            }
            _ => self.last = Some(record),
        }
        Ok(outcome)
    }

    fn unit(&self) -> Unit {
        if self.args.largest == Largest::Rate { Unit::PerSecond } else { Unit::Count }
    }

    fn shown(&self, value: f64) -> String {
        let of = if self.args.largest == Largest::Rate { "" } else { " connections" };
        plain_number(self.unit(), value) + of
    }

    fn record(self, found: &Found, began: Instant) -> Result<Record, Failure> {
        let mut figures = vec![
            found.held.map(|value| Figure::new("knee", value, self.unit()).more_is_better()),
            found.failed.map(|value| Figure::new("first_failed", value, self.unit()).more_is_better()),
        ];
        let (notes, table, plots) = (self.notes(found), self.table(), self.plots());
        let title = self.title();
        let checks = self.checks(found);
        let held = self.best.is_some();
        let Some(mut record) = self.best.map(|(_, record)| record).or(self.last) else {
            return Err(Failure::refused("no step was measured; begin lower, with --from"));
        };
        let mut names: Vec<&str> = self.args.until.iter().map(|gate| gate.name()).collect();
        names.extend(
            OF_THE_BEST.iter().filter(|name| !self.args.until.iter().any(|gate| gate.name() == **name)),
        );
        if held {
            figures.extend(names.iter().map(|name| {
                let figure = record.figure(name)?.clone();
                Some(Figure { name: format!("at_knee_{name}"), combine: Combine::Never, ..figure })
            }));
        } else {
            // Latencies of a step that failed are no result.
            record.times.clear();
            record.verdict.checks.clear();
        }
        record.scenario = "search".into();
        record.title = title;
        record.seconds = began.elapsed().as_secs_f64();
        record.figures = figures.into_iter().flatten().collect();
        record.tables = vec![table];
        record.plots = plots;
        record.notes = notes;
        record.verdict.checks.extend(checks);
        record.verdict.valid = record.verdict.checks.iter().all(|check| check.ok);
        let settings = &mut record.conditions.settings;
        settings.insert("within".into(), format!("{} %", self.args.within * 100.0));
        for (at, gate) in self.args.until.iter().enumerate() {
            settings.insert(format!("condition {}", at + 1), gate.to_string());
        }
        Ok(record)
    }

    fn title(&self) -> String {
        let conditions: Vec<String> = self.args.until.iter().map(ToString::to_string).collect();
        let (conditions, cli::Search { connections, rate_each, size, .. }) =
            (conditions.join(" and "), self.args);
        match self.args.largest {
            Largest::Rate => {
                format!("largest rate of {connections} connections with {conditions}, {size} bytes")
            }
            Largest::Connections => {
                format!("most connections with {rate_each}/s each and {conditions}, {size} bytes")
            }
        }
    }

    /// Whether the server was the limit, and not what measures it.
    fn checks(&self, found: &Found) -> Vec<Check> {
        let limited = matches!(found.end, End::Limited(_));
        vec![Check {
            name: "steps past the generator".into(),
            measured: f64::from(u8::from(limited)),
            limit: 0.0,
            unit: Unit::Count,
            ok: !limited,
            meaning: self.trouble.clone(),
        }]
    }

    fn notes(&self, found: &Found) -> Vec<String> {
        let shown =
            |value: Option<f64>| value.map_or_else(|| "nothing".to_string(), |value| self.shown(value));
        let held = shown(found.held);
        let mut notes = vec![match found.end {
            End::Narrowed => {
                format!("The conditions hold at {held} and no longer at {}.", shown(found.failed))
            }
            End::Reached => format!(
                "The conditions hold up to {held}, where --to ended the search; the knee lies beyond."
            ),
            End::Floor => format!(
                "The conditions hold nowhere down to {}: they ask too much, or --from is far too high.",
                shown(found.failed)
            ),
            End::Limited(_) => format!("The conditions hold at {held} at least; {}.", self.trouble),
        }];
        notes.push(format!(
            "A step holds when every condition does, all connections are open, and {:.0} % of what was sent came back \
             within it. One that failed, or was INVALID, is measured once more: it fails when both do.",
            CARRIED * 100.0
        ));
        let again = self.steps.iter().filter(|step| {
            step.outcome == Outcome::Failed
                && self.steps.iter().any(|other| other.value == step.value && other.outcome == Outcome::Held)
        });
        let again: Vec<String> = again.map(|step| self.shown(step.value)).collect();
        if !again.is_empty() {
            notes.push(format!(
                "Held only when measured again: {}; the knee is as sharp as that.",
                again.join(", ")
            ));
        }
        notes
    }

    fn table(&self) -> Table {
        let mut columns = vec![if self.unit() == Unit::Count { "connections" } else { "rate" }.to_string()];
        columns.extend(self.args.until.iter().map(|gate| gate.name().to_string()));
        columns.extend(["server CPU per message", "held"].map(String::from));
        let cell = |one: Option<&Figure>| one.map_or_else(|| "–".to_string(), |one| figure(one).0);
        let rows = self.steps.iter().map(|step| {
            let mut row = vec![plain_number(self.unit(), step.value)];
            row.extend(
                (0..self.args.until.len()).map(|at| cell(step.figures.get(at).and_then(Option::as_ref))),
            );
            row.extend([cell(step.cost.as_ref()), step.told.clone()]);
            row
        });
        Table { title: "Steps".into(), columns, rows: rows.collect() }
    }

    fn plots(&self) -> Vec<Plot> {
        let mut plots: Vec<Plot> = Vec::new();
        for (at, gate) in self.args.until.iter().enumerate() {
            let of = |outcome: Outcome| -> (Vec<(f64, f64)>, Option<Unit>) {
                let steps = self.steps.iter().filter(|step| step.outcome == outcome);
                let known = steps.filter_map(|step| Some((step.value, step.figures.get(at)?.as_ref()?)));
                let known: Vec<_> = known.collect();
                let unit = known.first().map(|(_, figure)| figure.unit);
                (known.into_iter().map(|(x, figure)| (x, figure.value)).collect(), unit)
            };
            let sides = [("held", Outcome::Held), ("failed", Outcome::Failed), ("INVALID", Outcome::Limited)];
            let sides = sides.map(|(name, outcome)| (name, of(outcome)));
            let Some(unit) = sides.iter().find_map(|(_, (_, unit))| *unit) else { continue };
            let title = format!("{} against load", gate.name());
            if plots.iter().any(|plot| plot.title == title) {
                continue;
            }
            let lines = sides.into_iter().filter(|(_, (points, _))| !points.is_empty());
            let lines = lines.map(|(name, (points, _))| Line { name: name.into(), points, dots: true });
            let scale = if unit == Unit::Microseconds { Scale::Log } else { Scale::Linear };
            let label = if self.unit() == Unit::Count { "connections" } else { "messages per second" };
            let x = Axis { label: label.into(), unit: self.unit(), scale: Scale::Linear };
            let y = Axis { label: gate.name().into(), unit, scale };
            plots.push(Plot { title, x, y, lines: lines.collect() });
        }
        plots
    }
}

/// What a measurement says, and in words.
fn judge(record: &Record, args: &cli::Search) -> Result<(Outcome, String), Failure> {
    let value = |name| record.figure(name).map_or(0.0, |figure| figure.value);
    let mut broken = Vec::new();
    if value("failed") + value("dropped") > 0.0 {
        broken.push("connections failed".to_string());
    }
    if value("messages") < value("sent") * CARRIED || value("messages") == 0.0 {
        broken.push("fell behind".to_string());
    }
    for gate in &args.until {
        match gate.holds(record) {
            Ok(true) => {}
            Ok(false) => broken.push(format!("not {gate}")),
            // Without an answer there is no latency, and that is the server's doing.
            Err(_) if value("answered") == 0.0 => broken.push("no answers".into()),
            Err(error) => return Err(Failure::usage(format!("--until: {error}"))),
        }
    }
    broken.dedup();
    let unmet: Vec<&str> =
        record.verdict.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    Ok(match (unmet.as_slice(), broken.is_empty()) {
        ([], true) => (Outcome::Held, "yes".into()),
        ([], false) => (Outcome::Failed, broken.join(", ")),
        // Messages that had to be left out for all that were on their way make the figures too good, and they are too
        // bad already.
        (["unsent"], false) => (Outcome::Failed, format!("{}, unsent", broken.join(", "))),
        _ => (Outcome::Limited, format!("{INVALID}{}", unmet.join(", "))),
    })
}

/// The measurement at this value.
fn echo_args(args: &cli::Search, value: f64) -> cli::Echo {
    let (connections, rate, rate_each) = match args.largest {
        Largest::Rate => (args.connections, Some(value), None),
        Largest::Connections => (value as u64, None, Some(args.rate_each)),
    };
    cli::Echo {
        common: args.common.clone(),
        connections,
        pacing: Pacing { rate, rate_each, poisson: args.poisson, depth: 1 },
        size: args.size.clone(),
        binary: args.binary,
        payload: Payload::default(),
        deflate: None,
        idle: 0,
        settle: Duration::ZERO,
        times: Times { duration: args.duration, warmup: args.warmup, ramp: None },
    }
}
