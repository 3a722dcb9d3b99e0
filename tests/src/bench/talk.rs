//! A call with files as microphones and loudspeakers, as a folder that [`crate::report`] reads.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::{
    Options,
    program::{self, PATIENCE, Program},
    stage::Stage,
    usage::Pid,
};
use crate::{
    call::Home,
    report::Call,
    speech::{RATE, write_wav},
};

/// Everybody is connected long before the first word.
const BEFORE: Duration = Duration::from_secs(3);
const NAMES: [&str; 3] = ["alice", "bob", "carol"];
const NODES: [&str; 3] = ["A1", "B1", "C1"];

/// A call under way.
#[derive(Debug)]
pub(super) struct Talk {
    folder: PathBuf,
    // It goes with the call, unless it is to be kept.
    _temporary: Option<TempDir>,
    programs: Vec<Program>,
    _homes: Vec<Home>,
    start: Duration,
    length: Duration,
}

impl Talk {
    /// Lets as many people as there are speeches say them to each other, all beginning at the same time.
    pub(super) fn begin(stage: &Stage, options: &Options, channel: &str, speeches: &[Vec<f32>]) -> Result<Self> {
        let temporary = match options.keep {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("bench-").tempdir().context("make a folder for a call")?),
        };
        let parent = options.keep.as_deref().or(temporary.as_ref().map(TempDir::path)).context("a folder for calls")?;
        let folder = parent.join(channel);
        fs::create_dir_all(parent)
            .and_then(|()| fs::create_dir(&folder))
            .with_context(|| format!("make {}", folder.display()))?;
        let start = unix_now() + BEFORE;
        let samples = speeches.iter().map(Vec::len).max().unwrap_or(0);
        let length = Duration::from_secs_f64(samples as f64 / f64::from(RATE));
        let mut talk = Self { folder, _temporary: temporary, programs: Vec::new(), _homes: Vec::new(), start, length };
        for ((name, node), speech) in NAMES.into_iter().zip(NODES).zip(speeches) {
            talk.enter(stage, channel, name, node, speech)?;
        }
        Ok(talk)
    }

    fn enter(&mut self, stage: &Stage, channel: &str, name: &str, node: &str, speech: &[f32]) -> Result<()> {
        let folder = self.folder.join(name);
        let file = |file: &str| folder.join(file).to_string_lossy().into_owned();
        fs::create_dir(&folder).context("make a member's folder")?;
        write_wav(&folder.join("speech.wav"), speech)?;
        let home = Home::new();
        let mut command = home.own("puncher");
        command.args(["join", channel, "--server", &stage.server(), "--name", name, "--json", "--no-input", "--"]);
        command.args([&program::path("audio-pipe")?, "talk", "--exit-at-end", "--input", &file("speech.wav")]);
        command.args(["--output", &file("mix.wav"), "--record-each", &file("heard")]);
        command.args(["--start-at", &format!("{:.6}", self.start.as_secs_f64())]);
        let events = File::create(folder.join("events.jsonl")).context("make a file for events")?;
        let program = Program::start_into(stage.lab.node(node)?, &mut command, events, folder.join("log"))?;
        self.programs.push(program);
        self._homes.push(home);
        Ok(())
    }

    /// Waits until the talk has gone on for so long.
    pub(super) fn wait_until(&self, since_start: Duration) {
        thread::sleep((self.start + since_start).saturating_sub(unix_now()));
    }

    /// Both processes of each member: puncher and audio-pipe.
    pub(super) fn processes(&self) -> Result<Vec<[Pid; 2]>> {
        let pair = |puncher: &Program| {
            let children = puncher.pid().children()?;
            ensure!(children.len() == 1, "puncher has {} children, not one", children.len());
            Ok([puncher.pid(), children[0]])
        };
        self.programs.iter().map(pair).collect()
    }

    /// How many members are no longer there.
    pub(super) fn ended(&mut self) -> usize {
        self.programs.iter_mut().filter_map(|program| (!program.is_running()).then_some(())).count()
    }

    /// Waits for its end, and reads what it has left.
    pub(super) fn finish(mut self) -> Result<Finished> {
        self.wait_until(self.length);
        for program in &mut self.programs {
            let status = program.wait(PATIENCE)?;
            ensure!(status.success(), "a member ended with {status}{}", program.last_words());
        }
        Ok(Finished { call: Call::read(&self.folder)?, figures: figures(&self.folder)? })
    }
}

/// What a call has left.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) call: Call,
    figures: Vec<Speaker>,
}

impl Finished {
    /// The share of what was played that was made up, in percent.
    pub(super) fn concealed(&self) -> Option<f64> {
        let sum = |of: fn(&Speaker) -> f64| self.figures.iter().map(of).sum::<f64>();
        percent(sum(|speaker| speaker.concealed_ms), sum(|speaker| speaker.played_ms))
    }

    /// The share of frames that the network lost, in percent.
    pub(super) fn lost(&self) -> Option<f64> {
        let sum = |of: fn(&Speaker) -> u64| self.figures.iter().map(of).sum::<u64>() as f64;
        percent(sum(|speaker| speaker.lost), sum(|speaker| speaker.lost + speaker.received))
    }
}

fn percent(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| 100.0 * part / whole)
}

/// What a listener counted of a speaker.
#[derive(Clone, Debug, serde::Deserialize)]
struct Speaker {
    received: u64,
    lost: u64,
    concealed_ms: f64,
    played_ms: f64,
}

fn figures(folder: &Path) -> Result<Vec<Speaker>> {
    #[derive(serde::Deserialize)]
    struct Stats {
        speakers: Vec<Speaker>,
    }
    let mut all = Vec::new();
    for name in NAMES {
        let path = folder.join(name).join("heard/stats.json");
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            all.extend(
                serde_json::from_str::<Stats>(&text).with_context(|| format!("read {}", path.display()))?.speakers,
            );
        }
    }
    Ok(all)
}

/// The wall clock.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
