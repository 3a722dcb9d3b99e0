//! TLS 1.3 with Ed25519 raw public keys on both sides, and nothing else.

use std::sync::Arc;

use identity::Identity;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, KeyLog, SignatureScheme, SupportedCipherSuite,
    client::{
        AlwaysResolvesClientRawPublicKeys, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        AlwaysResolvesServerRawPublicKeys,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    time_provider::TimeProvider,
    version::TLS13,
};
use wire::IdentityKey;

use crate::{Kind, early_exporter::EarlyExporter};

/// DER of an Ed25519 SubjectPublicKeyInfo (RFC 8410, 4) up to the key.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// Makes the TLS side of sessions for one identity.
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    own: Arc<CertifiedKey>,
}

impl Tls {
    /// With the suites of SHA-256 alone: one hash is enough for [`EarlyExporter`], and AES-128 for everybody.
    pub(crate) fn new(identity: &Identity) -> Self {
        let suites = [ring::cipher_suite::TLS13_AES_128_GCM_SHA256, ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
        Self::with_suites(identity, suites.to_vec())
    }

    pub(crate) fn with_suites(identity: &Identity, suites: Vec<SupportedCipherSuite>) -> Self {
        let der = identity.to_pkcs8_der();
        let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der.as_slice())).expect("an identity is a key");
        let spki = [&SPKI_PREFIX[..], &identity.key().0].concat();
        let own = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key));
        let mut provider = ring::default_provider();
        provider.kx_groups = vec![ring::kx_group::X25519];
        provider.cipher_suites = suites;
        Self { provider: Arc::new(provider), own }
    }

    pub(crate) fn client(&self, kind: Kind, expect: Option<IdentityKey>) -> Arc<QuicClientConfig> {
        Arc::new(quic(self.client_config(kind, expect)))
    }

    /// With `early`, the exporter's secret is told there as soon as it exists.
    pub(crate) fn server(
        &self,
        kind: Kind,
        expect: Option<IdentityKey>,
        early: Option<&Arc<EarlyExporter>>,
    ) -> Arc<QuicServerConfig> {
        Arc::new(quic(self.server_config(kind, expect, early)))
    }

    pub(crate) fn client_config(&self, kind: Kind, expect: Option<IdentityKey>) -> rustls::ClientConfig {
        let mut config = rustls::ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self.verifier(expect)))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.own))));
        config.alpn_protocols = vec![kind.alpn().to_vec()];
        config.enable_sni = false;
        // The seam for 0-RTT: a store per expected key here, tickets and early data in `server`.
        config.resumption = Resumption::disabled();
        config
    }

    pub(crate) fn server_config(
        &self,
        kind: Kind,
        expect: Option<IdentityKey>,
        early: Option<&Arc<EarlyExporter>>,
    ) -> rustls::ServerConfig {
        let mut config = rustls::ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock))
            .with_protocol_versions(&[&TLS13])
            .expect("the provider has TLS 1.3")
            .with_client_cert_verifier(Arc::new(self.verifier(expect)))
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.own))));
        config.alpn_protocols = vec![kind.alpn().to_vec()];
        config.send_tls13_tickets = 0;
        if let Some(early) = early {
            config.key_log = Arc::clone(early) as Arc<dyn KeyLog>;
        }
        config
    }

    #[cfg(test)]
    pub(crate) fn suites(&self) -> Vec<SupportedCipherSuite> {
        self.provider.cipher_suites.clone()
    }

    fn verifier(&self, expect: Option<IdentityKey>) -> RawKeyVerifier {
        RawKeyVerifier { expect, algorithms: self.provider.signature_verification_algorithms }
    }
}

fn quic<T, Q: TryFrom<T, Error = NoInitialCipherSuite>>(config: T) -> Q {
    Q::try_from(config).expect("AES-128 is there, which QUIC begins with")
}

/// The key that a finished handshake has proved; `None` before.
pub(crate) fn peer_key(session: &dyn quinn_proto::crypto::Session) -> Option<IdentityKey> {
    let identity = session.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    identity_key(identity.first()?)
}

fn identity_key(spki: &[u8]) -> Option<IdentityKey> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(IdentityKey)
}

/// Raw public keys have no validity, so nothing in the handshake needs the time.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Accepts one key, or any key if none is expected; the handshake proves that the other side has it.
#[derive(Debug)]
struct RawKeyVerifier {
    expect: Option<IdentityKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl RawKeyVerifier {
    fn verify_key(&self, spki: &[u8]) -> Result<(), Error> {
        let key = identity_key(spki).ok_or(CertificateError::BadEncoding)?;
        match self.expect {
            Some(expect) if expect != key => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(()),
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken here".to_owned()))
}

impl ServerCertVerifier for RawKeyVerifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_key(key).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for RawKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_key(key).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
