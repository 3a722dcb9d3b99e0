//! Several speakers at once.

use std::time::Instant;

use jitter::{Config, Heard, Mixer};
use wire::{
    PeerTag,
    voice::{Flags, Frame, MediaTime, Report, Voice},
};

use crate::{
    call::{millis, start},
    sides::Sides,
};

const ALICE: PeerTag = PeerTag(1);
const BOB: PeerTag = PeerTag(2);

struct Room {
    mixer: Mixer<Sides>,
    start: Instant,
    frames: u16,
}

impl Room {
    fn new() -> Self {
        Self { mixer: Mixer::new(Config::default(), Sides::default), start: start(), frames: 0 }
    }

    fn now(&self) -> Instant {
        self.start + millis(f64::from(self.frames) * 10.0)
    }

    fn say(&mut self, who: PeerTag, level: u8) -> Heard {
        self.say_with(who, level, Flags::default())
    }

    fn say_with(&mut self, who: PeerTag, level: u8, flags: Flags) -> Heard {
        let voice = Voice::Frame(Frame {
            stream: 1,
            seq: self.frames,
            time: MediaTime(u32::from(self.frames) * 4),
            flags,
            level: 0,
            opus: &[8 << 3, level, level],
            copies: Vec::new(),
        });
        self.mixer.push(who, &voice.to_bytes(), self.now()).expect("a voice packet")
    }

    /// Ten milliseconds of everybody, after some time in which they say the same.
    fn hear(&mut self, levels: &[(PeerTag, u8)]) -> Vec<f32> {
        let mut out = vec![0.0; 480];
        for _ in 0..50 {
            for (who, level) in levels {
                self.say(*who, *level);
            }
            self.mixer.pull(&mut out, self.now());
            self.frames += 1;
        }
        out
    }
}

#[test]
fn speakers_are_summed_with_their_gains() {
    let mut room = Room::new();
    room.mixer.set_gain(BOB, 2.0);

    assert_eq!(room.hear(&[(ALICE, 20), (BOB, 30)]), [0.2 + 0.6; 480]);
    room.mixer.set_gain(BOB, 0.0);
    assert_eq!(room.hear(&[(ALICE, 20), (BOB, 30)]), [0.2; 480]);
    room.mixer.set_gain(BOB, f32::NAN);
    assert_eq!(room.hear(&[(ALICE, 20), (BOB, 30)]), [0.2 + 0.3; 480]);
}

#[test]
fn a_gain_that_changes_makes_no_click() {
    let mut room = Room::new();
    room.hear(&[(ALICE, 20)]);
    room.mixer.set_gain(ALICE, 4.0);
    let now = room.now();
    room.say(ALICE, 20);
    let mut out = [0.0; 480];
    room.mixer.pull(&mut out, now);
    assert!(out[0] < 0.21 && out[479] == 0.8, "{out:?}");
    assert!(out.windows(2).all(|two| (two[1] - two[0]).abs() < 0.01), "{out:?}");
}

#[test]
fn the_deaf_hear_nobody_and_everything_is_back_at_once() {
    let mut room = Room::new();
    room.hear(&[(ALICE, 20)]);
    room.mixer.deafen(true);
    assert_eq!(room.hear(&[(ALICE, 20)]), [0.0; 480]);
    assert_eq!(room.mixer.stats().next().map(|(_, stats)| stats.late), Some(0));
    room.mixer.deafen(false);
    let now = room.now();
    room.say(ALICE, 20);
    let mut out = [0.0; 480];
    room.mixer.pull(&mut out, now);
    assert_eq!(out[240..], [0.2; 240]);
}

#[test]
fn speakers_that_differ_are_evened_out_if_wanted() {
    let mut room = Room::new();
    room.mixer.even_out(true);
    for (who, level) in [(ALICE, 3), (BOB, 40)] {
        let heard = (0..20).map(|_| room.hear(&[(who, level)])).last().expect("some")[0];
        assert!((0.085..0.115).contains(&heard), "{level} is played at {heard}");
        room.mixer.remove(who);
    }
    room.mixer.even_out(false);
    assert_eq!(room.hear(&[(ALICE, 3)]), [0.03; 480]);
}

#[test]
fn who_talks_and_who_is_muted_is_known() {
    let mut room = Room::new();
    room.hear(&[(ALICE, 20)]);
    let presence = |room: &Room| room.mixer.presences().next().expect("one").1;
    assert!(presence(&room).is_talking && presence(&room).flags == Flags::default());

    let muted = Flags::MUTED.with(Flags::DEAFENED);
    room.say_with(ALICE, 0, muted.with(Flags::TALKSPURT_END));
    room.frames -= 1;
    room.say_with(ALICE, 0, Flags::default()); // on its way for longer
    room.frames += 2;
    for _ in 0..40 {
        let now = room.now();
        room.mixer.pull(&mut [0.0; 480], now);
        room.frames += 1;
    }
    assert!(!presence(&room).is_talking && presence(&room).flags.has(muted));

    room.say_with(ALICE, 0, muted.with(Flags::RECORDING));
    assert!(presence(&room).flags.has(Flags::RECORDING));
    room.frames += 1;
    room.say_with(ALICE, 0, muted.with(Flags::RECORDING).with(Flags::STREAM_END));
    let flags = presence(&room).flags;
    assert!(flags.has(muted) && !flags.has(Flags::RECORDING), "the end of a stream turns no microphone on");
}

