use std::{collections::BTreeMap, fmt::Write, str::FromStr};

use wire::IdentityKey;

const HEADER: &str = "# Whom we have met: name, key, first seen (seconds since 1970), whether the key was compared\n";

/// Keys that names had when they were first met, as in SSH's `known_hosts`.
///
/// As text, one line each: `name key first-seen verified`, where white space, `%`, `#` and controls in a name are
/// written `%XX`, and `verified` is `yes` or `no`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KnownPeers(BTreeMap<String, KnownPeer>);

/// What is known of a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownPeer {
    /// Its key.
    pub key: IdentityKey,
    /// When it was first met, in seconds since 1970.
    pub first_seen: u64,
    /// Whether people have compared the key by another way than this network.
    pub verified: bool,
}

/// What a key under a name means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Known {
    /// The name was never met.
    New,
    /// It had this key before.
    Same {
        /// Whether the key was compared.
        verified: bool,
    },
    /// It had another key: somebody else, or a new device. Nothing may be said to it before a person decides.
    Changed(KnownPeer),
}

impl KnownPeers {
    /// What `key` under `name` means.
    pub fn check(&self, name: &str, key: &IdentityKey) -> Known {
        match self.0.get(name) {
            None => Known::New,
            Some(known) if known.key == *key => Known::Same { verified: known.verified },
            Some(known) => Known::Changed(*known),
        }
    }

    /// Pins `key` to a name that was never met; a known name keeps its key.
    pub fn meet(&mut self, name: &str, key: IdentityKey, now: u64) {
        self.0.entry(name.to_owned()).or_insert(KnownPeer { key, first_seen: now, verified: false });
    }

    /// Pins `key` to a name in place of any other: a person has decided so.
    pub fn replace(&mut self, name: &str, key: IdentityKey, now: u64) {
        self.0.insert(name.to_owned(), KnownPeer { key, first_seen: now, verified: false });
    }

    /// Notes that people have compared the key; `false` if the name is not known with it.
    pub fn set_verified(&mut self, name: &str, key: &IdentityKey) -> bool {
        let known = self.0.get_mut(name).filter(|known| known.key == *key);
        known.map(|known| known.verified = true).is_some()
    }

    /// Forgets a name; `false` if it was not known.
    pub fn forget(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Everybody, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KnownPeer)> {
        self.0.iter().map(|(name, known)| (name.as_str(), known))
    }

    /// The content of the file.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (name, known) in self.iter() {
            let verified = if known.verified { "yes" } else { "no" };
            let _ = writeln!(text, "{} {} {} {verified}", escape(name), known.key, known.first_seen);
        }
        text
    }
}

/// A line is not `name key first-seen verified`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line} of the known peers is not `name key first-seen yes|no`")]
pub struct ParseKnownPeersError {
    /// Which line, from 1.
    pub line: usize,
}

impl FromStr for KnownPeers {
    type Err = ParseKnownPeersError;

    /// Reads the content of the file. A name that is there twice is an error: a pin must not be hidden by another.
    fn from_str(text: &str) -> Result<Self, ParseKnownPeersError> {
        let mut known = Self::default();
        for (line, content) in text.lines().enumerate() {
            if content.trim().is_empty() || content.starts_with('#') {
                continue;
            }
            let error = ParseKnownPeersError { line: line + 1 };
            let (name, peer) = parse_line(content).ok_or(error)?;
            if known.0.insert(name, peer).is_some() {
                return Err(error);
            }
        }
        Ok(known)
    }
}

fn parse_line(line: &str) -> Option<(String, KnownPeer)> {
    let mut words = line.split_whitespace();
    let name = unescape(words.next()?)?;
    let key = words.next()?.parse().ok()?;
    let first_seen = words.next()?.parse().ok()?;
    let verified = match words.next()? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    words.next().is_none().then_some((name, KnownPeer { key, first_seen, verified }))
}

fn escape(name: &str) -> String {
    let mut out = String::new();
    for char in name.chars() {
        if char.is_whitespace() || char.is_control() || matches!(char, '%' | '#') {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                let _ = write!(out, "%{byte:02X}");
            });
        } else {
            out.push(char);
        }
    }
    if out.is_empty() { "%".to_owned() } else { out }
}

fn unescape(word: &str) -> Option<String> {
    if word == "%" {
        return Some(String::new());
    }
    let mut out = Vec::new();
    let mut bytes = word.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high << 4 | low) as u8);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: IdentityKey = IdentityKey([1; 32]);
    const MALLORY: IdentityKey = IdentityKey([2; 32]);

    #[test]
    fn a_key_is_pinned_when_its_name_is_first_met() {
        let mut known = KnownPeers::default();
        assert_eq!(known.check("alice", &ALICE), Known::New);
        known.meet("alice", ALICE, 100);
        assert_eq!(known.check("alice", &ALICE), Known::Same { verified: false });

        known.meet("alice", MALLORY, 200);
        let pinned = KnownPeer { key: ALICE, first_seen: 100, verified: false };
        assert_eq!(known.check("alice", &MALLORY), Known::Changed(pinned), "meeting again changes nothing");
    }

    #[test]
    fn a_changed_key_loses_its_verification() {
        let mut known = KnownPeers::default();
        known.meet("alice", ALICE, 100);
        assert!(known.set_verified("alice", &ALICE));
        assert_eq!(known.check("alice", &ALICE), Known::Same { verified: true });

        known.replace("alice", MALLORY, 300);
        assert_eq!(known.check("alice", &MALLORY), Known::Same { verified: false });
        assert!(!known.set_verified("alice", &ALICE), "the key that was compared is not the one that is pinned");
        assert!(known.forget("alice") && !known.forget("alice"));
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let mut known = KnownPeers::default();
        for name in ["alice", "al ice", "#1", "100%", "日本", "a\u{a0}b", "line\nbreak", ""] {
            known.meet(name, ALICE, 1_790_000_000);
        }
        known.set_verified("alice", &ALICE);
        let text = known.to_text();
        assert!(text.contains(&format!("\nalice {ALICE} 1790000000 yes\n")), "{text}");
        assert!(text.contains("\nal%20ice "), "{text}");
        assert_eq!(text.parse(), Ok(known));
    }

    #[test]
    fn a_damaged_file_names_its_line() {
        let good = format!("alice {ALICE} 1 no\n");
        for (bad, line) in [
            (format!("{good}bob\n"), 2),
            (format!("\n# x\n{good}bob {ALICE} yesterday no\n"), 4),
            (format!("bob {ALICE} 1 maybe\n"), 1),
            (format!("bob {ALICE} 1 no more\n"), 1),
            (format!("b%4 {ALICE} 1 no\n"), 1),
            (format!("b%FF {ALICE} 1 no\n"), 1),
            (format!("{good}{good}"), 2),
        ] {
            assert_eq!(bad.parse::<KnownPeers>(), Err(ParseKnownPeersError { line }), "{bad}");
        }
    }
}
