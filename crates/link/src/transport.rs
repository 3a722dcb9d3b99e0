use std::{sync::Arc, time::Duration};

use quinn_proto::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, ServerConfig, TimeSource, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};

use crate::{
    Kind, bulk,
    clock::Clock,
    ids::{Ids, OwnIds},
    lanes,
};

/// So many incoming links may be without proof at a time.
pub(crate) const MAX_PENDING: usize = 512;
/// Silence that ends a link; also the presence timeout of the rendezvous.
const IDLE_TIMEOUT: VarInt = VarInt::from_u32(30_000);
/// The client keeps a quiet link alive; one side is enough, its probe is answered.
const KEEP_ALIVE_SIGNAL: Duration = Duration::from_secs(10);
/// Shorter than what most NATs forget after; the checks of the path below are more frequent still.
const KEEP_ALIVE_PEER: Duration = Duration::from_secs(5);
/// So that a lost first flight is sent again after 150 ms, not after a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// What waits in either direction: a few packets of voice; older ones go first.
const DATAGRAM_BUFFER: usize = 16 * 1024;
/// Connection ids are on each packet; a member's few links have room in two bytes.
const SHORT_ID: usize = 2;
const LONG_ID: usize = 8;
/// So many packets may come before a peer confirms them by a packet of its own; what it says anyway confirms them along the way.
const CONFIRM_AFTER: u32 = 10;

pub(crate) fn endpoint_config(seed: [u8; 32], ids: &Arc<Ids>, kind: Kind) -> EndpointConfig {
    let ids = Arc::clone(ids);
    let len = match kind {
        Kind::Signal => LONG_ID,
        Kind::Peer => SHORT_ID,
    };
    let mut config = EndpointConfig::default();
    config
        .cid_generator(move || Box::new(OwnIds { ids: Arc::clone(&ids), kind, len }))
        .max_udp_payload_size(wire::datagram::MAX_DATAGRAM as u16)
        .expect("1280 is in the allowed range")
        .supported_versions(vec![1])
        // The first byte of a datagram tells its protocol, so QUIC's fixed bit must stay set.
        .grease_quic_bit(false)
        .rng_seed(Some(seed));
    config
}

pub(crate) fn transport_config(kind: Kind, is_client: bool) -> Arc<TransportConfig> {
    let keep_alive = match kind {
        Kind::Signal => KEEP_ALIVE_SIGNAL,
        Kind::Peer => KEEP_ALIVE_PEER,
    };
    let (stream_window, streams) = match kind {
        Kind::Signal => (wire::signal::MAX_MESSAGE as u32, 1u32),
        Kind::Peer => (bulk::MAX_WINDOW as u32, lanes::PEER.len() as u32),
    };
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(IdleTimeout::from(IDLE_TIMEOUT)))
        .keep_alive_interval(is_client.then_some(keep_alive))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(0u32.into())
        .max_concurrent_uni_streams(streams.into())
        .stream_receive_window(stream_window.into())
        .receive_window((stream_window * streams).into())
        .send_window(bulk::INITIAL_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .crypto_buffer_size(8 * 1024)
        .congestion_controller_factory(Arc::new(bulk::Factory))
        // Discovery would send probes of full size beside the voice, and gains nothing for it; 1200 bytes pass anywhere.
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false)
        .allow_spin(false);
    if kind == Kind::Peer {
        config.ack_frequency_config(Some(ack_frequency()));
    }
    Arc::new(config)
}

/// Voice that gets lost or is overtaken is nothing to tell of at once: it is not sent again. Without this, a path with jitter
/// carries a packet of confirmation for every other one of voice (draft-ietf-quic-ack-frequency).
fn ack_frequency() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(CONFIRM_AFTER.into()).reordering_threshold(0u32.into());
    config
}

pub(crate) fn server_config(tls: Arc<QuicServerConfig>, kind: Kind, clock: &Arc<Clock>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::with_crypto(tls);
    config
        .transport_config(transport_config(kind, false))
        // A peer's address is a name here and doesn't change; a member's is real and may.
        .migration(kind == Kind::Signal)
        .time_source(Arc::clone(clock) as Arc<dyn TimeSource>)
        .max_incoming(MAX_PENDING)
        .incoming_buffer_size(0)
        .incoming_buffer_size_total(0);
    Arc::new(config)
}
