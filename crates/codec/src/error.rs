use std::ffi::c_int;

use opusic_sys as sys;

/// Why libopus did not do what it was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The bytes are no Opus packet.
    #[error("{len} bytes are not an Opus packet")]
    NotOpus {
        /// How many bytes there were.
        len: usize,
    },
    /// A buffer does not fit what is to go in or out.
    #[error("{samples} samples are not an Opus frame")]
    Length {
        /// How many samples there were or was room for.
        samples: usize,
    },
    /// A packet does not tell of sound so long before it.
    #[error("the packet tells of {reach} samples before it, not of {before}")]
    Reach {
        /// Samples before the packet that were asked for.
        before: usize,
        /// Samples before it that it tells of.
        reach: usize,
    },
    /// Anything else that libopus says; a bug or no memory.
    #[error("libopus: {0}")]
    Opus(String),
}

/// What libopus means by a code: below zero is an error.
pub(crate) fn check(code: c_int) -> Result<(), Error> {
    if code >= 0 { Ok(()) } else { Err(describe(code)) }
}

pub(crate) fn describe(code: c_int) -> Error {
    Error::Opus(
        match code {
            sys::OPUS_BAD_ARG => "an argument is out of range",
            sys::OPUS_BUFFER_TOO_SMALL => "the buffer is too small",
            sys::OPUS_ALLOC_FAIL => "no memory",
            sys::OPUS_UNIMPLEMENTED => "the request is not implemented",
            sys::OPUS_INVALID_STATE => "the state is invalid",
            _ => "an internal error",
        }
        .to_owned(),
    )
}
