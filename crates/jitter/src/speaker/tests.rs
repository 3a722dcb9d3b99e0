use wire::voice::{Copy, MediaTime};

use super::*;
use crate::Undecodable;

/// How many channels are asked for.
struct Tone(usize);

impl Decode for Tone {
    fn decode(&mut self, opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        out.fill(0.1);
        if opus.len().is_multiple_of(7) { Err(Undecodable) } else { Ok(out.len()) }
    }

    fn decode_fec(&mut self, next: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
        self.decode(next, out)
    }

    fn deep_reach(&mut self, later: &[u8]) -> usize {
        later.len() * 480
    }

    fn decode_deep(&mut self, later: &[u8], before: usize, out: &mut [f32]) -> Result<usize, Undecodable> {
        assert!(before > 0 && out.len() <= 480 * self.0 && out.len().is_multiple_of(120 * self.0));
        self.decode(later, out)
    }

    fn conceal(&mut self, out: &mut [f32]) {
        assert!(out.len() <= 480 * self.0 && out.len().is_multiple_of(120 * self.0));
        out.fill(0.1);
    }

    fn reset(&mut self, channels: usize) {
        self.0 = channels;
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Mostly close to `near`, sometimes anything.
    fn near(&mut self, near: u64) -> u64 {
        match self.below(20) {
            0 => self.below(u64::MAX),
            1 => near + self.below(600),
            2 => near.wrapping_sub(self.below(300)),
            _ => near + self.below(3),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "any start of the virtual time will do")]
fn start() -> Instant {
    Instant::now()
}

fn plain(stream: u8, seq: u16) -> Frame<'static> {
    let time = MediaTime(u32::from(seq) * 4);
    Frame { stream, seq, time, flags: Flags::default(), level: 0, opus: &[8 << 3, 0], copies: Vec::new() }
}

#[test]
fn whatever_is_sent_memory_is_bounded_and_all_sound_is_finite() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let config = Config { channels: 1 + seed as usize % 2, ..Config::default() };
        let mut speaker = Speaker::new(Tone(1), config);
        let mut now = start();
        let mut out = vec![0.0; 6001];
        for step in 0..4000 {
            let bytes: Vec<u8> = (0..dice.below(40)).map(|_| dice.below(256) as u8).collect();
            let frame = Frame {
                stream: u8::from(dice.below(200) == 0),
                seq: dice.near(step) as u16,
                time: MediaTime(dice.near(step * 4) as u32),
                flags: Flags(if dice.below(10) == 0 { dice.below(256) as u8 } else { 0 }),
                level: 0,
                opus: &bytes,
                copies: vec![Copy { back: dice.below(256) as u8, opus: &bytes }; dice.below(12) as usize],
            };
            speaker.push(&frame, now);
            let is_break = dice.below(100) == 0;
            now += Duration::from_micros(dice.below(if is_break { 5_000_000 } else { 20_000 }));
            let len = if dice.below(50) == 0 { dice.below(3000) as usize } else { 480 };
            let odd = dice.below(2) as usize;
            speaker.pull(&mut out[..len * speaker.channels() + odd], now);
            assert!(out.iter().all(|sample| sample.is_finite()), "seed {seed}, step {step}");
            assert!(
                speaker.playout.room() < 300_000 * (1 + config.channels),
                "seed {seed}, step {step}: {}",
                speaker.playout.room()
            );
            speaker.report();
        }
        assert!(speaker.stats().malformed > 0 && speaker.stats().played > 0, "seed {seed}");
    }
}

#[test]
fn a_stream_has_two_channels_once_it_has_sent_them_and_where_they_are_played() {
    let stereo = [8 << 3 | 4, 0];
    let sent = |stream, seq, is_stereo: bool| {
        let plain = plain(stream, seq);
        if is_stereo { Frame { opus: &stereo, ..plain } } else { plain }
    };
    for (played, heard) in [(1, [1; 5]), (2, [1, 2, 2, 1, 2]), (9, [1, 2, 2, 1, 2])] {
        let config = Config { channels: played, ..Config::default() };
        let (mut speaker, mut now) = (Speaker::new(Tone(1), config), start());
        let frames = [(1, 0, false), (1, 1, true), (1, 2, false), (2, 0, false), (3, 0, true)];
        let channels = frames.map(|(stream, seq, is_stereo)| {
            speaker.push(&sent(stream, seq, is_stereo), now);
            speaker.pull(&mut vec![0.0; 480 * speaker.channels()], now);
            now += Duration::from_millis(10);
            speaker.channels()
        });
        assert_eq!(channels, heard, "{played} are played");
    }
}

#[test]
fn a_new_stream_begins_anew_and_stragglers_of_the_old_one_are_ignored() {
    let mut speaker = Speaker::new(Tone(1), Config::default());
    let start = start();
    for (at, stream, seq) in [(0, 1, 100), (10, 2, 7), (20, 1, 101), (30, 2, 8)] {
        speaker.push(&plain(stream, seq), start + Duration::from_millis(at));
    }

    assert_eq!((speaker.stats().received, speaker.stats().restarts), (3, 1));
    let report = speaker.report();
    assert_eq!((report.stream, report.highest), (2, 8));
}

#[test]
fn a_report_tells_of_the_time_since_the_last_one() {
    let mut speaker = Speaker::new(Tone(1), Config::default());
    let start = start();
    for seq in 0..100 {
        let now = start + Duration::from_millis(u64::from(seq) * 10);
        if ![20, 21, 40].contains(&seq) {
            speaker.push(&plain(3, seq), now);
        }
        speaker.pull(&mut [0.0; 480], now);
    }

    let report = speaker.report();
    assert_eq!((report.stream, report.highest, report.loss_permille, report.burst_tenths), (3, 99, 30, 15));
    assert_eq!((report.late_permille, report.concealed_ms), (0, 30));
    assert_eq!(speaker.report().loss_permille, 0);
}
