//! `Gate`: a condition on one figure, such as `p99>5ms`: `--fail-if` fails a build by it, `--until` ends a search.
//!
//! Refuses to know what is done about it. Invariants: nothing that was not measured meets a condition or escapes one
//! (it is an error), and a value is compared only in a unit that it fits.

use std::fmt;

use crate::amount::{Amount, show};
use crate::record::{Combine, Figure, Record, Unit};

/// How many names an error lists.
const NAMES: usize = 12;

/// Signs, longer ones first, so that `>=` is not read as `>`.
const SIGNS: [(&str, Op); 6] = [
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("==", Op::Equal),
    ("!=", Op::Unequal),
    (">", Op::Above),
    ("<", Op::Below),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Threshold {
    Fixed(Amount),
    /// The baseline's value and so many per cent of it more.
    Relative(f64),
}

/// A condition on one figure; see the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    name: String,
    op: Op,
    threshold: Threshold,
}

/// What came of a gate under `--fail-if`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The condition holds, so the run fails.
    pub failed: bool,
    /// One line.
    pub text: String,
}

impl Gate {
    /// Reads `NAME OP VALUE`.
    ///
    /// # Errors
    /// When it is not of that form; the sentence quotes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("condition {text:?}: {why}");
        let form = "write NAME OP VALUE, such as p99>5ms, rate<10k or p99>+10%";
        let Some(at) = text.find(['<', '>', '=', '!']) else {
            return Err(wrong(format!("it has none of > >= < <= == !=; {form}")));
        };
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let Some((sign, op)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) else {
            return Err(wrong(format!("{:?} is no comparison; use one of > >= < <= == !=", &rest[..1])));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(wrong(format!("{name:?} is no name of a figure; {form}")));
        }
        let threshold = Threshold::parse(rest[sign.len()..].trim()).map_err(wrong)?;
        Ok(Gate { name: name.to_string(), op: *op, threshold })
    }

    /// The figure that it is about.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Looks, before anything is measured, for what would keep it from being judged in the end.
    ///
    /// # Errors
    /// When it is relative and there is no baseline, or one that it cannot be relative to.
    pub fn check(&self, baseline: Option<&Record>) -> Result<(), String> {
        if let Threshold::Relative(_) = self.threshold {
            self.figure(self.base(baseline)?, "the baseline")?;
        }
        Ok(())
    }

    /// Whether the condition holds for a record.
    ///
    /// # Errors
    /// When it cannot be told: no such figure, nothing measured, a unit that does not fit, a relative value.
    pub fn holds(&self, record: &Record) -> Result<bool, String> {
        let figure = self.figure(record, "this record")?;
        Ok(self.op.compare(figure.value, self.limit(figure, record, None)?.0))
    }

    /// Whether a record fails by this gate, which it does when the condition holds.
    ///
    /// # Errors
    /// As for [`Gate::holds`], or when the baseline is of another scenario, or INVALID.
    pub fn judge(&self, record: &Record, baseline: Option<&Record>) -> Result<Judgement, String> {
        let figure = self.figure(record, "this record")?;
        let (limit, base) = self.limit(figure, record, baseline)?;
        let failed = self.op.compare(figure.value, limit);
        let (value, limit) = told_apart(figure.value, limit, figure.unit);
        let condition = match base {
            None => format!("{} {} {limit}", self.name, self.op),
            Some(base) => format!("{self} (baseline {}, limit {limit})", show(base, figure.unit, 3)),
        };
        let outcome = if failed { "FAILED" } else { "met" };
        Ok(Judgement { failed, text: format!("{outcome} {condition}: it is {value}") })
    }

    /// The figure that it is about, if something was measured.
    fn figure<'r>(&self, record: &'r Record, whose: &str) -> Result<&'r Figure, String> {
        let Some(figure) = record.figure(&self.name) else {
            let names = closest(&self.name, record);
            return Err(format!("condition {self}: {whose} has no figure {}; it has {names}", self.name));
        };
        if figure.value.is_nan() {
            return Err(format!("condition {self}: {} of {whose} is not a number", self.name));
        }
        // An empty histogram reads 0 at every quantile, which would pass for the best latency of all.
        if let Combine::Quantile { of, .. } | Combine::Mean { of } = &figure.combine
            && record.times.get(of).is_none_or(|times| times.is_empty())
        {
            return Err(format!(
                "condition {self}: nothing was measured for it ({of} of {whose} holds no times)"
            ));
        }
        Ok(figure)
    }

    /// What the figure is compared with, in its unit, and the baseline's value when that was needed.
    fn limit(
        &self,
        figure: &Figure,
        record: &Record,
        baseline: Option<&Record>,
    ) -> Result<(f64, Option<f64>), String> {
        let more = match self.threshold {
            Threshold::Fixed(amount) => {
                let limit = amount.in_unit(figure.unit).ok_or_else(|| {
                    let (name, use_) = (&self.name, suited(figure.unit));
                    format!("condition {self}: {amount} does not fit {name}, which is {use_}")
                })?;
                return Ok((limit, None));
            }
            Threshold::Relative(more) => more,
        };
        let baseline = self.base(baseline)?;
        if baseline.scenario != record.scenario {
            let (theirs, ours) = (&baseline.scenario, &record.scenario);
            return Err(format!(
                "condition {self}: the baseline is of {theirs}, this run of {ours}; give one of {ours}"
            ));
        }
        let base = self.figure(baseline, "the baseline")?;
        if base.unit != figure.unit {
            let name = &self.name;
            return Err(format!(
                "condition {self}: {name} is in another unit in the baseline; measure it again"
            ));
        }
        Ok((base.value + base.value * more / 100.0, Some(base.value)))
    }

    /// The baseline, if it can be believed.
    fn base<'r>(&self, baseline: Option<&'r Record>) -> Result<&'r Record, String> {
        match baseline {
            None => {
                Err(format!("condition {self} is relative: give --baseline RECORD, or write a fixed value"))
            }
            Some(record) if !record.verdict.valid => {
                Err(format!("condition {self}: the baseline is INVALID; give one whose checks are all met"))
            }
            Some(record) => Ok(record),
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.name, self.op)?;
        match &self.threshold {
            Threshold::Fixed(amount) => write!(f, "{amount}"),
            Threshold::Relative(more) => write!(f, "{more:+} %"),
        }
    }
}

