//! `merge`: adds up runs of one scenario, such as those of several machines against one server.
//!
//! Refuses to know any scenario: each figure says itself how it combines. Invariants: histograms are added whole, and
//! quantiles are read again from the sum, for a mean of quantiles is no quantile; what cannot be combined is left out
//! and named; a single run comes back as it was.

use std::collections::BTreeMap;

use super::{Combine, Conditions, Figure, Plot, Record, Times, Unit, Verdict};

/// One record of all of them, in their order.
///
/// # Errors
/// When there is none, or when they are not of one scenario, one schema, and one meaning of each figure.
pub fn merge(mut records: Vec<Record>) -> Result<Record, String> {
    if records.len() < 2 {
        return records
            .pop()
            .ok_or_else(|| "nothing to merge: give the records of at least one run".to_string());
    }
    check(&records)?;
    let times = added(&records);
    let mut notes = Vec::new();
    let figures = figures(&records, &times, &mut notes);
    notes.extend(partial(&records));
    notes.extend(apart(&records));
    let (conditions, verdict, plots) = (conditions(&records), verdict(&records), plots(&records));
    let began = records.iter().map(|record| record.began).min().unwrap_or(0);
    let seconds = records.iter().map(|record| record.seconds).fold(0.0, f64::max);
    let title = distinct(records.iter().map(|record| record.title.as_str()));
    let merged = format!("{} runs were merged into this one.", records.len());
    let first = &records[0];
    let (schema, scenario) = (first.schema.clone(), first.scenario.clone());
    let (mut tables, mut errors, mut told) = (Vec::new(), BTreeMap::<String, super::Seen>::new(), Vec::new());
    for (index, record) in records.into_iter().enumerate() {
        for mut table in record.tables {
            table.title.push_str(&suffix(index));
            tables.push(table);
        }
        for (kind, seen) in record.errors {
            errors.entry(kind).or_default().add(seen.count, &seen.example);
        }
        told.extend(record.notes);
    }
    told.push(merged);
    told.append(&mut notes);
    let mut notes: Vec<String> = Vec::new();
    told.into_iter().for_each(|note| push_new(&mut notes, note));
    Ok(Record {
        schema,
        scenario,
        title,
        began,
        seconds,
        conditions,
        verdict,
        figures,
        times,
        plots,
        tables,
        errors,
        notes,
    })
}

/// How the names of a run are told from those of the others.
fn suffix(index: usize) -> String {
    format!(" (run {})", index + 1)
}

/// Whether they may be added at all.
fn check(records: &[Record]) -> Result<(), String> {
    let first = &records[0];
    for (index, record) in records.iter().enumerate().skip(1) {
        let wrong = |what: &str, ours: &str, theirs: &str| {
            let run = index + 1;
            format!(
                "cannot merge: run 1 is of {what} {ours:?}, run {run} of {theirs:?}; merge runs of one {what}"
            )
        };
        if record.schema != first.schema {
            return Err(wrong("schema", &first.schema, &record.schema));
        }
        if record.scenario != first.scenario {
            return Err(wrong("scenario", &first.scenario, &record.scenario));
        }
        for figure in &record.figures {
            let known = records[..index].iter().find_map(|before| before.figure(&figure.name));
            if known.is_some_and(|known| (known.unit, &known.combine) != (figure.unit, &figure.combine)) {
                let (name, run) = (&figure.name, index + 1);
                return Err(format!(
                    "cannot merge: {name} of run {run} is another figure than in an earlier run; use one version"
                ));
            }
        }
    }
    Ok(())
}

fn added(records: &[Record]) -> BTreeMap<String, Times> {
    let mut sums = BTreeMap::<String, Times>::new();
    for (name, times) in records.iter().flat_map(|record| &record.times) {
        sums.entry(name.clone()).or_default().add(times);
    }
    sums
}

/// Each figure combined, in the order in which they first come; those left out are noted.
fn figures(records: &[Record], times: &BTreeMap<String, Times>, notes: &mut Vec<String>) -> Vec<Figure> {
    let mut order: Vec<&Figure> = Vec::new();
    for figure in records.iter().flat_map(|record| &record.figures) {
        if !order.iter().any(|known| known.name == figure.name) {
            order.push(figure);
        }
    }
    let mut values = BTreeMap::<&str, f64>::new();
    // Ratios may name ratios, in any order; each round works out at least one more, or it is the last.
    loop {
        let before = values.len();
        for figure in &order {
            let value = combined(figure, records, times, &values).filter(|value| value.is_finite());
            if let (Some(value), false) = (value, values.contains_key(figure.name.as_str())) {
                values.insert(&figure.name, value);
            }
        }
        if values.len() == before {
            break;
        }
    }
    let (never, unknown): (Vec<&Figure>, Vec<&Figure>) = order
        .iter()
        .copied()
        .filter(|figure| !values.contains_key(figure.name.as_str()))
        .partition(|figure| figure.combine == Combine::Never);
    for (why, which) in [("mean nothing for several runs", never), ("cannot be worked out", unknown)] {
        let names: Vec<&str> = which.iter().map(|figure| figure.name.as_str()).collect();
        if !names.is_empty() {
            notes.push(format!("Left out of the merged figures, as they {why}: {}.", names.join(", ")));
        }
    }
    let merged = order.into_iter().filter_map(|figure| {
        let value = *values.get(figure.name.as_str())?;
        // An interval was that of one run.
        Some(Figure { value, interval: None, ..figure.clone() })
    });
    merged.collect()
}

