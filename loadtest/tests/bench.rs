//! `bench-peers`, and the options of scenarios that its cells need.
//!
//! Refuses to know how fast this machine is. Invariant: what is asserted is counts, what was written, and the words in
//! which it is told.

#![cfg(target_os = "linux")]

mod harness;
#[allow(dead_code, reason = "others read more of a record")]
#[path = "harness/said.rs"]
mod said;
#[path = "faulty/server.rs"]
mod server;

use std::fs;
use std::path::PathBuf;

use harness::{Running, Serving, count, fresh, loadtest, measured, until};
use rustix::process::{Pid, Signal, kill_process};
use said::{Said, serve, url};
use serde_json::Value;
use server::{Act, Server};

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = fresh("");
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn servers_are_compared_and_everything_is_written() {
    let folder = Folder::new();
    let peer = |name: &str, kind: &str, command: &str| {
        format!("[[peer]]\nname = '{name}'\nkind = '{kind}'\ncommand = '''{command}'''\nversion = '7'\n")
    };
    let listed = [
        peer("one-event", "raw", &format!("{} --events-max 1", serve())),
        peer("ends", "peer", "sh -c 'echo too old; exit 3' {port}"),
        peer("missing", "peer", "bin/missing --port {port}"),
    ];
    fs::write(folder.path("peers.toml"), listed.concat()).unwrap();
    let (before, after) =
        ("# Ours\n\n<!-- bench-peers writes from here -->", "<!-- to here -->\n\nWhat they do not say.\n");
    fs::write(folder.path("BENCHMARKS.md"), format!("{before}\nold\n{after}")).unwrap();
    let (peers, out, own) = (folder.path("peers.toml"), folder.path(""), serve());
    let words = ["bench-peers", "--peers", &peers, "--tidegate", &own, "--out", &out, "--rounds", "3"];
    let more = ["--visits", "2", "--duration", "200ms", "--cells", "echo-100x1x20"];
    let cpus = ["--server-cpu", "0", "--cpu", "0"];
    let ended = loadtest(&[&words[..], &more[..], &cpus[..]].concat());
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("3 servers, 1 cells, 3 rounds: about "), "{}", ended.stderr);
    assert!(ended.stderr.contains("missing is left out: there is no bin/missing"), "{}", ended.stderr);

    let document: Value = serde_json::from_str(&folder.read("benchmarks.json")).unwrap();
    assert_eq!(document["schema"], "tidegate-benchmarks/2");
    let cell = &document["cells"][0];
    assert_eq!((&cell["unfinished"], &cell["began"]), (&false.into(), &document["runs"][0]["began"]));
    assert_eq!((&cell["name"], &cell["raw"]), (&"echo-100x1x20".into(), &"one-event".into()));
    assert_eq!(cell["visits"], 2);
    let rustc = document["runs"][0]["machine"]["rustc"].as_str();
    assert!(rustc.is_some_and(|version| version.starts_with("rustc 1.")), "{rustc:?}");
    let results = cell["results"].as_array().unwrap();
    let of = |name: &str| results.iter().find(|result| result["row"] == name).unwrap();
    for name in ["tidegate", "one-event"] {
        let result = of(name);
        assert_eq!(result["rounds"].as_array().unwrap().len(), 3);
        for figure in ["value", "to_raw", "to_own"] {
            assert!(result[figure]["median"].as_f64().unwrap() > 0.0, "{figure} of {result}");
            let interval = result[figure]["interval"].as_array().unwrap();
            assert!(interval[0].as_f64().unwrap() <= interval[1].as_f64().unwrap());
        }
    }
    assert_eq!(of("tidegate")["to_own"]["median"], 1.0);
    assert_eq!(of("one-event")["to_raw"]["median"], 1.0);
    // One that cannot be measured has a reason and no number, and is not asked for ever.
    let ends = of("ends");
    assert_eq!((&ends["value"], &ends["to_raw"]), (&Value::Null, &Value::Null));
    let failures = ends["failures"].to_string();
    assert!(failures.contains("ended before it listened") && failures.contains("given up"), "{failures}");

    let text = folder.read("BENCHMARKS.md");
    assert!(text.starts_with(before) && text.ends_with(after) && !text.contains("old\n"), "{text}");
    assert!(text.contains("| **tidegate** | ") && text.contains("| ends | – |"), "{text}");
    assert!(ended.stdout.contains("| **tidegate** | "), "{}", ended.stdout);
    let page = folder.read("benchmarks.html");
    assert!(page.contains("<rect") && page.contains("times one-event"), "{page}");
}

