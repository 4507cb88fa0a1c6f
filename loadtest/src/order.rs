//! What parent and workers say to each other: one JSON object per line, over the worker's standard input and output.
//!
//! Refuses to know processes and sockets. Invariants: every lane hears the same words and works out its own share; what
//! is reported is what happened since the report before, so a worker that dies takes at most one interval with it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::mix::Mix;
use crate::record::Seen;
use crate::record::times::Bare;

/// The first line that a worker hears: everything that does not change during a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The first of this worker's lanes; a lane is one thread with one loop.
    pub first_lane: u32,
    /// How many lanes this worker has.
    pub own_lanes: u32,
    /// How many lanes all workers have together.
    pub lanes: u32,
    /// Descriptors that this worker will need.
    pub descriptors: u64,
    /// Processors to pin the lanes to, in turn; empty: wherever the kernel likes.
    pub cpus: Vec<usize>,
    pub target: Target,
    /// What the connections are for.
    pub role: Role,
    /// Seconds for a connection and its opening handshake.
    pub connect_timeout: f64,
    /// Seconds until a message without an answer is lost.
    pub answer_timeout: f64,
    /// Seconds between two pings of a connection; 0 sends none.
    pub ping_interval: f64,
    /// Connections that one lane has on the way at once, at most.
    pub dialing_max: u32,
    /// Failed connections are tried again, after a pause that doubles from this many seconds; `None` counts them and
    /// leaves it at that.
    pub retry: Option<f64>,
    /// For everything random.
    pub seed: u64,
}

/// Where to connect to, and how to ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub address: SocketAddr,
    /// The `Host` header field.
    pub host: String,
    /// What it takes to speak TLS with it; `None`: it speaks none.
    pub tls: Option<Veil>,
    /// Path and query.
    pub path: String,
    pub protocols: Vec<String>,
    pub headers: Vec<(String, String)>,
    /// It knows no WebSocket and sends back what it gets, masked frames and all.
    pub raw: bool,
    /// Our ends' addresses, in turn; empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
}

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veil {
    /// The server's name, which must be in its certificate.
    pub name: String,
    /// The file of those who may vouch for it; `None`: whoever it is, is trusted.
    pub ca: Option<String>,
    /// The version that is offered; `None`: both.
    pub version: Option<Version>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Version {
    /// RFC 5246
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446
    #[value(name = "1.3")]
    Tls13,
}

/// What the connections of a run do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Nothing.
    Idle,
    Echo(Echo),
    Fanout(Fanout),
    Churn(Churn),
    /// What they are asked for, once each.
    Hold,
}

/// Messages that come back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Echo {
    pub mix: Mix,
    pub binary: bool,
    pub pace: Pace,
    /// Connections that send; those that open after them are only held.
    pub senders: u64,
    /// What the messages are made of.
    pub payload: Payload,
    /// Compression is offered.
    pub deflate: Option<Deflate>,
}

/// What messages are made of, behind their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// Letters in a short pattern
    #[default]
    Letters,
    /// Text like JSON: names that repeat, values that do not
    Json,
    /// Bytes at random, as binary messages: nothing to compress
    Random,
}

/// Who remembers what for compression (permessage-deflate).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Deflate {
    /// Each message by itself
    Shared,
    /// Messages refer to those before them, both ways
    Dedicated,
}

impl Role {
    /// The compression that its connections offer.
    pub fn deflate(&self) -> Option<Deflate> {
        match self {
            Role::Echo(echo) => echo.deflate,
            _ => None,
        }
    }
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// This many are on the way per connection; the next one leaves when an answer comes.
    Closed { depth: u32 },
    /// This many per second over all connections of all lanes, whatever the answers do.
    Open { per_second: f64, poisson: bool },
}

/// Messages of a few that reach all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fanout {
    /// Connections that publish, besides those that listen.
    pub publishers: u32,
    pub size: u32,
    pub binary: bool,
    /// Publishes per second over all publishers.
    pub per_second: f64,
    pub poisson: bool,
    /// Publishes that leave at once at each planned time.
    pub burst: u32,
}

