#![forbid(unsafe_code)]
//! `loadtest`: measures WebSocket servers, and says when its own figures cannot be believed.
//!
//! ```text
//! record   what a run leaves behind            gate, fit, bootstrap, mix, schedule   plain arithmetic
//! engine   load: threads, loops, connections   server   the other side, through /proc
//! crew     worker processes and their reports  run      one run in progress
//! scenario what is done and what comes of it   output   text, JSON, CSV, a page
//! bench    servers compared, load by load
//! ```

mod amount;
mod bench;
mod bootstrap;
mod cli;
mod conclude;
mod crew;
mod engine;
mod fit;
mod gate;
mod interrupt;
mod mix;
mod order;
mod output;
mod record;
mod run;
mod scenario;
mod schedule;
mod server;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tidegate::program::failure::{Failure, complain, print, printed};

use cli::{Cli, Scenario};
use conclude::{Wishes, conclude, save};
use output::{csv, html, json};
use record::Record;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return printed(error.print()).map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS);
        }
        Err(error) => return end(&Failure::command_line("loadtest", &error.to_string())),
    };
    interrupt::heed();
    dispatch(cli.scenario).unwrap_or_else(|failure| end(&failure))
}

fn end(failure: &Failure) -> ExitCode {
    complain("loadtest", failure);
    ExitCode::from(failure.code())
}

fn dispatch(scenario: Scenario) -> Result<ExitCode, Failure> {
    match scenario {
        Scenario::Worker => crew::worker::run().map(|()| ExitCode::SUCCESS).map_err(Failure::refused),
        Scenario::BenchPeers(args) => bench::run(&args),
        Scenario::Report(args) => report(&args),
        Scenario::Merge(args) => {
            let wishes = Wishes { outputs: &args.outputs, fail_if: &[], baseline: None };
            wishes.check()?;
            let record = record::merge::merge(read(&args.files)?).map_err(Failure::usage)?;
            conclude(&record, &wishes, None)
        }
        measured => {
            let Some(wishes) = conclude::wishes(&measured) else { return Ok(ExitCode::SUCCESS) };
            let baseline = wishes.check()?;
            let record = scenario::run(&measured)?;
            conclude(&record, &wishes, baseline.as_ref())
        }
    }
}

fn report(args: &cli::Report) -> Result<ExitCode, Failure> {
    let records = read(&args.files)?;
    save(&args.html, &html::page(&records))?;
    if let Some(path) = &args.csv {
        save(path, &csv::write(&records))?;
    }
    let runs = if records.len() == 1 { "1 run".into() } else { format!("{} runs", records.len()) };
    print(&format!("{runs} in {}\n", args.html.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn read(files: &[PathBuf]) -> Result<Vec<Record>, Failure> {
    files.iter().map(|path| json::read(path).map_err(Failure::usage)).collect()
}
