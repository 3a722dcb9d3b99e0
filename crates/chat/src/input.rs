use wire::peer::MAX_TEXT;

/// A line that somebody types is at most this long; a file may be sent as one text up to [`MAX_TEXT`].
pub const LINE_LIMIT: usize = 16 * 1024;

/// Why a text can't be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TextError {
    /// There is nothing in it.
    #[error("there is nothing to send")]
    Empty,
    /// It is too long.
    #[error("a text of {len} bytes is longer than the {max} bytes allowed")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        max: usize,
    },
}

/// What of `text` is sent: everything but the line ends at its end. `max` is never more than [`MAX_TEXT`].
///
/// # Errors
/// [`TextError`] if nothing is left or it is too long.
pub fn check(text: &str, max: usize) -> Result<&str, TextError> {
    let body = text.trim_end_matches(['\n', '\r']);
    let max = max.min(MAX_TEXT);
    match body.len() {
        _ if body.trim().is_empty() => Err(TextError::Empty),
        len if len > max => Err(TextError::TooLong { len, max }),
        _ => Ok(body),
    }
}

/// A line that somebody typed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input<'a> {
    /// Nothing at all.
    Nothing,
    /// A text for everybody.
    Say(&'a str),
    /// `/to NAME text`: a text for one; still to be split, see [`addressee`].
    To(&'a str),
    /// `/peers`.
    Peers,
    /// `/mute`, `/mute on`, `/mute off`, `/unmute`.
    Mute(Option<bool>),
    /// `/deafen`, `/deafen on`, `/deafen off`, `/undeafen`.
    Deafen(Option<bool>),
    /// `/volume NAME DB`: how loud one is played; still to be split, see [`addressee`].
    Volume(&'a str),
    /// `/help`.
    Help,
    /// `/exit`.
    Exit,
    /// A command that does not exist, or not like this.
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    /// Reads a line. A text that begins with a slash is typed with two.
    pub fn parse(line: &'a str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Nothing;
        }
        let Some(command) = line.strip_prefix('/') else { return Self::Say(line) };
        if command.starts_with('/') {
            return Self::Say(command);
        }
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        match (word, rest.trim()) {
            ("to", rest) => Self::To(rest),
            ("peers", "") => Self::Peers,
            ("mute", "") => Self::Mute(None),
            ("mute", "on") => Self::Mute(Some(true)),
            ("mute", "off") | ("unmute", "") => Self::Mute(Some(false)),
            ("deafen", "") => Self::Deafen(None),
            ("deafen", "on") => Self::Deafen(Some(true)),
            ("deafen", "off") | ("undeafen", "") => Self::Deafen(Some(false)),
            ("volume", rest) => Self::Volume(rest),
            ("help" | "?", _) => Self::Help,
            ("exit" | "quit", "") => Self::Exit,
            _ => Self::Unknown(line),
        }
    }
}

/// Why it is not clear whom a text is for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddresseeError {
    /// Nobody of that name is there.
    #[error("nobody of that name is there")]
    Nobody,
    /// The name may mean several.
    #[error("that name may mean several; write it exactly")]
    Several,
}

/// Splits `NAME text` by the names that there are, and says which of them it is: names may have blanks in them, and may be put
/// in double quotes. The longest name that fits is meant; if none fits exactly, case does not count.
///
/// # Errors
/// [`AddresseeError`] if no name fits, or more than one without regard to case.
pub fn addressee<'a>(line: &'a str, names: &[&str]) -> Result<(usize, &'a str), AddresseeError> {
    let exact = |text: &str, name: &str| text == name;
    let folded = |text: &str, name: &str| text.to_lowercase() == name.to_lowercase();
    match best(line, names, exact) {
        Err(AddresseeError::Nobody) => best(line, names, folded),
        found => found,
    }
}

fn best<'a>(
    line: &'a str,
    names: &[&str],
    is_same: impl Fn(&str, &str) -> bool,
) -> Result<(usize, &'a str), AddresseeError> {
    let fits = |(index, name): (usize, &&str)| {
        let (said, text) = split(line, name)?;
        is_same(said, name).then_some((index, text))
    };
    let found: Vec<_> = names.iter().enumerate().filter_map(fits).collect();
    let Some(shortest) = found.iter().map(|(_, text)| text.len()).min() else { return Err(AddresseeError::Nobody) };
    let mut longest_name = found.into_iter().filter(|(_, text)| text.len() == shortest);
    match (longest_name.next(), longest_name.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(AddresseeError::Several),
        (None, _) => Err(AddresseeError::Nobody),
    }
}

