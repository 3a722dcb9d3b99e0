//! Files and pipes without a clock: WAV or bare samples to Ogg Opus and back.

use anyhow::{Context, Result};
use codec::{Encoder, Settings};
use edge::{Exit, WithExit};

use crate::args::{DecodeArgs, EncodeArgs};
use crate::file::{self, Encoding, Mono, OpusReader, OpusWriter, Recording, shown};
use crate::timeline::unix_ns;

/// `audio-pipe encode`.
pub(crate) fn encode(args: &EncodeArgs) -> Result<()> {
    let mut mono = Mono::open(&args.input, args.raw.layout())?;
    let settings = Settings {
        bitrate: args.bitrate,
        frame: args.frame_ms,
        complexity: 10,
        // A file loses nothing.
        expected_loss: None,
        ..Settings::default()
    };
    let encoder = Encoder::new(settings)?;
    let out = file::create(&args.output)?;
    let written = || format!("write to {}", shown(&args.output, "the standard output"));
    let mut opus = OpusWriter::new(out, encoder, mono.rate(), unix_ns() as u32).with_context(written).exit(Exit::Io)?;
    let mut samples = [0.0; 4800];
    loop {
        let read = mono.read(&mut samples)?;
        opus.write(&samples[..read]).with_context(written).exit(Exit::Io)?;
        if read < samples.len() {
            return opus.finish().with_context(written).exit(Exit::Io);
        }
    }
}

/// `audio-pipe decode`.
pub(crate) fn decode(args: &DecodeArgs) -> Result<()> {
    let input = file::open(&args.input)?;
    let named = || format!("read {}", shown(&args.input, "the standard input"));
    let mut opus = OpusReader::new(input).with_context(named)?;
    let encoding = match args.raw {
        Some(raw) => raw.encoding(),
        None if args.float => Encoding::F32,
        None => Encoding::S16,
    };
    let mut out = Recording::create(&args.output, args.raw.is_some(), encoding, opus.channels().into())?;
    let mut samples = Vec::new();
    while opus.read(&mut samples).with_context(named)? {
        out.write(&samples)?;
        samples.clear();
    }
    let damage = opus.damage();
    if damage.places > 0 {
        let ms = damage.samples * 1000 / u64::from(codec::RATE);
        let name = shown(&args.input, "the standard input");
        tracing::warn!("{name} is damaged in {} places; {ms} ms were made up", damage.places);
    }
    out.finish()
}
