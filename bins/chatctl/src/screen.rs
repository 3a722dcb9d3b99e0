//! Where a chat shows what happens: above the line being typed, or plainly on stdout and stderr.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    thread::{self, ThreadId},
};

use anyhow::Context;
use edge::{Common, Exit, WithExit};
use rustyline::{DefaultEditor, ExternalPrinter};

use crate::{
    oneshot::print,
    render::{self, Style},
    room::Entry,
};

/// Up and down again: a line that leaves no trace.
const NOTHING: &str = "\x1b[A\n";

/// Where things are shown.
pub(crate) enum Screen {
    /// Above the line being typed, which the thread that opened the screen edits.
    Line { editing: ThreadId, printer: Mutex<Box<dyn ExternalPrinter + Send>>, style: Style },
    /// Texts on stdout, status on stderr; or everything on stdout as JSON.
    Plain { json: bool, quiet: bool },
}

impl Screen {
    /// A line editor and the screen above it, if there is a terminal that can do that; else a plain screen.
    pub(crate) fn open(common: &Common) -> anyhow::Result<(Option<DefaultEditor>, Self)> {
        let plain = Self::Plain { json: common.json, quiet: common.quiet };
        if common.json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return Ok((None, plain));
        }
        let mut editor = DefaultEditor::new().context("start the line editor")?;
        let Ok(printer) = editor.create_external_printer() else { return Ok((None, plain)) };
        let style =
            if std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()) { Style::Plain } else { Style::Ansi };
        let editing = thread::current().id();
        Ok((Some(editor), Self::Line { editing, printer: Mutex::new(Box::new(printer)), style }))
    }

    /// Shows what happened.
    pub(crate) fn show(&self, entry: &Entry) -> anyhow::Result<()> {
        match self {
            Self::Plain { json: true, .. } => print(&render::line(&render::entry_json(entry))?),
            _ if render::is_for_programs(entry) => Ok(()),
            Self::Line { style, .. } => self.say(&render::entry(entry, *style)),
            Self::Plain { .. } if matches!(entry, Entry::Message { .. }) => print(&render::entry(entry, Style::Plain)),
            Self::Plain { .. } => self.say(&render::entry(entry, Style::Plain)),
        }
    }

    /// Shows lines that are safe to show already and are not part of the data.
    pub(crate) fn say(&self, text: &str) -> anyhow::Result<()> {
        match self {
            // No line is being typed then, and who holds the printer may be waiting for the next one.
            Self::Line { editing, .. } if thread::current().id() == *editing => print(text),
            Self::Line { printer, .. } => {
                let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
                let line = format!("{text}\n");
                // What the editor has not taken by its end goes to the terminal after all.
                let printed = printer.print(line.clone()).or_else(|_| printer.print(line));
                printed.context("write to the terminal").exit(Exit::Io)
            }
            Self::Plain { quiet: true, .. } => Ok(()),
            Self::Plain { .. } => writeln!(std::io::stderr(), "{text}").context("write to stderr").exit(Exit::Io),
        }
    }

    /// Waits until everything that was shown is on the terminal. The line editor draws on its own thread, which must be reading a line.
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        let Self::Line { printer, .. } = self else { return Ok(()) };
        let mut printer = printer.lock().unwrap_or_else(PoisonError::into_inner);
        // The editor takes what is printed one by one, and there is room for one: when the second of these is accepted, the
        // first has been taken, so everything before it is drawn.
        (0..2).try_for_each(|_| printer.print(NOTHING.into())).context("write to the terminal").exit(Exit::Io)
    }
}
