//! Several workers, workers that die, Ctrl-C, a server of our own, the memory of a server, and several runs in one.
//!
//! Invariant: whatever dies here, the tool ends and says so.

mod harness;
#[path = "faulty/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::{
    LENIENT, Running, Serving, check, count, figure, fresh, loadtest, measured, record, tidegate, times,
    until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::{Act, Server};

/// The processes that this one has started, in their order.
fn children(pid: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn workers_add_up() {
    let (echo, broadcast) = (Server::echo(|_| Act::Echo), Server::broadcast(|_| Act::Echo));
    let crew = ["--workers", "3", "--threads", "3", "--warmup", "0", "--duration", "1s"];
    for pace in [["--rate", "500"], ["--depth", "2"]] {
        let record = measured(&[&["echo", &echo.url(), "-n", "10"], &pace[..], &crew].concat());
        assert_eq!(record["conditions"]["workers"].as_array().unwrap().len(), 3);
        let counts = ["opened", "failed", "dropped", "errors", "lost"].map(|name| count(&record, name));
        assert_eq!(counts, [10, 0, 0, 0, 0]);
        assert_eq!(count(&record, "sent"), count(&record, "answered"));
        assert_eq!(times(&record, "latency", "count"), count(&record, "sent") as f64);
        // A schedule that is shared out is still the one that was asked for, for as long as was measured.
        let seconds = count(&record, "messages") as f64 / figure(&record, "rate");
        let planned = 500.0 * seconds;
        let sent = count(&record, "sent") as f64;
        assert!(pace[0] != "--rate" || (sent - planned).abs() <= 3.0, "{sent} of {planned}");
    }
    let spread = ["fanout", &broadcast.url(), "-n", "10", "--publishers", "1", "--rate", "40"];
    let record = measured(&[&spread, &crew[..]].concat());
    let published = broadcast.tally.received();
    assert_eq!(count(&record, "published"), published);
    assert_eq!(count(&record, "delivered"), 10 * published);
    // The first, median and last delivery are those over all workers, one of each for a publish.
    for name in ["first", "median", "last"] {
        assert_eq!(times(&record, name, "count"), published as f64, "{name}");
    }
}

#[test]
fn a_worker_that_dies_is_told() {
    let server = Server::echo(|_| Act::Echo);
    let url = server.url();
    let path = fresh(".json");
    let words = ["echo", &url, "-n", "10", "--rate", "200", "--workers", "2", "--duration", "3s"];
    let run = Running::start(&[&words, &["--json", path.to_str().unwrap()][..], &LENIENT].concat());
    until("message", || (server.tally.received() > 20).then_some(()));
    let workers = children(run.id());
    assert_eq!(workers.len(), 2);
    signal(workers[1], Signal::KILL);
    let output = run.end();
    assert_eq!(output.code(), Some(3), "{output:?}");
    let told = format!("worker 2 (process {}) ended by signal 9 with 5 open connections", workers[1]);
    assert!(output.stdout.contains(&told), "{output:?}");
    let record = record(&path);
    assert!(record["errors"]["trouble"]["example"].as_str().unwrap().starts_with(&told));
    assert_eq!(check(&record, "worker troubles"), (1.0, false));
    let _ = fs::remove_file(&path);
}

#[test]
fn a_run_without_workers_ends() {
    let server = Server::echo(|_| Act::Echo);
    let url = server.url();
    let run = Running::start(&["echo", &url, "-n", "4", "--rate", "100", "--duration", "60s"]);
    until("message", || (server.tally.received() > 5).then_some(()));
    signal(children(run.id())[0], Signal::KILL);
    let output = run.end();
    assert_eq!(output.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains("no worker is left: worker 1 (process "), "{output:?}");
}

/// A port that was free a moment ago, for servers that must be told theirs.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let serve = format!("{} serve --bind 127.0.0.1:{{port}}", tidegate().display());
    // The second one never listens, so the run is still waiting for it.
    for (server, started, name) in
        [(serve.as_str(), 2, SIGINT), ("sleep 60", 1, SIGINT), (&serve, 2, SIGTERM)]
    {
        let url = format!("ws://127.0.0.1:{}/echo", port());
        let run = Running::start(&[
            "echo",
            &url,
            "-n",
            "4",
            "--rate",
            "100",
            "--duration",
            "60s",
            "--server",
            server,
        ]);
        let family = until("server and worker", || {
            let family = children(run.id());
            (family.len() == started).then_some(family)
        });
        signal(run.id(), name);
        let asked = Instant::now();
        let output = run.end();
        assert!(asked.elapsed() < Duration::from_secs(10), "{server}: {:?}", asked.elapsed());
        assert_eq!((output.code(), output.stdout.as_str()), (Some(1), ""), "{output:?}");
        let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("loadtest: ")).collect();
        assert_eq!(lines.len(), 1, "{output:?}");
        assert!(lines[0].contains("interrupted"), "{}", lines[0]);
        for pid in family {
            until("end of a child", || is_gone(pid).then_some(()));
        }
    }
}

const SIGINT: Signal = Signal::INT;
const SIGTERM: Signal = Signal::TERM;

/// A server that was forgotten would be measured in the place of ours.
#[test]
fn a_port_that_is_taken_is_told() {
    let forgotten = Server::echo(|_| Act::Echo);
    refused_with(1, &["echo", &forgotten.url(), "--server", "sleep 60"], &["already", "sleep 60"]);
}

