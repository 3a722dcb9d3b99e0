//! Names that people type: which are acceptable, and which look alike.

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;
use unicode_segmentation::UnicodeSegmentation;

const MEMBER: Rules = Rules { graphemes: 32, bytes: 128 };
const CHANNEL: Rules = Rules { graphemes: 64, bytes: 256 };
/// More marks than this on one letter are decoration that runs over the lines above and below.
const MARKS_PER_GRAPHEME: usize = 8;

/// What somebody is called in a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberName(String);

/// What a channel is called.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ChannelName(String);

/// Why a text is no name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    /// Nothing is there, or nothing but spaces.
    #[error("it is empty")]
    Empty,
    /// It has too many letters.
    #[error("it is longer than {0} characters")]
    TooManyGraphemes(usize),
    /// It has too many bytes.
    #[error("it is longer than {0} bytes")]
    TooManyBytes(usize),
    /// A character that is invisible, changes what is around it, or means something to programs.
    #[error("the character U+{0:04X} is not allowed")]
    Character(u32),
    /// Marks are piled on one letter.
    #[error("a letter has more than {MARKS_PER_GRAPHEME} marks")]
    TooManyMarks,
    /// A name that file systems and URLs give a meaning.
    #[error("it means a directory")]
    Dots,
}

/// Two names with one of their faces in common are told apart by nobody.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Face(String);

/// Normalises and checks one line of plain text, which may be empty: a description.
///
/// # Errors
/// [`NameError`] says what is wrong with it.
pub fn plain_line(text: &str, graphemes: usize) -> Result<String, NameError> {
    match (Rules { graphemes, bytes: graphemes * 4 }).apply(text) {
        Err(NameError::Empty) => Ok(String::new()),
        other => other,
    }
}

struct Rules {
    graphemes: usize,
    bytes: usize,
}

impl MemberName {
    /// Normalises (NFC, no spaces around) and checks a text.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        MEMBER.apply(text).map(Self)
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// By UTS 39 skeleton, as written and in lower case.
    pub(crate) fn faces(&self) -> [Face; 2] {
        [face(&self.0), face(&self.0.to_lowercase())]
    }
}

impl ChannelName {
    /// Normalises (NFC, no spaces around) and checks a text.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = CHANNEL.apply(text)?;
        if let Some(slash) = name.chars().find(|c| matches!(c, '/' | '\\')) {
            return Err(NameError::Character(slash.into()));
        }
        if matches!(name.as_str(), "." | "..") {
            return Err(NameError::Dots);
        }
        Ok(Self(name))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn face(&self) -> Face {
        face(&self.0)
    }
}

impl std::fmt::Display for ChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    fn apply(&self, text: &str) -> Result<String, NameError> {
        if text.len() > self.bytes * 4 {
            return Err(NameError::TooManyBytes(self.bytes)); // before any work is done on it
        }
        let name: String = text.nfc().collect();
        let name = name.trim_matches(' ');
        if let Some(bad) = name.chars().find(|c| is_forbidden(*c)) {
            return Err(NameError::Character(bad.into()));
        }
        if face(name).0.is_empty() {
            return Err(NameError::Empty);
        }
        if name.graphemes(true).count() > self.graphemes {
            return Err(NameError::TooManyGraphemes(self.graphemes));
        }
        if name.len() > self.bytes {
            return Err(NameError::TooManyBytes(self.bytes));
        }
        if name.graphemes(true).any(|g| g.chars().filter(|c| is_mark(*c)).count() > MARKS_PER_GRAPHEME) {
            return Err(NameError::TooManyMarks);
        }
        Ok(name.to_owned())
    }
}

