//! From packets to the loudspeaker, or a file that is filled as if it were one.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge::{Exit, WithExit};
use wire::PeerTag;
use wire::agent::{MAX_RECORD, Peers, VoiceRecord};
use wire::voice::Report;

use crate::args::{PlayArgs, SinkArgs};
use crate::control::Switches;
use crate::device::{Loudspeaker, MOST};
use crate::room::Room;
use crate::stop::Stop;
use crate::timeline::{self, Timeline, Waited};

/// Samples that a file is given at a time: one wake-up each 10 ms.
const FILE_BLOCK: usize = 480;
/// A block is mixed in such parts, each as if asked for at its own time: a file is heard as a device with a period of
/// 2.5 ms would be, without its wake-ups.
const PART: usize = 120;
/// The last part of a block is due so many samples after the first.
const WAIT: u64 = (FILE_BLOCK - PART) as u64;
/// A system that wakes us later than this has let others wait, too: what they send is on its way. A file, unlike a
/// device, can give it the time to come.
const PUNCTUAL: Duration = Duration::from_millis(1);
/// How much time at most.
const PATIENCE: Duration = Duration::from_millis(10);
/// A recording of what a device plays follows the clock when it is off by more: the device stood still.
const MOST_OFF: u64 = 9600;
/// After the end of the input: for so long nobody may be heard before it is the end of the output.
const QUIET: Duration = Duration::from_millis(60);
/// And no longer than this, whatever is heard.
const MOST_REST: Duration = Duration::from_secs(3);

/// Where sound goes.
pub(crate) enum Sink {
    File,
    Device(Box<Loudspeaker>),
}

impl Sink {
    pub(crate) fn open(args: &SinkArgs, low_delay: bool) -> Result<Self> {
        Ok(match &args.output {
            Some(_) => Self::File,
            None => Self::Device(Box::new(Loudspeaker::open(args.speaker.as_deref(), args.period(low_delay))?)),
        })
    }

    /// How many channels are worth playing: two in files if the options say so, or as the loudspeaker has them.
    pub(crate) fn channels(&self, args: &SinkArgs) -> usize {
        match self {
            Self::File => args.channels(),
            Self::Device(loudspeaker) => args.channels().max(loudspeaker.channels()),
        }
    }

    /// The name of the loudspeaker, if it is one.
    pub(crate) fn device(&self) -> Option<&str> {
        match self {
            Self::File => None,
            Self::Device(loudspeaker) => Some(loudspeaker.device()),
        }
    }
}

/// The room, as those share it who hear, play and ask.
pub(crate) type Shared = Arc<Mutex<Room>>;

/// Enters the room. A thread that panicked there ends the program anyway.
pub(crate) fn enter(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where packets come from.
pub(crate) trait Source {
    /// Takes what has come into the room; right before the room is asked for sound, so that nothing of it has to wake anybody.
    fn hear(&mut self) -> Result<()>;

    /// Whether nothing more will come.
    fn has_ended(&self) -> bool;

    /// Tells the sender of a stream what is seen of it.
    fn report(&mut self, peer: PeerTag, report: Report);
}

/// Plays until everything ends, or until the source has ended and nobody is heard any more.
pub(crate) fn run(sink: Sink, room: &Mutex<Room>, start: Timeline, stop: &Stop, source: impl Source) -> Result<()> {
    enter(room).begin(start.start_unix_ns());
    let channels = enter(room).channels();
    let mut player = Player { room, channels, source, rest: None };
    match sink {
        Sink::File => player.fill_file(start, stop),
        Sink::Device(loudspeaker) => player.feed_device(loudspeaker, start, stop),
    }
}

struct Player<'a, S> {
    room: &'a Mutex<Room>,
    channels: usize,
    source: S,
    /// Once the source has ended: since when, and since when nobody is heard.
    rest: Option<(Instant, Option<Instant>)>,
}

