//! What a chat program has to know about text messages, without a terminal and without a network.
//!
//! - [`MessageId`]s: [`new_id`] makes one from a time and randomness, [`sent_at`] reads the time again.
//! - [`Outgoing`] follows each text that was sent until everybody it was for has it, or has not: a [`Receipt`].
//! - [`Seen`] tells a text that came twice from one that is new.
//! - [`check`] says which texts may be sent at all.
//! - [`Input`] is a line that somebody typed: a text, or a command; [`addressee`] finds whom a name means.
//!
//! Life cycle of a text: [`check`], [`new_id`], [`Outgoing::start`]; then feed every delivery and the settlement that
//! `puncher` reports, and the time; then drain receipts with [`Outgoing::poll_receipt`].
//!
//! What it does not do: keep history, encrypt, retry (that is `puncher`'s work), or show anything.
//!
//! ```
//! use std::time::Instant;
//! use chat::{Outgoing, Verdict};
//! use wire::{PeerTag, agent::Delivery, peer::Keeper};
//!
//! let id = chat::new_id(1_700_000_000_000, [7; 10]);
//! let mut outgoing = Outgoing::default();
//! outgoing.start(id, Instant::now());
//! outgoing.handle_delivery(id, PeerTag(1), "bob", Delivery::Delivered(Keeper::Chat));
//! outgoing.handle_settled(id);
//! assert_eq!(outgoing.poll_receipt().map(|receipt| receipt.verdict()), Some(Verdict::Delivered));
//! ```
//!
//! [`MessageId`]: wire::MessageId

mod id;
mod input;
mod outgoing;
mod seen;

pub use id::{id_text, new_id, sent_at};
pub use input::{AddresseeError, Input, LINE_LIMIT, TextError, addressee, check};
pub use outgoing::{Outgoing, Reached, Receipt, SETTLE_TIMEOUT, Verdict};
pub use seen::Seen;
