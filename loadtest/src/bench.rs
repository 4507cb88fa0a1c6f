//! `bench-peers`: tidegate, servers of other libraries and a bare loop, measured in turns under the same loads.
//!
//! Refuses to measure anything itself: a cell is a scenario with words that anyone can give it. Invariants: in each round
//! every server is measured in every cell, each time with the raw loop right beside it; what fails becomes a reason and never
//! a number, and ends nothing but itself; whenever it ends, what was measured is written, but not over what an earlier
//! run has finished.

mod cells;
mod document;
mod markdown;
mod page;
mod peers;
mod tally;

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use tidegate::program::failure::{Failure, complain, print};

use crate::cli::{self, Cli};
use crate::conclude::save;
use crate::interrupt;
use crate::output::number::plain_number;
use crate::record::{Record, Unit};
use crate::run::READY;
use crate::scenario;
use crate::server::launch::{Launch, Launched};
use crate::server::machine;
use cells::{LOADS, Load};
use document::{Cell, Document, Kind, Row, Run, SCHEMA};
use tally::{Measured, Rounds, Turn};

/// Rounds, at most: as many as intervals are made of. Visits in each, too.
const ROUNDS_MAX: u64 = 1_000;
/// One that failed in so many rounds under a load, and never did otherwise, is asked no more.
const FAILURES_MAX: usize = 2;
/// Ports for the servers: each is used once before the first comes again, and none is one that the kernel gives to
/// connections (ip(7): from 32,768 on), so nothing waits for the last one's TIME_WAIT.
const PORTS: std::ops::Range<u16> = 21_000..29_000;
/// Longest reason that is kept.
const REASON_MAX: usize = 200;
/// What must be zero in a run that is to be believed.
const FAULTS: &[&str] = &["lost", "wrong", "duplicate", "failed", "dropped", "errors"];
/// The checks that tell of load that was never made; the others are about the generator's own lateness.
const VOID: &[&str] = &["unsent", "worker troubles"];
const DISTURBED: &str = "generator waiting";

/// All measurements, by load and row.
struct Bench<'a> {
    args: &'a cli::BenchPeers,
    rows: Vec<Row>,
    /// The rows that are there, and the one that ratios are taken to.
    there: Vec<usize>,
    raw: Option<usize>,
    loads: Vec<&'static Load>,
    rounds: Vec<Vec<Rounds>>,
    /// The number of the last one.
    port: u16,
    /// What the servers are built and run with.
    tools: Vec<(String, String)>,
    progress: Progress,
}

/// A server that stands ready to be measured, and its port.
struct Standing {
    server: Launched,
    port: Port,
}

/// A TCP port for one server.
struct Port {
    number: u16,
    /// A UDP socket of the same number, which no server of a comparison wants: while it is bound, another comparison on
    /// this machine passes the port over, also in the time until the server listens.
    _claim: UdpSocket,
}

/// How far it is, in seconds of runs as they were foreseen.
struct Progress {
    began: Instant,
    began_at: u64,
    done: f64,
    all: f64,
}

