//! Plots as SVG, to stand inside the page; the page's style gives the colours.

use std::fmt::Write;

use super::{Hearing, Sound};

/// From the first second to the last in a plot that has the whole width.
const WIDE: f64 = 960.0;
/// The same in a plot that has another beside it.
const HALF: f64 = 440.0;
/// Room at the left for the axis.
const LEFT: f64 = 48.0;
/// Room at the right, so that the last second has its place.
const RIGHT: f64 = 18.0;
/// Room above for half a label.
const TOP: f64 = 10.0;
/// Room below for the seconds.
const BOTTOM: f64 = 24.0;
/// Half the height of one waveform.
const SWING: f64 = 36.0;
/// Height of the plots over time.
const HEIGHT: f64 = 110.0;
/// Sound per column of a waveform.
const COLUMNS: usize = 960;
/// The quietest level that is drawn.
const QUIET_DB: f64 = -70.0;
/// Sound per point of a level.
const LEVEL_MS: usize = 100;

/// What was said above what was heard, word under word.
pub(super) fn waveforms(hearing: &Hearing) -> String {
    let (said, heard) = (&hearing.said, &hearing.aligned);
    let peak = said.samples.iter().fold(0.01_f32, |peak, sample| peak.max(sample.abs()));
    let mut plot = Plot::begin("what was said, above what was heard of it", (WIDE, 4.0 * SWING + 12.0), seconds(said));
    for (class, name, sound, middle) in [("said", "said", said, SWING), ("heard", "heard", heard, 3.0 * SWING + 12.0)] {
        plot.label(middle, name);
        plot.line(middle, "axis");
        if sound.samples.is_empty() {
            plot.note(middle, "nothing");
        } else {
            let _ = write!(plot.svg, r#"<path class="{class}" d="{}"/>"#, outline(sound, said, middle, peak));
        }
    }
    plot.end()
}

/// The delay of each second.
pub(super) fn delays(hearing: &Hearing) -> String {
    let delays = || hearing.seconds.iter().enumerate().filter_map(|(n, second)| Some((n, second.delay_ms?)));
    let highest = delays().fold(0.0, |highest, (_, delay)| delay.max(highest));
    let scale = step(highest.max(20.0) * 1.15 / 4.0) * 4.0;
    let mut plot =
        Plot::begin("delay from mouth to ear in each second, in milliseconds", (HALF, HEIGHT), seconds(&hearing.said));
    let y = |delay: f64| HEIGHT - delay.clamp(0.0, scale) / scale * HEIGHT;
    for part in [0.0, 0.5, 1.0] {
        plot.line(y(part * scale), "grid");
        plot.label(y(part * scale), &format!("{}", part * scale));
    }
    if let Some(usual) = hearing.delay_ms {
        plot.line(y(usual), "usual");
    } else {
        plot.note(HEIGHT / 2.0, "not measurable");
    }
    for (n, delay) in delays() {
        let (x, y) = (plot.x(n as f64 + 0.5), y(delay));
        let _ = write!(
            plot.svg,
            r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="4"><title>{delay:.2} ms</title></circle>"#
        );
    }
    plot.end()
}

/// The levels of both over time.
pub(super) fn levels(hearing: &Hearing) -> String {
    let mut plot =
        Plot::begin("levels of what was said and heard, in dB of full scale", (HALF, HEIGHT), seconds(&hearing.said));
    let y = |level: f64| level.clamp(QUIET_DB, 0.0) / QUIET_DB * HEIGHT;
    for level in [0.0, -30.0, -60.0] {
        plot.line(y(level), "grid");
        plot.label(y(level), &format!("{level}"));
    }
    let ground = format!(" {:.0},{HEIGHT} {LEFT},{HEIGHT}", LEFT + plot.width);
    for (class, sound, close) in [("area", &hearing.said, ground.as_str()), ("heard", &hearing.aligned, "")] {
        let step = sound.samples_of(LEVEL_MS).max(1);
        let points =
            sound.levels(step).into_iter().enumerate().map(|(n, level)| {
                format!("{:.1},{:.1}", plot.x((n as f64 + 0.5) * LEVEL_MS as f64 / 1000.0), y(level))
            });
        let points: Vec<String> = points.collect();
        let _ = write!(plot.svg, r#"<polyline class="{class}" points="{}{close}"/>"#, points.join(" "));
    }
    plot.end()
}

/// A drawing with seconds from left to right.
struct Plot {
    svg: String,
    width: f64,
    height: f64,
    seconds: f64,
}

impl Plot {
    fn begin(what: &str, (inner, height): (f64, f64), seconds: f64) -> Self {
        let (width, full) = (LEFT + inner + RIGHT, TOP + height + BOTTOM);
        let svg =
            format!(r#"<svg viewBox="0 -{TOP} {width} {full}" role="img" aria-label="{what}"><title>{what}</title>"#);
        let mut plot = Self { svg, width: inner, height, seconds };
        let step = step(seconds * 60.0 / inner);
        let mut at = 0.0;
        while at <= seconds {
            let x = plot.x(at);
            let _ = write!(
                plot.svg,
                r#"<path class="grid" d="M{x:.1} 0V{height}"/><text class="tick" x="{x:.1}" y="{}">{at} s</text>"#,
                height + 18.0
            );
            at += step;
        }
        plot
    }

    fn x(&self, second: f64) -> f64 {
        LEFT + second / self.seconds * self.width
    }

    fn line(&mut self, y: f64, class: &str) {
        let _ = write!(self.svg, r#"<path class="{class}" d="M{LEFT} {y:.1}H{}"/>"#, LEFT + self.width);
    }

    fn label(&mut self, y: f64, text: &str) {
        let _ = write!(self.svg, r#"<text class="side" x="{}" y="{:.1}">{text}</text>"#, LEFT - 6.0, y + 4.0);
    }

    fn note(&mut self, y: f64, text: &str) {
        let x = LEFT + self.width / 2.0;
        let _ = write!(self.svg, r#"<text class="note" x="{x}" y="{:.1}">{text}</text>"#, y.min(self.height) + 4.0);
    }

    fn end(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// The lowest and highest sample of each column, as vertical strokes.
fn outline(sound: &Sound, whole: &Sound, middle: f64, peak: f32) -> String {
    let per_column = whole.samples.len().div_ceil(COLUMNS).max(1);
    let columns = whole.samples.len().div_ceil(per_column).max(1);
    let mut path = String::new();
    for (n, column) in sound.samples.chunks(per_column).enumerate() {
        let (low, high) = column.iter().fold((0.0_f32, 0.0_f32), |(low, high), s| (low.min(*s), high.max(*s)));
        let y = |sample: f32| middle - f64::from((sample / peak).clamp(-1.0, 1.0)) * SWING;
        if y(low) - y(high) > 0.2 {
            let x = LEFT + n as f64 / columns as f64 * WIDE;
            let _ = write!(path, "M{x:.0} {:.1}V{:.1}", y(high), y(low));
        }
    }
    path
}

fn seconds(sound: &Sound) -> f64 {
    (sound.samples.len() as f64 / f64::from(sound.rate.max(1))).max(1.0)
}

/// The next of 1, 2, 5, 10, 20, 50, ...
fn step(least: f64) -> f64 {
    let ten = 10.0_f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * ten).find(|step| *step >= least).unwrap_or(10.0 * ten)
}

#[cfg(test)]
mod tests {
    use super::super::synthetic::talk;
    use super::*;

    #[test]
    fn steps_are_round() {
        assert_eq!([0.1, 1.0, 1.1, 3.0, 7.0, 11.0, 64.0].map(step), [1.0, 1.0, 2.0, 5.0, 10.0, 20.0, 100.0]);
    }

    #[test]
    fn silence_and_nothing_are_drawn_as_such() {
        let said = Sound { rate: 8000, samples: talk(8000, 2.0), start_unix_ns: 0 };
        let nothing = Hearing::nothing(&said);
        assert!(waveforms(&nothing).contains(">nothing<"));
        assert!(delays(&nothing).contains(">not measurable<"));
        for plot in [waveforms, delays, levels] {
            let empty = plot(&Hearing::default());
            assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
        }
    }
}
