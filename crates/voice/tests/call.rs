//! One way of a call with the real codec, in virtual time: packets, a path that loses some, the buffer, and the reports
//! that steer the sender.

use std::time::{Duration, Instant};

use codec::{Encoder, Mode, Settings};
use jitter::{Config, Mixer, Stats};
use voice::{Ear, Encoding, Packetizer, Plan, Receivers};
use wire::PeerTag;
use wire::voice::Report;

const BLOCK: usize = 480;
const PEER: PeerTag = PeerTag(1);
const BITRATE: u32 = 40_000;
/// How long packets and reports take, in blocks of 10 ms.
const DELAY: usize = 2;

struct Call {
    packets: Packetizer,
    receivers: Receivers,
    mixer: Mixer<Ear>,
    start: Instant,
    block: usize,
    frames: Vec<(usize, Vec<u8>)>,
    reports: Vec<(usize, Report)>,
    encoding: Option<Encoding>,
    bitrate: u32,
    /// What is said: a sample of each channel.
    sound: fn(usize) -> [f32; 2],
    heard: Vec<f32>,
    random: u64,
}

impl Call {
    fn new() -> Self {
        let settings = Settings { bitrate: BITRATE, ..Settings::default() };
        Self::of(settings, Receivers::default(), |n| [speech(n), 0.0])
    }

    /// In two channels, with a chord on either side.
    fn of_music() -> Self {
        let (mode, bitrate) = (Mode::Music, 128_000);
        let settings = Settings { mode, channels: 2, bitrate, expected_loss: None, ..Settings::default() };
        Self::of(settings, Receivers::of_music(), |n| SIDES.map(|pitches| chord(n, pitches)))
    }

