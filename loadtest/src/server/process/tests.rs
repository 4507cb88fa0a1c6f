//! Tests of [`super`]: sample texts, and processes of the running machine.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// A child that is ended with its test and with what it started, whatever becomes of it.
struct Running(Child);

impl Running {
    fn start(program: &str, words: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(words).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    fn end(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let group = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }

    /// Its next byte: it has come so far.
    fn hear(&mut self) {
        io::Read::read_exact(self.0.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn stat(name: &str, state: char, ticks: (u64, u64)) -> String {
    format!("7 ({name}) {state} 3 7 7 0 -1 4194304 1 2 3 4 {} {} 50 60 20 0 2 0 777 8 9 10", ticks.0, ticks.1)
}

#[test]
fn stat_is_read_behind_any_name() {
    for name in ["sh", "", "a b", ") S 1 (", "((", "))\n"] {
        let expected =
            Stat { name: name.to_string(), state: 'S', parent: 3, ticks: 12, threads: 2, started: 777 };
        assert_eq!(Stat::parse(&stat(name, 'S', (5, 7))), Some(expected), "{name:?}");
    }
    for bad in ["", "7", "7 (sh)", "7 sh) S 3", "7 (sh) S x", "7 (sh) S 3 7 7 0 -1 4194304 1 2 3 4 5 6"] {
        assert_eq!(Stat::parse(bad), None, "{bad:?}");
    }
    assert_eq!(Stat::parse(&stat("sh", 'S', (u64::MAX, 1))), None);
}

#[test]
fn a_process_with_threads_left_has_not_ended() {
    for (state, threads, expected) in
        [('S', 1, false), ('R', 1, false), ('Z', 0, true), ('Z', 1, true), ('Z', 2, false)]
    {
        let stat = Stat { threads, ..Stat::parse(&stat("sh", state, (1, 1))).unwrap() };
        assert_eq!(stat.ended(), expected, "{state} {threads}");
    }
}

#[test]
fn schedstat_and_status_are_read() {
    for (text, expected) in [("12 34 5\n", Some(12)), ("", None), ("x 1 2", None), ("-1 1 2", None)] {
        assert_eq!(ran(text), expected, "{text:?}");
    }
    assert_eq!(switches("voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n"), Some((12, 3)));
    assert_eq!(switches("nonvoluntary_ctxt_switches:\t3\n"), None);
}

#[test]
fn what_threads_did_not_show_is_taken_from_the_process_for_good() {
    // No process has this pid, so that its threads stay as they are put here.
    let pid = u32::MAX;
    let mut watched = Watched::new(&Stat::parse(&stat("sh", 'S', (0, 0))).unwrap(), true);
    let mut read = |cpu, ticks| {
        watched.threads = Some(HashMap::from([(1, Spent { cpu, switches: Some((1, 2)) })]));
        watched.read(pid, &Stat::parse(&stat("sh", 'S', (ticks, 0))).unwrap()).unwrap()
    };
    let ms = 1_000_000;
    let table = [
        (5 * ms, 0, 5 * ms, "finer than a tick"),
        (15 * ms, 1, 15 * ms, "the tick is behind"),
        (15 * ms, 4, 40 * ms, "another thread came and went"),
        (16 * ms, 4, 41 * ms, "and what it did stays"),
        (3 * ms, 4, 41 * ms, "nothing falls"),
    ];
    for (cpu, ticks, expected, why) in table {
        assert_eq!(read(cpu, ticks), Spent { cpu: expected, switches: Some((1, 2)) }, "{why}");
    }
}

#[test]
fn a_thread_that_ended_is_kept() {
    let mut watched = Watched::new(&Stat::parse(&stat("sh", 'S', (0, 0))).unwrap(), true);
    let used = Spent { cpu: 1_000_000_000_000, switches: Some((1_000_000, 2_000_000)) };
    // A thread of this process that is none.
    watched.threads = Some(HashMap::from([(u32::MAX, used)]));
    let now = watched.read(std::process::id(), &Stat::parse(&stat("sh", 'S', (0, 0))).unwrap()).unwrap();
    assert!(
        now.cpu >= used.cpu && now.switches.is_some_and(|(voluntary, _)| voluntary >= 1_000_000),
        "{now:?}"
    );
    assert!(!watched.threads.unwrap().contains_key(&u32::MAX));
    assert_eq!(watched.past, used);
}

#[test]
fn descendants_are_found_up_to_the_bound() {
    let base = Stat::parse(&stat("sh", 'S', (0, 0))).unwrap();
    // A chain of 2,000, each the parent of the next, and one of another family.
    let running: HashMap<u32, Stat> = (10..2010)
        .map(|pid| (pid, Stat { parent: pid - 1, ..base.clone() }))
        .chain([(5, base.clone())])
        .collect();
    let mut sampled = Sampled { watched: BTreeMap::new(), past: Spent::default(), gone: Vec::new() };
    sampled.watched.insert(10, Watched::new(&base, true));
    assert_eq!(sampled.find_descendants(&running), 2000 - PROCESSES_MAX as u64);
    assert_eq!(
        sampled.watched.keys().copied().collect::<Vec<_>>(),
        (10..10 + PROCESSES_MAX as u32).collect::<Vec<_>>()
    );
    assert_eq!(sampled.find_descendants(&running), 2000 - PROCESSES_MAX as u64, "none is met twice");
}

#[test]
fn what_ended_keeps_its_account_and_is_told() {
    let alive = Stat::parse(&stat("server", 'S', (0, 0))).unwrap();
    let table = [
        (None, 30, "it is not there"),
        (Some(Stat { started: 778, ticks: 900, ..alive.clone() }), 30, "its pid is another's"),
        (Some(Stat { state: 'Z', threads: 1, ticks: 5, ..alive.clone() }), 50, "it is not waited for"),
    ];
    for (found, ms, why) in table {
        let mut watched = Watched::new(&alive, true);
        watched.spent.cpu = 30_000_000;
        let mut sampled =
            Sampled { watched: BTreeMap::from([(7, watched)]), past: Spent::default(), gone: Vec::new() };
        sampled.forget_ended(&found.into_iter().map(|stat| (7, stat)).collect());
        assert_eq!(sampled.past.cpu, ms * 1_000_000, "{why}");
        assert_eq!(
            sampled.gone().as_deref(),
            Some("the server's process 7 (server) ended during the run"),
            "{why}"
        );
    }
}

#[test]
fn a_process_that_is_not_there_is_named() {
    // Linux has at most 2^22 of them.
    let said = Sampled::attach(&[4_194_305]).unwrap_err();
    assert!(said.contains("4194305") || cfg!(not(target_os = "linux")), "{said}");
    assert!(Sampled::attach(&[]).unwrap_err().contains("--server-pid"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_has_ended_cannot_be_attached_to() {
    let mut child = Running::start("sleep", &["0"]);
    let pid = child.0.id();
    child.end();
    assert!(Sampled::attach(&[pid]).unwrap_err().contains(&pid.to_string()));
}

#[cfg(target_os = "linux")]
#[test]
fn loadtest_does_not_measure_itself() {
    let said = Sampled::attach(&[std::process::id()]).unwrap_err();
    assert!(said.contains("loadtest itself"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_waiting_child_is_sampled_and_its_end_is_told() {
    let mut child = Running::start("sh", &["-c", "echo; read line"]);
    child.hear();
    let mut sampled = Sampled::attach(&[child.0.id()]).unwrap();
    for usage in [sampled.sample(), sampled.sample_exact()] {
        assert_eq!((usage.processes, usage.threads, usage.left_out, usage.gone), (1, Some(1), 0, false));
        assert!(
            usage.rss.is_some_and(|rss| usage.anon.is_some_and(|anon| rss >= anon && rss >= 4096)),
            "{usage:?}"
        );
        assert!(usage.descriptors.is_some_and(|count| count >= 3), "{usage:?}");
        assert!(usage.cpu.is_some_and(|cpu| cpu > Duration::ZERO), "{usage:?}");
        assert!(usage.voluntary.is_some() && usage.involuntary.is_some(), "{usage:?}");
    }
    let (before, pid) = (sampled.sample(), child.0.id());
    child.end();
    let after = sampled.sample();
    assert!(after.gone && after.cpu >= before.cpu && after.voluntary >= before.voluntary, "{after:?}");
    let levels = (after.rss, after.anon, after.descriptors, after.threads, after.processes);
    assert_eq!(levels, (None, None, None, None, 0));
    assert!(sampled.gone().unwrap().contains(&pid.to_string()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_busy_grandchild_is_found_and_its_time_grows() {
    // The inner shell says its pid, works, and ends with its parent's input.
    let mut child =
        Running::start("sh", &["-c", "sh -c 'echo $$; while :; do :; done' & read line; kill $!; wait"]);
    let mut sampled = Sampled::attach(&[child.0.id()]).unwrap();
    child.hear();
    let first = sampled.sample();
    assert_eq!(first.processes, 2, "{first:?}");
    // The kernel accounts for a running thread at ticks: it is waited for, not timed.
    let mut last = first.clone();
    while last.cpu < first.cpu.map(|cpu| cpu + Duration::from_millis(30)) {
        let next = sampled.sample();
        assert!(next.cpu >= last.cpu && !next.gone, "{last:?} {next:?}");
        last = next;
    }
    drop(child.0.stdin.take());
    child.0.wait().unwrap();
    let after = sampled.sample();
    assert!(after.gone && after.cpu >= last.cpu, "{last:?} {after:?}");
    assert_eq!(after.processes, 0);
}
