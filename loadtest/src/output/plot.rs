//! Plots as SVG that a page takes in, with a legend in HTML.
//!
//! Refuses to know what is plotted. Invariants: any points are fine, also none; a plot has at most 16 lines of about
//! 2,000 points; the colours in the SVG are only names, which the page's style replaces by those of the reader's theme.

pub mod bars;
mod ruler;

use maud::{Markup, PreEscaped, html};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::record::{Axis, Line, Plot, Scale};
use ruler::Ruler;

/// Lines that can be told apart: eight colours, whole and dashed. More are not drawn, and the legend says so.
pub const LINES: usize = 16;
/// Points of one line, about.
const POINTS: usize = 2_000;

/// SVGBackend knows whole coordinates only, so all is drawn four times as large, and shown small: curves stay smooth.
const FINE: i32 = 4;
const SIZE: (i32, i32) = (760 * FINE, 340 * FINE);
const LEFT: i32 = 74 * FINE;
const RIGHT: i32 = SIZE.0 - 40 * FINE;
const TOP: i32 = 30 * FINE;
const BOTTOM: i32 = SIZE.1 - 46 * FINE;

/// Names of colours in the drawing: grey ones, and lines from `#C00000` to `#C0000F`. The page's style says what they are.
const GRID: RGBColor = RGBColor(0xD0, 0, 1);
const FRAME: RGBColor = RGBColor(0xD0, 0, 2);
const INK: RGBColor = RGBColor(0xD0, 0, 3);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The plot as a figure: title, legend, drawing.
pub fn figure(plot: &Plot) -> Markup {
    let left_out = plot.lines.len().saturating_sub(LINES);
    html! {
        figure.plot {
            figcaption { (plot.title) }
            @if plot.lines.len() > 1 || plot.lines.iter().any(|line| line.name != plot.title) {
                ul.legend {
                    @for (at, line) in plot.lines.iter().take(LINES).enumerate() {
                        li { (key(at, line.dots)) (line.name) }
                    }
                    @if left_out > 0 { li.dim { "and " (left_out) " lines more, which are not drawn" } }
                }
            }
            .scroll {
                svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" aria-label=(plot.title) {
                    (PreEscaped(drawing(plot)))
                }
            }
        }
    }
}

/// The mark of a line in the legend.
fn key(at: usize, dots: bool) -> Markup {
    let colour = format!("#C0000{at:X}");
    html! {
        svg.key viewBox="0 0 22 10" aria-hidden="true" {
            @if dots { circle cx="11" cy="5" r="3.6" fill=(colour) {} }
            @else { line x1="1" y1="5" x2="21" y2="5" stroke=(colour) stroke-width="2.6" {} }
        }
    }
}

/// What is within the `svg` element.
fn drawing(plot: &Plot) -> String {
    let lines: Vec<&Line> = plot.lines.iter().take(LINES).collect();
    // A value whose partner has no place has no say in how long the axis is.
    let has_place = |&&(x, y): &&(f64, f64)| {
        ruler::measure(plot.x.scale, x).is_some() && ruler::measure(plot.y.scale, y).is_some()
    };
    let both: Vec<(f64, f64)> =
        lines.iter().flat_map(|line| &line.points).filter(has_place).copied().collect();
    let x = Ruler::new(plot.x.scale, plot.x.unit, both.iter().map(|point| point.0), false);
    let y = Ruler::new(plot.y.scale, plot.y.unit, both.iter().map(|point| point.1), true);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0 as u32, SIZE.1 as u32)).into_drawing_area();
        // Drawing into a string does not fail.
        let _ = draw(&area, plot, (&x, &y), &lines);
    }
    // The page has its own root element, without a size of its own.
    let inner = svg.split_once('>').map_or("", |(_, inner)| inner);
    let inner = inner.trim_end().trim_end_matches("</svg>");
    if both.is_empty() { format!("{inner}{}", nothing()) } else { inner.to_string() }
}

fn nothing() -> String {
    let (x, y) = ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2);
    format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" class=\"nothing\">no points</text>")
}