/// Connections that come and go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Connections begun per second over all lanes; `None`: the next one when one has ended.
    pub per_second: Option<f64>,
    pub poisson: bool,
    /// Connections alive at once: exactly as many without a rate, at most as many with one.
    pub concurrency: u32,
    /// End with a reset instead of the closing handshake.
    pub abort: bool,
}

/// A line that a worker hears later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// From `at` (monotonic nanoseconds) on, what happens belongs to this phase, and load is on or off.
    Phase { phase: u32, at: u64, load: bool },
    /// Make connections until all lanes hold this many, this many per second (`None`: as fast as it goes).
    Hold { connections: u64, per_second: Option<f64> },
    /// So many of all listening connections are set apart, the same ones each time: they read, or stop reading. Their
    /// deliveries do not count from the first time on, and how those end that have stopped is no error.
    Stall { listeners: u64, reads: bool },
    /// From here on this share of the new connections resumes an earlier TLS session, where the server has given tickets.
    Resume { share: f64 },
    /// The connections are asked for something; only those of [`Role::Hold`] listen to it.
    Ask(Ask),
    /// All connections vanish at once: their sockets are closed without a word.
    Drop,
    /// Close everything politely, report, end.
    Finish,
}

/// What connections that are held are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Each sends one message that comes back; so many of all lanes wait for theirs at once.
    Echo { at_once: u64 },
    /// One of them sends a text that all get.
    Publish,
    /// The server will end them: how they end is no error from here on.
    Leave,
}

/// A line that a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    Report(Box<Report>),
    /// A publish has reached all that it will reach in this lane.
    Publish(Box<Publish>),
    /// This lane has ended as it was told to.
    Done {
        lane: u32,
    },
    /// This lane cannot go on.
    Failed {
        lane: u32,
        why: String,
    },
}

/// What happened in one lane since its report before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub lane: u32,
    /// Monotonic nanoseconds.
    pub at: u64,
    /// Open connections now.
    pub open: u64,
    /// Connections on the way now.
    pub dialing: u64,
    /// Messages that wait for their answer now.
    pub outstanding: u64,
    /// Connections that are still to be made.
    pub to_dial: u64,
    /// Lines that the lane had heard since it began.
    pub steps: u64,
    pub pages: Vec<Page>,
}

/// What happened in one phase.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Page {
    pub phase: u32,
    pub counts: BTreeMap<Count, u64>,
    pub times: BTreeMap<Metric, Bare>,
    pub errors: BTreeMap<String, Seen>,
    /// Ends that the run itself provoked, by kind.
    pub fates: BTreeMap<String, Seen>,
    /// Processor time of the lane's thread, in nanoseconds.
    pub cpu: u64,
    /// Time, in nanoseconds.
    pub wall: u64,
    /// Time that the thread was ready to run and had no processor, in nanoseconds.
    pub waited: u64,
}

/// One publish as one lane saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publish {
    pub phase: u32,
    pub publisher: u32,
    pub number: u32,
    /// Deliveries in this lane, from the planned time on.
    pub delivered: Bare,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
        }
    };
}

names! {
    /// Things that are counted.
    Count {
        /// Connections begun.
        Dialled,
        /// Connections that came to be open.
        Opened,
        /// Connections that did not.
        Failed,
        /// Connections tried again.
        Retried,
        /// Open connections that ended without our wish.
        Dropped,
        /// Connections that ended as they should (churn).
        Closed,
        /// Messages sent (with the phase in which they were planned).
        Sent,
        /// Messages that came, with the phase in which they came.
        Received,
        /// Bytes of their payloads.
        ReceivedBytes,
        /// Messages whose answer came (with the phase in which they were planned).
        Answered,
        /// Messages whose answer never came.
        Lost,
        /// Answers that had come already.
        Duplicate,
        /// Answers that came behind a later one.
        Reordered,
        /// Answers with other bytes than were sent.
        Wrong,
        /// Messages that were planned and could not be sent, as too many waited for their answers.
        Unsent,
        /// Messages published (with the phase in which they were planned).
        Published,
        /// Deliveries to listeners that read, each counted once (with the phase of the publish).
        Delivered,
        /// Listeners that were stopped from reading.
        Stalled,
        /// Of those, ended by the server.
        StalledEnded,
        /// Pings that came (with the phase in which they were reported).
        Pinged,
        /// Bytes of messages before we compressed them (with the phase in which they were reported, as all of these).
        DeflatedFrom,
        /// Bytes of the same messages after it.
        DeflatedTo,
        /// Bytes of compressed messages as they came.
        InflatedFrom,
        /// Bytes of the same messages inflated.
        InflatedTo,
        /// Connections that were offered compression and did without.
        Undeflated,
        /// Connections that were opened after a whole TLS handshake.
        TlsFull,
        /// Connections that were opened in a TLS session that was resumed.
        TlsResumed,
    }
}

