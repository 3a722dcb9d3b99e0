//! What it costs to treat one's own voice before it is encoded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use speech::{BLOCK, Noise, Processor, Settings};
use voice::{Encoding, Receivers};

use super::{
    reference::Reference,
    row::{Bound, Rows},
    usage::time_of,
};

/// How much sound is treated, in blocks of 10 ms: a minute.
const BLOCKS: usize = 6000;
/// As audio-pipe has it if nothing else is said.
const BITRATE: u32 = 56_000;
/// What of a core encoding and processing together may take.
const MOST: f64 = 2.0;

/// Adds what encoding and processing take of a core, by the CPU time of a thread that does nothing else.
pub(super) fn run(near: &[f32], far: &[f32], rows: &mut Rows<'_>) -> Result<()> {
    let mut reference = Reference::default();
    reference.measure(near)?;
    let Encoding { bitrate, complexity, .. } = Receivers::default().plan(BITRATE, Instant::now()).encoding;
    let encoding = encoding(near, codec::Settings { bitrate, complexity, ..codec::Settings::default() })?;
    let effort = self::encoding(near, codec::Settings::default())?;
    rows.tell("encoding as in a call, CPU on this machine", encoding, "%");
    rows.tell("encoding at 40 kb/s with nearly all effort, CPU on this machine", effort, "%");
    let all = Settings { echo: true, noise: Noise::Apm, gain: true, ..Settings::default() };
    let worn = Settings { echo: false, noise: Noise::Rnn, ..all };
    let treated = [("echo+noise+gain", all), ("noise (rnn)+gain", worn)]
        .map(|(name, settings)| (name, processing(settings, near, far)));
    reference.measure(near)?;
    for (name, processing) in treated {
        rows.tell(format!("processing, {name}, CPU on this machine"), processing, "%");
        for (how, encoding) in [("as in a call", encoding), ("with nearly all effort", effort)] {
            let usual = reference.usual(encoding + processing);
            let row = format!("encoding {how} and processing, {name}, CPU on the usual machine");
            rows.add(row, usual, "%", Bound::AtMost(MOST));
        }
    }
    reference.tell(rows);
    Ok(())
}

fn processing(settings: Settings, near: &[f32], far: &[f32]) -> f64 {
    let mut processor = Processor::new(settings);
    let near = near.as_chunks::<BLOCK>().0.iter().cycle();
    let far = far.as_chunks::<BLOCK>().0.iter().cycle();
    share(|| {
        for (near, far) in near.zip(far).take(BLOCKS) {
            // Half of what is played comes back.
            let mut block = [0.0; BLOCK];
            for (sample, (near, far)) in block.iter_mut().zip(near.iter().zip(far)) {
                *sample = near + far * 0.5;
            }
            processor.render(far, Duration::from_millis(20));
            processor.process(&mut block);
        }
    })
}

fn encoding(speech: &[f32], settings: codec::Settings) -> Result<f64> {
    let mut encoder = codec::Encoder::new(settings)?;
    let mut outcome = Ok(());
    let taken = share(|| {
        for block in speech.as_chunks::<BLOCK>().0.iter().cycle().take(BLOCKS) {
            if let Err(error) = encoder.encode(block) {
                outcome = Err(error);
            }
        }
    });
    outcome.context("encode speech")?;
    Ok(taken)
}

/// What of a core some work on a minute of sound takes, in percent.
fn share(work: impl FnOnce()) -> f64 {
    let took = time_of(work);
    let sound = BLOCKS as f64 * BLOCK as f64 / f64::from(speech::RATE);
    100.0 * took.as_secs_f64() / sound
}
