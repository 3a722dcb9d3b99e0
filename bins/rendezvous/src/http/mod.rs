//! HTTP for people and scripts: the page, the JSON interface, and events.

mod accept;
mod api;
mod body;
mod form;
mod limits;
mod page;
mod problem;
mod router;
mod sse;
mod websocket;

use std::sync::Arc;

use wire::IdentityKey;

pub(crate) use accept::serve;
pub(crate) use limits::{Gate, GateConfig};

use crate::{directory::Directory, feed::Feed, stop::Stop, store::Keeper, tunnel::Entrance};

/// What every request may use.
pub(crate) struct App {
    pub(crate) directory: Directory,
    pub(crate) keeper: Keeper,
    pub(crate) feed: Arc<Feed>,
    pub(crate) entrance: Entrance,
    pub(crate) gate: Gate,
    pub(crate) server: ServerInfo,
    /// Signs the tokens of forms.
    pub(crate) form_key: [u8; 32],
    pub(crate) stop: Stop,
    pub(crate) streams: tokio::sync::Semaphore,
}

/// Streams of events that there may be at once.
pub(crate) const MAX_STREAMS: usize = 1024;

/// What the rendezvous says of itself.
#[derive(Clone, Debug)]
pub(crate) struct ServerInfo {
    pub(crate) key: IdentityKey,
    pub(crate) udp_port: u16,
    pub(crate) adhoc: bool,
}
