//! How well a voice is heard whose packets get lost: everything from the microphone's frames to the loudspeaker's samples,
//! with the sender that adapts to what the receiver reports, in virtual time.

use std::time::{Duration, Instant};

use ::voice::{Ear, Encoding, Packetizer, Plan, Receivers};
use anyhow::{Context, Result};
use jitter::{Config, Heard as Taken, Mixer, Stats};
use netsim::Rng;
use wire::PeerTag;
use wire::voice::Report;

use super::{
    figures::mean,
    pesq::Pesq,
    recorded,
    row::{Bound, Rows},
    sound::{Heard, excerpts},
    usage::thread_time,
};
use crate::report::Sound;
use crate::speech::RATE;

/// How long everybody is listened to, once the sender has adapted: a multiple of an excerpt's length.
const SECONDS: f64 = 24.0;
const ADAPTED: f64 = 8.0;
/// What a packet costs beside what is in it: 29 bytes of the session when both talk, 28 of UDP and IP.
const HEADERS: usize = 57;
/// The path takes so long, and up to so much longer if nothing else is said.
const DELAY_MS: f64 = 20.0;
const JITTER_MS: f64 = 2.0;
/// The device takes so much at a time, the microphone gives so much.
const PULL: usize = 240;
const BLOCK: usize = 480;
/// As audio-pipe has it.
const BITRATE: u32 = 56_000;
const WIRE_KB_PER_S: f64 = 15.0;
const PEER: PeerTag = PeerTag(1);

/// Which packets are lost, and how late the others are.
#[derive(Clone, Copy, Debug)]
struct Loss {
    percent: f64,
    /// Mean length of the gaps, in packets.
    burst: f64,
    /// What comes is up to so much later than the path takes.
    jitter_ms: f64,
}

impl Loss {
    const fn random(percent: f64) -> Self {
        Self { percent, burst: 1.0, jitter_ms: JITTER_MS }
    }

    /// None, but jitter.
    const fn jitter(jitter_ms: f64) -> Self {
        Self { jitter_ms, ..Self::random(0.0) }
    }

    fn name(self) -> String {
        match self {
            Self { percent: 0.0, jitter_ms, .. } if jitter_ms > JITTER_MS => format!("{jitter_ms} ms of jitter"),
            Self { percent: 0.0, .. } => "without loss".to_owned(),
            Self { percent, burst: 1.0, .. } => format!("{percent} % lost"),
            Self { percent, burst, .. } => format!("{percent} % lost in bursts of {burst}"),
        }
    }
}

/// What a sender does.
#[derive(Clone, Copy, Debug)]
enum Scheme {
    /// What the reports ask for.
    Adaptive,
    /// Always the same.
    Fixed(Encoding, &'static [u8]),
}

/// What came of a call.
struct Outcome {
    pairs: Vec<(Sound, Sound)>,
    bytes_per_s: f64,
    opus_bits_per_s: f64,
    stats: Stats,
}

/// Runs this part of the bench.
pub(super) fn run(rows: &mut Rows<'_>) -> Result<()> {
    let speeches = recorded::speeches(SECONDS)?;
    if speeches.is_none() {
        super::progress("recorded speech is missing, so loss is skipped: scripts/setup bench installs it");
    }
    let bench = Bench { speeches: speeches.unwrap_or_default(), pesq: Pesq::find() };
    let bursts = Loss { burst: 3.0, ..Loss::random(10.0) };
    for (loss, bound) in
        [(0.0, 4.4), (10.0, 4.15), (20.0, 3.85), (30.0, 3.2)].map(|(percent, bound)| (Loss::random(percent), bound))
    {
        bench.adaptive(loss, bound, rows)?;
    }
    bench.adaptive(bursts, 3.0, rows)?;
    for jitter_ms in [20.0, 50.0] {
        bench.adaptive(Loss::jitter(jitter_ms), 4.4, rows)?;
    }
    for (kbps, bitrate, bounds) in [(30, 15_000, [3.55, 3.40, 3.20]), (60, 30_000, [3.65, 3.50, 3.35])] {
        bench.fixed(kbps, bitrate, bounds, rows)?;
    }
    bench.cost(rows)
}

struct Bench {
    speeches: Vec<Vec<f32>>,
    pesq: Option<Pesq>,
}

impl Bench {
    fn adaptive(&self, loss: Loss, bound: f64, rows: &mut Rows<'_>) -> Result<()> {
        let name = loss.name();
        super::progress(&format!("a call, {name}"));
        let outcomes = self.calls(Scheme::Adaptive, loss)?;
        let of = |value: fn(&Outcome) -> f64| mean(&outcomes.iter().map(value).collect::<Vec<_>>());
        rows.add(format!("PESQ-WB of a person's speech, {name}"), self.pesq(&outcomes)?, "MOS", Bound::AtLeast(bound));
        let wire = of(|outcome| outcome.bytes_per_s / 1000.0);
        rows.add("  on the wire, headers of UDP and IP included", wire, "kB/s", Bound::AtMost(WIRE_KB_PER_S));
        rows.tell("  waits in the buffer", of(|outcome| outcome.stats.delay.as_secs_f64() * 1000.0), "ms");
        rows.tell("  made up", of(|outcome| 100.0 * outcome.stats.concealed as f64 / outcome.stats.played as f64), "%");
        Ok(())
    }

