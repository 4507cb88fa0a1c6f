//! Numbers as people write them: sizes (`64KiB`), time spans (`25s`), counts (`10k`), and back to text.
//!
//! Refuses to know what a number is for. Invariant: what is printed parses to the same number, and text
//! that could mean two things is refused. `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `k`, `M`, `G`,
//! `T` and `kB`, `MB`, `GB`, `TB` are powers of 1000; letter case does not matter.

use std::time::Duration;

const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];
const COUNTS: &[(&str, u64)] = &[("", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)];
const MILLISECONDS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a size in bytes: `65536`, `64KiB`, `16 MiB`, `64k`.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_size(text: &str) -> Result<u64, String> {
    scaled(
        text,
        SIZES,
        "a size is a whole number of bytes, or of KiB, MiB, GiB (1024) or k, M, G (1000): 64KiB",
    )
}

/// Reads a count: `1000`, `10k`, `1M`, `1_000_000`.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_count(text: &str) -> Result<u64, String> {
    scaled(text, COUNTS, "a count is a whole number, or of k, M, G (1000): 10k or 10_000")
}

/// Reads a time span: `250ms`, `25s`, `5m`, `1h`, `2d`; `0` and `off` are zero.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed == "0" || trimmed.eq_ignore_ascii_case("off") {
        return Ok(Duration::ZERO);
    }
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("a time span needs a unit: {trimmed}s or {trimmed}ms"));
    }
    scaled(text, MILLISECONDS, "a time span is a whole number of ms, s, m, h or d: 250ms, 25s, 5m")
        .map(Duration::from_millis)
}

/// Reads a switch: `true`, `on`, `yes`, `1`, or their opposites.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_flag(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("a switch is true or false".into()),
    }
}

/// Prints a size so that [`parse_size`] reads the same number.
pub fn size(bytes: u64) -> String {
    exact(bytes, &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)])
}

/// Prints a count so that [`parse_count`] reads the same number.
pub fn count(number: u64) -> String {
    exact(number, &[("M", 1_000_000), ("k", 1_000)])
}

/// Prints a time span so that [`parse_time`] reads the same one, down to milliseconds.
pub fn time(span: Duration) -> String {
    if span.is_zero() {
        return "off".into();
    }
    let milliseconds = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if milliseconds.is_multiple_of(1_000) {
        let seconds = milliseconds / 1_000;
        return match exact(seconds, &[("d", 86_400), ("h", 3_600), ("m", 60)]) {
            text if text.ends_with(|last: char| last.is_ascii_digit()) => text + "s",
            text => text,
        };
    }
    format!("{milliseconds}ms")
}

/// Prints a number with a comma between thousands, for tables that people read.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Prints a size to three significant digits, for tables; [`size`] is exact, this is not.
pub fn rounded(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = (bytes.max(1).ilog2() / 10) as usize;
    let scaled = bytes as f64 / (1_u64 << (10 * step)) as f64;
    match (step, scaled) {
        (0, _) => format!("{bytes} bytes"),
        (_, small) if small < 10.0 => format!("{small:.1} {}", units[step]),
        (_, large) => format!("{large:.0} {}", units[step]),
    }
}

fn exact(number: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, scale)| number >= *scale && number.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => number.to_string(),
    }
}

/// A whole number and one of `units`; `rule` tells how such a number looks.
fn scaled(text: &str, units: &[(&str, u64)], rule: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let lone_underscore = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else { return Err(rule.into()) };
    if digits.is_empty() || lone_underscore {
        return Err(rule.into());
    }
    let number: Option<u64> = digits.replace('_', "").parse().ok();
    number
        .and_then(|number| number.checked_mul(*scale))
        .ok_or_else(|| "the number is too large for 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table: &[(&str, Option<u64>)] = &[
            ("0", Some(0)),
            ("1", Some(1)),
            ("17b", Some(17)),
            ("64KiB", Some(65_536)),
            ("64kib", Some(65_536)),
            ("64k", Some(64_000)),
            ("64K", Some(64_000)),
            ("64kB", Some(64_000)),
            ("1M", Some(1_000_000)),
            ("1MiB", Some(1 << 20)),
            ("16 MiB", Some(16 << 20)),
            ("  16 MiB ", Some(16 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1G", Some(1_000_000_000)),
            ("64TiB", Some(64 << 40)),
            ("1_000_000", Some(1_000_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("16777216TiB", None),
            ("99999999999999999999999999", None),
            ("", None),
            (" ", None),
            ("KiB", None),
            ("_", None),
            ("1__0", None),
            ("_1", None),
            ("1_", None),
            ("-1", None),
            ("+1", None),
            ("1.5MiB", None),
            ("12q", None),
            ("1 2", None),
            ("64KiBs", None),
            ("0x10", None),
            ("1e6", None),
            ("٣", None),
            ("1µ", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn counts() {
        let table: &[(&str, Option<u64>)] = &[
            ("1000", Some(1_000)),
            ("10k", Some(10_000)),
            ("10 K", Some(10_000)),
            ("1M", Some(1_000_000)),
            ("1_000_000", Some(1_000_000)),
            ("10KiB", None),
            ("1,000", None),
            ("ten", None),
            ("20000000000G", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_count(text).ok(), *expected, "{text:?}");
        }
    }

    #[test]
    fn times() {
        let table: &[(&str, Option<u64>)] = &[
            ("250ms", Some(250)),
            ("25s", Some(25_000)),
            ("25 s", Some(25_000)),
            ("5m", Some(300_000)),
            ("5min", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("2d", Some(172_800_000)),
            ("0", Some(0)),
            ("off", Some(0)),
            ("OFF", Some(0)),
            ("0s", Some(0)),
            ("25", None),
            ("", None),
            ("1m30s", None),
            ("1.5s", None),
            ("-1s", None),
            ("s", None),
            ("300000000000000d", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_time(text).ok(), expected.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!(parse_time("25").unwrap_err(), "a time span needs a unit: 25s or 25ms");
    }

    #[test]
    fn flags() {
        for (text, expected) in
            [("true", Some(true)), ("No", Some(false)), ("1", Some(true)), ("2", None), ("", None)]
        {
            assert_eq!(parse_flag(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let numbers =
            [0, 1, 999, 1_000, 1_023, 1_024, 1_536, 65_536, 1_000_000, 1 << 20, 1 << 30, 64 << 40, u64::MAX];
        for number in numbers {
            assert_eq!(parse_size(&size(number)), Ok(number));
            assert_eq!(parse_count(&count(number)), Ok(number));
        }
        for milliseconds in [0, 1, 250, 1_000, 1_001, 25_000, 60_000, 90_000, 300_000, 3_600_000, 86_400_000]
        {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(parse_time(&time(span)), Ok(span), "{}", time(span));
        }
    }

    #[test]
    fn printing() {
        for (number, text) in [(1 << 20, "1MiB"), (65_536, "64KiB"), (64 << 40, "64TiB"), (1_500, "1500")] {
            assert_eq!(size(number), text);
        }
        for (number, text) in [(1_000_000, "1M"), (10_000, "10k"), (32_768, "32768"), (0, "0")] {
            assert_eq!(count(number), text);
        }
        for (milliseconds, text) in
            [(0, "off"), (250, "250ms"), (25_000, "25s"), (300_000, "5m"), (90_000, "90s")]
        {
            assert_eq!(time(Duration::from_millis(milliseconds)), text);
        }
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (number, text) in
            [(0, "0 bytes"), (4_300, "4.2 KiB"), (24_892_129_280, "23 GiB"), (u64::MAX, "16 EiB")]
        {
            assert_eq!(rounded(number), text);
        }
    }
}
