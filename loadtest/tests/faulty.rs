//! The tool against a server that misbehaves as it is told to: every fault is found, as often as it was done, under its
//! own name.
//!
//! Upper bounds of latency stand here only where an order of magnitude is left, for the machine may be busy.

mod harness;
#[path = "faulty/server.rs"]
mod server;

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::Duration;

use harness::{count, errors, figure, loadtest, measured, times};
use serde_json::Value;
use server::{Act, Server, Welcome};

const MILLISECOND: f64 = 1_000.0;

/// Runs `echo` for two seconds without a warm-up, so that the whole run is measured.
fn echo(server: &Server, words: &[&str]) -> Value {
    let url = server.url();
    measured(&[&["echo", &url, "--warmup", "0", "--duration", "2s"], words].concat())
}

/// What must be so of every run of `echo`: nothing is counted twice or not at all.
fn adds_up(server: &Server, record: &Value) {
    let [sent, answered, lost, wrong] = ["sent", "answered", "lost", "wrong"].map(|name| count(record, name));
    assert_eq!(sent, server.tally.received(), "what left and what the server saw");
    assert_eq!(sent, answered + lost + wrong, "answered {answered}, lost {lost}, wrong {wrong}");
    assert!(sent > 100, "only {sent} messages: too few to tell anything");
    assert_eq!(times(record, "latency", "count"), answered as f64);
}

fn every(step: u64, act: Act) -> impl Fn(u64) -> Act + Send + Sync + 'static {
    move |number| if number.is_multiple_of(step) { act } else { Act::Echo }
}

#[test]
fn a_delay_is_in_every_latency() {
    let delay = Act::After(Duration::from_millis(5));
    let server = Server::echo(move |_| delay);
    let record = echo(&server, &["--connections", "4"]);
    adds_up(&server, &record);
    assert!(times(&record, "latency", "min_us") >= 5.0 * MILLISECOND, "{}", record["times"]["latency"]);
    assert!(figure(&record, "p50") >= 5.0 * MILLISECOND);
}

/// In an open loop a stall is paid by all that were planned in it; in a closed one by as many as were on their way.
#[test]
fn a_freeze_shows_in_an_open_loop() {
    let freeze = Act::Freeze(Duration::from_millis(300));
    let server = Server::echo(move |number| if number == 150 { freeze } else { Act::Echo });
    let record = echo(&server, &["--connections", "4", "--rate", "200"]);
    adds_up(&server, &record);
    for (name, least) in [("p99", 150.0), ("max", 290.0), ("raw_p99", 150.0), ("raw_max", 290.0)] {
        let found = figure(&record, name);
        assert!(found >= least * MILLISECOND, "{name} is {found}");
    }
    // The tool sends on time while the server stalls, so both begin at the same moment, but for the slip.
    let slip = times(&record, "slip", "max_us");
    for quantile in ["p50", "p90", "p99", "max"] {
        let (latency, raw) = (figure(&record, quantile), figure(&record, &format!("raw_{quantile}")));
        assert!(latency >= raw * 0.998, "{quantile}: {latency} from the plan, {raw} from the send");
        assert!(latency <= (raw + slip) * 1.002, "{quantile}: {latency} from the plan, {raw}, slip {slip}");
    }
}

#[test]
fn a_freeze_hides_in_a_closed_loop() {
    let freeze = Act::Freeze(Duration::from_millis(300));
    let server = Server::echo(move |number| if number == 150 { freeze } else { Act::Echo });
    let record = echo(&server, &["--connections", "4"]);
    adds_up(&server, &record);
    let (p99, max) = (figure(&record, "p99"), figure(&record, "max"));
    assert!(p99 < 100.0 * MILLISECOND, "{p99}");
    assert!(max >= 290.0 * MILLISECOND, "{max}");
    // Four were on their way: the stall is in so many latencies, whatever its length.
    assert!(count(&record, "answered") > 400);
}

#[test]
fn dropped_messages_are_lost() {
    for pace in [["--rate", "2k"], ["--depth", "1"], ["--depth", "8"]] {
        let server = Server::echo(every(1_000, Act::Swallow));
        let record = echo(&server, &[&pace[..], &["--connections", "4", "--timeout", "300ms"]].concat());
        adds_up(&server, &record);
        let dropped = server.tally.acts(|act| *act == Act::Swallow);
        assert!(dropped > 0, "{pace:?}: too few messages");
        assert_eq!(count(&record, "lost"), dropped, "{pace:?}");
        assert_eq!(count(&record, "duplicate") + count(&record, "wrong"), 0, "{pace:?}");
    }
}

