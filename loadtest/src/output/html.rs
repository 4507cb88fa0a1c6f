//! Runs as one page: everything in one file, without network and script.
//!
//! Refuses to know where the page goes. Invariants: text of a run is escaped, whoever it came from; the page loads
//! nothing; a run that is not to be believed says INVALID in the page's title, above and below its figures.

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::{harmless, plain_number};
use super::{QUANTILES, against, is_valid, latency_cells, number, numeric_columns, plot, reason};
use crate::record::{Axis, Figure, Line, Plot, Record, Scale, Table, Times, Unit};

/// Figures shown large.
const TILES: usize = 8;
/// Rows of a table; the rest is in the record.
const ROWS: usize = 1_000;

/// The page of these runs, side by side first when there are several.
pub fn page(records: &[Record]) -> String {
    let body = html! {
        @if records.is_empty() { h1 { "No runs" } }
        @if records.len() > 1 { (overview(records)) }
        @for (at, record) in records.iter().enumerate() {
            (run(record, at, records.len()))
        }
    };
    sheet(&title(records), &body)
}

/// A page of this title around its body, in the style of all pages.
pub fn sheet(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(include_str!("html/page.css"))) (PreEscaped(colours())) }
            }
            body {
                main {
                    (body)
                    footer { "drawn by loadtest " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    };
    page.into_string()
}

/// INVALID stands first, where a narrow tab still shows it.
fn title(records: &[Record]) -> String {
    let mark = if records.iter().all(is_valid) { "" } else { "INVALID: " };
    match records {
        [one] => format!("{mark}{} – {}", one.scenario, one.title),
        several => format!("{mark}{} runs of loadtest", several.len()),
    }
}

/// The style of the sixteen lines: what the plots only name. The upper eight are dashed.
fn colours() -> String {
    let rule = |at: usize| {
        let dashes = if at < 8 { "" } else { "stroke-dasharray:6 3;" };
        let long = if at < 8 { "" } else { "stroke-dasharray:28 16;" };
        let colour = at % 8;
        format!(
            "[stroke=\"#C0000{at:X}\"]{{stroke:var(--line{colour});{long}}}\
             .key [stroke=\"#C0000{at:X}\"]{{{dashes}}}[fill=\"#C0000{at:X}\"]{{fill:var(--line{colour})}}\n"
        )
    };
    (0..plot::LINES).map(rule).collect()
}

fn run(record: &Record, at: usize, of: usize) -> Markup {
    let valid = is_valid(record);
    let took = plain_number(Unit::Seconds, record.seconds);
    html! {
        article id=(format!("run{}", at + 1)) {
            header {
                p.scenario { @if of > 1 { (at + 1) " · " } (record.scenario) }
                h1 { (record.title) }
                p.dim { (number::moment(record.began)) ", took " (took) }
            }
            (verdict(record))
            (tiles(&record.figures))
            (curves_of_one(record))
            @for drawn in &record.plots { (plot::figure(drawn)) }
            (figures(&record.figures))
            (latency(&record.times))
            @for rows in &record.tables { (table(rows, &numeric_columns(rows))) }
            (errors(record))
            @if !record.notes.is_empty() {
                section { h2 { "Notes" } ul.notes { @for note in &record.notes { li { (note) } } } }
            }
            (conditions(record))
            @if !valid { p.last { strong { "INVALID" } " Do not use these figures: " (reason(record)) "." } }
        }
    }
}

fn verdict(record: &Record) -> Markup {
    let valid = is_valid(record);
    html! {
        section.verdict.valid[valid].invalid[!valid] role="status" {
            p.word { @if valid { "VALID" } @else { "INVALID" } }
            div {
                p.reason { @if !valid { "Do not use these figures: " } (reason(record)) }
                @for check in record.verdict.checks.iter().filter(|check| !check.ok) {
                    p { b { (check.name) ": " (against(check)) "." } " " (check.meaning) }
                }
                @let passed = || record.verdict.checks.iter().filter(|check| check.ok);
                @if passed().next().is_some() {
                    p.passed {
                        @for check in passed() { span { "✓ " (check.name) " " (against(check)) } " " }
                    }
                }
            }
        }
    }
}

/// What is judged comes first: a figure of which more or less is better. A run without such shows its first ones.
fn tiles(figures: &[Figure]) -> Markup {
    let judged = figures.iter().filter(|figure| figure.less_is_better.is_some()).take(TILES);
    let mut shown: Vec<&Figure> = judged.collect();
    if shown.is_empty() {
        shown = figures.iter().take(TILES).collect();
    }
    html! {
        @if !shown.is_empty() {
            dl.tiles {
                @for figure in shown {
                    @let (text, interval) = number::figure(figure);
                    @let (digits, unit) = text.split_once(' ').unwrap_or((&text, ""));
                    div {
                        dt { (figure.name.replace('_', " ")) }
                        dd { (digits) @if !unit.is_empty() { " " small { (unit) } } }
                        @if let Some(interval) = interval { dd.interval { (interval) } }
                    }
                }
            }
        }
    }
}

fn figures(figures: &[Figure]) -> Markup {
    let better = |figure: &Figure| match figure.less_is_better {
        Some(true) => "less",
        Some(false) => "more",
        None => "",
    };
    html! {
        @if !figures.is_empty() {
            section {
                h2 { "Figures" }
                .scroll { table {
                    thead { tr { th { "name" } th.n { "value" } th { "95 % interval" } th { "better" } } }
                    tbody {
                        @for figure in figures {
                            @let (text, interval) = number::figure(figure);
                            tr { td { code { (figure.name) } } td.n { (text) } td { (interval.unwrap_or_default()) }
                                td.dim { (better(figure)) } }
                        }
                    }
                } }
            }
        }
    }
}

fn latency(times: &BTreeMap<String, Times>) -> Markup {
    if times.is_empty() {
        return Markup::default();
    }
    let mut columns = vec!["".to_string(), "count".to_string()];
    columns.extend(QUANTILES.map(|(name, _)| name.to_string()));
    let rows = times.iter().map(|(name, times)| {
        let mut row = vec![name.clone()];
        row.extend(latency_cells(times));
        row
    });
    let rows = Table { title: "Latency".to_string(), columns, rows: rows.collect() };
    table(&rows, &[false, true, true, true, true, true, true])
}

fn table(table: &Table, flush_right: &[bool]) -> Markup {
    let cell = |row: &[String], at: usize| row.get(at).map(|cell| harmless(cell)).unwrap_or_default();
    html! {
        section {
            h2 { (table.title) }
            .scroll { table {
                thead { tr { @for (at, &right) in flush_right.iter().enumerate() {
                    th.n[right] { (cell(&table.columns, at)) }
                } } }
                tbody { @for row in table.rows.iter().take(ROWS) {
                    tr { @for (at, &right) in flush_right.iter().enumerate() { td.n[right] { (cell(row, at)) } } }
                } }
            } }
            @if table.rows.len() > ROWS { p.dim { "and " (table.rows.len() - ROWS) " rows more, in the record" } }
        }
    }
}

fn errors(record: &Record) -> Markup {
    let mut kinds: Vec<_> = record.errors.iter().collect();
    kinds.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.count));
    let rows = kinds.into_iter().map(|(kind, seen)| {
        vec![plain_number(Unit::Count, seen.count as f64), kind.clone(), seen.example.clone()]
    });
    let columns = ["count", "kind", "the first one"].map(String::from).to_vec();
    let rows = Table { title: "Errors".to_string(), columns, rows: rows.collect() };
    html! { @if !rows.rows.is_empty() { (table(&rows, &[true, false, false])) } }
}

