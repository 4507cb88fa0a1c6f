//! Numbers as people write them: sizes (`64KiB`), time spans (`25s`, `1.5ms`), counts (`10k`), rates (`2.5k`), and
//! back to text.
//!
//! Refuses to know what a number is for. Invariant: what is printed parses to the same number, and text
//! that could mean two things is refused. Tables get rounded text, which is the exception: [`span`] parses to the same
//! span to three significant digits, and [`grouped`] and [`rounded`] are not read again. `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `k`, `M`, `G`,
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
const TOO_LARGE: &str = "the number is too large for 64 bits";
const TOO_LONG: &str = "the number has too many digits";
const NANOSECONDS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    // The micro sign, and the Greek letter that some keyboards have instead.
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

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

/// Reads a time span that may be short: what [`parse_time`] reads, and decimals, `us`, `µs` and `ns`: `1.5ms`, `250us`.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed == "0" || trimmed.eq_ignore_ascii_case("off") {
        return Ok(Duration::ZERO);
    }
    if trimmed.ends_with(|last: char| last.is_ascii_digit()) && decimal(trimmed, COUNTS).is_some() {
        return Err(format!("a time span needs a unit: {trimmed}us, {trimmed}ms or {trimmed}s"));
    }
    let rule = "a time span is a number of ns, us, ms, s, m, h or d: 250us, 1.5ms, 25s";
    let (numerator, denominator) = decimal(text, NANOSECONDS).ok_or(rule)?.ok_or(TOO_LONG)?;
    if numerator % denominator != 0 {
        return Err("a time span is a whole number of nanoseconds".into());
    }
    let nanoseconds = numerator / denominator;
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).map_err(|_| TOO_LARGE)?;
    Ok(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

/// Reads a rate per second: `1000`, `10k`, `2.5k`, `0.5`. It is positive and finite.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence.
pub fn parse_rate(text: &str) -> Result<f64, String> {
    let rule = "a rate is a number per second, or of k, M, G (1000): 1000, 2.5k, 0.5";
    let (numerator, denominator) = decimal(text, COUNTS).ok_or(rule)?.ok_or(TOO_LONG)?;
    // One division, so that 1.001k is 1001 and not a little less.
    match numerator as f64 / denominator as f64 {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("a rate must be above 0".into()),
    }
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

/// Prints a time span so that [`parse_span`] reads the same one; so does [`parse_time`] if it is whole milliseconds.
pub fn time(span: Duration) -> String {
    if span.is_zero() {
        return "off".into();
    }
    match span.subsec_nanos() {
        nanoseconds if !nanoseconds.is_multiple_of(1_000) => return format!("{}ns", span.as_nanos()),
        nanoseconds if !nanoseconds.is_multiple_of(1_000_000) => return format!("{}us", span.as_micros()),
        _ => {}
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
    grouped_digits(&number.to_string())
}

/// Puts a comma between thousands of a number that is digits already.
pub fn grouped_digits(digits: &str) -> String {
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

/// Prints a span of `micros` microseconds to three significant digits, but never finer than a nanosecond, for tables:
/// `850 µs`, `1.23 ms`. A number that is no span (negative, not finite, beyond 64 bits) is `?`.
pub fn span(micros: f64) -> String {
    if !(0.0..u64::MAX as f64).contains(&micros) {
        return "?".into();
    }
    // Rounded before the unit is chosen, so that 999.9 µs is 1.00 ms and not 1000 µs.
    let rounded: f64 = format!("{:.2e}", micros * 1e3).parse().unwrap_or(0.0);
    let (unit, scale) = [("s", 1e9), ("ms", 1e6), ("µs", 1e3)]
        .into_iter()
        .find(|(_, scale)| rounded >= *scale)
        .unwrap_or(("ns", 1.0));
    let scaled = rounded / scale;
    let decimals = match scaled {
        _ if unit == "ns" => 0,
        small if small < 10.0 => 2,
        medium if medium < 100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {unit}")
}

fn exact(number: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, scale)| number >= *scale && number.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", number / scale),
        None => number.to_string(),
    }
}

/// A whole number and one of `units`; `rule` tells how such a number looks.
fn scaled(text: &str, units: &[(&str, u64)], rule: &str) -> Result<u64, String> {
    let (digits, scale) = unit_of(text, units, |c| c.is_ascii_digit() || c == '_').ok_or(rule)?;
    let number: Option<u64> = plain(digits).ok_or(rule)?.parse().ok();
    number.and_then(|number| number.checked_mul(scale)).ok_or_else(|| TOO_LARGE.into())
}

/// A number with or without decimals and one of `units`, as an exact fraction; `None` when it does not look like one,
/// `Some(None)` when it has more digits than a fraction holds.
fn decimal(text: &str, units: &[(&str, u64)]) -> Option<Option<(u128, u128)>> {
    let (digits, scale) = unit_of(text, units, |c| c.is_ascii_digit() || c == '_' || c == '.')?;
    let (whole, decimals) = match digits.split_once('.') {
        Some((whole, decimals)) => (plain(whole)?, plain(decimals)?),
        None => (plain(digits)?, String::new()),
    };
    let places = u32::try_from(decimals.len()).ok();
    let numerator = (whole + &decimals).parse().ok().and_then(|n: u128| n.checked_mul(scale.into()));
    Some(numerator.zip(places.and_then(|places| 10_u128.checked_pow(places))))
}

/// Takes the leading number off the text, and looks up what follows it.
fn unit_of<'t>(text: &'t str, units: &[(&str, u64)], number: fn(char) -> bool) -> Option<(&'t str, u64)> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c| !number(c)).unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    Some((digits, *scale))
}

/// Digits without the underscores between them; `None` when there are none, or an underscore stands elsewhere.
fn plain(digits: &str) -> Option<String> {
    let lone_underscore = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    let fits =
        !digits.is_empty() && !lone_underscore && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    fits.then(|| digits.replace('_', ""))
}

#[cfg(test)]
mod tests;
