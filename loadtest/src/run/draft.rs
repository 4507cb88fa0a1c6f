//! `Draft`: a record in the making: what all scenarios say in the same words.
//!
//! Refuses to know what a scenario is about. Invariant: a figure is put in with the way in which it combines, and none
//! is put in that was not measured.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::crew::ledger::{Point, Sum};
use crate::order::{Count, Metric};
use crate::record::{
    Axis, Combine, Conditions, Figure, Line, Plot, Record, SCHEMA, Scale, Seen, Table, Times, Unit,
};
use crate::run::Finished;
use crate::run::verdict::verdict;
use crate::server::machine;

/// Share of stolen processor time from which on it is worth a word.
const STOLEN: f64 = 0.01;
/// Quantiles that become figures, with their names.
const QUANTILES: &[(&str, u32)] =
    &[("p50", 500_000), ("p90", 900_000), ("p99", 990_000), ("p999", 999_000), ("max", 1_000_000)];

/// See the module's text.
pub struct Draft<'a> {
    pub finished: &'a Finished,
    /// The measured phases, added up.
    pub measured: Sum,
    phases: Vec<u32>,
    pub record: Record,
}

impl<'a> Draft<'a> {
    /// A record of a run, of which these phases were measured.
    pub fn new(finished: &'a Finished, phases: &[u32], title: String) -> Self {
        let mut measured = Sum::default();
        phases.iter().for_each(|phase| measured.merge(&finished.sum(*phase)));
        let mut errors: BTreeMap<String, Seen> = finished.ledger.all().errors;
        for trouble in &finished.ledger.troubles {
            errors.entry("trouble".into()).or_default().add(1, trouble);
        }
        let record = Record {
            schema: SCHEMA.into(),
            scenario: finished.scenario.into(),
            title: finished.common.outputs.title.clone().unwrap_or(title),
            began: finished.facts.began_at,
            seconds: finished.seconds,
            conditions: conditions(finished),
            verdict: verdict(finished, &measured),
            figures: Vec::new(),
            times: BTreeMap::new(),
            plots: Vec::new(),
            tables: Vec::new(),
            errors,
            notes: finished.facts.preflight.iter().map(|line| format!("Preflight: {line}.")).collect(),
        };
        Draft { finished, measured, phases: phases.to_vec(), record }
    }

    /// Seconds that were measured.
    pub fn seconds(&self) -> f64 {
        self.phases.iter().map(|phase| self.finished.lasted(*phase)).sum()
    }

    /// Puts a figure in.
    pub fn put(&mut self, figure: Figure) {
        self.record.figures.push(figure);
    }

    /// A count of which several runs have the sum.
    pub fn sum(&mut self, name: &str, value: f64, unit: Unit) {
        self.put(Figure::new(name, value, unit).combine(Combine::Sum));
    }

    /// A count of the measured phases that should be zero.
    pub fn bad(&mut self, name: &str, what: Count) {
        let value = self.measured.count(what) as f64;
        self.put(Figure::new(name, value, Unit::Count).combine(Combine::Sum).less_is_better());
    }

    /// Messages of the measured phases that came as they should not, or were never sent.
    pub fn disorder(&mut self) {
        for (name, what) in [
            ("duplicate", Count::Duplicate),
            ("reordered", Count::Reordered),
            ("wrong", Count::Wrong),
            ("unsent", Count::Unsent),
        ] {
            self.bad(name, what);
        }
    }

    /// A histogram and its quantiles; `prefix` stands before their names.
    pub fn times(&mut self, name: &str, prefix: &str, times: &Times) {
        if times.is_empty() {
            return;
        }
        for (quantile, millionths) in QUANTILES {
            self.quantile(format!("{prefix}{quantile}"), name, times, *millionths);
        }
        let mean = Figure::new(format!("{prefix}mean"), times.mean(), Unit::Microseconds);
        self.put(mean.combine(Combine::Mean { of: name.into() }).less_is_better());
        self.record.times.insert(name.into(), times.clone());
    }

    /// One quantile of a histogram that the record has under the name `of`.
    fn quantile(&mut self, name: String, of: &str, times: &Times, millionths: u32) {
        let value = times.quantile(f64::from(millionths) / 1e6);
        let combine = Combine::Quantile { of: of.into(), millionths };
        self.put(Figure::new(name, value, Unit::Microseconds).combine(combine).less_is_better());
    }

    /// A histogram of the measured phases and its quantiles.
    pub fn metric(&mut self, metric: Metric, prefix: &str) {
        let times = self.measured.times(metric);
        self.times(metric.name(), prefix, &times);
    }

