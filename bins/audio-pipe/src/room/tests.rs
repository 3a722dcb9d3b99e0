//! Real Opus, in virtual time.

use std::f32::consts::TAU;
use std::time::Duration;

use assert_no_alloc::assert_no_alloc;
use clap::Parser;
use codec::{Encoder, RATE};
use voice::Packetizer;

use super::*;
use crate::args::{Cli, Command};

const FRAME: usize = 480;

/// Some people who hum, each at another pitch, and the room in which they are heard.
struct Hall {
    room: Room,
    switches: Arc<Switches>,
    voices: Vec<(PeerTag, Packetizer)>,
    start: Instant,
    frames: u64,
}

fn pitch(n: usize) -> f32 {
    200.0 + 60.0 * n as f32
}

fn tag(n: usize) -> PeerTag {
    PeerTag(n as u32 + 1)
}

impl Hall {
    fn new(people: usize) -> Self {
        let cli = Cli::parse_from(["audio-pipe", "play"]);
        let Command::Play(args) = cli.command else { panic!("play") };
        let switches = Arc::new(Switches::default());
        let mut room = Room::new(&args.sink, 1, Arc::clone(&switches)).expect("a room");
        let voice = |n| {
            room.name(tag(n), &format!("m{n}"));
            (tag(n), Packetizer::new(Encoder::new(codec::Settings::default()).expect("an encoder"), 1))
        };
        let voices = (0..people).map(voice).collect();
        Self { room, switches, voices, start: Instant::now(), frames: 0 }
    }

    /// What is played in the next `ms` milliseconds, in which those who are not muted hum with this amplitude; and how many
    /// blocks of anybody are in it.
    fn hear(&mut self, ms: u64, amplitude: f32, is_muted: impl Fn(usize) -> bool) -> (Vec<f32>, usize) {
        let (mut heard, mut blocks) = (Vec::new(), 0);
        for _ in 0..ms / 10 {
            let now = self.start + Duration::from_millis(self.frames * 10);
            let at = self.frames * FRAME as u64;
            for (n, (peer, packets)) in self.voices.iter_mut().enumerate() {
                let sample = |i: usize| {
                    amplitude * (TAU * pitch(n) * ((at + i as u64) % u64::from(RATE)) as f32 / RATE as f32).sin()
                };
                let mut frame: Vec<f32> = (0..FRAME).map(sample).collect();
                if packets.push(&mut frame, at, is_muted(n), false).expect("a frame") {
                    self.room.hear(*peer, &packets.packet(&[]).expect("a packet"), now);
                }
            }
            let mut block = [0.0; FRAME];
            blocks += self.room.play(&mut block, None, now).expect("sound");
            heard.extend(block);
            self.frames += 1;
        }
        (heard, blocks)
    }

    fn speaker(&self, n: usize) -> local::Speaker {
        self.room.speakers().swap_remove(n)
    }
}

/// How loud one of them is in what was heard (Goertzel).
fn amplitude(heard: &[f32], n: usize) -> f32 {
    let (mut cos, mut sin) = (0.0, 0.0);
    for (i, sample) in heard.iter().enumerate() {
        let angle = f64::from(pitch(n)) * i as f64 / f64::from(RATE) * std::f64::consts::TAU;
        cos += f64::from(*sample) * angle.cos();
        sin += f64::from(*sample) * angle.sin();
    }
    ((cos * cos + sin * sin).sqrt() * 2.0 / heard.len() as f64) as f32
}

#[test]
fn fifty_speakers_are_all_heard_and_nothing_of_them_is_missing() {
    let mut hall = Hall::new(50);
    hall.hear(1000, 0.012, |_| false);
    let (heard, blocks) = hall.hear(1000, 0.012, |_| false);

    assert_eq!(blocks, 50 * 100);
    for n in 0..50 {
        let amplitude = amplitude(&heard, n);
        assert!((0.008..0.017).contains(&amplitude), "speaker {n} is heard with {amplitude}");
        let local::Speaker { figures, state, .. } = hall.speaker(n);
        let received = hall.frames;
        let Figures { lost, late, concealed_ms, .. } = figures;
        assert_eq!(
            (figures.received, lost, late, concealed_ms, state.talking),
            (received, 0, 0, 0, true),
            "speaker {n}"
        );
    }
    assert!(heard.iter().all(|sample| sample.abs() < 0.9));
}

