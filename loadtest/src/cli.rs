//! The command line: what can be asked, with which defaults.
//!
//! Refuses to do anything. Invariant: every value is checked here or where it is used first, and a wrong one ends in one
//! line and exit code 2.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tidegate::program::units;

use crate::gate::Gate;
use crate::mix::Mix;
use crate::order::{Deflate, Payload, Version};

/// The longest time that can be asked for: far from where clocks and sums of times end.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Measures WebSocket servers, and says when its own figures cannot be believed.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, disable_help_subcommand = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 measured and every threshold met, 1 a threshold failed or the run could not be made, \
    2 wrong command line, 3 the run is INVALID: the generator was the bottleneck. An INVALID run ends with 3 whether or \
    not a threshold failed.\n\n\
    Try: loadtest echo ws://127.0.0.1:9001/echo --connections 100 --rate 10k --duration 10s"
)]
pub struct Cli {
    #[command(subcommand)]
    pub scenario: Scenario,
}

#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// How many connections, how fast they join, what each costs: ramp up, hold, fit bytes per connection
    Idle(Idle),
    /// Latency and throughput of messages that come back, checked byte for byte
    Echo(Echo),
    /// What one sends, all get: first, median and last delivery, loss, duplicates, order
    Fanout(Fanout),
    /// Connect, upgrade, close, over and over: handshakes per second and the time of each phase
    Churn(Churn),
    /// Very many connections through everything once: echo, broadcast, ping, the server's graceful end
    Hold(Hold),
    /// Some readers stop reading: their fate, and what the others feel
    Slow(Slow),
    /// All connections drop and come back at once: how long until they are in again
    Storm(Storm),
    /// Peers disappear without a word: how long until the server notices (Linux)
    Vanish(Vanish),
    /// The largest number of connections, or the highest rate, at which a bound holds
    Search(Search),
    /// Two or more servers or configurations, measured in turns: which one is faster, and how sure that is
    Compare(Compare),
    /// tidegate, other servers and a bare loop in turns: what each costs, as JSON, tables and a page
    BenchPeers(BenchPeers),
    /// From small runs: what a large one will need, and what will stop it first
    Plan(Plan),
    /// Make one page of several runs, or the page of a run again
    Report(Report),
    /// Add up runs of several machines
    Merge(Merge),
    /// Not for people: what the worker processes run
    #[command(hide = true)]
    Worker,
}

/// What all scenarios have in common.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The server: ws://HOST:PORT/PATH, or wss:// for TLS; raw:// for one that knows no WebSocket and sends the very bytes back
    pub url: String,
    /// Threads that make load, one loop each
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive, help_heading = "Generator")]
    pub threads: u64,
    /// Worker processes; by default as many as the descriptor limit demands
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Generator")]
    pub workers: Option<u64>,
    /// Processors for the threads, for instance 1 or 2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',', help_heading = "Generator")]
    pub cpu: Vec<usize>,
    /// Addresses to connect from, in turn; towards loopback as many of 127.0.0.0/8 as are needed
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', help_heading = "Generator")]
    pub source: Vec<IpAddr>,
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Generator")]
    pub seed: u64,
    /// Offer this subprotocol; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    pub protocol: Vec<String>,
    /// Send this header field; may be repeated
    #[arg(long, value_name = "NAME: VALUE", help_heading = "Connection")]
    pub header: Vec<String>,
    /// Take this address for a host, instead of asking DNS
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "Connection")]
    pub resolve: Vec<String>,
    /// wss: trust servers that the certificates in this file (PEM) vouch for, where the name is right
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub ca: Option<String>,
    /// wss: trust whoever answers; for servers with a certificate of their own making
    #[arg(long, conflicts_with = "ca", help_heading = "Connection")]
    pub insecure: bool,
    /// wss: offer this version alone, instead of both
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "Connection")]
    pub tls_version: Option<Version>,
    /// Time for a connection and its opening handshake
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span, help_heading = "Connection")]
    pub connect_timeout: Duration,
    /// Time after which a message without an answer is lost
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span, help_heading = "Connection")]
    pub timeout: Duration,
    /// Send a ping on each connection this often; 0 sends none
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = pause, help_heading = "Connection")]
    pub ping: Duration,
    /// Start this server for the run, and stop it after; {port} is replaced by the URL's port
    #[arg(long, value_name = "COMMAND", help_heading = "Server")]
    pub server: Option<String>,
    /// Start so many of it, for servers that share their port (SO_REUSEPORT)
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive, requires = "server", help_heading = "Server")]
    pub servers: u64,
    /// Processors for the server, for instance 0
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "server", help_heading = "Server")]
    pub server_cpu: Vec<usize>,
    /// Measure this process, and its children, as the server
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        conflicts_with = "server",
        help_heading = "Server"
    )]
    pub server_pid: Vec<u32>,
    /// The run is invalid when sends left later than planned by more than this (p99)
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = span, help_heading = "Verdict")]
    pub slip_max: Duration,
    /// ... when the generator's loop came back later than asked by more than this (p99)
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = span, help_heading = "Verdict")]
    pub lag_max: Duration,
    /// ... when a thread of the generator used more than this share of its processor
    #[arg(long, value_name = "PERCENT", default_value = "90", value_parser = percent, help_heading = "Verdict")]
    pub cpu_max: f64,
    /// Fail (exit code 1) if this holds, for instance 'p99>5ms', 'errors>0', 'p99>+10%'; may be repeated
    #[arg(long, value_name = "CONDITION", value_parser = Gate::parse, help_heading = "Verdict")]
    pub fail_if: Vec<Gate>,
    /// The run that conditions with + or - compare with
    #[arg(long, value_name = "FILE.json", help_heading = "Verdict")]
    pub baseline: Option<PathBuf>,
    /// Go on although the machine is known to be too small
    #[arg(long, help_heading = "Verdict")]
    pub force: bool,
    #[command(flatten)]
    pub outputs: Outputs,
}