names! {
    /// Time spans that are measured.
    Metric {
        /// From the planned time of a message to its answer.
        Latency,
        /// From when it was really sent.
        Raw,
        /// From the planned time of a connection to the end of its opening handshake.
        Connect,
        /// From its beginning to the TCP connection.
        Tcp,
        /// From there to the end of the opening handshake.
        Upgrade,
        /// The same, of those with a whole TLS handshake.
        TlsFull,
        /// The same, of those whose TLS session was resumed.
        TlsResumed,
        /// From our Close to the end of the connection.
        Close,
        /// From the planned time of a publish to each delivery.
        Delivery,
        /// To its first delivery.
        First,
        /// To the one in the middle.
        Median,
        /// To its last.
        Last,
        /// From when all connections were dropped to when one was open again.
        Recovery,
        /// From when a connection stopped reading to its end.
        Fate,
        /// How much later than planned something was sent.
        Slip,
        /// How much later than asked for the loop came back.
        Lag,
    }
}

impl Metric {
    /// Its name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Latency => "latency",
            Metric::Raw => "raw",
            Metric::Connect => "connect",
            Metric::Tcp => "tcp",
            Metric::Upgrade => "upgrade",
            Metric::TlsFull => "tls_full",
            Metric::TlsResumed => "tls_resumed",
            Metric::Close => "close",
            Metric::Delivery => "delivery",
            Metric::First => "first",
            Metric::Median => "median",
            Metric::Last => "last",
            Metric::Recovery => "recovery",
            Metric::Fate => "fate",
            Metric::Slip => "slip",
            Metric::Lag => "lag",
        }
    }
}

/// The part of `total` that falls to one of several lanes: the parts differ by one at most and add up to `total`.
pub fn share(total: u64, lane: u32, lanes: u32) -> u64 {
    let (lane, lanes) = (u64::from(lane), u64::from(lanes.max(1)));
    total / lanes + u64::from(lane < total % lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        for (total, lanes) in [(0, 1), (1, 3), (10, 3), (15_000, 7), (6, 6)] {
            let parts: Vec<u64> = (0..lanes).map(|lane| share(total, lane, lanes)).collect();
            assert_eq!(parts.iter().sum::<u64>(), total);
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        for step in [
            Step::Phase { phase: 2, at: u64::MAX, load: true },
            Step::Hold { connections: 5, per_second: Some(0.5) },
            Step::Stall { listeners: 3, reads: false },
            Step::Ask(Ask::Echo { at_once: 9 }),
            Step::Ask(Ask::Leave),
            Step::Resume { share: 0.5 },
            Step::Drop,
            Step::Finish,
        ] {
            let line = serde_json::to_string(&step).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Step>(&line).unwrap(), step);
        }
        let mut page = Page { phase: 1, ..Page::default() };
        page.counts.insert(Count::Sent, 7);
        page.times.entry(Metric::Latency).or_default().0.record_micros(5);
        let line =
            serde_json::to_string(&Told::Report(Box::new(Report { pages: vec![page], ..Report::default() })));
        let Told::Report(report) = serde_json::from_str(&line.unwrap()).unwrap() else { panic!() };
        assert_eq!(report.pages[0].counts[&Count::Sent], 7);
        assert_eq!(report.pages[0].times[&Metric::Latency].0.count(), 1);
    }
}