#[test]
fn who_is_muted_takes_no_part_in_the_mix_and_is_known_to_be() {
    let mut hall = Hall::new(3);
    hall.hear(500, 0.1, |_| false);
    hall.hear(500, 0.1, |n| n > 0);
    let (_, blocks) = hall.hear(1000, 0.1, |n| n > 0);
    // Each says that it is there, now and then.
    assert!((100..110).contains(&blocks), "{blocks}");
    assert_eq!([0, 1, 2].map(|n| hall.speaker(n).state.muted), [false, true, true]);
    assert_eq!([0, 1, 2].map(|n| hall.speaker(n).state.talking), [true, false, false]);
}

#[test]
fn a_volume_is_of_a_name_and_lasts_longer_than_its_stay() {
    let mut hall = Hall::new(2);
    hall.room.set_volume(tag(1), Volume::Db(-20)).expect("a volume");
    hall.hear(500, 0.1, |_| false);
    let (heard, _) = hall.hear(500, 0.1, |_| false);
    let share = amplitude(&heard, 1) / amplitude(&heard, 0);
    assert!((0.08..0.12).contains(&share), "{share}");

    hall.room.leave(tag(1));
    assert!(hall.room.set_volume(tag(1), Volume::Off).is_err());
    hall.room.name(tag(7), "m1");
    hall.voices[1].0 = tag(7);
    hall.hear(500, 0.1, |_| false);
    let (heard, _) = hall.hear(500, 0.1, |_| false);
    let share = amplitude(&heard, 1) / amplitude(&heard, 0);
    assert!((0.08..0.12).contains(&share), "{share}");

    hall.room.set_volume(tag(7), Volume::Off).expect("a volume");
    hall.hear(10, 0.1, |_| false);
    let (heard, _) = hall.hear(500, 0.1, |_| false);
    assert!(amplitude(&heard, 1) < 0.001 && amplitude(&heard, 0) > 0.05);
    assert_eq!((hall.speaker(1).volume_db, hall.speaker(1).is_off), (-20, true));
}

#[test]
fn the_deaf_hear_nobody_but_know_who_talks() {
    let mut hall = Hall::new(1);
    hall.hear(500, 0.1, |_| false);
    hall.switches.turn(crate::control::Switch::Deafen, Some(true));
    hall.hear(10, 0.1, |_| false);
    let (heard, _) = hall.hear(500, 0.1, |_| false);
    assert!(heard.iter().all(|sample| *sample == 0.0));
    assert!(hall.speaker(0).state.talking);
    hall.switches.turn(crate::control::Switch::Deafen, Some(false));
    let (heard, _) = hall.hear(500, 0.1, |_| false);
    assert!(amplitude(&heard, 0) > 0.05);
}

#[test]
fn once_warm_music_is_played_without_an_allocation() {
    let cli = Cli::parse_from(["audio-pipe", "play"]);
    let Command::Play(args) = cli.command else { panic!("play") };
    let mut room = Room::new(&args.sink, 2, Arc::default()).expect("a room");
    let settings =
        codec::Settings { mode: codec::Mode::Music, channels: 2, bitrate: 128_000, ..codec::Settings::default() };
    let mut packets = Packetizer::new(Encoder::new(settings).expect("an encoder"), 1);
    let (start, mut block) = (Instant::now(), [0.0; 2 * FRAME]);
    for n in 0..300 {
        let now = start + Duration::from_millis(10 * n);
        let mut frame: Vec<f32> = (0..2 * FRAME).map(|i| 0.3 * (i as f32 * TAU / 96.0).sin()).collect();
        packets.push(&mut frame, n * FRAME as u64, false, false).expect("a frame");
        // Some get lost, and are made up.
        if n % 20 != 19 {
            room.hear(tag(0), &packets.packet(&[]).expect("a packet"), now);
        }
        if n < 200 {
            room.play(&mut block, None, now).expect("sound");
        } else {
            assert_no_alloc(|| room.play(&mut block, None, now).map(drop)).expect("sound");
        }
    }
    let speaker = room.speakers().swap_remove(0);
    assert!(speaker.channels == 2 && speaker.figures.concealed_ms > 0 && block[0] != 0.0, "{speaker:?}");
}
