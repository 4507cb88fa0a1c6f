//! `search`, `compare` and `plan` against a real server.
//!
//! Refuses to know how fast this machine is. Invariant: nothing here depends on a time; what is asserted is counts,
//! memory, and the words in which they are told.

#![cfg(target_os = "linux")]

mod harness;
#[path = "harness/said.rs"]
mod said;

use said::{loadtest, serve, url};

/// Limits of the verdict that a noisy machine keeps as well.
const PATIENT: [&str; 4] = ["--slip-max=5s", "--lag-max=5s", "--duration=300ms", "--warmup=100ms"];

#[test]
fn a_search_ends_at_the_knee() {
    let (url, server) = (url(), serve());
    // Each connection is a descriptor, so the knee is known before.
    let until =
        ["--largest=connections", "--until=server_descriptors<60", "--from=10", "--to=200", "--within=0"];
    let words = [&[url.as_str(), "--server", &server, "--rate-each=20"], &until[..], &PATIENT[..]].concat();
    let said = loadtest("search", &words).measured();
    let rows = said.rows("Steps");
    assert!(!rows.is_empty(), "{}", said.out);
    if said.code == 0 {
        let (knee, failed) = (said.figure("knee").unwrap(), said.figure("first_failed").unwrap());
        assert!((40.0..60.0).contains(&knee), "{knee}\n{}", said.out);
        assert_eq!(failed, knee + 1.0, "{}", said.out);
        assert_eq!(said.figure("at_knee_server_descriptors"), Some(59.0));
        // A step that failed was measured twice.
        let at = |value: f64| rows.iter().filter(|row| row[0] == format!("{value}")).count();
        assert!(at(failed) >= 2, "{rows:?}");
    } else {
        assert!(said.out.contains("steps past the generator"), "{}", said.out);
    }
}

#[test]
fn a_search_for_what_is_not_measured_ends_at_once() {
    let (url, server) = (url(), serve());
    let words =
        [&[url.as_str(), "--server", &server, "--until=p98<1ms", "--from=100"], &PATIENT[..]].concat();
    let said = loadtest("search", &words);
    assert_eq!(said.code, 2, "{}", said.complaints);
    let last = said.complaints.lines().last().unwrap();
    assert!(
        last.starts_with("loadtest: --until: condition p98 < 1 ms: this record has no figure p98"),
        "{last}"
    );
}

#[test]
fn servers_are_told_apart_by_what_they_take() {
    let (url, server) = (url(), serve());
    let (lean, same) = (format!("lean={server}"), format!("same={server}"));
    // A shell that keeps tens of megabytes, and serves as well.
    let fat = format!("fat=sh -c 'kept=$(head -c 40000000 /dev/zero | tr \"\\0\" x); {server} & wait'");
    let sides = ["--server", &lean, "--server", &same, "--server", &fat, "--rounds=3", "--"];
    let echo = ["echo", &url, "--connections=20"];
    let said = loadtest("compare", &[&sides[..], &echo[..], &PATIENT[..]].concat()).measured();
    let (low, high) = said.interval("fat.server_rss").unwrap();
    assert!(1.5 < low && low <= high, "{low} to {high}\n{}", said.out);
    assert!(said.notes().contains("larger than lean, which is worse"), "{}", said.notes());
    let (low, high) = said.interval("same.server_rss").unwrap();
    assert!(low < 1.05 && 0.95 < high, "{low} to {high}\n{}", said.out);
    let told = said.rows("same against lean");
    let memory = told.iter().find(|row| row[0] == "server_rss").unwrap();
    assert_eq!(memory[5].contains("no difference"), low <= 1.0 && 1.0 <= high, "{memory:?}");
    let errors = told.iter().find(|row| row[0] == "errors");
    assert!(errors.is_none_or(|row| row[5] == "both zero"), "{errors:?}");
}

#[test]
fn a_plan_is_held_against_the_real_thing() {
    let (url, server) = (url(), serve());
    let words = ["--server", &server, "--from=100", "--up-to=500", "--connections=2000", "--rate=1k"];
    let more = ["--handshakes=10", "--verify=1500", "--duration=300ms"];
    let said = loadtest("plan", &[&[url.as_str()], &words[..], &more[..]].concat()).measured();
    assert!(said.notes().contains("Verified at 1,500 connections: predicted "), "{}", said.notes());
    let error = said.figure("verify_error").unwrap();
    assert!(error < 0.25, "{error}\n{}", said.out);
    assert!(said.figure("planned_server_memory").unwrap() > said.figure("server_base").unwrap());
    let titles = ["What one costs", "What the planned load needs", "What stops it first"];
    assert!(titles.iter().all(|title| !said.rows(title).is_empty()), "{}", said.out);
}

#[test]
fn a_plan_does_not_reach_too_far() {
    for (words, code, expected) in [
        (
            &["--server=true", "--connections=1M"][..],
            1,
            "loadtest: measured up to 5,000; 1,000,000 is 200 times that; measure up to at least 100,000 with --up-to\n",
        ),
        (&["--connections=10k"], 2, "give --server COMMAND or --server-pid PID\n"),
        (
            &["--server=true", "--from=5k"],
            2,
            "loadtest: --from 5000 is not below --up-to 5000; give two that differ\n",
        ),
    ] {
        let said = loadtest("plan", &[&["ws://127.0.0.1:1/"], words].concat());
        assert_eq!(said.code, code, "{}", said.complaints);
        assert!(said.complaints.ends_with(expected), "{}", said.complaints);
    }
}
