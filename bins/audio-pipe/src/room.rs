//! Everybody who is heard: decoded, mixed, recorded, measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use codec::Decoder;
use jitter::{Config, Heard, Mixer, Presence};
use voice::Ear;
use wire::PeerTag;
use wire::local::{self, Figures, VoiceState, Volume};
use wire::voice::{Flags, Report};

use crate::args::SinkArgs;
use crate::channels::reshape;
use crate::control::{Switches, Volumes};
use crate::far_end;
use crate::file::{Encoding, Recording};
use crate::record::Recordings;
use crate::recording::Recorder;
use crate::stats::{Played, Speaker, Stats};
use crate::timeline::unix_ns;

/// Figures of so many who have left are kept; of more, who left first is forgotten.
const MOST_GONE: usize = 1000;
/// What is silent, in -dBov.
const SILENCE: u8 = 127;

/// The other people.
pub(crate) struct Room {
    mixer: Mixer<Ear>,
    /// How many channels are played, and how many the files have.
    channels: usize,
    file_channels: usize,
    reshaped: Vec<f32>,
    output: Option<Recording>,
    each: Option<Recordings>,
    people: BTreeMap<PeerTag, Person>,
    volumes: Volumes,
    switches: Arc<Switches>,
    gone: Vec<Speaker>,
    played: Played,
    /// Where what is played goes beside the loudspeaker.
    far_end: Option<far_end::Played>,
    recorder: Option<Recorder>,
}

/// What is known of a peer beside its voice.
struct Person {
    name: Option<String>,
    first_frame_unix_ns: Option<u64>,
    jitter_ms: u16,
    /// The loudest since it was last asked for, and what was said then.
    level: u8,
    shown: u8,
}

impl Person {
    fn new() -> Self {
        Self { name: None, first_frame_unix_ns: None, jitter_ms: 0, level: SILENCE, shown: SILENCE }
    }
}

/// What a meter shows of a peer.
pub(crate) struct Seen<'a> {
    pub(crate) peer: PeerTag,
    pub(crate) name: Option<&'a str>,
    pub(crate) state: VoiceState,
    /// In -dBov.
    pub(crate) level: u8,
}

impl Room {
    /// An empty room in which so many channels are played, and whose sound also goes to the files that the options name. Nobody
    /// is heard in it while the switches say so.
    pub(crate) fn new(args: &SinkArgs, channels: usize, switches: Arc<Switches>) -> Result<Self> {
        // A decoder lacks nothing but memory.
        Decoder::new()?;
        let file_channels = args.channels();
        let output = |path| Recording::create(path, false, Encoding::S16, file_channels as u16);
        let each = |dir| Recordings::create(dir, file_channels);
        let mut mixer = Mixer::new(Config { channels, ..Config::default() }, Ear::default);
        mixer.even_out(args.loudness);
        Ok(Self {
            mixer,
            channels,
            file_channels,
            reshaped: Vec::new(),
            output: args.output.as_deref().map(output).transpose()?,
            each: args.record_each.as_deref().map(each).transpose()?,
            people: BTreeMap::new(),
            volumes: Volumes::default(),
            switches,
            gone: Vec::new(),
            played: Played::default(),
            far_end: None,
            recorder: None,
        })
    }

    /// Lets whoever cancels echo know what is played.
    pub(crate) fn tell(&mut self, far_end: far_end::Played) {
        self.far_end = Some(far_end);
    }

    /// Lets whoever records have every packet that is taken.
    pub(crate) fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Takes a packet that came at `at`; a report on our own voice comes back.
    pub(crate) fn hear(&mut self, peer: PeerTag, packet: &[u8], at: Instant) -> Option<Report> {
        match self.mixer.push(peer, packet, at) {
            Ok(Heard::Report(report)) => Some(report),
            Ok(Heard::Frame) => {
                let person = self.people.entry(peer).or_insert_with(Person::new);
                person
                    .first_frame_unix_ns
                    .get_or_insert_with(|| unix_ns().saturating_sub(at.elapsed().as_nanos() as u64));
                if let Some(recorder) = &self.recorder {
                    recorder.hear(peer, person.name.as_deref(), packet, at);
                }
                None
            }
            Ok(Heard::Refused) => None,
            Err(error) => {
                tracing::debug!(%peer, %error, "Ignored a packet");
                None
            }
        }
    }

