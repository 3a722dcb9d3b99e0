//! Full duplex on the voice lane of a running `puncher`.
//!
//! One thread hears the microphone and sends, one takes what comes and plays it, one does what it is asked from outside, which may
//! take long; this one tells what changes.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use edge::agent::{Answer, Client, Writer};
use edge::{Exit, WithExit};
use jitter::Activity;
use report::Stages;
use voice::{Packetizer, Plan, Receivers};
use wire::PeerTag;
use wire::agent::{FromPuncher, Peers, ToPuncher, VoiceRecord};
use wire::local::{Ask, Local, Refusal};
use wire::peer::Lane;
use wire::voice::{Report, Voice};

use crate::args::TalkArgs;
use crate::call_report::{self, CallReport};
use crate::capture::{self, Source};
use crate::control::{self, Desk, Switches};
use crate::far_end::far_end;
use crate::file;
use crate::headset;
use crate::meter::Meter;
use crate::own_voice::OwnVoice;
use crate::playback::{self, Sink, enter};
use crate::recording::Recorder;
use crate::room::Room;
use crate::stats::Captured;
use crate::stop::Stop;
use crate::timeline::Timeline;

/// How often changes of level and mute are told.
const TICK: Duration = Duration::from_millis(100);
/// After the end of the input, with `--exit-at-end`: what the others hear late is on its way for so long.
const HANG_OVER: Duration = Duration::from_secs(1);
/// How long the threads may take to end. One may be stuck in a read.
const GRACE: Duration = Duration::from_millis(500);

/// Questions that wait for an answer; more of them are refused.
const MAX_ASKS: usize = 64;

/// What the threads of a talk share.
#[derive(Clone)]
struct Talk {
    stop: Stop,
    writer: Writer,
    room: playback::Shared,
    receivers: Arc<Mutex<Receivers>>,
    desk: Desk,
    recorder: Recorder,
    report: CallReport,
}

/// `audio-pipe talk`.
pub(crate) fn talk(args: &TalkArgs, json: bool) -> Result<()> {
    let switches = Arc::new(Switches::new(args.mute, args.deafen));
    let stop = Stop::on_signals(Arc::clone(&switches))?;
    // Everything that can be wrong here is found before the others hear us.
    let ready = edge::ready::Ready::open(args.ready_fd)?;
    args.report.as_deref().map_or(Ok(()), call_report::check)?;
    if let (Some(input), Some(output)) = (&args.source.input, &args.sink.output) {
        file::refuse_same(input, output)?;
    }
    let mut settings = args.source.voice.settings()?;
    let packets = capture::packetizer(&args.source)?;
    let frame = packets.block();
    args.source.voice_settings(settings, frame)?;
    let source = Source::open(&args.source)?;
    let sink = Sink::open(&args.sink, args.source.low_delay)?;
    // Of music nothing is taken out, so there is nothing to advise.
    let is_asked = args.source.voice.says_echo() || args.source.music;
    if let Some(hint) = headset::adapt(&mut settings, is_asked, source.device(), sink.device()) {
        tracing::warn!("{hint}");
    }
    let (played, reference) = far_end(args.source.period() + 2 * args.sink.period(args.source.low_delay));
    let voice = args.source.voice_settings(settings, frame)?;
    let own = OwnVoice::new(voice.clone(), frame, Some(reference));
    let channels = sink.channels(&args.sink);
    // Files that are there are written over only when there is a call to write.
    let (client, opened) = Client::connect(&args.target, Lane::Voice, "audio-pipe")?;
    let room = Arc::new(Mutex::new(Room::new(&args.sink, channels, Arc::clone(&switches))?));
    enter(&room).tell(played);
    let recorder = Recorder::new(Arc::clone(&switches), &opened.name, args.sink.channels().max(args.source.channels()));
    enter(&room).record(recorder.clone());
    let desk = Desk::new(switches, voice, Arc::clone(&room), recorder.clone(), &args.source);
    if let Some(path) = &args.record {
        // A mix comes beside the speakers here.
        recorder.start(&control::record(path, args.record_mix, args.record_mix)?).exit(Exit::CannotCreate)?;
    }
    let report = CallReport::begin(args.report.as_deref(), &opened, stages(args, frame));
    let receivers = if args.source.music { Receivers::of_music() } else { Receivers::default() };
    let receivers = Arc::new(Mutex::new(receivers));
    let talk = Talk { stop, writer: client.writer(), room, receivers, desk, recorder, report };
    if talk.report.is_wanted() {
        let (watching, target) = (talk.clone(), args.target.clone());
        start("paths", &talk.stop, move || watching.report.watch_paths(&target, &watching.stop))?;
    }
    let captured = talk.start_capture(args, source, packets, own)?;
    let played = talk.start_playback(args, sink, client)?;
    ready.signal();

    talk.tell_changes(args.meter, json);

    let captured = captured.recv_timeout(GRACE).ok().flatten();
    let _ = played.recv_timeout(GRACE);
    talk.recorder.close();
    talk.stop.check(playback::finish(&talk.room, captured, &args.sink));
    talk.stop.check(talk.report.write());
    talk.writer.close();
    talk.stop.outcome()?;
    talk.stop.die_of_signal();
    Ok(())
}

