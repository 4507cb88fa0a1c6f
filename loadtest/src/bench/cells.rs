//! The loads under which servers are compared: each a list of words that `loadtest` takes, and the figure it is about.
//!
//! Refuses to run anything. Invariant: every cell can be measured by hand with the very words that stand here, and all
//! servers of a cell get the same ones.

use tidegate::program::failure::Failure;

/// A load.
#[derive(Debug, PartialEq)]
pub struct Load {
    pub name: &'static str,
    pub title: &'static str,
    scenario: &'static str,
    words: &'static str,
    /// The figure of the record, and what it is told of.
    pub figure: &'static str,
    pub unit: &'static str,
    /// Seconds of a run besides its `--warmup` and `--duration`: connecting, last answers, closing.
    seconds: f64,
    /// Payload bytes of what is counted, where bytes decide.
    pub bytes: Option<f64>,
}

/// Warm-up of a load that has one.
pub const WARMUP: f64 = 0.2;
/// Loads that take longer than this to connect and close are visited once in a round.
const QUICK: f64 = 2.0;
/// What the generator's own lateness would spoil is no subject here, so it does not end a run as INVALID.
const PATIENT: &str = "--slip-max 1h --lag-max 1h --cpu-max 100";

const MESSAGE: (&str, &str) = ("server_cpu_per_message", "µs per message");
const RECIPIENT: (&str, &str) = ("server_cpu_per_delivery", "µs per recipient");

/// Messages that come back, as many on the way as there is room for.
const fn echo(
    name: &'static str,
    title: &'static str,
    words: &'static str,
    bytes: Option<f64>,
    seconds: f64,
) -> Load {
    Load { name, title, scenario: "echo", words, figure: MESSAGE.0, unit: MESSAGE.1, seconds, bytes }
}

/// What one sends to all.
const fn broadcast(
    name: &'static str,
    title: &'static str,
    words: &'static str,
    bytes: Option<f64>,
    seconds: f64,
) -> Load {
    Load { name, title, scenario: "fanout", words, figure: RECIPIENT.0, unit: RECIPIENT.1, seconds, bytes }
}

const KIB: f64 = 1024.0;