fn face(name: &str) -> Face {
    Face(skeleton(name).collect())
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

fn is_forbidden(c: char) -> bool {
    let code = u32::from(c);
    match c {
        ' ' => false,
        // Joiners and variation selectors are part of emoji and of some scripts' letters; they do not make a new face.
        '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}' => false,
        _ if c.is_control() || c.is_whitespace() => true,
        // Marks of direction, and everything else that is there and can't be seen.
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => true,
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}' => true,
        '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        // Private use: a font decides what it shows.
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => true,
        // Noncharacters.
        '\u{fdd0}'..='\u{fdef}' => true,
        _ => code & 0xfffe == 0xfffe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_accepted_and_normalised() {
        for (text, expected) in [
            ("alice", "alice"),
            ("  Zoe\u{308} ", "Zo\u{eb}"),
            ("Anna Maria", "Anna Maria"),
            ("田中さくら", "田中さくら"),
            ("محمد", "محمد"),
            ("👩\u{200d}👩\u{200d}👧", "👩\u{200d}👩\u{200d}👧"),
            ("x", "x"),
        ] {
            assert_eq!(MemberName::parse(text).map(|name| name.0), Ok(expected.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_or_changes_its_neighbours_is_no_name() {
        for bad in [
            '\0',
            '\u{1b}',
            '\n',
            '\t',
            '\u{7f}',
            '\u{9b}',
            '\u{a0}',
            '\u{3000}',
            '\u{2028}',
            '\u{200b}',
            '\u{200f}',
            '\u{202e}',
            '\u{2066}',
            '\u{feff}',
            '\u{e000}',
            '\u{10fffd}',
            '\u{ffff}',
            '\u{e0041}',
            '\u{3164}',
        ] {
            let name = format!("a{bad}b");
            assert_eq!(MemberName::parse(&name), Err(NameError::Character(bad.into())), "{name:?}");
            assert_eq!(ChannelName::parse(&name), Err(NameError::Character(bad.into())), "{name:?}");
        }
        for empty in ["", " ", "   ", "\u{200d}", "\u{fe0f}"] {
            assert_eq!(MemberName::parse(empty), Err(NameError::Empty), "{empty:?}");
        }
        assert_eq!(MemberName::parse(&format!("a{}", "\u{315}".repeat(9))), Err(NameError::TooManyMarks));
    }

    #[test]
    fn names_have_lengths() {
        assert!(MemberName::parse(&"é".repeat(32)).is_ok());
        assert_eq!(MemberName::parse(&"é".repeat(33)), Err(NameError::TooManyGraphemes(32)));
        assert_eq!(MemberName::parse(&"𝔸".repeat(33)), Err(NameError::TooManyGraphemes(32)));
        assert_eq!(MemberName::parse(&"👩\u{200d}👩\u{200d}👧".repeat(9)), Err(NameError::TooManyBytes(128)));
        assert_eq!(MemberName::parse(&"a".repeat(1 << 20)), Err(NameError::TooManyBytes(128)));
        assert!(ChannelName::parse(&"a".repeat(64)).is_ok());
        assert_eq!(ChannelName::parse(&"a".repeat(65)), Err(NameError::TooManyGraphemes(64)));
    }

    #[test]
    fn a_channel_name_is_never_a_path() {
        for bad in [".", "..", "a/b", "/", "\\", "a\\b"] {
            assert!(ChannelName::parse(bad).is_err(), "{bad}");
        }
        assert!(ChannelName::parse("v1.2").is_ok());
    }

    #[test]
    fn a_description_is_one_line_of_what_can_be_seen() {
        assert_eq!(plain_line("  for e\u{301}verybody ", 20).as_deref(), Ok("for éverybody"));
        assert_eq!(plain_line(" ", 20).as_deref(), Ok(""));
        assert_eq!(plain_line("a\nb", 20), Err(NameError::Character(10)));
        assert_eq!(plain_line("abc", 2), Err(NameError::TooManyGraphemes(2)));
    }

    #[test]
    fn names_that_look_alike_share_a_face() {
        for (one, other) in
            [("paypal", "pаypаl"), ("alice", "aIice"), ("Bob", "bob"), ("a\u{200d}b", "ab"), ("rn", "m")]
        {
            let (one, other) = (MemberName::parse(one).unwrap(), MemberName::parse(other).unwrap());
            assert!(one.faces().iter().any(|face| other.faces().contains(face)), "{one:?} {other:?}");
        }
        let (alice, bob) = (MemberName::parse("alice").unwrap(), MemberName::parse("bob").unwrap());
        assert!(!alice.faces().iter().any(|face| bob.faces().contains(face)));
    }
}
