//! The one thing of a certificate that a server is to know of its own: from when until when it is valid (RFC 5280
//! §4.1.2.5), out of its DER.
//!
//! Refuses to verify anything, and to know what time it is. Invariant: total; what is not as it should be is `None`.

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The context-specific tag 0 around the version.
const VERSION: u8 = 0xa0;

/// The next element of `bytes`: tag, contents, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        (digits.iter().fold(0, |len, &digit| len << 8 | usize::from(digit)), rest)
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}

fn sequence(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    element(bytes).and_then(|(tag, contents, rest)| (tag == SEQUENCE).then_some((contents, rest)))
}

/// From when until when a certificate (DER) is valid, in seconds since 1970.
pub fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (certificate, _) = sequence(certificate)?;
    let (mut fields, _) = sequence(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // The serial number, the algorithm of the signature, the issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (validity, _) = sequence(fields)?;
    let (tag, from, rest) = element(validity)?;
    let from = time(tag, from)?;
    let (tag, until, _) = element(rest)?;
    Some((from, time(tag, until)?))
}

fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |sum, &digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            // RFC 5280 §4.1.2.5.1
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&rest[2 * at..2 * at + 2]);
    Some(days(year, part(0), part(1)) * 86_400 + part(2) * 3_600 + part(3) * 60 + part(4))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar. The year is counted from March, so that the leap day comes
/// last, and five months always have 153 days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The day of a time in seconds since 1970, as `2026-11-21`.
pub fn date(seconds: i64) -> String {
    let shifted = seconds.div_euclid(86_400) + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_there_and_back() {
        let table = [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (4_107_542_399, "2100-02-28"),
            (-1, "1969-12-31"),
        ];
        for (seconds, text) in table {
            assert_eq!(date(seconds), text);
            let part = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
            assert_eq!(days(part(0..4), part(5..7), part(8..10)), seconds.div_euclid(86_400), "{text}");
        }
    }

    #[test]
    fn times_of_both_kinds() {
        let table: [(u8, &[u8], Option<i64>); 7] = [
            (UTC_TIME, b"700101000000Z", Some(0)),
            (UTC_TIME, b"491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, b"20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, b"700101000000Z", None),
            (UTC_TIME, b"7001010000Z", None),
            (UTC_TIME, b"70010100000xZ", None),
            (0x04, b"700101000000Z", None),
        ];
        for (tag, text, expected) in table {
            assert_eq!(time(tag, text), expected, "{}", text.escape_ascii());
        }
    }

    /// The fields up to the validity, as a certificate has them, cut at every byte and with every byte changed.
    #[test]
    fn a_certificate_is_read_or_not_and_nothing_panics() {
        let mut fields = vec![0xa0, 3, 2, 1, 2, 2, 1, 7, 0x30, 0, 0x30, 0, 0x30, 0x1e];
        for time in [b"250102030405Z", b"351231235959Z"] {
            fields.extend_from_slice(&[UTC_TIME, 13]);
            fields.extend_from_slice(time);
        }
        let wrap = |bytes: &[u8]| [&[0x30, 0x81, bytes.len() as u8][..], bytes].concat();
        let whole = wrap(&wrap(&fields));
        assert_eq!(validity(&whole), Some((1_735_787_045, 2_082_758_399)));
        for cut in 0..whole.len() {
            assert_eq!(validity(&whole[..cut]), None, "cut at {cut}");
            for value in [0, 0x30, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[cut] = value;
                let _ = validity(&changed);
            }
        }
    }
}
