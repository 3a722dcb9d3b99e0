//! Telling a supervisor that the program serves: one newline on a descriptor, then its end, as s6 and others expect.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::fd::RawFd,
};

use anyhow::Context;

use crate::{Exit, WithExit};

/// The descriptor of `--ready-fd`. To be opened before the program opens anything else: then a number that nobody
/// handed over is an error, and not by chance a file of the program's own.
#[derive(Debug, Default)]
pub struct Ready(Option<File>);

impl Ready {
    /// Takes the descriptor over.
    ///
    /// # Errors
    /// Code 64 if the number is not an open pipe or file.
    pub fn open(fd: Option<RawFd>) -> anyhow::Result<Self> {
        let Some(fd) = fd else { return Ok(Self(None)) };
        // A second way to the same pipe, owned and closed on exec; then the inherited one can go.
        let opened = OpenOptions::new().write(true).open(format!("/dev/fd/{fd}"));
        let file = opened.with_context(|| format!("--ready-fd {fd}")).exit(Exit::Usage)?;
        if fd > 2 {
            nix::unistd::close(fd).with_context(|| format!("--ready-fd {fd}")).exit(Exit::Usage)?;
        }
        Ok(Self(Some(file)))
    }

    /// Says that the program serves.
    pub fn signal(self) {
        if let Some(mut file) = self.0
            && let Err(error) = file.write_all(b"\n")
        {
            tracing::debug!(%error, "Nobody waits for --ready-fd");
        }
    }
}

/// [`Ready::open`] and [`Ready::signal`] in one step. A wrong number is only logged.
pub fn signal(fd: Option<RawFd>) {
    match Ready::open(fd) {
        Ok(ready) => ready.signal(),
        Err(error) => tracing::warn!(error = format!("{error:#}"), "Could not tell that the program is ready"),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::IntoRawFd};

    use super::*;

    #[test]
    fn a_supervisor_reads_one_newline_and_then_the_end() {
        let (mut reader, writer) = std::io::pipe().unwrap();

        Ready::open(Some(writer.into_raw_fd())).unwrap().signal();

        let mut told = String::new();
        reader.read_to_string(&mut told).unwrap();
        assert_eq!(told, "\n");
    }

    #[test]
    fn a_descriptor_that_nobody_handed_over_is_an_error_of_usage() {
        assert_eq!(crate::code_of(&Ready::open(Some(9_999)).unwrap_err()), Exit::Usage);
        Ready::open(None).unwrap().signal();
    }
}
