//! A call in virtual time: a sender with its clock, a path, a speaker, and a loudspeaker with its clock.
//!
//! The sound is its own media time: sample n of the stream has the value n, made-up sound is -1, so what is pulled
//! tells when it was made. In two channels, the right one has the opposite values.

use std::time::{Duration, Instant};

use jitter::{Config, Decode, Pulled, Speaker, Stats, Undecodable};
use wire::voice::{Copy, Flags, Frame, MediaTime};

pub(crate) const MADE_UP: f32 = -1.0;
const FRAME: i64 = 480;
/// SILK, 10 ms; the second byte of the packet has the LBRR flag.
const TOC: u8 = 8 << 3;
const LBRR: u8 = 0x40;
/// The bit of the first byte that tells of two channels.
const STEREO: u8 = 4;
/// Padded, one frame, 16 bytes of padding: room for deep redundancy, of which the last byte tells the reach in frames.
const DEEP: [u8; 3] = [TOC | 3, 0x41, 16];

/// Reads the number that [`packet`] wrote.
#[derive(Default)]
pub(crate) struct Teller {
    has_pauses: bool,
    is_stereo: bool,
}

impl Decode for Teller {
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.tell(opus, 0, out)
    }

    fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.tell(next, -FRAME, out)
    }

    fn deep_reach(&mut self, later: &[u8]) -> usize {
        if is_deep(later) { usize::from(later[later.len() - 1]) * FRAME as usize } else { 0 }
    }

    fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Undecodable> {
        if before > self.deep_reach(later) { Err(Undecodable) } else { self.tell(later, -(before as i64), out) }
    }

    fn conceal(&mut self, out: &mut [f32]) {
        out.fill(MADE_UP);
        self.turn_right(out);
    }

    fn reset(&mut self, channels: usize) {
        self.is_stereo = channels == 2;
    }
}

impl Teller {
    fn tell(&self, opus: &[u8], offset: i64, out: &mut [f32]) -> Result<usize, Undecodable> {
        let opus = if is_deep(opus) { &opus[DEEP.len() + 1..] } else { &opus[2..] };
        let start = opus.first_chunk().map(|bytes| i64::from_le_bytes(*bytes)).ok_or(Undecodable)?;
        let channels = 1 + usize::from(self.is_stereo);
        for (n, sample) in (start + offset..).zip(out.chunks_exact_mut(channels)) {
            // Of every three seconds, one is silent.
            let is_pause = self.has_pauses && n / 48_000 % 3 == 2;
            sample.fill(if is_pause { 0.0 } else { n as f32 });
        }
        self.turn_right(out);
        Ok(out.len() / channels)
    }

    fn turn_right(&self, out: &mut [f32]) {
        if self.is_stereo {
            out.iter_mut().skip(1).step_by(2).for_each(|right| *right = -*right);
        }
    }
}

fn is_deep(opus: &[u8]) -> bool {
    opus.len() > DEEP.len() && opus[0] & !STEREO == DEEP[0] && opus[1..3] == DEEP[1..]
}

pub(crate) fn packet(start: i64, has_lbrr: bool, deep: u8) -> Vec<u8> {
    let mut opus = if deep > 0 { DEEP.to_vec() } else { vec![TOC] };
    opus.push(if has_lbrr { LBRR } else { 0 });
    opus.extend(start.to_le_bytes());
    if deep > 0 {
        opus.extend([deep; 16]);
    }
    opus
}

/// A repeatable source of chance.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// With mean 0 and standard deviation 1.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.share()).ln()).sqrt() * (std::f64::consts::TAU * self.share()).cos()
    }

    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.share()).ln()
    }
}

/// How long a packet takes, in milliseconds above the least; `None` if it is lost.
pub(crate) trait Path {
    fn take(&mut self, sent_ms: f64) -> Option<f64>;
}

impl<F: FnMut(f64) -> Option<f64>> Path for F {
    fn take(&mut self, sent_ms: f64) -> Option<f64> {
        self(sent_ms)
    }
}

impl Path for Box<dyn Path> {
    fn take(&mut self, sent_ms: f64) -> Option<f64> {
        (**self).take(sent_ms)
    }
}

/// Delay that varies a little, and now and then everything stands still for a while.
pub(crate) struct Wireless {
    dice: Dice,
    mean_ms: f64,
    stalls_per_s: f64,
    stall_ms: (f64, f64),
    stalled_until: f64,
    next_stall: f64,
}

impl Wireless {
    pub(crate) fn good(seed: u64) -> Self {
        Self::new(seed, 2.0, 1.35, (10.0, 40.0))
    }

    pub(crate) fn busy(seed: u64) -> Self {
        Self::new(seed, 6.0, 0.26, (40.0, 150.0))
    }

    fn new(seed: u64, mean_ms: f64, stalls_per_s: f64, stall_ms: (f64, f64)) -> Self {
        let mut dice = Dice::new(seed);
        let next_stall = dice.exponential(1000.0 / stalls_per_s);
        Self { dice, mean_ms, stalls_per_s, stall_ms, stalled_until: 0.0, next_stall }
    }
}

impl Path for Wireless {
    fn take(&mut self, sent_ms: f64) -> Option<f64> {
        while sent_ms >= self.next_stall {
            let (least, most) = self.stall_ms;
            self.stalled_until = self.next_stall + least + (most - least) * self.dice.share();
            self.next_stall += self.dice.exponential(1000.0 / self.stalls_per_s);
        }
        Some(self.dice.exponential(self.mean_ms).max(self.stalled_until - sent_ms))
    }
}

