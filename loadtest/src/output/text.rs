//! The summary at the end of a run, for a terminal of a hundred columns.
//!
//! Refuses to know terminals: whether there are colours is the caller's. Invariants: INVALID stands first and last; no
//! control character of a peer reaches the terminal; what is cut says so.

use std::fmt::Write;

pub use super::number::plain_number;
use super::{QUANTILES, against, failed, is_valid, latency_cells, number, numeric_columns, reason};
use crate::record::{Record, Table};

/// Columns of a line, and of one cell within a table.
const WIDTH: usize = 100;
const CELL: usize = 40;
/// Rows of a table, and kinds of errors. The rest is in the record.
const ROWS: usize = 40;

/// The whole summary. It ends with a newline.
pub fn summary(record: &Record, colours: bool) -> String {
    let mut page = Page { text: String::new(), colours };
    let valid = is_valid(record);
    if !valid {
        page.invalid(record);
        page.text.push('\n');
    }
    page.title(record);
    page.verdict(record, valid);
    page.figures(record);
    page.latency(record);
    record.tables.iter().for_each(|table| page.table(table));
    page.errors(record);
    page.notes(record);
    if !valid {
        page.text.push('\n');
        page.invalid(record);
    }
    page.text
}

/// The text with control characters, and those that turn the direction of writing, spelled out: an error's example may
/// come from a server, and a terminal obeys what it is sent.
pub fn harmless(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}') {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    clean
}

