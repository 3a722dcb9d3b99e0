//! What other programs of the same terminal have to say, shown above the line being typed.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::Arc,
    thread,
};

use anyhow::Context;
use edge::{Exit, Remote, WithExit};

use crate::screen::Screen;

/// A longer line is shown in parts.
const LONGEST: u64 = 4096;

/// Shows each line that comes from a pipe, until its end.
pub(crate) fn watch(pipe: &Path, screen: Arc<Screen>) -> anyhow::Result<()> {
    let file = File::open(pipe).with_context(|| format!("open {}", pipe.display())).exit(Exit::NoInput)?;
    let watching = move || {
        if let Err(error) = pass_on(BufReader::new(file), |line| screen.say(line)) {
            tracing::debug!(error = format!("{error:#}"), "Nothing more is shown of other programs");
        }
    };
    thread::Builder::new().name("notices".into()).spawn(watching).map(drop).context("start a thread")
}

fn pass_on(mut lines: impl BufRead, mut say: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    loop {
        let mut line = Vec::new();
        if lines.by_ref().take(LONGEST).read_until(b'\n', &mut line).context("read a notice")? == 0 {
            return Ok(());
        }
        say(&Remote(line.trim_ascii_end()).show())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> Vec<String> {
        let mut shown = Vec::new();
        pass_on(bytes, |line| {
            shown.push(line.to_owned());
            Ok(())
        })
        .unwrap();
        shown
    }

    #[test]
    fn each_line_is_shown_and_can_do_nothing_to_the_terminal() {
        assert_eq!(shown(b"one\r\n\x1b[2Jtwo\xff\nthe end"), ["one", "␛[2Jtwo\u{fffd}", "the end"]);
    }

    #[test]
    fn a_line_without_end_takes_bounded_room() {
        let parts = shown(&[b'x'; 10_000]);
        assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [4096, 4096, 1808]);
    }
}
