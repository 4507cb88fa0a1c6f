//! What comes of the rounds: who is measured beside whom, medians, ratios and their intervals.
//!
//! Refuses to know servers and loads. Invariants: a ratio is one of two measurements of the same round, and to the raw
//! loop one of two that were made one after the other; a round without one of the two has no ratio; the raw loop is
//! measured beside each row.

use std::collections::BTreeMap;

use super::document::{Estimate, Outcome};
use crate::bootstrap;
use crate::fit::median;

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    pub value: f64,
    /// Share of its processor that the server used.
    pub server_cpu: Option<f64>,
    /// Times that it slept, per thing counted.
    pub switches: Option<f64>,
    /// Share of processor time that the host took away.
    pub stolen: Option<f64>,
    /// Other programs had the generator's processor for longer than is good.
    pub disturbed: bool,
}

/// One row in one round.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What was measured, or why not.
    pub measured: Result<Measured, String>,
    /// The raw loop's value next to it.
    pub beside: Option<f64>,
}

/// Who is measured in a round, in groups: the raw loop stands between two others, next to both. The order is another one
/// each round, so that a machine that drifts favours none.
pub fn groups(round: u64, rows: &[usize], raw: Option<usize>) -> Vec<Vec<usize>> {
    let mut others: Vec<usize> = rows.iter().copied().filter(|row| Some(*row) != raw).collect();
    if !others.is_empty() {
        let by = (round / 2) as usize % others.len();
        others.rotate_left(by);
    }
    if !round.is_multiple_of(2) {
        others.reverse();
    }
    let Some(raw) = raw else { return vec![others] };
    if others.is_empty() {
        return vec![vec![raw]];
    }
    let group = |pair: &[usize]| [&pair[..1], &[raw], &pair[1..]].concat();
    others.chunks(2).map(group).collect()
}

/// The rounds of one row: of each round the turns in which it was measured, of the raw loop beside each group.
pub type Rounds = Vec<Vec<Turn>>;

/// What came of one row; `own` are the rounds of ours.
pub fn outcome(row: &str, rounds: &Rounds, own: &Rounds) -> Outcome {
    let values: Vec<Option<f64>> = rounds.iter().map(|turns| value(turns)).collect();
    let all = || rounds.iter().flatten().filter_map(|turn| turn.measured.as_ref().ok());
    let middle = |of: fn(&Measured) -> Option<f64>| median(&mut all().filter_map(of).collect::<Vec<_>>());
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    for why in rounds.iter().flatten().filter_map(|turn| turn.measured.as_ref().err()) {
        *failures.entry(why.clone()).or_default() += 1;
    }
    Outcome {
        row: row.into(),
        value: estimate(&values),
        to_raw: ratio(rounds.iter().filter_map(|turns| Some((1.0, over_raw(turns)?))).collect()),
        to_own: ratio(own.iter().zip(rounds).filter_map(|(own, turns)| normalised(own, turns)).collect()),
        rounds: values,
        server_cpu: middle(|measured| measured.server_cpu),
        switches: middle(|measured| measured.switches),
        stolen: middle(|measured| measured.stolen),
        disturbed: all().filter(|measured| measured.disturbed).count() as u64,
        failures,
    }
}

/// The value of a round: the median, where there are several turns.
fn value(turns: &[Turn]) -> Option<f64> {
    median(&mut turns.iter().filter_map(|turn| Some(turn.measured.as_ref().ok()?.value)).collect::<Vec<_>>())
}

/// The median of the ratios to the raw loop next to each turn; no number where one of them has none, as of nothing to nothing.
fn over_raw(turns: &[Turn]) -> Option<f64> {
    let pairs = turns.iter().filter_map(|turn| Some((turn.measured.as_ref().ok()?.value, turn.beside?)));
    let ratios = pairs.map(|(value, raw)| if value > 0.0 && raw > 0.0 { value / raw } else { f64::NAN });
    let mut ratios: Vec<f64> = ratios.collect();
    if ratios.iter().any(|ratio| ratio.is_nan()) { Some(f64::NAN) } else { median(&mut ratios) }
}

/// Both in units of the raw loop next to each, which takes the machine's state of the moment out; without it, as they are.
fn normalised(own: &[Turn], other: &[Turn]) -> Option<(f64, f64)> {
    over_raw(own).zip(over_raw(other)).or_else(|| value(own).zip(value(other)))
}

fn ratio(pairs: Vec<(f64, f64)>) -> Option<Estimate> {
    let comparison = bootstrap::compare(&pairs).ok()?;
    Some(Estimate { median: comparison.ratio, interval: comparison.interval })
}

