//! Whole members on a virtual internet.

mod calls;
mod relay;
mod server;
mod sweep;
mod world;
