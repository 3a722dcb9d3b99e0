use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// HKDF-Extract (RFC 5869, 2.2) of a secret that may be short or uneven.
pub(crate) fn extract(salt: impl AsRef<[u8]>, secret: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt.as_ref()));
    secret.iter().for_each(|part| extract.input_ikm(part));
    let (key, _) = extract.finalize();
    Zeroizing::new(key.into())
}

/// HKDF-Expand (RFC 5869, 2.3) of an even secret. The label is followed by a zero byte, so that no label continues
/// into its context; all contexts of one label have one length.
pub(crate) fn expand<const N: usize>(secret: &[u8; 32], label: &str, context: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    let mut info = vec![label.as_bytes(), &[0]];
    info.extend_from_slice(context);
    Hkdf::<Sha256>::from_prk(secret)
        .expect("32 bytes are as long as the hash")
        .expand_multi_info(&info, out.as_mut())
        .expect("no output is longer than 255 hashes");
    out
}