/// Measures, compares and writes.
///
/// # Errors
/// When the command line is wrong, tidegate is not there, or nothing can be written.
pub fn run(args: &cli::BenchPeers) -> Result<ExitCode, Failure> {
    for (option, number) in [("--rounds", args.rounds), ("--visits", args.visits)] {
        if number > ROUNDS_MAX {
            return Err(Failure::usage(format!("{option} {number}: at most {ROUNDS_MAX}")));
        }
    }
    let loads = cells::named(&args.cells)?;
    markdown::read(&args.out)?;
    let earlier = earlier(&args.out);
    if args.build {
        build(&args.peers);
    }
    let rows = peers::rows(&args.peers, &args.tidegate, &args.only)?;
    let mut bench = Bench::new(args, rows, loads, began(earlier.as_ref()))?;
    let interrupted = bench.measure(earlier.as_ref())?;
    let mut document = bench.document();
    write(&mut document, &args.out, earlier.as_ref())?;
    print(&markdown::tables(&document))?;
    Ok(if interrupted { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Runs the script that builds the servers. What it could not build is not there, and is told as that.
fn build(peers: &Path) {
    let script = peers.with_file_name("build");
    match Command::new(&script).status() {
        Ok(status) if status.success() => {}
        Ok(status) => complain("loadtest", format_args!("{}: {status}", script.display())),
        Err(error) => complain("loadtest", format_args!("{}: {error}; nothing was built", script.display())),
    }
}

/// The document of an earlier run in the same folder, if there is one that can be read.
fn earlier(out: &Path) -> Option<Document> {
    serde_json::from_str(&std::fs::read_to_string(out.join("benchmarks.json")).ok()?).ok()
}

/// The second of now, or the next one that no earlier run began in: it is what a run is known by.
fn began(earlier: Option<&Document>) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let runs = earlier.map_or(&[][..], |document| &document.runs);
    let mut seconds = now..;
    seconds.find(|second| runs.iter().all(|run| run.began != *second)).unwrap_or(now)
}

/// Writes the document, with the cells of an earlier one that were not measured again. The text around the tables is read
/// anew: somebody may have gone on writing it meanwhile.
fn write(document: &mut Document, out: &Path, earlier: Option<&Document>) -> Result<(), Failure> {
    let names: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
    if let Some(earlier) = earlier {
        document.keep(earlier, &names);
    }
    let json = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::refused(format!("cannot write benchmarks.json: {error}")))?;
    save(&out.join("benchmarks.json"), &(json + "\n"))?;
    save(&out.join("benchmarks.html"), &page::page(document))?;
    let text = markdown::read(out)?;
    save(&out.join(markdown::FILE), &markdown::with_tables(&text, &markdown::tables(document)))
}

impl<'a> Bench<'a> {
    fn new(
        args: &'a cli::BenchPeers,
        rows: Vec<Row>,
        loads: Vec<&'static Load>,
        began_at: u64,
    ) -> Result<Self, Failure> {
        for row in &rows {
            match &row.left_out {
                Some(why) if row.kind == Kind::Own => {
                    let what =
                        "build it with `cargo build --release --features cli`, or name it with --tidegate";
                    return Err(Failure::refused(format!("{}: {why}; {what}", row.name)));
                }
                Some(why) => complain("loadtest", format_args!("{} is left out: {why}", row.name)),
                None => {}
            }
        }
        let there: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].left_out.is_none()).collect();
        let raw = there.iter().copied().find(|at| rows[*at].kind == Kind::Raw);
        let runs = tally::groups(0, &there, raw).concat().len();
        let lasts = |load: &&Load| load.lasts(args.duration.as_secs_f64()) * load.visits(args.visits) as f64;
        let round: f64 = loads.iter().map(lasts).sum();
        let all = round * runs as f64 * args.rounds as f64;
        complain(
            "loadtest",
            format_args!(
                "{} servers, {} cells, {} rounds: about {}",
                there.len(),
                loads.len(),
                args.rounds,
                lasted(all)
            ),
        );
        let rounds = vec![vec![Rounds::new(); rows.len()]; loads.len()];
        let progress = Progress { began: Instant::now(), began_at, done: 0.0, all };
        let tools = tools().collect();
        Ok(Bench { args, rows, there, raw, loads, rounds, port: PORTS.start, tools, progress })
    }

    /// Measures all rounds, and writes what there is after each; true when the user ended it.
    fn measure(&mut self, earlier: Option<&Document>) -> Result<bool, Failure> {
        for round in 0..self.args.rounds {
            for load in 0..self.loads.len() {
                self.rounds[load].iter_mut().for_each(|rounds| rounds.push(Vec::new()));
                for group in tally::groups(round, &self.there, self.raw) {
                    if !self.group(round, load, &group) {
                        return Ok(true);
                    }
                }
            }
            if round + 1 < self.args.rounds {
                write(&mut self.document(), &self.args.out, earlier)?;
            }
        }
        Ok(false)
    }

    /// Starts these rows' servers and measures one after the other, visit by visit; false when the user has ended it.
    fn group(&mut self, round: u64, load: usize, group: &[usize]) -> bool {
        let servers: Vec<_> = group.iter().map(|row| self.start(load, *row)).collect();
        let mut order: Vec<(usize, Result<Standing, String>)> = group.iter().copied().zip(servers).collect();
        for visit in 0..self.loads[load].visits(self.args.visits) {
            let mut taken = Vec::new();
            for (row, server) in &order {
                self.progress.done += self.loads[load].lasts(self.args.duration.as_secs_f64());
                // It is told once that there is none.
                if server.is_err() && visit > 0 {
                    continue;
                }
                let measured = server.as_ref().map_err(String::clone);
                let measured = measured.and_then(|server| self.one(load, *row, server));
                let measured = measured.map_err(|why| why.chars().take(REASON_MAX).collect::<String>());
                if interrupt::check().is_err() {
                    return false;
                }
                self.tell(round, load, *row, &measured);
                taken.push((*row, measured));
            }
            self.note(load, taken);
            // Who came first comes last: a machine that drifts favours none.
            order.reverse();
        }
        true
    }

    /// Writes down one visit of a group.
    fn note(&mut self, load: usize, taken: Vec<(usize, Result<Measured, String>)>) {
        let raw = taken.iter().find(|(row, _)| Some(*row) == self.raw);
        let beside = raw.and_then(|(_, measured)| measured.as_ref().ok()).map(|measured| measured.value);
        for (row, measured) in taken {
            if let Some(turns) = self.rounds[load][row].last_mut() {
                turns.push(Turn { measured, beside });
            }
        }
    }

    /// Starts the server of a row.
    fn start(&mut self, load: usize, row: usize) -> Result<Standing, String> {
        if self.is_given_up(load, row) {
            return Err("given up".into());
        }
        let port = free_port(self.port)?;
        self.port = port.number;
        let row = &self.rows[row];
        let launch = Launch {
            command: if self.loads[load].is_broadcast() { &row.broadcast } else { &row.command }.clone(),
            cpu: Some(self.args.server_cpu.clone()).filter(|cpu| !cpu.is_empty()),
            address: format!("127.0.0.1:{}", port.number),
            ready_timeout: READY,
        };
        Ok(Standing { server: launch.start()?, port })
    }

    fn is_given_up(&self, load: usize, row: usize) -> bool {
        let mut rounds = self.rounds[load][row].iter().filter(|turns| !turns.is_empty());
        let failed = |turns: &Vec<Turn>| turns.iter().all(|turn| turn.measured.is_err());
        rounds.clone().count() >= FAILURES_MAX && rounds.all(failed)
    }

    fn tell(&self, round: u64, load: usize, row: usize, measured: &Result<Measured, String>) {
        let load = self.loads[load];
        let told = match measured {
            Ok(measured) => shown(load.is_memory(), measured.value),
            Err(why) => why.clone(),
        };
        let spent = self.progress.began.elapsed().as_secs_f64();
        let left = spent * (self.progress.all / self.progress.done.max(1e-9) - 1.0).max(0.0);
        complain(
            "loadtest",
            format_args!(
                "round {} of {}, {}, {}: {told}; about {} left",
                round + 1,
                self.args.rounds,
                load.name,
                self.rows[row].name,
                lasted(left)
            ),
        );
    }

    /// One measurement.
    fn one(&self, load: usize, row: usize, standing: &Standing) -> Result<Measured, String> {
        let load = self.loads[load];
        let mut words = words(load, &self.rows[row], standing.port.number, self.args);
        words.extend(["--server-pid".to_string(), standing.server.pid().to_string()]);
        let words = std::iter::once("loadtest").chain(words.iter().map(String::as_str));
        let parsed = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let record = scenario::run(&parsed.scenario).map_err(|failure| failure.to_string())?;
        judged(&record, load)
    }

    /// True when somebody present has not been measured in all rounds.
    fn is_unfinished(&self, rounds: &[Rounds]) -> bool {
        let visited = |row: &usize| rounds[*row].iter().filter(|turns| !turns.is_empty()).count() as u64;
        self.there.iter().any(|row| visited(row) < self.args.rounds)
    }

    fn document(&self) -> Document {
        let own = self.rows.iter().position(|row| row.kind == Kind::Own).unwrap_or(0);
        let mut command: Vec<String> = std::env::args().collect();
        if let Some(first) = command.first_mut() {
            // Where it was built is nobody's business.
            *first = "loadtest".into();
        }
        let cell = |(load, rounds): (&&'static Load, &Vec<Rounds>)| {
            let there = self.there.iter();
            let named = |row: usize| self.rows[row].name.clone();
            Cell {
                name: load.name.into(),
                began: self.progress.began_at,
                unfinished: self.is_unfinished(rounds),
                title: load.title.into(),
                figure: load.figure.into(),
                unit: load.unit.into(),
                command: by_hand(load, self.args),
                bytes: load.bytes,
                raw: self.raw.map(named),
                visits: load.visits(self.args.visits),
                results: there.map(|row| tally::outcome(&named(*row), &rounds[*row], &rounds[own])).collect(),
            }
        };
        Document {
            schema: SCHEMA.into(),
            runs: vec![Run {
                began: self.progress.began_at,
                seconds: self.progress.began.elapsed().as_secs_f64(),
                rounds: self.args.rounds,
                command,
                version: env!("CARGO_PKG_VERSION").into(),
                server_cpu: self.args.server_cpu.clone(),
                generator_cpu: self.args.cpu.clone(),
                machine: machine::facts().into_iter().chain(self.tools.iter().cloned()).collect(),
            }],
            rows: self.rows.clone(),
            cells: self.loads.iter().zip(&self.rounds).filter(|(_, rounds)| met(rounds)).map(cell).collect(),
        }
    }
}