/// What to simulate; all else is 10 ms frames and pulls without chance.
pub(crate) struct Call<P> {
    pub(crate) path: P,
    /// Time from a frame's arrival, at the least delay, to the next pull.
    pub(crate) phase_ms: f64,
    pub(crate) block: usize,
    /// How much faster the sender's clock is than the loudspeaker's.
    pub(crate) drift_ppm: f64,
    /// Pulls are late by up to this.
    pub(crate) pull_noise_ms: f64,
    /// It is sent in two channels, and heard in two.
    pub(crate) is_stereo: bool,
    /// There is silence between the words, in frames as any other.
    pub(crate) has_pauses: bool,
    pub(crate) has_lbrr: bool,
    /// So many frames back each packet tells of.
    pub(crate) deep: u8,
    pub(crate) copies: &'static [u8],
    /// Which frames are sent, and with which flags.
    pub(crate) talk: fn(i64) -> Option<Flags>,
}

impl<P: Path> Call<P> {
    pub(crate) fn on(path: P) -> Self {
        Self {
            path,
            phase_ms: 3.0,
            block: 480,
            drift_ppm: 0.0,
            pull_noise_ms: 0.0,
            is_stereo: false,
            has_pauses: false,
            has_lbrr: false,
            deep: 0,
            copies: &[],
            talk: |_| Some(Flags::default()),
        }
    }

    /// Runs the call; `seen` gets each pull.
    pub(crate) fn run(mut self, seconds: f64, mut seen: impl FnMut(&Heard<'_>)) -> Stats {
        let start = start();
        let channels = 1 + usize::from(self.is_stereo);
        let decoder = Teller { has_pauses: self.has_pauses, is_stereo: false };
        let mut speaker = Speaker::new(decoder, Config { channels, ..Config::default() });
        let mut dice = Dice::new(99);
        let mut on_the_way: Vec<(f64, i64)> = Vec::new();
        let (mut made, mut seq) = (0i64, Vec::new());
        let (mut sound, mut left) = (vec![0.0; self.block * channels], vec![0.0; self.block]);
        let block_ms = self.block as f64 / 48.0;
        let frame_ms = 10.0 / (1.0 + self.drift_ppm * 1e-6);
        for pull in 0.. {
            let due_ms = 20.0 + self.phase_ms + pull as f64 * block_ms;
            if due_ms > seconds * 1000.0 {
                break;
            }
            let now_ms = due_ms + self.pull_noise_ms * dice.share();
            while (made + 1) as f64 * frame_ms <= now_ms {
                let complete_ms = (made + 1) as f64 * frame_ms;
                if (self.talk)(made).is_some() {
                    seq.push(made);
                    let number = seq.len() as i64 - 1;
                    on_the_way.extend(self.path.take(complete_ms).map(|delay| (complete_ms + delay, number)));
                }
                made += 1;
            }
            on_the_way.sort_by(|a, b| a.0.total_cmp(&b.0));
            let due = on_the_way.partition_point(|(at, _)| *at <= now_ms);
            for (at, number) in on_the_way.drain(..due) {
                self.deliver(&mut speaker, &seq, number, start + millis(at));
            }
            let channels = speaker.channels();
            let sound = &mut sound[..self.block * channels];
            let pulled = speaker.pull(sound, start + millis(now_ms));
            for (left, sample) in left.iter_mut().zip(sound.chunks_exact(channels)) {
                assert!(channels == 1 || sample[0] == -sample[1], "at {due_ms} ms: {sample:?}");
                *left = sample[0];
            }
            // Samples of the sender's clock that would be heard now if nothing took any time.
            let live = due_ms / frame_ms * FRAME as f64 - FRAME as f64;
            seen(&Heard { at_ms: due_ms, sound: &left, pulled, live, stats: speaker.stats() });
        }
        speaker.stats()
    }

    fn deliver(&self, speaker: &mut Speaker<Teller>, seq: &[i64], number: i64, now: Instant) {
        let frame_of = |number: i64| seq[number as usize];
        let encode = |number, deep| {
            let mut opus = packet(frame_of(number) * FRAME, self.has_lbrr, deep);
            opus[0] |= if self.is_stereo { STEREO } else { 0 };
            opus
        };
        let opus = encode(number, self.deep);
        let backs = self.copies.iter().copied().filter(|back| i64::from(*back) <= number);
        let copies: Vec<(u8, Vec<u8>)> = backs.map(|back| (back, encode(number - i64::from(back), 0))).collect();
        let frame = Frame {
            stream: 1,
            seq: number as u16,
            time: MediaTime((frame_of(number) * 4) as u32),
            flags: (self.talk)(frame_of(number)).unwrap_or_default(),
            level: 20,
            opus: &opus,
            copies: copies.iter().map(|(back, opus)| Copy { back: *back, opus }).collect(),
        };
        speaker.push(&frame, now);
    }
}

/// One pull.
pub(crate) struct Heard<'a> {
    pub(crate) at_ms: f64,
    pub(crate) sound: &'a [f32],
    pub(crate) pulled: Pulled,
    live: f64,
    pub(crate) stats: Stats,
}

impl Heard<'_> {
    /// How long the sound waited since its frame could have come; `None` if it is made up or silence.
    pub(crate) fn delay_ms(&self) -> Option<f64> {
        // Not where made-up sound blends into real sound.
        let at = self.sound.windows(2).rposition(|pair| pair[0] > 0.0 && (pair[1] - pair[0] - 1.0).abs() < 3.0)?;
        Some((self.live + at as f64 - f64::from(self.sound[at])) / 48.0)
    }
}

#[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn millis(ms: f64) -> Duration {
    Duration::from_nanos((ms * 1e6) as u64)
}
