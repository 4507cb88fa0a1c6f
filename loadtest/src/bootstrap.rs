//! Two programs measured in turns: what B takes for each A, and between what bounds that lies.
//!
//! Refuses to know how the pairs were measured. Invariants: turning A and B round turns the ratio round; an interval is
//! given only where it holds the true ratio about as often as it says; the same pairs give the same answer.
//!
//! Each pair is measured in one turn, so what the machine did meanwhile divides out. The ratio is the median of the
//! pairs' ratios, since one disturbed turn must not decide. Its interval:
//! - from five pairs on the percentile bootstrap of that median (Efron and Tibshirani 1993, chapter 13). It reaches at
//!   most from the smallest ratio to the largest, which n pairs of any kind leave on one side of the true median with
//!   probability 2^(1-n): for n = 5 it can hold 94 %, for n = 3 no more than 75 %.
//! - below five pairs therefore Student's t on the logarithms of the ratios, which is exact for log-normal noise, and
//!   wide as it should be (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", on small samples).
//! - of a single pair none.

use crate::amount::rounded;
use crate::fit::{median, student};
use crate::record::{Figure, Unit};

/// How many times the pairs are drawn anew.
const RESAMPLES: usize = 10_000;

/// With fewer pairs the bootstrap is too narrow.
const ENOUGH: usize = 5;

/// More pairs than this are refused: time grows with them, and the interval hardly narrows.
const MOST: usize = 1_000;

/// Any would do; a fixed one makes a comparison repeatable.
const SEED: u64 = 0x7469_6465;

/// What B takes for each A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    pub pairs: usize,
    /// Median of b/a.
    pub ratio: f64,
    /// The 95 % interval; `None` for a single pair.
    pub interval: Option<(f64, f64)>,
    pub method: Method,
}

/// How an interval was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A single pair says nothing about chance.
    None,
    /// Student's t on the logarithms.
    Student,
    /// Percentile bootstrap of the median.
    Bootstrap,
}

/// Compares pairs (a, b), each measured in one turn.
///
/// # Errors
/// When there is no pair, when there are too many, or when one has no ratio.
pub fn compare(pairs: &[(f64, f64)]) -> Result<Comparison, String> {
    compare_by(pairs, RESAMPLES, &mut fastrand::Rng::with_seed(SEED))
}

fn compare_by(pairs: &[(f64, f64)], resamples: usize, rng: &mut fastrand::Rng) -> Result<Comparison, String> {
    if pairs.is_empty() || pairs.len() > MOST {
        return Err(format!("{} pairs cannot be compared: measure 1 to {MOST}", pairs.len()));
    }
    let mut logs = Vec::with_capacity(pairs.len());
    for (index, &(a, b)) in pairs.iter().enumerate() {
        let ratio = (b.ln() - a.ln()).is_finite().then(|| b.ln() - a.ln());
        let told = || format!("pair {}: {a} and {b} have no ratio; both must be above 0", index + 1);
        logs.push(ratio.ok_or_else(told)?);
    }
    let ratio = median(&mut logs).unwrap_or(0.0);
    let (method, interval) = match logs.len() {
        1 => (Method::None, None),
        n if n < ENOUGH => (Method::Student, Some(by_student(&logs))),
        _ => (Method::Bootstrap, Some(by_bootstrap(&logs, resamples, rng))),
    };
    let interval = interval.map(|(low, high)| (low.exp(), high.exp()));
    Ok(Comparison { pairs: pairs.len(), ratio: ratio.exp(), interval, method })
}

/// About the mean, which lies within the interval as the median does: the two are at most one deviation apart.
fn by_student(logs: &[f64]) -> (f64, f64) {
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let margin = student(logs.len() - 1) * (variance / n).sqrt();
    (mean - margin, mean + margin)
}

