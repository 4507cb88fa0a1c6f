//! `Run`: one measured run in progress: the server if it is ours, the workers, the phases, the readings at their edges.
//!
//! Refuses to know which scenario it is. Invariants: the server's readings are taken at the very moments at which the
//! lanes change phase; what was started here has ended when the run is dropped, however it ends.

pub mod draft;
pub mod verdict;

use std::time::{Duration, Instant};

use tidegate::program::descriptors;
use tidegate::program::doctor::{DESCRIPTOR_RESERVE, Diagnosis, Need, Readings};
use tidegate::program::failure::{Failure, complain};

use crate::cli::Common;
use crate::crew::ledger::{Ledger, Sum};
use crate::crew::{Crew, TICK};
use crate::engine::{ends, knock};
use crate::interrupt;
use crate::order::{Count, Role, Setup, Step, Target};
use crate::output::live::{Levels, Live};
use crate::server::cpu::{monotonic_ns, process_rss_anon};
use crate::server::kernel::Kernel;
use crate::server::launch::{self, Launch, Launched};
use crate::server::process::{Sampled, Usage};
use crate::target::Words;

/// Lead between telling a phase and its beginning, so that all lanes hear of it in time.
pub const LEAD: Duration = Duration::from_millis(60);
/// Descriptors of a worker besides its connections: pollers, timers, pipes, and what the doctor keeps free.
const RESERVE: u64 = DESCRIPTOR_RESERVE + 48;
/// Time for a server of ours to listen.
pub const READY: Duration = Duration::from_secs(15);
/// Time in which a server that cannot share its port ends.
const SETTLE: Duration = Duration::from_millis(300);
/// Time for one connection, to see what the server speaks.
const KNOCK: Duration = Duration::from_secs(3);
/// Connections on the way per lane.
const DIALING: u64 = 512;

/// What a scenario asks for.
pub struct Wanted {
    pub scenario: &'static str,
    pub role: Role,
    /// Connections of all lanes together, at most.
    pub connections: u64,
    /// Connections that use up local ports over the whole run, where that is more.
    pub sources_for: u64,
    /// Connections on the way at once, over all lanes.
    pub dialing: u64,
    pub retry: Option<Duration>,
}

impl Wanted {
    /// So many connections for this, each tried once.
    pub fn new(scenario: &'static str, role: Role, connections: u64) -> Self {
        Wanted { scenario, role, connections, sources_for: 0, dialing: DIALING, retry: None }
    }
}

/// The edge at which a phase began.
pub struct Mark {
    pub phase: u32,
    /// Monotonic nanoseconds.
    pub at: u64,
    pub usage: Option<Usage>,
    pub kernel: Kernel,
}

/// See the module's text.
pub struct Run {
    pub common: Common,
    pub scenario: &'static str,
    pub crew: Crew,
    pub marks: Vec<Mark>,
    pub facts: Facts,
    target: Target,
    servers: Vec<Launched>,
    sampled: Option<Sampled>,
    live: Watch,
}

/// What is known about a run before and beside its phases.
pub struct Facts {
    pub began: Instant,
    pub began_at: u64,
    pub connections: u64,
    pub workers: Vec<String>,
    pub server: Option<String>,
    pub preflight: Vec<String>,
    /// Time in which connections were made.
    pub ramped: Duration,
}

/// The live view, and what it needs between two looks.
struct Watch {
    live: Live,
    goal: u64,
    began: Instant,
    received: (Instant, u64),
    cpu: Option<(Instant, Duration)>,
}

/// A run that is over.
pub struct Finished {
    pub common: Common,
    pub scenario: &'static str,
    pub ledger: Ledger,
    pub marks: Vec<Mark>,
    pub facts: Facts,
    pub seconds: f64,
    /// Resident memory of the server when all connections had closed.
    pub rss_closed: Option<u64>,
}

impl Run {
    /// Looks whether the machine will do, starts the server if it is ours, and the workers.
    ///
    /// # Errors
    /// When the machine will not do, or something cannot be started.
    pub fn start(common: &Common, wanted: Wanted) -> Result<Self, Failure> {
        Run::start_through(common, wanted, &[])
    }

