//! What many speakers in one channel cost the one who listens.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use voice::Packetizer;
use wire::{
    PeerTag,
    agent::{Peers, VoiceRecord},
    frame,
};

use super::{
    row::{Bound, Rows},
    usage::Pid,
};
use crate::call::Home;

const SPEAKERS: usize = 50;
/// As a microphone has it.
const FRAME: Duration = Duration::from_millis(10);
/// All talk for so long; then all but one are muted for so long.
const PHASE: Duration = Duration::from_secs(10);
/// What is measured of a phase begins so late: every buffer has its length.
const SETTLED: Duration = Duration::from_secs(2);

/// Runs the bench; each of `speeches` is said by several speakers, at different times.
pub(super) fn run(speeches: &[Vec<f32>], rows: &mut Rows<'_>) -> Result<()> {
    super::progress(&format!("{SPEAKERS} speakers are mixed"));
    let says = (0..SPEAKERS).map(|n| said(&speeches[n % speeches.len()], n)).collect::<Result<Vec<_>>>()?;
    let mut listener = Listener::start()?;
    let all = listener.hear(&says, 0)?;
    let one = listener.hear(&says, 1)?;
    let concealed = listener.end()?;
    rows.add(format!("{SPEAKERS} speakers mixed: CPU of audio-pipe"), all, "%", Bound::Below(100.0));
    rows.add("  each of them", all / SPEAKERS as f64, "%", Bound::AtMost(0.7));
    rows.tell("  made up meanwhile", concealed, "%");
    rows.tell(format!("{} muted, one talks: CPU of audio-pipe", SPEAKERS - 1), one, "%");
    Ok(())
}

/// The packets of one speaker, frame by frame: first all talk, then the first one alone.
fn said(speech: &[f32], number: usize) -> Result<Vec<Option<Vec<u8>>>> {
    let settings = codec::Settings::default();
    let len = settings.frame_samples()?;
    let mut packets = Packetizer::new(codec::Encoder::new(settings)?, 1);
    // Everybody says something else at a time.
    let frames = speech.chunks_exact(len).cycle().skip(number * 37);
    let per_phase = (PHASE.as_millis() / FRAME.as_millis()) as usize;
    let packet = |(n, frame): (usize, &[f32])| {
        let is_muted = n >= per_phase && number > 0;
        let is_sent = packets.push(&mut frame.to_vec(), (n * len) as u64, is_muted, false)?;
        Ok(if is_sent { packets.packet(&[]) } else { None })
    };
    frames.take(2 * per_phase).enumerate().map(packet).collect()
}

/// An `audio-pipe play` that hears everybody.
struct Listener {
    home: Home,
    child: Child,
    start: Instant,
}

impl Listener {
    fn start() -> Result<Self> {
        let home = Home::new();
        let mut command: Command = home.own("audio-pipe");
        command.args(["play", "--output", "/dev/null", "--stats", "stats.json"]);
        let child = command.stdin(Stdio::piped()).spawn().context("start audio-pipe")?;
        Ok(Self { home, child, start: Instant::now() })
    }

    /// Lets one phase be heard, in real time; the share of a core that this took, in percent.
    fn hear(&mut self, says: &[Vec<Option<Vec<u8>>>], phase: u32) -> Result<f64> {
        let per_phase = says[0].len() / 2;
        let first = per_phase * phase as usize;
        let settled = first + (SETTLED.as_millis() / FRAME.as_millis()) as usize;
        let mut before = None;
        for n in first..first + per_phase {
            let due = self.start + FRAME * n as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if n == settled {
                before = Some((self.pid().run_time()?, Instant::now()));
            }
            self.say(says, n)?;
        }
        let (ran, since) = before.context("a phase is longer than what comes before it")?;
        let ran = self.pid().run_time()?.saturating_sub(ran);
        Ok(100.0 * ran.as_secs_f64() / since.elapsed().as_secs_f64())
    }

    fn say(&mut self, says: &[Vec<Option<Vec<u8>>>], n: usize) -> Result<()> {
        let mut records = Vec::new();
        for (tag, packets) in (1..).zip(says) {
            let Some(packet) = packets[n].clone() else { continue };
            records.extend(frame::frame(&VoiceRecord { peers: Peers::One(PeerTag(tag)), packet }));
        }
        self.child.stdin.as_mut().context("a pipe")?.write_all(&records).context("write to audio-pipe")
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Ends it; how much of what it played was made up, in percent.
    fn end(mut self) -> Result<f64> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("wait for audio-pipe")?;
        ensure!(status.success(), "audio-pipe ended with {status}");
        let text = std::fs::read_to_string(self.home.path().join("stats.json")).context("read stats.json")?;
        let stats: serde_json::Value = serde_json::from_str(&text).context("read stats.json")?;
        let speakers = stats["speakers"].as_array().context("figures of speakers")?;
        ensure!(speakers.len() == SPEAKERS, "{} speakers were heard, not {SPEAKERS}", speakers.len());
        let sum = |key: &str| speakers.iter().filter_map(|speaker| speaker[key].as_f64()).sum::<f64>();
        Ok(100.0 * sum("concealed_ms") / sum("played_ms").max(1.0))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that has ended needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