/// What the servers are built and run with, where it is there: the first line that each says of its version.
fn tools() -> impl Iterator<Item = (String, String)> {
    let told = |(name, program): (&str, &str)| {
        let said = Command::new(program).arg("--version").output().ok()?;
        let line = String::from_utf8_lossy(&said.stdout).lines().next()?.trim().to_string();
        Some((name.to_string(), line))
    };
    [("rustc", "rustc"), ("C compiler", "cc"), ("C library", "ldd"), ("Node.js", "node")]
        .into_iter()
        .filter_map(told)
}

/// True when anything was tried under a load: a run that was ended before has nothing to say of it.
fn met(rounds: &[Rounds]) -> bool {
    rounds.iter().flatten().any(|turns| !turns.is_empty())
}

/// What a run is told, but for the server.
fn words(load: &Load, row: &Row, port: u16, args: &cli::BenchPeers) -> Vec<String> {
    let scheme = if row.bare { "raw" } else { "ws" };
    let url = format!("{scheme}://127.0.0.1:{port}{}", load.path());
    load.words(&url, args.duration.as_secs_f64(), &args.cpu)
}

/// The same as a command line for people. A server's command has quotes of the other kind.
fn by_hand(load: &Load, args: &cli::BenchPeers) -> String {
    let url = format!("ws://127.0.0.1:9001{}", load.path());
    let words = load.words(&url, args.duration.as_secs_f64(), &args.cpu).join(" ");
    let cpu = match args.server_cpu.as_slice() {
        [] => String::new(),
        list => format!(" --server-cpu {}", crate::server::cpu::list(list)),
    };
    format!("target/release/loadtest {words}{cpu} --server \"SERVER\"")
}