/// The median and its interval, which is that of a ratio to one; values at or below zero have only a median.
fn estimate(values: &[Option<f64>]) -> Option<Estimate> {
    let mut there: Vec<f64> = values.iter().copied().flatten().collect();
    let pairs: Vec<(f64, f64)> = there.iter().map(|value| (1.0, *value)).collect();
    let interval = bootstrap::compare(&pairs).ok().and_then(|comparison| comparison.interval);
    Some(Estimate { median: median(&mut there)?, interval })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(value: f64, beside: Option<f64>) -> Turn {
        Turn { measured: Ok(Measured { value, server_cpu: Some(0.5), ..Measured::default() }), beside }
    }

    fn failed(why: &str) -> Turn {
        Turn { measured: Err(why.into()), beside: Some(1.0) }
    }

    #[test]
    fn the_raw_loop_stands_beside_everyone() {
        assert_eq!(groups(0, &[0, 1, 2, 3], Some(1)), [vec![0, 1, 2], vec![3, 1]]);
        assert_eq!(groups(1, &[0, 1, 2, 3], Some(1)), [vec![3, 1, 2], vec![0, 1]]);
        assert_eq!(groups(2, &[0, 1, 2, 3], Some(1)), [vec![2, 1, 3], vec![0, 1]]);
        assert_eq!(groups(0, &[0, 2], None), [vec![0, 2]]);
        assert_eq!(groups(5, &[1], Some(1)), [vec![1]]);
        for round in 0..20 {
            let groups = groups(round, &[0, 1, 2, 3, 4, 5], Some(2));
            let mut met: Vec<usize> = groups.concat().into_iter().filter(|row| *row != 2).collect();
            met.sort_unstable();
            assert_eq!(met, [0, 1, 3, 4, 5]);
            assert!(groups.iter().all(|group| group[1] == 2 && group.len() <= 3), "{groups:?}");
        }
    }

    #[test]
    fn everyone_comes_first_sometimes() {
        let first = |round| groups(round, &[0, 1, 2, 3, 4], Some(4))[0][0];
        assert!((0..4).all(|row| (0..8).any(|round| first(round) == row)));
    }

    #[test]
    fn a_machine_that_changes_its_speed_changes_no_ratio() {
        // Ours and the other are measured at two speeds of the machine, each beside its own raw loop.
        let own: Rounds =
            [1.0, 1.5, 1.0, 1.5, 1.0].map(|speed| vec![turn(10.0 * speed, Some(5.0 * speed))]).to_vec();
        let other: Rounds =
            [1.5, 1.5, 1.0, 1.0, 1.0].map(|speed| vec![turn(20.0 * speed, Some(5.0 * speed))]).to_vec();
        let outcome = outcome("other", &other, &own);
        let near = |estimate: Option<Estimate>, expected: f64| {
            let Estimate { median, interval } = estimate.unwrap();
            let (low, high) = interval.unwrap();
            [median, low, high].into_iter().all(|value| (value - expected).abs() < 1e-9)
        };
        assert!(near(outcome.to_raw, 4.0) && near(outcome.to_own, 2.0), "{outcome:?}");
        let value = outcome.value.unwrap();
        assert!((value.median - 20.0).abs() < 1e-9 && value.interval.unwrap().1 > 29.9, "{value:?}");
        assert_eq!((outcome.rounds.len(), outcome.server_cpu), (5, Some(0.5)));
    }

    #[test]
    fn a_round_that_failed_has_no_part_in_anything() {
        let own: Rounds = vec![vec![turn(10.0, Some(5.0))], vec![failed("it ended")], vec![turn(10.0, None)]];
        let other: Rounds =
            vec![vec![turn(30.0, Some(5.0))], vec![turn(90.0, Some(5.0))], vec![failed("lost 3")]];
        let told = outcome("other", &other, &own);
        assert_eq!(told.rounds, [Some(30.0), Some(90.0), None]);
        assert_eq!(told.failures, BTreeMap::from([("lost 3".to_string(), 1)]));
        let one = told.to_own.unwrap();
        assert!((one.median - 3.0).abs() < 1e-9 && one.interval.is_none(), "{one:?}");
        let nothing = outcome("none", &vec![vec![failed("a")], vec![failed("a")]], &own);
        assert_eq!((nothing.value, nothing.to_raw, nothing.to_own), (None, None, None));
        assert_eq!(nothing.failures["a"], 2);
    }

    #[test]
    fn what_is_zero_or_less_has_a_median_and_no_ratio() {
        let rounds: Rounds = [-4_096.0, 0.0, 8_192.0].map(|value| vec![turn(value, Some(0.0))]).to_vec();
        let told = outcome("memory", &rounds, &rounds);
        assert_eq!(told.value, Some(Estimate { median: 0.0, interval: None }));
        assert_eq!((told.to_raw, told.to_own), (None, None));
    }

    #[test]
    fn of_several_turns_in_a_round_the_median_counts() {
        let raw: Rounds = vec![vec![turn(5.0, Some(5.0)), turn(7.0, Some(7.0)), turn(6.0, Some(6.0))]];
        let told = outcome("raw", &raw, &raw);
        assert_eq!((told.rounds, told.to_raw.unwrap().median), (vec![Some(6.0)], 1.0));
        // The median of the ratios, 1.2, 1.1 and 3, each to the raw loop beside it; one that failed has none.
        let ours: Rounds =
            vec![vec![turn(6.0, Some(5.0)), turn(11.0, Some(10.0)), turn(3.0, Some(1.0)), failed("a")]];
        let told = outcome("ours", &ours, &ours);
        assert_eq!((told.rounds, told.to_raw.unwrap().median), (vec![Some(6.0)], 1.2));
    }
}
