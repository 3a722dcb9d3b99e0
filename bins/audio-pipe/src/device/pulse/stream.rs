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
    Command, CreateRecordStreamReply, LatencyParams, Props, RecordLatency, RecordStreamParams, TagStructReader,
};

use super::connection::{Connection, Message};
use super::player::Player;
use super::{LATENCY_EVERY, SAMPLE, bytes, map, spec, waiting};
use crate::device::priority;
use crate::device::shared::Shared;
use crate::device::stream::{Hears, Speaks};

/// How long the thread waits for a message before it looks whether it is to end.
const PATIENCE: Duration = Duration::from_millis(200);
/// The most that is heard at a time, in samples of all channels; a whole number of each.
const MOST: usize = 4096;

/// A stream with a thread of its own, which runs until this is dropped.
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
    /// Listens to a source: one or two channels, 48 kHz, about `period` at a time.
    pub(in crate::device) fn record(source: &str, period: Duration, channels: usize, ear: impl Hears) -> Result<Self> {
        let recorder = Recorder::open(source, period, channels, ear)?;
        let shared = Arc::clone(recorder.ear.shared());
        Self::start(recorder.connection.handle()?, shared, move |over| recorder.run(over))
    }

    /// Speaks through a sink: one or two channels, 48 kHz, `period` at a time.
    pub(in crate::device) fn play(
        sink: &str,
        period: Duration,
        channels: usize,
        mut mouth: impl Speaks,
    ) -> Result<Self> {
        let mut player = Player::open(sink, period, channels)?;
        let (shared, socket) = (Arc::clone(mouth.shared()), player.handle()?);
        let run = move |over: &AtomicBool| {
            let mut sound = Vec::new();
            while !over.load(Ordering::Acquire) {
                let Some(samples) = player.wait(PATIENCE)? else { continue };
                sound.resize(samples * channels, 0.0);
                mouth.speak(&mut sound);
                player.play(&sound)?;
                mouth.shared().note_latency(player.latency());
            }
            Ok(())
        };
        Self::start(socket, shared, run)
    }

    fn start(
        socket: UnixStream,
        shared: Arc<Shared>,
        run: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let run = move || {
            priority::raise();
            if let Err(error) = run(&told)
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

struct Recorder<E> {
    connection: Connection,
    channel: u32,
    channels: usize,
    ear: E,
    sound: Vec<f32>,
}

impl<E: Hears> Recorder<E> {
    fn open(source: &str, period: Duration, channels: usize, ear: E) -> Result<Self> {
        let mut connection = Connection::open()?;
        let params = RecordStreamParams {
            sample_spec: spec(channels),
            channel_map: map(channels),
            source_name: Some(CString::new(source)?),
            buffer_attr: BufferAttr { fragment_size: bytes(period, channels), ..BufferAttr::default() },
            flags: StreamFlags { adjust_latency: true, ..StreamFlags::default() },
            props: Props::new(),
            ..RecordStreamParams::default()
        };
        let reply: CreateRecordStreamReply =
            connection.ask(&Command::CreateRecordStream(params)).context("open the source")?;
        connection.set_patience(PATIENCE)?;
        Ok(Self { connection, channel: reply.channel, channels, ear, sound: Vec::with_capacity(MOST) })
    }

    fn run(mut self, over: &AtomicBool) -> Result<()> {
        let (mut asked, mut due) = (None, Instant::now());
        let version = self.connection.version();
        while !over.load(Ordering::Acquire) {
            match self.connection.receive()? {
                Some(Message::Sound(channel, bytes)) if channel == self.channel => {
                    hear(&mut self.ear, &mut self.sound, bytes);
                }
                Some(Message::Command(seq, Command::Reply, mut rest)) if asked == Some(seq) => {
                    let latency: RecordLatency = TagStructReader::new(&mut rest, version).read()?;
                    let queued = waiting(latency.write_offset, latency.read_offset, self.channels);
                    self.ear.shared().note_latency(Some(Duration::from_micros(latency.source_usec) + queued));
                }
                Some(Message::Command(_, Command::RecordStreamKilled(_), _)) => bail!("the source is gone"),
                _ => {}
            }
            if Instant::now() >= due {
                due = Instant::now() + LATENCY_EVERY;
                let question = LatencyParams { channel: self.channel, now: SystemTime::now() };
                asked = Some(self.connection.send(&Command::GetRecordLatency(question))?);
            }
        }
        Ok(())
    }
}

fn hear(ear: &mut impl Hears, sound: &mut Vec<f32>, bytes: &[u8]) {
    for part in bytes.chunks(MOST * SAMPLE) {
        sound.clear();
        sound.extend(part.as_chunks::<SAMPLE>().0.iter().map(|sample| f32::from_le_bytes(*sample)));
        ear.hear(sound);
    }
}
