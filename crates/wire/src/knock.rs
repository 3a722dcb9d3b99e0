//! The knock: how a newcomer shows a member that it knows the channel, so that the member answers it as a rendezvous would.
//!
//! ```text
//! | 0x11 | nonce 24 | sealed: the newcomer's key 32 | AEAD tag 16 |
//! ```
//! It is answered by nothing. For a short while after it, signalling packets from its address are listened to, and a
//! session of the key that it names may ask to join. A knock that was overheard can be repeated, from elsewhere, to a
//! member that has not seen it or has forgotten it: that gets a TLS handshake out of the member, which shows that
//! somebody is there, and no more, for the session must be of the key that was sealed.

/// Bytes of the nonce.
pub const NONCE: usize = 24;
/// Bytes in front of the sealed part, all of which are authenticated.
pub const HEADER: usize = 1 + NONCE;
/// Every knock is so long.
pub const LEN: usize = HEADER + 32 + 16;