/// The next port that nobody listens on and nobody has claimed.
fn free_port(last: u16) -> Result<Port, String> {
    let span = PORTS.end - PORTS.start;
    let numbers = (1..=span).map(|ahead| PORTS.start + (last - PORTS.start + ahead) % span);
    let mut free = numbers.filter_map(|number| {
        let claim = UdpSocket::bind(("127.0.0.1", number)).ok()?;
        TcpListener::bind(("127.0.0.1", number)).ok()?;
        Some(Port { number, _claim: claim })
    });
    free.next().ok_or_else(|| format!("no port from {} to {} is free", PORTS.start, PORTS.end - 1))
}

/// What is to be believed of a run.
fn judged(record: &Record, load: &Load) -> Result<Measured, String> {
    let failed = |name: &&str| record.verdict.checks.iter().any(|check| check.name == **name && !check.ok);
    if let Some(check) = VOID.iter().find(|name| failed(name)) {
        let example =
            record.errors.values().next().map_or(String::new(), |seen| format!(": {}", seen.example));
        return Err(format!("INVALID: {check}{example}"));
    }
    let count = |name: &str| record.figure(name).map_or(0.0, |figure| figure.value);
    if let Some(fault) = FAULTS.iter().find(|name| count(name) > 0.0) {
        let first = record.errors.iter().next();
        let example = first.map_or(String::new(), |(kind, seen)| format!(": {kind} ({})", seen.example));
        return Err(format!("{fault} {}{example}", plain_number(Unit::Count, count(fault))));
    }
    let value = record.figure(load.figure).map(|figure| figure.value).filter(|value| value.is_finite());
    let value = value.ok_or_else(|| format!("no figure {} was measured", load.figure))?;
    let share = |name: &str| record.figure(name).map(|figure| figure.value);
    let each = ["messages", "delivered", "handshakes"].into_iter().find_map(share);
    Ok(Measured {
        value,
        // Memory is read while nothing is done.
        server_cpu: share("server_cpu").filter(|_| !load.is_memory()),
        switches: share("server_switches")
            .zip(each)
            .filter(|(_, each)| *each > 0.0)
            .map(|(n, each)| n / each),
        stolen: share("stolen"),
        disturbed: failed(&DISTURBED),
    })
}

