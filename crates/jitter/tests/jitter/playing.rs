//! One speaker: what is heard of it, and when.

use crate::call::{Call, Dice, Heard, MADE_UP, Path};
use wire::voice::Flags;

const SETTLED_MS: f64 = 10_000.0;

fn steady() -> impl Path {
    |_| Some(0.0)
}

fn wired(seed: u64) -> impl Path {
    let mut dice = Dice::new(seed);
    move |_| Some(1.5 * dice.share())
}

/// Loses a share of the packets; those that come vary by up to `jitter_ms`.
fn lossy(loss: f64, jitter_ms: f64) -> impl Path {
    let mut dice = Dice::new(5);
    move |_| (dice.share() >= loss).then(|| jitter_ms * dice.share())
}

/// One second of talk, then half a second of silence.
fn talkspurts(frame: i64) -> Option<Flags> {
    match frame % 150 {
        0 => Some(Flags::TALKSPURT_START),
        1..99 => Some(Flags::default()),
        99 => Some(Flags::TALKSPURT_END),
        _ => None,
    }
}

/// Two wires that each delay by up to `jitter_ms`, and lose a share together.
fn two_wires(seed: u64, loss: f64, jitter_ms: f64) -> impl Path {
    let mut dice = Dice::new(seed);
    move |_| (dice.share() >= loss).then(|| jitter_ms * (dice.share() + dice.share()))
}

#[test]
fn ten_minutes_on_a_jittery_path_end_with_the_delay_they_began_with_but_for_one_block() {
    const BLOCK_MS: f64 = 5.0;
    for phase in 0..6 {
        let mut call = Call::on(two_wires(phase + 1, 0.02, 20.0));
        call.phase_ms = phase as f64 * BLOCK_MS / 8.0 + 0.3;
        call.block = 240;
        call.has_pauses = true;
        let mut minutes = vec![Vec::new(); 10];
        let stats = call.run(600.0, |heard| {
            let delay = heard.delay_ms().filter(|_| heard.at_ms >= SETTLED_MS);
            minutes[((heard.at_ms / 60_000.0) as usize).min(9)].extend(delay);
        });
        let medians = minutes.iter_mut().map(|minute| {
            minute.sort_by(f64::total_cmp);
            minute[minute.len() / 2]
        });
        let (least, most) = medians.fold((f64::MAX, f64::MIN), |(least, most), ms| (ms.min(least), ms.max(most)));
        // Between two leads that cost the same it may step to and fro, for the target moves by a millisecond.
        assert!(most - least <= BLOCK_MS + 0.1, "phase {phase}: {least} to {most} ms");
        assert_eq!(stats.drift_ppm, 0.0, "phase {phase}: equal clocks");
    }
}

#[test]
fn sound_that_comes_in_time_is_played_as_it_was_decoded() {
    let mut next = None;
    let stats = Call::on(steady()).run(60.0, |heard| {
        if heard.at_ms < SETTLED_MS {
            return;
        }
        for sample in heard.sound {
            assert_eq!(*sample, next.unwrap_or(*sample), "at {} ms", heard.at_ms);
            next = Some(sample + 1.0);
        }
    });
    assert!(stats.shortened <= 2, "only the expectation at the start is taken back: {stats:?}");
}

#[test]
fn no_onset_is_clipped_and_none_waits_long() {
    let paths: [Box<dyn Path>; 2] = [Box::new(steady()), Box::new(wired(3))];
    for path in paths {
        let mut call = Call::on(path);
        call.talk = talkspurts;
        let (mut was_silent, mut onsets) = (true, 0);
        let stats = call.run(60.0, |heard| {
            if was_silent && !heard.pulled.silent {
                assert_eq!(heard.sound[0] % (150.0 * 480.0), 0.0, "the first sample is heard, and whole");
                assert!(heard.delay_ms().is_some_and(|delay| delay <= 3.0 + 25.0), "{:?}", heard.delay_ms());
                onsets += 1;
            }
            was_silent = heard.pulled.silent;
        });
        assert_eq!((onsets, stats.concealed), (40, 0));
    }
}

#[test]
fn an_onset_that_was_held_back_is_heard_whole_and_is_no_jitter() {
    // What began a talkspurt comes at once when it was clear that it is one: 60 ms late.
    let burst = |sent_ms: f64| Some(10.0 * (6.0 - ((sent_ms / 10.0).round() - 1.0) % 150.0).max(0.0));
    let mut call = Call::on(burst);
    call.talk = talkspurts;
    let (mut was_silent, mut onsets) = (true, 0);
    let stats = call.run(60.0, |heard| {
        if was_silent && !heard.pulled.silent {
            assert_eq!(heard.sound[0] % (150.0 * 480.0), 0.0, "the first sample is heard, and whole");
            onsets += 1;
        }
        was_silent = heard.pulled.silent;
    });
    assert_eq!((onsets, stats.concealed, stats.late), (40, 0, 0));
    assert!(stats.target.as_millis() <= 1, "the path has no jitter: {:?}", stats.target);
}

#[test]
fn a_clock_that_runs_300_ppm_off_costs_nothing() {
    for ppm in [300.0, -300.0] {
        let mut call = Call::on(wired(1));
        call.drift_ppm = ppm;
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        let stats = call.run(600.0, |heard| {
            if let Some(delay) = heard.delay_ms().filter(|_| heard.at_ms > 60_000.0) {
                (least, most) = (delay.min(least), delay.max(most));
            }
        });
        assert_eq!((stats.concealed, stats.late), (0, 0), "{ppm} ppm: no underrun");
        assert!(most - least <= 2.0, "{ppm} ppm: the delay is {least} to {most} ms");
        assert!((f64::from(stats.drift_ppm) - ppm).abs() < 5.0, "{ppm} ppm taken for {}", stats.drift_ppm);
    }
}

