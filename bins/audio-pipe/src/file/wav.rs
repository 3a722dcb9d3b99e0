//! The RIFF WAVE header, read and written by hand: pipes carry files whose length nobody knows yet.

use std::io::{self, Read};

use anyhow::{Result, bail};
use edge::{Exit, WithExit};

use super::pcm::{Encoding, Layout, Pcm};

/// What a length field holds when the writer could not go back to it.
const UNKNOWN: u32 = u32::MAX;
const FORMAT_PCM: u16 = 1;
const FORMAT_FLOAT: u16 = 3;
const FORMAT_EXTENSIBLE: u16 = 0xFFFE;
/// Bytes before the samples in what we write.
const HEADER: u32 = 44;
/// A chunk before the samples is at most this long; real ones hold a title.
const MAX_SKIPPED: u64 = 16 << 20;
/// More channels than any microphone array has.
const MAX_CHANNELS: u16 = 64;

/// A header for `written` bytes of samples, or for nobody knows how many.
pub(super) fn header(layout: Layout, written: Option<u64>) -> Vec<u8> {
    let data = written.and_then(|bytes| u32::try_from(bytes).ok()).filter(|bytes| *bytes < UNKNOWN - HEADER);
    let riff = data.map_or(UNKNOWN, |bytes| bytes + HEADER - 8);
    let format = if layout.encoding == Encoding::F32 { FORMAT_FLOAT } else { FORMAT_PCM };
    let frame = layout.frame() as u16;
    let mut out = Vec::with_capacity(HEADER as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&riff.to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16_u32.to_le_bytes());
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&layout.channels.to_le_bytes());
    out.extend_from_slice(&layout.rate.to_le_bytes());
    out.extend_from_slice(&(layout.rate * u32::from(frame)).to_le_bytes());
    out.extend_from_slice(&frame.to_le_bytes());
    out.extend_from_slice(&(layout.encoding.size() as u16 * 8).to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data.unwrap_or(UNKNOWN).to_le_bytes());
    out
}

/// Reads up to the first sample.
pub(super) fn read_header(mut reader: Box<dyn Read + Send>) -> Result<Pcm> {
    match parse(&mut reader) {
        Ok((layout, left)) => Ok(Pcm::new(reader, layout, left)),
        Err(error) => Err(error).exit(Exit::Data),
    }
}

fn parse(reader: &mut impl Read) -> Result<(Layout, Option<u64>)> {
    let mut riff = [0; 12];
    if !filled(reader, &mut riff)? || &riff[..4] != b"RIFF" || &riff[8..] != b"WAVE" {
        bail!("not a WAV file: it does not begin with a RIFF WAVE header");
    }
    let mut layout = None;
    loop {
        let mut chunk = [0; 8];
        if !filled(reader, &mut chunk)? {
            bail!("not a whole WAV file: it ends before its samples");
        }
        let len = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        match (&chunk[..4], layout) {
            (b"fmt ", _) => layout = Some(parse_format(reader, len)?),
            (b"data", Some(layout)) => {
                // A program that was killed leaves 0, one that writes to a pipe the largest number.
                let known = len != 0 && len < UNKNOWN - HEADER;
                return Ok((layout, known.then_some(len.into())));
            }
            (b"data", None) => bail!("not a WAV file: its samples come before their format"),
            _ => skip(reader, u64::from(len) + u64::from(len % 2))?,
        }
    }
}

fn parse_format(reader: &mut impl Read, len: u32) -> Result<Layout> {
    let mut format = [0; 40];
    let used = format.len().min(len as usize);
    if used < 16 || !filled(reader, &mut format[..used])? {
        bail!("not a WAV file: its format chunk is too short");
    }
    skip(reader, u64::from(len) + u64::from(len % 2) - used as u64)?;
    let word = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    let tag = match word(0) {
        FORMAT_EXTENSIBLE if used == 40 => word(24),
        tag => tag,
    };
    let encoding = match (tag, word(14)) {
        (FORMAT_PCM, 8) => Encoding::U8,
        (FORMAT_PCM, 16) => Encoding::S16,
        (FORMAT_PCM, 24) => Encoding::S24,
        (FORMAT_PCM, 32) => Encoding::S32,
        (FORMAT_FLOAT, 32) => Encoding::F32,
        (FORMAT_FLOAT, 64) => Encoding::F64,
        (6 | 7, _) => {
            bail!(
                "a WAV file of A-law or mu-law samples, which are not read here; first: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
            )
        }
        (tag, bits) => bail!("a WAV file of a kind that is not read here: format {tag}, {bits} bits"),
    };
    let layout =
        Layout { encoding, channels: word(2), rate: u32::from_le_bytes([format[4], format[5], format[6], format[7]]) };
    if !(1..=MAX_CHANNELS).contains(&layout.channels) || !(1000..=768_000).contains(&layout.rate) {
        bail!("not a WAV file: it claims {} channels at {} Hz", layout.channels, layout.rate);
    }
    if usize::from(word(12)) != layout.frame() {
        bail!("not a WAV file: its format chunk contradicts itself");
    }
    Ok(layout)
}

/// Whether there was enough to fill `bytes`.
fn filled(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn skip(reader: &mut impl Read, len: u64) -> Result<()> {
    if len > MAX_SKIPPED {
        bail!("not a WAV file: a chunk before its samples claims {len} bytes");
    }
    io::copy(&mut reader.take(len), &mut io::sink())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: Layout = Layout { encoding: Encoding::S16, rate: 44_100, channels: 2 };

    fn read(bytes: &[u8]) -> Result<(Layout, Option<u64>)> {
        parse(&mut io::Cursor::new(bytes))
    }

    #[test]
    fn what_is_written_is_read() {
        for (layout, length) in [
            (STEREO, Some(400)),
            (STEREO, None),
            (Layout { encoding: Encoding::F32, rate: 48_000, channels: 1 }, Some(8)),
        ] {
            assert_eq!(read(&header(layout, length)).expect("a header"), (layout, length));
        }
    }

    #[test]
    fn header_bytes() {
        let bytes = header(Layout { encoding: Encoding::S16, rate: 48_000, channels: 1 }, Some(4));
        assert_eq!(bytes[..20], *b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0");
        assert_eq!(bytes[20..36], [1, 0, 1, 0, 0x80, 0xBB, 0, 0, 0, 0x77, 1, 0, 2, 0, 16, 0]);
        assert_eq!(bytes[36..], *b"data\x04\0\0\0");
    }

    #[test]
    fn other_chunks_are_stepped_over_with_their_padding() {
        let mut bytes = header(STEREO, Some(4));
        bytes.splice(12..12, *b"LIST\x03\0\0\0abc\0");
        assert_eq!(read(&bytes).expect("a header"), (STEREO, Some(4)));
    }

    #[test]
    fn more_than_4_gib_is_of_unknown_length() {
        assert_eq!(read(&header(STEREO, Some(1 << 33))).expect("a header"), (STEREO, None));
    }

    #[test]
    fn what_is_no_wav_says_so_and_never_panics() {
        let good = header(STEREO, Some(400));
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "the first {cut} bytes");
        }
        for at in 0..36 {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut bad = good.clone();
                bad[at] = value;
                if let Ok((layout, _)) = read(&bad) {
                    assert!(layout.frame() > 0 && layout.rate > 0, "byte {at} = {value}");
                }
            }
        }
        assert!(read(b"this is not a WAV file at all, is it").is_err());
    }
}