    /// The same bits of sound, spent on a copy and LBRR, or on the frames alone.
    fn fixed(&self, kbps: u32, bitrate: u32, bounds: [f64; 3], rows: &mut Rows<'_>) -> Result<()> {
        let encoding = Encoding { bitrate, is_long: true, complexity: 9, expected_loss: 10, deep: Duration::ZERO };
        let ours = Scheme::Fixed(encoding, &[2]);
        let alone = Scheme::Fixed(Encoding { bitrate: 2 * bitrate, ..encoding }, &[]);
        super::progress(&format!("schemes of {kbps} kb/s"));
        let clean = self.calls(ours, Loss::random(0.0))?;
        rows.tell(format!("PLCMOS at {kbps} kb/s, without loss"), self.plcmos(&clean)?, "MOS");
        let bits: Vec<f64> = clean.iter().map(|outcome| outcome.opus_bits_per_s / 1000.0).collect();
        rows.tell("  frames and copies", mean(&bits), "kb/s");
        let losses = [Loss::random(10.0), Loss::random(20.0), Loss { burst: 3.0, ..Loss::random(20.0) }];
        for (loss, bound) in losses.into_iter().zip(bounds) {
            let outcomes = self.calls(ours, loss)?;
            let row = format!("PLCMOS at {kbps} kb/s, {}", loss.name());
            rows.add(row, self.plcmos(&outcomes)?, "MOS", Bound::AtLeast(bound));
            rows.tell("  PESQ-WB", self.pesq(&outcomes)?, "MOS");
            let alone = self.calls(alone, loss)?;
            rows.tell("  PLCMOS of the same bits without copies", self.plcmos(&alone)?, "MOS");
            rows.tell("  PESQ-WB of the same bits without copies", self.pesq(&alone)?, "MOS");
        }
        Ok(())
    }

    /// What one remote speaker costs, in a call without loss and in one with.
    fn cost(&self, rows: &mut Rows<'_>) -> Result<()> {
        let Some(speech) = self.speeches.first() else { return Ok(()) };
        for (loss, bound) in [(Loss::random(0.0), Bound::AtMost(0.7)), (Loss::random(20.0), Bound::None)] {
            let mut call = Call::new(speech, Scheme::Adaptive, loss, 1)?;
            while call.step()? {}
            let share = 100.0 * call.listening.as_secs_f64() / call.seconds();
            rows.add(format!("CPU of a remote speaker, {}", loss.name()), share, "%", bound);
        }
        Ok(())
    }

    fn calls(&self, scheme: Scheme, loss: Loss) -> Result<Vec<Outcome>> {
        let calls = self.speeches.iter().zip(1..);
        calls.map(|(speech, seed)| Call::new(speech, scheme, loss, seed)?.run()).collect()
    }

    fn pesq(&self, outcomes: &[Outcome]) -> Result<Option<f64>> {
        let Some(pesq) = self.pesq.as_ref().filter(|_| !outcomes.is_empty()) else { return Ok(None) };
        Ok(mean(&pesq.scores(&pairs(outcomes))?))
    }

    fn plcmos(&self, outcomes: &[Outcome]) -> Result<Option<f64>> {
        let Some(pesq) = self.pesq.as_ref().filter(|_| !outcomes.is_empty()) else { return Ok(None) };
        Ok(pesq.plcmos(&pairs(outcomes))?.and_then(|scores| mean(&scores)))
    }
}

fn pairs(outcomes: &[Outcome]) -> Vec<(Sound, Sound)> {
    outcomes.iter().flat_map(|outcome| outcome.pairs.clone()).collect()
}

/// One way of a call: what a microphone heard on the one side, what a loudspeaker plays on the other.
struct Call {
    said: Vec<f32>,
    lead: usize,
    scheme: Scheme,
    loss: Loss,
    rng: Rng,
    is_in_gap: bool,
    start: Instant,
    pulls: usize,
    packets: Packetizer,
    receivers: Receivers,
    copies: &'static [u8],
    mixer: Mixer<Ear>,
    /// What is on its way: when it comes, in milliseconds.
    frames: Vec<(f64, Vec<u8>)>,
    reports: Vec<(f64, Report)>,
    heard: Vec<f32>,
    bytes: usize,
    opus: usize,
    /// How long the receiving side has worked.
    listening: Duration,
}

impl Call {
    fn new(speech: &[f32], scheme: Scheme, loss: Loss, seed: u64) -> Result<Self> {
        // The sender adapts while it says its beginning once more.
        let lead = ((ADAPTED * f64::from(RATE)) as usize).min(speech.len());
        let pause = vec![0.0; RATE as usize / 2];
        let settings = codec::Settings { bitrate: BITRATE, ..codec::Settings::default() };
        let mut receivers = Receivers::default();
        receivers.join(PEER);
        Ok(Self {
            said: [&speech[..lead], speech, &pause].concat(),
            lead,
            scheme,
            loss,
            rng: Rng::new(seed),
            is_in_gap: false,
            start: Instant::now(),
            pulls: 0,
            packets: Packetizer::new(codec::Encoder::new(settings)?, 1),
            receivers,
            copies: &[],
            mixer: Mixer::new(Config::default(), Ear::default),
            frames: Vec::new(),
            reports: Vec::new(),
            heard: Vec::new(),
            bytes: 0,
            opus: 0,
            listening: Duration::ZERO,
        })
    }

