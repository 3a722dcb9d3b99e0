//! What is done to one's own voice before it is encoded: echo, noise, gain, gate.
//!
//! A [`Processor`] takes what the microphone heard, block by block, and changes it in place; it is told what the loudspeaker
//! plays. Every part of it can be switched while it runs. What is off costs neither time nor delay; what is on tells by
//! [`Processor::delay`] what it costs. Nothing here knows of devices: the blocks are the only clock.
//!
//! ```
//! use speech::{BLOCK, Gate, Processor, Settings};
//!
//! let mut processor = Processor::new(Settings { gate: Gate::Voice, ..Settings::default() });
//! let mut block = [0.0; BLOCK];
//! let verdict = processor.process(&mut block);
//! assert!(!verdict.is_open, "silence is nothing to send");
//!
//! processor.set(Settings { echo: true, ..Settings::default() });
//! processor.render(&[0.0; BLOCK], std::time::Duration::from_millis(20));
//! processor.process(&mut block);
//! assert!(processor.delay().as_millis() < 16);
//! ```

mod activity;
mod apm;
mod bands;
mod gain;
mod high_pass;
mod onset;
mod processor;
mod rnn;
mod settings;
mod stage;
mod tail;
mod talkspurt;

pub use onset::Onset;
pub use processor::{Processor, Verdict};
pub use settings::{Gate, Noise, Settings, Unsettable};

/// Samples per second of all sound here.
pub const RATE: u32 = 48_000;
/// Samples of a block: 10 ms.
pub const BLOCK: usize = 480;

type Block = [f32; BLOCK];

/// The mean square of a block.
fn power(block: &Block) -> f32 {
    block.iter().map(|sample| sample * sample).sum::<f32>() / BLOCK as f32
}