#[test]
fn what_is_ended_early_replaces_nothing_that_is_whole() {
    let folder = Folder::new();
    let (peers, out, own) = (folder.path("peers.toml"), folder.path(""), serve());
    fs::write(&peers, "").unwrap();
    let words = ["bench-peers", "--peers", &peers, "--tidegate", &own, "--out", &out, "--duration", "100ms"];
    let cpus = ["--server-cpu", "0", "--cpu", "0"];
    let first = loadtest(&[&words[..], &cpus, &["--rounds", "1", "--cells", "echo-100x1x20"]].concat());
    assert_eq!(first.code(), Some(0), "{first:?}");
    assert!(!first.stdout.contains("| **tidegate** | – |"), "{}", first.stdout);

    let more = ["--rounds", "1000", "--cells", "echo-100x1x20,handshake"];
    let second = Running::start(&[&words[..], &cpus, &more].concat());
    // The last of the files that a round is written to, to its end.
    until("first round of the second run", || {
        let text = folder.read("BENCHMARKS.md");
        (text.contains("### handshake") && text.ends_with("<!-- to here -->\n")).then_some(())
    });
    // Somebody goes on writing meanwhile.
    let text = folder.read("BENCHMARKS.md") + "A word more.\n";
    fs::write(folder.path("BENCHMARKS.md"), text).unwrap();
    kill_process(Pid::from_raw(second.id() as i32).unwrap(), Signal::INT).unwrap();
    let ended = second.end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let document: Value = serde_json::from_str(&folder.read("benchmarks.json")).unwrap();
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    for (at, name, unfinished, run) in [(0, "echo-100x1x20", false, 1), (1, "handshake", true, 0)] {
        let cell = &document["cells"][at];
        assert_eq!((&cell["name"], &cell["unfinished"]), (&name.into(), &unfinished.into()));
        assert_eq!(cell["began"], document["runs"][run]["began"]);
    }
    let text = folder.read("BENCHMARKS.md");
    assert!(text.contains(", ended early.\n") && text.ends_with("A word more.\n"), "{text}");
}

