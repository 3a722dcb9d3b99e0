//! Guesses the ports of routers that choose another one for each destination, from many sockets or at many ports.

mod plan;
mod ports;
mod probes;
mod run;

pub use plan::{Pair, Part, Plan};
pub use ports::foreseen;
pub(crate) use probes::Probes;
pub(crate) use run::Guesser;
pub use run::SocketRequest;
