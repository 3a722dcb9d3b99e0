use std::ffi::CString;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use pulseaudio::protocol::stream::{BufferAttr, StreamFlags};
use pulseaudio::protocol::{
    Command, CorkStreamParams, CreatePlaybackStreamReply, DESCRIPTOR_SIZE, Descriptor, DescriptorFlags, LatencyParams,
    PlaybackLatency, PlaybackStreamParams, Props, Request, SetPlaybackStreamBufferAttrParams, TagStructReader,
    encode_descriptor,
};

use super::backlog::Backlog;
use super::connection::{Connection, Message};
use super::demand::Demand;
use super::{LATENCY_EVERY, SAMPLE, bytes, map, spec, waiting};

/// The most that is given at a time, in samples: 10 ms.
const MOST: usize = codec::RATE as usize / 100;

/// A stream to a sink, for whoever asks what it wants and gives it: one channel or two, 48 kHz.
pub(in crate::device) struct Player {
    connection: Connection,
    channel: u32,
    channels: usize,
    /// How much is given at a time, in samples of each channel.
    step: usize,
    backlog: Backlog,
    demand: Demand,
    outgoing: Vec<u8>,
    latency: Latency,
}

/// What the server said when it was last asked how far away the device is.
struct Latency {
    asked: Option<u32>,
    due: Instant,
    value: Option<Duration>,
}

impl Player {
    /// Opens a sink.
    ///
    /// # Errors
    /// If there is no server, or it refuses.
    pub(in crate::device) fn open(sink: &str, period: Duration, channels: usize) -> Result<Self> {
        let mut connection = Connection::open()?;
        let now = Instant::now();
        let backlog = Backlog::new(now);
        let params = PlaybackStreamParams {
            sample_spec: spec(channels),
            channel_map: map(channels),
            sink_name: Some(CString::new(sink)?),
            buffer_attr: buffers(bytes(period, channels), &backlog),
            flags: StreamFlags { adjust_latency: true, start_corked: true, ..StreamFlags::default() },
            props: Props::new(),
            ..PlaybackStreamParams::default()
        };
        let reply: CreatePlaybackStreamReply =
            connection.ask(&Command::CreatePlaybackStream(params)).context("open the sink")?;
        let channel = reply.channel;
        // Without buffering before the start it begins when it is told to, and goes on when sound is missing.
        connection.order(&Command::CorkPlaybackStream(CorkStreamParams { channel, cork: false }))?;
        let samples = |bytes: u32| bytes as usize / (SAMPLE * channels);
        let period = samples(bytes(period, channels));
        Ok(Self {
            connection,
            channel,
            channels,
            step: period.min(MOST),
            backlog,
            demand: Demand::new(period, samples(reply.buffer_attr.target_length), samples(reply.requested_bytes)),
            outgoing: Vec::new(),
            latency: Latency { asked: None, due: now, value: None },
        })
    }

    /// Waits until the server wants a period of sound, for `patience` at most. Tells how many samples to give, at most
    /// [`MOST`].
    ///
    /// # Errors
    /// If the server or the sink is gone.
    pub(in crate::device) fn wait(&mut self, patience: Duration) -> Result<Option<usize>> {
        // What it wants short of a period it goes on wanting: sound is always given by the same measure.
        while !self.demand.wants(self.step) {
            self.connection.set_patience(patience)?;
            let version = self.connection.version();
            match self.connection.receive()? {
                None => return Ok(None),
                Some(Message::Command(_, Command::Request(Request { length, .. }), _)) => {
                    let samples = length as usize / (SAMPLE * self.channels);
                    self.demand.note_request(samples, self.backlog.periods());
                }
                Some(Message::Command(seq, Command::Reply, mut rest)) if self.latency.asked == Some(seq) => {
                    let latency = TagStructReader::new(&mut rest, version).read::<PlaybackLatency>()?;
                    let queued = waiting(latency.write_offset, latency.read_offset, self.channels);
                    self.latency.value = Some(Duration::from_micros(latency.sink_usec) + queued);
                }
                Some(Message::Command(_, Command::Underflow(_), _)) => {
                    if self.backlog.note_dry(Instant::now()) {
                        self.follow_backlog()?;
                    }
                }
                Some(Message::Command(_, Command::PlaybackStreamKilled(_), _)) => bail!("the sink is gone"),
                Some(_) => {}
            }
            self.look_around(Instant::now())?;
        }
        Ok(Some(self.step))
    }

    /// Gives sound, interleaved.
    ///
    /// # Errors
    /// If the server is gone.
    pub(in crate::device) fn play(&mut self, samples: &[f32]) -> Result<()> {
        self.demand.note_given(samples.len() / self.channels);
        let mut head = [0; DESCRIPTOR_SIZE];
        let length = size_of_val(samples) as u32;
        let descriptor = Descriptor { length, channel: self.channel, offset: 0, flags: DescriptorFlags::empty() };
        encode_descriptor(&mut head, &descriptor);
        self.outgoing.clear();
        self.outgoing.extend_from_slice(&head);
        self.outgoing.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        self.connection.write(&self.outgoing)
    }

    /// Samples that came too late to be heard, so far.
    pub(in crate::device) fn missed(&self) -> u64 {
        self.demand.missed()
    }

    /// How much sound the server and the device hold.
    pub(in crate::device) fn held(&self) -> Duration {
        let samples = self.demand.held(self.backlog.periods()) as u64;
        Duration::from_micros(samples * 1_000_000 / u64::from(codec::RATE))
    }

    /// How long sound takes from here to the air, as the server says.
    pub(super) fn latency(&self) -> Option<Duration> {
        self.latency.value
    }

    /// Another handle of the connection, to end it with.
    pub(super) fn handle(&self) -> std::io::Result<std::os::unix::net::UnixStream> {
        self.connection.handle()
    }

    fn look_around(&mut self, now: Instant) -> Result<()> {
        if now < self.latency.due {
            return Ok(());
        }
        self.latency.due = now + LATENCY_EVERY;
        let question = LatencyParams { channel: self.channel, now: SystemTime::now() };
        self.latency.asked = Some(self.connection.send(&Command::GetPlaybackLatency(question))?);
        if self.backlog.relax(now) { self.follow_backlog() } else { Ok(()) }
    }

    fn follow_backlog(&mut self) -> Result<()> {
        let buffer_attr = buffers((self.demand.period() * SAMPLE * self.channels) as u32, &self.backlog);
        tracing::debug!(bytes = buffer_attr.target_length, "The server holds another amount of sound");
        let (index, adjust_latency, early_requests) = (self.channel, true, false);
        let params = SetPlaybackStreamBufferAttrParams { index, buffer_attr, adjust_latency, early_requests };
        self.connection.send(&Command::SetPlaybackStreamBufferAttr(params))?;
        Ok(())
    }
}

/// One period is asked for while the others are in the server and the device; without buffering before the start, which
/// would be repeated when sound is missing.
fn buffers(period: u32, backlog: &Backlog) -> BufferAttr {
    BufferAttr {
        target_length: period * backlog.periods(),
        minimum_request_length: period,
        pre_buffering: 0,
        ..BufferAttr::default()
    }
}
