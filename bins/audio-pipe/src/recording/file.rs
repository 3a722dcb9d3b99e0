//! One speaker's file: Opus packets as they came, in Ogg (RFC 7845).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ogg::{PacketWriteEndInfo, PacketWriter};

use super::track::Piece;
use crate::file::opus_headers;

/// A page is written when it holds this much sound, in samples: what is lost by a crash is no more.
const PAGE: u64 = 9600;
/// A page of silence may be longer (RFC 7845 asks for a second at most).
const SILENT_PAGE: u64 = 48_000;
/// How far what is decoded lags behind what was encoded, in samples.
const PRESKIP: u16 = 312;
/// CELT at full bandwidth, 2.5, 5, 10 and 20 ms: the first byte of a packet (RFC 6716, section 3.1), and the samples.
const SILENCES: [(u8, u64); 4] = [(31 << 3, 960), (30 << 3, 480), (29 << 3, 240), (28 << 3, 120)];
/// The mark of silence, all there is in such a frame.
const SILENT: [u8; 2] = [0xFF, 0xFE];
/// 20 ms frames in one packet of silence, and their samples.
const MANY: (u8, u64) = (6, 5760);

/// A file that packets are written to.
pub(super) struct OpusFile {
    ogg: PacketWriter<'static, BufWriter<File>>,
    serial: u32,
    /// The packet before the one at hand: only when there is another is it known not to be the last.
    held: Option<Vec<u8>>,
    /// Samples so far, and those before the page at hand.
    end: u64,
    page_from: u64,
    /// The first byte of the last packet.
    toc: u8,
}

impl OpusFile {
    /// Begins the file of a speaker whose first packet is `first`.
    pub(super) fn new(file: File, name: &str, first: &[u8], serial: u32) -> io::Result<Self> {
        let toc = first.first().copied().unwrap_or(0);
        let channels = if toc & 4 == 0 { 1 } else { 2 };
        let mut ogg = PacketWriter::new(BufWriter::new(file));
        let (head, tags) = opus_headers(channels, PRESKIP, codec::RATE, Some(name));
        ogg.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        ogg.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        ogg.inner_mut().flush()?;
        Ok(Self { ogg, serial, held: None, end: 0, page_from: 0, toc })
    }

    /// Appends a piece.
    pub(super) fn write(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Packet(opus) => {
                self.toc = opus.first().copied().unwrap_or(self.toc);
                let samples = codec::packet_samples(&opus).unwrap_or(0) as u64;
                self.append(opus, samples, PAGE)
            }
            Piece::Lost(samples) => self.lose(samples),
            Piece::Silence(samples) => self.rest(samples),
        }
    }

    /// Writes what waits for its page to be full.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(held) = self.held.take() {
            self.ogg.write_packet(held, self.serial, PacketWriteEndInfo::EndPage, self.end)?;
            self.page_from = self.end;
        }
        self.ogg.inner_mut().flush()
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.held.is_none() {
            // Nothing but a packet can say that it is the last one.
            self.rest(SILENCES[3].1)?;
        }
        let last = self.held.take().unwrap_or_default();
        self.ogg.write_packet(last, self.serial, PacketWriteEndInfo::EndStream, self.end)?;
        self.ogg.inner_mut().flush()
    }

    /// Asks the player to conceal what was lost, by packets without a frame (RFC 7845, section 4.1).
    fn lose(&mut self, samples: u64) -> io::Result<()> {
        let toc = self.toc & 0xFC;
        let frame = codec::packet_samples(&[toc]).unwrap_or(480) as u64;
        for _ in 0..samples / frame {
            self.append(vec![toc], frame, PAGE)?;
        }
        self.rest(samples % frame)
    }

    fn rest(&mut self, samples: u64) -> io::Result<()> {
        let mut left = samples;
        while left >= MANY.1 {
            let mut packet = vec![SILENCES[0].0 | 3, MANY.0];
            packet.extend(SILENT.repeat(MANY.0.into()));
            self.append(packet, MANY.1, SILENT_PAGE)?;
            left -= MANY.1;
        }
        for (toc, frame) in SILENCES {
            while left >= frame {
                self.append(vec![toc, SILENT[0], SILENT[1]], frame, SILENT_PAGE)?;
                left -= frame;
            }
        }
        Ok(())
    }

    fn append(&mut self, packet: Vec<u8>, samples: u64, page: u64) -> io::Result<()> {
        if let Some(held) = self.held.replace(packet) {
            let is_full = self.end + samples > self.page_from + page;
            let end = if is_full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.ogg.write_packet(held, self.serial, end, self.end)?;
            if is_full {
                self.page_from = self.end;
                self.ogg.inner_mut().flush()?;
            }
        }
        self.end += samples;
        Ok(())
    }
}

/// Makes a file in a folder that has none of this name; of two of one name the second has a number behind it.
pub(super) fn create_in(dir: &Path, stem: &str, suffix: &str) -> io::Result<(File, PathBuf)> {
    const MOST_NUMBERS: u32 = 10_000;
    let mut number = 1;
    loop {
        let name = if number == 1 { format!("{stem}.{suffix}") } else { format!("{stem}-{number}.{suffix}") };
        let path = dir.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_NUMBERS => number += 1,
            opened => return opened.map(|file| (file, path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use codec::{Encoder, Settings};

    use super::*;
    use crate::file::OpusReader;

    #[test]
    fn packets_losses_and_silence_take_their_time_and_silence_is_silent() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut encoder = Encoder::new(Settings::default()).expect("an encoder");
        let tone: [f32; 480] = std::array::from_fn(|n| 0.3 * (n as f32 * std::f32::consts::TAU / 120.0).sin());
        let mut packet = || Piece::Packet(encoder.encode(&tone).expect("a packet").to_vec());
        let (file, path) = create_in(dir.path(), "ann", "opus").expect("a file");
        let first = packet();
        let Piece::Packet(opus) = &first else { panic!("a packet") };
        let mut file = OpusFile::new(file, "ann", opus, 7).expect("a file");
        for piece in [Piece::Silence(96_120), first, packet(), Piece::Lost(1320), packet(), Piece::Silence(5880)] {
            file.write(piece).expect("written");
            file.flush().expect("written");
        }
        file.finish().expect("written");

        let mut reader = OpusReader::new(Box::new(File::open(&path).expect("a file"))).expect("Ogg Opus");
        let mut sound = Vec::new();
        while reader.read(&mut sound).expect("sound") {}
        assert_eq!(sound.len(), 96_120 + 3 * 480 + 1320 + 5880 + 120 - usize::from(PRESKIP));
        assert!(sound[..95_000].iter().all(|sample| sample.abs() < 1e-5), "no sound in it");
        assert!(sound[96_500..97_000].iter().any(|sample| sample.abs() > 0.1), "the packets behind it");
    }

    #[test]
    fn a_full_disk_is_an_error_that_says_so() {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let error = OpusFile::new(full, "ann", &[30 << 3], 7).map(drop).expect_err("no space");
        assert!(super::super::mix::is_full(&anyhow::Error::from(error).context("write")));
    }

    #[test]
    fn no_file_is_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let names = [0; 3].map(|_| create_in(dir.path(), "ann", "opus").expect("a file").1);
        assert_eq!(names, ["ann.opus", "ann-2.opus", "ann-3.opus"].map(|name| dir.path().join(name)));
    }
}
