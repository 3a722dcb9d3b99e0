//! Quiet voices become as loud as others, loud ones do not clip.

use speech::{Processor, Settings};

use crate::scene::{SCENES, run};
use crate::voice::{RATE, db, hum, mix, power, speak};

const GAIN: Settings = Settings { gain: true, ..OFF };
const OFF: Settings = Settings {
    echo: false,
    noise: speech::Noise::Off,
    gain: false,
    gate: speech::Gate::Open,
    hangover: std::time::Duration::from_millis(300),
};

fn peak(sound: &[f32]) -> f32 {
    sound.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

#[test]
fn quiet_and_loud_voices_come_out_alike_and_none_clips() {
    for loudness in [0.01, 0.03, 0.1, 0.3, 0.6] {
        let spoken = speak(11, 30.0, loudness).sound;
        let sound = mix(&spoken, &hum(12, spoken.len(), loudness * 0.003));
        let (out, _) = run(&mut Processor::new(GAIN), &sound, &[]);
        let (before, after) = (&spoken[15 * RATE..], &out[15 * RATE..]);
        let level = db(power(after));
        println!("{:.1} dBFS -> {level:.1} dBFS, peak {:.2} -> {:.2}", db(power(before)), peak(before), peak(&out));
        assert!((-23.0..-11.0).contains(&level), "{loudness}: {level:.1} dBFS");
        assert!(peak(&out) <= 1.0);
    }
}

#[test]
fn noise_alone_is_not_made_louder() {
    let noise = hum(14, 20 * RATE, 0.001);
    let (out, _) = run(&mut Processor::new(GAIN), &noise, &[]);
    let by = db(power(&out[10 * RATE..]) / power(&noise[10 * RATE..]));
    assert!(by < 1.0, "{by:.1} dB louder");
}

#[test]
fn what_is_left_of_an_echo_is_no_voice_to_be_made_louder() {
    let far = speak(1, 16.0, 0.1).sound;
    let mut near = speak(11, 16.0, 0.1).sound;
    near[..12 * RATE].fill(0.0);
    let heard = mix(&mix(&SCENES[1].echo(&far[..12 * RATE]), &vec![0.0; 12 * RATE]), &[]);
    let sound = mix(&near, &heard);
    let (out, _) = run(&mut Processor::new(Settings { echo: true, ..GAIN }), &sound, &far[..12 * RATE]);
    let first = 12 * RATE..13 * RATE;
    let by = db(power(&out[first.clone()]) / power(&near[first]));
    assert!(by < 6.5, "the first second is {by:.1} dB louder than it was said");
}