#[test]
fn one_who_floods_is_not_listened_to_and_spoils_nothing_for_others() {
    let mut room = Room::new();
    let mut out = vec![0.0; 480];
    let mut taken = 0;
    for n in 0..300_u16 {
        room.say(ALICE, 20);
        let now = room.now();
        for seq in 0..200 {
            let voice = Voice::Frame(Frame {
                stream: 1,
                seq: n.wrapping_mul(200).wrapping_add(seq),
                time: MediaTime(u32::from(seq) * 77),
                flags: Flags::default(),
                level: 0,
                opus: &[8 << 3, 0, 0],
                copies: Vec::new(),
            });
            taken += usize::from(room.mixer.push(BOB, &voice.to_bytes(), now) == Ok(Heard::Frame));
        }
        room.mixer.pull(&mut out, now);
        room.frames += 1;
    }
    assert!((1600..1600 + 3 * 800 + 10).contains(&taken), "{taken} of {} frames in 3 s", 300 * 200);
    assert_eq!(out, [0.2; 480]);
}

#[test]
fn a_loud_sum_is_limited() {
    let sum = Room::new().hear(&[(ALICE, 80), (BOB, 90)]);
    assert!(sum.iter().all(|sample| (0.85..0.892).contains(sample)), "{sum:?}");
}

#[test]
fn each_speaker_can_be_recorded_by_itself() {
    let mut room = Room::new();
    room.mixer.set_gain(BOB, 4.0);
    room.hear(&[(ALICE, 20), (BOB, 30)]);
    room.say(ALICE, 20);
    room.say(BOB, 30);

    let mut taps = Vec::new();
    let now = room.now();
    let mixed = room.mixer.pull_tapped(&mut [0.0; 480], now, |who, sound| taps.push((who, sound.samples.to_vec())));

    assert_eq!(taps, [(ALICE, vec![0.2; 480]), (BOB, vec![0.3; 480])]);
    assert_eq!(mixed.speakers, 2);
}

#[test]
fn a_report_is_due_for_each_speaker_five_times_a_second() {
    let mut room = Room::new();
    let mut reports = Vec::new();
    for _ in 0..100 {
        room.say(ALICE, 20);
        let now = room.now();
        room.mixer.pull(&mut [0.0; 480], now);
        reports.extend(std::iter::from_fn(|| room.mixer.poll_report(now)));
        room.frames += 1;
    }
    assert_eq!(reports.len(), 4, "at 200, 400, 600 and 800 ms");
    assert!(reports.iter().all(|(who, report)| *who == ALICE && report.loss_permille == 0));

    room.frames += 100;
    let now = room.now();
    room.mixer.poll_report(now);
    assert_eq!(room.mixer.poll_report(now), None, "nothing came since");
}

#[test]
fn a_report_of_the_peer_is_handed_back() {
    let mut room = Room::new();
    let report = Report { loss_permille: 30, ..Report::default() };
    let now = room.now();

    let heard = room.mixer.push(ALICE, &Voice::Report(report).to_bytes(), now);

    assert_eq!(heard, Ok(Heard::Report(report)));
    assert_eq!(room.mixer.stats().count(), 0);
    assert!(room.mixer.push(ALICE, &[9, 9, 9], now).is_err());
}

#[test]
fn there_are_only_so_many_speakers_and_who_is_silent_gives_way() {
    let mut room = Room::new();
    let all: Vec<(PeerTag, u8)> = (0..Mixer::<Sides>::MAX_SPEAKERS as u32).map(|tag| (PeerTag(tag + 10), 1)).collect();
    room.hear(&all);
    assert_eq!(room.say(ALICE, 20), Heard::Refused);

    room.hear(&all[1..]);
    assert_eq!(room.say(ALICE, 20), Heard::Frame);
    assert_eq!(room.mixer.stats().count(), all.len());
    assert!(room.mixer.stats().all(|(who, _)| who != all[0].0));
}

#[test]
fn who_leaves_or_says_nothing_for_a_minute_is_forgotten() {
    let mut room = Room::new();
    room.hear(&[(ALICE, 20), (BOB, 30)]);
    room.mixer.remove(ALICE);
    assert_eq!(room.mixer.stats().count(), 1);

    room.frames += 6100;
    let now = room.now();
    room.mixer.pull(&mut [0.0; 480], now);
    assert_eq!(room.mixer.stats().count(), 0);
}
