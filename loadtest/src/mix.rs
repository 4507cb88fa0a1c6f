//! `Mix`: how large messages are: one size, or several with their shares, such as `20:70%,1KiB:25%,64KiB:5%`.
//!
//! Refuses to know where chance comes from: it is given a draw. Invariants: at least one part, at most [`PARTS`], none
//! larger than [`LARGEST`], shares above 0; what it displays is read as the same mix.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::amount::Amount;

/// The most sizes in a mix.
const PARTS: usize = 16;

/// The largest message.
const LARGEST: usize = 16 << 20;

/// How far the shares may be from 100 per cent, for those who write 33.3%,33.3%,33.3%.
const SLACK: f64 = 0.5;

/// Sizes of messages and their shares. Written as text, in the form that [`Mix::parse`] reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mix {
    parts: Vec<Part>,
    /// What the shares add up to: about 100.
    total: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    size: usize,
    per_cent: f64,
}

impl From<Mix> for String {
    fn from(mix: Mix) -> Self {
        mix.to_string()
    }
}

impl TryFrom<String> for Mix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Mix::parse(&text)
    }
}

impl Mix {
    /// Reads `SIZE` or `SIZE:SHARE%,...`.
    ///
    /// # Errors
    /// When it is not of that form, or outside its bounds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("message sizes {text:?}: {why}");
        let count = text.split(',').count();
        if count > PARTS {
            return Err(wrong(format!("{count} sizes are too many; give at most {PARTS}")));
        }
        let parts = match text.contains([':', ',']) {
            false => vec![Part { size: size(text).map_err(wrong)?, per_cent: 100.0 }],
            true => text.split(',').map(Part::parse).collect::<Result<Vec<_>, _>>().map_err(wrong)?,
        };
        let total: f64 = parts.iter().map(|part| part.per_cent).sum();
        if (total - 100.0).abs() > SLACK {
            let total = (total * 100.0).round() / 100.0;
            return Err(wrong(format!("the shares add up to {total} %; make them 100 %")));
        }
        Ok(Mix { parts, total })
    }

    /// The size at this draw, which is at least 0 and below 1.
    pub fn size(&self, draw: f64) -> usize {
        let mut rest = draw * self.total;
        for part in &self.parts {
            if rest < part.per_cent {
                return part.size;
            }
            rest -= part.per_cent;
        }
        // Rounding may leave a little over after the last one.
        self.parts.last().map_or(0, |part| part.size)
    }

    /// The largest size.
    pub fn largest(&self) -> usize {
        self.parts.iter().map(|part| part.size).max().unwrap_or(0)
    }

    /// The mean size in bytes.
    pub fn mean(&self) -> f64 {
        self.parts.iter().map(|part| part.size as f64 * part.per_cent).sum::<f64>() / self.total
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((bytes, share)) = text.split_once(':') else {
            return Err(format!("{text:?} has no share; write SIZE:SHARE%, such as 1KiB:25%"));
        };
        let per_cent =
            Amount::parse(share)?.per_cent().filter(|share| *share > 0.0 && *share <= 100.0 + SLACK);
        let per_cent =
            per_cent.ok_or_else(|| format!("{share:?} is no share; write per cent above 0, such as 25%"))?;
        Ok(Part { size: size(bytes)?, per_cent })
    }
}

/// One size in bytes.
fn size(text: &str) -> Result<usize, String> {
    let length = Amount::parse(text)?.length();
    let Some(length) = length.filter(|length| *length >= 0.0 && length.fract() == 0.0) else {
        return Err(format!("{text:?} is no size; write whole bytes, such as 125, 1k or 64KiB"));
    };
    if length > LARGEST as f64 {
        return Err(format!("{text:?} is too large; give at most {} MiB", LARGEST >> 20));
    }
    Ok(length as usize)
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alone = self.parts.len() == 1 && self.parts[0].per_cent == 100.0;
        for (index, part) in self.parts.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            match part.size {
                size if size > 0 && size % (1 << 20) == 0 => write!(f, "{}MiB", size >> 20)?,
                size if size > 0 && size % (1 << 10) == 0 => write!(f, "{}KiB", size >> 10)?,
                size => write!(f, "{size}")?,
            }
            if !alone {
                write!(f, ":{}%", part.per_cent)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_chooses_a_size_by_its_share() {
        let mix = Mix::parse("20:70%,1KiB:25%,64KiB:5%").unwrap();
        for (draw, expected) in
            [(0.0, 20), (0.699, 20), (0.701, 1_024), (0.949, 1_024), (0.951, 65_536), (0.999_999, 65_536)]
        {
            assert_eq!(mix.size(draw), expected, "{draw}");
        }
        assert_eq!(mix.largest(), 65_536);
        assert!((mix.mean() - (14.0 + 256.0 + 3_276.8)).abs() < 1e-9, "{}", mix.mean());
    }

    #[test]
    fn no_draw_is_without_a_size() {
        let mix = Mix::parse("1:33.3%,2:33.3%,3:33.3%").unwrap();
        for (draw, expected) in
            [(0.0, 1), (1.0 - f64::EPSILON / 2.0, 3), (1.0, 3), (f64::NAN, 3), (-1.0, 1), (0.5, 2)]
        {
            assert_eq!(mix.size(draw), expected, "{draw}");
        }
        assert!((mix.mean() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for (text, shown) in [
            ("125", "125"),
            ("0", "0"),
            (" 64 KiB ", "64KiB"),
            ("16MiB", "16MiB"),
            ("1.5KiB", "1536"),
            ("2k", "2000"),
            ("2kB", "2000"),
            ("5B:100%", "5"),
            ("5:99.7%", "5:99.7%"),
            ("20:70%, 1024:25 %,65536 : 5%", "20:70%,1KiB:25%,64KiB:5%"),
            ("1:33.3%,2:33.3%,3:33.3%", "1:33.3%,2:33.3%,3:33.3%"),
        ] {
            let mix = Mix::parse(text).unwrap();
            assert_eq!(mix.to_string(), shown);
            assert_eq!(Mix::parse(shown), Ok(mix));
        }
    }

    #[test]
    fn what_is_no_mix_is_told() {
        let many = vec!["1:5%"; 17].join(",");
        for (text, expected) in [
            ("", "is no amount"),
            ("x", "is no amount"),
            ("5ms", "is no size"),
            ("5%", "is no size"),
            ("-5", "is no size"),
            ("0.5", "is no size"),
            ("16777217", "too large; give at most 16 MiB"),
            ("1e300GiB", "too large"),
            ("20,30", "\"20\" has no share"),
            ("20:70%,", "\"\" has no share"),
            ("20:70", "\"70\" is no share"),
            ("20:0%,30:100%", "\"0%\" is no share"),
            ("20:-5%,30:105%", "is no share"),
            ("20:70%,30:20%", "add up to 90 %"),
            ("20:70%,30:30.6%", "add up to 100.6 %"),
            (&many, "17 sizes are too many"),
        ] {
            let error = Mix::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