/// A server of ours is started, measured and ended.
#[test]
fn a_server_of_ours_is_measured() {
    let server = format!("{} serve --bind 127.0.0.1:{{port}}", tidegate().display());
    let url = format!("ws://127.0.0.1:{}/echo", port());
    let run = ["echo", &url, "-n", "4", "--warmup", "0", "--duration", "1s", "--server", &server];
    let record = measured(&run);
    assert_eq!(["opened", "failed", "dropped", "errors"].map(|name| count(&record, name)), [4, 0, 0, 0]);
    assert!(figure(&record, "server_rss") > 1e6);
    let (cpu, messages) = (figure(&record, "server_cpu"), count(&record, "messages") as f64);
    assert!(cpu > 0.0 && messages > 0.0);
    let per_message = figure(&record, "server_cpu_us") / messages;
    assert!((figure(&record, "server_cpu_per_message") / per_message - 1.0).abs() < 1e-6);
    assert_eq!(record["conditions"]["server"]["command"], server);
}

/// Resident bytes of a process, by the kernel's own sum.
fn resident(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn bytes_per_connection_are_what_the_kernel_says() {
    let server = Serving::start(&["--connections-max", "20k"]);
    let pid = server.id();
    let before = descriptors(pid);
    let (first, last) = (2_000, 12_000);
    let done = AtomicBool::new(false);
    let (record, read) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                // The last reading at each number of connections stands.
                let open = descriptors(pid).saturating_sub(before);
                if [first, last].contains(&open) {
                    read.insert(open, resident(pid));
                }
                thread::sleep(Duration::from_millis(20));
            }
            read
        });
        let (url, pid) = (format!("ws://{}/echo", server.address), pid.to_string());
        let (first, last) = (first.to_string(), last.to_string());
        let stops = ["--steps", "2", "--first", &first, "-n", &last, "--ramp", "6k", "--hold", "500ms"];
        let record = measured(&[&["idle", &url, "--server-pid", &pid], &stops[..]].concat());
        done.store(true, Ordering::Relaxed);
        (record, reader.join().unwrap())
    });
    assert_eq!(["held", "failed", "dropped"].map(|name| count(&record, name)), [last as u64, 0, 0]);
    let own = (read[&last] - read[&first]) / (last - first) as f64;
    let told = figure(&record, "server_bytes_per_connection");
    println!("{told} bytes per connection, {own} by /proc");
    assert!(own > 16.0, "{own} bytes per connection: too few to compare");
    assert!((told / own - 1.0).abs() < 0.05, "{told} is told, /proc says {own}");
}

#[test]
fn runs_are_merged_and_reported() {
    let server = Server::echo(|number| if number == 20 { Act::Corrupt } else { Act::Echo });
    let url = server.url();
    let paths = [".json", ".json", ".json", ".html", ".csv"].map(fresh);
    let [a, b, c, html, csv] = paths.each_ref().map(|path| path.to_str().unwrap());
    let mut runs: Vec<Value> = Vec::new();
    for (file, title) in [(a, "the first"), (b, "the second")] {
        let load = ["-n", "2", "--rate", "200", "--warmup", "0", "--duration", "500ms"];
        let names = ["--json", file, "--title", title];
        loadtest(&[&["echo", &url], &load[..], &names, &LENIENT].concat());
        runs.push(record(Path::new(file)));
    }
    let output = loadtest(&["merge", a, b, "--json", c]);
    assert!(matches!(output.code(), Some(0 | 3)), "{output:?}");
    let sum = record(Path::new(c));
    for name in ["sent", "answered", "messages", "wrong", "opened", "errors"] {
        assert_eq!(count(&sum, name), runs.iter().map(|run| count(run, name)).sum::<u64>(), "{name}");
    }
    assert_eq!(count(&sum, "wrong"), 1);
    for name in ["latency", "raw", "slip", "lag"] {
        let parts: f64 = runs.iter().map(|run| times(run, name, "count")).sum();
        assert_eq!(times(&sum, name, "count"), parts, "{name}");
        let most = runs.iter().map(|run| times(run, name, "max_us")).fold(0.0, f64::max);
        assert_eq!(times(&sum, name, "max_us"), most, "{name}");
    }
    let output = loadtest(&["report", a, b, "--html", html, "--csv", csv]);
    assert_eq!((output.code(), output.stdout.starts_with("2 runs in ")), (Some(0), true), "{output:?}");
    let page = fs::read_to_string(html).unwrap();
    assert!(page.contains("the first") && page.contains("the second"));
    assert!(fs::read_to_string(csv).unwrap().contains("the second"));
    // Cut, empty, another's, none at all.
    let text = fs::read_to_string(a).unwrap();
    for (broken, told) in [(&text[..text.len() / 2], "not whole JSON"), ("", "empty"), ("{}", "no record")] {
        fs::write(b, broken).unwrap();
        refused(&["merge", a, b, "--json", c], &[b, told]);
        refused(&["report", a, b, "--html", html], &[b, told]);
    }
    fs::remove_file(b).unwrap();
    refused(&["merge", a, b], &[b, "cannot read"]);
    paths.iter().for_each(|path| drop(fs::remove_file(path)));
}

fn refused(words: &[&str], parts: &[&str]) {
    refused_with(2, words, parts);
}

fn refused_with(code: i32, words: &[&str], parts: &[&str]) {
    let output = loadtest(words);
    assert_eq!((output.code(), output.stderr.lines().count()), (Some(code), 1), "{output:?}");
    for part in parts {
        assert!(output.stderr.contains(part), "{part} is not in {}", output.stderr);
    }
}
