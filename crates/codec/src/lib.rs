//! Opus (RFC 6716) for speech: one frame in, one packet out, and back.
//!
//! An [`Encoder`] is made once per microphone and fed frames of one duration; its packets can carry a coarse copy of the
//! frame before (LBRR), which [`Decoder::decode_fec`] reads. A [`Decoder`] is made once per speaker; for every frame's
//! time it is asked for exactly one of: the frame, the copy of it in its successor, or something made up.
//!
//! All sound is 48 kHz `f32`. Nothing here knows of sequence numbers, time, files or devices. This is the only crate
//! with `unsafe`: the decoder calls libopus itself, because no safe crate reaches its complexity setting, and with it
//! the neural concealment and enhancement.

mod decoder;
mod encoder;
mod level;

pub use decoder::{Decoder, packet_samples};
pub use encoder::{Encoder, Settings};
pub use level::level;

/// Samples per second and channel, of everything in here.
pub const RATE: u32 = 48_000;
/// The longest time that one packet may cover: 120 ms (RFC 6716, section 2.1.4).
pub const MAX_FRAME: usize = 5760;
/// The longest packet that the encoder makes; no frame at a voice's bitrate comes near.
pub const MAX_PACKET: usize = 1275;

/// Why libopus did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The bytes are no Opus packet.
    #[error("{len} bytes are not an Opus packet")]
    NotOpus {
        /// How many bytes there were.
        len: usize,
    },
    /// A buffer does not fit what is to go in or out.
    #[error("{samples} samples are not an Opus frame")]
    Length {
        /// How many samples there were or was room for.
        samples: usize,
    },
    /// Anything else that libopus says; a bug or no memory.
    #[error("libopus: {0}")]
    Opus(String),
}