/// A value of a cell, for people.
fn shown(is_memory: bool, value: f64) -> String {
    plain_number(if is_memory { Unit::Bytes } else { Unit::Microseconds }, value)
}

/// A span for people, in minutes where it is long.
fn lasted(seconds: f64) -> String {
    if seconds < 600.0 {
        return plain_number(Unit::Seconds, seconds);
    }
    let minutes = Duration::from_secs_f64(seconds.min(1e9)).as_secs() / 60;
    format!("{} h {} min", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Check, Figure};

    fn load(name: &str) -> &'static Load {
        cells::named(&[name.to_string()]).unwrap()[0]
    }

    fn record(figures: &[(&str, f64)], failed: &[&str]) -> Record {
        let mut record = Record::of("echo");
        record.figures =
            figures.iter().map(|(name, value)| Figure::new(*name, *value, Unit::Count)).collect();
        let check = |name: &&str| Check {
            name: name.to_string(),
            measured: 1.0,
            limit: 0.0,
            unit: Unit::Count,
            ok: false,
            meaning: String::new(),
        };
        record.verdict.checks = failed.iter().map(check).collect();
        record
    }

    #[test]
    fn a_run_with_a_fault_has_no_value() {
        let good = [("server_cpu_per_message", 3.0), ("messages", 100.0), ("server_switches", 50.0)];
        let with = |fault| [&good[..], &[(fault, 2.0)]].concat();
        for (figures, failed, expected) in [
            (good.to_vec(), &[][..], Ok((3.0, Some(0.5), false))),
            (good.to_vec(), &["generator cpu", "loop lag p99"], Ok((3.0, Some(0.5), false))),
            (good.to_vec(), &[DISTURBED], Ok((3.0, Some(0.5), true))),
            (good[..1].to_vec(), &[], Ok((3.0, None, false))),
            (good.to_vec(), &["worker troubles"], Err("INVALID: worker troubles")),
            (with("lost"), &[], Err("lost 2")),
            (with("errors"), &[], Err("errors 2")),
            (good[1..].to_vec(), &[], Err("no figure server_cpu_per_message was measured")),
        ] {
            let told = judged(&record(&figures, failed), load("echo-100x1x20"));
            let told = told.map(|it| (it.value, it.switches, it.disturbed));
            assert_eq!(told, expected.map_err(String::from), "{figures:?} {failed:?}");
        }
    }

    #[test]
    fn ports_go_round_and_taken_ones_are_passed_over() {
        // The claims hold these against other tests, too.
        let first = free_port(PORTS.start).unwrap();
        let second = free_port(PORTS.start).unwrap();
        assert!(first.number > PORTS.start && second.number > first.number);
        let taken = TcpListener::bind(("127.0.0.1", second.number)).unwrap();
        let passed = second.number;
        drop(second);
        let third = free_port(first.number).unwrap();
        assert!(third.number > passed);
        drop(taken);
        assert!(PORTS.contains(&free_port(PORTS.end - 1).unwrap().number));
    }

    #[test]
    fn no_two_runs_are_known_by_one_second() {
        let mut earlier = document::samples::document();
        let now = began(None);
        let run = earlier.runs[0].clone();
        earlier.runs.extend((now..now + 60).map(|began| Run { began, ..run.clone() }));
        assert_eq!(began(Some(&earlier)), now + 60);
    }

    #[test]
    fn long_spans_are_told_in_minutes() {
        assert_eq!(lasted(7_322.0), "2 h 2 min");
        assert_eq!(lasted(12.0), plain_number(Unit::Seconds, 12.0));
    }
}
