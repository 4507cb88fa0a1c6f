//! The comparison as one page: everything in one file, without network and script.
//!
//! Refuses to know where the page goes. Invariants: text is escaped, whoever it came from; each plot stands with the table
//! that it was drawn from and the command that measures it.

use maud::{Markup, html};

use super::document::{Cell, Document, Kind};
use super::markdown::{columns, is_number, row, runs, said_of_run, sorted};
use crate::output::html::sheet;
use crate::output::plot::bars::{self, Bar};
use crate::record::Unit;

/// The page.
pub fn page(document: &Document) -> String {
    let body = html! {
        article {
            header {
                p.scenario { "bench-peers" }
                h1 { "tidegate beside other servers and a bare loop" }
            }
            p { "Bars are processor time of the server, or its memory, as a ratio to the bare loop that was measured "
                "right beside it; whiskers are 95 % intervals of the median over the rounds. Less is better. A dash is "
                "something that could not be measured, and the table below says why." }
            @for cell in &document.cells { (one(cell, document)) }
            (conditions(document))
        }
    };
    sheet("tidegate beside other servers", &body)
}

fn one(cell: &Cell, document: &Document) -> Markup {
    let results = sorted(cell);
    let has_ratios = results.iter().any(|outcome| outcome.to_raw.is_some());
    let bar = |outcome: &&super::document::Outcome| {
        let estimate = if has_ratios { outcome.to_raw } else { outcome.value };
        Bar {
            name: outcome.row.clone(),
            value: estimate.map(|it| it.median),
            interval: estimate.and_then(|it| it.interval),
            marked: document.rows.iter().any(|row| row.kind == Kind::Own && row.name == outcome.row),
        }
    };
    let drawn: Vec<Bar> = results.iter().map(bar).collect();
    let (title, unit) = match (has_ratios, cell.raw.as_deref(), cell.is_memory()) {
        (true, Some(raw), _) => (format!("{}: times {raw}", cell.unit), Unit::Ratio),
        (_, _, true) => (cell.unit.clone(), Unit::Bytes),
        _ => (cell.unit.clone(), Unit::Microseconds),
    };
    let columns = columns(cell);
    html! {
        section id=(cell.name) {
            h2 { (cell.name) ": " (cell.title) }
            @if let Some(said) = said_of_run(cell, document) { p.dim { (said) } }
            (bars::figure(&title, unit, &drawn))
            .scroll { table {
                thead { tr { @for (at, column) in columns.iter().enumerate() {
                    th.n[is_number(&columns, at)] { (column) }
                } } }
                tbody { @for outcome in &results {
                    tr { @for (at, text) in row(cell, outcome).iter().enumerate() {
                        td.n[is_number(&columns, at)].name[at == 0] { (text) }
                    } }
                } }
            } }
            pre { (cell.command) }
        }
    }
}

fn conditions(document: &Document) -> Markup {
    let (columns, rows) = runs(document);
    html! {
        details open {
            summary { "Conditions" }
            .scroll { table {
                thead { tr { @for column in &columns { th { (column) } } } }
                tbody { @for row in &rows { tr { @for text in row { td { (text) } } } } }
            } }
            .scroll { table {
                thead { tr { th { "server" } th { "language" } th { "version" } th { "command" } } }
                tbody { @for row in &document.rows {
                    tr { td { (row.name) } td { (row.language) } td { (row.version) }
                        td { @match &row.left_out {
                            Some(why) => { "left out: " (why) }
                            None => { code { (row.command) } }
                        } } }
                } }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::document::samples;

    #[test]
    fn the_page_has_everything_and_loads_nothing() {
        let page = page(&samples::document());
        for expected in [
            "echo &lt;all&gt;",
            "µs per message: times raw | loop",
            "1.10 to 1.30",
            "2 times: lost 3",
            "left out: there is no a | b",
            "loadtest echo ws://127.0.0.1:9001/echo",
            "Run 1, 1970-01-01 00:16:40 UTC, fast | one: 5 rounds",
            "<td>loadtest bench-peers</td>",
            "prefers-color-scheme:dark",
        ] {
            assert!(page.contains(expected), "{expected}");
        }
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http"), "{page}");
    }
}
