//! Amounts as people write and read them: `5ms`, `100MiB`, `10k/s`, `0.1%`.
//!
//! Refuses to know which figure or option an amount belongs to. Invariants: an amount is turned into a unit that it
//! fits, or not at all; what is shown can be written again.

use std::fmt;

use crate::record::Unit;

/// The longest amount that is read; a longer text is a mistake.
const LONGEST: usize = 40;

/// Suffixes, what they measure, and how much one of them is: nanoseconds, bytes, hundredths or ones.
///
/// A mebibyte is not a megabyte (IEC 80000-13), and `m` is a minute where `M` is a million. µ has two code points that
/// look the same: U+00B5, which keyboards write, and U+03BC, the Greek letter.
const SUFFIXES: [(&str, Kind, f64); 25] = [
    ("", Kind::Bare, 1.0),
    ("%", Kind::Percent, 1.0),
    ("ns", Kind::Time, 1.0),
    ("us", Kind::Time, 1e3),
    ("\u{b5}s", Kind::Time, 1e3),
    ("\u{3bc}s", Kind::Time, 1e3),
    ("ms", Kind::Time, 1e6),
    ("s", Kind::Time, 1e9),
    ("m", Kind::Time, 60e9),
    ("min", Kind::Time, 60e9),
    ("B", Kind::Bytes, 1.0),
    ("kB", Kind::Bytes, 1e3),
    ("KB", Kind::Bytes, 1e3),
    ("MB", Kind::Bytes, 1e6),
    ("GB", Kind::Bytes, 1e9),
    ("TB", Kind::Bytes, 1e12),
    ("KiB", Kind::Bytes, 1024.0),
    ("kiB", Kind::Bytes, 1024.0),
    ("MiB", Kind::Bytes, 1_048_576.0),
    ("GiB", Kind::Bytes, 1_073_741_824.0),
    ("TiB", Kind::Bytes, 1_099_511_627_776.0),
    ("k", Kind::Thousands, 1e3),
    ("K", Kind::Thousands, 1e3),
    ("M", Kind::Thousands, 1e6),
    ("G", Kind::Thousands, 1e9),
];

/// What a suffix measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bare,
    Percent,
    Time,
    Bytes,
    Thousands,
}

/// A number with the suffix that was written behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amount {
    number: f64,
    suffix: &'static str,
    kind: Kind,
    factor: f64,
    per_second: bool,
}

impl Amount {
    /// Reads a number and its suffix, with or without a space between them.
    ///
    /// # Errors
    /// When it does not begin with a number, or goes on with something that is no suffix.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(format!("an amount of {} bytes is too long: write a number and a unit", text.len()));
        }
        let numeric = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let most = text.find(|c| !numeric(c)).unwrap_or(text.len());
        let Some((number, end)) =
            (1..=most).rev().find_map(|end| Some((text[..end].parse::<f64>().ok()?, end)))
        else {
            return Err(format!("{text:?} is no amount: write a number and a unit, such as 5ms or 100MiB"));
        };
        let suffix = text[end..].trim();
        let (plain, per_second) = suffix.strip_suffix("/s").map_or((suffix, false), |plain| (plain, true));
        let Some(&(suffix, kind, factor)) = SUFFIXES.iter().find(|known| known.0 == plain.trim_end()) else {
            return Err(format!(
                "{suffix:?} in {text:?} is no unit: use ns us ms s m, B KiB MiB GiB kB MB GB, % or k M G"
            ));
        };
        if !(number * factor).is_finite() {
            return Err(format!("{text:?} is too large"));
        }
        Ok(Amount { number, suffix, kind, factor, per_second })
    }

    /// The same amount in a figure's unit; `None` when it does not fit. A bare number is in the unit already.
    pub fn in_unit(&self, unit: Unit) -> Option<f64> {
        let value = self.number * self.factor;
        match (self.kind, unit) {
            (Kind::Bare, _) if !self.per_second => Some(value),
            (Kind::Bare | Kind::Thousands | Kind::Bytes, Unit::PerSecond) => {
                (self.per_second || self.kind != Kind::Bytes).then_some(value)
            }
            _ if self.per_second => None,
            // One division of a whole number: 5 ms is 5000 µs and nothing beside it, so that `==` can be met.
            (Kind::Time, Unit::Microseconds) => Some(value / 1e3),
            (Kind::Time, Unit::Seconds) => Some(value / 1e9),
            (Kind::Bytes, Unit::Bytes) | (Kind::Thousands, Unit::Count) => Some(value),
            (Kind::Percent, Unit::Share) => Some(value / 100.0),
            _ => None,
        }
    }

    /// The number itself, when it is written with a per cent sign.
    pub fn per_cent(&self) -> Option<f64> {
        (self.kind == Kind::Percent && !self.per_second).then_some(self.number)
    }

    /// As a length in bytes; here `k` can only mean a thousand of them.
    pub fn length(&self) -> Option<f64> {
        let fits = matches!(self.kind, Kind::Bare | Kind::Bytes | Kind::Thousands) && !self.per_second;
        fits.then_some(self.number * self.factor)
    }

    /// True when there is no unit behind the number.
    pub fn is_bare(&self) -> bool {
        self.kind == Kind::Bare && !self.per_second
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = if self.per_second { "/s" } else { "" };
        let space = if self.suffix.is_empty() { "" } else { " " };
        write!(f, "{}{space}{}{rate}", self.number, self.suffix)
    }
}

