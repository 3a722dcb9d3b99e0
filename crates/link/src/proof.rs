use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wire::IdentityKey;

/// Bytes of a proof.
pub(crate) const LEN: usize = 32;

/// What a side of a session says to show that it knows the channel secret: a MAC over the session's exporter value and
/// both keys, the prover's first. So a proof holds for one session and one direction.
fn mac(key: &[u8; 32], exporter: &[u8; 32], prover: &IdentityKey, verifier: &IdentityKey) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a MAC key has any length");
    mac.update(exporter);
    mac.update(&prover.0);
    mac.update(&verifier.0);
    mac
}

pub(crate) fn make(key: &[u8; 32], exporter: &[u8; 32], prover: &IdentityKey, verifier: &IdentityKey) -> [u8; LEN] {
    mac(key, exporter, prover, verifier).finalize().into_bytes().into()
}

pub(crate) fn holds(
    key: &[u8; 32],
    exporter: &[u8; 32],
    prover: &IdentityKey,
    verifier: &IdentityKey,
    proof: &[u8],
) -> bool {
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
