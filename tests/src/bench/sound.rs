//! How late and how well people hear each other, and what that costs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    Options, devices, edges,
    figures::{largest, mean, median},
    loss, mixing, network,
    pesq::Pesq,
    processing,
    reference::Reference,
    row::{Bound, Rows},
    stage::{ONE_WAY_MS, Stage},
    talk::{Finished, Talk},
    usage::Pid,
};
use crate::{
    call::Home,
    report::{Hearing, Sound},
    speech::{RATE, Utterance, speak, write_wav},
};

/// Voices of espeak-ng.
const VOICES: [&str; 3] = ["en-us+f3", "en-gb", "en-gb-scotland+f2"];
/// From the Harvard sentences (IEEE recommended practice for speech quality measurements, 1969).
const SENTENCES: &str = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. \
    It is easy to tell the depth of a well. These days a chicken leg is a rare dish. Rice is often served in round bowls. \
    The juice of lemons makes fine punch. The box was thrown beside the parked truck. \
    The hogs were fed chopped corn and garbage. Four hours of steady work faced us. A large size in stockings is hard to sell. \
    The boy was there when the sun rose. A rod is used to catch pink salmon. The source of the huge river is the clear spring. \
    Kick the ball straight and follow through. Help the woman get back to her feet. A pot of tea helps to pass the evening. \
    Smoky fires lack flame and heat. The soft cushion broke the man's fall. The salt breeze came across from the sea. \
    The girl at the booth sold fifty bonds.";
/// How long everybody talks.
const SECONDS: f64 = 42.0;
/// Long enough for what a member costs.
const CPU_SECONDS: f64 = 24.0;
/// PESQ is made for about that much at a time.
pub(super) const EXCERPT: usize = 8;
/// As audio-pipe has them if nothing else is said.
const FRAME_MS: f64 = 10.0;
const LOOK_AHEAD_MS: f64 = 6.5;

/// Runs the bench.
pub(super) fn run(options: &Options, rows: &mut Rows<'_>) -> Result<()> {
    loss::run(rows).context("a call in virtual time")?;
    let stage = Stage::apart("sound-", &["A", "B", "C"], "")?;
    let pesq = Pesq::find();
    if pesq.is_none() {
        super::progress("PESQ is missing, so it is skipped: scripts/setup bench installs it");
    }
    let bench = Bench { stage, options, speeches: speeches(SECONDS)?, pesq };
    bench.clean(rows).context("a call without loss")?;
    for percent in [2, 5] {
        bench.lossy(percent, rows).with_context(|| format!("a call with {percent} % loss"))?;
    }
    bench.cost(rows).context("a call of three")?;
    mixing::run(&bench.speeches, rows).context("many speakers")?;
    processing::run(&bench.speeches[0], &bench.speeches[1], rows).context("treat a voice")?;
    drop(bench);
    network::run(options, rows).context("a call over bad wires")?;
    devices::run(rows).context("a call through devices")
}

/// What each of three says, from the first sample to the last.
pub(super) fn speeches(seconds: f64) -> Result<Vec<Vec<f32>>> {
    let speech = |voice: &&str| {
        let utterance = Utterance { at: 0.0, text: SENTENCES.to_owned() };
        let samples = speak(voice, &[utterance], seconds)?;
        Ok(edges::trimmed(&Sound { rate: RATE, samples, start_unix_ns: 0 }).samples)
    };
    VOICES.iter().map(speech).collect()
}

struct Bench<'a> {
    stage: Stage,
    options: &'a Options,
    speeches: Vec<Vec<f32>>,
    pesq: Option<Pesq>,
}

