//! Tells what kind of NAT a socket is behind, from what STUN servers say of it.
//!
//! [`Classifier`] asks several ports of the rendezvous at once, all from the one socket that carries the calls, and so
//! knows after one round trip on what the external port depends and how it is chosen. What takes longer is refined later:
//! who may send in, whether the outside address can be reached from inside, and how another address is mapped.
//! No socket, no clock: feed it STUN datagrams and the time, then drain it.
//!
//! One port of the server stays unasked until it has answered in the place of another, or not: the only way to learn, from a
//! socket that is in use, who may send in (RFC 5780, 4.4).
//!
//! [`why_not_direct`] and [`outlook`] say what two such routers mean for a call.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use nat::{Classifier, Config, Event, Mapping};
//! use wire::stun::{Change, Message, Question};
//!
//! let server: std::net::SocketAddr = "198.51.100.1:3478".parse().unwrap();
//! let config = Config { server, port: 5000, local: vec![], observers: vec![], spare: true, seed: [7; 32] };
//! # #[allow(clippy::disallowed_methods)]
//! let now = Instant::now(); // a program's clock; the core has none
//! let mut classifier = Classifier::new(config, now);
//! while let Some(out) = classifier.poll_transmit() {
//!     // A server that answers, seen through a NAT that has one port for all and lets nobody else in.
//!     let question = Question::read(&out.payload).unwrap();
//!     if out.to.ip() == server.ip() && question.change() == Some(Change::default()) {
//!         let answer = question.answer("203.0.113.7:5000".parse().unwrap(), None);
//!         classifier.handle_input(out.to, &answer, now + Duration::from_millis(40)).unwrap();
//!     }
//! }
//! let Some(Event::Facts(facts)) = classifier.poll_event() else { panic!("one round trip is enough") };
//! assert_eq!(facts.mapping, Some(Mapping::Eim));
//! ```

mod classifier;
mod exchange;
mod facts;
mod meaning;
mod verdict;

pub use classifier::{Classifier, Config, Event, Ignored, NEIGHBOURS, Transmit};
pub use meaning::{Outlook, outlook, why_not_direct};
pub use verdict::Sample;
pub use wire::nat::{Filtering, Mapping, NatFacts, Ports, Seen};
