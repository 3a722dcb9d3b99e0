use std::{error::Error, fmt, io, io::Write, process::ExitCode};

/// Exit codes, as in `sysexits.h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Exit {
    /// Wrong arguments.
    Usage = 64,
    /// The input is not what it should be.
    Data = 65,
    /// There is no such input.
    NoInput = 66,
    /// There is no such host.
    NoHost = 68,
    /// What is needed is not there, or it refused.
    Unavailable = 69,
    /// A fault of the program.
    Bug = 70,
    /// An output can't be made.
    CannotCreate = 73,
    /// Reading or writing broke.
    Io = 74,
    /// It may work later.
    TryAgain = 75,
    /// The other side broke the protocol, or shows another key than before.
    Protocol = 76,
    /// Not allowed.
    NoPermission = 77,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The one with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        let input = [Self::Usage, Self::Data, Self::NoInput, Self::NoHost];
        let world = [Self::Unavailable, Self::Bug, Self::CannotCreate, Self::Io];
        let others = [Self::TryAgain, Self::Protocol, Self::NoPermission, Self::Config];
        [input, world, others].into_iter().flatten().find(|exit| *exit as u8 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Gives an error the code that the program is to end with.
pub trait WithExit<T> {
    /// Tags the error, if there is one; of several tags in one chain the outermost counts.
    ///
    /// # Errors
    /// The same error, tagged.
    fn exit(self, code: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithExit<T> for Result<T, E> {
    fn exit(self, code: Exit) -> anyhow::Result<T> {
        self.map_err(|error| Coded { code, error: error.into() }.into())
    }
}

/// An error with its exit code; it reads like the error alone.
#[derive(Debug)]
pub struct Coded {
    code: Exit,
    error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Coded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Runs a program's work and turns its outcome into an exit code.
pub fn run(program: &str, work: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(program, &error),
    }
}

/// Explains `error` in one line on stderr and returns its exit code. A broken pipe is no error: whoever read has enough.
pub fn fail(program: &str, error: &anyhow::Error) -> ExitCode {
    explain(program, error).into()
}

/// The same, for threads that end the program while others can't be told.
pub fn fail_now(program: &str, error: &anyhow::Error) -> ! {
    std::process::exit(explain(program, error).into())
}

fn explain(program: &str, error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return 0;
    }
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(io::stderr(), "{program}: {error:#}");
    code_of(error) as u8
}

/// The exit code of an error: its tag, else what its kind suggests.
pub fn code_of(error: &anyhow::Error) -> Exit {
    if let Some(code) = error.chain().find_map(|cause| cause.downcast_ref::<Coded>()).map(|coded| coded.code) {
        return code;
    }
    if let Some(cause) = find::<io::Error>(error) {
        return match cause.kind() {
            io::ErrorKind::NotFound => Exit::NoInput,
            io::ErrorKind::PermissionDenied => Exit::NoPermission,
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::ConnectionRefused => {
                Exit::Unavailable
            }
            _ => Exit::Io,
        };
    }
    if find::<wire::DecodeError>(error).is_some() { Exit::Protocol } else { Exit::Bug }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let tagged = error.chain().find_map(|cause| cause.downcast_ref::<Coded>());
    let breaks =
        |error: &anyhow::Error| find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
    match tagged {
        Some(Coded { code: Exit::Io, error }) => is_broken_pipe(error),
        Some(_) => false,
        None => breaks(error),
    }
}

fn find<E: Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|cause| cause.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn io(kind: io::ErrorKind) -> anyhow::Error {
        io::Error::new(kind, "the system says no").into()
    }

    #[test]
    fn a_number_is_the_code_that_has_it_or_none() {
        for code in 0..=u8::MAX {
            assert_eq!(
                Exit::from_code(code).map(|exit| exit as u8),
                Some(code).filter(|code| matches!(code, 64..=66 | 68..=70 | 73..=78))
            );
        }
    }

    #[test]
    fn a_tag_decides_and_does_not_show() {
        let error = Err::<(), _>(io(io::ErrorKind::NotFound))
            .context("open the file")
            .exit(Exit::Config)
            .context("start")
            .expect_err("an error");

        assert_eq!(code_of(&error), Exit::Config);
        assert_eq!(format!("{error:#}"), "start: open the file: the system says no");
    }

    #[test]
    fn of_two_tags_the_outermost_counts() {
        let inner = Err::<(), _>(io(io::ErrorKind::Other)).exit(Exit::Io);
        assert_eq!(code_of(&inner.context("x").exit(Exit::TryAgain).expect_err("an error")), Exit::TryAgain);
    }

    #[test]
    fn untagged_errors_have_the_code_of_their_kind() {
        assert_eq!(code_of(&io(io::ErrorKind::NotFound)), Exit::NoInput);
        assert_eq!(code_of(&io(io::ErrorKind::PermissionDenied)), Exit::NoPermission);
        assert_eq!(code_of(&io(io::ErrorKind::AddrInUse)), Exit::Unavailable);
        assert_eq!(code_of(&io(io::ErrorKind::StorageFull).context("write the recording")), Exit::Io);
        assert_eq!(code_of(&wire::DecodeError::Malformed { what: "check", len: 1 }.into()), Exit::Protocol);
        assert_eq!(code_of(&anyhow::anyhow!("unexpected")), Exit::Bug);
    }

    #[test]
    fn a_broken_pipe_ends_quietly_unless_it_was_given_a_meaning() {
        let broken = || io(io::ErrorKind::BrokenPipe).context("write to stdout");

        assert!(is_broken_pipe(&broken()));
        assert!(is_broken_pipe(&Err::<(), _>(broken()).exit(Exit::Io).expect_err("an error")));
        assert!(!is_broken_pipe(&Err::<(), _>(broken()).exit(Exit::Unavailable).expect_err("an error")));
    }
}