/// One that is given up and comes after all is not lost, and when nothing overtook it, not out of order.
#[test]
fn a_late_answer_is_an_answer() {
    let late = Act::After(Duration::from_millis(900));
    let server = Server::echo(move |number| if number == 200 { late } else { Act::Echo });
    let record = echo(&server, &["--connections", "1", "--rate", "200", "--timeout", "100ms"]);
    adds_up(&server, &record);
    assert_eq!(times(&record, "raw", "count"), times(&record, "latency", "count"));
    assert_eq!(server.tally.acts(|act| *act == late), 1);
    assert_eq!(["lost", "reordered", "duplicate", "wrong"].map(|name| count(&record, name)), [0; 4]);
    assert!(figure(&record, "max") >= 900.0 * MILLISECOND);
}

#[test]
fn answers_that_come_twice_are_duplicates() {
    for pace in [["--rate", "2k"], ["--depth", "1"], ["--depth", "4"]] {
        let server = Server::echo(every(500, Act::Twice));
        let record = echo(&server, &[&pace[..], &["--connections", "4"]].concat());
        adds_up(&server, &record);
        let doubled = server.tally.acts(|act| *act == Act::Twice);
        assert!(doubled > 0, "{pace:?}: too few messages");
        assert_eq!(count(&record, "duplicate"), doubled, "{pace:?}");
        assert_eq!(["lost", "reordered", "wrong"].map(|name| count(&record, name)), [0; 3], "{pace:?}");
    }
}

#[test]
fn swapped_answers_are_reordered() {
    let server = Server::echo(every(250, Act::Swap));
    let record = echo(&server, &["--connections", "4", "--depth", "4"]);
    adds_up(&server, &record);
    let swapped = server.tally.acts(|act| *act == Act::Swap);
    assert!(swapped > 0, "too few messages");
    assert_eq!(count(&record, "reordered"), swapped);
    assert_eq!(["lost", "duplicate", "wrong"].map(|name| count(&record, name)), [0; 3]);
}

#[test]
fn changed_bytes_are_wrong() {
    for words in [["--rate", "3k"], ["--depth", "1"], ["--size", "20:50%,200:50%"]] {
        let server = Server::echo(every(700, Act::Corrupt));
        let record = echo(&server, &[&words[..], &["--connections", "4"]].concat());
        adds_up(&server, &record);
        let corrupt = server.tally.acts(|act| *act == Act::Corrupt);
        assert!(corrupt > 0, "{words:?}: too few messages");
        assert_eq!(count(&record, "wrong"), corrupt, "{words:?}");
        assert_eq!(errors(&record, "wrong echo"), corrupt, "{words:?}: {}", record["errors"]);
        let example = record["errors"]["wrong echo"]["example"].as_str().unwrap();
        assert!(example.contains("are no echo of what was sent"), "{example}");
        assert_eq!(["lost", "reordered", "duplicate"].map(|name| count(&record, name)), [0; 3], "{words:?}");
    }
}

#[test]
fn connections_that_end_are_told_by_kind() {
    let ends =
        [(Act::Close(1011), "closed with 1011"), (Act::Reset, "reset"), (Act::End, "ended without close")];
    let server = Server::echo(move |number| {
        // Spread as if by chance, and the same each time.
        let chance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        if chance.is_multiple_of(150) { ends[(chance / 150 % 3) as usize].0 } else { Act::Echo }
    });
    let record = echo(&server, &["--connections", "15"]);
    adds_up(&server, &record);
    let mut all = 0;
    for (act, kind) in ends {
        let done = server.tally.acts(|other| *other == act);
        assert!(done > 0, "{kind} was never done");
        assert_eq!(errors(&record, kind), done, "{kind}: {}", record["errors"]);
        all += done;
    }
    assert_eq!(["dropped", "errors", "lost", "opened"].map(|name| count(&record, name)), [all, all, all, 15]);
    assert_eq!(count(&record, "failed"), 0);
}

