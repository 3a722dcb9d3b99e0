//! Whether somebody speaks.

use speech::{BLOCK, Gate, Processor, Settings, Verdict};

use crate::scene::run;
use crate::voice::{Spoken, hum, mix, speak};

fn heard(spoken: &Spoken, noise: f32) -> Vec<Verdict> {
    let mut processor = Processor::new(Settings { gate: Gate::Voice, ..Settings::default() });
    let sound = mix(&spoken.sound, &hum(6, spoken.sound.len(), noise));
    run(&mut processor, &sound, &[]).1
}

/// How late the gate opens after each pause, in blocks; `None` where it never does before the next one.
fn lateness(spoken: &Spoken, verdicts: &[Verdict]) -> Vec<Option<usize>> {
    let is_voice: Vec<bool> = spoken.is_voice.chunks(BLOCK).map(|block| block[0]).collect();
    let starts = (1..is_voice.len()).filter(|n| is_voice[*n] && !is_voice[n - 1]);
    starts
        .map(|start| {
            let end = (start..is_voice.len()).find(|n| !is_voice[*n]).unwrap_or(is_voice.len());
            (start..end).find(|n| verdicts[*n].is_open).map(|n| n - start)
        })
        .collect()
}

/// The shares of blocks at which the gate is open: of those with a voice, and of those without one for 400 ms, so that
/// it is no hangover.
fn shares(spoken: &Spoken, verdicts: &[Verdict]) -> (f32, f32) {
    const SINCE: usize = 40;
    let (mut hits, mut voice, mut wrong, mut pause) = (0.0, 0.0, 0.0, 0.0);
    for (n, verdict) in verdicts.iter().enumerate().skip(SINCE) {
        let at = n * BLOCK;
        let is_open = f32::from(u8::from(verdict.is_open));
        if spoken.is_voice[at..at + BLOCK].iter().all(|is_voice| *is_voice) {
            voice += 1.0;
            hits += is_open;
        } else if spoken.is_voice[at - SINCE * BLOCK..at + BLOCK].iter().all(|is_voice| !is_voice) {
            pause += 1.0;
            wrong += is_open;
        }
    }
    (hits / voice, wrong / pause)
}

#[test]
fn the_gate_is_open_while_somebody_speaks_and_closed_in_pauses() {
    let spoken = speak(7, 60.0, 0.1);
    for (noise, most_wrong) in [(0.0, 0.2), (1e-4, 0.2), (1e-3, 0.25)] {
        let verdicts = heard(&spoken, noise);
        let (hits, wrong) = shares(&spoken, &verdicts);
        println!("noise {noise}: hits {:.1} %, false {:.1} %", hits * 100.0, wrong * 100.0);
        assert!(hits > 0.93 && wrong < most_wrong, "noise {noise}: hits {hits}, false {wrong}");
    }
}

#[test]
fn every_onset_is_noticed_before_what_is_held_back_is_forgotten() {
    let spoken = speak(7, 60.0, 0.1);
    for noise in [0.0, 1e-4, 1e-3, 1e-2] {
        let late = lateness(&spoken, &heard(&spoken, noise));
        assert!(late.len() > 20 && late.iter().all(|late| late.is_some_and(|late| late <= 12)), "{noise}: {late:?}");
    }
}

#[test]
fn push_to_talk_asks_the_key_alone() {
    let settings = Settings { gate: Gate::PushToTalk, ..Settings::default() };
    let mut processor = Processor::new(settings);
    let mut block = [0.3; BLOCK];
    assert!(!processor.process(&mut block).is_open);
    processor.press(true);
    assert!(processor.process(&mut block).is_open);
    assert!(processor.listen(&block[..120]).is_open);
    processor.press(false);
    assert!(!processor.process(&mut block).is_open);
    assert_eq!(block, [0.3; BLOCK]);
}
