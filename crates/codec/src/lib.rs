//! Opus (RFC 6716) for speech: one frame in, one packet out, and back.
//!
//! An [`Encoder`] is made once per microphone; its packets can carry a coarse copy of the frame before (LBRR), which
//! [`Decoder::decode_fec`] reads, and tell in few bits of up to a second before them (DRED), which
//! [`Decoder::decode_deep`] reads. A [`Decoder`] is made once per speaker; for every frame's time it is asked for exactly
//! one of: the frame, the copy of it in its successor, what a later packet tells of it, or something made up.
//!
//! All sound is 48 kHz `f32`. Nothing here knows of sequence numbers, time, files or devices. This is the only crate
//! with `unsafe`: it calls libopus itself, because no safe crate reaches the decoder's complexity, and with it the neural
//! concealment and enhancement, nor DRED at any place.

mod decoder;
mod deep;
mod encoder;
mod error;
mod level;

pub use decoder::{Decoder, packet_samples};
pub use deep::strip;
pub use encoder::{Encoder, Mode, Settings};
pub use error::Error;
use error::{check, describe};
pub use level::level;

/// Samples per second and channel, of everything in here.
pub const RATE: u32 = 48_000;
/// The longest time that one packet may cover: 120 ms (RFC 6716, section 2.1.4).
pub const MAX_FRAME: usize = 5760;
/// The longest packet that the encoder makes; no frame at a voice's bitrate comes near.
pub const MAX_PACKET: usize = 1275;
