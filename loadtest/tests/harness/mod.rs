//! The tool as a child process, and what it wrote, read back.
//!
//! Refuses to trust the tool: it is run as people run it, and its record is read as plain JSON. Invariant: no wait is
//! without an end, and no child outlives the test that started it.

#![allow(dead_code, reason = "each test file is a crate of its own and uses its part of this")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any run of a test takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Limits that a run meets on any machine: for tests of the figures, not of the generator.
pub const LENIENT: [&str; 6] = ["--slip-max", "1h", "--lag-max", "1h", "--cpu-max", "100"];

/// How a run ended, and what it said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Looks until there is something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A name in the tests' own folder that no other test has.
pub fn fresh(ending: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{number}{ending}", std::process::id()))
}

/// A run in progress.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts `loadtest` with these words.
    pub fn start<S: AsRef<str>>(words: &[S]) -> Self {
        let (stdout, stderr) = (fresh(".out"), fresh(".err"));
        let child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(words.iter().map(AsRef::as_ref))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(fs::File::create(&stdout).unwrap())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running { child, stdout, stderr }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Output {
        let status = until("end of the run", || self.child.try_wait().unwrap());
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Output { status, stdout: read(&self.stdout), stderr: read(&self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.stdout);
        let _ = fs::remove_file(&self.stderr);
    }
}

/// Runs `loadtest` with these words to its end.
pub fn loadtest<S: AsRef<str>>(words: &[S]) -> Output {
    Running::start(words).end()
}

/// Runs it with limits that any machine meets, and returns its record; the words are those of a scenario.
pub fn measured(words: &[&str]) -> Value {
    let path = fresh(".json");
    let json = ["--json", path.to_str().unwrap()];
    let output = loadtest(&[words, &LENIENT, &json].concat());
    assert!(path.exists(), "{words:?} wrote no record: {output:?}");
    let read = record(&path);
    let _ = fs::remove_file(&path);
    read
}

/// A record as it was written.
pub fn record(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The value of a figure.
pub fn figure(record: &Value, name: &str) -> f64 {
    let figures = record["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["name"] == name);
    found.and_then(|figure| figure["value"].as_f64()).unwrap_or_else(|| panic!("no {name} in {figures:?}"))
}

/// A whole number among the figures.
pub fn count(record: &Value, name: &str) -> u64 {
    let value = figure(record, name);
    assert!(value >= 0.0 && value.fract() == 0.0, "{name} is {value}");
    value as u64
}

/// One number of a histogram, such as `count` or `p99_us`.
pub fn times(record: &Value, name: &str, field: &str) -> f64 {
    let value = record["times"][name][field].as_f64();
    value.unwrap_or_else(|| panic!("no {field} of {name}: {}", record["times"]))
}

/// Asserts that ten connections sent something, and that all of it came back once, in order and unchanged.
pub fn assert_echoed(record: &Value, words: &[&str]) {
    let sent = count(record, "sent");
    assert!(sent > 20, "{words:?}: {sent}");
    assert_eq!(count(record, "answered"), sent, "{words:?}");
    assert_eq!(times(record, "latency", "count"), sent as f64);
    let bad = ["lost", "duplicate", "reordered", "wrong", "failed", "dropped", "errors"];
    assert_eq!(bad.map(|name| count(record, name)), [0; 7], "{words:?}: {}", record["errors"]);
    assert_eq!(count(record, "opened"), 10);
}

/// How often this kind of error was seen.
pub fn errors(record: &Value, kind: &str) -> u64 {
    record["errors"][kind]["count"].as_u64().unwrap_or(0)
}

/// The measured value of a check and whether it was met.
pub fn check(record: &Value, name: &str) -> (f64, bool) {
    let checks = record["verdict"]["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("no check {name} in {checks:?}"));
    (check["measured"].as_f64().unwrap(), check["ok"].as_bool().unwrap())
}

/// The program `tidegate`, built as it is now.
pub fn tidegate() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--package", "tidegate", "--features", "cli", "--bin", "tidegate"])
        .args(["--message-format=json", "--quiet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "tidegate does not build");
    let lines = String::from_utf8(output.stdout).unwrap();
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut paths = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    paths.next_back().expect("cargo names the program that it built")
}

/// `tidegate serve` as a process of its own.
pub struct Serving {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Serving {
    /// Starts it on a free port, with these further words.
    pub fn start(words: &[&str]) -> Self {
        let mut child = Command::new(tidegate())
            .args(["serve", "--bind", "127.0.0.1:0"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        // What it says at its start names its address; a server that says nothing ends this line with itself.
        let address = output.lines().map_while(Result::ok).find_map(|line| {
            let at = line.find("127.0.0.1:")?;
            let end = line[at..].find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
            Some(line[at..end.map_or(line.len(), |end| at + end)].to_string())
        });
        Serving { child, address: address.expect("the server names its address") }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