/// The value of all runs, where it can be told by now.
fn combined(
    figure: &Figure,
    records: &[Record],
    times: &BTreeMap<String, Times>,
    values: &BTreeMap<&str, f64>,
) -> Option<f64> {
    let all = records.iter().filter_map(|record| record.figure(&figure.name)).map(|figure| figure.value);
    let micros = |value: f64| if figure.unit == Unit::Seconds { value / 1e6 } else { value };
    match &figure.combine {
        Combine::Sum => Some(all.sum()),
        Combine::Max => all.reduce(f64::max),
        Combine::Min => all.reduce(f64::min),
        Combine::Quantile { of, millionths } => {
            Some(micros(times.get(of)?.quantile(f64::from(*millionths) / 1e6)))
        }
        Combine::Mean { of } => Some(micros(times.get(of)?.mean())),
        Combine::Ratio { over, under } => Some(values.get(over.as_str())? / values.get(under.as_str())?),
        Combine::Never => None,
    }
}

/// Names what only some runs have, since its sum is not that of all.
fn partial(records: &[Record]) -> Option<String> {
    let mut seen = BTreeMap::<&str, usize>::new();
    for record in records {
        let mut names: Vec<&str> = record.times.keys().map(String::as_str).collect();
        names.extend(record.figures.iter().map(|figure| figure.name.as_str()));
        names.sort_unstable();
        names.dedup();
        names.into_iter().for_each(|name| *seen.entry(name).or_default() += 1);
    }
    let all = records.len();
    let some: Vec<String> = seen
        .into_iter()
        .filter(|(_, runs)| *runs < all)
        .map(|(name, runs)| format!("{name} ({runs} of {all})"))
        .collect();
    (!some.is_empty()).then(|| format!("Measured by some of the runs only: {}.", some.join(", ")))
}

/// A warning when they did not all run at one time.
fn apart(records: &[Record]) -> Option<String> {
    let last = records.iter().map(|record| record.began as f64).fold(0.0, f64::max);
    let ended = |record: &Record| record.began as f64 + record.seconds;
    let first = records.iter().map(ended).fold(f64::INFINITY, f64::min);
    (last >= first).then(|| {
        "By their clocks the runs were not all going at one time: summed rates are not what the server did at once."
            .to_string()
    })
}

fn verdict(records: &[Record]) -> Verdict {
    let mut checks = Vec::new();
    for (index, record) in records.iter().enumerate() {
        for check in &record.verdict.checks {
            let mut check = check.clone();
            check.name.push_str(&suffix(index));
            checks.push(check);
        }
    }
    Verdict { valid: records.iter().all(|record| record.verdict.valid), checks }
}

fn conditions(records: &[Record]) -> Conditions {
    let mut merged = Conditions {
        command: records[0].conditions.command.clone(),
        version: distinct(records.iter().map(|record| record.conditions.version.as_str())),
        ..Conditions::default()
    };
    for (index, record) in records.iter().enumerate() {
        let of = &record.conditions;
        let prefixed = |name: &String| format!("run {} {name}", index + 1);
        let named = |(name, value): (&String, &String)| (prefixed(name), value.clone());
        merged.machine.extend(of.machine.iter().map(named));
        merged.server.extend(of.server.iter().map(named));
        merged.workers.extend(of.workers.iter().map(prefixed));
        if index > 0 && of.command != records[0].conditions.command {
            merged.command.push("|".to_string());
            merged.command.extend(of.command.iter().cloned());
        }
    }
    for name in records.iter().flat_map(|record| record.conditions.settings.keys()) {
        let values =
            records.iter().map(|record| record.conditions.settings.get(name).map_or("unset", String::as_str));
        merged.settings.entry(name.clone()).or_insert_with(|| distinct(values));
    }
    merged
}