/// All of them, in the order in which they are told. `{warmup}` and `{duration}` are put in.
pub const LOADS: &[Load] = &[
    echo(
        "echo-100x1x20",
        "echo: 100 connections, 1 message of 20 bytes on the way each",
        "-n 100 --depth 1 --binary --size 20 --warmup {warmup} --duration {duration}",
        None,
        1.5,
    ),
    echo(
        "echo-100x16x20",
        "echo: 100 connections, 16 messages of 20 bytes on the way each",
        "-n 100 --depth 16 --binary --size 20 --warmup {warmup} --duration {duration}",
        None,
        1.5,
    ),
    echo(
        "echo-1000x1x125",
        "echo: 1,000 connections, 1 message of 125 bytes on the way each",
        "-n 1000 --depth 1 --binary --size 125 --warmup {warmup} --duration {duration}",
        None,
        2.0,
    ),
    echo(
        "echo-100x1x1KiB",
        "echo: 100 connections, 1 message of 1 KiB on the way each",
        "-n 100 --depth 1 --binary --size 1KiB --warmup {warmup} --duration {duration}",
        Some(KIB),
        1.5,
    ),
    echo(
        "echo-100x1x16KiB",
        "echo: 100 connections, 1 message of 16 KiB on the way each",
        "-n 100 --depth 1 --binary --size 16KiB --warmup {warmup} --duration {duration}",
        Some(16.0 * KIB),
        1.5,
    ),
    echo(
        "text-100x1x16KiB",
        "echo: 100 connections, 1 text of 16 KiB on the way each",
        "-n 100 --depth 1 --size 16KiB --warmup {warmup} --duration {duration}",
        Some(16.0 * KIB),
        1.5,
    ),
    echo(
        "echo-10x1x1MiB",
        "echo: 10 connections, 1 message of 1 MiB on the way each",
        "-n 10 --depth 1 --binary --size 1MiB --warmup {warmup} --duration {duration}",
        Some(KIB * KIB),
        1.5,
    ),
    echo(
        "echo-100x1x20+10k",
        "echo: 100 connections, 1 message of 20 bytes on the way each, beside 10,000 idle connections",
        "-n 100 --idle 10k --depth 1 --binary --size 20 --warmup {warmup} --duration {duration}",
        None,
        5.0,
    ),
    echo(
        "echo-10kx1x20",
        "echo: 10,000 connections, 1 message of 20 bytes on the way each",
        "-n 10k --depth 1 --binary --size 20 --warmup {warmup} --duration {duration}",
        None,
        5.0,
    ),
    broadcast(
        "cast-1kx128",
        "broadcast: 1 to 1,000, 128 bytes, one at a time",
        "-n 1000 --size 128 --rate 100 --warmup {warmup} --duration {duration}",
        None,
        2.0,
    ),
    broadcast(
        "cast-1kx4KiB",
        "broadcast: 1 to 1,000, 4 KiB, one at a time",
        "-n 1000 --size 4KiB --rate 50 --warmup {warmup} --duration {duration}",
        Some(4.0 * KIB),
        2.0,
    ),
    broadcast(
        "cast-10kx128",
        "broadcast: 1 to 10,000, 128 bytes, one at a time",
        "-n 10k --size 128 --rate 10 --warmup {warmup} --duration {duration}",
        None,
        6.0,
    ),
    broadcast(
        "cast-10kx4KiB",
        "broadcast: 1 to 10,000, 4 KiB, one at a time",
        "-n 10k --size 4KiB --rate 5 --warmup {warmup} --duration {duration}",
        Some(4.0 * KIB),
        6.0,
    ),
    broadcast(
        "burst-1kx128",
        "broadcast: 1 to 1,000, 128 bytes, 100 at once",
        "-n 1000 --size 128 --rate 400 --burst 100 --timeout 30s --warmup {warmup} --duration 1500ms",
        None,
        5.5,
    ),
    broadcast(
        "burst-1kx4KiB",
        "broadcast: 1 to 1,000, 4 KiB, 100 at once",
        "-n 1000 --size 4KiB --rate 400 --burst 100 --timeout 30s --warmup {warmup} --duration 1500ms",
        Some(4.0 * KIB),
        6.5,
    ),
    broadcast(
        "burst-10kx128",
        "broadcast: 1 to 10,000, 128 bytes, 100 at once",
        "-n 10k --size 128 --rate 1 --burst 100 --timeout 60s --warmup 0 --duration {duration}",
        None,
        10.0,
    ),
    broadcast(
        "burst-10kx4KiB",
        "broadcast: 1 to 10,000, 4 KiB, 100 at once",
        "-n 10k --size 4KiB --rate 1 --burst 100 --timeout 60s --warmup 0 --duration {duration}",
        Some(4.0 * KIB),
        16.0,
    ),
    Load {
        name: "handshake",
        title: "connect, upgrade and close, 50 at a time",
        scenario: "churn",
        words: "-n 50 --warmup {warmup} --duration {duration}",
        figure: "server_cpu_per_handshake",
        unit: "µs per handshake and close",
        seconds: 1.5,
        bytes: None,
    },
    Load {
        name: "idle-memory",
        title: "resident memory of an idle connection: the slope from 1,000 to 15,000",
        scenario: "idle",
        words: "-n 15k --first 1000 --steps 5 --ramp 5k --hold 500ms",
        figure: "server_bytes_per_connection",
        unit: "bytes per connection",
        seconds: 8.0,
        bytes: None,
    },
    Load {
        name: "memory-left",
        title: "resident memory more than at the start, when 15,000 connections have echoed 64 KiB and closed",
        scenario: "echo",
        words: "-n 15k --ramp 5k --depth 1 --size 64KiB --settle 1s --timeout 60s --warmup 0 --duration 500ms",
        figure: "server_rss_left",
        unit: "bytes",
        seconds: 15.0,
        bytes: None,
    },
    Load {
        name: "memory-kept",
        title: "resident memory that an open connection keeps of a 1 MiB message that it has echoed",
        scenario: "echo",
        words: "-n 100 --depth 1 --size 1MiB --settle 1s --timeout 60s --warmup 0 --duration 500ms",
        figure: "server_kept_per_connection",
        unit: "bytes per connection",
        seconds: 5.0,
        bytes: None,
    },
];

