//! What comparisons of servers leave behind: the one document that page and tables are made of (JSON schema
//! `tidegate-benchmarks/2`).
//!
//! Refuses to know how it was measured and how it is shown. Invariants: a result that could not be had has a reason
//! instead of a value, and never both; the values of all rounds are kept, so that every median can be checked; each cell is
//! of one run, whose machine and command are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Name and version of the document's form. It changes when a field changes its meaning or goes away.
pub const SCHEMA: &str = "tidegate-benchmarks/2";

/// All that has been measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Those that cells are of, the latest first.
    pub runs: Vec<Run>,
    pub rows: Vec<Row>,
    pub cells: Vec<Cell>,
}

/// One run of the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Seconds since 1970 when it began.
    pub began: u64,
    /// Seconds that it took.
    pub seconds: f64,
    pub rounds: u64,
    /// The words of the command line.
    pub command: Vec<String>,
    /// Version of this program.
    pub version: String,
    /// Processors of the server and of the generator.
    pub server_cpu: Vec<usize>,
    pub generator_cpu: Vec<usize>,
    /// Kernel, processor, memory and the like, by name.
    pub machine: BTreeMap<String, String>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub kind: Kind,
    /// As `--server` takes it.
    pub command: String,
    /// The same for cells in which one sends to all.
    pub broadcast: String,
    pub version: String,
    pub language: String,
    /// It knows no WebSocket: bytes come back as they were sent.
    pub bare: bool,
    /// Why it was not measured at all.
    pub left_out: Option<String>,
}

/// What a server is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// tidegate.
    Own,
    /// A loop that only moves bytes: what no server can be cheaper than. The first of them is what ratios are taken to.
    Raw,
    Peer,
}

/// One load, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub name: String,
    /// Seconds since 1970 when its run began: cells of an earlier run are kept until they are measured again.
    pub began: u64,
    /// Its run was ended before all rounds were measured.
    pub unfinished: bool,
    /// What is done, for people.
    pub title: String,
    /// The figure of the scenario's record.
    pub figure: String,
    /// Of what it is told: `µs per message`, `bytes per connection`.
    pub unit: String,
    /// The command of one measurement, with `SERVER` where the server's command goes.
    pub command: String,
    /// Payload bytes of what is counted, where it is long enough that bytes decide.
    pub bytes: Option<f64>,
    /// The row that ratios are taken to.
    pub raw: Option<String>,
    /// How often each server was measured in a round.
    #[serde(default = "once")]
    pub visits: u64,
    /// In the order of the rows.
    pub results: Vec<Outcome>,
}

fn once() -> u64 {
    1
}

/// One server under one load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub row: String,
    /// Median over the rounds.
    pub value: Option<Estimate>,
    /// To the raw loop, measured next to it in the same round.
    pub to_raw: Option<Estimate>,
    /// To tidegate in the same round.
    pub to_own: Option<Estimate>,
    /// The value of each round; `null` where there is none.
    pub rounds: Vec<Option<f64>>,
    /// Share of its processor that the server used, and times that it slept per thing counted: medians.
    pub server_cpu: Option<f64>,
    pub switches: Option<f64>,
    /// Share of processor time that the host of a virtual machine took away: the median.
    pub stolen: Option<f64>,
    /// Measurements in which other programs had the generator's processor for more than a quarter of the time.
    pub disturbed: u64,
    /// Why values are missing, and how often.
    pub failures: BTreeMap<String, u64>,
}

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub median: f64,
    pub interval: Option<(f64, f64)>,
}

impl Document {
    /// Takes over from an earlier document of the same form what this one has not measured, or has not finished. Cells come in
    /// the order of `names`.
    pub fn keep(&mut self, earlier: &Document, names: &[&str]) {
        if earlier.schema != self.schema {
            return;
        }
        for cell in &earlier.cells {
            match self.cells.iter_mut().find(|own| own.name == cell.name) {
                None => self.cells.push(cell.clone()),
                Some(own) if own.unfinished && !cell.unfinished => *own = cell.clone(),
                Some(_) => {}
            }
        }
        self.cells.sort_by_key(|cell| names.iter().position(|name| *name == cell.name));
        for run in &earlier.runs {
            if self.runs.iter().all(|own| own.began != run.began) {
                self.runs.push(run.clone());
            }
        }
        self.runs.retain(|run| self.cells.iter().any(|cell| cell.began == run.began));
        for row in &earlier.rows {
            if self.rows.iter().all(|own| own.name != row.name) {
                self.rows.push(row.clone());
            }
        }
    }

    /// The run that a cell is of, and its number from one on.
    pub fn run_of(&self, cell: &Cell) -> Option<(usize, &Run)> {
        (1..).zip(&self.runs).find(|(_, run)| run.began == cell.began)
    }
}

impl Run {
    /// What the machine is, as far as it is known.
    pub fn processor(&self) -> &str {
        self.machine.get("processor").map_or("unknown processor", String::as_str)
    }
}