/// The larger and smaller units of a unit: how much one of them is, and its name.
pub fn steps(unit: Unit) -> &'static [(f64, &'static str)] {
    match unit {
        Unit::Microseconds => &[(1e-3, "ns"), (1.0, "µs"), (1e3, "ms"), (1e6, "s")],
        Unit::Seconds => &[(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")],
        Unit::Bytes => &[
            (1.0, "B"),
            (1024.0, "KiB"),
            (1_048_576.0, "MiB"),
            (1_073_741_824.0, "GiB"),
            (1_099_511_627_776.0, "TiB"),
        ],
        Unit::PerSecond => &[(1.0, "/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")],
        Unit::Share => &[(0.01, "%")],
        Unit::Count | Unit::Ratio => &[(1.0, "")],
    }
}

/// A figure's value for people, rounded to this many digits, but never to fewer than stand before the point.
pub fn show(value: f64, unit: Unit, digits: usize) -> String {
    let steps = steps(unit);
    let size = value.abs();
    // Nothing at all is shown in the unit itself: 0 µs, not 0 ns.
    let at = if size == 0.0 { 1.0 } else { size };
    let (step, name) = steps.iter().rev().find(|step| step.0 <= at).unwrap_or(&steps[0]);
    // A rate or a bare number stands close to what follows.
    let space = if name.is_empty() || name.starts_with('/') { "" } else { " " };
    format!("{}{space}{name}", rounded(value / step, digits))
}

/// To this many digits, without zeros at the end.
pub fn rounded(value: f64, digits: usize) -> String {
    let size = value.abs();
    let before = if size.is_finite() && size > 0.0 { size.log10().floor() as i32 + 1 } else { 1 };
    let decimals = (digits as i32 - before).clamp(0, 15) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_in_the_unit_it_fits() {
        for (text, unit, expected) in [
            ("5ms", Unit::Microseconds, Some(5_000.0)),
            ("5 ms", Unit::Seconds, Some(0.005)),
            ("1.5us", Unit::Microseconds, Some(1.5)),
            ("3\u{b5}s", Unit::Microseconds, Some(3.0)),
            ("3\u{3bc}s", Unit::Microseconds, Some(3.0)),
            ("250ns", Unit::Microseconds, Some(0.25)),
            ("2m", Unit::Seconds, Some(120.0)),
            ("2M", Unit::Seconds, None),
            ("2M", Unit::Count, Some(2e6)),
            ("7", Unit::Microseconds, Some(7.0)),
            ("-7", Unit::Ratio, Some(-7.0)),
            ("1e3", Unit::Count, Some(1_000.0)),
            ("1e3B", Unit::Bytes, Some(1_000.0)),
            ("100MiB", Unit::Bytes, Some(104_857_600.0)),
            ("100MB", Unit::Bytes, Some(1e8)),
            ("100M", Unit::Bytes, None),
            ("0.1%", Unit::Share, Some(0.001)),
            ("0.1%", Unit::Ratio, None),
            ("10k", Unit::PerSecond, Some(10_000.0)),
            ("10 k/s", Unit::PerSecond, Some(10_000.0)),
            ("10/s", Unit::PerSecond, Some(10.0)),
            ("10/s", Unit::Count, None),
            ("10k/s", Unit::Count, None),
            ("1MiB/s", Unit::PerSecond, Some(1_048_576.0)),
            ("1MiB", Unit::PerSecond, None),
            ("5ms", Unit::Count, None),
            ("5ms", Unit::PerSecond, None),
        ] {
            assert_eq!(Amount::parse(text).unwrap().in_unit(unit), expected, "{text} in {unit:?}");
        }
    }

    #[test]
    fn what_is_no_amount_is_told() {
        let long = "1".repeat(41);
        for (text, expected) in [
            ("", "is no amount"),
            ("ms", "is no amount"),
            ("+", "is no amount"),
            ("e5", "is no amount"),
            ("nan", "is no amount"),
            ("inf", "is no amount"),
            ("1e999", "too large"),
            ("1e300GiB", "too large"),
            ("5 parsecs", "\"parsecs\" in"),
            ("5e", "\"e\" in"),
            ("1.2.3", "\".3\" in"),
            ("µ", "is no amount"),
            (&long, "too long"),
        ] {
            let error = Amount::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn values_are_shown_with_the_unit_that_suits_them() {
        for (value, unit, expected) in [
            (7_310.0, Unit::Microseconds, "7.31 ms"),
            (7_314.9, Unit::Microseconds, "7.31 ms"),
            (0.25, Unit::Microseconds, "250 ns"),
            (0.0, Unit::Microseconds, "0 µs"),
            (42.0, Unit::Microseconds, "42 µs"),
            (90e6, Unit::Microseconds, "90 s"),
            (0.002, Unit::Seconds, "2 ms"),
            (104_857_600.0, Unit::Bytes, "100 MiB"),
            (12.0, Unit::Bytes, "12 B"),
            (12_345.0, Unit::PerSecond, "12.3 k/s"),
            (0.5, Unit::PerSecond, "0.5/s"),
            (0.0123, Unit::Share, "1.23 %"),
            (1_234_567.0, Unit::Count, "1234567"),
            (0.001_234, Unit::Ratio, "0.00123"),
            (-2.5, Unit::Ratio, "-2.5"),
            (f64::INFINITY, Unit::Ratio, "inf"),
            (f64::NAN, Unit::Bytes, "NaN B"),
        ] {
            assert_eq!(show(value, unit, 3), expected);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["5 ms", "7", "10 k/s", "0.1 %", "100 MiB"] {
            assert_eq!(Amount::parse(text).unwrap().to_string(), text);
        }
    }
}
