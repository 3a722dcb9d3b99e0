use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wire::{IdentityKey, peer::PROOF_EXPORTER};
use zeroize::Zeroizing;

use crate::early_exporter::EarlyExporter;

/// Bytes of a proof.
pub(crate) const LEN: usize = 32;

/// Who is at the other end of a peer link, and the key of the proofs between the two.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) key: IdentityKey,
    pub(crate) proof_key: Zeroizing<[u8; 32]>,
}

/// The proofs on one peer link.
pub(crate) struct Proofs {
    me: IdentityKey,
    peer: Known,
    /// On a server.
    early: Option<Arc<EarlyExporter>>,
    /// The value that our proof was made over.
    exporter: Option<Zeroizing<[u8; 32]>>,
}

impl Proofs {
    pub(crate) fn of_client(me: IdentityKey, peer: Known) -> Self {
        Self { me, peer, early: None, exporter: None }
    }

    pub(crate) fn of_server(me: IdentityKey, peer: Known, early: Arc<EarlyExporter>) -> Self {
        Self { me, peer, early: Some(early), exporter: None }
    }

    /// A server's proof, once: as soon as the exporter value can be computed, which is before the client has answered.
    pub(crate) fn make_early(&mut self) -> Option<[u8; LEN]> {
        let exporter = self.early.as_ref()?.take(PROOF_EXPORTER, &[])?;
        self.early = None;
        Some(self.make(exporter))
    }

    /// Our proof over an exporter value.
    pub(crate) fn make(&mut self, exporter: Zeroizing<[u8; 32]>) -> [u8; LEN] {
        let proof = make(&self.peer.proof_key, &exporter, &self.me, &self.peer.key);
        self.exporter = Some(exporter);
        proof
    }

    /// The value that our proof was made over.
    pub(crate) fn exporter(&self) -> Option<&Zeroizing<[u8; 32]>> {
        self.exporter.as_ref()
    }

    /// Whether this is the other side's proof; never before ours was made.
    pub(crate) fn holds(&self, proof: &[u8]) -> bool {
        let Some(exporter) = &self.exporter else { return false };
        holds(&self.peer.proof_key, exporter, &self.peer.key, &self.me, proof)
    }

    #[cfg(test)]
    pub(crate) fn bend(&mut self) {
        if let Some(exporter) = &mut self.exporter {
            exporter[0] ^= 1;
        }
    }
}

/// What a side of a session says to show that it knows the channel secret: a MAC over the session's exporter value and
/// both keys, the prover's first. So a proof holds for one session and one direction.
fn mac(key: &[u8; 32], exporter: &[u8; 32], prover: &IdentityKey, verifier: &IdentityKey) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a MAC key has any length");
    mac.update(exporter);
    mac.update(&prover.0);
    mac.update(&verifier.0);
    mac
}

fn make(key: &[u8; 32], exporter: &[u8; 32], prover: &IdentityKey, verifier: &IdentityKey) -> [u8; LEN] {
    mac(key, exporter, prover, verifier).finalize().into_bytes().into()
}

fn holds(key: &[u8; 32], exporter: &[u8; 32], prover: &IdentityKey, verifier: &IdentityKey, proof: &[u8]) -> bool {
    mac(key, exporter, prover, verifier).verify_slice(proof).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_secret_session_and_direction_alone() {
        let (a, b) = (IdentityKey([1; 32]), IdentityKey([2; 32]));
        let proof = make(&[3; 32], &[4; 32], &a, &b);
        assert!(holds(&[3; 32], &[4; 32], &a, &b, &proof));
        assert!(!holds(&[9; 32], &[4; 32], &a, &b, &proof));
        assert!(!holds(&[3; 32], &[9; 32], &a, &b, &proof));
        assert!(!holds(&[3; 32], &[4; 32], &b, &a, &proof), "not reflected");
        assert!(!holds(&[3; 32], &[4; 32], &a, &b, &proof[..31]));
        assert!(!holds(&[3; 32], &[4; 32], &a, &b, &[]));
    }

    #[test]
    fn proof_bytes() {
        let proof = make(&[3; 32], &[4; 32], &IdentityKey([1; 32]), &IdentityKey([2; 32]));
        assert_eq!(proof[..8], 0xafca_5a9a_8da8_9771_u64.to_be_bytes());
    }
}
