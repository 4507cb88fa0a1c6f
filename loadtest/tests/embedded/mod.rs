//! A tidegate server on a thread of the test, and the program `loadtest` run against it.
//!
//! Knows public interfaces only: tidegate's, and the program's command line and JSON. Invariants: nothing waits without
//! a deadline, and a server ends with its handle.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tidegate::{Config, ConnId, Context, Handle, Handler, Message, Server, Turn};

use crate::harness::{PATIENCE, fresh, loadtest, record};

/// What one sends, all get.
pub struct Chat;

impl Handler for Chat {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if let Err(error) = cx.subscribe(conn, "all") {
            cx.close(conn, 1013, &error.to_string());
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, msg: Message<'_>) {
        cx.publish("all", msg);
    }
}

/// A server that runs until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server of [`Chat`] on a free port.
pub fn start(config: Config) -> Running {
    start_with(config, Chat)
}

/// Starts a server of an application on a free port.
pub fn start_with(config: Config, mut app: impl Handler + Send + 'static) -> Running {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut server = Server::bind("127.0.0.1:0", config).expect("a free port");
        tell.send((server.local_addr().unwrap(), server.handle())).unwrap();
        while !matches!(server.turn(&mut app, None).unwrap(), Turn::Stopped(_)) {}
    });
    let (address, handle) = told.recv_timeout(PATIENCE).expect("a server that listens");
    Running { address, handle, thread: Some(thread) }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.handle.shutdown();
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the server panicked");
        }
    }
}

/// What a run has left behind.
pub struct Record {
    json: Value,
    figures: BTreeMap<String, f64>,
}

impl Record {
    /// A figure's value.
    #[track_caller]
    pub fn figure(&self, name: &str) -> f64 {
        let value = self.figures.get(name).copied();
        value.unwrap_or_else(|| panic!("no figure {name}; {:#?}\n{}", self.figures, self.told()))
    }

    /// Whether there is such a figure.
    pub fn has(&self, name: &str) -> bool {
        self.figures.contains_key(name)
    }

    /// How often this kind of error was seen.
    pub fn errors(&self, kind: &str) -> u64 {
        self.json["errors"][kind]["count"].as_u64().unwrap_or(0)
    }

    /// The rows of the table with this title.
    #[track_caller]
    pub fn table(&self, title: &str) -> Vec<Vec<String>> {
        let tables = self.json["tables"].as_array().unwrap();
        let table = tables.iter().find(|table| table["title"] == title);
        let table = table.unwrap_or_else(|| panic!("no table {title}\n{}", self.told()));
        serde_json::from_value(table["rows"].clone()).unwrap()
    }

    /// Errors, tables and notes, for a test that fails.
    pub fn told(&self) -> String {
        format!("{:#}\n{:#}\n{:#}", self.json["errors"], self.json["tables"], self.json["notes"])
    }
}

/// Runs `loadtest`, whose words may hold `{address}`, and reads its record. Whether it was VALID is the machine's
/// business.
#[track_caller]
pub fn run(server: &Running, words: &str) -> Record {
    let file = fresh(".json");
    let words = words.replace("{address}", &server.address.to_string());
    let words: Vec<&str> = words.split_ascii_whitespace().chain(["--json", file.to_str().unwrap()]).collect();
    let status = loadtest(&words).status;
    assert!(matches!(status.code(), Some(0 | 3)), "loadtest {words:?}: {status}");
    let json = record(&file);
    let _ = fs::remove_file(&file);
    let figures = json["figures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|figure| (figure["name"].as_str().unwrap().to_string(), figure["value"].as_f64().unwrap()));
    Record { figures: figures.collect(), json }
}
