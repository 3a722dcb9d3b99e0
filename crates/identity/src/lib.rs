//! Who a person is, what the members of a channel share, and whom we have met before.
//!
//! - An [`Identity`] is an Ed25519 key pair: a person's, a server's, or, as a *join key*, a channel's.
//! - A [`ChannelSecret`] is 32 bytes that all members of a channel know and the server does not (but for open channels,
//!   whose secret follows from public names). Everything else is derived from it with HKDF-SHA256 (RFC 5869) under its
//!   own label: the join key, the key that seals cards, and the [`PairKeys`] of two members, for the checks of their
//!   paths and the proofs of their session.
//! - An [`Ephemeral`] is an X25519 key pair of one run. From those of two members, and the channel secret, follow their
//!   [`EarlyVoiceKeys`], which no third has.
//! - A [`TicketKey`] is a rendezvous' own: it seals tickets, and with each ticket come [`EarlyKeys`] that its member and the
//!   rendezvous share.
//! - [`KnownPeers`] pins keys to names on first use, as SSH does.
//!
//! Life cycle: load or generate the identity once; make a channel secret when the server's key is known; take keys from
//! it as needed. Nothing changes state afterwards, so nothing here needs the time.
//!
//! What it does not do: read or write files, ask for passwords, judge their strength, or talk to anybody. Randomness
//! comes from the operating system and is needed to generate an identity, an invite or an ephemeral key, nowhere else.
//!
//! ```
//! use identity::{ChannelSecret, Identity};
//! use wire::{RunId, check::Check};
//!
//! let (server, alice, bob) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]), Identity::from_seed(&[3; 32]));
//! let secret = ChannelSecret::open(&server.key(), "lobby");
//! let (a, b) = ((alice.key(), RunId(1)), (bob.key(), RunId(2)));
//! let datagram = secret.pair_keys(a, b).seal(0, &Check::Ping { txid: 7 });
//! assert_eq!(secret.pair_keys(b, a).open(&datagram), Some((0, Check::Ping { txid: 7 })));
//! ```

mod card;
mod channel;
mod derive;
mod early;
mod early_voice;
mod hex;
mod key;
mod knock;
mod known;
mod pair;

pub use card::CardError;
pub use channel::{ChannelSecret, InviteSecret, ParseInviteError, PasswordError, join_statement};
pub use early::{EarlyKeys, TicketFacts, TicketKey};
pub use early_voice::{EarlyVoiceKeys, Ephemeral};
pub use key::{Identity, ParseIdentityError, verify};
pub use knock::KnockKey;
pub use known::{Known, KnownPeer, KnownPeers, ParseKnownPeersError};
pub use pair::PairKeys;
