//! Who is in which channel: the core of a rendezvous, without sockets, clock or disk.
//!
//! A [`Registry`] is told of sessions ([`Registry::handle_connected`], [`Registry::handle_message`], ...) and then
//! drained: [`Registry::poll_output`] says what goes to which session, [`Registry::poll_event`] what happened, for logs
//! and subscribers, [`Registry::poll_timeout`] when to call [`Registry::handle_timeout`].
//!
//! The life of a session: connected -> [`ToServer::Join`](wire::signal::ToServer::Join), within [`Limits::join_within`]
//! -> seated, or refused -> leaves, is replaced by the same key, falls silent, or its channel is deleted -> closed.
//! Everybody who sits in the channel is told of a newcomer *before* the newcomer gets its roster: whoever the newcomer
//! tries to reach already expects it.
//!
//! Every member gets a ticket with its roster ([`Registry::give_tickets`]). With that it may come again before its session is
//! up ([`Registry::handle_early_join`]): it takes its seat at once, and the session takes the seat over. What stands for
//! the session until then is [told apart](ConnId::is_early): it is sent its roster alone, as
//! [a datagram](Registry::early_answer).
//!
//! A channel is either kept, made on purpose from a [`ChannelRecord`], or made on the fly by the first to join it and
//! gone with the last. The caller stores records; this core only knows those that it was given.
//!
//! ```
//! use registry::{Config, ConnId, Limits, Origin, Output, Registry};
//! use wire::{IdentityKey, VERSION, signal::{Join, ToMember, ToServer}};
//!
//! # let now = std::time::Instant::now();
//! let config = Config { server_key: IdentityKey([1; 32]), adhoc: true, limits: Limits::default(), seed: 7 };
//! let mut registry = Registry::new(config);
//! let address: std::net::SocketAddr = "203.0.113.7:40112".parse().unwrap();
//! registry.handle_connected(ConnId(1), IdentityKey([2; 32]), address, [0; 32], now);
//! let (channel, name) = ("lobby".to_owned(), "alice".to_owned());
//! let join = Join { version: VERSION, channel, name, proof: None, card: vec![], hidden: false };
//! registry.handle_message(ConnId(1), ToServer::Join(join), now);
//! assert!(matches!(registry.poll_output(), Some(Output::Seated { conn: ConnId(1), .. })));
//! let Some(Output::Send { message: ToMember::Joined(joined), .. }) = registry.poll_output() else { panic!() };
//! assert!(joined.roster.is_empty());
//! ```
//!
//! What it does not do: it never learns a channel's secret, only the public half of the join key; it never sends a
//! member an address that the session layer has not validated; it does not relay.

mod channel;
mod core;
mod limit;
mod name;
mod tickets;

pub use channel::{ChannelInfo, ChannelRecord, MemberInfo};
pub use core::{CloseWhy, Config, ConnId, CreateError, Event, Limits, Origin, Output, Registry, What};
pub use limit::{Bucket, Prefix, Rate, RateTable};
pub use name::{ChannelName, MemberName, NameError, plain_line};