/// The text in so many columns, with … for what does not fit.
fn cut(text: &str, columns: usize) -> String {
    let text = harmless(text);
    if text.chars().count() <= columns {
        return text;
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "1;32";
const RED: &str = "1;31";
const ON_RED: &str = "1;97;41";

struct Page {
    text: String,
    colours: bool,
}

impl Page {
    fn styled(&self, style: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// Adds a line. Writing to a string does not fail.
    fn line(&mut self, line: std::fmt::Arguments) {
        let _ = self.text.write_fmt(line);
        while self.text.ends_with(' ') {
            self.text.pop();
        }
        self.text.push('\n');
    }

    fn heading(&mut self, title: &str) {
        let title = self.styled(BOLD, &cut(title, WIDTH));
        self.line(format_args!("\n{title}"));
    }

    fn invalid(&mut self, record: &Record) {
        let word = self.styled(ON_RED, " INVALID ");
        let word = if self.colours { word } else { "INVALID".to_string() };
        let reason = cut(&reason(record), WIDTH - 40);
        let text = self.styled(RED, &format!("Do not use these figures: {reason}"));
        self.line(format_args!("{word}  {text}"));
    }

    fn title(&mut self, record: &Record) {
        let scenario = cut(&record.scenario, 20);
        let title = cut(&record.title, WIDTH.saturating_sub(scenario.chars().count() + 2));
        let scenario = self.styled(BOLD, &scenario);
        self.line(format_args!("{scenario}  {title}"));
        let took = plain_number(crate::record::Unit::Seconds, record.seconds);
        let when = self.styled(DIM, &format!("{}, took {took}", number::moment(record.began)));
        self.line(format_args!("{when}"));
    }

    fn verdict(&mut self, record: &Record, valid: bool) {
        self.text.push('\n');
        if valid {
            let word = self.styled(GREEN, "VALID");
            self.line(format_args!("{word}  {}", reason(record)));
            return;
        }
        for check in failed(record) {
            let name = self.styled(RED, &cut(&check.name, CELL));
            self.line(format_args!("{name}: {}", against(check)));
            self.wrapped("    ", "    ", &check.meaning);
        }
    }

    /// Name, number, unit, interval; a blank line where the first word of the names changes, unless each has its own.
    fn figures(&mut self, record: &Record) {
        if record.figures.is_empty() {
            return;
        }
        self.heading("Figures");
        let rows = record.figures.iter().map(|figure| {
            let (shown, interval) = number::figure(figure);
            let (digits, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
            [cut(&figure.name, CELL), digits.to_string(), unit.to_string(), interval.unwrap_or_default()]
        });
        let rows: Vec<[String; 4]> = rows.collect();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let (names, digits, units) = (width(0), width(1), width(2));
        let topic = |at: usize| record.figures.get(at).map(|figure| figure.name.split('_').next());
        for (at, [name, number, unit, interval]) in rows.iter().enumerate() {
            let alone = |at: usize| (at == 0 || topic(at - 1) != topic(at)) && topic(at + 1) != topic(at);
            if at > 0 && topic(at - 1) != topic(at) && !(alone(at - 1) && alone(at)) {
                self.text.push('\n');
            }
            self.line(format_args!("  {name:names$}  {number:>digits$} {unit:units$} {interval}"));
        }
    }

    fn latency(&mut self, record: &Record) {
        if record.times.is_empty() {
            return;
        }
        let mut columns = vec![String::new(), "count".to_string()];
        columns.extend(QUANTILES.map(|(name, _)| name.to_string()));
        let rows = record.times.iter().map(|(name, times)| {
            let mut row = vec![name.clone()];
            row.extend(latency_cells(times));
            row
        });
        let table = Table { title: "Latency".to_string(), columns, rows: rows.collect() };
        let mut flush_right = vec![true; 7];
        flush_right[0] = false;
        self.aligned(&table, &flush_right);
    }

    fn table(&mut self, table: &Table) {
        self.aligned(table, &numeric_columns(table));
    }

    fn aligned(&mut self, table: &Table, flush_right: &[bool]) {
        self.heading(&table.title);
        // The last column may take what is left of the line, which is cut as a whole.
        let columns = flush_right.len();
        let room = |at: usize| if at + 1 == columns { WIDTH } else { CELL };
        let cells = |row: &[String]| -> Vec<String> {
            (0..columns).map(|at| row.get(at).map_or(String::new(), |cell| cut(cell, room(at)))).collect()
        };
        let head = cells(&table.columns);
        let rows: Vec<_> = table.rows.iter().take(ROWS).map(|row| cells(row)).collect();
        let widths: Vec<usize> = (0..columns)
            .map(|at| rows.iter().chain([&head]).map(|row| row[at].chars().count()).max().unwrap_or(0))
            .collect();
        for (at, row) in std::iter::once(&head).chain(&rows).enumerate() {
            let mut line = String::new();
            for ((cell, &width), &right) in row.iter().zip(&widths).zip(flush_right) {
                let _ =
                    if right { write!(line, "  {cell:>width$}") } else { write!(line, "  {cell:width$}") };
            }
            let line = cut(line.trim_end(), WIDTH);
            let line = if at == 0 { self.styled(DIM, &line) } else { line };
            self.line(format_args!("{line}"));
        }
        let more = table.rows.len().saturating_sub(ROWS);
        if more > 0 {
            self.line(format_args!("  … and {more} rows more, in the record"));
        }
    }

    fn errors(&mut self, record: &Record) {
        if record.errors.is_empty() {
            return;
        }
        let mut kinds: Vec<_> = record.errors.iter().collect();
        kinds.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.count));
        let rows = kinds.iter().map(|(kind, seen)| {
            vec![
                plain_number(crate::record::Unit::Count, seen.count as f64),
                kind.to_string(),
                seen.example.clone(),
            ]
        });
        let columns = ["count", "kind", "the first one"].map(String::from).to_vec();
        let table = Table { title: "Errors".to_string(), columns, rows: rows.collect() };
        self.aligned(&table, &[true, false, false]);
    }

    fn notes(&mut self, record: &Record) {
        if record.notes.is_empty() {
            return;
        }
        self.heading("Notes");
        record.notes.iter().for_each(|note| self.wrapped("  - ", "    ", note));
    }

    /// A paragraph between the margins.
    fn wrapped(&mut self, first: &str, margin: &str, text: &str) {
        let mut line = first.to_string();
        let mut is_empty = true;
        for word in text.split_whitespace().map(|word| cut(word, WIDTH - margin.len())) {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.line(format_args!("{line}"));
                line = margin.to_string();
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(&word);
            is_empty = false;
        }
        self.line(format_args!("{line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn a_small_run() {
        assert_eq!(summary(&samples::small(), false), SMALL);
    }

    const SMALL: &str = "\
echo  10,000 connections, 64 B, open loop
2025-12-31 23:59:59 UTC, took 34.2 s

VALID  the one check passed

Figures
  connections_open    10,000
  connections_failed      12

  rate                50,000 /s
  cpu_per_message       12.5 µs  (12.1 to 12.9)
  server_memory         46.0 MiB

Latency
           count      p50     p90     p99   p99.9      max
  connect      3  1.20 ms       –       –       –  45.0 ms
  rtt      1,000   500 µs  900 µs  990 µs  999 µs  1.00 ms

Levels
        rate  rtt p99  state
   10,000 /s  0.41 ms  held
  100,000 /s  12.0 ms  gave way

Errors
  count  kind             the first one
     12  connect refused  127.0.0.1:9001 refused the connection

Notes
  - The server ran on the same machine: its figures and the generator's share four cores.
";

    #[test]
    fn invalid_stands_first_and_last() {
        let text = summary(&samples::invalid(), false);
        let line = "INVALID  Do not use these figures: 2 of 3 checks failed: slip p99, generator cpu\n";
        assert!(text.starts_with(line) && text.ends_with(line), "{text}");
        let detail = "\ngenerator cpu: 97.0 %, limit 80.0 %\n    The generator was late, so latencies are too long; \
                      use more workers or a lower rate.\n";
        assert!(text.contains(detail), "{text}");
        assert!(!text.contains("loop lag"), "{text}");
        let text = summary(&samples::invalid(), true);
        assert_eq!(text.matches("\x1b[1;97;41m INVALID \x1b[0m").count(), 2);
    }

    #[test]
    fn a_failed_check_makes_it_invalid_whatever_the_verdict_says() {
        let mut record = samples::invalid();
        record.verdict.valid = true;
        assert!(summary(&record, false).starts_with("INVALID"));
        record.verdict = crate::record::Verdict { valid: false, checks: Vec::new() };
        assert!(summary(&record, false).contains("and no check says why"));
    }

    #[test]
    fn nothing_is_wider_than_the_page_and_nothing_obeys_a_peer() {
        let mut record = samples::invalid();
        let long = "\x1b]0;mine\x07\n ".to_string() + &"long ".repeat(60) + &"x".repeat(300);
        record.title = long.clone();
        record.scenario = long.clone();
        record.verdict.checks[0].name = long.clone();
        record.verdict.checks[0].meaning = long.clone();
        record.figures[0].name = long.clone();
        record.tables[0].title = long.clone();
        record.tables[0].columns.push(long.clone());
        record.tables[0].rows.push(vec![long.clone(); 9]);
        record.tables[0].rows.extend(vec![Vec::new(); 50]);
        record.errors.entry(long.clone()).or_default().add(3, &long);
        record.notes = vec![long.clone(), String::new()];
        record.times.insert(long.clone(), Default::default());
        let text = summary(&record, false);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert!(text.contains("… and 13 rows more, in the record"), "{text}");
    }

    #[test]
    fn an_example_takes_the_rest_of_the_line() {
        let mut record = samples::small();
        let example = "127.0.0.1:9001 answered 503 where 101 was expected: \"too many connections\"";
        record.errors.entry("connect refused".to_string()).or_default().example = example.to_string();
        let text = summary(&record, false);
        assert!(text.contains(&format!("     12  connect refused  {example}\n")), "{text}");
    }

    #[test]
    fn an_empty_record_has_a_summary() {
        let mut record = samples::small();
        (record.figures, record.tables, record.notes) = Default::default();
        (record.times, record.errors) = Default::default();
        record.verdict.checks.clear();
        let text = summary(&record, false);
        assert!(text.ends_with("\n\nVALID  nothing was checked\n"), "{text}");
    }
}
