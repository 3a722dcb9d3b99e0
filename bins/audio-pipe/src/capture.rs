//! From the microphone, or a file that is played as if it were one, to packets.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use codec::{Encoder, Mode, Settings};
use edge::{Exit, WithExit};
use voice::Packetizer;
use wire::agent::{Peers, VoiceRecord};
use wire::voice::Flags;

use crate::args::{CaptureArgs, SourceArgs};
use crate::control::Switches;
use crate::device::Microphone;
use crate::file::{self, SoundFile};
use crate::own_voice::OwnVoice;
use crate::stats::{Captured, Stats};
use crate::stop::Stop;
use crate::timeline::{Timeline, unix_ns};

/// Where sound comes from.
pub(crate) enum Source {
    File { file: Box<SoundFile>, start_at: Option<f64>, timeline: Option<Timeline>, at: u64 },
    Device { microphone: Box<Microphone>, start: Timeline },
}

/// A frame that was heard.
struct Took {
    /// The number of its first sample.
    at: u64,
    /// Samples of each channel before the end; the rest is silence.
    samples: usize,
    /// Whether nothing can be heard, for there is no microphone at this moment.
    is_deaf: bool,
}

impl Source {
    pub(crate) fn open(args: &SourceArgs) -> Result<Self> {
        Ok(match &args.input {
            Some(path) => {
                let file = Box::new(SoundFile::open(path, args.raw.layout(), args.channels())?);
                Self::File { file, start_at: args.start_at, timeline: None, at: 0 }
            }
            None => {
                let microphone = Microphone::open(args.microphone.as_deref(), args.period(), args.channels())?;
                Self::Device { microphone: Box::new(microphone), start: Timeline::at(args.start_at) }
            }
        })
    }

    /// The name of the microphone, if it is one.
    pub(crate) fn device(&self) -> Option<&str> {
        match self {
            Self::File { .. } => None,
            Self::Device { microphone, .. } => Some(microphone.device()),
        }
    }

    /// Waits until the last sample of the next frame is heard.
    fn next(&mut self, frame: &mut [f32], stop: &Stop) -> Result<Took> {
        match self {
            Self::File { file, start_at, timeline, at } => {
                let timeline = timeline.get_or_insert_with(|| Timeline::at(*start_at));
                let step = (frame.len() / file.channels()) as u64;
                let missed = timeline.wait_for(*at + step, step).missed;
                // What a file would have said in the meantime is over; what a pipe says is still to come.
                for _ in 0..if file.is_live() { 0 } else { missed / step } {
                    file.read(frame)?;
                }
                *at += missed;
                let took = Took { at: *at, samples: file.read(frame)?, is_deaf: false };
                frame[took.samples * file.channels()..].fill(0.0);
                *at += step;
                Ok(took)
            }
            Self::Device { microphone, start } => loop {
                let at = microphone.next(frame, stop);
                if stop.is_asked() || start.has_begun() {
                    let (samples, is_deaf) = (frame.len() / microphone.channels(), !microphone.is_there());
                    return Ok(Took { at, samples, is_deaf });
                }
            },
        }
    }

    /// When sample 0 was heard, in nanoseconds since 1970.
    fn start_unix_ns(&self) -> Option<u64> {
        match self {
            Self::File { timeline, .. } => *timeline,
            Self::Device { microphone, .. } => microphone.timeline(),
        }
        .map(|timeline| timeline.start_unix_ns())
    }
}

/// An encoder as the options want it, for a stream that no earlier run has used lately.
pub(crate) fn packetizer(args: &SourceArgs) -> Result<Packetizer> {
    let mode = match (args.low_delay, args.music) {
        (true, _) => Mode::LowDelay,
        (_, true) => Mode::Music,
        _ => Mode::Voice,
    };
    let settings = Settings {
        mode,
        channels: args.channels() as u8,
        bitrate: args.bitrate,
        frame: args.frame_ms,
        // Only speech has what LBRR repeats; to allow for it would turn music into speech where much gets lost.
        expected_loss: (!args.music).then_some(args.expected_loss),
        ..Settings::default()
    };
    Ok(Packetizer::new(Encoder::new(settings)?, (unix_ns() >> 20) as u8))
}

