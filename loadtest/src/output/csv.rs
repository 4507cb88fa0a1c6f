//! Figures as CSV (RFC 4180): one row per figure, for spreadsheets and scripts.
//!
//! Refuses to know histograms and plots. Invariant: every row has the same nine fields, and says whether its run is to
//! be believed, so that no filter can lose that.

use super::is_valid;
use crate::record::{Figure, Record};

/// All figures of all runs, with a head.
pub fn write(records: &[Record]) -> String {
    let mut text = "scenario,title,began,valid,name,value,unit,low,high\r\n".to_string();
    for record in records {
        for figure in &record.figures {
            text.push_str(&row(record, figure));
        }
    }
    text
}

fn row(record: &Record, figure: &Figure) -> String {
    let unit = serde_json::to_value(figure.unit).ok();
    let (low, high) = figure.interval.map_or_else(Default::default, |(low, high)| (plain(low), plain(high)));
    let fields = [
        record.scenario.clone(),
        record.title.clone(),
        record.began.to_string(),
        if is_valid(record) { "VALID" } else { "INVALID" }.to_string(),
        figure.name.clone(),
        plain(figure.value),
        unit.as_ref().and_then(|unit| unit.as_str()).unwrap_or_default().to_string(),
        low,
        high,
    ];
    fields.map(quoted).join(",") + "\r\n"
}

/// Empty for what is no number: a spreadsheet would take the word for text.
fn plain(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn quoted(field: String) -> String {
    if field.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn one_row_per_figure_quoted_where_needed() {
        let mut invalid = samples::invalid();
        invalid.title = "say \"hi\", then\nleave".to_string();
        invalid.figures.truncate(1);
        invalid.figures[0].value = f64::NAN;
        let mut valid = samples::small();
        valid.figures.truncate(2);
        assert_eq!(
            write(&[valid, invalid]),
            "scenario,title,began,valid,name,value,unit,low,high\r\n\
             echo,\"10,000 connections, 64 B, open loop\",1767225599,VALID,connections_open,10000,count,,\r\n\
             echo,\"10,000 connections, 64 B, open loop\",1767225599,VALID,connections_failed,12,count,,\r\n\
             echo,\"say \"\"hi\"\", then\nleave\",1767225599,INVALID,connections_open,,count,,\r\n"
        );
    }

    #[test]
    fn an_interval_fills_the_last_two_fields() {
        let text = write(&[samples::small()]);
        assert!(text.contains(",cpu_per_message,12.5,microseconds,12.1,12.9\r\n"), "{text}");
    }
}