    /// How many connections there were, and what went wrong with them, over the whole run.
    pub fn connections(&mut self) {
        let ledger = &self.finished.ledger;
        let count = |what| ledger.count(what) as f64;
        let (opened, failed, dropped) = (count(Count::Opened), count(Count::Failed), count(Count::Dropped));
        let errors: u64 = self.record.errors.values().map(|seen| seen.count).sum();
        self.sum("opened", opened, Unit::Count);
        let (full, resumed) = (count(Count::TlsFull), count(Count::TlsResumed));
        if full + resumed > 0.0 {
            self.sum("tls_full", full, Unit::Count);
            self.sum("tls_resumed", resumed, Unit::Count);
        }
        for (name, value) in [("failed", failed), ("dropped", dropped), ("errors", errors as f64)] {
            self.put(Figure::new(name, value, Unit::Count).combine(Combine::Sum).less_is_better());
        }
    }

    /// What the server used in these phases, and per `each` (a name and how many there were).
    pub fn server(&mut self, phases: &[u32], each: Option<(&str, &str, f64)>) {
        let cpu: Option<Duration> = phases.iter().map(|phase| self.finished.server_cpu(*phase)).sum();
        if let Some(cpu) = cpu {
            let seconds: f64 = phases.iter().map(|phase| self.finished.lasted(*phase)).sum();
            let share = cpu.as_secs_f64() / seconds.max(1e-9);
            self.put(Figure::new("server_cpu", share, Unit::Share).combine(Combine::Max).less_is_better());
            let micros = cpu.as_secs_f64() * 1e6;
            self.put(Figure::new("server_cpu_us", micros, Unit::Microseconds).combine(Combine::Max));
            if let Some((name, under, count)) = each.filter(|(_, _, count)| *count > 0.0) {
                let combine = Combine::Ratio { over: "server_cpu_us".into(), under: under.into() };
                let figure =
                    Figure::new(format!("server_cpu_per_{name}"), micros / count, Unit::Microseconds);
                self.put(figure.combine(combine).less_is_better());
            }
        }
        let switches: Option<u64> = phases.iter().map(|phase| self.finished.server_switches(*phase)).sum();
        if let Some(switches) = switches {
            let figure = Figure::new("server_switches", switches as f64, Unit::Count);
            self.put(figure.combine(Combine::Max));
        }
        let last = phases.iter().filter_map(|phase| self.finished.edges(*phase)).next_back();
        let Some(usage) = last.and_then(|(_, to)| to.usage.clone()) else { return };
        for (name, value, unit) in [
            ("server_rss", usage.rss, Unit::Bytes),
            ("server_anon", usage.anon, Unit::Bytes),
            ("server_descriptors", usage.descriptors, Unit::Count),
        ] {
            if let Some(value) = value {
                self.put(Figure::new(name, value as f64, unit).combine(Combine::Max).less_is_better());
            }
        }
    }

    /// What the kernel noticed from the first mark to the last.
    pub fn kernel(&mut self) {
        let marks = &self.finished.marks;
        let (Some(first), Some(last)) = (marks.first(), marks.last()) else { return };
        let change = last.kernel.since(&first.kernel);
        // Of listeners there is one machine that knows; packets are sent again by each.
        for (name, value, combine) in [
            ("listen_overflows", change.listen_overflows, Combine::Max),
            ("listen_drops", change.listen_drops, Combine::Max),
            ("syncookies", change.syncookies_sent, Combine::Max),
            ("retransmits", change.retransmits, Combine::Sum),
        ] {
            if let Some(value) = value {
                self.put(Figure::new(name, value as f64, Unit::Count).combine(combine).less_is_better());
            }
        }
        if let Some((stolen, ticks)) = change.ticks_stolen.zip(change.ticks).filter(|(_, ticks)| *ticks > 0) {
            let share = stolen as f64 / ticks as f64;
            self.put(Figure::new("stolen", share, Unit::Share).combine(Combine::Max).less_is_better());
            if share > STOLEN {
                self.note(format!(
                    "The host of this virtual machine took {:.1} % of its processor time for others (steal): tails of \
                     latency hold that, on the server's side and on ours.",
                    share * 100.0
                ));
            }
        }
        let buffers = marks.iter().filter_map(|mark| mark.kernel.tcp_mem_bytes).max();
        if let Some(bytes) = buffers {
            self.put(Figure::new("tcp_buffers", bytes as f64, Unit::Bytes).combine(Combine::Max));
        }
    }

