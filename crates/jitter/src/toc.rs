//! What an Opus packet says of itself without being decoded (RFC 6716, section 3).

/// 120 ms, the longest packet there is.
pub(crate) const MAX_PACKET_SAMPLES: usize = 5760;
const MAX_FRAME_BYTES: usize = 1275;
/// Deep redundancy is an extension in the padding, and no shorter than this.
const LEAST_DEEP: usize = 8;
/// The bit of the first byte that tells of two channels.
const STEREO: u8 = 4;

/// The outside of a packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shape {
    /// How much sound it holds, in samples at 48 kHz.
    pub(crate) samples: usize,
    /// Whether it also holds a coarse version (LBRR) of the frame before it.
    pub(crate) has_previous: bool,
    /// Whether there is room in it for what it may tell of the time before (DRED).
    pub(crate) has_deep: bool,
    /// Whether it holds two channels.
    pub(crate) is_stereo: bool,
}

/// Reads the shape of `opus`; `None` if it is no packet.
pub(crate) fn shape(opus: &[u8]) -> Option<Shape> {
    let (&toc, rest) = opus.split_first()?;
    let frame = frame_samples(toc >> 3);
    let (count, first, padding) = match toc & 3 {
        0 => (1, rest, 0),
        1 => (2, rest.get(..rest.len() / 2).filter(|half| half.len() * 2 == rest.len())?, 0),
        2 => {
            let (first, rest) = take_length(rest)?;
            (2, rest.get(..first)?, 0)
        }
        _ => many(rest)?,
    };
    let samples = frame * count;
    (samples <= MAX_PACKET_SAMPLES && first.len() <= MAX_FRAME_BYTES).then(|| Shape {
        samples,
        has_previous: has_lbrr(toc, frame, first),
        has_deep: padding >= LEAST_DEEP,
        is_stereo: toc & STEREO != 0,
    })
}

fn frame_samples(config: u8) -> usize {
    match config {
        0..12 => [480, 960, 1920, 2880][usize::from(config & 3)], // SILK
        12..16 => [480, 960][usize::from(config & 1)],            // hybrid
        _ => [120, 240, 480, 960][usize::from(config & 3)],       // CELT
    }
}

/// Code 3: a count, then padding, then frames of one length or of their own; gives the count, the first frame
/// and the bytes of padding.
fn many(bytes: &[u8]) -> Option<(usize, &[u8], usize)> {
    const VARIABLE: u8 = 0x80;
    const PADDED: u8 = 0x40;
    let (&head, mut rest) = bytes.split_first()?;
    let count = usize::from(head & 0x3F);
    if count == 0 {
        return None;
    }
    let mut padding = 0;
    if head & PADDED != 0 {
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            if byte < 255 {
                padding += usize::from(byte);
                break;
            }
            padding += 254;
        }
        rest = rest.get(..rest.len().checked_sub(padding)?)?;
    }
    if head & VARIABLE == 0 {
        let each = rest.len() / count;
        return (each * count == rest.len()).then(|| (count, &rest[..each], padding));
    }
    let mut lengths = 0;
    let mut first = None;
    for _ in 1..count {
        let (length, after) = take_length(rest)?;
        rest = after;
        lengths += length;
        first.get_or_insert(length);
    }
    let last = rest.len().checked_sub(lengths)?;
    Some((count, &rest[..first.unwrap_or(last)], padding))
}

/// A frame's length in one or two bytes (RFC 6716, section 3.2.1).
fn take_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(first) + 4 * usize::from(second), rest))
}

/// The flags of a SILK layer stand before everything else, one bit each (RFC 6716, section 4.2.3): voice activity of
/// each 20 ms, then LBRR, for each channel.
fn has_lbrr(toc: u8, frame: usize, first: &[u8]) -> bool {
    let Some(&flags) = first.first() else { return false };
    let is_celt = toc & 0x80 != 0;
    let parts = (frame / 960).max(1);
    let is_stereo = toc & STEREO != 0;
    let mono = flags >> (7 - parts) & 1 != 0;
    let side = is_stereo && 2 * parts <= 6 && flags >> (6 - 2 * parts) & 1 != 0;
    !is_celt && (mono || side)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(opus: &[u8]) -> Option<usize> {
        shape(opus).map(|shape| shape.samples)
    }

    #[test]
    fn the_first_byte_tells_the_duration() {
        let table = [(0, 480), (3, 2880), (9, 960), (12, 480), (15, 960), (16, 120), (29, 240), (31, 960)];
        for (config, expected) in table {
            assert_eq!(samples(&[config << 3, 0]), Some(expected), "configuration {config}");
        }
    }

    #[test]
    fn the_first_byte_tells_the_channels() {
        let is_stereo = |toc: u8| shape(&[toc, 0]).map(|shape| shape.is_stereo);
        assert_eq!([is_stereo(30 << 3), is_stereo(30 << 3 | 4)], [Some(false), Some(true)]);
    }

    #[test]
    fn several_frames_add_up() {
        assert_eq!(samples(&[31 << 3 | 1, 7, 7]), Some(1920));
        assert_eq!(samples(&[31 << 3 | 2, 1, 7, 7, 7]), Some(1920));
        assert_eq!(samples(&[31 << 3 | 3, 3, 7, 7, 7]), Some(2880));
        assert_eq!(samples(&[31 << 3 | 3, 0xC3, 1, 1, 2, 7, 7, 7, 0]), Some(2880));
    }

    #[test]
    fn what_breaks_the_rules_is_no_packet() {
        let broken: [&[u8]; 8] = [
            &[],
            &[31 << 3 | 1, 7],                      // two halves of one byte
            &[31 << 3 | 2],                         // no length
            &[31 << 3 | 2, 9, 7],                   // a length beyond the end
            &[31 << 3 | 3],                         // no count
            &[31 << 3 | 3, 0],                      // no frames
            &[31 << 3 | 3, 7, 1, 1, 1, 1, 1, 1, 1], // 140 ms
            &[31 << 3 | 3, 0x41, 255, 255, 9],      // padding beyond the end
        ];
        for bytes in broken {
            assert_eq!(shape(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_flag_of_the_silk_layer_tells_of_the_frame_before() {
        let has_previous = |bytes: &[u8]| shape(bytes).expect("a packet").has_previous;

        assert!(has_previous(&[9 << 3, 0b0100_0000]), "20 ms: voice activity, LBRR");
        assert!(!has_previous(&[9 << 3, 0b1000_0000]));
        assert!(has_previous(&[11 << 3, 0b0001_0000]), "60 ms: three of voice activity, LBRR");
        assert!(!has_previous(&[31 << 3, 0xFF]), "CELT has none");
        assert!(!has_previous(&[9 << 3]), "nothing sent");
    }
}
