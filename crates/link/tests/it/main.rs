//! Links between endpoints on a virtual network.

mod closing;
mod cost;
mod delivery;
mod handshake;
mod net;
mod server;
mod strangers;
