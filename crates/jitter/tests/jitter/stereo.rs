//! Two channels: they stay apart, and all else is as with one.

use std::time::Instant;

use jitter::{Config, Mixer, Stats};
use wire::{
    PeerTag,
    voice::{Flags, Frame, MediaTime, Voice},
};

use crate::{
    call::{Call, Dice, Path, Wireless, millis, start},
    sides::Sides,
};

/// What became of a call in two channels, if it is much the same as in one: where exactly sound is cut may differ.
/// [`Call::run`] sees to it that the channels are apart in every sample.
fn as_in_one<P: Path>(seconds: f64, call: impl Fn() -> Call<P>) -> Stats {
    let [one, two] = [false, true].map(|is_stereo| Call { is_stereo, ..call() }.run(seconds, |_| ()));
    let sent = |of: Stats| (of.received, of.lost, of.malformed, of.restarts, of.target, of.drift_ppm);
    assert_eq!(sent(one), sent(two));
    let made = |of: Stats| [of.late, of.from_copy, of.from_next, of.deep, of.concealed, of.shortened, of.stretched];
    let is_near = |(one, two): (u64, u64)| one.abs_diff(two) <= 2 + one / 5;
    assert!(made(one).into_iter().zip(made(two)).all(is_near), "{one:?}\n{two:?}");
    two
}

#[test]
fn loss_copies_and_stretching_treat_both_as_one() {
    let two = as_in_one(120.0, || {
        let mut dice = Dice::new(5);
        let mut call = Call::on(move |_| (dice.share() >= 0.1).then(|| 25.0 * dice.share()));
        (call.has_lbrr, call.has_pauses, call.copies) = (true, true, &[2]);
        call
    });

    assert!(two.from_copy > 100 && two.from_next > 10 && two.concealed > 0, "{two:?}");
    assert!(two.shortened > 0 && two.stretched > 0, "{two:?}");
}

#[test]
fn a_stalling_path_treats_both_as_one() {
    let two = as_in_one(120.0, || Call::on(Wireless::busy(3)));

    assert!(two.late > 0 && two.shortened > 0, "{two:?}");
}

#[test]
fn words_told_of_after_an_outage_are_heard_on_both_sides() {
    let two = as_in_one(30.0, || {
        let mut call = Call::on(|sent| (!(20_000.0..20_200.0).contains(&sent)).then_some(0.0));
        call.deep = 50;
        call
    });

    assert!(two.deep > 4800, "{two:?}");
}

#[test]
fn a_clock_that_is_off_is_followed_on_both_sides() {
    let two = as_in_one(120.0, || {
        let mut call = Call::on(|_| Some(0.0));
        call.drift_ppm = 200.0;
        call
    });

    assert!((two.drift_ppm - 200.0).abs() < 10.0, "{two:?}");
}

const BAND: PeerTag = PeerTag(1);
const VOICE: PeerTag = PeerTag(2);
const STEREO: u8 = 30 << 3 | 4;
const MONO: u8 = 30 << 3;

/// Who is heard, in how many channels, and how that begins.
type Alone = (PeerTag, usize, Vec<f32>);

/// What is heard in so many channels, in the end, of who sends what; and of each alone.
fn heard(channels: usize, gain: f32, says: &[(PeerTag, [u8; 4])]) -> (Vec<f32>, Vec<Alone>) {
    let mut mixer = Mixer::new(Config { channels, ..Config::default() }, Sides::default);
    mixer.set_gain(BAND, gain);
    let (start, mut out, mut alone): (Instant, _, _) = (start(), vec![0.0; 480 * channels], Vec::new());
    for n in 0..50_u16 {
        let now = start + millis(f64::from(n) * 10.0);
        for (who, opus) in says {
            let time = MediaTime(u32::from(n) * 4);
            let (flags, copies) = (Flags::default(), Vec::new());
            let frame = Voice::Frame(Frame { stream: 1, seq: n, time, flags, level: 0, opus, copies });
            mixer.push(*who, &frame.to_bytes(), now).expect("a voice packet");
        }
        alone.clear();
        mixer.pull_tapped(&mut out, now, |who, sound| alone.push((who, sound.channels, sound.samples[..2].to_vec())));
    }
    (out, alone)
}

#[test]
fn sides_are_heard_where_they_were_sent_and_who_sends_one_channel_in_the_middle() {
    let says = [(BAND, [STEREO, 0, 20, 0]), (VOICE, [MONO, 0, 10, 10])];

    let (out, alone) = heard(2, 2.0, &says);
    assert_eq!(out, [0.4 + 0.1, 0.1].repeat(480));
    assert_eq!(alone, [(BAND, 2, vec![0.2, 0.0]), (VOICE, 1, vec![0.1, 0.1])]);

    let (out, alone) = heard(1, 2.0, &says);
    assert_eq!(out, [0.2 + 0.1; 480], "where one channel is played, the mean");
    assert_eq!(alone, [(BAND, 1, vec![0.1, 0.1]), (VOICE, 1, vec![0.1, 0.1])]);
}

#[test]
fn a_loud_side_is_limited_and_stays_where_it_is() {
    let (out, _) = heard(2, 4.0, &[(BAND, [STEREO, 0, 100, 25])]);
    let is_in_place = |sample: &[f32]| (0.85..0.892).contains(&sample[0]) && (sample[0] / 4.0 - sample[1]).abs() < 1e-6;
    assert!(out.chunks_exact(2).all(is_in_place), "{out:?}");
}
