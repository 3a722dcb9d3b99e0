//! Speakers that do what none should.

use std::time::{Duration, Instant};

use jitter::{Config, Speaker, Stats};
use wire::voice::{Copy, Flags, Frame, MediaTime};

use crate::call::{Teller, packet, start};

/// A speaker, and what is pulled of it.
struct Listener {
    speaker: Speaker<Teller>,
    now: Instant,
    /// Frames of real sound that were pulled since [`Listener::calm`] began.
    real: usize,
}

impl Listener {
    fn new() -> Self {
        Self { speaker: Speaker::new(Teller::default(), Config::default()), now: start(), real: 0 }
    }

    fn push(&mut self, seq: u16, units: u32, opus: &[u8], copies: Vec<Copy<'_>>) {
        let (time, flags) = (MediaTime(units), Flags::default());
        self.speaker.push(&Frame { stream: 1, seq, time, flags, level: 20, opus, copies }, self.now);
    }

    /// 10 ms of the loudspeaker.
    fn pull(&mut self) {
        self.now += Duration::from_millis(10);
        let mut sound = [0.0; 480];
        self.speaker.pull(&mut sound, self.now);
        assert!(sound.iter().all(|sample| sample.is_finite()));
        self.real += usize::from(sound[479] > 0.0);
    }

    /// Half a second of ordinary frames from these numbers on; tells how much of it was heard, in frames.
    fn calm(&mut self, seq: u16, units: u32) -> usize {
        self.real = 0;
        for n in 0..50 {
            self.push(
                seq.wrapping_add(n),
                units.wrapping_add(u32::from(n) * 4),
                &packet(480_000, false, 0),
                Vec::new(),
            );
            self.pull();
        }
        self.real
    }

    fn stats(&self) -> Stats {
        self.speaker.stats()
    }
}

#[test]
fn a_flood_of_frames_is_heard_no_faster_than_sound_is_and_over_when_it_ends() {
    let mut listener = Listener::new();
    listener.calm(0, 0);
    for n in 0..20_000u16 {
        listener.push(50 + n, 200 + u32::from(n) * 4, &packet(480_000, true, 0), Vec::new());
        if n % 200 == 0 {
            listener.pull();
        }
    }

    let played = listener.stats().played;
    assert!((140 * 480..=150 * 480).contains(&played), "10 ms for each 10 ms: {played}");
    // Where the flood has stopped, the sender's clock is 200 s ahead: that is another beginning.
    assert!(listener.calm(20_050, 80_200) >= 45, "{:?}", listener.stats());
}

#[test]
fn a_jump_of_2_to_the_31_in_time_or_half_way_round_in_numbers_is_a_new_beginning() {
    for (seq, units) in [(50, 1 << 31), (50, (1 << 31) + 200), (50 + (1 << 15), 200), (20_000, 7)] {
        let mut listener = Listener::new();
        listener.calm(0, 0);

        let heard = listener.calm(seq, units);

        assert!(heard >= 40, "{heard} frames heard after {seq} at {units}");
        assert_eq!(listener.stats().restarts, 1, "{seq} at {units}");
    }
}

#[test]
fn one_frame_from_nowhere_disturbs_nobody() {
    let mut listener = Listener::new();
    listener.calm(0, 0);
    listener.push(9_000, 1 << 31, &packet(480_000, false, 0), Vec::new());

    assert!(listener.calm(50, 200) >= 49);
    assert_eq!((listener.stats().restarts, listener.stats().malformed), (0, 1));
}

#[test]
fn copies_of_copies_of_nothing_and_of_the_future_are_played_once_or_not_at_all() {
    let mut listener = Listener::new();
    listener.calm(0, 0);
    let (opus, empty) = (packet(480_000, false, 0), Vec::new());
    for n in 50..100u16 {
        // The frame itself, ones that came long ago, one before the beginning, and the same ones again and again.
        let backs = [0, 1, 1, 1, 2, 2, 3, 255, 255, 40, 40, 40, 40, 40];
        let copies = backs.iter().map(|back| Copy { back: *back, opus: if *back == 3 { &empty } else { &opus } });
        listener.push(n, u32::from(n) * 4, &opus, copies.collect());
        listener.pull();
    }

    let stats = listener.stats();
    assert_eq!((stats.from_copy, stats.late, stats.concealed), (0, 0, 0), "{stats:?}");
    assert!(stats.malformed >= 100, "{stats:?}");
    assert_eq!(stats.played, 99 * 480 + stats.played % 480, "{stats:?}");
}

#[test]
fn packets_of_impossible_length_or_code_are_counted_and_the_call_goes_on() {
    let mut listener = Listener::new();
    listener.calm(0, 0);
    let long = [8 << 3; 1400];
    let broken: [&[u8]; 6] =
        [&[], &[31 << 3 | 1, 7], &[31 << 3 | 3, 0], &[31 << 3 | 3, 63], &[31 << 3 | 2, 255], &long];
    for (n, opus) in (50..).zip(broken) {
        listener.push(n, u32::from(n) * 4, opus, Vec::new());
        listener.pull();
    }

    assert_eq!(listener.stats().malformed, 6);
    assert!(listener.calm(56, 224) >= 45, "{:?}", listener.stats());
}

#[test]
fn frames_of_all_durations_in_turn_are_heard_without_a_gap() {
    // Configurations of 10, 20, 2.5, 5, 60 and 40 ms, in samples.
    let kinds = [(8u8, 480i64), (9, 960), (28, 120), (29, 240), (11, 2880), (10, 1920)];
    let mut listener = Listener::new();
    let (mut time, mut made) = (0i64, Vec::new());
    for n in 0..600u16 {
        let (config, samples) = kinds[usize::from(n / 4) % kinds.len()];
        let mut opus = packet(480_000 + time, false, 0);
        opus[0] = config << 3;
        made.push((time + samples, n, time, opus));
        time += samples;
    }
    let mut due = made.into_iter().peekable();
    for pull in 0..time / 480 {
        while let Some((_, seq, time, opus)) = due.next_if(|(end, ..)| *end <= (pull + 1) * 480) {
            listener.push(seq, (time / 120) as u32, &opus, Vec::new());
        }
        listener.pull();
    }

    let stats = listener.stats();
    assert_eq!((stats.malformed, stats.restarts, stats.lost), (0, 0, 0), "{stats:?}");
    // The first long frame comes later than any before; after that its delay is known.
    assert!(stats.concealed <= 60 * 48 * 3, "{stats:?}");
}
