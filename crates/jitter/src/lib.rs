//! When each frame of sound is played: between the packets of other people and one stream of samples.
//!
//! A [`Mixer`] holds one [`Speaker`] for each peer that sends. Its life:
//!
//! 1. [`Mixer::push`] takes each datagram of the voice lane as it comes, with the time at which it came. A frame goes
//!    into its speaker's buffer; a report about our own voice is handed back, for who sends it.
//! 2. [`Mixer::pull`] gives the next samples for the loudspeaker, 48 kHz, as many as asked for, in one channel or two. Each speaker
//!    decides what it plays: the frame, what a later packet says of it, made-up sound, or silence; how long it waits;
//!    and whether it runs a little faster or slower.
//! 3. [`Mixer::poll_report`] says what to tell the senders, five times a second.
//! 4. [`Mixer::set_gain`], [`Mixer::even_out`] and [`Mixer::deafen`] say how loud who is played, at any time;
//!    [`Mixer::presences`] tells who talks.
//!
//! Every sample that waits for the rest of its block is late by that much: pull short blocks (the device's period, 2.5
//! or 5 ms) and pull them as late as the device allows.
//!
//! ```
//! use jitter::{Config, Decode, Mixer, Undecodable};
//! use wire::{PeerTag, voice::{Flags, Frame, MediaTime, Voice}};
//!
//! struct Beep; // in place of Opus
//!
//! impl Decode for Beep {
//!     fn decode(&mut self, _opus: &[u8], out: &mut [f32]) -> Result<usize, Undecodable> {
//!         out.fill(0.5);
//!         Ok(out.len())
//!     }
//!     fn decode_fec(&mut self, _next: &[u8], _out: &mut [f32]) -> Result<usize, Undecodable> {
//!         Err(Undecodable)
//!     }
//!     fn deep_reach(&mut self, _later: &[u8]) -> usize {
//!         0
//!     }
//!     fn decode_deep(&mut self, _later: &[u8], _before: usize, _out: &mut [f32]) -> Result<usize, Undecodable> {
//!         Err(Undecodable)
//!     }
//!     fn conceal(&mut self, out: &mut [f32]) {
//!         out.fill(0.25);
//!     }
//!     fn reset(&mut self, _channels: usize) {}
//! }
//!
//! let now = std::time::Instant::now();
//! let mut mixer = Mixer::new(Config { start: std::time::Duration::ZERO, ..Config::default() }, || Beep);
//! let frame = Voice::Frame(Frame {
//!     stream: 0,
//!     seq: 0,
//!     time: MediaTime(0),
//!     flags: Flags::TALKSPURT_START,
//!     level: 20,
//!     opus: &[8 << 3, 0], // 10 ms
//!     copies: Vec::new(),
//! });
//! mixer.push(PeerTag(1), &frame.to_bytes(), now)?;
//!
//! let mut block = [0.0; 240];
//! let mixed = mixer.pull(&mut block, now + std::time::Duration::from_millis(5));
//! assert_eq!((mixed.speakers, block), (1, [0.5; 240]));
//! # Ok::<(), wire::DecodeError>(())
//! ```
//!
//! Nothing here reads a clock, decodes (that is behind [`Decode`]), or opens a device. Once warm, a speaker allocates
//! nothing. Whatever a peer sends, memory stays bounded and nothing panics: what makes no sense is
//! counted in [`Stats`] and dropped.

mod activity;
mod arrivals;
mod burst;
mod decode;
mod delays;
mod drift;
mod limiter;
mod loudness;
mod lowest;
mod mixer;
mod moment;
mod pace;
mod pcm;
mod playout;
mod ramp;
mod resample;
mod speaker;
mod stats;
mod store;
mod stretch;
mod target;
mod toc;
mod voiced;

pub use activity::Activity;
pub use decode::{Decode, Undecodable};
pub use mixer::{Heard, Mixed, Mixer, Sound};
pub use speaker::{Config, Pulled, Speaker};
pub use stats::Stats;
pub use voiced::Presence;

/// Samples per second of everything that is pulled or decoded.
pub const SAMPLE_RATE: u32 = 48_000;