impl Talk {
    fn start_capture(
        &self,
        args: &TalkArgs,
        mut source: Source,
        mut packets: Packetizer,
        mut own: OwnVoice,
    ) -> Result<Receiver<Option<Captured>>> {
        let (done, result) = mpsc::channel();
        let (talk, exit_at_end) = (self.clone(), args.exit_at_end);
        let mut sender = Sender { talk: self.clone(), least_loss: args.source.expected_loss, ended: false };
        start("capture", &self.stop, move || {
            let switches = &talk.desk.switches;
            let captured =
                capture::run(&mut source, &mut packets, &mut own, switches, &talk.stop, |packets| sender.send(packets));
            let outcome = captured.as_ref().ok().copied();
            talk.stop.check(captured.map(drop));
            let _ = done.send(outcome);
            if !exit_at_end {
                let send = |packets: &mut Packetizer| sender.send(packets);
                talk.stop.check(capture::stand_by(&mut source, &mut packets, switches, &talk.stop, send));
            } else if !talk.stop.wait(HANG_OVER) {
                talk.stop.ask();
            }
        })?;
        Ok(result)
    }

    fn start_playback(&self, args: &TalkArgs, sink: Sink, client: Client) -> Result<Receiver<()>> {
        let (done, result) = mpsc::channel();
        let (talk, timeline) = (self.clone(), Timeline::at(args.source.start_at));
        let asks = self.start_desk()?;
        start("playback", &self.stop, move || {
            let lane = VoiceLane { talk: talk.clone(), client, asks };
            talk.stop.check(playback::run(sink, &talk.room, timeline, &talk.stop, lane));
            let _ = done.send(());
        })?;
        Ok(result)
    }

    /// Answers the questions of other programs, which may mean to open files.
    fn start_desk(&self) -> Result<mpsc::SyncSender<(u64, Ask)>> {
        let (asks, asked) = mpsc::sync_channel(MAX_ASKS);
        let talk = self.clone();
        start("desk", &self.stop, move || {
            for (id, what) in asked {
                let answer = talk.desk.answer(what);
                // When `puncher` is gone nobody waits for it.
                let _ = talk.writer.send(&ToPuncher::Local(Local::Answer { id, answer }));
            }
        })?;
        Ok(asks)
    }

    /// Takes what `puncher` says.
    fn handle(&self, record: FromPuncher) {
        self.report.hear(&record);
        match record {
            FromPuncher::Voice { from, came_us, packet } => self.hear(from, &packet, edge::instant_of(came_us)),
            FromPuncher::Peer(peer) => {
                enter(&self.room).name(peer.tag, &peer.name);
                self.receivers().join(peer.tag);
            }
            FromPuncher::Left { tag, .. } => {
                enter(&self.room).leave(tag);
                self.receivers().leave(tag);
            }
            FromPuncher::Closing => self.stop.ask(),
            _ => {}
        }
    }

    fn hear(&self, peer: PeerTag, packet: &[u8], came: Instant) {
        let report = enter(&self.room).hear(peer, packet, came);
        if let Some(report) = report {
            self.receivers().handle_report(peer, &report, came);
            self.report.note(|call, now| call.handle_report(peer, &report, now));
        }
    }

    /// Until the end: tells the other programs here of mute and levels, when they change.
    fn tell_changes(&self, on_stderr: bool, json: bool) {
        let mut meter = Meter::new(on_stderr, json);
        let mut activity = Activity::default();
        let samples = TICK.as_millis() as usize * codec::RATE as usize / 1000;
        loop {
            let ends = self.stop.wait(TICK);
            if ends {
                // When `puncher` is gone nobody has to be told.
                let _ = self.writer.send(&ToPuncher::Local(Local::Ended));
                return meter.end();
            }
            let level = self.desk.own.look(&mut activity, samples);
            if self.report.is_wanted() {
                let status = self.desk.status();
                self.report.note(|call, now| call.handle_status(&status, now));
            }
            let changes = meter.update(self.desk.state(), level, enter(&self.room).take_seen());
            meter.show();
            for change in changes {
                let _ = self.writer.send(&ToPuncher::Local(change));
            }
        }
    }

