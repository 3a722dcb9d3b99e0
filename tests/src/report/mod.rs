//! What a call was like: who heard whom, by which path, how late, how much of it and how well.
//!
//! [`Call::read`] takes a folder that a call has left, one folder in it for each member:
//!
//! ```text
//! alice/speech.wav         what alice said, mono
//! alice/events.jsonl       what alice's puncher told
//! alice/heard/stats.json   what alice's audio-pipe counted, and when sample 0 of all these files was
//! alice/heard/bob.wav      what alice heard of bob
//! ```
//!
//! [`Report::of`] compares what was said with what was heard, for each pair; [`table`] and [`html`] show it.
//! What was not heard, or can't be measured, is `None`: never a good number.

mod align;
mod call;
mod estoi;
mod hearing;
pub mod html;
mod plot;
mod resample;
mod sound;
#[cfg(test)]
mod synthetic;
pub mod table;

use std::path::PathBuf;

use serde::Serialize;

pub use call::{Call, Member};
pub use hearing::{Hearing, Second};
pub(crate) use resample::resample;
pub use sound::Sound;

/// Less than this share of the speech, and it does not count as heard.
const MOST: f64 = 0.8;
/// An ESTOI below this is no speech that people understand.
const INTELLIGIBLE: f64 = 0.4;

/// All that there is to say about a call.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Everybody's names.
    pub members: Vec<String>,
    /// Everybody to everybody else.
    pub pairs: Vec<Pair>,
    /// The folder of the call.
    pub recordings: PathBuf,
    /// The page about it.
    pub report: PathBuf,
}

/// One voice on its way to one listener.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// Who spoke.
    pub from: String,
    /// Who listened.
    pub to: String,
    /// How the packets went at last: direct, relay, member, or none.
    pub path: String,
    /// Where the speaker sent them.
    pub addr: Option<String>,
    /// From learning of the listener to the secure session.
    pub connect_ms: Option<u64>,
    /// From learning of the listener to the confirmed path.
    pub path_ms: Option<u64>,
    /// The path's round trip.
    pub rtt_ms: Option<u64>,
    /// From mouth to ear, the median over the seconds with speech.
    pub mouth_to_ear_ms: Option<u64>,
    /// The share of frames that the network lost, 0 to 1.
    pub loss: Option<f64>,
    /// Extended short-time objective intelligibility (ESTOI), 0 to 1.
    pub quality: Option<f64>,
    /// Speech that was said and not heard.
    pub missing_ms: Option<u64>,
    /// Whether most of the speech was heard, and intelligible.
    pub heard: bool,
    /// Everything in detail.
    #[serde(skip)]
    pub hearing: Hearing,
}

impl Report {
    /// Measures a call.
    pub fn of(call: &Call, page: PathBuf) -> Self {
        let members = || call.members.iter();
        let pairs = members().flat_map(|from| members().map(move |to| (from, to)));
        let pairs = pairs.filter(|(from, to)| from.name != to.name).map(|(from, to)| Pair::measure(from, to));
        Self {
            members: members().map(|member| member.name.clone()).collect(),
            pairs: pairs.collect(),
            recordings: call.folder.clone(),
            report: page,
        }
    }

    /// Whether everybody heard everybody else.
    pub fn all_heard(&self) -> bool {
        self.pairs.iter().all(|pair| pair.heard)
    }
}

