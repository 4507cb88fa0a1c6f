//! The verdict: a generator that could not keep up says so everywhere, and the exit code says what came of a run.
//!
//! The processors are starved on purpose here, so one test runs at a time. That a run is valid is only asserted of runs
//! with limits that any machine meets, and the one check without such a limit may have a few tries.

mod harness;
#[path = "faulty/server.rs"]
mod server;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use harness::{LENIENT, Output, check, fresh, loadtest, record};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use server::{Act, Server};

/// A run of half a second that does next to nothing.
const SHORT: [&str; 8] = ["-n", "2", "--rate", "50", "--warmup", "0", "--duration", "500ms"];
/// Runs that another program may disturb before the machine is said to be too busy to test on.
const TRIES: usize = 6;

fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Processes that do nothing, as fast as they can, all on one processor.
struct Hogs(Vec<Child>);

impl Hogs {
    fn on(cpu: usize) -> Self {
        // A process inherits where the thread that starts it may run.
        let started = thread::spawn(move || {
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(None, &set).unwrap();
            let hog = || {
                // It ends by itself after a minute of work, should the test be ended without its destructors.
                let mut command = Command::new("sh");
                command
                    .args(["-c", "ulimit -t 60; while :; do :; done"])
                    .stdin(Stdio::null())
                    .spawn()
                    .unwrap()
            };
            (0..6).map(|_| hog()).collect()
        });
        Hogs(started.join().unwrap())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

/// A processor that this test may use.
fn cpu() -> usize {
    let set = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).find(|cpu| set.is_set(*cpu)).unwrap()
}

/// Runs with limits that any machine meets; again when other programs took a quarter of the time away, for which there
/// is no such limit.
fn undisturbed(words: &[&str]) -> Output {
    let mut output = loadtest(&[words, &LENIENT].concat());
    for _ in 1..TRIES {
        if output.code() != Some(3) {
            break;
        }
        output = loadtest(&[words, &LENIENT].concat());
    }
    output
}

/// One line on standard error, with these parts, and this exit code.
fn expect_line(output: &Output, code: i32, parts: &[&str]) {
    assert_eq!(output.code(), Some(code), "{output:?}");
    let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("loadtest: ")).collect();
    assert_eq!(lines.len(), 1, "{output:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
}

#[test]
fn a_starved_generator_says_invalid_everywhere() {
    let _turn = one_at_a_time();
    let server = Server::echo(|_| Act::Echo);
    let (url, cpu) = (server.url(), cpu());
    let _hogs = Hogs::on(cpu);
    let cpu = cpu.to_string();
    let paths = [".json", ".csv", ".html"].map(fresh);
    let [json, csv, html] = paths.each_ref().map(|path| path.to_str().unwrap());
    let files = ["--json", json, "--csv", csv, "--html", html];
    let load = ["-n", "10", "--depth", "16", "--warmup", "0", "--duration", "2s", "--cpu", &cpu];
    let output = loadtest(&[&["echo", &url], &load[..], &files[..]].concat());
    assert_eq!(output.code(), Some(3), "{output:?}");
    assert!(output.stdout.starts_with("INVALID  Do not use these figures: "), "{}", output.stdout);
    assert!(output.stdout.lines().last().unwrap().starts_with("INVALID  "), "{}", output.stdout);

    let starved = record(&paths[0]);
    assert_eq!(starved["verdict"]["valid"], false);
    let (waiting, ok) = check(&starved, "generator waiting");
    assert!(waiting > 0.25 && !ok, "{waiting}");
    let table = fs::read_to_string(csv).unwrap();
    assert!(table.lines().count() > 10);
    assert!(table.lines().skip(1).all(|row| row.contains(",INVALID,")), "{table}");
    let page = fs::read_to_string(html).unwrap();
    let (head, body) = page.split_once("<body>").unwrap();
    assert!(head.contains("<title>INVALID: echo"), "{head}");
    assert!(body.contains("INVALID"));

    // The limits decide: with wide ones the same load passes those checks, and still not the one without a limit.
    let output = loadtest(&[&["echo", &url], &load[..], &files[..], &LENIENT].concat());
    assert_eq!(output.code(), Some(3), "{output:?}");
    let wide = record(&paths[0]);
    for name in ["loop lag p99", "generator cpu"] {
        assert!(check(&wide, name).1, "{name}");
    }
    assert!(!check(&wide, "generator waiting").1);
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
}

#[test]
fn limits_change_the_verdict() {
    let _turn = one_at_a_time();
    let server = Server::echo(|_| Act::Echo);
    let url = server.url();
    let path = fresh(".json");
    let json = ["--json", path.to_str().unwrap()];
    for (option, limit, name) in [
        ("--slip-max", "1us", "slip p99"),
        ("--lag-max", "1us", "loop lag p99"),
        ("--cpu-max", "0", "generator cpu"),
    ] {
        let mut limits = LENIENT;
        let place = limits.iter().position(|word| *word == option).unwrap() + 1;
        limits[place] = limit;
        let output = loadtest(&[&["echo", &url], &SHORT[..], &json, &limits].concat());
        assert_eq!(output.code(), Some(3), "{option}: {output:?}");
        let record = record(&path);
        for checked in ["slip p99", "loop lag p99", "generator cpu"] {
            assert_eq!(check(&record, checked).1, checked != name, "{option}: {checked}");
        }
        assert!(output.stdout.contains(name), "{option}: {}", output.stdout);
    }
    let _ = fs::remove_file(&path);
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let _turn = one_at_a_time();
    let well = Server::echo(|_| Act::Echo);
    let ends = Server::echo(|number| if number == 3 { Act::Close(1011) } else { Act::Echo });
    let (well, ends) = (well.url(), ends.url());
    let met = undisturbed(&[&["echo", &well, "--fail-if", "errors>0"], &SHORT[..]].concat());
    assert_eq!(met.code(), Some(0), "{met:?}");
    assert!(met.stdout.contains("met errors > 0: it is 0"), "{}", met.stdout);
    assert!(met.stdout.contains("\nVALID"), "{}", met.stdout);

    // The first run of it meets the fault, so there is only one try.
    let gates = ["--fail-if", "errors>0", "--fail-if", "sent<1"];
    let path = fresh(".json");
    let json = ["--json", path.to_str().unwrap()];
    let failed = loadtest(&[&["echo", &ends], &gates[..], &json, &SHORT, &LENIENT].concat());
    let valid = record(&path)["verdict"]["valid"] == true;
    assert_eq!(failed.code(), Some(if valid { 1 } else { 3 }), "{failed:?}");
    assert!(failed.stdout.contains("FAILED errors > 0: it is 1"), "{}", failed.stdout);
    assert!(failed.stdout.contains("met sent < 1: it is "), "{}", failed.stdout);
    let _ = fs::remove_file(&path);
    let failed = undisturbed(&[&["echo", &well, "--fail-if", "sent>0"], &SHORT[..]].concat());
    assert_eq!(failed.code(), Some(1), "{failed:?}");

    // An invalid run meets no threshold and fails none.
    let invalid = ["--cpu-max", "0", "--fail-if", "sent>0"];
    let output = loadtest(&[&["echo", &well], &invalid[..], &SHORT].concat());
    assert_eq!(output.code(), Some(3), "{output:?}");
    let unknown = loadtest(&[&["echo", &well, "--fail-if", "p98>1ms"], &SHORT[..], &LENIENT].concat());
    expect_line(&unknown, 2, &["has no figure p98", "p99"]);
}

#[test]
fn wrong_words_are_told_before_anything_is_measured() {
    let _turn = one_at_a_time();
    let folder = env!("CARGO_TARGET_TMPDIR");
    let gone = format!("{folder}/gone/a.json");
    let within_a_file = format!("{}/Cargo.toml/a.json", env!("CARGO_MANIFEST_DIR"));
    let no_record = format!("{}/Cargo.toml", env!("CARGO_MANIFEST_DIR"));
    // Nobody listens there: whoever connects fails with another line.
    let url = "ws://127.0.0.1:1/";
    for (words, parts) in [
        (&["echo"][..], &["<URL>"][..]),
        (&["ecko", url], &["ecko", "echo"]),
        (&["echo", url, "--rats", "5"], &["--rats", "--rate"]),
        (&["echo", url, "--rate", "0"], &["--rate", "0"]),
        (&["echo", url, "--fail-if", "p99"], &["p99", "NAME OP VALUE"]),
        (&["echo", "http://127.0.0.1/"], &["http://127.0.0.1/", "ws://"]),
        (&["echo", url, "--json", &gone], &[&gone, "there is no folder"]),
        (&["echo", url, "--json", folder], &[folder, "cannot write"]),
        (&["echo", url, "--html", &within_a_file], &["Cargo.toml"]),
        (&["echo", url, "--csv", "/dev/null/a.csv"], &["/dev/null/a.csv"]),
        (&["echo", url, "--baseline", &gone], &[&gone, "cannot read"]),
        (&["echo", url, "--baseline", &no_record], &["Cargo.toml", "not whole JSON"]),
    ] {
        expect_line(&loadtest(words), 2, parts);
    }
    let unused = fresh(".json");
    let words = ["echo", url, "-n", "1", "--json", unused.to_str().unwrap()];
    expect_line(&loadtest(&words), 1, &["none of 1 connections", "refused"]);
    assert!(!unused.exists(), "a run that was not made left a record");
}

#[test]
fn a_baseline_is_held_against_a_run() {
    let _turn = one_at_a_time();
    let server = Server::echo(|_| Act::Echo);
    let (url, path) = (server.url(), fresh(".json"));
    let file = path.to_str().unwrap();
    loadtest(&[&["echo", &url, "--json", file], &SHORT[..], &LENIENT].concat());
    // Whatever the machine did to the base, it stands for a good one here.
    let mut base = record(&path);
    base["verdict"]["valid"] = true.into();
    for check in base["verdict"]["checks"].as_array_mut().unwrap() {
        check["ok"] = true.into();
    }
    fs::write(&path, base.to_string()).unwrap();
    for (gate, code, text) in
        [("p99>+1000000%", 0, "met p99 > +1000000 %"), ("p99>-99%", 1, "FAILED p99 > -99 %")]
    {
        let output =
            undisturbed(&[&["echo", &url, "--baseline", file, "--fail-if", gate], &SHORT[..]].concat());
        assert_eq!(output.code(), Some(code), "{output:?}");
        assert!(output.stdout.contains(text) && output.stdout.contains("(baseline "), "{}", output.stdout);
    }
    let relative = ["echo", &url, "--fail-if", "p99>+10%"];
    expect_line(&loadtest(&[&relative, &SHORT[..]].concat()), 2, &["relative", "--baseline"]);
    base["verdict"]["valid"] = false.into();
    base["verdict"]["checks"][0]["ok"] = false.into();
    fs::write(&path, base.to_string()).unwrap();
    let output = loadtest(&[&relative, &["--baseline", file][..], &SHORT[..]].concat());
    expect_line(&output, 2, &["the baseline is INVALID"]);
    let _ = fs::remove_file(&path);
}
