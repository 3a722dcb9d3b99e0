//! Lines of stdin, however long they are.

use std::io::{BufRead, Read};

use anyhow::{Context, anyhow};
use chat::{LINE_LIMIT, TextError};
use edge::{Exit, WithExit};

/// What of a line is kept: the longest text, and the longest command before it.
const KEPT: u64 = LINE_LIMIT as u64 + 1024;

/// The next line without its end; `None` at the end of the input. What comes behind [`KEPT`] bytes is skipped, and the line is too long.
///
/// # Errors
/// If the input can't be read or is no text.
pub(crate) fn next_line(input: &mut impl BufRead) -> anyhow::Result<Option<Result<String, TextError>>> {
    let mut line = Vec::new();
    let mut limited = input.by_ref().take(KEPT);
    let read = limited.read_until(b'\n', &mut line).context("read stdin").exit(Exit::Data)?;
    if read == 0 {
        return Ok(None);
    }
    if limited.limit() == 0 && line.last() != Some(&b'\n') {
        let more = input.skip_until(b'\n').context("read stdin").exit(Exit::Data)?;
        return Ok(Some(Err(TextError::TooLong { len: read + more, max: LINE_LIMIT })));
    }
    let text = String::from_utf8(line).map_err(|_| anyhow!("what stdin has is no text")).exit(Exit::Data)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    Ok(Some(Ok(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<Result<String, TextError>> {
        std::iter::from_fn(|| next_line(&mut input).expect("text")).collect()
    }

    #[test]
    fn lines_have_any_end_and_the_last_one_needs_none() {
        assert_eq!(lines(b"one\r\n\ntwo"), ["one", "", "two"].map(|line| Ok(line.to_owned())));
        assert_eq!(lines(b""), []);
        assert!(next_line(&mut &b"\xff\n"[..]).is_err());
    }

    #[test]
    fn a_line_of_any_length_takes_bounded_room_and_the_next_one_is_whole() {
        let long = "x".repeat(100_000);
        let too_long = |len| Err(TextError::TooLong { len, max: LINE_LIMIT });
        let input = format!("{long}\nnext\n{long}");
        assert_eq!(lines(input.as_bytes()), [too_long(100_001), Ok("next".to_owned()), too_long(100_000)]);
    }
}
