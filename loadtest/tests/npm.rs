//! The tool against `ws`, the WebSocket server of the JavaScript world: echo, churn and fanout without an error.
//!
//! Needs Node.js 20 or newer with npm, so it is no part of a plain `cargo test`: `--features npm` asks for it.
//! Invariant: nothing is installed outside the target folder.

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{count, figure, fresh, measured, times, until};

/// The server in Node.js.
struct Node {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Node {
    fn start() -> Self {
        let (from, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/npm"), fresh(".npm"));
        fs::create_dir_all(&folder).unwrap();
        for file in ["package.json", "package-lock.json", "echo.mjs"] {
            fs::copy(from.join(file), folder.join(file)).unwrap();
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).stdin(Stdio::null());
        let mut installing = npm.spawn().expect("npm is needed");
        let status = until("end of npm ci", || installing.try_wait().unwrap());
        assert!(status.success(), "npm ci: {status}");
        let mut node = Command::new("node");
        node.arg("echo.mjs").current_dir(&folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = node.spawn().expect("node is needed");
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Node { child, url: format!("ws://127.0.0.1:{}", port.trim()), folder }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn ws_is_measured_without_an_error() {
    let node = Node::start();
    let (echo, chat) = (format!("{}/echo", node.url), format!("{}/chat", node.url));
    let span = ["--warmup", "200ms", "--duration", "2s"];

    let size = ["-n", "20", "--depth", "4", "--size", "20:60%,1KiB:30%,64KiB:10%"];
    let record = measured(&[&["echo", &echo], &size[..], &span[..]].concat());
    let sent = count(&record, "sent");
    assert!(sent > 100, "{sent}");
    assert_eq!(count(&record, "answered"), sent);
    assert_eq!(
        ["lost", "duplicate", "reordered", "wrong", "errors"].map(|name| count(&record, name)),
        [0; 5]
    );
    assert_eq!(times(&record, "latency", "count"), sent as f64);

    // Compressed both ways, each message by itself and all of a connection together.
    for mode in ["--deflate=shared", "--deflate=dedicated"] {
        let json = ["--size", "1KiB", "--payload", "json", mode];
        let record = measured(&[&["echo", &echo], &json[..], &span[..]].concat());
        assert_eq!(count(&record, "answered"), count(&record, "sent"));
        assert_eq!(["lost", "wrong", "errors", "undeflated"].map(|name| count(&record, name)), [0; 4]);
        let ratios = ["sent_ratio", "received_ratio"].map(|name| figure(&record, name));
        assert!(ratios.iter().all(|ratio| *ratio > 2.0), "{mode}: {ratios:?}");
    }

    let record = measured(&[&["churn", &echo, "-n", "10"], &span[..]].concat());
    assert!(figure(&record, "handshakes_per_second") > 10.0);
    assert_eq!(["failed", "dropped", "errors"].map(|name| count(&record, name)), [0; 3]);

    let record = measured(&[&["fanout", &chat, "-n", "50", "--rate", "20"], &span[..]].concat());
    assert_eq!(count(&record, "delivered"), 50 * count(&record, "published"));
    assert!(times(&record, "last", "count") >= Duration::from_secs(2).as_secs_f64() * 15.0);
    assert_eq!(
        ["lost", "duplicate", "reordered", "wrong", "errors"].map(|name| count(&record, name)),
        [0; 5]
    );
}
