//! `hold`: the real program and the real server through all steps, and servers that leave some of them out.
//!
//! Refuses to assert times and memory, which are the machine's. Invariant: what is asserted is counted, and exact.

#![cfg(target_os = "linux")]

mod harness;

use std::net::TcpListener;

use harness::{count, loadtest, measured, tidegate};
use serde_json::Value;

/// A port that was free a moment ago: `loadtest` starts the server itself.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs `hold` against this application.
fn hold(app: &str, flags: &str, words: &[&str]) -> Value {
    let server = format!("{} serve --bind 127.0.0.1:{{port}} --app {app} {flags}", tidegate().display());
    let url = format!("ws://127.0.0.1:{}/", port());
    measured(&[&["hold", &url, "--server", &server], words].concat())
}

fn errors(record: &Value, kind: &str) -> u64 {
    record["errors"][kind]["count"].as_u64().unwrap_or(0)
}

/// More connections than one batch of the crowd has.
#[test]
fn all_go_through_everything() {
    let flags = "--ping-interval 300ms --pong-timeout 200ms";
    let record = hold("crowd", flags, &["-n", "1200", "--workers", "2", "--at-once", "64"]);
    let told = ["held", "echoed", "heard", "told_to_go", "failed", "dropped", "errors"];
    assert_eq!(told.map(|name| count(&record, name)), [1_200, 1_200, 1_200, 1_200, 0, 0, 0], "{record:#}");
    assert!(count(&record, "pinged") >= 1_200);
    let notes = record["notes"].to_string();
    assert!(notes.contains("1200 told to go away, 1200 closed, 0 cut"), "{notes}");
    let steps = record["tables"][0]["rows"].as_array().unwrap().len();
    assert_eq!(steps, 6);
}

/// Echo sends a text back to its sender only, nobody is pinged, and texts that come back are what nobody else hears.
#[test]
fn what_is_left_out_is_an_error() {
    let words = ["-n", "30", "--patience", "1s", "--pinged-within", "500ms"];
    let record = hold("echo", "--ping-interval 0", &words);
    assert_eq!(
        ["not heard", "not pinged", "no echo", "not told to go"].map(|kind| errors(&record, kind)),
        [29, 30, 0, 0]
    );
    assert_eq!(["echoed", "heard", "told_to_go"].map(|name| count(&record, name)), [30, 1, 30]);
    let record = hold("discard", "", &["-n", "30", "--patience", "1s", "--pinged-within", "0"]);
    assert_eq!((errors(&record, "no echo"), errors(&record, "not heard")), (30, 30), "{record:#}");
}

#[test]
fn without_a_server_of_ours_there_is_no_end_to_see() {
    let output = loadtest(&["hold", "ws://127.0.0.1:1/", "-n", "1"]);
    assert_eq!((output.code(), output.stderr.contains("--server")), (Some(2), true), "{output:?}");
}