fn draw(area: &Area, plot: &Plot, (x, y): (&Ruler, &Ruler), lines: &[&Line]) -> Drawn {
    grid(area, plot, (x, y))?;
    for (at, line) in lines.iter().enumerate() {
        let places = line.points.iter().filter_map(|&(a, b)| {
            let (a, b) = (x.place(a)?, y.place(b)?);
            Some((across(a), up(b)))
        });
        let points = thinned(places.collect());
        let colour = RGBColor(0xC0, 0, at as u8);
        // A line through one point is not to be seen.
        if line.dots || points.len() == 1 {
            for point in points {
                area.draw(&Circle::new(point, 3 * FINE + FINE / 2, colour.filled()))?;
            }
        } else if !points.is_empty() {
            area.draw(&PathElement::new(points, colour.stroke_width(2 * FINE as u32)))?;
        }
    }
    area.present()
}

fn grid(area: &Area, plot: &Plot, (x, y): (&Ruler, &Ruler)) -> Drawn {
    let hair = |colour: RGBColor| colour.stroke_width(FINE as u32);
    let label = |h, v| TextStyle::from(("sans-serif", 15 * FINE)).color(&INK).pos(Pos::new(h, v));
    let line = |from, to, colour| area.draw(&PathElement::new([from, to], hair(colour)));
    for (at, text) in y.ticks() {
        line((LEFT, up(at)), (RIGHT, up(at)), GRID)?;
        area.draw(&Text::new(text, (LEFT - 8 * FINE, up(at)), label(HPos::Right, VPos::Center)))?;
    }
    let mut free = i32::MIN;
    for (at, text) in x.ticks() {
        line((across(at), TOP), (across(at), BOTTOM), GRID)?;
        // About half of its width: a digit of this size takes seven.
        let half = text.chars().count() as i32 * 7 * FINE / 2;
        if across(at) - half > free {
            free = across(at) + half + 6 * FINE;
            area.draw(&Text::new(text, (across(at), BOTTOM + 9 * FINE), label(HPos::Center, VPos::Top)))?;
        }
    }
    line((LEFT, BOTTOM), (RIGHT, BOTTOM), FRAME)?;
    let name = |axis: &Axis| match axis.scale {
        Scale::Log => format!("{} (log)", axis.label),
        Scale::Linear | Scale::Quantile => axis.label.clone(),
    };
    area.draw(&Text::new(name(&plot.y), (8 * FINE, 6 * FINE), label(HPos::Left, VPos::Top)))?;
    let below = SIZE.1 - 6 * FINE;
    area.draw(&Text::new(name(&plot.x), (RIGHT, below), label(HPos::Right, VPos::Bottom)))
}

fn across(place: f64) -> i32 {
    LEFT + (place * f64::from(RIGHT - LEFT)).round() as i32
}

fn up(place: f64) -> i32 {
    BOTTOM - (place * f64::from(BOTTOM - TOP)).round() as i32
}

/// What is compared of a point.
type Key = fn(&(i32, i32)) -> i32;

