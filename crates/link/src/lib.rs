//! Secure sessions over opaque addresses: one [`Endpoint`] holds all sessions of a program, as client and as server.
//!
//! An address is only a name for a path here. A layer below may map it to any real path, change its mind between two
//! datagrams, or send a datagram twice: sessions don't notice. No socket, no clock: feed it, then drain it.
//!
//! Life cycle of a link. [`Endpoint::connect`] opens it, or a datagram from outside does: anybody may open a
//! [`Kind::Signal`] link to an endpoint that accepts them, but a [`Kind::Peer`] link only comes from an address that
//! [`Endpoint::expect`] has announced, and with the key announced with it; everybody else gets silence. Both sides prove
//! their identity keys in the handshake. On a peer link each side also proves that it knows what only members of the
//! channel know, and before the other's proof holds nothing else is sent or accepted. Then comes [`Event::Connected`],
//! once: messages (in order on each lane, none lost) and datagrams (soon, or not at all) go both ways until
//! [`Event::Closed`], once, or until [`Endpoint::close`].
//!
//! A server proves itself in its first flight, before the client has proved anything, so that the client is connected
//! and may speak after one round trip, the server after one and a half. What the proof is made with must therefore
//! belong to the two alone and be past guessing.
//!
//! What is promised: datagrams are never held back by messages, by loss, or by pacing; messages share what the path
//! carries beside them, and back off when its queues grow. All memory is bounded.
//!
//! What it does not do: find paths, judge whether a path works (but for a long silence), know what a message means, or
//! resume a session. Inside it is QUIC (RFC 9000) with datagrams (RFC 9221), TLS 1.3 and raw public keys (RFC 7250);
//! nothing of that shows outside.
//!
//! ```
//! use std::time::Instant;
//! use identity::Identity;
//! use link::{Accept, Config, Endpoint, Event, Kind};
//!
//! let (now, at) = (netsim::epoch(), |port| std::net::SocketAddr::from(([192, 0, 2, 1], port)));
//! let endpoint = |identity: &Identity, accept| Endpoint::new(Config { identity, seed: [0; 32], accept }, now);
//! let (alice, server) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
//! let (mut a, mut s) = (endpoint(&alice, Accept::None), endpoint(&server, Accept::Signal));
//!
//! let link = a.connect(Kind::Signal, at(2), Some(server.key()), now)?;
//! loop {
//!     if let Some(out) = a.poll_transmit(now) {
//!         s.handle_datagram(at(1), &out.payload, now);
//!     } else if let Some(out) = s.poll_transmit(now) {
//!         a.handle_datagram(at(2), &out.payload, now);
//!     } else {
//!         break;
//!     }
//! }
//! assert!(matches!(a.poll_event(), Some((l, Event::Connected { key, .. })) if l == link && key == server.key()));
//! assert!(matches!(s.poll_event(), Some((_, Event::Connected { key, .. })) if key == alice.key()));
//! # Ok::<(), link::ConnectError>(())
//! ```

mod bulk;
mod census;
mod clock;
mod early_exporter;
mod echo;
mod endpoint;
mod event;
mod ids;
mod lanes;
#[cfg(test)]
mod misbehaviour;
mod proof;
mod session;
mod tls;
mod transport;

pub use endpoint::{Accept, Config, Endpoint, MAX_LINKS, Transmit};
pub use event::{CloseReason, ConnectError, Event, Kind, LinkId, OWN_CODES, SendError, Stats};
pub use ids::{is_handshake, kind};
