//! `hold`: very many connections through everything that a server does, once each: they are made, echo a message, hear
//! what one sends to all, are pinged, and are told to go away.
//!
//! Refuses to measure latencies, for which the other scenarios are made. Invariant: whatever was not done on one of the
//! connections that were asked for is an error, so a run without errors has done everything on all of them.

use std::time::{Duration, Instant};

use tidegate::program::failure::Failure;

use crate::cli;
use crate::order::{Ask, Count, Metric, Role, Step};
use crate::output::number::plain_number;
use crate::record::{Combine, Figure, Record, Unit};
use crate::run::draft::Draft;
use crate::run::{Run, Wanted};
use crate::server::kernel::Kernel;
use crate::server::slabs::{self, Slabs};

/// Time for allocators and the kernel's bookkeeping to come to rest before memory is read.
const REST: Duration = Duration::from_millis(500);
/// Caches with fewer bytes per connection than this are left out of the table.
const SLAB_MIN: f64 = 4.0;
/// How the server's Close 1001 is counted.
const GOING_AWAY: &str = "closed with 1001";

/// What there was when a step was done.
struct Level {
    step: &'static str,
    seconds: f64,
    /// Connections on which it was done.
    done: u64,
    server: Option<u64>,
    generator: u64,
    kernel: Kernel,
}

/// The steps so far.
struct Steps<'a> {
    args: &'a cli::Hold,
    run: Run,
    levels: Vec<Level>,
    /// What was done on fewer than all: kind, and on how many not.
    missing: Vec<(&'static str, u64)>,
}

/// Measures.
///
/// # Errors
/// When the run cannot be made.
pub fn run(args: &cli::Hold) -> Result<Record, Failure> {
    if args.common.server.is_none() {
        return Err(Failure::usage(
            "hold ends the server to see how it says goodbye: give its command with --server",
        ));
    }
    let wanted = Wanted { dialing: args.at_once, ..Wanted::new("hold", Role::Hold, args.connections) };
    let run = Run::start(&args.common, wanted)?;
    let mut steps = Steps { args, run, levels: Vec::new(), missing: Vec::new() };
    let before = slabs::read();
    steps.read("started", 0.0, 0);
    steps.connect()?;
    let with = slabs::read();
    steps.each("echoed", "no echo", &Step::Ask(Ask::Echo { at_once: args.at_once }), Count::Answered)?;
    // Nobody reaches those of another process.
    if args.common.servers == 1 {
        steps.each("heard", "not heard", &Step::Ask(Ask::Publish), Count::Delivered)?;
    }
    if !args.pinged_within.is_zero() {
        steps.pings()?;
    }
    let (wrong, words) = steps.goodbye()?;
    let Steps { run, levels, missing, .. } = steps;
    let finished = run.finish()?;

    let mut draft = Draft::new(&finished, &[], title(args));
    for (kind, count) in missing {
        draft.record.errors.entry(kind.into()).or_default().add(count, "see the table of steps");
    }
    for how in wrong {
        draft.record.errors.entry("server's end".into()).or_default().add(1, &how);
    }
    figures(&mut draft, &levels, args);
    draft.connections();
    draft.times("delivery", "delivery_", &finished.ledger.all().times(Metric::Delivery));
    draft.kernel();
    table(&mut draft, &levels);
    slab_table(&mut draft, before.zip(with), args.connections);
    draft.over_time("connections opened per second", |point| point.opened);
    notes(&mut draft, args, &words);
    Ok(draft.record)
}

impl Steps<'_> {
    /// Reads memory once it has come to rest.
    fn level(&mut self, step: &'static str, began: Instant, done: u64) -> Result<(), Failure> {
        let seconds = began.elapsed().as_secs_f64();
        self.run.last(REST)?;
        self.read(step, seconds, done);
        Ok(())
    }

    fn read(&mut self, step: &'static str, seconds: f64, done: u64) {
        let (server, generator, kernel) = self.run.memory();
        self.levels.push(Level { step, seconds, done, server, generator, kernel });
    }

    /// A step is done: on so many, and all the others have an error of this kind.
    fn done(
        &mut self,
        step: &'static str,
        kind: &'static str,
        began: Instant,
        done: u64,
    ) -> Result<(), Failure> {
        let missing = self.args.connections.saturating_sub(done);
        if missing > 0 {
            self.missing.push((kind, missing));
        }
        self.level(step, began, done)
    }

    fn connect(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        self.run.hold("connecting", self.args.connections, None)?;
        let open = self.run.crew.ledger.open();
        // Those that failed are errors by their own kinds.
        self.level("connected", began, open)
    }

    /// Asks for something that is done on each, and waits as long as it goes on.
    fn each(
        &mut self,
        step: &'static str,
        kind: &'static str,
        ask: &Step,
        what: Count,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        self.run.phase(step, false, Duration::ZERO)?;
        self.run.crew.say(ask);
        let (patience, all) = (self.args.patience, self.args.connections);
        let done = self.run.progress(patience, all, &|ledger| ledger.count(what))?;
        self.done(step, kind, began, done)
    }

    fn pings(&mut self) -> Result<(), Failure> {
        let (began, all) = (Instant::now(), self.args.connections);
        self.run.phase("pinged", false, self.args.pinged_within)?;
        self.run.until(self.args.pinged_within, &|ledger| ledger.count(Count::Pinged) >= all)?;
        let pinged = self.run.crew.ledger.count(Count::Pinged);
        self.done("pinged", "not pinged", began, pinged)
    }

    /// The server is asked to end; returns what is wrong with how it did, and what it said.
    fn goodbye(&mut self) -> Result<(Vec<String>, Vec<String>), Failure> {
        self.run.phase("going", false, Duration::ZERO)?;
        self.run.crew.say(&Step::Ask(Ask::Leave));
        // Each lane must know that it is our wish before the first Close comes.
        self.run.crew.ledger.expect();
        self.run.until(self.args.patience, &crate::crew::ledger::Ledger::settled)?;
        let began = Instant::now();
        let ended = self.run.end_server(self.args.patience)?;
        let fates = self.run.crew.ledger.all().fates;
        let told = fates.get(GOING_AWAY).map_or(0, |seen| seen.count);
        self.done("told to go", "not told to go", began, told)?;
        Ok(ended)
    }
}