/// Where results go, besides the terminal.
#[derive(Args, Clone, Debug, Default)]
pub struct Outputs {
    /// Everything, for programs (docs/LOADTEST.md describes it)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// The figures, for spreadsheets
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// A page with plots that needs no network
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// A name for this run
    #[arg(long, value_name = "TEXT", help_heading = "Output")]
    pub title: Option<String>,
}

/// When messages are sent.
#[derive(Args, Clone, Copy, Debug)]
pub struct Pacing {
    /// Open loop: messages per second over all connections; latency counts from the planned time
    #[arg(long, value_name = "PER SECOND", value_parser = rate, conflicts_with = "depth")]
    pub rate: Option<f64>,
    /// Open loop: messages per second on each connection
    #[arg(long, value_name = "PER SECOND", value_parser = rate, conflicts_with_all = ["depth", "rate"])]
    pub rate_each: Option<f64>,
    /// Random (Poisson) instead of even gaps
    #[arg(long)]
    pub poisson: bool,
    /// Closed loop: messages on the way per connection; the next one leaves when an answer comes
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    pub depth: u64,
}

/// How long things last.
#[derive(Args, Clone, Copy, Debug)]
pub struct Times {
    /// Time that is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub duration: Duration,
    /// Load before it that is not measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    pub warmup: Duration,
    /// Connections begun per second at the start; by default as fast as it goes
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub ramp: Option<f64>,
}

#[derive(Args, Clone, Debug)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    /// Connections to hold
    #[arg(long, short = 'n', value_name = "N", default_value = "1000", value_parser = positive)]
    pub connections: u64,
    /// Connections begun per second
    #[arg(long, value_name = "PER SECOND", default_value = "2k", value_parser = rate)]
    pub ramp: f64,
    /// Time to hold all of them
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub hold: Duration,
    /// Stops on the way up at which memory is read; bytes per connection are the slope through them
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    pub steps: u64,
    /// Where the first stop is; the slope begins behind what a server allocates at its start
    #[arg(long, value_name = "N", value_parser = positive)]
    pub first: Option<u64>,
}

#[derive(Args, Clone, Debug)]
pub struct Echo {
    #[command(flatten)]
    pub common: Common,
    /// Connections that send
    #[arg(long, short = 'n', value_name = "N", default_value = "100", value_parser = positive)]
    pub connections: u64,
    #[command(flatten)]
    pub pacing: Pacing,
    /// Bytes per message, or a mix such as 20:70%,1KiB:25%,64KiB:5%
    #[arg(long, value_name = "SIZES", default_value = "20", value_parser = Mix::parse)]
    pub size: Mix,
    /// Binary messages instead of text
    #[arg(long)]
    pub binary: bool,
    /// What messages are made of, behind their numbers
    #[arg(long, value_name = "KIND", value_enum, default_value_t)]
    pub payload: Payload,
    /// Offer compression (permessage-deflate), and tell what it saved
    #[arg(long, value_name = "MODE", value_enum, num_args = 0..=1, default_missing_value = "shared")]
    pub deflate: Option<Deflate>,
    /// Connections besides them that are held and never send
    #[arg(long, value_name = "N", default_value = "0", value_parser = units::parse_count, conflicts_with_all = ["rate", "rate_each"])]
    pub idle: u64,
    /// Rest so long when the last answers are in, and again when all have closed, and tell what memory the server kept
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = pause)]
    pub settle: Duration,
    #[command(flatten)]
    pub times: Times,
}