fn by_bootstrap(logs: &[f64], resamples: usize, rng: &mut fastrand::Rng) -> (f64, f64) {
    let mut drawn = vec![0.0; logs.len()];
    let mut medians: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            drawn.fill_with(|| logs[rng.usize(..logs.len())]);
            median(&mut drawn)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    // 2.5 % of them lie outside to either side.
    let outside = medians.len() / 40;
    (medians[outside], medians[medians.len() - 1 - outside])
}

impl Comparison {
    /// True when the interval holds no 1.
    pub fn differs(&self) -> bool {
        self.interval.is_some_and(|(low, high)| high < 1.0 || low > 1.0)
    }

    /// In plain words, for this figure of two servers, by their names.
    pub fn verdict(&self, figure: &Figure, a: &str, b: &str) -> String {
        let Some((low, high)) = self.interval else {
            let ratio = rounded(self.ratio, 3);
            return format!("one pair cannot tell (ratio {ratio}); measure 5 or more");
        };
        // As many decimals as it takes to see that the near end is not 1, and how far apart the ends are.
        let near = if (low - 1.0).abs() < (high - 1.0).abs() { low } else { high };
        let shown = |decimals: usize| move |value: f64| format!("{value:.decimals$}");
        let decimals = (2..6).find(|&n| !self.differs() || shown(n)(near) != shown(n)(1.0)).unwrap_or(6);
        let shown = shown(decimals);
        let (ratio, low, high) = (shown(self.ratio), shown(low), shown(high));
        let between = format!("(ratio {ratio}, 95 % interval {low} to {high})");
        if !self.differs() {
            return format!("no difference seen {between}");
        }
        let less = self.ratio < 1.0;
        let by = rounded((self.ratio - 1.0).abs() * 100.0, 2);
        let (word, worth) = wording(figure, less);
        format!("{b} is {by} % {word} than {a}{worth} {between}")
    }
}

