//! Opus in Ogg (RFC 7845), sample exact both ways, also through pipes.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use anyhow::Result;
use codec::{Encoder, RATE};
use ogg::{PacketWriteEndInfo, PacketWriter};

/// A page carries this much sound at most, so that a stream which is cut off has lost little.
const PAGE: u64 = RATE as u64 / 5;

/// Encodes samples as they come.
pub(crate) struct OpusWriter {
    ogg: PacketWriter<'static, BufWriter<File>>,
    encoder: Encoder,
    serial: u32,
    frame: Vec<f32>,
    /// The packet before the one at hand: only when there is another is it known not to be the last.
    held: Option<Vec<u8>>,
    samples: u64,
    encoded: u64,
    page_from: u64,
}

impl OpusWriter {
    /// Writes the headers. `rate` is what the sound was before; players show it.
    pub(crate) fn new(file: File, encoder: Encoder, rate: u32, serial: u32) -> io::Result<Self> {
        let mut ogg = PacketWriter::new(BufWriter::new(file));
        let preskip = encoder.lookahead() as u16;
        let (head, tags) = opus_headers(encoder.channels() as u8, preskip, rate, None);
        ogg.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        ogg.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        let frame = Vec::with_capacity(encoder.frame() * encoder.channels());
        Ok(Self { ogg, encoder, serial, frame, held: None, samples: 0, encoded: 0, page_from: 0 })
    }

    /// Takes samples of 48 kHz; channels are interleaved.
    pub(crate) fn write(&mut self, mut samples: &[f32]) -> Result<()> {
        let frame = self.encoder.frame() * self.encoder.channels();
        self.samples += (samples.len() / self.encoder.channels()) as u64;
        while !samples.is_empty() {
            let some = samples.len().min(frame - self.frame.len());
            self.frame.extend_from_slice(&samples[..some]);
            samples = &samples[some..];
            if self.frame.len() == frame {
                self.encode()?;
            }
        }
        Ok(())
    }

    /// Encodes what is left and ends the stream; the last page tells where the sound ends.
    pub(crate) fn finish(mut self) -> Result<()> {
        let end = self.samples + self.encoder.lookahead() as u64;
        while self.encoded < end {
            self.frame.resize(self.encoder.frame() * self.encoder.channels(), 0.0);
            self.encode()?;
        }
        let last = self.held.take().unwrap_or_default();
        self.ogg.write_packet(last, self.serial, PacketWriteEndInfo::EndStream, end)?;
        Ok(self.ogg.inner_mut().flush()?)
    }

    fn encode(&mut self) -> Result<()> {
        let packet = self.encoder.encode(&self.frame)?.to_vec();
        self.frame.clear();
        if let Some(before) = self.held.replace(packet) {
            let full = self.encoded - self.page_from + self.encoder.frame() as u64 > PAGE;
            let end = if full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.ogg.write_packet(before, self.serial, end, self.encoded)?;
            if full {
                self.page_from = self.encoded;
                self.ogg.inner_mut().flush()?;
            }
        }
        self.encoded += self.encoder.frame() as u64;
        Ok(())
    }
}

/// The two packets that every stream begins with; `title` is whose sound it is.
pub(crate) fn opus_headers(channels: u8, preskip: u16, rate: u32, title: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend_from_slice(&preskip.to_le_bytes());
    head.extend_from_slice(&rate.to_le_bytes());
    head.extend_from_slice(&[0, 0, 0]); // output gain, mapping family
    let vendor = concat!("audio-pipe ", env!("CARGO_PKG_VERSION"));
    let mut tags = b"OpusTags".to_vec();
    let mut put = |text: &str| {
        tags.extend_from_slice(&(text.len() as u32).to_le_bytes());
        tags.extend_from_slice(text.as_bytes());
    };
    put(vendor);
    let comment = title.map(|title| format!("TITLE={title}"));
    tags.extend_from_slice(&u32::from(comment.is_some()).to_le_bytes());
    if let Some(comment) = comment {
        tags.extend_from_slice(&(comment.len() as u32).to_le_bytes());
        tags.extend_from_slice(comment.as_bytes());
    }
    (head, tags)
}
