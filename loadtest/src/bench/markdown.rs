//! The comparison as tables in Markdown, between two marks of a text that people write.
//!
//! Refuses to touch anything outside the marks. Invariants: a text without both marks is refused before anything is
//! measured; what stands in a cell of a table ends neither the cell nor the line.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use tidegate::program::failure::Failure;

use super::document::{Cell, Document, Estimate, Kind, Outcome, Row, Run};
use super::{lasted, shown};
use crate::output::number::{moment, plain_number};
use crate::record::Unit;

/// The text that has the tables.
pub const FILE: &str = "BENCHMARKS.md";
const BEGIN: &str = "<!-- bench-peers writes from here -->";
const END: &str = "<!-- to here -->";

/// The text that the tables go into; the marks alone where there is none yet.
///
/// # Errors
/// When there is no such folder, or the text has no place for tables.
pub fn read(folder: &Path) -> Result<String, Failure> {
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "--out {}: there is no such folder; make it first",
            folder.display()
        )));
    }
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!("# Benchmarks\n\n{BEGIN}\n{END}\n"));
        }
        Err(error) => return Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
    };
    match place(&text) {
        Some(_) => Ok(text),
        None => Err(Failure::usage(format!(
            "{}: no lines `{BEGIN}` and `{END}` to write tables between; put them in",
            path.display()
        ))),
    }
}

/// Where the tables begin and end.
fn place(text: &str) -> Option<(usize, usize)> {
    let begin = text.find(BEGIN)? + BEGIN.len();
    let end = begin + text[begin..].find(END)?;
    Some((begin, end))
}

/// The text with these tables in place of those that it had.
pub fn with_tables(text: &str, tables: &str) -> String {
    let Some((begin, end)) = place(text) else { return text.to_string() };
    format!("{}\n\n{}\n\n{}", &text[..begin], tables.trim(), &text[end..])
}

/// Everything that was measured.
pub fn tables(document: &Document) -> String {
    let mut text = conditions(document);
    for cell in &document.cells {
        let _ = write!(text, "\n### {}: {}\n\n", cell.name, cell.title);
        if let Some(said) = said_of_run(cell, document) {
            let _ = write!(text, "{}\n\n", plain(&said));
        }
        text += &results(cell, document);
        let _ = write!(text, "\n```sh\n{}\n```\n", cell.command);
    }
    text
}

/// Of which run a cell is.
pub fn said_of_run(cell: &Cell, document: &Document) -> Option<String> {
    let (number, run) = document.run_of(cell)?;
    let visits = if cell.visits > 1 { format!(", {} visits in each", cell.visits) } else { String::new() };
    let early = if cell.unfinished { ", ended early" } else { "" };
    let rounds = run.rounds;
    Some(format!("Run {number}, {}, {}: {rounds} rounds{visits}{early}.", moment(run.began), run.processor()))
}

/// The runs as a table: its columns and its rows.
pub fn runs(document: &Document) -> (Vec<String>, Vec<Vec<String>>) {
    let facts: BTreeSet<&String> = document.runs.iter().flat_map(|run| run.machine.keys()).collect();
    let mut columns = vec!["run".to_string(), "began".into(), "took".into(), "rounds".into()];
    columns.extend(facts.iter().map(ToString::to_string));
    columns.extend(["server on".into(), "generator on".into(), "loadtest".into(), "command".into()]);
    let list = |cpus: &[usize]| crate::server::cpu::list(cpus);
    let row = |(number, run): (usize, &Run)| {
        let mut row =
            vec![number.to_string(), moment(run.began), lasted(run.seconds), run.rounds.to_string()];
        row.extend(facts.iter().map(|fact| run.machine.get(*fact).cloned().unwrap_or_default()));
        row.extend([list(&run.server_cpu), list(&run.generator_cpu), run.version.clone()]);
        row.push(run.command.join(" "));
        row
    };
    (columns, (1..).zip(&document.runs).map(row).collect())
}

fn conditions(document: &Document) -> String {
    let (columns, rows) = runs(document);
    let mut text = format!("{}|{}\n", line(&columns), "---|".repeat(columns.len()));
    text.extend(rows.iter().map(|row| line(row)));
    text.push('\n');
    text += "| server | kind | language | version | command |\n|---|---|---|---|---|\n";
    for row in &document.rows {
        let kind = match row.kind {
            Kind::Own => "own",
            Kind::Raw => "raw loop",
            Kind::Peer => "library",
        };
        let command =
            row.left_out.as_ref().map_or_else(|| commands(row), |why| format!("left out: {}", plain(why)));
        let (name, language, version) = (plain(&row.name), plain(&row.language), plain(&row.version));
        let _ = writeln!(text, "| {name} | {kind} | {language} | {version} | {command} |");
    }
    text
}

fn commands(row: &Row) -> String {
    let code = |command: &str| format!("`{}`", plain(command));
    if row.broadcast == row.command {
        return code(&row.command);
    }
    format!("{}; broadcast: {}", code(&row.command), code(&row.broadcast))
}

