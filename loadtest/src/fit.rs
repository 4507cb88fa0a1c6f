//! Straight lines through measured points: least squares, what it is uncertain of, and where points leave the line.
//!
//! Refuses to know what the axes are. Invariants: what the points cannot tell is `None` or infinitely wide, never a
//! guess; points that are not finite give no line.

/// Points that a line must go through before another point can be said to have left it.
const BEFORE_KNEE: usize = 3;

/// A straight line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub intercept: f64,
    pub slope: f64,
}

/// A line by least squares, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    pub intercept: Estimate,
    pub slope: Estimate,
    /// Share of the variation that the line accounts for; `None` when all values are the same.
    pub r2: Option<f64>,
    /// How many points it goes through.
    pub points: usize,
    centre: (f64, f64),
    /// Sum of the squared distances of x from its mean.
    spread: f64,
    /// Standard deviation of the points about the line; infinite for two points, which every line fits.
    residual: f64,
}

/// A number that was worked out from a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub value: f64,
    /// The standard error, and the 95 % interval by Student's t; `None` when two points leave nothing to tell it by.
    pub error: Option<f64>,
    pub interval: Option<(f64, f64)>,
}

impl Line {
    /// The line with the least squared vertical distances; `None` for fewer than two different x.
    pub fn through(points: &[(f64, f64)]) -> Option<Fit> {
        if points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return None;
        }
        let n = points.len() as f64;
        let (mean_x, mean_y) = (mean(points.iter().map(|p| p.0))?, mean(points.iter().map(|p| p.1))?);
        // About the means: with x near a million and steps of one, sums of squares as they are would cancel out.
        let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            points.iter().map(|(x, y)| of(x - mean_x, y - mean_y)).sum()
        };
        let spread = sum(&|x, _| x * x);
        let slope = sum(&|x, y| x * y) / spread;
        if spread <= 0.0 || !slope.is_finite() {
            return None;
        }
        let intercept = mean_y - slope * mean_x;
        let (left, whole) = (sum(&|x, y| (y - slope * x).powi(2)), sum(&|_, y| y * y));
        let degrees = points.len().saturating_sub(2);
        let residual = if degrees == 0 { f64::INFINITY } else { (left / degrees as f64).sqrt() };
        let t = student(degrees);
        let slope_error = residual / spread.sqrt();
        let intercept_error = residual * (1.0 / n + mean_x * mean_x / spread).sqrt();
        Some(Fit {
            intercept: Estimate::of(intercept, intercept_error, t),
            slope: Estimate::of(slope, slope_error, t),
            r2: (whole > 0.0).then(|| (1.0 - left / whole).clamp(0.0, 1.0)),
            points: points.len(),
            centre: (mean_x, mean_y),
            spread,
            residual,
        })
    }

    /// Its height at x.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

impl Fit {
    /// Its line.
    pub fn line(&self) -> Line {
        Line { intercept: self.intercept.value, slope: self.slope.value }
    }

    /// What is expected at x, and between what one more measurement would lie there in 95 of 100 cases.
    ///
    /// This is the prediction interval, wider than the one of the line itself by the scatter of the points. It is
    /// infinite when there were only two points.
    pub fn predict(&self, x: f64) -> (f64, f64, f64) {
        let value = self.centre.1 + self.slope.value * (x - self.centre.0);
        let away = (x - self.centre.0).powi(2) / self.spread;
        let margin = match self.points {
            0..=2 => f64::INFINITY,
            points => student(points - 2) * self.residual * (1.0 + 1.0 / points as f64 + away).sqrt(),
        };
        (value, value - margin, value + margin)
    }
}

impl Estimate {
    fn of(value: f64, error: f64, t: f64) -> Self {
        let known = error.is_finite() && t.is_finite();
        Estimate {
            value,
            error: known.then_some(error),
            interval: known.then_some((value - t * error, value + t * error)),
        }
    }
}

/// The index of the first point that leaves the line through those before it, given in the order of x.
///
/// It has left when it is off by more than `tolerance` (a share of what the line predicts) and lies outside of the
/// prediction interval; and the next point as well, to the same side, if there is one: a single one may be an outlier.
/// At least three points are needed before it.
pub fn knee(points: &[(f64, f64)], tolerance: f64) -> Option<usize> {
    (BEFORE_KNEE..points.len()).find(|&index| {
        let Some(fit) = Line::through(&points[..index]) else { return false };
        let side = |&(x, y): &(f64, f64)| {
            let (value, low, high) = fit.predict(x);
            let off = (y - value).abs() > tolerance * value.abs();
            match y {
                _ if !off => 0,
                y if y < low => -1,
                y if y > high => 1,
                _ => 0,
            }
        };
        let first = side(&points[index]);
        first != 0 && points.get(index + 1).is_none_or(|next| side(next) == first)
    })
}

/// The 97.5 % quantile of Student's t: as many standard errors to either side hold 95 %. Infinite for no degrees.
pub fn student(degrees: usize) -> f64 {
    // NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, // 1 to 10
        2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, // 11 to 20
        2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042, // 21 to 30
    ];
    match degrees {
        0 => f64::INFINITY,
        1..=30 => TABLE[degrees - 1],
        // Abramowitz and Stegun 26.7.5, two terms: right to three digits from here on, where 1.96 would be 4 % short.
        more => {
            let (z, n) = (1.959_964_f64, more as f64);
            z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
        }
    }
}

