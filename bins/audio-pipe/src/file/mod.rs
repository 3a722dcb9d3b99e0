//! Sound in files and pipes: WAV, bare samples, Ogg Opus.

mod ogg;
mod ogg_reader;
mod pcm;
mod sound_file;
mod wav;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use edge::{Exit, WithExit};

pub(crate) use ogg::{OpusWriter, opus_headers};
pub(crate) use ogg_reader::OpusReader;
pub(crate) use pcm::{Encoding, Layout, Pcm, PcmWriter};
pub(crate) use sound_file::SoundFile;

/// The name that means standard input or output.
fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// How a path is called in messages.
pub(crate) fn shown(path: &Path, standard: &str) -> String {
    if is_standard(path) { standard.to_owned() } else { path.display().to_string() }
}

/// Opens a file to read, `-` for standard input.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>> {
    if is_standard(path) {
        return Ok(Box::new(io::stdin()));
    }
    let named = || format!("open {}", path.display());
    let file = File::open(path).with_context(named).exit(Exit::NoInput)?;
    if file.metadata().is_ok_and(|data| data.is_dir()) {
        return Err(io::Error::from(io::ErrorKind::IsADirectory)).with_context(named).exit(Exit::NoInput);
    }
    Ok(Box::new(io::BufReader::with_capacity(1 << 16, file)))
}

/// Opens a file to write, `-` for standard output, which may well be a file, too.
pub(crate) fn create(path: &Path) -> Result<File> {
    if is_standard(path) {
        let stdout = io::stdout().as_fd().try_clone_to_owned().context("open the standard output")?;
        return Ok(stdout.into());
    }
    File::create(path).with_context(|| format!("create {}", path.display())).exit(Exit::CannotCreate)
}

/// Refuses to write what is being read, which would be lost.
pub(crate) fn refuse_same(input: &Path, output: &Path) -> Result<()> {
    let id = |path: &Path| {
        let data = path.metadata().ok().filter(|data| !is_standard(path) && data.is_file())?;
        Some((data.dev(), data.ino()))
    };
    if id(input).is_some_and(|input| id(output) == Some(input)) {
        let error = anyhow!("{} is read, so it can't be written as well: name another output", input.display());
        return Err(error).exit(Exit::Usage);
    }
    Ok(())
}

/// Opens a WAV file, or bare samples if `raw` tells their layout.
pub(crate) fn open_pcm(path: &Path, raw: Option<Layout>) -> Result<Pcm> {
    let reader = open(path)?;
    match raw {
        Some(layout) => Ok(Pcm::new(reader, layout, None)),
        None => wav::read_header(reader).with_context(|| format!("read {}", shown(path, "the standard input"))),
    }
}

/// A 48 kHz file of samples that grows; errors name it.
pub(crate) struct Recording {
    writer: PcmWriter,
    path: PathBuf,
}

impl Recording {
    /// Begins a WAV file, or one of bare samples.
    pub(crate) fn create(path: &Path, raw: bool, encoding: Encoding, channels: u16) -> Result<Self> {
        let layout = Layout { encoding, rate: codec::RATE, channels };
        let file = create(path)?;
        let writer = if raw { PcmWriter::raw(file, layout) } else { PcmWriter::wav(file, layout) };
        let path = path.to_owned();
        let writer = writer.with_context(|| write_to(&path)).exit(Exit::Io)?;
        Ok(Self { writer, path })
    }

    /// Begins a WAV file in an empty file that is called so in errors.
    pub(crate) fn on(file: File, path: &Path, encoding: Encoding, channels: u16) -> Result<Self> {
        let layout = Layout { encoding, rate: codec::RATE, channels };
        let writer = PcmWriter::wav(file, layout).with_context(|| write_to(path)).exit(Exit::Io)?;
        Ok(Self { writer, path: path.to_owned() })
    }

    /// Appends samples; the channels are interleaved.
    pub(crate) fn write(&mut self, samples: &[f32]) -> Result<()> {
        self.writer.write(samples).with_context(|| write_to(&self.path)).exit(Exit::Io)
    }

    /// Appends so many samples of silence in each channel, where possible without writing them.
    pub(crate) fn skip(&mut self, samples: u64) -> Result<()> {
        self.writer.skip(samples).with_context(|| write_to(&self.path)).exit(Exit::Io)
    }

    /// Completes the file: what is buffered, and the lengths in the header.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.writer.finish().with_context(|| write_to(&self.path)).exit(Exit::Io)
    }
}

/// Writes all of `bytes` to a file that is `-` or named in errors.
pub(crate) fn write_all(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).with_context(|| write_to(path)).exit(Exit::Io)
}

fn write_to(path: &Path) -> String {
    format!("write to {}", shown(path, "the standard output"))
}
