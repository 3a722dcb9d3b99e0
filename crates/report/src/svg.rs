//! A drawing over time as SVG, to stand inside a page; the page's style gives the colours.

use std::fmt::Write;

/// From the first second to the last.
const WIDTH: f64 = 440.0;
/// Room at the left for the axis.
const LEFT: f64 = 48.0;
/// Room at the right, so that the last label has its place.
const RIGHT: f64 = 20.0;
/// Room above for half a label.
const TOP: f64 = 10.0;
/// Room below for the time.
const BOTTOM: f64 = 24.0;
/// Labels of time are at least so far apart.
const LABEL: f64 = 64.0;

pub(crate) struct Plot {
    svg: String,
    height: f64,
    seconds: f64,
    /// What is at the top.
    full: f64,
}

impl Plot {
    /// Begins a drawing of so many seconds whose upper edge is `full`.
    pub(crate) fn begin(what: &str, height: f64, seconds: f64, full: f64) -> Self {
        let (width, tall, seconds) = (LEFT + WIDTH + RIGHT, TOP + height + BOTTOM, seconds.max(1.0));
        let svg =
            format!(r#"<svg viewBox="0 -{TOP} {width} {tall}" role="img" aria-label="{what}"><title>{what}</title>"#);
        let mut plot = Self { svg, height, seconds, full };
        let step = step_of_time(seconds);
        for at in (0..).map(|n| f64::from(n) * step).take_while(|at| *at <= seconds) {
            let (x, y) = (plot.x(at), height + 18.0);
            let label = time(at, seconds);
            let _ = write!(
                plot.svg,
                r#"<path class="grid" d="M{x:.1} 0V{height}"/><text class="tick" x="{x:.1}" y="{y}">{label}</text>"#
            );
        }
        plot
    }

    /// Lines from side to side at these values, with their labels.
    pub(crate) fn scale(&mut self, values: &[f64]) {
        for value in values {
            let (y, right) = (self.y(*value), LEFT + WIDTH);
            let _ = write!(self.svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#);
            self.label(*value, &format!("{value}"));
        }
    }

    /// A word at the left.
    pub(crate) fn label(&mut self, value: f64, text: &str) {
        let (x, y) = (LEFT - 6.0, self.y(value) + 4.0);
        let _ = write!(self.svg, r#"<text class="side" x="{x}" y="{y:.1}">{text}</text>"#);
    }

    /// A word in the middle of an empty drawing.
    pub(crate) fn note(&mut self, text: &str) {
        let (x, y) = (LEFT + WIDTH / 2.0, self.height / 2.0 + 4.0);
        let _ = write!(self.svg, r#"<text class="note" x="{x}" y="{y}">{text}</text>"#);
    }

    /// A line through stretches of time, from a second to a second; it breaks where nothing is.
    pub(crate) fn line(&mut self, class: &str, cells: &[(f64, f64, f64)]) {
        let mut path = String::new();
        let mut end = f64::NAN;
        for &(from, to, value) in cells {
            let y = self.y(value);
            // Stretches that touch are equal to the bit: each begins where the one before was computed to end.
            let begin = if from == end { format!("V{y:.1}") } else { format!("M{:.1} {y:.1}", self.x(from)) };
            let _ = write!(path, "{begin}H{:.1}", self.x(to));
            end = to;
        }
        self.path(class, &path);
    }

    /// Areas between two values in stretches of time.
    pub(crate) fn area(&mut self, class: &str, cells: &[(f64, f64, f64, f64)]) {
        let mut path = String::new();
        for &(from, to, low, high) in cells {
            let (left, right, top, bottom) = (self.x(from), self.x(to), self.y(high), self.y(low));
            if bottom - top > 0.05 {
                // A hair wider, or the ground shines through between two.
                let _ = write!(path, "M{left:.1} {bottom:.1}V{top:.1}H{:.1}V{bottom:.1}z", right + 0.2);
            }
        }
        self.path(class, &path);
    }

    fn path(&mut self, class: &str, path: &str) {
        if !path.is_empty() {
            let _ = write!(self.svg, r#"<path class="{class}" d="{path}"/>"#);
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + second.clamp(0.0, self.seconds) / self.seconds * WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        self.height - value.clamp(0.0, self.full) / self.full * self.height
    }
}

/// A round number that is at least a bit more than `highest`, and four times a round number.
pub(crate) fn full(highest: f64) -> f64 {
    let least = highest * 1.1 / 4.0;
    let ten = 10.0_f64.powf(least.max(0.1).log10().floor());
    4.0 * [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * ten).find(|step| *step >= least).unwrap_or(10.0 * ten)
}

fn step_of_time(seconds: f64) -> f64 {
    let least = seconds * LABEL / WIDTH;
    let steps = [1, 2, 5, 10, 20, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400].map(f64::from);
    let days = 86_400.0 * (least / 86_400.0).ceil();
    steps.into_iter().find(|step| *step >= least).unwrap_or(days)
}

fn time(at: f64, of: f64) -> String {
    let at = at as u64;
    match of {
        ..120.0 => format!("{at} s"),
        ..7200.0 => format!("{} min", at / 60),
        _ => format!("{}:{:02} h", at / 3600, at / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_leave_room_above() {
        assert_eq!([0.0, 20.0, 95.0, 100.0, 730.0].map(full), [0.4, 40.0, 200.0, 200.0, 2000.0]);
    }

    #[test]
    fn times_have_six_labels_or_so_whatever_a_call_lasts() {
        for seconds in [1.0, 20.0, 119.0, 121.0, 600.0, 7200.0, 36_000.0, 1e6] {
            let labels = seconds / step_of_time(seconds);
            assert!((1.0..=WIDTH / LABEL).contains(&labels), "{seconds} s: {labels}");
        }
        assert_eq!([time(5.0, 60.0), time(120.0, 600.0), time(5400.0, 7200.0)], ["5 s", "2 min", "1:30 h"]);
    }

    #[test]
    fn a_line_breaks_where_nothing_is() {
        let mut plot = Plot::begin("x", 100.0, 10.0, 10.0);
        plot.line("l", &[(0.0, 1.0, 5.0), (1.0, 2.0, 6.0), (4.0, 5.0, 6.0)]);
        assert!(plot.end().contains(r#"<path class="l" d="M48.0 50.0H92.0V40.0H136.0M224.0 40.0H268.0"/>"#));
    }
}
