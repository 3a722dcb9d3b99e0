use std::ffi::CString;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use pulseaudio::protocol::stream::{BufferAttr, StreamFlags};
use pulseaudio::protocol::{
    ChannelMap, Command, CorkStreamParams, CreatePlaybackStreamReply, CreateRecordStreamReply, DESCRIPTOR_SIZE,
    Descriptor, DescriptorFlags, LatencyParams, PlaybackLatency, PlaybackStreamParams, Props, RecordLatency,
    RecordStreamParams, Request, SampleFormat, SampleSpec, SetPlaybackStreamBufferAttrParams, TagStructReader,
    encode_descriptor,
};

use super::connection::{Connection, Message};
use crate::device::priority;
use crate::device::shared::Shared;
use crate::device::stream::{Hears, Speaks};

/// How long the thread waits for a message before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often the server is asked how far away the device is.
const LATENCY_EVERY: Duration = Duration::from_millis(500);
/// A buffer of the server that falls behind grows up to this, in bytes: 40 ms.
const LONGEST: u32 = codec::RATE / 25 * SAMPLE as u32;
/// The most that is played or heard at a time, in samples.
const MOST: usize = 4096;
const SAMPLE: usize = size_of::<f32>();

/// A stream that runs until this is dropped.
pub(in crate::device) struct Stream {
    socket: UnixStream,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // A server that is gone has ended it already.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Stream {
    /// Listens to a source: mono, 48 kHz, about `period` at a time.
    pub(in crate::device) fn record(source: &str, period: Duration, ear: impl Hears) -> Result<Self> {
        let mut connection = Connection::open()?;
        let params = RecordStreamParams {
            sample_spec: spec(),
            channel_map: ChannelMap::mono(),
            source_name: Some(CString::new(source)?),
            buffer_attr: BufferAttr { fragment_size: bytes(period), ..BufferAttr::default() },
            flags: StreamFlags { adjust_latency: true, ..StreamFlags::default() },
            props: Props::new(),
            ..RecordStreamParams::default()
        };
        let reply: CreateRecordStreamReply =
            connection.ask(&Command::CreateRecordStream(params)).context("open the source")?;
        let recording = Recording { channel: reply.channel, ear, sound: Vec::with_capacity(MOST) };
        Self::start(connection, recording)
    }

    /// Speaks through a sink: mono, 48 kHz, `period` at a time.
    pub(in crate::device) fn play(sink: &str, period: Duration, mouth: impl Speaks) -> Result<Self> {
        let mut connection = Connection::open()?;
        let target = 2 * bytes(period);
        let params = PlaybackStreamParams {
            sample_spec: spec(),
            channel_map: ChannelMap::mono(),
            sink_name: Some(CString::new(sink)?),
            buffer_attr: buffers(target),
            flags: StreamFlags { adjust_latency: true, start_corked: true, ..StreamFlags::default() },
            props: Props::new(),
            ..PlaybackStreamParams::default()
        };
        let reply: CreatePlaybackStreamReply =
            connection.ask(&Command::CreatePlaybackStream(params)).context("open the sink")?;
        let channel = reply.channel;
        let mut playing = Playing {
            target,
            strain: Strain::default(),
            channel,
            mouth,
            sound: vec![0.0; MOST],
            bytes: Vec::with_capacity(DESCRIPTOR_SIZE + MOST * SAMPLE),
        };
        playing.give(&mut connection, reply.requested_bytes)?;
        // Without buffering before the start, it begins when it is told to, and goes on when sound is missing.
        connection.order(&Command::CorkPlaybackStream(CorkStreamParams { channel, cork: false }))?;
        Self::start(connection, playing)
    }

    fn start(connection: Connection, work: impl Work) -> Result<Self> {
        connection.set_patience(PATIENCE)?;
        let socket = connection.handle()?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let run = move || {
            priority::raise();
            let shared = Arc::clone(work.shared());
            if let Err(error) = run(connection, work, &told)
                && !told.load(Ordering::Acquire)
            {
                tracing::debug!("A stream has ended: {error:#}");
                shared.lose();
            }
        };
        let thread = thread::Builder::new().name("pulse".into()).spawn(run).context("start a thread")?;
        Ok(Self { socket, over, thread: Some(thread) })
    }
}

