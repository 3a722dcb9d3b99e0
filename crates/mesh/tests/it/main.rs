//! Whole members on a virtual internet.

mod calls;
mod sweep;
mod world;