fn conditions(record: &Record) -> Markup {
    let conditions = &record.conditions;
    let quoted = conditions
        .command
        .iter()
        .map(|word| shlex::try_quote(word).map_or(word.as_str().into(), |word| word));
    let command = quoted.collect::<Vec<_>>().join(" ");
    let groups = [
        ("Machine", &conditions.machine),
        ("Settings", &conditions.settings),
        ("Server", &conditions.server),
    ];
    html! {
        details open {
            summary { "Conditions" }
            pre { (harmless(&command)) }
            .conditions {
                @for (name, pairs) in groups.into_iter().filter(|(_, pairs)| !pairs.is_empty()) {
                    div { h3 { (name) } dl { @for (name, value) in pairs { dt { (name) } dd { (value) } } } }
                }
                @if !conditions.workers.is_empty() {
                    div { h3 { "Workers" } ul { @for worker in &conditions.workers { li { (worker) } } } }
                }
            }
            p.dim { "measured with loadtest " (conditions.version) }
        }
    }
}

/// All runs beside each other: a column for each, a row for each name of a figure.
fn overview(records: &[Record]) -> Markup {
    let mut names: Vec<&str> = Vec::new();
    for figure in records.iter().flat_map(|record| &record.figures) {
        if !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    html! {
        article {
            header { h1 { (records.len()) " runs" } }
            @let invalid = records.iter().filter(|record| !is_valid(record)).count();
            @if invalid > 0 {
                section.verdict.invalid role="status" {
                    p.word { "INVALID" }
                    p.reason { "Do not use the figures of " (invalid) " of these " (records.len()) " runs" }
                }
            }
            section {
                .scroll { table.overview {
                    thead { tr {
                        th { "figure" }
                        @for (at, record) in records.iter().enumerate() {
                            th.n {
                                a href=(format!("#run{}", at + 1)) { (at + 1) " · " (record.title) }
                                @if is_valid(record) { span.mark.valid { "VALID" } }
                                @else { span.mark.invalid { "INVALID" } }
                            }
                        }
                    } }
                    tbody { @for name in names {
                        tr {
                            td { code { (name) } }
                            @for record in records { (beside(record.figure(name))) }
                        }
                    } }
                } }
            }
            (curves_of_all(records))
        }
    }
}

fn beside(figure: Option<&Figure>) -> Markup {
    let shown = figure.map(number::figure);
    html! {
        td.n {
            @if let Some((text, interval)) = shown {
                (text) @if let Some(interval) = interval { small.interval { (interval) } }
            } @else { "–" }
        }
    }
}

/// Histograms of one run over the share of the spans.
fn curves_of_one(record: &Record) -> Markup {
    let filled = record.times.iter().filter(|(_, times)| !times.is_empty());
    let lines: Vec<Line> = filled.map(|(name, times)| curve(name, times)).collect();
    html! { @if !lines.is_empty() { (plot::figure(&curves("Latency by percentile".to_string(), lines))) } }
}

/// A plot for each histogram that several runs have.
fn curves_of_all(records: &[Record]) -> Markup {
    let mut by_name: BTreeMap<&str, Vec<Line>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        for (name, times) in record.times.iter().filter(|(_, times)| !times.is_empty()) {
            let run = format!("{} · {}", at + 1, record.title);
            by_name.entry(name).or_default().push(curve(&run, times));
        }
    }
    let shared = by_name.into_iter().filter(|(_, lines)| lines.len() > 1);
    html! { @for (name, lines) in shared { (plot::figure(&curves(format!("Latency by percentile: {name}"), lines))) } }
}

fn curve(name: &str, times: &Times) -> Line {
    Line { name: name.to_string(), points: times.curve(), dots: false }
}

fn curves(title: String, lines: Vec<Line>) -> Plot {
    let axis = |label: &str, unit, scale| Axis { label: label.to_string(), unit, scale };
    let x = axis("share of all that took at most as long", Unit::Share, Scale::Quantile);
    Plot { title, x, y: axis("latency", Unit::Microseconds, Scale::Log), lines }
}

#[cfg(test)]
mod tests;
