//! Background noise is taken away, and the voice is left.

use speech::{Noise, Processor, Settings};

use crate::scene::run;
use crate::voice::{RATE, Spoken, db, hum, mix, power, speak};

/// The signal-to-noise ratio of a sound whose voice and pauses are known, after 3 s: how much louder it is in the voice's
/// loudest parts than in its pauses, `lag` samples late.
fn snr(spoken: &Spoken, sound: &[f32], lag: usize) -> f32 {
    let (mut voice, mut pause) = (Vec::new(), Vec::new());
    for at in (3 * RATE..sound.len() - lag - 4800).step_by(2400) {
        let heard = power(&sound[at + lag..at + lag + 2400]);
        let said = power(&spoken.sound[at..at + 2400]);
        // A pause is one once what was before it has died away.
        if spoken.is_voice[at - 4800..at + 4800].iter().all(|is_voice| !is_voice) {
            pause.push(heard);
        } else if said > 3e-4 {
            voice.push(heard);
        }
    }
    let mean = |powers: &[f32]| powers.iter().sum::<f32>() / powers.len() as f32;
    db(mean(&voice) / mean(&pause))
}

/// How much more the voice stands out after the noise was taken away, and how much quieter the voice itself has become.
fn gain(noise: Noise) -> (f32, f32) {
    let spoken = speak(3, 16.0, 0.1);
    let level = db(power(&spoken.sound)).mul_add(0.05, -0.5);
    let noisy = mix(&spoken.sound, &hum(4, spoken.sound.len(), 10.0_f32.powf(level)));
    let mut processor = Processor::new(Settings { noise, ..Settings::default() });
    let lag = (processor.delay().as_secs_f64() * RATE as f64) as usize;
    let (out, _) = run(&mut processor, &noisy, &[]);
    let mut alone = Processor::new(Settings { noise, ..Settings::default() });
    let (clean, _) = run(&mut alone, &spoken.sound, &[]);
    let weaker = db(power(&spoken.sound[3 * RATE..]) / power(&clean[3 * RATE..]));
    (snr(&spoken, &out, lag) - snr(&spoken, &noisy, 0), weaker)
}

#[test]
fn a_voice_10_db_above_the_noise_stands_out_more_with_either_kind() {
    for noise in [Noise::Rnn, Noise::Apm] {
        let (gain, weaker) = gain(noise);
        println!("{noise}: {gain:.1} dB more, the voice alone {weaker:.1} dB weaker");
        assert!(gain > 10.0, "{noise}: {gain:.1} dB");
        assert!(weaker < 3.0, "{noise}: the voice is {weaker:.1} dB weaker");
    }
}
