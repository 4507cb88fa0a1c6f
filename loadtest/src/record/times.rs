//! `Times`: a histogram of time spans in microseconds, three digits, from 1 µs to an hour.
//!
//! Refuses to know whose times they are. Invariants: nothing is sampled, and nothing is lost by adding two of them or
//! by writing and reading one (HdrHistogram's V2 form, compressed, in base64); what is longer than an hour counts as an
//! hour, so that it is seen and not dropped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use serde::{Deserialize, Serialize};

/// The longest time that is told apart, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// A histogram of time spans; see the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // It begins small and grows with what it is given, so that the many that stay empty cost nothing.
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        histogram.auto(true);
        Times(histogram)
    }
}

impl Times {
    /// Adds one time span, in nanoseconds, rounded up to whole microseconds (at least one).
    pub fn record(&mut self, nanoseconds: u64) {
        self.record_micros(nanoseconds.div_ceil(1_000));
    }

    /// Adds one time span in microseconds.
    pub fn record_micros(&mut self, micros: u64) {
        // It resizes itself, so only memory could fail it.
        let _ = self.0.record(micros.clamp(1, LONGEST));
    }

    /// Adds all of another one.
    pub fn add(&mut self, other: &Times) {
        let _ = self.0.add(&other.0);
    }

    /// How many time spans are in it.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time, in microseconds, that this share (0 to 1) of the spans did not exceed; 0 when there is none.
    pub fn quantile(&self, share: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.value_at_quantile(share) as f64 }
    }

    /// Mean in microseconds; 0 when it is empty.
    pub fn mean(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.mean() }
    }

    /// The shortest in microseconds; 0 when it is empty.
    pub fn min(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.min() as f64 }
    }

    /// The longest in microseconds; 0 when it is empty.
    pub fn max(&self) -> f64 {
        self.0.max() as f64
    }

    /// Points (share, microseconds) that draw it over quantiles, finer towards 1, up to the last one that is told by at
    /// least one span.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::new();
        if self.0.is_empty() {
            return points;
        }
        let deepest = 1.0 - 1.0 / self.0.len() as f64;
        let mut rest = 1.0_f64;
        while 1.0 - rest < deepest {
            points.push((1.0 - rest, self.quantile(1.0 - rest)));
            rest /= 10_f64.powf(0.05);
        }
        points.push((deepest, self.max()));
        points
    }

    /// As text.
    pub fn to_base64(&self) -> String {
        let mut bytes = Vec::new();
        // Writing to memory does not fail, and the counts are far below the form's limit.
        let _ = V2DeflateSerializer::new().serialize(&self.0, &mut bytes);
        STANDARD.encode(bytes)
    }

    /// Of text.
    ///
    /// # Errors
    /// When the text is no histogram in base64, in the form V2, compressed or not.
    pub fn from_base64(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|error| format!("histogram is not base64: {error}"))?;
        let mut reader = Deserializer::new();
        let read: Result<Histogram<u64>, _> = reader.deserialize(&mut &bytes[..]);
        let histogram = read.map_err(|error| format!("histogram cannot be read: {error}"))?;
        let mut times = Times::default();
        times.0.add(&histogram).map_err(|error| format!("histogram cannot be used: {error}"))?;
        Ok(times)
    }
}

/// The same between two processes: the histogram alone and not compressed, as it is written twice a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bare(pub Times);

impl Serialize for Bare {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        let written = V2Serializer::new().serialize(&self.0.0, &mut bytes);
        written.map_err(|error| serde::ser::Error::custom(error.to_string()))?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Times::from_base64(&text).map(Bare).map_err(serde::de::Error::custom)
    }
}

/// In the document: the histogram itself, and beside it what people look for first.
#[derive(Serialize, Deserialize)]
struct Written {
    count: u64,
    min_us: f64,
    mean_us: f64,
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    hdr: String,
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            count: self.count(),
            min_us: self.min(),
            mean_us: self.mean(),
            p50_us: self.quantile(0.5),
            p90_us: self.quantile(0.9),
            p99_us: self.quantile(0.99),
            p999_us: self.quantile(0.999),
            max_us: self.max(),
            hdr: self.to_base64(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let times = Times::from_base64(&written.hdr).map_err(serde::de::Error::custom)?;
        if times.count() != written.count {
            let told = format!("histogram holds {} times, count says {}", times.count(), written.count);
            return Err(serde::de::Error::custom(told));
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Times {
        let mut times = Times::default();
        micros.iter().for_each(|&time| times.record_micros(time));
        times
    }

    #[test]
    fn spans_are_rounded_up_and_never_dropped() {
        let mut times = Times::default();
        for nanoseconds in [0, 1, 1_000, 1_001, u64::MAX] {
            times.record(nanoseconds);
        }
        assert_eq!((times.count(), times.min()), (5, 1.0));
        assert!((times.max() / LONGEST as f64 - 1.0).abs() < 0.001, "{}", times.max());
        assert_eq!(times.quantile(0.6), 1.0);
        assert_eq!(times.quantile(0.8), 2.0);
    }

    #[test]
    fn adding_and_writing_lose_nothing() {
        let (some, more) = (of(&[1, 5, 700, 90_000]), of(&[3, 5_000_000]));
        let mut sum = some.clone();
        sum.add(&more);
        assert_eq!(sum, of(&[1, 5, 700, 90_000, 3, 5_000_000]));
        let json = serde_json::to_string(&sum).unwrap();
        let read: Times = serde_json::from_str(&json).unwrap();
        assert_eq!(read, sum);
        assert_eq!(read.count(), 6);
        let json = serde_json::to_string(&Bare(sum.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Bare>(&json).unwrap().0, sum);
    }

    #[test]
    fn what_is_no_histogram_is_told() {
        let json = serde_json::to_string(&of(&[7])).unwrap();
        for (from, to, expected) in [
            ("\"count\":1", "\"count\":2", "holds 1 times, count says 2"),
            ("\"hdr\":\"", "\"hdr\":\"!", "not base64"),
            ("\"hdr\":\"", "\"hdr\":\"AAAA", "cannot be read"),
        ] {
            let error = serde_json::from_str::<Times>(&json.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_empty_one_is_all_zeros() {
        let times = Times::default();
        assert_eq!((times.quantile(0.99), times.mean(), times.min(), times.max()), (0.0, 0.0, 0.0, 0.0));
        assert_eq!(times.curve(), []);
    }

    #[test]
    fn the_curve_ends_at_the_last_span() {
        let curve = of(&(1..=1_000).collect::<Vec<_>>()).curve();
        assert_eq!(curve.first(), Some(&(0.0, 1.0)));
        assert_eq!(curve.last(), Some(&(0.999, 1_000.0)));
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
    }
}
