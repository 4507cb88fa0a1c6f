//! What the server's processes use: CPU time, memory, descriptors, threads and context switches, descendants included.
//!
//! Refuses to know what it serves. Invariants: CPU time and context switches never fall, whatever ends; a process that
//! ended is told, never a silent zero; a sum to which a running process could not contribute is `None`.
//!
//! CPU time comes from two accounts of the kernel. Each thread's `schedstat` is exact to the nanosecond for a thread
//! that waits (one that runs is as of its last switch or tick, 1 to 10 ms ago), but is gone with the thread. The
//! process's `stat` keeps threads that ended, but rounds user and system time down to 10 ms each. So threads are added
//! up, those that ended as last seen, and where `stat` knows of more, that much was missed and is added for good.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::time::Duration;

use super::{is_absence, labelled, labelled_bytes, text};

/// Processes watched at once; what is beyond is told in [`Usage::left_out`].
const PROCESSES_MAX: usize = 1024;

/// Threads of a process that are read one by one. One with more is read as a whole from then on: CPU time to 20 ms, no
/// context switches.
const THREADS_MAX: usize = 4096;

/// The server's processes: those that were named, and what they have started.
///
/// Descendants are looked for at each sample. One that is known stays known when its parent ends; one that came and
/// ended between two samples was never seen.
#[derive(Debug)]
pub struct Sampled {
    watched: BTreeMap<u32, Watched>,
    /// Used by processes that have ended, as last seen.
    past: Spent,
    /// Named processes that have ended, with their names.
    gone: Vec<(u32, String)>,
}

/// What the processes use, at one moment.
///
/// Totals since each process began; only differences between two samples belong to the time between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all threads, those that ended included as last seen.
    pub cpu: Option<Duration>,
    /// Resident memory in bytes. What processes share is counted for each.
    pub rss: Option<u64>,
    /// The anonymous part of it: heaps and stacks.
    pub anon: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
    pub threads: Option<u64>,
    /// Context switches because a thread had nothing to do.
    pub voluntary: Option<u64>,
    /// Context switches because another thread was given the CPU.
    pub involuntary: Option<u64>,
    /// Processes that this is the sum of.
    pub processes: u64,
    /// Descendants beyond the bound, which it is not the sum of.
    pub left_out: u64,
    /// A process that was named has ended; [`Sampled::gone`] says which.
    pub gone: bool,
}

/// Where memory is read.
#[derive(Clone, Copy)]
enum Memory {
    /// `status`: cheap; the kernel adds up per CPU and is behind by up to 64 pages or so for each.
    Batched,
    /// `smaps_rollup`: exact to the page; it walks the page tables, which takes about 1 ms for 1 GiB.
    Exact,
}

impl Sampled {
    /// Watches these processes and all their descendants from now on.
    pub fn attach(pids: &[u32]) -> Result<Sampled, String> {
        if pids.is_empty() {
            return Err("no process to watch; name the server's, such as --server-pid 1234".to_string());
        }
        let running = running().map_err(|error| {
            format!("cannot read the machine's processes: {error}; this needs Linux with /proc mounted")
        })?;
        let mut sampled = Sampled { watched: BTreeMap::new(), past: Spent::default(), gone: Vec::new() };
        for &pid in pids {
            let Some(stat) = running.get(&pid).filter(|stat| !stat.ended()) else {
                return Err(format!("there is no process {pid}; give the pid of the running server"));
            };
            if sampled.watched.len() >= PROCESSES_MAX && !sampled.watched.contains_key(&pid) {
                return Err(format!(
                    "{} processes are named; at most {PROCESSES_MAX} can be watched",
                    pids.len()
                ));
            }
            sampled.watched.insert(pid, Watched::new(stat, true));
        }
        sampled.find_descendants(&running);
        if sampled.watched.contains_key(&std::process::id()) {
            let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(format!(
                "loadtest itself is, or was started by, process {pids}; give the pid of the server"
            ));
        }
        Ok(sampled)
    }