    /// The same, with workers that these words of a program run.
    ///
    /// # Errors
    /// When the machine will not do, or something cannot be started.
    pub fn start_through(common: &Common, wanted: Wanted, prefix: &[String]) -> Result<Self, Failure> {
        let raised = descriptors::raise();
        let room = raised.after.unwrap_or(u64::MAX).saturating_sub(RESERVE);
        let workers = common.workers.unwrap_or(1).max(wanted.connections.div_ceil(room.max(1)));
        let words = Words::of(common);
        let target = words.target(wanted.connections.max(wanted.sources_for))?;
        let local = common.server.is_some() || !common.server_pid.is_empty();
        let need = Need {
            server: if local { wanted.connections.div_ceil(common.servers) } else { 0 },
            clients: wanted.connections,
            processes: workers,
            sources: (target.sources.len() as u64).max(1),
        };
        let preflight = preflight(&Diagnosis::of(&Readings::of_this_machine(), &need), common.force)?;
        let servers = launch(common, target.address)?;
        let mut pids: Vec<u32> = servers.iter().map(Launched::pid).collect();
        pids.extend(&common.server_pid);
        let sampled = match pids.is_empty() {
            true => None,
            false => Some(Sampled::attach(&pids).map_err(Failure::refused)?),
        };
        let setups = setups(common, &wanted, &target, workers);
        let crew = Crew::start(&setups, prefix)?;
        let lines = setups
            .iter()
            .zip(crew.pids())
            .map(|(setup, pid)| format!("process {pid}: {} lanes of {}", setup.own_lanes, setup.lanes));
        let began_at = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let facts = Facts {
            began: Instant::now(),
            began_at,
            connections: wanted.connections,
            workers: lines.collect(),
            server: common.server.clone(),
            preflight,
            ramped: Duration::ZERO,
        };
        let live = Watch::new(wanted.connections);
        let mut run = Run {
            common: common.clone(),
            scenario: wanted.scenario,
            crew,
            marks: Vec::new(),
            facts,
            target,
            servers,
            sampled,
            live,
        };
        run.mark(0, monotonic_ns());
        Ok(run)
    }

    fn mark(&mut self, phase: u32, at: u64) {
        let usage = self.sampled.as_mut().map(Sampled::sample_exact);
        self.marks.push(Mark { phase, at, usage, kernel: Kernel::read() });
    }

