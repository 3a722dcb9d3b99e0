//! Files and pipes without a clock: WAV or bare samples to Ogg Opus and back.

use anyhow::{Context, Result};
use codec::{Encoder, Mode, Settings};
use edge::{Exit, WithExit};

use crate::args::{DecodeArgs, EncodeArgs};
use crate::file::{self, Encoding, OpusReader, OpusWriter, Recording, SoundFile, shown};
use crate::timeline::unix_ns;

/// Bits per second, unless other ones are asked for: of speech in one channel, of anything in two, of music.
const BITRATE: u32 = 40_000;
const STEREO_BITRATE: u32 = 64_000;
const MUSIC_BITRATE: u32 = 128_000;
/// Samples of each channel that are encoded at a time.
const AT_ONCE: usize = 4800;

/// `audio-pipe encode`.
pub(crate) fn encode(args: &EncodeArgs) -> Result<()> {
    file::refuse_same(&args.input, &args.output)?;
    let pcm = file::open_pcm(&args.input, args.raw.layout())?;
    let found = pcm.layout();
    let channels = if found.channels == 2 && !args.mono { 2 } else { 1 };
    let usual = match (args.music, channels) {
        (true, _) => MUSIC_BITRATE,
        (false, 2) => STEREO_BITRATE,
        _ => BITRATE,
    };
    let settings = Settings {
        mode: if args.music { Mode::Music } else { Mode::Voice },
        channels,
        bitrate: args.bitrate.unwrap_or(usual),
        frame: args.frame_ms,
        complexity: 10,
        // A file loses nothing.
        expected_loss: None,
        ..Settings::default()
    };
    let encoder = Encoder::new(settings)?;
    let out = file::create(&args.output)?;
    let written = || format!("write to {}", shown(&args.output, "the standard output"));
    let mut opus = OpusWriter::new(out, encoder, found.rate, unix_ns() as u32).with_context(written).exit(Exit::Io)?;
    let channels = usize::from(channels);
    let mut source = SoundFile::of(pcm, &args.input, channels)?;
    let mut samples = vec![0.0; AT_ONCE * channels];
    loop {
        let read = source.read(&mut samples)?;
        if read == 0 {
            break;
        }
        opus.write(&samples[..read * channels]).with_context(written).exit(Exit::Io)?;
    }
    opus.finish().with_context(written).exit(Exit::Io)
}

/// `audio-pipe decode`.
pub(crate) fn decode(args: &DecodeArgs) -> Result<()> {
    file::refuse_same(&args.input, &args.output)?;
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
    let name = shown(&args.input, "the standard input");
    if damage.is_cut {
        tracing::warn!("{name} ends without its last page: there may have been more");
    }
    if damage.places > 0 {
        let ms = damage.samples * 1000 / u64::from(codec::RATE);
        tracing::warn!("{name} is damaged in {} places; {ms} ms were made up", damage.places);
    }
    out.finish()
}