const UNAVAILABLE: Welcome = Welcome::Say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
const NOT_FOUND: Welcome = Welcome::Say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
const PAGE: Welcome = Welcome::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
const SMTP: Welcome = Welcome::Say("220 mail.example.org ESMTP\r\n\r\n");

const REFUSALS: [(Welcome, &str); 5] = [
    (UNAVAILABLE, "status 503"),
    (NOT_FOUND, "status 404"),
    (PAGE, "status 200"),
    (SMTP, "not a websocket"),
    (Welcome::Silence, "connect timeout"),
];

#[test]
fn refusals_are_told_by_kind() {
    let server = Server::doorman(|number| {
        let place = number as usize % (REFUSALS.len() + 1);
        REFUSALS.get(place).map_or(Welcome::Accept, |(welcome, _)| *welcome)
    });
    let url = server.url();
    let words = ["idle", &url, "-n", "60", "--steps", "1", "--hold", "300ms", "--connect-timeout", "1s"];
    let record = measured(&words);
    assert_eq!(server.tally.connections.load(Ordering::SeqCst), 60);
    for (welcome, kind) in REFUSALS {
        assert_eq!(server.tally.welcomes(welcome), 10);
        assert_eq!(errors(&record, kind), 10, "{kind}: {}", record["errors"]);
        assert_ne!(record["errors"][kind]["example"], "", "{kind}");
    }
    let counts = ["opened", "failed", "dropped", "errors", "held"].map(|name| count(&record, name));
    assert_eq!(counts, [10, 50, 0, 50, 10]);
}

#[test]
fn a_server_that_refuses_all_is_told_in_a_line() {
    for (welcome, kind) in REFUSALS {
        let server = Server::doorman(move |_| welcome);
        refused(&server.url(), kind);
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    refused(&format!("ws://127.0.0.1:{port}/"), "refused");
}

fn refused(url: &str, kind: &str) {
    let output = loadtest(&["echo", url, "-n", "3", "--connect-timeout", "300ms"]);
    assert_eq!((output.code(), output.stdout.as_str()), (Some(1), ""), "{output:?}");
    let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("loadtest: ")).collect();
    assert_eq!(lines.len(), 1, "{output:?}");
    for part in [url, "none of 3 connections", kind] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
}

/// Handshakes that fail do so without an end: each is counted, and the run still comes to its own.
#[test]
fn churn_counts_refusals() {
    let server =
        Server::doorman(|number| if number.is_multiple_of(5) { UNAVAILABLE } else { Welcome::Accept });
    let url = server.url();
    let record = measured(&["churn", &url, "-n", "4", "--warmup", "0", "--duration", "1s"]);
    let (refused, opened) = (server.tally.welcomes(UNAVAILABLE), server.tally.welcomes(Welcome::Accept));
    assert!(refused > 0);
    assert_eq!([count(&record, "failed"), errors(&record, "status 503")], [refused; 2]);
    assert_eq!([count(&record, "opened"), count(&record, "dropped")], [opened, 0]);
}

#[test]
fn lost_and_double_deliveries_are_counted() {
    let server = Server::broadcast(|number| match number {
        _ if number.is_multiple_of(101) => Act::Swallow,
        _ if number.is_multiple_of(67) => Act::Twice,
        _ => Act::Echo,
    });
    let url = server.url();
    let size = ["--rate", "50", "--size", "128", "--warmup", "0", "--duration", "2s", "--timeout", "1s"];
    let record = measured(&[&["fanout", &url, "-n", "12"], &size[..]].concat());
    let swallowed = server.tally.acts(|act| *act == Act::Swallow);
    let doubled = server.tally.acts(|act| *act == Act::Twice);
    assert!(swallowed > 5 && doubled > 5);
    let published = server.tally.received();
    assert_eq!(count(&record, "published"), published);
    assert_eq!(server.tally.delivered.load(Ordering::SeqCst), published * 12);
    assert_eq!(count(&record, "delivered"), published * 12 - swallowed);
    assert_eq!([count(&record, "lost"), count(&record, "duplicate")], [swallowed, doubled]);
    assert_eq!(["reordered", "wrong", "unsent", "errors"].map(|name| count(&record, name)), [0; 4]);
    assert_eq!(times(&record, "delivery", "count"), (published * 12 - swallowed) as f64);
    for field in ["min_us", "p50_us", "p90_us", "p99_us", "max_us"] {
        let [first, median, last] = ["first", "median", "last"].map(|name| times(&record, name, field));
        assert!(first <= median && median <= last, "{field}: {first}, {median}, {last}");
        assert!(first > 0.0);
    }
    for name in ["first", "median", "last"] {
        assert_eq!(times(&record, name, "count"), published as f64, "{name}");
    }
}