impl Pair {
    fn measure(from: &Member, to: &Member) -> Self {
        let link = from.link_to(&to.name);
        let hearing = match to.heard.iter().find(|(name, _)| *name == from.name) {
            Some((_, heard)) => Hearing::compare(&from.said, heard),
            None => Hearing::nothing(&from.said),
        };
        let is_heard = hearing.missing() < 1.0 - MOST && hearing.quality.is_some_and(|estoi| estoi >= INTELLIGIBLE);
        Self {
            from: from.name.clone(),
            to: to.name.clone(),
            path: link.path,
            addr: link.addr,
            connect_ms: link.connect_ms,
            path_ms: link.path_ms,
            rtt_ms: link.rtt_ms,
            mouth_to_ear_ms: hearing.delay_ms.map(|delay| delay.round() as u64),
            loss: to.loss_from(&from.name).map(|loss| (loss * 1e4).round() / 1e4),
            quality: hearing.quality.map(|estoi| (estoi * 1e3).round() / 1e3),
            missing_ms: hearing.delay_ms.map(|_| hearing.missing_ms),
            heard: is_heard,
            hearing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use serde_json::{Value, json};

    use super::synthetic::{noise, talk};
    use super::*;

    const RATE: u32 = 16_000;
    const START: u64 = 1_700_000_000_000_000_000;

    /// Writes what a member leaves: what it said, and what it heard of the other.
    fn leave(folder: &Path, name: &str, said: &[f32], heard: Option<(&str, &[f32])>) {
        let heard_in = folder.join(name).join("heard");
        fs::create_dir_all(&heard_in).unwrap();
        wav(&folder.join(name).join("speech.wav"), said);
        let speaker = heard.map(|(other, sound)| {
            wav(&heard_in.join("other.wav"), sound);
            json!({ "name": other, "file": "other.wav", "received": 98, "lost": 2 })
        });
        let start = json!({ "first_sample_unix_ns": START });
        let stats = json!({ "capture": start, "playback": start, "speakers": speaker.into_iter().collect::<Vec<_>>() });
        fs::write(heard_in.join("stats.json"), stats.to_string()).unwrap();
        let path = json!({ "type": "path", "peer": "bob", "addr": "192.0.2.1:9", "path": "direct", "rtt_ms": 40, "since_known_ms": 41 });
        fs::write(folder.join(name).join("events.jsonl"), format!("{path}\n{{\"type\":\"cut o")).unwrap();
    }

    fn wav(path: &Path, samples: &[f32]) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        samples.iter().for_each(|sample| writer.write_sample((sample * 20_000.0) as i16).unwrap());
        writer.finalize().unwrap();
    }

    #[test]
    fn a_folder_becomes_a_table_an_object_and_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let said = talk(RATE, 4.0);
        let later: Vec<f32> = std::iter::repeat_n(0.0, RATE as usize / 20).chain(said.iter().copied()).collect();
        leave(folder.path(), "ann", &said, None);
        leave(folder.path(), "bob", &noise(1, 4 * RATE as usize), Some(("ann", &later)));

        let report = Report::of(&Call::read(folder.path()).unwrap(), folder.path().join("report.html"));

        let object: Value = serde_json::to_value(&report).unwrap();
        assert_eq!(object["members"], json!(["ann", "bob"]));
        let [to_bob, to_ann] = [&object["pairs"][0], &object["pairs"][1]];
        assert_eq!((&to_bob["from"], &to_bob["to"], &to_bob["heard"]), (&json!("ann"), &json!("bob"), &json!(true)));
        assert_eq!(
            (&to_bob["mouth_to_ear_ms"], &to_bob["loss"], &to_bob["path"]),
            (&json!(50), &json!(0.02), &json!("direct"))
        );
        assert_eq!(
            (&to_ann["heard"], &to_ann["mouth_to_ear_ms"], &to_ann["quality"]),
            (&json!(false), &Value::Null, &Value::Null)
        );
        assert!(!report.all_heard());

        let mut text = Vec::new();
        table::write(&report, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("ann   bob  yes    direct  192.0.2.1:9"), "{text}");
        assert!(text.contains("1 of 2 voices heard"), "{text}");

        let page = html::page(&report);
        assert!(["<script", "http://", "https://", "url(", "src="].iter().all(|link| !page.contains(link)));
        assert!(page.contains("1 of 2 voices heard") && page.contains(">nothing<"));
    }

    #[test]
    fn a_folder_without_members_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Call::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("no folder with an events.jsonl"), "{error}");
    }
}
