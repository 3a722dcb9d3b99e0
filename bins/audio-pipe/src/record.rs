//! One recording per speaker; all of them begin at the same moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use edge::{Exit, WithExit};
use wire::PeerTag;

use crate::file::{Encoding, Recording};

/// Longer names are cut: file systems allow 255 bytes.
const MAX_NAME: usize = 48;

/// Recordings by speaker, in one folder.
pub(crate) struct Recordings {
    dir: PathBuf,
    /// How many channels each has.
    channels: usize,
    files: BTreeMap<PeerTag, Track>,
}

struct Track {
    recording: Recording,
    name: String,
    /// Samples of each channel in it.
    len: u64,
}

impl Recordings {
    /// Makes the folder if it is missing; nothing may be in it. The recordings will have so many channels.
    pub(crate) fn create(dir: &Path, channels: usize) -> Result<Self> {
        let made = fs::create_dir_all(dir).and_then(|()| fs::read_dir(dir));
        let mut there = made.with_context(|| format!("create {}", dir.display())).exit(Exit::CannotCreate)?;
        if there.next().is_some() {
            let error = anyhow!("{} has files in it, which might be written over: name a new folder", dir.display());
            return Err(error).exit(Exit::CannotCreate);
        }
        Ok(Self { dir: dir.to_owned(), channels, files: BTreeMap::new() })
    }

    /// Takes what a speaker says from sample `at` on; before and between there is silence.
    pub(crate) fn write(&mut self, peer: PeerTag, name: Option<&str>, at: u64, samples: &[f32]) -> Result<()> {
        if !self.files.contains_key(&peer) {
            let track = self.begin(peer, name)?;
            self.files.insert(peer, track);
        }
        let Some(track) = self.files.get_mut(&peer) else { return Ok(()) };
        track.pad(at)?;
        track.recording.write(samples)?;
        track.len += (samples.len() / self.channels) as u64;
        Ok(())
    }

    /// The name of a speaker's file, if it has said anything.
    pub(crate) fn file(&self, peer: PeerTag) -> Option<&str> {
        self.files.get(&peer).map(|track| track.name.as_str())
    }

    /// Where the recordings are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Completes all files; they end at sample `end`.
    pub(crate) fn finish(&mut self, end: u64) -> Result<()> {
        for track in self.files.values_mut() {
            track.pad(end)?;
            track.recording.finish()?;
        }
        Ok(())
    }

    fn begin(&self, peer: PeerTag, name: Option<&str>) -> Result<Track> {
        let stem = name.map(file_stem).filter(|stem| !stem.is_empty());
        let tagged = || stem.as_ref().map_or_else(|| format!("speaker-{peer}"), |stem| format!("{stem}-{peer}"));
        let is_taken = |file: &String| self.files.values().any(|track| track.name == *file);
        let plain = stem.as_ref().map(|stem| format!("{stem}.wav")).filter(|file| !is_taken(file));
        let name = plain.unwrap_or_else(|| format!("{}.wav", tagged()));
        let recording = Recording::create(&self.dir.join(&name), false, Encoding::S16, self.channels as u16)?;
        Ok(Track { recording, name, len: 0 })
    }
}

impl Track {
    fn pad(&mut self, to: u64) -> Result<()> {
        if to > self.len {
            self.recording.skip(to - self.len)?;
            self.len = to;
        }
        Ok(())
    }
}

/// A peer names itself as it likes; a file's name has letters, digits, hyphens and underscores.
pub(crate) fn file_stem(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || c == '-' { c } else { '_' };
    let stem: String = name.chars().map(safe).take(MAX_NAME).collect();
    // What begins with a hyphen is an option to other programs.
    stem.trim_start_matches(['_', '-']).trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::SoundFile;

    #[test]
    fn all_recordings_begin_at_the_same_moment_and_end_together() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut recordings = Recordings::create(&dir.path().join("new/folder"), 1).expect("a folder");
        recordings.write(PeerTag(1), Some("ann"), 100, &[0.5; 50]).expect("a file");
        recordings.write(PeerTag(2), Some("bob"), 200, &[0.25; 50]).expect("a file");
        recordings.write(PeerTag(1), Some("ann"), 300, &[0.5; 50]).expect("a file");
        recordings.finish(1000).expect("files");

        for (file, heard) in [("ann.wav", [100..150, 300..350]), ("bob.wav", [200..250, 0..0])] {
            let mut out = vec![9.0; 2000];
            let path = recordings.dir().join(file);
            let read = SoundFile::open(&path, None, 1).and_then(|mut file| file.read(&mut out));
            assert_eq!(read.expect("a WAV"), 1000);
            let loud: Vec<_> = (0..1000).filter(|n| out[*n] != 0.0).collect();
            assert_eq!(loud, heard.into_iter().flatten().collect::<Vec<_>>(), "{file}");
        }
    }

    #[test]
    fn a_folder_with_files_in_it_is_not_written_to() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("ann.wav"), "of yesterday").expect("a file");
        let error = Recordings::create(dir.path(), 1).err().expect("refused");
        assert_eq!(edge::code_of(&error), Exit::CannotCreate);
    }

    #[test]
    fn a_name_that_is_a_path_stays_in_the_folder_and_two_of_one_name_have_two_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut recordings = Recordings::create(dir.path(), 1).expect("a folder");
        let names = [Some("../../x\u{202e}/y"), Some("ann"), Some("ann"), Some("//"), None, Some("--rf-")];
        let files = names.into_iter().zip(1..).map(|(name, tag)| {
            recordings.write(PeerTag(tag), name, 0, &[0.1]).expect("a file");
            recordings.file(PeerTag(tag)).expect("a name").to_owned()
        });
        let files: Vec<_> = files.collect();
        assert_eq!(files, ["x__y.wav", "ann.wav", "ann-3.wav", "speaker-4.wav", "speaker-5.wav", "rf-.wav"]);
    }
}
