//! TLS's exporter (RFC 8446, 7.5) for a server that has not heard the client's last flight.
//!
//! The secret behind it exists once the server has made its own Finished, but rustls exports nothing before the
//! client's. It shows the secret to a key log at the right moment, so here is a log that keeps this one, for one link,
//! until it was used.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use hkdf::Hkdf;
use rustls::KeyLog;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What the log of rustls calls it (the exporter_master_secret of RFC 8446, 7.1).
const LABEL: &str = "EXPORTER_SECRET";

/// Keeps the exporter secret of one server, and nothing else of what it is shown.
#[derive(Default)]
pub(crate) struct EarlyExporter(Mutex<Option<Zeroizing<[u8; 32]>>>);

impl EarlyExporter {
    /// The value that both ends of the session can export, if the secret is there; then forgets the secret.
    pub(crate) fn take(&self, label: &[u8], context: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let secret = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(export(&secret, label, context))
    }
}

impl KeyLog for EarlyExporter {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let mut kept = Zeroizing::new([0; 32]);
        // All cipher suites here use SHA-256; of another length there would be no early value.
        if label == LABEL && secret.len() == kept.len() {
            kept.copy_from_slice(secret);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        label == LABEL
    }
}

impl fmt::Debug for EarlyExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EarlyExporter(..)")
    }
}

/// TLS-Exporter (RFC 8446, 7.5).
fn export(secret: &[u8; 32], label: &[u8], context: &[u8]) -> Zeroizing<[u8; 32]> {
    let derived = expand_label(secret, label, &Sha256::digest([]).into());
    expand_label(&derived, b"exporter", &Sha256::digest(context).into())
}

/// HKDF-Expand-Label (RFC 8446, 7.1) to the length of a hash.
fn expand_label(secret: &[u8; 32], label: &[u8], hash: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    const PREFIX: &[u8] = b"tls13 ";
    let mut out = Zeroizing::new([0; 32]);
    let label_len = [(PREFIX.len() + label.len()) as u8];
    let info = [&[0, 32], &label_len[..], PREFIX, label, &[32], hash];
    Hkdf::<Sha256>::from_prk(secret)
        .expect("the secret is as long as the hash")
        .expand_multi_info(&info, out.as_mut())
        .expect("the output is as long as the hash");
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use identity::Identity;
    use rustls::{
        CipherSuite, SupportedCipherSuite,
        quic::{ClientConnection, Connection, ServerConnection, Version},
    };

    use super::*;
    use crate::{Kind, tls::Tls};

    /// Made with another program from RFC 7.1's and 7.5's text; the secret is the "exp master" of RFC 8448, 3.
    #[test]
    fn exported_bytes() {
        let secret = 0xfe22_f881_176e_da18_eb8f_4452_9e67_92c5_u128.to_be_bytes();
        let rest = 0x0c9a_3f89_452f_68d8_ae31_1b43_09d3_cf50_u128.to_be_bytes();
        let secret = [secret, rest].concat().try_into().unwrap();
        let start =
            |context| u64::from_be_bytes(*export(&secret, wire::peer::PROOF_EXPORTER, context).first_chunk().unwrap());
        assert_eq!([start(b""), start(b"context")], [0xdd57_146b_3735_0338, 0xa775_a3fe_8a7e_67f8]);
    }

    /// A handshake up to the server's Finished; the client has read it and knows what it may export.
    fn half_shaken(suite: SupportedCipherSuite) -> (Connection, Arc<EarlyExporter>) {
        let (alice, bob) = (Identity::generate(), Identity::generate());
        let early = Arc::new(EarlyExporter::default());
        let client_config = Tls::with_suites(&alice, vec![suite]).client_config(Kind::Peer, Some(bob.key()));
        let server_config =
            Tls::with_suites(&bob, vec![suite]).server_config(Kind::Peer, Some(alice.key()), Some(&early));
        let name = "punchline".try_into().unwrap();
        let client = ClientConnection::new(Arc::new(client_config), Version::V1, name, Vec::new()).unwrap();
        let server = ServerConnection::new(Arc::new(server_config), Version::V1, Vec::new()).unwrap();
        let (mut client, mut server) = (Connection::from(client), Connection::from(server));
        let mut flight = Vec::new();
        client.write_hs(&mut flight);
        server.read_hs(&flight).unwrap();
        loop {
            flight.clear();
            let change = server.write_hs(&mut flight);
            client.read_hs(&flight).unwrap();
            if flight.is_empty() && change.is_none() {
                break;
            }
        }
        assert!(server.is_handshaking() && server.export_keying_material([0; 32], b"label", None).is_err());
        (client, early)
    }

    #[test]
    fn the_early_value_is_what_the_client_exports_in_every_suite() {
        let suites = Tls::new(&Identity::generate()).suites();
        let names: Vec<_> = suites.iter().map(SupportedCipherSuite::suite).collect();
        assert_eq!(names, [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256]);
        for suite in suites {
            for (label, context) in [(wire::peer::PROOF_EXPORTER, &b""[..]), (b"x", b"some context")] {
                let (client, early) = half_shaken(suite);
                let exported = client.export_keying_material([0; 32], label, Some(context)).unwrap();
                assert_eq!(*early.take(label, context).unwrap(), exported, "{suite:?}");
                assert_eq!(early.take(label, context), None, "used once");
            }
        }
    }

    #[test]
    fn no_other_secret_is_kept() {
        let early = EarlyExporter::default();
        for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0", "CLIENT_RANDOM"] {
            assert!(!early.will_log(label));
            early.log(label, &[0; 32], &[7; 32]);
        }
        early.log(LABEL, &[0; 32], &[7; 48]);
        assert_eq!(early.take(b"x", b""), None);
        assert_eq!(format!("{early:?}"), "EarlyExporter(..)");
    }
}
