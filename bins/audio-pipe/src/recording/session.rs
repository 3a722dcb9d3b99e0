//! The files of one recording.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use edge::{Exit, WithExit};
use wire::PeerTag;
use wire::local::Record;
use wire::voice::Voice;

use super::file::{OpusFile, create_in};
use super::mix::{self, Mix};
use super::track::Track;
use crate::record::file_stem;
use crate::timeline::unix_ns;

/// One's own voice among the others: no peer has this tag.
pub(super) const OWN: PeerTag = PeerTag(u32::MAX);
/// Files of speakers at a time.
const MOST_TRACKS: usize = 256;
/// A page that is not full is written after this long, in samples.
const FLUSH_EVERY: u64 = 9600;

/// What is recorded, and to where.
pub(super) struct Session {
    start: Instant,
    each: Option<PathBuf>,
    tracks: BTreeMap<PeerTag, Speaker>,
    /// Files of speakers who have left.
    completed: usize,
    mix: Option<Mix>,
    flushed: u64,
    /// Speakers beyond [`MOST_TRACKS`] were told of.
    is_full: bool,
}

struct Speaker {
    track: Track,
    file: OpusFile,
    path: PathBuf,
}

impl Session {
    /// Makes the folder and the file of the mix, which has so many channels.
    pub(super) fn create(what: &Record, channels: usize, start: Instant) -> Result<Self> {
        let path = Path::new(&what.path);
        let (mut each, mut mixed) = (None, None);
        if mix::is_file(path) && !path.is_dir() {
            if what.each {
                let error = anyhow!("{} is one file, and each speaker has one: name a folder", path.display());
                return Err(error).exit(Exit::Usage);
            }
            mixed = Some(Mix::create(path, channels, start)?);
        } else {
            fs::create_dir_all(path).with_context(|| format!("create {}", path.display())).exit(Exit::CannotCreate)?;
            if what.mix {
                let doing = || format!("create a file in {}", path.display());
                let (_, name) = create_in(path, "mix", "opus").with_context(doing).exit(Exit::CannotCreate)?;
                // Only an empty file was made, to have a name that is free.
                fs::remove_file(&name)?;
                mixed = Some(Mix::create(&name, channels, start)?);
            }
            if what.each || !what.mix {
                let probe = create_in(path, ".recording", "part").and_then(|(_, probe)| fs::remove_file(probe));
                probe.with_context(|| format!("create a file in {}", path.display())).exit(Exit::CannotCreate)?;
                each = Some(path.to_owned());
            }
        }
        Ok(Self { start, each, tracks: BTreeMap::new(), completed: 0, mix: mixed, flushed: 0, is_full: false })
    }

    /// Takes a packet of a speaker that came at `at`.
    pub(super) fn hear(&mut self, peer: PeerTag, name: Option<&str>, packet: &[u8], at: Instant) -> Result<()> {
        if let Some(mix) = &mut self.mix {
            mix.hear(peer, packet, at)?;
        }
        let (Some(dir), Ok(Voice::Frame(frame))) = (&self.each, Voice::from_bytes(packet)) else { return Ok(()) };
        let now = super::samples(at.saturating_duration_since(self.start));
        if !self.tracks.contains_key(&peer) {
            if self.tracks.len() >= MOST_TRACKS {
                if !std::mem::replace(&mut self.is_full, true) {
                    tracing::warn!("{MOST_TRACKS} speakers are recorded, and no more");
                }
                return Ok(());
            }
            if codec::packet_samples(frame.opus).is_none() {
                return Ok(());
            }
            let name = name.map_or_else(|| format!("speaker-{peer}"), str::to_owned);
            let stem = Some(file_stem(&name)).filter(|stem| !stem.is_empty());
            let stem = stem.unwrap_or_else(|| format!("speaker-{peer}"));
            let created = create_in(dir, &stem, "opus").and_then(|(file, path)| {
                let serial = (unix_ns() >> 8) as u32 ^ peer.0;
                Ok(Speaker { track: Track::default(), file: OpusFile::new(file, &name, frame.opus, serial)?, path })
            });
            let named = || format!("create {}", dir.join(format!("{stem}.opus")).display());
            self.tracks.insert(peer, created.with_context(named).exit(Exit::CannotCreate)?);
        }
        let Some(speaker) = self.tracks.get_mut(&peer) else { return Ok(()) };
        speaker.track.push(&frame, now);
        speaker.go_on(now)
    }

    /// Completes the file of a speaker who has left; who comes back has another one.
    pub(super) fn leave(&mut self, peer: PeerTag, at: Instant) -> Result<()> {
        if let Some(mix) = &mut self.mix {
            mix.leave(peer);
        }
        let Some(mut speaker) = self.tracks.remove(&peer) else { return Ok(()) };
        self.completed += 1;
        speaker.finish(super::samples(at.saturating_duration_since(self.start)))
    }

    /// Writes what is due.
    pub(super) fn pass(&mut self, at: Instant) -> Result<()> {
        if let Some(mix) = &mut self.mix {
            mix.pass(at)?;
        }
        let now = super::samples(at.saturating_duration_since(self.start));
        if now < self.flushed + FLUSH_EVERY {
            return Ok(());
        }
        self.flushed = now;
        for speaker in self.tracks.values_mut() {
            speaker.go_on(now)?;
            speaker.file.flush().with_context(|| speaker.named())?;
        }
        Ok(())
    }

    /// Completes all files, as far as that is possible, and tells how many there are; the first failure is told.
    pub(super) fn finish(mut self, at: Instant) -> Result<usize> {
        let now = super::samples(at.saturating_duration_since(self.start));
        let mut outcome = self.pass(at);
        for speaker in self.tracks.values_mut() {
            let finished = speaker.finish(now);
            outcome = outcome.and(finished);
        }
        let files = self.completed + self.tracks.len() + usize::from(self.mix.is_some());
        outcome.and(self.mix.map_or(Ok(()), Mix::finish)).map(|()| files)
    }
}

impl Speaker {
    fn go_on(&mut self, now: u64) -> Result<()> {
        while let Some(piece) = self.track.pop(now) {
            self.file.write(piece).with_context(|| self.named()).exit(Exit::Io)?;
        }
        Ok(())
    }

    fn finish(&mut self, now: u64) -> Result<()> {
        self.go_on(u64::MAX)?;
        let rest = self.track.pad_to(now).map_or(Ok(()), |piece| self.file.write(piece));
        rest.and_then(|()| self.file.finish()).with_context(|| self.named()).exit(Exit::Io)
    }

    fn named(&self) -> String {
        format!("write to {}", self.path.display())
    }
}
