//! `Ruler`: where a value stands on an axis (0 to 1), and where its ticks are.
//!
//! Refuses to know pixels. Invariants: what has no place (NaN, infinite, zero on a logarithmic axis, a quantile of one)
//! gets none; every ruler is longer than nothing, so that nobody divides by zero; there are at most a dozen ticks.

use crate::output::number;
use crate::record::{Scale, Unit};

/// Most ticks on an axis.
const TICKS: usize = 9;
/// What floating point may be off by.
const DUST: f64 = 1e-9;
/// Larger numbers have no place: their distance could be infinite.
const LARGEST: f64 = 1e300;

/// An axis from its lowest to its highest value; see the module's text.
pub struct Ruler {
    scale: Scale,
    unit: Unit,
    /// In the measure of the scale: as it is, as a logarithm, as nines.
    low: f64,
    high: f64,
    /// Between ticks of a linear axis.
    step: f64,
}

impl Ruler {
    /// One that has room for all these values. `from_zero` lets a linear axis begin at zero.
    pub fn new(scale: Scale, unit: Unit, values: impl Iterator<Item = f64>, from_zero: bool) -> Self {
        let placed = values.filter_map(|value| measure(scale, value));
        let (low, high) = placed.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        match scale {
            Scale::Linear => Self::linear(unit, low, high, from_zero),
            Scale::Log => Self::log(unit, low, high),
            Scale::Quantile => Ruler { scale, unit, low: 0.0, high: high.max(1.0), step: 1.0 },
        }
    }

    fn linear(unit: Unit, low: f64, high: f64, from_zero: bool) -> Self {
        let (mut low, mut high) = (low, high);
        // An axis that does not begin at zero makes small changes look large; far from zero it may be needed.
        if low > 0.0 && (from_zero || low <= high / 2.0) {
            low = 0.0;
        }
        if high < 0.0 && from_zero {
            high = 0.0;
        }
        if high - low <= f64::EPSILON * high.abs().max(low.abs()) {
            (low, high) =
                if high == 0.0 { (0.0, 1.0) } else { (low - low.abs() / 2.0, high + high.abs() / 2.0) };
        }
        let step = round_step(unit, (high - low) / 6.0);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Ruler { scale: Scale::Linear, unit, low, high, step }
    }

    /// From one of the steps 1, 2, 5 to another one.
    fn log(unit: Unit, low: f64, high: f64) -> Self {
        let around = log_steps(unit, 0.0, low.floor() - 1.0, high.ceil() + 1.0);
        let first = around.iter().copied().rfind(|at| *at <= low + DUST).unwrap_or(low);
        let last = around.iter().copied().find(|at| *at >= high - DUST && *at > first).unwrap_or(high + 1.0);
        Ruler { scale: Scale::Log, unit, low: first, high: last, step: 1.0 }
    }

    /// Where a value stands, from 0 (lowest) to 1.
    pub fn place(&self, value: f64) -> Option<f64> {
        let at = (measure(self.scale, value)? - self.low) / (self.high - self.low);
        (-0.001..=1.001).contains(&at).then_some(at)
    }

    /// Places and texts of the ticks, from the lowest up.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let ticks: Vec<(f64, String)> = match self.scale {
            Scale::Linear => {
                let count = ((self.high - self.low) / self.step).round().min(40.0) as u32;
                let values = (0..=count).map(|at| self.low + f64::from(at) * self.step);
                values.map(|value| (value, number::tick(self.unit, self.near(value)))).collect()
            }
            Scale::Log => log_steps(self.unit, self.high - self.low, self.low, self.high)
                .into_iter()
                .map(|at| (at, number::tick(self.unit, self.exact(at))))
                .collect(),
            Scale::Quantile => {
                (0..=self.high.floor() as usize).map(|nines| (nines as f64, nines_text(nines))).collect()
            }
        };
        let every = ticks.len().div_ceil(TICKS + 3).max(1);
        let spaced = ticks.into_iter().step_by(every);
        spaced.map(|(at, text)| ((at - self.low) / (self.high - self.low), text)).collect()
    }

    /// A multiple of the step that missed zero by the dust of floating point is zero.
    fn near(&self, value: f64) -> f64 {
        if value.abs() < self.step * 1e-6 { 0.0 } else { value }
    }

    fn exact(&self, at: f64) -> f64 {
        let value = 10_f64.powf(at);
        if value >= 1.0 { value.round() } else { value }
    }
}

/// A value in the measure of the scale; `None` when it has no place on it.
pub fn measure(scale: Scale, value: f64) -> Option<f64> {
    let at = match scale {
        _ if !value.is_finite() || value.abs() > LARGEST => return None,
        Scale::Linear => value,
        Scale::Log if value > 0.0 => value.log10(),
        Scale::Quantile if (0.0..1.0).contains(&value) => -(1.0 - value).log10(),
        Scale::Log | Scale::Quantile => return None,
    };
    at.is_finite().then_some(at)
}

