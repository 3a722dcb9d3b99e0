use std::{fs, path::Path, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Sound;

/// What a call has left in its folder.
#[derive(Debug)]
pub struct Call {
    /// The folder.
    pub folder: PathBuf,
    /// By name.
    pub members: Vec<Member>,
}

/// One who took part.
#[derive(Debug)]
pub struct Member {
    /// What the others call it.
    pub name: String,
    /// What it said.
    pub said: Sound,
    /// What it heard of whom.
    pub heard: Vec<(String, Sound)>,
    events: Vec<Event>,
    stats: Stats,
}

/// How a member reached another.
#[derive(Debug, PartialEq)]
pub(super) struct Link {
    pub(super) path: String,
    pub(super) addr: Option<String>,
    pub(super) connect_ms: Option<u64>,
    pub(super) path_ms: Option<u64>,
    pub(super) rtt_ms: Option<u64>,
}

/// A line of `puncher join --json`, as far as a report needs it.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Event {
    Path {
        peer: String,
        addr: Option<String>,
        path: String,
        rtt_ms: Option<u64>,
        since_known_ms: Option<u64>,
    },
    Link {
        peer: String,
        secure: bool,
        since_known_ms: Option<u64>,
    },
    #[serde(other)]
    Other,
}

/// `stats.json` of audio-pipe, as far as a report needs it.
#[derive(Debug, Default, Deserialize)]
struct Stats {
    capture: Option<Start>,
    playback: Option<Start>,
    speakers: Vec<Speaker>,
}

#[derive(Debug, Deserialize)]
struct Start {
    first_sample_unix_ns: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Speaker {
    name: Option<String>,
    file: Option<String>,
    received: u64,
    lost: u64,
}

impl Call {
    /// Reads a folder; its members are the folders in it that have an `events.jsonl`.
    ///
    /// # Errors
    /// If there are no members, or a file is not what it should be. A member without figures, one whose program
    /// died, has said and heard nothing that could be measured.
    pub fn read(folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut members = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("read {}", folder.display()))?.path();
            if path.join("events.jsonl").is_file() {
                members.push(Member::read(&path)?);
            }
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(!members.is_empty(), "{} has no folder with an events.jsonl", folder.display());
        Ok(Self { folder: folder.to_owned(), members })
    }
}

impl Member {
    fn read(folder: &Path) -> Result<Self> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let events = lines(&folder.join("events.jsonl"))?;
        let heard_in = folder.join("heard");
        let figures = heard_in.join("stats.json");
        let stats: Stats = if figures.exists() { json(&figures)? } else { Stats::default() };
        let start = |start: &Option<Start>| start.as_ref().and_then(|start| start.first_sample_unix_ns).unwrap_or(0);
        let said = Sound::read(&folder.join("speech.wav"), start(&stats.capture))?;
        let mut heard = Vec::new();
        for speaker in &stats.speakers {
            if let (Some(name), Some(file)) = (&speaker.name, &speaker.file) {
                let sound = Sound::read(&heard_in.join(file), start(&stats.playback))?;
                ensure!(sound.rate == said.rate, "{name} is recorded at {} Hz, not {} Hz", sound.rate, said.rate);
                heard.push((name.clone(), sound));
            }
        }
        Ok(Self { name, said, heard, events, stats })
    }

    /// How this member reached another, at last.
    pub(super) fn link_to(&self, other: &str) -> Link {
        let mut link = Link { path: "none".into(), addr: None, connect_ms: None, path_ms: None, rtt_ms: None };
        for event in &self.events {
            match event {
                // At the end of a call every path goes; the last one that there was counts.
                Event::Path { peer, path, .. } if peer != other || path == "none" => {}
                Event::Path { addr, path, rtt_ms, since_known_ms, .. } => {
                    link.path.clone_from(path);
                    link.addr.clone_from(addr);
                    link.rtt_ms = rtt_ms.or(link.rtt_ms);
                    // Without a round trip it is a first packet that came, not yet an answer.
                    link.path_ms = link.path_ms.or(rtt_ms.and(*since_known_ms));
                }
                Event::Link { peer, secure: true, since_known_ms } if peer == other => {
                    link.connect_ms = link.connect_ms.or(*since_known_ms);
                }
                Event::Link { .. } | Event::Other => {}
            }
        }
        link
    }

    /// The share of another's frames that the network lost.
    pub(super) fn loss_from(&self, other: &str) -> Option<f64> {
        let speakers = self.stats.speakers.iter().filter(|speaker| speaker.name.as_deref() == Some(other));
        let (lost, received) = speakers.fold((0, 0), |sum, speaker| (sum.0 + speaker.lost, sum.1 + speaker.received));
        (lost + received > 0).then(|| lost as f64 / (lost + received) as f64)
    }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// One value per line; a last line that was cut off by the end of the program is left out.
fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n') && !line.trim().is_empty());
    let parse = |(n, line)| serde_json::from_str(line).with_context(|| format!("line {} of {}", n + 1, path.display()));
    whole.enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(events: &str) -> Member {
        let events = events.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        let stats = r#"{"capture":null,"playback":null,"v":1,"speakers":[
            {"name":"bob","file":null,"received":90,"lost":6},{"name":"bob","file":"bob.wav","received":0,"lost":4}]}"#;
        let stats = serde_json::from_str(stats).expect("figures");
        Member { name: "ann".into(), said: Sound::default(), heard: vec![], events, stats }
    }

    #[test]
    fn the_last_path_counts_and_the_first_connection() {
        let ann = member(
            r#"{"v":1,"ts_ms":1,"type":"ready","channel":"x","sock":"/s","local":"[::]:1","key":"k"}
{"type":"path","peer":"bob","addr":"203.0.113.1:9","path":"relay","rtt_ms":null,"since_known_ms":3,"why":"x"}
{"type":"link","peer":"bob","secure":true,"since_known_ms":80,"why":""}
{"type":"path","peer":"bob","addr":"198.51.100.2:7","path":"direct","rtt_ms":41,"since_known_ms":50,"why":"confirmed"}
{"type":"path","peer":"cleo","addr":"192.0.2.1:1","path":"direct","rtt_ms":1,"since_known_ms":1,"why":"confirmed"}
{"type":"link","peer":"bob","secure":false,"since_known_ms":null,"why":"left"}
{"type":"path","peer":"bob","addr":null,"path":"none","rtt_ms":null,"since_known_ms":9000,"why":"left"}"#,
        );
        let link = ann.link_to("bob");
        assert_eq!((link.path.as_str(), link.addr.as_deref()), ("direct", Some("198.51.100.2:7")));
        assert_eq!((link.connect_ms, link.path_ms, link.rtt_ms), (Some(80), Some(50), Some(41)));
        assert_eq!(ann.link_to("dan").path, "none");
    }

    #[test]
    fn loss_is_a_share_of_all_frames_and_unknown_without_any() {
        assert_eq!(member("").loss_from("bob"), Some(0.1));
        assert_eq!(member("").loss_from("cleo"), None);
    }
}