impl Threshold {
    fn parse(text: &str) -> Result<Self, String> {
        let amount = Amount::parse(text)?;
        if !text.starts_with(['+', '-']) {
            return Ok(Threshold::Fixed(amount));
        }
        match amount.per_cent() {
            Some(share) if share < -100.0 => {
                Err(format!("{text} would leave less than nothing of the baseline"))
            }
            Some(share) => Ok(Threshold::Relative(share)),
            None if amount.is_bare() && text.starts_with('-') => Ok(Threshold::Fixed(amount)),
            // +5ms may well be meant as a difference from the baseline, so it is not read as 5ms.
            None => Err(format!("{text} has a sign: relative to a baseline are only per cent, such as +10%")),
        }
    }
}

impl Op {
    fn compare(self, value: f64, limit: f64) -> bool {
        match self {
            Op::Above => value > limit,
            Op::AtLeast => value >= limit,
            Op::Below => value < limit,
            Op::AtMost => value <= limit,
            Op::Equal => value == limit,
            Op::Unequal => value != limit,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, op)| op == self).map_or("", |(sign, _)| sign);
        f.write_str(sign)
    }
}

/// Both with as many digits as it takes to see that they differ: not `p99 > 5 ms: it is 5 ms`.
fn told_apart(value: f64, limit: f64, unit: Unit) -> (String, String) {
    let shown = |digits| (show(value, unit, digits), show(limit, unit, digits));
    (3..12).map(shown).find(|(value, limit)| value != limit).unwrap_or_else(|| shown(3))
}

