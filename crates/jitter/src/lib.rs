//! When each frame of sound is played: between the packets of other people and one stream of samples.
//!
//! A [`Mixer`] holds one [`Speaker`] for each peer that sends. Its life:
//!
//! 1. [`Mixer::push`] takes each datagram of the voice lane as it comes, with the time at which it came. A frame goes
//!    into its speaker's buffer; a report about our own voice is handed back, for [`Redundancy`].
//! 2. [`Mixer::pull`] gives the next samples for the loudspeaker, 48 kHz mono, as many as asked for. Each speaker
//!    decides what it plays: the frame, what a later packet says of it, made-up sound, or silence; how long it waits;
//!    and whether it runs a little faster or slower.
//! 3. [`Mixer::poll_report`] says what to tell the senders, five times a second.
//!
//! Every sample that waits for the rest of its block is late by that much: pull short blocks (the device's period, 2.5
//! or 5 ms) and pull them as late as the device allows.
//!
//! Nothing here reads a clock, decodes (that is behind [`Decode`]), or opens a device. Once warm, a speaker allocates
//! nothing. Whatever a peer sends, memory stays bounded and nothing panics: what makes no sense is
//! counted in [`Stats`] and dropped.

mod arrivals;
mod decode;
mod delays;
mod drift;
mod limiter;
mod lowest;
mod mixer;
mod moment;
mod pace;
mod pcm;
mod playout;
mod redundancy;
mod resample;
mod speaker;
mod stats;
mod store;
mod stretch;
mod target;
mod toc;

pub use decode::{Decode, Undecodable};
pub use mixer::{Heard, Mixed, Mixer};
pub use redundancy::{Redundancy, Remedy};
pub use speaker::{Config, Pulled, Speaker};
pub use stats::Stats;

/// Samples per second of everything that is pulled or decoded.
pub const SAMPLE_RATE: u32 = 48_000;
