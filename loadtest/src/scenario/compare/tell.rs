//! What came of a comparison: ratios, a table, plots, and sentences in the order of their weight.
//!
//! Refuses to measure. Invariants: a figure is compared only within rounds in which both sides have it; what has no
//! ratio, because it is zero, is told as what it is.

use super::{COST, Turn};
use crate::bootstrap::{self, Comparison};
use crate::fit::median;
use crate::output::number::plain_number;
use crate::record::{Axis, Figure, Line, Plot, Scale, Table, Unit};

/// Figures by weight; the others come after them.
const WEIGHTS: &[&str] = &[
    "server_cpu_per_message",
    "server_cpu_per_delivery",
    "server_cpu_per_handshake",
    "p99",
    "connect_p99",
    "rate",
    "deliveries_per_second",
    "handshakes_per_second",
    "joined_per_second",
    "server_bytes_per_connection",
    "server_rss",
    "lost",
    "failed",
    "errors",
];
/// They are about the generator, and compare nothing of the servers.
const INSTRUMENT: &[&str] = &["slip_p99", "lag_p99", "client_bytes_per_connection"];

/// What goes into the record.
#[derive(Default)]
pub struct Told {
    pub figures: Vec<Figure>,
    pub tables: Vec<Table>,
    pub plots: Vec<Plot>,
    pub notes: Vec<String>,
}

/// Compares all sides with the first.
pub fn tell(names: &[&str], turns: &[Vec<Turn>]) -> Told {
    let mut told = Told::default();
    let Some((first, others)) = turns.split_first() else { return told };
    let figures = comparable(turns);
    for (other, name) in others.iter().zip(names.iter().skip(1)) {
        let a = names[0];
        let columns = ["figure", a, name, "ratio", "95 % interval", ""].map(String::from).to_vec();
        let mut rows = Vec::new();
        for figure in &figures {
            let pairs = pairs(&figure.name, first, other);
            let Some(line) = Row::of(figure, &pairs, a, name) else { continue };
            if weight(&figure.name).is_some_and(|weight| weight < WEIGHTS.len()) || line.differs {
                told.notes.push(format!("{}: {}.", figure.name, line.sentence));
            }
            if let Some(comparison) = line.comparison {
                let ratio = Figure::new(format!("{name}.{}", figure.name), comparison.ratio, Unit::Ratio);
                let ratio = Figure { less_is_better: figure.less_is_better, ..ratio };
                told.figures.push(Figure { interval: comparison.interval, ..ratio });
            }
            rows.push(line.cells);
        }
        told.tables.push(Table { title: format!("{name} against {a}"), columns, rows });
    }
    let rounds = figures.iter().filter(|figure| weight(&figure.name).is_some_and(|at| at < WEIGHTS.len()));
    told.plots = rounds.filter_map(|figure| plot(figure, names, turns)).collect();
    told.notes.push(
        "Ratios are medians over the rounds, each of which measured every side once; warm-up is inside each run. One \
         interval in twenty misses the truth, so of many figures one may differ by chance alone."
            .into(),
    );
    let all = turns.iter().flatten();
    let invalid = all.clone().filter(|turn| !turn.failed.is_empty()).count();
    if invalid > 0 {
        told.notes.push(format!(
            "{invalid} of {} runs were INVALID, and their latencies and rates are left out. {}.",
            all.count(),
            super::excused()
        ));
    }
    told
}

/// The place of a figure among the others; `None` for what compares no servers.
fn weight(name: &str) -> Option<usize> {
    if INSTRUMENT.contains(&name) {
        return None;
    }
    Some(WEIGHTS.iter().position(|known| *known == name).unwrap_or(WEIGHTS.len()))
}

/// All figures of which more or less is better, by weight.
fn comparable(turns: &[Vec<Turn>]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for figure in turns.iter().flatten().flat_map(|turn| &turn.figures) {
        let known = figures.iter().any(|known| known.name == figure.name);
        if !known && figure.less_is_better.is_some() && weight(&figure.name).is_some() {
            figures.push(figure.clone());
        }
    }
    figures.sort_by_key(|figure| weight(&figure.name));
    figures
}

/// The values of a figure in those rounds in which both can be believed.
fn pairs(name: &str, a: &[Turn], b: &[Turn]) -> Vec<(f64, f64)> {
    let values = a.iter().zip(b).filter_map(|(a, b)| Some((a.figure(name)?.value, b.figure(name)?.value)));
    values.filter(|(a, b)| a.is_finite() && b.is_finite()).collect()
}

/// One figure of two sides.
struct Row {
    cells: Vec<String>,
    sentence: String,
    comparison: Option<Comparison>,
    differs: bool,
}

impl Row {
    fn of(figure: &Figure, pairs: &[(f64, f64)], a: &str, b: &str) -> Option<Row> {
        let mid = |of: fn(&(f64, f64)) -> f64| median(&mut pairs.iter().map(of).collect::<Vec<_>>());
        let (of_a, of_b) = (mid(|pair| pair.0)?, mid(|pair| pair.1)?);
        let comparison = bootstrap::compare(pairs).ok();
        let shown = |value| plain_number(figure.unit, value);
        let (sentence, differs) = match &comparison {
            Some(comparison) => {
                // Processor time is a time, and yet more of it is not slower.
                let unit = if figure.name.starts_with(COST) { Unit::Ratio } else { figure.unit };
                let told = comparison.verdict(&Figure { unit, ..figure.clone() }, a, b);
                (told, comparison.differs())
            }
            None if pairs.iter().all(|pair| *pair == (0.0, 0.0)) => ("both zero".to_string(), false),
            None => {
                let more = median(&mut pairs.iter().map(|(a, b)| b - a).collect::<Vec<_>>())?;
                let word = if more < 0.0 { "less" } else { "more" };
                let apart =
                    format!("{b} has {} {word} than {a} (median; zeros have no ratio)", shown(more.abs()));
                if more == 0.0 {
                    ("no difference seen (zeros among them)".into(), false)
                } else {
                    (apart, true)
                }
            }
        };
        let interval = comparison.and_then(|comparison| comparison.interval);
        let cells = vec![
            figure.name.clone(),
            shown(of_a),
            shown(of_b),
            comparison.map_or_else(|| "–".to_string(), |one| format!("{:.3}", one.ratio)),
            interval.map_or_else(|| "–".to_string(), |(low, high)| format!("{low:.3} to {high:.3}")),
            sentence.split(" (").next().unwrap_or_default().to_string(),
        ];
        Some(Row { cells, sentence, comparison, differs })
    }
}

