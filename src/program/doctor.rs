//! What on this machine stops a server, a load of clients, or both, and the command that raises it.
//!
//! [`readings`] asks the machine, [`Diagnosis::of`] judges without asking anything, this file prints. Knows
//! nothing of servers and clients beyond what one connection costs. Invariant: a diagnosis is enough exactly
//! when no row is [`Verdict::TooLow`].

pub mod readings;
mod rules;

use std::fmt::Write;

use serde::Serialize;

use crate::program::units::grouped;
pub use readings::Readings;
pub use rules::DESCRIPTOR_RESERVE;

/// How a limit stands against what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It suffices.
    Ok,
    /// It suffices for what was asked, but see the advice: what else may run here, or bursts, need more.
    Note,
    /// It stops the connections.
    TooLow,
    /// It cannot be read here.
    Unknown,
}

/// What is to run on this machine. In JSON the server's number is `connections`, and what is zero is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Connections that a server here holds; 0 when it is not on this machine.
    #[serde(rename = "connections", skip_serializing_if = "is_zero")]
    pub server: u64,
    /// Connections that clients here hold.
    #[serde(skip_serializing_if = "is_zero")]
    pub clients: u64,
    /// Processes that share the clients; 0 counts as 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub processes: u64,
    /// Addresses of this machine that the clients connect from; 0 counts as 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub sources: u64,
}

/// One limit of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The limit's name, as the tool that sets it calls it.
    pub name: &'static str,
    /// What it is now.
    pub value: String,
    /// What the connections need.
    pub needed: String,
    /// How the two compare.
    pub verdict: Verdict,
    /// What to do or to know; empty when there is nothing.
    pub advice: String,
}

/// All limits, judged for a need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was asked for.
    #[serde(flatten)]
    pub need: Need,
    /// Nothing stops it.
    pub enough: bool,
    /// The limits, in the order in which they usually bite.
    pub rows: Vec<Row>,
}

impl Need {
    /// The connections of the larger end; each has one there.
    fn connections(&self) -> u64 {
        self.server.max(self.clients)
    }

    fn title(&self) -> String {
        let Need { server, clients, processes, .. } = *self;
        if clients == 0 {
            return format!("What {} connections to a server on this machine need:", grouped(server));
        }
        let processes = match processes {
            0 | 1 => "1 process".to_string(),
            more => format!("{} processes", grouped(more)),
        };
        let server = if server == 0 { "" } else { " and a server" };
        format!("What {} client connections of {processes}{server} on this machine need:", grouped(clients))
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Diagnosis {
    /// Judges readings; asks nothing of the machine.
    pub fn of(readings: &Readings, need: &Need) -> Self {
        let rows = rules::rows(readings, need);
        let enough = rows.iter().all(|row| row.verdict != Verdict::TooLow);
        Diagnosis { need: *need, enough, rows }
    }

    /// The limits that stop it.
    pub fn obstacles(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.verdict == Verdict::TooLow)
    }

    /// As one JSON object.
    pub fn json(&self) -> String {
        // Only maps with odd keys can fail, and there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// As an aligned table, and under it the advice.
    pub fn table(&self, colours: bool) -> String {
        let connections = grouped(self.need.connections());
        let mut text = format!("{}\n\n", self.need.title());
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
        Diagnosis { need: Need { server: 1_000, ..Need::default() }, enough: false, rows }
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
    fn the_json_of_a_server_has_no_clients() {
        let start = "{\n  \"connections\": 1000,\n  \"enough\": false,\n  \"rows\": [";
        assert!(diagnosis().json().starts_with(start), "{}", diagnosis().json());
        let need = Need { server: 0, clients: 5, processes: 2, sources: 1 };
        let json: serde_json::Value =
            serde_json::from_str(&Diagnosis { need, ..diagnosis() }.json()).unwrap();
        assert_eq!((&json["connections"], &json["clients"]), (&serde_json::Value::Null, &5.into()));
        assert_eq!((&json["processes"], &json["sources"]), (&2.into(), &1.into()));
    }

    #[test]
    fn the_table_says_who_needs_it() {
        let table = [
            ((5, 0, 0), "What 5 connections to a server on this", "hold 5 "),
            ((15_000, 15_000, 1), "What 15,000 client connections of 1 process and a server on", "15,000 "),
            ((0, 15_000, 4), "What 15,000 client connections of 4 processes on this", "hold 15,000 "),
            ((30_000, 15_000, 0), "What 15,000 client connections of 1 process and a", "hold 30,000 "),
        ];
        for ((server, clients, processes), start, end) in table {
            let need = Need { server, clients, processes, sources: 1 };
            let text = Diagnosis { need, ..diagnosis() }.table(false);
            assert!(text.starts_with(start), "{text}");
            assert!(text.ends_with(&format!("{end}connections as it is set up now.\n")), "{text}");
        }
    }

    #[test]
    fn obstacles_are_the_rows_that_stop() {
        let diagnosis = diagnosis();
        let names: Vec<&str> = diagnosis.obstacles().map(|row| row.name).collect();
        assert_eq!(names, ["longer"]);
    }

    #[test]
    fn this_machine_can_be_read() {
        let diagnosis = Diagnosis::of(&Readings::of_this_machine(), &Need { server: 1, ..Need::default() });
        assert!(diagnosis.rows.iter().all(|row| !row.name.is_empty() && !row.value.is_empty()));
    }
}
