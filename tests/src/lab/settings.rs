//! How a wire is: what it does to packets, and how people write that.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail, ensure};

/// What a wire does to packets in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long every packet takes.
    pub delay: Duration,
    /// Packets take up to this much more or less, evenly distributed.
    pub jitter: Duration,
    /// Which share of packets is lost.
    pub loss: f64,
    /// How many are lost in a row, on average; with one or less, each is lost by itself.
    pub burst: f64,
    /// Bits per second, if there is a limit.
    pub rate: Option<u64>,
    /// How long a packet may wait because of `rate`.
    pub queue: Duration,
    /// Whether packets may overtake each other because of `jitter`.
    pub overtaking: bool,
    /// Whether nothing gets through.
    pub is_cut: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 1.0,
            rate: None,
            queue: Duration::from_millis(200),
            overtaking: true,
            is_cut: false,
        }
    }
}

impl FromStr for Settings {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut settings = Self::default();
        steps(text)?.iter().for_each(|step| step.apply(&mut settings));
        Ok(settings)
    }
}

/// What shall be different about a wire: `delay=30ms,loss=1%`, `up cut`, `down on`. What it does not name stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    direction: Option<Direction>,
    steps: Vec<Step>,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    /// From the site.
    Up,
    /// To the site.
    Down,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Up, Self::Down];
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Delay(Duration),
    Jitter(Duration),
    Loss(f64),
    Burst(f64),
    Rate(Option<u64>),
    Queue(Duration),
    Overtaking(bool),
    Cut(bool),
}

impl Change {
    pub(super) fn apply(&self, direction: Direction, settings: &mut Settings) {
        if self.direction.is_none_or(|wanted| wanted == direction) {
            self.steps.iter().for_each(|step| step.apply(settings));
        }
    }
}

impl FromStr for Change {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        let (direction, rest) = match text.split_once(' ') {
            Some(("up", rest)) => (Some(Direction::Up), rest),
            Some(("down", rest)) => (Some(Direction::Down), rest),
            _ => (None, text),
        };
        Ok(Self { direction, steps: steps(rest)? })
    }
}

impl Step {
    fn apply(&self, settings: &mut Settings) {
        match *self {
            Self::Delay(delay) => settings.delay = delay,
            Self::Jitter(jitter) => settings.jitter = jitter,
            Self::Loss(loss) => settings.loss = loss,
            Self::Burst(burst) => settings.burst = burst,
            Self::Rate(rate) => settings.rate = rate,
            Self::Queue(queue) => settings.queue = queue,
            Self::Overtaking(overtaking) => settings.overtaking = overtaking,
            Self::Cut(is_cut) => settings.is_cut = is_cut,
        }
    }
}

/// Reads `delay=20ms,loss=1%`; `x` is a wire that does nothing.
fn steps(text: &str) -> anyhow::Result<Vec<Step>> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty() && *word != "x");
    words.map(step).collect()
}

fn step(word: &str) -> anyhow::Result<Step> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    Ok(match (name, value) {
        ("cut", "") => Step::Cut(true),
        ("on", "") => Step::Cut(false),
        ("delay", _) => Step::Delay(duration(value)?),
        ("jitter", _) => Step::Jitter(duration(value)?),
        ("loss", _) => Step::Loss(share(value)?),
        ("burst", _) => Step::Burst(packets(value)?),
        ("rate", "no") => Step::Rate(None),
        ("rate", _) => Step::Rate(Some(rate(value)?)),
        ("queue", _) => Step::Queue(duration(value)?),
        ("order", "keep") => Step::Overtaking(false),
        ("order", "free") => Step::Overtaking(true),
        _ => bail!("a wire can't be {word:?}: delay=, jitter=, loss=, burst=, rate=, queue=, order=keep, cut, on"),
    })
}

/// Reads `20ms`, `1.5s`, `300us`.
pub(super) fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = number(text)?;
    let seconds = match unit {
        "s" => number,
        "ms" => number / 1e3,
        "us" => number / 1e6,
        _ => bail!("{text:?} is not a time such as 20ms"),
    };
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text:?} is not a time such as 20ms"))
}

/// Reads `2%`, `0.5%`.
pub(super) fn share(text: &str) -> anyhow::Result<f64> {
    let (number, unit) = number(text)?;
    ensure!(unit == "%" && number <= 100.0, "{text:?} is not a share such as 2%");
    Ok(number / 100.0)
}

fn packets(text: &str) -> anyhow::Result<f64> {
    let (number, unit) = number(text)?;
    ensure!(unit.is_empty() && number >= 1.0, "{text:?} is not a number of packets such as 3");
    Ok(number)
}

fn rate(text: &str) -> anyhow::Result<u64> {
    let (number, unit) = number(text)?;
    let factor = match unit {
        "kbit" => 1e3,
        "mbit" => 1e6,
        _ => bail!("{text:?} is not a rate such as 1mbit"),
    };
    ensure!(number > 0.0, "a rate of nothing is a cut");
    Ok((number * factor) as u64)
}

fn number(text: &str) -> anyhow::Result<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Ok((number.parse().with_context(|| format!("{text:?} does not start with a number"))?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut settings: Settings = "delay=20ms,jitter=5ms,loss=2.5%".parse().unwrap();
        let change: Change = "up delay=1s,cut".parse().unwrap();

        change.apply(Direction::Down, &mut settings);
        assert_eq!(settings.delay, Duration::from_millis(20));
        change.apply(Direction::Up, &mut settings);

        assert_eq!(settings.delay, Duration::from_secs(1));
        assert_eq!((settings.jitter, settings.loss, settings.is_cut), (Duration::from_millis(5), 0.025, true));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["delay", "delay=5", "delay=xms", "loss=2", "loss=101%", "rate=0mbit", "speed=1", "cut=1"] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
    }
}