impl Load {
    /// The path whose application it is about.
    pub fn path(&self) -> &'static str {
        if self.is_broadcast() { "/chat" } else { "/echo" }
    }

    pub fn is_broadcast(&self) -> bool {
        self.scenario == "fanout"
    }

    /// Memory has values at and below zero, of which there are no ratios.
    pub fn is_memory(&self) -> bool {
        !self.figure.starts_with("server_cpu")
    }

    /// The words of one measurement, without the server.
    pub fn words(&self, url: &str, seconds: f64, generator_cpu: &[usize]) -> Vec<String> {
        let text = self
            .words
            .replace("{warmup}", &format!("{}ms", (WARMUP * 1e3) as u64))
            .replace("{duration}", &format!("{}ms", (seconds * 1e3).ceil() as u64));
        let mut words = vec![self.scenario.to_string(), url.to_string()];
        words.extend(text.split_whitespace().chain(PATIENT.split_whitespace()).map(String::from));
        if !generator_cpu.is_empty() {
            words.extend(["--cpu".to_string(), crate::server::cpu::list(generator_cpu)]);
        }
        words
    }

    /// How often each server is measured in a round: as often as is asked for, where that is not mostly connecting. What a
    /// server keeps in memory is only to be told of a fresh one.
    pub fn visits(&self, wanted: u64) -> u64 {
        if self.is_memory() || self.seconds > QUICK { 1 } else { wanted }
    }

    /// About so many seconds for one measurement.
    pub fn lasts(&self, seconds: f64) -> f64 {
        let measured = if self.words.contains("{duration}") { seconds } else { 0.0 };
        let before = if self.words.contains("{warmup}") { WARMUP } else { 0.0 };
        self.seconds + measured + before
    }
}

/// Those that are named, or all; a name that ends in `*` stands for all that begin so.
///
/// # Errors
/// When a name is not among them.
pub fn named(names: &[String]) -> Result<Vec<&'static Load>, Failure> {
    let meant = |name: &str, load: &Load| match name.strip_suffix('*') {
        Some(start) => load.name.starts_with(start),
        None => load.name == name,
    };
    for name in names {
        if !LOADS.iter().any(|load| meant(name, load)) {
            let all: Vec<&str> = LOADS.iter().map(|load| load.name).collect();
            return Err(Failure::usage(format!("--cells {name}: there are {}", all.join(", "))));
        }
    }
    let wanted = |load: &&Load| names.is_empty() || names.iter().any(|name| meant(name, load));
    Ok(LOADS.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn all_cells_are_command_lines() {
        for load in LOADS {
            let words = load.words(&format!("ws://127.0.0.1:1{}", load.path()), 2.0, &[1]);
            let words = std::iter::once("loadtest").chain(words.iter().map(String::as_str));
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{}: {}", load.name, parsed.unwrap_err());
            assert!(!load.words.contains("  ") && (2.0..60.0).contains(&load.lasts(2.0)), "{}", load.name);
            assert_eq!(LOADS.iter().filter(|other| other.name == load.name).count(), 1);
        }
    }

    #[test]
    fn only_what_connects_quickly_is_visited_often() {
        for (name, visits) in
            [("echo-100x1x20", 30), ("handshake", 30), ("echo-10kx1x20", 1), ("memory-kept", 1)]
        {
            assert_eq!(named(&[name.to_string()]).unwrap()[0].visits(30), visits, "{name}");
        }
    }

    #[test]
    fn cells_are_found_by_name() {
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            named(&names).map(|loads| loads.iter().map(|load| load.name).collect::<Vec<_>>())
        };
        assert_eq!(found(&[]).unwrap().len(), LOADS.len());
        assert_eq!(found(&["handshake", "idle*"]).unwrap(), ["handshake", "idle-memory"]);
        assert!(
            found(&["idle"]).unwrap_err().to_string().starts_with("--cells idle: there are echo-100x1x20, ")
        );
    }
}