/// How the server spreads what one sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Adapter {
    /// Whatever one sends, all get (tidegate's /chat)
    Broadcast,
}

#[derive(Args, Clone, Debug)]
pub struct Fanout {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub spread: Spread,
    #[command(flatten)]
    pub times: Times,
}

/// Publishers, listeners, and what is published.
#[derive(Args, Clone, Debug)]
pub struct Spread {
    /// Connections that listen
    #[arg(long, short = 'n', value_name = "N", default_value = "1000", value_parser = positive)]
    pub subscribers: u64,
    /// Connections that publish
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    pub publishers: u64,
    /// Publishes per second over all publishers
    #[arg(long, value_name = "PER SECOND", default_value = "10", value_parser = rate)]
    pub rate: f64,
    /// Random (Poisson) instead of even gaps
    #[arg(long)]
    pub poisson: bool,
    /// Bytes per message, at least 28
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = units::parse_size)]
    pub size: u64,
    /// Binary messages instead of text
    #[arg(long)]
    pub binary: bool,
    /// Publishes that leave at once, at each planned time; --rate still counts single ones
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    pub burst: u64,
    /// How the server spreads messages
    #[arg(long, value_enum, default_value = "broadcast")]
    pub adapter: Adapter,
}

#[derive(Args, Clone, Debug)]
pub struct Churn {
    #[command(flatten)]
    pub common: Common,
    /// Connections alive at once: exactly so many without a rate, at most so many with one
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = positive)]
    pub connections: u64,
    /// Connections begun per second; without it the next one begins when one has ended
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Random (Poisson) instead of even gaps
    #[arg(long)]
    pub poisson: bool,
    /// End each with a reset instead of the closing handshake
    #[arg(long)]
    pub abort: bool,
    /// wss: share of the connections that resume a TLS session; by default none, then all, each measured for itself
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub resume: Option<f64>,
    /// Connections besides them that are made first, held, and never send
    #[arg(long, value_name = "N", default_value = "0", value_parser = units::parse_count)]
    pub idle: u64,
    /// Time that is measured
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub duration: Duration,
    /// Load before it that is not measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    pub warmup: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Hold {
    #[command(flatten)]
    pub common: Common,
    /// Connections to hold
    #[arg(long, short = 'n', value_name = "N", default_value = "1000", value_parser = positive)]
    pub connections: u64,
    /// Connections on the way, and messages waiting for their answers, at once
    #[arg(long, value_name = "N", default_value = "512", value_parser = positive)]
    pub at_once: u64,
    /// A step in which nothing happens for so long has come as far as it comes
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub patience: Duration,
    /// Time for the server's ping to reach each of them; 0 waits for none
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = pause)]
    pub pinged_within: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Slow {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub spread: Spread,
    /// Share of the listeners that stops reading
    #[arg(long, value_name = "PERCENT", default_value = "10", value_parser = percent)]
    pub stall: f64,
    /// Time of each of the three parts: before, during, after; `during` should outlast the server's own patience
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = span)]
    pub duration: Duration,
    /// Load before them that is not measured
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = pause)]
    pub warmup: Duration,
    /// Connections begun per second at the start; by default as fast as it goes
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub ramp: Option<f64>,
}

#[derive(Args, Clone, Debug)]
pub struct Storm {
    #[command(flatten)]
    pub common: Common,
    /// Connections that drop and return
    #[arg(long, short = 'n', value_name = "N", default_value = "1000", value_parser = positive)]
    pub connections: u64,
    /// Connections begun per second at the start; by default as fast as it goes
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub ramp: Option<f64>,
    /// Connections begun per second when they return; by default all at once
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub returning: Option<f64>,
    /// Connections on the way at once, at most
    #[arg(long, value_name = "N", default_value = "10000", value_parser = positive)]
    pub dialing: u64,
    /// First pause before a refused one tries again; it doubles, and half of it is by chance
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = span)]
    pub retry: Duration,
    /// Time in which all must be back
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = span)]
    pub within: Duration,
    /// Storms to measure, at most 100
    #[arg(long, value_name = "N", default_value = "3", value_parser = positive)]
    pub rounds: u64,
}