    /// Makes connections until so many are held or have failed.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn hold(
        &mut self,
        name: &'static str,
        connections: u64,
        per_second: Option<f64>,
    ) -> Result<(), Failure> {
        // Nobody can wait longer for the last of them than their own deadline allows.
        let allowed = self.common.connect_timeout.as_secs_f64() * 2.0 + 30.0 + connections as f64 / 500.0;
        self.hold_within(name, connections, per_second, Duration::from_secs_f64(allowed))
    }

    /// Makes connections until so many are held or have failed, at most this long beyond what their pace takes.
    ///
    /// # Errors
    /// When the user interrupts it, the workers have died, or none came to be open.
    pub fn hold_within(
        &mut self,
        name: &'static str,
        connections: u64,
        per_second: Option<f64>,
        allowed: Duration,
    ) -> Result<(), Failure> {
        let seconds = per_second.map(|rate| connections as f64 / rate);
        self.live.phase(name, seconds.map(Duration::from_secs_f64), connections);
        self.crew.ledger.expect();
        self.crew.say(&Step::Hold { connections, per_second });
        let allowed = seconds.unwrap_or(0.0) + allowed.as_secs_f64();
        let (sampled, live) = (&mut self.sampled, &mut self.live);
        let deadline = Instant::now() + Duration::from_secs_f64(allowed);
        let began = Instant::now();
        self.crew.wait(deadline, &mut |ledger| live.tick(ledger, sampled), &Ledger::settled)?;
        self.facts.ramped += began.elapsed();
        if self.crew.ledger.open() > 0 || connections == 0 {
            return Ok(());
        }
        Err(self.shut(&format!("none of {connections} connections")))
    }

    /// Says that nothing came to be open, of what was tried, and why.
    fn shut(&mut self, tried: &str) -> Failure {
        let (kind, seen) = self.most_seen();
        if let Some(failure) = self.other_scheme(&kind) {
            return failure;
        }
        let more = self.servers.iter_mut().find_map(|server| server.status());
        let more = more.map_or(String::new(), |status| format!("; the server has ended: {status}"));
        let (url, advice) = (&self.common.url, ends::advice(&kind));
        Failure::refused(format!("{url}: {tried} came to be open: {kind} ({seen}){more}; {advice}"))
    }

    /// The kind of error that was seen most, and an example.
    fn most_seen(&self) -> (String, String) {
        let errors = self.crew.ledger.all().errors;
        let most = errors.into_iter().max_by_key(|(_, seen)| seen.count);
        most.map_or(("no answer".into(), String::new()), |(kind, seen)| (kind, seen.example))
    }

    /// Where all fail in this way: says so if the server speaks TLS and the URL does not, or the other way round.
    fn other_scheme(&self, kind: &str) -> Option<Failure> {
        if !ends::may_be_other(kind) || !knock::is_other(&self.target, KNOCK) {
            return None;
        }
        let (there, scheme) = if self.target.tls.is_some() { ("no TLS", "ws") } else { ("TLS", "wss") };
        let url = &self.common.url;
        Some(Failure::refused(format!("{url}: the server there speaks {there}; write it as {scheme}://")))
    }

    /// Ends a run that cannot come to anything: over TLS when all connections have failed, in plain where TLS is spoken.
    fn end_if_shut(&mut self) -> Result<(), Failure> {
        let ledger = &self.crew.ledger;
        if ledger.count(Count::Failed) == 0 || ledger.count(Count::Opened) > 0 {
            return Ok(());
        }
        if self.target.tls.is_some() {
            return Err(self.shut("no connection"));
        }
        self.other_scheme(&self.most_seen().0).map_or(Ok(()), Err)
    }

    /// Begins the next phase on all lanes at once.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn phase(&mut self, name: &'static str, load: bool, lasts: Duration) -> Result<u32, Failure> {
        let phase = self.marks.last().map_or(0, |mark| mark.phase) + 1;
        let at = monotonic_ns() + LEAD.as_nanos() as u64;
        self.crew.say(&Step::Phase { phase, at, load });
        self.live.phase(name, Some(lasts).filter(|lasts| !lasts.is_zero()), self.facts.connections);
        self.last(LEAD)?;
        self.mark(phase, at);
        Ok(phase)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn last(&mut self, time: Duration) -> Result<(), Failure> {
        self.until(time, &|_| false).map(drop)
    }

    /// Lets time pass until something is so, at most this long; true when it is so.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn until(&mut self, time: Duration, done: &dyn Fn(&Ledger) -> bool) -> Result<bool, Failure> {
        let (sampled, live) = (&mut self.sampled, &mut self.live);
        self.crew.wait(Instant::now() + time, &mut |ledger| live.tick(ledger, sampled), done)
    }

    /// Warm-up, the measured time, and the time for the last answers; returns the measured phase.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn measure(&mut self, warmup: Duration, duration: Duration) -> Result<u32, Failure> {
        if !warmup.is_zero() {
            self.phase("warm-up", true, warmup)?;
            let began = Instant::now();
            let failing =
                |ledger: &Ledger| ledger.count(Count::Failed) > 0 && ledger.count(Count::Opened) == 0;
            if self.until(warmup, &failing)? {
                self.end_if_shut()?;
                self.last(warmup.saturating_sub(began.elapsed()))?;
            }
        }
        let phase = self.phase("measuring", true, duration)?;
        self.last(duration.saturating_sub(LEAD))?;
        self.drain()?;
        self.end_if_shut()?;
        Ok(phase)
    }

    /// From here on this share of the new connections resumes a TLS session.
    pub fn resume(&mut self, share: f64) {
        self.crew.say(&Step::Resume { share });
    }

    /// Ends the load, and waits for the answers that are on their way.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn drain(&mut self) -> Result<(), Failure> {
        // Connections on their way are waited for as messages are.
        let patience = self.common.timeout.max(self.common.connect_timeout) + Duration::from_secs(1);
        self.phase("last answers", false, patience)?;
        self.crew.ledger.expect();
        self.until(patience, &|ledger| ledger.settled() && ledger.outstanding() == 0)?;
        Ok(())
    }

    /// Exact readings of the server and the workers now: (server's resident bytes, workers' own bytes, kernel).
    pub fn memory(&mut self) -> (Option<u64>, u64, Kernel) {
        let rss = self.sampled.as_mut().and_then(|sampled| sampled.sample_exact().rss);
        (rss, self.crew.pids().into_iter().filter_map(process_rss_anon).sum(), Kernel::read())
    }

    /// Asks the server, which must be ours, to end, and waits for it at most this long after the last connection has
    /// ended; returns what is wrong with how it ended, and the last line that it said.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn end_server(&mut self, patience: Duration) -> Result<(Vec<String>, Vec<String>), Failure> {
        // Its end is our wish from here on.
        self.sampled = None;
        self.servers.iter_mut().for_each(Launched::ask_to_end);
        self.progress(patience, u64::MAX, &|ledger| u64::MAX - ledger.open())?;
        let deadline = Instant::now() + patience;
        while self.servers.iter_mut().any(|server| server.status().is_none()) && Instant::now() < deadline {
            self.last(TICK / 4)?;
        }
        let (mut wrong, mut words) = (Vec::new(), Vec::new());
        for server in &mut self.servers {
            match server.status() {
                None => wrong.push(format!("still runs {patience:?} after the last connection has ended")),
                Some(status) if !status.success() => wrong.push(status.to_string()),
                Some(_) => {}
            }
            words.extend(server.last_words());
        }
        Ok((wrong, words))
    }

    /// Lets time pass until `of` has reached `goal`, or has not risen for so long; returns what it has reached.
    ///
    /// # Errors
    /// When the user interrupts it, or the workers have died.
    pub fn progress(
        &mut self,
        patience: Duration,
        goal: u64,
        of: &dyn Fn(&Ledger) -> u64,
    ) -> Result<u64, Failure> {
        loop {
            let before = of(&self.crew.ledger);
            let risen = before < goal && self.until(patience, &|ledger| of(ledger) > before)?;
            if !risen {
                return Ok(before);
            }
        }
    }

    /// Closes all connections, ends the workers and the server if it is ours.
    ///
    /// # Errors
    /// When the user interrupts it.
    pub fn finish(self) -> Result<Finished, Failure> {
        self.finish_after(Duration::ZERO)
    }

    /// The same, with a rest between the last close and the last reading of the server's memory, which some give back
    /// late.
    ///
    /// # Errors
    /// When the user interrupts it.
    pub fn finish_after(mut self, rest: Duration) -> Result<Finished, Failure> {
        // What closing takes belongs to no measurement.
        self.phase("closing", false, Duration::ZERO)?;
        let (sampled, live) = (&mut self.sampled, &mut self.live);
        let mut ledger = self.crew.finish(&mut |ledger| live.tick(ledger, sampled))?;
        self.live.live.finish();
        let rested = Instant::now() + rest;
        while let Some(left) = rested.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            interrupt::check()?;
            std::thread::sleep(left.min(TICK));
        }
        let rss_closed = self.sampled.as_mut().and_then(|sampled| sampled.sample_exact().rss);
        if let Some(gone) = self.sampled.as_ref().and_then(Sampled::gone) {
            ledger.trouble(format!("the server ended during the run: {gone}"));
        }
        for server in &mut self.servers {
            server.stop();
        }
        let seconds = self.facts.began.elapsed().as_secs_f64();
        let Run { common, scenario, marks, facts, .. } = self;
        Ok(Finished { common, scenario, ledger, marks, facts, seconds, rss_closed })
    }
}