/// A delivery that comes when its publish has been told does not make it a second one.
#[test]
fn a_publish_is_told_once() {
    for threads in ["1", "2"] {
        let late = Act::After(Duration::from_millis(900));
        let server = Server::broadcast(move |number| if number == 90 { late } else { Act::Echo });
        let url = server.url();
        let words = ["--rate", "10", "--warmup", "0", "--duration", "2s", "--timeout", "300ms"];
        let record = measured(&[&["fanout", &url, "-n", "12", "--threads", threads], &words[..]].concat());
        let published = count(&record, "published");
        assert_eq!(server.tally.acts(|act| *act == late), 1);
        assert_eq!([count(&record, "delivered"), count(&record, "lost")], [published * 12, 0]);
        for name in ["first", "median", "last"] {
            assert_eq!(times(&record, name, "count"), published as f64, "{name} of {threads} threads");
        }
    }
}

/// What a server makes up is no delivery, whatever it claims to be.
#[test]
fn forged_deliveries_are_nobodys() {
    let forged = [
        "0000ffffffff0000000000000001",
        "0000ffffffff7fffffffffffffff",
        "000000000001ffffffffffffffff",
        "ffff000000000000000000000001",
    ];
    let server = Server::broadcast(move |number| match number {
        50..54 => Act::Forge(forged[number as usize - 50]),
        _ => Act::Echo,
    });
    let url = server.url();
    let words = ["--rate", "20", "--warmup", "0", "--duration", "1s", "--timeout", "1s"];
    let record = measured(&[&["fanout", &url, "-n", "6"], &words[..]].concat());
    assert_eq!(server.tally.acts(|act| matches!(act, Act::Forge(_))), 4);
    assert_eq!(errors(&record, "unasked message"), 4, "{}", record["errors"]);
    assert_eq!(count(&record, "delivered"), count(&record, "published") * 6);
    assert_eq!(["lost", "duplicate", "reordered", "wrong"].map(|name| count(&record, name)), [0; 4]);
}

/// Handshakes that were planned in the measured time are measured, however late they come.
#[test]
fn late_handshakes_count_where_they_were_planned() {
    let server = Server::doorman(|_| Welcome::Late(Duration::from_millis(400)));
    let url = server.url();
    let words = ["churn", &url, "-n", "100", "--rate", "50", "--warmup", "0", "--duration", "1s"];
    let record = measured(&words);
    let opened = count(&record, "opened");
    assert_eq!(opened, server.tally.connections.load(Ordering::SeqCst));
    for name in ["connect", "tcp", "upgrade"] {
        assert_eq!(times(&record, name, "count"), opened as f64, "{name}");
    }
    assert!(times(&record, "connect", "min_us") >= 400.0 * MILLISECOND);
}

/// A lane that cannot begin says why at once, and not after the time in which it might have connected.
#[test]
fn lanes_that_cannot_begin_are_told() {
    let server = Server::echo(|_| Act::Echo);
    let output = loadtest(&["echo", &server.url(), "-n", "3", "--cpu", "1000000"]);
    assert_eq!(output.code(), Some(1), "{output:?}");
    assert!(
        output.stderr.contains("no worker is left: lane 0 of worker 1 failed: CPU 1000000"),
        "{output:?}"
    );
}

/// What would never end, or hold more than a machine has, is refused in a line.
#[test]
fn what_is_out_of_bounds_is_refused() {
    for (words, expected) in [
        (["--timeout", "100000d"], "at most 30 days"),
        (["--warmup", "100000d"], "at most 30 days"),
        (["--depth", "4G"], "messages on the way"),
        (["--fail-if", "p99>+10%"], "give --baseline"),
    ] {
        let output = loadtest(&[&["echo", "ws://127.0.0.1:1/"], &words[..]].concat());
        assert_eq!(output.code(), Some(2), "{words:?}: {output:?}");
        assert!(output.stderr.contains(expected), "{words:?}: {output:?}");
    }
}
