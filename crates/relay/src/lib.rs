//! Who may forward what to whom: the relay of a rendezvous, without sockets or clock.
//!
//! A [`Relay`] knows the members that sit in channels ([`Relay::open`], [`Relay::moved`], [`Relay::close`]), as the
//! registry tells of them. [`Relay::forward`] takes a [frame](wire::relay) of a member, turns it in place into the frame
//! that the others get, and says which addresses get it. [`Relay::poll_event`] says who has shown a sign of life.
//!
//! Rules:
//! - A frame names seats of the sender's channel, and no address: it goes to the validated addresses of members of that
//!   channel, or nowhere. What is sealed in it is not looked at.
//! - Who knows a session's number may send on it, from any address: a member that roams is heard at once. What is sent
//!   *to* the member goes to the address that its signalling session has validated, so nobody can aim frames elsewhere.
//! - Every copy of a frame is counted against [`Limits`]: nothing can be had for less than it costs to send it.
//! - Nothing is kept of a frame but its count ([`Counts`]).
//!
//! ```
//! use relay::{Limits, Relay};
//! use registry::{ChannelName, ConnId};
//! use wire::{MemberSlot, relay::up};
//!
//! # let now = std::time::Instant::now();
//! let mut relay = Relay::new(Limits::default(), [7; 32], now);
//! let lobby = ChannelName::parse("lobby").unwrap();
//! let [alice, bob] = ["192.0.2.1:4000", "198.51.100.2:4000"].map(|addr| addr.parse().unwrap());
//! let grant = relay.open(ConnId(1), &lobby, MemberSlot(0), alice, alice.ip(), now);
//! relay.open(ConnId(2), &lobby, MemberSlot(1), bob, bob.ip(), now);
//!
//! let mut datagram = up(grant.session, MemberSlot(1), b"sealed");
//! let forwarded = relay.forward(alice, &mut datagram, now).unwrap();
//! assert_eq!((forwarded.to, forwarded.frame), (&[bob][..], &b"\x19\x00\x00sealed"[..]));
//! ```

mod book;
mod core;
mod counts;
mod numbers;
mod quota;

pub use core::{Dropped, Event, Forwarded, Relay};
pub use counts::Counts;
pub use numbers::Numbers;
pub use quota::Limits;