/// Hears, encodes and sends until the source ends or everything does; the last packet says so.
pub(crate) fn run(
    source: &mut Source,
    packets: &mut Packetizer,
    voice: &mut OwnVoice,
    switches: &Switches,
    stop: &Stop,
    mut send: impl FnMut(&mut Packetizer) -> Result<()>,
) -> Result<Captured> {
    let (len, lookahead) = (packets.block(), packets.lookahead());
    let mut frame = vec![0.0; len * packets.channels()];
    let mut captured = Captured::default();
    let mut end = None;
    loop {
        let took = source.next(&mut frame, stop)?;
        if took.samples < len {
            // What delays the sound gives back its end only when it is fed what comes after it.
            end = end.or(Some(took.at + (took.samples + lookahead + voice.delay()) as u64));
        }
        let last = stop.is_asked() || end.is_some_and(|end| took.at + len as u64 >= end);
        if captured.frames == 0 {
            let offset = took.at * 1_000_000_000 / u64::from(codec::RATE);
            captured.first_sample_unix_ns = source.start_unix_ns().map(|start| start + offset);
        }
        captured.frames += 1;
        packets.mark(switches.marks());
        // A microphone that is away is one that is off: the others see that, and whatever else they have to know.
        let muted = switches.is_muted() || took.is_deaf;
        captured.packets += voice.pass(&mut frame, took.at, muted, last, packets, &mut send)?;
        if last {
            return Ok(captured);
        }
    }
}

/// After the end of a file, until everything ends: tells the others of mute and marks, as long as there is something to tell.
pub(crate) fn stand_by(
    source: &mut Source,
    packets: &mut Packetizer,
    switches: &Switches,
    stop: &Stop,
    mut send: impl FnMut(&mut Packetizer) -> Result<()>,
) -> Result<()> {
    let mut frame = vec![0.0; packets.block() * packets.channels()];
    let mut has_told = false;
    packets.close(true);
    loop {
        let at = source.next(&mut frame, stop)?.at;
        let (marks, muted) = (switches.marks(), switches.is_muted());
        let tells = (muted || marks != Flags::default()) && !stop.is_asked();
        packets.mark(marks);
        if (tells || has_told) && packets.push(&mut frame, at, muted, !tells)? {
            send(packets)?;
        }
        has_told = tells;
        if stop.is_asked() {
            return Ok(());
        }
    }
}

/// `audio-pipe capture`.
pub(crate) fn capture(args: &CaptureArgs) -> Result<()> {
    let switches = Arc::new(Switches::default());
    let stop = Stop::on_signals(Arc::clone(&switches))?;
    let settings = args.source.voice.settings()?;
    if settings.echo {
        let no_echo =
            "capture does not know what is played, so it can't take it out: --echo and --mode speaker are for talk";
        return Err(anyhow!(no_echo)).exit(Exit::Usage);
    }
    let mut packets = packetizer(&args.source)?;
    let frame = packets.block();
    let mut voice = OwnVoice::new(args.source.voice_settings(settings, frame)?, frame, None);
    let mut source = Source::open(&args.source)?;
    let stdout = Path::new("-");
    let mut out = file::create(stdout)?;
    let captured = run(&mut source, &mut packets, &mut voice, &switches, &stop, |packets| {
        let Some(packet) = packets.packet(&[]) else { return Ok(()) };
        let record = wire::frame::frame(&VoiceRecord { peers: Peers::All, packet });
        file::write_all(&mut out, stdout, &record)
    })?;
    out.flush().exit(Exit::Io)?;
    if let Some(path) = &args.stats {
        Stats { capture: Some(captured), ..Stats::default() }.write(path)?;
    }
    stop.die_of_signal();
    Ok(())
}