    /// Reads what is cheap to read: tens of microseconds per thread, and as much per process of the machine.
    pub fn sample(&mut self) -> Usage {
        self.take(Memory::Batched)
    }

    /// The same with exact memory, for the moments that memory per connection is computed from.
    ///
    /// It needs the right to trace the processes: the same user, or root.
    pub fn sample_exact(&mut self) -> Usage {
        self.take(Memory::Exact)
    }

    /// Named processes that have ended, as a sentence.
    pub fn gone(&self) -> Option<String> {
        let names: Vec<_> = self.gone.iter().map(|(pid, name)| format!("{pid} ({name})")).collect();
        (!names.is_empty()).then(|| format!("the server's process {} ended during the run", names.join(", ")))
    }

    fn take(&mut self, memory: Memory) -> Usage {
        // Being out of descriptors ourselves must not look like the end of the server.
        let Ok(running) = running() else {
            let (processes, gone) = (self.watched.len() as u64, !self.gone.is_empty());
            return Usage { processes, gone, ..Usage::default() };
        };
        self.forget_ended(&running);
        let left_out = self.find_descendants(&running);
        let mut spent = Some(self.past);
        let mut levels = Levels { rss: Some(0), anon: Some(0), descriptors: Some(0), threads: Some(0) };
        let mut processes = 0;
        for (&pid, watched) in &mut self.watched {
            let own = watched.read(pid, &running[&pid]);
            spent = spent.zip(own).map(|(sum, own)| sum.plus(own));
            let here = Levels::read(pid, &running[&pid], memory);
            // What ended while it was read contributes no level; the next sample removes it.
            if here.whole() || watched.still_runs(pid) {
                levels = levels.plus(here);
                processes += 1;
            }
        }
        if processes == 0 {
            levels = Levels::default();
        }
        Usage {
            cpu: spent.map(|spent| Duration::from_nanos(spent.cpu)),
            rss: levels.rss,
            anon: levels.anon,
            descriptors: levels.descriptors,
            threads: levels.threads,
            voluntary: spent.and_then(|spent| spent.switches).map(|(voluntary, _)| voluntary),
            involuntary: spent.and_then(|spent| spent.switches).map(|(_, involuntary)| involuntary),
            processes,
            left_out,
            gone: !self.gone.is_empty(),
        }
    }

    /// Takes out what has ended, or whose pid is another's by now, and keeps what it used.
    fn forget_ended(&mut self, running: &HashMap<u32, Stat>) {
        let ended = self.watched.extract_if(.., |pid, watched| {
            running.get(pid).is_none_or(|stat| stat.ended() || stat.started != watched.started)
        });
        for (pid, mut watched) in ended {
            // One that is not waited for yet still has its account, to the end.
            if let Some(stat) = running.get(&pid).filter(|stat| stat.started == watched.started) {
                watched.spent.cpu = watched.spent.cpu.max(stat.cpu());
            }
            self.past = self.past.plus(watched.spent);
            if watched.named {
                self.gone.push((pid, watched.name));
            }
        }
    }

    /// Adds the descendants of what is watched, and says how many had no room.
    fn find_descendants(&mut self, running: &HashMap<u32, Stat>) -> u64 {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (&pid, stat) in running.iter().filter(|(_, stat)| !stat.ended()) {
            children.entry(stat.parent).or_default().push(pid);
        }
        let mut left_out = 0;
        let mut parents: Vec<u32> = self.watched.keys().copied().collect();
        while let Some(parent) = parents.pop() {
            // Taken out, so that each family is met once, even if pids were reused into a circle meanwhile.
            for pid in children.remove(&parent).unwrap_or_default() {
                parents.push(pid);
                if self.watched.contains_key(&pid) {
                    continue;
                }
                if self.watched.len() < PROCESSES_MAX {
                    self.watched.insert(pid, Watched::new(&running[&pid], false));
                } else {
                    left_out += 1;
                }
            }
        }
        left_out
    }
}

