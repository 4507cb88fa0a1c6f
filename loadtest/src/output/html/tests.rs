//! What the page must hold, and must not.

use super::*;
use crate::output::samples;
use crate::record::Seen;

#[test]
fn an_invalid_run_says_so_above_and_below_and_in_the_title() {
    let page = page(&[samples::invalid()]);
    assert!(page.contains("<title>INVALID: echo – 10,000 connections"), "{page}");
    assert!(page.contains("<p class=\"word\">INVALID</p>"));
    assert!(page.contains("<strong>INVALID</strong> Do not use these figures: 2 of 3 checks failed"));
    assert!(page.contains("4.20 ms, limit 1.00 ms."));
}

#[test]
fn a_valid_run_does_not_say_invalid() {
    let page = page(&[samples::small()]);
    assert!(!page.contains("INVALID"));
    assert!(page.contains("<p class=\"word\">VALID</p>"));
}

#[test]
fn hostile_text_is_text() {
    const EVIL: &str = "</style></title><script>alert(1)</script>\" onload=\"x\u{1b}[2J";
    let mut record = samples::rich();
    let evil = || EVIL.to_string();
    record.title = evil();
    record.scenario = evil();
    record.figures[0].name = evil();
    record.figures[1].name = evil();
    record.tables[0].title = evil();
    record.tables[0].rows[0][1] = evil();
    record.tables[0].columns[0] = evil();
    record.errors.insert(evil(), Seen { count: 1, example: evil() });
    record.notes.push(evil());
    record.conditions.command.push(evil());
    record.conditions.workers.push(evil());
    record.conditions.server.insert(evil(), evil());
    record.verdict.checks[0].name = evil();
    record.verdict.checks[0].meaning = evil();
    record.verdict.checks[0].ok = false;
    record.times.insert(evil(), record.times["rtt"].clone());
    record.plots[0].title = evil();
    record.plots[0].x.label = evil();
    record.plots[0].lines[0].name = evil();
    let page = page(&[record.clone(), record]);
    assert!(!page.contains("<script") && !page.contains("\" onload="), "{page}");
    assert_eq!((page.matches("</style>").count(), page.matches("</title>").count()), (1, 1));
    assert!(page.contains("&lt;script&gt;alert(1)"));
}

#[test]
fn nothing_is_loaded() {
    let page = page(&[samples::rich(), samples::invalid()]);
    for sign in ["http:", "https:", "src=", "url(", "@import", "<link", "<script"] {
        assert!(!page.contains(sign), "{sign}");
    }
    assert!(page.split("href=\"").skip(1).all(|rest| rest.starts_with('#')));
}

#[test]
fn all_of_a_run_is_there() {
    let page = page(&[samples::rich()]);
    for text in [
        "Latency by percentile",
        "Server memory over connections",
        "Rate over time",
        "Latency over load",
        "p50 &lt;measured&gt;",
        "<code>server_memory</code>",
        "46.0 MiB",
        "gave way",
        "refused the connection",
        "share four cores",
        "loadtest echo --title &quot;it's mine&quot;",
        "Linux 6.12.9",
        "release/examples/echo",
        "1: cores 2-3",
        "2025-12-31 23:59:59 UTC, took 34.2 s",
        ">99.9 %<",
    ] {
        let spread = text.replace('>', ">\n").replace('<', "\n<");
        assert!(page.contains(text) || page.contains(&spread), "{text}");
    }
}

#[test]
fn several_runs_stand_side_by_side() {
    let mut other = samples::invalid();
    other.title = "the other".to_string();
    other.figures.remove(0);
    other.figures.push(Figure::new("only_here", 3.0, Unit::Count));
    other.times.remove("connect");
    let page = page(&[samples::small(), other]);
    assert!(page.contains("<title>INVALID: 2 runs of loadtest</title>"));
    assert!(page.contains("Do not use the figures of 1 of these 2 runs"));
    assert!(page.contains("<a href=\"#run2\">2 · the other</a><span class=\"mark invalid\">INVALID</span>"));
    assert!(
        page.contains("<code>connections_open</code></td><td class=\"n\">10,000</td><td class=\"n\">–</td>")
    );
    assert!(page.contains("<code>only_here</code></td><td class=\"n\">–</td><td class=\"n\">3</td>"));
    assert!(
        page.contains("Latency by percentile: rtt<") && !page.contains("Latency by percentile: connect<")
    );
}

#[test]
fn no_runs_and_an_empty_run_have_a_page() {
    assert!(page(&[]).contains("No runs"));
    let mut record = samples::small();
    (record.figures, record.tables, record.notes) = Default::default();
    (record.times, record.errors, record.conditions) = Default::default();
    record.times.insert("rtt".to_string(), Times::default());
    record.tables.push(Table {
        title: "Empty".to_string(),
        columns: Vec::new(),
        rows: vec![vec![String::new()]],
    });
    assert!(page(&[record]).contains("Empty"));
}

/// With `LOADTEST_SAMPLES=<directory>` the pages are also written, for the eyes.
#[test]
fn sample_pages() {
    let write = |name: &str, records: &[Record]| {
        let page = page(records);
        assert!(records.iter().all(|record| page.contains(&record.title)), "{name}");
        if let Ok(directory) = std::env::var("LOADTEST_SAMPLES") {
            std::fs::write(format!("{directory}/{name}"), page).expect("the directory can be written");
        }
    };
    let mut slower = samples::invalid();
    slower.title = "the same, one core less".to_string();
    for times in slower.times.values_mut() {
        (0..3_000_u64).for_each(|at| times.record_micros(400 + at * at / 300));
    }
    write("valid.html", &[samples::rich()]);
    write("invalid.html", &[samples::invalid()]);
    write("several.html", &[samples::rich(), slower]);
}