/// How peers disappear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum How {
    /// Their process is stopped: the kernel still acknowledges, nothing answers
    Stop,
    /// Packets are dropped in a network namespace (needs root and `ip`; the server must listen on all addresses)
    Netns,
}

#[derive(Args, Clone, Debug)]
pub struct Vanish {
    #[command(flatten)]
    pub common: Common,
    /// Connections that disappear
    #[arg(long, short = 'n', value_name = "N", default_value = "500", value_parser = positive)]
    pub connections: u64,
    /// Connections begun per second; by default all at once, and a server may then ping all of them at once
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub ramp: Option<f64>,
    /// How they disappear
    #[arg(long, value_enum, default_value = "stop")]
    pub how: How,
    /// Time in which the server should have noticed
    #[arg(long, value_name = "TIME", default_value = "90s", value_parser = span)]
    pub within: Duration,
    /// Time between two looks at the kernel's table of sockets
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = span)]
    pub look: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Search {
    #[command(flatten)]
    pub common: Common,
    /// What is to be largest
    #[arg(long, value_enum, default_value = "rate")]
    pub largest: Largest,
    /// The bound, for instance 'p99<5ms'; may be repeated, and all must hold
    #[arg(long, value_name = "CONDITION", required = true, value_parser = Gate::parse)]
    pub until: Vec<Gate>,
    /// Where to begin; by default 1,000 messages per second, or 100 connections
    #[arg(long, value_name = "N", value_parser = rate)]
    pub from: Option<f64>,
    /// Where to end at the latest
    #[arg(long, value_name = "N", value_parser = rate)]
    pub to: Option<f64>,
    /// How exactly: the bisection ends when the bounds are this close
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub within: f64,
    /// Connections, while a rate is searched
    #[arg(long, short = 'n', value_name = "N", default_value = "100", value_parser = positive)]
    pub connections: u64,
    /// Messages per second on each connection, while a number of connections is searched
    #[arg(long, value_name = "PER SECOND", default_value = "1", value_parser = rate)]
    pub rate_each: f64,
    /// Random (Poisson) instead of even gaps
    #[arg(long)]
    pub poisson: bool,
    /// Bytes per message, or a mix
    #[arg(long, value_name = "SIZES", default_value = "20", value_parser = Mix::parse)]
    pub size: Mix,
    /// Binary messages instead of text
    #[arg(long)]
    pub binary: bool,
    /// Time of each step that is measured
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = span)]
    pub duration: Duration,
    /// Load before each that is not measured
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pause)]
    pub warmup: Duration,
}

/// What a search makes as large as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Largest {
    /// Messages per second
    Rate,
    /// Connections
    Connections,
}

#[derive(Args, Clone, Debug)]
pub struct Compare {
    /// A server's command, as `NAME=COMMAND` or `COMMAND`; give two or more, the others are compared with the first
    #[arg(long = "server", value_name = "NAME=COMMAND", required = true)]
    pub servers: Vec<String>,
    /// Instead of several servers, more options for the scenario against the one server; give two or more
    #[arg(long = "variant", value_name = "NAME=OPTIONS")]
    pub variants: Vec<String>,
    /// Processors for the servers, for instance 0
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub server_cpu: Vec<usize>,
    /// Rounds; in each every server is measured once, in an order that turns round
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    pub rounds: u64,
    #[command(flatten)]
    pub outputs: Outputs,
    /// Fail (exit code 1) if this holds, for instance 'NAME.p99>1.05'; may be repeated
    #[arg(long, value_name = "CONDITION", value_parser = Gate::parse)]
    pub fail_if: Vec<Gate>,
    /// The scenario and its options, behind --: echo ws://127.0.0.1:9001/ --connections 100
    #[arg(last = true, required = true, value_name = "SCENARIO")]
    pub scenario: Vec<String>,
}

