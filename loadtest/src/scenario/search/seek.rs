//! Where the largest value lies that holds: doubling, then bisection.
//!
//! Refuses to know what a value is and how it is measured. Invariant: whatever the measurements say, it ends, after at
//! most [`STEPS`] values, each measured at most three times.

use tidegate::program::failure::Failure;

/// Values that are measured, at most.
pub const STEPS: usize = 80;
/// Halvings below the start before nothing is said to hold.
const DOWN: i32 = 10;

/// What one measurement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Held,
    Failed,
    /// What measures was at its limit, so nothing is known.
    Limited,
}

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub from: f64,
    pub to: Option<f64>,
    /// The share of the upper bound that the two may be apart in the end.
    pub within: f64,
    /// Only whole numbers mean something.
    pub whole: bool,
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// The bounds are as close as they were asked to be.
    Narrowed,
    /// It holds where it was to end.
    Reached,
    /// It holds nowhere.
    Floor,
    /// What measures was at its limit here.
    Limited(f64),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The largest value that held.
    pub held: Option<f64>,
    /// The smallest value that failed.
    pub failed: Option<f64>,
    pub end: End,
}

impl Bounds {
    fn rounded(&self, value: f64) -> f64 {
        let value = value.min(self.to.unwrap_or(f64::INFINITY));
        // A third of a message per second is a rate; in thousands of them it is noise.
        if self.whole || value >= 100.0 { value.floor().max(1.0) } else { value }
    }

    /// The next value; `None` when there is nothing left to ask.
    fn next(&self, found: &Found) -> Result<f64, End> {
        match (found.held, found.failed) {
            (None, None) => Ok(self.rounded(self.from)),
            (Some(held), None) => {
                let next = self.rounded(held * 2.0);
                if next > held { Ok(next) } else { Err(End::Reached) }
            }
            (None, Some(failed)) => {
                let next = self.rounded(failed / 2.0);
                let floor = self.from * 0.5_f64.powi(DOWN);
                if next < failed && next >= floor { Ok(next) } else { Err(End::Floor) }
            }
            (Some(held), Some(failed)) => {
                let next = self.rounded(f64::midpoint(held, failed));
                let apart = failed - held > self.within * failed && next > held && next < failed;
                if apart { Ok(next) } else { Err(End::Narrowed) }
            }
        }
    }
}

/// Searches.
///
/// # Errors
/// Those of the measurement.
pub fn seek(
    bounds: &Bounds,
    measure: &mut dyn FnMut(f64) -> Result<Outcome, Failure>,
) -> Result<Found, Failure> {
    let mut found = Found { held: None, failed: None, end: End::Narrowed };
    for _ in 0..STEPS {
        let value = match bounds.next(&found) {
            Ok(value) => value,
            Err(end) => return Ok(Found { end, ..found }),
        };
        match settled(value, measure)? {
            Outcome::Held => found.held = Some(value),
            Outcome::Failed => found.failed = Some(value),
            Outcome::Limited => return Ok(Found { end: End::Limited(value), ..found }),
        }
    }
    Ok(found)
}

