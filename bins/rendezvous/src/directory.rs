//! How HTTP asks the UDP task, which alone has the registry.

use registry::{ChannelInfo, ChannelName, ChannelRecord, CreateError, MemberInfo};
use tokio::sync::{mpsc, oneshot};

/// A question to the UDP task. Who asked may be gone when the answer is there.
pub(crate) enum Ask {
    List { after: Option<ChannelName>, limit: usize, answer: oneshot::Sender<Listing> },
    Look { name: ChannelName, answer: oneshot::Sender<Option<Listed>> },
    Create { record: Box<ChannelRecord>, answer: oneshot::Sender<Result<(), CreateError>> },
    Confirm { name: ChannelName },
    Delete { name: ChannelName },
}

/// One page of the list of channels.
pub(crate) struct Listing {
    pub(crate) channels: Vec<Listed>,
    pub(crate) more: bool,
}

/// A channel and who is in it.
pub(crate) struct Listed {
    pub(crate) info: ChannelInfo,
    pub(crate) members: Vec<MemberInfo>,
}

/// The UDP task no longer answers: the program ends.
#[derive(Debug, thiserror::Error)]
#[error("the rendezvous closes")]
pub(crate) struct Closed;

/// The asking end.
#[derive(Clone)]
pub(crate) struct Directory(mpsc::Sender<Ask>);

impl Directory {
    /// The asking end and the answering one.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, answers) = mpsc::channel(256);
        (Self(asks), answers)
    }

    pub(crate) async fn list(&self, after: Option<ChannelName>, limit: usize) -> Result<Listing, Closed> {
        self.ask(|answer| Ask::List { after, limit, answer }).await
    }

    pub(crate) async fn look(&self, name: ChannelName) -> Result<Option<Listed>, Closed> {
        self.ask(|answer| Ask::Look { name, answer }).await
    }

    /// Reserves a channel; to be followed by [`Self::confirm`] or [`Self::delete`].
    pub(crate) async fn create(&self, record: ChannelRecord) -> Result<Result<(), CreateError>, Closed> {
        self.ask(|answer| Ask::Create { record: Box::new(record), answer }).await
    }

    pub(crate) async fn confirm(&self, name: ChannelName) -> Result<(), Closed> {
        self.0.send(Ask::Confirm { name }).await.map_err(|_| Closed)
    }

    pub(crate) async fn delete(&self, name: ChannelName) -> Result<(), Closed> {
        self.0.send(Ask::Delete { name }).await.map_err(|_| Closed)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Closed> {
        let (answer, answered) = oneshot::channel();
        self.0.send(ask(answer)).await.map_err(|_| Closed)?;
        answered.await.map_err(|_| Closed)
    }
}
