//! The end of a run: what is printed and written, what was demanded of it, and the exit code.
//!
//! Refuses to change a record. Invariant: an invalid run ends with 3 whatever was demanded, for figures that must not
//! be believed meet no demand and fail none; only a demand that cannot be judged at all ends with 2, valid or not.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;

use tidegate::program::failure::{Failure, colours, print};

use crate::cli::{Common, Outputs, Scenario};
use crate::gate::Gate;
use crate::output::{csv, html, json, text};
use crate::record::Record;

/// What is wanted of a run besides its record.
#[derive(Clone, Copy)]
pub struct Wishes<'a> {
    pub outputs: &'a Outputs,
    pub fail_if: &'a [Gate],
    pub baseline: Option<&'a Path>,
}

impl<'a> Wishes<'a> {
    pub fn of(common: &'a Common) -> Self {
        Wishes { outputs: &common.outputs, fail_if: &common.fail_if, baseline: common.baseline.as_deref() }
    }

    /// Looks for what is wrong with them before anything is measured; returns the baseline.
    ///
    /// # Errors
    /// When the baseline cannot be read, a condition cannot be relative to it, or a file could not be written.
    pub fn check(&self) -> Result<Option<Record>, Failure> {
        let Outputs { json, csv, html, .. } = self.outputs;
        for path in [json, csv, html].into_iter().flatten() {
            writable(path)?;
        }
        let baseline = self.baseline.map(|path| json::read(path).map_err(Failure::usage)).transpose()?;
        for gate in self.fail_if {
            gate.check(baseline.as_ref()).map_err(Failure::usage)?;
        }
        Ok(baseline)
    }
}

/// What is wanted of a measurement besides its record; `None` for what measures nothing.
pub fn wishes(scenario: &Scenario) -> Option<Wishes<'_>> {
    Some(match scenario {
        Scenario::Idle(args) => Wishes::of(&args.common),
        Scenario::Echo(args) => Wishes::of(&args.common),
        Scenario::Fanout(args) => Wishes::of(&args.common),
        Scenario::Churn(args) => Wishes::of(&args.common),
        Scenario::Hold(args) => Wishes::of(&args.common),
        Scenario::Slow(args) => Wishes::of(&args.common),
        Scenario::Storm(args) => Wishes::of(&args.common),
        Scenario::Vanish(args) => Wishes::of(&args.common),
        Scenario::Search(args) => Wishes::of(&args.common),
        Scenario::Plan(args) => Wishes::of(&args.common),
        Scenario::Compare(args) => Wishes { outputs: &args.outputs, fail_if: &args.fail_if, baseline: None },
        Scenario::BenchPeers(_) | Scenario::Report(_) | Scenario::Merge(_) | Scenario::Worker => return None,
    })
}

/// Prints and writes a record, and judges it.
///
/// # Errors
/// When a file cannot be written, or a demand cannot be judged.
pub fn conclude(
    record: &Record,
    wishes: &Wishes<'_>,
    baseline: Option<&Record>,
) -> Result<ExitCode, Failure> {
    print(&text::summary(record, colours()))?;
    write(record, wishes.outputs)?;
    let mut failed = false;
    for gate in wishes.fail_if {
        let judgement = gate.judge(record, baseline).map_err(Failure::usage)?;
        print(&format!("{}\n", judgement.text))?;
        failed |= judgement.failed;
    }
    Ok(match (record.verdict.valid, failed) {
        (false, _) => ExitCode::from(3),
        (true, true) => ExitCode::from(1),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// Looks whether a file could be written, and leaves everything as it is.
fn writable(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let (path, folder) = (path.display(), folder.display());
        return Err(Failure::usage(format!(
            "cannot write {path}: there is no folder {folder}; make it first"
        )));
    }
    let there = path.exists();
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        Failure::usage(format!("cannot write {}: {error}; choose another place", path.display()))
    })?;
    if !there {
        // It would be found empty if the run then failed.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

fn write(record: &Record, outputs: &Outputs) -> Result<(), Failure> {
    if let Some(path) = &outputs.json {
        json::write(record, path).map_err(Failure::refused)?;
    }
    if let Some(path) = &outputs.csv {
        save(path, &csv::write(std::slice::from_ref(record)))?;
    }
    if let Some(path) = &outputs.html {
        save(path, &html::page(std::slice::from_ref(record)))?;
    }
    Ok(())
}

/// Writes a file.
///
/// # Errors
/// When it cannot be written.
pub fn save(path: &Path, content: &str) -> Result<(), Failure> {
    std::fs::write(path, content).map_err(|error| {
        Failure::refused(format!("cannot write {}: {error}; choose another place", path.display()))
    })
}