impl<S: Source> Player<'_, S> {
    fn fill_file(&mut self, start: Timeline, stop: &Stop) -> Result<()> {
        let step = FILE_BLOCK as u64;
        let mut block = vec![0.0; FILE_BLOCK * self.channels];
        // What is heard before the start is not for the file.
        let mut ahead = start.samples_ahead() / step;
        while ahead > 0 && !stop.is_asked() {
            start.wait_before(ahead * step - WAIT);
            self.fill(&mut block, start.before(ahead * step), None)?;
            ahead -= 1;
        }
        let mut at = 0;
        while !stop.is_asked() {
            let Waited { missed, overslept } = start.wait_for(at + WAIT, step);
            if missed > 0 {
                enter(self.room).skip(missed)?;
                at += missed;
            }
            if overslept > PUNCTUAL {
                thread::sleep(overslept.min(PATIENCE));
            }
            if self.fill(&mut block, start.instant(at), Some(at))? {
                break;
            }
            at += step;
        }
        Ok(())
    }

    /// Fills a block whose first sample is due at `begin`; whether it was the last.
    fn fill(&mut self, block: &mut [f32], begin: Instant, at: Option<u64>) -> Result<bool> {
        self.source.hear()?;
        let mut ends = false;
        for (n, part) in (0..).zip(block.chunks_mut(PART * self.channels)) {
            let samples = n * PART as u64;
            ends |= self.step(part, at.map(|at| at + samples), begin + timeline::duration(samples))?;
        }
        Ok(ends)
    }

    fn feed_device(&mut self, mut loudspeaker: Box<Loudspeaker>, start: Timeline, stop: &Stop) -> Result<()> {
        let mut most = vec![0.0; MOST * self.channels];
        let mut at = None;
        while let Some(samples) = loudspeaker.wait(stop) {
            self.source.hear()?;
            if samples == 0 {
                continue;
            }
            let block = &mut most[..samples * self.channels];
            let now = start.has_begun().then(|| start.sample(Instant::now()));
            let off = |at: u64| now.is_some_and(|now| now.abs_diff(at) > MOST_OFF);
            at = at.filter(|at| !off(*at)).or(now);
            let ends = self.step(block, at, Instant::now())?;
            at = at.map(|at| at + samples as u64);
            loudspeaker.play(block, self.channels);
            enter(self.room).note_underruns(loudspeaker.underruns());
            if ends {
                loudspeaker.drain();
                break;
            }
        }
        Ok(())
    }

    /// Plays a block; whether it was the last.
    fn step(&mut self, block: &mut [f32], at: Option<u64>, now: Instant) -> Result<bool> {
        let speakers = enter(self.room).play(block, at, now)?;
        loop {
            // The lock must not be held while the report is sent.
            let due = enter(self.room).poll_report(now);
            let Some((peer, report)) = due else { break };
            self.source.report(peer, report);
        }
        Ok(self.is_over(speakers, now))
    }

    fn is_over(&mut self, speakers: usize, now: Instant) -> bool {
        if !self.source.has_ended() {
            return false;
        }
        let (since, quiet) = self.rest.get_or_insert((now, None));
        if speakers > 0 {
            *quiet = None;
        } else {
            quiet.get_or_insert(now);
        }
        now.duration_since(*since) > MOST_REST || quiet.is_some_and(|quiet| now.duration_since(quiet) >= QUIET)
    }
}

/// `audio-pipe play`.
pub(crate) fn play(args: &PlayArgs) -> Result<()> {
    let switches = Arc::new(Switches::default());
    let stop = Stop::on_signals(Arc::clone(&switches))?;
    let sink = Sink::open(&args.sink, false)?;
    let channels = sink.channels(&args.sink);
    let room = Arc::new(Mutex::new(Room::new(&args.sink, channels, switches)?));
    let done = Arc::new(AtomicBool::new(false));
    let reader = Reader { room: Arc::clone(&room), done: Arc::clone(&done), stop: stop.clone() };
    thread::Builder::new().name("stdin".into()).spawn(move || reader.run()).context("start a thread")?;
    let played = run(sink, &room, Timeline::at(args.start_at), &stop, Stdin { done });
    stop.check(played);
    // What went wrong first explains what goes wrong at the end.
    stop.check(finish(&room, None, &args.sink));
    stop.outcome()?;
    stop.die_of_signal();
    Ok(())
}

/// Completes the files and writes the figures.
pub(crate) fn finish(room: &Mutex<Room>, capture: Option<crate::stats::Captured>, args: &SinkArgs) -> Result<()> {
    let mut room = enter(room);
    let mut stats = room.finish()?;
    stats.capture = capture;
    for path in room.sidecar().iter().chain(&args.stats) {
        stats.write(path)?;
    }
    Ok(())
}

/// The standard input, which may be slow or still, and is read by a thread of its own.
struct Stdin {
    done: Arc<AtomicBool>,
}

impl Source for Stdin {
    fn hear(&mut self) -> Result<()> {
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    fn report(&mut self, _: PeerTag, _: Report) {}
}

/// Reads records from stdin.
struct Reader {
    room: Shared,
    done: Arc<AtomicBool>,
    stop: Stop,
}

impl Reader {
    fn run(self) {
        let read = self.read();
        self.done.store(true, Ordering::Release);
        if let Err(error) = read {
            self.stop.fail(error);
        }
    }

    fn read(&self) -> Result<()> {
        let mut stdin = io::stdin().lock();
        let mut frames = wire::frame::Reader::<VoiceRecord>::new("voice record", MAX_RECORD);
        let mut chunk = vec![0; 1 << 16];
        loop {
            let read = match stdin.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read the standard input").exit(Exit::Io),
            };
            let now = Instant::now();
            frames.push(&chunk[..read]);
            while let Some(record) = frames.next().context("the standard input is no voice lane").exit(Exit::Data)? {
                // Our own microphone sends to everybody; whoever hears that hears one speaker.
                let peer = if let Peers::One(peer) = record.peers { peer } else { PeerTag(0) };
                enter(&self.room).hear(peer, &record.packet, now);
            }
        }
        if frames.is_mid_message() {
            tracing::warn!("The standard input ends in the middle of a record");
        }
        Ok(())
    }
}