#[test]
fn ten_minutes_of_loss_and_jitter_end_as_they_began() {
    let mut call = Call::on(lossy(0.02, 20.0));
    call.has_lbrr = true;
    let mut means = Vec::new();
    let mut minute = Vec::new();
    let stats = call.run(600.0, |heard| {
        minute.extend(heard.delay_ms());
        if heard.at_ms >= 60_000.0 * (means.len() + 1) as f64 {
            means.push(std::mem::take(&mut minute));
        }
    });
    let mean = |minute: &Vec<f64>| minute.iter().sum::<f64>() / minute.len() as f64;
    let (first, last) = (mean(&means[1]), mean(&means[8]));
    assert!((first - last).abs() < 4.0, "from {first} to {last} ms");
    assert_eq!(stats.drift_ppm, 0.0);
    assert!(stats.lost > 1000 && stats.from_next > stats.lost / 2, "{stats:?}");
}

#[test]
fn copies_bring_back_what_is_lost_in_a_row() {
    let played_of = |copies| {
        let mut call = Call::on(lossy(0.2, 3.0));
        (call.has_lbrr, call.copies) = (true, copies);
        call.run(120.0, |_| ())
    };
    let (without, with) = (played_of(&[]), played_of(&[2, 4]));
    assert!(without.concealed > 4 * with.concealed, "{} without and {} with", without.concealed, with.concealed);
    assert!(with.from_copy > 100);
}

#[test]
fn an_outage_is_filled_for_120_ms_and_sound_is_back_at_once() {
    let mut back_ms = 0.0;
    let mut made_up = 0;
    let stats = Call::on(|sent| (!(20_000.0..20_200.0).contains(&sent)).then_some(0.0)).run(30.0, |heard| {
        made_up += heard.pulled.concealed;
        let is_real = heard.sound[479] > 0.0;
        if heard.at_ms > 20_100.0 && is_real && back_ms == 0.0 {
            back_ms = heard.at_ms;
        }
    });
    // The frame that is complete at 20200 ms is the first to come; the pull at 20203 ms has it.
    assert!(back_ms <= 20_213.0, "sound is back at {back_ms} ms");
    assert_eq!((made_up, stats.lost, stats.late), (5760, 20, 0));
}

#[test]
fn what_was_held_up_is_heard_whole_and_caught_up_with() {
    let held_up = |sent: f64| Some((20_200.0 - sent).max(0.0) * f64::from(u8::from(sent >= 20_000.0)));
    let mut frames = Vec::new();
    let mut last = None;
    Call::on(held_up).run(40.0, |heard| {
        let real = heard.sound.iter().filter(|sample| **sample > 0.0);
        frames.extend(real.map(|sample| (*sample as i64) / 480));
        frames.dedup();
        last = heard.delay_ms();
    });
    let missing: Vec<i64> = (2001..2019).filter(|frame| !frames.contains(frame)).collect();
    assert!(missing.is_empty(), "frames {missing:?} were not heard");
    assert!(last.is_some_and(|delay| delay < 15.0), "still {last:?} ms late after 20 s");
}

#[test]
fn a_shorter_path_is_used_within_two_seconds_and_a_longer_one_hurts_once() {
    let mut delay = None;
    Call::on(|sent| Some(if sent < 20_000.0 { 60.0 } else { 0.0 })).run(22.0, |heard| delay = heard.delay_ms());
    assert!(delay.is_some_and(|delay| delay < 15.0), "{delay:?} ms on the shorter path");

    let stats = Call::on(|sent| Some(if sent < 20_000.0 { 0.0 } else { 60.0 })).run(40.0, |_| ());
    assert!(stats.concealed <= 60 * 48, "{} samples made up", stats.concealed);
}

#[test]
fn after_the_last_frame_of_a_talkspurt_nothing_is_made_up() {
    fn until(frame: i64, end: Flags) -> Option<Flags> {
        (frame <= 50).then(|| if frame == 50 { end } else { Flags::default() })
    }
    let talks: [fn(i64) -> Option<Flags>; 3] = [
        |frame| until(frame, Flags::TALKSPURT_END),
        |frame| until(frame, Flags::MUTED),
        |frame| until(frame, Flags::STREAM_END),
    ];
    for talk in talks {
        let mut call = Call::on(steady());
        call.talk = talk;
        let mut heard_ms = 0.0;
        let stats = call.run(3.0, |heard: &Heard<'_>| {
            assert!(!heard.sound.contains(&MADE_UP));
            heard_ms = if heard.pulled.silent { heard_ms } else { heard.at_ms };
        });
        assert_eq!(stats.concealed, 0);
        assert!((500.0..600.0).contains(&heard_ms), "silence from {heard_ms} ms on");
    }
}

#[test]
fn late_and_paired_pulls_cost_no_more_than_they_must() {
    let mut call = Call::on(wired(1));
    call.pull_noise_ms = 5.0;
    let mut most = 0.0f64;
    let stats = call.run(60.0, |heard| {
        most = most.max(heard.delay_ms().filter(|_| heard.at_ms > SETTLED_MS).unwrap_or(0.0));
    });
    assert!(most < 14.0, "{most} ms");
    assert_eq!((stats.concealed, stats.drift_ppm), (0, 0.0));
}
