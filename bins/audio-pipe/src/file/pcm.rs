use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};

use super::wav;

/// Bytes that gather before a file is written to: a third of a second in 16 bits. A call that is killed loses no more.
const GATHERED: usize = 32 * 1024;

/// How a sample is written, always little-endian.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    U8,
    S16,
    S24,
    S32,
    F32,
    F64,
}

impl Encoding {
    /// Bytes of a sample.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::S16 => 2,
            Self::S24 => 3,
            Self::S32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::U8, &[a]) => (f32::from(a) - 128.0) / 128.0,
            (Self::S16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])) / 32_768.0,
            (Self::S24, &[a, b, c]) => i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0,
            (Self::S32, &[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]) as f32 / 2_147_483_648.0,
            (Self::F32, &[a, b, c, d]) => finite(f32::from_le_bytes([a, b, c, d])),
            (Self::F64, bytes) => bytes.try_into().map_or(0.0, |bytes| finite(f64::from_le_bytes(bytes) as f32)),
            _ => 0.0,
        }
    }
}

/// A file may hold NaN; nothing behind it should.
fn finite(sample: f32) -> f32 {
    if sample.is_finite() { sample } else { 0.0 }
}

/// What one needs to know of bare samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Layout {
    pub(crate) encoding: Encoding,
    pub(crate) rate: u32,
    pub(crate) channels: u16,
}

impl Layout {
    /// Bytes of one sample of every channel.
    pub(crate) fn frame(self) -> usize {
        self.encoding.size() * usize::from(self.channels)
    }
}

/// Samples that are read.
pub(crate) struct Pcm {
    reader: Box<dyn Read + Send>,
    layout: Layout,
    /// Bytes that are left, if that is known.
    left: Option<u64>,
    bytes: Vec<u8>,
}

impl Pcm {
    pub(crate) fn new(reader: Box<dyn Read + Send>, layout: Layout, left: Option<u64>) -> Self {
        Self { reader, layout, left, bytes: Vec::new() }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Fills `out` with the mean of the channels, less only at the end. A file that is cut short ends where it is cut.
    pub(crate) fn read_mono(&mut self, out: &mut [f32]) -> io::Result<usize> {
        let frame = self.layout.frame();
        let read = self.fill(out.len())?;
        let frames = self.bytes[..read].chunks_exact(frame);
        let count = frames.len();
        for (out, frame) in out.iter_mut().zip(frames) {
            let sum: f32 =
                frame.chunks_exact(self.layout.encoding.size()).map(|b| self.layout.encoding.decode(b)).sum();
            *out = sum / f32::from(self.layout.channels);
        }
        Ok(count)
    }

    /// Fills `out` with two interleaved channels, less only at the end; tells how many samples of each. If there are more or
    /// fewer than two, both are their mean.
    pub(crate) fn read_stereo(&mut self, out: &mut [f32]) -> io::Result<usize> {
        if self.layout.channels != 2 {
            let half = out.len() / 2;
            let count = self.read_mono(&mut out[..half])?;
            for n in (0..count).rev() {
                let sample = out[n];
                out[2 * n..2 * n + 2].fill(sample);
            }
            return Ok(count);
        }
        let read = self.fill(out.len() / 2)?;
        let count = read / self.layout.frame();
        let samples = self.bytes[..count * self.layout.frame()].chunks_exact(self.layout.encoding.size());
        for (out, bytes) in out.iter_mut().zip(samples) {
            *out = self.layout.encoding.decode(bytes);
        }
        Ok(count)
    }

    /// Reads the bytes of so many samples of each channel, as far as there are any.
    fn fill(&mut self, samples: usize) -> io::Result<usize> {
        let wanted = samples * self.layout.frame();
        let wanted = self.left.map_or(wanted, |left| wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
        self.bytes.resize(wanted, 0);
        let read = read_up_to(&mut self.reader, &mut self.bytes)?;
        if let Some(left) = &mut self.left {
            *left -= read as u64;
        }
        Ok(read)
    }
}

fn read_up_to(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Samples that are written, with a WAV header or without.
pub(crate) struct PcmWriter {
    file: BufWriter<File>,
    layout: Layout,
    /// Bytes of samples so far.
    written: u64,
    /// Whether the header is at the beginning of a file that can be gone back to.
    header: Option<Header>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Header {
    Streamed,
    Patchable,
}

impl PcmWriter {
    pub(crate) fn raw(file: File, layout: Layout) -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(file), layout, written: 0, header: None, bytes: Vec::new() })
    }

    pub(crate) fn wav(mut file: File, layout: Layout) -> io::Result<Self> {
        let at_start = file.metadata()?.is_file() && file.stream_position().is_ok_and(|position| position == 0);
        let header = Some(if at_start { Header::Patchable } else { Header::Streamed });
        let mut file = if at_start { BufWriter::with_capacity(GATHERED, file) } else { BufWriter::new(file) };
        file.write_all(&wav::header(layout, None))?;
        Ok(Self { file, layout, written: 0, header, bytes: Vec::new() })
    }

    /// Appends samples, clipped to what the encoding holds; to a pipe at once, to a file when some have gathered.
    pub(crate) fn write(&mut self, samples: &[f32]) -> io::Result<()> {
        self.bytes.clear();
        match self.layout.encoding {
            Encoding::F32 => append(&mut self.bytes, samples, |sample| sample.to_le_bytes()),
            _ => append(&mut self.bytes, samples, |sample| to_s16(sample).to_le_bytes()),
        }
        self.file.write_all(&self.bytes)?;
        self.written += self.bytes.len() as u64;
        if self.header == Some(Header::Streamed) { self.file.flush() } else { Ok(()) }
    }

    /// Appends so many samples of silence in each channel: a hole where the file allows it.
    pub(crate) fn skip(&mut self, samples: u64) -> io::Result<()> {
        let bytes = samples * self.layout.frame() as u64;
        if self.header == Some(Header::Patchable) {
            self.file.seek(SeekFrom::Current(bytes.cast_signed()))?;
            self.written += bytes;
            return Ok(());
        }
        let silence = [0.0; 480];
        let mut left = samples * u64::from(self.layout.channels);
        while left > 0 {
            let some = left.min(silence.len() as u64);
            self.write(&silence[..some as usize])?;
            left -= some;
        }
        Ok(())
    }

    /// Writes what is buffered and puts the lengths into the header, if that can be reached. Goes on where it was.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.header == Some(Header::Patchable) {
            let header = wav::header(self.layout, Some(self.written));
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(&header)?;
            let end = header.len() as u64 + self.written;
            self.file.seek(SeekFrom::Start(end))?;
            // Silence at the end may be a hole that nothing was written behind.
            self.file.get_ref().set_len(end)?;
        }
        self.file.flush()
    }
}