/// One process that is watched.
#[derive(Debug)]
struct Watched {
    /// Clock ticks after boot at which it began: with the pid, its identity.
    started: u64,
    name: String,
    /// By the user, and not found as a descendant.
    named: bool,
    /// Its threads as last seen; `None` once they were too many.
    threads: Option<HashMap<u32, Spent>>,
    /// Of threads that have ended, as last seen.
    past: Spent,
    /// CPU time that no thread was seen to use.
    missed: u64,
    /// What was told last.
    spent: Spent,
}

impl Watched {
    fn new(stat: &Stat, named: bool) -> Watched {
        Watched {
            started: stat.started,
            name: stat.name.clone(),
            named,
            threads: Some(HashMap::new()),
            past: Spent::default(),
            missed: 0,
            spent: Spent::default(),
        }
    }

    /// Reads its threads. `None` when that failed for a reason of ours; what is kept is as it was then.
    ///
    /// `stat` is older than what is read here, so that what was missed is never made too much.
    fn read(&mut self, pid: u32, stat: &Stat) -> Option<Spent> {
        let seen = match &self.threads {
            Some(known) => threads(pid, known).ok()?,
            None => None,
        };
        let mut now = match &seen {
            Some(seen) => {
                for (tid, old) in self.threads.iter().flatten() {
                    // A tid that fell is another thread's.
                    if seen.get(tid).is_none_or(|new| new.cpu < old.cpu) {
                        self.past = self.past.plus(*old);
                    }
                }
                let sum = seen.values().fold(self.past, |sum, &thread| sum.plus(thread));
                self.missed = self.missed.max(stat.cpu().saturating_sub(sum.cpu));
                Spent { cpu: sum.cpu.saturating_add(self.missed), ..sum }
            }
            None => Spent { cpu: stat.cpu(), switches: None },
        };
        self.threads = seen;
        now.cpu = now.cpu.max(self.spent.cpu);
        self.spent = now;
        Some(now)
    }

    fn still_runs(&self, pid: u32) -> bool {
        match text(&format!("/proc/{pid}/stat")) {
            Ok(Some(text)) => {
                Stat::parse(&text).is_some_and(|stat| !stat.ended() && stat.started == self.started)
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }
}

/// The threads of a process, or `None` if they are too many. One that ends meanwhile stays as it was known.
fn threads(pid: u32, known: &HashMap<u32, Spent>) -> io::Result<Option<HashMap<u32, Spent>>> {
    let mut seen = HashMap::new();
    let entries = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(entries) => entries,
        // It has ended since it was listed: nothing new is known of it.
        Err(error) if is_absence(&error) => return Ok(Some(known.clone())),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_absence(&error) => break,
            Err(error) => return Err(error),
        };
        let Some(tid) = number(&entry) else { continue };
        if seen.len() >= THREADS_MAX {
            return Ok(None);
        }
        let mut spent = known.get(&tid).copied().unwrap_or_default();
        if let Some(cpu) = text(&format!("/proc/{pid}/task/{tid}/schedstat"))?.as_deref().and_then(ran) {
            spent.cpu = cpu;
        }
        if let Some(status) = text(&format!("/proc/{pid}/task/{tid}/status"))? {
            spent.switches = switches(&status);
        }
        seen.insert(tid, spent);
    }
    Ok(Some(seen))
}

/// What can only go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    /// Nanoseconds.
    cpu: u64,
    /// Voluntary and involuntary context switches.
    switches: Option<(u64, u64)>,
}

impl Default for Spent {
    fn default() -> Spent {
        Spent { cpu: 0, switches: Some((0, 0)) }
    }
}

impl Spent {
    fn plus(self, other: Spent) -> Spent {
        let switches = self.switches.zip(other.switches);
        Spent {
            cpu: self.cpu.saturating_add(other.cpu),
            switches: switches.map(|(a, b)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1))),
        }
    }
}