fn figures(draft: &mut Draft<'_>, levels: &[Level], args: &cli::Hold) {
    let at = |step: &str| levels.iter().find(|level| level.step == step);
    let steps = [
        ("connected", "held", "joined_per_second"),
        ("echoed", "echoed", "echoed_per_second"),
        ("heard", "heard", "heard_per_second"),
        ("pinged", "pinged", ""),
        ("told to go", "told_to_go", "told_per_second"),
    ];
    for (step, name, rate) in steps {
        let Some(level) = at(step) else { continue };
        draft.put(Figure::new(name, level.done as f64, Unit::Count).combine(Combine::Sum).more_is_better());
        if !rate.is_empty() {
            let rate = Figure::new(rate, level.done as f64 / level.seconds.max(1e-9), Unit::PerSecond);
            draft.put(rate.combine(Combine::Sum).more_is_better());
        }
    }
    let bytes = |draft: &mut Draft<'_>, name: &str, value: f64| {
        draft.put(Figure::new(name, value, Unit::Bytes).combine(Combine::Max).less_is_better());
    };
    if let Some(most) = levels.iter().filter_map(|level| level.server).max() {
        bytes(draft, "server_rss_max", most as f64);
    }
    let (Some(before), Some(with)) = (at("started"), at("connected")) else { return };
    let each = |more: f64| more / args.connections as f64;
    if let Some((before, with)) = before.server.zip(with.server) {
        bytes(draft, "server_bytes_per_connection", each(with as f64 - before as f64));
    }
    if let Some(slab) = with.kernel.since(&before.kernel).slab {
        bytes(draft, "kernel_bytes_per_connection", each(slab as f64));
    }
}

fn table(draft: &mut Draft<'_>, levels: &[Level]) {
    let bytes =
        |value: Option<i64>| value.map_or("-".into(), |value| plain_number(Unit::Bytes, value as f64));
    let row = |level: &Level| {
        vec![
            level.step.to_string(),
            plain_number(Unit::Count, level.done as f64),
            plain_number(Unit::Seconds, level.seconds),
            bytes(level.server.and_then(|bytes| i64::try_from(bytes).ok())),
            bytes(i64::try_from(level.generator).ok()),
            bytes(level.kernel.slab),
            bytes(level.kernel.tcp_mem_bytes),
            bytes(level.kernel.mem_available),
        ]
    };
    let columns = [
        "step",
        "done on",
        "time",
        "server (RSS)",
        "generator (RssAnon)",
        "slab",
        "TCP buffers",
        "available",
    ];
    draft.table("Steps", &columns, levels.iter().map(row).collect());
}

/// What each cache of the kernel has grown by while the connections were made.
fn slab_table(draft: &mut Draft<'_>, slabs: Option<(Slabs, Slabs)>, connections: u64) {
    let Some((before, with)) = slabs else { return };
    let each = |more: f64| more / connections as f64;
    let mut rows: Vec<(f64, String, f64, u64)> = with
        .into_iter()
        .map(|(name, slab)| {
            let old = before.get(&name).copied().unwrap_or_default();
            let more = each(slab.bytes as f64 - old.bytes as f64);
            (more, name, each(slab.objects as f64 - old.objects as f64), slab.size)
        })
        .filter(|(more, ..)| *more >= SLAB_MIN)
        .collect();
    rows.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let row = |(more, name, objects, size): (f64, String, f64, u64)| {
        vec![name, format!("{more:.0} B"), format!("{objects:.2}"), format!("{size} B")]
    };
    let columns = ["cache", "per connection", "objects per connection", "object"];
    draft.table("Kernel memory by slab, both ends", &columns, rows.into_iter().map(row).collect());
}

fn notes(draft: &mut Draft<'_>, args: &cli::Hold, words: &[String]) {
    // Of several, each says the same of its own part.
    for line in words.iter().take(1) {
        draft.note(format!("The server's last words: {line}"));
    }
    draft.note(
        "The verdict judges only whether parts of the generator were lost: nothing here is a latency, so the generator \
         may be as late as it likes. Times of the steps hold what the generator took itself.",
    );
    if args.common.servers > 1 {
        draft.note(
            "Of several servers nobody reaches all connections, so nothing was sent to all. Resident memory is the sum \
             over the processes, with what they share counted for each.",
        );
    }
    if args.pinged_within.is_zero() {
        draft.note("Pings were not waited for (--pinged-within 0).");
    }
}

fn title(args: &cli::Hold) -> String {
    format!("{} connections through everything once", args.connections)
}