impl Bench<'_> {
    fn talk(&self, channel: &str, people: usize, seconds: f64) -> Result<Talk> {
        super::progress(&format!("{people} people talk: {channel}"));
        let samples = (seconds * f64::from(RATE)) as usize;
        let speeches: Vec<_> =
            self.speeches[..people].iter().map(|all| all[..samples.min(all.len())].to_vec()).collect();
        Talk::begin(&self.stage, self.options, channel, &speeches)
    }

    fn clean(&self, rows: &mut Rows<'_>) -> Result<()> {
        let finished = self.talk("clean", 2, SECONDS)?.finish()?;
        let heard = heard(&finished)?;
        let delays: Vec<f64> = heard.iter().flat_map(|heard| heard.delays()).collect();
        ensure!(delays.len() >= 10, "there is too little speech to measure a delay");
        let least = FRAME_MS + LOOK_AHEAD_MS + ONE_WAY_MS;
        rows.add("mouth to ear", median(&delays), "ms", Bound::AtMost(least + 30.0));
        rows.tell("mouth to ear, worst second", largest(&delays), "ms");
        rows.tell("PESQ-WB of the codec alone", self.codec_alone()?, "MOS");
        rows.add("PESQ-WB without loss", self.score_of(&heard)?, "MOS", Bound::AtLeast(4.0));
        for (edge, name) in ["start", "end"].into_iter().enumerate() {
            let missing: Vec<f64> =
                heard.iter().map(|heard| edges::missing(&heard.said, &heard.ends[edge])[edge]).collect();
            // Envelopes are compared to a frame: what a codec smears is no less.
            rows.add(format!("missing at the {name} of a talk"), largest(&missing), "ms", Bound::AtMost(FRAME_MS));
        }
        rows.tell("missing anywhere", largest(&heard.iter().map(|heard| heard.missing_ms).collect::<Vec<_>>()), "ms");
        rows.tell("concealed without loss", finished.concealed(), "%");
        Ok(())
    }

    fn lossy(&self, percent: u8, rows: &mut Rows<'_>) -> Result<()> {
        // Every packet between the two goes over one wire with loss, either way.
        self.stage.lab.wire("A", &format!("loss={percent}%").parse()?)?;
        let finished = self.talk(&format!("loss-{percent}"), 2, SECONDS)?.finish()?;
        self.stage.lab.wire("A", &"loss=0%".parse()?)?;
        let heard = heard(&finished)?;
        rows.tell(format!("PESQ-WB at {percent} % loss"), self.score_of(&heard)?, "MOS");
        let delays: Vec<f64> = heard.iter().flat_map(|heard| heard.delays()).collect();
        rows.tell(format!("mouth to ear at {percent} % loss"), median(&delays), "ms");
        rows.tell(format!("concealed at {percent} % loss"), finished.concealed(), "%");
        Ok(())
    }

    fn cost(&self, rows: &mut Rows<'_>) -> Result<()> {
        let mut reference = Reference::default();
        reference.measure(&self.speeches[0])?;
        let talk = self.talk("three", 3, CPU_SECONDS)?;
        let (from, to) = (Duration::from_secs(1), Duration::from_secs_f64(CPU_SECONDS - 2.0));
        talk.wait_until(from);
        let processes = talk.processes()?;
        let before = cpu_times(&processes)?;
        talk.wait_until(to);
        let after = cpu_times(&processes)?;
        drop(talk.finish()?);
        let share = |program: usize| {
            let shares =
                before.iter().zip(&after).map(|(before, after)| after[program].saturating_sub(before[program]));
            let shares: Vec<f64> = shares.map(|ran| 100.0 * ran.as_secs_f64() / (to - from).as_secs_f64()).collect();
            mean(&shares)
        };
        let (puncher, audio_pipe) = (share(0), share(1));
        let both = puncher.zip(audio_pipe).map(|(puncher, audio_pipe)| puncher + audio_pipe);
        reference.measure(&self.speeches[0])?;
        let usual = both.and_then(|both| reference.usual(both));
        rows.add("CPU of a member in a call of three, on the usual machine", usual, "%", Bound::Below(6.0));
        rows.tell("  on this one", both, "%");
        rows.tell("  of that puncher", puncher, "%");
        rows.tell("  of that audio-pipe", audio_pipe, "%");
        reference.tell(rows);
        Ok(())
    }

    fn score_of(&self, heard: &[Heard]) -> Result<Option<f64>> {
        self.score(&heard.iter().flat_map(|heard| excerpts(&heard.said, &heard.received)).collect::<Vec<_>>())
    }

    /// What is left to lose: the same speech through the same encoder and decoder, and no network.
    fn codec_alone(&self) -> Result<Option<f64>> {
        let home = Home::new();
        let mut pairs = Vec::new();
        for speech in &self.speeches[..2] {
            let said = Sound { rate: RATE, samples: speech.clone(), start_unix_ns: 0 };
            write_wav(&home.path().join("said.wav"), speech)?;
            for args in
                [&["encode", "--frame-ms", "10", "said.wav", "said.opus"][..], &["decode", "said.opus", "heard.wav"]]
            {
                let status = home.own("audio-pipe").args(args).status().context("run audio-pipe")?;
                ensure!(status.success(), "audio-pipe {} ended with {status}", args[0]);
            }
            pairs.extend(excerpts(&said, &Sound::read(&home.path().join("heard.wav"), 0)?));
        }
        self.score(&pairs)
    }

    /// The median over excerpts: a machine that is busy for a moment spoils one of them.
    fn score(&self, pairs: &[(Sound, Sound)]) -> Result<Option<f64>> {
        let Some(pesq) = &self.pesq else { return Ok(None) };
        Ok(median(&pesq.scores(pairs)?))
    }
}

