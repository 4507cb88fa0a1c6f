//! Bars beside each other: one per name, with its interval as a whisker, on one axis from zero.
//!
//! Refuses to know what is compared. Invariants: any values are fine, also none; a bar that leaves the page is cut at its
//! edge and its number still told; colours are names, as in all plots.

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ruler::Ruler;
use super::{Area, Drawn, FINE, FRAME, GRID, INK, SIZE};
use crate::record::{Scale, Unit};

/// Bars of one plot; more are not drawn.
const BARS: usize = 40;
const ROW: i32 = 26 * FINE;
const LEFT: i32 = 190 * FINE;
const RIGHT: i32 = SIZE.0 - 90 * FINE;
const TOP: i32 = 8 * FINE;
const BELOW: i32 = 34 * FINE;
/// An axis is at most so many times as long as the middle bar: one that is far off must not make the others dots.
const SPREAD: f64 = 8.0;

/// One of them.
pub struct Bar {
    pub name: String,
    /// `None` draws a dash.
    pub value: Option<f64>,
    pub interval: Option<(f64, f64)>,
    /// It is the one that is looked for.
    pub marked: bool,
}

/// The bars as a figure: title and drawing.
pub fn figure(title: &str, unit: Unit, bars: &[Bar]) -> Markup {
    let bars = &bars[..bars.len().min(BARS)];
    let height = TOP + ROW * bars.len() as i32 + BELOW;
    html! {
        figure.plot {
            figcaption { (title) }
            .scroll {
                svg viewBox=(format!("0 0 {} {height}", SIZE.0)) role="img" aria-label=(title) {
                    (PreEscaped(drawing(unit, bars, height)))
                }
            }
        }
    }
}

fn drawing(unit: Unit, bars: &[Bar], height: i32) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0 as u32, height as u32)).into_drawing_area();
        // Drawing into a string does not fail.
        let _ = draw(&area, unit, bars);
    }
    let inner = svg.split_once('>').map_or("", |(_, inner)| inner);
    inner.trim_end().trim_end_matches("</svg>").to_string()
}

/// The largest value that the axis has room for.
fn longest(bars: &[Bar]) -> f64 {
    let there = bars.iter().filter_map(|bar| bar.value).filter(|value| value.is_finite());
    let mut values: Vec<f64> = there.collect();
    let middle = crate::fit::median(&mut values).unwrap_or(1.0).abs();
    let ends = bars.iter().filter_map(|bar| bar.interval).map(|(_, high)| high);
    let most = values.iter().copied().chain(ends).filter(|value| value.is_finite()).fold(0.0, f64::max);
    if middle > 0.0 { most.min(middle * SPREAD) } else { most }
}

fn draw(area: &Area, unit: Unit, bars: &[Bar]) -> Drawn {
    let most = longest(bars);
    let ruler = Ruler::new(Scale::Linear, unit, [0.0, most].into_iter(), true);
    let across = |place: f64| LEFT + (place * f64::from(RIGHT - LEFT)).round() as i32;
    let at = |value: f64| across(ruler.place(value.clamp(0.0, most)).unwrap_or(0.0));
    let label = |h, v| TextStyle::from(("sans-serif", 15 * FINE)).color(&INK).pos(Pos::new(h, v));
    let bottom = TOP + ROW * bars.len() as i32;
    for (place, text) in ruler.ticks() {
        let line = [(across(place), TOP), (across(place), bottom)];
        area.draw(&PathElement::new(line, GRID.stroke_width(FINE as u32)))?;
        area.draw(&Text::new(text, (across(place), bottom + 8 * FINE), label(HPos::Center, VPos::Top)))?;
    }
    for (number, bar) in bars.iter().enumerate() {
        let middle = TOP + ROW * number as i32 + ROW / 2;
        let name = label(HPos::Right, VPos::Center);
        area.draw(&Text::new(bar.name.clone(), (LEFT - 10 * FINE, middle), name))?;
        let Some(value) = bar.value.filter(|value| value.is_finite()) else {
            let dash = label(HPos::Left, VPos::Center);
            area.draw(&Text::new("–", (LEFT + 8 * FINE, middle), dash))?;
            continue;
        };
        let colour = RGBColor(0xC0, 0, u8::from(bar.marked));
        let half = ROW / 3;
        area.draw(&Rectangle::new([(LEFT, middle - half), (at(value), middle + half)], colour.filled()))?;
        let (low, high) = bar.interval.unwrap_or((value, value));
        if high > low {
            let ink = INK_LINE.stroke_width(2 * FINE as u32);
            area.draw(&PathElement::new([(at(low), middle), (at(high), middle)], ink))?;
            for end in [at(low), at(high)] {
                let tip = [(end, middle - half / 2), (end, middle + half / 2)];
                area.draw(&PathElement::new(tip, ink))?;
            }
        }
        let text = crate::output::number::plain_number(unit, value);
        let place = (at(high.max(value)) + 8 * FINE, middle);
        area.draw(&Text::new(text, place, label(HPos::Left, VPos::Center)))?;
    }
    area.draw(&PathElement::new([(LEFT, TOP), (LEFT, bottom)], FRAME.stroke_width(FINE as u32)))?;
    area.present()
}

/// Whiskers must be seen on a bar and beside it.
const INK_LINE: RGBColor = RGBColor(0xD0, 0, 4);

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, value: Option<f64>, interval: Option<(f64, f64)>) -> Bar {
        Bar { name: name.into(), value, interval, marked: name == "own" }
    }

    #[test]
    fn any_bars_can_be_drawn() {
        for bars in [
            vec![],
            vec![bar("a", None, None)],
            vec![bar("a", Some(f64::NAN), None), bar("b", Some(f64::INFINITY), Some((1.0, f64::INFINITY)))],
            vec![bar("a", Some(0.0), Some((0.0, 0.0))), bar("b", Some(-3.0), Some((-5.0, 1.0)))],
            (0..100).map(|at| bar(&at.to_string(), Some(f64::from(at)), None)).collect(),
        ] {
            let text = figure("A & B", Unit::Ratio, &bars).into_string();
            assert!(text.contains("<figcaption>A &amp; B</figcaption>"));
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            assert!(text.matches("<rect").count() <= BARS, "{text}");
        }
    }

    #[test]
    fn a_bar_that_is_far_off_leaves_the_others_readable() {
        let near = [bar("own", Some(1.0), Some((0.9, 1.1))), bar("b", Some(2.0), None)];
        assert_eq!(longest(&near), 2.0);
        let far = [bar("own", Some(1.0), None), bar("b", Some(2.0), None), bar("c", Some(900.0), None)];
        assert_eq!(longest(&far), 16.0);
        let text = figure("t", Unit::Ratio, &far).into_string();
        assert!(text.contains("900"), "its number is told all the same: {text}");
        assert!(text.contains("#C00001") && text.contains("#C00000"), "ours has a colour of its own");
    }
}