/// One of the two kinds of stream.
trait Work: Send + 'static {
    fn shared(&self) -> &Arc<Shared>;
    fn take_sound(&mut self, channel: u32, bytes: &[u8]);
    fn take_request(&mut self, connection: &mut Connection, bytes: u32) -> Result<()>;
    /// The device had nothing to play.
    fn take_underflow(&mut self, connection: &mut Connection) -> Result<()>;
    /// What to ask for the latency with.
    fn question(&self) -> Command;
    /// How far away the device is, from the answer.
    fn latency(&self, answer: &mut TagStructReader<'_>) -> Result<u64>;
}

fn run(mut connection: Connection, mut work: impl Work, over: &AtomicBool) -> Result<()> {
    let (mut asked, mut due) = (None, Instant::now());
    let version = connection.version();
    while !over.load(Ordering::Acquire) {
        let requested = match connection.receive()? {
            None => None,
            Some(Message::Sound(channel, bytes)) => {
                work.take_sound(channel, bytes);
                None
            }
            Some(Message::Command(_, Command::Request(Request { length, .. }), _)) => Some(length),
            Some(Message::Command(seq, Command::Reply, mut rest)) if asked == Some(seq) => {
                let latency = work.latency(&mut TagStructReader::new(&mut rest, version))?;
                work.shared().note_latency(Some(Duration::from_micros(latency)));
                None
            }
            Some(Message::Command(_, Command::Underflow(_), _)) => {
                work.take_underflow(&mut connection)?;
                None
            }
            Some(Message::Command(_, Command::PlaybackStreamKilled(_) | Command::RecordStreamKilled(_), _)) => {
                bail!("the device is gone")
            }
            Some(Message::Command(..)) => None,
        };
        if let Some(length) = requested {
            work.take_request(&mut connection, length)?;
        }
        if Instant::now() >= due {
            due = Instant::now() + LATENCY_EVERY;
            asked = Some(connection.send(&work.question())?);
        }
    }
    Ok(())
}

struct Recording<E> {
    channel: u32,
    ear: E,
    sound: Vec<f32>,
}

impl<E: Hears> Work for Recording<E> {
    fn shared(&self) -> &Arc<Shared> {
        self.ear.shared()
    }

    fn take_sound(&mut self, channel: u32, bytes: &[u8]) {
        if channel != self.channel {
            return;
        }
        for part in bytes.chunks(MOST * SAMPLE) {
            self.sound.clear();
            self.sound.extend(part.as_chunks::<SAMPLE>().0.iter().map(|sample| f32::from_le_bytes(*sample)));
            self.ear.hear(&self.sound);
        }
    }

    fn take_request(&mut self, _: &mut Connection, _: u32) -> Result<()> {
        Ok(())
    }

    fn take_underflow(&mut self, _: &mut Connection) -> Result<()> {
        Ok(())
    }

    fn question(&self) -> Command {
        Command::GetRecordLatency(LatencyParams { channel: self.channel, now: SystemTime::now() })
    }

    fn latency(&self, answer: &mut TagStructReader<'_>) -> Result<u64> {
        let latency: RecordLatency = answer.read()?;
        Ok(latency.source_usec + waiting_us(latency.write_offset, latency.read_offset))
    }
}

struct Playing<M> {
    channel: u32,
    /// How much the server and the device hold, in bytes.
    target: u32,
    strain: Strain,
    mouth: M,
    sound: Vec<f32>,
    bytes: Vec<u8>,
}

impl<M: Speaks> Playing<M> {
    /// Gives the server what it asks for.
    fn give(&mut self, connection: &mut Connection, bytes: u32) -> Result<()> {
        let mut missing = bytes as usize / SAMPLE;
        while missing > 0 {
            let sound = &mut self.sound[..missing.min(MOST)];
            missing -= sound.len();
            self.mouth.speak(sound);
            let mut head = [0; DESCRIPTOR_SIZE];
            let length = (sound.len() * SAMPLE) as u32;
            let descriptor = Descriptor { length, channel: self.channel, offset: 0, flags: DescriptorFlags::empty() };
            encode_descriptor(&mut head, &descriptor);
            self.bytes.clear();
            self.bytes.extend_from_slice(&head);
            self.bytes.extend(sound.iter().flat_map(|sample| sample.to_le_bytes()));
            connection.write(&self.bytes)?;
        }
        Ok(())
    }
}

