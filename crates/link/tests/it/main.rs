//! Links between endpoints on a virtual network.

#![allow(clippy::unwrap_used, reason = "helpers are tests too")]

mod closing;
mod cost;
mod delivery;
mod handshake;
mod net;
mod server;
mod strangers;