/// The next round number: 1, 2, 5 of a power of ten, or of bytes a power of two.
fn round_step(unit: Unit, step: f64) -> f64 {
    let step = step.max(f64::MIN_POSITIVE * 1e10);
    if unit == Unit::Bytes && step > 1.0 {
        return step.log2().ceil().exp2();
    }
    let power = 10_f64.powf(step.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= step * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

/// Logarithms of the round numbers between two: 1, 2, 5 of each power of ten. Where the whole span of the axis is long,
/// the powers alone, or only some of them.
fn log_steps(unit: Unit, span: f64, low: f64, high: f64) -> Vec<f64> {
    let (digits, power): (&[f64], f64) = match unit {
        Unit::Bytes if span <= 6.5 => (&[1.0], 4_f64.log10()),
        Unit::Bytes => (&[1.0], 1024_f64.log10()),
        _ if span <= 3.5 => (&[1.0, 2.0, 5.0], 1.0),
        _ => (&[1.0], (span / 10.0).ceil()),
    };
    let (first, last) = ((low / power).floor() as i32, (high / power).ceil() as i32);
    let all =
        (first..=last).flat_map(|at| digits.iter().map(move |digit| f64::from(at) * power + digit.log10()));
    all.filter(|at| (low - DUST..=high + DUST).contains(at)).collect()
}

/// 0, 90 %, 99 %, 99.9 %.
fn nines_text(nines: usize) -> String {
    match nines {
        0 => "0 %".to_string(),
        1 => "90 %".to_string(),
        2 => "99 %".to_string(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(scale: Scale, unit: Unit, values: &[f64]) -> String {
        let ruler = Ruler::new(scale, unit, values.iter().copied(), false);
        ruler.ticks().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn ticks_are_round_and_few() {
        use Scale::{Linear, Log, Quantile};
        for (scale, unit, values, expected) in [
            (Linear, Unit::Count, &[0.0, 9.7][..], "0|2|4|6|8|10"),
            (Linear, Unit::Count, &[1e6, 1.01e6], "1 M|1.002 M|1.004 M|1.006 M|1.008 M|1.01 M"),
            (Linear, Unit::Bytes, &[0.0, 900e6], "0 B|256 MiB|512 MiB|768 MiB|1 GiB"),
            (Linear, Unit::Seconds, &[-0.3, 0.3], "-300 ms|-200 ms|-100 ms|0 s|100 ms|200 ms|300 ms"),
            (Linear, Unit::Count, &[7.0], "2|4|6|8|10|12"),
            (Linear, Unit::Count, &[], "0|0.2|0.4|0.6|0.8|1"),
            (Log, Unit::Microseconds, &[150.0, 9_000.0], "100 µs|200 µs|500 µs|1 ms|2 ms|5 ms|10 ms"),
            (Log, Unit::Bytes, &[3_000.0, 1e6], "1 KiB|4 KiB|16 KiB|64 KiB|256 KiB|1 MiB"),
            (Log, Unit::Count, &[7.0], "5|10"),
            (Log, Unit::Count, &[0.0, -1.0], "1|2|5|10"),
            (Log, Unit::Microseconds, &[3.0, 150_000.0], "10 µs|100 µs|1 ms|10 ms|100 ms"),
            (
                Log,
                Unit::Ratio,
                &[1e-200, 1e200],
                "1e-200|1e-160|1e-120|1e-80|1e-40|1|1e40|1e80|1e120|1e160|1e200",
            ),
            (Quantile, Unit::Share, &[0.0, 0.99995], "0 %|90 %|99 %|99.9 %|99.99 %"),
            (Quantile, Unit::Share, &[], "0 %|90 %"),
        ] {
            assert_eq!(ticks(scale, unit, values), expected, "{scale:?} {unit:?} {values:?}");
        }
    }

    #[test]
    fn what_has_no_place_gets_none() {
        for (scale, value, expected) in [
            (Scale::Linear, 5.0, Some(0.5)),
            (Scale::Linear, f64::NAN, None),
            (Scale::Linear, f64::INFINITY, None),
            (Scale::Linear, f64::MAX, None),
            (Scale::Log, 10.0, Some(1.0)),
            (Scale::Log, 1.0, Some(0.0)),
            (Scale::Log, 0.0, None),
            (Scale::Log, -1.0, None),
            (Scale::Quantile, 0.9, Some(0.5)),
            (Scale::Quantile, 1.0, None),
            (Scale::Quantile, -0.1, None),
        ] {
            let values = [1.0, 10.0, 0.99, f64::NAN, 0.0];
            let values = values.into_iter().filter(|value| scale != Scale::Log || *value >= 1.0);
            let place = Ruler::new(scale, Unit::Count, values, true).place(value);
            let close = match (place, expected) {
                (Some(place), Some(expected)) => (place - expected).abs() < 1e-9,
                (place, expected) => place == expected,
            };
            assert!(close, "{scale:?} {value}: {place:?}");
        }
    }
}