fn append<const N: usize>(bytes: &mut Vec<u8>, samples: &[f32], encode: impl Fn(f32) -> [u8; N]) {
    let start = bytes.len();
    bytes.resize(start + N * samples.len(), 0);
    for (bytes, sample) in bytes[start..].chunks_exact_mut(N).zip(samples) {
        bytes.copy_from_slice(&encode(*sample));
    }
}

/// The nearest value; the cast clips, and makes silence of what is no number.
fn to_s16(sample: f32) -> i16 {
    let scaled = sample * 32_768.0;
    // `round` is a call into the C library, which for each sample of each recording is the most of the work.
    (scaled + 0.5_f32.copysign(scaled)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_read() {
        let cases: [(Encoding, &[u8], f32); 7] = [
            (Encoding::U8, &[0xC0], 0.5),
            (Encoding::S16, &[0x00, 0x40], 0.5),
            (Encoding::S24, &[0x00, 0x00, 0xC0], -0.5),
            (Encoding::S32, &[0x00, 0x00, 0x00, 0x40], 0.5),
            (Encoding::F32, &0.25_f32.to_le_bytes(), 0.25),
            (Encoding::F64, &0.25_f64.to_le_bytes(), 0.25),
            (Encoding::F32, &f32::NAN.to_le_bytes(), 0.0),
        ];
        for (encoding, bytes, expected) in cases {
            let layout = Layout { encoding, rate: 48_000, channels: 1 };
            let mut out = [9.0; 2];
            let read = Pcm::new(Box::new(io::Cursor::new(bytes.to_vec())), layout, None).read_mono(&mut out);
            assert_eq!((read.expect("samples"), out[0]), (1, expected), "{encoding:?}");
        }
    }

    #[test]
    fn channels_are_mixed_down_to_their_mean() {
        let bytes: Vec<u8> = [8192_i16, 16_384, -16_384, 16_384].iter().flat_map(|s| s.to_le_bytes()).collect();
        let layout = Layout { encoding: Encoding::S16, rate: 48_000, channels: 2 };
        let mut out = [9.0; 4];
        let read = Pcm::new(Box::new(io::Cursor::new(bytes)), layout, None).read_mono(&mut out);
        assert_eq!((read.expect("samples"), &out[..2]), (2, [0.375, 0.0].as_slice()));
    }

    #[test]
    fn two_channels_are_read_as_they_are_and_any_other_number_as_their_mean_in_both() {
        for (channels, expected) in
            [(1, [0.25, 0.25, 0.5, 0.5]), (2, [0.25, 0.5, -0.5, 0.5]), (4, [0.1875, 0.1875, 9.0, 9.0])]
        {
            let bytes: Vec<u8> = [8192_i16, 16_384, -16_384, 16_384].iter().flat_map(|s| s.to_le_bytes()).collect();
            let layout = Layout { encoding: Encoding::S16, rate: 48_000, channels };
            let mut out = [9.0; 4];
            let mut pcm = Pcm::new(Box::new(io::Cursor::new(bytes)), layout, None);
            let read = pcm.read_stereo(&mut out).expect("samples");
            let rest = &mut out[2 * read..];
            rest.fill(9.0);
            assert_eq!((read, out), ((4 / usize::from(channels)).min(2), expected), "{channels} channels");
        }
    }

    #[test]
    fn silence_is_as_long_in_two_channels_as_in_one() {
        let dir = tempfile::tempdir().expect("a folder");
        for (channels, bare) in [(1, false), (2, false), (2, true)] {
            let path = dir.path().join(format!("{channels}{bare}"));
            let layout = Layout { encoding: Encoding::S16, rate: 48_000, channels };
            let file = File::create(&path).expect("a file");
            let mut writer =
                if bare { PcmWriter::raw(file, layout) } else { PcmWriter::wav(file, layout) }.expect("a writer");
            writer.skip(1001).expect("room");
            writer.finish().expect("room");
            let header = if bare { 0 } else { 44 };
            let len = std::fs::metadata(&path).expect("a file").len();
            assert_eq!(len, header + 1001 * 2 * u64::from(channels), "{channels} channels");
        }
    }

    #[test]
    fn a_sample_becomes_the_nearest_value_and_is_clipped_beyond_full_scale() {
        assert_eq!([2.0, -2.0, 0.0, f32::NAN].map(to_s16), [i16::MAX, i16::MIN, 0, 0]);
        assert_eq!([1.4, 1.6, -1.4, -1.6].map(|step| to_s16(step / 32_768.0)), [1, 2, -1, -2]);
    }
}
