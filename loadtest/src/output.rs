//! What a run looks like: as text, as JSON, as CSV, as a page, and while it lasts.
//!
//! Refuses to know scenarios: it shows the record that it is given, in the record's order. Invariants: a run whose checks
//! failed says INVALID in every form; text that came from a server is shown and never obeyed.

pub mod csv;
pub mod html;
pub mod json;
pub mod live;
pub mod number;
pub mod plot;
pub mod text;

use crate::record::{Check, Record, Table, Times};

/// The columns of a latency table, and the share of each; `None` is the longest.
const QUANTILES: [(&str, Option<f64>); 5] =
    [("p50", Some(0.5)), ("p90", Some(0.9)), ("p99", Some(0.99)), ("p99.9", Some(0.999)), ("max", None)];

/// Whether the figures can be believed. A failed check counts even where the verdict forgot it.
fn is_valid(record: &Record) -> bool {
    record.verdict.valid && record.verdict.checks.iter().all(|check| check.ok)
}

/// The checks that failed.
fn failed(record: &Record) -> impl Iterator<Item = &Check> {
    record.verdict.checks.iter().filter(|check| !check.ok)
}

/// One sentence about the verdict, without its word.
fn reason(record: &Record) -> String {
    let all = record.verdict.checks.len();
    let names: Vec<&str> = failed(record).map(|check| check.name.as_str()).collect();
    match (is_valid(record), all) {
        (true, 0) => "nothing was checked".to_string(),
        (true, 1) => "the one check passed".to_string(),
        (true, _) => format!("{all} checks passed"),
        (false, _) if names.is_empty() => "the run says so, and no check says why".to_string(),
        (false, _) => format!("{} of {all} checks failed: {}", names.len(), names.join(", ")),
    }
}

/// What was measured against what limit.
fn against(check: &Check) -> String {
    let shown = |value| number::plain_number(check.unit, value);
    format!("{}, limit {}", shown(check.measured), shown(check.limit))
}

/// The cells of a latency table behind the name. A quantile that not even one span stands for is left out: p99.9 of a
/// hundred spans is only their longest, under a better name.
fn latency_cells(times: &Times) -> Vec<String> {
    use crate::record::Unit::{Count, Microseconds};
    let count = times.count() as f64;
    let mut cells = vec![number::plain_number(Count, count)];
    cells.extend(QUANTILES.iter().map(|&(_, share)| match share {
        _ if times.is_empty() => "–".to_string(),
        Some(share) if count * (1.0 - share) < 1.0 - 1e-6 => "–".to_string(),
        Some(share) => number::plain_number(Microseconds, times.quantile(share)),
        None => number::plain_number(Microseconds, times.max()),
    }));
    cells
}

/// Which columns of a table hold numbers, and are set flush right. Rows may be longer or shorter than the head.
fn numeric_columns(table: &Table) -> Vec<bool> {
    let width = table.rows.iter().map(Vec::len).max().unwrap_or(0).max(table.columns.len());
    let is_number = |cell: &String| {
        let digits = cell.trim_start_matches(['-', '+', '−']);
        digits.is_empty() || digits == "–" || digits.starts_with(|first: char| first.is_ascii_digit())
    };
    (0..width).map(|at| table.rows.iter().filter_map(|row| row.get(at)).all(is_number)).collect()
}

#[cfg(test)]
pub mod samples;
