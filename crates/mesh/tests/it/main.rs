//! Whole members on a virtual internet.

mod calls;
mod crowd;
mod early;
mod early_voice;
mod guess;
mod lend;
mod member;
mod observe;
mod offered;
mod relay;
mod rendezvous;
mod scenario;
mod server;
mod sweep;
mod tunnel;
mod via;
mod world;
