//! What it costs to treat one's own voice before it is encoded.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use speech::{BLOCK, Noise, Processor, Settings};
use voice::{Encoding, Receivers};

use super::row::{Bound, Rows};

/// How much sound is treated, in blocks of 10 ms: a minute.
const BLOCKS: usize = 6000;
/// As audio-pipe has it if nothing else is said.
const BITRATE: u32 = 56_000;
/// What encoding with all effort at 40 kb/s takes on the machine for which that was found to be a good bound, in percent.
const USUAL: f64 = 0.92;
/// What of a core encoding and processing together may take.
const MOST: f64 = 2.0;

/// Adds what encoding and processing take of a core, by the CPU time of a thread that does nothing else.
pub(super) fn run(near: &[f32], far: &[f32], rows: &mut Rows<'_>) -> Result<()> {
    let measure = encoding(near, codec::Settings::default())?;
    let Encoding { bitrate, complexity, .. } = Receivers::default().plan(BITRATE, Instant::now()).encoding;
    let encoding = encoding(near, codec::Settings { bitrate, complexity, ..codec::Settings::default() })?;
    rows.tell("encoding as in a call, CPU", encoding, "%");
    let all = Settings { echo: true, noise: Noise::Apm, gain: true, ..Settings::default() };
    let worn = Settings { echo: false, noise: Noise::Rnn, ..all };
    for (name, settings) in [("echo+noise+gain", all), ("noise (rnn)+gain", worn)] {
        let processing = processing(settings, near, far);
        rows.tell(format!("processing, {name}, CPU"), processing, "%");
        let both = encoding + processing;
        rows.add(format!("encoding and processing, {name}, CPU"), both, "%", Bound::AtMost(MOST));
        rows.tell("  where encoding with all effort takes 0.92 %", both * USUAL / measure, "%");
    }
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
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let before = now();
    work();
    let sound = BLOCKS as f64 * BLOCK as f64 / f64::from(speech::RATE);
    100.0 * now().saturating_sub(before).as_secs_f64() / sound
}
