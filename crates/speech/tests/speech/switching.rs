//! Everything can be switched while somebody speaks.

use speech::{BLOCK, Gate, Noise, Processor, Settings};

use crate::scene::{SCENES, run};
use crate::voice::{RATE, db, lag, power, speak};

#[test]
fn the_delay_that_is_told_is_the_delay_that_there_is() {
    let spoken = speak(13, 1.5, 0.1).sound;
    let quiet = Settings::default();
    for settings in [
        quiet,
        Settings { echo: true, ..quiet },
        Settings { noise: Noise::Apm, ..quiet },
        Settings { noise: Noise::Rnn, ..quiet },
        Settings { gain: true, ..quiet },
        Settings { echo: true, noise: Noise::Apm, gain: true, ..quiet },
    ] {
        let mut processor = Processor::new(settings);
        let told = (processor.delay().as_secs_f64() * RATE as f64).round() as usize;
        let (out, _) = run(&mut processor, &spoken, &[]);
        let (lag, likeness) = lag(&spoken[2 * BLOCK..], &out[2 * BLOCK..]);
        println!("{:?}: {lag} samples, alike {likeness:.2}", settings.words());
        assert!(lag.abs_diff(told) <= 24, "{:?}: told {told}, is {lag}", settings.words());
    }
}

#[test]
fn while_nothing_is_on_no_sample_changes() {
    let spoken = speak(13, 5.0, 0.7).sound;
    let gate = Settings { gate: Gate::Voice, ..Settings::default() };
    for settings in [Settings::default(), gate] {
        let (out, verdicts) = run(&mut Processor::new(settings), &spoken, &spoken);
        assert!(out[..] == spoken[..out.len()]);
        assert_eq!(verdicts.iter().all(|verdict| verdict.is_open), settings.gate == Gate::Open);
    }
}

#[test]
fn the_canceller_is_there_whatever_becomes_of_the_noise() {
    let far = speak(1, 16.0, 0.1).sound;
    let near = SCENES[0].echo(&far);
    let mut processor = Processor::new(Settings { echo: true, noise: Noise::Apm, ..Settings::default() });
    for noise in [Noise::Apm, Noise::Rnn, Noise::Apm, Noise::Off] {
        processor.set(Settings { echo: true, noise, ..Settings::default() });
        let (out, _) = run(&mut processor, &near[..8 * RATE], &far);
        let erle = db(power(&near[4 * RATE..8 * RATE]) / power(&out[4 * RATE..]));
        assert!(processor.wants_render() && erle >= 28.0, "{noise}: {erle:.1} dB");
    }
}

#[test]
fn nothing_clicks_whatever_is_switched() {
    let step = 0.3 * 200.0 * std::f32::consts::TAU / RATE as f32;
    let words = [
        ("echo", "on"),
        ("noise", "rnn"),
        ("gain", "on"),
        ("noise", "apm"),
        ("echo", "off"),
        ("noise", "off"),
        ("gate", "voice"),
        ("gain", "off"),
        ("echo", "on"),
        ("echo", "off"),
        ("noise", "apm"),
        ("noise", "rnn"),
    ];
    for between in [1, 3, 4, 5, 40] {
        let mut settings = Settings::default();
        let mut processor = Processor::new(settings);
        let mut last = 0.0_f32;
        let mut largest = 0.0_f32;
        for n in 0..between * words.len() {
            let mut block = [0.0; BLOCK];
            for (i, sample) in block.iter_mut().enumerate() {
                *sample = 0.3 * (((n * BLOCK + i) as f32 / RATE as f32 * 200.0).fract() * std::f32::consts::TAU).sin();
            }
            if n % between == 0 {
                let (key, value) = words[n / between];
                settings.set(key, value).expect("a setting");
                processor.set(settings);
            }
            processor.process(&mut block);
            for sample in block {
                largest = largest.max((sample - last).abs());
                last = sample;
            }
        }
        assert!(largest < 3.0 * step, "every {between} blocks: a step of {largest}, {step} in the tone itself");
    }
}
