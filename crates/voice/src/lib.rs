//! One microphone's voice, from frames of sound to what each receiver gets.
//!
//! 1. [`Packetizer::push`] takes blocks of sound as they are heard; each is encoded once, alone or two together.
//! 2. [`Receivers::handle_report`] takes what every receiver says of our voice; [`Receivers::plan`] says what follows: who
//!    gets which copies, and what the encoder should do.
//! 3. [`Packetizer::packet`] gives the bytes for each group of receivers.
//!
//! The other way round, [`Ear`] is what decodes one remote speaker inside a [`jitter::Mixer`].
//!
//! Nothing here reads a clock or knows of devices and sockets.

mod ear;
mod packets;
mod receivers;
mod redundancy;

pub use ear::Ear;
pub use packets::Packetizer;
pub use receivers::{Encoding, Plan, Receivers};
pub use redundancy::{Redundancy, Remedy, Thrift};
