//! What on this machine stops N connections, and the command that raises it.
//!
//! [`readings`] asks the machine, [`Diagnosis::of`] judges without asking anything, this file prints. Knows
//! nothing of servers beyond what one connection costs. Invariant: the exit code is 0 exactly when no row
//! is [`Verdict::TooLow`].

pub mod readings;
mod rules;

use std::fmt::Write;

use serde::Serialize;

pub use readings::Readings;
pub use rules::DESCRIPTOR_RESERVE;

/// How a limit stands against what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It suffices.
    Ok,
    /// It suffices for the server, but see the advice: clients on the same machine, or bursts, need more.
    Note,
    /// It stops the connections.
    TooLow,
    /// It cannot be read here.
    Unknown,
}

/// One limit of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The limit's name, as the tool that sets it calls it.
    pub name: &'static str,
    /// What it is now.
    pub value: String,
    /// What N connections need.
    pub needed: String,
    /// How the two compare.
    pub verdict: Verdict,
    /// What to do or to know; empty when there is nothing.
    pub advice: String,
}

/// All limits, judged for a number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The connections asked for.
    pub connections: u64,
    /// Nothing stops them.
    pub enough: bool,
    /// The limits, in the order in which they usually bite.
    pub rows: Vec<Row>,
}

impl Diagnosis {
    /// Judges readings; asks nothing of the machine.
    pub fn of(readings: &Readings, connections: u64) -> Self {
        let rows = rules::rows(readings, connections);
        let enough = rows.iter().all(|row| row.verdict != Verdict::TooLow);
        Diagnosis { connections, enough, rows }
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        // Only maps with odd keys can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// As an aligned table, and under it the advice.
    pub fn table(&self, colours: bool) -> String {
        let connections = crate::program::units::grouped(self.connections);
        let mut text = format!("What {connections} connections to a server on this machine need:\n\n");
        let head = ["limit", "value", "needed", ""].map(String::from);
        let cells: Vec<[String; 4]> = std::iter::once(head)
            .chain(self.rows.iter().map(|row| {
                [row.name.to_string(), row.value.clone(), row.needed.clone(), row.verdict.word().to_string()]
            }))
            .collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for (at, [name, value, needed, word]) in cells.iter().enumerate() {
            let verdict = at.checked_sub(1).and_then(|at| self.rows.get(at)).map(|row| row.verdict);
            let word = verdict.filter(|_| colours).map_or_else(|| word.clone(), |v| v.coloured());
            let line =
                format!("  {name:<0$}  {value:>1$}  {needed:>2$}  {word}", widths[0], widths[1], widths[2]);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        if self.rows.iter().any(|row| !row.advice.is_empty()) {
            text.push('\n');
        }
        for row in self.rows.iter().filter(|row| !row.advice.is_empty()) {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {:<width$}  {}", row.name, row.advice, width = widths[0]);
        }
        let _ = match self.enough {
            true => writeln!(text, "\nNothing here stops {connections} connections."),
            false => {
                writeln!(text, "\nThis machine cannot hold {connections} connections as it is set up now.")
            }
        };
        text
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Note => "see below",
            Verdict::TooLow => "TOO LOW",
            Verdict::Unknown => "unknown",
        }
    }

    fn coloured(self) -> String {
        let colour = match self {
            Verdict::Ok => 32,
            Verdict::TooLow => 31,
            Verdict::Note | Verdict::Unknown => 33,
        };
        format!("\u{1b}[{colour}m{}\u{1b}[0m", self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        let row = |name, value: &str, verdict, advice: &str| Row {
            name,
            value: value.into(),
            needed: "5".into(),
            verdict,
            advice: advice.into(),
        };
        let rows = vec![
            row("a", "10", Verdict::Ok, ""),
            row("longer", "1,000", Verdict::TooLow, "sysctl -w longer=5"),
        ];
        Diagnosis { connections: 1_000, enough: false, rows }
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "What 1,000 connections to a server on this machine need:\n\n\
                        \x20 limit   value  needed\n\
                        \x20 a          10       5  ok\n\
                        \x20 longer  1,000       5  TOO LOW\n\n\
                        \x20 longer  sysctl -w longer=5\n\n\
                        This machine cannot hold 1,000 connections as it is set up now.\n";
        assert_eq!(diagnosis().table(false), expected);
        assert!(diagnosis().table(true).contains("  \u{1b}[31mTOO LOW\u{1b}[0m\n"));
    }

    #[test]
    fn the_json_says_the_same() {
        let json: serde_json::Value = serde_json::from_str(&diagnosis().json()).unwrap();
        assert_eq!(json["connections"], 1_000);
        assert_eq!(json["enough"], false);
        assert_eq!(json["rows"][0]["verdict"], "ok");
        assert_eq!(json["rows"][1]["verdict"], "too_low");
        assert_eq!(json["rows"][1]["advice"], "sysctl -w longer=5");
    }

    #[test]
    fn this_machine_can_be_read() {
        let diagnosis = Diagnosis::of(&Readings::of_this_machine(), 1);
        assert!(diagnosis.rows.iter().all(|row| !row.name.is_empty() && !row.value.is_empty()));
    }
}