/// The lines of all runs, in one plot for each title with the same axes.
fn plots(records: &[Record]) -> Vec<Plot> {
    let mut merged: Vec<Plot> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        for plot in &record.plots {
            let mut plot = plot.clone();
            plot.lines.iter_mut().for_each(|line| line.name.push_str(&suffix(index)));
            let same =
                |other: &&mut Plot| (&other.title, &other.x, &other.y) == (&plot.title, &plot.x, &plot.y);
            match merged.iter_mut().find(same) {
                Some(known) => known.lines.append(&mut plot.lines),
                None => merged.push(plot),
            }
        }
    }
    merged
}

/// What is the same is written once, what differs as `a | b`.
fn distinct<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    let mut all = Vec::new();
    texts.for_each(|text| push_new(&mut all, text));
    all.join(" | ")
}

fn push_new<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Axis, Check, Line, Scale, Seen, Table};
    use super::*;

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
    }

    fn ratio(over: &str, under: &str) -> Combine {
        Combine::Ratio { over: over.to_string(), under: under.to_string() }
    }

    /// A run with one of everything, and these times in microseconds.
    fn run(micros: &[u64], sent: f64, host: &str, rate: &str) -> Record {
        let mut record = Record::of("echo");
        let mut times = Times::default();
        micros.iter().for_each(|&time| times.record_micros(time));
        let of = || "echo".to_string();
        let axis = |label: &str| Axis { label: label.to_string(), unit: Unit::Seconds, scale: Scale::Linear };
        record.figures = vec![
            // A ratio of a ratio, before both.
            Figure::new("doubled", 0.0, Unit::Ratio).combine(ratio("per_peak", "half")),
            Figure::new("per_peak", sent, Unit::Ratio).combine(ratio("sent", "peak")),
            Figure::new("sent", sent, Unit::Count).combine(Combine::Sum).more_is_better().interval(1.0, 2.0),
            Figure::new("peak", times.max(), Unit::Microseconds).combine(Combine::Max),
            Figure::new("half", 0.5, Unit::Ratio).combine(Combine::Min),
            Figure::new("p50", times.quantile(0.5), Unit::Microseconds)
                .combine(Combine::Quantile { of: of(), millionths: 500_000 }),
            Figure::new("mean_s", times.mean() / 1e6, Unit::Seconds).combine(Combine::Mean { of: of() }),
            Figure::new("slope", 1.0, Unit::Ratio),
        ];
        record.times.insert(of(), times);
        record.conditions.machine = strings(&[("host", host)]);
        record.conditions.server = strings(&[("pid", "7")]);
        record.conditions.workers = vec!["worker 1".to_string()];
        record.conditions.settings = strings(&[("rate", rate), ("size", "20")]);
        record.conditions.command = vec!["echo".to_string(), rate.to_string()];
        record.verdict.checks = vec![Check {
            name: "slip p99".to_string(),
            measured: 1.0,
            limit: 2.0,
            unit: Unit::Microseconds,
            ok: true,
            meaning: String::new(),
        }];
        let lines = vec![Line { name: "p99".to_string(), points: vec![(0.0, sent)], dots: false }];
        record.plots =
            vec![Plot { title: "over time".to_string(), x: axis("time"), y: axis("latency"), lines }];
        record.tables = vec![Table { title: "steps".to_string(), columns: Vec::new(), rows: Vec::new() }];
        record.errors.insert("refused".to_string(), Seen { count: 2, example: format!("by {host}") });
        record.notes = vec!["same".to_string(), format!("of {host}")];
        record
    }

    fn values(record: &Record) -> Vec<(&str, f64)> {
        record.figures.iter().map(|figure| (figure.name.as_str(), figure.value)).collect()
    }

    #[test]
    fn figures_are_combined_as_they_say() {
        let (a, b) = (run(&[10, 20, 30], 300.0, "a", "10"), run(&[40, 500], 200.0, "b", "10"));
        let merged = merge(vec![a, b]).unwrap();
        let all = run(&[10, 20, 30, 40, 500], 0.0, "", "");
        assert_eq!(merged.times, all.times, "nothing is lost");
        let expected = [
            ("doubled", 2.0),
            ("per_peak", 1.0),
            ("sent", 500.0),
            ("peak", 500.0),
            ("half", 0.5),
            ("p50", 30.0),
            ("mean_s", 0.000_12),
        ];
        assert_eq!(values(&merged), expected);
        let sent = merged.figure("sent").unwrap();
        assert_eq!((sent.interval, sent.less_is_better), (None, Some(false)));
        assert!(merged.notes.iter().any(|note| note.ends_with("mean nothing for several runs: slope.")));
    }

    #[test]
    fn everything_else_says_which_run_it_is_of() {
        let mut b = run(&[2], 1.0, "b", "20");
        b.verdict.valid = false;
        b.conditions.settings.remove("size");
        b.began = 1_005;
        b.plots.push(Plot { title: "other".to_string(), ..b.plots[0].clone() });
        let merged = merge(vec![run(&[1], 1.0, "a", "10"), b]).unwrap();
        assert!(!merged.verdict.valid);
        let checks: Vec<_> = merged.verdict.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(checks, ["slip p99 (run 1)", "slip p99 (run 2)"]);
        let of = &merged.conditions;
        assert_eq!(of.machine, strings(&[("run 1 host", "a"), ("run 2 host", "b")]));
        assert_eq!(of.server, strings(&[("run 1 pid", "7"), ("run 2 pid", "7")]));
        assert_eq!(of.workers, ["run 1 worker 1", "run 2 worker 1"]);
        assert_eq!(of.settings, strings(&[("rate", "10 | 20"), ("size", "20 | unset")]));
        assert_eq!(of.command, ["echo", "10", "|", "echo", "20"]);
        let lines: Vec<Vec<_>> =
            merged.plots.iter().map(|p| p.lines.iter().map(|l| l.name.as_str()).collect()).collect();
        assert_eq!(lines, [vec!["p99 (run 1)", "p99 (run 2)"], vec!["p99 (run 2)"]]);
        let tables: Vec<_> = merged.tables.iter().map(|table| table.title.as_str()).collect();
        assert_eq!(tables, ["steps (run 1)", "steps (run 2)"]);
        assert_eq!(merged.errors["refused"], Seen { count: 4, example: "by a".to_string() });
        assert_eq!(merged.notes[..4], ["same", "of a", "of b", "2 runs were merged into this one."]);
        assert_eq!((merged.began, merged.seconds, merged.title.as_str()), (1_000, 10.0, "echo for 10 s"));
        assert!(!merged.notes.iter().any(|note| note.contains("By their clocks")));
        let json = serde_json::to_string(&merged).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), merged);
    }

    #[test]
    fn what_is_not_of_all_runs_is_noted() {
        let mut b = run(&[2], 0.0, "b", "10");
        b.figures.retain(|figure| figure.name != "half");
        b.figures.push(Figure::new("lost", 0.0, Unit::Share).combine(ratio("sent", "none")));
        b.figures.push(Figure::new("loop", 0.0, Unit::Share).combine(ratio("loop", "sent")));
        b.figures
            .push(Figure::new("p9", 0.0, Unit::Microseconds).combine(Combine::Mean { of: "no".to_string() }));
        b.figures.push(Figure::new("by_zero", 0.0, Unit::Ratio).combine(ratio("peak", "sent")));
        b.began = 1_010;
        b.errors.insert("refused".to_string(), Seen { count: u64::MAX, example: String::new() });
        let merged = merge(vec![run(&[1], 0.0, "a", "10"), b]).unwrap();
        assert_eq!(merged.figure("half").map(|half| half.value), Some(0.5));
        assert_eq!(merged.errors["refused"].count, u64::MAX);
        for expected in [
            "as they cannot be worked out: lost, loop, p9, by_zero.",
            "by some of the runs only: by_zero (1 of 2), half (1 of 2), loop (1 of 2), lost (1 of 2), p9 (1 of 2).",
            "By their clocks the runs were not all going at one time: summed rates are not what the server did at once.",
        ] {
            assert!(
                merged.notes.iter().any(|note| note.ends_with(expected)),
                "{expected}: {:?}",
                merged.notes
            );
        }
    }

    #[test]
    fn one_run_stays_as_it_is_and_more_than_two_add_up() {
        let one = run(&[1, 2, 3], 5.0, "a", "10");
        assert_eq!(merge(vec![one.clone()]), Ok(one.clone()));
        let three = merge(vec![one.clone(), one.clone(), one]).unwrap();
        assert_eq!((three.times["echo"].count(), three.figure("sent").unwrap().value), (9, 15.0));
        assert_eq!(three.conditions.settings["rate"], "10");
        assert_eq!(three.conditions.command, ["echo", "10"]);
    }

    #[test]
    fn what_cannot_be_merged_is_told() {
        let other = |change: fn(&mut Record)| {
            let mut record = run(&[1], 1.0, "b", "10");
            change(&mut record);
            vec![run(&[1], 1.0, "a", "10"), record]
        };
        for (records, expected) in [
            (vec![], "nothing to merge"),
            (
                other(|b| b.scenario = "fanout".to_string()),
                "run 1 is of scenario \"echo\", run 2 of \"fanout\"",
            ),
            (other(|b| b.schema = "x/9".to_string()), "run 2 of \"x/9\""),
            (other(|b| b.figures[2].unit = Unit::Bytes), "sent of run 2 is another figure"),
            (other(|b| b.figures[2].combine = Combine::Max), "sent of run 2 is another figure"),
        ] {
            let error = merge(records).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }
}
