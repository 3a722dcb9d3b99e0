//! What the loudspeaker plays is taken out of what the microphone hears.

use speech::{Noise, Processor, Settings};

use crate::scene::{SCENES, Scene, run};
use crate::voice::{RATE, db, hum, mix, power, speak};

/// By how much the canceller delays.
const DELAY: usize = 141;
const SECONDS: f32 = 18.0;
/// What the issue asks for, in dB.
const LEAST_ERLE: f32 = 28.0;

fn processor(noise: Noise) -> Processor {
    Processor::new(Settings { echo: true, noise, ..Settings::default() })
}

/// The echo in the microphone, and what is left of it.
fn cancelled(scene: &Scene, noise: Noise) -> (Vec<f32>, Vec<f32>) {
    let far = speak(1, SECONDS, 0.1).sound;
    let echo = scene.echo(&far);
    let near = mix(&echo, &hum(2, echo.len(), 1e-4));
    let (out, _) = run(&mut processor(noise), &near, &far);
    (echo, out)
}

/// By how much it is weaker.
fn erle(echo: &[f32], out: &[f32]) -> f32 {
    db(power(echo) / power(out))
}

#[test]
fn after_four_seconds_the_echo_is_28_db_weaker_in_all_seven_scenes() {
    for scene in &SCENES {
        let (echo, out) = cancelled(scene, Noise::Off);
        let settled = erle(&echo[4 * RATE..], &out[4 * RATE..]);
        let windows = echo.chunks(2 * RATE).zip(out.chunks(2 * RATE));
        let each: String = windows.map(|(echo, out)| format!("{:6.1}", erle(echo, out))).collect();
        println!("{:<20} {settled:.1} dB; each 2 s:{each}", scene.name);
        assert!(settled >= LEAST_ERLE, "{}: {settled:.1} dB; each 2 s:{each}", scene.name);
    }
}

#[test]
fn noise_suppression_takes_no_echo_back_in() {
    for noise in [Noise::Rnn, Noise::Apm] {
        let (echo, out) = cancelled(&SCENES[1], noise);
        let settled = erle(&echo[4 * RATE..], &out[4 * RATE..]);
        assert!(settled >= LEAST_ERLE, "{noise}: {settled:.1} dB");
    }
}

/// In which share of the stretches of 50 ms with a near voice as loud as `least` it is at most 10 dB weaker than it was.
fn kept(near: &[f32], out: &[f32], least: f32) -> f32 {
    let stretches = near.chunks(2400).zip(out[DELAY..].chunks(2400)).filter(|(near, _)| power(near) > least);
    let (mut kept, mut all) = (0.0, 0.0);
    for (near, out) in stretches {
        all += 1.0;
        kept += f32::from(u8::from(db(power(out) / power(near)) > -10.0));
    }
    kept / all
}

#[test]
fn who_speaks_while_the_other_does_is_heard() {
    for scene in &SCENES {
        let far = speak(1, SECONDS, 0.1).sound;
        let mut near = speak(5, SECONDS, 0.1).sound;
        near[..8 * RATE].fill(0.0);
        let both = mix(&mix(&scene.echo(&far), &near), &hum(2, far.len(), 1e-4));
        let (out, _) = run(&mut processor(Noise::Off), &both, &far);
        let kept = kept(&near[8 * RATE..], &out[8 * RATE..], 1e-4);
        println!("{:<20} {:.0} %", scene.name, kept * 100.0);
        assert!(kept > 0.5, "{}: {:.0} % of the voice is left", scene.name, kept * 100.0);
    }
}

#[test]
fn who_answers_at_once_is_heard_from_the_first_word() {
    for scene in &SCENES {
        let mut far = speak(1, SECONDS, 0.1).sound;
        let mut near = vec![0.0; far.len()];
        let word = speak(9, 1.0, 0.05).sound;
        for second in [6, 9, 12, 15] {
            far[second * RATE..(second + 2) * RATE].fill(0.0);
            // 150 ms after the other has fallen silent.
            near[second * RATE + 7200..(second + 1) * RATE + 7200].copy_from_slice(&word);
        }
        let both = mix(&mix(&scene.echo(&far), &near), &hum(2, far.len(), 1e-4));
        let (out, _) = run(&mut processor(Noise::Off), &both, &far);
        let kept = kept(&near[5 * RATE..], &out[5 * RATE..], 2e-5);
        println!("{:<20} {:.0} %", scene.name, kept * 100.0);
        assert!(kept > 0.75, "{}: {:.0} % of the voice is left", scene.name, kept * 100.0);
    }
}