/// At most about [`POINTS`] of them, with the extremes of both axes in each stretch: a peak that lasted one moment is
/// what the plot is looked at for.
fn thinned(points: Vec<(i32, i32)>) -> Vec<(i32, i32)> {
    if points.len() <= POINTS {
        return points;
    }
    let stretch = (4 * points.len()).div_ceil(POINTS);
    let mut kept = Vec::with_capacity(POINTS);
    for (start, part) in points.chunks(stretch).enumerate().map(|(at, part)| (at * stretch, part)) {
        let by = |key: Key| part.iter().enumerate().min_by_key(|(_, point)| key(point));
        let keys: [Key; 4] = [|at| at.0, |at| -at.0, |at| at.1, |at| -at.1];
        let mut extremes: Vec<usize> = keys.into_iter().filter_map(by).map(|(at, _)| start + at).collect();
        extremes.sort_unstable();
        extremes.dedup();
        kept.extend(extremes.into_iter().map(|at| points[at]));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples::{axis, line, plot};
    use crate::record::Unit;

    fn drawn(scale: (Scale, Scale), dots: bool, points: Vec<(f64, f64)>) -> String {
        let (x, y) = (axis("x", Unit::Count, scale.0), axis("y", Unit::Microseconds, scale.1));
        figure(&plot("Title & more", x, y, vec![line("one", dots, points)])).into_string()
    }

    #[test]
    fn any_points_can_be_drawn() {
        let (nan, infinite) = (f64::NAN, f64::INFINITY);
        let cases: [(&str, Vec<(f64, f64)>); 12] = [
            ("none", vec![]),
            ("one", vec![(0.5, 3.0)]),
            ("zero", vec![(0.0, 0.0)]),
            ("equal", vec![(0.5, 7.0); 20]),
            ("equal at zero", vec![(0.0, 0.0); 20]),
            ("negative", vec![(-3.0, -7.0), (-2.0, -9.0)]),
            ("nan", vec![(nan, 1.0), (0.1, nan), (nan, nan)]),
            ("infinite", vec![(infinite, 1.0), (0.1, -infinite), (0.2, 2.0)]),
            ("huge", vec![(f64::MAX, f64::MAX), (f64::MIN, f64::MIN), (1e299, -1e299)]),
            ("tiny", vec![(f64::MIN_POSITIVE, 5e-324), (2e-308, 1e-323)]),
            ("close", vec![(1.0, 1.0), (1.0 + f64::EPSILON, 1.0 + f64::EPSILON)]),
            ("quantiles", vec![(0.0, 1.0), (1.0 - f64::EPSILON, 2.0), (1.0, 3.0), (1.1, 4.0)]),
        ];
        let scales = [Scale::Linear, Scale::Log, Scale::Quantile];
        for (name, points) in cases {
            for (x, y) in scales.iter().flat_map(|&x| scales.iter().map(move |&y| (x, y))) {
                for dots in [false, true] {
                    let text = drawn((x, y), dots, points.clone());
                    assert!(text.contains("<figcaption>Title &amp; more</figcaption>"), "{name}");
                    assert!(text.matches("<text").count() <= 32, "{name} {x:?} {y:?}: {text}");
                    assert!(!text.contains("NaN") && !text.contains("inf"), "{name} {x:?} {y:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let points = || vec![(1.0, 0.0), (2.0, 100.0), (f64::NAN, 100.0), (3.0, -1.0), (4.0, 1_000.0)];
        for (scale, circles) in [(Scale::Log, 2), (Scale::Linear, 4)] {
            let text = drawn((Scale::Linear, scale), true, points());
            assert_eq!(text.matches("<circle").count(), circles + 1, "the legend has one too: {text}");
        }
        assert!(drawn((Scale::Linear, Scale::Log), false, vec![(1.0, 0.0)]).contains("no points"));
        assert!(!drawn((Scale::Linear, Scale::Log), false, vec![(1.0, 1.0)]).contains("no points"));
    }

    #[test]
    fn many_points_are_thinned_and_peaks_stay() {
        let mut points: Vec<(i32, i32)> = (0..100_000).map(|at| (at / 50, at % 7)).collect();
        points[77_777].1 = 500;
        points[11_111].1 = -500;
        let kept = thinned(points.clone());
        assert!((1_000..=2_000).contains(&kept.len()), "{}", kept.len());
        assert!(kept.contains(&points[77_777]) && kept.contains(&points[11_111]));
        assert!(kept.contains(&points[0]) && kept.last().unwrap().0 == points[99_999].0);
        assert!(kept.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let many = (0..100_000).map(|at| (f64::from(at), f64::from(at % 1_000))).collect();
        assert!(drawn((Scale::Linear, Scale::Linear), false, many).len() < 60_000);
    }

    #[test]
    fn lines_that_cannot_be_told_apart_are_not_drawn() {
        let lines =
            (0..20).map(|at| line(&format!("line {at}"), false, vec![(0.0, 1.0), (1.0, 2.0)])).collect();
        let axes = || axis("x", Unit::Count, Scale::Linear);
        let text = figure(&plot("Many", axes(), axes(), lines)).into_string();
        assert!(text.contains("and 4 lines more, which are not drawn"), "{text}");
        assert_eq!(
            text.matches("stroke=\"#C0000").count(),
            2 * LINES,
            "each in the legend and in the drawing"
        );
    }
}
