//! The worker processes of a run: started, told what to do, listened to.
//!
//! Refuses to know what a phase means. Invariants: everything that workers tell ends in the [`Ledger`]; a worker that
//! ends before it was told to is a trouble that the run reports; none outlives the parent.

pub mod ledger;
pub mod worker;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use self::ledger::Ledger;
use crate::interrupt;
use crate::order::{Setup, Step, Told};
use tidegate::program::failure::Failure;

/// Time between two calls of a waiting caller's `tick`.
pub const TICK: Duration = Duration::from_millis(500);
/// Time for the workers to end after their last step.
const FAREWELL: Duration = Duration::from_secs(15);

/// All workers of a run.
pub struct Crew {
    workers: Vec<Worker>,
    heard: Receiver<(usize, Heard)>,
    pub ledger: Ledger,
}

struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    first_lane: u32,
    lanes: u32,
    done: u32,
    ended: bool,
}

enum Heard {
    Told(Told),
    /// Something that is no report.
    Odd(String),
    /// Its output has ended.
    Silence,
}

impl Crew {
    /// Starts one worker per setup; `prefix` are the words of a program that runs them, such as `ip netns exec NAME`.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(setups: &[Setup], prefix: &[String]) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::refused(format!("cannot find this program to start workers: {error}"))
        })?;
        let (sender, heard) = channel();
        let lanes = setups.iter().map(|setup| setup.own_lanes).sum();
        let mut crew = Crew { workers: Vec::new(), heard, ledger: Ledger::new(lanes) };
        for (number, setup) in setups.iter().enumerate() {
            let refused = |error| Failure::refused(format!("cannot start worker {}: {error}", number + 1));
            let mut command = match prefix.split_first() {
                None => Command::new(&program),
                Some((first, rest)) => {
                    let mut command = Command::new(first);
                    command.args(rest).arg(&program);
                    command
                }
            };
            let mut child = command
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(refused)?;
            if let Some(output) = child.stdout.take() {
                let sender = sender.clone();
                thread::spawn(move || listen(number, BufReader::new(output), &sender));
            }
            let (first_lane, lanes) = (setup.first_lane, setup.own_lanes);
            let input = child.stdin.take();
            crew.workers.push(Worker { child, input, first_lane, lanes, done: 0, ended: false });
            if let Ok(line) = serde_json::to_string(setup) {
                crew.write(number, &line);
            }
        }
        Ok(crew)
    }

    /// Process numbers of the workers.
    pub fn pids(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.child.id()).collect()
    }

    /// Tells all workers what to do.
    pub fn say(&mut self, step: &Step) {
        let Ok(line) = serde_json::to_string(step) else { return };
        self.ledger.said += 1;
        (0..self.workers.len()).for_each(|number| self.write(number, &line));
    }

    fn write(&mut self, number: usize, line: &str) {
        let Some(input) = self.workers[number].input.as_mut() else { return };
        if writeln!(input, "{line}").and_then(|()| input.flush()).is_err() {
            // It has ended; the end of its output tells so too, and that is where it is reported.
            self.workers[number].input = None;
        }
    }

    /// Listens until `done`, at most until `deadline`; calls `tick` every [`TICK`]. True when it is done.
    ///
    /// # Errors
    /// When the user has interrupted the run, or no worker is left.
    pub fn wait(
        &mut self,
        deadline: Instant,
        tick: &mut dyn FnMut(&Ledger),
        done: &dyn Fn(&Ledger) -> bool,
    ) -> Result<bool, Failure> {
        let mut next_tick = Instant::now() + TICK;
        loop {
            interrupt::check()?;
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                tick(&self.ledger);
            }
            if done(&self.ledger) {
                return Ok(true);
            }
            if now >= deadline {
                return Ok(false);
            }
            match self.heard.recv_timeout(deadline.min(next_tick) - now) {
                Ok((worker, heard)) => self.hear(worker, heard),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => thread::sleep(deadline.min(next_tick) - now),
            }
            if self.workers.iter().all(|worker| worker.ended) || self.ledger.deserted() {
                let why = self.ledger.troubles.first().map_or("they ended", |trouble| trouble.as_str());
                return Err(Failure::refused(format!("no worker is left: {why}")));
            }
        }
    }

    fn hear(&mut self, number: usize, heard: Heard) {
        let worker = &mut self.workers[number];
        match heard {
            Heard::Told(Told::Report(report)) => self.ledger.report(*report),
            Heard::Told(Told::Publish(publish)) => self.ledger.publish(*publish),
            Heard::Told(Told::Done { .. }) => worker.done += 1,
            Heard::Told(Told::Failed { lane, why }) => {
                // Nothing more comes from it, so nothing waits for it.
                self.ledger.lost_lanes(lane..lane.saturating_add(1));
                self.ledger.trouble(format!("lane {lane} of worker {} failed: {why}", number + 1));
            }
            Heard::Odd(line) => {
                self.ledger.trouble(format!("worker {} said what is no report: {line}", number + 1));
            }
            Heard::Silence => {
                worker.ended = true;
                let status = worker.child.wait();
                if worker.done < worker.lanes {
                    let lanes = worker.first_lane..worker.first_lane + worker.lanes;
                    let held = self.ledger.lost_lanes(lanes);
                    self.ledger.trouble(format!(
                        "worker {} (process {}) ended {} with {held} open connections; \
                         its last half second is missing",
                        number + 1,
                        worker.child.id(),
                        status.map_or_else(|error| error.to_string(), manner),
                    ));
                }
            }
        }
    }

    /// Lets the workers close everything and end, and returns what they told.
    ///
    /// # Errors
    /// When the user interrupts it.
    pub fn finish(mut self, tick: &mut dyn FnMut(&Ledger)) -> Result<Ledger, Failure> {
        self.say(&Step::Finish);
        let deadline = Instant::now() + FAREWELL;
        while self.workers.iter().any(|worker| !worker.ended) {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.ledger.trouble("a worker did not end when it was told to".into());
                break;
            }
            if let Ok((worker, heard)) = self.heard.recv_timeout(left.min(TICK)) {
                self.hear(worker, heard);
            }
            tick(&self.ledger);
        }
        let mut ledger = std::mem::replace(&mut self.ledger, Ledger::new(0));
        ledger.close();
        Ok(ledger)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if !worker.ended {
                // What is left has nobody to report to.
                let _ = worker.child.kill();
                let _ = worker.child.wait();
            }
        }
    }
}

fn listen(number: usize, output: impl BufRead, sender: &Sender<(usize, Heard)>) {
    for line in output.lines().map_while(Result::ok) {
        let heard = match serde_json::from_str(&line) {
            Ok(told) => Heard::Told(told),
            Err(_) => Heard::Odd(line.chars().take(100).collect()),
        };
        if sender.send((number, heard)).is_err() {
            return;
        }
    }
    let _ = sender.send((number, Heard::Silence));
}

/// How a process ended, for people.
fn manner(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("by signal {signal}");
    }
    status.code().map_or_else(|| "somehow".into(), |code| format!("with code {code}"))
}