/// What measurements of one value say: one that held is enough, and it takes two of another kind.
fn settled(value: f64, measure: &mut dyn FnMut(f64) -> Result<Outcome, Failure>) -> Result<Outcome, Failure> {
    let (mut failed, mut limited) = (0, 0);
    loop {
        match measure(value)? {
            Outcome::Held => return Ok(Outcome::Held),
            Outcome::Failed => failed += 1,
            Outcome::Limited => limited += 1,
        }
        if failed == 2 {
            return Ok(Outcome::Failed);
        }
        if limited == 2 {
            return Ok(Outcome::Limited);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Bounds = Bounds { from: 1_000.0, to: None, within: 0.05, whole: false };

    fn found(bounds: Bounds, mut server: impl FnMut(f64) -> Outcome) -> (Found, usize) {
        let mut count = 0;
        let found = seek(&bounds, &mut |value| {
            count += 1;
            Ok(server(value))
        });
        (found.unwrap(), count)
    }

    fn below(limit: f64) -> impl Fn(f64) -> Outcome {
        move |value| if value <= limit { Outcome::Held } else { Outcome::Failed }
    }

    #[test]
    fn the_knee_lies_between_what_held_and_what_failed() {
        for limit in [1.5, 3.0, 1_000.0, 1_001.0, 7_777.0, 1e6] {
            let (found, count) = found(RATES, below(limit));
            let (held, failed) = (found.held.unwrap(), found.failed.unwrap());
            assert!(held <= limit && limit < failed, "{found:?}");
            assert!((failed - held) <= 0.05 * failed || failed - held <= 1.0, "{found:?}");
            assert_eq!(found.end, End::Narrowed);
            assert!(count < 50, "{count} measurements");
        }
    }

    #[test]
    fn whole_numbers_are_searched_to_the_last() {
        let bounds = Bounds { from: 100.0, within: 0.0, whole: true, ..RATES };
        for limit in [1.0, 2.0, 99.0, 100.0, 12_345.0] {
            let (found, _) = found(bounds, below(limit));
            assert_eq!((found.held, found.failed), (Some(limit), Some(limit + 1.0)));
        }
    }

    #[test]
    fn a_failure_counts_when_it_is_repeated() {
        // Every value above the limit fails; below it every other measurement does.
        let mut turn = 0;
        let (noisy, _) = found(RATES, |value| {
            turn += 1;
            if value <= 6_000.0 && turn % 2 == 0 { Outcome::Held } else { Outcome::Failed }
        });
        let (held, failed) = (noisy.held.unwrap(), noisy.failed.unwrap());
        assert!(held <= 6_000.0 && 6_000.0 < failed && failed - held <= 0.05 * failed, "{noisy:?}");
    }

    #[test]
    fn what_never_holds_ends_at_the_floor() {
        let (lost, count) = found(RATES, |_| Outcome::Failed);
        assert_eq!((lost.held, lost.end), (None, End::Floor));
        assert_eq!((lost.failed, count), (Some(1_000.0 / 1_024.0), 22));
        let (one, _) = found(Bounds { whole: true, from: 3.0, ..RATES }, |_| Outcome::Failed);
        assert_eq!(one, Found { held: None, failed: Some(1.0), end: End::Floor });
    }

    #[test]
    fn a_generator_at_its_limit_ends_it() {
        let limited = |value| if value <= 4_000.0 { Outcome::Held } else { Outcome::Limited };
        let (found, count) = found(RATES, limited);
        assert_eq!(found, Found { held: Some(4_000.0), failed: None, end: End::Limited(8_000.0) });
        assert_eq!(count, 5, "three held, and one was tried twice");
    }

    #[test]
    fn a_generator_that_was_disturbed_once_is_asked_again() {
        let mut turn = 0;
        let (found, _) = found(RATES, |value| {
            turn += 1;
            if turn % 2 == 1 { Outcome::Limited } else { below(3_000.0)(value) }
        });
        assert!(matches!(found.end, End::Narrowed | End::Limited(_)), "{found:?}");
        assert!(found.held.is_some_and(|held| (1_000.0..=3_000.0).contains(&held)), "{found:?}");
    }

    #[test]
    fn the_end_is_not_passed() {
        let bounds = Bounds { to: Some(3_000.0), ..RATES };
        let (reached, count) = found(bounds, |_| Outcome::Held);
        assert_eq!(reached, Found { held: Some(3_000.0), failed: None, end: End::Reached });
        assert_eq!(count, 3);
        let (before, _) = found(bounds, below(2_500.0));
        assert!(before.failed.unwrap() <= 3_000.0, "{before:?}");
    }

    #[test]
    fn it_ends_even_where_all_hold() {
        assert!(found(Bounds { to: None, ..RATES }, |_| Outcome::Held).0.held.unwrap() > 1e9);
    }

    #[test]
    fn errors_of_a_measurement_end_it() {
        let error = seek(&RATES, &mut |_| Err(Failure::usage("no figure p98"))).unwrap_err();
        assert_eq!(error.code(), 2);
    }
}