impl Finished {
    /// What happened in this phase.
    pub fn sum(&self, phase: u32) -> Sum {
        self.ledger.phase(phase)
    }

    /// The edges of a phase: its own mark and the next one.
    pub fn edges(&self, phase: u32) -> Option<(&Mark, &Mark)> {
        let place = self.marks.iter().position(|mark| mark.phase == phase)?;
        Some((&self.marks[place], self.marks.get(place + 1)?))
    }

    /// Seconds that a phase lasted.
    pub fn lasted(&self, phase: u32) -> f64 {
        self.edges(phase).map_or(0.0, |(from, to)| to.at.saturating_sub(from.at) as f64 / 1e9)
    }

    /// Processor time of the server in a phase.
    pub fn server_cpu(&self, phase: u32) -> Option<Duration> {
        let (from, to) = self.edges(phase)?;
        let (from, to) = (from.usage.as_ref()?.cpu?, to.usage.as_ref()?.cpu?);
        to.checked_sub(from)
    }

    /// How often the server had nothing to do in a phase, and slept.
    pub fn server_switches(&self, phase: u32) -> Option<u64> {
        let (from, to) = self.edges(phase)?;
        to.usage.as_ref()?.voluntary?.checked_sub(from.usage.as_ref()?.voluntary?)
    }
}

impl Watch {
    fn new(goal: u64) -> Self {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let now = Instant::now();
        Watch { live: Live::new(terminal), goal, began: now, received: (now, 0), cpu: None }
    }

    fn phase(&mut self, name: &str, lasts: Option<Duration>, goal: u64) {
        (self.began, self.goal) = (Instant::now(), goal);
        self.live.phase(name, lasts, (goal > 0).then_some(goal));
    }