#[derive(Args, Clone, Debug)]
pub struct BenchPeers {
    /// The servers to compare with
    #[arg(long, value_name = "FILE", default_value = "loadtest/peers/peers.toml")]
    pub peers: PathBuf,
    /// Run the script `build` beside that file first
    #[arg(long)]
    pub build: bool,
    /// The command of tidegate
    #[arg(
        long,
        value_name = "COMMAND",
        default_value = "target/release/tidegate serve --bind 127.0.0.1:{port} --backlog-grace 1m"
    )]
    pub tidegate: String,
    /// Only these servers, besides tidegate
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these cells; a `*` at the end stands for anything
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub cells: Vec<String>,
    /// Rounds; in each every server is started anew for every cell
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    pub rounds: u64,
    /// Measurements of each server in a round, in turns with those beside it; one where connecting takes long
    #[arg(long, value_name = "N", default_value = "5", value_parser = positive)]
    pub visits: u64,
    /// Time of each measurement
    #[arg(long, value_name = "TIME", default_value = "400ms", value_parser = span)]
    pub duration: Duration,
    /// Processors for the servers
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    pub server_cpu: Vec<usize>,
    /// Processors for the generator
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    pub cpu: Vec<usize>,
    /// The folder for benchmarks.json, benchmarks.html and the tables in BENCHMARKS.md
    #[arg(long, value_name = "FOLDER", default_value = "docs")]
    pub out: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub struct Plan {
    #[command(flatten)]
    pub common: Common,
    /// Connections that are planned for, at most ten times --up-to
    #[arg(long, short = 'n', value_name = "N", default_value = "50k", value_parser = positive)]
    pub connections: u64,
    /// Messages per second that are planned for, over all connections
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// Bytes per message
    #[arg(long, value_name = "SIZE", default_value = "125", value_parser = units::parse_size)]
    pub size: u64,
    /// New connections per second that are planned for
    #[arg(long, value_name = "PER SECOND", value_parser = rate)]
    pub handshakes: Option<f64>,
    /// Publishes per second that are planned for, each to all connections; needs --chat
    #[arg(long, value_name = "PER SECOND", value_parser = rate, requires = "chat")]
    pub broadcasts: Option<f64>,
    /// Path on which the server spreads what one sends to all
    #[arg(long, value_name = "PATH")]
    pub chat: Option<String>,
    /// The smallest of the runs that are measured
    #[arg(long, value_name = "N", default_value = "2k", value_parser = positive)]
    pub from: u64,
    /// The largest of the runs that are measured
    #[arg(long, value_name = "N", default_value = "5k", value_parser = positive)]
    pub up_to: u64,
    /// Hold so many in the end, and say how far the prediction was off
    #[arg(long, value_name = "N", value_parser = positive)]
    pub verify: Option<u64>,
    /// Time of each measurement
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = span)]
    pub duration: Duration,
}

#[derive(Args, Clone, Debug)]
pub struct Report {
    /// Runs, as --json wrote them
    #[arg(required = true, value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Where the page goes
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub html: PathBuf,
    /// The figures of all of them, for spreadsheets
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct Merge {
    /// Runs of the same scenario, as --json wrote them
    #[arg(required = true, num_args = 2.., value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub outputs: Outputs,
}

fn positive(text: &str) -> Result<u64, String> {
    match units::parse_count(text)? {
        0 => Err("must be at least 1".into()),
        count => Ok(count),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    match units::parse_span(text)? {
        Duration::ZERO => Err("must be longer than nothing".into()),
        span => in_bounds(span),
    }
}

/// A time that may be nothing.
fn pause(text: &str) -> Result<Duration, String> {
    in_bounds(units::parse_time(text)?)
}

fn in_bounds(time: Duration) -> Result<Duration, String> {
    if time <= LONGEST { Ok(time) } else { Err("must be at most 30 days".into()) }
}

/// So many per second; what takes longer than a day or comes faster than the clock ticks is a slip of the pen.
fn rate(text: &str) -> Result<f64, String> {
    match units::parse_rate(text)? {
        rate if (1e-5..=1e9).contains(&rate) => Ok(rate),
        _ => Err("must be from 0.00001 to 1G per second".into()),
    }
}

/// A share, 0 to 1, of `90` or `90%`.
fn percent(text: &str) -> Result<f64, String> {
    let number: f64 =
        text.trim().trim_end_matches('%').trim().parse().map_err(|_| "write it as 90 or 90%")?;
    if (0.0..=100.0).contains(&number) { Ok(number / 100.0) } else { Err("must be from 0 to 100".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shares() {
        for (text, share) in
            [("90", Some(0.9)), (" 5 %", Some(0.05)), ("101", None), ("-1", None), ("NaN", None)]
        {
            assert_eq!(percent(text).ok(), share, "{text}");
        }
    }
}