/// What values a unit takes.
fn suited(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a count: write 100 or 10k",
        Unit::Microseconds | Unit::Seconds => "a time: write 5ms or 2s",
        Unit::Bytes => "in bytes: write 100MiB or 100MB",
        Unit::PerSecond => "a rate: write 500 or 10k/s",
        Unit::Share => "a share: write 0.1%",
        Unit::Ratio => "a ratio: write 1.5",
    }
}

/// The names of a record's figures, those most like this one first: those that contain it, then by edit distance.
fn closest(name: &str, record: &Record) -> String {
    let mut names: Vec<&str> = record.figures.iter().map(|figure| figure.name.as_str()).collect();
    names.sort_by_key(|known| (!known.contains(name), strsim::damerau_levenshtein(name, known)));
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    match (names.is_empty(), more) {
        (true, _) => "none".to_string(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Times;

    /// p99 7.31 ms, no errors, 9.5 k/s, 100 MiB, 0.2 % lost, ratio 1.5.
    fn record() -> Record {
        let mut record = Record::of("echo");
        let mut times = Times::default();
        times.record_micros(7_310);
        record.times.insert("echo".to_string(), times);
        let of = |of: &str| Combine::Quantile { of: of.to_string(), millionths: 990_000 };
        record.figures = vec![
            Figure::new("p99", 7_310.0, Unit::Microseconds).combine(of("echo")),
            Figure::new("connect_p99", 0.0, Unit::Microseconds).combine(of("connect")),
            Figure::new("errors", 0.0, Unit::Count),
            Figure::new("rate", 9_500.0, Unit::PerSecond),
            Figure::new("server_rss", 104_857_600.0, Unit::Bytes),
            Figure::new("lost", 0.002, Unit::Share),
            Figure::new("amplification", 1.5, Unit::Ratio),
            Figure::new("broken", f64::NAN, Unit::Ratio),
        ];
        record
    }

    fn with_p99(micros: f64) -> Record {
        let mut record = record();
        record.figures[0].value = micros;
        record
    }

    #[test]
    fn a_run_fails_when_the_condition_holds() {
        for (gate, failed, text) in [
            ("p99>5ms", true, "FAILED p99 > 5 ms: it is 7.31 ms"),
            (" p99 > 5000 us ", true, "FAILED p99 > 5 ms: it is 7.31 ms"),
            ("p99>7310", false, "met p99 > 7.31 ms: it is 7.31 ms"),
            ("p99>=7310", true, "FAILED p99 >= 7.31 ms: it is 7.31 ms"),
            ("p99>7.309ms", true, "FAILED p99 > 7.309 ms: it is 7.31 ms"),
            ("p99<1s", true, "FAILED p99 < 1 s: it is 7.31 ms"),
            ("p99==7.31ms", true, "FAILED p99 == 7.31 ms: it is 7.31 ms"),
            ("errors>0", false, "met errors > 0: it is 0"),
            ("errors!=0", false, "met errors != 0: it is 0"),
            ("rate<10k", true, "FAILED rate < 10 k/s: it is 9.5 k/s"),
            ("server_rss>=100MiB", true, "FAILED server_rss >= 100 MiB: it is 100 MiB"),
            ("server_rss<=100MB", false, "met server_rss <= 95.4 MiB: it is 100 MiB"),
            ("lost>0", true, "FAILED lost > 0 %: it is 0.2 %"),
            ("lost>0.5%", false, "met lost > 0.5 %: it is 0.2 %"),
            ("amplification<-1", false, "met amplification < -1: it is 1.5"),
        ] {
            let parsed = Gate::parse(gate).unwrap();
            let expected = Judgement { failed, text: text.to_string() };
            assert_eq!(parsed.judge(&record(), None), Ok(expected), "{gate}");
            assert_eq!(parsed.holds(&record()), Ok(failed), "{gate}");
            assert_eq!(Gate::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn a_relative_condition_is_held_against_the_baseline() {
        for (gate, base, failed, text) in [
            ("p99>+10%", 5_000.0, true, "FAILED p99 > +10 % (baseline 5 ms, limit 5.5 ms): it is 7.31 ms"),
            ("p99 > +50 %", 5_000.0, false, "met p99 > +50 % (baseline 5 ms, limit 7.5 ms): it is 7.31 ms"),
            ("p99<-10%", 10_000.0, true, "FAILED p99 < -10 % (baseline 10 ms, limit 9 ms): it is 7.31 ms"),
            ("p99>+7%", 0.0, true, "FAILED p99 > +7 % (baseline 0 µs, limit 0 µs): it is 7.31 ms"),
        ] {
            let parsed = Gate::parse(gate).unwrap();
            let expected = Judgement { failed, text: text.to_string() };
            assert_eq!(parsed.judge(&record(), Some(&with_p99(base))), Ok(expected), "{gate}");
            assert_eq!(Gate::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for (text, expected) in [
            ("", "none of > >="),
            ("p99", "none of > >="),
            ("p99=5ms", "\"=\" is no comparison"),
            ("p99!5ms", "\"!\" is no comparison"),
            (">5ms", "\"\" is no name"),
            ("p 99>5ms", "\"p 99\" is no name"),
            ("µ>5ms", "\"µ\" is no name"),
            ("p99>", "is no amount"),
            ("p99>>5ms", "is no amount"),
            ("p99>5parsecs", "is no unit"),
            ("p99>+5ms", "+5ms has a sign"),
            ("p99>-5ms", "-5ms has a sign"),
            ("p99>+5", "+5 has a sign"),
            ("p99<-101%", "less than nothing"),
        ] {
            let error = Gate::parse(text).unwrap_err();
            assert!(
                error.starts_with(&format!("condition {text:?}: ")) && error.contains(expected),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_judged_is_an_error() {
        let other = Record::of("fanout");
        let mut invalid = record();
        invalid.verdict.valid = false;
        let mut bytes = record();
        bytes.figures[0].unit = Unit::Bytes;
        for (gate, baseline, expected) in [
            ("errors>5ms", None, "5 ms does not fit errors, which is a count"),
            ("p99>5%", None, "5 % does not fit p99, which is a time"),
            ("server_rss>100M", None, "100 M does not fit server_rss, which is in bytes: write 100MiB"),
            ("rat<10k", None, "no figure rat; it has rate, p99, "),
            ("p9>1ms", None, "no figure p9; it has p99, connect_p99, "),
            ("connect_p99>5ms", None, "nothing was measured for it (connect of this record"),
            ("broken>1", None, "broken of this record is not a number"),
            ("p99>+10%", None, "give --baseline"),
            ("p99>+10%", Some(&other), "the baseline is of fanout, this run of echo"),
            ("p99>+10%", Some(&invalid), "the baseline is INVALID"),
            ("p99>+10%", Some(&bytes), "another unit in the baseline"),
        ] {
            let error = Gate::parse(gate).unwrap().judge(&record(), baseline).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{gate}: {error}");
        }
        for (gate, baseline, expected) in [
            ("p99>+10%", None, Err("give --baseline")),
            ("p99>+10%", Some(&invalid), Err("the baseline is INVALID")),
            ("p99>+10%", Some(&other), Err("the baseline has no figure p99")),
            ("p99>+10%", Some(&record()), Ok(())),
            ("p99>10ms", Some(&invalid), Ok(())),
        ] {
            let told = Gate::parse(gate).unwrap().check(baseline);
            match expected {
                Ok(()) => assert_eq!(told, Ok(()), "{gate}"),
                Err(why) => assert!(told.clone().is_err_and(|told| told.contains(why)), "{gate}: {told:?}"),
            }
        }
        assert!(Gate::parse("p99<+10%").unwrap().holds(&record()).is_err());
        let none = Gate::parse("p99>1").unwrap().judge(&other, None).unwrap_err();
        assert!(none.ends_with("no figure p99; it has none"), "{none}");
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let mut many = Record::of("echo");
        many.figures = (0..20).map(|i| Figure::new(format!("figure_{i}"), 1.0, Unit::Count)).collect();
        let error = Gate::parse("x>1").unwrap().holds(&many).unwrap_err();
        assert!(error.ends_with(" and 8 more"), "{error}");
    }
}
