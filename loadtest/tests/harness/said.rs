//! What tests of the program share: a real `tidegate`, a free port, a run of `loadtest` with its record.
//!
//! Refuses to judge a run. Invariant: what a test writes lies in a folder of its own and is removed after it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

/// The server's program, built on first use.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let words = ["build", "--package", "tidegate", "--features", "cli", "--bin", "tidegate"];
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(words).arg("--message-format=json").current_dir(root).stderr(Stdio::inherit());
        let built = cargo.output().unwrap();
        assert!(built.status.success(), "tidegate could not be built");
        let told = String::from_utf8(built.stdout).unwrap();
        let mut paths = told.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message["executable"].as_str()?))
        });
        paths.next_back().unwrap()
    })
}

/// A command that serves at the URL's port.
pub fn serve() -> String {
    format!("{} serve --bind 127.0.0.1:{{port}}", program().display())
}

/// The URL of a port that nobody listens on.
pub fn url() -> String {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("ws://{address}/echo")
}

/// What a run of `loadtest` said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub complaints: String,
    /// Null when there is none.
    pub record: Value,
}

impl Said {
    pub fn figure(&self, name: &str) -> Option<f64> {
        let figures = self.record["figures"].as_array()?;
        figures.iter().find(|figure| figure["name"] == name)?["value"].as_f64()
    }

    pub fn interval(&self, name: &str) -> Option<(f64, f64)> {
        let figures = self.record["figures"].as_array()?;
        let interval = &figures.iter().find(|figure| figure["name"] == name)?["interval"];
        Some((interval[0].as_f64()?, interval[1].as_f64()?))
    }

    /// The rows of a table.
    pub fn rows(&self, title: &str) -> Vec<Vec<String>> {
        let tables = self.record["tables"].as_array().cloned().unwrap_or_default();
        let table = tables.into_iter().find(|table| table["title"] == title);
        table.map_or_else(Vec::new, |table| serde_json::from_value(table["rows"].clone()).unwrap())
    }

    pub fn notes(&self) -> String {
        self.record["notes"].to_string()
    }

    /// It was measured; whether the machine was quiet enough to believe it is not the tests' to say.
    #[track_caller]
    pub fn measured(self) -> Self {
        assert!(matches!(self.code, 0 | 3), "exit code {}: {}\n{}", self.code, self.out, self.complaints);
        self
    }
}

/// Runs `loadtest scenario --json FILE words`.
pub fn loadtest(scenario: &str, words: &[&str]) -> Said {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("loadtest-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("record.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    let ended = command.arg(scenario).arg("--json").arg(&file).args(words).output().unwrap();
    let record = std::fs::read(&file).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, complaints) = (text(&ended.stdout), text(&ended.stderr));
    Said { code: ended.status.code().unwrap_or(-1), out, complaints, record }
}
