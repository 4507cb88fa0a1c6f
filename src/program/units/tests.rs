//! Texts and numbers as tables, both ways, malformed ones included.

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
    for milliseconds in [0, 1, 250, 1_000, 1_001, 25_000, 60_000, 90_000, 300_000, 3_600_000, 86_400_000] {
        let span = Duration::from_millis(milliseconds);
        assert_eq!(parse_time(&time(span)), Ok(span), "{}", time(span));
    }
    for (nanoseconds, text) in
        [(1, "1ns"), (50_000, "50us"), (1_500_000, "1500us"), (1_000_000_007, "1000000007ns")]
    {
        let span = Duration::from_nanos(nanoseconds);
        assert_eq!((time(span).as_str(), parse_span(text)), (text, Ok(span)));
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

#[test]
fn spans() {
    let table: &[(&str, Option<u64>)] = &[
        ("1ns", Some(1)),
        ("250us", Some(250_000)),
        ("250µs", Some(250_000)),
        ("250μs", Some(250_000)),
        ("250 US", Some(250_000)),
        ("1.5ms", Some(1_500_000)),
        (" 1.50 ms ", Some(1_500_000)),
        ("0.001us", Some(1)),
        ("1.000us", Some(1_000)),
        ("1_000.000_5ms", Some(1_000_000_500)),
        ("25s", Some(25_000_000_000)),
        ("0.5m", Some(30_000_000_000)),
        ("1.5h", Some(5_400_000_000_000)),
        ("0", Some(0)),
        ("off", Some(0)),
        ("0.0ms", Some(0)),
        ("18446744073s", Some(18_446_744_073_000_000_000)),
        ("0.5ns", None),
        ("0.0001us", None),
        ("1.5", None),
        ("25", None),
        ("", None),
        ("ms", None),
        (".5ms", None),
        ("1.ms", None),
        ("1.5.0ms", None),
        ("1,5ms", None),
        ("1._5ms", None),
        ("-1ms", None),
        ("+1ms", None),
        ("1e3ms", None),
        ("nans", None),
        ("infs", None),
        ("1.5ks", None),
        ("1m30s", None),
        ("٣ms", None),
        ("18446744073709551616s", None),
        ("99999999999999999999999999999999999999999s", None),
        ("0.00000000000000000000000000000000000000000s", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_span(text).ok(), expected.map(Duration::from_nanos), "{text:?}");
    }
    let complaints = [
        ("1.5", "a time span needs a unit: 1.5us, 1.5ms or 1.5s"),
        ("0.5ns", "a time span is a whole number of nanoseconds"),
        ("300000000000000d", TOO_LARGE),
        ("0.0000000000000000000000000000000000000000s", TOO_LONG),
    ];
    for (text, complaint) in complaints {
        assert_eq!(parse_span(text).unwrap_err(), complaint);
    }
}

#[test]
fn what_parse_time_reads_parse_span_reads_too() {
    for milliseconds in [0, 1, 250, 1_000, 1_001, 25_000, 90_000, 300_000, 3_600_000, 86_400_000] {
        let text = time(Duration::from_millis(milliseconds));
        assert_eq!(parse_span(&text), parse_time(&text), "{text}");
    }
}

#[test]
fn rates() {
    let table: &[(&str, Option<f64>)] = &[
        ("1000", Some(1_000.0)),
        ("10k", Some(10_000.0)),
        ("10 K", Some(10_000.0)),
        ("2.5k", Some(2_500.0)),
        ("1.001k", Some(1_001.0)),
        ("0.5", Some(0.5)),
        ("0.1", Some(0.1)),
        ("1_000.5", Some(1_000.5)),
        ("1M", Some(1e6)),
        ("0", None),
        ("0.0k", None),
        ("", None),
        ("k", None),
        (".5", None),
        ("1.", None),
        ("1,5", None),
        ("-1", None),
        ("+1", None),
        ("1e3", None),
        ("inf", None),
        ("NaN", None),
        ("10/s", None),
        ("10KiB", None),
        ("99999999999999999999999999999999999999999", None),
        ("0.99999999999999999999999999999999999999999", None),
    ];
    for (text, expected) in table {
        assert_eq!(parse_rate(text).ok(), *expected, "{text:?}");
    }
}

#[test]
fn spans_for_tables() {
    let table = [
        (0.0, "0 ns"),
        (0.000_4, "0 ns"),
        (0.001, "1 ns"),
        (0.012_3, "12 ns"),
        (0.85, "850 ns"),
        (0.999_4, "999 ns"),
        (0.999_6, "1.00 µs"),
        (1.234, "1.23 µs"),
        (12.34, "12.3 µs"),
        (99.96, "100 µs"),
        (850.0, "850 µs"),
        (999.4, "999 µs"),
        (999.9, "1.00 ms"),
        (1_234.0, "1.23 ms"),
        (12_340.0, "12.3 ms"),
        (1_200_000.0, "1.20 s"),
        (75_400_000.0, "75.4 s"),
        (1_234_567_890.0, "1230 s"),
        (-1.0, "?"),
        (f64::NAN, "?"),
        (f64::INFINITY, "?"),
        (1e300, "?"),
    ];
    for (micros, text) in table {
        assert_eq!(span(micros), text, "{micros}");
    }
}

#[test]
fn a_span_of_a_table_is_read_again_to_three_digits() {
    // Steps that share no factor with ten, from below a nanosecond to beyond a million years.
    let mut micros = 0.000_37;
    while micros < 1.8e19 {
        let text = span(micros);
        let again = parse_span(&text).unwrap().as_secs_f64() * 1e6;
        assert!(
            (again - micros).abs() <= micros * 0.005_001 + 0.000_5,
            "{micros} is {text}, read as {again}"
        );
        assert_eq!(span(again), text);
        micros *= 1.37;
    }
}