/// The middle value, or the mean of the two; `None` of none. It sorts what it is given.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, within: f64) {
        assert!((value - expected).abs() <= within * expected.abs().max(1.0), "{value} is not {expected}");
    }

    /// The first ten rows of Norris, from the NIST Statistical Reference Datasets.
    const ROWS: [(f64, f64); 10] = [
        (0.2, 0.1),
        (337.4, 338.8),
        (118.2, 118.1),
        (884.6, 888.0),
        (10.1, 9.2),
        (226.5, 228.1),
        (666.3, 668.5),
        (996.3, 998.5),
        (448.6, 449.1),
        (777.0, 778.9),
    ];

    #[test]
    fn a_line_agrees_with_another_program() {
        // By the textbook formulas in exact fractions, and t = 2.306.
        let fit = Line::through(&ROWS).unwrap();
        near(fit.intercept.value, -0.184_378_963_076_588_66, 1e-9);
        near(fit.slope.value, 1.003_122_769_334_132, 1e-12);
        near(fit.slope.error.unwrap(), 0.000_644_138_837_966_397_9, 1e-12);
        near(fit.intercept.error.unwrap(), 0.364_566_182_555_018, 1e-9);
        near(fit.r2.unwrap(), 0.999_996_701_326_370_1, 1e-12);
        let (value, low, high) = fit.predict(500.0);
        for (found, expected) in
            [(value, 501.377_005_703_989_37), (low, 499.661_867_484_317_3), (high, 503.092_143_923_661_4)]
        {
            near(found, expected, 1e-12);
        }
        near(fit.line().at(500.0), value, 1e-12);
    }

    #[test]
    fn a_line_far_from_zero_is_exact() {
        let points: Vec<_> = (0..50).map(|i| (1e9 + f64::from(i), 3.0 + 2.0 * f64::from(i))).collect();
        let fit = Line::through(&points).unwrap();
        near(fit.slope.value, 2.0, 1e-12);
        near(fit.predict(1e9 + 100.0).0, 203.0, 1e-9);
        assert!(fit.r2.unwrap() > 0.999_999);
    }

    #[test]
    fn what_the_points_cannot_tell_is_not_told() {
        for none in [
            &[][..],
            &[(1.0, 1.0)],
            &[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)],
            &[(1.0, 1.0), (2.0, f64::NAN)],
            &[(1.0, 1.0), (f64::INFINITY, 2.0), (3.0, 3.0)],
        ] {
            assert_eq!(Line::through(none), None, "{none:?}");
        }
        let two = Line::through(&[(1.0, 1.0), (2.0, 3.0)]).unwrap();
        assert_eq!((two.slope.value, two.slope.error, two.slope.interval), (2.0, None, None));
        assert_eq!(two.predict(3.0), (5.0, f64::NEG_INFINITY, f64::INFINITY));
        let flat = Line::through(&[(1.0, 4.0), (2.0, 4.0), (3.0, 4.0)]).unwrap();
        assert_eq!((flat.slope.value, flat.r2, flat.predict(9.0)), (0.0, None, (4.0, 4.0, 4.0)));
    }

    #[test]
    fn intervals_hold_what_they_say() {
        // 20,000 experiments of 6 points with normal noise: 95 % within 3.3 standard errors of that share.
        let mut rng = fastrand::Rng::with_seed(11);
        let mut normal =
            || (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
        let (mut slopes, mut predicted) = (0, 0);
        for _ in 0..20_000 {
            let points: Vec<_> =
                (0..6).map(|i| (f64::from(i), 10.0 + 3.0 * f64::from(i) + normal())).collect();
            let fit = Line::through(&points).unwrap();
            let (low, high) = fit.slope.interval.unwrap();
            slopes += usize::from(low <= 3.0 && 3.0 <= high);
            let (_, low, high) = fit.predict(8.0);
            let next = 10.0 + 3.0 * 8.0 + normal();
            predicted += usize::from(low <= next && next <= high);
        }
        for held in [slopes, predicted] {
            assert!((18_898..=19_102).contains(&held), "{held} of 20000");
        }
    }

    #[test]
    fn the_knee_is_where_points_leave_the_line() {
        let noise = [0.3, -0.2, 0.1, -0.4, 0.2, 0.3, -0.1, -0.2, 0.4, -0.3];
        let line = |until: f64| -> Vec<(f64, f64)> {
            (0..10).map(|i| (f64::from(i), 10.0 * f64::from(i).min(until) + noise[i as usize])).collect()
        };
        let with = |index: usize, y: f64| {
            let mut points = line(99.0);
            points[index].1 = y;
            points
        };
        for (points, tolerance, expected) in [
            (line(99.0), 0.05, None),
            (line(5.0), 0.05, Some(6)),
            // Within the tolerance for as long as it is wide enough.
            (line(5.0), 0.5, None),
            // Too few before it.
            (line(1.0)[..3].to_vec(), 0.05, None),
            // One outlier is no knee, unless it is the last.
            (with(6, 20.0), 0.05, None),
            (with(9, 20.0), 0.05, Some(9)),
            (with(9, 200.0), 0.05, Some(9)),
            // A prediction interval of a few noisy points is wide.
            (vec![(1.0, 5.0), (2.0, 25.0), (3.0, 20.0), (4.0, 60.0)], 0.05, None),
            (vec![], 0.05, None),
        ] {
            assert_eq!(knee(&points, tolerance), expected, "{points:?}");
        }
    }

    #[test]
    fn quantiles_of_student_go_on_from_the_table() {
        // R: qt(0.975, c(31, 40, 60, 120, 1e6)).
        for (degrees, expected) in
            [(31, 2.0395), (40, 2.0211), (60, 2.0003), (120, 1.9799), (1_000_000, 1.96)]
        {
            near(student(degrees), expected, 1e-4);
        }
        assert!((1..100).all(|degrees| student(degrees) > student(degrees + 1)));
        assert_eq!(student(0), f64::INFINITY);
    }
}