    fn seconds(&self) -> f64 {
        self.said.len() as f64 / f64::from(RATE)
    }

    fn run(mut self) -> Result<Outcome> {
        while self.step()? {}
        let said = Sound { rate: RATE, samples: self.said[self.lead..].to_vec(), start_unix_ns: 0 };
        let received = Sound { samples: self.heard[self.lead..].to_vec(), ..said.clone() };
        let (seconds, (_, stats)) = (self.seconds(), self.mixer.stats().next().context("nothing was heard")?);
        Ok(Outcome {
            pairs: {
                let heard = Heard::compare(&said, &received)?;
                excerpts(&heard.said, &heard.received)
            },
            bytes_per_s: self.bytes as f64 / seconds,
            opus_bits_per_s: 8.0 * self.opus as f64 / seconds,
            stats,
        })
    }

    /// Plays one block of the loudspeaker, after all that happens before; false after the last one.
    fn step(&mut self) -> Result<bool> {
        let at_ms = (self.pulls * PULL) as f64 * 1000.0 / f64::from(RATE);
        if (self.pulls * PULL).is_multiple_of(BLOCK) && self.pulls > 0 {
            self.hear(self.pulls * PULL - BLOCK, at_ms)?;
        }
        self.deliver(at_ms);
        let now = self.at(at_ms);
        let mut block = [0.0; PULL];
        let began = thread_time();
        self.mixer.pull(&mut block, now);
        while let Some((_, report)) = self.mixer.poll_report(now) {
            self.reports.push((at_ms + DELAY_MS, report));
        }
        self.listening += thread_time().saturating_sub(began);
        self.heard.extend(block);
        self.pulls += 1;
        Ok((self.pulls + 1) * PULL <= self.said.len())
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1000.0)
    }

    /// The microphone has heard a block that begins with that sample.
    fn hear(&mut self, sample: usize, at_ms: f64) -> Result<()> {
        let now = self.at(at_ms);
        match self.scheme {
            Scheme::Adaptive => {
                let Plan { groups, encoding } = self.receivers.plan(BITRATE, now);
                self.packets.follow(&encoding)?;
                self.copies = groups.first().map_or(&[], |(_, copies)| *copies);
            }
            Scheme::Fixed(encoding, copies) => {
                self.packets.follow(&encoding)?;
                self.copies = copies;
            }
        }
        let mut block = self.said[sample..sample + BLOCK].to_vec();
        if self.packets.push(&mut block, sample as u64, false, false)? {
            let packet = self.packets.packet(self.copies).context("a packet")?;
            self.bytes += packet.len() + HEADERS;
            self.opus += packet.len();
            if !self.is_lost() {
                let jitter_ms = self.loss.jitter_ms * self.rng.below(1000) as f64 / 1000.0;
                self.frames.push((at_ms + DELAY_MS + jitter_ms, packet));
            }
        }
        Ok(())
    }

    /// By a chain of two states, as the lab's wires lose.
    fn is_lost(&mut self) -> bool {
        let share = self.loss.percent / 100.0;
        let chance = match self.is_in_gap {
            _ if self.loss.burst <= 1.0 => share,
            true => 1.0 - 1.0 / self.loss.burst,
            false => share / (1.0 - share) / self.loss.burst,
        };
        self.is_in_gap = self.rng.chance(chance);
        self.is_in_gap
    }

    fn deliver(&mut self, at_ms: f64) {
        let due = |at: &f64| *at <= at_ms;
        self.frames.sort_by(|a, b| a.0.total_cmp(&b.0));
        let frames: Vec<_> = self.frames.extract_if(.., |(at, _)| due(at)).collect();
        for (at, packet) in frames {
            let now = self.at(at);
            let began = thread_time();
            let taken = self.mixer.push(PEER, &packet, now);
            self.listening += thread_time().saturating_sub(began);
            debug_assert_eq!(taken, Ok(Taken::Frame));
        }
        let reports: Vec<_> = self.reports.extract_if(.., |(at, _)| due(at)).collect();
        for (at, report) in reports {
            let now = self.at(at);
            self.receivers.handle_report(PEER, &report, now);
        }
    }
}