impl Cell {
    /// Memory is told in bytes, all else in microseconds.
    pub fn is_memory(&self) -> bool {
        !self.figure.starts_with("server_cpu")
    }
}

#[cfg(test)]
pub mod samples {
    use super::*;

    /// A comparison with a row of each sort.
    pub fn document() -> Document {
        let row = |name: &str, kind, left_out: Option<&str>| Row {
            name: name.into(),
            kind,
            command: "run {port}".into(),
            broadcast: "run {port}".into(),
            version: "1".into(),
            language: "C".into(),
            bare: false,
            left_out: left_out.map(String::from),
        };
        let estimate =
            |median: f64, by: f64| Some(Estimate { median, interval: Some((median - by, median + by)) });
        let own = Outcome {
            row: "tidegate".into(),
            value: estimate(12.0, 1.0),
            to_raw: estimate(1.2, 0.1),
            to_own: estimate(1.0, 0.0),
            rounds: vec![Some(12.0); 5],
            server_cpu: Some(0.98),
            switches: Some(0.02),
            ..Outcome::default()
        };
        let failures = BTreeMap::from([("lost 3".to_string(), 2), ("given up".to_string(), 3)]);
        let slow = Outcome { row: "slow".into(), rounds: vec![None; 5], failures, ..Outcome::default() };
        Document {
            schema: SCHEMA.into(),
            runs: vec![Run {
                began: 1_000,
                seconds: 100.0,
                rounds: 5,
                command: vec!["loadtest".into(), "bench-peers".into()],
                version: "0".into(),
                server_cpu: vec![0],
                generator_cpu: vec![1],
                machine: BTreeMap::from([("processor".to_string(), "fast | one".to_string())]),
            }],
            rows: vec![
                row("tidegate", Kind::Own, None),
                row("raw | loop", Kind::Raw, Some("there is no a | b")),
                row("slow", Kind::Peer, None),
            ],
            cells: vec![Cell {
                began: 1_000,
                unfinished: false,
                name: "echo-100x1x1KiB".into(),
                title: "echo <all>".into(),
                figure: "server_cpu_per_message".into(),
                unit: "µs per message".into(),
                command: "loadtest echo ws://127.0.0.1:9001/echo".into(),
                bytes: Some(1024.0),
                raw: Some("raw | loop".into()),
                visits: 3,
                results: vec![slow, own],
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document of an earlier run on another machine, with one cell more and one row more than that of now.
    fn earlier_and_now() -> (Document, Document) {
        let mut earlier = samples::document();
        earlier.runs[0].began = 7;
        earlier.runs[0].machine.clear();
        earlier.cells[0].began = 7;
        let mut other = earlier.cells[0].clone();
        other.name = "handshake".into();
        earlier.cells.push(other);
        let mut now = samples::document();
        now.rows.pop();
        (earlier, now)
    }

    fn told(document: &Document) -> Vec<(&str, usize, u64)> {
        let run = |cell| document.run_of(cell).map_or(0, |(number, _)| number);
        document.cells.iter().map(|cell| (cell.name.as_str(), run(cell), cell.began)).collect()
    }

    const NAMES: &[&str] = &["handshake", "echo-100x1x1KiB"];

    #[test]
    fn cells_of_an_earlier_run_are_kept_until_they_are_measured_again() {
        let (earlier, mut now) = earlier_and_now();
        now.keep(&earlier, NAMES);
        assert_eq!(told(&now), [("handshake", 2, 7), ("echo-100x1x1KiB", 1, 1_000)]);
        assert_eq!(now.rows, earlier.rows);
        assert_eq!((now.runs[0].processor(), now.runs[1].processor()), ("fast | one", "unknown processor"));
        // A third one that measures both: nothing hangs on the earlier ones any more.
        let (mut again, _) = earlier_and_now();
        again.runs[0].began = 2_000;
        again.cells.iter_mut().for_each(|cell| cell.began = 2_000);
        again.keep(&now, NAMES);
        assert_eq!((again.runs.len(), told(&again)[0]), (1, ("handshake", 1, 2_000)));
    }

    #[test]
    fn what_is_unfinished_replaces_nothing_that_is_whole() {
        let (mut earlier, mut now) = earlier_and_now();
        now.cells[0].unfinished = true;
        let mut again = now.clone();
        now.keep(&earlier, NAMES);
        assert_eq!(told(&now), [("handshake", 1, 7), ("echo-100x1x1KiB", 1, 7)]);
        earlier.cells[0].unfinished = true;
        again.keep(&earlier, NAMES);
        assert_eq!(told(&again), [("handshake", 2, 7), ("echo-100x1x1KiB", 1, 1_000)]);
    }

    #[test]
    fn nothing_of_another_form_is_kept() {
        let (mut earlier, mut now) = earlier_and_now();
        earlier.schema = "tidegate-benchmarks/1".into();
        now.keep(&earlier, NAMES);
        assert_eq!((now.cells.len(), now.runs.len()), (1, 1));
    }
}
