use uuid::Uuid;
use wire::MessageId;

/// A message's name: a UUIDv7 (RFC 9562, section 5.7) of this moment, in milliseconds since 1970.
pub fn new_id(unix_millis: u64, random: [u8; 10]) -> MessageId {
    MessageId(uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid().as_u128())
}

/// When the message was made, by its sender's clock, in milliseconds since 1970; `None` if the name is no UUIDv7.
pub fn sent_at(id: MessageId) -> Option<u64> {
    let uuid = Uuid::from_u128(id.0);
    (uuid.get_version_num() == 7).then(|| u64::try_from(id.0 >> 80).unwrap_or(u64::MAX))
}

/// The usual text form.
pub fn id_text(id: MessageId) -> String {
    Uuid::from_u128(id.0).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9562, appendix A.6.
    #[test]
    fn id_bytes() {
        let random = [0x0c, 0xc3, 0x18, 0xc4, 0xdc, 0x0c, 0x0c, 0x07, 0x39, 0x8f];
        let id = new_id(0x017F_22E2_79B0, random);
        assert_eq!(id_text(id), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        assert_eq!(sent_at(id), Some(0x017F_22E2_79B0));
    }

    #[test]
    fn what_is_no_uuid_v7_has_no_time() {
        assert_eq!(sent_at(MessageId(0)), None);
        assert_eq!(sent_at(MessageId(u128::MAX)), None);
    }

    #[test]
    fn later_messages_have_greater_names() {
        assert!(new_id(1, [0xff; 10]) < new_id(2, [0; 10]));
    }
}
