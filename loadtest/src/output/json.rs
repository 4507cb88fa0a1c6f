//! Records as JSON files.
//!
//! Refuses to know what is in a record. Invariants: what is written can be read again, and holds no number that JSON
//! has no word for; what is read has this program's schema, or is refused in one line. (A number of more than fifteen
//! digits may come back with another last bit: serde_json reads quickly, not exactly.)

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::record::{Record, SCHEMA};

/// No run writes a file as large as this; what is larger was mistaken for one.
const LARGEST: u64 = 256 << 20;

/// Writes a record to a file, in place of what is there.
///
/// # Errors
/// One line for people, when the file cannot be written.
pub fn write(record: &Record, path: &Path) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| {
        format!(
            "cannot write the record to {}: {error}; name a file in a directory that can be written",
            path.display()
        )
    };
    let mut text = serde_json::to_string_pretty(&sanitised(record.clone())).map_err(|error| told(&error))?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| told(&error))
}

/// Reads a record from a file.
///
/// # Errors
/// One line for people: the file, what was found in it, and what to do.
pub fn read(path: &Path) -> Result<Record, String> {
    let file = path.display();
    let failed = |error| format!("cannot read {file}: {error}; name a record that loadtest has written");
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(format!(
            "{file} is larger than 256 MiB, so it is no record; name one that loadtest has written"
        ));
    }
    let value: Value = serde_json::from_slice(&text).map_err(|error| {
        let found = if text.is_empty() { "empty".to_string() } else { format!("not whole JSON ({error})") };
        format!("{file} is {found}; name a record that loadtest has written, or run again")
    })?;
    match value.get("schema") {
        Some(Value::String(schema)) if schema == SCHEMA => {}
        Some(Value::String(schema)) => {
            let schema: String = schema.chars().take(60).collect();
            return Err(format!(
                "{file} has the schema {schema:?}, this loadtest reads {SCHEMA:?}; read it with the version that \
                 wrote it, or run again"
            ));
        }
        _ => {
            return Err(format!(
                "{file} is JSON, but no record: it has no \"schema\"; name a record that loadtest has written"
            ));
        }
    }
    // From the text once more, because only the text has lines that an error can name.
    serde_json::from_slice(&text)
        .map_err(|error| format!("{file} says {SCHEMA:?}, but it was changed or cut: {error}; run again"))
}

/// Without NaN and infinite numbers, for which serde_json would write `null`, and read no record again. A figure without
/// a value goes, and a note tells it; a point goes; a check stays, as the largest number there is, because a check
/// that goes could be the one that failed.
fn sanitised(mut record: Record) -> Record {
    let mut told = Vec::new();
    record.figures.retain(|figure| {
        let is_number = figure.value.is_finite();
        if !is_number {
            told.push(format!("The figure {} is left out: it came to {}.", figure.name, figure.value));
        }
        is_number
    });
    record.notes.append(&mut told);
    for figure in &mut record.figures {
        figure.interval = figure.interval.filter(|(low, high)| low.is_finite() && high.is_finite());
    }
    for check in &mut record.verdict.checks {
        check.measured = largest(check.measured);
        check.limit = largest(check.limit);
    }
    for line in record.plots.iter_mut().flat_map(|plot| &mut plot.lines) {
        line.points.retain(|(x, y)| x.is_finite() && y.is_finite());
    }
    if !record.seconds.is_finite() {
        record.seconds = 0.0;
    }
    record
}

fn largest(value: f64) -> f64 {
    if value.is_nan() { f64::MAX } else { value.clamp(f64::MIN, f64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;
    use crate::record::{Figure, Unit};

    /// A file of this test's own, gone with its end.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("loadtest-json-{}-{name}", std::process::id());
            Scratch(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = Scratch::new("whole");
        for record in [samples::small(), samples::invalid(), samples::rich()] {
            write(&record, &file.0).unwrap();
            assert!(read(&file.0).unwrap() == record);
        }
    }

    #[test]
    fn what_is_no_number_is_left_out_and_told() {
        let file = Scratch::new("nan");
        let mut record = samples::invalid();
        record.seconds = f64::NAN;
        record.figures[0].value = f64::NAN;
        record.figures.push(Figure::new("kept", 1.0, Unit::Ratio).interval(f64::NEG_INFINITY, 2.0));
        record.verdict.checks[0].measured = f64::INFINITY;
        record.verdict.checks[1].limit = f64::NAN;
        record.plots = samples::rich().plots;
        let whole = record.plots[0].lines[0].points.clone();
        record.plots[0].lines[0].points.push((f64::NAN, 1.0));
        write(&record, &file.0).unwrap();
        let read = read(&file.0).unwrap();
        assert_eq!(read.seconds, 0.0);
        assert_eq!(read.figure("connections_open"), None);
        assert_eq!(read.notes.last().unwrap(), "The figure connections_open is left out: it came to NaN.");
        assert_eq!(read.figure("kept").unwrap().interval, None);
        assert_eq!((read.verdict.checks[0].measured, read.verdict.checks[1].limit), (f64::MAX, f64::MAX));
        assert_eq!(read.plots[0].lines[0].points, whole);
    }

    #[test]
    fn what_is_no_record_is_refused_in_one_line() {
        let file = Scratch::new("broken");
        write(&samples::small(), &file.0).unwrap();
        let whole = std::fs::read_to_string(&file.0).unwrap();
        for (text, expected) in [
            (String::new(), "is empty; name"),
            ("hello".to_string(), "is not whole JSON (expected value at line 1 column 1); name"),
            (whole[..whole.len() / 2].to_string(), "is not whole JSON (EOF"),
            ("[1, 2]".to_string(), "is JSON, but no record"),
            ("{\"schema\": 7}".to_string(), "is JSON, but no record"),
            ("{\"schema\": \"k6/\\n3\"}".to_string(), "has the schema \"k6/\\n3\", this loadtest reads"),
            (format!("{{\"schema\": \"{SCHEMA}\"}}"), "was changed or cut: missing field `scenario`"),
            (whole.replace("\"count\": 12", "\"count\": -12"), "was changed or cut: invalid value"),
        ] {
            std::fs::write(&file.0, &text).unwrap();
            let error = read(&file.0).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(error.starts_with(&file.0.display().to_string()) && !error.contains('\n'), "{error}");
        }
        let error = read(Path::new("/nonexistent/record.json")).unwrap_err();
        assert!(error.starts_with("cannot read /nonexistent/record.json: No such file"), "{error}");
        let error = write(&samples::small(), Path::new("/nonexistent/record.json")).unwrap_err();
        assert!(error.starts_with("cannot write the record to /nonexistent/record.json: No such"), "{error}");
    }
}