/// Cuts the line where a name with as many characters as this one would end.
fn split<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    if let Some((said, text)) = line.strip_prefix('"').and_then(|line| line.split_once('"')) {
        return Some((said, text.trim_start()));
    }
    let end = line.char_indices().nth(name.chars().count()).map_or(line.len(), |(index, _)| index);
    let (said, text) = line.split_at(end);
    (text.is_empty() || text.starts_with(char::is_whitespace)).then(|| (said, text.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_text_or_a_command() {
        let rows = [
            ("", Input::Nothing),
            ("  \t ", Input::Nothing),
            (" hello ", Input::Say("hello")),
            ("//etc is a directory", Input::Say("/etc is a directory")),
            ("/to bob  hi there", Input::To("bob  hi there")),
            ("/to", Input::To("")),
            ("/peers", Input::Peers),
            ("/peers now", Input::Unknown("/peers now")),
            ("/mute", Input::Mute(None)),
            ("/mute on", Input::Mute(Some(true))),
            ("/unmute", Input::Mute(Some(false))),
            ("/deafen", Input::Deafen(None)),
            ("/undeafen", Input::Deafen(Some(false))),
            ("/deafen bob", Input::Unknown("/deafen bob")),
            ("/volume bob -6", Input::Volume("bob -6")),
            ("/help", Input::Help),
            ("/exit", Input::Exit),
            ("/quit ", Input::Exit),
            ("/Exit", Input::Unknown("/Exit")),
            ("/", Input::Unknown("/")),
        ];
        for (line, input) in rows {
            assert_eq!(Input::parse(line), input, "{line:?}");
        }
    }

    #[test]
    fn a_text_has_something_in_it_and_an_end() {
        assert_eq!(check("two\nlines\r\n\n", LINE_LIMIT), Ok("two\nlines"));
        assert_eq!(check("  indented", LINE_LIMIT), Ok("  indented"));
        for empty in ["", "\n\n", " \t\n"] {
            assert_eq!(check(empty, LINE_LIMIT), Err(TextError::Empty));
        }
        let long = "x".repeat(LINE_LIMIT + 1);
        assert_eq!(check(&long, LINE_LIMIT), Err(TextError::TooLong { len: LINE_LIMIT + 1, max: LINE_LIMIT }));
        assert!(check(&long, MAX_TEXT).is_ok());
        let max = MAX_TEXT;
        assert_eq!(check(&"x".repeat(max + 1), usize::MAX), Err(TextError::TooLong { len: max + 1, max }));
    }

    #[test]
    fn a_name_is_told_from_the_text_behind_it() {
        let names = ["bob", "bob the builder", "Zoë", "ann"];
        let rows = [
            ("bob hi", Ok((0, "hi"))),
            ("bob", Ok((0, ""))),
            ("bob  the end", Ok((0, "the end"))),
            ("bob the builder hi", Ok((1, "hi"))),
            ("\"bob the builder\" hi", Ok((1, "hi"))),
            ("\"bob\" the builder hi", Ok((0, "the builder hi"))),
            ("zoË hi", Ok((2, "hi"))),
            ("BOB hi", Ok((0, "hi"))),
            ("bobby hi", Err(AddresseeError::Nobody)),
            ("", Err(AddresseeError::Nobody)),
            ("\"ann hi", Err(AddresseeError::Nobody)),
        ];
        for (line, expected) in rows {
            assert_eq!(addressee(line, &names), expected, "{line:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_alone_are_written_exactly() {
        let names = ["Bob", "bob"];
        assert_eq!(addressee("bob hi", &names), Ok((1, "hi")));
        assert_eq!(addressee("BOB hi", &names), Err(AddresseeError::Several));
    }

    #[test]
    fn no_line_is_too_odd() {
        for line in ["\"", "\"\"", "日本 hi", "é", "\u{301}", "  "] {
            let _ = addressee(line, &["", "日本", "e\u{301}"]);
        }
    }
}