    /// How the generator itself did.
    pub fn generator(&mut self) {
        for metric in [Metric::Slip, Metric::Lag] {
            let times = self.measured.times(metric);
            if !times.is_empty() {
                self.quantile(format!("{}_p99", metric.name()), metric.name(), &times, 990_000);
                self.record.times.insert(metric.name().into(), times);
            }
        }
        self.put(Figure::new("generator_cpu", self.measured.busiest(), Unit::Share).combine(Combine::Max));
    }

    /// What happened over time: `rate` names what is counted per second.
    pub fn over_time(&mut self, rate: &str, count: fn(&Point) -> u64) {
        let series = &self.finished.ledger.series;
        let width = series.width().max(1e-9);
        let of = |value: &dyn Fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
            series.points().filter_map(|(at, point)| Some((at, value(point)?))).collect()
        };
        let latency = |q: f64| of(&|point| (!point.latency.is_empty()).then(|| point.latency.quantile(q)));
        let line = |name: &str, points| Line { name: name.into(), points, dots: false };
        let open = of(&|point| Some(point.open as f64));
        let rates = of(&|point| Some(count(point) as f64 / width));
        let latencies =
            vec![line("p50", latency(0.5)), line("p99", latency(0.99)), line("max", latency(1.0))];
        self.plot(
            "Connections over time",
            "open connections",
            Unit::Count,
            Scale::Linear,
            vec![line("open", open)],
        );
        let title = format!("{rate} over time");
        self.plot(&title, rate, Unit::PerSecond, Scale::Linear, vec![line(rate, rates)]);
        if latencies.iter().any(|line| !line.points.is_empty()) {
            self.plot("Latency over time", "latency", Unit::Microseconds, Scale::Log, latencies);
        }
    }

    /// A plot over the seconds of the run.
    pub fn plot(&mut self, title: &str, label: &str, unit: Unit, scale: Scale, lines: Vec<Line>) {
        let x = Axis { label: "time".into(), unit: Unit::Seconds, scale: Scale::Linear };
        let y = Axis { label: label.into(), unit, scale };
        self.record.plots.push(Plot { title: title.into(), x, y, lines });
    }

    /// A table.
    pub fn table(&mut self, title: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        let columns = columns.iter().map(|column| column.to_string()).collect();
        self.record.tables.push(Table { title: title.into(), columns, rows });
    }

    /// A table of what was seen, by kind; none when nothing was.
    pub fn kinds(&mut self, title: &str, columns: [&str; 3], seen: BTreeMap<String, Seen>) {
        let rows: Vec<Vec<String>> =
            seen.into_iter().map(|(kind, seen)| vec![kind, seen.count.to_string(), seen.example]).collect();
        if !rows.is_empty() {
            self.table(title, &columns, rows);
        }
    }

    /// A sentence for people.
    pub fn note(&mut self, text: impl Into<String>) {
        self.record.notes.push(text.into());
    }
}

fn conditions(finished: &Finished) -> Conditions {
    let common = &finished.common;
    let mut settings = BTreeMap::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_string(), value);
    set("url", common.url.clone());
    set("connections", finished.facts.connections.to_string());
    set("threads", common.threads.to_string());
    set("timeout", format!("{:?}", common.timeout));
    set("connect timeout", format!("{:?}", common.connect_timeout));
    set("seed", common.seed.to_string());
    set("slip max", format!("{:?}", common.slip_max));
    set("lag max", format!("{:?}", common.lag_max));
    set("cpu max", format!("{:.0} %", common.cpu_max * 100.0));
    if let Some(file) = &common.ca {
        set("ca", file.clone());
    }
    if common.insecure {
        set("insecure", "trusts whoever answers".into());
    }
    if let Some(version) = common.tls_version {
        set("tls version", format!("{version:?}"));
    }
    if !common.ping.is_zero() {
        set("ping", format!("{:?}", common.ping));
    }
    let mut server = BTreeMap::new();
    if let Some(command) = &finished.facts.server {
        server.insert("command".to_string(), command.clone());
        server.insert("processes".to_string(), common.servers.to_string());
    }
    if !common.server_pid.is_empty() {
        server.insert("pid".to_string(), format!("{:?}", common.server_pid));
    }
    if !common.server_cpu.is_empty() {
        server.insert("processors".to_string(), format!("{:?}", common.server_cpu));
    }
    Conditions {
        command: std::env::args().collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        machine: machine::facts(),
        settings,
        server,
        workers: finished.facts.workers.clone(),
    }
}