/// What less or more of a figure is called, and whether that is good, where the word does not say it.
fn wording(figure: &Figure, less: bool) -> (&'static str, &'static str) {
    let (below, above) = match (figure.unit, figure.less_is_better) {
        (Unit::Microseconds | Unit::Seconds, Some(true)) => {
            return (if less { "faster" } else { "slower" }, "");
        }
        (Unit::Microseconds | Unit::Seconds, _) => ("shorter", "longer"),
        (Unit::Bytes, _) => ("smaller", "larger"),
        _ => ("lower", "higher"),
    };
    let worth = match figure.less_is_better {
        None => "",
        Some(better) if better == less => ", which is better",
        Some(_) => ", which is worse",
    };
    (if less { below } else { above }, worth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_true_ratio() {
        // Both sides share what the machine did in their turn, and have log-normal noise of their own.
        let mut rng = fastrand::Rng::with_seed(2);
        let mut normal =
            || (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        let mut draws = fastrand::Rng::with_seed(3);
        for n in [2, 3, 4, 5, 10] {
            let mut held = 0;
            for _ in 0..500 {
                let pairs: Vec<_> = (0..n)
                    .map(|_| {
                        let turn = 100.0 * (0.5 * normal()).exp();
                        (turn * (0.1 * normal()).exp(), 0.8 * turn * (0.2 * normal()).exp())
                    })
                    .collect();
                let (low, high) = compare_by(&pairs, 1_000, &mut draws).unwrap().interval.unwrap();
                held += usize::from(low <= 0.8 && 0.8 <= high);
            }
            // An interval that always holds it would be worthless, so there is a bound above as well.
            assert!((450..=495).contains(&held), "{n} pairs: {held} of 500");
        }
    }

    #[test]
    fn a_comparison_is_told_by_the_median_and_turns_round() {
        let pairs =
            [(10.0, 8.0), (20.0, 16.0), (10.0, 90.0), (5.0, 4.0), (10.0, 8.1), (10.0, 7.9), (7.0, 5.6)];
        let turned = pairs.map(|(a, b)| (b, a));
        for n in 1..=pairs.len() {
            let (there, back) = (compare(&pairs[..n]).unwrap(), compare(&turned[..n]).unwrap());
            assert!((there.ratio * back.ratio - 1.0).abs() < 1e-12, "{there:?} {back:?}");
            let method = [Method::None, Method::Student, Method::Bootstrap];
            assert_eq!(there.method, method[usize::from(n >= 2) + usize::from(n >= 5)]);
            assert_eq!(there.interval.is_some(), n > 1);
            let (low, high) = there.interval.unwrap_or((there.ratio, there.ratio));
            assert!(low <= there.ratio && there.ratio <= high);
            assert_eq!(compare(&pairs[..n]), Ok(there), "it is repeatable");
        }
        assert!((compare(&pairs).unwrap().ratio - 0.8).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_ratio_is_told() {
        for (pairs, expected) in [
            (vec![], "0 pairs cannot be compared"),
            (vec![(1.0, 1.0); 1_001], "1001 pairs cannot be compared"),
            (vec![(1.0, 1.0), (0.0, 2.0)], "pair 2: 0 and 2 have no ratio"),
            (vec![(1.0, 0.0)], "pair 1: 1 and 0 have no ratio"),
            (vec![(0.0, 0.0)], "pair 1: 0 and 0 have no ratio"),
            (vec![(-1.0, -1.0)], "pair 1: -1 and -1 have no ratio"),
            (vec![(f64::NAN, 1.0)], "have no ratio"),
            (vec![(1.0, f64::INFINITY)], "have no ratio"),
        ] {
            let error = compare(&pairs).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn verdicts_are_plain_words() {
        let latency = Figure::new("p99", 1.0, Unit::Microseconds).less_is_better();
        let span = Figure::new("open_for", 1.0, Unit::Seconds).more_is_better();
        let memory = Figure::new("server_rss", 1.0, Unit::Bytes).less_is_better();
        let rate = Figure::new("rate", 1.0, Unit::PerSecond).more_is_better();
        let count = Figure::new("rounds", 1.0, Unit::Count);
        for (figure, ratio, low, high, expected) in [
            (&latency, 0.88, 0.85, 0.91, "B is 12 % faster than A (ratio 0.88, 95 % interval 0.85 to 0.91)"),
            (&latency, 1.5, 1.2, 2.0, "B is 50 % slower than A (ratio 1.50, 95 % interval 1.20 to 2.00)"),
            (&latency, 1.01, 0.97, 1.05, "no difference seen (ratio 1.01, 95 % interval 0.97 to 1.05)"),
            (&latency, 1.0, 1.0, 1.0, "no difference seen (ratio 1.00, 95 % interval 1.00 to 1.00)"),
            (
                &latency,
                0.998,
                0.997,
                0.9991,
                "B is 0.2 % faster than A (ratio 0.998, 95 % interval 0.997 to 0.999)",
            ),
            (&span, 0.5, 0.4, 0.6, "B is 50 % shorter than A, which is worse (ratio 0.50, "),
            (&memory, 0.5, 0.4, 0.6, "B is 50 % smaller than A, which is better (ratio 0.50, "),
            (&memory, 3.0, 2.9, 3.1, "B is 200 % larger than A, which is worse (ratio 3.00, "),
            (&rate, 1.034, 1.02, 1.05, "B is 3.4 % higher than A, which is better (ratio 1.03, "),
            (&rate, 0.9, 0.8, 0.95, "B is 10 % lower than A, which is worse (ratio 0.90, "),
            (&count, 0.9, 0.8, 0.95, "B is 10 % lower than A (ratio 0.90, "),
        ] {
            let told = Comparison { pairs: 9, ratio, interval: Some((low, high)), method: Method::Bootstrap };
            assert!(told.verdict(figure, "A", "B").starts_with(expected), "{told:?}");
        }
        let one = compare(&[(4.0, 3.0)]).unwrap().verdict(&latency, "A", "B");
        assert_eq!(one, "one pair cannot tell (ratio 0.75); measure 5 or more");
    }
}
