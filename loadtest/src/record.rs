//! What a run leaves behind: the one document that every output is made of (JSON schema `tidegate-loadtest/1`).
//!
//! Refuses to know how it was measured and how it is shown. Invariants: a figure says how it is combined with the same
//! figure of another run, so that `merge` needs to know no scenario; histograms are kept whole, so that nothing is
//! lost by adding runs up; what is plotted or tabled is plain numbers and text.

pub mod merge;
pub mod times;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use times::Times;

/// Name and version of the document's form. It changes when a field changes its meaning or goes away.
pub const SCHEMA: &str = "tidegate-loadtest/1";

/// One run: conditions, verdict, figures, and what is needed to draw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// `idle`, `echo`, `fanout` and so on.
    pub scenario: String,
    /// One line for people: what was run.
    pub title: String,
    /// Seconds since 1970 when the run began.
    pub began: u64,
    /// Seconds that it took as a whole.
    pub seconds: f64,
    pub conditions: Conditions,
    pub verdict: Verdict,
    /// In the order in which they are shown; names are unique.
    pub figures: Vec<Figure>,
    /// Histograms by name, in microseconds.
    pub times: BTreeMap<String, Times>,
    pub plots: Vec<Plot>,
    pub tables: Vec<Table>,
    /// What went wrong, by kind.
    pub errors: BTreeMap<String, Seen>,
    /// Sentences for people: findings, warnings, what the figures do not say.
    pub notes: Vec<String>,
}

/// Under what conditions a run was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The words of the command line.
    pub command: Vec<String>,
    /// Version of this program.
    pub version: String,
    /// Kernel, processor, cores, memory and the like, by name.
    pub machine: BTreeMap<String, String>,
    /// Settings of the run that are in force, by name.
    pub settings: BTreeMap<String, String>,
    /// The server: its command or process, where known.
    pub server: BTreeMap<String, String>,
    /// The worker processes, one line each.
    pub workers: Vec<String>,
}

/// Whether the instrument was good enough for what it measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// No check failed.
    pub valid: bool,
    pub checks: Vec<Check>,
}

/// One property of the instrument against its limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// `slip p99`, `loop lag p99`, `generator cpu` and so on.
    pub name: String,
    pub measured: f64,
    pub limit: f64,
    pub unit: Unit,
    pub ok: bool,
    /// What a failure means for the figures, and what to do.
    pub meaning: String,
}

/// A number with a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// For `--fail-if`, CSV and `compare`: lower case with underscores.
    pub name: String,
    pub value: f64,
    pub unit: Unit,
    /// The 95 % interval, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// How it is combined with those of other runs.
    pub combine: Combine,
    /// True when a smaller value is the better one; `None` when neither is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less_is_better: Option<bool>,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Count,
    Microseconds,
    Seconds,
    Bytes,
    /// Of something per second.
    PerSecond,
    /// A share, 0 to 1, shown as per cent.
    Share,
    /// A ratio, shown as a plain number.
    Ratio,
}

/// How the same figure of several runs becomes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    Sum,
    Max,
    Min,
    /// Read again from the added histograms: this one, at this quantile in millionths.
    Quantile {
        of: String,
        millionths: u32,
    },
    /// The mean of the added histograms of this name.
    Mean {
        of: String,
    },
    /// One combined figure divided by another.
    Ratio {
        over: String,
        under: String,
    },
    /// It means nothing for several runs, and is left out.
    Never,
}

/// Lines through points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// One axis of a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    pub label: String,
    pub unit: Unit,
    pub scale: Scale,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    Linear,
    Log,
    /// Quantiles 0 to 1, as log(1 / (1 - q)): 0.9, 0.99, 0.999 are equally far apart.
    Quantile,
}

/// One line of a plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Drawn as points (measured) instead of a line (fitted, or over time).
    #[serde(default)]
    pub dots: bool,
}

/// Rows and columns of text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// Something that went wrong, one kind of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub count: u64,
    /// The first one, as a sentence.
    pub example: String,
}

impl Record {
    /// The figure of this name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Figure {
    /// A figure of which neither more nor less is better, and which does not combine.
    pub fn new(name: impl Into<String>, value: f64, unit: Unit) -> Self {
        Figure {
            name: name.into(),
            value,
            unit,
            interval: None,
            combine: Combine::Never,
            less_is_better: None,
        }
    }

    #[must_use]
    pub fn combine(self, combine: Combine) -> Self {
        Figure { combine, ..self }
    }

    #[must_use]
    pub fn less_is_better(self) -> Self {
        Figure { less_is_better: Some(true), ..self }
    }

    #[must_use]
    pub fn more_is_better(self) -> Self {
        Figure { less_is_better: Some(false), ..self }
    }

    #[must_use]
    pub fn interval(self, low: f64, high: f64) -> Self {
        Figure { interval: Some((low, high)), ..self }
    }
}

impl Seen {
    /// Counts another one; the first example stays.
    pub fn add(&mut self, count: u64, example: &str) {
        if self.count == 0 {
            self.example = example.to_string();
        }
        // Counts are read from files, which may say anything.
        self.count = self.count.saturating_add(count);
    }
}

#[cfg(test)]
impl Record {
    /// A valid one with nothing in it, for tests.
    pub fn of(scenario: &str) -> Self {
        Record {
            schema: SCHEMA.to_string(),
            scenario: scenario.to_string(),
            title: format!("{scenario} for 10 s"),
            began: 1_000,
            seconds: 10.0,
            conditions: Conditions::default(),
            verdict: Verdict { valid: true, checks: Vec::new() },
            figures: Vec::new(),
            times: BTreeMap::new(),
            plots: Vec::new(),
            tables: Vec::new(),
            errors: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}
