//! What is done to one's own voice before it is encoded: echo, noise, gain, gate.

mod settings;

pub use settings::{Gate, Noise, Settings, Unsettable};
