//! A run of `loadtest` against a server that it starts itself: what it said, and its record if there is one.
//!
//! Refuses to judge a run. Invariant: a run that wrote no record has said why, and that is kept.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{self, fresh};

/// A command that serves at the URL's port.
pub fn serve() -> String {
    format!("{} serve --bind 127.0.0.1:{{port}}", harness::tidegate().display())
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
    let file = fresh(".json");
    let ended = harness::loadtest(&[&[scenario, "--json", file.to_str().unwrap()], words].concat());
    let record = if file.exists() { harness::record(&file) } else { Value::Null };
    let _ = std::fs::remove_file(&file);
    let code = ended.code().unwrap_or(-1);
    Said { code, out: ended.stdout, complaints: ended.stderr, record }
}