    #[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
    fn of(settings: Settings, mut receivers: Receivers, sound: fn(usize) -> [f32; 2]) -> Self {
        receivers.join(PEER);
        let config = Config { channels: settings.channels.into(), ..Config::default() };
        Self {
            packets: Packetizer::new(Encoder::new(settings).expect("an encoder"), 1),
            bitrate: settings.bitrate,
            sound,
            receivers,
            mixer: Mixer::new(config, Ear::default),
            start: Instant::now(),
            block: 0,
            frames: Vec::new(),
            reports: Vec::new(),
            encoding: None,
            heard: Vec::new(),
            random: 7,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    /// Goes on for so long; `pass` says what becomes of each packet.
    fn run(&mut self, seconds: usize, mut pass: impl FnMut(&mut Self, Vec<u8>) -> Option<Vec<u8>>) {
        for _ in 0..seconds * 100 {
            let now = self.start + Duration::from_millis(10 * self.block as u64);
            let Plan { groups, encoding } = self.receivers.plan(self.bitrate, now);
            self.packets.follow(&encoding).expect("settings");
            self.encoding = Some(encoding);
            let channels = self.packets.channels();
            let sample = |i| (self.sound)(self.block * BLOCK + i).into_iter().take(channels);
            let mut sound: Vec<f32> = (0..BLOCK).flat_map(sample).collect();
            if self.packets.push(&mut sound, (self.block * BLOCK) as u64, false, false).expect("a block") {
                let packet = self.packets.packet(groups[0].1).expect("a packet");
                let due = self.block + DELAY;
                let passed = pass(self, packet);
                self.frames.extend(passed.map(|packet| (due, packet)));
            }
            self.arrive(now);
            let mut out = vec![0.0; BLOCK * channels];
            self.mixer.pull(&mut out, now);
            while let Some((_, report)) = self.mixer.poll_report(now) {
                self.reports.push((self.block + DELAY, report));
            }
            self.heard.extend(out);
            self.block += 1;
        }
    }

    fn arrive(&mut self, now: Instant) {
        let block = self.block;
        for (_, packet) in self.frames.extract_if(.., |(due, _)| *due <= block) {
            // What is no voice packet any more is not this crate's concern.
            let _ = self.mixer.push(PEER, &packet, now);
        }
        for (_, report) in self.reports.extract_if(.., |(due, _)| *due <= block) {
            self.receivers.handle_report(PEER, &report, now);
        }
    }

    fn stats(&self) -> Stats {
        self.mixer.stats().next().expect("a speaker").1
    }

    fn is_long(&self) -> bool {
        self.encoding.is_some_and(|encoding| encoding.is_long)
    }
}

/// Like speech: syllables of changing pitch, without pauses.
fn speech(n: usize) -> f32 {
    let t = n as f32 / codec::RATE as f32;
    let loud = 0.6 + 0.4 * (t * 4.0 * std::f32::consts::TAU).sin();
    let phase = 140.0 * t + 3.0 * (t * 2.5).sin();
    let harmonic = |h: usize| ((phase * h as f32).fract() * std::f32::consts::TAU).sin() / h as f32;
    0.2 * loud * (1..20).map(harmonic).sum::<f32>()
}

/// What is played on the left and on the right, in hertz.
const SIDES: [[f32; 2]; 2] = [[440.0, 1320.0], [620.0, 1860.0]];

fn chord(n: usize, pitches: [f32; 2]) -> f32 {
    let second = (n % codec::RATE as usize) as f32 / codec::RATE as f32;
    pitches.iter().map(|hz| 0.15 * (second * hz * std::f32::consts::TAU).sin()).sum()
}

/// The power of these pitches on one side of what was heard (Goertzel), over 100 ms each.
fn power(heard: &[f32], side: usize, pitches: [f32; 2]) -> f64 {
    let of = |part: &[f32], hz: f32| {
        let (mut cos, mut sin) = (0.0, 0.0);
        for (i, sample) in part.chunks_exact(2).enumerate() {
            let angle = f64::from(hz) * i as f64 / f64::from(codec::RATE) * std::f64::consts::TAU;
            cos += f64::from(sample[side]) * angle.cos();
            sin += f64::from(sample[side]) * angle.sin();
        }
        cos * cos + sin * sin
    };
    heard.chunks_exact(2 * BLOCK * 10).map(|part| pitches.iter().map(|hz| of(part, *hz)).sum::<f64>()).sum()
}

/// How much louder each side's own pitches are there than on the other side, in decibels; the lesser of both.
fn separation(heard: &[f32]) -> f64 {
    let of = |side: usize| power(heard, side, SIDES[side]) / power(heard, 1 - side, SIDES[side]);
    10.0 * of(0).min(of(1)).log10()
}

#[test]
fn the_sides_of_music_are_heard_apart_also_where_packets_get_lost() {
    let mut call = Call::of_music();
    call.run(5, |_, packet| Some(packet));
    let calm = separation(&call.heard[2 * BLOCK * 100..]);
    assert!(calm > 40.0, "{calm} dB");

    call.heard.clear();
    call.run(20, |call, packet| (call.below(20) > 0).then_some(packet));
    let lossy = separation(&call.heard);
    assert!(lossy > 30.0, "{lossy} dB");
    let stats = call.stats();
    assert!(stats.from_copy > 30 && stats.from_next == 0 && stats.restarts == 0, "{stats:?}");
    let loud = power(&call.heard, 0, SIDES[0]) / (call.heard.len() / (2 * BLOCK * 10)) as f64;
    let whole = 2.0 * (0.15 * (10 * BLOCK) as f64 / 2.0).powi(2);
    assert!((0.8..1.1).contains(&(loud / whole)), "{} of what was played is heard", loud / whole);
}

#[test]
fn frames_get_longer_and_shorter_again_while_loss_comes_and_goes_and_nothing_is_torn() {
    let mut call = Call::new();
    call.run(5, |_, packet| Some(packet));
    assert!(!call.is_long());
    let lossy = |call: &mut Call, packet| (call.below(5) > 0).then_some(packet);
    call.run(6, lossy);
    assert!(call.is_long());
    let before = call.stats();
    call.run(20, lossy);
    let after = call.stats();
    let made_up = after.concealed - before.concealed;
    assert!(made_up * 50 < after.played - before.played, "{made_up} samples of 20 s");
    assert!(after.from_copy - before.from_copy > 100, "{after:?}");

    call.run(40, |_, packet| Some(packet));

    let end = call.stats();
    assert!(!call.is_long(), "{:?}", call.encoding);
    assert_eq!((end.restarts, end.malformed), (0, 0), "{end:?}");
    assert!(end.delay < Duration::from_millis(40), "{end:?}");
}

#[test]
fn after_one_outage_the_words_lost_in_the_next_one_are_heard() {
    let mut call = Call::new();
    let outage = |at: usize| move |call: &mut Call, packet| (!(at..at + 20).contains(&call.block)).then_some(packet);
    call.run(5, outage(450));
    call.run(5, |_, packet| Some(packet));
    assert!(call.encoding.is_some_and(|encoding| !encoding.deep.is_zero()), "{:?}", call.encoding);
    let before = call.stats();

    call.run(4, outage(1100));

    let after = call.stats();
    let (told, made_up) = (after.deep - before.deep, after.concealed - before.concealed);
    assert!(told >= 120 * 48, "{} ms told, {} made up", told / 48, made_up / 48);
}

#[test]
fn damaged_packets_are_never_a_panic_and_sound_stays_sound() {
    let mut call = Call::new();
    let damaged = |call: &mut Call, mut packet: Vec<u8>| {
        for _ in 0..call.below(4) {
            let at = call.below(packet.len() as u64) as usize;
            packet[at] = call.below(256) as u8;
        }
        packet.truncate(packet.len() - call.below(6) as usize);
        Some(packet)
    };
    call.run(20, damaged);
    assert!(call.heard.iter().all(|sample| sample.is_finite() && sample.abs() <= 1.0));
    assert!(call.stats().malformed > 0, "{:?}", call.stats());
}
