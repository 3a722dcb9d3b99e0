use unicode_width::UnicodeWidthChar;

/// Marks that may sit on one character; more of them paint over the lines around.
const MAX_MARKS: usize = 4;
/// Columns of one line that are shown.
const MAX_COLUMNS: usize = 4096;

/// Text that came from somebody else. It has no `Display`: it reaches a terminal or a page only through [`Remote::show`]
/// or [`Remote::lines`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remote<T>(pub T);

impl<T: AsRef<[u8]>> Remote<T> {
    /// One line: controls and everything that reorders or hides text become visible, tabs become blanks, marks are
    /// capped at four to a character and the line at 4096 columns.
    pub fn show(&self) -> String {
        visible(&String::from_utf8_lossy(self.0.as_ref()))
    }

    /// The same for text of several lines: only its line breaks keep their meaning, and those at its end are dropped.
    pub fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.0.as_ref());
        let text = text.replace("\r\n", "\n");
        text.trim_end_matches('\n').split('\n').map(visible).collect()
    }
}

/// One line of JSON. What [`Remote::show`] would make visible is written as `\\u` escapes: a parser gives it back as it was, and a
/// terminal that shows the line obeys none of it.
///
/// # Errors
/// If the value is no JSON, such as a map with keys that are no strings.
pub fn json_line<T: serde::Serialize>(value: &T) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let mut line = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        // In JSON text such characters stand in strings only.
        if stand_in(c).is_some() {
            line.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            line.push(c);
        }
    }
    Ok(line)
}

fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut columns, mut marks) = (0, 0);
    for c in text.chars() {
        let stand_in = stand_in(c);
        let width = stand_in.as_ref().map_or(c.width().unwrap_or(0), |text| text.chars().count());
        marks = if width == 0 { marks + 1 } else { 0 };
        columns += width;
        if columns > MAX_COLUMNS {
            shown.push('…');
            break;
        }
        match stand_in {
            Some(text) => shown.push_str(&text),
            None if marks > MAX_MARKS => {}
            None => shown.push(c),
        }
    }
    shown
}

/// What is shown in the place of a character that must not be.
fn stand_in(c: char) -> Option<String> {
    match c {
        '\t' => Some("    ".into()),
        '\0'..='\x1f' => Some(picture(c).into()),
        '\x7f' => Some('␡'.into()),
        _ if is_disguise(c) => Some(format!("<U+{:04X}>", u32::from(c))),
        _ => None,
    }
}

/// The control picture of a C0 control.
fn picture(c: char) -> char {
    char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// C1 controls, line separators, bidi controls, and characters without any shape. Joiners stay: emoji and many scripts
/// need them.
fn is_disguise(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{2028}' | '\u{2029}'
        | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_draws_reorders_or_hides_becomes_visible() {
        let rows = [
            ("plain, ünïcode, 日本語, 👩‍👩‍👧, नमस्ते", "plain, ünïcode, 日本語, 👩‍👩‍👧, नमस्ते"),
            ("\u{1b}[2Jgone", "␛[2Jgone"),
            ("two\nlines\r", "two␊lines␍"),
            ("a\tb\0\u{7f}", "a    b␀␡"),
            ("\u{9b}31m", "<U+009B>31m"),
            ("user\u{202e}txt.exe", "user<U+202E>txt.exe"),
            ("\u{2066}a\u{2069}", "<U+2066>a<U+2069>"),
            ("zero\u{200b}width\u{feff}", "zero<U+200B>width<U+FEFF>"),
        ];
        for (text, shown) in rows {
            assert_eq!(Remote(text).show(), shown);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(Remote(b"a\xff\xfeb").show(), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn four_marks_may_sit_on_a_character_and_no_more() {
        let marks = |n| "\u{301}".repeat(n);
        assert_eq!(Remote(format!("e{}x{}", marks(9), marks(2))).show(), format!("e{}x{}", marks(4), marks(2)));
    }

    #[test]
    fn a_line_ends_at_4096_columns() {
        for text in ["x", "日", "\u{1b}", "\u{202e}"] {
            let shown = Remote(text.repeat(10_000)).show();
            let width: usize = shown.trim_end_matches('…').chars().filter_map(UnicodeWidthChar::width).sum();
            assert!((4096 - 8..=4096).contains(&width), "{text:?}: {width}");
            assert!(shown.ends_with('…'));
        }
    }

    #[test]
    fn lines_keep_only_their_breaks() {
        assert_eq!(Remote("one\r\ntwo\u{1b}\n\nfour\n\n").lines(), ["one", "two␛", "", "four"]);
        assert_eq!(Remote("").lines(), [""]);
    }

    #[test]
    fn a_json_line_says_the_same_and_draws_nothing() {
        let text = "\u{1b}[2J\u{9b}\u{202e}\u{7f}\u{e0001}\u{feff}日本\t\"\n";

        let line = json_line(&text).unwrap();

        assert!(!line.chars().any(|c| stand_in(c).is_some()), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        assert_eq!(json_line(&"\u{202e}\u{e0001}").unwrap(), r#""\u202e\udb40\udc01""#);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_comes_through() {
        for code in (0..0x11_0000).filter_map(char::from_u32) {
            let shown = Remote(code.to_string()).show();
            assert!(!shown.chars().any(|c| c.is_control() || is_disguise(c)), "{code:?}");
        }
    }
}