/// Size of a table of descriptors up to which they are counted by listing them: the kernel makes objects of its own for
/// each one that is listed, about 1 KiB that would stand in its memory from then on.
const LISTED_MAX: u64 = 4_096;

/// What is as it is now.
#[derive(Clone, Copy, Default)]
struct Levels {
    rss: Option<u64>,
    anon: Option<u64>,
    descriptors: Option<u64>,
    threads: Option<u64>,
}

impl Levels {
    fn read(pid: u32, stat: &Stat, memory: Memory) -> Levels {
        let (file, rss, anon) = match memory {
            Memory::Batched => ("status", "VmRSS", "RssAnon"),
            Memory::Exact => ("smaps_rollup", "Rss", "Anonymous"),
        };
        let text = text(&format!("/proc/{pid}/{file}")).ok().flatten().unwrap_or_default();
        Levels {
            rss: labelled_bytes(&text, rss),
            anon: labelled_bytes(&text, anon),
            descriptors: descriptors(pid),
            threads: Some(stat.threads),
        }
    }

    fn whole(&self) -> bool {
        self.rss.is_some() && self.anon.is_some() && self.descriptors.is_some()
    }

    fn plus(self, other: Levels) -> Levels {
        let sum = |a: Option<u64>, b: Option<u64>| a?.checked_add(b?);
        Levels {
            rss: sum(self.rss, other.rss),
            anon: sum(self.anon, other.anon),
            descriptors: sum(self.descriptors, other.descriptors),
            threads: sum(self.threads, other.threads),
        }
    }
}

/// How many descriptors a process has open; `None` also where they would have to be listed and are too many.
fn descriptors(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}/fd");
    // Since Linux 6.2 their number is the folder's length, so that a million need not be listed.
    let count = fs::metadata(&folder).ok()?.len();
    if count > 0 {
        return Some(count);
    }
    let room = labelled(&text(&format!("/proc/{pid}/status")).ok()??, "FDSize")?;
    let listed = || fs::read_dir(folder).ok()?.try_fold(0, |count, entry| entry.ok().map(|_| count + 1));
    if room > LISTED_MAX { None } else { listed() }
}

/// `/proc/PID/stat`, as far as it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: u32,
    /// User and system time in ticks.
    ticks: u64,
    threads: u64,
    started: u64,
}

impl Stat {
    /// `1234 (name) S parent ...`; proc_pid_stat(5) numbers the fields from 1.
    fn parse(text: &str) -> Option<Stat> {
        // A name may hold spaces and parentheses, so its end is the last one.
        let (head, rest) = text.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_string();
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        // Fields 5 to 13 are skipped, then 16 to 19 and 21.
        let user: u64 = fields.nth(9)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let threads = fields.nth(4)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        Some(Stat { name, state, parent, ticks: user.checked_add(system)?, threads, started })
    }

    /// A process that is only waited for, or less. One whose first thread ended before the others looks like it, too,
    /// but still counts them.
    fn ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x') && self.threads <= 1
    }

    /// Nanoseconds.
    fn cpu(&self) -> u64 {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        self.ticks.saturating_mul(1_000_000_000 / per_second)
    }
}

/// All processes of the machine.
///
/// The alternative, `/proc/PID/task/TID/children`, is not in every kernel and may leave out some while others end.
fn running() -> io::Result<HashMap<u32, Stat>> {
    let mut running = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = number(&entry?) else { continue };
        if let Some(stat) = text(&format!("/proc/{pid}/stat"))?.as_deref().and_then(Stat::parse) {
            running.insert(pid, stat);
        }
    }
    Ok(running)
}

fn number(entry: &fs::DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.parse().ok()
}

/// The first field of a `schedstat`: nanoseconds on a CPU.
fn ran(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

fn switches(status: &str) -> Option<(u64, u64)> {
    labelled(status, "voluntary_ctxt_switches").zip(labelled(status, "nonvoluntary_ctxt_switches"))
}

#[cfg(test)]
mod tests;