    /// Learns what a peer calls itself.
    pub(crate) fn name(&mut self, peer: PeerTag, name: &str) {
        self.people.entry(peer).or_insert_with(Person::new).name = Some(name.to_owned());
        self.mixer.set_gain(peer, self.volumes.of(name).gain());
    }

    /// Plays a peer as loud as is wanted, and whoever comes by its name later.
    pub(crate) fn set_volume(&mut self, peer: PeerTag, volume: Volume) -> Result<(), String> {
        let name = self.people.get(&peer).and_then(|person| person.name.as_deref());
        let wanted = self.volumes.set(name.ok_or("that peer has just left")?, volume)?;
        self.mixer.set_gain(peer, wanted.gain());
        Ok(())
    }

    /// Plays everybody about as loud as the others, or as they are.
    pub(crate) fn even_out(&mut self, is_evened: bool) {
        self.mixer.even_out(is_evened);
    }

    /// Whether it does that.
    pub(crate) fn is_evened(&self) -> bool {
        self.mixer.is_evened()
    }

    /// Forgets a peer that has left, but for its figures.
    pub(crate) fn leave(&mut self, peer: PeerTag) {
        let speaker = self.mixer.stats().find(|(tag, _)| *tag == peer).map(|(_, stats)| stats);
        self.gone.extend(speaker.map(|stats| self.describe(peer, stats)));
        if self.gone.len() > MOST_GONE {
            self.gone.remove(0);
        }
        self.people.remove(&peer);
        if let Some(recorder) = &self.recorder {
            recorder.leave(peer);
        }
        self.mixer.remove(peer);
    }

    /// How many channels are played, interleaved.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Gives the next samples; those from sample `at` on go to the files. Tells how many speakers are heard.
    pub(crate) fn play(&mut self, block: &mut [f32], at: Option<u64>, now: Instant) -> Result<usize> {
        let Self { mixer, people, each, switches, reshaped, .. } = self;
        let (channels, file_channels) = (self.channels, self.file_channels);
        mixer.deafen(switches.is_deafened());
        let mut recorded = Ok(());
        let mixed = mixer.pull_tapped(block, now, |peer, sound| {
            let person = people.entry(peer).or_insert_with(Person::new);
            person.level = person.level.min(codec::level(sound.samples));
            if let (Some(each), Some(at), Ok(())) = (each.as_mut(), at, &recorded) {
                let samples = reshape(sound.samples, [sound.channels, file_channels], reshaped);
                recorded = each.write(peer, person.name.as_deref(), at, samples);
            }
        });
        recorded?;
        self.played.limited_blocks += u64::from(mixed.limited);
        if let Some(far_end) = &mut self.far_end {
            far_end.play(reshape(block, [channels, 1], reshaped));
        }
        if let Some(at) = at {
            if let Some(output) = &mut self.output {
                output.write(reshape(block, [channels, file_channels], reshaped))?;
            }
            self.played.samples = at + (block.len() / channels) as u64;
        }
        Ok(mixed.speakers)
    }

    /// Lets time pass that nobody listened to.
    pub(crate) fn skip(&mut self, samples: u64) -> Result<()> {
        self.played.samples += samples;
        self.output.as_mut().map_or(Ok(()), |output| output.skip(samples))
    }