    fn tick(&mut self, ledger: &Ledger, sampled: &mut Option<Sampled>) {
        let now = Instant::now();
        let received = ledger.count(Count::Received) + ledger.count(Count::Closed);
        let (before, had) = std::mem::replace(&mut self.received, (now, received));
        let span = now.duration_since(before).max(TICK / 4).as_secs_f64();
        let usage = sampled.as_mut().map(Sampled::sample);
        let cpu = usage.as_ref().and_then(|usage| usage.cpu);
        let share = cpu.zip(self.cpu).map(|(cpu, (before, had))| {
            cpu.saturating_sub(had).as_secs_f64() / now.duration_since(before).max(TICK / 4).as_secs_f64()
        });
        self.cpu = cpu.map(|cpu| (now, cpu));
        let recent = ledger.series.last().map(|point| &point.latency).filter(|times| !times.is_empty());
        let quantile = |q| recent.map(|times| times.quantile(q));
        self.live.tick(&Levels {
            elapsed: self.began.elapsed(),
            open: ledger.open(),
            goal: self.goal,
            per_second: received.saturating_sub(had) as f64 / span,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            errors: ledger.errors(),
            server_cpu: share,
            server_memory: usage.and_then(|usage| usage.rss),
        });
    }
}

/// What stands in the way, as lines; an error unless the user goes on all the same.
fn preflight(diagnosis: &Diagnosis, force: bool) -> Result<Vec<String>, Failure> {
    let obstacles: Vec<String> = diagnosis
        .obstacles()
        .map(|row| format!("{} is {}, {} needed: {}", row.name, row.value, row.needed, row.advice))
        .collect();
    if obstacles.is_empty() || force {
        obstacles.iter().for_each(|line| complain("loadtest", format!("warning: {line}")));
        return Ok(obstacles);
    }
    let first = &obstacles[0];
    let more = match obstacles.len() {
        1 => String::new(),
        more => format!(" (and {} more: `tidegate doctor` lists them)", more - 1),
    };
    Err(Failure::refused(format!(
        "this machine would stop the run: {first}{more}; --force runs all the same"
    )))
}

fn launch(common: &Common, address: std::net::SocketAddr) -> Result<Vec<Launched>, Failure> {
    let Some(command) = &common.server else { return Ok(Vec::new()) };
    let address = address.to_string();
    // A forgotten one that still listens would be taken for it.
    if launch::answers(&address).map_err(Failure::refused)? {
        return Err(Failure::refused(format!(
            "{address}: something listens there already and would be taken for `{command}`; \
             stop it, or use another port"
        )));
    }
    let mut servers = Vec::new();
    for _ in 0..common.servers {
        let cpu = (!common.server_cpu.is_empty()).then(|| common.server_cpu.clone());
        let launch = Launch { command: command.clone(), cpu, address: address.clone(), ready_timeout: READY };
        servers.push(launch.start().map_err(Failure::refused)?);
    }
    // The second one on looks ready as soon as the first is; one that cannot have the port ends soon.
    if common.servers > 1 {
        std::thread::sleep(SETTLE);
    }
    if let Some(status) = servers.iter_mut().find_map(Launched::status) {
        return Err(Failure::refused(format!(
            "one of {} servers ended at once ({status}): can they share the port (SO_REUSEPORT)?",
            common.servers
        )));
    }
    Ok(servers)
}

/// One setup per worker: lanes and connections are shared out evenly.
fn setups(common: &Common, wanted: &Wanted, target: &Target, workers: u64) -> Vec<Setup> {
    let lanes = common.threads.max(workers) as u32;
    let mut first_lane = 0;
    (0..workers as u32)
        .map(|worker| {
            let own_lanes = crate::order::share(u64::from(lanes), worker, workers as u32) as u32;
            let setup = Setup {
                first_lane,
                own_lanes,
                lanes,
                descriptors: wanted.connections.div_ceil(workers) + RESERVE,
                cpus: common.cpu.clone(),
                target: target.clone(),
                role: wanted.role.clone(),
                connect_timeout: common.connect_timeout.as_secs_f64(),
                answer_timeout: common.timeout.as_secs_f64(),
                ping_interval: common.ping.as_secs_f64(),
                dialing_max: wanted.dialing.div_ceil(u64::from(lanes)).max(1) as u32,
                retry: wanted.retry.map(|pause| pause.as_secs_f64()),
                seed: common.seed,
            };
            first_lane += own_lanes;
            setup
        })
        .collect()
}
