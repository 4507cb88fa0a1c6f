//! Numbers for people: a value with its unit, in three digits.
//!
//! Refuses to know what is counted. Invariants: every value has a text, NaN and the infinite ones too; a share below one
//! is never shown as 100 %, because the difference is what is asked for.

use tidegate::program::units::grouped_digits;

use crate::amount;
use crate::record::{Figure, Unit};

/// From here on, and below its counterpart, a number is written with an exponent.
const HUGE: f64 = 1e15;
const TINY: f64 = 1e-6;

/// A value with its unit: `1.23 ms`, `12,345`, `98.7 %`, `4.50 MiB`.
pub fn plain_number(unit: Unit, value: f64) -> String {
    let form = Form::of(unit, value, is_whole(value));
    with_suffix(form.digits(value), form.suffix)
}

/// The same for a tick of an axis: without zeros at the end, and millions as M.
pub fn tick(unit: Unit, value: f64) -> String {
    let millions: &[Step] = match unit {
        Unit::Count | Unit::Ratio => &[(1.0, ""), (1e6, "M"), (1e9, "G"), (1e12, "T")],
        Unit::PerSecond => &[(1.0, "/s"), (1e6, "M/s"), (1e9, "G/s"), (1e12, "T/s")],
        _ => steps(unit),
    };
    let reached = millions.iter().rfind(|step| value.abs() >= step.0 * (1.0 - 1e-9));
    let (divisor, suffix) = match reached {
        _ if value == 0.0 || value.abs() >= HUGE => step(millions, 0.0),
        Some(step) => *step,
        None => millions[0],
    };
    let scaled = value / divisor;
    if scaled != 0.0 && !(TINY..HUGE).contains(&scaled.abs()) {
        return with_suffix(format!("{scaled:.0e}"), suffix);
    }
    let digits = format!("{scaled:.6}");
    with_suffix(grouped(digits.trim_end_matches('0').trim_end_matches('.')), suffix)
}

/// A figure's value, and its interval in the same form: `1.02 (0.98 to 1.06)`.
pub fn figure(figure: &Figure) -> (String, Option<String>) {
    let Some((low, high)) = figure.interval else {
        return (plain_number(figure.unit, figure.value), None);
    };
    let whole = [figure.value, low, high].into_iter().all(is_whole);
    let guide = if figure.value == 0.0 { high } else { figure.value };
    let form = Form::of(figure.unit, guide, whole && figure.unit != Unit::Ratio);
    let interval = format!("({} to {})", form.digits(low), form.digits(high));
    (with_suffix(form.digits(figure.value), form.suffix), Some(interval))
}

/// A moment in seconds since 1970, in UTC.
pub fn moment(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Counted from 1 March of the year 0, so that the leap day is the last one of its year; 400 years have 146,097 days.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Divisor and name of a larger or smaller unit.
type Step = (f64, &'static str);

/// How a number is written: divided, with so many decimals, and what stands behind it.
struct Form {
    divisor: f64,
    decimals: usize,
    suffix: &'static str,
}

impl Form {
    /// The form that suits this value. A whole number of the base unit stays whole.
    fn of(unit: Unit, value: f64, whole: bool) -> Self {
        let (divisor, suffix) = step(steps(unit), value);
        let scaled = (value / divisor).abs();
        let mut decimals = if whole && divisor == 1.0 && unit != Unit::Ratio { 0 } else { decimals(scaled) };
        if unit == Unit::Share && scaled < 100.0 {
            while decimals < 6 && format!("{scaled:.decimals$}").starts_with("100") {
                decimals += 1;
            }
        }
        Form { divisor, decimals, suffix }
    }

    fn digits(&self, value: f64) -> String {
        let scaled = value / self.divisor;
        if value.is_nan() {
            "n/a".to_string()
        } else if value.is_infinite() {
            if value > 0.0 { "∞" } else { "-∞" }.to_string()
        } else if scaled != 0.0 && !(TINY..HUGE).contains(&scaled.abs()) {
            format!("{scaled:.2e}")
        } else {
            let digits = format!("{scaled:.*}", self.decimals);
            // -0.001 in two decimals is zero, and zero has no sign.
            let is_zero = digits.bytes().all(|digit| matches!(digit, b'-' | b'0' | b'.'));
            grouped(if is_zero { digits.trim_start_matches('-') } else { &digits })
        }
    }
}

/// Rates stay whole, for they are compared with those that were asked for.
fn steps(unit: Unit) -> &'static [Step] {
    if unit == Unit::PerSecond { &[(1.0, "/s")] } else { amount::steps(unit) }
}

/// The step under which a value has at most three digits before its point.
fn step(steps: &[Step], value: f64) -> Step {
    let base = steps.iter().find(|step| step.0 == 1.0).unwrap_or(&steps[0]);
    if value == 0.0 || !value.is_finite() {
        return *base;
    }
    let fits = |step: &&Step| {
        let limit = if step.1.ends_with('B') { 1024.0 } else { 1000.0 };
        three_digits(value.abs() / step.0) < limit
    };
    *steps.iter().find(fits).unwrap_or(&steps[steps.len() - 1])
}

fn three_digits(value: f64) -> f64 {
    if !(TINY..1000.0).contains(&value) {
        return value;
    }
    let power = 10_f64.powf(2.0 - value.log10().floor());
    (value * power).round() / power
}

/// Decimals that show three digits.
fn decimals(value: f64) -> usize {
    match three_digits(value) {
        0.0 => 0,
        rounded if rounded >= 100.0 => 0,
        rounded if rounded >= 10.0 => 1,
        rounded if rounded >= 1.0 => 2,
        rounded => (2.0 - rounded.max(TINY).log10().floor()) as usize,
    }
}

fn is_whole(value: f64) -> bool {
    value.fract() == 0.0
}

/// Commas between thousands.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    format!("{sign}{}{fraction}", grouped_digits(whole))
}

