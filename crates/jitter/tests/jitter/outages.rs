//! When nothing comes for a while: what is heard of it, and how soon sound is on time again.

use std::collections::BTreeSet;

use jitter::Stats;

use crate::call::{Call, Dice, Path};

/// When the outage begins.
const FROM_MS: f64 = 20_000.0;

/// What was heard of a call of 30 s.
struct Listened {
    /// The frames of which at least half was heard.
    frames: BTreeSet<i64>,
    /// When the first real sound after the outage was heard, if there was none before.
    back_ms: f64,
    /// When the delay was again what it was before it, or nearly.
    on_time_ms: f64,
    stats: Stats,
}

fn listen<P: Path>(call: Call<P>) -> Listened {
    let (mut samples, mut back_ms, mut on_time_ms) = (std::collections::BTreeMap::<i64, usize>::new(), 0.0, 0.0);
    let mut was_silent = false;
    let stats = call.run(30.0, |heard| {
        for sample in heard.sound.iter().filter(|sample| **sample > 0.0) {
            *samples.entry(*sample as i64 / 480).or_default() += 1;
        }
        if heard.at_ms > FROM_MS && back_ms == 0.0 {
            was_silent |= heard.pulled.silent;
            back_ms = if was_silent && !heard.pulled.silent { heard.at_ms } else { 0.0 };
        }
        if heard.at_ms > FROM_MS && heard.delay_ms().is_some_and(|delay| delay > 40.0) {
            on_time_ms = heard.at_ms;
        }
    });
    let frames = samples.into_iter().filter_map(|(frame, heard)| (heard >= 240).then_some(frame)).collect();
    Listened { frames, back_ms, on_time_ms, stats }
}

fn lost_for(ms: f64) -> impl Path {
    move |sent: f64| (!(FROM_MS..FROM_MS + ms).contains(&sent)).then_some(0.0)
}

#[test]
fn words_lost_in_an_outage_are_heard_after_it_where_a_packet_tells_of_them() {
    let mut call = Call::on(lost_for(200.0));
    call.deep = 40;

    let Listened { frames, back_ms, on_time_ms, stats } = listen(call);

    // The frame that is complete at 20200 ms is the first to come; the pull at 20203 ms has it.
    assert!(back_ms <= 20_213.0, "sound is back at {back_ms} ms");
    // What is played a quarter faster leaves out one frame of five, which are not words.
    let missing: Vec<i64> = (1999..2019).filter(|frame| !frames.contains(frame)).collect();
    assert!(missing.len() <= 5, "frames {missing:?} were not heard");
    assert!(on_time_ms < 21_500.0, "late until {on_time_ms} ms");
    assert_eq!(stats.lost, 20);
    assert!(stats.deep >= 19 * 480, "{stats:?}");
}

#[test]
fn an_outage_too_short_for_silence_is_caught_up_with_as_well() {
    let mut call = Call::on(lost_for(100.0));
    call.deep = 40;

    let Listened { frames, on_time_ms, .. } = listen(call);

    let missing: Vec<i64> = (1999..2009).filter(|frame| !frames.contains(frame)).collect();
    assert!(missing.len() <= 3, "frames {missing:?} were not heard");
    assert!(on_time_ms < 21_000.0, "late until {on_time_ms} ms");
}

#[test]
fn no_more_than_400_ms_are_caught_up_with() {
    let mut call = Call::on(lost_for(800.0));
    call.deep = 100;

    let Listened { frames, on_time_ms, stats, .. } = listen(call);

    assert!((2000..2035).all(|frame| !frames.contains(&frame)), "too long ago to matter");
    assert!(stats.deep <= 19_200, "{stats:?}");
    let heard = (2042..2079).filter(|frame| frames.contains(frame)).count();
    assert!(heard > 29, "{heard} of 37 frames");
    assert!(on_time_ms < 23_000.0, "late until {on_time_ms} ms");
}

#[test]
fn words_that_no_packet_tells_of_are_not_waited_for() {
    let mut call = Call::on(lost_for(200.0));
    call.deep = 5;

    let Listened { frames, back_ms, stats, .. } = listen(call);

    assert!(back_ms <= 20_213.0, "sound is back at {back_ms} ms");
    assert!(stats.deep <= 5 * 480, "{stats:?}");
    assert!((2014..2019).filter(|frame| frames.contains(frame)).count() >= 4, "the last 50 ms are told of");
}

#[test]
fn the_better_a_remedy_the_sooner_it_is_taken() {
    let played = |has_lbrr, copies, deep| {
        let mut dice = Dice::new(3);
        let mut call = Call::on(move |_: f64| (dice.share() >= 0.2).then_some(0.0));
        (call.has_lbrr, call.copies, call.deep) = (has_lbrr, copies, deep);
        call.run(120.0, |_| ())
    };
    let all = played(true, &[2, 4], 40);
    let without_copies = played(true, &[], 40);
    let deep = played(false, &[], 40);
    let nothing = played(false, &[], 0);

    assert!(all.from_copy > 2000 && all.deep < 480 * 40, "{all:?}");
    assert!(without_copies.from_next > 1200 && without_copies.deep > 0, "{without_copies:?}");
    assert!(deep.deep > 480 * 1200 && deep.from_next == 0, "{deep:?}");
    let concealed = [all, without_copies, deep, nothing].map(|stats| stats.concealed);
    assert!(concealed[2] * 4 < concealed[3], "{concealed:?}");
}
