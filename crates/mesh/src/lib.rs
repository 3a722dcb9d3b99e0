//! One member of a channel: its session with the rendezvous, its paths to the other members, and its sessions with them.
//!
//! [`Mesh`] puts three cores together and adds the rules between them. No socket, no clock: feed it datagrams and the
//! time, then drain it until it has nothing more to say.
//!
//! ```text
//!             roster                keys, candidates             path open
//! rendezvous ---------> signalling ------------------> punch ----------------> link: secure session, lanes
//! ```
//!
//! The life of a peer: it is *seen* in the roster or announced; the volley starts and, on the side with the higher key,
//! a session is opened at once over whatever address looks best; the first authentic check makes a path *usable* and
//! the session's packets follow it; when both have proved the channel secret the peer is *secure*, and lanes carry.
//! A peer that the rendezvous no longer hears of stays as long as its own session lives: calls don't need the server.
//!
//! From the moment two members know each other and have a way, *early voice* flows, until the session takes over.
//!
//! A member that has a ticket of an earlier join is in the channel before its session with the rendezvous is up.
//! Members need no rendezvous to know of each other. They *gossip*: whoever has a session is told of everybody else. One that
//! can be reached lets others in: who *knocks* at its *door* is introduced by its own registry, over the *bridge*. And
//! where two have no direct path, a third that has one to both *lends* its own.
//!
//! To QUIC a peer lives at one made-up address (`fd00::tag`); [`punch`] says at each packet where that is.

mod bridge;
mod config;
mod deliveries;
mod detour;
mod door;
mod early;
mod early_voice;
mod entry;
mod event;
mod gossip;
mod guessing;
mod introducer;
mod lend;
mod member;
#[cfg(test)]
mod misbehaviour;
mod observe;
mod outbox;
mod peer;
mod roster;
mod signalling;
mod told;
mod traffic;
mod ways;

pub use config::{Config, Relaying, Secret, Via};
pub use detour::TUNNEL;
pub use event::{Event, ServerEvent, Transmit};
pub use lend::LendCounts;
pub use member::Mesh;
pub use observe::Observe;
pub use punch::{SocketId, SocketRequest};
