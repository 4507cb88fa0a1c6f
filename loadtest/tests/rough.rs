//! The scenarios in which something goes wrong on purpose, run by the real program against a server of the test.
//!
//! Refuses to assert times and verdicts, which are the machine's. Invariant: what is asserted is counted, and exact.

#![cfg(target_os = "linux")]

mod embedded;
mod harness;

use std::time::Duration;

use embedded::{Chat, run, start, start_with};
use tidegate::{Config, ConnId, Context, Handler, Message};

/// Limits at which a listener that does not read is ended as soon as the kernel's buffers are full.
fn impatient() -> Config {
    Config::default()
        .send_buffer(64 << 10)
        .backlog_high(64 << 10)
        .backlog_low(32 << 10)
        .backlog_max(256 << 10)
        .backlog_grace(Duration::from_millis(500))
}

#[test]
fn slow_readers_are_ended_and_nobody_else_loses_anything() {
    let server = start(impatient());
    let record = run(
        &server,
        "slow ws://{address}/ -n 10 --stall 30% --rate 200 --size 16KiB --duration 2s --warmup 200ms --timeout 10s",
    );
    assert_eq!(record.figure("stalled"), 3.0);
    assert_eq!(record.figure("stalled_ended"), 3.0, "{}", record.told());
    assert_eq!(record.figure("stalled_alive"), 0.0);
    for name in ["before_lost", "during_lost", "after_lost", "lost", "errors", "dropped"] {
        assert_eq!(record.figure(name), 0.0, "{name}: {}", record.told());
    }
    assert_eq!(record.figure("delivered"), record.figure("published") * 7.0);
    for part in ["before", "during", "after"] {
        assert!(record.figure(&format!("{part}_p50")) <= record.figure(&format!("{part}_p99")));
        assert!(record.figure(&format!("{part}_p99")) <= record.figure(&format!("{part}_max")));
    }
    let fates = record.table("Fate of those that stopped reading");
    assert_eq!(fates.iter().map(|row| row[1].parse::<u64>().unwrap()).sum::<u64>(), 3, "{fates:?}");
}

#[test]
fn slow_readers_of_little_traffic_live_on_and_are_told_as_such() {
    let server = start(Config::default());
    let record = run(&server, "slow ws://{address}/ -n 4 --stall 50% --rate 50 --duration 500ms --warmup 0");
    assert_eq!((record.figure("stalled"), record.figure("stalled_alive")), (2.0, 2.0), "{}", record.told());
    assert_eq!(record.figure("lost"), 0.0);
    assert!(record.told().contains("Socket buffers alone may hold"));
    assert_eq!(record.table("Fate of those that stopped reading")[0][..2], ["still open", "2"]);
}

/// Closes the second connection politely at a message in the middle of the stall.
struct Polite {
    opened: Vec<ConnId>,
    messages: u32,
}

impl Handler for Polite {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.opened.push(conn);
        Chat.on_open(cx, conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.messages += 1;
        if self.messages == 60 {
            cx.close(self.opened[1], 1008, "too slow");
        }
        Chat.on_message(cx, conn, msg);
    }
}

#[test]
fn a_polite_end_shows_when_the_listener_reads_again() {
    // Listeners are set apart in the order in which they opened, behind the publisher.
    let server = start_with(Config::default(), Polite { opened: Vec::new(), messages: 0 });
    let words = "slow ws://{address}/ -n 3 --stall 33% --rate 20 --duration 2s --warmup 0 --ramp 10";
    let record = run(&server, words);
    assert_eq!((record.figure("stalled"), record.figure("stalled_ended")), (1.0, 1.0), "{}", record.told());
    assert_eq!((record.figure("lost"), record.figure("errors")), (0.0, 0.0), "{}", record.told());
    let fates = record.table("Fate of those that stopped reading");
    assert_eq!(fates[0][..4], ["closed with 1008", "1", "0", "1"]);
}

#[test]
fn a_storm_passes_and_all_are_back() {
    let server = start(Config::default());
    let record = run(&server, "storm ws://{address}/ -n 200 --rounds 2 --within 20s --threads 2");
    assert_eq!(record.figure("returned"), 400.0, "{}", record.told());
    assert_eq!((record.figure("rounds"), record.figure("rounds_failed")), (2.0, 0.0));
    for round in ["", "_round_1", "_round_2"] {
        let [half, most, all] =
            ["50", "99", "100"].map(|share| record.figure(&format!("recovered_{share}{round}")));
        assert!(0.0 < half && half <= most && most <= all, "{round}: {half} {most} {all}");
    }
    assert_eq!(record.figure("errors"), 0.0, "{}", record.told());
}

#[test]
fn a_storm_against_a_server_that_is_too_small_is_not_recovered() {
    let server = start(Config::default().connections_max(60));
    let record = run(&server, "storm ws://{address}/ -n 100 --rounds 1 --within 2s --retry 50ms");
    assert_eq!(record.figure("rounds_failed"), 1.0);
    assert_eq!(record.errors("not recovered"), 1);
    assert!(record.errors("status 503") >= 40, "{}", record.told());
    assert!(record.figure("retried") >= 1.0);
    assert!(record.has("recovered_50"), "{}", record.told());
    for name in ["recovered_99", "recovered_100"] {
        assert!(!record.has(name), "{name}: {}", record.told());
    }
    assert_eq!(record.table("Rounds")[0][1], "60");
    let refusals = record.table("Refusals");
    assert!(refusals.iter().any(|row| row[0] == "status 503"), "{refusals:?}");
}

#[test]
fn vanished_peers_are_noticed_by_pings() {
    let config = Config::default()
        .ping_interval(Duration::from_millis(500))
        .pong_timeout(Duration::from_millis(500))
        .idle_timeout(Duration::ZERO);
    let server = start(config);
    let record = run(&server, "vanish ws://{address}/ -n 50 --within 30s --look 20ms --workers 2");
    assert_eq!((record.figure("vanished"), record.figure("noticed")), (50.0, 50.0), "{}", record.told());
    assert_eq!(record.figure("unnoticed"), 0.0);
    assert!(record.figure("noticed_p50") <= record.figure("noticed_max"));
    assert_eq!((record.figure("errors"), record.figure("dropped")), (0.0, 0.0), "{}", record.told());
    let found = record.table("What the peers found when they were back");
    assert_eq!(found.iter().map(|row| row[1].parse::<u64>().unwrap()).sum::<u64>(), 50, "{found:?}");
}

#[test]
fn vanished_peers_stay_unnoticed_without_pings() {
    let config = Config::default().ping_interval(Duration::ZERO).idle_timeout(Duration::ZERO);
    let server = start(config);
    let record = run(&server, "vanish ws://{address}/ -n 50 --within 1s");
    assert_eq!((record.figure("noticed"), record.figure("unnoticed")), (0.0, 50.0), "{}", record.told());
    assert!(!record.has("noticed_p50"));
    assert_eq!(record.figure("errors"), 0.0, "{}", record.told());
}