#[test]
fn what_cannot_be_done_is_told_before_anything_is_measured() {
    let folder = Folder::new();
    let (peers, out, bare) = (folder.path("peers.toml"), folder.path(""), Folder::new());
    fs::write(bare.path("BENCHMARKS.md"), "# No marks\n").unwrap();
    let bare = bare.path("");
    for (listed, words, code, expected) in [
        ("[[peer]]\nname = 5\n", &["--out", &out][..], 2, "loadtest: --peers "),
        ("", &["--out", "/nonexistent"], 2, "loadtest: --out /nonexistent: there is no such folder"),
        ("", &["--out", &bare], 2, "BENCHMARKS.md: no lines `<!--"),
        ("", &["--out", &out, "--cells", "echo"], 2, "loadtest: --cells echo: there are echo-100x1x20, "),
        ("", &["--out", &out, "--only", "x"], 2, "loadtest: --only x: there are tidegate"),
        (
            "",
            &["--out", &out, "--tidegate", "bin/none {port}"],
            1,
            "loadtest: tidegate: there is no bin/none",
        ),
    ] {
        fs::write(&peers, listed).unwrap();
        let ended = loadtest(&[&["bench-peers", "--peers", &peers], words].concat());
        assert_eq!(ended.code(), Some(code), "{ended:?}");
        assert!(ended.stderr.contains(expected) && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(!folder.0.join("benchmarks.json").exists());
    }
}

#[test]
fn idle_connections_beside_never_send() {
    let server = Server::echo(|_| Act::Swallow);
    let times = ["--warmup", "0", "--duration", "300ms", "--timeout", "1s", "--connect-timeout", "1s"];
    let load = ["echo", &server.url(), "-n", "5", "--idle", "30", "--depth", "2", "--threads", "2"];
    let record = measured(&[&load[..], &times[..]].concat());
    // Nothing is answered, so each sends what may be on its way, and no more.
    assert_eq!((count(&record, "opened"), count(&record, "sent")), (35, 10));
    assert_eq!(server.tally.received(), 10);
}

/// Those that are held stay until the server ends them, and nobody comes in the place of one that it ended.
#[test]
fn those_who_come_and_go_do_so_beside_idle_ones() {
    let [stayed, ended] = [&["--ping-interval", "0"][..], &["--ping-interval", "0", "--idle-timeout", "1s"]]
        .map(|limits| {
            let server = Serving::start(limits);
            let (url, pid) = (format!("ws://{}/echo", server.address), server.id().to_string());
            let times = ["--warmup", "0", "--duration", "3s", "--server-pid", &pid];
            measured(&[&["churn", &url, "-n", "1", "--idle", "20"], &times[..]].concat())
        });
    assert_eq!((count(&stayed, "dropped"), count(&ended, "dropped")), (0, 20));
    for record in [&stayed, &ended] {
        // One may be open when the time is over.
        let (opened, counted) = (count(record, "opened"), count(record, "handshakes"));
        assert!(counted > 0 && (20..=21).contains(&(opened - counted)), "{opened} {counted}");
    }
    let gone = count(&stayed, "server_descriptors") - count(&ended, "server_descriptors");
    assert!((17..=23).contains(&gone), "{gone}");
}

#[test]
fn a_burst_is_published_at_once_and_counted_whole() {
    let words = ["-n", "4", "--rate", "100", "--burst", "20", "--duration", "300ms"];
    for warmup in ["0", "200ms"] {
        let server = Server::broadcast(|_| Act::Echo);
        let run = ["fanout", &server.url(), "--warmup", warmup];
        let record = measured(&[&run[..], &words[..]].concat());
        // At 0, 200 ms and, on a machine that is late, later ones.
        let published = count(&record, "published");
        assert!(published >= 40 && published.is_multiple_of(20), "{published}");
        assert_eq!(count(&record, "delivered"), 4 * published);
    }
    let words = ["fanout", "ws://127.0.0.1:1/", "--rate", "0.01", "--burst", "2000"];
    let ended = loadtest(&words);
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("less than one burst in a day"), "{ended:?}");
}

#[test]
fn what_the_server_keeps_is_told_when_it_has_rested() {
    let (url, server) = (url(), serve());
    let words = [url.as_str(), "--server", &server, "-n", "20", "--size", "64KiB", "--warmup=0"];
    let more = ["--duration=200ms", "--settle=200ms", "--slip-max=5s", "--lag-max=5s"];
    let said: Said = said::loadtest("echo", &[&words[..], &more[..]].concat()).measured();
    let figure = |name: &str| said.figure(name).unwrap_or_else(|| panic!("no {name}: {}", said.out));
    let (before, after) = (figure("server_rss_before"), figure("server_rss_after"));
    assert!((figure("server_kept_per_connection") - (after - before) / 20.0).abs() < 1e-6);
    let (start, closed) = (figure("server_rss_start"), figure("server_rss_closed"));
    assert!(start > 100_000.0 && closed > 100_000.0, "{start} {closed}");
    assert_eq!(figure("server_rss_left"), closed - start);
    assert!(figure("server_switches") > 0.0);
}