impl<M: Speaks> Work for Playing<M> {
    fn shared(&self) -> &Arc<Shared> {
        self.mouth.shared()
    }

    fn take_sound(&mut self, _: u32, _: &[u8]) {}

    fn take_request(&mut self, connection: &mut Connection, bytes: u32) -> Result<()> {
        self.give(connection, bytes)
    }

    fn take_underflow(&mut self, connection: &mut Connection) -> Result<()> {
        if self.strain.note(Instant::now()) && self.target < LONGEST {
            self.target *= 2;
            tracing::debug!(bytes = self.target, "The loudspeaker falls behind, and gets a longer buffer");
            let params = SetPlaybackStreamBufferAttrParams {
                index: self.channel,
                buffer_attr: buffers(self.target),
                adjust_latency: true,
                early_requests: false,
            };
            connection.send(&Command::SetPlaybackStreamBufferAttr(params))?;
        }
        Ok(())
    }

    fn question(&self) -> Command {
        Command::GetPlaybackLatency(LatencyParams { channel: self.channel, now: SystemTime::now() })
    }

    fn latency(&self, answer: &mut TagStructReader<'_>) -> Result<u64> {
        let latency: PlaybackLatency = answer.read()?;
        Ok(latency.sink_usec + waiting_us(latency.write_offset, latency.read_offset))
    }
}

/// One period is in the device while the next one is asked for; without buffering before the start, which would be
/// repeated when sound is missing.
fn buffers(target: u32) -> BufferAttr {
    BufferAttr { target_length: target, minimum_request_length: target / 2, pre_buffering: 0, ..BufferAttr::default() }
}

/// How often sound was missing of late.
#[derive(Debug, Default)]
struct Strain {
    since: Option<Instant>,
    times: u32,
}

impl Strain {
    /// Sound was missing; whether that happens too often.
    fn note(&mut self, now: Instant) -> bool {
        /// Three times in so long is too often.
        const WINDOW: Duration = Duration::from_secs(10);
        const OFTEN: u32 = 3;

        if self.since.is_none_or(|since| now.duration_since(since) > WINDOW) {
            (self.since, self.times) = (Some(now), 0);
        }
        self.times += 1;
        let is_often = self.times >= OFTEN;
        if is_often {
            self.since = None;
        }
        is_often
    }
}

/// How long it takes to play what lies between two places of a stream.
fn waiting_us(write: i64, read: i64) -> u64 {
    write.saturating_sub(read).max(0).unsigned_abs().saturating_mul(1_000_000)
        / (u64::from(codec::RATE) * SAMPLE as u64)
}

fn spec() -> SampleSpec {
    SampleSpec { format: SampleFormat::Float32Le, channels: 1, sample_rate: codec::RATE }
}

fn bytes(period: Duration) -> u32 {
    let samples = (period.as_micros() * u128::from(codec::RATE) / 1_000_000).clamp(1, MOST as u128);
    samples as u32 * SAMPLE as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_runs_dry_three_times_in_ten_seconds_is_too_short() {
        let (mut strain, start) = (Strain::default(), Instant::now());
        let mut at = |seconds| strain.note(start + Duration::from_secs(seconds));

        assert_eq!([at(0), at(9), at(21), at(22)], [false; 4], "never three in ten seconds");
        assert!(at(23));
        assert_eq!([at(24), at(25)], [false; 2], "the count begins anew");
    }

    #[test]
    fn a_period_is_whole_samples_and_never_none() {
        assert_eq!(bytes(Duration::from_micros(2500)), 480);
        assert_eq!(bytes(Duration::ZERO), 4);
        assert_eq!(bytes(Duration::from_secs(9)), (MOST * SAMPLE) as u32);
    }

    #[test]
    fn what_waits_is_told_in_time() {
        assert_eq!(waiting_us(480, 0), 2500);
        assert_eq!(waiting_us(0, 480), 0, "it ran dry");
    }
}
