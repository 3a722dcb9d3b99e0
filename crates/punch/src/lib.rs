//! Finds a path to each peer by a volley of authenticated checks, and keeps it. No sockets, no clock: feed it, then drain it.
//!
//! Two members behind NATs reach each other if both send at about the same time: what each sends opens its own NAT for
//! what the other sends. So, on learning of a peer, an [`Agent`] sends a ping to every address that the peer may be at,
//! in the order of their promise, one every millisecond (first pings to several peers do not wait for each other), and repeats
//! them ever more rarely for 3 s. An address is *usable*
//! as soon as we have sent there and an authentic packet came from there, half a round trip after both know; it is
//! *confirmed* when a ping is answered, after a whole one. This departs from ICE (RFC 8445) on purpose: there are no pairs,
//! because one socket sends to all; no roles and no nomination, because each side may use what it likes; no 50 ms between
//! checks, because that costs seconds.
//!
//! Life of a peer:
//!
//! ```text
//!  add_peer           authentic packet          pong              1.5 s nothing        3.5 s more
//! ----------> search ----------------> Usable ------> Confirmed ---------------> Doubtful -------> Lost
//!               | 3.2 s                                 ^  | better path            |                |
//!               v                                       |  v                        | pong           v
//!          Unreachable, next attempt in 5, 10 .. 300 s  Switched <------------------'          next attempt
//! ```
//!
//! A packet from an address that the peer did not list makes a peer-reflexive candidate; it carries traffic only after it
//! has answered a ping, so that nobody moves a path by copying packets. Nobody aims our checks at a victim either: an
//! address that never answers gets 40 packets an hour, whoever names it and however often, the last 10 of them only to answer
//! authentic checks from there, and all ports of a host that never answers get 400. Guesses of ports are counted apart, 1024 in 30 s, and go to the one address at which the rendezvous sees the peer.
//!
//! The driver has one socket. It gives each datagram that begins with [`wire::datagram::CHECK`] to
//! [`Agent::handle_input`], lets other datagrams pass if [`Agent::peer_at`] knows their source, sends to
//! [`Agent::route`], and tells the agent about both ([`Agent::note_received`], [`Agent::note_sent`]), because traffic is
//! the best sign of life. After each call it drains [`Agent::poll_transmit`] and [`Agent::poll_event`].
//!
//! Who relays to a peer is another [`Way`] ([`Agent::add_relay`]): checks measure it like any path, traffic takes it as long
//! as there is no direct one, and beside a direct one that is [`Route::doubtful`] ([`Agent::spare`]).
//!
//! Where routers choose another port for each destination, or have been spoilt by a packet that came too early, ports are
//! guessed ([`Pair`], [`Agent::begin_guess`]): one side opens sockets, the other side probes, both by a [`Plan`] that follows from
//! what is known of the routers. The driver opens and closes sockets as [`Agent::poll_socket_request`] says, before it sends what
//! is to be sent.
//!
//! Whoever counts sealed packets as checks do can refuse repetitions by the same [`Window`].
//!
//! What it does not do: gather candidates, forward anything for others, agree with the peer on a guess.
//!
//! ```
//! use identity::{ChannelSecret, Identity};
//! use punch::{Agent, Event, Way};
//! use wire::{PeerTag, RunId, signal::{Candidate, CandidateKind}};
//!
//! let secret = ChannelSecret::open(&Identity::from_seed(&[0; 32]).key(), "lobby");
//! let (alice, bob) = ((Identity::from_seed(&[1; 32]).key(), RunId(1)), (Identity::from_seed(&[2; 32]).key(), RunId(2)));
//! let (alice_at, bob_at) = ("203.0.113.1:4000".parse()?, "203.0.113.2:4000".parse()?);
//! let now = netsim::epoch();
//! let listed = |addr| [Candidate { addr, kind: CandidateKind::ServerReflexive }];
//!
//! let (mut left, mut right) = (Agent::new(1), Agent::new(2));
//! left.add_peer(PeerTag(1), secret.pair_keys(alice, bob), &listed(bob_at), now);
//! right.add_peer(PeerTag(1), secret.pair_keys(bob, alice), &listed(alice_at), now);
//! for _ in 0..3 {
//!     while let Some(out) = left.poll_transmit() {
//!         right.handle_input(Way::to(alice_at), &out.payload, now)?;
//!     }
//!     while let Some(out) = right.poll_transmit() {
//!         left.handle_input(Way::to(bob_at), &out.payload, now)?;
//!     }
//! }
//!
//! assert_eq!(left.route(PeerTag(1)), Some(Way::to(bob_at)));
//! assert!(matches!(left.poll_event(), Some(Event::Usable { way, .. }) if way == Way::to(bob_at)));
//! assert!(matches!(left.poll_event(), Some(Event::Confirmed { way, .. }) if way == Way::to(bob_at)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
mod choice;
mod event;
mod guess;
mod hygiene;
mod ledger;
mod owed;
mod pace;
mod path;
mod peer;
mod relayed;
mod schedule;
mod search;
mod shared;
mod surroundings;
mod way;
mod window;

pub use agent::{Agent, Route};
pub use event::{Event, Ignored, LostReason, NoPath, Transmit};
pub use guess::{Pair, Part, Plan, SocketRequest, foreseen};
pub use hygiene::Refused;
pub use way::{SocketId, Way};
pub use window::Window;
