//! The real programs in a lab: started in a host, heard line by line, and ended with the test that started them.
//!
//! Everything here fails by panicking, with all that the program has said: it is for tests.

mod member;
mod miniupnpd;
mod program;
mod rendezvous;
mod script;

pub use member::{Member, Options, Peer, Portmap, State};
pub use miniupnpd::{Miniupnpd, deafen};
pub use program::{Home, Program, find};
pub use rendezvous::Rendezvous;
pub use script::VoiceChat;