    fn receivers(&self) -> MutexGuard<'_, Receivers> {
        self.receivers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The voice lane of `puncher`.
struct VoiceLane {
    talk: Talk,
    client: Client,
    asks: mpsc::SyncSender<(u64, Ask)>,
}

impl VoiceLane {
    /// Hands a question to the desk, for which no sound waits.
    fn pass_on(&self, id: u64, what: Ask) {
        if self.asks.try_send((id, what)).is_err() {
            let why = format!("{MAX_ASKS} questions wait for an answer already; try again later");
            let answer = Err(Refusal { why, exit: Exit::TryAgain as u8 });
            // When `puncher` is gone nobody waits for it.
            let _ = self.talk.writer.send(&ToPuncher::Local(Local::Answer { id, answer }));
        }
    }
}

impl playback::Source for VoiceLane {
    fn hear(&mut self) -> Result<()> {
        while !self.talk.stop.is_asked() {
            match self.client.poll()? {
                Answer::Record(FromPuncher::Local(Local::Ask { id, what })) => self.pass_on(id, what),
                Answer::Record(record) => self.talk.handle(record),
                Answer::TimedOut => break,
                Answer::Ended => return Err(anyhow!("puncher has ended")).exit(Exit::Unavailable),
            }
        }
        Ok(())
    }

    /// As long as `puncher` is there, somebody may come.
    fn has_ended(&self) -> bool {
        false
    }

    /// When `puncher` is gone, `hear` says so.
    fn report(&mut self, peer: PeerTag, report: Report) {
        let packet = Voice::Report(report).to_bytes();
        let _ = self.talk.writer.send(&ToPuncher::Voice(VoiceRecord { peers: Peers::One(peer), packet }));
    }
}

/// What of the delay is the same all the time: a period of the microphone, a frame and what the encoder looks ahead, and two periods
/// of the loudspeaker.
fn stages(args: &TalkArgs, frame: usize) -> Stages {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (low_delay, frame) = (args.source.low_delay, Duration::from_secs_f64(frame as f64 / f64::from(codec::RATE)));
    Stages {
        capture_ms: ms(args.source.period() + frame) + if low_delay { 2.5 } else { 6.5 },
        playout_ms: ms(2 * args.sink.period(low_delay)),
    }
}

/// Sends each frame to everybody, as each needs it.
struct Sender {
    talk: Talk,
    least_loss: u8,
    /// `puncher` is gone; [`VoiceLane`] says so.
    ended: bool,
}

impl Sender {
    fn send(&mut self, packets: &mut Packetizer) -> Result<()> {
        self.talk.desk.own.note(packets.level());
        let Plan { groups, mut encoding } = self.talk.receivers().plan(self.talk.desk.bitrate(), Instant::now());
        encoding.expected_loss = encoding.expected_loss.max(self.least_loss);
        packets.follow(&encoding)?;
        if self.talk.recorder.is_running()
            && let Some(packet) = packets.packet(&[])
        {
            self.talk.recorder.say(&packet, Instant::now());
        }
        for (peers, copies) in groups {
            let Some(packet) = packets.packet(copies).filter(|_| !self.ended) else { continue };
            self.ended = self.talk.writer.send(&ToPuncher::Voice(VoiceRecord { peers, packet })).is_err();
        }
        Ok(())
    }
}

/// Starts a thread without which there is no talk: if it panics, everything ends.
fn start(name: &'static str, stop: &Stop, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let watched = Watched { name, stop: stop.clone() };
    let work = move || {
        let _watched = watched;
        work();
    };
    thread::Builder::new().name(name.into()).spawn(work).map(drop).context("start a thread")
}

/// A thread of a talk, as long as it runs.
struct Watched {
    name: &'static str,
    stop: Stop,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            self.stop.check(Err(anyhow!("the {} has failed", self.name)).exit(Exit::Bug));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_talk() {
        let stop = Stop::default();
        start("playback", &stop, || panic!("as it should")).expect("a thread");
        while !stop.wait(Duration::from_secs(1)) {}
        let error = stop.outcome().expect_err("a failure");
        assert_eq!((edge::code_of(&error), error.to_string()), (Exit::Bug, "the playback has failed".to_owned()));
    }
}