    /// The next report that is due to a sender.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<(PeerTag, Report)> {
        let (peer, report) = self.mixer.poll_report(now)?;
        if let Some(person) = self.people.get_mut(&peer) {
            person.jitter_ms = report.jitter_ms;
        }
        Some((peer, report))
    }

    /// How everybody is, and how loud they were since the last time.
    pub(crate) fn take_seen(&mut self) -> impl Iterator<Item = Seen<'_>> {
        let states: BTreeMap<_, _> = self.mixer.presences().map(|(peer, presence)| (peer, state(presence))).collect();
        self.people.iter_mut().map(move |(peer, person)| {
            person.shown = std::mem::replace(&mut person.level, SILENCE);
            let state = states.get(peer).copied().unwrap_or_default();
            Seen { peer: *peer, name: person.name.as_deref(), state, level: person.shown }
        })
    }

    /// How everybody is heard.
    pub(crate) fn speakers(&self) -> Vec<local::Speaker> {
        let presences: BTreeMap<_, _> = self.mixer.presences().collect();
        let stats: BTreeMap<_, _> = self.mixer.stats().collect();
        let speaker = |(tag, person): (&PeerTag, &Person)| {
            let presence = presences.get(tag).copied().unwrap_or_default();
            let name = person.name.clone().unwrap_or_default();
            let wanted = self.volumes.of(&name);
            local::Speaker {
                tag: *tag,
                name,
                volume_db: wanted.db,
                is_off: wanted.is_off,
                evened_db: presence.evened_db.round() as i8,
                channels: presence.channels as u8,
                state: state(presence),
                level: person.shown,
                figures: stats.get(tag).map(|stats| figures(stats, person.jitter_ms)).unwrap_or_default(),
            }
        };
        self.people.iter().map(speaker).collect()
    }

    /// Says when sample 0 is played.
    pub(crate) fn begin(&mut self, start_unix_ns: u64) {
        self.played.first_sample_unix_ns = start_unix_ns;
    }

    /// Says how many samples the device did not get in time.
    pub(crate) fn note_underruns(&mut self, samples: u64) {
        self.played.underrun_samples = samples;
    }

    /// Completes all files and tells what it was like.
    pub(crate) fn finish(&mut self) -> Result<Stats> {
        if let Some(output) = &mut self.output {
            output.finish()?;
        }
        if let Some(each) = &mut self.each {
            each.finish(self.played.samples)?;
        }
        let mut speakers = self.gone.clone();
        speakers.extend(self.mixer.stats().map(|(peer, stats)| self.describe(peer, stats)));
        let stats = Stats { playback: Some(self.played), speakers, ..Stats::default() };
        Ok(stats)
    }

    /// Where one's own figures go beside the recordings.
    pub(crate) fn sidecar(&self) -> Option<std::path::PathBuf> {
        self.each.as_ref().map(|each| each.dir().join("stats.json"))
    }

    fn describe(&self, peer: PeerTag, stats: jitter::Stats) -> Speaker {
        let person = self.people.get(&peer);
        Speaker {
            name: person.and_then(|person| person.name.clone()),
            file: self.each.as_ref().and_then(|each| each.file(peer)).map(str::to_owned),
            first_frame_unix_ns: person.and_then(|person| person.first_frame_unix_ns),
            jitter_ms: person.map_or(0, |person| person.jitter_ms),
            ..Speaker::new(peer.0, stats)
        }
    }
}

fn state(presence: Presence) -> VoiceState {
    let has = |flag| presence.flags.has(flag);
    let (muted, deafened, recording) = (has(Flags::MUTED), has(Flags::DEAFENED), has(Flags::RECORDING));
    VoiceState { muted, deafened, recording, talking: presence.is_talking && !muted }
}

fn figures(stats: &jitter::Stats, jitter_ms: u16) -> Figures {
    let ms = |duration: std::time::Duration| u16::try_from(duration.as_millis()).unwrap_or(u16::MAX);
    let millis = |samples: u64| samples * 1000 / u64::from(codec::RATE);
    Figures {
        received: stats.received,
        lost: stats.lost,
        late: stats.late,
        concealed_ms: millis(stats.concealed),
        from_next: stats.from_next,
        from_copy: stats.from_copy,
        deep_ms: millis(stats.deep),
        played_ms: millis(stats.played),
        jitter_ms,
        buffer_ms: ms(stats.target),
        delay_ms: ms(stats.delay),
        drift_ppm: stats.drift_ppm.round() as i16,
    }
}

#[cfg(test)]
mod tests;