/// The columns of a table of results, and whether each is set flush right.
pub fn columns(cell: &Cell) -> Vec<String> {
    let mut columns = vec!["server".to_string(), cell.unit.clone(), "95 % interval".into()];
    if cell.bytes.is_some() {
        columns.push("ns per byte".into());
    }
    let raw = cell.raw.as_deref().unwrap_or("the raw loop");
    columns.extend([
        format!("to {raw}"),
        "95 % interval".into(),
        "to tidegate".into(),
        "95 % interval".into(),
    ]);
    columns.extend(["server's processor".into(), "sleeps per 1,000".into(), "rounds".into(), String::new()]);
    columns
}

/// One row of it. Nothing that is missing is shown as a number.
pub fn row(cell: &Cell, outcome: &Outcome) -> Vec<String> {
    let dash = || "–".to_string();
    let value = |value: f64| shown(cell.is_memory(), value);
    let told = |estimate: Option<Estimate>, show: &dyn Fn(f64) -> String| {
        let interval = estimate.and_then(|it| it.interval);
        let interval = interval.map_or_else(dash, |(low, high)| format!("{} to {}", show(low), show(high)));
        [estimate.map_or_else(dash, |it| show(it.median)), interval]
    };
    let ratio = |value: f64| format!("{value:.2}");
    let mut cells = vec![outcome.row.clone()];
    cells.extend(told(outcome.value, &value));
    if let Some(bytes) = cell.bytes {
        let each = outcome.value.map(|it| it.median * 1e3 / bytes);
        cells.push(each.map_or_else(dash, |each| plain_number(Unit::Ratio, each)));
    }
    cells.extend(told(outcome.to_raw, &ratio));
    cells.extend(told(outcome.to_own, &ratio));
    cells.push(outcome.server_cpu.map_or_else(dash, |share| plain_number(Unit::Share, share)));
    cells.push(outcome.switches.map_or_else(dash, |each| plain_number(Unit::Ratio, each * 1e3)));
    cells.push(outcome.rounds.iter().flatten().count().to_string());
    let mut notes: Vec<String> =
        outcome.failures.iter().map(|(why, times)| format!("{times} times: {why}")).collect();
    if outcome.disturbed > 0 {
        notes.push(format!("disturbed {} times", outcome.disturbed));
    }
    cells.push(notes.join("; "));
    cells
}

/// The results of a cell, the least first and those without one last.
pub fn sorted(cell: &Cell) -> Vec<&Outcome> {
    let mut results: Vec<&Outcome> = cell.results.iter().collect();
    let key = |outcome: &Outcome| outcome.value.map_or(f64::INFINITY, |value| value.median);
    results.sort_by(|a, b| key(a).total_cmp(&key(b)));
    results
}

fn results(cell: &Cell, document: &Document) -> String {
    let columns = columns(cell);
    let rule: String =
        (0..columns.len()).map(|at| if is_number(&columns, at) { "--:|" } else { "---|" }).collect();
    let mut text = format!("{}|{rule}\n", line(&columns));
    for outcome in sorted(cell) {
        let own = document.rows.iter().any(|row| row.kind == Kind::Own && row.name == outcome.row);
        let mut cells = row(cell, outcome);
        if own {
            cells[0] = format!("**{}**", cells[0]);
        }
        text += &line(&cells);
    }
    text
}

/// A line of a table.
fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.iter().map(|cell| plain(cell)).collect::<Vec<_>>().join(" | "))
}

/// All but the name and the notes.
pub fn is_number(columns: &[String], at: usize) -> bool {
    at > 0 && at + 1 < columns.len()
}

/// Text that ends no cell of a table.
fn plain(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).collect::<String>().replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::document::samples;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = with_tables(&text, "new\n");
        assert_eq!(once, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(with_tables(&once, "new"), once);
        for broken in ["", BEGIN, &format!("{END} {BEGIN}")] {
            assert_eq!(place(broken), None, "{broken}");
            assert_eq!(with_tables(broken, "new"), broken);
        }
    }

    #[test]
    fn a_result_is_a_row_and_what_is_missing_is_a_dash() {
        let text = tables(&samples::document());
        for expected in [
            "| raw \\| loop | raw loop | C | 1 | left out: there is no a \\| b |",
            "| **tidegate** | 12 µs | 11 µs to 13 µs | 11.7 | 1.20 | 1.10 to 1.30 | 1.00 | 1.00 to 1.00 | 98.0 % | 20.0 | 5 |  |",
            "| slow | – | – | – | – | – | – | – | – | – | 0 | 3 times: given up; 2 times: lost 3 |",
            "### echo-100x1x1KiB: echo <all>\n\nRun 1, 1970-01-01 00:16:40 UTC, fast \\| one: 5 rounds, 3 visits in each.\n",
            "| 1 | 1970-01-01 00:16:40 UTC | 100 s | 5 | fast \\| one | 0 | 1 | 0 | loadtest bench-peers |",
            "```sh\nloadtest echo ws://127.0.0.1:9001/echo\n```",
            "| to raw \\| loop |",
        ] {
            assert!(text.contains(expected), "{expected}:\n{text}");
        }
        let at = |name: &str| text.rfind(name).unwrap();
        assert!(at("**tidegate**") < at("| slow"), "the least first, dashes last");
    }
}
