//! Whatever the devices give, there is sound, and afterwards there is a voice.

use std::time::Duration;

use speech::{BLOCK, Gate, Noise, Processor, Settings};

use crate::scene::run;
use crate::voice::{Dice, RATE, db, power, speak};

const ALL: Settings =
    Settings { echo: true, noise: Noise::Rnn, gain: true, gate: Gate::Voice, hangover: Duration::from_millis(300) };

/// Ways for samples to be wrong, each for a whole block.
fn garbage(kind: usize, dice: &mut Dice) -> [f32; BLOCK] {
    let mut block = [0.0; BLOCK];
    for (n, sample) in block.iter_mut().enumerate() {
        *sample = match kind {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => 1.0,
            3 => {
                if n / 50 % 2 == 0 {
                    1.0
                } else {
                    -1.0
                }
            }
            4 => f32::MAX * dice.between(-1.0, 1.0),
            5 => f32::MIN_POSITIVE * dice.unit(),
            6 => {
                if dice.unit() < 0.1 {
                    f32::NEG_INFINITY
                } else {
                    dice.between(-1.0, 1.0)
                }
            }
            _ => 0.0,
        };
    }
    block
}

#[test]
fn what_is_no_sound_does_no_harm_to_the_sound_after_it() {
    for noise in [Noise::Rnn, Noise::Apm] {
        let mut processor = Processor::new(Settings { noise, ..ALL });
        let mut dice = Dice(17);
        for n in 0..800 {
            let [mut near, far] = [n / 50 % 8, n / 30 % 8].map(|kind| garbage(kind, &mut dice));
            processor.render(&far, Duration::from_secs(dice.unit() as u64 * 1_000_000));
            let verdict = processor.process(&mut near);
            assert!(near.iter().all(|sample| (-1.0..=1.0).contains(sample)), "{n}: {near:?}");
            assert!((0.0..=1.0).contains(&verdict.score), "{n}: {verdict:?}");
        }

        let spoken = speak(19, 12.0, 0.1).sound;
        let (out, verdicts) = run(&mut processor, &spoken, &[]);

        let kept = db(power(&out[6 * RATE..]) / power(&spoken[6 * RATE..]));
        assert!(kept > -6.0, "{noise}: the voice is {kept:.1} dB louder");
        assert!(verdicts[600..].iter().any(|verdict| verdict.is_voice));
    }
}

#[test]
fn a_loudspeaker_that_gives_too_much_or_nothing_stops_nobody() {
    let mut processor = Processor::new(ALL);
    let spoken = speak(21, 6.0, 0.1).sound;
    let far = [0.1; BLOCK];
    for (n, block) in spoken.as_chunks::<BLOCK>().0.iter().enumerate() {
        let times = if n % 100 == 0 { 300 } else { usize::from(n % 7 == 0) };
        (0..times).for_each(|_| processor.render(&far, Duration::ZERO));
        let mut block = *block;
        processor.process(&mut block);
        assert!(block.iter().all(|sample| sample.is_finite()));
    }
}