/// The values of a figure round by round.
fn plot(figure: &Figure, names: &[&str], turns: &[Vec<Turn>]) -> Option<Plot> {
    let of = |turns: &Vec<Turn>| -> Vec<(f64, f64)> {
        let values = turns.iter().enumerate();
        values.filter_map(|(at, turn)| Some((at as f64 + 1.0, turn.figure(&figure.name)?.value))).collect()
    };
    let lines = names.iter().zip(turns);
    let lines = lines.map(|(name, turns)| Line { name: name.to_string(), points: of(turns), dots: true });
    let lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    let all_zero = lines.iter().flat_map(|line| &line.points).all(|point| point.1 == 0.0);
    let x = Axis { label: "round".into(), unit: Unit::Count, scale: Scale::Linear };
    let y = Axis { label: figure.name.clone(), unit: figure.unit, scale: Scale::Linear };
    (!all_zero).then(|| Plot { title: format!("{} by round", figure.name), x, y, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(values: &[(&str, f64)], failed: &[&str]) -> Turn {
        let figure =
            |(name, value): &(&str, f64)| Figure::new(*name, *value, Unit::Microseconds).less_is_better();
        let failed = failed.iter().map(ToString::to_string).collect();
        Turn { figures: values.iter().map(figure).collect(), failed }
    }

    fn rounds(cost: f64) -> Vec<Turn> {
        let round = |n: i32| {
            let shaken = cost * (1.0 + 0.01 * f64::from(n % 3));
            let values =
                [("mean", cost), ("p99", shaken), ("server_cpu_per_message", shaken), ("errors", 0.0)];
            turn(&values, &[])
        };
        (0..6).map(round).collect()
    }

    #[test]
    fn the_most_important_sentence_comes_first() {
        let told = tell(&["old", "new"], &[rounds(10.0), rounds(8.0)]);
        let starts: Vec<&str> = told.notes.iter().map(|note| note.split(':').next().unwrap()).collect();
        assert_eq!(starts[..4], ["server_cpu_per_message", "p99", "errors", "mean"]);
        assert!(
            told.notes[0].contains("new is 20 % lower than old, which is better (ratio 0.80"),
            "{}",
            told.notes[0]
        );
        assert!(told.notes[1].contains("new is 20 % faster than old (ratio 0.80"), "{}", told.notes[1]);
        assert_eq!(told.notes[2], "errors: both zero.");
        let names: Vec<&str> = told.figures.iter().map(|figure| figure.name.as_str()).collect();
        assert_eq!(names, ["new.server_cpu_per_message", "new.p99", "new.mean"]);
        assert_eq!((told.tables[0].rows.len(), told.plots.len()), (4, 2));
    }

    #[test]
    fn several_are_compared_with_the_first() {
        let told = tell(&["a", "b", "c"], &[rounds(1.0), rounds(2.0), rounds(1.0)]);
        let ratio = |name: &str| told.figures.iter().find(|figure| figure.name == name).unwrap().value;
        assert!((ratio("b.p99") - 2.0).abs() < 1e-9 && (ratio("c.p99") - 1.0).abs() < 1e-9);
        assert_eq!(told.tables.len(), 2);
    }

    #[test]
    fn zeros_break_nothing() {
        let of =
            |values: &[f64]| -> Vec<Turn> { values.iter().map(|v| turn(&[("errors", *v)], &[])).collect() };
        for (a, b, expected) in [
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0], "both zero"),
            ([0.0, 0.0, 0.0], [3.0, 2.0, 9.0], "B has 3 µs more than A"),
            ([3.0, 2.0, 9.0], [0.0, 0.0, 0.0], "B has 3 µs less than A"),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 9.0], "no difference seen"),
        ] {
            let told = tell(&["A", "B"], &[of(&a), of(&b)]);
            assert!(told.notes[0].contains(expected), "{}", told.notes[0]);
            assert!(told.figures.is_empty());
        }
    }

    #[test]
    fn what_the_generator_spoiled_is_left_out() {
        let values = [("p99", 5.0), ("server_cpu_per_message", 5.0)];
        let (good, busy) = (turn(&values, &[]), turn(&values, &[super::super::BUSY]));
        let told = tell(&["a", "b"], &[vec![good.clone(), good.clone()], vec![good, busy]]);
        let p99 = told.figures.iter().find(|figure| figure.name == "b.p99").unwrap();
        let cost = told.figures.iter().find(|figure| figure.name == "b.server_cpu_per_message").unwrap();
        assert_eq!((p99.interval.is_some(), cost.interval.is_some()), (false, true));
        assert!(told.notes.last().unwrap().starts_with("1 of 4 runs were INVALID"), "{:?}", told.notes);
        assert!(tell(&["a", "b"], &[vec![], vec![]]).figures.is_empty());
    }
}