/// What one heard of another.
pub(super) struct Heard {
    pub(super) said: Sound,
    /// As it came, moved back as a whole to when it was said.
    pub(super) received: Sound,
    /// The same, moved back by the delay of the first second and by that of the last: buffers get shorter in between.
    ends: [Sound; 2],
    seconds: Vec<f64>,
    missing_ms: f64,
}

impl Heard {
    /// From mouth to ear, second by second.
    pub(super) fn delays(&self) -> impl Iterator<Item = f64> {
        self.seconds.iter().copied()
    }

    pub(super) fn compare(said: &Sound, heard: &Sound) -> Result<Self> {
        let hearing = Hearing::compare(said, heard);
        let delay_ms = hearing.delay_ms.context("nothing was heard")?;
        let moved = |delay_ms: f64| {
            let delay = (delay_ms * f64::from(said.rate) / 1000.0).round() as i64;
            Sound { samples: heard.piece(delay - heard.offset_from(said), said.samples.len()), ..said.clone() }
        };
        let seconds: Vec<f64> = hearing.seconds.iter().filter_map(|second| second.delay_ms).collect();
        Ok(Self {
            received: moved(delay_ms),
            ends: [seconds.first(), seconds.last()].map(|delay| moved(delay.copied().unwrap_or(delay_ms))),
            said: said.clone(),
            seconds,
            missing_ms: hearing.missing_ms as f64,
        })
    }
}

/// Everybody with everybody else.
pub(super) fn heard(finished: &Finished) -> Result<Vec<Heard>> {
    let members = &finished.call.members;
    let mut all = Vec::new();
    for listener in members {
        for (name, sound) in &listener.heard {
            let speaker = members.iter().find(|member| member.name == *name).context("a stranger was heard")?;
            let what = || format!("what {} heard of {name}", listener.name);
            all.push(Heard::compare(&speaker.said, sound).with_context(what)?);
        }
    }
    ensure!(all.len() == members.len() * (members.len() - 1), "not everybody heard everybody");
    Ok(all)
}

pub(super) fn excerpts(said: &Sound, heard: &Sound) -> Vec<(Sound, Sound)> {
    let len = said.samples_of(EXCERPT * 1000);
    let cut = |samples: &[f32]| Sound { samples: samples.to_vec(), ..said.clone() };
    let pairs = said.samples.chunks_exact(len).zip(heard.samples.chunks_exact(len));
    pairs.map(|(said, heard)| (cut(said), cut(heard))).collect()
}

fn cpu_times(processes: &[[Pid; 2]]) -> Result<Vec<[Duration; 2]>> {
    processes.iter().map(|[puncher, audio_pipe]| Ok([puncher.cpu_time()?, audio_pipe.cpu_time()?])).collect()
}