fn with_suffix(digits: String, suffix: &str) -> String {
    if suffix.is_empty() { digits } else { format!("{digits} {suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_in_three_digits_of_a_fitting_unit() {
        for (unit, value, expected) in [
            (Unit::Count, 1_234_567.0, "1,234,567"),
            (Unit::Count, -1_234.0, "-1,234"),
            (Unit::Count, 2.5, "2.50"),
            (Unit::Count, 0.0, "0"),
            (Unit::Microseconds, 0.0, "0 µs"),
            (Unit::Microseconds, 7.0, "7 µs"),
            (Unit::Microseconds, 0.0421, "42.1 ns"),
            (Unit::Microseconds, 999.6, "1.00 ms"),
            (Unit::Microseconds, 1_234.0, "1.23 ms"),
            (Unit::Microseconds, 61e6, "61.0 s"),
            (Unit::Microseconds, 3.6e9, "3,600 s"),
            (Unit::Seconds, 0.0123, "12.3 ms"),
            (Unit::Seconds, 30.0, "30 s"),
            (Unit::Seconds, 34.21, "34.2 s"),
            (Unit::Bytes, 512.0, "512 B"),
            (Unit::Bytes, 1023.0, "1,023 B"),
            (Unit::Bytes, 1536.0, "1.50 KiB"),
            (Unit::Bytes, 3e15, "2,728 TiB"),
            (Unit::PerSecond, 49_999.6, "50,000 /s"),
            (Unit::PerSecond, 0.25, "0.250 /s"),
            (Unit::Share, 0.5, "50.0 %"),
            (Unit::Share, 1.0, "100 %"),
            (Unit::Share, 0.999_99, "99.999 %"),
            (Unit::Share, 0.000_12, "0.0120 %"),
            (Unit::Share, 2.5, "250 %"),
            (Unit::Ratio, 1.0, "1.00"),
            (Unit::Ratio, 9.996, "10.0"),
            (Unit::Ratio, 1.5e-9, "1.50e-9"),
            (Unit::Ratio, f64::MAX, "1.80e308"),
            (Unit::Ratio, -0.0, "0"),
            (Unit::Microseconds, f64::NAN, "n/a µs"),
            (Unit::Ratio, f64::INFINITY, "∞"),
            (Unit::Ratio, f64::NEG_INFINITY, "-∞"),
        ] {
            assert_eq!(plain_number(unit, value), expected, "{unit:?} {value}");
        }
    }

    #[test]
    fn an_interval_is_in_the_form_of_its_value() {
        for (value, low, high, unit, expected) in [
            (1.02, 0.98, 1.06, Unit::Ratio, ("1.02", "(0.98 to 1.06)")),
            (1.0, 0.0, 2.0, Unit::Ratio, ("1.00", "(0.00 to 2.00)")),
            (5.0, 4.8, 5.2, Unit::PerSecond, ("5.00 /s", "(4.80 to 5.20)")),
            (5.0, 4.0, 6.0, Unit::Count, ("5", "(4 to 6)")),
            (1_230.0, 990.0, 1_500.0, Unit::Microseconds, ("1.23 ms", "(0.99 to 1.50)")),
            (0.0, -0.001, 0.25, Unit::Seconds, ("0 ms", "(-1 to 250)")),
        ] {
            let (shown, interval) = figure(&Figure::new("a", value, unit).interval(low, high));
            assert_eq!((shown.as_str(), interval.as_deref()), (expected.0, Some(expected.1)));
        }
    }

    #[test]
    fn a_tick_is_short() {
        for (unit, value, expected) in [
            (Unit::Microseconds, 1_000.0, "1 ms"),
            (Unit::Microseconds, 0.0, "0 µs"),
            (Unit::Count, 2_500_000.0, "2.5 M"),
            (Unit::Count, 20_000.0, "20,000"),
            (Unit::Ratio, 0.1 + 0.2, "0.3"),
            (Unit::Ratio, 1e-9, "1e-9"),
            (Unit::Bytes, 1e40, "1e40 B"),
            (Unit::Share, 0.25, "25 %"),
            (Unit::Bytes, 65_536.0, "64 KiB"),
            (Unit::Seconds, -5.0, "-5 s"),
        ] {
            assert_eq!(tick(unit, value), expected);
        }
    }

    #[test]
    fn a_moment_is_a_date() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(moment(seconds), expected);
        }
        assert!(moment(u64::MAX).ends_with("UTC"));
    }
}
